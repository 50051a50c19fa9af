"""The loop with a language model: whatever a server does, a valid plan and a log that tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from image_phantom import image_phantom, phantom_influence, protocol
from radplan.agent.exchange import EXCHANGE, Exchanges
from radplan.agent.llm import ModelSettings, open_model
from radplan.agent.llm_planner import LlmPlanner, LlmPlannerSettings, Prices
from radplan.agent.view import view_of
from radplan.audit import read_audit
from radplan.case_checks import bind
from radplan.optimize import SolverSettings
from radplan.protocol import protocol_from_dict
from radplan.session import PlanningSession, SessionSettings
from radplan.session_folder import SessionFolder
from scripted_llm import MODEL, ScriptedServer, says

HASTY = SessionSettings(
    first=SolverSettings(max_iterations=25),
    later=SolverSettings(max_iterations=8),
    trial=SolverSettings(max_iterations=4),
)


@pytest.fixture
def session(phantom_cache, tmp_path):
    """A session on the phantom with its first plan."""
    case, binding = bind(image_phantom(), protocol_from_dict(protocol()))
    influence = phantom_influence(phantom_cache, case)
    made = PlanningSession(
        case, binding.protocol, influence, SessionFolder(tmp_path / "session"), HASTY
    )
    made.start()
    return made


def planner_for(session, server, **settings) -> LlmPlanner:
    model = open_model(
        ModelSettings(server.url, MODEL, backoff_s=0.01, timeout_s=2.0, retries=1)
    )
    exchanges = Exchanges(model, session.log, session.folder.llm_path)
    return LlmPlanner(
        exchanges,
        session.log,
        session.try_out,
        lambda *_: (),
        LlmPlannerSettings(**({"vision": False} | settings)),
    )


def assessment(**changed) -> dict:
    return {
        "verdict": "improve",
        "problems": [
            {"structure": "PTV", "kind": "target overdosed", "text": "Its near-maximum is high."}
        ],
        "directions": ["lower the near-maximum of PTV"],
    } | changed


def action(**changed) -> dict:
    empty = dict.fromkeys(
        ("objective", "priority", "factor", "structure", "function", "dose_gy"), None
    )
    return (
        {"kind": "change_weight"}
        | empty
        | dict.fromkeys(("volume_percent", "exponent", "weight"), None)
        | {
            "objective": "PTV/squared_overdosing",
            "factor": 2.0,
            "reason": "The near-maximum is missed.",
            "expected": [{"goal": "G2", "effect": "better"}],
        }
        | changed
    )


def plan(*actions: dict, **changed) -> dict:
    return {
        "thoughts": "The target is uneven.",
        "title": "Even out the target",
        "actions": list(actions or (action(),)),
        "stop": False,
        "stop_reason": None,
    } | changed


def exchanges(session) -> list[dict]:
    log = read_audit(session.folder.audit_path)
    return [e["data"] for e in log if e["kind"] == EXCHANGE]


def test_a_good_reply_becomes_a_step(session):
    script = [says(json.dumps(assessment())), says(json.dumps(plan()))]
    with ScriptedServer(script) as server:
        planner = planner_for(session, server)
        step = session.apply(planner.propose(session.situation))
    assert step.author == "llm"
    assert step.assessment.problems[0].kind == "target overdosed"
    assert step.expectations[0].goal.startswith("PTV D2%")
    assert step.actions[0].factor == 2.0
    for request in server.requests:
        print(request.body["messages"])
