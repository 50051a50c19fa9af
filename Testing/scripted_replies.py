"""Test double: what a scripted language model says to each voice, and a session to say it to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from image_phantom import image_phantom, phantom_influence, protocol
from radplan.agent.exchange import EXCHANGE, Exchanges
from radplan.agent.llm import ModelSettings, open_model
from radplan.agent.llm_planner import LlmPlanner, LlmPlannerSettings
from radplan.audit import read_audit
from radplan.case import Case
from radplan.case_checks import bind
from radplan.optimize import SolverSettings
from radplan.protocol_file import protocol_from_dict
from radplan.session import PlanningSession
from radplan.session_folder import SessionFolder
from radplan.session_settings import SessionSettings
from scripted_llm import MODEL, Behaviour, Exchange, ScriptedServer, fails, says

HASTY = SessionSettings(
    first=SolverSettings(max_iterations=25),
    later=SolverSettings(max_iterations=8),
    trial=SolverSettings(max_iterations=4),
)
VOICES = {
    "You judge a radiotherapy plan by its numbers": "dvh expert",
    "You read pictures": "vision expert",
    "You chair": "evaluator",
    "You improve": "planner",
}


def phantom_session(
    cache: Path, folder: Path, case: Case | None = None, document: dict | None = None
) -> PlanningSession:
    """A session on the phantom with its first plan."""
    case = case or image_phantom()
    influence = phantom_influence(cache, case)
    case, binding = bind(case, protocol_from_dict(document or protocol()))
    session = PlanningSession(case, binding.protocol, influence, SessionFolder(folder), HASTY)
    session.start()
    return session


def planner_for(
    session: PlanningSession, server: ScriptedServer, timeout_s: float = 60.0, **settings
) -> LlmPlanner:
    """A planner that asks the scripted server, over the real client."""
    model = open_model(
        ModelSettings(server.url, MODEL, backoff_s=0.01, timeout_s=timeout_s, retries=1, seed=7)
    )
    return LlmPlanner(
        Exchanges(model, session.log, session.folder.llm_path),
        session.log,
        session.try_out,
        lambda *_: (),
        LlmPlannerSettings(**({"vision": False} | settings)),
    )


def voice_of(exchange: Exchange) -> str:
    """Who asked."""
    system = exchange.body["messages"][0]["content"]
    return next(voice for begin, voice in VOICES.items() if system.startswith(begin))


def script(**answers: Behaviour | dict | Iterable) -> callable:
    """A script by voice (``planner=…, dvh_expert=…``).

    An answer is a behaviour, or a dictionary to be said as JSON, for every question; or a list of
    them, of which the last is repeated. Voices that are not named say something sensible.
    """
    usual = {
        "dvh_expert": assessment(),
        "vision_expert": {"claims": []},
        "evaluator": assessment(),
        "planner": plan(),
    }
    queues = {
        voice: list(answer) if isinstance(answer, list) else [answer]
        for voice, answer in (usual | answers).items()
    }

    def behaviour(exchange: Exchange) -> Behaviour:
        queue = queues[voice_of(exchange).replace(" ", "_")]
        answer = queue.pop(0) if len(queue) > 1 else queue[0]
        return says(json.dumps(answer)) if isinstance(answer, dict) else answer

    return behaviour


def assessment(**changed) -> dict:
    """What the DVH expert and the evaluator say."""
    return {
        "verdict": "improve",
        "problems": [
            {"structure": "OAR_1", "kind": "organ overdosed", "text": "Its mean dose is high."}
        ],
        "directions": ["lower the mean dose of OAR_1"],
    } | changed


def action(**changed) -> dict:
    """One action; by default more weight for the gland's mean dose."""
    unused = ("priority", "structure", "function", "dose_gy")
    return (
        {"kind": "change_weight", "objective": "zOAR_1_free/mean_dose", "factor": 2.0}
        | dict.fromkeys((*unused, "volume_percent", "exponent", "weight"))
        | {
            "reason": "The mean dose of OAR_1 is missed.",
            "expected": [{"goal": "G4", "effect": "better"}],
        }
        | changed
    )


def plan(*actions: dict, **changed) -> dict:
    """What the planner says."""
    return {
        "thoughts": "OAR_1 gets too much.",
        "title": "Lower the mean dose of OAR_1",
        "actions": list(actions or (action(),)),
        "stop": False,
        "stop_reason": None,
    } | changed


def claim(**changed) -> dict:
    """One claim of the vision expert."""
    return {
        "kind": "spill",
        "structure": "OAR_1",
        "direction": None,
        "quality": None,
        "text": "Dose leaves the target towards OAR_1.",
    } | changed


def logged(session: PlanningSession, kind: str = EXCHANGE) -> list[dict]:
    """Data of the audit lines of a kind."""
    log = read_audit(session.folder.audit_path)
    return [entry["data"] for entry in log if entry["kind"] == kind]


__all__ = [
    "HASTY",
    "action",
    "assessment",
    "claim",
    "fails",
    "logged",
    "phantom_session",
    "plan",
    "planner_for",
    "script",
    "voice_of",
]
