"""How long work tells about itself and is stopped, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable

from .errors import CancelledError

#: Called as ``report(stage, fraction)``: what is being done, and how much of it is done (0 … 1).
ProgressReport = Callable[[str, float], None]
#: Called often; returns True when the person wants to stop.
CancelRequested = Callable[[], bool]


def silent(stage: str, fraction: float) -> None:
    """Report to nobody."""


def never() -> bool:
    """Never ask to stop."""
    return False


def check_cancelled(cancel_requested: CancelRequested) -> None:
    """Raise `CancelledError` if the person asked to stop."""
    if cancel_requested():
        raise CancelledError("cancelled on request")
