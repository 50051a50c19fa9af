"""One session as the panel sees it: prepared from the scene, planned by the worker, steered.

What the worker plans from is made ready here (`preparation`); all the rest is asked of the worker
process and comes back as events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..case import DoseImage
from ..errors import CancelledError
from .i18n import _
from .plan_inputs import PlanInputs
from .planning_state import CANCELLING, FAILED, PlanningState
from .preparation import Preparation
from .scene_reading import SceneReading
from .session_mirror import SessionMirror
from .session_place import newFolder
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

    def __init__(self, host: WorkerHost | None = None) -> None:
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
        self.session = SessionMirror(folder)
        self.isOpen = False

    def dose(self, index: int) -> DoseImage | None:
        """Dose of a step; None while the worker still has to make it, which tells `onStep`."""
        dose = self.session.dose(index)
        if dose is None and self.isOpen and not self.state.is_busy:
            self.client.request("show", self._shown, self._refusal("show"), step=index)
        return dose

    # What is possible

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
        inputs: PlanInputs,
        *,
        engine: str,
        step_limit: int,
        planner: str,
        model: Mapping | None,
        folder: str,
        preview: bool = False,
    ) -> None:
        """Plan from scratch.

        Parameters
        ----------
        inputs : PlanInputs
        engine : str
            SlicerRT's dose engine for its plan's beams; empty for the worker's own.
        step_limit : int
        planner : str
            As the worker names them.
        model : mapping or None
            Settings of a language model.
        folder : str
            For the session; a new one beside it if it is used, in the usual place when empty.
        preview : bool
            Only find out what a language model would be sent.

        Raises
        ------
        InputError
            If the folder or the beams cannot be used; nothing has begun then.
        """
        out = newFolder(folder)
        request: dict[str, Any] = {
            "protocol": dict(inputs.protocol),
            "out": str(out),
            "planner": planner,
            "iterations": step_limit,
            "beams": inputs.beams,
            "spacing_mm": inputs.spacing_mm,
            "bixel_width_mm": inputs.bixel_width_mm,
            "preview": preview,
        }
        if model is not None:
            request["llm"] = {"model": dict(model)}
        if inputs.rt_plan is not None and not engine:  # a matrix says its beams itself
            from ..mrml.rt_plan import beams_from_plan

            beams = beams_from_plan(inputs.rt_plan, inputs.bixel_width_mm)
            request["beams"] = [asdict(beam) for beam in beams]
        self._begin(out)
        self._become(self.state.preparing(_("starting")))
        self.client.start()  # its imports take a moment, meanwhile the scene is read
        self._reading = SceneReading(inputs, self._progressed)
        self._preparation = Preparation(
            self._reading,
            inputs.rt_plan,
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
        before = self.session.current
        self._take(answer)
        self._become(self.state.done())
        if self.session.current != before:
            self._tellCurrent()

    def _tellCurrent(self) -> None:
        current = self.session.current
        if current is not None:
            self.onStep(current)

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

    def updateRtPlan(self, inputs: PlanInputs, plan: Any) -> Any:
        """Make or change the SlicerRT plan that shows a template's beams around the targets.

        The session, if there is one, stays as it is.

        Parameters
        ----------
        inputs : PlanInputs
        plan : vtkMRMLRTPlanNode or None
            Changed if this module made it; else a new one is made.

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
        reading = self._reading = SceneReading(inputs, self._progressed)
        self._become(self.state.preparing(_("reading the scene")))
        try:
            return beamsIntoScene(reading.case(), inputs, plan)
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
        self._begin(self.session.folder)
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
        self.session.addStep(event)
        self.onStep(event["step"]["index"])
        self._become(self.state.with_plan())

    def _take(self, answer: Mapping) -> None:
        """Take over what an answer says of the session."""
        self.session.take(answer)
        if self.session.steps:
            self.state = self.state.with_plan()

    def _shown(self, answer: Mapping) -> None:
        self._take(answer)
        self.onStep(answer["step"]["index"])

    def _refusal(self, do: str) -> Callable[[Mapping], None]:
        """What is to be done when a request fails."""

        def refused(answer: Mapping) -> None:
            self._take(answer)
            # A session of which steps are there stays open in the worker after a cancel.
            self.isOpen = bool(self.session.steps) and answer.get("kind") != "crash"
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
