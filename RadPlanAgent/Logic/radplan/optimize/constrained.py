"""Find the fluence of least cost that keeps to constraints, or tell which it cannot keep."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError
from ..progress import CancelRequested, ProgressReport, never, silent
from .constraints import Constraint
from .penalty import Penalty
from .problem import FluenceProblem
from .solver import FluenceResult, SolverSettings, optimize_fluence, projected_gradient_norm
from .verify import ExactCost

#: Most rounds; and no further one begins after so many times the iterations of one optimization.
MOST_ROUNDS, ITERATION_BUDGET = 30, 10
#: The cost of the objectives has settled when a round changes it by no more than this share.
SETTLED = 3e-4
#: Nothing can be done when so many rounds on end leave this share of what is missed. Then that
#: is made to count so many times as much as the objectives.
HOPELESS_ROUNDS, HOPELESS_SHARE, DOMINANCE = 4, 0.9, 1e3
#: Cost of the objectives below this share of that of no dose at all is no measure for penalties.
SMALLEST_COST_SHARE = 1e-3
#: One constraint is in conflict with another when it takes back this share of its push.
CONFLICT_SHARE = 0.1


@dataclass(frozen=True)
class ConstraintOutcome:
    """What became of one constraint.

    Parameters
    ----------
    constraint : Constraint
    achieved_gy : float
        On all voxels, from the matrix as it is, in double precision.
    violation_gy : float
        By how much the level is missed; 0 if it is kept.
    price_per_gy : float
        How fast the cost of the objectives would fall if the level were relaxed (the Lagrange
        multiplier); 0 for a constraint that costs nothing. Without meaning when infeasible.
    conflicts : tuple of str
        For a constraint that is missed: those that push against it.
    """

    constraint: Constraint
    achieved_gy: float
    violation_gy: float
    price_per_gy: float
    conflicts: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether it is kept, within its tolerance."""
        return self.violation_gy <= self.constraint.tolerance_gy

    def describe(self) -> str:
        """The outcome in words."""
        text = f"{self.constraint.describe()}: {self.achieved_gy:.2f} Gy"
        if self.kept:
            return f"{text}, kept"
        against = f", against {' and '.join(self.conflicts)}" if self.conflicts else ""
        return f"{text}, missed by {self.violation_gy:.2f} Gy{against}"


@dataclass(frozen=True)
class ConstrainedResult:
    """An optimized fluence and how it keeps to constraints.

    Parameters
    ----------
    fluence : ndarray of float64
        Beamlet weights, not negative.
    objective_value : float
        Cost of the objectives alone, on all voxels, in double precision.
    outcomes : tuple of ConstraintOutcome
        One per constraint, in their order.
    status : str
        ``converged``, ``infeasible`` (nothing brings the violation down; `fluence` is then the
        one that misses by the least), ``iteration limit`` or ``cancelled``.
    rounds, iterations, evaluations : int
    projected_gradient : float
        How far the conditions of optimality are missed: largest component of the projected
        gradient of objectives and multipliers together, relative to that of the objectives at the
        start.
    shortcuts : tuple of str
    seconds : float
    """

    fluence: np.ndarray
    objective_value: float
    outcomes: tuple[ConstraintOutcome, ...]
    status: str
    rounds: int
    iterations: int
    evaluations: int
    projected_gradient: float
    shortcuts: tuple[str, ...]
    seconds: float

    @property
    def feasible(self) -> bool:
        """Whether all constraints are kept, within their tolerances."""
        return all(outcome.kept for outcome in self.outcomes)


def optimize_constrained(
    problem: FluenceProblem,
    constraints: Sequence[Constraint],
    start: np.ndarray,
    settings: SolverSettings | None = None,
    progress: ProgressReport = silent,
    cancel_requested: CancelRequested = never,
) -> ConstrainedResult:
    """Minimize the problem's cost over non-negative fluences that keep to constraints.

    Parameters
    ----------
    problem : FluenceProblem
        Its objectives are the same afterwards.
    constraints : sequence of Constraint
    start : ndarray of float64, (n_beamlets,)
    settings : SolverSettings, optional
        Of every round.
    progress, cancel_requested
        As for `optimize_fluence`.

    Returns
    -------
    ConstrainedResult
        Also when constraints contradict each other: it says which are missed, and by how much.

    Notes
    -----
    Augmented Lagrangian (Hestenes 1969; Powell 1969; safeguarded as by Birgin & Martínez 2014,
    "Practical augmented Lagrangian methods"). For d ≤ L in every voxel, with multipliers λ and
    penalty weight w, its term (λ + 2w·(d − L))₊²/4w is the squared overdosing w·(d − (L − u))₊²
    with the level shifted by u = λ/2w. So each round is an optimization as any other, with one
    more objective per constraint, whose levels vary by voxel. After it, u becomes (u + d − L)₊,
    but not more than L; w grows where violation does not fall fast. A minimum is the mirror
    image; a mean is held as if it were one voxel.

    D_x is held through the voxels of `Constraint.held_voxels`, chosen anew every round. This is
    not convex: the result keeps the constraint, but another choice of voxels may cost less. (A
    bound on the mean of the tail would be convex, but asks for more than D_x does: it can call
    infeasible what is not.)

    When rounds no longer help, a last one looks for the fluence that misses the constraints by
    the least, Σ volume·violation² over their voxels; objectives hardly count in it. Its
    violations are those reported.
    """
    settings = settings or SolverSettings()
    if not constraints:
        raise InputError("no constraints; optimize_fluence does without")
    rounds = _Rounds(problem, constraints, start, settings, progress, cancel_requested)
    try:
        return rounds.run()
    finally:
        rounds.restore()


class _Rounds:
    """Optimizations with moving levels, and what they have come to."""

    def __init__(
        self,
        problem: FluenceProblem,
        constraints: Sequence[Constraint],
        start: np.ndarray,
        settings: SolverSettings,
        progress: ProgressReport,
        cancel_requested: CancelRequested,
    ) -> None:
        self._problem, self._objectives = problem, problem.objectives
        self._penalties = [
            Penalty(problem, c, f"constraint {i}, {c.describe()}")
            for i, c in enumerate(constraints, start=1)
        ]
        self._fluence, self._settings = np.maximum(start, 0.0), settings
        self._progress, self._cancel_requested = progress, cancel_requested
        self._budget = ITERATION_BUDGET * settings.max_iterations
        self._iterations = self._evaluations = self._rounds = 0
        self._began = time.perf_counter()

    def restore(self) -> None:
        """Give the problem its own objectives back."""
        self._problem.set_objectives(self._objectives)
        for penalty in self._penalties:
            penalty.remove()

    def run(self) -> ConstrainedResult:
        """Rounds until the constraints are kept and the cost has settled, or it is no use."""
        penalties = self._penalties
        no_dose = self._exact_cost(np.zeros(self._problem.n_beamlets))
        first_norm = projected_gradient_norm(
            self._fluence, self._exact_cost(self._fluence).gradient
        )
        missed: list[float] = []
        cost, status = np.inf, "iteration limit"
        while True:
            latest = self._optimize()
            before, cost = cost, self._exact_cost(self._fluence).value
            if latest.status == "cancelled":
                status = "cancelled"
                break
            free = not any(p.weight for p in penalties)
            settled = free or abs(before - cost) <= SETTLED * abs(cost)
            if settled and all(p.is_kept for p in penalties):
                status = "converged"
                break
            missed.append(sum(p.missed for p in penalties))
            scale = max(abs(cost), SMALLEST_COST_SHARE * no_dose.value) or 1.0
            if _is_hopeless(missed) and not all(p.is_tolerable for p in penalties):
                for penalty in penalties:
                    penalty.restart(DOMINANCE * scale / missed[-1])
                self._set_terms()
                latest, status = self._optimize(), "infeasible"
                cost = self._exact_cost(self._fluence).value
                break
            if self._rounds == MOST_ROUNDS or self._iterations >= self._budget:
                break
            for penalty in penalties:
                penalty.update(scale)
            self._set_terms()
        gradient = self._problem.exact_cost(self._problem.objectives, self._fluence).gradient
        return ConstrainedResult(
            fluence=self._fluence,
            objective_value=cost,
            outcomes=self._outcomes(),
            status=status,
            rounds=self._rounds,
            iterations=self._iterations,
            evaluations=self._evaluations,
            projected_gradient=projected_gradient_norm(self._fluence, gradient)
            / (first_norm or 1.0),
            shortcuts=latest.shortcuts,
            seconds=time.perf_counter() - self._began,
        )

    def _set_terms(self) -> None:
        """Have the next round count objectives and penalties."""
        terms = [p.objective() for p in self._penalties if p.weight]
        self._problem.set_objectives([*self._objectives, *terms])

    def _optimize(self) -> FluenceResult:
        """One round."""
        done = self._iterations
        settings = replace(
            self._settings, sample_first=self._settings.sample_first and self._rounds == 0
        )
        self._rounds += 1

        def report(_: str, fraction: float) -> None:
            share = min((done + fraction * settings.max_iterations) / self._budget, 1.0)
            self._progress(f"keeping to constraints, round {self._rounds}", share)

        result = optimize_fluence(
            self._problem, self._fluence, settings, report, self._cancel_requested
        )
        self._fluence = result.fluence
        for penalty in self._penalties:
            penalty.look(self._fluence)
        self._iterations += result.iterations
        self._evaluations += result.evaluations
        return result

    def _exact_cost(self, fluence: np.ndarray) -> ExactCost:
        """Cost of the objectives alone."""
        return self._problem.exact_cost(self._objectives, fluence)

    def _outcomes(self) -> tuple[ConstraintOutcome, ...]:
        outcomes = [
            ConstraintOutcome(p.constraint, p.achieved_gy, p.violation_gy, p.price_per_gy)
            for p in self._penalties
        ]
        if all(outcome.kept for outcome in outcomes):
            return tuple(outcomes)
        pushes = [p.push() for p in self._penalties]
        for k, push in enumerate(pushes):
            if not outcomes[k].kept:
                against = [
                    other.constraint.describe()
                    for other, of_other in zip(outcomes, pushes, strict=True)
                    if -float(push @ of_other) > CONFLICT_SHARE * float(push @ push)
                ]
                outcomes[k] = replace(outcomes[k], conflicts=tuple(against))
        return tuple(outcomes)


def _is_hopeless(missed: list[float]) -> bool:
    """Whether the last rounds have left what is missed as it was."""
    if len(missed) <= HOPELESS_ROUNDS:
        return False
    # Squares are summed up in it.
    return missed[-1] > HOPELESS_SHARE**2 * missed[-1 - HOPELESS_ROUNDS]
