"""Distances between regions of one grid, from the voxels of their borders."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from ..geometry import Grid, Occupancy


def half_filled(occupancy: Occupancy) -> np.ndarray:
    """Voxels of the region's box that are at least half filled; the fullest if there is none."""
    if occupancy.is_empty:
        return np.zeros(occupancy.values.shape, bool)
    return occupancy.values >= min(0.5, float(occupancy.values.max()))


class Border:
    """The voxels of a region that have a neighbour outside it.

    Parameters
    ----------
    mask : ndarray of bool, (z, y, x)
        The region, not empty.
    grid : Grid
        Of the mask.
    """

    def __init__(self, mask: np.ndarray, grid: Grid) -> None:
        inside = ndimage.binary_erosion(mask)  # what lies beyond the grid counts as outside
        self.points_mm = points_mm(np.argwhere(mask & ~inside), grid)
        self._voxel_mm = min(grid.spacing_mm)

    @classmethod
    def of(cls, occupancy: Occupancy) -> Border:
        """The border of a structure that is not empty."""
        return cls(half_filled(occupancy), occupancy.box_grid)

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.points_mm)

    def nearest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance (mm) of points (n, 3) from this border, and where on it, LPS (x, y, z)."""
        distance, index = self._tree.query(points)
        return distance, self.points_mm[index]

    def gap_mm(self, other: Border) -> float:
        """Distance between two borders, mm, to about a voxel: 0 for voxels side by side."""
        return max(0.0, float(self.nearest(other.points_mm)[0].min()) - self._voxel_mm)


def points_mm(indices: np.ndarray, grid: Grid) -> np.ndarray:
    """Centres of voxels (n, 3; z, y, x) as LPS points (x, y, z), float64 (n, 3)."""
    return indices[:, ::-1] * np.asarray(grid.spacing_mm) + np.asarray(grid.origin_mm)
