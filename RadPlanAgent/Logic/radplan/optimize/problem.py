"""Influence matrix, structures and objectives, made ready for fast evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..geometry import Occupancy
from ..influence.matrix import InfluenceMatrix
from .objectives import OBJECTIVE_FUNCTIONS, Idle, Objective
from .rows import RowStore


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
        self.voxel_limit = voxel_limit

    @property
    def names(self) -> tuple[str, ...]:
        """Names that objectives may use."""
        return tuple(self._occupancies)

    def voxels(self, name: str) -> StructureVoxels:
        """Voxels of one structure; `InputError` if it is unknown or fills no dose voxel."""
        if name not in self._voxels:
            occupancy = self._occupancies.get(name)
            if occupancy is None:
                raise InputError(
                    f"objective for unknown structure {name!r}; there are {', '.join(self.names)}"
                )
            if occupancy.is_empty:
                raise InputError(f"structure {name!r} fills no voxel of the dose grid")
            self._voxels[name] = StructureVoxels.of(occupancy, self.voxel_limit)
        return self._voxels[name]


class FluenceProblem:
    """Cost and gradient of a fluence under a list of objectives.

    Only the matrix rows that an objective looks at are kept (one copy, shared by all objectives).
    Mean doses are linear in the fluence: each needs one vector, computed once.

    Parameters
    ----------
    influence : InfluenceMatrix
    structures : StructureIndex
    objectives : sequence of Objective
    """

    def __init__(
        self,
        influence: InfluenceMatrix,
        structures: StructureIndex,
        objectives: Sequence[Objective],
    ) -> None:
        self._influence, self._structures = influence, structures
        self._rows = RowStore(influence.matrix)
        self._mean_per_beamlet: dict[str, np.ndarray] = {}
        self.objectives: tuple[Objective, ...] = ()
        self.evaluations = 0
        self.set_objectives(objectives)

    @property
    def n_beamlets(self) -> int:
        """Number of variables."""
        return self._influence.n_beamlets

    @property
    def watched_share(self) -> float:
        """Share of the rows whose dose is evaluated."""
        return self._watched.size / self._rows.n_rows

    def set_objectives(self, objectives: Sequence[Objective]) -> None:
        """Change the objectives; only rows not needed before are taken from the matrix."""
        if not objectives:
            raise InputError("nothing to optimize: the plan has no objectives")
        voxels = [self._structures.voxels(o.structure) for o in objectives]
        self._rows.positions(np.unique(np.concatenate([v.rows for v in voxels])))
        self.objectives = tuple(objectives)
        self._linear = np.zeros(self.n_beamlets)
        self._terms = []
        lowest = np.full(self._rows.n_rows, -np.inf)
        highest = np.full(self._rows.n_rows, np.inf)
        for o, v in zip(objectives, voxels, strict=True):
            if o.function == "mean_dose":
                self._linear += o.weight * self._mean_dose_per_beamlet(o.structure)
                continue
            function, position = OBJECTIVE_FUNCTIONS[o.function], self._rows.positions(v.rows)
            self._terms.append((o, function, position, v.share))
            if function.idle is not Idle.ABOVE_LEVEL:
                level = o.dose_gy if function.idle is Idle.BELOW_LEVEL else -np.inf
                highest[position] = np.minimum(highest[position], level)
            if function.idle is Idle.ABOVE_LEVEL:
                lowest[position] = np.maximum(lowest[position], o.dose_gy)
        self._idle_from_gy, self._idle_to_gy = lowest, highest
        self.watch_all()

    def watch_all(self) -> None:
        """Evaluate the dose of every row that an objective counts anywhere."""
        counted = (self._idle_from_gy > -np.inf) | (self._idle_to_gy < np.inf)
        self._watched = np.flatnonzero(counted)
        self._dose = np.zeros(self._rows.n_rows)

    def watch_near(self, fluence: np.ndarray, margin: float) -> float:
        """Evaluate, from now on, only rows that count at a fluence or nearly do.

        The others are taken as idle, which they are near this fluence; calling this again, at a
        later one, tells what that has missed.

        Parameters
        ----------
        fluence : ndarray of float64, (n_beamlets,)
        margin : float
            Rows are watched when their dose is within this share of their level from counting.

        Returns
        -------
        float
            Cost at this fluence that the rows watched so far do not show.
        """
        self._dose[self._watched] = self._rows.dose(self._watched, fluence)
        shown = self._cost()[0]
        self.watch_all()
        self._dose[self._watched] = self._rows.dose(self._watched, fluence)
        missed = self._cost()[0] - shown
        low, high = self._idle_from_gy * (1 + margin), self._idle_to_gy * (1 - margin)
        self._watched = np.flatnonzero((self._dose < low) | (self._dose > high))
        return missed

    def value_and_gradient(self, fluence: np.ndarray) -> tuple[float, np.ndarray]:
        """Total cost and its gradient with respect to the fluence, float64."""
        self._dose[self._watched] = self._rows.dose(self._watched, fluence)
        cost, dose_gradient = self._cost()
        self.evaluations += 1
        return (
            cost + float(self._linear @ fluence),
            self._linear + self._rows.back_project(dose_gradient),
        )

    def _cost(self) -> tuple[float, np.ndarray]:
        """Cost of the doses and its gradient with respect to them; mean doses not counted."""
        total, dose_gradient = 0.0, np.zeros_like(self._dose)
        for objective, function, position, share in self._terms:
            value, gradient = function.value_and_gradient(self._dose[position], share, objective)
            total += objective.weight * value
            dose_gradient[position] += objective.weight * gradient
        return total, dose_gradient

    def mean_dose_per_unit_fluence(self, structure: str) -> float:
        """Mean dose of a structure when every beamlet has weight one, Gy."""
        return float(self._mean_dose_per_beamlet(structure).sum())

    def _mean_dose_per_beamlet(self, structure: str) -> np.ndarray:
        """Gradient of a structure's mean dose, float64 (n_beamlets,)."""
        if structure not in self._mean_per_beamlet:
            voxels = self._structures.voxels(structure)
            positions = self._rows.positions(voxels.rows)
            share = np.zeros(self._rows.n_rows)
            share[positions] = voxels.share
            self._mean_per_beamlet[structure] = self._rows.back_project(share)
        return self._mean_per_beamlet[structure]
