"""Controls of the whole panel: what can be pressed and why not, and how far planning has come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .i18n import _
from .planning_state import PlanningState
from .tables import set_available, show_note

#: Widgets that would be empty before there is a step.
_AFTER_FIRST_STEP = (
    *("stepsTitle", "stepsTable", "slidersTitle", "slidersArea", "objectivesTitle"),
    *("objectivesTable", "scorecardTable", "undoButton", "redoButton", "selectStepButton"),
    *("compareLabel", "compareComboBox", "addObjectiveButton", "removeObjectiveButton"),
    *("discardEditsButton", "optimizeButton"),
)
_CHECK_BOXES = ("doseCheckBox", "isodoseCheckBox", "legendCheckBox")


class Controls:
    """Buttons, check boxes, progress bar and the note below it.

    Parameters
    ----------
    ui : object
        The panel's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._tips = {name: getattr(ui, name).toolTip for name in _CHECK_BOXES}

    def connect(self, slots: Mapping[str, Callable[[], Any]]) -> None:
        """Let buttons, by their names, do things."""
        for name, slot in slots.items():
            button = getattr(self._ui, name)
            self._tips[name] = button.toolTip
            button.clicked.connect(lambda *_args, slot=slot: slot())

    def showAvailability(self, why: Mapping[str, str], busy: bool) -> None:
        """Enable what can be used now; the rest says why not.

        Parameters
        ----------
        why : mapping
            `availability.reasons`.
        busy : bool
            Whether planning is under way.
        """
        ui = self._ui
        for name, reason in why.items():
            set_available(getattr(ui, name), reason, self._tips.get(name, ""))
        ui.planButton.text = _("Cancel") if busy else _("Plan")
        if not why["planButton"]:
            ui.planButton.toolTip = (
                _("Stop; finished steps are kept and can be resumed")
                if busy
                else _("Make a plan: reads the scene, then plans in a process of its own")
            )
        ui.resumeButton.toolTip = why["resumeButton"] or _(
            "Open the session of the folder, and go on where it stopped"
        )
        # What is planned must not change under the plan.
        for section in (ui.patientButton, ui.beamsButton):
            for inner in section.children():
                if getattr(inner, "isWidgetType", lambda: False)() and hasattr(inner, "mrmlScene"):
                    inner.enabled = not busy
                    inner.toolTip = _("Wait until planning has ended") if busy else ""

    def showState(self, state: PlanningState, hasSteps: bool) -> None:
        """Show what planning is doing, and the widgets that there is something for."""
        for name in _AFTER_FIRST_STEP:
            getattr(self._ui, name).visible = hasSteps
        words = {
            "idle": "",
            "preparing": _("Preparing"),
            "running": _("Working"),
            "cancelling": _("Cancelling"),
            "done": _("Finished"),
            "failed": _("Failed"),
        }
        bar, busy = self._ui.progressBar, state.is_busy
        bar.value = round(bar.maximum * state.fraction) if busy else 0
        word = words[state.phase]
        bar.setFormat(f"{word}: {state.stage}" if busy and state.stage else word)
        bar.visible = state.phase != "idle"
        show_note(self._ui.stateNote, state.message)
        self._ui.stateNote.setStyleSheet("color: #a4262c" if state.phase == "failed" else "")
