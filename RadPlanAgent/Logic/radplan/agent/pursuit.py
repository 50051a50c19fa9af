"""Which objectives pursue which goals."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..optimize import Objective
from ..protocol import ClinicalGoal, Protocol
from .quality import is_maximum

_LOWERS_VOLUMES = ("max_dvh", "squared_overdosing", "soft_maximum", "geud")
_LOWERS_MEAN = ("mean_dose", "squared_mean_overdosing", "geud")
_RAISES = ("squared_underdosing", "min_dvh", "squared_deviation")
_EVENS_OUT = (*_RAISES, "squared_overdosing", "dose_variance")


def objectives_pursuing(
    goal: ClinicalGoal,
    objectives: Iterable[Objective],
    structure_of: Callable[[str], str],
    protocol: Protocol,
) -> tuple[Objective, ...]:
    """The objectives that push a plan towards a goal.

    Parameters
    ----------
    goal : ClinicalGoal
    objectives : iterable of Objective
    structure_of : callable
        The case structure behind a structure or helper.
    protocol : Protocol
    """
    functions = _functions(goal, goal.structure in protocol.prescription_gy)
    return tuple(
        o
        for o in objectives
        if o.function in functions and structure_of(o.structure) == goal.structure
    )


def _functions(goal: ClinicalGoal, is_target: bool) -> tuple[str, ...]:
    if goal.metric.kind == "HI":
        return _EVENS_OUT
    if goal.op == ">=":
        return _RAISES
    if goal.metric.kind == "mean" and not is_target:
        return _LOWERS_MEAN
    if is_maximum(goal.metric):
        return ("squared_overdosing", "soft_maximum", "max_dvh")
    return _LOWERS_VOLUMES
