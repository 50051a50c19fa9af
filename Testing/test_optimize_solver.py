"""The optimizer against analytic solutions and an independent convex solver."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import nnls

from clarabel_oracle import clarabel_cost
from radplan.beams import Beam
from radplan.errors import InputError
from radplan.geometry import Grid, Occupancy
from radplan.influence.matrix import Beamlets, InfluenceMatrix
from radplan.optimize import (
    FluenceProblem,
    Objective,
    SolverSettings,
    StructureIndex,
    optimize_fluence,
    solver,
)

TIGHT = SolverSettings(max_iterations=2000, relative_improvement=1e-12)


def influence_of(dense: np.ndarray, shape: tuple[int, int, int]) -> InfluenceMatrix:
    n = dense.shape[1]
    return InfluenceMatrix(
        sparse.csr_array(dense.astype(np.float32)),
        Grid(shape, (3.0, 3.0, 3.0), (0.0, 0.0, 0.0)),
        (Beam(0.0, (0.0, 0.0, 0.0)),),
        Beamlets(np.zeros(n, np.int32), np.zeros(n, np.float32), np.zeros(n, np.float32)),
        "test",
        "0",
    )


@pytest.fixture
def small():
    """A random sparse 240-voxel problem with a target and an organ."""
    rng = np.random.default_rng(3)
    shape = (6, 5, 8)
    dense = rng.uniform(0, 1, (240, 30)) * (rng.uniform(size=(240, 30)) < 0.4)
    target, organ = np.zeros(240), np.zeros(240)
    target[:60] = rng.uniform(0.2, 1, 60)
    organ[50:140] = rng.uniform(0.2, 1, 90)
    influence = influence_of(dense, shape)
    regions = {
        "PTV": Occupancy.from_array(influence.grid, target.reshape(shape)),
        "Organ": Occupancy.from_array(influence.grid, organ.reshape(shape)),
    }
    return influence, StructureIndex(regions)


def test_least_squares_agrees_with_nnls(small):
    influence, index = small
    problem = FluenceProblem(influence, index, [Objective("PTV", "squared_deviation", 4.0, 50.0)])
    result = optimize_fluence(problem, np.ones(30), TIGHT)
    voxels = index.voxels("PTV")
    root = np.sqrt(4.0 * voxels.share)
    matrix = influence.matrix[voxels.rows].toarray().astype(float) * root[:, None]
    _, norm = nnls(matrix, 50.0 * root)
    assert result.objective_value == pytest.approx(norm**2, rel=1e-4)
    assert (result.fluence >= 0).all()
    assert (result.fluence == 0).any(), "the bound should be active somewhere"
    assert result.projected_gradient < 1e-3


def test_convex_plan_agrees_with_clarabel(small):
    influence, index = small
    objectives = [
        Objective("PTV", "squared_underdosing", 100.0, 50.0),
        Objective("PTV", "squared_overdosing", 50.0, 52.0),
        Objective("Organ", "squared_overdosing", 10.0, 20.0),
        Objective("Organ", "mean_dose", 2.0),
    ]
    result = optimize_fluence(FluenceProblem(influence, index, objectives), np.ones(30), TIGHT)
    oracle = clarabel_cost(influence, index, objectives)
    assert result.objective_value == pytest.approx(oracle, rel=1e-4)


def test_fluence_gradient_is_the_derivative(small):
    influence, index = small
    problem = FluenceProblem(
        influence,
        index,
        [
            Objective("PTV", "squared_underdosing", 100.0, 50.0),
            Objective("Organ", "geud", 3.0, 5.0, exponent=8.0),
        ],
    )
    x = np.random.default_rng(1).uniform(0, 8, 30)
    _, gradient = problem.value_and_gradient(x)
    for i in (0, 7, 29):
        step = np.zeros(30)
        step[i] = 1e-2
        numeric = (
            problem.value_and_gradient(x + step)[0] - problem.value_and_gradient(x - step)[0]
        ) / 2e-2
        assert gradient[i] == pytest.approx(numeric, rel=2e-3)


def test_new_objectives_reach_new_voxels(small):
    influence, index = small
    problem = FluenceProblem(influence, index, [Objective("PTV", "squared_deviation", 1.0, 50.0)])
    problem.set_objectives([Objective("Organ", "mean_dose", 1.0)])
    value, _ = problem.value_and_gradient(np.ones(30))
    assert value == pytest.approx(problem.mean_dose_per_unit_fluence("Organ"), rel=1e-5)


def test_cancel_returns_the_last_iterate(small):
    influence, index = small
    problem = FluenceProblem(influence, index, [Objective("PTV", "squared_deviation", 1.0, 50.0)])
    calls = []

    def cancel_requested() -> bool:
        calls.append(1)
        return len(calls) > 4

    start_value, _ = problem.value_and_gradient(np.ones(30))
    result = optimize_fluence(problem, np.ones(30), TIGHT, cancel_requested=cancel_requested)
    assert result.status == "cancelled"
    assert result.objective_value < start_value


def test_thinning_keeps_the_structure_representative():
    grid = Grid((40, 50, 60), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    body = Occupancy.from_array(grid, np.ones(grid.shape, np.float32))
    z, y, x = np.meshgrid(*grid.axes_mm, indexing="ij")
    dose = (20 + 0.1 * x - 0.05 * y + 0.08 * z).ravel()
    for limit, tolerance_gy in ((2_000, 0.5), (6_000, 0.3), (20_000, 0.15)):
        voxels = StructureIndex({"Body": body}, voxel_limit=limit).voxels("Body")
        assert voxels.rows.size <= limit + 1
        sampled = dose[voxels.rows]
        assert voxels.share @ sampled == pytest.approx(dose.mean(), abs=tolerance_gy)
        for percent in (5, 50, 95):
            assert np.percentile(sampled, percent) == pytest.approx(
                np.percentile(dose, percent), abs=tolerance_gy
            )


def test_unknown_and_unreachable_structures_are_named(small):
    influence, index = small
    with pytest.raises(InputError, match="Rectum"):
        FluenceProblem(influence, index, [Objective("Rectum", "mean_dose", 1.0)])
    with pytest.raises(InputError, match="no objectives"):
        FluenceProblem(influence, index, [])
    empty = Occupancy.from_array(influence.grid, np.zeros(influence.grid.shape))
    with pytest.raises(InputError, match="Nothing"):
        StructureIndex({"Nothing": empty}).voxels("Nothing")


@pytest.mark.parametrize("start_gy", [5.0, 45.0, 400.0])
def test_rows_left_out_on_the_way_change_nothing(small, monkeypatch, start_gy):
    """Looking at few rows, and seldom at all of them, ends where looking at all of them does."""
    influence, index = small
    objectives = [
        Objective("PTV", "squared_underdosing", 100.0, 50.0),
        Objective("PTV", "squared_overdosing", 50.0, 52.0),
        Objective("Organ", "squared_overdosing", 10.0, 20.0),
    ]
    problem = FluenceProblem(influence, index, objectives)
    start = np.full(30, start_gy / problem.mean_dose_per_unit_fluence("PTV"))
    monkeypatch.setattr(solver, "LARGEST_MARGIN", np.inf)
    monkeypatch.setattr(solver, "FIRST_MARGIN", np.inf)
    monkeypatch.setattr(solver, "SMALLEST_MARGIN", np.inf)
    reference = optimize_fluence(problem, start, TIGHT)
    for name in ("FIRST_MARGIN", "SMALLEST_MARGIN", "LARGEST_MARGIN"):
        monkeypatch.setattr(solver, name, 1e-3)
    screened = optimize_fluence(problem, start, TIGHT)
    assert screened.status == "converged"
    assert screened.objective_value == pytest.approx(reference.objective_value, rel=1e-5)


def test_cost_of_rows_not_watched_is_told(small):
    influence, index = small
    problem = FluenceProblem(influence, index, [Objective("PTV", "squared_overdosing", 1.0, 30.0)])
    cold, hot = np.full(30, 0.01), np.full(30, 100.0)
    problem.watch_near(cold, 0.05)
    assert problem.value_and_gradient(hot)[0] == 0
    assert problem.watch_near(hot, 0.05) == pytest.approx(problem.value_and_gradient(hot)[0])


def test_a_solution_as_start_is_kept(small):
    influence, index = small
    problem = FluenceProblem(influence, index, [Objective("PTV", "squared_overdosing", 1.0, 30.0)])
    result = optimize_fluence(problem, np.zeros(30), TIGHT)
    assert (result.status, result.objective_value) == ("converged", 0.0)


@pytest.fixture(params=["compiled", "scipy"])
def any_kernels(request, monkeypatch):
    """Both ways to go over rows: numba's, and scipy's where numba is missing."""
    if request.param == "scipy":
        monkeypatch.setitem(sys.modules, "radplan.optimize.kernels", None)
    else:
        pytest.importorskip("numba", reason="numba is not installed")


def test_result_is_verified_on_all_voxels_in_double_precision(small, any_kernels):
    influence, index = small
    thinned = StructureIndex({n: index.occupancy(n) for n in index.names}, voxel_limit=30)
    objectives = [
        Objective("PTV", "squared_deviation", 100.0, 50.0),
        Objective("Organ", "squared_overdosing", 10.0, 20.0),
        Objective("Organ", "mean_dose", 2.0),
    ]
    result = optimize_fluence(FluenceProblem(influence, thinned, objectives), np.ones(30), TIGHT)
    dose = influence.matrix.toarray().astype(float) @ result.fluence
    organ = index.voxels("Organ")
    for ptv, told in (
        (thinned.voxels("PTV"), result.objective_value),
        (index.voxels("PTV"), result.objective_value_all_voxels),
    ):
        cost = 100 * ptv.share @ (dose[ptv.rows] - 50) ** 2
        cost += 10 * organ.share @ np.maximum(dose[organ.rows] - 20, 0) ** 2
        cost += 2 * organ.share @ dose[organ.rows]
        assert told == pytest.approx(cost, rel=1e-12)
    assert "voxels thinned: PTV" in result.shortcuts
    assert result.projected_gradient < 1e-3


def test_sampling_of_voxels_leaves_no_trace(small):
    """Of a large structure, a sample is looked at first, and all that counts in the end."""
    influence, index = small
    sampled = StructureIndex({n: index.occupancy(n) for n in index.names}, voxel_limit=12)
    objectives = [
        Objective("PTV", "squared_underdosing", 100.0, 50.0),
        Objective("PTV", "squared_overdosing", 50.0, 52.0),
        Objective("Organ", "squared_overdosing", 10.0, 20.0),
        Objective("Organ", "mean_dose", 2.0),
    ]
    reference = optimize_fluence(FluenceProblem(influence, index, objectives), np.ones(30), TIGHT)
    problem = FluenceProblem(influence, sampled, objectives)
    result = optimize_fluence(problem, np.ones(30), TIGHT)
    assert result.status == "converged"
    assert not problem.thinned
    assert result.objective_value == result.objective_value_all_voxels
    assert result.objective_value == pytest.approx(reference.objective_value, rel=1e-5)


def test_compiled_loops_and_scipy_find_the_same_optimum(small, monkeypatch):
    pytest.importorskip("numba", reason="numba is not installed")
    influence, index = small
    objectives = [
        Objective("PTV", "squared_underdosing", 100.0, 50.0),
        Objective("PTV", "squared_overdosing", 50.0, 52.0),
        Objective("Organ", "geud", 1.0, 10.0, exponent=6.0),
    ]
    values = []
    for _ in range(2):
        problem = FluenceProblem(influence, index, objectives)
        values.append(optimize_fluence(problem, np.ones(30), TIGHT))
        monkeypatch.setitem(sys.modules, "radplan.optimize.kernels", None)
    assert values[0].shortcuts[0] != values[1].shortcuts[0]
    assert values[0].objective_value == pytest.approx(values[1].objective_value, rel=1e-5)


def test_order_of_rows_changes_nothing(small):
    """The same voxels elsewhere on the grid: the same optimum."""
    influence, index = small
    order = np.random.default_rng(2).permutation(240)
    shuffled = influence_of(influence.matrix.toarray()[order], influence.grid.shape)
    regions = {
        name: Occupancy.from_array(
            influence.grid, index.occupancy(name).array().ravel()[order].reshape(6, 5, 8)
        )
        for name in index.names
    }
    objectives = [
        Objective("PTV", "squared_deviation", 100.0, 50.0),
        Objective("Organ", "squared_overdosing", 10.0, 20.0),
    ]
    first = optimize_fluence(FluenceProblem(influence, index, objectives), np.ones(30), TIGHT)
    second = optimize_fluence(
        FluenceProblem(shuffled, StructureIndex(regions), objectives), np.ones(30), TIGHT
    )
    assert second.objective_value == pytest.approx(first.objective_value, rel=1e-5)


def test_objectives_that_need_every_voxel_stay_sampled_and_say_so(small):
    influence, index = small
    sampled = StructureIndex({n: index.occupancy(n) for n in index.names}, voxel_limit=12)
    objectives = [
        Objective("PTV", "squared_underdosing", 100.0, 50.0),
        Objective("Organ", "max_dvh", 10.0, 10.0, 30.0),
    ]
    result = optimize_fluence(FluenceProblem(influence, sampled, objectives), np.ones(30), TIGHT)
    assert result.shortcuts[-1] == "voxels thinned: Organ"
    assert result.objective_value != result.objective_value_all_voxels


def test_what_was_optimized_before_changes_nothing(small):
    """Bit for bit: a session that is resumed goes on as if it had not been interrupted."""
    influence, index = small
    sampled = StructureIndex({n: index.occupancy(n) for n in index.names}, voxel_limit=12)
    before = [Objective("Organ", "squared_overdosing", 500.0, 5.0)]
    objectives = [
        Objective("PTV", "squared_underdosing", 100.0, 50.0),
        Objective("PTV", "squared_overdosing", 50.0, 52.0),
        Objective("Organ", "squared_overdosing", 10.0, 20.0),
        Objective("Organ", "mean_dose", 2.0),
    ]
    fresh = optimize_fluence(FluenceProblem(influence, sampled, objectives), np.ones(30))
    problem = FluenceProblem(influence, sampled, before)
    optimize_fluence(problem, np.ones(30))
    problem.set_objectives(objectives)
    again = optimize_fluence(problem, np.ones(30))
    np.testing.assert_array_equal(again.fluence, fresh.fluence)


def test_a_small_change_is_followed(small):
    """A first step that gains little is not taken for the end."""
    influence, index = small
    objectives = [
        Objective("PTV", "squared_deviation", 100.0, 50.0),
        Objective("Organ", "squared_overdosing", 10.0, 20.0),
    ]
    problem = FluenceProblem(influence, index, objectives)
    before = optimize_fluence(problem, np.ones(30), TIGHT)
    problem.set_objectives([objectives[0], replace(objectives[1], dose_gy=19.0)])
    settings = SolverSettings(relative_improvement=1e-4, sample_first=False)
    best = optimize_fluence(problem, before.fluence, TIGHT).objective_value
    after = optimize_fluence(problem, before.fluence, settings)
    assert after.objective_value == pytest.approx(best, rel=2e-3)
