"""Talks to a real worker process, as the panel does, for tests."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from radplan.panel.pipe_process import PipeProcess
from radplan.panel.worker_client import WorkerClient

LOGIC = Path(__file__).resolve().parents[1] / "RadPlanAgent" / "Logic"
#: Long enough for a busy machine; only a hang takes so long.
PATIENCE_S = 120.0


class Talk:
    """A worker and all that it has said.

    Parameters
    ----------
    code : str
        Run before the worker starts, in its process.
    """

    def __init__(self, code: str = "") -> None:
        self.events: list[Mapping] = []
        self.lost: list[str] = []
        self.processes: list[PipeProcess] = []
        main = f"import sys\n{code}\nfrom radplan.worker.process import main\nsys.exit(main())"
        environment = os.environ | {"PYTHONPATH": str(LOGIC)}

        def make() -> PipeProcess:
            process = PipeProcess(sys.executable, ["-c", main], environment)
            self.processes.append(process)
            return process

        self.client = WorkerClient(make, self.events.append, self.lost.append)

    @property
    def process(self) -> PipeProcess:
        return self.processes[-1]

    def until(self, ready: Callable[[], object]) -> None:
        """Listen until something is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not ready():
            assert time.monotonic() < deadline, (self.events[-3:], self.client.log)
            self.process.pump(0.05)

    def ask(self, do: str, **fields) -> Mapping:
        """Ask, and listen until the answer is there."""
        return self.answer_to(self.client.request(do, **fields))

    def answer_to(self, number: int) -> Mapping:
        """Listen until a request has ended; the event that ends it."""
        self.until(lambda: self.answers(number))
        return self.answers(number)[0]

    def answers(self, number: int) -> list[Mapping]:
        return [e for e in self.events if e["event"] in ("done", "failed") and e["id"] == number]

    def told(self, event: str, number: int | None = None) -> list[Mapping]:
        """Events of a kind, of one request or of all."""
        return [e for e in self.events if e["event"] == event and number in (None, e["id"])]

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.process.write(data)

    def wait_for_end(self) -> int:
        """Wait until the process has ended; its exit code."""
        assert self.process.wait_for_end(round(1000 * PATIENCE_S)), self.client.log
        self.process.pump(1.0)
        return self.process._process.returncode

    def close(self) -> None:
        for process in self.processes:
            process.kill()
