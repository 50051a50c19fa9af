"""The panel: five sections, the choices they share, and the worker that plans.

Sections tell the panel what a person did; the panel changes the choices or asks the worker, and
shows everybody the new state. Nothing here takes long: planning is done in the worker process, and
what has to be read from the scene is read between two looks at the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qt
import slicer
import vtk

from ..errors import CancelledError, InputError
from ..optimize import Objective
from .assistant_section import AssistantSection
from .availability import Facts, reasons
from .beams_section import BeamsSection
from .i18n import _
from .objective_edits import objectives_from
from .parameters import BeamSource, PlannerChoice
from .patient_section import PatientSection
from .plan_section import PlanSection
from .result_section import ResultSection
from .result_views import ResultViews
from .review_dialog import confirmReview
from .sliders import Slider, slider_actions, sliders
from .tables import selected_row, set_available, show_note

#: A preview is asked for when a slider has rested this long, milliseconds.
PREVIEW_PAUSE_MS = 60
_SECTIONS = {
    "Patient": "patientButton",
    "BeamsAndDose": "beamsButton",
    "Plan": "planSectionButton",
    "Result": "resultButton",
    "Assistant": "assistantButton",
}
#: Widgets that would be empty before there is a step.
_AFTER_FIRST_STEP = (
    *("stepsTitle", "stepsTable", "slidersTitle", "slidersArea", "objectivesTitle"),
    *("objectivesTable", "scorecardTable", "undoButton", "redoButton", "selectStepButton"),
    *("compareLabel", "compareComboBox", "addObjectiveButton", "removeObjectiveButton"),
    *("discardEditsButton", "optimizeButton"),
)


class Panel:
    """The module's panel.

    Parameters
    ----------
    loadUi : callable
        Gives the widget of a .ui file by its name.
    run : PlanningRun, optional
        Who plans; a worker process of its own when not given.
    """

    def __init__(self, loadUi: Callable[[str], qt.QWidget], run: Any = None) -> None:
        from .planning_run import PlanningRun

        self.widget = loadUi("RadPlanAgent")
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self._sections = {name: loadUi(name) for name in _SECTIONS}
        for name, button in _SECTIONS.items():
            section = self._sections[name]
            getattr(self.ui, button).layout().addWidget(section)
            vars(self.ui).update(vars(slicer.util.childWidgetVariables(section)))
        self.confirmReview = confirmReview
        self._parameters: Any = None
        self._guiTag: int | None = None
        self._observerTag: int | None = None
        self._layers: tuple[bool, ...] = ()
        self._slide: tuple[Slider, float] | None = None
        self._tips: dict[str, str] = {}
        self._told: set[tuple] = set()
        self._segmentation: Any = None
        self._segmentTags: list[int] = []
        self.run = run or PlanningRun()
        self.run.onChange = self.update
        self.run.onStep = self._stepMade
        self.run.onPreview = self._previewMade
        self.run.onNote = self._noted
        self.run.onPlanned = self._showSent
        self.views = ResultViews()
        self._buildSections()
        self._buildTimers()
        self._connectButtons()
        self.update()

    # Building

    def _buildSections(self) -> None:
        ui, later = self.ui, self.updateSoon
        self.patient = PatientSection(ui, later)
        self.beams = BeamsSection(ui, later)
        self.plan = PlanSection(
            ui,
            on_show=self._showStep,
            on_compare=self._compareStep,
            on_slide=self._slid,
            on_release=self._released,
            on_edit=later,
        )
        self.result = ResultSection(ui, later)
        self.assistant = AssistantSection(ui, later)
        ui.researchNote.text = _(
            "<b>RESEARCH USE ONLY.</b> Unapproved until a person has reviewed the plan."
        )
        self.beams.show_memory("")
        # Open where a person starts, so that the panel fits the screen.
        for button in (ui.beamsButton, ui.resultButton, ui.assistantButton):
            button.collapsed = True

    def _buildTimers(self) -> None:
        self._updateTimer, self._previewTimer = qt.QTimer(), qt.QTimer()
        for timer, slot, pause in (
            (self._updateTimer, self.update, 0),
            (self._previewTimer, self._askForPreview, PREVIEW_PAUSE_MS),
        ):
            timer.setSingleShot(True)
            timer.setInterval(pause)
            timer.timeout.connect(slot)

    def _connectButtons(self) -> None:
        for name, slot in {
            "planButton": self.onPlan,
            "resumeButton": self.onResume,
            "undoButton": lambda: self._move("undo"),
            "redoButton": lambda: self._move("redo"),
            "selectStepButton": lambda: self._move("select", step=self.views.shown),
            "optimizeButton": self.onOptimize,
            "hotSpotButton": self.onHotSpot,
            "acceptButton": lambda: self.onReview("approved"),
            "rejectButton": lambda: self.onReview("rejected"),
            "exportDicomButton": lambda: self._export("dicom"),
            "exportReportButton": lambda: self._export("report"),
            "exportSceneButton": lambda: self._export("scene"),
            "updatePlanButton": self.onUpdatePlan,
            "saveKeyButton": self.onSaveKey,
            "forgetKeyButton": self.onForgetKey,
            "checkModelButton": self.onCheckModel,
            "previewSentButton": self.onShowSent,
        }.items():
            button = getattr(self.ui, name)
            self._tips[name] = button.toolTip
            button.clicked.connect(lambda *_args, slot=slot: slot())
        self.ui.sessionFolderEdit.currentPathChanged.connect(self._folderChosen)
        for name in ("doseCheckBox", "isodoseCheckBox", "legendCheckBox"):
            self._tips[name] = getattr(self.ui, name).toolTip

    # Life cycle

    def setMRMLScene(self, scene: Any) -> None:
        """Let the selectors offer the nodes of a scene."""
        # A .ui file connects what is inside it only: every section has to be told by itself.
        for widget in (self.widget, *self._sections.values()):
            widget.setMRMLScene(scene)

    def setParameterNode(self, parameters: Any) -> None:
        """Show the choices of a scene; None while there is none or the module is not shown."""
        if self._parameters is not None:
            self._parameters.disconnectGui(self._guiTag)
            self._parameters.RemoveObserver(self._observerTag)
        self._parameters = parameters
        if parameters is not None:
            self._guiTag = parameters.connectGui(self.ui)
            self._observerTag = parameters.AddObserver(
                vtk.vtkCommand.ModifiedEvent, self._choicesChanged
            )
            self._layers = _layers(parameters)
            self.ui.sessionFolderEdit.currentPath = parameters.sessionFolder
        self.update()

    def _choicesChanged(self, *_args: Any) -> None:
        """Something was chosen, here or by a script; what the views show follows at once."""
        layers = _layers(self._parameters)
        if layers != self._layers:
            self._layers = layers
            self.views.applyChoices(self._parameters)
        self.updateSoon()

    def sceneCloses(self) -> None:
        """Leave the scene; finished steps stay in the session folder."""
        self.setParameterNode(None)
        self.run.close()
        self.views.forget()
        self.update()

    def shutDown(self) -> None:
        """End the worker; nothing of it is left."""
        self._updateTimer.stop()
        self._previewTimer.stop()
        if self._parameters is not None:
            self.setParameterNode(None)
        self.run.shutDown()

    # Showing

    def updateSoon(self) -> None:
        """Show the state anew once the event loop has time."""
        self._updateTimer.start()

    def update(self) -> None:
        """Show the state anew."""
        parameters, run = self._parameters, self.run
        self._observeSegments(parameters.segmentation if parameters else None)
        self.patient.update(parameters)
        self.beams.update(parameters, run.engines())
        self.beams.show_cache(run.cacheText())
        self.assistant.update(parameters)
        if self._slide is None:  # a slider that is held keeps the preview
            self._showSteps()
        for name in _AFTER_FIRST_STEP:
            getattr(self.ui, name).visible = bool(run.steps)
        self._showState()
        self._applyReasons(reasons(self._facts()))

    def _observeSegments(self, node: Any) -> None:
        """Follow segments that are renamed, added or removed elsewhere in Slicer."""
        if node is self._segmentation:
            return
        for tag in self._segmentTags:
            self._segmentation.RemoveObserver(tag)
        self._segmentation, self._segmentTags = node, []
        if node is not None:
            events = slicer.vtkSegmentation
            self._segmentTags = [
                node.AddObserver(event, lambda *_args: self.updateSoon())
                for event in (
                    events.SegmentAdded,
                    events.SegmentRemoved,
                    events.SegmentModified,
                )
            ]

    def _facts(self) -> Facts:
        parameters, run = self._parameters, self.run
        return Facts(
            state=run.state.phase,
            input_problem=self.patient.problem,
            beams_problem=self.beams.problem,
            packages_problem=run.packagesProblem(),
            model_problem=self.assistant.problem,
            prescription_checked=bool(parameters and parameters.prescriptionChecked),
            uses_model=bool(parameters and parameters.planner is PlannerChoice.LLM),
            steps=len(run.steps),
            shown=self.views.shown,
            current=run.current,
            can_undo=run.canUndo,
            can_redo=run.canRedo,
            edits=self.plan.edits.count,
            objective_selected=selected_row(self.ui.objectivesTable) is not None,
            resumable=bool(parameters) and run.isResumable(parameters.sessionFolder),
            session_open=run.isOpen,
            reviewer=self.result.reviewer,
            comment=self.result.comment,
            has_key=bool(self.assistant.key),
            has_model=self.assistant.is_complete,
            has_rt_plans=run.hasRtPlans(),
            beams_in_scene=bool(parameters) and self._fromRtPlan(),
        )

    def _applyReasons(self, why: Mapping[str, str]) -> None:
        for name, reason in why.items():
            set_available(getattr(self.ui, name), reason, self._tips.get(name, ""))
        self.plan.enable_sliders(not why["slidersArea"])
        busy = self.run.state.is_busy
        self.ui.planButton.text = _("Cancel") if busy else _("Plan")
        if not why["planButton"]:
            self.ui.planButton.toolTip = (
                _("Stop; finished steps are kept and can be resumed")
                if busy
                else _("Make a plan: reads the scene, then plans in a process of its own")
            )
        self.ui.resumeButton.toolTip = why["resumeButton"] or _(
            "Open the session of the folder, and go on where it stopped"
        )
        # What is planned must not change under the plan.
        for section in ("patientButton", "beamsButton"):
            inner = getattr(self.ui, section)
            for child in inner.children():
                if getattr(child, "isWidgetType", lambda: False)() and hasattr(child, "mrmlScene"):
                    child.enabled = not busy
                    child.toolTip = _("Wait until planning has ended") if busy else ""

    def _showState(self) -> None:
        state, bar = self.run.state, self.ui.progressBar
        words = {
            "idle": "",
            "preparing": _("Preparing"),
            "running": _("Working"),
            "cancelling": _("Cancelling"),
            "done": _("Finished"),
            "failed": _("Failed"),
        }
        busy = state.is_busy
        bar.value = round(bar.maximum * state.fraction) if busy else 0
        word = words[state.phase]
        bar.setFormat(f"{word}: {state.stage}" if busy and state.stage else word)
        bar.visible = state.phase != "idle"
        show_note(self.ui.stateNote, state.message)
        self.ui.stateNote.setStyleSheet("color: #a4262c" if state.phase == "failed" else "")

    def _showSteps(self) -> None:
        run, views = self.run, self.views
        shown = views.shown if views.shown is not None else run.current
        if not run.steps:
            shown = None
        self.plan.show_steps(run.steps, run.current, shown, views.compared)
        objectives: tuple[Objective, ...] = ()
        if shown is not None:
            objectives = objectives_from(run.objectives(shown))
        names = tuple(row.name for row in self.patient.rows if row.name)
        editable = run.isOpen and shown == run.current and not run.state.is_busy
        self.plan.show_objectives(objectives, names, editable=editable)
        judged = self.patient.binding.protocol.structures if self.patient.binding else ()
        structures = [(row.name, row.type) for row in self.patient.rows if row.name]
        self.plan.show_sliders(sliders(structures, judged) if run.steps else ())
        self.result.show_scorecard(
            _named(shown),
            run.scorecard(shown) if shown is not None else None,
            _named(views.compared),
            run.scorecard(views.compared) if views.compared is not None else None,
        )
        self.result.show_review(run.review)

    # Planning

    def onPlan(self) -> None:
        """Plan, or cancel what is under way."""
        if self.run.state.is_busy:
            self.run.cancel()
            return
        self._startPlan(self._parameters.planner.value)

    def _startPlan(self, planner: str, preview: bool = False) -> None:
        """Plan from scratch; a preview only finds out what a language model would be sent."""
        parameters = self._parameters
        if not self._packagesReady():
            return
        self.views.forget()
        model = self.assistant.settings() if planner == PlannerChoice.LLM.value else None
        try:
            self.run.plan(
                ct=parameters.ct,
                segmentation=parameters.segmentation,
                rows=self.patient.rows,
                protocol=self.patient.treatment.to_dict(),
                beams=self._beams(),
                rt_plan=parameters.rtPlan if self._fromRtPlan() else None,
                engine=parameters.doseEngine,
                spacing_mm=parameters.gridSpacingMm or None,
                bixel_width_mm=parameters.bixelWidthMm,
                step_limit=parameters.stepLimit,
                planner=planner,
                model=model,
                folder=parameters.sessionFolder,
                preview=preview,
            )
        except InputError as error:
            self.run.fail(str(error))
        if self.run.folder is not None and self._parameters is not None:
            self._parameters.sessionFolder = str(self.run.folder)
            self.ui.sessionFolderEdit.currentPath = str(self.run.folder)

    def onResume(self) -> None:
        """Open the session of the folder and go on if it was interrupted."""
        if not self._packagesReady():
            return
        self.views.forget()
        model = self.assistant.settings() if self._asksModel() else None
        self.run.resume(self._parameters.sessionFolder, model)

    def _packagesReady(self) -> bool:
        """Whether the worker has its packages; offers to install them, once a person agrees."""
        return self.run.offerPackages()

    def _fromRtPlan(self) -> bool:
        return self._parameters.beamSource is BeamSource.RT_PLAN

    def _asksModel(self) -> bool:
        return self._parameters is not None and self._parameters.planner is PlannerChoice.LLM

    def _beams(self) -> str | None:
        return None if self._fromRtPlan() else (self._parameters.beamTemplate or None)

    def _folderChosen(self, path: str) -> None:
        if self._parameters is not None and path != self._parameters.sessionFolder:
            self._parameters.sessionFolder = path

    def _stepMade(self, index: int) -> None:
        """A step has arrived: show it if it became the current plan."""
        self._slide = None
        self.plan.reset_sliders()
        show_note(self.ui.previewNote, "")
        if self.run.current is not None:
            self._showStep(self.run.current)
        if (self.run.folder, index) not in self._told:  # it may only be shown again
            self._told.add((self.run.folder, index))
            self.assistant.add_to_transcript(self.run.stepText(index))

    def _noted(self, text: str) -> None:
        self.assistant.add_to_transcript(text)
        if "beamlets" in text and "matrix" in text:  # str(MemoryEstimate)
            self.beams.show_memory(text)

    # Steps

    def _showStep(self, index: int) -> None:
        if self.plan.edits.count and index != self.views.shown:
            self.plan.discard_edits()
        if self.views.compared == index:
            self.views.endComparison()
        parameters = self._parameters
        if parameters is not None and parameters.ct and parameters.segmentation:
            self.views.show(self.run, index, parameters, self.patient.rows)
        else:
            self.views.shown = index
        self.updateSoon()

    def _compareStep(self, index: int | None) -> None:
        if index is None:
            self.views.endComparison()
        else:
            self.views.compare(self.run, index)
        self.updateSoon()

    def _move(self, what: str, **fields: Any) -> None:
        self.run.request(what, self._author(), **fields)

    def _author(self) -> str:
        """Who does things by hand: the reviewer's name if one is entered, else the user."""
        return self.result.reviewer.strip() or _("panel user")

    def onOptimize(self) -> None:
        """Optimize with the objectives as edited."""
        actions = self.plan.edits.actions()
        self.run.request(
            "steer",
            self._author(),
            actions=actions,
            reason=_("Objectives edited by hand") if actions else _("Optimized further"),
        )

    # Sliders

    def _slid(self, slider: Slider, position: float) -> None:
        self._slide = (slider, position)
        self._previewTimer.start()

    def _askForPreview(self) -> None:
        if self._slide is not None and self.run.isOpen and not self.run.state.is_busy:
            actions = self._slideActions(*self._slide)
            if actions:
                self.run.preview(actions)

    def _slideActions(self, slider: Slider, position: float) -> list[dict]:
        objectives = objectives_from(self.run.objectives(self.run.current))
        return slider_actions(objectives, slider, position)

    def _released(self, slider: Slider, position: float) -> None:
        self._previewTimer.stop()
        actions = self._slideActions(slider, position)
        word = _("more") if position > 0 else _("less")
        if slider.is_target:
            reason = _("{name}: {word} exact dose (slider {position:+.0%})")
        else:
            reason = _("{name}: spare {word} (slider {position:+.0%})")
        self.run.request(
            "steer",
            self._author(),
            actions=actions,
            reason=reason.format(name=slider.structure, word=word, position=position),
        )

    def _previewMade(self, event: Mapping) -> None:
        """Show what a slider would lead to; the step on display stays the plan."""
        if self._slide is None:
            return
        self.views.showPreview(self.run, event)
        current = self.run.current
        self.result.show_scorecard(
            _("Preview"), event["scorecard"], _named(current), self.run.scorecard(current)
        )
        text = _("Preview in {seconds:.1f} s; let go to keep it as a step.")
        show_note(self.ui.previewNote, text.format(seconds=event["seconds"]))

    # Result

    def onHotSpot(self) -> None:
        """Move the slices to where the dose is highest."""
        text = self.views.jumpToHotSpot()
        if text:
            slicer.util.showStatusMessage(text, 5000)

    def onReview(self, verdict: str) -> None:
        """Record a person's verdict, once they confirm it."""
        plan = _("step {index}").format(index=self.run.current)
        if not self.confirmReview(verdict, self.result.reviewer.strip(), plan):
            return
        self.run.request(
            "review",
            "",
            verdict=verdict,
            name=self.result.reviewer.strip(),
            comment=self.result.comment.strip(),
            step=self.run.current,
        )

    def _export(self, what: str) -> None:
        self.result.show_export(_("Writing…"))
        self.run.export(what, self.result.show_export)

    def onUpdatePlan(self) -> None:
        """Make or change the SlicerRT plan that shows the beams."""
        parameters, problem = self._parameters, ""
        try:
            node = self.run.updateRtPlan(
                ct=parameters.ct,
                segmentation=parameters.segmentation,
                rows=self.patient.rows,
                protocol=self.patient.treatment.to_dict(),
                beams=self._beams(),
                spacing_mm=parameters.gridSpacingMm or None,
                bixel_width_mm=parameters.bixelWidthMm,
                rt_plan=parameters.rtPlan,
            )
            if self._parameters is parameters:  # else the scene was closed meanwhile
                parameters.rtPlan = node
        except InputError as error:
            problem = str(error)
        except CancelledError:
            problem = _("Cancelled.")
        self.update()
        if problem:
            show_note(self.ui.beamsMessage, problem)

    # Assistant

    def onSaveKey(self) -> None:
        """Put the key into the system's keyring."""
        key = self.assistant.key
        self.ui.modelKeyEdit.text = ""
        self.run.keepKey(self.assistant.host, key, self.assistant.show_check)

    def onForgetKey(self) -> None:
        """Take the key out of the system's keyring."""
        self.run.forgetKey(self.assistant.host, self.assistant.show_check)

    def onCheckModel(self) -> None:
        """Ask the server what it can do."""
        if self._packagesReady():
            self.assistant.show_check(_("Asking {host}…").format(host=self.assistant.host))
            self.run.checkModel(self.assistant.settings(), self.assistant.show_check)

    def onShowSent(self) -> None:
        """Show what a language model would be sent, after a first plan if there is none yet."""
        if self.run.sentText():
            self._showSent()
        else:
            self._startPlan(PlannerChoice.LLM.value, preview=True)

    def _showSent(self) -> None:
        self.assistant.show_sent(self.run.sentText())


def _named(step: int | None) -> str:
    return "" if step is None else _("Step {index}").format(index=step)


def _layers(parameters: Any) -> tuple[bool, ...]:
    """What the views are to show."""
    return (parameters.showDose, parameters.showIsodoses, parameters.showLegend)
