"""A reference plan: what a planner that is a language model may learn from.

A plan is told by its anatomy, its protocol, every step that was tried, and the dose it ended with.
Nothing in it is free text: structures are tokens (`radplan.agent.tokens`), the rest numbers and
words of this program; `example_file` holds files to that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ..optimize import Objective
from ..protocol import Protocol
from ..protocol_file import list_protocols, load_protocol
from ..scorecard import GoalResult
from .actions import Action, AddObjective, apply_actions
from .anatomy import AnatomyFact
from .facts import DVH_VOLUMES_PERCENT

#: A name is a file's name too, and short enough to hold no message.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
#: Where a plan comes from, and how a prompt says so.
ORIGINS = {
    "public": "made by the built-in rules planner of this project on public data, not a clinical "
    "plan",
    "own": "a plan of the user's own",
}
#: What stands where a protocol of the user's own has its name.
OWN_PROTOCOL = "own"
OTHER_SITE = "other"
#: What stands for the name of a dose map.
DOSE_MAP = "by voxel"
#: Columns of the dose table: mean, DVH points (% of the volume), dose to 0.03 cc; all Gy.
DOSES = ("mean", *(f"D{v:g}%" for v in DVH_VOLUMES_PERCENT), "D0.03cc")


@dataclass(frozen=True)
class TriedStep:
    """One step of the way to a reference plan.

    Parameters
    ----------
    base : int or None
        The step whose objectives the actions changed; None for the first plan.
    kept : bool
    actions : tuple of Action
    objectives : tuple of Objective
        After the actions.
    goals : tuple of GoalResult
        In the protocol's order.
    """

    base: int | None
    kept: bool
    actions: tuple[Action, ...]
    objectives: tuple[Objective, ...]
    goals: tuple[GoalResult, ...]


@dataclass(frozen=True)
class Example:
    """A reference plan, in tokens.

    Parameters
    ----------
    name : str
    origin : str
        A key of `ORIGINS`.
    site : str
        A site of the protocols that come with the program, or `OTHER_SITE`.
    protocol : Protocol
        Without any free text.
    anatomy : tuple of AnatomyFact
        Targets and organs; without directions.
    steps : tuple of TriedStep
        The first is the first plan, the last one kept is the plan.
    doses : mapping of str to tuple of float
        `DOSES` of the plan by structure, Gy.
    homogeneity_index, conformity_index : float
        Of the primary target.
    planner, version : str
        Who planned, and with which version of the program; not told to a model.
    source : str
        Where the anatomy is from, for people; not told to a model.
    approved_by : str
        For people; a model is only told that somebody approved.
    picture : bytes or None
        PNG file of the dose on one slice.
    remark : str
        Why it is shown, in words of this program.
    shown_for : frozenset of str or None
        Structures of the case that it is shown for, in tokens; None for no case in particular.
    """

    name: str
    origin: str
    site: str
    protocol: Protocol
    anatomy: tuple[AnatomyFact, ...]
    steps: tuple[TriedStep, ...]
    doses: Mapping[str, tuple[float, ...]]
    homogeneity_index: float
    conformity_index: float
    planner: str = ""
    version: str = ""
    source: str = ""
    approved_by: str = ""
    picture: bytes | None = None
    remark: str = ""
    shown_for: frozenset[str] | None = None

    @property
    def best(self) -> TriedStep:
        """The plan."""
        return next(step for step in reversed(self.steps) if step.kept)

    @property
    def goals_met(self) -> int:
        """How many goals the plan meets."""
        return sum(r.met is True for r in self.best.goals)

    @property
    def goals_total(self) -> int:
        """How many goals can be evaluated."""
        return sum(r.met is not None for r in self.best.goals)

    @cached_property
    def text(self) -> str:
        """The plan as a planner reads it; see `radplan.agent.example_text`."""
        from .example_text import example_text  # which needs this module

        return example_text(self)


def without_free_text(protocol: Protocol) -> Protocol:
    """A protocol in tokens without what people wrote: titles, sources, notes."""
    shipped = protocol.name if protocol.name in list_protocols() else ""
    return replace(
        protocol,
        name=shipped or OWN_PROTOCOL,
        title=load_protocol(shipped).title if shipped else OWN_PROTOCOL,
        site=OTHER_SITE,
        goals=tuple(replace(g, source="-", verified=False, note="") for g in protocol.goals),
        beams="coplanar9",
        source="",
        note="",
        aliases={},
    )


def objectives_after(
    before: Sequence[Objective], actions: Sequence[Action]
) -> tuple[Objective, ...]:
    """Objectives after actions that were allowed when they were made."""
    if not actions:
        return tuple(before)
    added = [a.objective.structure for a in actions if isinstance(a, AddObjective)]
    return apply_actions(before, actions, structures=added, largest_dose_gy=math.inf)[0]
