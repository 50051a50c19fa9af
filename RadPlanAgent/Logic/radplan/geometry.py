"""Regular grids in patient space and the part of each voxel that a region fills.

Frame: DICOM LPS (x to the patient's left, y to posterior, z to superior), millimetres.
Points, spacings and origins are always (x, y, z); array shapes and indices are always (z, y, x),
C order, so that x runs fastest. Grids are aligned with the axes and have positive spacing:
``radplan.io`` flips what comes otherwise and refuses what is oblique.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage, sparse

Triple = tuple[float, float, float]
#: Fractions of a voxel below this are rounding, not anatomy.
SMALLEST_FRACTION = 1e-6


@dataclass(frozen=True)
class Grid:
    """An axis-aligned voxel grid.

    Parameters
    ----------
    shape : tuple of int
        Number of voxels along (z, y, x).
    spacing_mm : tuple of float
        Distance of voxel centres along (x, y, z), positive.
    origin_mm : tuple of float
        Centre of voxel [0, 0, 0], LPS (x, y, z).
    """

    shape: tuple[int, int, int]
    spacing_mm: Triple
    origin_mm: Triple

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "spacing_mm", tuple(float(s) for s in self.spacing_mm))
        object.__setattr__(self, "origin_mm", tuple(float(o) for o in self.origin_mm))
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"grid shape must be three positive numbers, got {self.shape}")
        if len(self.spacing_mm) != 3 or not all(0 < s < np.inf for s in self.spacing_mm):
            raise ValueError(f"grid spacing must be three positive lengths, got {self.spacing_mm}")
        if len(self.origin_mm) != 3 or not np.all(np.isfinite(self.origin_mm)):
            raise ValueError(f"grid origin must be a finite point, got {self.origin_mm}")

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def voxel_volume_cc(self) -> float:
        """Volume of one voxel, cubic centimetres."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    @cached_property
    def axes_mm(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Voxel centre coordinates along (z, y, x): array order, LPS mm, float64."""
        return tuple(
            self.origin_mm[2 - axis] + self.spacing_mm[2 - axis] * np.arange(self.shape[axis])
            for axis in range(3)
        )

    def edges_mm(self, axis: int) -> np.ndarray:
        """Voxel borders along array axis 0 (z), 1 (y) or 2 (x), LPS mm, one more than voxels."""
        spacing = self.spacing_mm[2 - axis]
        return self.origin_mm[2 - axis] + spacing * (np.arange(self.shape[axis] + 1) - 0.5)

    @property
    def center_mm(self) -> Triple:
        """Centre of the grid, LPS (x, y, z)."""
        return tuple(
            o + s * (n - 1) / 2
            for o, s, n in zip(self.origin_mm, self.spacing_mm, self.shape[::-1], strict=True)
        )

    def index_of(self, point_mm: Triple) -> tuple[float, float, float]:
        """Continuous array index (z, y, x) of an LPS point (x, y, z)."""
        return tuple(
            (p - o) / s
            for p, o, s in zip(
                point_mm[::-1], self.origin_mm[::-1], self.spacing_mm[::-1], strict=True
            )
        )

    def matches(self, other: Grid, tolerance_mm: float = 1e-3) -> bool:
        """Whether both grids have the same voxels, to a tolerance on the far corner."""
        if self.shape != other.shape:
            return False
        far = max(self.shape) * np.abs(np.subtract(self.spacing_mm, other.spacing_mm)).max()
        return bool(
            far <= tolerance_mm
            and np.abs(np.subtract(self.origin_mm, other.origin_mm)).max() <= tolerance_mm
        )

    def coarsened(self, spacing_mm: Triple) -> Grid:
        """The grid of another spacing that covers the same box, centred on it."""
        shape_xyz = [
            max(1, int(np.ceil(n * s / t - 1e-6)))
            for n, s, t in zip(self.shape[::-1], self.spacing_mm, spacing_mm, strict=True)
        ]
        origin = [
            c - t * (n - 1) / 2
            for c, t, n in zip(self.center_mm, spacing_mm, shape_xyz, strict=True)
        ]
        return Grid(tuple(shape_xyz[::-1]), tuple(spacing_mm), tuple(origin))

    def cropped(self, start: tuple[int, int, int], stop: tuple[int, int, int]) -> Grid:
        """The part of the grid with array indices start ≤ i < stop, both (z, y, x)."""
        origin = tuple(
            o + s * i for o, s, i in zip(self.origin_mm, self.spacing_mm, start[::-1], strict=True)
        )
        shape = tuple(b - a for a, b in zip(start, stop, strict=True))
        return Grid(shape, self.spacing_mm, origin)


def overlap_matrix(source: Grid, target: Grid, axis: int) -> sparse.csr_array:
    """Fraction of each target voxel covered by each source voxel along one axis.

    Parameters
    ----------
    source, target : Grid
    axis : int
        Array axis: 0 (z), 1 (y) or 2 (x).

    Returns
    -------
    scipy.sparse.csr_array, float64, shape (target.shape[axis], source.shape[axis])
        Entry [i, j] = length of the overlap of target voxel i and source voxel j, divided by the
        length of target voxel i. Rows sum to one inside the source grid.
    """
    source_edges, target_edges = source.edges_mm(axis), target.edges_mm(axis)
    first = np.clip(
        np.searchsorted(source_edges, target_edges[:-1], "right") - 1, 0, source.shape[axis] - 1
    )
    last = np.clip(
        np.searchsorted(source_edges, target_edges[1:], "left") - 1, 0, source.shape[axis] - 1
    )
    counts = np.maximum(last - first + 1, 0)
    rows = np.repeat(np.arange(target.shape[axis]), counts)
    offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    columns = first[rows] + offsets
    overlap = np.minimum(source_edges[columns + 1], target_edges[rows + 1]) - np.maximum(
        source_edges[columns], target_edges[rows]
    )
    lengths = np.maximum(overlap, 0.0) / target.spacing_mm[2 - axis]
    matrix = sparse.csr_array(
        (lengths, (rows, columns)), shape=(target.shape[axis], source.shape[axis])
    )
    matrix.eliminate_zeros()
    return matrix


def average_onto(values: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    """Volume average of a piecewise constant image over every voxel of another grid.

    Conserves volume: the integral over any region covered by both grids is the same. Outside the
    source grid the image is taken as zero.

    Parameters
    ----------
    values : ndarray, shape source.shape

    Returns
    -------
    ndarray, float32, shape target.shape
    """
    if source.matches(target, tolerance_mm=1e-6):
        return values.astype(np.float32)
    result = values.astype(np.float64)
    for axis in range(3):
        matrix = overlap_matrix(source, target, axis)
        moved = np.moveaxis(result, axis, 0)
        flat = matrix @ moved.reshape(moved.shape[0], -1)
        result = np.moveaxis(flat.reshape(-1, *moved.shape[1:]), 0, axis)
    return result.astype(np.float32)


@dataclass(frozen=True)
class Occupancy:
    """The fraction of each voxel that a region fills, stored only where the region is.

    Parameters
    ----------
    grid : Grid
        The grid the region lives on.
    start : tuple of int
        Array index (z, y, x) of the first voxel of the stored box.
    values : ndarray of float32, (z, y, x)
        Filled fraction of each voxel of the box, 0 … 1.
    """

    grid: Grid
    start: tuple[int, int, int]
    values: np.ndarray

    @classmethod
    def from_array(cls, grid: Grid, array: np.ndarray) -> Occupancy:
        """Crop a full-grid array (bool or fraction 0 … 1) to the region's bounding box.

        Raises
        ------
        ValueError
            If the shape differs from the grid's or a value lies outside 0 … 1.
        """
        if array.shape != grid.shape:
            raise ValueError(f"occupancy of shape {array.shape} on a grid of shape {grid.shape}")
        box = []
        for axis in range(3):
            hit = np.flatnonzero(array.any(axis=tuple(a for a in range(3) if a != axis)))
            if not hit.size:
                return cls(grid, (0, 0, 0), np.zeros((0, 0, 0), np.float32))
            box.append(slice(int(hit[0]), int(hit[-1]) + 1))
        values = np.ascontiguousarray(array[tuple(box)], dtype=np.float32)
        if not (values.min() >= 0 and values.max() <= 1 + 1e-5):
            raise ValueError("occupancy must lie between 0 and 1")
        return cls(grid, tuple(s.start for s in box), np.minimum(values, 1.0))

    @property
    def is_empty(self) -> bool:
        """Whether the region fills nothing."""
        return self.values.size == 0

    @property
    def stop(self) -> tuple[int, int, int]:
        """Array index (z, y, x) one past the last voxel of the stored box."""
        return tuple(a + n for a, n in zip(self.start, self.values.shape, strict=True))

    @property
    def box_grid(self) -> Grid:
        """The grid of the stored box."""
        return self.grid.cropped(self.start, self.stop)

    @cached_property
    def volume_cc(self) -> float:
        """Volume, cubic centimetres."""
        return float(self.values.sum(dtype=np.float64)) * self.grid.voxel_volume_cc

    @cached_property
    def centroid_mm(self) -> Triple:
        """Centre of mass, LPS (x, y, z). Undefined (ValueError) for an empty region."""
        if self.is_empty:
            raise ValueError("an empty region has no centroid")
        total = self.values.sum(dtype=np.float64)
        axes = self.box_grid.axes_mm
        means = []
        for axis in range(3):
            profile = self.values.sum(
                axis=tuple(a for a in range(3) if a != axis), dtype=np.float64
            )
            means.append(float(profile @ axes[axis] / total))
        return tuple(means[::-1])

    def array(self) -> np.ndarray:
        """The region on its whole grid, float32 (z, y, x)."""
        full = np.zeros(self.grid.shape, np.float32)
        if not self.is_empty:
            full[tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))] = (
                self.values
            )
        return full

    def mask(self) -> np.ndarray:
        """Voxels at least half filled, bool (z, y, x) on the whole grid."""
        return self.array() >= 0.5

    def onto(self, grid: Grid) -> Occupancy:
        """The same region on another grid, volume conserved (see `average_onto`)."""
        if self.is_empty:
            return Occupancy(grid, (0, 0, 0), self.values)
        if grid.matches(self.grid, tolerance_mm=1e-6):
            return self
        # Work only on target voxels that the region's box can touch.
        box = self.box_grid
        start, stop = [], []
        for axis in range(3):
            low, high = box.edges_mm(axis)[[0, -1]]
            edges = grid.edges_mm(axis)
            first = int(np.clip(np.searchsorted(edges, low, "right") - 1, 0, grid.shape[axis] - 1))
            last = int(np.clip(np.searchsorted(edges, high, "left"), first + 1, grid.shape[axis]))
            start.append(first)
            stop.append(last)
        part = np.clip(average_onto(self.values, box, grid.cropped(start, stop)), 0.0, 1.0)
        part[part < SMALLEST_FRACTION] = 0.0
        local = Occupancy.from_array(grid.cropped(start, stop), part)
        if local.is_empty:
            return Occupancy(grid, (0, 0, 0), local.values)
        return Occupancy(
            grid, tuple(a + b for a, b in zip(start, local.start, strict=True)), local.values
        )


def distance_mm(mask: np.ndarray, grid: Grid) -> np.ndarray:
    """Distance of every voxel centre from the nearest voxel centre of a mask, float32 mm.

    Infinite where the mask is empty.
    """
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    return ndimage.distance_transform_edt(~mask, sampling=grid.spacing_mm[::-1]).astype(np.float32)
