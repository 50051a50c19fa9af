"""A step as the session folder keeps it: made plain values, and read back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from .agent.actions import action_from_dict, action_to_dict
from .agent.assessment import assessment_from_dict
from .agent.trajectory import ExpectationOutcome, Step
from .errors import InputError
from .optimize import Constraint, ConstraintOutcome, Objective
from .scorecard import Scorecard

#: Achieved values of a restored step may differ from the stored ones by this much (Gy, %, cc).
RESTORE_TOLERANCE = 1e-2


@dataclass(frozen=True)
class StoredStep:
    """A step as read from its folder; `scorecard` is the stored one, as plain values."""

    step: Step
    fluence: np.ndarray
    scorecard: dict
    path: Path

    def check(self, recomputed: Scorecard) -> None:
        """Refuse a step whose stored scorecard is not what its fluence gives."""
        for stored, goal in zip(
            self.scorecard["goals"], recomputed.to_dict()["goals"], strict=True
        ):
            a, b = stored["achieved"], goal["achieved"]
            if (a is None) != (b is None) or (a is not None and abs(a - b) > RESTORE_TOLERANCE):
                raise InputError(
                    f"{self.path}: {goal['structure']} {goal['metric']} was {a} when the step was "
                    f"made and is {b} now; the case, protocol or dose engine has changed. Start a "
                    "new session"
                )


def step_to_dict(step: Step) -> dict:
    """A step for JSON, without its objectives and scorecard, which have files of their own."""
    results = step.scorecard.evaluable
    worst = min(results, key=lambda r: r.relative_margin, default=None)
    return {
        "index": step.index,
        "base": step.base,
        "phase": step.phase,
        "move": step.move,
        "title": step.title,
        "actions": [
            action_to_dict(a) | {"text": text}
            for a, text in zip(step.actions, step.changes, strict=True)
        ],
        "outcome": step.outcome,
        "kept": step.kept,
        "goals_met": step.scorecard.goals_met,
        "goals_total": len(results),
        "worst_margin": ""
        if worst is None
        else f"{worst.goal.structure} {worst.goal.metric}: {worst.margin:+.2f} {worst.goal.unit}",
        "solver": step.solver,
        "seconds": round(step.seconds, 3),
        "author": step.author,
        "note": step.note,
        "shortcoming": step.shortcoming,
        "assessment": step.assessment.to_dict() if step.assessment else None,
        "expectations": [expectation_to_dict(e) for e in step.expectations],
        "constraints": [_constraint_to_dict(o) for o in step.constraints],
    }


def expectation_to_dict(outcome: ExpectationOutcome) -> dict:
    """An expectation and what came of it, for JSON."""
    return asdict(outcome) | {"held": outcome.held}


def _expectation_from_dict(values: dict) -> ExpectationOutcome:
    return ExpectationOutcome(**{k: v for k, v in values.items() if k != "held"})


def _constraint_to_dict(outcome: ConstraintOutcome) -> dict:
    return asdict(outcome) | {"kept": outcome.kept, "text": outcome.describe()}


def _constraint_from_dict(values: dict) -> ConstraintOutcome:
    values = {k: v for k, v in values.items() if k not in ("kept", "text")}
    values["constraint"] = Constraint(**values["constraint"])
    values["conflicts"] = tuple(values["conflicts"])
    return ConstraintOutcome(**values)


def step_from_dict(values: dict, objectives: list[dict]) -> Step:
    """Read back what `step_to_dict` wrote; the scorecard is left to be computed anew."""
    try:
        actions, changes = [], []
        for item in values["actions"]:
            item = dict(item)
            changes.append(item.pop("text"))
            actions.append(action_from_dict(item))
        return Step(
            index=values["index"],
            base=values["base"],
            phase=values["phase"],
            move=values["move"],
            title=values["title"],
            actions=tuple(actions),
            changes=tuple(changes),
            objectives=tuple(Objective(**o) for o in objectives),
            scorecard=None,
            outcome=values["outcome"],
            kept=values["kept"],
            solver=values["solver"],
            seconds=values["seconds"],
            # Sessions made before these were known lack them.
            author=values.get("author", ""),
            note=values.get("note", ""),
            shortcoming=values.get("shortcoming", ""),
            assessment=assessment_from_dict(values["assessment"])
            if values.get("assessment")
            else None,
            expectations=tuple(_expectation_from_dict(e) for e in values.get("expectations", ())),
            constraints=tuple(_constraint_from_dict(o) for o in values.get("constraints", ())),
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"step {values.get('index')}: stored step is damaged ({error})") from None
