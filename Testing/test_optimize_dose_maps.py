"""Dose levels that vary by voxel: mimicking, fall-off, and the solver's shortcuts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from radplan.errors import InputError
from radplan.geometry import Grid, Occupancy
from radplan.optimize import (
    OBJECTIVE_FUNCTIONS,
    FluenceProblem,
    Objective,
    StructureIndex,
    fall_off_levels_gy,
    optimize_fluence,
)
from test_optimize_solver import TIGHT, influence_of

SHAPE = (6, 5, 8)
BY_VOXEL = [name for name, f in OBJECTIVE_FUNCTIONS.items() if f.level_by_voxel]


@pytest.fixture
def small():
    """A random 240-voxel problem: body everywhere, an organ in part of it."""
    rng = np.random.default_rng(8)
    influence = influence_of(
        rng.uniform(0, 1, (240, 30)) * (rng.uniform(size=(240, 30)) < 0.4), SHAPE
    )
    organ = np.zeros(240)
    organ[50:140] = rng.uniform(0.2, 1, 90)
    regions = {
        "Body": Occupancy.from_array(influence.grid, np.ones(SHAPE)),
        "Organ": Occupancy.from_array(influence.grid, organ.reshape(SHAPE)),
    }
    return influence, regions


@pytest.mark.parametrize("function", BY_VOXEL)
def test_gradient_is_the_derivative(function):
    rng = np.random.default_rng(2)
    dose, level = rng.uniform(5, 60, 100), rng.uniform(5, 60, 100)
    share = rng.dirichlet(np.ones(100))
    objective = Objective("Organ", function, 1.0, dose_map="levels")
    evaluate = OBJECTIVE_FUNCTIONS[function].value_and_gradient
    _, gradient = evaluate(dose, share, level, objective)
    for i in range(0, 100, 7):
        step = np.zeros(100)
        step[i] = 1e-4
        rise = evaluate(dose + step, share, level, objective)[0]
        fall = evaluate(dose - step, share, level, objective)[0]
        assert gradient[i] == pytest.approx((rise - fall) / 2e-4, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("function", BY_VOXEL)
def test_a_map_of_one_level_is_that_level(small, function):
    influence, regions = small
    index = StructureIndex(regions)
    index.set_dose_map("flat", np.full(SHAPE, 25.0))
    x = np.random.default_rng(0).uniform(0, 8, 30)
    results = [
        FluenceProblem(influence, index, [objective]).value_and_gradient(x)
        for objective in (
            Objective("Organ", function, 3.0, 25.0),
            Objective("Organ", function, 3.0, dose_map="flat"),
        )
    ]
    assert results[0][0] == results[1][0] > 0
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_mimicking_recovers_the_dose_of_a_known_fluence(small):
    influence, regions = small
    known = np.random.default_rng(4).uniform(0, 6, 30)
    reference = influence.dose_gy(known)
    index = StructureIndex(regions)
    index.set_dose_map("reference", reference)
    objectives = [Objective("Body", "squared_deviation", 10.0, dose_map="reference")]
    result = optimize_fluence(FluenceProblem(influence, index, objectives), np.ones(30), TIGHT)
    np.testing.assert_allclose(influence.dose_gy(result.fluence), reference, atol=0.02)
    np.testing.assert_allclose(result.fluence, known, atol=0.05)


def test_a_dose_out_of_reach_is_mimicked_as_nnls_does(small):
    influence, regions = small
    wanted = np.random.default_rng(5).uniform(10, 40, 240)
    index = StructureIndex(regions)
    index.set_dose_map("wanted", wanted.reshape(SHAPE))
    objectives = [Objective("Organ", "squared_deviation", 1.0, dose_map="wanted")]
    result = optimize_fluence(FluenceProblem(influence, index, objectives), np.ones(30), TIGHT)
    voxels = index.voxels("Organ")
    root = np.sqrt(voxels.share)
    matrix = influence.matrix[voxels.rows].toarray().astype(float) * root[:, None]
    _, norm = nnls(matrix, wanted[voxels.rows] * root)
    assert result.objective_value == pytest.approx(norm**2, rel=1e-4)


@pytest.mark.parametrize("start_gy", [2.0, 30.0, 300.0])
def test_sampled_and_skipped_voxels_leave_no_trace(small, start_gy):
    """Idle ranges differ by voxel: the end is the same as with all voxels looked at."""
    influence, regions = small
    rng = np.random.default_rng(6)
    index, sampled = StructureIndex(regions), StructureIndex(regions, voxel_limit=15)
    levels = rng.uniform(5, 60, SHAPE)
    without_limit = np.where(rng.uniform(size=SHAPE) < 0.3, np.inf, levels)
    objectives = [
        Objective("Body", "squared_underdosing", 50.0, dose_map="lowest"),
        Objective("Body", "squared_overdosing", 20.0, dose_map="highest"),
        Objective("Organ", "mean_dose", 1.0),
    ]
    results = []
    lowest = levels * (rng.uniform(size=SHAPE) < 0.5)
    for structures in (index, sampled):
        structures.set_dose_map("lowest", lowest)
        structures.set_dose_map("highest", without_limit)
        problem = FluenceProblem(influence, structures, objectives)
        start = np.full(30, start_gy / problem.mean_dose_per_unit_fluence("Organ"))
        results.append(optimize_fluence(problem, start, TIGHT))
    assert not problem.thinned
    dose = influence.matrix.toarray().astype(float) @ results[1].fluence
    organ = index.voxels("Organ")
    cost = 50 * np.mean(np.maximum(lowest.ravel() - dose, 0) ** 2)
    cost += 20 * np.mean(np.maximum(dose - without_limit.ravel(), 0) ** 2)
    cost += organ.share @ dose[organ.rows]
    assert results[1].objective_value == pytest.approx(cost, rel=1e-10)
    assert results[1].objective_value == pytest.approx(results[0].objective_value, rel=1e-5)


def test_hostile_maps_are_refused(small):
    influence, regions = small
    index = StructureIndex(regions)
    objective = Objective("Organ", "squared_deviation", 1.0, dose_map="levels")
    with pytest.raises(InputError, match="'levels' is unknown"):
        FluenceProblem(influence, index, [objective])
    with pytest.raises(InputError, match="shape"):
        index.set_dose_map("levels", np.ones((2, 2, 2)))
    for bad in (-1.0, np.nan):
        with pytest.raises(InputError, match="negative or not a number"):
            index.set_dose_map("levels", np.full(SHAPE, bad))
    index.set_dose_map("levels", np.full(SHAPE, np.inf))
    with pytest.raises(InputError, match="infinite"):
        FluenceProblem(influence, index, [objective])
    index.set_dose_map("levels", None)
    with pytest.raises(InputError, match="unknown"):
        FluenceProblem(influence, index, [objective])
    with pytest.raises(InputError, match="takes no dose_map"):
        Objective("Organ", "geud", 1.0, exponent=4.0, dose_map="levels")
    with pytest.raises(InputError, match="not both"):
        Objective("Organ", "squared_deviation", 1.0, 30.0, dose_map="levels")


def test_an_objective_with_a_map_survives_json():
    objective = Objective("Body", "squared_overdosing", 2.0, dose_map="fall-off of PTV")
    assert Objective(**objective.to_dict()) == objective
    assert "levels of fall-off of PTV" in objective.describe()


class TestFallOff:
    grid = Grid((5, 7, 21), (2.0, 3.0, 5.0), (0.0, 0.0, 0.0))

    def target(self) -> Occupancy:
        array = np.zeros(self.grid.shape)
        array[2, 3, 10] = 1
        array[2, 3, 11] = 0.4  # less than half filled: outside
        return Occupancy.from_array(self.grid, array)

    def test_linear_with_the_spacing_of_each_axis(self):
        levels = fall_off_levels_gy(self.target(), 50.0, 20.0, 12.0)
        assert levels[2, 3, 10] == 50
        assert levels[2, 3, 11] == pytest.approx(50 - 30 * 2 / 12)  # x: 2 mm
        assert levels[2, 4, 10] == pytest.approx(50 - 30 * 3 / 12)  # y: 3 mm
        assert levels[3, 3, 10] == pytest.approx(50 - 30 * 5 / 12)  # z: 5 mm
        assert levels[2, 4, 12] == pytest.approx(50 - 30 * 5 / 12)  # 4 and 3 mm
        assert levels[2, 3, 16] == levels[2, 3, 20] == 20

    def test_exponential(self):
        levels = fall_off_levels_gy(self.target(), 50.0, 20.0, 10.0, "exponential")
        k = 1 / 10.0
        distance = np.abs(np.arange(21) - 10) * 2.0
        np.testing.assert_allclose(
            levels[2, 3], 50 * np.exp(-k * distance) + 20 * (1 - np.exp(-k * distance)), rtol=1e-6
        )

    @pytest.mark.parametrize("shape", ["linear", "exponential"])
    def test_levels_never_rise_with_distance(self, shape):
        levels = fall_off_levels_gy(self.target(), 50.0, 20.0, 10.0, shape)
        z, y, x = np.meshgrid(*self.grid.axes_mm, indexing="ij")
        order = np.argsort((x - 20) ** 2 + (y - 9) ** 2 + (z - 10) ** 2, axis=None)
        assert (np.diff(levels.ravel()[order]) <= 1e-5).all()
        assert levels.min() >= 20 and levels.max() == 50

    @pytest.mark.parametrize(
        ("numbers", "message"),
        [
            ((20.0, 50.0, 10.0), "must not rise"),
            ((50.0, -1.0, 10.0), "negative"),
            ((50.0, 20.0, 0.0), "positive"),
            ((50.0, 20.0, np.nan), "positive"),
            ((50.0, 20.0, 10.0, "cubic"), "unknown"),
        ],
    )
    def test_nonsense_is_refused(self, numbers, message):
        with pytest.raises(InputError, match=message):
            fall_off_levels_gy(self.target(), *numbers)
        empty = Occupancy.from_array(self.grid, np.zeros(self.grid.shape))
        with pytest.raises(InputError, match="fills no voxel"):
            fall_off_levels_gy(empty, 50.0, 20.0, 10.0)
