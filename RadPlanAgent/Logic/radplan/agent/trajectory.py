"""The steps of a plan so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol as Interface

from ..case import Case, DoseImage
from ..metrics import StructureDose
from ..optimize import ConstraintOutcome, Objective, StructureIndex
from ..protocol import Protocol
from ..scorecard import Scorecard
from .actions import Action
from .assessment import Assessment
from .helpers import PlanningStructures
from .quality import goal_effect

#: Why planners see a step as undone that once was kept.
UNDONE_BY_PERSON = "a person went back to an earlier plan"


@dataclass(frozen=True)
class Expectation:
    """What a planner expects of an action, named by its place in the step.

    Parameters
    ----------
    action : int
        From 0.
    goal : str
        The goal's label.
    effect : str
        ``better``, ``worse`` or ``same``.
    """

    action: int
    goal: str
    effect: str


@dataclass(frozen=True)
class ExpectationOutcome:
    """An expectation held against what the step did.

    Parameters
    ----------
    action, goal, effect
        As expected.
    before, after : float or None
        Value of the goal in the plan that the step built on and in its own, in the goal's unit.
    observed : str
        ``better``, ``worse``, ``same``, or empty if the goal has no value.
    """

    action: int
    goal: str
    effect: str
    before: float | None
    after: float | None
    observed: str

    @property
    def held(self) -> bool:
        """Whether it came as expected; what was to stay the same may have got better."""
        return self.observed == self.effect or (self.effect, self.observed) == ("same", "better")


def hold_expectations(
    expectations: Sequence[Expectation], before: Scorecard, after: Scorecard
) -> tuple[ExpectationOutcome, ...]:
    """Hold what was expected against what happened to each goal."""
    results = {b.goal.label: (b, a) for b, a in zip(before.goals, after.goals, strict=True)}
    outcomes = []
    for expectation in expectations:
        b, a = results[expectation.goal]
        outcomes.append(
            ExpectationOutcome(
                expectation.action,
                expectation.goal,
                expectation.effect,
                b.achieved,
                a.achieved,
                goal_effect(b, a),
            )
        )
    return tuple(outcomes)


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
    author : str
        Who proposed it: ``rules``, ``llm``, ``person:<name>``, or empty for the first plan.
    note : str
        What a reader must know about how it came about, such as why the rules stepped in.
    assessment : Assessment, optional
        What was seen in the plan that the step builds on.
    expectations : tuple of ExpectationOutcome
        What was expected of the actions, and what came of it.
    shortcoming : str
        Why it was undone; empty if it was kept.
    constraints : tuple of ConstraintOutcome
        Constraints after the actions, and how the scaled dose keeps to each.
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
    author: str = ""
    note: str = ""
    assessment: Assessment | None = None
    expectations: tuple[ExpectationOutcome, ...] = ()
    shortcoming: str = ""
    constraints: tuple[ConstraintOutcome, ...] = ()


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
    case : Case
    dose : DoseImage
        Of the best plan.
    structure_doses : mapping of name to StructureDose
        Of the best plan.
    index : StructureIndex
        Voxels of structures and helpers, by which objectives are evaluated.
    """

    protocol: Protocol
    organs: tuple[str, ...]
    external: str
    structures: PlanningStructures
    steps: tuple[Step, ...]
    best: Step
    case: Case
    dose: DoseImage
    structure_doses: Mapping[str, StructureDose]
    index: StructureIndex


@dataclass(frozen=True)
class Proposal:
    """What a planner wants to try next, on top of the best plan; fields as in `Step`."""

    move: str
    phase: str
    title: str
    actions: tuple[Action, ...]
    author: str = ""
    note: str = ""
    assessment: Assessment | None = None
    expectations: tuple[Expectation, ...] = ()


@dataclass(frozen=True)
class Stop:
    """A planner's decision that it is done, and why."""

    reason: str


class Planner(Interface):
    """Whatever decides what to try next."""

    name: str

    def propose(self, situation: Situation) -> Proposal | Stop:
        """The next thing to try on the best plan, or the decision to stop."""
