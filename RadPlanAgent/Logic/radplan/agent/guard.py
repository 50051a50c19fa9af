"""What a language model may change: its reply checked against schema, allow-lists and bounds.

Every reason to refuse is collected and told to the model in one message, with what exists instead.
All of this happens in tokens (`radplan.agent.view`); only actions that passed are translated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..case import StructureType
from ..errors import InputError
from ..optimize import OBJECTIVE_FUNCTIONS, Objective
from .actions import (
    LARGEST_DOSE_SHARE,
    LARGEST_WEIGHT_FACTOR,
    Action,
    AddObjective,
    ChangeDose,
    ChangeVolume,
    ChangeWeight,
    RemoveObjective,
    apply_actions,
    find_objective,
    with_own_ids,
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
from .initial import UNDERDOSE_WEIGHT
from .pursuit import objectives_pursuing
from .trajectory import Expectation, Step
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
#: A dose level moves by no more than this share of the highest prescription in one step.
LARGEST_LEVEL_STEP = 0.15
#: The weight of the primary target's underdosing objective stays above this share of its first.
PRIMARY_WEIGHT_FLOOR = 0.25 * UNDERDOSE_WEIGHT
#: Steps in which a kept change must not be taken back, and how much of it counts as taking back.
OSCILLATION_STEPS = 3
TAKEN_BACK_SHARE = 0.5
#: Changes that differ by less than this share are the same again.
SAME_CHANGE_SHARE = 0.1
LONGEST_TEXT = 600
LONGEST_TITLE = 90

_RAISES_DOSE = ("squared_underdosing", "min_dvh", "dose_variance")
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
    problems = [*_repeated(actions), *_broken_bounds(actions, view), *_oscillations(actions, view)]
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


# Reading -----------------------------------------------------------------------------------------


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


# Bounds ------------------------------------------------------------------------------------------


def _repeated(actions: Sequence[Action]) -> Iterator[str]:
    """Refuse two changes of one quantity of one objective."""
    seen = set()
    for action in actions:
        if isinstance(action, AddObjective):
            continue
        key = action.kind, action.objective_id
        if key in seen:
            yield f"two actions change the same of {action.objective_id}; give one"
        seen.add(key)


def _broken_bounds(actions: Sequence[Action], view: View) -> list[str]:
    """What bounds the actions break: their own first, then those of the plan after them."""
    before = view.best.objectives
    problems = [text for action in actions if (text := _too_large(action, view))]
    if problems:
        return problems
    try:
        after, _ = apply_actions(
            before,
            with_own_ids(actions, {o.id for o in before}),
            structures=view.structures,
            largest_dose_gy=LARGEST_DOSE_SHARE * view.protocol.highest.dose_gy,
        )
    except InputError as error:
        return [str(error)]
    return [*_weakened_target(before, after, view), *_starved_targets(before, after, view)]


def _too_large(action: Action, view: View) -> str:
    """Why an action changes too much at once; empty if it does not."""
    if isinstance(action, ChangeDose):
        old = find_objective(view.best.objectives, action.objective_id)
        largest = LARGEST_LEVEL_STEP * view.protocol.highest.dose_gy
        if old.dose_gy is not None and abs(action.dose_gy - old.dose_gy) > largest + 1e-6:
            return (
                f"{old.id}: its level is {old.dose_gy:g} Gy; it may move by at most {largest:g} "
                f"Gy in one step{_level_range(old, view)}"
            )
    elif isinstance(action, ChangeWeight):
        bound = LARGEST_WEIGHT_FACTOR
        if not 1 / bound <= action.factor <= bound:
            return f"{action.objective_id}: factor must lie in {1 / bound:g} … {bound:g}"
    return ""


def _level_range(old: Objective, view: View) -> str:
    """Where the level of an objective may be set in this step, to end a refusal with."""
    largest = LARGEST_LEVEL_STEP * view.protocol.highest.dose_gy
    structure = view.structure_of(old.structure)
    lowest = 0.0
    if structure in view.protocol.prescription_gy:
        holds_primary = structure == view.protocol.primary.target
        if old.function not in _RAISES_DOSE or holds_primary:
            lowest = min(view.protocol.prescription_gy[structure], old.dose_gy)
    low = max(lowest, old.dose_gy - largest)
    high = min(LARGEST_DOSE_SHARE * view.protocol.highest.dose_gy, old.dose_gy + largest)
    return f": from {low:g} to {high:g} Gy"


def _weakened_target(
    before: Sequence[Objective], after: Sequence[Objective], view: View
) -> Iterator[str]:
    """Protect what holds the dose of the primary target up."""
    primary = view.protocol.primary
    left = {o.id: o for o in after}
    for old in before:
        if old.function != "squared_underdosing" or old.dose_gy is None:
            continue
        if view.structure_of(old.structure) != primary.target:
            continue
        new = left.get(old.id)
        if new is None:
            yield f"{old.id} holds the primary target's dose: it may not be removed"
            continue
        floor = min(PRIMARY_WEIGHT_FLOOR, old.weight)
        if new.weight < floor * (1 - 1e-9):
            yield (
                f"{old.id} holds the primary target's dose: its weight may not fall below "
                f"{floor:g}: a factor from {floor / old.weight:.4g} to {LARGEST_WEIGHT_FACTOR:g}"
            )
        floor_gy = min(primary.dose_gy, old.dose_gy)
        if new.dose_gy < floor_gy:
            yield (
                f"{old.id} holds the primary target's dose: its level may not fall below "
                f"{floor_gy:g} Gy{_level_range(old, view)}"
            )


def _starved_targets(
    before: Sequence[Objective], after: Sequence[Objective], view: View
) -> Iterator[str]:
    """Refuse to push a target below its own prescription."""
    unchanged = {(o.id, o.dose_gy) for o in before}
    known = {o.id: o for o in before}
    for objective in after:
        prescribed_gy = _prescribed_gy(view.structure_of(objective.structure), view)
        if prescribed_gy is None or (objective.id, objective.dose_gy) in unchanged:
            continue
        if objective.function in _RAISES_DOSE or objective.dose_map is not None:
            continue
        if objective.dose_gy is None or objective.dose_gy < prescribed_gy:
            old = known.get(objective.id)
            allowed = "" if old is None or old.dose_gy is None else _level_range(old, view)
            yield (
                f"{objective.id}: would push a target below its prescription of "
                f"{prescribed_gy:g} Gy; an objective on a target needs at least that level"
                f"{allowed}"
            )


def _prescribed_gy(structure: str, view: View) -> float | None:
    """What a structure is prescribed; None if it is no target.

    A target without a prescription of its own, as a GTV, is part of one that has: of which one is
    not asked, so it counts as the lowest.
    """
    prescription_gy = view.protocol.prescription_gy
    if structure in prescription_gy:
        return prescription_gy[structure]
    targets = view.situation.case.of_type(StructureType.TARGET)
    if structure in {view.tokens.token(s.name) for s in targets}:
        return min(prescription_gy.values())
    return None


# What was tried before ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Movement:
    """By how much an action moves one quantity of one objective.

    Parameters
    ----------
    subject : str
        Id of the objective; structure and function of one that is added or removed.
    quantity : str
        ``weight`` (amount: logarithm of the factor), ``dose level`` (Gy), ``volume`` (%) or
        ``presence`` (1 added, -1 removed).
    amount : float
    """

    subject: str
    quantity: str
    amount: float

    def takes_back(self, other: Movement) -> bool:
        """Whether this undoes at least `TAKEN_BACK_SHARE` of the other."""
        return (
            (self.subject, self.quantity) == (other.subject, other.quantity)
            and self.amount * other.amount < 0
            and abs(self.amount) >= TAKEN_BACK_SHARE * abs(other.amount)
        )

    def repeats(self, other: Movement) -> bool:
        """Whether this is the other again, nearly."""
        return (self.subject, self.quantity) == (other.subject, other.quantity) and abs(
            self.amount - other.amount
        ) <= SAME_CHANGE_SHARE * abs(other.amount)


def movements(actions: Sequence[Action], objectives: Sequence[Objective]) -> list[Movement]:
    """What actions move, given the objectives before them."""
    moved = []
    present = {o.id: o for o in objectives}
    for action in actions:
        if isinstance(action, AddObjective):
            new = action.objective
            present.setdefault(new.id, new)
            moved.append(Movement(f"{new.structure}/{new.function}", "presence", 1.0))
            continue
        old = present[action.objective_id]
        if isinstance(action, RemoveObjective):
            moved.append(Movement(f"{old.structure}/{old.function}", "presence", -1.0))
        elif isinstance(action, ChangeWeight):
            moved.append(Movement(old.id, "weight", math.log(action.factor)))
        elif isinstance(action, ChangeDose):
            moved.append(Movement(old.id, "dose level", action.dose_gy - (old.dose_gy or 0.0)))
        else:
            moved.append(
                Movement(old.id, "volume", action.volume_percent - (old.volume_percent or 0.0))
            )
    return moved


def _oscillations(actions: Sequence[Action], view: View) -> Iterator[str]:
    """Refuse to take back what was just tried, and to try again what failed."""
    known = {o.id for o in view.best.objectives}
    if any(not isinstance(a, AddObjective) and a.objective_id not in known for a in actions):
        return
    if any(isinstance(a, ChangeWeight) and a.factor <= 0 for a in actions):
        return
    moved = movements(actions, view.best.objectives)
    for step in _recent_changes(view.steps):
        for past in _step_movements(step, view):
            if any(m.takes_back(past) for m in moved):
                fate = "was kept" if step.kept else "has just failed"
                yield (
                    f"{past.subject}: step {step.index} moved its {past.quantity} the other way "
                    f"and {fate}; taking it back makes the plan oscillate. Change something else"
                    f"{_part_taken_back(past, view)}"
                )
    for step in view.steps:
        if step.kept or not step.actions:
            continue
        failed = _step_movements(step, view)
        if len(failed) == len(moved) and all(any(m.repeats(f) for f in failed) for m in moved):
            yield f"the same changes were tried in step {step.index} and failed; try others"


def _part_taken_back(past: Movement, view: View) -> str:
    """How much of a movement may be taken back, in numbers, to end a refusal with."""
    if past.quantity == "presence":
        return ""
    old = find_objective(view.best.objectives, past.subject)
    half = -0.95 * TAKEN_BACK_SHARE * past.amount  # so that its rounded value is allowed
    if past.quantity == "weight":
        low, high = sorted((1.0, math.exp(half)))
        allowed = f"a factor from {low:.3g} to {high:.3g}"
    elif past.quantity == "dose level":
        low, high = sorted((old.dose_gy, old.dose_gy + half))
        allowed = f"a level from {low:.4g} to {high:.4g} Gy"
    else:
        low, high = sorted((old.volume_percent, old.volume_percent + half))
        allowed = f"a volume from {max(low, 0):.3g} to {min(high, 100):.3g} %"
    return f", or take back less than half of it: {allowed}"


def _recent_changes(steps: Sequence[Step]) -> list[Step]:
    """Kept steps among the last ones, and the very last whatever became of it."""
    return [s for s in steps[-OSCILLATION_STEPS:] if s.actions and (s.kept or s is steps[-1])]


def _step_movements(step: Step, view: View) -> list[Movement]:
    return movements(step.actions, view.steps[step.base].objectives)
