"""A session survives whatever ends it: cancelled, killed, torn, resumed, tampered with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from image_phantom import (
    FAST,
    image_phantom,
    phantom_influence,
    protocol,
    write_phantom,
    write_protocol,
)
from planned import MAX_STEPS, group_members, phantom_request, plan_once, state, steps
from radplan import dose_setup, planning
from radplan.agent.actions import AddObjective, ChangeDose, ChangeWeight, RemoveObjective
from radplan.agent.trajectory import Proposal
from radplan.audit import read_audit
from radplan.case_file import save_case
from radplan.cli import main
from radplan.errors import CancelledError, InputError
from radplan.optimize import Objective
from radplan.planning import Observer, PlanRequest, plan, resume
from radplan.protocol_file import protocol_from_dict
from radplan.session import PlanningSession
from radplan.session_folder import SessionFolder
from radplan.session_lock import LOCK_NAME


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    return write_phantom(folder), write_protocol(folder)


@pytest.fixture
def request_for(inputs, phantom_cache):
    def make(out: Path, max_steps: int = MAX_STEPS, **more) -> PlanRequest:
        return phantom_request(inputs, phantom_cache, out, max_steps=max_steps, **more)

    return make


@pytest.fixture(autouse=True)
def without_outputs(monkeypatch):
    """Leaves out what is written after planning, which takes seconds; tests of it: test_cli."""
    monkeypatch.setattr(planning, "write_outputs", lambda *_: [])
    monkeypatch.setattr(planning, "write_session_report", lambda *_: None)


@pytest.fixture(scope="module")
def uninterrupted(inputs, phantom_cache, tmp_path_factory):
    """The folder of a session that nothing disturbed; not to be changed."""
    return plan_once(inputs, phantom_cache, tmp_path_factory.mktemp("whole") / "out")


@pytest.fixture
def copied(uninterrupted, tmp_path):
    return Path(shutil.copytree(uninterrupted, tmp_path / "copy"))


class StoppingObserver(Observer):
    """Asks to stop from the n-th question on; notes what was going on then."""

    def __init__(self, questions: int) -> None:
        self.left, self.stage = questions, ""

    def progress(self, stage: str, fraction: float) -> None:
        self.stage = stage

    def cancel_requested(self) -> bool:
        self.left -= 1
        return self.left < 0


class BetweenSteps(Observer):
    """Asks to stop as soon as a number of steps is done."""

    def __init__(self, count: int) -> None:
        self.count = count

    def step(self, step) -> None:
        self.count -= 1

    def cancel_requested(self) -> bool:
        return self.count <= 0


def test_two_runs_are_the_same(uninterrupted, request_for, tmp_path):
    plan(request_for(tmp_path / "again"), Observer())
    assert steps(tmp_path / "again") == steps(uninterrupted)


@pytest.mark.parametrize("questions", [40, 160])
def test_cancelled_while_optimizing(uninterrupted, request_for, tmp_path, questions):
    out = tmp_path / "out"
    observer = StoppingObserver(questions)
    with pytest.raises(CancelledError):
        plan(request_for(out), observer)
    assert observer.stage == "optimizing fluence"
    assert state(out) == "cancelled"
    assert len(steps(out)) < MAX_STEPS + 1
    resume(out, Observer())
    assert state(out) == "done"
    assert steps(out) == steps(uninterrupted)


@pytest.mark.parametrize("count", [1, 2])
def test_cancelled_between_steps(uninterrupted, request_for, tmp_path, count):
    out = tmp_path / "out"
    with pytest.raises(CancelledError):
        plan(request_for(out), BetweenSteps(count))
    assert state(out) == "cancelled"
    assert steps(out) == steps(uninterrupted)[:count]
    resume(out, Observer())
    assert steps(out) == steps(uninterrupted)


def test_cancelled_twice_and_again(uninterrupted, request_for, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(CancelledError):
        plan(request_for(out), BetweenSteps(1))
    with pytest.raises(CancelledError):
        resume(out, BetweenSteps(2))
    resume(out, Observer())
    assert steps(out) == steps(uninterrupted)
    kinds = [entry["kind"] for entry in read_audit(out / "audit.jsonl")]
    assert kinds.count("start") == 1
    assert kinds.count("resumed") == 2
    assert kinds.count("step") == MAX_STEPS + 1


def test_more_steps_for_a_finished_session(uninterrupted, request_for, tmp_path):
    out = tmp_path / "out"
    plan(request_for(out, max_steps=1), Observer())
    assert steps(out) == steps(uninterrupted)[:2]
    resume(out, Observer(), max_steps=MAX_STEPS)
    assert steps(out) == steps(uninterrupted)


def test_fewer_steps_than_there_are_change_nothing(copied, uninterrupted):
    resume(copied, Observer(), max_steps=1)
    assert steps(copied) == steps(uninterrupted)
    assert state(copied) == "done"


def test_an_unexpected_error_is_a_failed_session(request_for, tmp_path, monkeypatch):
    def bug(*_, **__):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("radplan.plan_making.optimize_fluence", bug)
    with pytest.raises(ZeroDivisionError):
        plan(request_for(tmp_path / "out"), Observer())
    assert state(tmp_path / "out") == "failed"


# What a crash leaves -----------------------------------------------------------------------------


def test_torn_audit_line(copied, uninterrupted):
    content = (copied / "audit.jsonl").read_bytes()
    (copied / "audit.jsonl").write_bytes(content[:-30])
    resume(copied, Observer())
    assert steps(copied) == steps(uninterrupted)
    assert "torn line dropped" in [e["kind"] for e in read_audit(copied / "audit.jsonl")]


def test_step_without_its_audit_line(copied, uninterrupted):
    lines = (copied / "audit.jsonl").read_bytes().splitlines(keepends=True)
    # The last line tells why planning stopped, the one before of the last step.
    (copied / "audit.jsonl").write_bytes(b"".join(lines[:-2]))
    resume(copied, Observer())
    assert steps(copied) == steps(uninterrupted)


def test_torn_step_folder(copied, uninterrupted):
    partial = copied / "steps" / f".{MAX_STEPS + 1:03d}.partial"
    partial.mkdir()
    (partial / "step.json").write_text("{")
    (copied / "dose.nrrd").touch()
    (copied / ".dose.nrrd.x1y2").write_text("half")
    (copied / ".new-abc").mkdir()
    (copied / ".notes").write_text("mine")
    resume(copied, Observer(), max_steps=MAX_STEPS + 1)
    shutil.rmtree(copied / "steps" / f"{MAX_STEPS + 1:03d}")
    assert steps(copied) == steps(uninterrupted)
    assert {p.name for p in copied.glob(".*")} == {".notes", LOCK_NAME}


# What was changed --------------------------------------------------------------------------------


def refused(out: Path, *words: str) -> None:
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    with pytest.raises(InputError) as caught:
        resume(out, Observer())
    for word in words:
        assert word in str(caught.value)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_protocol_changed(copied):
    edit(copied / "session.json", lambda s: s["protocol"]["goals"][2].update(value=48.0))
    refused(copied, "session.json", "protocol", "start a new session")


def test_beams_changed(copied):
    edit(copied / "session.json", lambda s: s["beams"][0].update(gantry_angle_deg=10.0))
    refused(copied, "session.json", "beams")


def test_case_changed(copied):
    save_case(copied / "case.npz", replace(image_phantom(), name="another"))
    refused(copied, "case.npz", "start a new session")


def test_engine_changed(copied, monkeypatch):
    usual = dose_setup.influence_matrix

    def newer(*args, **options):
        return replace(usual(*args, **options), fingerprint="f" * 64, engine="Newer Engine 2")

    monkeypatch.setattr(dose_setup, "influence_matrix", newer)
    refused(copied, "Newer Engine 2", "start a new session")


@pytest.mark.parametrize("name", ["step.json", "objectives.json", "scorecard.json", "dvh.csv"])
def test_step_file_changed(copied, name):
    path = copied / "steps" / "002" / name
    path.write_text(path.read_text() + "\n")
    refused(copied, f"002/{name}", "audit log")


def test_fluence_damaged(copied):
    path = copied / "steps" / "001" / "fluence.npy"
    fluence = np.load(path)
    fluence[fluence.argmax()] *= 1.0000001
    np.save(path, fluence)
    refused(copied, "001/fluence.npy")


def test_step_missing(copied):
    shutil.rmtree(copied / "steps" / "001")
    refused(copied, "steps/001", "missing")


def test_audit_line_changed(copied):
    path = copied / "audit.jsonl"
    path.write_text(path.read_text().replace('"kept":true', '"kept":false', 1))
    refused(copied, "audit.jsonl", "damaged")


def test_audit_lines_cut_off(copied):
    lines = (copied / "audit.jsonl").read_bytes().splitlines(keepends=True)
    (copied / "audit.jsonl").write_bytes(b"".join(lines[:-3]))
    refused(copied, "steps/", "audit log")


def test_audit_missing(copied):
    (copied / "audit.jsonl").unlink()
    with pytest.raises(InputError, match=r"audit.jsonl"):
        resume(copied, Observer())


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 99}', '{"format": 1}'])
def test_session_file_damaged(copied, content):
    (copied / "session.json").write_text(content)
    refused(copied, "session.json")


# One door for change -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def influence(phantom_cache):
    return phantom_influence(phantom_cache)


@pytest.fixture
def started(copied, influence):
    """A session that has its first steps."""
    session = PlanningSession(
        image_phantom(), protocol_from_dict(protocol()), influence, SessionFolder(copied)
    )
    session.restore()
    return session


def proposal(*actions) -> Proposal:
    return Proposal("try", "person", "Try something", actions)


@pytest.mark.parametrize(
    "bad",
    [
        ChangeWeight("nothing/there", 2.0, "why", "test"),
        ChangeWeight("PTV/squared_overdosing", 11.0, "why", "test"),
        ChangeWeight("PTV/squared_overdosing", -1.0, "why", "test"),
        ChangeWeight("PTV/squared_overdosing", float("nan"), "why", "test"),
        ChangeDose("PTV/squared_overdosing", 80.0, "why", "test"),
        ChangeDose("PTV/squared_overdosing", -1.0, "why", "test"),
        RemoveObjective("nothing/there", "why", "test"),
        AddObjective(Objective("Spleen", "mean_dose", 1.0), "why", "test"),
        AddObjective(Objective("Gland", "geud", 1.0, dose_gy=90.0, exponent=8), "why", "test"),
    ],
)
def test_a_rejected_action_changes_nothing(started, bad):
    good = ChangeWeight("PTV/squared_underdosing", 2.0, "why", "test")
    before = (list(started.steps), started.best, steps(started.folder.path))
    with pytest.raises(InputError):
        started.apply(proposal(good, bad))
    assert (list(started.steps), started.best, steps(started.folder.path)) == before
    last = read_audit(started.folder.audit_path)[-1]
    assert last["kind"] == "actions rejected"
    assert last["data"]["why"]


def test_a_step_that_hurts_is_undone_but_kept_in_the_history(started):
    best, count = started.best, len(started.steps)
    drop = RemoveObjective("PTV/squared_overdosing", "to see what happens", "test")
    low = ChangeWeight("PTV/squared_underdosing", 0.1, "to see what happens", "test")
    step = started.apply(proposal(drop, low))
    assert not step.kept
    assert started.best is best
    assert len(started.steps) == count + 1
    assert step.base == best.step.index
    assert (started.folder.step_path(step.index) / "fluence.npy").is_file()


def test_cancelling_a_step_changes_nothing(started):
    before = (list(started.steps), started.best, steps(started.folder.path))
    change = ChangeWeight("PTV/squared_underdosing", 2.0, "why", "test")
    with pytest.raises(CancelledError):
        started.apply(proposal(change), cancel_requested=StoppingObserver(3).cancel_requested)
    assert (list(started.steps), started.best, steps(started.folder.path)) == before


# Signals, to a process of its own ----------------------------------------------------------------

posix = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


@pytest.fixture
def start(inputs, phantom_cache, tmp_path):
    """Starts ``radplan plan`` in a process group of its own."""
    started: list[subprocess.Popen] = []

    def run(cache=phantom_cache, command=None, steps_wanted=MAX_STEPS):
        names = [str(inputs[0]), "--protocol", str(inputs[1]), "--out", str(tmp_path / "out")]
        more = ["--cache", str(cache), "--iterations", str(steps_wanted)]
        command = command or ["plan", *names, *FAST, *more]
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "radplan.cli", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(process: subprocess.Popen, text: str) -> None:
    """Read standard error up to a line that has a text."""
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"ended with {process.wait()} before it said {text!r}")


@posix
def test_ctrl_c_while_optimizing(start, uninterrupted, tmp_path):
    process = start()
    wait_for(process, "step  0")
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 4, err
    assert out == ""
    assert "stopping" in err
    assert err.splitlines()[-1].startswith("cancelled: ")
    assert "Traceback" not in err
    assert state(tmp_path / "out") == "cancelled"
    kept = steps(tmp_path / "out")
    assert kept == steps(uninterrupted)[: len(kept)]
    assert kept
    resume(tmp_path / "out", Observer())
    assert steps(tmp_path / "out") == steps(uninterrupted)


@posix
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs /proc")
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_in_the_dose_engine(start, tmp_path, times):
    (tmp_path / "cache").mkdir()
    process = start(cache=tmp_path / "cache")
    wait_for(process, "beamlets, about")
    deadline = time.monotonic() + 120
    while len(group_members(process.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)  # until the engine's own processes run
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 4, err
    assert "Traceback" not in err
    assert group_members(process.pid) == []
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "cache").iterdir())


@posix
def test_second_ctrl_c(start, uninterrupted, tmp_path):
    process = start()
    wait_for(process, "step  0")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 4, err
    assert "Traceback" not in err
    resume(tmp_path / "out", Observer())
    assert steps(tmp_path / "out") == steps(uninterrupted)


@posix
@pytest.mark.parametrize(
    "seconds",
    [0.3, *(pytest.param(s, marks=pytest.mark.slow) for s in np.linspace(0, 2, 13).round(2))],
)
def test_killed(start, uninterrupted, tmp_path, seconds):
    out = tmp_path / "out"
    process = start()
    wait_for(process, "step  0")
    time.sleep(seconds)
    process.kill()
    process.communicate()
    assert main(["resume", str(out)]) == 0
    assert steps(out) == steps(uninterrupted)
    assert state(out) == "done"
