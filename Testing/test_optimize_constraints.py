"""Constraints: kept at least cost, as an independent solver finds; or named when they are not."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace

import numpy as np
import pytest

from radplan.errors import InputError
from radplan.geometry import Occupancy
from radplan.influence.matrix import Beamlets
from radplan.optimize import (
    FLUENCE,
    ROUGHNESS,
    Constraint,
    FluenceProblem,
    FluenceRoughness,
    Objective,
    SolverSettings,
    StructureIndex,
    fall_off_levels_gy,
    optimize_constrained,
    optimize_fluence,
)
from radplan.optimize.objectives import dose_at_volume
from test_optimize_solver import TIGHT, influence_of

SHAPE = (6, 5, 8)
OBJECTIVES = [
    Objective("PTV", "squared_underdosing", 100.0, 50.0),
    Objective("PTV", "squared_overdosing", 50.0, 52.0),
    Objective("Organ", "squared_overdosing", 10.0, 20.0),
    Objective("Organ", "mean_dose", 2.0),
]


def problem_of(dense: np.ndarray, regions: dict[str, np.ndarray], shape, voxel_limit=12_000):
    """Matrix and structures from the filled fraction of every voxel."""
    influence = influence_of(dense, shape)
    occupancies = {
        name: Occupancy.from_array(influence.grid, np.reshape(filled, shape))
        for name, filled in regions.items()
    }
    return influence, StructureIndex(occupancies, voxel_limit)


@pytest.fixture
def dense() -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.uniform(0, 1, (240, 30)) * (rng.uniform(size=(240, 30)) < 0.4)


@pytest.fixture
def regions() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    target, organ = np.zeros(240), np.zeros(240)
    target[:60] = rng.uniform(0.2, 1, 60)
    organ[50:140] = rng.uniform(0.2, 1, 90)
    return {"PTV": target, "Organ": organ}


class Oracle:
    """The same problem for Clarabel, matrix values as stored, in double precision."""

    def __init__(self, influence, index, objectives):
        self.cvxpy = pytest.importorskip("cvxpy", reason="the oracle cvxpy is not installed")
        self._influence, self._index = influence, index
        self.x = self.cvxpy.Variable(influence.n_beamlets, nonneg=True)
        self.cost = sum(o.weight * self._value(o) for o in objectives)

    def dose_and_share(self, structure: str):
        voxels = self._index.all_voxels(structure)
        return self._influence.matrix[voxels.rows].toarray().astype(float) @ self.x, voxels.share

    def _value(self, o: Objective):
        dose, share = self.dose_and_share(o.structure)
        if o.function == "mean_dose":
            return share @ dose
        beyond = o.dose_gy - dose if o.function == "squared_underdosing" else dose - o.dose_gy
        return self.squares(share, beyond)

    def squares(self, share, beyond):
        return self.cvxpy.sum_squares(self.cvxpy.multiply(np.sqrt(share), self.cvxpy.pos(beyond)))

    def hold(self, constraint: Constraint, held: slice | np.ndarray = slice(None)):
        dose, share = self.dose_and_share(constraint.structure)
        if constraint.kind == "mean_dose":
            return share @ dose <= constraint.dose_gy
        return (
            dose[held] >= constraint.dose_gy
            if constraint.is_minimum
            else dose[held] <= constraint.dose_gy
        )

    def solve(self, constraints, cost=None) -> float:
        problem = self.cvxpy.Problem(
            self.cvxpy.Minimize(self.cost if cost is None else cost), constraints
        )
        problem.solve(solver=self.cvxpy.CLARABEL)
        return problem.value


CONVEX = {
    "hot spot": [Constraint("PTV", "max_dose", 60.0)],
    "organ maximum": [Constraint("Organ", "max_dose", 45.0)],
    "organ mean": [Constraint("Organ", "mean_dose", 25.0)],
    "minimum": [Constraint("PTV", "min_dose_at_volume", 40.0, 100.0)],
    "two": [Constraint("Organ", "mean_dose", 20.0), Constraint("PTV", "max_dose", 60.0)],
}


@pytest.mark.parametrize("name", CONVEX)
def test_agrees_with_clarabel(dense, regions, name):
    influence, index = problem_of(dense, regions, SHAPE)
    problem = FluenceProblem(influence, index, OBJECTIVES)
    result = optimize_constrained(problem, CONVEX[name], np.ones(30))
    oracle = Oracle(influence, index, OBJECTIVES)
    held = [oracle.hold(c) for c in CONVEX[name]]
    assert result.objective_value == pytest.approx(oracle.solve(held), rel=1e-3)
    assert result.status == "converged" and result.feasible
    for outcome, constraint in zip(result.outcomes, held, strict=True):
        assert outcome.violation_gy <= outcome.constraint.tolerance_gy
        assert outcome.price_per_gy == pytest.approx(np.sum(constraint.dual_value), rel=2e-2)
    assert result.projected_gradient < 1e-2
    dose = influence.matrix.toarray().astype(float) @ result.fluence
    for outcome in result.outcomes:
        voxels = index.all_voxels(outcome.constraint.structure)
        achieved = outcome.constraint.achieved_gy(dose[voxels.rows], voxels.share)
        assert outcome.achieved_gy == pytest.approx(achieved, rel=1e-12)


def test_the_price_says_what_a_gray_costs(dense, regions):
    influence, index = problem_of(dense, regions, SHAPE)
    problem = FluenceProblem(influence, index, OBJECTIVES)
    results = [
        optimize_constrained(problem, [Constraint("Organ", "max_dose", level)], np.ones(30), TIGHT)
        for level in (44.5, 45.0, 45.5)
    ]
    falls = results[0].objective_value - results[2].objective_value
    assert results[1].outcomes[0].price_per_gy == pytest.approx(falls, rel=0.05)


def test_what_is_kept_anyway_costs_nothing(dense, regions):
    influence, index = problem_of(dense, regions, SHAPE)
    problem = FluenceProblem(influence, index, OBJECTIVES)
    without = optimize_fluence(problem, np.ones(30), TIGHT)
    result = optimize_constrained(
        problem, [Constraint("PTV", "max_dose", 500.0)], np.ones(30), TIGHT
    )
    assert (result.status, result.rounds) == ("converged", 1)
    assert result.outcomes[0].price_per_gy == 0
    np.testing.assert_array_equal(result.fluence, without.fluence)


DVH = [
    Constraint("PTV", "min_dose_at_volume", 49.0, 95.0),
    Constraint("Organ", "max_dose_at_volume", 25.0, 20.0),
]


@pytest.mark.parametrize("constraint", DVH, ids=["coverage", "organ"])
def test_dvh_constraints_are_kept_for_less_than_in_all_voxels(dense, regions, constraint):
    influence, index = problem_of(dense, regions, SHAPE)
    problem = FluenceProblem(influence, index, OBJECTIVES)
    free = optimize_fluence(problem, np.ones(30), TIGHT)
    result = optimize_constrained(problem, [constraint], np.ones(30))
    assert result.status == "converged" and result.feasible
    voxels = index.all_voxels(constraint.structure)
    dose = (influence.matrix.toarray().astype(float) @ result.fluence)[voxels.rows]
    achieved = dose_at_volume(dose, voxels.share, constraint.volume_percent)
    assert achieved == pytest.approx(constraint.dose_gy, abs=0.1)
    oracle = Oracle(influence, index, OBJECTIVES)
    held = constraint.held_voxels(dose, voxels.share)
    in_all, of_choice = (
        oracle.solve([oracle.hold(constraint)]),
        oracle.solve([oracle.hold(constraint, np.flatnonzero(held))]),
    )
    assert free.objective_value < result.objective_value < 0.9 * in_all
    # For its choice of voxels it is the optimum.
    assert result.objective_value == pytest.approx(of_choice, rel=2e-3)


@pytest.mark.parametrize(("seed", "dearer"), [(1, 1.01), (3, 1.01), (4, 1.10)])
def test_dvh_constraint_against_every_choice_of_voxels(seed, dearer):
    """Ten voxels of equal volume, of which two may be cold: 45 choices, each convex."""
    rng = np.random.default_rng(seed)
    dense = rng.uniform(0.2, 1, (20, 5)) * (rng.uniform(size=(20, 5)) < 0.6)
    dense[:, 0] += 0.3
    regions = {"PTV": [1.0] * 10 + [0.0] * 10, "Organ": [0.0] * 10 + [1.0] * 10}
    influence, index = problem_of(dense, regions, (1, 4, 5))
    objectives = [
        Objective("PTV", "squared_overdosing", 10.0, 55.0),
        Objective("Organ", "squared_overdosing", 10.0, 10.0),
    ]
    constraint = Constraint("PTV", "min_dose_at_volume", 50.0, 80.0)
    problem = FluenceProblem(influence, index, objectives)
    result = optimize_constrained(problem, [constraint], np.ones(5))
    assert result.feasible
    oracle = Oracle(influence, index, objectives)
    choices = [
        oracle.solve([oracle.hold(constraint, np.array(held))])
        for held in itertools.combinations(range(10), 8)
    ]
    assert result.objective_value >= min(choices) * (1 - 1e-2)
    # Not promised, but often it finds the best choice.
    assert result.objective_value <= min(choices) * dearer


@pytest.mark.parametrize("percent", [0.0, 3.0, 20.0, 50.0, 95.0, 100.0])
@pytest.mark.parametrize("kind", ["min_dose_at_volume", "max_dose_at_volume"])
def test_held_voxels_decide(kind, percent):
    """D_x is on the right side exactly when all voxels held are."""
    rng = np.random.default_rng(11)
    for _ in range(30):
        dose, share = rng.uniform(1, 60, 40).round(), rng.dirichlet(np.ones(40))
        at = dose_at_volume(dose, share, percent)
        for level in (at - 0.5, at, at + 0.5):
            constraint = Constraint("PTV", kind, max(level, 0.1), percent)
            held = dose[constraint.held_voxels(dose, share)]
            right = held >= level if constraint.is_minimum else held <= level
            assert right.all() == (constraint.violation_gy(at) == 0)


class TestInfeasible:
    """Three voxels, three beamlets that each reach one of them, but for what a test says."""

    objectives = (
        Objective("PTV", "squared_deviation", 100.0, 50.0),
        Objective("Organ", "mean_dose", 1.0),
    )
    coverage = Constraint("PTV", "min_dose_at_volume", 50.0, 100.0)
    sparing = Constraint("Organ", "max_dose", 45.0)
    bystander = Constraint("Else", "max_dose", 10.0)

    def run(self, dense, constraints, **changes):
        regions = {"PTV": [1, 1, 0], "Organ": [0, 1, 0], "Else": [0, 0, 1]}
        influence, index = problem_of(np.asarray(dense, float), regions, (1, 1, 3))
        problem = FluenceProblem(influence, index, self.objectives)
        return optimize_constrained(problem, constraints, np.ones(3), **changes)

    def test_overlap_is_shared_and_each_names_the_other(self):
        result = self.run(np.eye(3), [self.bystander, self.coverage, self.sparing])
        assert result.status == "infeasible" and not result.feasible
        bystander, coverage, sparing = result.outcomes
        assert bystander.kept and bystander.conflicts == ()
        assert coverage.violation_gy == pytest.approx(2.5, abs=0.05)
        assert sparing.violation_gy == pytest.approx(2.5, abs=0.05)
        assert coverage.conflicts == ("Organ: max ≤ 45 Gy",)
        assert sparing.conflicts == ("PTV: D100% ≥ 50 Gy",)
        assert coverage.describe().startswith("PTV: D100% ≥ 50 Gy: 47.5")
        assert coverage.describe().endswith(" Gy, against Organ: max ≤ 45 Gy")

    def test_what_no_beamlet_reaches_conflicts_with_nothing(self):
        result = self.run(np.diag([1, 0, 1]), [self.coverage, self.bystander])
        assert result.status == "infeasible"
        assert result.outcomes[0].violation_gy == pytest.approx(50, abs=0.05)
        assert result.outcomes[0].conflicts == ()

    def test_mean_against_minimum(self):
        mean = Constraint("Organ", "mean_dose", 40.0)
        result = self.run(np.eye(3), [self.coverage, mean])
        assert result.status == "infeasible"
        assert [o.violation_gy for o in result.outcomes] == pytest.approx([5, 5], abs=0.05)
        assert result.outcomes[1].conflicts == ("PTV: D100% ≥ 50 Gy",)

    def test_a_budget_of_one_iteration_ends_too(self):
        settings = SolverSettings(max_iterations=1)
        result = self.run(np.eye(3), [self.coverage, self.sparing], settings=settings)
        assert result.status in ("iteration limit", "infeasible") and not result.feasible
        assert result.iterations <= 40


def test_least_violation_agrees_with_clarabel(dense, regions):
    influence, index = problem_of(dense, regions, SHAPE)
    constraints = [
        Constraint("PTV", "min_dose_at_volume", 48.0, 100.0),
        Constraint("Organ", "max_dose", 40.0),
    ]
    problem = FluenceProblem(influence, index, OBJECTIVES)
    result = optimize_constrained(problem, constraints, np.ones(30))
    assert result.status == "infeasible"
    oracle, total = Oracle(influence, index, OBJECTIVES), 0
    for c in constraints:
        dose, share = oracle.dose_and_share(c.structure)
        beyond = c.dose_gy - dose if c.is_minimum else dose - c.dose_gy
        total += index.occupancy(c.structure).volume_cc * oracle.squares(share, beyond)
    oracle.solve([], total)
    for outcome in result.outcomes:
        dose, share = oracle.dose_and_share(outcome.constraint.structure)
        least = outcome.constraint.violation_gy(outcome.constraint.achieved_gy(dose.value, share))
        assert outcome.violation_gy == pytest.approx(least, rel=0.02)


def test_constraints_hold_in_voxels_that_the_sample_leaves_out(dense, regions):
    influence, index = problem_of(dense, regions, SHAPE)
    _, sampled = problem_of(dense, regions, SHAPE, voxel_limit=12)
    constraints = [
        Constraint("Organ", "max_dose", 70.0),
        Constraint("PTV", "min_dose_at_volume", 40.0, 80.0),
        Constraint("Organ", "mean_dose", 40.0),
    ]
    whole, thinned = (
        optimize_constrained(FluenceProblem(influence, i, OBJECTIVES), constraints, np.ones(30))
        for i in (index, sampled)
    )
    assert whole.feasible and thinned.feasible
    assert thinned.objective_value == pytest.approx(whole.objective_value, rel=1e-2)


def test_constraints_go_with_smoothness_and_dose_maps(dense, regions):
    influence, index = problem_of(dense, regions, SHAPE)
    position = np.arange(30, dtype=np.float32)
    beamlets = Beamlets(np.zeros(30, np.int32), 5 * (position % 6), 5 * (position // 6))
    influence = replace(influence, beamlets=beamlets)
    levels = fall_off_levels_gy(index.occupancy("PTV"), 40.0, 10.0, 15.0)
    index.set_dose_map("fall-off", levels)
    objectives = [
        *OBJECTIVES,
        Objective("Organ", "squared_overdosing", 5.0, dose_map="fall-off"),
        Objective(FLUENCE, ROUGHNESS, 20.0),
    ]
    constraints = [Constraint("Organ", "mean_dose", 30.0)]
    problem = FluenceProblem(influence, index, objectives)
    result = optimize_constrained(problem, constraints, np.ones(30))
    oracle = Oracle(influence, index, OBJECTIVES)
    dose, share = oracle.dose_and_share("Organ")
    beyond = dose - levels.ravel()[index.all_voxels("Organ").rows]
    first, second = FluenceRoughness(beamlets).pairs.T
    rough = oracle.cvxpy.sum_squares(oracle.x[first] - oracle.x[second]) / first.size
    cost = oracle.cost + 5 * oracle.squares(share, beyond) + 20 * rough
    assert result.feasible
    assert result.objective_value == pytest.approx(
        oracle.solve([oracle.hold(constraints[0])], cost), rel=1e-3
    )


def test_without_compiled_loops_it_is_the_same(dense, regions, monkeypatch):
    pytest.importorskip("numba", reason="numba is not installed")
    influence, index = problem_of(dense, regions, SHAPE)
    results = []
    for _ in range(2):
        problem = FluenceProblem(influence, index, [*OBJECTIVES])
        results.append(optimize_constrained(problem, CONVEX["two"], np.ones(30)))
        monkeypatch.setitem(sys.modules, "radplan.optimize.kernels", None)
    assert results[0].shortcuts != results[1].shortcuts
    assert results[0].objective_value == pytest.approx(results[1].objective_value, rel=1e-3)


def test_the_problem_is_left_as_it_was(dense, regions):
    influence, index = problem_of(dense, regions, SHAPE)
    problem = FluenceProblem(influence, index, OBJECTIVES)
    before = optimize_fluence(problem, np.ones(30))
    first = optimize_constrained(problem, CONVEX["two"], np.ones(30))

    def fail(stage: str, fraction: float) -> None:
        if "round 3" in stage:
            raise RuntimeError("the listener is gone")

    with pytest.raises(RuntimeError):
        optimize_constrained(problem, CONVEX["two"], np.ones(30), progress=fail)
    assert problem.objectives == tuple(OBJECTIVES)
    after = optimize_fluence(problem, np.ones(30))
    np.testing.assert_array_equal(after.fluence, before.fluence)
    again = optimize_constrained(problem, CONVEX["two"], np.ones(30))
    np.testing.assert_array_equal(again.fluence, first.fluence)


def test_progress_and_cancel(dense, regions):
    influence, index = problem_of(dense, regions, SHAPE)
    problem = FluenceProblem(influence, index, OBJECTIVES)
    seen: list[float] = []

    def cancel_requested() -> bool:
        return len(seen) > 40

    result = optimize_constrained(
        problem,
        CONVEX["two"],
        np.ones(30),
        progress=lambda stage, fraction: seen.append(fraction),
        cancel_requested=cancel_requested,
    )
    assert result.status == "cancelled"
    assert seen == sorted(seen) and 0 < seen[-1] <= 1
    assert result.outcomes[0].achieved_gy > 0


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "min_dose", "dose_gy": 50.0},
        {"kind": "max_dose", "dose_gy": 0.0},
        {"kind": "max_dose", "dose_gy": float("nan")},
        {"kind": "max_dose", "dose_gy": 50.0, "volume_percent": 2.0},
        {"kind": "min_dose_at_volume", "dose_gy": 50.0},
        {"kind": "max_dose_at_volume", "dose_gy": 50.0, "volume_percent": 101.0},
    ],
)
def test_nonsense_is_refused(values):
    with pytest.raises(InputError, match="Rectum"):
        Constraint("Rectum", **values)


def test_unknown_structures_and_no_constraints_are_refused(dense, regions):
    influence, index = problem_of(dense, regions, SHAPE)
    problem = FluenceProblem(influence, index, OBJECTIVES)
    with pytest.raises(InputError, match="Rectum"):
        optimize_constrained(problem, [Constraint("Rectum", "max_dose", 50.0)], np.ones(30))
    with pytest.raises(InputError, match="no constraints"):
        optimize_constrained(problem, [], np.ones(30))
