"""Which of a session's steps holds the current plan, and which did before: undo and redo.

The audit log is where this is kept: a line is there as a whole or not at all, so that after a
crash the current plan is the one of before or after the last change, and never a third one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from .agent.trajectory import UNDONE_BY_PERSON, Step
from .errors import InputError

#: Kind of the audit lines that tell of a person who made another step the current plan.
CURRENT = "current"


@dataclass(frozen=True)
class PlanHistory:
    """Steps in the order in which they became the current plan.

    Parameters
    ----------
    visited : tuple of int
        Index of each step.
    position : int
        Where in `visited` the current plan is; steps after it can be redone.
    """

    visited: tuple[int, ...] = ()
    position: int = -1

    @property
    def current(self) -> int | None:
        """Step of the current plan; None before the first."""
        return self.visited[self.position] if self.visited else None

    @property
    def can_undo(self) -> bool:
        """Whether there was another plan before."""
        return self.position > 0

    @property
    def can_redo(self) -> bool:
        """Whether something was undone that nothing has replaced since."""
        return self.position < len(self.visited) - 1

    def select(self, step: int) -> PlanHistory:
        """Make a step the current plan; what was undone before cannot be redone any more."""
        visited = (*self.visited[: self.position + 1], step)
        return PlanHistory(visited, len(visited) - 1)

    def undo(self) -> PlanHistory:
        """Go back to the plan before."""
        if not self.can_undo:
            raise InputError("there is nothing to undo: no plan was current before this one")
        return replace(self, position=self.position - 1)

    def redo(self) -> PlanHistory:
        """Take the last undo back."""
        if not self.can_redo:
            raise InputError("there is nothing to redo: nothing was undone since the last change")
        return replace(self, position=self.position + 1)

    def moved(self, how: str, step: int) -> PlanHistory:
        """Move as an audit line says: ``undo``, ``redo`` or ``select``, to a step."""
        moves = {"undo": self.undo, "redo": self.redo, "select": lambda: self.select(step)}
        history = moves[how]()
        if history.current != step:
            raise InputError(f"{how} leads to step {history.current}, not to step {step}")
        return history


def history_of(entries: Iterable[Mapping]) -> PlanHistory:
    """The history that an audit log tells of.

    Raises
    ------
    InputError
        If its lines contradict each other.
    """
    history = PlanHistory()
    for entry in entries:
        data = entry["data"]
        if entry["kind"] == "step" and data["kept"]:
            history = history.select(data["index"])
        elif entry["kind"] == CURRENT:
            try:
                history = history.moved(data["how"], data["step"])
            except (InputError, KeyError) as error:
                raise InputError(f"audit log, line {entry['index'] + 1}: {error}") from None
    return history


def with_undone(steps: Sequence[Step], current: Step) -> tuple[Step, ...]:
    """The steps as planners see them: what a person went back on counts as undone."""
    leading, step = set(), current
    while step is not None:
        leading.add(step.index)
        step = None if step.base is None else steps[step.base]
    return tuple(
        replace(s, kept=False, shortcoming=UNDONE_BY_PERSON)
        if s.kept and s.index not in leading
        else s
        for s in steps
    )
