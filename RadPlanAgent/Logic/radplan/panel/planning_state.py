"""The states of planning as the panel shows them, and what leads from one to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .i18n import _

IDLE, PREPARING, RUNNING = "idle", "preparing", "running"
CANCELLING, DONE, FAILED = "cancelling", "done", "failed"
#: States in which the worker is at work.
BUSY = (PREPARING, RUNNING, CANCELLING)
#: Where each state may lead.
TRANSITIONS: dict[str, tuple[str, ...]] = {
    IDLE: (PREPARING, RUNNING, FAILED),
    PREPARING: (RUNNING, CANCELLING, DONE, FAILED, IDLE),
    RUNNING: (CANCELLING, DONE, FAILED, IDLE),
    CANCELLING: (DONE, FAILED, IDLE),
    DONE: (PREPARING, RUNNING, FAILED, IDLE),
    FAILED: (PREPARING, RUNNING, IDLE),
}
#: Requests whose failure leaves no session that could be gone on with in this process.
OPENING = ("plan", "resume", "open")


@dataclass(frozen=True)
class PlanningState:
    """What planning is doing, and what a person is told of it.

    Parameters
    ----------
    phase : str
        One of the states above.
    stage : str
        What is being done.
    fraction : float
        How much of it is done, 0 … 1.
    message : str
        Why it is done or has failed.
    has_plan : bool
        Whether there is a step to look at, also after a failure.
    """

    phase: str = IDLE
    stage: str = ""
    fraction: float = 0.0
    message: str = ""
    has_plan: bool = False

    @property
    def is_busy(self) -> bool:
        """Whether to wait or to cancel."""
        return self.phase in BUSY

    def preparing(self, stage: str) -> PlanningState:
        """A person has pressed Plan: the scene is read."""
        return self._to(PREPARING, stage)

    def running(self, stage: str) -> PlanningState:
        """The worker has been asked for something that others wait for."""
        return self._to(RUNNING, stage)

    def cancelling(self) -> PlanningState:
        """A person has pressed Cancel; twice, or with nothing under way, does nothing."""
        if self.phase not in (PREPARING, RUNNING):
            return self
        return self._to(CANCELLING, _("stopping"))

    def progressed(self, stage: str, fraction: float) -> PlanningState:
        """Work goes on; while it is being cancelled, nobody wants to know."""
        if self.phase not in (PREPARING, RUNNING):
            return self
        return replace(self, stage=stage, fraction=fraction)

    def with_plan(self) -> PlanningState:
        """A step has arrived."""
        return replace(self, has_plan=True)

    def done(self, message: str = "") -> PlanningState:
        """What was asked for is done."""
        return self._to(DONE if self.has_plan else IDLE, message=message)

    def refused(self, do: str, event: Mapping) -> PlanningState:
        """What was asked for ended in ``failed``.

        Parameters
        ----------
        do : str
            What it was.
        event : mapping
            The event.
        """
        if event.get("kind") == "cancelled":
            kept = " " + _("Finished steps are kept.") if self.has_plan else ""
            return self.done(_("Cancelled.") + kept)
        if do in OPENING or event.get("kind") in ("crash", "internal", "disk"):
            return self._to(FAILED, message=event["error"])
        # The plan is as it was: what a person wanted of it was not possible.
        return self.done(event["error"])

    def lost(self, text: str) -> PlanningState:
        """The worker has ended by itself."""
        resume = " " + _("All finished steps are kept: press Resume to go on.")
        return replace(
            self, phase=FAILED, stage="", fraction=0.0, message=text + resume * self.has_plan
        )

    def _to(self, phase: str, stage: str = "", message: str = "") -> PlanningState:
        if phase != self.phase and phase not in TRANSITIONS[self.phase]:
            raise ValueError(f"planning is {self.phase}, which does not lead to {phase}")
        return replace(self, phase=phase, stage=stage, fraction=0.0, message=message)
