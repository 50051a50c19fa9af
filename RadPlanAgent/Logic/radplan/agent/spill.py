"""Spill of isodoses beyond their targets, as plain fields and as sentences (see `spatial`)."""

from __future__ import annotations

from dataclasses import dataclass

from ..geometry import Triple
from .directions import direction_text
from .facts import number
from .spots import NEXT_TO_MM, Share
from .tokens import StructureTokens

#: Structures and directions told of a spill.
MOST_PARTS = 3
#: What goes less far in a direction is not said to go there.
PLAIN_MM = 8.0


@dataclass(frozen=True)
class Island:
    """A part of an isodose that touches none of its targets.

    Parameters
    ----------
    volume_cc, peak_gy : float
    center_mm : tuple of float
        LPS (x, y, z).
    distance_mm : float
        Gap between it and the nearest target.
    direction : tuple of str
        Where its centre lies, seen from the nearest point of the targets.
    skin_mm : float or None
        Distance from what is not body; None where that is far.
    """

    volume_cc: float
    peak_gy: float
    center_mm: Triple
    distance_mm: float
    direction: tuple[str, ...]
    skin_mm: float | None = None

    @property
    def where(self) -> str:
        """Its place in a few words."""
        way = direction_text(self.direction)
        return f"{self.distance_mm:.0f} mm {way}{skin_text(self.skin_mm)}"


@dataclass(frozen=True)
class Neighbour:
    """A structure that an isodose reaches, or nearly, beyond its targets.

    Parameters
    ----------
    structure : str
    gap_mm : float
        Between it and what of the isodose is outside the targets; 0 if they touch or overlap.
    directions : tuple of str
        Where it lies: all directions in which its centre is at least `PLAIN_MM` from that of the
        targets, or in which the isodose goes so far beyond the targets within it.
    """

    structure: str
    gap_mm: float
    directions: tuple[str, ...]


@dataclass(frozen=True)
class Spill:
    """What an isodose covers beyond the targets that it is meant for.

    Parameters
    ----------
    percent, prescription_gy, level_gy : float
        The isodose: % of a prescription, that prescription, and both in Gy.
    targets : tuple of str
        Targets with at least this prescription (for 50 % of the highest: all).
    volume_cc, outside_cc : float
        All of it, and what lies outside those targets.
    ratio : float
        Its volume over that of the targets; R50 for 50 %.
    conformity : float
        TV² / (T · V): T the targets' volume, V the isodose's, TV what both share.
    reach_mm : float
        How far from the targets it reaches without a gap; islands count only where all that is
        outside is islands.
    reach_direction : tuple of str
        In which direction it does, from the nearest point of the targets.
    reach_point_mm : tuple of float or None
        That point, LPS (x, y, z); None where nothing is outside.
    reach_organ : str
        The organ nearest to that point; empty if there is none.
    reach_organ_distance_mm : float
        Distance of that point from the organ; 0 inside.
    by_direction : tuple of (str, float)
        Part of what is outside (%) by its direction from the nearest point of the targets, the
        largest first (`direction_shares`).
    covered : tuple of Share
        What it covers, outside its targets, of organs and of targets with a lower prescription;
        by % of the structure, the largest first.
    islands : tuple of Island
        Its parts that touch none of its targets, such as where beams enter; the largest first.
    directions : tuple of str
        All directions in which it goes at least `PLAIN_MM` beyond the targets.
    neighbours : tuple of Neighbour
        Organs and targets with a lower prescription, the nearest first.
    """

    percent: float
    prescription_gy: float
    level_gy: float
    targets: tuple[str, ...]
    volume_cc: float
    outside_cc: float
    ratio: float
    conformity: float
    reach_mm: float
    reach_direction: tuple[str, ...]
    reach_point_mm: Triple | None
    reach_organ: str
    reach_organ_distance_mm: float
    by_direction: tuple[tuple[str, float], ...]
    covered: tuple[Share, ...]
    islands: tuple[Island, ...]
    directions: tuple[str, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()

    def sentence(self, tokens: StructureTokens) -> str:
        """The spill in one sentence."""
        targets = " and ".join(tokens.token(t) for t in self.targets)
        text = (
            f"{self.percent:g} % isodose of {self.prescription_gy:g} Gy ({self.level_gy:.1f} Gy): "
            f"{number(self.volume_cc)} cc, {self.ratio:.2f} times the volume of {targets}; "
            f"{number(self.outside_cc, 2)} cc outside"
        )
        if self.reach_point_mm is None:
            return text
        most = self.by_direction[:MOST_PARTS]
        sides = ", ".join(f"{word} {share:.0f} %" for word, share in most)
        text += (
            f" (mostly {sides}), reaching furthest {self.reach_mm:.0f} mm "
            f"{direction_text(self.reach_direction)}"
        )
        if self.reach_organ:
            near = self.reach_organ_distance_mm
            how = "inside" if near < NEXT_TO_MM else f"{near:.0f} mm from"
            text += f", there {how} {tokens.token(self.reach_organ)}"
        if self.covered:
            parts = ", ".join(
                f"{number(s.percent, 2)} % of {tokens.token(s.structure)}"
                for s in self.covered[:MOST_PARTS]
            )
            text += f"; outside, it covers {parts}"
        if self.islands:
            first = self.islands[0]
            hottest = max(self.islands, key=lambda island: island.peak_gy)
            more = f" and {len(self.islands) - 1} smaller" if len(self.islands) > 1 else ""
            if hottest is not first:
                more += f", of which the hottest has {hottest.peak_gy:.1f} Gy, {hottest.where}"
            text += (
                f"; apart from the targets an island of {number(first.volume_cc, 2)} cc, peak "
                f"{first.peak_gy:.1f} Gy, {first.where}{more}"
            )
        return text


def skin_text(skin_mm: float | None) -> str:
    """How deep under the skin, to go on with; empty where that is not told."""
    return "" if skin_mm is None else f", {skin_mm:.0f} mm under the skin"
