"""The scorecard table: goals of one step, or of two side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..protocol import SIGNS
from .i18n import _

#: Marks of a goal: met, missed, cannot be evaluated.
MARKS = {True: "✓", False: "✗", None: "–"}


@dataclass(frozen=True)
class GoalRow:
    """A goal and what one step, or two, reach.

    Parameters
    ----------
    label : str
        As ``Rectum V50Gy ≤ 22 %``.
    priority : int
    met : bool or None
        None if it cannot be evaluated.
    reached, margin : str
        With units; margins are positive inside the limit.
    compared : str
        What the other step reaches; empty if there is none.
    compared_met : bool or None
    better : int
        1 if the first step is nearer to what is wanted than the compared one, -1 if it is
        further, 0 if they are alike or there is nothing to compare.
    note : str
    """

    label: str
    priority: int
    met: bool | None
    reached: str
    margin: str
    compared: str = ""
    compared_met: bool | None = None
    better: int = 0
    note: str = ""


def goal_rows(scorecard: Mapping, compared: Mapping | None = None) -> tuple[GoalRow, ...]:
    """Rows: missed goals first, then by priority, in the protocol's order.

    Parameters
    ----------
    scorecard, compared : mapping
        As ``scorecard.json``.
    """
    others = {_key(g): g for g in (compared or {}).get("goals", ())}
    goals = sorted(scorecard["goals"], key=lambda g: (g["met"] is not False, g["priority"]))
    return tuple(_row(goal, others.get(_key(goal))) for goal in goals)


def _key(goal: Mapping) -> tuple:
    return tuple(goal[k] for k in ("structure", "metric", "op", "value", "unit"))


def _row(goal: Mapping, other: Mapping | None) -> GoalRow:
    limit = f"{SIGNS[goal['op']]} {goal['value']:g} {goal['unit']}".rstrip()
    better = 0
    if other and other["margin"] is not None and goal["margin"] is not None:
        gain = goal["margin"] - other["margin"]
        better = 0 if abs(gain) < 0.05 else (1 if gain > 0 else -1)
    return GoalRow(
        f"{goal['structure']} {goal['metric']} {limit}",
        goal["priority"],
        goal["met"],
        _number(goal["achieved"], goal["unit"]),
        _number(goal["margin"], goal["unit"], "+"),
        _number(other["achieved"], goal["unit"]) if other else "",
        other["met"] if other else None,
        better,
        goal["note"],
    )


def _number(value: float | None, unit: str, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}.1f} {unit}".rstrip()


def summary(scorecard: Mapping) -> str:
    """How many goals are met, in one sentence."""
    verdicts = [g["met"] for g in scorecard["goals"]]
    musts = [g["met"] for g in scorecard["goals"] if g["priority"] == 1]
    text = _("{met} of {total} goals met").format(
        met=verdicts.count(True), total=len(verdicts) - verdicts.count(None)
    )
    missed = musts.count(False)
    if missed:
        text += ", " + _("{missed} of the goals that must be met are missed").format(missed=missed)
    return text
