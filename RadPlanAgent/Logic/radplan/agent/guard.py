"""What a language model may change: its reply checked against schema, allow-lists and bounds.

Every reason to refuse is collected and told to the model in one message, with what exists instead.
All of this happens in tokens (`radplan.agent.view`); only actions that passed are translated.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from ..errors import InputError
from ..optimize import OBJECTIVE_FUNCTIONS, Objective
from .action_bounds import broken_bounds, repeated
from .actions import (
    Action,
    AddObjective,
    ChangeDose,
    ChangeVolume,
    ChangeWeight,
    RemoveObjective,
)
from .checked import (
    Checker,
    RejectedReplyError,
    check_object,
    flag_schema,
    list_schema,
    number_schema,
    object_schema,
    text_schema,
    word_schema,
)
from .movements import oscillations
from .pursuit import objectives_pursuing
from .trajectory import Expectation
from .view import View

AUTHOR = "llm"
EFFECTS = ("better", "worse", "same")
SCALE_GROUP = "scale_priority_group"
KINDS = (
    *("change_weight", "change_dose", "change_volume"),
    *("add_objective", "remove_objective", SCALE_GROUP),
)
#: More changes at once cannot be told apart by what they did.
MOST_ACTIONS = 8
LONGEST_TEXT = 600
LONGEST_TITLE = 90

_PARAMETERS = ("dose_gy", "volume_percent", "exponent")

#: What the planner answers with.
PLAN_SCHEMA = object_schema(
    thoughts=text_schema("what limits the plan, what the memory teaches, what to try; brief"),
    title=text_schema("this step in at most ten words"),
    actions=list_schema(
        object_schema(
            kind=word_schema(KINDS),
            objective=text_schema("id of an existing objective: change_*, remove_objective", True),
            priority=number_schema("scale_priority_group: priority of the goals", True),
            factor=number_schema("change_weight, scale_priority_group: multiplies weight", True),
            structure=text_schema("add_objective", True),
            function=text_schema("add_objective", True),
            dose_gy=number_schema("change_dose: the new level; add_objective", True),
            volume_percent=number_schema("change_volume: the new volume; add_objective", True),
            exponent=number_schema("add_objective: a of a geud", True),
            weight=number_schema("add_objective", True),
            reason=text_schema("why, one sentence"),
            expected=list_schema(
                object_schema(goal=text_schema("id of a goal: G1"), effect=word_schema(EFFECTS))
            ),
        ),
        f"at most {MOST_ACTIONS}; empty only with stop",
    ),
    stop=flag_schema("true only if nothing is worth trying any more"),
    stop_reason=text_schema("why, if stop", True),
)


@dataclass(frozen=True)
class CheckedPlan:
    """A planner's reply that may be carried out.

    Parameters
    ----------
    thoughts, title : str
    actions : tuple of Action
        In the case's names.
    expectations : tuple of Expectation
        Their goals in the case's names.
    stop : bool
        Whether the model wants to stop; there are no actions then.
    stop_reason : str
    ignored : tuple of str
        What of the reply was disregarded, and why.
    """

    thoughts: str
    title: str
    actions: tuple[Action, ...]
    expectations: tuple[Expectation, ...]
    stop: bool
    stop_reason: str
    ignored: tuple[str, ...]


def approvals(text: str) -> tuple[str, ...]:
    """A note if a text approves of something; no model can approve a plan."""
    if re.search(r"\bapprov(?:e|es|ed|ing|al)\b", text, re.IGNORECASE):
        return ("the reply speaks of approval: ignored, only a person can approve",)
    return ()


def check_plan(value: dict, view: View) -> CheckedPlan:
    """Check a planner's reply against schema, allow-lists, bounds and what was tried before.

    Parameters
    ----------
    value : dict
        The reply.
    view : View

    Raises
    ------
    RejectedReplyError
        If it cannot be carried out: all that is wrong with it, in tokens.
    """
    ignored: list[str] = []
    with check_object(value) as reply:
        thoughts = reply.text("thoughts", LONGEST_TEXT)
        stop = reply.flag("stop")
        title = reply.text("title", LONGEST_TITLE) if not stop else "stop"
        drafts = []
        for item in reply.objects("actions") if not stop or "actions" in reply else ():
            if item.peek("kind").startswith("approv"):
                ignored.append("an action approves the plan: ignored, only a person can approve")
            else:
                drafts.append((item, _read_action(item, view)))
        reason = reply.text("stop_reason", LONGEST_TEXT) if stop else ""
        if not drafts and not stop:
            reply.problem('give at least one action, or "stop": true with a reason')
        if len(drafts) > MOST_ACTIONS:
            reply.problem(f"there are {len(drafts)} actions; give at most {MOST_ACTIONS}")
    if stop:
        return CheckedPlan(thoughts, title, (), (), True, reason, tuple(ignored))
    actions: list[Action] = []
    expectations: list[Expectation] = []
    with_value = {r.goal.label for r in view.scorecard.evaluable}
    for item, made in drafts:
        for expectation in _read_expectations(item, len(actions), view):
            if expectation.goal in with_value:
                expectations.append(expectation)
            else:
                ignored.append(
                    f"an effect on {expectation.goal} is expected, which cannot be evaluated in "
                    "this case: ignored"
                )
        actions += made
    problems = [*repeated(actions), *broken_bounds(actions, view), *oscillations(actions, view)]
    if problems:
        raise RejectedReplyError(problems)
    return CheckedPlan(
        thoughts,
        title,
        tuple(view.revealed(actions)),
        tuple(replace(e, goal=view.revealed_goal(e.goal)) for e in expectations),
        False,
        "",
        tuple(ignored),
    )


def _read_action(item: Checker, view: View) -> list[Action]:
    """Read one action of a reply, in tokens; empty if it is unusable, which is then noted."""
    kind = item.word("kind", KINDS)
    why = {"reason": item.text("reason", LONGEST_TEXT), "author": AUTHOR}
    _read_expectations(item, 0, view)
    if kind == SCALE_GROUP:
        return _read_group(item, view, why)
    if kind == "add_objective":
        return _read_addition(item, view, why)
    if not kind:
        return []
    objective_id = item.word("objective", [o.id for o in view.best.objectives])
    if kind == "remove_objective":
        return [RemoveObjective(objective_id, **why)]
    field, action_type = {
        "change_weight": ("factor", ChangeWeight),
        "change_dose": ("dose_gy", ChangeDose),
        "change_volume": ("volume_percent", ChangeVolume),
    }[kind]
    return [action_type(objective_id, item.number(field), **why)]


def _read_group(item: Checker, view: View, why: dict) -> list[Action]:
    priorities = sorted({g.priority for g in view.protocol.goals})
    priority, factor = item.number("priority"), item.number("factor")
    goals = [g for g in view.protocol.goals if g.priority == priority]
    found: dict[str, Objective] = {}
    for goal in goals:
        for objective in objectives_pursuing(
            goal, view.best.objectives, view.structure_of, view.protocol
        ):
            found[objective.id] = objective
    if not found:
        with_objectives = ", ".join(str(p) for p in priorities)
        item.problem(
            f'no objective pursues a goal of "priority" {priority:g}; the goals have priorities '
            f"{with_objectives}"
        )
    return [ChangeWeight(objective_id, factor, **why) for objective_id in found]


def _read_addition(item: Checker, view: View, why: dict) -> list[Action]:
    structure = item.word("structure", view.structures)
    function = item.word("function", tuple(OBJECTIVE_FUNCTIONS))
    weight = item.number("weight")
    wanted = OBJECTIVE_FUNCTIONS[function].parameters if function else ()
    numbers = {name: item.number(name) for name in _PARAMETERS if name in wanted}
    if not structure or not function or not all(map(math.isfinite, (weight, *numbers.values()))):
        return []
    try:
        objective = Objective(structure, function, weight, **numbers)
    except InputError as error:
        item.problem(str(error))
        return []
    same = [
        o for o in view.best.objectives if replace(o, weight=weight, id=objective.id) == objective
    ]
    if same:
        item.problem(f"there is already such an objective, {same[0].id}; change it instead")
    return [AddObjective(objective, **why)]


def _read_expectations(item: Checker, action: int, view: View) -> list[Expectation]:
    expectations = []
    expected = item.objects("expected")
    if not expected:
        item.problem('"expected" must name at least one goal and the effect on it')
    for entry in expected:
        effect = entry.word("effect", EFFECTS)
        try:
            goal = view.goals.goal(entry.text("goal", LONGEST_TITLE))
        except InputError as error:
            entry.problem(str(error))
        else:
            expectations.append(Expectation(action, goal.label, effect))
    return expectations
