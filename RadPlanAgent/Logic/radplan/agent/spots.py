"""Hot spots and cold spots of a dose, as plain fields and as sentences (see `spatial`)."""

from __future__ import annotations

from dataclasses import dataclass

from ..geometry import Triple
from .directions import direction_text, offset_text
from .facts import number
from .tokens import StructureTokens

#: Regions nearer than this to an organ are next to it.
NEXT_TO_MM = 1.0


@dataclass(frozen=True)
class Share:
    """A part that lies in a structure: cc, and % of the structure."""

    structure: str
    volume_cc: float
    percent: float


@dataclass(frozen=True)
class HotSpot:
    """A connected region above a share of a prescription.

    Parameters
    ----------
    level_percent : float
        What it is above, % of `prescription_gy`.
    prescription_gy : float
        The highest prescription; of a lower target's own hot spots that target's.
    level_gy : float
        What it is above.
    volume_cc : float
    peak_gy, peak_percent : float
        Its highest dose, also as % of `prescription_gy`.
    center_mm, peak_mm : tuple of float
        Its centre and its hottest voxel, LPS (x, y, z).
    inside : tuple of Share
        What it covers of organs and targets, those that hold most of it first; empty where it
        lies in no structure but the body.
    in_targets_percent : float
        Part of it that lies in targets, %.
    target : str
        The target that holds most of it, else the nearest one.
    distance_mm : float
        Gap between it and that target; 0 if they touch.
    direction : tuple of str
        Where its centre lies: seen from the target's centre if most of it is in the target, else
        from the nearest point of the target's border. Empty: in the middle.
    offset_mm : tuple of float
        Its centre less the target's, LPS (x, y, z).
    organ : str
        The organ that holds most of it, else the nearest; empty if there is none.
    organ_distance_mm : float
        Gap between it and that organ; 0 if they touch or overlap.
    """

    level_percent: float
    prescription_gy: float
    level_gy: float
    volume_cc: float
    peak_gy: float
    peak_percent: float
    center_mm: Triple
    peak_mm: Triple
    inside: tuple[Share, ...]
    in_targets_percent: float
    target: str
    distance_mm: float
    direction: tuple[str, ...]
    offset_mm: Triple
    organ: str
    organ_distance_mm: float

    @property
    def is_in_target(self) -> bool:
        """Whether most of it lies in targets."""
        return self.in_targets_percent >= 50

    def sentence(self, tokens: StructureTokens) -> str:
        """The spot in one sentence."""
        target = tokens.token(self.target)
        if self.is_in_target:
            where = f"in {target}, {_seen_from_center(self.direction, self.offset_mm)}"
            if self.in_targets_percent < 99.5:
                where = f"{self.in_targets_percent:.0f} % of it {where}"
        else:
            gap = f"{self.distance_mm:.0f} mm" if self.distance_mm >= NEXT_TO_MM else "directly"
            where = f"outside the targets, {gap} {direction_text(self.direction)} of {target}"
        return (
            f"Hot spot above {self.level_percent:g} % of {self.prescription_gy:g} Gy "
            f"({self.level_gy:.1f} Gy): "
            f"{number(self.volume_cc, 2)} cc, peak {self.peak_gy:.1f} Gy "
            f"({self.peak_percent:.1f} %), {where}{_organ(self, tokens)}"
        )


@dataclass(frozen=True)
class ColdSpot:
    """A connected region of a target below a share of its own prescription.

    Parameters
    ----------
    target : str
    level_percent, level_gy : float
        What it is below.
    volume_cc, target_percent : float
        Its size, also as % of the target.
    lowest_gy, lowest_percent : float
        Its lowest dose, also as % of the target's prescription.
    center_mm, lowest_mm : tuple of float
        Its centre and its coldest voxel, LPS (x, y, z).
    direction : tuple of str
        Where its centre lies seen from the target's centre; empty: in the middle.
    offset_mm : tuple of float
        Its centre less the target's, LPS (x, y, z).
    organ : str
        The nearest organ; empty if there is none.
    organ_distance_mm : float
        Gap between it and that organ; 0 if they touch or overlap.
    skin_mm : float or None
        Depth under the skin if that is little, where dose cannot build up.
    """

    target: str
    level_percent: float
    level_gy: float
    volume_cc: float
    target_percent: float
    lowest_gy: float
    lowest_percent: float
    center_mm: Triple
    lowest_mm: Triple
    direction: tuple[str, ...]
    offset_mm: Triple
    organ: str
    organ_distance_mm: float
    skin_mm: float | None

    def sentence(self, tokens: StructureTokens) -> str:
        """The spot in one sentence."""
        skin = "" if self.skin_mm is None else f"; {self.skin_mm:.0f} mm under the skin"
        return (
            f"Cold spot in {tokens.token(self.target)} below {self.level_percent:g} % "
            f"({self.level_gy:.1f} Gy): {number(self.volume_cc, 2)} cc "
            f"({number(self.target_percent, 2)} % of it), lowest {self.lowest_gy:.1f} Gy "
            f"({self.lowest_percent:.1f} %), {_seen_from_center(self.direction, self.offset_mm)}"
            f"{_organ(self, tokens)}{skin}"
        )


def _seen_from_center(direction: tuple[str, ...], offset_mm: Triple) -> str:
    if not direction:
        return "at its centre"
    return f"{direction_text(direction)} of its centre ({offset_text(offset_mm)})"


def _organ(spot: HotSpot | ColdSpot, tokens: StructureTokens) -> str:
    if not spot.organ:
        return ""
    organ = tokens.token(spot.organ)
    if spot.organ_distance_mm < NEXT_TO_MM:
        return f"; touches {organ}"
    return f"; nearest organ {organ}, {spot.organ_distance_mm:.0f} mm"
