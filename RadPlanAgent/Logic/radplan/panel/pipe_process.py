"""A worker process without Qt: threads read its pipes, and the caller's thread is told."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO

_CHUNK_BYTES = 1 << 16


class PipeProcess:
    """A process that talks over its standard streams; see `worker_client.Process`.

    Parameters
    ----------
    program : str
    arguments : sequence of str
    environment : mapping
        All of the process's environment variables.
    """

    def __init__(
        self, program: str, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self._command, self._environment = [program, *arguments], dict(environment)
        self._process: subprocess.Popen | None = None
        self._calls: queue.Queue[Callable[[], None]] = queue.Queue()
        self._writes: queue.Queue[bytes | None] = queue.Queue()

    def start(
        self,
        on_output: Callable[[bytes], None],
        on_log: Callable[[bytes], None],
        on_ended: Callable[[int], None],
    ) -> None:
        """Start it; who is to be told is told by `pump`."""
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment,
                bufsize=0,
            )
        except OSError as error:
            text = str(error).encode() + b"\n"
            self._calls.put(lambda: on_log(text))
            self._calls.put(lambda: on_ended(-1))
            return
        readers = [
            threading.Thread(target=self._read, args=(pipe, tell), daemon=True)
            for pipe, tell in ((self._process.stdout, on_output), (self._process.stderr, on_log))
        ]
        for thread in (
            *readers,
            threading.Thread(target=self._write, daemon=True),
            threading.Thread(target=self._wait, args=(readers, on_ended), daemon=True),
        ):
            thread.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def write(self, data: bytes) -> None:
        """Send bytes to its standard input, without waiting."""
        self._writes.put(data)

    def close_input(self) -> None:
        """Let its standard input end, as it does when this process dies."""
        self._writes.put(None)

    def kill(self) -> None:
        """End it at once, and all that it started."""
        if self._process is None or self._process.poll() is not None:
            return
        end_group(self._process.pid)
        with suppress(OSError):
            self._process.kill()

    def wait_for_end(self, milliseconds: int) -> bool:
        """Wait until it has ended; whether it has. What it said last is told by `pump`."""
        if self._process is None:
            return True
        try:
            self._process.wait(milliseconds / 1000)
        except subprocess.TimeoutExpired:
            return False
        return True

    def pump(self, timeout_s: float = 0.0) -> bool:
        """Tell what has come since; whether there was anything.

        Parameters
        ----------
        timeout_s : float
            How long to wait for something.
        """
        deadline = time.monotonic() + timeout_s
        told = False
        while True:
            left = 0.0 if told else max(deadline - time.monotonic(), 0.0)
            try:
                call = self._calls.get(timeout=left) if left else self._calls.get_nowait()
            except queue.Empty:
                return told
            call()
            told = True

    def _read(self, pipe: IO[bytes], tell: Callable[[bytes], None]) -> None:
        while data := os.read(pipe.fileno(), _CHUNK_BYTES):
            self._calls.put(lambda data=data: tell(data))

    def _write(self) -> None:
        with suppress(OSError):  # it has ended, which another thread tells
            while (data := self._writes.get()) is not None:
                self._process.stdin.write(data)
        with suppress(OSError):
            self._process.stdin.close()

    def _wait(self, readers: Sequence[threading.Thread], on_ended: Callable[[int], None]) -> None:
        code = self._process.wait()
        for reader in readers:
            reader.join()
        self._writes.put(None)
        self._calls.put(lambda: on_ended(code))


def end_group(pid: int) -> None:
    """End a worker and the dose engine's processes, which are of its group, at once."""
    if os.name == "nt":
        # The tree as Windows knows it; the worker's own end is left to who started it.
        subprocess.run(
            ["taskkill", "/T", "/F", "/PID", str(pid)],
            check=False,
            capture_output=True,
            creationflags=subprocess.CREATE_NO_WINDOW,
        )
        return
    with suppress(OSError):  # it has ended, or leads no group yet
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
