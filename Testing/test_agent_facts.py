"""Facts in numbers: right, in words that agree with them, and without a name from outside."""

from __future__ import annotations

import re

import numpy as np
import pytest

from agent_cases import GRID, HOSTILE, RX_GY, ball_case, ball_protocol, structure, uniform_dose
from radplan.agent.anatomy import anatomy_facts, anatomy_text
from radplan.agent.directions import direction_words, offset_text
from radplan.agent.facts import (
    dvh_text,
    goal_facts,
    number,
    protocol_text,
    scorecard_text,
)
from radplan.agent.objective_facts import objective_values, objectives_text, present_dose
from radplan.agent.tokens import ObjectiveTokens, StructureTokens
from radplan.case import StructureType
from radplan.evaluation import DoseEvaluator
from radplan.metrics import StructureDose
from radplan.optimize import Objective, StructureIndex
from radplan.scorecard import evaluate_scorecard

CASE, PROTOCOL = ball_case(), ball_protocol()
TOKENS = StructureTokens.of(CASE, PROTOCOL)
OCCUPANCIES = {s.name: s.occupancy for s in CASE.structures}


def scorecard(target_gy: float, parotid_gy: float, other_gy: float = 0.0):
    """A scorecard of structures that each have one dose."""
    doses = {
        "PTV_6000": target_gy, "Parotid_L": parotid_gy, HOSTILE: other_gy, "External": target_gy,
    }  # fmt: skip
    sampled = {name: StructureDose(np.full(10, gy), np.ones(10)) for name, gy in doses.items()}
    return evaluate_scorecard(
        CASE.name, PROTOCOL, sampled, external_name="External", step=0
    ), sampled


def assert_safe(text: str) -> None:
    """Nothing that came from outside is in a text."""
    for word in HOSTILE.split():
        if word not in ("all", "and"):
            assert word.lower() not in text.lower()
    assert "Smith" not in text and "^" not in text
    assert re.fullmatch(r"[\w\s.,:;%≤≥|/()#+\-^~]*", text), text


def test_sentences_agree_with_the_numbers() -> None:
    card, _ = scorecard(target_gy=60.0, parotid_gy=27.2)
    facts = {f.structure: f for f in goal_facts(card, TOKENS)}
    parotid = facts["Parotid_L"]
    assert parotid.sentence == ("27.2 Gy, limit ≤ 20 Gy: missed by 7.2 Gy (36 % of the limit)")
    assert (parotid.met, parotid.goal, parotid.priority) == (False, "G2", 3)
    assert parotid.margin == pytest.approx(-7.2)
    assert facts["PTV_6000"].sentence == "60.0 Gy, limit ≥ 60 Gy: just met"
    assert facts["OAR_1"].sentence.endswith("met with 50.0 % to spare (100 % of the limit)")
    assert facts["Brainstem"].met is None
    assert "not evaluable" in facts["Brainstem"].sentence


def test_a_goal_missed_by_little_does_not_read_as_met() -> None:
    card, _ = scorecard(target_gy=59.98, parotid_gy=20.004)
    facts = {f.structure: f for f in goal_facts(card, TOKENS)}
    assert "59.98 Gy, limit ≥ 60 Gy: missed by 0.02 Gy" in facts["PTV_6000"].sentence
    assert "20.004 Gy, limit ≤ 20 Gy: missed by 0.004 Gy" in facts["Parotid_L"].sentence


def test_goals_without_a_value_are_told_once() -> None:
    card, _ = scorecard(60.0, 20.0)
    absent = [r.goal for r in card.goals if r.met is None]
    assert "G4 Brainstem" in protocol_text(PROTOCOL, TOKENS)
    told = protocol_text(PROTOCOL, TOKENS, absent)
    assert "Brainstem" not in told and "G3 OAR_1" in told and "G2 Parotid_L" in told
    assert (told + scorecard_text(card, TOKENS)).count("Brainstem") == 1


def test_goals_come_by_priority_and_missed_first() -> None:
    card, _ = scorecard(target_gy=50.0, parotid_gy=30.0, other_gy=40.0)
    facts = goal_facts(card, TOKENS)
    # OAR_1 misses 50 % by all of it, the target 60 Gy by a sixth.
    assert [f.structure for f in facts] == ["OAR_1", "PTV_6000", "Brainstem", "Parotid_L"]
    text = scorecard_text(card, TOKENS)
    assert text.startswith("0 of 3 goals met")
    assert text.index("Priority 1") < text.index("OAR_1") < text.index("Priority 3")
    assert "the case lacks the structure: G4 Brainstem D0.03cc" in text


def test_dvh_table_holds_the_doses() -> None:
    _, sampled = scorecard(60.0, 20.0)
    sampled["Parotid_L"] = StructureDose(np.arange(1.0, 101.0), np.ones(100))
    rows = dvh_text(sampled, PROTOCOL, "External", TOKENS).splitlines()
    assert rows[0] == ("|Gy|cc|mean|D99%|D98%|D95%|D90%|D75%|D50%|D25%|D10%|D5%|D2%|D0.03cc|")
    assert [row.split("|")[1] for row in rows[2:]] == ["PTV_6000", "Parotid_L", "OAR_1"]
    assert rows[3] == ("|Parotid_L|100|50.5|2.0|3.0|6.0|11.0|26.0|51.0|76.0|91.0|96.0|99.0|100.0|")


def test_texts_hold_nothing_from_outside() -> None:
    card, sampled = scorecard(50.0, 30.0, 40.0)
    objectives = [
        Objective(HOSTILE, "mean_dose", 2.0),
        Objective("PTV_6000", "squared_underdosing", 3.0, 60.6, id=f"{HOSTILE}/x"),
    ]
    index = StructureIndex(OCCUPANCIES)
    values = objective_values(objectives, index, uniform_dose().dose_gy)
    for text in (
        protocol_text(PROTOCOL, TOKENS),
        scorecard_text(card, TOKENS),
        dvh_text(sampled, PROTOCOL, "External", TOKENS),
        objectives_text(objectives, ObjectiveTokens(TOKENS, objectives), values),
        anatomy_text(anatomy_facts(CASE, PROTOCOL, OCCUPANCIES), TOKENS),
    ):
        assert "OAR_1" in text
        assert_safe(text)


def test_objective_values_of_an_analytic_dose() -> None:
    objectives = [
        Objective("PTV_6000", "squared_underdosing", 4.0, 62.0),  # 2 Gy too little everywhere
        Objective("Parotid_L", "mean_dose", 2.0),  # 7 Gy
        Objective(HOSTILE, "squared_overdosing", 9.0, 7.0),  # nothing too much
    ]
    dose = uniform_dose(RX_GY, 7.0).dose_gy
    values = objective_values(objectives, StructureIndex(OCCUPANCIES), dose)
    under, mean, over = (values[o.id] for o in objectives)
    assert (under.value, under.residual_gy, under.cost) == pytest.approx((4.0, 2.0, 16.0))
    assert (mean.value, mean.residual_gy, mean.cost) == pytest.approx((7.0, 7.0, 14.0))
    assert (over.cost, over.cost_share) == (0.0, 0.0)
    assert under.cost_share == pytest.approx(16 / 30)
    text = objectives_text(objectives, ObjectiveTokens(TOKENS, objectives), values)
    rows = text.splitlines()
    assert rows[0] == "|objective|level Gy|weight|now|residual Gy|cost %|state|"
    assert rows[2] == "|PTV_6000/squared_underdosing|62|4|D98% 60.0|2.00|53.3||"
    assert rows[3] == "|Parotid_L/mean_dose||2|mean 7.0|7.00|46.7||"
    assert rows[4] == "|OAR_1/squared_overdosing|7|9|D2% 7.0|0.00|0.0|binding|"


@pytest.mark.parametrize(
    ("function", "numbers", "now"),
    [
        ("max_dvh", {"dose_gy": 30.0, "volume_percent": 10.0}, "V 70.0 %"),
        ("min_dvh", {"dose_gy": 90.5, "volume_percent": 95.0}, "V 9.5 %"),
        ("squared_overdosing", {"dose_gy": 30.0}, "D2% 98.0"),
        ("squared_overdosing", {"dose_gy": 99.5}, "D2% 98.0, max 100.0"),
        ("squared_overdosing", {"dose_gy": 102.0}, "D2% 98.0"),
        ("soft_maximum", {"dose_gy": 30.0}, "D2% 98.0"),
        ("squared_underdosing", {"dose_gy": 30.0}, "D98% 2.0"),
        ("squared_deviation", {"dose_gy": 30.0}, "D98% 2.0, D2% 98.0"),
        ("dose_variance", {}, "D98% 2.0, D2% 98.0"),
        ("mean_dose", {}, "mean 50.0"),
        ("squared_mean_overdosing", {"dose_gy": 30.0}, "mean 50.0"),
        ("geud", {"dose_gy": 90.0, "exponent": 1.0}, "gEUD 50.0"),
        ("geud", {"dose_gy": 10.0, "exponent": 2.0}, "gEUD 57.7"),  # 100/√3
    ],
)
def test_what_a_structure_gets_is_told_as_its_function_limits_it(function, numbers, now) -> None:
    """Of doses spread evenly from 0 to 100 Gy, whatever the level."""
    dose = np.linspace(0.0, 100.0, 2001)
    share = np.full(dose.size, 1 / dose.size)
    objective = Objective("Parotid_L", function, 1.0, **numbers)
    assert present_dose(objective, dose, share, objective.dose_gy) == now


def test_levels_by_voxel_are_held_against_each_voxel() -> None:
    dose, share = np.array([10.0, 20.0, 30.0]), np.array([0.5, 0.25, 0.25])
    objective = Objective("Parotid_L", "max_dvh", 1.0, 1.0, 5.0)
    levels = np.array([11.0, 19.0, 31.0])
    assert present_dose(objective, dose, share, levels) == "V 25.0 %"


@pytest.mark.parametrize(
    ("function", "numbers", "state"),
    [
        ("squared_overdosing", {"dose_gy": 7.05}, "binding"),
        ("squared_overdosing", {"dose_gy": 7.2}, "idle"),
        ("squared_underdosing", {"dose_gy": 6.95}, "binding"),
        ("squared_underdosing", {"dose_gy": 6.8}, "idle"),
        ("max_dvh", {"dose_gy": 7.05, "volume_percent": 30.0}, "binding"),
        ("max_dvh", {"dose_gy": 7.2, "volume_percent": 30.0}, "idle"),
        ("min_dvh", {"dose_gy": 6.95, "volume_percent": 90.0}, "binding"),
        ("geud", {"dose_gy": 7.05, "exponent": 4.0}, "binding"),
        ("squared_mean_overdosing", {"dose_gy": 7.2}, "idle"),
        ("dose_variance", {}, ""),
    ],
)
def test_what_costs_nothing_is_binding_or_idle(function, numbers, state) -> None:
    objectives = [
        Objective("PTV_6000", "squared_underdosing", 4.0, 62.0),
        Objective("Parotid_L", function, 5.0, **numbers),  # 7 Gy everywhere
    ]
    dose = uniform_dose(RX_GY, 7.0).dose_gy
    values = objective_values(objectives, StructureIndex(OCCUPANCIES), dose)
    assert values[objectives[0].id].state == ""
    assert values[objectives[1].id].state == state


def test_hot_spot_objectives_of_no_cost_share_a_line() -> None:
    objectives = [
        Objective("PTV_6000", "squared_underdosing", 4.0, 62.0),
        Objective("Parotid_L", "squared_overdosing", 3000.0, 64.0, id="Parotid_L/hot spot"),
        Objective(HOSTILE, "squared_overdosing", 3000.0, 64.0, id=f"{HOSTILE}/hot spot"),
    ]
    values = objective_values(objectives, StructureIndex(OCCUPANCIES), uniform_dose().dose_gy)
    text = objectives_text(objectives, ObjectiveTokens(TOKENS, objectives), values)
    assert text.splitlines()[-1] == (
        "STRUCTURE/squared_overdosing/hot_spot, level 64 Gy, weight 3000, cost 0.0 %, idle, for "
        "each STRUCTURE of: Parotid_L, OAR_1"
    )
    assert len(text.splitlines()) == 4
    assert_safe(text)


def test_anatomy_of_a_known_patient() -> None:
    facts = {f.structure: f for f in anatomy_facts(CASE, PROTOCOL, OCCUPANCIES)}
    parotid = facts["Parotid_L"]
    assert parotid.nearest_target == "PTV_6000"
    assert parotid.direction == ("left",)
    assert parotid.distance_mm == pytest.approx(8.0, abs=2.0)
    assert parotid.overlap_percent == 0
    assert facts[HOSTILE].direction == ("anterior",)
    assert facts[HOSTILE].distance_mm == pytest.approx(12.0, abs=2.0)
    assert facts["PTV_6000"].nearest_target == ""
    assert facts["PTV_6000"].prescription_gy == RX_GY
    assert "External" not in facts


def test_anatomy_counts_overlap() -> None:
    half = CASE.structure("PTV_6000").occupancy.array() > 0
    half[:, :, GRID.shape[2] // 2 :] = False
    organ = structure("Larynx", StructureType.OAR, half)
    both = CASE.with_structures((*CASE.structures, organ))
    occupancies = OCCUPANCIES | {"Larynx": organ.occupancy}
    fact = anatomy_facts(both, PROTOCOL, occupancies)[-1]
    assert fact.structure == "Larynx"
    assert (fact.distance_mm, fact.overlap_percent) == (0.0, pytest.approx(100.0))
    assert fact.direction == ("right",)


def test_directions() -> None:
    assert direction_words((10, 0, 0)) == ("left",)
    assert direction_words((-10, 2, 3)) == ("right",)
    assert direction_words((0, -5, -9)) == ("inferior", "anterior")
    assert direction_words((0, 7, 7)) == ("posterior", "superior")
    assert direction_words((0.5, 0.5, 0.5)) == ()
    assert offset_text((12.2, -5, 0.4)) == "12 mm left, 5 mm anterior"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234.5, "1234"),
        (99.96, "100"),
        (0.0123, "0.0123"),
        (1e-5, "0.00001"),
        (12.34, "12.3"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_facts_of_a_real_evaluation_agree_with_the_scorecard() -> None:
    dose = uniform_dose(RX_GY, 10.0)
    evaluator = DoseEvaluator(CASE, PROTOCOL, GRID)
    sampled = evaluator.structure_doses(dose.dose_gy)
    card = evaluator.scorecard(sampled, 3)
    for fact in goal_facts(card, TOKENS):
        result = card.goals[int(fact.goal[1:]) - 1]
        assert (fact.achieved, fact.margin, fact.met) == (
            result.achieved, result.margin, result.met,
        )  # fmt: skip


def test_of_one_priority_the_missed_goal_comes_first() -> None:
    card, _ = scorecard(target_gy=50.0, parotid_gy=10.0)  # OAR_1 is met by far
    assert [f.structure for f in goal_facts(card, TOKENS)][:2] == ["PTV_6000", "OAR_1"]
    card, _ = scorecard(target_gy=60.0, parotid_gy=10.0, other_gy=40.0)
    assert [f.structure for f in goal_facts(card, TOKENS)][:2] == ["OAR_1", "PTV_6000"]
