"""Section 2: beams, dose engine, dose grid, memory and cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..beams import BEAM_TEMPLATES, gantry_angles
from ..errors import InputError
from .i18n import _
from .parameters import BeamSource
from .tables import show_note


class BeamsSection:
    """Widgets of section 2 and what they say.

    Parameters
    ----------
    ui : object
        Widgets of BeamsAndDose.ui by name.
    changed : callable
        Called when anything was chosen.
    """

    def __init__(self, ui: Any, changed: Callable[[], None]) -> None:
        self.ui, self._changed = ui, changed
        self._choices: Any = None
        self._engines: tuple[str, ...] | None = None
        self.problem = ""
        combo = ui.beamTemplateComboBox
        combo.setEditable(True)
        combo.addItem(_("As the protocol says"), "")
        for name, angles in BEAM_TEMPLATES.items():
            text = _("{count} beams ({name})").format(count=len(angles), name=name)
            combo.addItem(text, name)
        combo.lineEdit().setPlaceholderText(_("gantry angles, such as 0, 72, 144"))
        combo.activated.connect(lambda *_args: self._choose_template(combo.currentData))
        combo.lineEdit().editingFinished.connect(lambda *_args: self._type_angles())
        # Slicer's wrapper cannot connect a selector of SlicerRT's nodes, whose class it may lack.
        ui.rtPlanSelector.currentNodeChanged.connect(lambda *_args: self._choose_plan())
        ui.doseEngineComboBox.activated.connect(
            lambda *_args: self._choose(doseEngine=ui.doseEngineComboBox.currentData or "")
        )

    def update(self, choices: Any, engines: tuple[str, ...]) -> None:
        """Show the choices.

        Parameters
        ----------
        choices : RadPlanAgentParameterNode or None
        engines : tuple of str
            SlicerRT's dose engines that give an influence matrix.
        """
        self._choices = choices
        ui = self.ui
        from_plan = choices is not None and choices.beamSource is BeamSource.RT_PLAN
        for widget in (ui.beamTemplateComboBox, ui.beamTemplateComboBoxLabel):
            widget.visible = not from_plan
        for widget in (ui.rtPlanSelector, ui.rtPlanSelectorLabel):
            widget.visible = from_plan
        self.problem = "" if choices is None else self._problem(choices)
        if choices is not None:
            self._show_template(choices.beamTemplate)
            self._show_plan(choices.rtPlan)
            self._show_engines(engines, choices.doseEngine)
        self.show_problem(self.problem)

    def _problem(self, choices: Any) -> str:
        if choices.beamSource is BeamSource.RT_PLAN:
            if choices.rtPlan is None:
                return _("Choose a SlicerRT plan, or take a template")
        elif choices.beamTemplate:
            try:
                gantry_angles(choices.beamTemplate)
            except InputError as error:
                return str(error)
        if choices.doseEngine and choices.beamSource is not BeamSource.RT_PLAN:
            return _("SlicerRT's dose engines need the beams of a SlicerRT plan")
        return ""

    def _show_template(self, template: str) -> None:
        combo = self.ui.beamTemplateComboBox
        index = combo.findData(template)
        if index >= 0:
            combo.setCurrentIndex(index)
        elif not combo.lineEdit().hasFocus():
            combo.setCurrentIndex(-1)
            combo.setEditText(template)

    def _show_plan(self, node: Any) -> None:
        selector = self.ui.rtPlanSelector
        if selector.currentNode() is not node:
            selector.blockSignals(True)
            selector.setCurrentNode(node)
            selector.blockSignals(False)

    def _show_engines(self, engines: tuple[str, ...], chosen: str) -> None:
        combo = self.ui.doseEngineComboBox
        if engines != self._engines:
            self._engines = engines
            combo.clear()
            combo.addItem(_("Built-in (pyRadPlan)"), "")
            for name in engines:
                combo.addItem(_("SlicerRT: {name}").format(name=name), name)
        combo.setCurrentIndex(max(combo.findData(chosen), 0))
        combo.toolTip = (
            _("Computes the dose of every beamlet.")
            if engines
            else _("SlicerRT's engines are offered once its External Beam Planning is installed.")
        )

    def _choose_template(self, name: str | None) -> None:
        if name is not None:
            self._choose(beamTemplate=name)

    def _type_angles(self) -> None:
        combo = self.ui.beamTemplateComboBox
        text = combo.currentText.strip()
        if combo.findText(text) < 0 and self._choices is not None:
            template = text.replace(" ", "")
            if template != self._choices.beamTemplate:
                self._choose(beamTemplate=template)

    def _choose_plan(self) -> None:
        node = self.ui.rtPlanSelector.currentNode()
        if self._choices is not None and node is not self._choices.rtPlan:
            self._choose(rtPlan=node)

    def _choose(self, **values: Any) -> None:
        if self._choices is None:
            return
        for name, value in values.items():
            setattr(self._choices, name, value)
        self._changed()

    def show_problem(self, text: str) -> None:
        """Why beams cannot be made; empty if they can."""
        show_note(self.ui.beamsMessage, text)

    def show_memory(self, text: str) -> None:
        """What the beamlet doses need."""
        self.ui.memoryNote.text = text or _("estimated when planning begins")

    def show_cache(self, text: str) -> None:
        """What is kept from before."""
        self.ui.cacheNote.text = text
