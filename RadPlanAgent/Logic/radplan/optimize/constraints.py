"""What a plan's dose must keep to, whatever the objectives would gain by breaking it."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict, dataclass

import numpy as np

from ..errors import InputError
from .objectives import dose_at_volume, hottest_voxels

#: A constraint counts as kept when it is missed by no more than this, or by no more than this
#: share of its level, whichever is more.
TOLERANCE_GY, TOLERANCE_SHARE = 0.1, 0.002

#: How each kind is written.
CONSTRAINT_KINDS = {
    "max_dose": "max ≤",
    "mean_dose": "mean ≤",
    "min_dose_at_volume": "D{:g}% ≥",
    "max_dose_at_volume": "D{:g}% ≤",
}
#: A constraint as `Constraint.describe` words it, or as one types it.
_TEXT = re.compile(
    r"(?P<structure>[^<>≤≥]+?):?\s+(?P<point>max|mean|min|d\s*(?P<volume>[\d.]+)\s*%)\s*"
    r"(?P<sign>≤|<=|≥|>=)\s*(?P<dose>[\d.]+)\s*(gy)?",
    re.IGNORECASE,
)
_KINDS_IN_TEXT = {
    ("max", "≤"): "max_dose",
    ("mean", "≤"): "mean_dose",
    ("min", "≥"): "min_dose_at_volume",
    ("d", "≥"): "min_dose_at_volume",
    ("d", "≤"): "max_dose_at_volume",
}


def constraint_parameters(kind: str) -> tuple[str, ...]:
    """The parameters that a kind of constraint takes."""
    return ("dose_gy", "volume_percent") if kind.endswith("_at_volume") else ("dose_gy",)


@dataclass(frozen=True)
class Constraint:
    """One bound on a structure's dose.

    Parameters
    ----------
    structure : str
        Structure or helper.
    kind : str
        ``max_dose``: no voxel above the level; ``mean_dose``: mean not above it;
        ``min_dose_at_volume``: D_x not below it (x = 100 is the minimum dose);
        ``max_dose_at_volume``: D_x not above it. D_x is `dose_at_volume`.
    dose_gy : float
        The level, Gy for the whole course.
    volume_percent : float, optional
        The x of D_x, 0 … 100.
    """

    structure: str
    kind: str
    dose_gy: float
    volume_percent: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.structure, str):
            raise InputError(f"constraint: a structure's name is a text, got {self.structure!r}")
        where = f"constraint on {self.structure}"
        if self.kind not in CONSTRAINT_KINDS:
            raise InputError(
                f"{where}: unknown kind {self.kind!r}; there are {', '.join(CONSTRAINT_KINDS)}"
            )
        if not 0 < self.dose_gy <= sys.float_info.max:  # JSON has integers of any length
            raise InputError(f"{where}: dose_gy must be a positive number, got {self.dose_gy!r}")
        if not self.at_volume:
            if self.volume_percent is not None:
                raise InputError(f"{where}: {self.kind} takes no volume_percent")
        elif self.volume_percent is None or not 0 <= self.volume_percent <= 100:
            raise InputError(f"{where}: {self.kind} needs a volume_percent of 0 … 100")

    @classmethod
    def from_text(cls, text: str) -> Constraint:
        """Read what `describe` writes; ``<=``, ``>=``, ``min >=`` and no colon do as well."""
        match = _TEXT.fullmatch(text.strip())
        try:
            point = match["point"].lower()
            sign = match["sign"].replace("<=", "≤").replace(">=", "≥")
            kind = _KINDS_IN_TEXT["d" if match["volume"] else point, sign]
            volume = match["volume"] or ("100" if point == "min" else None)
            dose_gy, percent = float(match["dose"]), None if volume is None else float(volume)
        except (TypeError, KeyError, ValueError):  # no match, no such bound, no number
            raise InputError(
                f"constraint {text!r} is not understood; write for example "
                "'SpinalCord max <= 45', 'Parotid_L mean <= 26' or 'PTV D95% >= 50' (Gy)"
            ) from None
        return cls(match["structure"].strip(), kind, dose_gy, percent)

    @property
    def id(self) -> str:
        """What it bounds: of two constraints on the same, a plan has one."""
        at = f"/{float(self.volume_percent)}" if self.at_volume else ""
        return f"constraint/{self.structure}/{self.kind}{at}"

    @property
    def at_volume(self) -> bool:
        """Whether it bounds a point of the dose-volume histogram."""
        return "volume_percent" in constraint_parameters(self.kind)

    @property
    def is_minimum(self) -> bool:
        """Whether dose must not be below the level."""
        return self.kind == "min_dose_at_volume"

    @property
    def tolerance_gy(self) -> float:
        """Within this of the level it counts as kept."""
        return max(TOLERANCE_GY, TOLERANCE_SHARE * self.dose_gy)

    def achieved_gy(self, dose: np.ndarray, share: np.ndarray) -> float:
        """The dose that is held against the level, from all voxels and their volume shares."""
        if self.kind == "max_dose":
            return float(dose.max())
        if self.kind == "mean_dose":
            return float(share @ dose)
        return dose_at_volume(dose, share, self.volume_percent)

    def violation_gy(self, achieved_gy: float) -> float:
        """By how much an achieved dose misses the level; 0 if it keeps it."""
        excess = achieved_gy - self.dose_gy
        return max(-excess if self.is_minimum else excess, 0.0)

    def held_voxels(self, dose: np.ndarray, share: np.ndarray) -> np.ndarray:
        """Voxels that must be on the right side of the level for it to be kept, bool.

        Of a D_x ≥ level the hottest x %, of a D_x ≤ level all but the voxels hotter than D_x: at
        the present dose, the choice that asks for the least change. For a mean dose, all.
        """
        held = np.ones(dose.size, bool)
        if self.at_volume:
            hottest = hottest_voxels(dose, share, self.volume_percent)
            held[:] = not self.is_minimum
            held[hottest if self.is_minimum else hottest[:-1]] = self.is_minimum
        return held

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        return asdict(self)

    def describe(self) -> str:
        """The constraint in a few words, e.g. ``PTV: D95% ≥ 50 Gy``."""
        symbol = CONSTRAINT_KINDS[self.kind].format(self.volume_percent)
        return f"{self.structure}: {symbol} {self.dose_gy:g} Gy"
