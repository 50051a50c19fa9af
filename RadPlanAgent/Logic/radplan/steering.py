"""What a person does to a plan: change it, look at a change before making it, and go back.

The current plan is the session's (`PlanningSession.best`); a planner goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .agent.actions import Action, action_from_dict
from .agent.trajectory import Proposal, Step
from .errors import InputError
from .plan_making import Plan
from .progress import CancelRequested, ProgressReport, never, silent
from .session import PlanningSession

#: Phase of the steps that a person makes.
PERSON = "person"
#: Authors of steps and reviews begin with this when they are people.
PERSON_PREFIX = "person:"
#: Iterations of a preview: enough to see where a change leads while a slider moves.
PREVIEW_ITERATIONS = 20
MOST_PREVIEW_ITERATIONS = 200
#: Texts that a person may enter, characters.
LONGEST_NAME, LONGEST_TEXT = 100, 2000
#: Who acts where a person did not say a name.
NAMELESS = "unnamed"


def person(name: object) -> str:
    """The author that stands for a person; `InputError` if it is no name."""
    return PERSON_PREFIX + text_of(name, "the name of who does this", LONGEST_NAME)


def text_of(value: object, what: str, longest: int = LONGEST_TEXT) -> str:
    """A text that a person entered, on one line; `InputError` if there is none or too much."""
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{what} is missing")
    text = " ".join(value.split())
    if len(text) > longest:
        raise InputError(f"{what} has {len(text)} characters; at most {longest} are allowed")
    return text


def persons_actions(values: object, reason: str, author: str) -> tuple[Action, ...]:
    """Actions from plain values; the author is the person's, whatever the values say.

    Parameters
    ----------
    values : sequence of mapping
        As `action_to_dict` gives them; ``reason`` may be left out.
    reason : str
        Of those that have none.
    author : str
        See `person`.
    """
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise InputError("actions must be a list")
    actions = []
    for value in values:
        if not isinstance(value, Mapping):
            raise InputError(f"action {value!r} is no object with a kind")
        actions.append(action_from_dict({"reason": reason} | dict(value) | {"author": author}))
    return tuple(actions)


def steer(
    session: PlanningSession,
    actions: Sequence[Action],
    reason: str,
    author: str,
    progress: ProgressReport = silent,
    cancel_requested: CancelRequested = never,
) -> Step:
    """Make one step that a person wants; it becomes the current plan even if it is worse.

    Parameters
    ----------
    session : PlanningSession
        With a plan.
    actions : sequence of Action
        None: the current objectives are optimized further.
    reason : str
        Shown as the step's title; may be empty.
    author : str
        See `person`.
    progress, cancel_requested

    Returns
    -------
    Step
        Its outcome says what got worse.

    Raises
    ------
    InputError
        If an action is not allowed; nothing has changed then.
    CancelledError
        Nothing has changed.
    """
    _require_plan(session)
    return session.apply(_proposal(actions, reason, author), progress, cancel_requested, True)


def preview(
    session: PlanningSession,
    actions: Sequence[Action],
    iterations: int = PREVIEW_ITERATIONS,
    cancel_requested: CancelRequested = never,
) -> Plan:
    """What `steer` would lead to, after few iterations; nothing is recorded or changed."""
    _require_plan(session)
    if not 1 <= iterations <= MOST_PREVIEW_ITERATIONS:
        raise InputError(f"iterations of a preview must be 1 … {MOST_PREVIEW_ITERATIONS}")
    return session.sketch(_proposal(actions, "", ""), iterations, cancel_requested)


def undo(session: PlanningSession, author: str) -> Step:
    """Make the plan that was current before the current one again."""
    _require_plan(session)
    return session.move("undo", session.history.undo().current, author)


def redo(session: PlanningSession, author: str) -> Step:
    """Take the last `undo` back."""
    _require_plan(session)
    return session.move("redo", session.history.redo().current, author)


def select(session: PlanningSession, step: int, author: str) -> Step:
    """Make the plan of any step the current one."""
    _require_plan(session)
    if isinstance(step, bool) or not isinstance(step, int):
        raise InputError(f"step must be a whole number, got {step!r}")
    if step == session.best.step.index:
        raise InputError(f"step {step} is the current plan already")
    return session.move("select", step, author)


def _require_plan(session: PlanningSession) -> None:
    if session.best is None:
        raise InputError("the session has no plan yet; start planning first")


def _proposal(actions: Sequence[Action], reason: str, author: str) -> Proposal:
    title = reason or ("Changed by hand" if actions else "Optimized further")
    return Proposal("by hand", PERSON, title, tuple(actions), author)
