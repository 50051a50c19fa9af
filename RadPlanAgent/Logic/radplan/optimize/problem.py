"""Influence matrix, structures and objectives, made ready for fast evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import InputError
from ..influence.matrix import InfluenceMatrix
from .objectives import OBJECTIVE_FUNCTIONS, Level, Objective, idle_range_gy
from .roughness import FluenceRoughness
from .rows import RowStore
from .verify import ExactCost, ExactDose, exact_back_project, exact_dose
from .voxels import StructureIndex, StructureVoxels


class FluenceProblem:
    """Cost and gradient of a fluence under a list of objectives.

    Only the matrix rows that an objective looks at are kept (one copy, shared by all objectives).
    Mean doses are linear in the fluence: each needs one vector, computed once, of all voxels.

    Of large structures the problem looks at a sample of voxels at first. Near a solution few
    voxels count; `look_at_all_voxels` then takes in those that do, in place of the sample.

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
        self._roughness: FluenceRoughness | None = None
        self.objectives: tuple[Objective, ...] = ()
        self.evaluations = 0
        self.set_objectives(objectives)

    @property
    def influence(self) -> InfluenceMatrix:
        """The matrix as it is."""
        return self._influence

    @property
    def structures(self) -> StructureIndex:
        """Where objectives find their voxels and dose maps."""
        return self._structures

    @property
    def n_beamlets(self) -> int:
        """Number of variables."""
        return self._influence.n_beamlets

    @property
    def thinned(self) -> tuple[str, ...]:
        """Structures of which only some voxels are looked at, to the end."""
        names = dict.fromkeys(
            o.structure for o in self._on_dose() if self._voxels(o) is not self._all_voxels(o)
        )
        return tuple(names)

    @property
    def precision(self) -> str:
        """How the matrix values are kept, in words."""
        return self._rows.precision

    @property
    def linear(self) -> np.ndarray:
        """Gradient of the mean doses' terms, float64 (n_beamlets,)."""
        total = np.zeros(self.n_beamlets)
        for objective, _, per_beamlet in self._mean_terms:
            if objective.function == "mean_dose":
                total += objective.weight * per_beamlet
        return total

    def terms_on_all_voxels(self) -> list[tuple[Objective, StructureVoxels, Level]]:
        """Objectives that are not of a mean dose, each with all its voxels and levels."""
        voxels = [(o, self._all_voxels(o)) for o in self._by_voxel()]
        return [(o, of, self._structures.level_gy(o, of.rows)) for o, of in voxels]

    def set_objectives(self, objectives: Sequence[Objective]) -> None:
        """Change the objectives; only rows not needed before are taken from the matrix."""
        if not objectives:
            raise InputError("nothing to optimize: the plan has no objectives")
        self.objectives = tuple(objectives)
        if self._roughness is None and any(o.on_fluence for o in objectives):
            self._roughness = FluenceRoughness(self._influence.beamlets)
        for o in self._on_dose():
            self._structures.voxels(o.structure)
        self._mean_terms = [
            (o, OBJECTIVE_FUNCTIONS[o.function], self._mean_dose_per_beamlet(o.structure))
            for o in self._on_dose()
            if OBJECTIVE_FUNCTIONS[o.function].of_mean
        ]
        self.look_at_sample()

    def look_at_sample(self) -> None:
        """Look at a sample of the voxels of large structures, and at no others."""
        self._sampled = True
        self._seen = [
            np.ones(self._structures.voxels(o.structure).rows.size, bool) for o in self._by_voxel()
        ]
        self._make_terms()

    def look_at_all_voxels(self, fluence: np.ndarray, margin: float) -> float:
        """Look at all voxels, with the rows of those that count at a fluence or nearly do.

        Those that counted when this was called before are looked at as well.

        Parameters
        ----------
        fluence : ndarray of float64, (n_beamlets,)
        margin : float
            See `watch_near`.

        Returns
        -------
        float
            Cost at this fluence of voxels that were not looked at before.
        """
        if self._sampled:
            self._sampled = False
            self._seen = [
                np.isin(self._voxels(o).rows, self._structures.voxels(o.structure).rows, True)
                for o in self._by_voxel()
            ]
        missed = 0.0
        for o, seen in zip(self._by_voxel(), self._seen, strict=True):
            voxels, unseen = self._voxels(o), np.flatnonzero(~seen)
            if not unseen.size:
                continue
            dose = exact_dose(self._influence.matrix, voxels.rows[unseen], fluence)
            function = OBJECTIVE_FUNCTIONS[o.function]
            level_gy = self._structures.level_gy(o, voxels.rows[unseen])
            cost, _ = function.value_and_gradient(dose, voxels.share[unseen], level_gy, o)
            missed += o.weight * cost
            low, high = idle_range_gy(o, level_gy)
            seen[unseen] = (dose < low * (1 + margin)) | (dose > high * (1 - margin))
        self._make_terms()
        return missed

    def release_rows(self) -> None:
        """Give the memory of all rows back; another optimization takes those it needs anew."""
        self._rows = RowStore(self._influence.matrix)
        self._seen = [np.zeros_like(seen) for seen in self._seen]
        self._make_terms()

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
        roughness, roughness_gradient = self._roughness_cost(self.objectives, fluence)
        of_means, means_gradient = self._cost_of_means(fluence)
        self.evaluations += 1
        return (
            cost + roughness + of_means,
            self._rows.back_project(dose_gradient) + roughness_gradient + means_gradient,
        )

    def exact_costs(self, fluence: np.ndarray) -> tuple[ExactCost, ExactCost]:
        """Cost on the voxels that the optimizer looks at, and on all voxels.

        Both from the matrix as it is, in double precision.
        """
        dose = self._exact_dose(self.objectives, fluence)
        looked_at = self._exact_cost(self.objectives, fluence, dose, self._voxels)
        if not self.thinned:
            return looked_at, looked_at
        return looked_at, self._exact_cost(self.objectives, fluence, dose, self._all_voxels)

    def exact_cost(self, objectives: Sequence[Objective], fluence: np.ndarray) -> ExactCost:
        """Cost of any objectives on all voxels, the matrix as it is, in double precision."""
        dose = self._exact_dose(objectives, fluence)
        return self._exact_cost(objectives, fluence, dose, self._all_voxels)

    def mean_dose_per_unit_fluence(self, structure: str) -> float:
        """Mean dose of a structure when every beamlet has weight one, Gy."""
        return float(self._mean_dose_per_beamlet(structure).sum())

    def flat_fluence(self, target: str, dose_gy: float) -> np.ndarray:
        """Equal weights that give a target a dose on average, float64 (n_beamlets,).

        Raises
        ------
        InputError
            If no beamlet reaches the target.
        """
        per_unit = self.mean_dose_per_unit_fluence(target)
        if per_unit <= 0:
            raise InputError(f"no beamlet reaches target {target}; check the beams' isocentre")
        return np.full(self.n_beamlets, dose_gy / per_unit)

    def _mean_dose_per_beamlet(self, structure: str) -> np.ndarray:
        """Gradient of a structure's mean dose, float64 (n_beamlets,)."""
        if structure not in self._mean_per_beamlet:
            voxels = self._structures.all_voxels(structure)
            self._mean_per_beamlet[structure] = exact_back_project(
                self._influence.matrix, voxels.rows, voxels.share
            )
        return self._mean_per_beamlet[structure]

    def _roughness_cost(
        self, objectives: Sequence[Objective], fluence: np.ndarray
    ) -> tuple[float, np.ndarray | float]:
        """Cost of those objectives that are on the fluence, and its gradient."""
        weight = sum(o.weight for o in objectives if o.on_fluence)
        if not weight:
            return 0.0, 0.0
        value, gradient = self._roughness.value_and_gradient(fluence)
        return weight * value, weight * gradient

    def _exact_dose(self, objectives: Sequence[Objective], fluence: np.ndarray) -> ExactDose:
        """Dose in all voxels that objectives look at."""
        wanted = np.zeros(self._influence.matrix.shape[0], bool)
        for o in objectives:
            if not o.on_fluence:
                wanted[self._all_voxels(o).rows] = True
        return ExactDose(self._influence.matrix, np.flatnonzero(wanted), fluence)

    def _exact_cost(
        self,
        objectives: Sequence[Objective],
        fluence: np.ndarray,
        dose: ExactDose,
        voxels_of: Callable[[Objective], StructureVoxels],
    ) -> ExactCost:
        """Cost of objectives at a fluence and its dose, each on its voxels."""
        on_dose = [o for o in objectives if not o.on_fluence]
        voxels = [voxels_of(o) for o in on_dose]
        pairs = zip(on_dose, voxels, strict=True)
        levels_gy = [self._structures.level_gy(o, of.rows) for o, of in pairs]
        of_dose = dose.cost(on_dose, voxels, levels_gy)
        roughness, roughness_gradient = self._roughness_cost(objectives, fluence)
        return ExactCost(of_dose.value + roughness, of_dose.gradient + roughness_gradient)

    def _on_dose(self) -> list[Objective]:
        """Objectives that look at the dose of a structure."""
        return [o for o in self.objectives if not o.on_fluence]

    def _by_voxel(self) -> list[Objective]:
        """Those of them that need the dose of single voxels."""
        return [o for o in self._on_dose() if not OBJECTIVE_FUNCTIONS[o.function].of_mean]

    def _voxels(self, objective: Objective) -> StructureVoxels:
        """Voxels that an objective looks at."""
        # Whose voxels are never idle would need all rows.
        function = OBJECTIVE_FUNCTIONS[objective.function]
        if (self._sampled or not function.separable) and not function.of_mean:
            return self._structures.voxels(objective.structure)
        return self._all_voxels(objective)

    def _all_voxels(self, objective: Objective) -> StructureVoxels:
        return self._structures.all_voxels(objective.structure)

    def _make_terms(self) -> None:
        """Bring objectives and rows together; voxels not seen are idle."""
        seen = [
            (o, self._voxels(o).rows[seen], self._voxels(o).share[seen])
            for o, seen in zip(self._by_voxel(), self._seen, strict=True)
        ]
        if seen:
            self._rows.take(np.unique(np.concatenate([rows for _, rows, _ in seen])))
        self._terms = []
        lowest = np.full(self._rows.n_rows, -np.inf)
        highest = np.full(self._rows.n_rows, np.inf)
        for o, rows, share in seen:
            position = self._rows.positions(rows)
            level_gy = self._structures.level_gy(o, rows)
            self._terms.append((o, OBJECTIVE_FUNCTIONS[o.function], position, share, level_gy))
            low, high = idle_range_gy(o, level_gy)
            lowest[position] = np.maximum(lowest[position], low)
            highest[position] = np.minimum(highest[position], high)
        self._idle_from_gy, self._idle_to_gy = lowest, highest
        self.watch_all()

    def _cost_of_means(self, fluence: np.ndarray) -> tuple[float, np.ndarray]:
        """Cost of mean doses and its gradient with respect to the fluence."""
        total, total_gradient = 0.0, np.zeros(self.n_beamlets)
        for objective, function, per_beamlet in self._mean_terms:
            mean, level_gy = np.array([per_beamlet @ fluence]), objective.dose_gy or 0.0
            value, gradient = function.value_and_gradient(mean, np.ones(1), level_gy, objective)
            total += objective.weight * value
            total_gradient += objective.weight * gradient[0] * per_beamlet
        return total, total_gradient

    def _cost(self) -> tuple[float, np.ndarray]:
        """Cost of the doses and its gradient with respect to them; mean doses not counted."""
        total, dose_gradient = 0.0, np.zeros_like(self._dose)
        for objective, function, position, share, level_gy in self._terms:
            value, gradient = function.value_and_gradient(
                self._dose[position], share, level_gy, objective
            )
            total += objective.weight * value
            dose_gradient[position] += objective.weight * gradient
        return total, dose_gradient
