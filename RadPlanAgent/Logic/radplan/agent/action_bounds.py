"""What bounds the actions of a language model must keep to, each with what is allowed instead.

Beyond those of every action (`actions`): how far one step may go, and that no target is given up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..case import StructureType
from ..errors import InputError
from ..optimize import Objective
from .actions import (
    LARGEST_WEIGHT_FACTOR,
    Action,
    AddObjective,
    ChangeDose,
    ChangeWeight,
    apply_actions,
    find_objective,
    largest_dose_gy_of,
    with_own_ids,
)
from .initial import UNDERDOSE_WEIGHT
from .view import View

#: A dose level moves by no more than this share of the highest prescription in one step.
LARGEST_LEVEL_STEP = 0.15
#: The weight of the primary target's underdosing objective stays above this share of its first.
PRIMARY_WEIGHT_FLOOR = 0.25 * UNDERDOSE_WEIGHT

_RAISES_DOSE = ("squared_underdosing", "min_dvh", "dose_variance")


def repeated(actions: Sequence[Action]) -> Iterator[str]:
    """Refuse two changes of one quantity of one objective."""
    seen = set()
    for action in actions:
        if isinstance(action, AddObjective):
            continue
        key = action.kind, action.objective_id
        if key in seen:
            yield f"two actions change the same of {action.objective_id}; give one"
        seen.add(key)


def broken_bounds(actions: Sequence[Action], view: View) -> list[str]:
    """What bounds the actions break: each by itself, then the plan that the others lead to."""
    refusals = [_refusal(action, view) for action in actions]
    problems = [text for text in refusals if text]
    try:
        after = _after([a for a, text in zip(actions, refusals, strict=True) if not text], view)
    except InputError as error:  # as when an objective is removed and then changed
        return [*problems, str(error)]
    before = view.best.objectives
    return [
        *problems,
        *_weakened_target(before, after, view),
        *_starved_targets(before, after, view),
    ]


def _refusal(action: Action, view: View) -> str:
    """Why an action cannot be taken by itself; empty if it can."""
    if text := _too_large(action, view):
        return text
    try:
        _after([action], view)
    except InputError as error:
        return str(error)
    return ""


def _after(actions: Sequence[Action], view: View) -> tuple[Objective, ...]:
    """The objectives after the actions; `InputError` if these cannot be applied."""
    before = view.best.objectives
    after, _ = apply_actions(
        before,
        with_own_ids(actions, {o.id for o in before}),
        structures=view.structures,
        largest_dose_gy=largest_dose_gy_of(view.protocol),
    )
    return after


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
    high = min(largest_dose_gy_of(view.protocol), old.dose_gy + largest)
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
