"""Full convergence: the interior point method against Clarabel, bounds and kinks."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import sparse

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
    interior_point,
    optimize_fluence,
)
from radplan.optimize.verify import projected_gradient_norm

TO_THE_END = SolverSettings(max_iterations=50, small_gradient=1e-8)
N = 40
OBJECTIVES = [
    Objective("PTV", "squared_underdosing", 100.0, 50.0),
    Objective("PTV", "squared_overdosing", 50.0, 51.5),
    Objective("Organ", "squared_overdosing", 10.0, 20.0),
    Objective("Organ", "mean_dose", 2.0),
    Objective("Other", "squared_deviation", 1.0, 15.0),
]


@pytest.fixture(params=["packed rows", "scipy rows"])
def small(request, monkeypatch):
    """A random sparse problem: a target, an organ that overlaps it, and another organ."""
    if request.param == "scipy rows":
        monkeypatch.setitem(sys.modules, "radplan.optimize.kernels", None)
    rng = np.random.default_rng(11)
    shape = (10, 8, 6)
    dense = rng.uniform(0, 1, (480, N)) * (rng.uniform(size=(480, N)) < 0.3)
    grid = Grid(shape, (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    influence = InfluenceMatrix(
        sparse.csr_array(dense.astype(np.float32)),
        grid,
        (Beam(0.0, (0.0, 0.0, 0.0)),),
        Beamlets(np.zeros(N, np.int32), np.zeros(N, np.float32), np.zeros(N, np.float32)),
        "test",
        "0",
    )
    parts = {"PTV": slice(0, 120), "Organ": slice(100, 300), "Other": slice(300, 480)}
    regions = {}
    for name, part in parts.items():
        filled = np.zeros(480)
        filled[part] = rng.uniform(0.2, 1, filled[part].size)
        regions[name] = Occupancy.from_array(grid, filled.reshape(shape))
    return influence, regions


def test_agrees_with_clarabel(small):
    influence, regions = small
    index = StructureIndex(regions)
    result = optimize_fluence(FluenceProblem(influence, index, OBJECTIVES), np.ones(N), TO_THE_END)
    assert result.status == "converged"
    assert result.projected_gradient < 1e-8
    assert (result.fluence == 0).any(), "the bound should be active somewhere"
    oracle = clarabel_cost(influence, index, OBJECTIVES)
    assert result.objective_value == pytest.approx(oracle, rel=1e-7)


def test_converges_where_no_bound_is_reached(small):
    """Every beamlet stays on, so that all multipliers are rounding and nothing else."""
    influence, regions = small
    within_reach = influence.matrix @ np.linspace(5, 10, N)
    index = StructureIndex(regions)
    index.set_dose_map("levels", within_reach.reshape(influence.grid.shape))
    objectives = [
        Objective(name, "squared_deviation", 10.0, dose_map="levels") for name in regions
    ]
    problem = FluenceProblem(influence, index, [*objectives, Objective("Organ", "mean_dose", 0.1)])
    result = optimize_fluence(problem, np.ones(N), TO_THE_END)
    assert result.status == "converged"
    assert (result.fluence > 1).all()
    assert result.projected_gradient < 1e-8


def test_goes_where_the_descent_stops(small):
    influence, regions = small
    problem = FluenceProblem(influence, StructureIndex(regions), OBJECTIVES)
    begun = optimize_fluence(problem, np.ones(N), SolverSettings(max_iterations=3))
    ended = optimize_fluence(
        problem, np.ones(N), SolverSettings(max_iterations=3, small_gradient=1e-8)
    )
    assert begun.projected_gradient > 1e-4
    assert ended.objective_value < 0.99 * begun.objective_value


def test_the_problem_is_as_before(small):
    """Its rows are given back for the second derivatives, and taken anew."""
    influence, regions = small
    problem = FluenceProblem(influence, StructureIndex(regions, voxel_limit=40), OBJECTIVES)
    few = SolverSettings(max_iterations=8)
    before = optimize_fluence(problem, np.ones(N), few)
    optimize_fluence(problem, np.ones(N), TO_THE_END)
    again = optimize_fluence(problem, np.ones(N), few)
    np.testing.assert_array_equal(again.fluence, before.fluence)


def test_looks_at_all_voxels(small):
    """What the descent samples, this does not."""
    influence, regions = small
    sampled = FluenceProblem(influence, StructureIndex(regions, voxel_limit=40), OBJECTIVES)
    result = optimize_fluence(sampled, np.ones(N), TO_THE_END)
    oracle = clarabel_cost(influence, StructureIndex(regions), OBJECTIVES)
    assert result.objective_value_all_voxels == pytest.approx(oracle, rel=1e-7)


def test_free_voxels_have_no_part(small):
    """An infinite level of a dose map leaves a voxel out."""
    influence, regions = small
    index = StructureIndex(regions)
    level = np.full(influence.grid.shape, np.inf)
    level.ravel()[150:200] = 10.0
    index.set_dose_map("levels", level)
    objectives = [
        OBJECTIVES[0],
        Objective("Organ", "squared_overdosing", 10.0, dose_map="levels"),
    ]
    result = optimize_fluence(FluenceProblem(influence, index, objectives), np.ones(N), TO_THE_END)
    assert np.isfinite(result.fluence).all()
    assert result.projected_gradient < 1e-8


def test_cancel_keeps_a_valid_fluence(small):
    influence, regions = small
    problem = FluenceProblem(influence, StructureIndex(regions), OBJECTIVES)
    stages = []
    result = optimize_fluence(
        problem,
        np.ones(N),
        SolverSettings(max_iterations=3, small_gradient=1e-12),
        progress=lambda stage, _: stages.append(stage),
        cancel_requested=lambda: stages.count("optimizing fluence to the end") > 4,
    )
    assert result.status == "cancelled"
    assert (result.fluence >= 0).all() and np.isfinite(result.objective_value)


@pytest.mark.parametrize("start", [0.1, 1.0, 5.0])
def test_dvh_objectives_end_where_their_own_gradient_vanishes(small, start):
    """Whichever voxels they count at the start: the result is judged by those at the end."""
    influence, regions = small
    objectives = [
        *OBJECTIVES,
        Objective("Organ", "max_dvh", 20.0, 12.0, 30.0),
        Objective("PTV", "min_dvh", 200.0, 50.0, 90.0),
    ]
    problem = FluenceProblem(influence, StructureIndex(regions), objectives)
    settings = SolverSettings(max_iterations=1, small_gradient=1e-7)
    result = optimize_fluence(problem, np.full(N, start), settings)
    gradient = problem.exact_cost(objectives, result.fluence).gradient
    at_start = problem.exact_cost(objectives, np.full(N, start)).gradient
    norm = projected_gradient_norm(result.fluence, gradient)
    assert result.status == "converged"
    assert norm <= 1e-7 * projected_gradient_norm(np.full(N, start), at_start)
    descent = optimize_fluence(problem, np.full(N, start))
    assert result.objective_value < 1.02 * descent.objective_value


def test_voxels_of_a_dvh_that_never_settle_are_told(small, monkeypatch):
    influence, regions = small
    monkeypatch.setattr(interior_point, "MOST_CHOICES", 1)
    objectives = [*OBJECTIVES, Objective("Organ", "max_dvh", 20.0, 12.0, 30.0)]
    problem = FluenceProblem(influence, StructureIndex(regions), objectives)
    settings = SolverSettings(max_iterations=1, small_gradient=1e-7)
    result = optimize_fluence(problem, np.ones(N), settings)
    assert result.status == "iteration limit" and result.projected_gradient > 1e-7


def test_few_rows_stand_for_many():
    """The highest curvatures stay; the others keep their sum, spread as it was."""
    rng = np.random.default_rng(5)
    curvature = np.concatenate([rng.uniform(0, 1e-3, 20_000), rng.uniform(1, 2, 50)])
    curvature[::7] = 0
    thin = interior_point._thinned(curvature, 2000)
    assert np.count_nonzero(thin) == pytest.approx(2000, abs=2)
    np.testing.assert_array_equal(thin[-50:], curvature[-50:])
    for part in (slice(0, 5000), slice(5000, 20_000)):
        assert thin[part].sum() == pytest.approx(curvature[part].sum(), rel=0.01)
    np.testing.assert_array_equal(interior_point._thinned(curvature, 20_050), curvature)


def test_rows_beside_which_others_vanish_stay():
    curvature = np.concatenate([np.ones(10), np.full(90, 1e-30)])
    np.testing.assert_array_equal(interior_point._thinned(curvature, 10)[:10], 1)


@pytest.mark.parametrize("rows", [10, 60])
def test_equal_curvatures_are_thinned_evenly(rows):
    thin = interior_point._thinned(np.full(600, 0.5), rows)
    assert np.count_nonzero(thin) == rows
    assert thin.sum() == pytest.approx(300)
    assert np.diff(np.flatnonzero(thin)).max() == 600 // rows


def test_what_it_does_not_know_is_refused(small):
    influence, regions = small
    objectives = [*OBJECTIVES, Objective("Organ", "geud", 1.0, 5.0, exponent=8.0)]
    problem = FluenceProblem(influence, StructureIndex(regions), objectives)
    with pytest.raises(InputError, match="Organ/geud"):
        optimize_fluence(problem, np.ones(N), TO_THE_END)
