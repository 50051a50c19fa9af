"""``radplan replay``: a recorded session once more, without any server."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .agent.replay import RecordedModel, RecordingEndedError, recorded_exchanges
from .agent.rules import RulesPlanner
from .agent.trajectory import Planner, Proposal, Situation, Step, Stop
from .audit import read_audit
from .observer import Observer
from .plan_history import CURRENT
from .planners import llm_planner
from .planning import PlanOutcome, repeat
from .session import PlanningSession
from .session_folder import SessionFolder
from .stored_step import StoredStep

#: Budgets end a recording where they ended it; counting them anew would differ in seconds.
_NO_BUDGETS = {"most_tokens": None, "most_seconds": None, "most_cost": None}


def replay(path: Path, out: Path, observer: Observer) -> tuple[PlanOutcome, tuple[str, ...]]:
    """Repeat a session in another folder, and hold its steps against the recorded ones.

    Parameters
    ----------
    path : Path
        The recorded session.
    out : Path
        The session folder to make.
    observer : Observer

    Returns
    -------
    PlanOutcome
    tuple of str
        Where the repetition differs; empty if every step is the same, bit for bit.

    Raises
    ------
    InputError
        If the recording is damaged, or the dose engine is another one.
    """
    source = SessionFolder(path.absolute())
    content = source.read_session()
    recorded = source.read_steps()
    entries = read_audit(source.audit_path)
    model = RecordedModel(recorded_exchanges(entries))

    def make_planner(session: PlanningSession) -> Planner:
        if content["planner"] == "rules":
            planner: Planner = RulesPlanner()
        else:
            settings = content["settings"]["llm"]["planner"] | _NO_BUDGETS
            planner = llm_planner(session, model, settings, observer.cancel_requested)
        return _Repeated(planner, session, entries, [s.step for s in recorded], observer)

    # A person may have gone beyond what was first allowed; the recording knows where to end.
    allowed = max(content["settings"]["max_steps"], len(recorded))
    settings = content["settings"] | {"max_steps": allowed}
    outcome = repeat(source, content | {"settings": settings}, out, make_planner, observer)
    made = SessionFolder(outcome.folder).read_steps()
    return outcome, (*model.differences, *step_differences(recorded, made))


class _Repeated:
    """Asks a planner for the steps that it made; what a person did is done again.

    Parameters
    ----------
    planner : Planner
    session : PlanningSession
        The one that is made now.
    entries : sequence of dict
        The recorded audit log.
    steps : sequence of Step
        The recorded steps.
    observer : Observer
    """

    def __init__(
        self,
        planner: Planner,
        session: PlanningSession,
        entries: Sequence[Mapping[str, Any]],
        steps: Sequence[Step],
        observer: Observer,
    ) -> None:
        self.name = planner.name
        self._planner, self._session, self._steps = planner, session, steps
        self._observer = observer
        # The first step is made by the session.
        self._left = [e for e in entries if e["kind"] in ("step", CURRENT)][1:]
        reasons = [e["data"]["reason"] for e in entries if e["kind"] == "stop"]
        self._reason = reasons[-1] if reasons else "the recording ends here"

    def propose(self, situation: Situation) -> Proposal | Stop:
        """The next recorded step's proposal, or the recorded end."""
        while self._left:
            entry = self._left.pop(0)
            data = entry["data"]
            if entry["kind"] == CURRENT:
                self._session.move(data["how"], data["step"], data["author"])
                continue
            if not data["author"].startswith("person"):
                try:
                    return self._planner.propose(self._session.situation)
                except RecordingEndedError as error:
                    return Stop(f"the recording ends here: {error}")
            self._repeat(self._steps[data["index"]])
        return Stop(self._reason)

    def _repeat(self, step: Step) -> None:
        """Do again what a person did."""
        proposal = Proposal(
            step.move, step.phase, step.title, step.actions, step.author, step.note
        )
        observer = self._observer
        done = self._session.apply(
            proposal, observer.progress, observer.cancel_requested, always_keep=step.kept
        )
        observer.step(done)


def step_differences(
    recorded: Sequence[StoredStep], made: Sequence[StoredStep]
) -> tuple[str, ...]:
    """Where two runs differ: number of steps, then actions, fluence and scorecard of each."""
    found = []
    if len(recorded) != len(made):
        found.append(f"{len(recorded)} steps were recorded, {len(made)} are made now")
    for a, b in zip(recorded, made, strict=False):
        parts = [
            name
            for name, same in (
                ("actions", a.step.actions == b.step.actions),
                ("objectives", a.step.objectives == b.step.objectives),
                ("fluence", _digest(a) == _digest(b)),
                ("scorecard", a.scorecard == b.scorecard),
                ("constraints", a.step.constraints == b.step.constraints),
                ("outcome", (a.step.kept, a.step.outcome) == (b.step.kept, b.step.outcome)),
            )
            if not same
        ]
        if parts:
            found.append(f"step {a.step.index}: {', '.join(parts)}")
    return tuple(found)


def _digest(stored: StoredStep) -> str:
    return hashlib.sha256(stored.fluence.tobytes()).hexdigest()
