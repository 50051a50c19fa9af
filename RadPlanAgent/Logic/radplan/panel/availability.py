"""What can be pressed, and why not where it cannot: the tooltips of disabled controls."""

from __future__ import annotations

from dataclasses import dataclass

from .i18n import _
from .planning_state import BUSY, CANCELLING, IDLE, PREPARING, RUNNING


@dataclass(frozen=True)
class Facts:
    """All that availability depends on.

    Parameters
    ----------
    state : str
        Of the planning state machine.
    input_problem : str
        Why the patient's data cannot be planned with; empty if it can.
    beams_problem, packages_problem, model_problem : str
        The same for beams, the worker's packages and the language model.
    prescription_checked : bool
        Whether a person has confirmed structures and prescription.
    uses_model : bool
        Whether a language model plans.
    steps : int
        Finished steps.
    shown, current : int or None
        Step on display, and step that holds the current plan.
    can_undo, can_redo : bool
    edits : int
        Objectives edited and not yet optimized.
    objective_selected : bool
    resumable : bool
        Whether the session folder holds a session that can be opened.
    session_open : bool
        Whether the worker has the session, so that it can be steered.
    reviewer, comment : str
        As entered.
    has_key, has_model : bool
        Whether a key was entered, and server and model were.
    has_rt_plans : bool
        Whether SlicerRT's plan nodes are there.
    beams_in_scene : bool
        Whether planning takes its beams from a SlicerRT plan.
    """

    state: str = IDLE
    input_problem: str = ""
    beams_problem: str = ""
    packages_problem: str = ""
    model_problem: str = ""
    prescription_checked: bool = False
    uses_model: bool = False
    steps: int = 0
    shown: int | None = None
    current: int | None = None
    can_undo: bool = False
    can_redo: bool = False
    edits: int = 0
    objective_selected: bool = False
    resumable: bool = False
    session_open: bool = False
    reviewer: str = ""
    comment: str = ""
    has_key: bool = False
    has_model: bool = False
    has_rt_plans: bool = False
    beams_in_scene: bool = False


def reasons(facts: Facts) -> dict[str, str]:
    """Why each control is disabled, by its name in the .ui file; empty where it is enabled."""
    busy = _("Wait until planning has ended, or cancel it") if facts.state in BUSY else ""
    no_step = "" if facts.steps else _("There is no plan yet")
    closed = "" if facts.session_open else _("Open the session first: press Resume")
    steering = no_step or busy or closed
    plan = (
        facts.input_problem
        or ("" if facts.prescription_checked else _("Tick that structures and prescription are "
                                                    "checked (section Patient)"))
        or facts.beams_problem
        or facts.packages_problem
        or (facts.model_problem if facts.uses_model else "")
    )
    if facts.state in (RUNNING, PREPARING):
        plan = ""  # the button says Cancel
    elif facts.state == CANCELLING:
        plan = _("Being cancelled")
    not_current = (
        _("Only the current plan can be reviewed; make this step the current one")
        if facts.shown != facts.current
        else ""
    )
    unapplied = _("Optimize or discard the edited objectives first") if facts.edits else ""
    review = (
        steering
        or unapplied
        or not_current
        or ("" if facts.reviewer.strip() else _("Enter the name of the person who reviews"))
        or ("" if facts.comment.strip() else _("Enter a comment: what was looked at, and why"))
    )
    return {
        "planButton": plan,
        "resumeButton": busy
        or ("" if facts.resumable else _("The session folder holds no session"))
        or (_("The session is open") if facts.session_open else "")
        or facts.packages_problem,
        "undoButton": steering or ("" if facts.can_undo else _("There is nothing to undo")),
        "redoButton": steering or ("" if facts.can_redo else _("There is nothing to redo")),
        "selectStepButton": steering
        or (_("This step holds the current plan already") if not not_current else ""),
        "compareComboBox": no_step or ("" if facts.steps > 1 else _("There is only one step")),
        "objectivesTable": "",
        "addObjectiveButton": steering or _change_of(not_current),
        "removeObjectiveButton": steering
        or _change_of(not_current)
        or ("" if facts.objective_selected else _("Select an objective first")),
        "discardEditsButton": "" if facts.edits else _("Nothing was edited"),
        "optimizeButton": steering or _change_of(not_current),
        "slidersArea": steering or unapplied or _change_of(not_current),
        "hotSpotButton": no_step,
        "doseCheckBox": no_step,
        "isodoseCheckBox": no_step,
        "legendCheckBox": no_step,
        "acceptButton": review,
        "rejectButton": review,
        "exportDicomButton": steering or unapplied,
        "exportReportButton": steering or unapplied,
        "exportSceneButton": steering or unapplied,
        "updatePlanButton": busy
        or facts.input_problem
        or facts.beams_problem
        or ("" if facts.has_rt_plans else _("Needs SlicerRT's External Beam Planning module"))
        or (_("These beams are in the scene already") if facts.beams_in_scene else ""),
        "saveKeyButton": facts.packages_problem
        or ("" if facts.has_key else _("Enter a key first")),
        "forgetKeyButton": facts.packages_problem,
        "checkModelButton": busy or facts.packages_problem or facts.model_problem,
        "previewSentButton": busy
        or _input_of(facts)
        or ("" if facts.has_model else _("Enter server and model first")),
    }


def _change_of(not_current: str) -> str:
    """Why a step that is not the current plan cannot be changed."""
    return _("Only the current plan can be changed; make this step the current one") if (
        not_current
    ) else ""


def _input_of(facts: Facts) -> str:
    """Why nothing could be planned, whoever plans."""
    return facts.input_problem or facts.beams_problem or facts.packages_problem
