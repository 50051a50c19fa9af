"""Starts the worker process, hands it requests, and tells what it answers."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import qt

from .i18n import _
from .process import QtProcess

#: A worker that was asked to stop and goes on is killed after this long, milliseconds.
GRACE_MS = 1000
Answer = Callable[[Mapping], None]


def _nothing(*_args: Any) -> None:
    """Nobody wants to know."""


class WorkerHost:
    """One worker process at a time, started when it is wanted."""

    def __init__(self) -> None:
        self.onEvent: Callable[[Mapping], None] = _nothing
        self.onLost: Callable[[str], None] = _nothing
        self._process: QtProcess | None = None
        self._answers: dict[int, tuple[Answer, Answer]] = {}
        self._next = 1
        self._rest, self._log = b"", b""

    def problem(self) -> str:
        """Why the worker cannot be started; empty if it can."""
        return ""

    def offerPackages(self) -> bool:
        """Whether the worker has its packages."""
        return True

    def start(self) -> None:
        """Start the worker if it is not running."""
        if self._process is not None and self._process.is_running:
            return
        self._rest, self._log = b"", b""
        process = QtProcess(pythonProgram(), ["-m", "radplan.worker"], environment())
        self._process = process
        process.start(self._read, self._readLog, lambda code: self._ended(process, code))

    def request(self, do: str, done: Answer, failed: Answer, **fields: Any) -> int:
        """Ask for something; exactly one of two functions is told the answer."""
        self.start()
        number, self._next = self._next, self._next + 1
        self._answers[number] = (done, failed)
        self._send({"id": number, "do": do, **fields})
        return number

    def cancel(self) -> None:
        """Tell all that is under way to stop."""
        if self._process is not None and self._process.is_running:
            self._answers[self._next] = (_nothing, _nothing)
            self._send({"id": self._next, "do": "cancel"})
            self._next += 1

    def stop(self, wait: bool = False) -> None:
        """End the worker; nothing it says is heard any more."""
        process, self._process = self._process, None
        self._answers.clear()
        if process is None or not process.is_running:
            return
        process.write(b'{"id": 0, "do": "cancel"}\n{"id": 0, "do": "shutdown"}\n')
        if wait:
            if not process.wait_for_end(GRACE_MS):
                process.kill()
                process.wait_for_end(GRACE_MS)
        else:
            qt.QTimer.singleShot(GRACE_MS, process.kill)

    def keyring(
        self, arguments: Sequence[str], entered: str, tell: Callable[[str], None], good: str
    ) -> None:
        """Run the keyring's own command with the worker's packages; the key goes by a pipe."""
        process = QtProcess(pythonProgram(), ["-m", "keyring", *arguments], environment())
        log: list[bytes] = []

        def ended(code: int) -> None:
            last = b"".join(log).decode(errors="replace").strip().splitlines()[-1:]
            tell(good if code == 0 else _("The keyring refused: {why}").format(
                why=last[0] if last else code
            ))
            self._keyringProcess = None

        self._keyringProcess = process  # kept until it has ended
        process.start(_nothing, log.append, ended)
        process.write(entered.encode())
        process.close_input()

    def _send(self, values: Mapping) -> None:
        self._process.write(json.dumps(values).encode() + b"\n")

    def _read(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                logging.warning("the planning worker wrote no JSON: %r", line[:200])
                continue
            self._tell(event)

    def _tell(self, event: Mapping) -> None:
        if event["event"] not in ("done", "failed"):
            self.onEvent(event)
            return
        answers = self._answers.pop(event.get("id"), None)
        if answers is not None:
            answers[event["event"] == "failed"](event)

    def _readLog(self, data: bytes) -> None:
        self._log = (self._log + data)[-4000:]

    def _ended(self, process: QtProcess, code: int) -> None:
        if process is not self._process:
            return  # it was asked to end
        self._process = None
        self._answers.clear()
        log = self._log.decode(errors="replace").strip()
        if log:
            logging.warning("the planning worker's log ends with:\n%s", log)
        self.onLost(_("The planning process has ended unexpectedly (status {code}).").format(
            code=code
        ))


def pythonProgram() -> str:
    """The Python that runs the worker: Slicer's own interpreter, or this one."""
    return shutil.which("PythonSlicer") or sys.executable


def environment() -> dict[str, str]:
    """The worker's environment: where the package radplan lies comes first."""
    variables = dict(os.environ)
    here = str(Path(__file__).resolve().parents[2])
    paths = [here, *filter(None, variables.get("PYTHONPATH", "").split(os.pathsep))]
    variables["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    return variables


def cacheText() -> str:
    """How many influence matrices are kept, and how much room they take."""
    from ..planning import default_cache_dir

    folder = default_cache_dir()
    files = [p for p in folder.rglob("*") if p.is_file()] if folder.is_dir() else []
    if not files:
        return _("none kept yet (folder {folder})").format(folder=folder)
    gigabytes = sum(p.stat().st_size for p in files) / 1e9
    return _("{size:.1f} GB kept in {folder}").format(size=gigabytes, folder=folder)
