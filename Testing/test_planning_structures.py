"""Helpers that the planner draws: what they are made of, and that they do not overlap."""

from __future__ import annotations

import numpy as np
import pytest

from image_phantom import OAR, TARGET, ball, image_phantom, protocol, structure
from radplan.agent.helpers import (
    LEVEL_GRADIENT_MM,
    RINGS,
    core_name,
    make_planning_structures,
    overlap_free_name,
)
from radplan.agent.initial import initial_objectives
from radplan.influence import choose_dose_grid
from radplan.protocol_file import protocol_from_dict

BOOST = structure("PTV_High", TARGET, ball((-8.0, 0.0, 0.0), 12.0))
INSIDE = structure("Urethra", OAR, ball((0.0, 0.0, 0.0), 7.0))
TWO_LEVELS = [{"target": "PTV_High", "dose_gy": 60.0}, {"target": "PTV", "dose_gy": 50.0}]


def made(case, **changed):
    goals = [{**protocol()["goals"][0], "structure": "PTV", "value": 40.0}]
    document = protocol(goals=goals, **changed)
    return make_planning_structures(case, protocol_from_dict(document), choose_dose_grid(case, 5))


@pytest.fixture(scope="module")
def single():
    return made(image_phantom(INSIDE))


@pytest.fixture(scope="module")
def double():
    return made(image_phantom(BOOST), prescriptions=TWO_LEVELS)


def array(structures, name):
    return structures.occupancies[name].array()


@pytest.mark.parametrize("which", ["single", "double"])
def test_rings_are_normal_tissue_and_disjoint(which, request):
    structures = request.getfixturevalue(which)
    body = array(structures, "BODY")
    total = np.zeros_like(body)
    for name in structures.ring_level_gy:
        ring = array(structures, name)
        assert not (ring[array(structures, "PTV") > 0]).any()
        assert (ring <= body + 1e-6).all()
        total += ring
    assert total.max() <= 1 + 1e-6


def test_rings_lie_at_their_distance(single):
    target = single.occupancies["PTV"].mask()
    axes = single.occupancies["PTV"].grid.axes_mm
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    inside = points[target]
    for index, (near, far, share, hottest_share) in enumerate(RINGS, start=1):
        name = f"zRing{index}_PTV"
        if name not in single.occupancies:
            continue  # thinner than a voxel of this coarse grid
        level_gy = single.ring_level_gy[name]
        assert level_gy == pytest.approx(share * 50.0)
        assert single.ring_hottest_gy[name] == pytest.approx(hottest_share * 50.0)
        some = points[array(single, name) > 0][::97]
        distance = np.linalg.norm(some[:, None] - inside[None], axis=-1).min(axis=1)
        assert (distance > near).all()
        assert (distance <= far + 1e-3).all()


def test_levels_fall_with_the_distance(double):
    for target in ("PTV_High", "PTV"):
        levels = [v for k, v in double.ring_level_gy.items() if k.endswith(f"_{target}")]
        assert levels == sorted(levels, reverse=True)


def test_no_voxel_far_from_targets_may_be_as_hot_as_a_target(double):
    assert set(double.ring_hottest_gy) == set(double.ring_level_gy)
    for target in ("PTV_High", "PTV"):
        caps = [v for k, v in double.ring_hottest_gy.items() if k.endswith(f"_{target}")]
        assert caps == sorted(caps, reverse=True)
    for name, hottest_gy in double.ring_hottest_gy.items():
        assert hottest_gy > double.ring_level_gy[name]


def test_free_parts(single, double):
    gland, target = array(single, "Gland"), array(single, "PTV")
    free = array(single, overlap_free_name("Gland"))
    np.testing.assert_allclose(free, np.clip(gland - target, 0, 1), atol=1e-6)
    assert not (free[target >= 1] > 0).any()
    assert single.structure_of(overlap_free_name("Gland")) == "Gland"
    assert overlap_free_name("Distant") not in single.occupancies
    high, low = array(double, "PTV_High"), array(double, "PTV")
    np.testing.assert_allclose(
        array(double, overlap_free_name("PTV")), np.clip(low - high, 0, 1), atol=1e-6
    )
    assert overlap_free_name("PTV_High") not in double.occupancies


def test_core_is_away_from_the_higher_target(double):
    core, high = array(double, core_name("PTV")), double.occupancies["PTV_High"].mask()
    assert core.any()
    assert (core <= array(double, "PTV") + 1e-6).all()
    axes = double.occupancies["PTV"].grid.axes_mm
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    gap = np.linalg.norm(points[core > 0][:, None] - points[high][None], axis=-1).min()
    assert gap > LEVEL_GRADIENT_MM - 1e-3


def test_organ_inside_the_target_has_no_free_part(single):
    assert overlap_free_name("Urethra") not in single.occupancies
    assert single.part_outside_targets("Urethra") is None
    assert single.part_outside_targets("Gland") == overlap_free_name("Gland")
    assert single.part_outside_targets("Distant") == "Distant"


def test_target_inside_a_higher_one_asks_for_nothing():
    low = structure("PTV_Low", TARGET, ball((0.0, 0.0, 0.0), 12.0))
    case = image_phantom(low)
    levels = [{"target": "PTV", "dose_gy": 60.0}, {"target": "PTV_Low", "dose_gy": 50.0}]
    structures = made(case, prescriptions=levels)
    assert structures.part_outside_targets("PTV_Low") is None
    resolved = protocol_from_dict(protocol(prescriptions=levels, goals=protocol()["goals"][2:]))
    objectives = initial_objectives(case, resolved, structures)
    assert not [o for o in objectives if "PTV_Low" in o.structure]


def test_helpers_are_never_confused_with_the_cases_structures(double):
    names = set(image_phantom(BOOST).names)
    helpers = set(double.occupancies) - names
    assert helpers
    assert all(name.startswith("z") for name in helpers)
    assert set(double.parent) | set(double.ring_level_gy) == helpers
