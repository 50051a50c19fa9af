"""The objectives table: what was edited by hand, as the actions that make it so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..agent.actions import LARGEST_WEIGHT_FACTOR, WEIGHT_BOUNDS
from ..errors import InputError
from ..optimize import Objective
from .i18n import _

#: Columns that can be edited, in the table's order.
FIELDS = ("dose_gy", "volume_percent", "weight")


@dataclass(frozen=True)
class ObjectiveEdits:
    """Objectives of the current plan and what a person wants instead.

    Parameters
    ----------
    objectives : tuple of Objective
        As the plan was made with.
    changed : mapping
        Objectives as edited, by id.
    added : tuple of Objective
    removed : frozenset of str
        Ids.
    """

    objectives: tuple[Objective, ...] = ()
    changed: Mapping[str, Objective] = field(default_factory=dict)
    added: tuple[Objective, ...] = ()
    removed: frozenset[str] = frozenset()

    @property
    def rows(self) -> tuple[Objective, ...]:
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
        if getattr(old, name) is None:
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

    def with_added(self, objective: Objective) -> ObjectiveEdits:
        """After an objective was added; its id is made unique."""
        taken, base, number = {o.id for o in self.rows}, objective.id, 1
        while objective.id in taken:
            number += 1
            objective = replace(objective, id=f"{base}#{number}")
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
            if new.dose_gy != old.dose_gy:
                actions.append(_action("change_dose", old, dose_gy=new.dose_gy))
            if new.volume_percent != old.volume_percent:
                actions.append(_action("change_volume", old, volume_percent=new.volume_percent))
            actions += weight_actions(old, new.weight / old.weight)
        actions += [{"kind": "add_objective", "objective": o.to_dict()} for o in self.added]
        gone = [o for o in self.objectives if o.id in self.removed]
        actions += [_action("remove_objective", o) for o in gone]
        return actions

    def _of_plan(self, objective_id: str) -> Objective:
        return next(o for o in self.objectives if o.id == objective_id)


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
