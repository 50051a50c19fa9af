"""Where the dose is: hot spots, cold spots and spill, as plain fields and as sentences.

Fields hold the case's own names, so that code can check a claim against them; sentences hold
tokens only.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..geometry import Triple
from .directions import direction_text, offset_text
from .facts import number
from .tokens import StructureTokens

#: Sentences about this many spots of a kind; the others are summed up.
MOST_SPOTS = 4
#: Structures and directions told of a spill.
MOST_PARTS = 3
#: Smaller spots are summed up, but for the largest.
LEAST_TOLD_CC = 0.1
#: Regions nearer than this to an organ are next to it.
NEXT_TO_MM = 1.0
#: What goes less far in a direction is not said to go there.
PLAIN_MM = 8.0


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
        return f"{self.distance_mm:.0f} mm {direction_text(self.direction)}{_skin(self.skin_mm)}"


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


@dataclass(frozen=True)
class SpatialFacts:
    """All that code knows of where a plan's dose is.

    Parameters
    ----------
    target : str
        The target of the highest prescription.
    prescription_gy : float
        The highest prescription.
    maximum_gy : float
    maximum_mm : tuple of float
        The hottest voxel of the body, LPS (x, y, z).
    maximum_in : tuple of str
        Targets and organs that hold it.
    maximum_place : Island or None
        Where it lies, if in no target.
    hot_levels_percent : tuple of float
        Levels that hot spots were looked for at.
    cold_level_percent : float
    hot_spots : tuple of HotSpot
        The largest first, at each level.
    cold_spots : tuple of ColdSpot
        The largest first.
    spills : tuple of Spill
    lower_hot_spots : tuple of (str, tuple of HotSpot)
        Of each target of lower prescription what is hot by its own prescription, away from higher
        targets; the largest first.
    """

    target: str
    prescription_gy: float
    maximum_gy: float
    maximum_mm: Triple
    maximum_in: tuple[str, ...]
    hot_levels_percent: tuple[float, ...]
    cold_level_percent: float
    hot_spots: tuple[HotSpot, ...]
    cold_spots: tuple[ColdSpot, ...]
    spills: tuple[Spill, ...]
    lower_hot_spots: tuple[tuple[str, tuple[HotSpot, ...]], ...] = ()
    maximum_place: Island | None = None

    @property
    def maximum_percent(self) -> float:
        """Highest dose, % of the highest prescription."""
        return 100 * self.maximum_gy / self.prescription_gy

    def hot_spots_above(self, level_percent: float) -> tuple[HotSpot, ...]:
        """Hot spots of one level, the largest first."""
        return tuple(s for s in self.hot_spots if s.level_percent == level_percent)

    def sentences(self, tokens: StructureTokens) -> tuple[str, ...]:
        """All facts, one short sentence each; also says what there is none of."""
        where = " and ".join(tokens.token(n) for n in self.maximum_in) or "no structure"
        lines = [
            f"Highest dose {self.maximum_gy:.1f} Gy ({self.maximum_percent:.1f} % of "
            f"{self.prescription_gy:g} Gy), in {where}"
        ]
        if self.maximum_place is not None:
            place = self.maximum_place
            way = direction_text(place.direction)
            lines[0] += f", {place.distance_mm:.0f} mm {way} of the targets{_skin(place.skin_mm)}"
        for level in self.hot_levels_percent:
            spots = self.hot_spots_above(level)
            lines += _listed(spots, tokens, f"No hot spot above {level:g} %")
        for target, spots in self.lower_hot_spots:
            name = tokens.token(target)
            none = f"No hot spot by its own prescription in {name}, away from higher targets"
            lines += _listed(spots, tokens, none)
        none = f"No cold spot below {self.cold_level_percent:g} % of its prescription in a target"
        lines += _listed(self.cold_spots, tokens, none)
        lines += [spill.sentence(tokens) for spill in self.spills]
        return tuple(lines)


def _listed(
    spots: tuple[HotSpot, ...] | tuple[ColdSpot, ...], tokens: StructureTokens, none: str
) -> list[str]:
    if not spots:
        return [none]
    told = [s for k, s in enumerate(spots[:MOST_SPOTS]) if not k or s.volume_cc >= LEAST_TOLD_CC]
    lines = [spot.sentence(tokens) for spot in told]
    rest = spots[len(told) :]
    if rest:
        total = number(sum(s.volume_cc for s in rest), 2)
        if isinstance(rest[0], HotSpot):
            extreme = f"peak {max(s.peak_gy for s in rest):.1f} Gy"
        else:
            extreme = f"lowest {min(s.lowest_gy for s in rest):.1f} Gy"
        lines.append(f"… and {len(rest)} smaller, {total} cc in all, {extreme}")
    return lines


def _skin(skin_mm: float | None) -> str:
    return "" if skin_mm is None else f", {skin_mm:.0f} mm under the skin"


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
