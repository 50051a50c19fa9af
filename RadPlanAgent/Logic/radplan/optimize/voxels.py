"""The voxels of structures on the dose grid, as objectives see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..geometry import Occupancy


@dataclass(frozen=True)
class StructureVoxels:
    """The dose-grid voxels of one structure.

    Parameters
    ----------
    rows : ndarray of int64
        Flat C-order indices into the dose grid, increasing.
    share : ndarray of float64
        Share of the structure's volume in each voxel; sums to one.
    """

    rows: np.ndarray
    share: np.ndarray

    @classmethod
    def of(cls, occupancy: Occupancy, voxel_limit: int) -> StructureVoxels:
        """Voxels of a region on the dose grid, at most about `voxel_limit` of them.

        A region with more voxels is thinned: of every k consecutive ones in C order, one is taken
        at random (fixed seed), so that the sample is even in space and prefers no direction.
        """
        flat = occupancy.array().ravel()
        rows = np.flatnonzero(flat)
        if rows.size > voxel_limit:
            block = int(np.ceil(rows.size / voxel_limit))
            first = np.arange(0, rows.size, block)
            size = np.minimum(block, rows.size - first)
            rows = rows[first + np.random.default_rng(0).integers(size)]
        share = flat[rows].astype(np.float64)
        return cls(rows, share / share.sum())


class StructureIndex:
    """Voxels of every structure and helper, found once and kept.

    Parameters
    ----------
    occupancies : mapping of name to Occupancy
        Regions on the dose grid.
    voxel_limit : int
        See `StructureVoxels.of`.
    """

    def __init__(self, occupancies: Mapping[str, Occupancy], voxel_limit: int = 12_000) -> None:
        self._occupancies = dict(occupancies)
        self._voxels: dict[str, StructureVoxels] = {}
        self._all_voxels: dict[str, StructureVoxels] = {}
        self.voxel_limit = voxel_limit

    @property
    def names(self) -> tuple[str, ...]:
        """Names that objectives may use."""
        return tuple(self._occupancies)

    def occupancy(self, name: str) -> Occupancy:
        """Region of one structure; `InputError` if it is unknown."""
        occupancy = self._occupancies.get(name)
        if occupancy is None:
            raise InputError(
                f"objective for unknown structure {name!r}; there are {', '.join(self.names)}"
            )
        return occupancy

    def voxels(self, name: str) -> StructureVoxels:
        """Voxels of one structure; `InputError` if it is unknown or fills no dose voxel."""
        if name not in self._voxels:
            occupancy = self.occupancy(name)
            if occupancy.is_empty:
                raise InputError(f"structure {name!r} fills no voxel of the dose grid")
            self._voxels[name] = StructureVoxels.of(occupancy, self.voxel_limit)
        return self._voxels[name]

    def all_voxels(self, name: str) -> StructureVoxels:
        """All voxels of one structure, however many."""
        if name not in self._all_voxels:
            voxels = self.voxels(name)
            if self.is_thinned(name):
                occupancy = self._occupancies[name]
                voxels = StructureVoxels.of(occupancy, np.iinfo(np.int64).max)
            self._all_voxels[name] = voxels
        return self._all_voxels[name]

    def is_thinned(self, name: str) -> bool:
        """Whether the optimizer looks at only some of a structure's voxels."""
        return np.count_nonzero(self._occupancies[name].values) > self.voxel_limit
