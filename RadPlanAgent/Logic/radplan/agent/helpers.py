"""Helper structures that planners draw for themselves: rings and overlap-free parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..case import Case, StructureType
from ..geometry import Grid, Occupancy, distance_mm
from ..protocol import Protocol

#: Rings around a target: distance from it, mm, and the share of its prescription wanted there.
#: Levels follow the fall-off that 7 to 9 static fields reach (near the target 10 % per 3 mm).
#: The first is only a cap: at its edge a target must not be pulled down.
RINGS: tuple[tuple[float, float, float], ...] = (
    (0.0, 3.0, 1.02),
    (3.0, 10.0, 0.95),
    (10.0, 20.0, 0.75),
    (20.0, 40.0, 0.55),
    (40.0, np.inf, 0.40),
)
NEAR_RINGS = 2
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
    covered : frozenset of names
        Organs that lie within the targets, and targets that lie within higher ones, but for
        slivers.
    """

    occupancies: dict[str, Occupancy]
    parent: dict[str, str]
    ring_level_gy: dict[str, float]
    covered: frozenset[str] = frozenset()

    @property
    def near_rings(self) -> tuple[str, ...]:
        """Rings up to `NEAR_RINGS`, where a plan's hot spots appear when they leave the target."""
        first = tuple(ring_name(i, "") for i in range(1, NEAR_RINGS + 1))
        return tuple(name for name in self.ring_level_gy if name.startswith(first))

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
    ring_names, ring_level_gy = [], {}
    for prescription in prescriptions:
        distance = distance_mm(on_grid[prescription.target].mask(), grid)
        for index, (near, far, share) in enumerate(RINGS, start=1):
            wanted = share * prescription.dose_gy
            here = (distance > near) & (distance <= far) & (wanted > level)
            level[here] = wanted
            ring[here] = len(ring_names)
            ring_names.append(ring_name(index, prescription.target))
            ring_level_gy[ring_names[-1]] = wanted
    for index, name in enumerate(ring_names):
        array = body * (ring == index)
        if array.sum() * grid.voxel_volume_cc >= SMALLEST_HELPER_CC:
            occupancies[name] = Occupancy.from_array(grid, array)
        else:
            del ring_level_gy[name]
    return PlanningStructures(occupancies, parent, ring_level_gy, frozenset(covered))


def planned_organs(case: Case, structures: PlanningStructures) -> tuple[str, ...]:
    """The organs at risk that fill at least a voxel of the dose grid."""
    organs = case.of_type(StructureType.OAR)
    return tuple(s.name for s in organs if s.name in structures.occupancies)
