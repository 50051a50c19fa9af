"""How planning tells about itself while a request is done, and is stopped."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..agent.trajectory import Step
from ..observer import Observer
from ..progress import check_cancelled
from .inbox import Request
from .lines import EventWriter

#: Seconds between two reports of one stage.
REPORT_INTERVAL_S = 0.1


class Watcher(Observer):
    """Turns what planning says into events of one request.

    Parameters
    ----------
    request : Request
    emit : EventWriter
    on_step : callable
        Told of every finished step.
    """

    def __init__(
        self, request: Request, emit: EventWriter, on_step: Callable[[Step], None]
    ) -> None:
        self._request, self._emit, self._on_step = request, emit, on_step
        self._told, self._reported = ("", 0.0), 0.0

    def cancel_requested(self) -> bool:
        """Whether the request was cancelled."""
        return self._request.cancelled.is_set()

    def progress(self, stage: str, fraction: float) -> None:
        """Tell where the work is; also the place where work stops that does not ask by itself."""
        check_cancelled(self.cancel_requested)
        now, share = time.monotonic(), round(min(max(float(fraction), 0.0), 1.0), 3)
        if (stage, share) == self._told:
            return
        if stage == self._told[0] and share < 1 and now - self._reported < REPORT_INTERVAL_S:
            return
        self._told, self._reported = (stage, share), now
        self._emit("progress", id=self._request.id, stage=stage, fraction=share)

    def note(self, text: str) -> None:
        """Pass a note on."""
        self._emit("note", id=self._request.id, text=text)

    def step(self, step: Step) -> None:
        """Pass a finished step on."""
        self._on_step(step)
