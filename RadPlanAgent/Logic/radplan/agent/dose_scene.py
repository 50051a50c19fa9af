"""A dose and its structures on one grid, and connected regions of that grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..case import Case, DoseImage, StructureType
from ..errors import InputError
from ..geometry import Grid, Occupancy, Triple
from ..protocol import Protocol
from .borders import Border, half_filled, points_mm

#: Smaller regions are left out.
SMALLEST_CC = 0.03
#: Depths up to this are told.
_DEEPEST_SKIN_MM = 10.0
#: Voxels that touch by a corner are connected.
_NEIGHBOURS = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class DoseScene:
    """Dose and structures on the dose grid, with what is needed again and again.

    Parameters
    ----------
    grid : Grid
    dose_gy : ndarray, (z, y, x)
    regions : dict of name to Occupancy
        Targets, organs and body that are on the grid and not empty.
    prescription_gy : dict of name to float
        Of the targets that have a prescription.
    organs : tuple of str
        All organs at risk.
    borders : dict of name to Border
        Of targets and organs.
    in_target : ndarray of float32, (z, y, x)
        The largest part of each voxel that one of the targets fills.
    inside_body : ndarray of bool, (z, y, x)
        Targets count as body.
    """

    grid: Grid
    dose_gy: np.ndarray
    regions: dict[str, Occupancy]
    prescription_gy: dict[str, float]
    organs: tuple[str, ...]
    borders: dict[str, Border]
    in_target: np.ndarray
    inside_body: np.ndarray

    @classmethod
    def of(
        cls, case: Case, dose: DoseImage, protocol: Protocol, known: Mapping[str, Occupancy]
    ) -> DoseScene:
        """Bring a case to the grid of its dose.

        Parameters
        ----------
        case : Case
        dose : DoseImage
        protocol : Protocol
            In the case's names.
        known : mapping of name to Occupancy
            Structures on the dose grid, where they are known already.

        Raises
        ------
        InputError
            If no target with a prescription lies on the dose grid.
        """
        wanted = {s.name: s for s in case.structures}
        regions = {
            name: known[name] if name in known else s.occupancy.onto(dose.grid)
            for name, s in wanted.items()
            if name in protocol.prescription_gy
            or s.type in (StructureType.OAR, StructureType.EXTERNAL)
        }
        regions = {name: region for name, region in regions.items() if not region.is_empty}
        prescription_gy = {n: gy for n, gy in protocol.prescription_gy.items() if n in regions}
        if not prescription_gy:
            raise InputError(
                f"case {case.name}: none of the targets {', '.join(protocol.prescription_gy)} "
                "lies on the dose grid; is the dose of this patient?"
            )
        organs = tuple(
            s.name
            for s in case.of_type(StructureType.OAR)
            if s.name in regions and s.name not in prescription_gy
        )
        in_target = union(regions, prescription_gy, dose.grid)
        body = regions.get(case.external.name)
        inside_body = in_target >= 0.5
        if body is not None:
            inside_body[box_of(body)] |= half_filled(body)
        borders = {n: Border.of(regions[n]) for n in (*prescription_gy, *organs)}
        return cls(
            dose.grid, dose.dose_gy, regions, prescription_gy, organs, borders, in_target,
            inside_body,
        )  # fmt: skip

    @property
    def targets(self) -> tuple[str, ...]:
        """Targets with a prescription."""
        return tuple(self.prescription_gy)

    def holds(self, name: str, index: tuple[int, ...]) -> bool:
        """Whether a structure fills at least half of a voxel."""
        region = self.regions[name]
        local = tuple(i - a for i, a in zip(index, region.start, strict=True))
        if not all(0 <= i < n for i, n in zip(local, region.values.shape, strict=True)):
            return False
        return bool(region.values[local] >= 0.5)

    def within(self, name: str, region: Region) -> float:
        """Volume that a region shares with a structure, cc."""
        of = self.regions[name]
        start = np.maximum(of.start, region.start)
        stop = np.minimum(of.stop, region.stop)
        if (stop <= start).any():
            return 0.0
        theirs = of.values[slices(start - of.start, stop - of.start)]
        mine = region.mask[slices(start - region.start, stop - region.start)]
        return float(theirs[mine].sum(dtype=np.float64)) * self.grid.voxel_volume_cc

    def nearest(self, names: Iterable[str], region: Region) -> tuple[str, float]:
        """The structure that holds most of a region, else the nearest, and the gap, mm."""
        names = tuple(names)
        shared = {name: self.within(name, region) for name in names}
        most = max(names, key=shared.get, default="")
        if not most or shared[most] > 0:
            return most, 0.0
        gaps = {name: self.borders[name].gap_mm(region.border) for name in names}
        nearest = min(names, key=gaps.get)
        return nearest, gaps[nearest]


@dataclass(frozen=True)
class Region:
    """A connected set of voxels.

    Parameters
    ----------
    grid : Grid
    start : tuple of int
        First voxel of its box on the grid (z, y, x).
    mask : ndarray of bool, (z, y, x)
        Which voxels of the box it is.
    """

    grid: Grid
    start: tuple[int, int, int]
    mask: np.ndarray

    @property
    def stop(self) -> tuple[int, int, int]:
        """The voxel after the last one of its box (z, y, x)."""
        return tuple(a + n for a, n in zip(self.start, self.mask.shape, strict=True))

    @property
    def volume_cc(self) -> float:
        """Volume of its voxels, cc."""
        return np.count_nonzero(self.mask) * self.grid.voxel_volume_cc

    @property
    def border(self) -> Border:
        """Its border, for distances."""
        return Border(self.mask, self.grid.cropped(self.start, self.stop))

    @property
    def center_mm(self) -> np.ndarray:
        """Mean of its voxels' centres, LPS (x, y, z)."""
        return points_mm(np.argwhere(self.mask) + self.start, self.grid).mean(axis=0)

    def of(self, array: np.ndarray) -> np.ndarray:
        """Values of an array of the whole grid in the region's voxels, in C order."""
        return array[slices(self.start, self.stop)][self.mask]

    def point_mm(self, number: int) -> Triple:
        """The voxel of that number in C order, LPS."""
        index = np.argwhere(self.mask)[number] + self.start
        return point_mm_of(index, self.grid)


def regions_of(
    mask: np.ndarray, grid: Grid, start: tuple[int, int, int] = (0, 0, 0)
) -> list[Region]:
    """Connected regions of at least `SMALLEST_CC`, the largest first; `start` places the mask."""
    labels, _ = ndimage.label(mask, _NEIGHBOURS)
    found = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        corner = tuple(a + s.start for a, s in zip(start, box, strict=True))
        region = Region(grid, corner, labels[box] == number)
        if region.volume_cc >= SMALLEST_CC:
            found.append(region)
    return sorted(found, key=lambda region: -region.volume_cc)


def skin_mm(scene: DoseScene, region: Region) -> float | None:
    """Distance of a region from what is not body, mm; None beyond `_DEEPEST_SKIN_MM`."""
    spacing = np.asarray(scene.grid.spacing_mm[::-1])
    margin = np.ceil(_DEEPEST_SKIN_MM / spacing).astype(int) + 1
    start = np.maximum(np.subtract(region.start, margin), 0)
    stop = np.minimum(np.add(region.stop, margin), scene.grid.shape)
    body = scene.inside_body[slices(start, stop)]
    if body.all():
        return None
    depth = ndimage.distance_transform_edt(body, sampling=spacing)
    own = depth[slices(region.start - start, region.stop - start)][region.mask]
    least = max(0.0, float(own.min()) - spacing.min())
    return least if least <= _DEEPEST_SKIN_MM else None


def union(regions: Mapping[str, Occupancy], names: Iterable[str], grid: Grid) -> np.ndarray:
    """Largest part of each voxel that one of the regions fills, float32 (z, y, x)."""
    filled = np.zeros(grid.shape, np.float32)
    for name in names:
        box = box_of(regions[name])
        filled[box] = np.maximum(filled[box], regions[name].values)
    return filled


def box_of(occupancy: Occupancy) -> tuple[slice, ...]:
    """The box of a structure, to index arrays of the whole grid with."""
    return slices(occupancy.start, occupancy.stop)


def slices(start: Iterable[int], stop: Iterable[int]) -> tuple[slice, ...]:
    """The box from one voxel to before another, to index with."""
    return tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))


def point_mm_of(index: Iterable[int], grid: Grid) -> Triple:
    """Centre of a voxel (z, y, x) as a point, LPS (x, y, z)."""
    return tuple(map(float, points_mm(np.asarray([tuple(index)]), grid)[0]))
