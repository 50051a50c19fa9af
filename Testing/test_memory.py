"""The memory: made from the steps alone, short, and without a name of the patient's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from radplan.agent.actions import ChangeDose, ChangeWeight, apply_actions
from radplan.agent.assessment import Assessment, Problem
from radplan.agent.memory import memory_text
from radplan.agent.rules import RulesPlanner
from radplan.agent.trajectory import (
    Expectation,
    ExpectationOutcome,
    Proposal,
    Step,
    hold_expectations,
)
from radplan.agent.view import view_of
from scripted_replies import phantom_session

SEEN = Assessment(
    "improve", (Problem("OAR_1", "organ overdosed", "too hot"),), ("cool it",), "llm"
)


@pytest.fixture(scope="module")
def session(phantom_cache, tmp_path_factory):
    """A session with its first plan and two steps by the rules; not changed."""
    made = phantom_session(phantom_cache, tmp_path_factory.mktemp("memory") / "session")
    for _ in range(2):
        made.apply(RulesPlanner().propose(made.situation))
    return made


def worse_by(scorecard, gy: float):
    """A scorecard whose last goal is worse by so much."""
    last = scorecard.goals[-1]
    moved = replace(last, achieved=last.achieved + gy, margin=last.margin - gy)
    return replace(scorecard, goals=(*scorecard.goals[:-1], moved))


def made_up(situation, *steps):
    """The situation after made-up steps: (objective id, factor, kept, change of the last goal)."""
    first = situation.steps[0]
    done, best = [first], first
    for objective_id, factor, kept, gy in steps:
        action = ChangeWeight(objective_id, factor, "it is too hot", "llm")
        objectives, changes = apply_actions(
            best.objectives,
            [action],
            structures=tuple(situation.structures.occupancies),
            largest_dose_gy=60.0,
        )
        scorecard = worse_by(best.scorecard, gy)
        step = Step(
            index=len(done),
            base=best.index,
            phase="goals",
            move="llm",
            title="Cool OAR_1",
            actions=(action,),
            changes=changes,
            objectives=objectives,
            scorecard=scorecard,
            outcome="Gland: real names are in here",
            kept=kept,
            author="llm",
            assessment=SEEN,
            expectations=hold_expectations(
                [Expectation(0, "Gland mean ≤ 30 Gy", "better")], best.scorecard, scorecard
            ),
            shortcoming="" if kept else "worse in priority 3",
        )
        done.append(step)
        best = step if kept else best
    return replace(situation, steps=tuple(done), best=best)


GLAND, CORD = "zGland_free/mean_dose", "Cord/mean_dose"
STEPS = (
    (GLAND, 2.0, True, -3.0),
    (CORD, 2.0, False, 1.0),
    (GLAND, 0.8, False, 2.0),
    (CORD, 3.0, True, -1.0),
    (GLAND, 1.5, True, -2.0),
    (GLAND, 1.4, False, 0.5),
)


def test_nothing_tried_yet(session):
    situation = replace(session.situation, steps=session.situation.steps[:1])
    situation = replace(situation, best=situation.steps[0])
    assert "Nothing was tried yet" in memory_text(view_of(situation))


def test_the_last_steps_are_told_in_full(session):
    text = memory_text(view_of(made_up(session.situation, *STEPS)), 4)
    for index in (3, 4, 5, 6):
        assert f"\nStep {index} on step" in text
    for index in (1, 2):
        assert f"\nStep {index} on step" not in text
    assert "weight 3 → 4.5" in text
    assert "(because: it is too hot)" in text
    assert "UNDONE, worse in priority 3" in text
    assert "KEPT" in text
    assert "seen before: improve; OAR_1: organ overdosed" in text


def test_older_steps_are_condensed(session):
    text = memory_text(view_of(made_up(session.situation, *STEPS)), 4)
    assert "|zOAR_1_free/mean_dose|weight raised|1|-|" in text
    assert "|SpinalCord/mean_dose|weight raised|-|2|" in text
    condensed = memory_text(view_of(made_up(session.situation, *STEPS)), 0)
    assert "|zOAR_1_free/mean_dose|weight raised|1, 5|6|" in condensed
    assert "\nStep" not in condensed


def test_expectations_are_held_against_what_happened(session):
    text = memory_text(view_of(made_up(session.situation, *STEPS)))
    assert "expected: 1 of 1 came true" in text
    assert "expected: 0 of 1 came true; G4 expected better, was worse" in text


def test_only_what_changed_is_told(session):
    text = memory_text(view_of(made_up(session.situation, STEPS[0])))
    assert "did: G4 OAR_1 mean" in text
    assert "3 goals the same" in text
    assert "G1" not in text


def test_the_best_plan_is_always_there(session):
    for count in range(len(STEPS) + 1):
        situation = made_up(session.situation, *STEPS[:count])
        text = memory_text(view_of(situation), 1)
        assert text.startswith(f"The best plan is step {situation.best.index};")
    assert "Best plan against the first plan: G4 OAR_1 mean" in text


def test_it_has_no_names(session):
    text = memory_text(view_of(made_up(session.situation, *STEPS)))
    text += memory_text(view_of(session.situation))
    for name in ("Gland", "Distant", "BODY", "real names"):
        assert name not in text
    assert "(by the built-in rules)" in text


def test_reasons_of_persons_are_not_told(session):
    situation = made_up(session.situation, STEPS[0])
    said = replace(situation.steps[1], author="person:Smith", title="Smith wants it")
    situation = replace(situation, steps=(situation.steps[0], said), best=said)
    text = memory_text(view_of(situation))
    assert "Smith" not in text
    assert "too hot" not in text
    assert "weight 1.5 → 3" in text


def test_a_resumed_session_remembers_the_same(session, tmp_path):
    from radplan.session import PlanningSession

    again = PlanningSession(
        session.case, session.protocol, session.influence, session.folder, session.settings
    )
    again.restore()
    assert memory_text(view_of(again.situation)) == memory_text(view_of(session.situation))


def test_changes_of_levels_are_told(session):
    objective = next(o for o in session.best.step.objectives if o.dose_gy is not None)
    action = ChangeDose(objective.id, objective.dose_gy - 1, "r", "llm")
    proposal = Proposal("m", "goals", "t", (action,), "llm")
    situation = made_up(session.situation)
    objectives, changes = apply_actions(
        situation.best.objectives,
        proposal.actions,
        structures=tuple(situation.structures.occupancies),
        largest_dose_gy=60.0,
    )
    step = replace(
        situation.best, index=1, base=0, actions=proposal.actions, changes=changes,
        objectives=objectives, author="llm", kept=False,
    )  # fmt: skip
    situation = replace(situation, steps=(*situation.steps, step))
    assert f"dose {objective.dose_gy:.4g} → {objective.dose_gy - 1:.4g} Gy" in memory_text(
        view_of(situation)
    )


@pytest.mark.parametrize(
    ("expected", "observed", "held"),
    [
        ("better", "better", True),
        ("better", "same", False),
        ("same", "same", True),
        ("same", "better", True),
        ("same", "worse", False),
        ("worse", "better", False),
    ],
)
def test_what_is_guarded_may_get_better(expected, observed, held):
    outcome = ExpectationOutcome(0, "Cord max ≤ 45 Gy", expected, 40.0, 39.0, observed)
    assert outcome.held is held
