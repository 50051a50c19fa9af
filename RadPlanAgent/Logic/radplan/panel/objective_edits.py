"""The objectives table: what was edited by hand, as the actions that make it so.

Its rows are objectives and constraints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..agent.actions import LARGEST_WEIGHT_FACTOR, WEIGHT_BOUNDS
from ..errors import InputError
from ..optimize import Constraint, Objective
from .i18n import _

#: Columns that can be edited, in the table's order.
FIELDS = ("dose_gy", "volume_percent", "weight")
Row = Objective | Constraint


@dataclass(frozen=True)
class ObjectiveEdits:
    """Objectives and constraints of the current plan and what a person wants instead.

    Parameters
    ----------
    objectives : tuple of Objective or Constraint
        As the plan was made with.
    changed : mapping
        Those that were edited, by id.
    added : tuple of Objective or Constraint
    removed : frozenset of str
        Ids.
    """

    objectives: tuple[Row, ...] = ()
    changed: Mapping[str, Row] = field(default_factory=dict)
    added: tuple[Row, ...] = ()
    removed: frozenset[str] = frozenset()

    @property
    def rows(self) -> tuple[Row, ...]:
        """What the table shows: objectives as edited, then added ones."""
        return (*(self.changed.get(o.id, o) for o in self.objectives), *self.added)

    @property
    def count(self) -> int:
        """How many objectives differ from the plan's."""
        return len(self.changed) + len(self.added) + len(self.removed)

    def edited(self, objective_id: str, name: str, value: float) -> ObjectiveEdits:
        """After a number was entered.

        Raises
        ------
        InputError
            If the objective does not take that number.
        """
        old = next(o for o in self.rows if o.id == objective_id)
        if not can_edit(old, name):
            raise InputError(_("this objective has no such number"))
        new = replace(old, **{name: value})
        if name == "weight" and not WEIGHT_BOUNDS[0] <= value <= WEIGHT_BOUNDS[1]:
            raise InputError(
                _("the weight must lie in {low:g} … {high:g}").format(
                    low=WEIGHT_BOUNDS[0], high=WEIGHT_BOUNDS[1]
                )
            )
        if old in self.added:
            return replace(self, added=tuple(new if o is old else o for o in self.added))
        changed = {**self.changed, objective_id: new}
        if new == self._of_plan(objective_id):
            del changed[objective_id]
        return replace(self, changed=changed)

    def with_added(self, objective: Row) -> ObjectiveEdits:
        """After an objective was added; its id is made unique.

        A constraint on what another one bounds takes its place.
        """
        if isinstance(objective, Constraint) and objective.id in {o.id for o in self.rows}:
            kept = replace(self, removed=self.removed - {objective.id})
            return kept.edited(objective.id, "dose_gy", objective.dose_gy)
        if isinstance(objective, Objective):
            objective = objective.with_free_id({o.id for o in self.rows})
        return replace(self, added=(*self.added, objective))

    def without(self, objective_id: str) -> ObjectiveEdits:
        """After an objective was removed, or its removal taken back."""
        if any(o.id == objective_id for o in self.added):
            return replace(self, added=tuple(o for o in self.added if o.id != objective_id))
        return replace(self, removed=self.removed ^ {objective_id})

    def actions(self) -> list[dict]:
        """The changes as plain actions, without reason and author."""
        actions: list[dict] = []
        for objective_id, new in self.changed.items():
            if objective_id in self.removed:
                continue
            old = self._of_plan(objective_id)
            if isinstance(new, Constraint):
                actions.append(_constraint_action("set_constraint", new))
                continue
            if new.dose_gy != old.dose_gy:
                actions.append(_action("change_dose", old, dose_gy=new.dose_gy))
            if new.volume_percent != old.volume_percent:
                actions.append(_action("change_volume", old, volume_percent=new.volume_percent))
            actions += weight_actions(old, new.weight / old.weight)
        for new in self.added:
            if isinstance(new, Constraint):
                actions.append(_constraint_action("set_constraint", new))
            else:
                actions.append({"kind": "add_objective", "objective": new.to_dict()})
        for old in self.objectives:
            if old.id in self.removed:
                if isinstance(old, Constraint):
                    actions.append(_constraint_action("lift_constraint", old))
                else:
                    actions.append(_action("remove_objective", old))
        return actions

    def _of_plan(self, objective_id: str) -> Row:
        return next(o for o in self.objectives if o.id == objective_id)


def can_edit(row: Row, name: str) -> bool:
    """Whether a number of a row can be edited; another volume is another constraint."""
    if isinstance(row, Constraint):
        return name == "dose_gy"
    return getattr(row, name) is not None


def _constraint_action(kind: str, constraint: Constraint) -> dict:
    return {"kind": kind, "constraint": constraint.to_dict()}


def _action(kind: str, objective: Objective, **values: float) -> dict:
    return {"kind": kind, "objective_id": objective.id, **values}


def weight_actions(objective: Objective, factor: float) -> list[dict]:
    """Actions that multiply a weight, as many as the bound on one factor needs."""
    actions = []
    while abs(factor - 1.0) > 1e-9:
        part = min(max(factor, 1 / LARGEST_WEIGHT_FACTOR), LARGEST_WEIGHT_FACTOR)
        actions.append(_action("change_weight", objective, factor=part))
        factor /= part
    return actions


def objectives_from(rows: Sequence[Mapping]) -> tuple[Objective, ...]:
    """Objectives from a step's ``objectives.json``."""
    return tuple(Objective(**row) for row in rows)


def constraints_from(rows: Sequence[Mapping]) -> tuple[Constraint, ...]:
    """Constraints from what the worker tells of a step, or of a preview."""
    return tuple(Constraint(**row["constraint"]) for row in rows)
