"""``radplan replay``: a recorded session once more, without any server."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from .agent.replay import RecordedModel, RecordingEndedError, recorded_exchanges
from .agent.rules import RulesPlanner
from .agent.trajectory import Proposal, Situation, Step, Stop
from .audit import read_audit
from .planners import llm_planner
from .planning import Observer, PlanOutcome, repeat
from .session import Planner, PlanningSession
from .session_folder import SessionFolder, StoredStep

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
    ended = [e["data"]["reason"] for e in entries if e["kind"] == "stop"]
    reason = ended[-1] if ended else "the recording ends here"

    def make_planner(session: PlanningSession) -> Planner:
        if content["planner"] == "rules":
            planner: Planner = RulesPlanner()
        else:
            settings = content["settings"]["llm"]["planner"] | _NO_BUDGETS
            planner = llm_planner(session, model, settings, observer.cancel_requested)
        return _Repeated(planner, [stored.step for stored in recorded], reason)

    outcome = repeat(source, content, out, make_planner, observer)
    made = SessionFolder(outcome.folder).read_steps()
    return outcome, (*model.differences, *step_differences(recorded, made))


class _Repeated:
    """Asks a planner for as many steps as were recorded; what a person did is done again."""

    def __init__(self, planner: Planner, steps: Sequence[Step], reason: str) -> None:
        self.name = planner.name
        self._planner, self._steps, self._reason = planner, steps, reason

    def propose(self, situation: Situation) -> Proposal | Stop:
        """The next recorded step's proposal, or the recorded end."""
        index = len(situation.steps)
        if index >= len(self._steps):
            return Stop(self._reason)
        step = self._steps[index]
        if step.author.startswith("person"):
            return Proposal(
                step.move, step.phase, step.title, step.actions, step.author, step.note
            )
        try:
            return self._planner.propose(situation)
        except RecordingEndedError as error:
            return Stop(f"the recording ends here: {error}")


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
                ("outcome", (a.step.kept, a.step.outcome) == (b.step.kept, b.step.outcome)),
            )
            if not same
        ]
        if parts:
            found.append(f"step {a.step.index}: {', '.join(parts)}")
    return tuple(found)


def _digest(stored: StoredStep) -> str:
    return hashlib.sha256(stored.fluence.tobytes()).hexdigest()
