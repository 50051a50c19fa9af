"""What the steps so far have taught, in words for a planner that is a model.

Made from the steps alone, so that a resumed session remembers what an uninterrupted one would.
The last steps are told in full; older ones are condensed into what each kind of change did.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .changes import elsewhere_text, goals_text
from .facts import table
from .movements import Movement, movements
from .trajectory import Step
from .view import View

#: Steps that are told in full.
LENGTH = 4


def memory_text(view: View, length: int = LENGTH) -> str:
    """The memory as a planner reads it.

    Parameters
    ----------
    view : View
    length : int
        Steps that are told in full.
    """
    tried = [s for s in view.steps if s.base is not None]
    best = view.best
    kept = [s.index for s in tried if s.kept]
    since = [s for s in tried if s.index > best.index]
    lines = [
        f"The best plan is step {best.index}; all changes are applied to it. "
        f"Steps tried: {len(tried)}, kept: {', '.join(map(str, kept)) or 'none'}; "
        f"undone since the best plan: {len(since)}.",
    ]
    older, recent = tried[: max(0, len(tried) - length)], tried[-length:] if length else []
    if older:
        lines += ["", "Older steps, condensed:", *_condensed(older, view)]
    # One step on the first plan tells the same itself.
    if tried and best.index and not (best.base == 0 and best in recent):
        first = view.steps[0]
        lines += ["", f"Best plan against the first plan: {goals_text(first, best, view)}"]
        lines += _elsewhere(first, best, view)
    for step in recent:
        lines += ["", *_told(step, view)]
    if not tried:
        lines += ["", "Nothing was tried yet: this is the first plan."]
    return "\n".join(lines)


def _told(step: Step, view: View) -> list[str]:
    """One step in full."""
    base = view.steps[step.base]
    who = "" if step.author == "llm" else " (by the built-in rules)"
    title = f": {step.title}" if step.title else ""
    lines = [f"Step {step.index} on step {step.base}{who}{title} - {fate(step)}"]
    problems = step.assessment.problems if step.assessment else ()
    if problems:
        seen = "; ".join(f"{p.structure}: {p.kind}" for p in problems[:3])
        lines.append(f"  seen before: {step.assessment.verdict}; {seen}")
    for action, change in zip(step.actions, step.changes, strict=True):
        reason = f" (because: {action.reason})" if action.reason else ""
        lines.append(f"  changed: {change}{reason}")
    lines.append(f"  did: {goals_text(base, step, view)}")
    lines += _elsewhere(base, step, view)
    # Several actions may expect the same.
    seen = {(e.goal, e.effect): e for e in step.expectations if e.observed}.values()
    wrong = [e for e in seen if not e.held]
    if seen:
        lines.append(f"  expected: {len(seen) - len(wrong)} of {len(seen)} came true")
        labels = {g.label: view.goals.token(g) for g in view.protocol.goals}
        told = dict.fromkeys(
            f"{labels[e.goal]} expected {e.effect}, was {e.observed}" for e in wrong
        )
        if told:
            lines[-1] += f"; {'; '.join(told)}"
    return lines


def _elsewhere(before: Step, after: Step, view: View) -> list[str]:
    """The line of what has no goal, if there is anything to tell."""
    text = elsewhere_text(before, after, view)
    return [f"  without a goal: {text}"] if text else []


def fate(step: Step) -> str:
    """What became of a step, in a few words."""
    if step.kept:
        return "KEPT, it became the best plan"
    return f"UNDONE, {step.shortcoming}" if step.shortcoming else "UNDONE, no better"


def _condensed(steps: Sequence[Step], view: View) -> list[str]:
    """One line per objective and direction: steps in which it was kept, and in which not."""
    fates: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
    for step in steps:
        moved = movements(step.actions, view.steps[step.base].objectives)
        for key in dict.fromkeys(_described(moved)):
            worked, failed = fates.setdefault(key, ([], []))
            (worked if step.kept else failed).append(step.index)
    rows = [
        [subject, change, _listed(worked), _listed(failed)]
        for (subject, change), (worked, failed) in fates.items()
    ]
    return table(["objective", "change", "kept in steps", "undone in steps"], rows).splitlines()


def _described(moved: Iterable[Movement]) -> Iterable[tuple[str, str]]:
    for movement in moved:
        up = movement.amount > 0
        if movement.quantity == "presence":
            yield movement.subject, "added" if up else "removed"
        else:
            yield movement.subject, f"{movement.quantity} {'raised' if up else 'lowered'}"


def _listed(indices: Sequence[int]) -> str:
    return ", ".join(map(str, indices)) or "-"
