"""Requests that wait, the one that is done now, and how they are cancelled."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError

#: Largest id, so that every JSON reader keeps it exact.
LARGEST_ID = 2**53


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Parameters
    ----------
    id : int
    do : str
    fields : mapping
        All the rest.
    cancelled : threading.Event
        Set when it is to stop.
    """

    id: int
    do: str
    fields: Mapping[str, Any]
    cancelled: threading.Event = field(default_factory=threading.Event)


def parse_request(line: bytes | None) -> Request:
    """Read a request; `InputError` if the line is none."""
    if line is None:
        raise InputError("the line is too long")
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError(f"no JSON: {line[:80].decode(errors='replace')!r}") from None
    if not isinstance(values, dict):
        raise InputError("a request must be an object")
    number, do = values.pop("id", None), values.pop("do", None)
    if isinstance(number, bool) or not isinstance(number, int) or abs(number) > LARGEST_ID:
        raise InputError("a request needs an 'id' that is a whole number")
    if not isinstance(do, str):
        raise RequestError(number, "a request needs a text 'do'")
    return Request(number, do, values)


class RequestError(InputError):
    """A request that can be answered by its id, and what is wrong with it."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.id = number


class Inbox:
    """Hands requests from the thread that reads them to the one that does them."""

    def __init__(self) -> None:
        self._waiting: deque[Request] = deque()
        self._running: Request | None = None
        self._changed = threading.Condition()
        self._closed = False
        #: Id of the request to shut down, if there was one.
        self.goodbye: int | None = None

    def put(self, request: Request) -> Request | None:
        """Let a request wait; the waiting preview that it takes the place of, if it does.

        Raises
        ------
        RequestError
            If another request of that id has not ended.
        """
        with self._changed:
            if any(r.id == request.id for r in self._open()):
                raise RequestError(request.id, f"id {request.id} is in use")
            replaced = None
            if request.do == "preview":
                replaced = next((r for r in self._waiting if r.do == "preview"), None)
                if replaced is not None:
                    self._waiting.remove(replaced)
            self._waiting.append(request)
            self._changed.notify_all()
            return replaced

    def take(self) -> Request | None:
        """Wait for the next request; None when there will be none any more."""
        with self._changed:
            self._running = None
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._waiting:
                self._running = self._waiting.popleft()
            return self._running

    def cancel(self, number: int | None = None) -> list[int]:
        """Tell one request, or all that have not ended, to stop; their ids."""
        with self._changed:
            chosen = [r for r in self._open() if number in (None, r.id)]
            for request in chosen:
                request.cancelled.set()
            return [r.id for r in chosen]

    def close(self, goodbye: int | None = None) -> None:
        """Cancel all; nothing more comes in."""
        with self._changed:
            self._closed, self.goodbye = True, goodbye
            self.cancel()
            self._changed.notify_all()

    def _open(self) -> list[Request]:
        return [*([self._running] if self._running else []), *self._waiting]
