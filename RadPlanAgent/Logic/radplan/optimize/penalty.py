"""A constraint as an objective whose dose level moves until the constraint is kept."""

from __future__ import annotations

import numpy as np

from .constraints import Constraint
from .objectives import Objective
from .problem import FluenceProblem
from .verify import exact_back_project, exact_dose

#: Constraints are to be missed by no more than this part of their tolerance.
AIM = 0.1
#: The weight grows by this factor when a round does not bring the violation down to this share.
GROWTH, ENOUGH_PROGRESS = 5.0, 0.25


class Penalty:
    """A constraint, its multipliers and what it makes of them; see `optimize_constrained`.

    Parameters
    ----------
    problem : FluenceProblem
    constraint : Constraint
    name : str
        Of its objective and dose map; not used for anything else.

    Attributes
    ----------
    weight : float
        Of the objective; 0 until the constraint is first missed.
    achieved_gy, violation_gy : float
        At the fluence last looked at.
    """

    def __init__(self, problem: FluenceProblem, constraint: Constraint, name: str) -> None:
        self.constraint, self._name, self._problem = constraint, name, problem
        self._voxels = problem.structures.all_voxels(constraint.structure)
        self._volume_cc = problem.structures.occupancy(constraint.structure).volume_cc
        self._is_mean = constraint.kind == "mean_dose"
        # A mean is held as if it were the dose of one voxel.
        self._share = np.ones(1) if self._is_mean else self._voxels.share
        self._sign = -1.0 if constraint.is_minimum else 1.0
        self._shift_gy = np.zeros_like(self._share)
        self.weight, self._first_missed, self.violation_gy = 0.0, 0.0, np.inf

    def look(self, fluence: np.ndarray) -> None:
        """Take the dose of a fluence, on all voxels in double precision."""
        before = self.violation_gy
        dose = exact_dose(self._problem.influence.matrix, self._voxels.rows, fluence)
        self.achieved_gy = self.constraint.achieved_gy(dose, self._voxels.share)
        self.violation_gy = self.constraint.violation_gy(self.achieved_gy)
        self._is_slow = self.violation_gy > ENOUGH_PROGRESS * before
        held_gy = np.array([self.achieved_gy]) if self._is_mean else dose
        self._held = self.constraint.held_voxels(held_gy, self._share)
        self._excess_gy = self._sign * (held_gy - self.constraint.dose_gy)
        if not (self._first_missed or self.is_kept):
            self._first_missed = self._mean_square()

    @property
    def is_kept(self) -> bool:
        """Whether the constraint is kept as well as it is to be."""
        return self.violation_gy <= AIM * self.constraint.tolerance_gy

    @property
    def is_tolerable(self) -> bool:
        """Whether it is kept within its tolerance."""
        return self.violation_gy <= self.constraint.tolerance_gy

    @property
    def missed(self) -> float:
        """Σ volume·violation² over the voxels held, Gy²·cc."""
        return self._volume_cc * self._mean_square()

    def update(self, cost: float) -> None:
        """Move the level, after `look`; a penalty starts as strong as the cost it is to change."""
        if self.weight:
            # At most the level itself: shifted levels are never negative.
            shift_gy = np.clip(self._shift_gy + self._excess_gy, 0, self.constraint.dose_gy)
            self._shift_gy = np.where(self._held, shift_gy, 0)
        if self.is_kept:
            return
        if not self.weight:
            self.weight = cost / self._mean_square()
        elif self._is_slow:
            self.weight *= GROWTH
            self._shift_gy /= GROWTH  # the multipliers stay

    def restart(self, cost: float) -> None:
        """Forget the multipliers; begin again as strong as a cost, if ever missed before."""
        self._shift_gy[:] = 0
        self.weight = cost / self._first_missed if self._first_missed else 0.0

    def count_by_volume(self, weight_per_cc: float) -> None:
        """Forget the multipliers; every cc counts the same in all constraints."""
        self._shift_gy[:] = 0
        self.weight = weight_per_cc * self._volume_cc

    def objective(self) -> Objective:
        """The term for the next round; its dose map is in the problem's structures."""
        structure = self.constraint.structure
        level_gy = self.constraint.dose_gy - self._sign * self._shift_gy
        if self._is_mean:
            level_gy = float(level_gy[0])
            return Objective(
                structure, "squared_mean_overdosing", self.weight, level_gy, id=self._name
            )
        function, idle_gy = "squared_overdosing", np.inf
        if self.constraint.is_minimum:
            function, idle_gy = "squared_underdosing", 0.0
        levels_gy = np.full(self._problem.influence.grid.shape, idle_gy)
        levels_gy.ravel()[self._voxels.rows] = np.where(self._held, level_gy, idle_gy)
        self._problem.structures.set_dose_map(self._name, levels_gy)
        return Objective(structure, function, self.weight, id=self._name, dose_map=self._name)

    def remove(self) -> None:
        """Leave nothing in the problem's structures."""
        self._problem.structures.set_dose_map(self._name, None)

    @property
    def price_per_gy(self) -> float:
        """Lagrange multiplier of the level, cost per Gy."""
        return 2 * self.weight * float(self._share @ self._shift_gy)

    def push(self) -> np.ndarray:
        """Gradient of the term at the fluence last looked at, float64 (n_beamlets,)."""
        tense_gy = np.where(self._held, np.maximum(self._shift_gy + self._excess_gy, 0), 0)
        factor = 2 * self.weight * self._sign * self._voxels.share * tense_gy
        return exact_back_project(self._problem.influence.matrix, self._voxels.rows, factor)

    def _mean_square(self) -> float:
        missed_gy = np.where(self._held, np.maximum(self._excess_gy, 0), 0)
        return float(self._share @ missed_gy**2)
