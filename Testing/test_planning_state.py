"""The states of planning: only what may follow follows, and nothing is left busy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radplan.panel.planning_state import (
    BUSY,
    CANCELLING,
    DONE,
    FAILED,
    IDLE,
    OPENING,
    PREPARING,
    RUNNING,
    TRANSITIONS,
    PlanningState,
)

CANCELLED = {"event": "failed", "error": "cancelled on request", "kind": "cancelled"}
REFUSED = {"event": "failed", "error": "there is nothing to undo", "kind": "input"}
CRASHED = {"event": "failed", "error": "the worker is gone", "kind": "crash"}


def test_a_plan_from_the_button_to_the_end():
    state = PlanningState()
    assert (state.phase, state.is_busy) == (IDLE, False)
    state = state.preparing("reading the scene")
    assert (state.phase, state.is_busy, state.stage) == (PREPARING, True, "reading the scene")
    state = state.progressed("reading the scene", 0.5)
    assert state.fraction == 0.5
    state = state.running("planning")
    assert (state.phase, state.fraction) == (RUNNING, 0.0)
    state = state.with_plan().done("every goal is met")
    assert (state.phase, state.message, state.is_busy) == (DONE, "every goal is met", False)


@pytest.mark.parametrize(("has_plan", "phase"), [(True, DONE), (False, IDLE)])
def test_cancelled(has_plan, phase):
    state = PlanningState(has_plan=has_plan).preparing("x").running("x").cancelling()
    assert (state.phase, state.is_busy) == (CANCELLING, True)
    assert state.cancelling() is state
    assert state.progressed("optimizing fluence", 0.9) is state
    state = state.refused("plan", CANCELLED)
    assert (state.phase, state.is_busy) == (phase, False)
    assert state.message.startswith("Cancelled.")
    assert ("kept" in state.message) == has_plan


def test_done_although_cancelled_too_late():
    state = PlanningState(RUNNING, has_plan=True).cancelling().done("all goals are met")
    assert (state.phase, state.message) == (DONE, "all goals are met")


@pytest.mark.parametrize("do", OPENING)
def test_what_cannot_be_opened_has_failed(do):
    state = PlanningState(RUNNING).refused(do, REFUSED)
    assert (state.phase, state.message) == (FAILED, REFUSED["error"])
    assert state.preparing("again").message == ""


@pytest.mark.parametrize("do", ["undo", "steer", "review", "export"])
def test_what_was_not_possible_leaves_the_plan(do):
    state = PlanningState(RUNNING, has_plan=True).refused(do, REFUSED)
    assert (state.phase, state.message) == (DONE, REFUSED["error"])
    state = PlanningState(RUNNING, has_plan=True).refused(do, CRASHED)
    assert state.phase == FAILED


@pytest.mark.parametrize("phase", TRANSITIONS)
@pytest.mark.parametrize("has_plan", [True, False])
def test_a_lost_worker_fails_from_anywhere_and_offers_to_resume(phase, has_plan):
    state = PlanningState(phase, has_plan=has_plan).lost("The process ended.")
    assert state.phase == FAILED
    assert ("Resume" in state.message) == has_plan


@pytest.mark.parametrize("phase", [IDLE, DONE, FAILED])
def test_nothing_to_cancel(phase):
    state = PlanningState(phase)
    assert state.cancelling() is state
    assert state.progressed("late", 0.5) is state


@pytest.mark.parametrize(
    ("phase", "move"),
    [
        (CANCELLING, lambda s: s.preparing("x")),
        (CANCELLING, lambda s: s.running("x")),
        (RUNNING, lambda s: s.preparing("x")),
        (IDLE, lambda s: s.with_plan().done()),
        (DONE, lambda s: s.refused("plan", CANCELLED) if s.has_plan else s._to(CANCELLING)),
    ],
)
def test_what_may_not_follow(phase, move):
    with pytest.raises(ValueError, match=f"planning is {phase}"):
        move(PlanningState(phase))


MOVES = st.lists(
    st.sampled_from(
        [
            lambda s: s.preparing("x"),
            lambda s: s.running("x"),
            lambda s: s.cancelling(),
            lambda s: s.progressed("x", 0.5),
            lambda s: s.with_plan(),
            lambda s: s.done("x"),
            lambda s: s.refused("plan", CANCELLED),
            lambda s: s.refused("undo", REFUSED),
            lambda s: s.lost("x"),
        ]
    )
)


@given(MOVES)
def test_whatever_happens_it_is_in_a_state_and_gets_out_of_it(moves):
    state = PlanningState()
    for move in moves:
        before = state
        try:
            state = move(state)
        except ValueError:
            assert state is before
            continue
        assert state.phase in TRANSITIONS
        assert state.is_busy == (state.phase in BUSY)
        assert 0 <= state.fraction <= 1
        if state.phase == DONE:
            assert state.has_plan
    if state.is_busy:
        assert not state.refused("plan", CANCELLED).is_busy
