"""One session as the panel sees it: prepared from the scene, planned by the worker, steered.

The scene is read here, on the main thread, between looks at the event loop; the case is written on
a thread of its own; all the rest is asked of the worker process and comes back as events.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import qt
import slicer

from ..case import Case, DoseImage
from ..case_file import save_case
from ..errors import CancelledError, InputError
from ..geometry import Grid
from .availability import BUSY, CANCELLING, DONE, FAILED, IDLE, PREPARING, RUNNING
from .i18n import _
from .mapping_rows import MappingRow
from .step_files import Curves, read_dose, read_dvh, read_objectives, read_scorecard
from .worker_host import WorkerHost, cacheText

#: How often a thread that writes is looked after, milliseconds.
POLL_MS = 50


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
        self.host = host or WorkerHost()
        self.host.onEvent = self._event
        self.host.onLost = self._lost
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._lookAfterWriting)
        self._writing: threading.Thread | None = None
        self._temporary: str | None = None
        self._cacheText: str | None = None
        self._begin(None)

    def _begin(self, folder: Path | None) -> None:
        """Forget the session before."""
        self.state, self.stage, self.fraction, self.message = IDLE, "", 0.0, ""
        self.folder = folder
        self.steps: list[dict] = []
        self.current: int | None = None
        self.canUndo = self.canRedo = self.isOpen = False
        self.review: Mapping | None = None
        self._grid: Grid | None = None
        self._files: dict[str, Any] = {}
        self._cancelled = False

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
        if self.isOpen and self.state not in BUSY:
            self.host.request("show", self._shown, self._refused, step=index)
        return None

    def previewDose(self, event: Mapping) -> DoseImage:
        """Dose of a preview."""
        return read_dose(Path(event["dose"]), self._grid)

    def previewDvh(self, event: Mapping) -> Curves:
        """DVH of a preview."""
        return read_dvh(Path(event["dvh"]))

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
        if rt_plan is not None:
            from ..mrml.rt_plan import beams_from_plan

            request["beams"] = [asdict(b) for b in beams_from_plan(rt_plan, bixel_width_mm)]
        self._begin(out)
        self._setState(PREPARING, _("starting"))
        self.host.start()  # its imports take a moment, meanwhile the scene is read
        qt.QTimer.singleShot(
            0, lambda: self._prepare(ct, segmentation, rows, rt_plan, engine, request)
        )

    def _prepare(
        self,
        ct: Any,
        segmentation: Any,
        rows: Sequence[MappingRow],
        rt_plan: Any,
        engine: str,
        request: dict,
    ) -> None:
        """Read the scene, then write the case on a thread."""
        from ..mrml.read_case import case_from_scene

        if self.state != PREPARING:
            return
        try:
            case = case_from_scene(
                ct,
                segmentation,
                names={row.segment_id: row.name for row in rows},
                types={row.segment_id: row.type for row in rows},
                database=getattr(slicer, "dicomDatabase", None),
                progress=self._reading,
                cancel_requested=lambda: self._cancelled,
            )
            self._temporary = tempfile.mkdtemp(prefix="radplan-")
            if engine and rt_plan is not None:
                request["influence"] = self._computeMatrices(rt_plan, engine)
        except (InputError, CancelledError) as error:
            self._ended(str(error), isinstance(error, CancelledError))
            return
        path = Path(self._temporary) / "case.npz"
        request["case"] = str(path)
        self._writeError: Exception | None = None
        self._request = request
        self._writing = threading.Thread(target=self._write, args=(path, case), daemon=True)
        self._writing.start()
        self._setState(PREPARING, _("writing the case"))
        self._timer.start()

    def _reading(self, stage: str, fraction: float) -> None:
        """Between two structures: show progress, and let the user cancel."""
        self._setState(self.state, stage, fraction)
        slicer.app.processEvents()

    def _computeMatrices(self, rt_plan: Any, engine: str) -> str:
        """Let SlicerRT's engine compute, which no one can cancel, and write the matrix."""
        from ..influence.stored import write_influence
        from ..mrml.rt_engine import compute_matrices
        from ..mrml.rt_influence import influence_from_beams

        self._setState(PREPARING, _("{engine} computes").format(engine=engine))
        slicer.app.processEvents()
        compute_matrices(rt_plan, engine)
        path = Path(self._temporary) / "influence"
        write_influence(path, influence_from_beams(rt_plan))
        return str(path)

    def _write(self, path: Path, case: Case) -> None:
        try:
            save_case(path, case)
        except (OSError, InputError) as error:
            self._writeError = error

    def _lookAfterWriting(self) -> None:
        if self._writing is None or self._writing.is_alive():
            return
        self._timer.stop()
        self._writing = None
        if self._cancelled or self._writeError:
            self._ended(str(self._writeError or _("cancelled")), self._cancelled)
            return
        self._setState(RUNNING, _("starting the worker"))
        self.host.request("plan", self._planned, self._refused, **self._request)

    def resume(self, folder: str, model: Mapping | None) -> None:
        """Open a session, and go on planning if it was interrupted."""
        self._begin(Path(folder))
        self._setState(RUNNING, _("opening the session"))
        self._model = model
        self.host.start()
        self.host.request("open", self._opened, self._refused, folder=folder)

    def _opened(self, answer: Mapping) -> None:
        self._take(answer)
        self.isOpen = True
        unfinished = self.state != CANCELLING and answer["session"]["state"] != "done"
        if unfinished:
            model = {"llm": {"model": dict(self._model)}, "planner": "llm"} if self._model else {}
            self._setState(RUNNING, _("going on"))
            self.host.request("resume", self._planned, self._refused, **model)
        else:
            self._setState(DONE, message=_("The session is open."))
        if self.current is not None:
            self.onStep(self.current)

    def _planned(self, answer: Mapping) -> None:
        self._take(answer)
        self.isOpen = True
        self._removeTemporary()
        self._cacheText = None
        lines = [answer.get("reason", ""), *answer.get("unmet", ()), *answer.get("warnings", ())]
        self._setState(DONE, message="\n".join(line for line in lines if line))
        if self.current is not None:
            self.onStep(self.current)

    def request(self, do: str, author: str, **fields: Any) -> None:
        """Ask for something that changes the session: steer, undo, redo, select, review."""
        if author:
            fields["author"] = author
        words = {"steer": _("optimizing"), "review": _("recording the review")}
        self._setState(RUNNING, words.get(do, do))
        self.host.request(do, self._changed, self._refused, **fields)

    def _changed(self, answer: Mapping) -> None:
        before = self.current
        self._take(answer)
        self._setState(DONE, message="")
        if self.current != before and self.current is not None:
            self.onStep(self.current)

    def preview(self, actions: Sequence[Mapping]) -> None:
        """Ask what actions would lead to; a newer question takes the place of a waiting one."""
        self.host.request("preview", _nothing, self._previewRefused, actions=list(actions))

    def export(self, what: str, tell: Callable[[str], None]) -> None:
        """Write results; `tell` is told what was written where."""

        def done(answer: Mapping) -> None:
            self._changed(answer)
            tell("\n".join([_("Written: {path}").format(path=answer["path"]), *answer["warnings"]]))

        def failed(answer: Mapping) -> None:
            self._refused(answer)
            tell(answer["error"])

        self._setState(RUNNING, _("writing"))
        self.host.request("export", done, failed, what=what)

    def checkModel(self, settings: Mapping, tell: Callable[[str], None]) -> None:
        """Ask a language model what it can do."""
        self.host.start()
        self.host.request(
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
        self.host.keyring(("set", "radplan", server), key, tell, _("The key is in the keyring."))

    def forgetKey(self, server: str, tell: Callable[[str], None]) -> None:
        """Take a key out of the system's keyring."""
        self.host.keyring(("del", "radplan", server), "", tell, _("The key is forgotten."))

    def updateRtPlan(self, parameters: Any, patient: Any, beams: str | None) -> Any:
        """Make or change the SlicerRT plan that shows the beams."""
        from .rt_plan_node import updateRtPlan

        return updateRtPlan(parameters, patient, beams)

    # Ending

    def cancel(self) -> None:
        """Stop what is under way; finished steps stay."""
        self._cancelled = True
        if self.state == RUNNING:
            self.host.cancel()
        self._setState(CANCELLING, _("stopping"))

    def close(self) -> None:
        """The scene goes: end the worker; the session folder keeps all finished steps."""
        self._cancelled = True
        self.host.stop()
        self._removeTemporary()
        self._begin(None)

    def shutDown(self) -> None:
        """The application ends, or the module does."""
        self._cancelled = True
        self._timer.stop()
        self.host.stop(wait=True)
        self._removeTemporary()

    def fail(self, text: str) -> None:
        """Say why nothing was begun."""
        self._setState(FAILED, message=text)

    # Events

    def _event(self, event: Mapping) -> None:
        kind = event["event"]
        if kind == "progress":
            self._setState(self.state, event["stage"], event["fraction"])
        elif kind == "note":
            self.onNote(event["text"])
        elif kind == "step":
            self._addStep(event)
        elif kind == "preview":
            self.onPreview(event)

    def _addStep(self, event: Mapping) -> None:
        step = dict(event["step"])
        if self._grid is None and self.folder is not None:
            from .step_files import read_dose_grid

            self._grid = read_dose_grid(self.folder / "session.json")
        self._setStep(step)
        self.current = event["current"]
        self.canUndo, self.canRedo = event["can_undo"], event["can_redo"]
        self.onStep(step["index"])
        self.onChange()

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
            grid = description["dose_grid"]
            self._grid = Grid(**{name: tuple(value) for name, value in grid.items()})
            self.steps = [dict(step) for step in description["steps"]]
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

    def _refused(self, answer: Mapping) -> None:
        self._take(answer)
        self._ended(answer["error"], answer.get("kind") == "cancelled")

    def _previewRefused(self, answer: Mapping) -> None:
        if answer.get("kind") != "cancelled":
            self.message = answer["error"]
            self.onChange()

    def _lost(self, text: str) -> None:
        """The worker has ended by itself."""
        self.isOpen = False
        message = text
        if self.steps:
            message += " " + _("All finished steps are kept: press Resume to go on.")
        self._ended(message, False)

    def _ended(self, text: str, cancelled: bool) -> None:
        self._removeTemporary()
        if cancelled:
            rest = " " + _("Finished steps are kept.") if self.steps else ""
            self.isOpen = self.isOpen or bool(self.steps)
            self._setState(DONE if self.steps else IDLE, message=_("Cancelled.") + rest)
        else:
            self._setState(FAILED, message=text)

    def _setState(
        self, state: str, stage: str = "", fraction: float = 0.0, message: str | None = None
    ) -> None:
        self.state, self.stage, self.fraction = state, stage, fraction
        if message is not None:
            self.message = message
        elif state in BUSY:
            self.message = ""
        self.onChange()

    def _removeTemporary(self) -> None:
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None


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
