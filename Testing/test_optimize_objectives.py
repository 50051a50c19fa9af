"""Objective functions: gradients, units, volume normalisation, hostile parameters."""

from __future__ import annotations

import numpy as np
import pytest

from radplan.errors import InputError
from radplan.optimize import OBJECTIVE_FUNCTIONS, Objective

PARAMETERS = {"dose_gy": 30.0, "exponent": 6.0}
#: Volumes for which voxels of a dose spread over 5 … 60 Gy are between the level and the quantile.
VOLUME_PERCENT = {"max_dvh": 35.0, "min_dvh": 85.0}


def make(function: str, **changes: float) -> Objective:
    wanted = OBJECTIVE_FUNCTIONS[function].parameters
    known = PARAMETERS | {"volume_percent": VOLUME_PERCENT.get(function)}
    values = {name: known[name] for name in wanted} | changes
    return Objective("organ", function, 1.0, **values)


def evaluate(objective: Objective, dose: np.ndarray, share: np.ndarray):
    function = OBJECTIVE_FUNCTIONS[objective.function]
    return function.value_and_gradient(dose, share, objective.dose_gy or 0.0, objective)


@pytest.fixture
def voxels() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    share = rng.uniform(0.05, 1, 200)
    return rng.uniform(5, 60, 200), share / share.sum()


@pytest.mark.parametrize("function", OBJECTIVE_FUNCTIONS)
def test_gradient_is_the_derivative(function, voxels):
    dose, share = voxels
    objective = make(function)
    _, gradient = evaluate(objective, dose, share)
    step = 1e-5
    numeric = np.empty_like(dose)
    for i in range(dose.size):
        up, down = dose.copy(), dose.copy()
        up[i] += step
        down[i] -= step
        numeric[i] = (evaluate(objective, up, share)[0] - evaluate(objective, down, share)[0]) / (
            2 * step
        )
    assert np.abs(gradient).max() > 0
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-7)


SMOOTH_AT_THE_LEVEL = (
    "squared_deviation squared_overdosing squared_underdosing squared_mean_overdosing "
    "soft_maximum geud max_dvh min_dvh dose_variance"
).split()


@pytest.mark.parametrize("function", SMOOTH_AT_THE_LEVEL)
def test_gradient_at_the_kink_is_zero(function):
    dose, share = np.full(10, 30.0), np.full(10, 0.1)
    value, gradient = evaluate(make(function), dose, share)
    assert value == pytest.approx(0, abs=1e-20)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


@pytest.mark.parametrize("function", OBJECTIVE_FUNCTIONS)
def test_splitting_every_voxel_changes_nothing(function, voxels):
    dose, share = voxels
    objective = make(function)
    whole, _ = evaluate(objective, dose, share)
    split, _ = evaluate(objective, np.repeat(dose, 3), np.repeat(share / 3, 3))
    # The DVH surrogates may include one more third of the voxel at the quantile.
    assert split == pytest.approx(whole, rel=2e-2 if "dvh" in function else 1e-12)


def test_values_of_a_known_dose():
    dose, share = np.array([10.0, 20.0, 40.0, 50.0]), np.array([0.1, 0.2, 0.3, 0.4])
    assert evaluate(make("mean_dose"), dose, share)[0] == pytest.approx(37.0)
    assert evaluate(make("squared_overdosing"), dose, share)[0] == pytest.approx(190.0)
    assert evaluate(make("squared_underdosing"), dose, share)[0] == pytest.approx(60.0)
    assert evaluate(make("squared_deviation"), dose, share)[0] == pytest.approx(250.0)
    assert evaluate(make("squared_mean_overdosing"), dose, share)[0] == pytest.approx(49.0)
    assert evaluate(make("dose_variance"), dose, share)[0] == pytest.approx(201.0)
    soft_gy = 50 + np.log(0.4 + 0.3 * np.exp(-10) + 0.2 * np.exp(-30) + 0.1 * np.exp(-40))
    assert evaluate(make("soft_maximum"), dose, share)[0] == pytest.approx((soft_gy - 30) ** 2)
    geud_gy = (0.1 * 10**6 + 0.2 * 20**6 + 0.3 * 40**6 + 0.4 * 50**6) ** (1 / 6)
    assert evaluate(make("geud"), dose, share)[0] == pytest.approx((geud_gy - 30) ** 2)
    # V30 is 70 %: of it the hottest 40 % may stay, the voxel at 40 Gy is to come down.
    assert evaluate(make("max_dvh", volume_percent=45.0), dose, share)[0] == pytest.approx(30.0)
    # V30 should be 90 %: the voxel at 20 Gy is in the hottest 90 % and too cold.
    assert evaluate(make("min_dvh", volume_percent=90.0), dose, share)[0] == pytest.approx(20.0)


def test_geud_survives_huge_exponents_and_zero_dose():
    dose, share = np.array([1.0, 80.0]), np.array([0.5, 0.5])
    value, gradient = evaluate(make("geud", exponent=100.0), dose, share)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    assert evaluate(make("geud"), np.zeros(2), share)[0] == 0


@pytest.mark.parametrize(
    "values",
    [
        {"function": "squared_overdosing", "weight": 1.0},
        {"function": "squared_overdosing", "weight": -1.0, "dose_gy": 3.0},
        {"function": "squared_overdosing", "weight": float("nan"), "dose_gy": 3.0},
        {"function": "mean_dose", "weight": 1.0, "dose_gy": 3.0},
        {"function": "max_dvh", "weight": 1.0, "dose_gy": 3.0, "volume_percent": 130.0},
        {"function": "geud", "weight": 1.0, "dose_gy": 3.0, "exponent": 0.0},
        {"function": "be_nice", "weight": 1.0},
    ],
)
def test_nonsense_is_refused(values):
    with pytest.raises(InputError, match="Rectum"):
        Objective("Rectum", **values)
