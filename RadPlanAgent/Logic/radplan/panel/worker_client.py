"""The client of the worker process: requests out, answers and events in. No Qt.

How the process is run is somebody else's business: a `Process` is given (`process.QtProcess` in
the panel, `pipe_process.PipeProcess` without Qt), and tells bytes as they come.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .i18n import _

#: The way of talking that this client knows; the worker says its own in answer to ``hello``.
PROTOCOL = 1
#: A worker that has not stopped so long after it was told to is ended by force, seconds.
GRACE_S = 5.0
#: The same while it only reads or prepares, where nothing is lost and not all work can be stopped.
READING_GRACE_S = 1.0
#: Requests that begin with reading.
READING = ("plan", "open")
#: Lines of the worker's log that are kept to explain a crash.
LOG_LINES = 200
SHOWN_LOG_LINES = 8
#: A worker that sends a longer line is not one.
MOST_BYTES = 64 << 20
ANSWERS = ("done", "failed")
_ENDED = _("The planning process was ended.")
#: Kind of the answers that the client gives itself when the worker is gone.
CRASH = "crash"


class Process(Protocol):
    """A process that talks over its standard streams."""

    def start(
        self,
        on_output: Callable[[bytes], None],
        on_log: Callable[[bytes], None],
        on_ended: Callable[[int], None],
    ) -> None:
        """Start it; `on_ended` is told the exit status once, also if it cannot be started."""

    def write(self, data: bytes) -> None:
        """Send bytes to its standard input, without waiting."""

    def kill(self) -> None:
        """End it at once, and all that it started."""

    def wait_for_end(self, milliseconds: int) -> bool:
        """Wait until it has ended; whether it has."""


@dataclass
class _Open:
    """A request that has not ended."""

    do: str
    on_done: Callable[[Mapping], None] | None
    on_failed: Callable[[Mapping], None] | None
    #: Whether it has made a step.
    made_step: bool = False


class WorkerClient:
    """Talks to one worker process at a time, and starts another when it is asked for something.

    Parameters
    ----------
    make_process : callable
        Gives a new process, not yet started.
    on_event : callable
        Told every event that answers no request: ``progress``, ``note``, ``step``, ``preview``,
        ``stopped``; and what ends a request, after its own callback.
    on_lost : callable
        Told why, in words for people, when the worker has ended without being asked to.
    call_later : callable, optional
        ``call_later(seconds, function)``; without it, a worker that does not stop is not ended by
        force.
    """

    def __init__(
        self,
        make_process: Callable[[], Process],
        on_event: Callable[[Mapping], None] = lambda event: None,
        on_lost: Callable[[str], None] = lambda text: None,
        call_later: Callable[[float, Callable[[], None]], None] | None = None,
    ) -> None:
        self._make_process = make_process
        self.on_event, self.on_lost = on_event, on_lost
        self._call_later = call_later or (lambda seconds, function: None)
        self._process: Process | None = None
        self._open: dict[int, _Open] = {}
        self._last_id = 0
        self._rest = b""
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._log_rest = b""
        self._stopping = False
        #: What the worker answered to ``hello``; empty before.
        self.about: Mapping[str, Any] = {}

    @property
    def is_running(self) -> bool:
        """Whether there is a worker."""
        return self._process is not None

    @property
    def busy_with(self) -> tuple[str, ...]:
        """Requests that have not ended, oldest first."""
        return tuple(request.do for request in self._open.values())

    @property
    def log(self) -> str:
        """The last lines of the worker's log."""
        return "\n".join(self._log)

    def start(self) -> None:
        """Start a worker if there is none, and ask it who it is."""
        if self._process is not None and not self._stopping:
            return
        self._fail_all(_ENDED)
        self._forget()
        process = self._process = self._make_process()
        # What a process says that was given up since is not heard.
        process.start(
            lambda data: self._process is process and self._hear(data),
            lambda data: self._process is process and self._hear_log(data),
            lambda code: self._process is process and self._ended(code),
        )
        self._send("hello", self._introduced, None, {})

    def request(
        self,
        do: str,
        on_done: Callable[[Mapping], None] | None = None,
        on_failed: Callable[[Mapping], None] | None = None,
        **fields: Any,
    ) -> int:
        """Ask the worker for something, starting it if it does not run.

        Parameters
        ----------
        do : str
            See `radplan.worker.desk.Desk`.
        on_done, on_failed : callable, optional
            Told the event that ends the request. Exactly one of them is called, once, also when
            the worker crashes (kind ``crash``).
        **fields
            JSON values.

        Returns
        -------
        int
            The request's id, which its events carry.
        """
        self.start()
        return self._send(do, on_done, on_failed, fields)

    def _send(
        self,
        do: str,
        on_done: Callable[[Mapping], None] | None,
        on_failed: Callable[[Mapping], None] | None,
        fields: Mapping[str, Any],
    ) -> int:
        number = self._last_id + 1
        line = json.dumps({"id": number, "do": do, **fields}, allow_nan=False) + "\n"
        self._last_id = number
        self._open[number] = _Open(do, on_done, on_failed)
        if self._process is None:
            self._fail_all(_("The planning process could not be started."))
        else:
            self._process.write(line.encode())
        return number

    def cancel(self) -> None:
        """Stop all requests; a worker that goes on regardless is ended by force."""
        stopped = {n: r for n, r in self._open.items() if r.do not in ("hello", "cancel")}
        if self._process is None or not stopped:
            return
        reading = all(r.do in READING and not r.made_step for r in stopped.values())
        self._send("cancel", None, None, {})
        process = self._process

        def look_after() -> None:
            if self._process is not process or not stopped.keys() & self._open.keys():
                return
            if reading:
                self._end(_("Cancelled; the planning process was ended."), "cancelled")
            else:
                self._give_up(_("The planning process did not stop and was ended."))

        self._call_later(READING_GRACE_S if reading else GRACE_S, look_after)

    def stop(self, wait: bool = False) -> None:
        """Let the worker end, by force if need be; requests that have not ended fail.

        Parameters
        ----------
        wait : bool
            Whether to wait until it has ended, as when the application itself ends.
        """
        process = self._process
        if process is None:
            return
        if not self._stopping:
            self._stopping = True
            self._last_id += 1
            process.write(json.dumps({"id": self._last_id, "do": "shutdown"}).encode() + b"\n")
            self._call_later(GRACE_S, process.kill)
        if wait and not process.wait_for_end(round(1000 * GRACE_S)):
            process.kill()

    def kill(self) -> None:
        """End the worker at once; requests that have not ended fail."""
        if self._process is not None:
            self._give_up(_ENDED)

    # What the process says

    def _hear(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MOST_BYTES:
            self._give_up(_("The planning process sends what cannot be read."))
            return
        for line in lines:
            event = _parsed(line)
            if event is None:
                self._hear_log(b"unreadable: " + line[:200] + b"\n")
            else:
                self._take(event)

    def _hear_log(self, data: bytes) -> None:
        *lines, self._log_rest = (self._log_rest + data).split(b"\n")
        self._log_rest = self._log_rest[-MOST_BYTES:]
        self._log.extend(line.decode(errors="replace").rstrip() for line in lines)

    def _take(self, event: Mapping) -> None:
        if event["event"] in ANSWERS:
            self._answer(event)
        elif event.get("id") in self._open:
            self._open[event["id"]].made_step |= event["event"] == "step"
            self.on_event(event)
        # Else it belongs to a request that has ended, which none of our workers tells.

    def _answer(self, event: Mapping) -> None:
        request = self._open.pop(event.get("id"), None)
        if request is None:
            self._log.append(f"answers nothing: {json.dumps(event)[:200]}")
            return
        tell = request.on_done if event["event"] == "done" else request.on_failed
        if tell is not None:
            tell(event)
        self.on_event(event)

    def _introduced(self, answer: Mapping) -> None:
        if answer.get("protocol") != PROTOCOL:
            self._give_up(
                _("The planning process is of another version; install its packages again.")
            )
            return
        self.about = answer

    # How it ends

    def _ended(self, code: int) -> None:
        stopping, tail = self._stopping, list(self._log)[-SHOWN_LOG_LINES:]
        self._process = None
        if stopping:
            self._fail_all(_ENDED)
            self._forget()
            return
        text = _("The planning process ended unexpectedly (exit status {code}).").format(code=code)
        self._fail_all("\n".join([text, *tail]))
        self.on_lost("\n".join([text, *tail]))

    def _give_up(self, text: str) -> None:
        self._end(text, CRASH)
        self.on_lost(text)

    def _end(self, text: str, kind: str) -> None:
        process, self._process = self._process, None
        process.kill()
        self._fail_all(text, kind)

    def _fail_all(self, text: str, kind: str = CRASH) -> None:
        """Every request ends, also those whose worker is gone."""
        failed, self._open = self._open, {}
        for number, request in failed.items():
            event = {"event": "failed", "id": number, "error": text, "kind": kind}
            if request.on_failed is not None:
                request.on_failed(event)
            self.on_event(event)

    def _forget(self) -> None:
        self._process, self._stopping = None, False
        self._rest = self._log_rest = b""
        self._log.clear()
        self.about = {}


def _parsed(line: bytes) -> Mapping | None:
    """An event; None if the line is none."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if isinstance(event, dict) and isinstance(event.get("event"), str):
        return event
    return None
