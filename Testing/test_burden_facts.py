"""What organs bear: the burden by which plans are compared, and what overlap leaves feasible."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from radplan.agent.briefing import planner_prompt
from radplan.agent.burden_facts import burdens_text
from radplan.agent.quality import MOST_PARTS, PlanQuality, organ_burden, plan_quality
from radplan.agent.view import view_of
from radplan.case import DoseImage
from scripted_replies import phantom_session


@pytest.fixture(scope="module")
def situation(phantom_cache, tmp_path_factory):
    """The phantom with its first plan; its gland overlaps the target and misses its mean."""
    return phantom_session(phantom_cache, tmp_path_factory.mktemp("burden") / "session").situation


def test_every_organ_has_a_line_the_highest_burden_first(situation):
    text = burdens_text(view_of(situation))
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")][2:]
    assert sorted(row[0] for row in rows) == ["OAR_1", "OAR_2", "SpinalCord"]
    values = [float(row[1]) for row in rows]
    assert values == sorted(values, reverse=True)
    card, protocol = situation.best.scorecard, situation.protocol
    told = {row[0]: float(row[1]) for row in rows}
    assert told["OAR_1"] == pytest.approx(organ_burden(card, protocol, "Gland"), abs=1e-3)
    assert "Gland" not in text


def test_the_sum_that_a_better_plan_must_beat_is_told(situation):
    card, protocol = situation.best.scorecard, situation.protocol
    quality = plan_quality(card, protocol, situation.organs, situation.external)
    text = burdens_text(view_of(situation))
    parts = dict(re.findall(r"(inhomogeneity|nonconformity|missed goals) (\d\.\d{3})", text))
    for name, value in parts.items():
        assert float(value) == pytest.approx(dict(quality.burden_parts)[name], abs=6e-4)
    assert {"inhomogeneity", "nonconformity", "missed goals"} == set(parts)
    told, allowed = map(float, re.findall(r"(?:sum is|less than) (\d+\.\d{3})", text))
    assert told == pytest.approx(quality.burden, abs=6e-4)
    assert allowed == pytest.approx(0.997 * quality.burden, abs=6e-4)


def with_dose(situation, outside_gy: float, inside_gy: float):
    """The situation with one dose in the target and another outside."""
    target = situation.structures.occupancies["PTV"].array()
    dose = outside_gy + (inside_gy - outside_gy) * target
    grid = situation.dose.grid
    return replace(situation, dose=DoseImage(grid, dose.astype(np.float32)))


def test_parts_inside_and_outside_the_targets(situation):
    text = burdens_text(view_of(with_dose(situation, 20.0, 50.0)))
    line = next(line for line in text.splitlines() if line.startswith("G4 OAR_1"))
    outside, free_cc, inside, inside_cc, needed = map(float, re.findall(r"\d+\.\d", line))
    free = situation.structures.occupancies["zGland_free"]
    whole = situation.structures.occupancies["Gland"]
    assert free_cc == pytest.approx(free.volume_cc, abs=0.06)
    assert inside_cc == pytest.approx(whole.volume_cc - free.volume_cc, abs=0.06)
    # Voxels that both share are between the two doses.
    assert 20.0 <= outside < 30.0 and 40.0 < inside <= 50.0
    mean = (needed * free_cc + inside * inside_cc) / (free_cc + inside_cc)
    assert mean == pytest.approx(30.0, abs=0.2)  # the goal


def test_what_cannot_be_met_is_told(situation):
    text = burdens_text(view_of(with_dose(situation, 20.0, 500.0)))
    assert "it cannot be met" in text


def test_goals_that_are_met_need_no_parts(situation):
    met = tuple(
        replace(r, met=True) if r.met is False else r for r in situation.best.scorecard.goals
    )
    best = replace(situation.best, scorecard=replace(situation.best.scorecard, goals=met))
    steps = (*situation.steps[:-1], best)
    assert "outside targets" not in burdens_text(
        view_of(replace(situation, steps=steps, best=best))
    )


def test_why_a_burden_gained_nothing_is_told_in_parts():
    """The largest parts first, the small ones summed up, the whole from both plans."""
    organs = [f"Organ_{n}" for n in range(MOST_PARTS + 2)]

    def quality(changes):
        return PlanQuality((0.0,) * 9, (1e-3,) * 9, tuple(zip(organs, changes, strict=True)))

    before = quality([1.0] * len(organs))
    changes = [0.01 * n for n in range(1, len(organs) + 1)]
    text = quality([1.0 + c for c in changes]).shortcoming(before)
    assert "burden 8.000 → 8.360, not below 7.976" in text
    assert "(Organ_7 +0.080, Organ_6 +0.070" in text
    assert text.endswith("Organ_2 +0.030, all others +0.030)")
    assert not quality([0.99] * len(organs)).shortcoming(before)
    assert before.shortcoming(before).endswith("not below 7.976")  # nothing moved, no parts


def test_the_parts_of_a_burden_are_told_without_names(situation):
    card, protocol = situation.best.scorecard, situation.protocol
    structures = {name: dict(values) for name, values in card.structures.items()}
    structures["Gland"]["mean_gy"] += 2.0
    worse = replace(card, structures=structures, conformity_index=card.conformity_index - 0.01)
    before, after = (
        plan_quality(c, protocol, situation.organs, situation.external) for c in (card, worse)
    )
    text = after.shortcoming(before)
    assert f"(Gland {0.3 * 2.0 / protocol.highest.dose_gy:+.3f}, nonconformity +0.002)" in text
    assert "Gland" not in view_of(situation).tokens.hide(text)


def test_the_prompt_tells_prices_and_helpers_and_has_no_placeholder_left(situation):
    text = planner_prompt(view_of(situation))
    assert "{{" not in text and "}}" not in text
    assert "unevenness counts 0.5 x" in text
    assert "zRing2 3-10 mm" in text and "zRing5 beyond 40 mm" in text
    assert "more than 10 mm from these, z..._shell" in text
