"""The worker's client: every request ends once, whatever the process says or does."""

from __future__ import annotations

import json
import os
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radplan.panel.pipe_process import PipeProcess
from radplan.panel.worker_client import (
    GRACE_S,
    MOST_BYTES,
    READING_GRACE_S,
    WorkerClient,
)
from radplan.worker.desk import PROTOCOL


class FakeProcess:
    """A process that says what a test tells it to."""

    def __init__(self, starts: bool = True) -> None:
        self.written, self.killed, self.starts = b"", False, starts

    def start(self, on_output, on_log, on_ended) -> None:
        self.on_output, self.on_log, self.on_ended = on_output, on_log, on_ended
        if not self.starts:
            on_log(b"no such program\n")
            on_ended(-1)

    def write(self, data: bytes) -> None:
        self.written += data

    def kill(self) -> None:
        self.killed = True

    def wait_for_end(self, milliseconds: int) -> bool:
        return self.killed

    @property
    def requests(self) -> list[dict]:
        return [json.loads(line) for line in self.written.splitlines()]

    def says(self, *events: dict) -> None:
        self.on_output(b"".join(json.dumps(e).encode() + b"\n" for e in events))


class Room:
    """A client, its processes, and what it told."""

    def __init__(self, **options) -> None:
        self.processes: list[FakeProcess] = []
        self.events, self.lost, self.later = [], [], []
        self.options = options
        self.client = WorkerClient(
            self._make,
            self.events.append,
            self.lost.append,
            lambda seconds, function: self.later.append((seconds, function)),
        )

    def _make(self) -> FakeProcess:
        self.processes.append(FakeProcess(**self.options))
        return self.processes[-1]

    @property
    def process(self) -> FakeProcess:
        return self.processes[-1]

    def ask(self, do: str, **fields):
        """Ask; the answers that come, as a list that fills."""
        answers: list = []
        number = self.client.request(do, answers.append, answers.append, **fields)
        return number, answers


@pytest.fixture
def room():
    return Room()


def done(number, **fields):
    return {"event": "done", "id": number, **fields}


def failed(number, **fields):
    return {"event": "failed", "id": number, "error": "no", "kind": "input", **fields}


def test_it_starts_when_it_is_asked(room):
    assert not room.client.is_running
    number, answers = room.ask("plan", case="é")
    assert room.client.is_running
    hello, plan = room.process.requests
    assert (hello["do"], plan["do"], plan["id"], plan["case"]) == ("hello", "plan", number, "é")
    room.process.says(done(hello["id"], protocol=PROTOCOL, pid=5), done(number, reason="met"))
    assert room.client.about["pid"] == 5
    assert [a["reason"] for a in answers] == ["met"]
    assert room.client.busy_with == ()
    room.client.start()
    assert len(room.processes) == 1


@settings(max_examples=50)
@given(sizes=st.lists(st.integers(1, 40), min_size=1))
def test_lines_come_in_pieces(sizes):
    room = Room()
    number, answers = room.ask("undo")
    events = [
        {"event": "progress", "id": number, "stage": "Dosis ändern 剂量", "fraction": 0.5},
        done(number, text="…"),
    ]
    data = b"".join(json.dumps(e, ensure_ascii=False).encode() + b"\n" for e in events)
    while data:
        for size in sizes:
            room.process.on_output(data[:size])
            data = data[size:]
    assert room.events == events
    assert answers == events[1:]


def test_every_answer_reaches_its_own_request(room):
    asked = [room.ask(do) for do in ("undo", "redo", "show")]
    for number, _ in reversed(asked):
        room.process.says(failed(number) if number % 2 else done(number))
    assert [[a["id"] for a in answers] for _, answers in asked] == [[n] for n, _ in asked]


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"event": 5, "id": 1}',
        b"[" * 100_000,
        b'{"event": "done"}',
        b'{"event": "done", "id": null}',
        b'{"event": "done", "id": 999}',
        b'{"event": "failed", "id": null, "error": "no JSON"}',
        b'{"event": "step", "id": 999}',
        b'{"event": "progress"}',
    ],
)
def test_what_answers_nothing_disturbs_nothing(room, line):
    number, answers = room.ask("undo")
    room.process.on_output(line + b"\n")
    assert (room.events, answers) == ([], [])
    room.process.says(done(number))
    assert answers == [done(number)]


def test_a_second_answer_is_no_answer(room):
    number, answers = room.ask("undo")
    room.process.says(done(number), failed(number), done(number))
    assert answers == [done(number)]
    assert "answers nothing" in room.client.log


def test_events_of_a_request_that_has_ended_are_not_told(room):
    number, _ = room.ask("undo")
    room.process.says(done(number), {"event": "progress", "id": number})
    assert [e["event"] for e in room.events] == ["done"]


def test_a_line_without_end_is_given_up(room):
    _, answers = room.ask("undo")
    room.process.on_output(b"x" * (MOST_BYTES + 1))
    assert room.process.killed
    assert [a["kind"] for a in answers] == ["crash"]
    assert len(room.lost) == 1


def test_a_worker_of_another_version_is_ended(room):
    _, answers = room.ask("plan")
    room.process.says(done(room.process.requests[0]["id"], protocol=PROTOCOL + 1))
    assert room.process.killed
    assert [a["kind"] for a in answers] == ["crash"]
    assert "another version" in room.lost[0]


def test_a_crash_ends_every_request_and_tells_the_log(room):
    asked = [room.ask(do)[1] for do in ("plan", "undo")]
    lines = "\n".join(f"line {i}" for i in range(30)) + "\nZeroDivisionError: a bug\n"
    room.process.on_log(lines[:50].encode())
    room.process.on_log(lines[50:].encode())
    room.process.on_ended(-9)
    for answers in asked:
        (answer,) = answers
        assert (answer["event"], answer["kind"]) == ("failed", "crash")
        assert "ZeroDivisionError: a bug" in answer["error"]
        assert "line 2\n" not in answer["error"]
    assert not room.client.is_running
    assert len(room.lost) == 1
    # The next request starts another one.
    number, answers = room.ask("open")
    room.process.says(done(number))
    assert len(room.processes) == 2
    assert answers == [done(number)]


def test_a_worker_that_cannot_be_started():
    room = Room(starts=False)
    _, answers = room.ask("plan")
    assert [a["kind"] for a in answers] == ["crash"]
    assert "no such program" in room.lost[0]
    assert not room.client.is_running


def test_what_a_crash_makes_others_ask_is_answered(room):
    """A callback may ask for more, even while everything fails."""
    again: list = []
    room.client.request("plan", None, lambda event: again.append(room.ask("open")))
    room.process.on_ended(1)
    (number, answers) = again[0]
    assert len(room.processes) == 2
    room.process.says(done(number))
    assert answers == [done(number)]


def test_an_old_worker_is_not_heard(room):
    room.ask("plan")
    old = room.process
    room.client.kill()
    number, answers = room.ask("open")
    old.says(done(number))
    old.on_ended(0)
    assert answers == []
    assert room.client.is_running
    room.process.says(done(number))
    assert answers == [done(number)]


def test_cancel(room):
    number, answers = room.ask("plan")
    room.client.cancel()
    assert room.process.requests[-1]["do"] == "cancel"
    ((_, look_after),) = room.later
    room.process.says(failed(number, kind="cancelled"))
    look_after()
    assert not room.process.killed
    assert [a["kind"] for a in answers] == ["cancelled"]


def test_reading_that_goes_on_is_ended_soon_and_nothing_is_lost(room):
    _, answers = room.ask("plan")
    room.client.cancel()
    ((seconds, look_after),) = room.later
    assert seconds == READING_GRACE_S
    look_after()
    assert room.process.killed
    assert [a["kind"] for a in answers] == ["cancelled"]
    assert room.lost == []


@pytest.mark.parametrize("do", ["plan", "resume"])
def test_a_worker_that_goes_on_is_ended_by_force(room, do):
    number, answers = room.ask(do)
    room.process.says({"event": "step", "id": number, "step": {}})
    room.client.cancel()
    assert room.later[0][0] == GRACE_S
    room.later[0][1]()
    assert room.process.killed
    assert [a["kind"] for a in answers] == ["crash"]
    assert "did not stop" in room.lost[0]


def test_a_request_made_after_cancel_is_not_taken_for_one_that_goes_on(room):
    number, _ = room.ask("plan")
    room.client.cancel()
    room.process.says(failed(number, kind="cancelled"))
    room.ask("open")
    room.later[0][1]()
    assert not room.process.killed


def test_nothing_to_cancel(room):
    room.client.cancel()
    assert room.processes == []
    number, _ = room.ask("undo")
    room.process.says(done(number))
    before = room.process.written
    room.client.cancel()
    assert room.process.written == before


def test_stop(room):
    _, answers = room.ask("plan")
    room.client.stop()
    assert room.process.requests[-1]["do"] == "shutdown"
    room.client.stop()
    assert [r["do"] for r in room.process.requests].count("shutdown") == 1
    room.process.on_ended(0)
    assert [a["kind"] for a in answers] == ["crash"]
    assert room.lost == []  # it was asked to
    assert not room.client.is_running


def test_stop_and_wait_ends_what_does_not_end(room):
    room.ask("plan")
    room.client.stop(wait=True)
    assert room.process.killed


def test_asked_again_while_it_stops(room):
    _, first = room.ask("plan")
    room.client.stop()
    number, answers = room.ask("open")
    assert len(room.processes) == 2
    assert [a["kind"] for a in first] == ["crash"]
    room.processes[0].on_ended(0)
    room.process.says(done(number))
    assert answers == [done(number)]


def test_what_is_no_json_is_refused_before_anything_is_sent(room):
    room.client.start()
    before = room.process.written
    with pytest.raises(ValueError, match="JSON"):
        room.client.request("steer", weight=float("nan"))
    assert room.process.written == before
    assert "steer" not in room.client.busy_with


# The process without Qt --------------------------------------------------------------------------


def talk_to(code: str) -> tuple[PipeProcess, list, list, list]:
    process = PipeProcess(sys.executable, ["-c", code], os.environ)
    out, log, ended = [], [], []
    process.start(out.append, log.append, ended.append)
    return process, out, log, ended


def test_pipes():
    code = "import sys; t = sys.stdin.read(); print(t * 2); print('log', file=sys.stderr); exit(3)"
    process, out, log, ended = talk_to(code)
    process.write("dose é\n".encode())
    process.close_input()
    while not ended:
        process.pump(1.0)
    assert b"".join(out).decode().split() == ["dose", "é", "dose", "é"]
    assert b"".join(log).strip() == b"log"
    assert ended == [3]
    assert process.pump() is False


def test_more_than_a_pipe_holds_does_not_block():
    process, out, _, ended = talk_to("import sys; sys.stdout.write(sys.stdin.read())")
    process.write(b"x" * 3_000_000)
    process.close_input()
    while not ended:
        process.pump(1.0)
    assert len(b"".join(out)) == 3_000_000


def test_kill():
    process, _, _, ended = talk_to("import time; time.sleep(600)")
    process.kill()
    while not ended:
        process.pump(1.0)
    assert ended[0] != 0
    process.kill()


def test_no_such_program():
    process = PipeProcess("/no/such/program", [], {})
    log, ended = [], []
    process.start(print, log.append, ended.append)
    process.pump(1.0)
    assert ended == [-1]
    assert b"/no/such/program" in log[0]
    process.kill()
    assert process.wait_for_end(10)
