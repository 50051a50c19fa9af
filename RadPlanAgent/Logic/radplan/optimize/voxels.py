"""The voxels of structures on the dose grid, as objectives see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..geometry import Occupancy
from .objectives import Level, Objective


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
        self._dose_maps: dict[str, np.ndarray] = {}
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
                f"there is no structure {name!r} on the dose grid; there are "
                f"{', '.join(self.names)}"
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

    def set_dose_map(self, name: str, dose_gy: np.ndarray | None) -> None:
        """Give objectives that name this map the dose level of every voxel; None removes it.

        A problem learns of it when its objectives are set the next time.

        Parameters
        ----------
        name : str
        dose_gy : ndarray, (z, y, x) of the dose grid, or None
            Gy for the whole course, not negative. Infinite where `squared_overdosing` sets no
            limit.

        Raises
        ------
        InputError
            If the shape is not the dose grid's, or a value is negative or not a number.
        """
        if dose_gy is None:
            self._dose_maps.pop(name, None)
            return
        for occupancy in self._occupancies.values():
            if dose_gy.shape != occupancy.grid.shape:
                raise InputError(
                    f"dose map {name!r} of shape {dose_gy.shape} on a dose grid of shape "
                    f"{occupancy.grid.shape}; resample it"
                )
        if not (dose_gy >= 0).all():
            raise InputError(f"dose map {name!r} has levels that are negative or not a number")
        self._dose_maps[name] = np.array(dose_gy, np.float64).ravel()

    def level_gy(self, objective: Objective, rows: np.ndarray) -> Level:
        """Dose level that an objective has: one, or that of each of some voxels.

        Raises
        ------
        InputError
            If its dose map is unknown, or infinite where the function cannot have that.
        """
        if objective.dose_map is None:
            return objective.dose_gy or 0.0
        where = f"objective {objective.id}: dose map {objective.dose_map!r}"
        if objective.dose_map not in self._dose_maps:
            raise InputError(
                f"{where} is unknown; there are {', '.join(self._dose_maps) or 'none'}"
            )
        level_gy = self._dose_maps[objective.dose_map][rows]
        if objective.function != "squared_overdosing" and not np.isfinite(level_gy).all():
            raise InputError(f"{where} is infinite, which only squared_overdosing understands")
        return level_gy
