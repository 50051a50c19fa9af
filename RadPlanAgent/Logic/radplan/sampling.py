"""Sample a dose inside a structure: partial volumes, supersampling, linear interpolation.

Rules, the same for every structure and dose:

* Between the centres of dose voxels the dose is trilinear; in the outer half of the outermost
  voxels it is constant.
* Each occupied voxel of the structure is divided into k³ cells, one sample in each. k is the
  smallest number that gives `MIN_SAMPLES` samples, at most `MAX_DIVISIONS`, and at least 2 unless
  there are more than `MAX_DIVIDED_VOXELS` voxels. A sample stands for the volume it occupies, so
  volume is conserved exactly.
* A structure made of whole voxels of the dose grid (a mask, as OpenKBP has them) is its voxels:
  they are sampled at their centres. Divided, their outer corners would reach into doses that
  neither the outline nor the optimizer saw.
* In a partly filled voxel the cells with the highest (interpolated) occupancy are filled first:
  the structure lies on the side of its neighbours, not spread over the voxel.
* Samples sit at low-discrepancy points of their cells, not at the centres: a dose that varies
  along one axis only would else be met at few values, and the DVH would be a staircase.
  Large structures on the dose grid, such as the body, are sampled at voxel centres too, so that
  the hottest voxel of a plan is in its DVH.
* A large structure on a grid much finer than the dose grid is first averaged onto the dose grid.
* Where the structure leaves the dose grid the dose counts as zero and the fraction is told
  (`StructureDose.uncovered_fraction`): ignoring that part would flatter nobody but hide it.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage, sparse

from .errors import InputError
from .geometry import Grid, Occupancy
from .metrics import StructureDose

#: A structure has at least this many samples …
MIN_SAMPLES = 100_000
#: … unless its voxels would be divided more finely than this along each axis.
MAX_DIVISIONS = 8
#: Voxels of structures with more of them than this are not divided …
MAX_DIVIDED_VOXELS = 40_000
#: … and those with more than this, finer than the dose grid's, are averaged onto it.
MAX_FINE_VOXELS = 300_000
#: Cells filled less than this do not count.
MIN_FILL = 1e-6
#: Samples this far outside the dose grid still count as inside, in voxels: rounding.
EDGE_TOLERANCE = 1e-3
#: Multiples of these, modulo 1, fill the unit cube evenly (powers of the root of x⁴ = x + 1).
_R3 = 1.2207440846057596 ** -np.arange(1.0, 4.0)


class StructureSampler:
    """How to sample any dose on one grid inside one structure; prepared once, used often.

    Parameters
    ----------
    occupancy : Occupancy
        The structure, on any grid.
    dose_grid : Grid
        Where doses will live.

    Raises
    ------
    InputError
        If the structure is empty.
    """

    def __init__(self, occupancy: Occupancy, dose_grid: Grid) -> None:
        if occupancy.is_empty:
            raise InputError("the structure is empty: it has no volume to take a dose from")
        occupied = np.count_nonzero(occupancy.values > MIN_FILL)
        if occupied > MAX_FINE_VOXELS and occupancy.grid.voxel_volume_cc < (
            0.99 * dose_grid.voxel_volume_cc
        ):
            padded = _around(occupancy, dose_grid)
            occupancy = occupancy.onto(padded)
        self._dose_grid = dose_grid
        points, volumes = _samples(occupancy, dose_grid)
        index = (points - dose_grid.origin_mm[::-1]) / dose_grid.spacing_mm[::-1]
        low, high = -0.5 - EDGE_TOLERANCE, np.array(dose_grid.shape) - 0.5 + EDGE_TOLERANCE
        covered = np.all((index >= low) & (index <= high), axis=1)
        outside_cc = float(volumes[~covered].sum())
        self._uncovered_fraction = outside_cc / float(volumes.sum())
        self._volumes_cc = volumes[covered]
        if outside_cc > 0:
            self._volumes_cc = np.append(self._volumes_cc, outside_cc)
        self._interpolation = _interpolation_matrix(index[covered], dose_grid.shape)

    @property
    def uncovered_fraction(self) -> float:
        """Part of the structure's volume outside the dose grid, where the dose counts as zero."""
        return self._uncovered_fraction

    @property
    def sample_count(self) -> int:
        """Number of samples."""
        return self._volumes_cc.size

    def sample(self, dose_gy: np.ndarray) -> StructureDose:
        """Dose in the structure.

        Parameters
        ----------
        dose_gy : ndarray, float, (z, y, x) or flat
            Dose on the whole dose grid, Gy for the whole course.

        Raises
        ------
        InputError
            If the dose does not fit the grid, is negative or not a number in the structure.
        """
        dose = np.asarray(dose_gy)
        if dose.size != self._dose_grid.size or dose.shape not in (
            self._dose_grid.shape,
            (dose.size,),
        ):
            raise InputError(
                f"dose of shape {dose.shape} on a dose grid of shape {self._dose_grid.shape}"
            )
        samples = self._interpolation @ dose.reshape(-1).astype(np.float32, copy=False)
        if samples.size < self._volumes_cc.size:
            samples = np.append(samples, np.float32(0.0))
        return StructureDose(samples, self._volumes_cc, self._uncovered_fraction)


def _around(occupancy: Occupancy, grid: Grid) -> Grid:
    """The dose grid, extended by whole voxels so that it holds the whole structure."""
    start, stop = [], []
    for axis in range(3):
        low, high = occupancy.box_grid.edges_mm(axis)[[0, -1]]
        first, spacing = grid.edges_mm(axis)[0], grid.spacing_mm[2 - axis]
        start.append(min(0, int(np.floor((low - first) / spacing + 1e-6))))
        stop.append(max(grid.shape[axis], int(np.ceil((high - first) / spacing - 1e-6))))
    return grid.cropped(tuple(start), tuple(stop))


def _samples(occupancy: Occupancy, dose_grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Sample points, LPS mm (n, 3) in order (z, y, x), and the volume of each, cc."""
    voxels = np.argwhere(occupancy.values > MIN_FILL)
    fill = occupancy.values[tuple(voxels.T)].astype(np.float64)
    partial = fill < 1 - MIN_FILL
    finer = occupancy.grid.voxel_volume_cc < 0.99 * dose_grid.voxel_volume_cc
    if is_mask_on(occupancy, dose_grid) or len(fill) > MAX_DIVIDED_VOXELS:
        divisions = 1
    else:
        divisions = int(np.clip(np.ceil((MIN_SAMPLES / len(fill)) ** (1 / 3)), 2, MAX_DIVISIONS))
    cells = divisions**3
    if divisions > 1 or finer:
        within = np.mod(0.5 + np.arange(len(fill) * cells)[:, None] * _R3, 1.0)
    else:
        within = np.full((len(fill), 3), 0.5)
    corners = np.array(list(np.ndindex(divisions, divisions, divisions)))
    offsets = (corners + within.reshape(len(fill), cells, 3)) / divisions - 0.5
    index = voxels[:, None, :] + offsets
    weight = np.repeat(fill[:, None] / cells, cells, axis=1)
    weight[partial] = _fill_cells(occupancy.values, index[partial], fill[partial])
    kept = weight > MIN_FILL / cells
    index, weight = index[kept], weight[kept]
    box = occupancy.box_grid
    points = index * box.spacing_mm[::-1] + box.origin_mm[::-1]
    # What was too thin to count is given back, so that the volume is exactly the structure's.
    return points, weight * (occupancy.volume_cc / weight.sum())


def is_mask_on(occupancy: Occupancy, dose_grid: Grid) -> bool:
    """Whether a structure is made of whole voxels of the dose grid, so that these are sampled."""
    if not _shares_voxels(occupancy.grid, dose_grid):
        return False
    filled = occupancy.values[occupancy.values > MIN_FILL]
    return bool((filled >= 1 - MIN_FILL).all())


def _shares_voxels(grid: Grid, other: Grid) -> bool:
    """Whether the voxels of one grid are voxels of the other, where both have any."""
    spacing = np.asarray(grid.spacing_mm)
    shift = np.subtract(grid.origin_mm, other.origin_mm) / spacing
    return bool(
        np.allclose(spacing, other.spacing_mm, rtol=1e-5)
        and np.abs(shift - np.rint(shift)).max() < EDGE_TOLERANCE
    )


def _fill_cells(values: np.ndarray, index: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """Filled volume of every cell, as part of its voxel; float64 (voxels, cells).

    Parameters
    ----------
    values : ndarray, (z, y, x)
        Occupancy of all voxels.
    index : ndarray, float64, (voxels, cells, 3)
        Sample points, continuous array index.
    fill : ndarray, float64, (voxels,)
        Filled fraction of each of the voxels.
    """
    cells = index.shape[1]
    nearby = ndimage.map_coordinates(
        values, index.reshape(-1, 3).T, order=1, mode="grid-constant", cval=0.0
    ).reshape(-1, cells)
    rank = np.argsort(np.argsort(-nearby, axis=1), axis=1)
    return np.clip(fill[:, None] * cells - rank, 0.0, 1.0) / cells


def _interpolation_matrix(index: np.ndarray, shape: tuple[int, int, int]) -> sparse.csr_array:
    """Trilinear interpolation at continuous indices (n, 3): float32 (n, voxels), rows sum to 1."""
    clipped = np.clip(index, 0, np.array(shape) - 1)
    lower = np.minimum(np.floor(clipped), np.maximum(np.array(shape) - 2, 0)).astype(np.int64)
    part = clipped - lower
    columns, weights = [], []
    for corner in np.ndindex(2, 2, 2):
        weights.append(np.prod(np.where(corner, part, 1.0 - part), axis=1))
        columns.append(
            np.ravel_multi_index(tuple((lower + corner).T), shape, mode="clip")
        )
    matrix = sparse.csr_array(
        (
            np.stack(weights, axis=1).astype(np.float32).reshape(-1),
            np.stack(columns, axis=1).astype(np.int32).reshape(-1),
            np.arange(len(index) + 1, dtype=np.int32) * 8,
        ),
        shape=(len(index), int(np.prod(shape))),
    )
    matrix.eliminate_zeros()
    return matrix
