"""Goals held against doses: margins, what counts as met, ranking, the table and the file."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from radplan.binding import resolve
from radplan.errors import InputError
from radplan.metrics import CI_FORMULA, HI_FORMULA, StructureDose
from radplan.protocol_file import load_protocol, protocol_from_dict
from radplan.scorecard import (
    Scorecard,
    evaluate_scorecard,
    format_scorecard,
    sorted_for_reading,
    structure_summary,
)


def structure_dose(*doses_gy: float, sample_cc: float = 1.0) -> StructureDose:
    dose = np.asarray(doses_gy, np.float32)
    return StructureDose(dose, np.full(dose.size, sample_cc))


def row(structure, metric, op, value, unit, priority=1, verified=True):
    return {
        "structure": structure,
        "metric": metric,
        "op": op,
        "value": value,
        "unit": unit,
        "priority": priority,
        "source": "test",
        "verified": verified,
    }


def protocol_of(*rows):
    return protocol_from_dict(
        {
            "name": "test",
            "title": "Test protocol",
            "site": "pelvis",
            "fractions": 20,
            "prescriptions": [{"target": "PTV_6000", "dose_gy": 60}],
            "goals": list(rows),
        }
    )


DOSES = {
    "PTV_6000": structure_dose(*np.linspace(59, 63, 100)),
    "Rectum": structure_dose(*range(1, 61)),  # 60 cc, 1 … 60 Gy
    "External": structure_dose(*range(1, 61), *np.linspace(59, 63, 100)),
}


def judge(*rows, doses=None) -> Scorecard:
    return evaluate_scorecard(
        "case", protocol_of(*rows), doses or DOSES, external_name="External", step=7
    )


@pytest.mark.parametrize(
    ("goal", "achieved", "margin", "met"),
    [
        # Rectum: one cc at each of 1 … 60 Gy.
        (row("Rectum", "V31Gy", "<=", 60, "%"), 50.0, 10.0, True),
        (row("Rectum", "V31Gy", "<=", 40, "%"), 50.0, -10.0, False),
        (row("Rectum", "V31Gy", "<=", 35, "cc"), 30.0, 5.0, True),
        (row("Rectum", "D10cc", "<=", 50, "Gy"), 51.0, -1.0, False),
        (row("Rectum", "mean", "<=", 3150, "cGy"), 30.5, 1.0, True),
        (row("Rectum", "max", "<=", 60, "Gy"), 60.0, 0.0, True),
        (row("Rectum", "min", ">=", 2, "Gy"), 1.0, -1.0, False),
        (row("PTV_6000", "max", "<=", 110, "%"), 105.0, 5.0, True),
        (row("PTV_6000", "V95%", ">=", 98, "%"), 100.0, 2.0, True),
        (row("Rectum", "V61Gy", "<=", 0, "%"), 0.0, 0.0, True),
        (row("Rectum", "V60Gy", "<=", 0, "cc"), 1.0, -1.0, False),
    ],
)
def test_margin_is_positive_inside(goal, achieved, margin, met):
    result = judge(goal).goals[0]
    assert result.achieved == pytest.approx(achieved, rel=1e-6)
    assert result.margin == pytest.approx(margin, abs=1e-4)
    assert result.met is met
    assert (result.margin >= 0) == met
    scale = result.goal.value or 1.0
    assert result.relative_margin == pytest.approx(result.margin / scale)


@pytest.mark.parametrize("dose_gy", [50.0, 50.4, 59.85, 60.0, 70.2])
@pytest.mark.parametrize("seed", range(5))
def test_coverage_that_is_normalised_exactly_counts_as_met(dose_gy, seed):
    """A plan scaled in single precision so that D95% is the prescription meets it."""
    random = np.random.default_rng(seed)
    raw = random.uniform(0.3, 0.4, 997).astype(np.float32)
    d95 = StructureDose(raw, np.ones(997)).dose_at_volume_percent(95)
    scaled = StructureDose(raw * np.float32(dose_gy / d95), np.ones(997))
    goal = row("PTV_6000", "D95%", ">=", dose_gy, "Gy")
    result = judge(goal, doses=DOSES | {"PTV_6000": scaled}).goals[0]
    assert result.met and 0 <= result.margin < 1e-4


def test_a_real_miss_is_a_miss():
    short = structure_dose(*[59.99] * 10)
    doses = DOSES | {"PTV_6000": short}
    assert judge(row("PTV_6000", "D95%", ">=", 60, "Gy"), doses=doses).goals[0].met is False


def test_missing_structure_is_not_evaluable():
    scorecard = judge(
        row("Bladder", "mean", "<=", 30, "Gy", 1), row("Rectum", "mean", "<=", 40, "Gy", 1)
    )
    result = scorecard.goals[0]
    assert (result.achieved, result.met, result.margin) == (None, None, None)
    assert "no Bladder" in result.note
    assert scorecard.goals_met == 1 and len(scorecard.evaluable) == 1 and scorecard.must_met


def test_small_structure_has_a_note():
    doses = DOSES | {"Rectum": structure_dose(10, 20, sample_cc=0.01)}
    result = judge(row("Rectum", "D0.1cc", "<=", 30, "Gy"), doses=doses).goals[0]
    assert result.achieved == 10 and "0.02 cc" in result.note


def test_primary_target_and_body_are_needed():
    for name in ("PTV_6000", "External"):
        doses = {k: v for k, v in DOSES.items() if k != name}
        with pytest.raises(InputError, match=f"no dose for {name}"):
            judge(row("Rectum", "mean", "<=", 40, "Gy"), doses=doses)


def test_structure_summary():
    summary = structure_summary(DOSES["Rectum"])
    assert summary["volume_cc"] == pytest.approx(60)
    assert summary["mean_gy"] == pytest.approx(30.5)
    expected = {"min_gy": 1, "max_gy": 60, "D50%_gy": 31, "D5%_gy": 58, "D2%_gy": 59}
    expected |= {"D98%_gy": 2, "D95%_gy": 4, "D0.1cc_gy": 60, "D0.03cc_gy": 60}
    assert {key: summary[key] for key in expected} == expected


def test_plan_indices():
    scorecard = judge(row("PTV_6000", "HI", "<=", 10, ""), row("PTV_6000", "CI", ">=", 0.5, ""))
    assert scorecard.goals[0].achieved == scorecard.homogeneity_index
    assert scorecard.goals[1].achieved == scorecard.conformity_index
    # 100 samples from 59 to 63 Gy: the 5th hottest less the 95th, over 60 Gy.
    assert scorecard.homogeneity_index == pytest.approx(100 * 90 * 4 / 99 / 60, rel=1e-5)
    # All 100 cc of target and 104 cc of the body get at least 57 Gy.
    assert scorecard.conformity_index == pytest.approx(100**2 / (100 * 104))


LADDER = (
    row("PTV_6000", "D95%", ">=", 60, "Gy", 1),
    row("Rectum", "V50Gy", "<=", 15, "%", 1),
    row("Rectum", "V30Gy", "<=", 50, "%", 2),
    row("Rectum", "mean", "<=", 20, "Gy", 3),
    row("Rectum", "mean", "<=", 15, "Gy", 4),
)


def plan(rectum_scale: float, target_scale: float = 1.02) -> Scorecard:
    return judge(
        *LADDER,
        doses={
            name: StructureDose(
                dose.dose_gy * (target_scale if name == "PTV_6000" else rectum_scale),
                dose.sample_volume_cc,
            )
            for name, dose in DOSES.items()
        },
    )


def test_rank_orders_plans_by_priority():
    better_to_worse = [
        plan(0.4),  # all met
        plan(0.6),  # misses only the ideal
        plan(0.8),  # misses should and ideal
        plan(0.85),  # misses them by more
        plan(1.0),  # must and below missed
        plan(1.05),
        plan(0.4, 0.9),  # a bigger part of a must-goal is missing …
    ]
    assert better_to_worse[0].goals_met == 5 and better_to_worse[0].must_met
    assert not better_to_worse[4].must_met
    ranks = [p.rank() for p in better_to_worse[:6]]
    assert ranks == sorted(ranks) and len(set(ranks)) == 6
    assert all(len(rank) == 8 for rank in ranks)
    # … yet any plan without a missed must-goal is better than any with one.
    assert better_to_worse[6].rank() > better_to_worse[3].rank()


def test_missed_goals_are_read_first():
    results = sorted_for_reading(plan(1.0))
    states = [result.met for result in results]
    assert states == sorted(states, key=[False, True, None].index)
    missed = [result.goal.priority for result in results if result.met is False]
    assert missed == sorted(missed) and missed


def test_terminal_table():
    unverified = row("Rectum", "max", "<=", 70, "Gy", 3, verified=False)
    rows = [*LADDER, row("Bladder", "mean", "<=", 30, "Gy", 3), unverified]
    scorecard = judge(*rows)
    text = format_scorecard(scorecard)
    lines = text.splitlines()
    assert "PTV_6000 60 Gy in 20 fractions" in lines[0] and "Test protocol" in lines[0]
    assert lines[2].startswith("MISSED  1")
    assert "V30Gy ≤ 50 %" in text and "not evaluable, the case lacks them: Bladder" in text
    assert "max ≤ 70 Gy *" in text and "* limit not checked" in text
    assert "RESEARCH USE ONLY" in lines[-1]
    assert all(line == line.rstrip() for line in lines)
    assert "*" not in format_scorecard(judge(*LADDER))
    # The printed numbers are the computed ones.
    result = next(r for r in scorecard.goals if r.goal.metric.text == "V30Gy")
    assert f"{result.achieved:.2f} %" in text and f"{result.margin:+.2f} %" in text


def test_file_content():
    scorecard = judge(*LADDER, row("Bladder", "mean", "<=", 30, "Gy", 3))
    content = json.loads(json.dumps(scorecard.to_dict(), allow_nan=False))
    assert set(content) == {
        "case", "protocol", "prescription", "step", "goals", "structures", "plan"
    }  # fmt: skip
    assert content["prescription"] == [{"target": "PTV_6000", "dose_gy": 60.0, "fractions": 20}]
    assert (content["case"], content["protocol"], content["step"]) == ("case", "test", 7)
    assert len(content["goals"]) == 6
    for goal in content["goals"]:
        assert list(goal) == [
            "structure", "metric", "op", "value", "unit", "priority",
            "achieved", "met", "margin", "note",
        ]  # fmt: skip
    assert content["goals"][-1]["met"] is None and content["goals"][-1]["achieved"] is None
    assert set(content["structures"]) == set(DOSES)
    assert content["plan"]["hi_formula"] == HI_FORMULA
    assert content["plan"]["ci_formula"] == CI_FORMULA
    assert content["plan"]["target"] == "PTV_6000"


def test_shipped_protocol_end_to_end():
    """A case with other names and without some organs, against a shipped protocol."""
    binding = resolve(
        load_protocol("openkbp_hn_70_63_56"), ["BODY", "PTV70", "PTV56", "Cord", "LT PAROTID"]
    )
    doses = {
        "BODY": structure_dose(*range(75)),
        "PTV70": structure_dose(*np.linspace(70, 74, 50)),
        "PTV56": structure_dose(*np.linspace(50, 60, 50)),
        "Cord": structure_dose(*range(40)),
        "LT PAROTID": structure_dose(*range(60)),
    }
    scorecard = evaluate_scorecard("x", binding.protocol, doses, external_name="BODY", step=0)
    state = {(r.goal.structure, r.goal.metric.text): r.met for r in scorecard.goals}
    assert state[("PTV70", "D95%")] is True
    assert state[("PTV56", "D99%")] is False
    assert state[("Cord", "D0.1cc")] is True
    assert state[("LT PAROTID", "mean")] is False
    assert state[("PTV_6300", "D99%")] is None
    assert state[("Parotid_R", "mean")] is None
    assert scorecard.must_met
    assert len(scorecard.to_dict()["prescription"]) == 2


def test_results_do_not_depend_on_the_order_of_goals():
    forward, backward = judge(*LADDER), judge(*LADDER[::-1])
    assert forward.rank() == pytest.approx(backward.rank())
    assert set(map(repr, forward.goals)) == set(map(repr, backward.goals))
    assert replace(forward, step=8).to_dict()["goals"] == forward.to_dict()["goals"]
