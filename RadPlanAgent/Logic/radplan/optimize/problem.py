"""Influence matrix, structures and objectives, made ready for fast evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from ..influence.matrix import InfluenceMatrix
from .objectives import OBJECTIVE_FUNCTIONS, Idle, Objective
from .rows import RowStore
from .verify import ExactCost, ExactDose
from .voxels import StructureIndex


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

    def exact_costs(self, fluence: np.ndarray) -> tuple[ExactCost, ExactCost]:
        """Cost on the voxels that the optimizer looks at, and on all voxels.

        Both from the matrix as it is, in double precision.
        """
        names = [o.structure for o in self.objectives]
        looked_at = [self._structures.voxels(name) for name in names]
        every = [self._structures.all_voxels(name) for name in names]
        wanted = np.zeros(self._influence.matrix.shape[0], bool)
        for voxels in every:
            wanted[voxels.rows] = True
        dose = ExactDose(self._influence.matrix, np.flatnonzero(wanted), fluence)
        cost = dose.cost(self.objectives, looked_at)
        if not self.thinned:
            return cost, cost
        return cost, dose.cost(self.objectives, every)

    @property
    def thinned(self) -> tuple[str, ...]:
        """Structures of which the optimizer looks at only some voxels."""
        names = dict.fromkeys(o.structure for o in self.objectives)
        return tuple(name for name in names if self._structures.is_thinned(name))

    @property
    def precision(self) -> str:
        """How the matrix values are kept, in words."""
        return self._rows.precision

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
