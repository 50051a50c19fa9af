"""The whole job, headless: from a case and a protocol to a judged plan in a session folder."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__
from .agent.actions import (
    Action,
    action_from_dict,
    action_to_dict,
    constraints_after,
    largest_dose_gy_of,
)
from .agent.unmet import unmet_goals
from .beams import Beam
from .binding import Binding, resolve
from .case import Case
from .case_checks import bind, check_anatomy, histogram_notes, renamed
from .case_file import load_case as load_case_file
from .dose_setup import beams_and_grid, influence_of, influence_settings
from .errors import CancelledError, InputError
from .geometry import Grid
from .influence.matrix import InfluenceMatrix
from .io import load_case
from .observer import Observer
from .optimize import ConstraintOutcome
from .outputs import write_outputs, write_session_report
from .plan_request import PlanRequest
from .planners import MakePlanner, planner_maker, planner_settings
from .preview import write_preview
from .protocol_file import load_protocol, protocol_from_dict
from .scorecard import Scorecard
from .session import PlanningSession
from .session_folder import SessionFolder
from .session_lock import LOCK_NAME, SessionLock
from .session_settings import SessionSettings, settings_from_dict
from .steering import steer
from .versions import versions

if TYPE_CHECKING:
    from .agent.llm_planner import LlmPlanner


@dataclass(frozen=True)
class PlanOutcome:
    """A finished plan: where it is, how good it is, why it ended, what is unmet or left out.

    And how it keeps to constraints.
    """

    folder: Path
    scorecard: Scorecard
    stop_reason: str
    warnings: tuple[str, ...]
    unmet: tuple[str, ...] = ()
    constraints: tuple[ConstraintOutcome, ...] = ()


@dataclass
class OpenSession:
    """A session in memory, and what its session.json says.

    As long as there is one, no other process can open the folder.
    """

    session: PlanningSession
    content: dict
    lock: SessionLock

    @property
    def folder(self) -> SessionFolder:
        """Where it is kept."""
        return self.session.folder

    def settle(self) -> None:
        """Say in session.json whether the results in the folder are those of the current plan.

        They are not when a person has changed the plan since: the state is ``steered`` then.
        """
        content = self.content
        if content["state"] in ("done", "steered"):
            current = self.session.best.step.index
            content["state"] = "done" if content["best_step"] == current else "steered"
            self.folder.write_session(content)


def plan(request: PlanRequest, observer: Observer) -> PlanOutcome:
    """Plan a case from scratch.

    Raises
    ------
    InputError
        If anything given is wrong; no session folder is left then.
    CancelledError
        If the person stopped it; finished steps are kept and `resume` continues.
    """
    make_planner = planner_of(request, observer)
    return improve(begin(request, observer), make_planner, observer, request.preview)


def planner_of(request: PlanRequest, observer: Observer) -> MakePlanner:
    """Get the planner of a request ready, before anything long begins."""
    if request.preview and request.planner != "llm":
        raise InputError("--preview shows what a language model is sent: add --planner llm")
    return planner_maker(
        request.planner,
        planner_settings(request.planner, request.llm),
        observer.cancel_requested,
        tuple(request.llm.model.get("allow_remote") or ()),
        request.preview,
    )


def begin(request: PlanRequest, observer: Observer) -> OpenSession:
    """Make a session that has no plan yet."""
    llm_settings = planner_settings(request.planner, request.llm)
    folder = SessionFolder(request.out.absolute())
    check_out(folder, request.overwrite)
    protocol = (
        protocol_from_dict(request.protocol)
        if isinstance(request.protocol, dict)
        else load_protocol(request.protocol)
    )
    case = renamed(load_case(request.case, observer.progress), request.structure_names or {})
    for warning in case.warnings:
        observer.note(warning)
    case, binding = bind(case, protocol)
    notes = [*binding.notes, *check_anatomy(case, binding)]
    for note in notes:
        observer.note(note)
    _check_first_actions(request.actions, case, binding)
    beams, grid = beams_and_grid(case, binding, request)
    of_histograms = histogram_notes(case, binding, grid)
    content = {
        "state": "running",
        "case": {"name": case.name, "source": case.source},
        "protocol": binding.protocol.to_dict(),
        "notes": [*notes, *of_histograms],
        "planner": request.planner,
        "beams": [asdict(b) for b in beams],
        "dose_grid": asdict(grid),
        "settings": {
            "max_steps": request.max_steps,
            "optimizer": asdict(SessionSettings()),
        }
        | influence_settings(request)
        | llm_settings,
        "versions": versions(),
        "created": _now(),
    }
    if request.actions:
        content["actions"] = [action_to_dict(a) for a in request.actions]
    influence = influence_of(case, binding, beams, grid, content["settings"], observer)
    for note in of_histograms:
        observer.note(note)
    content |= {"engine": influence.engine, "fingerprint": influence.fingerprint}
    lock = _created(folder, case, content, request.overwrite)
    return _opened(case, binding, influence, folder, content, observer, lock)


def resume(
    path: Path,
    observer: Observer,
    max_steps: int | None = None,
    allow_remote: tuple[str, ...] = (),
    actions: tuple[Action, ...] = (),
) -> PlanOutcome:
    """Continue an interrupted session, or give a finished one more steps.

    Parameters
    ----------
    path : Path
        The session folder.
    observer : Observer
    max_steps : int, optional
        Steps after the first plan, in all; as first asked for when not given.
    allow_remote : tuple of str
        Hosts other than this machine that a language model may be asked on; a session folder
        does not say.
    actions : tuple of Action
        What a person wants changed first, as a step of their own.
    """
    folder = SessionFolder(path.absolute())
    lock, content = _locked(folder)
    folder.check_inputs(content)
    make_planner = stored_planner_of(content, observer, allow_remote)
    if max_steps is not None:
        content["settings"]["max_steps"] = max_steps
    opened = _opened(*_stored(folder, content, observer), folder, content, observer, lock)
    if actions:
        step = steer(
            opened.session,
            actions,
            "",
            actions[0].author,
            observer.progress,
            observer.cancel_requested,
        )
        opened.settle()
        observer.step(step)
    return improve(opened, make_planner, observer)


def stored_planner_of(
    content: dict, observer: Observer, allow_remote: tuple[str, ...] = ()
) -> MakePlanner:
    """Get the planner that session.json names ready."""
    return planner_maker(
        content["planner"], content["settings"], observer.cancel_requested, allow_remote
    )


def open_session(path: Path, observer: Observer) -> OpenSession:
    """Load a session with all its steps; nothing is planned.

    Raises
    ------
    InputError
        If the folder holds no session, or one that is damaged or was changed.
    """
    folder = SessionFolder(path.absolute())
    lock, content = _locked(folder)
    folder.check_inputs(content)
    opened = _opened(*_stored(folder, content, observer), folder, content, observer, lock)
    opened.settle()
    return opened


def repeat(
    source: SessionFolder,
    content: dict,
    out: Path,
    make_planner: MakePlanner,
    observer: Observer,
) -> PlanOutcome:
    """Plan once more what a session planned, in another folder.

    Parameters
    ----------
    source : SessionFolder
    content : dict
        What `SessionFolder.read_session` gave.
    out : Path
        The session folder to make.
    make_planner : callable
    observer : Observer
    """
    source.check_inputs(content)
    folder = SessionFolder(out.absolute())
    check_out(folder, overwrite=False)
    case, binding, influence = _stored(source, content, observer)
    ends = ("stop_reason", "unmet", "best_step")
    content = {k: v for k, v in content.items() if k not in ends}
    content |= {"state": "running", "versions": versions(), "created": _now()}
    lock = _created(folder, case, content, overwrite=False)
    opened = _opened(case, binding, influence, folder, content, observer, lock)
    return improve(opened, make_planner, observer)


def _check_first_actions(actions: tuple[Action, ...], case: Case, binding: Binding) -> None:
    """Refuse constraints that the first plan cannot have, before anything long begins."""
    largest_gy = largest_dose_gy_of(binding.protocol)
    constraints_after((), actions, structures=case.names, largest_dose_gy=largest_gy)


def _stored(
    folder: SessionFolder, content: dict, observer: Observer
) -> tuple[Case, Binding, InfluenceMatrix]:
    """Case, protocol and matrix of a session; `InputError` if the engine is another one."""
    protocol = protocol_from_dict(content["protocol"], str(folder.session_path))
    beams = tuple(
        Beam(**(b | {"isocenter_mm": tuple(b["isocenter_mm"])})) for b in content["beams"]
    )
    grid = Grid(**content["dose_grid"])
    case = load_case_file(folder.case_path)
    binding = resolve(protocol, case.names)
    influence = influence_of(case, binding, beams, grid, content["settings"], observer)
    if influence.fingerprint != content["fingerprint"]:
        raise InputError(
            f"{folder.path}: the dose engine ({influence.engine}) is not the one that this "
            f"session was made with ({content['engine']}); start a new session"
        )
    return case, binding, influence


def _created(folder: SessionFolder, case: Case, content: dict, overwrite: bool) -> SessionLock:
    """Write the first files of a session in a folder that is this process's from then on."""
    lock = SessionLock(folder.path)
    try:
        check_out(folder, overwrite)  # once more: another process may have been quicker
        folder.create(case, content)
    except BaseException:
        lock.abandon()
        raise
    return lock


def _locked(folder: SessionFolder) -> tuple[SessionLock, dict]:
    """Take hold of a session folder, and read its session.json as nobody changes it any more."""
    folder.read_session()  # a folder without one is left alone
    return SessionLock(folder.path), folder.read_session()


def _opened(
    case: Case,
    binding: Binding,
    influence: InfluenceMatrix,
    folder: SessionFolder,
    content: dict,
    observer: Observer,
    lock: SessionLock,
) -> OpenSession:
    # As it was made, whatever is usual by now: resumed and repeated steps are then the same.
    settings = settings_from_dict(content["settings"]["optimizer"])
    actions = [action_from_dict(values) for values in content.get("actions", ())]
    session = PlanningSession(
        case, binding.protocol, influence, folder, settings, observer.progress, actions
    )
    session.restore()
    folder.remove_leftovers()
    return OpenSession(session, content, lock)


def improve(
    opened: OpenSession, make_planner: MakePlanner, observer: Observer, preview: bool = False
) -> PlanOutcome:
    """Let a planner go on from the current plan, and write the results.

    Parameters
    ----------
    opened : OpenSession
        Its content is kept up to date, whatever happens.
    make_planner : callable
    observer : Observer
    preview : bool
        See `PlanRequest`.
    """
    session, folder, content = opened.session, opened.folder, opened.content
    max_steps = content["settings"]["max_steps"]
    content["state"] = "running"
    folder.write_session(content)
    planner = make_planner(session)
    try:
        if preview:
            return _preview(session, planner, folder, content, observer)
        reason = session.run(
            planner, max_steps, observer.progress, observer.cancel_requested, observer.step
        )
        unmet = unmet_goals(session.best.step, session.steps)
        session.log("stop", {"reason": reason, "unmet": unmet})
        content |= {"stop_reason": reason, "unmet": unmet}
        warnings = write_results(opened, observer)
    except BaseException as error:
        stopped = isinstance(error, (CancelledError, KeyboardInterrupt))
        content |= {
            "state": "cancelled" if stopped else "failed",
            "stop_reason": str(error) or type(error).__name__,
            "best_step": session.best.step.index if session.best else None,
        }
        with suppress(OSError):  # what stopped it is what must be told
            folder.write_session(content)
        raise
    best = session.best.step
    return PlanOutcome(
        folder.path, best.scorecard, reason, tuple(warnings), tuple(unmet), best.constraints
    )


def write_results(opened: OpenSession, observer: Observer) -> list[str]:
    """Write all that others read of the current plan; what could not be written, and why."""
    session, folder, content = opened.session, opened.folder, opened.content
    provenance = {
        "protocol": session.protocol.title,
        "planner": content["planner"],
        "dose engine": session.influence.engine,
        "radplan": __version__,
    }
    warnings = write_outputs(session, folder, provenance, observer.progress)
    content |= {"state": "done", "best_step": session.best.step.index}
    folder.write_session(content)
    write_session_report(session, folder, observer.progress)
    return warnings


def _preview(
    session: PlanningSession,
    planner: LlmPlanner,
    folder: SessionFolder,
    content: dict,
    observer: Observer,
) -> PlanOutcome:
    """Make the first plan, and write down what a language model would be sent about it."""
    if session.best is None:
        observer.step(session.start(observer.progress, observer.cancel_requested))
    path = write_preview(folder.llm_path, planner.preview(session.situation))
    reason = (
        f"this is a preview: nothing was sent; {path} holds what would be; radplan resume "
        f"{folder.path} goes on"
    )
    content |= {"state": "previewed", "stop_reason": reason, "best_step": 0}
    folder.write_session(content)
    return PlanOutcome(folder.path, session.best.step.scorecard, reason, ())


def check_out(folder: SessionFolder, overwrite: bool) -> None:
    """Refuse a place where no session can be made, before anything long begins."""
    path = folder.path
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file, not a folder; choose another --out")
    above = next(p for p in (path, *path.parents) if p.exists())
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        raise InputError(f"{path}: cannot be written; choose another --out folder")
    if path.is_dir() and any(p.name != LOCK_NAME for p in path.iterdir()):
        if not folder.session_path.is_file():
            raise InputError(f"{path}: is not empty and no session; choose another --out folder")
        if not overwrite:
            raise InputError(
                f"{path}: already holds a session; continue it with radplan resume, add "
                "--overwrite to replace it, or choose another --out folder"
            )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
