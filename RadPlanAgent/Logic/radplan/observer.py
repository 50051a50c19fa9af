"""Who watches planning: on a terminal, in the panel, or nobody."""

from __future__ import annotations

from .agent.trajectory import Step
from .progress import never, silent


class Observer:
    """Who watches a planning run; override what is of interest.

    `progress` and `cancel_requested` are those of `radplan.progress`.
    """

    def progress(self, stage: str, fraction: float) -> None:
        """Long work is at `fraction` of `stage`."""
        silent(stage, fraction)

    def cancel_requested(self) -> bool:
        """Whether to stop."""
        return never()

    def note(self, text: str) -> None:
        """Something a person should know."""

    def step(self, step: Step) -> None:
        """A step is done."""
