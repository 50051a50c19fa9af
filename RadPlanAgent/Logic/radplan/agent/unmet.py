"""Which goals a plan misses, in words."""

from __future__ import annotations

from collections.abc import Sequence

from .quality import compare
from .trajectory import Step


def unmet_goals(best: Step, steps: Sequence[Step]) -> list[str]:
    """One sentence per constraint that is not kept, and per unmet goal.

    By how much; of a goal also what pursuing it further cost.
    """
    sentences = [o.describe() for o in best.constraints if not o.kept]
    for result in best.scorecard.goals:
        if result.met is not False:
            continue
        achieved = f"{result.achieved:.1f} {result.goal.unit}".rstrip()
        text = f"{result.goal.label} is not met ({achieved}, priority {result.goal.priority})"
        tried = [
            s
            for s in steps
            if s.phase == "goals" and any(result.goal.label in t for t in _pursued(s))
        ]
        if tried:
            last, base = tried[-1], steps[tried[-1].base]
            text += f"; pushing it further: {compare(base.scorecard, last.scorecard)}"
        sentences.append(text)
    return sentences


def _pursued(step: Step) -> list[str]:
    """What a step says of the goals that it pursues."""
    improved = [e.goal for e in step.expectations if e.effect == "better"]
    return [step.move, *(a.reason for a in step.actions), *improved]
