"""What organs bear: the burden by which plans are compared, and what overlap leaves feasible."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from radplan.agent.burden_facts import burdens_text
from radplan.agent.quality import organ_burden
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
