"""Where the dose is, computed: what claims about dose pictures are held against.

Everything is counted in voxels of the dose grid: structures there fill parts of voxels, regions of
dose are whole voxels. Volumes therefore agree with the DVH to about a voxel's layer. Fields hold
the case's own names, so that code can check a claim against them; sentences hold tokens only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..case import Case, DoseImage
from ..geometry import Occupancy, Triple
from ..protocol import Protocol
from .borders import Border
from .directions import direction_text
from .dose_scene import DoseScene, Region, point_mm_of
from .facts import number
from .spill import Island, Spill, skin_text
from .spill_finding import island_of, spill_of
from .spot_finding import COLD_PERCENT, HOT_PERCENT, cold_spots, hot_spots, lower_hot_spots
from .spots import ColdSpot, HotSpot
from .tokens import StructureTokens

#: Isodoses whose spill is told: of every prescription, and of the highest.
CONFORMITY_PERCENT = 95.0
FALLOFF_PERCENT = 50.0
#: Sentences about this many spots of a kind; the others are summed up.
MOST_SPOTS = 4
#: Smaller spots are summed up, but for the largest.
LEAST_TOLD_CC = 0.1


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
            lines[0] += f", {place.distance_mm:.0f} mm {way} of the targets"
            lines[0] += skin_text(place.skin_mm)
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


def spatial_facts(
    case: Case,
    dose: DoseImage,
    protocol: Protocol,
    occupancies: Mapping[str, Occupancy] | None = None,
) -> SpatialFacts:
    """Hot spots, cold spots and spill of a dose.

    Parameters
    ----------
    case : Case
    dose : DoseImage
    protocol : Protocol
        In the case's names.
    occupancies : mapping of name to Occupancy, optional
        Structures on the dose grid, where they are known already.

    Raises
    ------
    InputError
        If no target with a prescription lies on the dose grid.
    """
    scene = DoseScene.of(case, dose, protocol, occupancies or {})
    highest = max(scene.prescription_gy, key=scene.prescription_gy.get)
    highest_gy = scene.prescription_gy[highest]
    in_body = np.where(scene.inside_body, scene.dose_gy, 0.0)
    hottest = np.unravel_index(int(in_body.argmax()), in_body.shape)
    spills = [
        spill_of(scene, in_body, CONFORMITY_PERCENT, level_gy, level_gy)
        for level_gy in sorted(set(scene.prescription_gy.values()), reverse=True)
    ]
    spills.append(spill_of(scene, in_body, FALLOFF_PERCENT, highest_gy, 0.0))
    return SpatialFacts(
        highest,
        highest_gy,
        float(in_body[hottest]),
        point_mm_of(hottest, scene.grid),
        tuple(n for n in (*scene.targets, *scene.organs) if scene.holds(n, hottest)),
        HOT_PERCENT,
        COLD_PERCENT,
        tuple(s for percent in HOT_PERCENT for s in hot_spots(scene, in_body, percent, highest)),
        tuple(
            sorted(
                (spot for target in scene.targets for spot in cold_spots(scene, target)),
                key=lambda spot: -spot.volume_cc,
            )
        ),
        tuple(spills),
        tuple(
            (target, tuple(lower_hot_spots(scene, target)))
            for target, prescribed_gy in scene.prescription_gy.items()
            if prescribed_gy < highest_gy
        ),
        _maximum_place(scene, in_body, hottest),
    )


def _maximum_place(
    scene: DoseScene, in_body: np.ndarray, hottest: tuple[int, ...]
) -> Island | None:
    """Where the hottest voxel is, seen from the targets; None in one of them."""
    if scene.in_target[hottest] >= 0.5:
        return None
    voxel = Region(scene.grid, tuple(map(int, hottest)), np.ones((1, 1, 1), bool))
    return island_of(scene, voxel, in_body, Border(scene.in_target >= 0.5, scene.grid))


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
