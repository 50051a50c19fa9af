"""The worker process: every request ends once, cancel leaves nothing, a crash loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from image_phantom import FAST, image_phantom, phantom_influence, protocol, write_phantom
from planned import MAX_STEPS, group_members, plan_once, state, steps
from radplan.audit import read_audit, verify_audit
from radplan.panel.worker_client import _Open
from radplan.worker.lines import MOST_BYTES
from worker_talk import Talk

#: Leaves out what takes seconds and is tested elsewhere.
NO_OUTPUTS = """
from radplan import planning
planning.write_outputs = lambda *_: []
planning.write_session_report = lambda *_: None
"""
WEIGHT = {"kind": "change_weight", "objective_id": "PTV/squared_overdosing", "factor": 2.0}
CORD = {"structure": "Cord", "kind": "max_dose", "dose_gy": 37.0}
LIMIT = {"kind": "set_constraint", "constraint": CORD}
posix = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/stat").is_file(), reason="lists processes by /proc"
)


@pytest.fixture(scope="module")
def case_path(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def uninterrupted(case_path, phantom_cache, tmp_path_factory):
    """The folder of a session planned in this process; not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    protocol_path = folder / "protocol.json"
    protocol_path.write_text(json.dumps(protocol()))
    return plan_once((case_path, protocol_path), phantom_cache, folder / "out")


@pytest.fixture
def copied(uninterrupted, tmp_path):
    return Path(shutil.copytree(uninterrupted, tmp_path / "copy"))


@pytest.fixture
def make_talk():
    made: list[Talk] = []

    def make(code: str = NO_OUTPUTS) -> Talk:
        made.append(Talk(code))
        return made[-1]

    yield make
    for talk in made:
        talk.close()


@pytest.fixture
def talk(make_talk):
    return make_talk()


@pytest.fixture(scope="module")
def shared():
    """One worker for tests that leave it as it was."""
    talk = Talk(NO_OUTPUTS)
    yield talk
    talk.close()


@pytest.fixture
def request_for(case_path, phantom_cache, tmp_path):
    def make(**changed) -> dict:
        return {
            "case": str(case_path),
            "protocol": protocol(),
            "out": str(tmp_path / "out"),
            "beams": [float(angle) for angle in FAST[1].split(",")],
            "spacing_mm": float(FAST[3]),
            "bixel_width_mm": float(FAST[5]),
            "cache_dir": str(phantom_cache),
            "iterations": MAX_STEPS,
        } | changed

    return make


# Talking -----------------------------------------------------------------------------------------


def test_hello(shared):
    answer = shared.ask("hello")
    assert answer["event"] == "done"
    assert answer["pid"] == shared.process.pid
    assert answer["missing"] == []
    assert {"radplan", "python", "numpy", "pyRadPlan"} <= set(answer["versions"])
    assert answer["session"] is None


HOSTILE = [
    b"garbage",
    b"{",
    b"[1, 2]",
    b"null",
    b'"hello"',
    b"{}",
    b'{"do": "hello"}',
    b'{"id": "1", "do": "hello"}',
    b'{"id": true, "do": "hello"}',
    b'{"id": 1.5, "do": "hello"}',
    b'{"id": 1e400, "do": "hello"}',
    b'{"id": 99999999999999999999999, "do": "hello"}',
    b"\xff\xfe\x00\x01",
    b"[" * 100_000,
    b'{"id": ' + b"1" * 5000 + b', "do": "hello"}',
    b"x" * (MOST_BYTES + 10),
]


def test_lines_that_are_no_requests(shared):
    shared.ask("hello")
    before = len(shared.events)
    shared.send(b"\n".join([*HOSTILE, b"", b"   "]) + b"\n")
    assert shared.ask("hello")["event"] == "done"
    # The client ends requests by id, and knows none of these.
    lines = [line for line in shared.client.log.splitlines() if "answers nothing" in line]
    assert len(lines) == len(HOSTILE)
    assert all('"id": null' in line and '"kind": "input"' in line for line in lines)
    assert [e["event"] for e in shared.events[before:]] == ["done"]


@pytest.mark.parametrize("do", ["", "format_disk", "__init__", "_plan", "do", "x" * 10_000])
def test_unknown_requests(shared, do):
    answer = shared.ask(do)
    assert (answer["event"], answer["kind"]) == ("failed", "input")
    assert len(answer["error"]) < 500


@pytest.mark.parametrize("do", [None, 1, ["hello"], {}])
def test_a_request_without_words(shared, do):
    shared.ask("hello")
    shared.client._open[7000] = _Open("?", None, None)
    shared.send(json.dumps({"id": 7000, "do": do}).encode() + b"\n")
    assert "'do'" in shared.answer_to(7000)["error"]
    shared.events[:] = [e for e in shared.events if e["id"] != 7000]


@pytest.mark.parametrize(
    ("do", "fields", "words"),
    [
        ("plan", {}, ["protocol"]),
        ("plan", {"protocol": 5}, ["protocol"]),
        ("plan", {"protocol": "nowhere"}, ["case"]),
        ("plan", {"protocol": "no_such", "case": "tg119"}, ["out"]),
        ("plan", {"protocol": {}, "case": 7, "out": "/tmp/x"}, ["case", "7"]),
        ("plan", {"protocol": {}, "case": "c", "out": "o", "planner": "me"}, ["planner", "me"]),
        ("plan", {"protocol": {}, "case": "c", "out": "o", "iterations": -1}, ["iterations"]),
        ("plan", {"protocol": {}, "case": "c", "out": "o", "iterations": True}, ["iterations"]),
        ("plan", {"protocol": {}, "case": "c", "out": "o", "spacing_mm": 0}, ["spacing_mm"]),
        ("plan", {"protocol": {}, "case": "c", "out": "o", "beams": []}, ["beams"]),
        ("plan", {"protocol": {}, "case": "c", "out": "o", "beams": [{}]}, ["beam 1"]),
        (
            "plan",
            {"protocol": {}, "case": "c", "out": "o", "beams": [{"isocenter_mm": ["a", 0, 0]}]},
            ["beam 1"],
        ),
        ("plan", {"protocol": {}, "case": "c", "out": "o", "nonsense": 1}, ["nonsense"]),
        ("plan", {"protocol": {}, "case": "c", "out": "o", "actions": [{}]}, ["kind"]),
        (
            "plan",
            {"protocol": {}, "case": "c", "out": "o", "actions": [LIMIT | {"constraint": 45}]},
            ["set_constraint"],
        ),
        (
            "plan",
            {"protocol": {}, "case": "c", "out": "o", "structure_names": {"a": 1}},
            ["texts"],
        ),
        ("plan", {"protocol": {}, "case": "c", "out": "o", "llm": {"planner": {"x": 1}}}, ["x"]),
        ("open", {}, ["folder"]),
        ("open", {"folder": "/nowhere/at/all"}, ["/nowhere/at/all", "no session"]),
        ("resume", {}, ["no session is open"]),
        ("resume", {"folder": "/nowhere"}, ["/nowhere"]),
        ("steer", {"author": "Dr X", "actions": []}, ["no session is open"]),
        ("steer", {"actions": []}, ["author"]),
        ("steer", {"author": " ", "actions": []}, ["name"]),
        ("preview", {"actions": "all"}, ["list"]),
        ("preview", {"actions": [], "iterations": 10**9}, ["iterations"]),
        ("undo", {}, ["no session is open"]),
        ("redo", {"author": 5}, ["name"]),
        ("select", {}, ["step"]),
        ("show", {"step": 0}, ["no session is open"]),
        ("review", {"verdict": "APPROVED"}, ["verdict"]),
        ("review", {"verdict": "approved", "name": "", "comment": "x"}, ["name"]),
        ("review", {"verdict": "approved", "name": "x", "comment": " "}, ["comment"]),
        ("review", {"verdict": "approved", "name": "x", "comment": "y"}, ["step"]),
        ("export", {"what": "everything"}, ["what"]),
        ("hello", {"name": "x"}, ["name"]),
        ("check_llm", {"settings": {"url": "ftp://x"}}, ["address"]),
    ],
)
def test_bad_requests(shared, do, fields, words):
    answer = shared.ask(do, **fields)
    assert (answer["event"], answer["kind"], answer["session"]) == ("failed", "input", None)
    assert "\n" not in answer["error"]
    for word in words:
        assert word in answer["error"]


def test_what_libraries_print_is_no_event(make_talk):
    talk = make_talk("""
import os
from radplan.worker import desk
asked = desk.Desk._hello
def _hello(self, *given):
    print("a library talks")
    sys.stdout.write("and does not end its line")
    os.write(1, b"as does one in C\\n")
    os.system("echo and a process that it starts")
    assert sys.stdin.read() == "" and os.read(0, 1) == b""
    return asked(self, *given)
desk.Desk._hello = _hello
""")
    assert talk.ask("hello")["event"] == "done"
    for text in ("a library talks", "does not end", "one in C", "that it starts"):
        talk.until(lambda text=text: text in talk.client.log)
    assert "unreadable" not in talk.client.log
    talk.client.stop()
    assert talk.wait_for_end() == 0


def test_cancel_with_nothing_to_cancel(shared):
    answer = shared.ask("cancel")
    assert answer["cancelled"] == []
    assert shared.ask("hello")["event"] == "done"


# Planning ----------------------------------------------------------------------------------------


def test_plan(make_talk, request_for, uninterrupted, tmp_path):
    talk = make_talk()
    number = talk.client.request("plan", **request_for())
    answer = talk.answer_to(number)
    assert answer["event"] == "done", answer
    assert steps(tmp_path / "out") == steps(uninterrupted)
    told = [e["step"] for e in talk.told("step", number)]
    assert [s["index"] for s in told] == list(range(MAX_STEPS + 1))
    assert told == answer["description"]["steps"]
    assert talk.told("stopped", number)[0]["reason"] == answer["reason"]
    of_this = [e["event"] for e in talk.events if e["id"] == number]
    assert of_this[-2:] == ["stopped", "done"]
    assert of_this.count("done") == 1
    session = answer["session"]
    assert (session["state"], session["steps"], session["review"]) == ("done", 4, None)
    grid = answer["description"]["dose_grid"]
    for step in told:
        if step["kept"]:
            dose = np.load(step["dose"])
            assert (dose.dtype, list(dose.shape)) == (np.float32, grid["shape"])
        for name in ("scorecard", "objectives", "dvh"):
            assert Path(step[name]).is_file()
    stages = [e["stage"] for e in talk.told("progress", number)]
    assert any("structures" in s for s in stages)
    fractions = [e["fraction"] for e in talk.told("progress", number)]
    assert all(0 <= f <= 1 for f in fractions)


def test_the_dose_told_is_that_of_the_fluence(talk, copied, phantom_cache):
    talk.ask("open", folder=str(copied))
    influence = phantom_influence(phantom_cache)
    for index in range(MAX_STEPS + 1):
        step = talk.ask("show", step=index)["step"]
        fluence = np.load(copied / "steps" / f"{index:03d}" / "fluence.npy")
        assert np.array_equal(np.load(step["dose"]), influence.dose_gy(fluence))


def test_missing_case(talk, request_for, tmp_path):
    answer = talk.ask("plan", **request_for(case=str(tmp_path / "none.npz")))
    assert (answer["event"], answer["kind"]) == ("failed", "input")
    assert "none.npz" in answer["error"]
    assert not (tmp_path / "out").exists()


def test_bad_protocol(talk, request_for, tmp_path):
    answer = talk.ask("plan", **request_for(protocol=protocol() | {"fractions": -5}))
    assert (answer["event"], answer["kind"]) == ("failed", "input")
    assert "fractions" in answer["error"]
    assert not (tmp_path / "out").exists()


def test_beams_as_they_are(talk, request_for):
    beams = [
        {"gantry_angle_deg": angle, "isocenter_mm": [0, 0, 0], "bixel_width_mm": 10, "name": "B"}
        for angle in (0, 90)
    ]
    number = talk.client.request("plan", **request_for(beams=beams, iterations=0))
    talk.until(lambda: talk.told("note", number))
    talk.client.cancel()
    assert talk.answer_to(number)["kind"] == "cancelled"


@posix
def test_full_disk(make_talk, request_for, tmp_path):
    talk = make_talk("""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
""")
    answer = talk.ask("plan", **request_for())
    assert (answer["event"], answer["kind"]) == ("failed", "disk"), answer
    assert "free space" in answer["error"]
    assert steps(tmp_path / "out") == []
    assert answer["session"]["state"] == "failed"
    assert talk.ask("hello")["event"] == "done"


def test_an_error_of_ours_is_told_and_the_worker_goes_on(make_talk):
    talk = make_talk("""
from radplan.worker import desk
def bug(self, fields, watcher):
    raise ZeroDivisionError("a bug")
desk.Desk._undo = bug
""")
    answer = talk.ask("undo")
    assert (answer["kind"], answer["error"]) == (
        "internal",
        "ZeroDivisionError: a bug; the log has more",
    )
    talk.until(lambda: "Traceback" in talk.client.log)
    assert talk.ask("hello")["event"] == "done"


# Cancelling, killing, resuming -------------------------------------------------------------------


def optimizing(talk, number) -> bool:
    return any(e["stage"] == "optimizing fluence" for e in talk.told("progress", number))


def test_cancel_while_optimizing_and_resume(talk, request_for, uninterrupted, tmp_path):
    out = tmp_path / "out"
    number = talk.client.request("plan", **request_for(iterations=200))
    talk.until(lambda: talk.told("step", number))
    waiting = talk.client.request("undo")
    talk.client.cancel()
    answer = talk.answer_to(number)
    assert (answer["event"], answer["kind"]) == ("failed", "cancelled")
    assert talk.answer_to(waiting)["kind"] == "cancelled"
    assert state(out) == answer["session"]["state"] == "cancelled"
    kept = steps(out)
    again = talk.ask("resume", iterations=MAX_STEPS)
    assert again["event"] == "done"
    assert steps(out)[: len(kept)] == kept
    assert steps(out)[: MAX_STEPS + 1] == steps(uninterrupted)
    assert verify_audit(out / "audit.jsonl") == []


@posix
@needs_proc
def test_cancel_in_the_dose_engine_leaves_no_process(talk, request_for, tmp_path):
    cache = tmp_path / "cache"
    number = talk.client.request("plan", **request_for(cache_dir=str(cache)))
    talk.until(lambda: len(group_members(talk.process.pid)) > 1)
    talk.client.cancel()
    assert talk.answer_to(number)["kind"] == "cancelled"
    assert group_members(talk.process.pid) == [talk.process.pid]
    assert not (tmp_path / "out").exists()
    assert list(cache.iterdir()) == []
    assert talk.ask("hello")["event"] == "done"


@posix
@needs_proc
@pytest.mark.parametrize("how", ["input ends", "shutdown", "SIGTERM"])
def test_the_end_leaves_no_process(talk, request_for, tmp_path, how):
    number = talk.client.request("plan", **request_for(cache_dir=str(tmp_path / "cache")))
    talk.until(lambda: len(group_members(talk.process.pid)) > 1)
    if how == "input ends":
        talk.process.close_input()
    elif how == "shutdown":
        talk.client.stop()
    else:
        os.kill(talk.process.pid, signal.SIGTERM)
    assert talk.wait_for_end() == 0
    assert group_members(talk.process.pid) == []
    assert talk.answers(number)[0]["kind"] == "cancelled"


def test_input_that_ends_while_planning_keeps_what_is_done(
    talk, request_for, uninterrupted, tmp_path
):
    number = talk.client.request("plan", **request_for(iterations=200))
    talk.until(lambda: talk.told("step", number))
    talk.process.close_input()
    assert talk.wait_for_end() == 0
    assert state(tmp_path / "out") == "cancelled"
    assert talk.lost  # nobody had asked the client to stop it


@posix
@needs_proc
def test_killed_and_resumed(make_talk, request_for, uninterrupted, tmp_path):
    out, talk = tmp_path / "out", make_talk()
    number = talk.client.request("plan", **request_for(iterations=200))
    talk.until(lambda: len(talk.told("step", number)) >= 2)
    os.kill(talk.process.pid, signal.SIGKILL)
    answer = talk.answer_to(number)
    assert (answer["kind"], talk.client.is_running) == ("crash", False)
    assert "ended unexpectedly" in talk.lost[0]
    assert group_members(talk.process.pid) == []
    kept = len(steps(out))
    # The same client starts another worker.
    opened = talk.ask("open", folder=str(out))
    assert (opened["session"]["state"], opened["session"]["steps"]) == ("running", kept)
    assert talk.ask("resume", iterations=MAX_STEPS)["event"] == "done"
    assert steps(out)[: MAX_STEPS + 1] == steps(uninterrupted)
    assert verify_audit(out / "audit.jsonl") == []


# Steering ----------------------------------------------------------------------------------------


def test_steer_undo_redo_select(talk, copied):
    last = talk.ask("open", folder=str(copied))["session"]["current"]
    number = talk.client.request("steer", actions=[WEIGHT], author="Dr X", reason="softer")
    steered = talk.answer_to(number)
    step = steered["step"]
    assert (step["phase"], step["author"], step["title"]) == ("person", "person:Dr X", "softer")
    assert (step["kept"], step["base"], step["reason"]) == (True, last, "softer")
    assert talk.told("step", number)[0]["step"] == step
    session = steered["session"]
    assert (session["current"], session["state"]) == (MAX_STEPS + 1, "steered")
    dose = np.load(step["dose"])
    assert state(copied) == "steered"
    undone = talk.ask("undo", author="Dr X")["session"]
    assert (undone["current"], undone["can_redo"], undone["state"]) == (last, True, "done")
    assert talk.ask("redo")["session"]["current"] == MAX_STEPS + 1
    selected = talk.ask("select", step=0)
    assert (selected["session"]["current"], selected["step"]["index"]) == (0, 0)
    assert talk.ask("undo")["session"]["current"] == MAX_STEPS + 1
    assert np.array_equal(np.load(step["dose"]), dose)
    moves = [e["data"] for e in read_audit(copied / "audit.jsonl") if e["kind"] == "current"]
    assert [(m["how"], m["step"]) for m in moves] == [
        *(("undo", last), ("redo", 4), ("select", 0), ("undo", 4)),
    ]
    assert [m["author"] for m in moves[:2]] == ["person:Dr X", "person:unnamed"]


def test_constraints_from_the_first_plan_on(talk, request_for, tmp_path):
    answer = talk.ask("plan", **request_for(actions=[LIMIT], author="Dr X", iterations=1))
    steps_told = answer["description"]["steps"]
    assert steps_told[0]["actions"][0]["author"] == "person:Dr X"
    for step in steps_told:
        (outcome,) = step["constraints"]
        assert outcome["kept"] and outcome["text"].startswith("Cord: max ≤ 37 Gy: ")
    assert talk.ask("preview", actions=[WEIGHT])["event"] == "done"
    (event,) = talk.told("preview")
    maximum = event["scorecard"]["structures"]["Cord"]["max_gy"]
    assert event["constraints"][0]["achieved_gy"] == pytest.approx(maximum, abs=0.01)
    lifted = {"kind": "lift_constraint", "constraint": CORD}
    assert talk.ask("steer", author="Dr X", actions=[lifted])["step"]["constraints"] == []
    refused = talk.ask("steer", author="Dr X", actions=[lifted])
    assert (refused["event"], refused["kind"]) == ("failed", "input")
    assert "there is no constraint Cord: max ≤ 37 Gy" in refused["error"]


def test_the_planner_goes_on_from_what_the_person_chose(talk, copied):
    talk.ask("open", folder=str(copied))
    chosen = talk.ask("select", step=0)["session"]["current"]
    answer = talk.ask("resume", more=1)
    assert answer["event"] == "done"
    new = answer["description"]["steps"][-1]
    assert (new["index"], new["base"]) == (MAX_STEPS + 1, chosen)


def test_previews_take_the_place_of_those_that_wait(talk, copied):
    talk.ask("open", folder=str(copied))
    before = steps(copied)
    first = talk.client.request("steer", actions=[], author="Dr X")
    numbers = [talk.client.request("preview", actions=[WEIGHT]) for _ in range(4)]
    answers = [talk.answer_to(n) for n in numbers]
    assert talk.answer_to(first)["event"] == "done"
    assert [a.get("superseded_by") for a in answers] == [*numbers[1:], None]
    (event,) = talk.told("preview")
    assert (event["id"], event["base"]) == (numbers[-1], MAX_STEPS + 1)
    dose = np.load(event["dose"])
    assert (dose.dtype, dose.ndim) == (np.float32, 3)
    assert {"goals", "structures"} <= set(event["scorecard"])
    header = Path(event["dvh"]).read_text().splitlines()[0].split(",")
    assert header[0] == "dose_gy"
    assert set(header[1:]) == set(image_phantom().names)
    for _ in range(3):
        talk.ask("preview", actions=[WEIGHT])
    assert len(list(Path(event["dose"]).parent.glob("dose-*"))) == 2
    shutil.rmtree(Path(event["dose"]).parent)
    assert steps(copied)[: MAX_STEPS + 1] == before


def test_review_until_the_plan_changes(talk, copied):
    current = talk.ask("open", folder=str(copied))["session"]["current"]
    verdict = {"verdict": "approved", "name": "Dr X", "comment": "fine", "step": current}
    review = talk.ask("review", **verdict)["session"]["review"]
    assert (review["verdict"], review["name"], review["void"]) == ("approved", "Dr X", "")
    assert json.loads((copied / "review.json").read_text())["digest"] == review["digest"]
    refused = talk.ask("review", **verdict | {"step": 0})
    assert "not the current plan" in refused["error"] or current == 0
    review = talk.ask("steer", actions=[WEIGHT], author="Dr X")["session"]["review"]
    assert "changed after the review" in review["void"]


def test_export_writes_results_of_the_current_plan(make_talk, copied):
    talk = make_talk("")
    talk.ask("open", folder=str(copied))
    talk.ask("steer", actions=[WEIGHT], author="Dr X")
    answer = talk.ask("export", what="dicom")
    assert answer["event"] == "done", answer
    assert list(Path(answer["path"]).iterdir())
    assert answer["session"]["state"] == "done"
    scorecard = json.loads((copied / "scorecard.json").read_text())
    assert scorecard["step"] == answer["session"]["current"] == MAX_STEPS + 1
    before = Path(answer["path"]).stat().st_mtime_ns
    report = talk.ask("export", what="report")
    assert Path(report["path"]).name == "report.html"
    assert Path(answer["path"]).stat().st_mtime_ns == before


def test_a_session_damaged_while_it_is_open(talk, copied):
    talk.ask("open", folder=str(copied))
    path = copied / "audit.jsonl"
    path.write_text(path.read_text().replace('"kept":true', '"kept":false', 1))
    answer = talk.ask("undo")
    assert answer["event"] == "failed"
    assert answer["session"]["state"] == "damaged"
    assert "audit" in answer["session"]["problem"]
