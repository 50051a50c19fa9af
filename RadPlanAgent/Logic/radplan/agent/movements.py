"""By how much actions move a plan, and whether they take back or repeat what was tried."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..optimize import Objective
from .actions import (
    Action,
    AddObjective,
    ChangeDose,
    ChangeWeight,
    RemoveObjective,
    find_objective,
)
from .trajectory import Step
from .view import View

#: Steps in which a kept change must not be taken back, and how much of it counts as taking back.
OSCILLATION_STEPS = 3
TAKEN_BACK_SHARE = 0.5
#: Changes that differ by less than this share are the same again.
SAME_CHANGE_SHARE = 0.1


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


def oscillations(actions: Sequence[Action], view: View) -> Iterator[str]:
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
