"""Helper structures that planners draw for themselves: rings and overlap-free parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..case import Case, StructureType
from ..geometry import Grid, Occupancy, distance_mm
from ..protocol import Protocol


class Ring(NamedTuple):
    """Normal tissue at a distance from a target.

    Parameters
    ----------
    near_mm, far_mm : float
        Distance from the target.
    share : float
        Of the target's prescription: the dose wanted there.
    hottest_share : float
        Of the highest prescription: what no voxel should exceed.
    """

    near_mm: float
    far_mm: float
    share: float
    hottest_share: float


#: Levels follow the fall-off that 7 to 9 static fields reach (near the target 10 % per 3 mm).
#: The first is only a cap: at its edge a target must not be pulled down. Hot islands far from all
#: targets, as under the skin where beams enter, cost an average next to nothing, hence the last
#: number: it is above what plans without such islands have there.
RINGS = (
    Ring(0.0, 3.0, 1.02, 1.10),
    Ring(3.0, 10.0, 0.95, 1.10),
    Ring(10.0, 20.0, 0.75, 1.00),
    Ring(20.0, 40.0, 0.55, 0.85),
    Ring(40.0, np.inf, 0.40, 0.75),
)
#: Dose can fall from one prescription level to a lower one only over some distance: up to this far
#: from a higher target, a lower target is held to the higher prescription.
LEVEL_GRADIENT_MM = 10.0
#: Helpers smaller than this are left out: they are slivers of partial voxels.
SMALLEST_HELPER_CC = 0.3


@dataclass(frozen=True)
class PlanningStructures:
    """Structures and helpers on the dose grid, and what each helper was made from.

    Parameters
    ----------
    occupancies : dict of name to Occupancy
        Case structures and helpers on the dose grid.
    parent : dict of name to name
        For each helper that is a part of one structure, that structure.
    ring_level_gy : dict of name to float
        For each ring, the dose wanted in it.
    ring_hottest_gy : dict of name to float
        For each ring, the dose that no voxel of it should exceed.
    covered : frozenset of names
        Organs that lie within the targets, and targets that lie within higher ones, but for
        slivers.
    """

    occupancies: dict[str, Occupancy]
    parent: dict[str, str]
    ring_level_gy: dict[str, float]
    ring_hottest_gy: dict[str, float]
    covered: frozenset[str] = frozenset()

    def structure_of(self, name: str) -> str:
        """The case structure behind a name: itself, or the parent of a helper part."""
        return self.parent.get(name, name)

    def part_outside_targets(self, structure: str) -> str | None:
        """Name of a structure's overlap-free part, its own name when it overlaps nothing.

        None when nothing of it is free.
        """
        if structure in self.covered:
            return None
        helper = overlap_free_name(structure)
        return helper if helper in self.occupancies else structure


def overlap_free_name(structure: str) -> str:
    """Name of the part of an organ outside all targets, or of a target outside higher ones."""
    return f"z{structure}_free"


def core_name(target: str) -> str:
    """Name of the part of a lower target that is not near a higher one."""
    return f"z{target}_core"


def shell_name(target: str) -> str:
    """Name of the part of a lower target that is near a higher one but outside it."""
    return f"z{target}_shell"


def ring_name(number: int, target: str) -> str:
    """Name of the normal tissue of one of the `RINGS` (counted from 1) around a target."""
    return f"zRing{number}_{target}"


def make_planning_structures(case: Case, protocol: Protocol, grid: Grid) -> PlanningStructures:
    """Bring the case onto the dose grid and draw the helpers a dosimetrist would draw.

    * ``z<organ>_free``: the part of an organ outside every target, spared without cost;
    * ``z<target>_free``: the part of a target outside all targets of higher prescription;
    * ``z<target>_core``: of that, what is at least `LEVEL_GRADIENT_MM` from a higher target, and
      ``z<target>_shell``: the rest of it;
    * ``zRing<i>_<target>``: normal tissue by distance (`RINGS`), each voxel given to the target
      that justifies the highest dose in it, so that a ring never asks for less than the fall-off
      of another target allows.

    Structures that fill no dose voxel are left out.
    """
    on_grid = {s.name: s.occupancy.onto(grid) for s in case.structures}
    occupancies = {name: o for name, o in on_grid.items() if not o.is_empty}
    parent: dict[str, str] = {}
    prescriptions = sorted(
        (p for p in protocol.prescriptions if p.target in occupancies),
        key=lambda p: -p.dose_gy,
    )

    covered: set[str] = set()

    def add(name: str, of: str, array: np.ndarray) -> bool:
        helper = Occupancy.from_array(grid, array)
        large_enough = helper.volume_cc >= SMALLEST_HELPER_CC
        if large_enough:
            occupancies[name], parent[name] = helper, of
        return large_enough

    def add_free_part(of: str, array: np.ndarray) -> None:
        if not add(overlap_free_name(of), of, array):
            covered.add(of)

    higher = np.zeros(grid.shape, np.float32)
    for prescription in prescriptions:
        target = on_grid[prescription.target].array()
        if higher.any():
            free = np.clip(target - higher, 0, 1)
            if free.sum() < 0.99 * target.sum():
                add_free_part(prescription.target, free)
            far = distance_mm(higher >= 0.5, grid) > LEVEL_GRADIENT_MM
            add(core_name(prescription.target), prescription.target, free * far)
            add(shell_name(prescription.target), prescription.target, free * ~far)
        higher = np.maximum(higher, target)
    in_targets = higher
    for structure in case.of_type(StructureType.OAR):
        if structure.name not in occupancies:
            continue
        organ = on_grid[structure.name].array()
        overlap = np.minimum(organ, in_targets)
        if overlap.sum() * grid.voxel_volume_cc > 0.01:
            add_free_part(structure.name, np.clip(organ - overlap, 0, 1))

    body = on_grid[case.external.name].array() * (in_targets < 0.5)
    level = np.zeros(grid.shape, np.float32)
    ring = np.full(grid.shape, -1, np.int16)
    ring_names, ring_level_gy, ring_hottest_gy = [], {}, {}
    for prescription in prescriptions:
        distance = distance_mm(on_grid[prescription.target].mask(), grid)
        for index, of in enumerate(RINGS, start=1):
            wanted = of.share * prescription.dose_gy
            here = (distance > of.near_mm) & (distance <= of.far_mm) & (wanted > level)
            level[here] = wanted
            ring[here] = len(ring_names)
            ring_names.append(ring_name(index, prescription.target))
            ring_level_gy[ring_names[-1]] = wanted
            ring_hottest_gy[ring_names[-1]] = of.hottest_share * protocol.highest.dose_gy
    for index, name in enumerate(ring_names):
        array = body * (ring == index)
        if array.sum() * grid.voxel_volume_cc >= SMALLEST_HELPER_CC:
            occupancies[name] = Occupancy.from_array(grid, array)
        else:
            del ring_level_gy[name], ring_hottest_gy[name]
    return PlanningStructures(
        occupancies, parent, ring_level_gy, ring_hottest_gy, frozenset(covered)
    )


def planned_organs(case: Case, structures: PlanningStructures) -> tuple[str, ...]:
    """The organs at risk that fill at least a voxel of the dose grid."""
    organs = case.of_type(StructureType.OAR)
    return tuple(s.name for s in organs if s.name in structures.occupancies)
