"""The only ways to change a plan: typed, bounded, each with its author and reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import get_args

import numpy as np

from ..errors import InputError
from ..optimize import Constraint, Objective
from ..protocol import Protocol

#: Objective weights stay within these.
WEIGHT_BOUNDS = (1e-3, 1e6)
#: No objective may ask for more than this share of the highest prescription.
LARGEST_DOSE_SHARE = 1.2
#: One action changes a weight by at most this factor, either way.
LARGEST_WEIGHT_FACTOR = 10.0


@dataclass(frozen=True)
class ChangeWeight:
    """Multiply an objective's weight by a factor."""

    objective_id: str
    factor: float
    reason: str
    author: str
    kind: str = "change_weight"


@dataclass(frozen=True)
class ChangeDose:
    """Set an objective's dose level, Gy for the whole course."""

    objective_id: str
    dose_gy: float
    reason: str
    author: str
    kind: str = "change_dose"


@dataclass(frozen=True)
class ChangeVolume:
    """Set an objective's volume, percent of the structure."""

    objective_id: str
    volume_percent: float
    reason: str
    author: str
    kind: str = "change_volume"


@dataclass(frozen=True)
class AddObjective:
    """Add an objective."""

    objective: Objective
    reason: str
    author: str
    kind: str = "add_objective"


@dataclass(frozen=True)
class RemoveObjective:
    """Remove an objective."""

    objective_id: str
    reason: str
    author: str
    kind: str = "remove_objective"


@dataclass(frozen=True)
class SetConstraint:
    """Have every optimization from now on keep to a constraint; a person's action only.

    It takes the place of one on the same point of the same structure.
    """

    constraint: Constraint
    reason: str
    author: str
    kind: str = "set_constraint"


@dataclass(frozen=True)
class LiftConstraint:
    """Let a constraint go; a person's action only."""

    constraint: Constraint
    reason: str
    author: str
    kind: str = "lift_constraint"


ObjectiveAction = ChangeWeight | ChangeDose | ChangeVolume | AddObjective | RemoveObjective
ConstraintAction = SetConstraint | LiftConstraint
Action = ObjectiveAction | ConstraintAction
ACTION_TYPES: dict[str, type] = {t.kind: t for t in get_args(Action)}


def largest_dose_gy_of(protocol: Protocol) -> float:
    """The highest dose level that an objective or a constraint may have."""
    return LARGEST_DOSE_SHARE * protocol.highest.dose_gy


def action_to_dict(action: Action) -> dict:
    """Plain values for JSON."""
    return asdict(action)


def action_from_dict(values: dict) -> Action:
    """Read back what `action_to_dict` wrote; `InputError` if it is no action."""
    values = dict(values)
    action_type = ACTION_TYPES.get(values.get("kind", ""))
    if action_type is None:
        raise InputError(
            f"action kind {values.get('kind')!r} is unknown; there are {', '.join(ACTION_TYPES)}"
        )
    try:
        if action_type is AddObjective:
            values["objective"] = Objective(**values["objective"])
        elif action_type in get_args(ConstraintAction):
            values["constraint"] = Constraint(**values["constraint"])
        return action_type(**values)
    except (KeyError, TypeError) as error:
        raise InputError(f"action {values.get('kind')}: {error}") from None


def find_objective(objectives: Sequence[Objective], objective_id: str) -> Objective:
    """The objective of that id; `InputError` naming those that exist otherwise."""
    for objective in objectives:
        if objective.id == objective_id:
            return objective
    known = ", ".join(o.id for o in objectives)
    raise InputError(f"there is no objective {objective_id!r}; there are {known}")


def with_own_ids(actions: Sequence[Action], taken: Iterable[str]) -> tuple[Action, ...]:
    """The actions, those that add objectives with ids that neither `taken` nor another has."""
    taken = set(taken)
    result = []
    for action in actions:
        if isinstance(action, AddObjective):
            action = replace(action, objective=action.objective.with_free_id(taken))
            taken.add(action.objective.id)
        result.append(action)
    return tuple(result)


def describe_action(
    action: Action, objectives: Sequence[Objective], *, by_id: bool = False
) -> str:
    """What the action changes, in plain words, given the objectives before it.

    With `by_id` the objective is told by its id, which tells two of one structure and function
    apart.
    """

    def whole(objective: Objective) -> str:
        return f"{objective.id} ({objective.describe()})" if by_id else objective.describe()

    if isinstance(action, ConstraintAction):
        return f"{action.kind.replace('_', ' ')} {action.constraint.describe()}"
    if isinstance(action, AddObjective):
        return f"add {whole(action.objective)}"
    objective = find_objective(objectives, action.objective_id)
    if isinstance(action, RemoveObjective):
        return f"remove {whole(objective)}"
    subject = f"{objective.structure} {objective.function.replace('_', ' ')}"
    if by_id:
        subject = objective.id
    if isinstance(action, ChangeWeight):
        new = objective.weight * action.factor
        return f"{subject}: weight {objective.weight:.3g} → {new:.3g}"
    if isinstance(action, ChangeDose):
        return f"{subject}: dose {objective.dose_gy:.4g} → {action.dose_gy:.4g} Gy"
    return f"{subject}: volume {objective.volume_percent:.3g} → {action.volume_percent:.3g} %"


def apply_actions(
    objectives: Sequence[Objective],
    actions: Sequence[Action],
    *,
    structures: Sequence[str],
    largest_dose_gy: float,
) -> tuple[tuple[Objective, ...], tuple[str, ...]]:
    """The objectives after the actions, and what each action changed, in plain words.

    Constraints are set and lifted by `constraints_after`.

    Parameters
    ----------
    objectives, actions
        Applied in order.
    structures : sequence of str
        Names that new objectives may use.
    largest_dose_gy : float
        No dose level may exceed this.

    Raises
    ------
    InputError
        If an action names something unknown or leaves its bounds; nothing is changed then.
    """
    current, changes = list(objectives), []
    for action in actions:
        before = tuple(current)
        if isinstance(action, ConstraintAction):
            changes.append(describe_action(action, before))
            continue
        if isinstance(action, AddObjective):
            new = action.objective
            if not new.on_fluence:
                _check_structure("objective", new.structure, structures)
            if any(o.id == new.id for o in current):
                raise InputError(f"there is already an objective {new.id!r}; change it instead")
            current.append(new)
        elif isinstance(action, RemoveObjective):
            current.remove(find_objective(current, action.objective_id))
        else:
            old = find_objective(current, action.objective_id)
            current[current.index(old)] = new = _changed(old, action)
        if not isinstance(action, RemoveObjective):
            _check_bounds(new, largest_dose_gy)
        changes.append(describe_action(action, before))
    if not current:
        raise InputError("the actions would remove every objective")
    return tuple(current), tuple(changes)


def constraints_after(
    constraints: Sequence[Constraint],
    actions: Sequence[Action],
    *,
    structures: Sequence[str],
    largest_dose_gy: float,
) -> tuple[Constraint, ...]:
    """The constraints after the actions; parameters and errors as of `apply_actions`."""
    current = {c.id: c for c in constraints}
    for action in actions:
        if not isinstance(action, ConstraintAction):
            continue
        constraint = action.constraint
        if isinstance(action, LiftConstraint):
            if current.get(constraint.id) != constraint:
                known = "; ".join(c.describe() for c in current.values()) or "none"
                raise InputError(
                    f"there is no constraint {constraint.describe()}; there are: {known}"
                )
            del current[constraint.id]
            continue
        _check_structure("constraint", constraint.structure, structures)
        if constraint.dose_gy > largest_dose_gy:
            raise InputError(
                f"constraint {constraint.describe()} is above the {largest_dose_gy:g} Gy that a "
                "constraint may allow or ask for"
            )
        current[constraint.id] = constraint
    return tuple(current.values())


def _check_structure(what: str, structure: str, structures: Sequence[str]) -> None:
    if structure not in structures:
        raise InputError(
            f"{what} for unknown structure {structure!r}; there are {', '.join(structures)}"
        )


def _changed(objective: Objective, action: ObjectiveAction) -> Objective:
    if isinstance(action, ChangeWeight):
        factor = action.factor
        if not (np.isfinite(factor) and factor > 0):
            raise InputError(f"{objective.id}: weight factor must be a positive number")
        if max(factor, 1 / factor) > LARGEST_WEIGHT_FACTOR * (1 + 1e-9):
            raise InputError(
                f"{objective.id}: weight factor {factor:g} is beyond {LARGEST_WEIGHT_FACTOR:g}"
            )
        return replace(objective, weight=objective.weight * factor)
    if isinstance(action, ChangeDose):
        if objective.dose_gy is None:
            raise InputError(f"{objective.id}: {objective.function} has no dose level")
        return replace(objective, dose_gy=action.dose_gy)
    if objective.volume_percent is None:
        raise InputError(f"{objective.id}: {objective.function} has no volume")
    return replace(objective, volume_percent=action.volume_percent)


def _check_bounds(objective: Objective, largest_dose_gy: float) -> None:
    low, high = WEIGHT_BOUNDS
    if not low <= objective.weight <= high:
        raise InputError(
            f"{objective.id}: weight {objective.weight:g} is outside {low:g} … {high:g}"
        )
    if objective.dose_gy is not None and objective.dose_gy > largest_dose_gy:
        raise InputError(
            f"{objective.id}: dose {objective.dose_gy:g} Gy is above the {largest_dose_gy:g} Gy "
            "that an objective may ask for"
        )
