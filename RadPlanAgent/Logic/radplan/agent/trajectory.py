"""The steps of a plan so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..optimize import Objective
from ..protocol import Protocol
from ..scorecard import Scorecard
from .actions import Action
from .helpers import PlanningStructures


@dataclass(frozen=True)
class Step:
    """Actions, and the plan and scorecard that they led to.

    Parameters
    ----------
    index : int
        Number of the step, from 0.
    base : int or None
        The step whose objectives the actions changed; None for the first.
    phase : str
        ``initial``, ``goals``, ``homogeneity``, ``sparing`` or ``person``.
    move : str
        What was tried, as a key by which planners recognise it.
    title : str
        What was tried, for people.
    actions : tuple of Action
    changes : tuple of str
        Each action in plain words, with values before and after.
    objectives : tuple of Objective
        After the actions.
    scorecard : Scorecard
    outcome : str
        What it did to the goals, one sentence.
    kept : bool
        Whether it became the best plan.
    solver : dict
        Status, iterations, cost and the scale that normalised coverage.
    seconds : float
    """

    index: int
    base: int | None
    phase: str
    move: str
    title: str
    actions: tuple[Action, ...]
    changes: tuple[str, ...]
    objectives: tuple[Objective, ...]
    scorecard: Scorecard
    outcome: str
    kept: bool
    solver: dict = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Situation:
    """All that a planner may look at before it decides.

    Parameters
    ----------
    protocol : Protocol
        In the case's names.
    organs : tuple of str
        Organs at risk of the case.
    external : str
        The body.
    structures : PlanningStructures
        Structures and helpers on the dose grid.
    steps : tuple of Step
    best : Step
        The best plan so far.
    """

    protocol: Protocol
    organs: tuple[str, ...]
    external: str
    structures: PlanningStructures
    steps: tuple[Step, ...]
    best: Step


@dataclass(frozen=True)
class Proposal:
    """What a planner wants to try next, on top of the best plan."""

    move: str
    phase: str
    title: str
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class Stop:
    """A planner's decision that it is done, and why."""

    reason: str
