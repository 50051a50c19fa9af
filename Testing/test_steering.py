"""A person steers: always kept, exactly undone, previewed without a trace, never forgotten."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from image_phantom import phantom_influence
from quick_session import new_session, restored
from radplan.agent.actions import AddObjective, ChangeDose, ChangeWeight, RemoveObjective
from radplan.agent.trajectory import UNDONE_BY_PERSON, Proposal
from radplan.audit import AuditLog, read_audit, verify_audit
from radplan.errors import CancelledError, InputError
from radplan.optimize import Objective
from radplan.plan_history import PlanHistory, history_of
from radplan.steering import (
    person,
    persons_actions,
    preview,
    redo,
    select,
    steer,
    text_of,
    undo,
)
from radplan.stored_step import step_to_dict

WHO = person("Dr Example")
#: Loses the target, which nobody but a person may want.
RUINOUS = (
    ChangeWeight("PTV/squared_underdosing", 0.1, "to see what happens", WHO),
    RemoveObjective("PTV/squared_overdosing", "to see what happens", WHO),
)
SPARE_GLAND = (
    AddObjective(Objective("Gland", "mean_dose", 5.0, id="Gland/mine"), "spare it", WHO),
)


@pytest.fixture(scope="module")
def influence(phantom_cache):
    return phantom_influence(phantom_cache)


@pytest.fixture(scope="module")
def first_plan(influence, tmp_path_factory) -> Path:
    """Folder of a session with its first plan; not to be changed."""
    return new_session(tmp_path_factory.mktemp("first") / "out", influence).folder.path


@pytest.fixture
def session(first_plan, influence, tmp_path):
    return restored(Path(shutil.copytree(first_plan, tmp_path / "out")), influence)


def kept_on_disk(session) -> dict[str, bytes]:
    return {
        str(p.relative_to(session.folder.path)): p.read_bytes()
        for p in sorted(session.folder.path.rglob("*"))
        if p.is_file()
    }


def same_plan(a, b) -> bool:
    """Whether two plans are the same bit for bit."""
    return (
        a.step.objectives == b.step.objectives
        and a.fluence.tobytes() == b.fluence.tobytes()
        and a.dose_gy.tobytes() == b.dose_gy.tobytes()
        and a.step.scorecard.to_dict() == b.step.scorecard.to_dict()
    )


def told(session) -> list[str]:
    """What planners are told of the steps, but how long they took."""
    steps = [step_to_dict(s) | {"seconds": 0} for s in session.situation.steps]
    return [json.dumps(step, sort_keys=True) for step in steps]


# Steering ----------------------------------------------------------------------------------------


def test_a_persons_step_is_kept_even_if_it_is_worse(session):
    first = session.best
    worse = steer(session, RUINOUS, "let me see", WHO)
    assert session.best.step is worse
    assert (worse.kept, worse.phase, worse.author, worse.title) == (
        *(True, "person", WHO),
        "let me see",
    )
    assert session.quality(worse).shortcoming(session.quality(first.step))
    assert "kept as asked for, though no better" in worse.outcome
    line = read_audit(session.folder.audit_path)[-1]
    assert (line["kind"], line["data"]["author"], line["data"]["kept"]) == ("step", WHO, True)


def test_a_planner_could_not_have_made_that_step(session):
    before = session.best
    step = session.apply(Proposal("ruin", "goals", "Ruin it", RUINOUS, "rules"))
    assert not step.kept
    assert session.best is before


def test_the_next_step_builds_on_what_the_person_chose(session):
    steer(session, RUINOUS, "", WHO)
    step = steer(session, SPARE_GLAND, "", WHO)
    assert step.base == 1
    assert "Gland/mine" in [o.id for o in step.objectives]
    assert "PTV/squared_overdosing" not in [o.id for o in step.objectives]


def test_steering_without_actions_optimizes_further(session):
    step = steer(session, (), "", WHO)
    assert step.objectives == session.steps[0].objectives
    assert step.title == "Optimized further"


@pytest.mark.parametrize(
    "actions",
    [
        (ChangeWeight("nothing/there", 2.0, "", WHO),),
        (ChangeWeight("PTV/squared_overdosing", 1e9, "", WHO),),
        (ChangeDose("PTV/squared_overdosing", float("nan"), "", WHO),),
        (*SPARE_GLAND, *SPARE_GLAND),
    ],
)
@pytest.mark.parametrize("how", [steer, preview])
def test_what_is_not_allowed_changes_nothing(session, actions, how):
    before, steps = session.best, list(session.steps)
    arguments = (session, actions, "", WHO) if how is steer else (session, actions)
    with pytest.raises(InputError):
        how(*arguments)
    assert (session.best, session.steps) == (before, steps)
    assert not (session.folder.steps_path / "001").exists()


def test_cancelling_changes_nothing(session):
    before = (session.best, list(session.steps), session.history, kept_on_disk(session))
    asked = iter([False] * 3)
    with pytest.raises(CancelledError):
        steer(session, RUINOUS, "", WHO, cancel_requested=lambda: next(asked, True))
    assert (session.best, session.steps, session.history, kept_on_disk(session)) == before


@pytest.mark.parametrize("name", ["", "  ", None, 7, "x" * 101])
def test_a_person_has_a_name(name):
    with pytest.raises(InputError, match="name"):
        person(name)


def test_texts_are_one_line():
    assert text_of("  spare\nthe\tgland ", "reason") == "spare the gland"
    assert person("Dr\nExample") == "person:Dr Example"


def test_actions_carry_the_persons_name_whatever_they_say():
    values = {"kind": "change_weight", "objective_id": "x", "factor": 2.0, "author": "llm"}
    (action,) = persons_actions([values], "because", WHO)
    assert (action.author, action.reason) == (WHO, "because")
    (action,) = persons_actions([values | {"reason": "own"}], "because", WHO)
    assert action.reason == "own"


@pytest.mark.parametrize(
    "values",
    [
        None,
        "change_weight",
        {"kind": "change_weight"},
        [1],
        [{}],
        [{"kind": "format_disk"}],
        [{"kind": "change_weight", "objective_id": "x"}],
        [{"kind": "add_objective", "objective": {"structure": "PTV"}}],
    ],
)
def test_hostile_actions(values):
    with pytest.raises(InputError):
        persons_actions(values, "", WHO)


# Preview -----------------------------------------------------------------------------------------


def test_a_preview_leaves_no_trace_and_tells_where_steering_leads(session):
    def gland_gy(plan):
        return plan.structure_doses["Gland"].mean_gy

    first_gy = gland_gy(session.best)
    before = (session.best, list(session.steps), session.history, kept_on_disk(session))
    quick = preview(session, SPARE_GLAND, iterations=12)
    assert (session.best, session.steps, session.history, kept_on_disk(session)) == before
    steer(session, SPARE_GLAND, "", WHO)
    moved_gy = gland_gy(session.best) - first_gy
    assert moved_gy < -0.5
    assert gland_gy(quick) - first_gy == pytest.approx(moved_gy, rel=0.2)
    assert quick.dose_gy.dtype == np.float32
    assert quick.dose_gy.shape == session.influence.grid.shape


def test_a_preview_is_the_plan_of_its_fluence_and_covers_the_target(session):
    quick = preview(session, RUINOUS, iterations=3)
    expected = session.influence.dose_gy(quick.fluence)
    assert quick.dose_gy == pytest.approx(expected, rel=1e-5, abs=1e-4)
    covered = session.evaluator.coverage_gy(quick.dose_gy)
    prescribed = session.protocol.primary.dose_gy
    assert prescribed <= covered == pytest.approx(prescribed, rel=1e-6)


def test_a_preview_ends_at_once_when_cancelled(session):
    asked = []
    with pytest.raises(CancelledError):
        preview(session, RUINOUS, 50, lambda: asked.append(1) or len(asked) > 2)
    assert len(asked) == 3


def test_steps_are_the_same_with_and_without_previews_between(session):
    for weight in (0.5, 5.0, 50.0):
        objective = Objective("Gland", "mean_dose", weight, id="Gland/mine")
        preview(session, (AddObjective(objective, "", WHO),), iterations=5)
    step = steer(session, SPARE_GLAND, "", WHO)
    with_previews = session.best
    undo(session, WHO)
    steer(session, SPARE_GLAND, "", WHO)
    assert session.best.step.index == step.index + 1
    assert session.best.fluence.tobytes() == with_previews.fluence.tobytes()


@pytest.mark.parametrize("iterations", [0, -1, 201])
def test_iterations_of_a_preview_are_bounded(session, iterations):
    with pytest.raises(InputError, match="iterations"):
        preview(session, (), iterations)


# Undo, redo, select ------------------------------------------------------------------------------


def test_undo_and_redo_restore_bit_for_bit(session):
    plans = [session.best]
    for actions in (SPARE_GLAND, RUINOUS):
        steer(session, actions, "", WHO)
        plans.append(session.best)
    for expected in (plans[1], plans[0]):
        undo(session, WHO)
        assert same_plan(session.best, expected)
    with pytest.raises(InputError, match="nothing to undo"):
        undo(session, WHO)
    for expected in plans[1:]:
        redo(session, WHO)
        assert same_plan(session.best, expected)
    with pytest.raises(InputError, match="nothing to redo"):
        redo(session, WHO)


def test_any_step_can_be_selected_also_one_that_was_undone_by_a_planner(session):
    step = session.apply(Proposal("ruin", "goals", "Ruin it", RUINOUS, "rules"))
    assert not step.kept
    select(session, step.index, WHO)
    assert session.best.step.index == step.index
    undo(session, WHO)
    assert session.best.step.index == 0


@pytest.mark.parametrize("step", [-1, 1, 10**9, 0, True, 0.0, "0", None])
def test_steps_that_cannot_be_selected(session, step):
    with pytest.raises(InputError):
        select(session, step, WHO)


def test_a_damaged_step_is_not_gone_back_to(session):
    steer(session, SPARE_GLAND, "", WHO)
    path = session.folder.step_path(0) / "fluence.npy"
    np.save(path, np.load(path) * 1.001)
    best, lines = session.best, len(read_audit(session.folder.audit_path))
    with pytest.raises(InputError, match=r"fluence\.npy"):
        undo(session, WHO)
    assert session.best is best
    assert len(read_audit(session.folder.audit_path)) == lines


def test_planners_see_what_the_person_went_back_on_as_undone(session):
    steer(session, SPARE_GLAND, "", WHO)
    steer(session, RUINOUS, "", WHO)
    undo(session, WHO)
    seen = session.situation
    assert [s.kept for s in seen.steps] == [True, True, False]
    assert seen.steps[2].shortcoming == UNDONE_BY_PERSON
    assert seen.best.index == 1
    redo(session, WHO)
    assert [s.kept for s in session.situation.steps] == [True, True, True]


# Restored ----------------------------------------------------------------------------------------

#: What a person may do, by chance: numbers are shares of the steps that there are.
MOVES = st.lists(
    st.one_of(
        st.sampled_from(["steer", "undo", "redo", "planner"]),
        st.floats(0, 1, exclude_max=True),
    ),
    max_size=7,
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(moves=MOVES)
def test_whatever_a_person_does_is_restored(first_plan, influence, tmp_path_factory, moves):
    path = tmp_path_factory.mktemp("moves") / "out"
    session = restored(Path(shutil.copytree(first_plan, path)), influence)
    plans = {0: session.best}
    visited, position = [0], 0  # the model
    for number, move in enumerate(moves):
        if move in ("steer", "planner"):
            factor = 1.5 if number % 2 else 0.6
            actions = (ChangeWeight("PTV/squared_overdosing", factor, "", WHO),)
            if move == "steer":
                step = steer(session, actions, "", WHO)
            else:
                step = session.apply(Proposal("try", "goals", "Try", actions, "rules"))
            plans[step.index] = session.best if step.kept else session.plan_of(step.index)
            if step.kept:
                visited, position = [*visited[: position + 1], step.index], position + 1
        elif move in ("undo", "redo"):
            wanted = position + (1 if move == "redo" else -1)
            if 0 <= wanted < len(visited):
                (redo if move == "redo" else undo)(session, WHO)
                position = wanted
            else:
                with pytest.raises(InputError):
                    (redo if move == "redo" else undo)(session, WHO)
        else:
            step = int(move * len(session.steps))
            if step == visited[position]:
                continue
            select(session, step, WHO)
            visited, position = [*visited[: position + 1], step], position + 1
        assert same_plan(session.best, plans[visited[position]])
    again = restored(path, influence)
    assert same_plan(again.best, session.best)
    assert again.history == session.history == PlanHistory(tuple(visited), position)
    assert told(again) == told(session)
    assert verify_audit(session.folder.audit_path) == []


def test_a_torn_line_of_an_undo_is_no_undo(session, influence):
    steer(session, SPARE_GLAND, "", WHO)
    undo(session, WHO)
    path = session.folder.audit_path
    path.write_bytes(path.read_bytes()[:-20])
    assert restored(session.folder.path, influence).best.step.index == 1


def test_a_full_disk_while_undoing_changes_nothing(session, monkeypatch):
    steer(session, SPARE_GLAND, "", WHO)
    best = session.best

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AuditLog, "append", full)
    with pytest.raises(OSError, match="No space"):
        undo(session, WHO)
    assert session.best is best
    assert session.history.can_undo


def entry(index, kind, /, **data):
    return {"index": index, "kind": kind, "data": data}


@pytest.mark.parametrize(
    "moved",
    [
        {"how": "undo", "step": 0},
        {"how": "undo", "step": 1},
        {"how": "redo", "step": 1},
        {"how": "jump", "step": 1},
        {"step": 1},
    ],
)
def test_a_log_that_contradicts_itself(moved):
    lines = [entry(0, "start"), entry(1, "step", index=0, kept=True), entry(2, "current", **moved)]
    with pytest.raises(InputError, match="line 3"):
        history_of(lines)


def test_history_of_a_log():
    lines = [
        entry(0, "start"),
        entry(1, "step", index=0, kept=True),
        entry(2, "step", index=1, kept=False),
        entry(3, "step", index=2, kept=True),
        entry(4, "current", how="undo", step=0),
        entry(5, "resumed", steps=3),
        entry(6, "current", how="select", step=1),
    ]
    assert history_of(lines) == PlanHistory((0, 1), 1)
    assert history_of(lines[:-1]).can_redo
    assert history_of([]) == PlanHistory()
    assert history_of([]).current is None
