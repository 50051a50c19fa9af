"""Find the fluence of least cost that keeps to constraints, or tell which it cannot keep."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from ..errors import InputError
from ..progress import CancelRequested, ProgressReport, never, silent
from .constraints import Constraint
from .objectives import Objective
from .penalty import Penalty
from .problem import FluenceProblem
from .solver import SolverSettings, optimize_fluence
from .verify import ExactCost, projected_gradient_norm

#: Most rounds; and no further one begins after so many times the iterations of one optimization.
MOST_ROUNDS, ITERATION_BUDGET = 30, 10
#: The cost of the objectives has settled when a round changes it by no more than this share.
SETTLED = 3e-4
#: When so many rounds on end leave this share of what is missed, a few rounds try whether the
#: constraints can be kept at all. If not, what is missed is made to count so many times as much
#: as the objectives.
HOPELESS_ROUNDS, HOPELESS_SHARE, FEASIBILITY_ROUNDS, DOMINANCE = 4, 0.9, 4, 1e3
#: Cost of the objectives below this share of that at the start, or without dose, is no measure for
#: penalties.
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
            price = f", price {self.price_per_gy:.3g} a Gy" if self.price_per_gy else ""
            return f"{text}, kept{price}"
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

    def report(self) -> dict:
        """Everything but fluence and outcomes, for logs."""
        values = asdict(self)
        del values["fluence"], values["outcomes"]
        return values


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
        Of every round; `small_gradient` has no part.
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

    When rounds no longer help, objectives are left out, to find how little can be missed:
    the least Σ volume·violation² over the voxels of all constraints. If that is nothing, rounds
    go on with stronger penalties; if not, its violations are those reported. For constraints on
    D_x this is no proof that they cannot be kept.
    """
    settings = settings or SolverSettings()
    if not constraints:
        raise InputError("no constraints; optimize_fluence does without")
    rounds = _Rounds(problem, constraints, start, settings, progress, cancel_requested)
    try:
        return rounds.run()
    finally:
        rounds.restore()


class _CancelledError(Exception):
    """Leaves the rounds."""


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
        first = self._exact_cost(self._fluence)
        first_norm = projected_gradient_norm(self._fluence, first.gradient)
        no_dose = self._exact_cost(np.zeros_like(self._fluence))
        least = SMALLEST_COST_SHARE * max(abs(first.value), abs(no_dose.value))
        try:
            status = self._descend(least)
        except _CancelledError:
            status = "cancelled"
        gradient = self._problem.exact_cost(self._problem.objectives, self._fluence).gradient
        return ConstrainedResult(
            fluence=self._fluence,
            objective_value=self._exact_cost(self._fluence).value,
            outcomes=self._outcomes(),
            status=status,
            rounds=self._rounds,
            iterations=self._iterations,
            evaluations=self._evaluations,
            projected_gradient=projected_gradient_norm(self._fluence, gradient)
            / (first_norm or 1.0),
            shortcuts=self._latest.shortcuts,
            seconds=time.perf_counter() - self._began,
        )

    def _descend(self, least_cost: float) -> str:
        """Go from round to round; returns why it ended."""
        penalties = self._penalties
        missed: list[float] = []
        cost, known_feasible = np.inf, False
        while True:
            self._optimize()
            before, cost = cost, self._exact_cost(self._fluence).value
            free = not any(p.weight for p in penalties)
            settled = free or abs(before - cost) <= SETTLED * abs(cost)
            if settled and all(p.is_kept for p in penalties):
                return "converged"
            if self._rounds >= MOST_ROUNDS or self._iterations >= self._budget:
                return "iteration limit"
            missed.append(sum(p.missed for p in penalties))
            without_measure = free and abs(cost) <= least_cost
            in_doubt = without_measure or _is_hopeless(missed)
            if in_doubt and not (known_feasible or self._tolerable):
                self._miss_least()
                if not self._tolerable:
                    self._spare_objectives()
                    return "infeasible"
                # It was the penalties that were too weak: now a measure is known for them.
                known_feasible, missed = True, []
                cost = self._exact_cost(self._fluence).value
                for penalty in penalties:
                    penalty.restart(abs(cost) or 1.0)
            else:
                for penalty in penalties:
                    penalty.update(max(abs(cost), least_cost) or 1.0)
            self._set_terms(self._objectives)

    @property
    def _tolerable(self) -> bool:
        return all(p.is_tolerable for p in self._penalties)

    def _miss_least(self) -> None:
        """Minimize what is missed, whatever the objectives cost."""
        least = np.inf
        for _ in range(FEASIBILITY_ROUNDS):
            for penalty in self._penalties:
                penalty.count_by_volume(1.0)
            self._set_terms(())
            self._optimize()
            before, least = least, sum(p.missed for p in self._penalties)
            if self._tolerable or least > HOPELESS_SHARE * before:
                break

    def _spare_objectives(self) -> None:
        """Of the fluences that miss the least, find one of little cost."""
        cost = abs(self._exact_cost(self._fluence).value)
        missed = sum(p.missed for p in self._penalties)
        for penalty in self._penalties:
            penalty.count_by_volume(DOMINANCE * cost / missed if cost else 1.0)
        self._set_terms(self._objectives)
        self._optimize()

    def _set_terms(self, objectives: Sequence[Objective]) -> None:
        """Have the next round count objectives and penalties."""
        terms = [p.objective() for p in self._penalties if p.weight]
        self._problem.set_objectives([*objectives, *terms])

    def _optimize(self) -> None:
        """One round."""
        done = self._iterations
        settings = replace(
            self._settings,
            sample_first=self._settings.sample_first and self._rounds == 0,
            small_gradient=None,
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
        self._latest = result
        if result.status == "cancelled":
            raise _CancelledError

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
