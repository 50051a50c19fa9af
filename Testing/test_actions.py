"""Actions: typed, bounded, all or nothing, and the same after a trip through JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from radplan.agent.actions import (
    LARGEST_WEIGHT_FACTOR,
    WEIGHT_BOUNDS,
    AddObjective,
    ChangeDose,
    ChangeVolume,
    ChangeWeight,
    RemoveObjective,
    action_from_dict,
    action_to_dict,
    apply_actions,
    describe_action,
)
from radplan.errors import InputError
from radplan.optimize import Objective

OBJECTIVES = (
    Objective("PTV", "squared_underdosing", 100.0, 50.0),
    Objective("Gland", "mean_dose", 1.0),
    Objective("Cord", "max_dvh", 10.0, 40.0, 20.0),
)
NAMES = {"structures": ("PTV", "Gland", "Cord"), "largest_dose_gy": 60.0}
WHY = {"reason": "a reason of a test", "author": "test"}
GOOD = (
    ChangeWeight("Gland/mean_dose", 2.0, **WHY),
    ChangeDose("PTV/squared_underdosing", 51.0, **WHY),
    ChangeVolume("Cord/max_dvh", 15.0, **WHY),
    AddObjective(Objective("Cord", "geud", 2.0, dose_gy=30.0, exponent=8.0), **WHY),
    RemoveObjective("Gland/mean_dose", **WHY),
)


@pytest.mark.parametrize("action", GOOD, ids=lambda a: a.kind)
def test_round_trip_through_json(action):
    assert action_from_dict(json.loads(json.dumps(action_to_dict(action)))) == action


@pytest.mark.parametrize("action", GOOD, ids=lambda a: a.kind)
def test_every_action_can_be_told(action):
    assert describe_action(action, OBJECTIVES)


@pytest.mark.parametrize("action", GOOD, ids=lambda a: a.kind)
def test_objectives_of_one_structure_and_function_can_be_told_apart(action):
    twin = Objective("Cord", "max_dvh", 10.0, 20.0, 30.0, id="Cord/max_dvh#2")
    told = describe_action(action, (*OBJECTIVES, twin), by_id=True)
    own = action.objective.id if isinstance(action, AddObjective) else action.objective_id
    assert own in told
    if isinstance(action, ChangeVolume):
        other = describe_action(
            replace(action, objective_id=twin.id), (*OBJECTIVES, twin), by_id=True
        )
        assert other.startswith("Cord/max_dvh#2: volume 30 → 15")


def test_actions_are_applied_in_order():
    result = {o.id: o for o in apply_actions(OBJECTIVES, GOOD, **NAMES)[0]}
    assert "Gland/mean_dose" not in result
    assert result["PTV/squared_underdosing"].dose_gy == 51.0
    assert result["Cord/max_dvh"].volume_percent == 15.0
    assert result["Cord/geud"].exponent == 8.0
    assert OBJECTIVES[1].weight == 1.0


def test_an_objective_can_be_added_and_changed_at_once():
    add = AddObjective(Objective("Cord", "mean_dose", 1.0), **WHY)
    change = ChangeWeight("Cord/mean_dose", 3.0, **WHY)
    assert apply_actions(OBJECTIVES, [add, change], **NAMES)[0][-1].weight == 3.0


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (ChangeWeight("Liver/mean_dose", 2.0, **WHY), "no objective 'Liver/mean_dose'"),
        (ChangeWeight("Gland/mean_dose", 0.0, **WHY), "positive"),
        (ChangeWeight("Gland/mean_dose", -2.0, **WHY), "positive"),
        (ChangeWeight("Gland/mean_dose", math.nan, **WHY), "positive"),
        (ChangeWeight("Gland/mean_dose", math.inf, **WHY), "positive"),
        (ChangeWeight("Gland/mean_dose", 1.01 * LARGEST_WEIGHT_FACTOR, **WHY), "beyond"),
        (ChangeWeight("Gland/mean_dose", 0.99 / LARGEST_WEIGHT_FACTOR, **WHY), "beyond"),
        (ChangeDose("Gland/mean_dose", 20.0, **WHY), "no dose level"),
        (ChangeDose("PTV/squared_underdosing", 60.1, **WHY), "above"),
        (ChangeDose("PTV/squared_underdosing", -0.1, **WHY), "negative"),
        (ChangeDose("PTV/squared_underdosing", math.nan, **WHY), "number"),
        (ChangeVolume("Gland/mean_dose", 20.0, **WHY), "no volume"),
        (ChangeVolume("Cord/max_dvh", 101.0, **WHY), "0 … 100"),
        (ChangeVolume("Cord/max_dvh", math.nan, **WHY), "number"),
        (AddObjective(Objective("Liver", "mean_dose", 1.0), **WHY), "unknown structure 'Liver'"),
        (AddObjective(Objective("Gland", "mean_dose", 1.0), **WHY), "already"),
        (AddObjective(Objective("Cord", "mean_dose", 1e7), **WHY), "weight"),
        (RemoveObjective("Liver/mean_dose", **WHY), "no objective"),
    ],
)
def test_out_of_bounds(action, words):
    with pytest.raises(InputError, match=words):
        apply_actions(OBJECTIVES, [action], **NAMES)


def test_weights_stay_within_bounds_however_often_they_are_changed():
    objectives = OBJECTIVES
    up = ChangeWeight("PTV/squared_underdosing", LARGEST_WEIGHT_FACTOR, **WHY)
    with pytest.raises(InputError, match="outside"):
        for _ in range(10):
            objectives, _ = apply_actions(objectives, [up], **NAMES)
    assert objectives[0].weight <= WEIGHT_BOUNDS[1]


def test_not_every_objective_can_go():
    with pytest.raises(InputError, match="every objective"):
        apply_actions(OBJECTIVES, [RemoveObjective(o.id, **WHY) for o in OBJECTIVES], **NAMES)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"kind": "approve_plan"},
        {"kind": "change_weight"},
        {"kind": "change_weight", "objective_id": "a", "factor": 2, "reason": "r", "extra": 1},
        {"kind": "add_objective", "reason": "r", "author": "a"},
        {"kind": "add_objective", "objective": {"structure": "PTV"}, "reason": "", "author": ""},
        {"kind": "add_objective", "objective": "PTV", "reason": "r", "author": "a"},
    ],
)
def test_what_is_no_action(values):
    with pytest.raises(InputError):
        action_from_dict(values)
