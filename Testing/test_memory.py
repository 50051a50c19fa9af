"""The memory: made from the steps alone, short, and without a name of the patient's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from radplan.agent.actions import ChangeDose, ChangeWeight, apply_actions
from radplan.agent.assessment import Assessment, Problem
from radplan.agent.changes import MOST_GOALS, goals_text
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
from radplan.metrics import parse_metric
from radplan.protocol import ClinicalGoal
from radplan.scorecard import GoalResult
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
    assert "changed: zOAR_1_free/mean_dose: weight 3 → 4.5" in text
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


def test_the_first_kept_step_is_told_once(session):
    """While it is the only one on the first plan, it says what the best plan gained."""
    text = memory_text(view_of(made_up(session.situation, STEPS[0])))
    assert "Best plan against the first plan" not in text
    later = memory_text(view_of(made_up(session.situation, STEPS[0])), 0)
    assert "Best plan against the first plan" in later


def test_expecting_the_same_twice_counts_once(session):
    situation = made_up(session.situation, STEPS[0])
    step = situation.steps[1]
    twice = replace(step, expectations=step.expectations * 2)
    situation = replace(situation, steps=(situation.steps[0], twice), best=twice)
    assert "expected: 1 of 1 came true" in memory_text(view_of(situation))


def test_only_what_changed_is_told(session):
    text = memory_text(view_of(made_up(session.situation, STEPS[0])))
    assert "did: G4 OAR_1 mean" in text
    assert "3 goals the same" in text
    assert "G1" not in text


def with_goals(situation, goals, before, after):
    """The situation with other goals of one organ, and a step that moved their values."""
    protocol = replace(situation.protocol, goals=tuple(goals))

    def card(step, values):
        results = tuple(
            GoalResult(g, v, v <= g.value, g.value - v, (g.value - v) / g.value)
            for g, v in zip(goals, values, strict=True)
        )
        return replace(step, scorecard=replace(step.scorecard, protocol=protocol, goals=results))

    first = situation.steps[0]
    steps = (card(first, before), card(replace(first, index=1, base=0), after))
    return replace(situation, protocol=protocol, steps=steps, best=steps[0])


def told(situation) -> str:
    view = view_of(situation)
    return goals_text(view.steps[0], view.steps[1], view)


def volume_goal(level: int, value: float, priority: int = 3) -> ClinicalGoal:
    return ClinicalGoal(
        "Gland", parse_metric(f"V{level}Gy"), "<=", value, "%", priority, f"Gland V{level} {value}"
    )


def test_new_verdicts_and_must_goals_are_always_told(session):
    """However small they are beside many larger changes."""
    large = [volume_goal(level, 50.0) for level in range(1, MOST_GOALS + 4)]
    goals = [*large, volume_goal(30, 50.0, priority=1), volume_goal(31, 50.0), volume_goal(32, 50)]
    count = len(large)
    before = [20.0] * count + [30.0, 49.98, 40.0]
    after = [10.0] * count + [31.0, 50.02, 40.0]
    text = told(with_goals(session.situation, goals, before, after))
    parts = text.split("; ")
    assert parts[0] == f"G{count + 2} OAR_1 V31Gy 49.980 → 50.020 % now MISSED"
    assert parts[1] == f"G{count + 1} OAR_1 V30Gy 30.0 → 31.0 % worse"
    assert parts[-2:] == [f"{count - MOST_GOALS + 2} smaller changes", "1 goal the same"]
    assert len(parts) == MOST_GOALS + 2


def test_goals_of_one_value_are_told_once(session):
    goals = [volume_goal(30, 30.0), volume_goal(30, 45.0), volume_goal(40, 30.0)]
    situation = with_goals(session.situation, goals, [25.0, 25.0, 10.0], [35.0, 35.0, 10.0])
    assert told(situation) == (
        "G1/G2 OAR_1 V30Gy 25.0 → 35.0 % worse, G1 now MISSED; 1 goal the same"
    )


def test_what_has_no_goal_is_told(session):
    """Means, ends and the index of what the protocol does not limit; nothing that stayed."""
    situation = made_up(session.situation, STEPS[0])
    step = situation.steps[1]
    target, organ = situation.protocol.primary.target, "Cord"
    card = step.scorecard
    structures = {name: dict(values) for name, values in card.structures.items()}
    structures[organ]["mean_gy"] += 1.0
    structures[target]["D98%_gy"] -= 0.5
    card = replace(card, structures=structures, conformity_index=card.conformity_index - 0.02)
    steps = (situation.steps[0], replace(step, scorecard=card))
    text = memory_text(view_of(replace(situation, steps=steps, best=steps[1])))
    line = next(x for x in text.splitlines() if "without a goal" in x)
    assert "SpinalCord mean" in line and f"{target} D98% " in line and f"{target} CI " in line
    assert "D2%" not in line and "HI" not in line and "OAR_1" not in line
    unchanged = made_up(session.situation, STEPS[0])
    assert "without a goal" not in memory_text(view_of(unchanged))


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
