"""One session as the panel sees it: prepared from the scene, planned by the worker, steered.

What the worker plans from is made ready here (`preparation`); all the rest is asked of the worker
process and comes back as events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import slicer

from ..case import DoseImage
from ..errors import CancelledError
from ..geometry import Grid
from .i18n import _
from .mapping_rows import MappingRow
from .planning_state import CANCELLING, FAILED, PlanningState
from .preparation import Preparation
from .scene_reading import SceneReading
from .step_files import (
    Curves,
    read_dose,
    read_dose_grid,
    read_dvh,
    read_objectives,
    read_scorecard,
)
from .worker_host import WorkerHost, cacheText


def _nothing(*_args: Any) -> None:
    """Nobody wants to know."""


class PlanningRun:
    """A session, its steps, and the worker that holds it.

    Parameters
    ----------
    host : WorkerHost, optional
        Starts the worker and talks to it.
    """

    def __init__(self, host: Any = None) -> None:
        self.onChange: Callable[[], None] = _nothing
        self.onStep: Callable[[int], None] = _nothing
        self.onPreview: Callable[[Mapping], None] = _nothing
        self.onNote: Callable[[str], None] = _nothing
        self.onPlanned: Callable[[], None] = _nothing
        self.host = host or WorkerHost()
        self.host.onInstallation = self._installation
        self.client = self.host.client(self._event, self._lost)
        self._cacheText: str | None = None
        self._reading: SceneReading | None = None
        self._preparation: Preparation | None = None
        self._begin(None)

    def _begin(self, folder: Path | None) -> None:
        """Forget the session before; whoever reads the scene for it finds out."""
        self._dropPreparation()
        self.state = PlanningState()
        self.folder = folder
        self.steps: list[dict] = []
        self.current: int | None = None
        self.canUndo = self.canRedo = self.isOpen = False
        self.review: Mapping | None = None
        self._grid: Grid | None = None
        self._files: dict[str, Any] = {}
        self._facts: dict[str, str] = {}

    # What there is

    def scorecard(self, index: int) -> dict:
        """Scorecard of a step."""
        return self._read(self.steps[index]["scorecard"], read_scorecard)

    def objectives(self, index: int) -> list[dict]:
        """Objectives of a step."""
        return self._read(self.steps[index]["objectives"], read_objectives)

    def dvh(self, index: int) -> Curves:
        """DVH of a step."""
        return self._read(self.steps[index]["dvh"], read_dvh)

    def dose(self, index: int) -> DoseImage | None:
        """Dose of a step; None while the worker still has to make it, which tells `onStep`."""
        path = self.steps[index]["dose"]
        if path and self._grid is not None:
            return read_dose(Path(path), self._grid)
        if self.isOpen and not self.state.is_busy:
            self.client.request("show", self._shown, self._refusal("show"), step=index)
        return None

    def previewDose(self, event: Mapping) -> DoseImage:
        """Dose of a preview."""
        return read_dose(Path(event["dose"]), self._grid)

    def previewDvh(self, event: Mapping) -> Curves:
        """DVH of a preview."""
        return read_dvh(Path(event["dvh"]))

    def facts(self) -> dict[str, str]:
        """What the scene says of where the plan comes from."""
        return dict(self._facts)

    def stepText(self, index: int) -> str:
        """A step for the transcript."""
        step = self.steps[index]
        lines = [f"[{index}] {step.get('author') or _('protocol')}: {step['title']}"]
        assessment = step.get("assessment") or {}
        lines += [f"    {text}" for text in assessment.values() if isinstance(text, str) and text]
        lines += [f"    {a['text']} — {a['reason']}" for a in step["actions"]]
        return "\n".join([*lines, f"    → {step['outcome']}"])

    def _read(self, path: str, reader: Callable[[Path], Any]) -> Any:
        if path not in self._files:
            self._files[path] = reader(Path(path))
        return self._files[path]

    # What is possible

    @staticmethod
    def isResumable(folder: str) -> bool:
        """Whether a folder holds a session."""
        return bool(folder) and (Path(folder) / "session.json").is_file()

    @staticmethod
    def engines() -> tuple[str, ...]:
        """SlicerRT's dose engines that give an influence matrix."""
        from ..mrml.rt_engine import inverse_engines

        return inverse_engines()

    @staticmethod
    def hasRtPlans() -> bool:
        """Whether SlicerRT's plan nodes are there."""
        from ..mrml.rt_plan import slicerrt_is_there

        return slicerrt_is_there()

    def packagesProblem(self) -> str:
        """Why the worker could not start even after asking the user; empty if it could."""
        return self.host.problem()

    def offerPackages(self) -> bool:
        """Whether the worker has its packages, after asking the user to install them if not."""
        return self.host.offerPackages()

    def cacheText(self) -> str:
        """What beamlet doses are kept from before."""
        if self._cacheText is None:
            self._cacheText = cacheText()
        return self._cacheText

    # Planning

    def plan(
        self,
        *,
        ct: Any,
        segmentation: Any,
        rows: Sequence[MappingRow],
        protocol: Mapping,
        beams: str | None,
        rt_plan: Any,
        engine: str,
        spacing_mm: float | None,
        bixel_width_mm: float,
        step_limit: int,
        planner: str,
        model: Mapping | None,
        folder: str,
        preview: bool = False,
    ) -> None:
        """Plan from scratch.

        Raises
        ------
        InputError
            If the folder or the beams cannot be used; nothing has begun then.
        """
        out = _new_folder(folder)
        request: dict[str, Any] = {
            "protocol": dict(protocol),
            "out": str(out),
            "planner": planner,
            "iterations": step_limit,
            "beams": beams,
            "spacing_mm": spacing_mm,
            "bixel_width_mm": bixel_width_mm,
            "preview": preview,
        }
        if model is not None:
            request["llm"] = {"model": dict(model)}
        if rt_plan is not None and not engine:  # a matrix says its beams itself
            from ..mrml.rt_plan import beams_from_plan

            request["beams"] = [asdict(b) for b in beams_from_plan(rt_plan, bixel_width_mm)]
        self._begin(out)
        self._become(self.state.preparing(_("starting")))
        self.client.start()  # its imports take a moment, meanwhile the scene is read
        self._reading = SceneReading(ct, segmentation, rows, self._progressed)
        self._preparation = Preparation(
            self._reading,
            rt_plan,
            engine,
            ready=lambda fields: self._prepared(request | fields),
            failed=self._notPrepared,
        )
        self._preparation.begin()

    def _progressed(self, stage: str, fraction: float) -> None:
        self._become(self.state.progressed(stage, fraction))

    def _prepared(self, request: Mapping) -> None:
        self._become(self.state.running(_("starting the worker")))
        self._ask("plan", self._planned, **request)

    def _notPrepared(self, error: Exception) -> None:
        """The case could not be read or written, or nobody wants it any more."""
        kind = "cancelled" if isinstance(error, CancelledError) else "input"
        self._refusal("plan")({"error": str(error), "kind": kind})

    def resume(self, folder: str, model: Mapping | None) -> None:
        """Open a session, and go on planning if it was interrupted."""
        self._begin(Path(folder))
        self._model = model
        self._become(self.state.running(_("opening the session")))
        self._ask("open", self._opened, folder=folder)

    def _ask(self, do: str, done: Callable[[Mapping], None], **fields: Any) -> None:
        """Ask the worker for something that others wait for."""
        given = {name: value for name, value in fields.items() if value is not None}
        self.client.request(do, done, self._refusal(do), **given)

    def _opened(self, answer: Mapping) -> None:
        self._take(answer)
        self.isOpen = True
        unfinished = answer["session"]["state"] != "done"
        if unfinished and self.state.phase != CANCELLING:
            model = {"llm": {"model": dict(self._model)}, "planner": "llm"} if self._model else {}
            self._become(self.state.progressed(_("going on"), 0.0))
            self._ask("resume", self._planned, **model)
        else:
            self._become(self.state.done(_("The session is open.")))
        self._tellCurrent()

    def _planned(self, answer: Mapping) -> None:
        self._take(answer)
        self.isOpen = True
        self._dropPreparation()
        self._cacheText = None
        lines = [answer.get("reason", ""), *answer.get("unmet", ()), *answer.get("warnings", ())]
        self._become(self.state.done("\n".join(line for line in lines if line)))
        self._tellCurrent()
        self.onPlanned()

    def request(self, do: str, author: str, **fields: Any) -> None:
        """Ask for something that changes the session: steer, undo, redo, select, review."""
        if author:
            fields["author"] = author
        words = {"steer": _("optimizing"), "review": _("recording the review")}
        self._become(self.state.running(words.get(do, do)))
        self._ask(do, self._changed, **fields)

    def _changed(self, answer: Mapping) -> None:
        before = self.current
        self._take(answer)
        self._become(self.state.done())
        if self.current != before:
            self._tellCurrent()

    def _tellCurrent(self) -> None:
        if self.current is not None:
            self.onStep(self.current)

    def preview(self, actions: Sequence[Mapping]) -> None:
        """Ask what actions would lead to; a newer question takes the place of a waiting one."""
        self.client.request("preview", None, self._previewRefused, actions=list(actions))

    def export(self, what: str, tell: Callable[[str], None]) -> None:
        """Write results; `tell` is told what was written where."""

        def done(answer: Mapping) -> None:
            self._take(answer)
            self._become(self.state.done())
            written = _("Written: {path}").format(path=answer["path"])
            tell("\n".join([written, *answer["warnings"]]))

        def failed(answer: Mapping) -> None:
            self._refusal("export")(answer)
            tell(answer["error"])

        self._become(self.state.running(_("writing")))
        self.client.request("export", done, failed, what=what)

    def checkModel(self, settings: Mapping, tell: Callable[[str], None]) -> None:
        """Ask a language model what it can do."""
        self.client.request(
            "check_llm",
            lambda answer: tell(answer["line"]),
            lambda answer: tell(answer["error"]),
            settings=dict(settings),
        )

    def sentText(self) -> str:
        """What a preview wrote down of what a language model would be sent."""
        path = self.folder / "llm" / "preview.md" if self.folder else None
        return path.read_text(encoding="utf-8") if path and path.is_file() else ""

    def keepKey(self, server: str, key: str, tell: Callable[[str], None]) -> None:
        """Put a key into the system's keyring."""
        good = _("The key is in the keyring.")
        self.host.runKeyring(("set", "radplan", server), key, tell, good)

    def forgetKey(self, server: str, tell: Callable[[str], None]) -> None:
        """Take a key out of the system's keyring."""
        self.host.runKeyring(("del", "radplan", server), "", tell, _("The key is forgotten."))

    def updateRtPlan(
        self,
        *,
        ct: Any,
        segmentation: Any,
        rows: Sequence[MappingRow],
        protocol: Mapping,
        beams: str | None,
        spacing_mm: float | None,
        bixel_width_mm: float,
        rt_plan: Any,
    ) -> Any:
        """Make or change the SlicerRT plan that shows a template's beams around the targets.

        The session, if there is one, stays as it is.

        Returns
        -------
        vtkMRMLRTPlanNode

        Raises
        ------
        InputError
            If there is nothing that could be planned.
        CancelledError
        """
        from .rt_plan_beams import beamsIntoScene

        before = self.state
        reading = self._reading = SceneReading(ct, segmentation, rows, self._progressed)
        self._become(self.state.preparing(_("reading the scene")))
        try:
            return beamsIntoScene(
                reading.case(),
                protocol,
                ct=ct,
                segmentation=segmentation,
                segment_ids={row.name: row.segment_id for row in rows if row.name},
                beams=beams,
                spacing_mm=spacing_mm,
                bixel_width_mm=bixel_width_mm,
                plan=rt_plan,
            )
        finally:
            if self._reading is reading:  # else another scene has begun
                self._become(before)

    # Ending

    def cancel(self) -> None:
        """Stop what is under way; finished steps stay."""
        if self._reading is not None:
            self._reading.stop()
        self.client.cancel()
        self._become(self.state.cancelling())

    def close(self) -> None:
        """The scene goes: end the worker; the session folder keeps all finished steps."""
        self.client.kill()
        self._begin(None)

    def shutDown(self) -> None:
        """The application ends, or the module does: nothing of the worker is left."""
        self.onChange = self.onStep = self.onPreview = self.onNote = self.onPlanned = _nothing
        self.client.kill()
        self._dropPreparation()

    def fail(self, text: str) -> None:
        """Say why nothing was begun."""
        self._begin(self.folder)
        self._become(replace(self.state, phase=FAILED, message=text))

    # Events

    def _event(self, event: Mapping) -> None:
        kind = event["event"]
        if kind == "progress":
            self._progressed(event["stage"], event["fraction"])
        elif kind == "note":
            self.onNote(event["text"])
        elif kind == "step":
            self._addStep(event)
        elif kind == "preview":
            self.onPreview(event)

    def _addStep(self, event: Mapping) -> None:
        step = dict(event["step"])
        if self._grid is None and self.folder is not None:
            self._grid = read_dose_grid(self.folder / "session.json")
        self._setStep(step)
        self.current = event["current"]
        self.canUndo, self.canRedo = event["can_undo"], event["can_redo"]
        self.onStep(step["index"])
        self._become(self.state.with_plan())

    def _setStep(self, step: dict) -> None:
        index = step["index"]
        if index < len(self.steps):
            self.steps[index] = step
        else:
            self.steps.append(step)

    def _take(self, answer: Mapping) -> None:
        """Take over what an answer says of the session."""
        description = answer.get("description")
        if description:
            self._facts = {name: str(description[name]) for name in ("planner", "engine")}
            grid = description["dose_grid"]
            self._grid = Grid(**{name: tuple(value) for name, value in grid.items()})
            self.steps = [dict(step) for step in description["steps"]]
            if self.steps:
                self.state = self.state.with_plan()
        if answer.get("step"):
            self._setStep(dict(answer["step"]))
        session = answer.get("session")
        if session and "current" in session:
            self.current = session["current"]
            self.canUndo, self.canRedo = session["can_undo"], session["can_redo"]
            self.review = session["review"]

    def _shown(self, answer: Mapping) -> None:
        self._take(answer)
        self.onStep(answer["step"]["index"])

    def _refusal(self, do: str) -> Callable[[Mapping], None]:
        """What is to be done when a request fails."""

        def refused(answer: Mapping) -> None:
            self._take(answer)
            # A session of which steps are there stays open in the worker after a cancel.
            self.isOpen = bool(self.steps) and answer.get("kind") != "crash"
            if do == "plan":
                self._dropPreparation()
            self._become(self.state.refused(do, answer))

        return refused

    def _previewRefused(self, answer: Mapping) -> None:
        if answer.get("kind") != "cancelled":
            self._become(replace(self.state, message=answer["error"]))

    def _lost(self, text: str) -> None:
        """The worker has ended by itself."""
        self.isOpen = False
        self._dropPreparation()
        self._become(self.state.lost(text))

    def _installation(self, text: str) -> None:
        """Packages are being installed; that is not planning, so the state says it only."""
        self._become(replace(self.state, message=text))

    def _become(self, state: PlanningState) -> None:
        self.state = state
        self.onChange()

    def _dropPreparation(self) -> None:
        """Whoever reads the scene finds out that nobody wants it; no file of the case is left."""
        if self._reading is not None:
            self._reading.stop()
        if self._preparation is not None:
            self._preparation.drop()
        self._reading = self._preparation = None


def _new_folder(folder: str) -> Path:
    """The chosen folder if it is new or empty, else a new one beside it or in the usual place."""
    now = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    if folder:
        path = Path(folder)
        if not path.is_dir() or not any(path.iterdir()):
            return path
        return path.with_name(f"{path.name.split('_20')[0]}_{now}")
    usual = slicer.util.settingsValue("RadPlanAgent/SessionsFolder", "")
    return Path(usual or Path.home() / "RadPlanAgent") / f"plan_{now}"
