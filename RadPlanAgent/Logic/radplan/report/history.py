"""The steps of a session, worded for a reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..figures import GoalHistory, StepLabel
from .folder import SessionRecord, StepRecord, mapping, mappings, number, text, whole
from .goals import Change, Goal, changes, read_goals

_AUTHORS = {"rules": "built-in rules", "llm": "language model"}
_ACTION_WORDS = {
    "change_weight": "Weight",
    "change_dose": "Dose level",
    "change_volume": "Volume",
    "add_objective": "Added",
    "remove_objective": "Removed",
}


@dataclass(frozen=True)
class ActionView:
    """One change of the plan and why."""

    kind: str
    text: str
    reason: str
    author: str


@dataclass(frozen=True)
class StepView:
    """One step: what was changed, why, and what it did."""

    index: int
    title: str
    phase: str
    kept: bool
    is_best: bool
    actions: tuple[ActionView, ...]
    outcome: str
    goals_text: str
    compared_with: int | None
    changes: tuple[Change, ...]
    work: str


def step_views(record: SessionRecord) -> list[StepView]:
    """All steps in order, each held against the plan that it set out from."""
    protocol = mapping(record.session.get("protocol"))
    best = record.best
    goals = {s.index: read_goals(s.scorecard, protocol) for s in record.steps}
    views = []
    last_kept: int | None = None
    for stored in record.steps:
        step = stored.step
        base = whole(step.get("base"))
        base = last_kept if base not in goals else base
        kept = step.get("kept") is True
        views.append(
            StepView(
                index=stored.index,
                title=text(step.get("title")) or "untitled",
                phase=text(step.get("phase")),
                kept=kept,
                is_best=stored is best,
                actions=tuple(_action(a) for a in mappings(step.get("actions"))),
                outcome=text(step.get("outcome")),
                goals_text=_goals_text(step),
                compared_with=base,
                changes=tuple(changes(goals.get(base, []), goals[stored.index])),
                work=_work(step),
            )
        )
        last_kept = stored.index if kept else last_kept
    return views


def _action(action: dict) -> ActionView:
    author = text(action.get("author"))
    person, _, name = author.partition(":")
    kind = text(action.get("kind"))
    return ActionView(
        kind=_ACTION_WORDS.get(kind, kind.replace("_", " ").capitalize()),
        text=text(action.get("text")),
        reason=text(action.get("reason")),
        author=f"person: {name}" if person == "person" and name else _AUTHORS.get(author, author),
    )


def _goals_text(step: dict) -> str:
    met, total = whole(step.get("goals_met")), whole(step.get("goals_total"))
    return "" if met is None or total is None else f"{met}/{total} goals met"


def _work(step: dict) -> str:
    """Tell what the optimizer did, one line."""
    solver = mapping(step.get("solver"))
    parts = []
    if text(solver.get("status")):
        parts.append(f"optimizer: {text(solver['status'])}")
    if whole(solver.get("iterations")) is not None:
        parts.append(f"{solver['iterations']} iterations")
    seconds = number(step.get("seconds"))
    if seconds is not None:
        parts.append(f"{seconds:.1f} s")
    return ", ".join(parts)


def goal_histories(
    steps: Sequence[StepRecord], best: StepRecord | None, order: Sequence[Goal], protocol: dict
) -> tuple[list[GoalHistory], list[StepLabel]]:
    """Rows and columns of the table of goals over steps; rows in the given order of goals."""
    judged = [s for s in steps if s.scorecard]
    columns = [{g.key: g for g in read_goals(s.scorecard, protocol)} for s in judged]
    rows = []
    for goal in order:
        cells = [column.get(goal.key) for column in columns]
        rows.append(
            GoalHistory(
                goal.label,
                goal.limit or 0.0,
                tuple(cell.margin if cell else None for cell in cells),
                tuple(cell.met if cell else None for cell in cells),
            )
        )
    labels = [StepLabel(s.index, s.step.get("kept") is True, s is best) for s in judged]
    return rows, labels
