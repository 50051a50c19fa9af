"""The terms of the optimizer's cost: what each one measures, and its gradient.

Every function takes the doses of a structure's voxels and the share of the structure's volume
that each voxel holds (shares sum to one), so that a weight means the same for a small and a large
organ.
All are in Gy² but `mean_dose`, which is in Gy.

A dose level is one number, or one for every voxel (a dose map): for dose mimicking, and for levels
that fall off with the distance from a target (`fall_off.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from enum import Enum

import numpy as np

from ..errors import InputError

#: How much below the highest dose a voxel still counts for a soft maximum.
SOFT_MAXIMUM_WIDTH_GY = 1.0
#: What an objective on the fluence names in place of a structure.
FLUENCE = "fluence"
#: Mean squared difference of neighbouring beamlets, in the fluence's unit squared.
ROUGHNESS = "fluence_roughness"
#: Value and gradient with respect to the voxel doses.
ValueAndGradient = tuple[float, np.ndarray]
#: Dose level, Gy: of all voxels, or of each; 0 where a function has none.
Level = float | np.ndarray


@dataclass(frozen=True)
class Objective:
    """One term of the optimizer's cost.

    Parameters
    ----------
    structure : str
        Structure or helper whose voxels count, or `FLUENCE`.
    function : str
        A key of `OBJECTIVE_FUNCTIONS`; of `FLUENCE`, `ROUGHNESS` (see `FluenceRoughness`).
    weight : float
        Multiplies the function's value; positive.
    dose_gy : float, optional
        Dose level, Gy for the whole course.
    volume_percent : float, optional
        Volume of a DVH point, 0 … 100.
    exponent : float, optional
        The a of a gEUD, a ≥ 1.
    id : str
        Name by which actions refer to it; made from structure and function when empty.
    dose_map : str, optional
        In place of `dose_gy`: name of a dose map (`StructureIndex.set_dose_map`) that holds the
        level of every voxel.
    """

    structure: str
    function: str
    weight: float
    dose_gy: float | None = None
    volume_percent: float | None = None
    exponent: float | None = None
    id: str = ""
    dose_map: str | None = None

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", f"{self.structure}/{self.function}")
        where = f"objective {self.id}"
        spec = OBJECTIVE_FUNCTIONS.get(self.function)
        if self.on_fluence and self.structure != FLUENCE:
            raise InputError(f"{where}: {self.function} is of {FLUENCE!r}, not of a structure")
        if spec is None and not self.on_fluence:
            raise InputError(
                f"{where}: unknown function {self.function!r}; there are "
                f"{', '.join(OBJECTIVE_FUNCTIONS)} and {ROUGHNESS}"
            )
        if not (np.isfinite(self.weight) and self.weight > 0):
            raise InputError(f"{where}: weight must be a positive number, got {self.weight}")
        self._check_parameters(spec, where)
        if self.dose_gy is not None and self.dose_gy < 0:
            raise InputError(f"{where}: dose_gy must not be negative, got {self.dose_gy}")
        if self.volume_percent is not None and not 0 <= self.volume_percent <= 100:
            raise InputError(f"{where}: volume_percent must lie in 0 … 100")
        if self.exponent is not None and self.exponent < 1:
            raise InputError(f"{where}: exponent must be at least 1, got {self.exponent}")

    def with_free_id(self, taken: Collection[str]) -> Objective:
        """The same, under a numbered id if its own is taken."""
        number, new = 1, self
        while new.id in taken:
            number += 1
            new = replace(self, id=f"{self.id}#{number}")
        return new

    @property
    def on_fluence(self) -> bool:
        """Whether it looks at the fluence, not at the dose of a structure."""
        return self.function == ROUGHNESS

    def _check_parameters(self, spec: ObjectiveFunction | None, where: str) -> None:
        """Refuse parameters that the function lacks or does not take."""
        wanted = set(spec.parameters if spec else ())
        if self.dose_map is not None:
            if spec is None or not spec.level_by_voxel:
                raise InputError(f"{where}: {self.function} takes no dose_map")
            if self.dose_gy is not None:
                raise InputError(f"{where}: takes either dose_gy or dose_map, not both")
            wanted.remove("dose_gy")
        for name in ("dose_gy", "volume_percent", "exponent"):
            value = getattr(self, name)
            if name in wanted and (value is None or not np.isfinite(value)):
                raise InputError(f"{where}: {self.function} needs a number for {name}")
            if name not in wanted and value is not None:
                raise InputError(f"{where}: {self.function} takes no {name}")

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        return asdict(self)

    def describe(self) -> str:
        """The objective in a few words, e.g. ``Rectum: max DVH 50 Gy to 17 %, weight 30``."""
        words = self.function.replace("_", " ").replace("dvh", "DVH").replace("geud", "gEUD")
        level = f" {self.dose_gy:g} Gy" if self.dose_gy is not None else ""
        if self.dose_map is not None:
            level = f" levels of {self.dose_map}"
        volume = f" to {self.volume_percent:g} %" if self.volume_percent is not None else ""
        exponent = f", a = {self.exponent:g}" if self.exponent is not None else ""
        return f"{self.structure}: {words}{level}{volume}{exponent}, weight {self.weight:g}"


def squared_deviation(
    dose: np.ndarray, share: np.ndarray, level_gy: Level, o: Objective
) -> ValueAndGradient:
    """Σ share·(d − level)²."""
    difference = dose - level_gy
    weighted = share * difference
    return float(weighted @ difference), 2 * weighted


def squared_overdosing(
    dose: np.ndarray, share: np.ndarray, level_gy: Level, o: Objective
) -> ValueAndGradient:
    """Σ share·max(d − level, 0)²."""
    excess = np.maximum(dose - level_gy, 0)
    weighted = share * excess
    return float(weighted @ excess), 2 * weighted


def squared_underdosing(
    dose: np.ndarray, share: np.ndarray, level_gy: Level, o: Objective
) -> ValueAndGradient:
    """Σ share·max(level − d, 0)²."""
    lack = np.minimum(dose - level_gy, 0)
    weighted = share * lack
    return float(weighted @ lack), 2 * weighted


def mean_dose(
    dose: np.ndarray, share: np.ndarray, level_gy: Level, o: Objective
) -> ValueAndGradient:
    """Mean dose, Σ share·d."""
    return float(share @ dose), share


def squared_mean_overdosing(
    dose: np.ndarray, share: np.ndarray, level_gy: Level, o: Objective
) -> ValueAndGradient:
    """max(mean dose − level, 0)²."""
    excess = max(float(share @ dose) - level_gy, 0.0)
    return excess**2, 2 * excess * share


def dose_variance(
    dose: np.ndarray, share: np.ndarray, level_gy: Level, o: Objective
) -> ValueAndGradient:
    """Σ share·(d − mean)²: how uneven the dose is, whatever its level."""
    difference = dose - share @ dose
    weighted = share * difference
    return float(weighted @ difference), 2 * weighted


def soft_maximum(
    dose: np.ndarray, share: np.ndarray, level_gy: Level, o: Objective
) -> ValueAndGradient:
    """max(M − level, 0)² with the soft maximum M = w·ln Σ share·exp(d/w), w = 1 Gy.

    M lies below the maximum, by w·ln 100 ≈ 4.6 w where 1 % of the volume is near it.
    """
    highest = float(dose.max())
    powered = share * np.exp((dose - highest) / SOFT_MAXIMUM_WIDTH_GY)
    total = float(powered.sum())
    excess = max(highest + SOFT_MAXIMUM_WIDTH_GY * np.log(total) - level_gy, 0.0)
    return excess**2, 2 * excess * powered / total


def geud(dose: np.ndarray, share: np.ndarray, level_gy: Level, o: Objective) -> ValueAndGradient:
    """max(gEUD − level, 0)² with gEUD = (Σ share·d^a)^(1/a) (Niemierko 1999)."""
    positive = np.maximum(dose, 0)
    highest = float(positive.max(initial=0.0))
    if highest <= 0:
        return 0.0, np.zeros_like(dose)
    relative = positive / highest  # keeps the power from overflowing
    powered = share @ relative**o.exponent
    value = highest * powered ** (1 / o.exponent)
    excess = max(value - level_gy, 0.0)
    slope = powered ** (1 / o.exponent - 1) * share * relative ** (o.exponent - 1)
    return excess**2, 2 * excess * slope


def hottest_voxels(dose: np.ndarray, share: np.ndarray, volume_percent: float) -> np.ndarray:
    """Voxels that fill the hottest `volume_percent` of the structure, hottest first."""
    order = np.argsort(dose)[::-1]
    filled = np.cumsum(share[order])
    position = np.searchsorted(filled, volume_percent / 100 - 1e-12)
    return order[: position + 1]


def dose_at_volume(dose: np.ndarray, share: np.ndarray, volume_percent: float) -> float:
    """The lowest dose in the hottest `volume_percent` of the structure."""
    return float(dose[hottest_voxels(dose, share, volume_percent)[-1]])


def max_dvh(
    dose: np.ndarray, share: np.ndarray, level_gy: Level, o: Objective
) -> ValueAndGradient:
    """Σ share·(d − level)² over voxels above the level but not in the hottest volume.

    The usual surrogate of V(level) ≤ volume (Wu & Mohan 2000, Med Phys 27:701).
    """
    highest = dose_at_volume(dose, share, o.volume_percent)
    excess = np.where((dose > level_gy) & (dose <= highest), dose - level_gy, 0)
    weighted = share * excess
    return float(weighted @ excess), 2 * weighted


def min_dvh(
    dose: np.ndarray, share: np.ndarray, level_gy: Level, o: Objective
) -> ValueAndGradient:
    """Σ share·(d − level)² over voxels below the level but within the hottest volume.

    The usual surrogate of V(level) ≥ volume (Wu & Mohan 2000, Med Phys 27:701).
    """
    lowest = dose_at_volume(dose, share, o.volume_percent)
    lack = np.where((dose < level_gy) & (dose >= lowest), dose - level_gy, 0)
    weighted = share * lack
    return float(weighted @ lack), 2 * weighted


class Idle(Enum):
    """Where a voxel's dose does not count, whatever the doses of the others are."""

    NEVER = "never"
    BELOW_LEVEL = "below the level"
    ABOVE_LEVEL = "above the level"


@dataclass(frozen=True)
class ObjectiveFunction:
    """What an objective's function is like.

    Parameters
    ----------
    value_and_gradient : callable
    parameters : tuple of str
        The parameters that it takes.
    idle : Idle
        Which voxels are idle.
    separable : bool
        Whether it is a sum over voxels of which some are idle, so that those can be left out.
    level_by_voxel : bool
        Whether its dose level may be a dose map.
    of_mean : bool
        Whether nothing but the mean dose counts: one voxel that has it costs the same.
    """

    value_and_gradient: Callable[[np.ndarray, np.ndarray, Level, Objective], ValueAndGradient]
    parameters: tuple[str, ...]
    idle: Idle = Idle.NEVER
    separable: bool = False
    level_by_voxel: bool = False
    of_mean: bool = False


OBJECTIVE_FUNCTIONS: dict[str, ObjectiveFunction] = {
    "squared_deviation": ObjectiveFunction(squared_deviation, ("dose_gy",), level_by_voxel=True),
    "squared_overdosing": ObjectiveFunction(
        squared_overdosing, ("dose_gy",), Idle.BELOW_LEVEL, separable=True, level_by_voxel=True
    ),
    "squared_underdosing": ObjectiveFunction(
        squared_underdosing, ("dose_gy",), Idle.ABOVE_LEVEL, separable=True, level_by_voxel=True
    ),
    "mean_dose": ObjectiveFunction(mean_dose, (), of_mean=True),
    "squared_mean_overdosing": ObjectiveFunction(
        squared_mean_overdosing, ("dose_gy",), of_mean=True
    ),
    "dose_variance": ObjectiveFunction(dose_variance, ()),
    "soft_maximum": ObjectiveFunction(soft_maximum, ("dose_gy",)),
    "geud": ObjectiveFunction(geud, ("dose_gy", "exponent")),
    "max_dvh": ObjectiveFunction(max_dvh, ("dose_gy", "volume_percent"), Idle.BELOW_LEVEL),
    "min_dvh": ObjectiveFunction(min_dvh, ("dose_gy", "volume_percent"), Idle.ABOVE_LEVEL),
}


def idle_range_gy(objective: Objective, level_gy: Level) -> tuple[Level, Level]:
    """Lowest and highest dose at which a voxel does not count; (inf, -inf) if there is none."""
    idle = OBJECTIVE_FUNCTIONS[objective.function].idle
    if idle is Idle.BELOW_LEVEL:
        return -np.inf, level_gy
    if idle is Idle.ABOVE_LEVEL:
        return level_gy, np.inf
    return np.inf, -np.inf
