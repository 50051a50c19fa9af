"""The process: its streams, the thread that reads, the thread that works, and how it ends."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from types import FrameType

from ..errors import CancelledError, InputError
from ..files import DISK_FULL
from .inbox import Inbox, Request, RequestError, parse_request
from .lines import EventWriter, read_lines

#: When nobody listens any more, work that does not stop by itself is ended after this, seconds.
GRACE_S = 10.0


def main() -> int:
    """Do requests until standard input ends or says ``shutdown``; returns the exit code."""
    requests, events = _take_over_streams()
    _lead_a_group()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    emit, inbox, ended = EventWriter(events), Inbox(), threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        inbox.close()

    for name in ("SIGTERM", "SIGINT"):
        signal.signal(getattr(signal, name), stop)
    reader = threading.Thread(
        target=_read, args=(requests, inbox, emit, ended), name="requests", daemon=True
    )
    reader.start()
    _work(inbox, emit)
    ended.set()
    if inbox.goodbye is not None:
        emit("done", id=inbox.goodbye)
    return 0


def _take_over_streams() -> tuple[int, int]:
    """Keep standard input and output for requests and events.

    Whatever prints to standard output from here on, a library in C included, prints to standard
    error; whatever reads standard input finds its end.
    """
    sys.stdout.flush()
    requests, events = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdin = open(os.devnull, encoding="utf-8")  # open as long as the process
    sys.stdout = sys.stderr
    return requests, events


def _lead_a_group() -> None:
    """Make a group of this process and those it starts, so that they can be ended together."""
    if hasattr(os, "setsid"):
        with suppress(PermissionError):  # it leads one already
            os.setsid()


def _read(descriptor: int, inbox: Inbox, emit: EventWriter, ended: threading.Event) -> None:
    """Take requests in until there are no more; the reading thread."""
    goodbye: int | None = None
    with suppress(OSError):
        for line in read_lines(descriptor):
            if line is not None and not line.strip():
                continue
            try:
                request = parse_request(line)
                if request.do == "shutdown":
                    goodbye = request.id
                    break
                _receive(request, inbox, emit)
            except InputError as error:
                number = error.id if isinstance(error, RequestError) else None
                emit("failed", id=number, error=str(error), kind="input")
    inbox.close(goodbye)
    if not ended.wait(GRACE_S):
        print("ending at once: work does not stop", file=sys.stderr)
        _end_the_group()


def _receive(request: Request, inbox: Inbox, emit: EventWriter) -> None:
    if request.do == "cancel":
        emit("done", id=request.id, cancelled=inbox.cancel(request.fields.get("request")))
        return
    replaced = inbox.put(request)
    if replaced is not None:
        emit("done", id=replaced.id, superseded_by=request.id)


def _work(inbox: Inbox, emit: EventWriter) -> None:
    """Do one request after the other; the working thread, which is the main one."""
    # Planning's libraries take a moment to import, while requests are taken in already.
    from .desk import Desk

    desk = Desk(emit)
    while (request := inbox.take()) is not None:
        try:
            if request.cancelled.is_set():
                raise CancelledError("cancelled before it began")
            result = desk.do(request)
        except Exception as error:  # whatever happens, the request ends
            text, kind = _explained(error)
            emit("failed", id=request.id, error=text, kind=kind, **desk.standing())
        else:
            emit("done", id=request.id, **result, **desk.standing())


def _explained(error: Exception) -> tuple[str, str]:
    """What to tell a person about an error, on one line, and of which kind it is."""
    kind = "internal"
    if isinstance(error, CancelledError):
        kind, text = "cancelled", str(error)
    elif isinstance(error, InputError):
        kind, text = "input", str(error)
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in DISK_FULL:
            kind = "disk"
    elif isinstance(error, OSError) and error.errno in DISK_FULL:
        kind = "disk"
        text = f"{error.filename or 'the disk'}: {error.strerror}; free space, then resume"
    elif isinstance(error, OSError):
        kind = "input"
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    elif isinstance(error, MemoryError):
        kind, text = "input", "memory ran out; use a coarser dose grid or fewer beams"
    elif isinstance(error, ModuleNotFoundError):
        text = f"the Python package {error.name} is missing; install the worker's packages again"
    else:
        text = f"{type(error).__name__}: {error}; the log has more"
    if kind == "internal":
        traceback.print_exception(error)
    return " ".join(text.split()), kind


def _end_the_group() -> None:
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)
