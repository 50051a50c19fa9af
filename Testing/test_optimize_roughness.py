"""Smoothness of the fluence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from radplan.errors import InputError
from radplan.geometry import Occupancy
from radplan.influence.matrix import Beamlets
from radplan.optimize import (
    FLUENCE,
    ROUGHNESS,
    FluenceProblem,
    FluenceRoughness,
    Objective,
    StructureIndex,
    optimize_fluence,
)
from test_optimize_solver import TIGHT, influence_of


def field(width_mm: float, columns: int, rows: int, missing: tuple[int, ...] = ()) -> np.ndarray:
    """Beamlet centres of a rectangular field with some beamlets left out, (n, 2) mm."""
    x, z = np.meshgrid(np.arange(columns), np.arange(rows))
    return np.delete(width_mm * (np.stack([x.ravel(), z.ravel()], 1) - 1.5), missing, axis=0)


def beamlets_of(*fields: np.ndarray) -> Beamlets:
    positions = np.concatenate(fields).astype(np.float32)
    beam = np.repeat(np.arange(len(fields)), [len(f) for f in fields]).astype(np.int32)
    return Beamlets(beam, positions[:, 0], positions[:, 1])


def test_neighbours_are_those_that_share_a_side():
    roughness = FluenceRoughness(beamlets_of(field(5.0, 3, 2, missing=(1,))))
    # 0 · 1 over 2 3 4: the gap has no neighbours, diagonals are none.
    assert sorted(map(sorted, roughness.pairs.tolist())) == [[0, 2], [1, 4], [2, 3], [3, 4]]


def test_beams_are_apart_and_keep_their_own_width():
    roughness = FluenceRoughness(beamlets_of(field(5.0, 4, 3), field(2.5, 4, 3), field(7.0, 1, 1)))
    each = 3 * 3 + 4 * 2
    assert len(roughness.pairs) == 2 * each
    assert {(a < 12, b < 12) for a, b in roughness.pairs} == {(True, True), (False, False)}


def test_values_of_known_fluences():
    roughness = FluenceRoughness(beamlets_of(field(5.0, 4, 1), field(5.0, 1, 2)))
    assert roughness.value_and_gradient(np.full(6, 7.3))[0] == 0
    value, _ = roughness.value_and_gradient(np.array([0.0, 2, 4, 6, 1, 2]))
    assert value == pytest.approx((3 * 4 + 1) / 4)


def test_gradient_is_the_derivative():
    roughness = FluenceRoughness(beamlets_of(field(5.0, 5, 4, (3, 7)), field(5.0, 3, 3)))
    x = np.random.default_rng(0).uniform(0, 10, 27)
    _, gradient = roughness.value_and_gradient(x)
    numeric = [
        roughness.value_and_gradient(x + step)[0] - roughness.value_and_gradient(x - step)[0]
        for step in 1e-3 * np.eye(27)
    ]
    np.testing.assert_allclose(gradient, np.array(numeric) / 2e-3, rtol=1e-7, atol=1e-9)


def test_positions_that_make_no_sense_are_named():
    with pytest.raises(InputError, match="beam 1 are in one place"):
        FluenceRoughness(beamlets_of(field(5.0, 2, 2), np.zeros((2, 2))))
    with pytest.raises(InputError, match="no beamlet has a neighbour"):
        FluenceRoughness(beamlets_of(np.zeros((1, 2)), np.ones((1, 2))))


@pytest.fixture
def plan():
    """Two opposed-like fields of 4 × 4 beamlets that blur onto a small target and an organ."""
    rng = np.random.default_rng(1)
    beamlets = beamlets_of(field(5.0, 4, 4), field(5.0, 4, 4))
    voxels = rng.uniform(-1, 5, (400, 2))
    distance = np.hypot(
        voxels[:, :1] - (beamlets.x_mm / 5 + 1.5), voxels[:, 1:] - (beamlets.z_mm / 5 + 1.5)
    )
    dense = np.exp(-((distance / 0.7) ** 2)) * rng.uniform(0.8, 1.2, (400, 1))
    influence = replace(influence_of(dense, (10, 8, 5)), beamlets=beamlets)
    target = np.hypot(*(voxels - 2).T) < 1.5
    regions = {"PTV": target, "Rest": ~target}
    index = StructureIndex(
        {
            name: Occupancy.from_array(influence.grid, part.astype(float).reshape(10, 8, 5))
            for name, part in regions.items()
        }
    )
    return influence, index


OBJECTIVES = [
    Objective("PTV", "squared_deviation", 100.0, 50.0),
    Objective("Rest", "squared_overdosing", 5.0, 10.0),
]


def rough(weight: float) -> Objective:
    return Objective(FLUENCE, ROUGHNESS, weight)


def test_problem_and_verification_count_it(plan):
    influence, index = plan
    x = np.random.default_rng(3).uniform(0, 8, 32)
    plain = FluenceProblem(influence, index, OBJECTIVES)
    problem = FluenceProblem(influence, index, [*OBJECTIVES, rough(3.0)])
    value, gradient = FluenceRoughness(influence.beamlets).value_and_gradient(x)
    for with_it, without in (
        (problem.value_and_gradient(x), plain.value_and_gradient(x)),
        *(
            ((a.value, a.gradient), (b.value, b.gradient))
            for a, b in zip(problem.exact_costs(x), plain.exact_costs(x), strict=True)
        ),
    ):
        assert with_it[0] - without[0] == pytest.approx(3 * value)
        np.testing.assert_allclose(with_it[1] - without[1], 3 * gradient, rtol=1e-6, atol=1e-6)


def test_more_weight_makes_a_smoother_fluence_and_keeps_the_dose(plan):
    influence, index = plan
    roughness = FluenceRoughness(influence.beamlets)
    ptv = index.voxels("PTV").rows
    values, doses = [], []
    for weight in (0, 3, 10, 100):
        extra = [rough(weight)] if weight else []
        problem = FluenceProblem(influence, index, [*OBJECTIVES, *extra])
        result = optimize_fluence(problem, np.ones(32), TIGHT)
        values.append(roughness.value_and_gradient(result.fluence)[0])
        doses.append(influence.dose_gy(result.fluence).ravel()[ptv].mean())
    assert (np.diff(values) < 0).all()
    assert values[3] < 0.1 * values[0]
    assert doses[3] == pytest.approx(doses[0], rel=0.01)


def test_it_belongs_to_the_fluence():
    assert Objective(**rough(2.0).to_dict()) == rough(2.0)
    assert rough(2.0).describe() == "fluence: fluence roughness, weight 2"
    with pytest.raises(InputError, match="'fluence', not of a structure"):
        Objective("PTV", ROUGHNESS, 1.0)
    with pytest.raises(InputError, match="takes no dose_gy"):
        Objective(FLUENCE, ROUGHNESS, 1.0, 30.0)
