"""The steps of a session, worded for a reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..agent.tokens import StructureTokens
from ..case import Case
from ..figures import GoalHistory, StepLabel
from ..optimize import FLUENCE
from .folder import SessionRecord, StepRecord, mapping, mappings, number, text, texts, whole
from .goals import Change, Goal, changes, read_goals

_AUTHORS = {"rules": "built-in rules", "llm": "language model"}
_EXPECTED = {"better": "to get better", "worse": "to get worse", "same": "to stay the same"}
_OBSERVED = {"better": "got better", "worse": "got worse", "same": "stayed the same"}
_ACTION_WORDS = {
    "change_weight": "Weight",
    "change_dose": "Dose level",
    "change_volume": "Volume",
    "add_objective": "Added",
    "remove_objective": "Removed",
    "set_constraint": "Constraint",
    "lift_constraint": "Lifted",
}


@dataclass(frozen=True)
class ExpectationView:
    """What was expected of a change for one goal, and what happened to that goal."""

    goal: str
    effect: str
    observed: str
    held: bool


@dataclass(frozen=True)
class ActionView:
    """One change of the plan, why, and what was expected of it."""

    kind: str
    text: str
    reason: str
    author: str
    expected: tuple[ExpectationView, ...] = ()


@dataclass(frozen=True)
class ProblemView:
    """One problem that was seen in a plan."""

    structure: str
    kind: str
    text: str


@dataclass(frozen=True)
class SeenView:
    """What was seen in the plan that a step builds on."""

    verdict: str
    problems: tuple[ProblemView, ...]
    directions: tuple[str, ...]
    notes: tuple[str, ...]
    author: str


@dataclass(frozen=True)
class StepView:
    """One step: what was seen, what was changed and why, what was expected, what it did."""

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
    author: str
    thoughts: str
    warning: str
    seen: SeenView | None


def token_reader(record: SessionRecord, case: Case) -> Callable[[str], str]:
    """Puts the case's names into texts that a language model wrote in tokens."""
    protocol = mapping(record.session.get("protocol"))
    types = {s.name: s.type for s in case.structures}
    named = [text(row.get("target")) for row in mappings(protocol.get("prescriptions"))]
    named += [text(row.get("structure")) for row in mappings(protocol.get("goals"))]
    used = [text(o.get("structure")) for s in record.steps for o in s.objectives]
    helpers = dict.fromkeys(n for n in used if n and n not in types and n != FLUENCE)
    return StructureTokens(types, dict.fromkeys(n for n in named if n), helpers).reveal


def step_views(record: SessionRecord, reveal: Callable[[str], str] = str) -> list[StepView]:
    """All steps in order, each held against the plan that it set out from.

    Parameters
    ----------
    record : SessionRecord
    reveal : callable
        Puts names into what a language model wrote (`token_reader`).
    """
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
        author = text(step.get("author"))
        said = reveal if author == "llm" else str
        views.append(
            StepView(
                index=stored.index,
                title=said(text(step.get("title"))) or "untitled",
                phase=text(step.get("phase")),
                kept=kept,
                is_best=stored is best,
                actions=_actions(step, said),
                outcome=text(step.get("outcome")),
                goals_text=_goals_text(step),
                compared_with=base,
                changes=tuple(changes(goals.get(base, []), goals[stored.index])),
                work=_work(step),
                author=_author(author) if author != "rules" else "",
                thoughts=said(text(step.get("note"))) if author == "llm" else "",
                warning=reveal(text(step.get("note"))) if author != "llm" else "",
                seen=_seen(mapping(step.get("assessment")), reveal),
            )
        )
        last_kept = stored.index if kept else last_kept
    return views


def _actions(step: dict, said: Callable[[str], str]) -> tuple[ActionView, ...]:
    """All changes of a step, each with what was expected of it."""
    expected: dict[int | None, list[ExpectationView]] = {}
    for item in mappings(step.get("expectations")):
        expected.setdefault(whole(item.get("action")), []).append(
            ExpectationView(
                text(item.get("goal")),
                _EXPECTED.get(text(item.get("effect")), ""),
                _OBSERVED.get(text(item.get("observed")), "could not be evaluated"),
                item.get("held") is True,
            )
        )
    return tuple(
        _action(action, said, tuple(expected.get(number, ())))
        for number, action in enumerate(mappings(step.get("actions")))
    )


def _action(
    action: dict, said: Callable[[str], str], expected: tuple[ExpectationView, ...]
) -> ActionView:
    kind = text(action.get("kind"))
    return ActionView(
        kind=_ACTION_WORDS.get(kind, kind.replace("_", " ").capitalize()),
        text=text(action.get("text")).removeprefix("add ").removeprefix("remove ")
        .removeprefix("set constraint ").removeprefix("lift constraint "),
        reason=said(text(action.get("reason"))),
        author=_author(text(action.get("author"))),
        expected=expected,
    )


def _author(author: str) -> str:
    person, _, name = author.partition(":")
    return f"person: {name}" if person == "person" and name else _AUTHORS.get(author, author)


def _seen(assessment: dict, reveal: Callable[[str], str]) -> SeenView | None:
    verdict = text(assessment.get("verdict"))
    if not verdict:
        return None
    said = reveal if assessment.get("author") == "llm" else str
    return SeenView(
        verdict,
        tuple(
            ProblemView(
                said(text(p.get("structure"))), text(p.get("kind")), said(text(p.get("text")))
            )
            for p in mappings(assessment.get("problems"))
        ),
        tuple(said(d) for d in texts(assessment.get("directions"))),
        tuple(said(n) for n in texts(assessment.get("notes"))),
        _AUTHORS.get(text(assessment.get("author")), ""),
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
