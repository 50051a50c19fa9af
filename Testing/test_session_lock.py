"""One process a session folder: the second is refused, and nothing of the first is touched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from image_phantom import write_phantom, write_protocol
from planned import phantom_request, plan_once, steps
from radplan.errors import InputError
from radplan.planning import Observer, begin, open_session
from radplan.session_lock import LOCK_NAME, SessionLock

HOLD = """
import sys
from pathlib import Path
from radplan.session_lock import SessionLock
lock = SessionLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""
TRY = """
import sys
from pathlib import Path
from radplan.errors import InputError
from radplan.session_lock import SessionLock
try:
    SessionLock(Path(sys.argv[1]))
except InputError as error:
    sys.exit(str(error))
"""


def try_elsewhere(folder: Path) -> str:
    """What another process is told that wants the folder; empty if it gets it."""
    command = [sys.executable, "-c", TRY, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr.strip()


@pytest.fixture
def hold():
    """Lets another process hold a folder; what it gives ends that process."""
    processes = []

    def start(folder: Path) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_another_process_is_refused_until_this_one_lets_go(tmp_path):
    lock = SessionLock(tmp_path)
    assert "another process" in try_elsewhere(tmp_path)
    del lock
    assert try_elsewhere(tmp_path) == ""


def test_this_process_may_hold_it_twice(tmp_path):
    first, second = SessionLock(tmp_path), SessionLock(tmp_path / "." / "")
    del first
    assert "another process" in try_elsewhere(tmp_path)
    del second
    assert try_elsewhere(tmp_path) == ""


def test_a_killed_process_holds_nothing(tmp_path, hold):
    process = hold(tmp_path)
    with pytest.raises(InputError, match="another process has this session open"):
        SessionLock(tmp_path)
    process.kill()
    process.wait()
    SessionLock(tmp_path)


def test_abandoning_leaves_no_new_folder(tmp_path):
    new = tmp_path / "new"
    lock = SessionLock(new)
    assert "another process" in try_elsewhere(new)
    lock.abandon()
    assert not new.exists()


def test_abandoning_keeps_what_was_there(tmp_path):
    (tmp_path / "kept.txt").write_text("mine")
    SessionLock(tmp_path).abandon()
    assert (tmp_path / "kept.txt").read_text() == "mine"
    assert try_elsewhere(tmp_path) == ""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    return write_phantom(folder), write_protocol(folder)


def test_a_session_at_work_elsewhere_is_left_alone(inputs, phantom_cache, tmp_path, hold):
    out = plan_once(inputs, phantom_cache, tmp_path / "session", max_steps=1)
    leftover = out / ".report.html.half"
    leftover.write_text("what the other process is writing")
    before = steps(out)
    process = hold(out)
    for attempt in (
        lambda: open_session(out, Observer()),
        lambda: begin(phantom_request(inputs, phantom_cache, out, overwrite=True), Observer()),
    ):
        with pytest.raises(InputError, match="another process has this session open"):
            attempt()
    assert leftover.is_file() and steps(out) == before
    process.kill()
    process.wait()
    opened = open_session(out, Observer())
    assert not leftover.exists()
    assert "another process" in try_elsewhere(out)
    del opened
    assert try_elsewhere(out) == ""


def test_a_session_made_while_the_matrix_was_computed_is_not_replaced(
    inputs, phantom_cache, tmp_path
):
    out = tmp_path / "session"

    class Rival(Observer):
        """Another process that is quicker."""

        def note(self, text: str) -> None:
            out.mkdir(exist_ok=True)
            (out / "session.json").write_text("theirs")

    with pytest.raises(InputError, match="already holds a session"):
        begin(phantom_request(inputs, phantom_cache, out), Rival())
    assert (out / "session.json").read_text() == "theirs"
    assert not list(out.glob("case.npz"))


def test_a_planned_session_is_free(inputs, phantom_cache, tmp_path):
    out = plan_once(inputs, phantom_cache, tmp_path / "session", max_steps=1)
    assert (out / LOCK_NAME).is_file()
    assert try_elsewhere(out) == ""
