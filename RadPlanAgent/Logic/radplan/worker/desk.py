"""What each request does."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields as fields_of
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..agent.trajectory import Step
from ..agent.unmet import unmet_goals
from ..beams import Beam
from ..errors import InputError
from ..plan_request import PlanRequest
from ..planners import PLANNERS, LlmRequest, planner_settings
from ..planning import (
    OpenSession,
    PlanOutcome,
    begin,
    improve,
    open_session,
    planner_of,
    stored_planner_of,
    write_results,
)
from ..review import APPROVED, REJECTED, record_review
from ..steering import (
    LONGEST_NAME,
    MOST_PREVIEW_ITERATIONS,
    NAMELESS,
    PREVIEW_ITERATIONS,
    person,
    persons_actions,
    preview,
    redo,
    select,
    steer,
    text_of,
    undo,
)
from ..stored_step import step_to_dict
from ..versions import versions
from .fields import Fields
from .inbox import Request
from .lines import EventWriter
from .telling import description, standing, store_dose, store_preview, told_step
from .watching import Watcher

#: Number of this way of talking; a client refuses another one.
PROTOCOL = 1
#: Packages without which nothing is planned.
NEEDED = ("numpy", "scipy", "pyRadPlan", "numba", "matplotlib", "jinja2", "pydicom")
#: What can be exported, and the file or folder of the session folder that it becomes.
EXPORTS = {"dicom": "dicom", "report": "report.html", "scene": "scene.mrb", "dose": "dose.nrrd"}
MOST_STEPS = 1000


class Desk:
    """Does requests, one at a time, on the session that is open.

    Parameters
    ----------
    emit : EventWriter
    """

    def __init__(self, emit: EventWriter) -> None:
        self._emit = emit
        self._opened: OpenSession | None = None
        self._previews = 0
        self._handlers: dict[str, Callable[[Fields, Watcher], dict[str, Any]]] = {
            "hello": self._hello,
            "plan": self._plan,
            "resume": self._resume,
            "open": self._open,
            "steer": self._steer,
            "preview": self._preview,
            "undo": self._undo,
            "redo": self._redo,
            "select": self._select,
            "show": self._show,
            "review": self._review,
            "export": self._export,
            "check_llm": self._check_llm,
        }

    def do(self, request: Request) -> dict[str, Any]:
        """Do a request; what its ``done`` says.

        Raises
        ------
        InputError, CancelledError, OSError
            What its ``failed`` says.
        """
        handler = self._handlers.get(request.do)
        if handler is None:
            known = ", ".join((*self._handlers, "cancel", "shutdown"))
            raise InputError(f"unknown request {request.do[:40]!r}; there are {known}")
        self._id = request.id
        return handler(
            Fields(request.do, request.fields), Watcher(request, self._emit, self._tell_step)
        )

    def standing(self) -> dict[str, Any]:
        """Where the open session stands, for every event that ends a request."""
        if self._opened is None:
            return {"session": None}
        try:
            return {"session": standing(self._opened)}
        except (InputError, OSError) as error:
            # Damaged behind our back: the request still ends, and says so.
            folder = str(self._opened.folder.path)
            return {"session": {"folder": folder, "state": "damaged", "problem": str(error)}}

    # Without a session

    def _hello(self, fields: Fields, watcher: Watcher) -> dict[str, Any]:
        """Tell who this is: {} → {protocol, versions, packages, missing, python, pid}."""
        fields.check_all_read()
        spec = find_spec("pyRadPlan")
        return {
            "protocol": PROTOCOL,
            "versions": versions(),
            "packages": str(Path(spec.origin).parents[1]) if spec and spec.origin else "",
            "missing": [name for name in NEEDED if find_spec(name) is None],
            "python": sys.executable,
            "pid": os.getpid(),
        }

    def _check_llm(self, fields: Fields, watcher: Watcher) -> dict[str, Any]:
        """Ask a language model small questions: {settings} → {line, enough}."""
        from ..agent.llm import load_settings
        from ..llm_command import check_model

        options = fields.mapping("settings", {})
        fields.check_all_read()
        line, enough = check_model(load_settings(options), watcher.cancel_requested)
        return {"line": line, "enough": enough}

    # Planning

    def _plan(self, fields: Fields, watcher: Watcher) -> dict[str, Any]:
        """Plan a case from scratch, see `PlanRequest`.

        {case, protocol, out, planner, llm, beams, iterations, spacing_mm, bixel_width_mm,
        structure_names, cache_dir, processes, overwrite, preview, influence, actions, author} →
        {reason, unmet, warnings, description}; an event ``stopped`` says why planning ended. The
        actions are what a person wants of the first plan, such as constraints.
        """
        request = _plan_request(fields)
        fields.check_all_read()
        make_planner = planner_of(request, watcher)
        self._opened = None
        self._opened = begin(request, watcher)
        return self._improved(improve(self._opened, make_planner, watcher, request.preview))

    def _resume(self, fields: Fields, watcher: Watcher) -> dict[str, Any]:
        """Go on planning from the current plan.

        {folder, iterations, more, planner, llm, allow_remote} → as ``plan``. ``folder`` may be
        left out for the session that is open. ``iterations`` are steps in all, ``more`` steps on
        top of those that there are; without either, as many as were first asked for. ``planner``
        and ``llm`` change who plans.
        """
        folder = fields.text("folder", None)
        iterations = fields.whole("iterations", 0, MOST_STEPS, None)
        more = fields.whole("more", 1, MOST_STEPS, None)
        planner = fields.choice("planner", tuple(PLANNERS), None)
        llm = _llm_request(fields)
        allow_remote = fields.list_of_texts("allow_remote")
        fields.check_all_read()
        opened = self._session(Path(folder) if folder else None, watcher)
        content = opened.content
        if planner is not None:
            chosen = planner_settings(planner, llm)
            kept = {k: v for k, v in content["settings"].items() if k != "llm"}
            content |= {"planner": planner, "settings": kept | chosen}
        hosts = allow_remote or tuple(llm.model.get("allow_remote") or ())
        make_planner = stored_planner_of(content, watcher, hosts)
        if more is not None:
            iterations = max(len(opened.session.steps) - 1, 0) + more
        if iterations is not None:
            content["settings"]["max_steps"] = iterations
        return self._improved(improve(opened, make_planner, watcher))

    def _improved(self, outcome: PlanOutcome) -> dict[str, Any]:
        opened = self._current()
        store_dose(opened.folder, opened.session.best)
        reason, unmet = outcome.stop_reason, list(outcome.unmet)
        self._emit("stopped", id=self._id, reason=reason, unmet=unmet)
        return {
            "reason": reason,
            "unmet": unmet,
            "warnings": list(outcome.warnings),
            "description": description(opened),
        }

    def _open(self, fields: Fields, watcher: Watcher) -> dict[str, Any]:
        """Load a session: {folder} → {description}."""
        folder = Path(fields.text("folder"))
        fields.check_all_read()
        self._opened = None
        opened = self._session(folder, watcher)
        if opened.session.best is not None:
            store_dose(opened.folder, opened.session.best)
        return {"description": description(opened)}

    # Steering

    def _steer(self, fields: Fields, watcher: Watcher) -> dict[str, Any]:
        """Make a step that a person wants: {actions, reason, author} → {step}."""
        author = person(fields.any("author"))
        reason = fields.any("reason", "")
        reason = text_of(reason, "the reason") if reason else ""
        actions = persons_actions(fields.any("actions"), reason, author)
        fields.check_all_read()
        opened = self._current()
        step = steer(
            opened.session, actions, reason, author, watcher.progress, watcher.cancel_requested
        )
        opened.settle()
        self._tell_step(step)
        return {"step": told_step(opened.folder, step)}

    def _preview(self, fields: Fields, watcher: Watcher) -> dict[str, Any]:
        """Look where actions lead: {actions, iterations} → an event ``preview``, then {}."""
        actions = persons_actions(fields.any("actions"), "preview", person(NAMELESS))
        most = MOST_PREVIEW_ITERATIONS
        iterations = fields.whole("iterations", 1, most, PREVIEW_ITERATIONS)
        fields.check_all_read()
        opened = self._current()
        began = time.perf_counter()
        plan = preview(opened.session, actions, iterations, watcher.cancel_requested)
        self._previews += 1
        stored = store_preview(opened.folder, self._previews, plan)
        told = step_to_dict(plan.step)
        self._emit(
            "preview",
            id=self._id,
            base=opened.session.best.step.index,
            goals_met=told["goals_met"],
            goals_total=told["goals_total"],
            worst_margin=told["worst_margin"],
            # Where it leads, not what it keeps to: that takes more than a preview.
            constraints=told["constraints"],
            seconds=round(time.perf_counter() - began, 3),
            **stored,
        )
        return {}

    def _undo(self, fields: Fields, watcher: Watcher) -> dict[str, Any]:
        """Go back to the plan before: {author} → {step}."""
        author = person(fields.any("author", NAMELESS))
        fields.check_all_read()
        return self._moved(undo(self._current().session, author))

    def _redo(self, fields: Fields, watcher: Watcher) -> dict[str, Any]:
        """Take the last undo back: {author} → {step}."""
        author = person(fields.any("author", NAMELESS))
        fields.check_all_read()
        return self._moved(redo(self._current().session, author))

    def _select(self, fields: Fields, watcher: Watcher) -> dict[str, Any]:
        """Make the plan of a step the current one: {step, author} → {step}."""
        author = person(fields.any("author", NAMELESS))
        step = fields.any("step")
        fields.check_all_read()
        return self._moved(select(self._current().session, step, author))

    def _moved(self, step: Step) -> dict[str, Any]:
        opened = self._current()
        opened.settle()
        store_dose(opened.folder, opened.session.best)
        return {"step": told_step(opened.folder, step)}

    def _show(self, fields: Fields, watcher: Watcher) -> dict[str, Any]:
        """Make the dose of any step, to look at it: {step} → {step}."""
        opened = self._current()
        index = fields.whole("step", 0, max(len(opened.session.steps) - 1, 0))
        fields.check_all_read()
        plan = opened.session.plan_of(index)
        store_dose(opened.folder, plan)
        return {"step": told_step(opened.folder, plan.step)}

    # Review and results

    def _review(self, fields: Fields, watcher: Watcher) -> dict[str, Any]:
        """Write down what a person decided: {verdict, name, comment, step} → {}.

        The step is the one that the person looked at; another current plan is not reviewed.
        """
        verdict = fields.choice("verdict", (APPROVED, REJECTED))
        name = text_of(fields.any("name"), "the name of who reviews", LONGEST_NAME)
        comment = text_of(fields.any("comment"), "the comment of the review")
        step = fields.whole("step", 0, MOST_STEPS)
        fields.check_all_read()
        opened = self._current()
        session = opened.session
        record_review(
            opened.folder,
            session.log,
            session.best.step.index,
            verdict=verdict,
            name=name,
            comment=comment,
            step=step,
        )
        return {}

    def _export(self, fields: Fields, watcher: Watcher) -> dict[str, Any]:
        """Write results of the current plan: {what} → {path, warnings}."""
        what = fields.choice("what", tuple(EXPORTS))
        fields.check_all_read()
        opened = self._current()
        content, path = opened.content, opened.folder.path / EXPORTS[what]
        warnings: Sequence[str] = ()
        if content["state"] != "done" or not path.exists():
            session = opened.session
            content["unmet"] = unmet_goals(session.best.step, session.steps)
            content.setdefault("stop_reason", "planning was interrupted")
            warnings = write_results(opened, watcher)
        if not path.exists():
            raise InputError("; ".join(warnings) or f"{path}: was not written")
        return {"path": str(path), "warnings": list(warnings)}

    # Helpers

    def _session(self, folder: Path | None, watcher: Watcher) -> OpenSession:
        """The session of a folder, loaded if it is not the one that is open."""
        if folder is not None and (
            self._opened is None or folder.absolute() != self._opened.folder.path
        ):
            self._opened = None
            self._opened = open_session(folder, watcher)
        if self._opened is None:
            raise InputError("no session is open; open or plan one first")
        return self._opened

    def _current(self) -> OpenSession:
        """The open session; `InputError` if there is none, or none with a plan."""
        if self._opened is None:
            raise InputError("no session is open; open or plan one first")
        if self._opened.session.best is None:
            raise InputError("the session has no plan yet; resume it first")
        return self._opened

    def _tell_step(self, step: Step) -> None:
        opened = self._opened
        if step.kept:
            store_dose(opened.folder, opened.session.best)
        history = opened.session.history
        self._emit(
            "step",
            id=self._id,
            step=told_step(opened.folder, step),
            current=history.current,
            can_undo=history.can_undo,
            can_redo=history.can_redo,
        )


def _plan_request(fields: Fields) -> PlanRequest:
    protocol = fields.any("protocol")
    if not isinstance(protocol, str | dict):
        raise InputError("plan: 'protocol' must be a name, a path or a protocol")
    cache_dir = fields.text("cache_dir", None)
    influence = fields.text("influence", None)
    return PlanRequest(
        case=fields.text("case"),
        protocol=protocol,
        out=Path(fields.text("out")),
        planner=fields.choice("planner", tuple(PLANNERS), "rules"),
        beams=_beams(fields.any("beams", None)),
        max_steps=fields.whole("iterations", 0, MOST_STEPS, 40),
        spacing_mm=fields.length("spacing_mm", None),
        bixel_width_mm=fields.length("bixel_width_mm", 5.0),
        cache_dir=Path(cache_dir) if cache_dir else None,
        processes=fields.whole("processes", 1, 1024, None),
        structure_names=fields.texts("structure_names"),
        overwrite=fields.flag("overwrite"),
        llm=_llm_request(fields),
        preview=fields.flag("preview"),
        influence_path=Path(influence) if influence else None,
        actions=persons_actions(
            fields.any("actions", []), "", person(fields.any("author", NAMELESS))
        ),
    )


def _llm_request(fields: Fields) -> LlmRequest:
    values = Fields("llm", fields.mapping("llm", {}))
    request = LlmRequest(values.mapping("model", {}), values.mapping("planner", {}))
    values.check_all_read()
    if request.planner:
        from ..agent.llm_planner import LlmPlannerSettings

        known = [f.name for f in fields_of(LlmPlannerSettings)]
        unknown = [name for name in request.planner if name not in known]
        if unknown:
            raise InputError(
                f"llm: planner has no setting {unknown[0]!r}; there are {', '.join(known)}"
            )
    return request


def _beams(value: object) -> str | tuple[Beam, ...] | None:
    """Beams from a template, a list of gantry angles, or a list of beams as plain values."""
    if value is None or isinstance(value, str):
        return value or None
    if not isinstance(value, list) or not value:
        raise InputError("plan: 'beams' must be a template or a list that is not empty")
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in value):
        return ",".join(f"{v:g}" for v in value)
    beams = []
    for number, item in enumerate(value, start=1):
        fields = Fields(f"beam {number}", item if isinstance(item, dict) else {})
        isocenter = fields.any("isocenter_mm")
        if not (isinstance(isocenter, list) and len(isocenter) == 3):
            raise InputError(f"beam {number}: 'isocenter_mm' must be a list of x, y, z in LPS")
        try:
            beam = Beam(
                gantry_angle_deg=float(fields.any("gantry_angle_deg")),
                isocenter_mm=tuple(float(v) for v in isocenter),
                couch_angle_deg=float(fields.any("couch_angle_deg", 0.0)),
                bixel_width_mm=fields.length("bixel_width_mm", 5.0),
                machine=fields.text("machine", "Generic"),
                name=fields.text("name", f"Beam {number}"),
            )
        except (TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"beam {number}: angles and isocentre must be numbers") from None
        fields.check_all_read()
        beams.append(beam)
    return tuple(beams)
