"""The panel: five sections, the choices they share, and the worker that plans.

Sections tell the panel what a person did; the panel changes the choices or asks the worker, and
shows everybody the new state. Nothing here takes long: planning is done in the worker process, and
what has to be read from the scene is read between two looks at the event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk

from ..mrml.rt_engine import inverse_engines
from ..mrml.rt_plan import slicerrt_is_there
from .assistant_requests import AssistantRequests
from .assistant_section import AssistantSection
from .availability import Facts, reasons
from .beams_section import BeamsSection
from .controls import Controls
from .i18n import _
from .parameters import PlannerChoice
from .patient_section import PatientSection
from .plan_requests import PlanRequests
from .plan_section import PlanSection
from .planning_run import PlanningRun
from .result_requests import ResultRequests
from .result_section import ResultSection
from .result_views import ResultViews
from .segment_watch import SegmentWatch
from .session_place import isResumable
from .slider_preview import SliderPreview
from .steering_requests import SteeringRequests
from .step_display import StepDisplay
from .tables import selected_row

_SECTIONS = {
    "Patient": "patientButton",
    "BeamsAndDose": "beamsButton",
    "Plan": "planSectionButton",
    "Result": "resultButton",
    "Assistant": "assistantButton",
}


class Panel:
    """The module's panel.

    Parameters
    ----------
    loadUi : callable
        Gives the widget of a .ui file by its name.
    run : PlanningRun, optional
        Who plans; a worker process of its own when not given.
    """

    def __init__(
        self, loadUi: Callable[[str], qt.QWidget], run: PlanningRun | None = None
    ) -> None:
        self.widget = loadUi("RadPlanAgent")
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self._sections = {name: loadUi(name) for name in _SECTIONS}
        for name, button in _SECTIONS.items():
            section = self._sections[name]
            getattr(self.ui, button).layout().addWidget(section)
            vars(self.ui).update(vars(slicer.util.childWidgetVariables(section)))
        self._parameters: Any = None
        self._guiTag: int | None = None
        self._observerTag: int | None = None
        self._layers: tuple[bool, ...] = ()
        self._told: set[tuple] = set()
        self._updateTimer = qt.QTimer()
        self._updateTimer.setSingleShot(True)
        self._updateTimer.timeout.connect(self.update)
        self.run = run or PlanningRun()
        self.views = ResultViews()
        self._buildSections()
        self._buildRequests()
        self._connectButtons()
        self._followRun()
        self.update()

    # Building

    def _buildSections(self) -> None:
        ui, later = self.ui, self.updateSoon
        self.patient = PatientSection(ui, later)
        self.beams = BeamsSection(ui, later)
        self.result = ResultSection(ui, later)
        self.assistant = AssistantSection(ui, later)
        self.sliderPreview = SliderPreview(self.run, self.views, self.result, ui.previewNote)
        self.plan = PlanSection(
            ui,
            on_show=self._showStep,
            on_compare=self._compareStep,
            on_slide=self.sliderPreview.slid,
            on_release=self.sliderPreview.released,
            on_edit=later,
        )
        self._segments = SegmentWatch(later)
        ui.researchNote.text = _(
            "<b>RESEARCH USE ONLY.</b> Unapproved until a person has reviewed the plan."
        )
        self.beams.show_memory("")
        # Open where a person starts, so that the panel fits the screen.
        for button in (ui.beamsButton, ui.resultButton, ui.assistantButton):
            button.collapsed = True

    def _buildRequests(self) -> None:
        run, views, patient, choices = self.run, self.views, self.patient, self._choices
        self.display = StepDisplay(run, views, patient, self.plan, self.result, choices)
        self.planRequests = PlanRequests(
            run, views, patient, self.assistant, choices, self.ui.sessionFolderEdit
        )
        self.steeringRequests = SteeringRequests(run, views, self.plan, self.result)
        self.resultRequests = ResultRequests(run, views, self.result)
        self.assistantRequests = AssistantRequests(run, self.assistant, self.planRequests)

    def _connectButtons(self) -> None:
        plans, results = self.planRequests, self.resultRequests
        steering, assistant = self.steeringRequests, self.assistantRequests
        self.controls = Controls(self.ui)
        self.controls.connect(
            {
                "planButton": plans.planOrCancel,
                "resumeButton": plans.resume,
                "updatePlanButton": self.onUpdatePlan,
                "undoButton": steering.undo,
                "redoButton": steering.redo,
                "selectStepButton": steering.select,
                "optimizeButton": steering.optimize,
                "hotSpotButton": results.showHotSpot,
                "acceptButton": lambda: results.review("approved"),
                "rejectButton": lambda: results.review("rejected"),
                "exportDicomButton": lambda: results.export("dicom"),
                "exportReportButton": lambda: results.export("report"),
                "exportSceneButton": lambda: results.export("scene"),
                "saveKeyButton": assistant.saveKey,
                "forgetKeyButton": assistant.forgetKey,
                "checkModelButton": assistant.checkModel,
                "previewSentButton": assistant.previewSent,
            }
        )

    def _followRun(self) -> None:
        run = self.run
        run.onChange = self.update
        run.onStep = self._stepMade
        run.onPreview = self.sliderPreview.show
        run.onNote = self._noted
        run.onPlanned = self.assistantRequests.showSent

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

    def _choices(self) -> Any:
        """The parameter node; None while there is no scene."""
        return self._parameters

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
        self.sliderPreview.stop()
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
        self._segments.follow(parameters.segmentation if parameters else None)
        self.patient.update(parameters)
        self.beams.update(parameters, inverse_engines())
        self.beams.show_cache(run.cacheText())
        self.assistant.update(parameters)
        if not self.sliderPreview.isHeld:  # it keeps the preview
            self.display.update()
        self.controls.showState(run.state, bool(run.session.steps))
        why = reasons(self._facts())
        self.controls.showAvailability(why, run.state.is_busy)
        self.plan.enable_sliders(not why["slidersArea"])

    def _facts(self) -> Facts:
        parameters, run, session = self._parameters, self.run, self.run.session
        return Facts(
            state=run.state.phase,
            input_problem=self.patient.problem,
            beams_problem=self.beams.problem,
            packages_problem=run.packagesProblem(),
            model_problem=self.assistant.problem,
            prescription_checked=bool(parameters and parameters.prescriptionChecked),
            uses_model=bool(parameters and parameters.planner is PlannerChoice.LLM),
            steps=len(session.steps),
            shown=self.views.shown,
            current=session.current,
            can_undo=session.canUndo,
            can_redo=session.canRedo,
            edits=self.plan.edits.count,
            objective_selected=selected_row(self.ui.objectivesTable) is not None,
            resumable=bool(parameters) and isResumable(parameters.sessionFolder),
            session_open=run.isOpen,
            reviewer=self.result.reviewer,
            comment=self.result.comment,
            has_key=bool(self.assistant.key),
            has_model=self.assistant.is_complete,
            has_rt_plans=slicerrt_is_there(),
            beams_in_scene=self.planRequests.areBeamsInScene,
        )

    # What the run tells

    def _stepMade(self, index: int) -> None:
        """A step has arrived: show it if it became the current plan."""
        self.sliderPreview.end()
        self.plan.reset_sliders()
        session = self.run.session
        if session.current is not None:
            self._showStep(session.current)
        if (session.folder, index) not in self._told:  # it may only be shown again
            self._told.add((session.folder, index))
            self.assistant.add_to_transcript(session.stepText(index))

    def _noted(self, text: str) -> None:
        self.assistant.add_to_transcript(text)
        if "beamlets" in text and "matrix" in text:  # str(MemoryEstimate)
            self.beams.show_memory(text)

    # What a person does that shows at once

    def _showStep(self, index: int) -> None:
        self.display.show(index)
        self.updateSoon()

    def _compareStep(self, index: int | None) -> None:
        self.display.compare(index)
        self.updateSoon()

    def onUpdatePlan(self) -> None:
        """Make or change the SlicerRT plan that shows the beams."""
        problem = self.planRequests.updateRtPlan()
        self.update()
        if problem:
            self.beams.show_problem(problem)


def _layers(parameters: Any) -> tuple[bool, ...]:
    """What the views are to show."""
    return (parameters.showDose, parameters.showIsodoses, parameters.showLegend)
