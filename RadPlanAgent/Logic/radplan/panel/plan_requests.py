"""What a person wants planned: Plan, Resume and the beams' SlicerRT plan, asked of the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import CancelledError, InputError
from .assistant_section import AssistantSection
from .i18n import _
from .parameters import BeamSource, PlannerChoice
from .patient_section import PatientSection
from .plan_inputs import PlanInputs
from .planning_run import PlanningRun
from .result_views import ResultViews


class PlanRequests:
    """Turns the choices into requests.

    Parameters
    ----------
    run : PlanningRun
    views : ResultViews
    patient : PatientSection
    assistant : AssistantSection
    choices : callable
        Gives the parameter node; None while there is no scene.
    folderEdit : ctk.ctkPathLineEdit
        Shows the session's folder, or takes another.
    """

    def __init__(
        self,
        run: PlanningRun,
        views: ResultViews,
        patient: PatientSection,
        assistant: AssistantSection,
        choices: Callable[[], Any],
        folderEdit: Any,
    ) -> None:
        self._run, self._views = run, views
        self._patient, self._assistant, self._choices = patient, assistant, choices
        self._folderEdit = folderEdit
        folderEdit.currentPathChanged.connect(self._folderChosen)

    def planOrCancel(self) -> None:
        """Plan with the chosen planner, or cancel what is under way."""
        if self._run.state.is_busy:
            self._run.cancel()
        else:
            self.plan(self._choices().planner)

    def plan(self, planner: PlannerChoice, preview: bool = False) -> None:
        """Plan from scratch; a preview only finds out what a language model would be sent."""
        choices = self._choices()
        if not self._run.offerPackages():
            return
        self._views.forget()
        model = self._assistant.settings() if planner is PlannerChoice.LLM else None
        try:
            self._run.plan(
                self._inputs(choices),
                engine=choices.doseEngine,
                step_limit=choices.stepLimit,
                planner=planner.value,
                model=model,
                folder=choices.sessionFolder,
                preview=preview,
            )
        except InputError as error:
            self._run.fail(str(error))
        folder = self._run.session.folder
        if folder is not None:
            choices.sessionFolder = self._folderEdit.currentPath = str(folder)

    def resume(self) -> None:
        """Open the session of the folder and go on if it was interrupted."""
        if not self._run.offerPackages():
            return
        self._views.forget()
        choices = self._choices()
        asks_model = choices.planner is PlannerChoice.LLM
        self._run.resume(
            choices.sessionFolder, self._assistant.settings() if asks_model else None
        )

    def updateRtPlan(self) -> str:
        """Make or change the SlicerRT plan that shows the beams; why not if it cannot be."""
        choices = self._choices()
        try:
            node = self._run.updateRtPlan(self._inputs(choices), choices.rtPlan)
        except InputError as error:
            return str(error)
        except CancelledError:
            return _("Cancelled.")
        if self._choices() is choices:  # else the scene was closed meanwhile
            choices.rtPlan = node
        return ""

    @property
    def areBeamsInScene(self) -> bool:
        """Whether planning takes its beams from a SlicerRT plan."""
        choices = self._choices()
        return choices is not None and choices.beamSource is BeamSource.RT_PLAN

    def _folderChosen(self, path: str) -> None:
        choices = self._choices()
        if choices is not None and path != choices.sessionFolder:
            choices.sessionFolder = path

    def _inputs(self, choices: Any) -> PlanInputs:
        in_scene = self.areBeamsInScene
        return PlanInputs(
            ct=choices.ct,
            segmentation=choices.segmentation,
            rows=self._patient.rows,
            protocol=self._patient.treatment.to_dict(),
            beams=None if in_scene else (choices.beamTemplate or None),
            rt_plan=choices.rtPlan if in_scene else None,
            spacing_mm=choices.gridSpacingMm or None,
            bixel_width_mm=choices.bixelWidthMm,
        )
