"""A recorded run is repeated without a server, step for step; and says so where it is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from image_phantom import write_phantom, write_protocol
from planned import phantom_request
from radplan import planning
from radplan.agent.actions import ChangeWeight, SetConstraint
from radplan.agent.replay import RecordedModel, RecordingEndedError, recorded_exchanges
from radplan.agent.trajectory import Proposal
from radplan.audit import read_audit
from radplan.cli import main
from radplan.optimize import Constraint, SolverSettings
from radplan.planners import LlmRequest
from radplan.planning import Observer, PlanRequest, plan, resume
from radplan.replay_command import replay, step_differences
from radplan.session_folder import SessionFolder
from radplan.session_settings import SessionSettings
from scripted_llm import MODEL, ScriptedServer, fails, says
from scripted_replies import action, assessment, claim, script
from scripted_replies import plan as reply

CORD = reply(
    action(objective="SpinalCord/mean_dose", expected=[{"goal": "G3", "effect": "better"}]),
    title="Lower the cord",
)
REPLIES = {
    "dvh_expert": [assessment(), says("no JSON at all"), assessment()],
    "vision_expert": {"claims": [claim()]},
    "planner": [
        reply(action(factor="two")),
        reply(),
        fails(404),
        says("<think>hm</think>" + json.dumps(CORD)),
        CORD,
    ],
}
STEPS = 3


@pytest.fixture(autouse=True)
def without_outputs(monkeypatch):
    """Leaves out what is written after planning, which takes seconds."""
    monkeypatch.setattr(planning, "write_outputs", lambda *_: [])
    monkeypatch.setattr(planning, "write_session_report", lambda *_: None)


def request_for(folder: Path, cache: Path, url: str, **more) -> PlanRequest:
    return phantom_request(
        (write_phantom(folder), write_protocol(folder)),
        cache,
        folder / "recorded",
        planner="llm",
        max_steps=STEPS,
        llm=LlmRequest(
            {"url": url, "model": MODEL, "seed": 11, "retries": 0, "timeout_s": 60.0},
            {"examples": 0},
        ),
        **more,
    )


@pytest.fixture(scope="module")
def recorded(phantom_cache, tmp_path_factory):
    """A session that a scripted model planned, with repairs and a failing server; not changed."""
    folder = tmp_path_factory.mktemp("replay")
    with pytest.MonkeyPatch.context() as patched, ScriptedServer(script(**REPLIES)) as server:
        patched.setattr(planning, "write_outputs", lambda *_: [])
        patched.setattr(planning, "write_session_report", lambda *_: None)
        plan(request_for(folder, phantom_cache, server.url), Observer())
    return folder / "recorded"


def fluences(path: Path) -> list[np.ndarray]:
    return [np.load(p / "fluence.npy") for p in sorted((path / "steps").glob("[0-9]*"))]


def test_the_recording_is_what_it_should_be(recorded):
    steps = [s.step for s in SessionFolder(recorded).read_steps()]
    assert [s.author for s in steps] == ["", "llm", "rules", "llm"]
    content = json.loads((recorded / "session.json").read_text())
    stored = content["settings"]["llm"]["model"]
    assert (stored["model"], stored["seed"], stored["temperature"]) == (MODEL, 11, 0.2)
    assert "allow_remote" not in stored


def test_a_replay_needs_no_server_and_gives_the_same(recorded, tmp_path):
    outcome, differences = replay(recorded, tmp_path / "again", Observer())
    assert differences == ()
    for a, b in zip(fluences(recorded), fluences(outcome.folder), strict=True):
        assert np.array_equal(a, b)
    ended = json.loads((recorded / "session.json").read_text())["stop_reason"]
    assert outcome.stop_reason == ended


def test_settings_are_those_of_the_recording(recorded, tmp_path, monkeypatch):
    """What is usual may change from version to version."""
    hasty = SolverSettings(max_iterations=3)
    monkeypatch.setattr(SessionSettings.__init__, "__defaults__", (hasty, hasty, hasty, 12_000))
    assert SessionSettings().later == hasty
    assert replay(recorded, tmp_path / "again", Observer())[1] == ()


def test_a_replay_of_a_replay(recorded, tmp_path):
    replay(recorded, tmp_path / "one", Observer())
    _, differences = replay(tmp_path / "one", tmp_path / "two", Observer())
    assert differences == ()


def test_an_interrupted_and_resumed_session_replays_too(phantom_cache, tmp_path, recorded):
    class Stopping(Observer):
        """Asks to stop while the second step's planner is asked."""

        def __init__(self, server) -> None:
            self.server = server

        def cancel_requested(self) -> bool:
            return len(self.server.requests) >= 6

    with ScriptedServer(script(**REPLIES)) as server:
        request = request_for(tmp_path, phantom_cache, server.url)
        with pytest.raises(Exception, match="cancelled|stop"):
            plan(request, Stopping(server))
        resume(request.out, Observer())
    kinds = [e["kind"] for e in read_audit(request.out / "audit.jsonl")]
    assert "resumed" in kinds
    _, differences = replay(request.out, tmp_path / "again", Observer())
    assert differences == ()


def test_what_a_person_did_is_done_again(recorded, tmp_path):
    copy = Path(shutil.copytree(recorded, tmp_path / "copy"))
    opened = planning.open_session(copy, Observer())
    session = opened.session
    author = "person:Dr Example"
    objective = next(o for o in session.best.step.objectives if o.function == "mean_dose")
    weight = ChangeWeight(objective.id, 3.0, "because I say so", author)
    limit = SetConstraint(Constraint("Cord", "max_dose", 37.0), "never more", author)
    proposal = Proposal("person", "person", "More of it", (weight, limit), author)
    done = session.apply(proposal, always_keep=True)
    session.apply(Proposal("person", "person", "Again", (), author), always_keep=True)
    session.move("undo", done.index, author)
    session.move("undo", done.base, author)
    _, differences = replay(copy, tmp_path / "again", Observer())
    assert differences == ()


def test_other_replies_are_told(recorded, tmp_path, monkeypatch):
    def changed(entries):
        exchanges = recorded_exchanges(entries)
        for exchange in exchanges:
            if exchange["voice"] == "planner" and exchange["value"]:
                exchange["value"]["actions"][0]["factor"] = 1.7
        return exchanges

    monkeypatch.setattr("radplan.replay_command.recorded_exchanges", changed)
    _, differences = replay(recorded, tmp_path / "again", Observer())
    assert any(d.startswith("step 1: actions, objectives, fluence") for d in differences)
    assert any("it is not the recorded question" in d for d in differences)


def test_a_shorter_run_is_told(recorded):
    steps = SessionFolder(recorded).read_steps()
    assert step_differences(steps, steps[:-1]) == ("4 steps were recorded, 3 are made now",)
    assert not step_differences(steps, steps)


def test_a_recording_that_ends(recorded):
    model = RecordedModel([])
    with pytest.raises(RecordingEndedError):
        model.ask([], {}, "planner")


def test_command_line(recorded, tmp_path, capsys):
    assert main(["replay", str(recorded), "--out", str(tmp_path / "again")]) in (0, 3)
    assert "every step is the same, bit for bit" in capsys.readouterr().out


def test_a_preview_sends_nothing(phantom_cache, tmp_path):
    with ScriptedServer([]) as server:
        request = request_for(tmp_path, phantom_cache, server.url, preview=True)
        outcome = plan(request, Observer())
        assert not server.requests
    text = (request.out / "llm" / "preview.md").read_text()
    for heading in ("# Dvh expert", "# Vision expert", "# Planner", "## Memory"):
        assert heading in text
    assert "nothing was sent" in outcome.stop_reason
    assert "Gland" not in text
    assert list((request.out / "llm").glob("preview-vision-expert-*.png"))
    with ScriptedServer(script(**REPLIES)) as server:
        request_url(request.out, server.url)
        resume(request.out, Observer())
    assert len(SessionFolder(request.out).read_steps()) == 1 + STEPS


def request_url(folder: Path, url: str) -> None:
    """Point a session to where the scripted server now listens."""
    path = folder / "session.json"
    content = json.loads(path.read_text())
    content["settings"]["llm"]["model"]["url"] = url
    path.write_text(json.dumps(content))


def test_a_session_folder_opens_no_door_to_another_machine(recorded, tmp_path, capsys):
    copy = Path(shutil.copytree(recorded, tmp_path / "copy"))
    request_url(copy, "http://models.example.org/v1")
    content = json.loads((copy / "session.json").read_text())
    content["settings"]["llm"]["model"]["allow_remote"] = ["models.example.org"]
    (copy / "session.json").write_text(json.dumps(content))
    assert main(["resume", str(copy), "--iterations", "9"]) == 2
    assert "allow-remote" in capsys.readouterr().err
