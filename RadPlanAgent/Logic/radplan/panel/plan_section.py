"""Section 3: planner, Plan and Cancel, steps, objectives, sliders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import qt

from ..errors import InputError
from ..optimize import Objective
from .i18n import _
from .objective_dialog import ask_for_objective, constraint_words
from .objective_edits import FIELDS, ObjectiveEdits, Row, can_edit, constraints_from
from .sliders import Slider
from .tables import (
    AMBER,
    GREEN,
    GREY,
    RED,
    choose_row,
    selected_row,
    set_cell,
    show_note,
    stretch_column,
)

#: Steps of a slider from its middle to either end.
SLIDER_STEPS = 10
#: Changes of a step that are listed below the table.
MOST_CHANGES = 4
_FUNCTION_WORDS = {"dvh": "DVH", "geud": "gEUD"}


class PlanSection:
    """Widgets of section 3 and what they say.

    Parameters
    ----------
    ui : object
        Widgets of Plan.ui by name.
    on_show : callable
        Told which step a person wants to see (its index).
    on_compare : callable
        Told which step to compare with; None for none.
    on_slide : callable
        Told slider and position (-1 … 1) while it moves.
    on_release : callable
        Told slider and position when it is let go.
    on_edit : callable
        Called when objectives were edited or another one was selected.
    """

    def __init__(
        self,
        ui: Any,
        *,
        on_show: Callable[[int], None],
        on_compare: Callable[[int | None], None],
        on_slide: Callable[[Slider, float], None],
        on_release: Callable[[Slider, float], None],
        on_edit: Callable[[], None],
    ) -> None:
        self.ui = ui
        self._on_show, self._on_compare = on_show, on_compare
        self._on_slide, self._on_release, self._on_edit = on_slide, on_release, on_edit
        self.edits = ObjectiveEdits()
        self._ids: list[str] = []
        self._constraints: dict[str, Mapping] = {}
        self._steps: Sequence[Mapping] = ()
        self._current: int | None = None
        self._structures: tuple[str, ...] = ()
        self._sliders: dict[Slider, qt.QSlider] = {}
        self._filling = False
        stretch_column(ui.stepsTable, 1)
        stretch_column(ui.objectivesTable, (0, 1))
        ui.stepsTable.itemSelectionChanged.connect(self._step_selected)
        ui.compareComboBox.activated.connect(lambda *_args: self._compare_chosen())
        ui.objectivesTable.cellChanged.connect(self._objective_edited)
        ui.objectivesTable.itemSelectionChanged.connect(lambda *_args: self._on_edit())
        ui.addObjectiveButton.clicked.connect(lambda *_args: self._add_objective())
        ui.removeObjectiveButton.clicked.connect(lambda *_args: self._remove_objective())
        ui.discardEditsButton.clicked.connect(lambda *_args: self.discard_edits())
        self._content = qt.QWidget()
        self._form = qt.QGridLayout(self._content)
        self._form.setContentsMargins(0, 0, 6, 0)
        self._form.setVerticalSpacing(2)
        self._form.setColumnStretch(1, 1)
        ui.slidersArea.setWidget(self._content)

    # Steps

    def show_steps(
        self,
        steps: Sequence[Mapping],
        current: int | None,
        shown: int | None,
        compared: int | None,
    ) -> None:
        """List the steps, newest last.

        Parameters
        ----------
        steps : sequence of mapping
            As the worker tells them.
        current, shown, compared : int or None
            Step of the current plan, on display, and beside it.
        """
        table = self.ui.stepsTable
        self._filling = True
        table.blockSignals(True)
        table.setRowCount(len(steps))
        for i, step in enumerate(steps):
            if i >= len(self._steps) or self._steps[i] is not step or current != self._current:
                self._show_step(i, step, current)
        table.blockSignals(False)
        self._steps, self._current = tuple(steps), current
        if shown is not None and selected_row(table) != shown:
            choose_row(table, shown)
        self._show_comparisons(shown, compared)
        self._filling = False
        text = _step_text(steps[shown]) if shown is not None else ""
        show_note(self.ui.stepNote, _shortened(text))
        self.ui.stepNote.toolTip = text

    def _show_step(self, i: int, step: Mapping, current: int | None) -> None:
        table = self.ui.stepsTable
        is_current = step["index"] == current
        tip = _step_text(step)
        set_cell(table, i, 0, str(step["index"]), right=True, tip=tip, bold=is_current)
        set_cell(table, i, 1, step["title"], tip=tip, bold=is_current)
        goals = f"{step['goals_met']}/{step['goals_total']}"
        full = step["goals_met"] == step["goals_total"]
        set_cell(table, i, 2, goals, tip=tip, color=GREEN if full else "", bold=is_current)
        set_cell(table, i, 3, step["worst_margin"], tip=tip)
        mark = _("current") if is_current else ("" if step["kept"] else _("undone"))
        color = GREEN if is_current else ("" if step["kept"] else GREY)
        set_cell(table, i, 4, mark, tip=tip, color=color)

    def _show_comparisons(self, shown: int | None, compared: int | None) -> None:
        combo = self.ui.compareComboBox
        combo.blockSignals(True)
        combo.clear()
        combo.addItem(_("nothing"), -1)
        for step in self._steps:
            if step["index"] != shown:
                combo.addItem(f"{step['index']}  {step['title']}", step["index"])
        combo.setCurrentIndex(max(combo.findData(-1 if compared is None else compared), 0))
        combo.blockSignals(False)

    def _step_selected(self) -> None:
        row = selected_row(self.ui.stepsTable)
        if row is not None and not self._filling:
            self._on_show(self._steps[row]["index"])

    def _compare_chosen(self) -> None:
        value = self.ui.compareComboBox.currentData
        self._on_compare(None if value is None or value < 0 else value)

    # Objectives

    def show_objectives(
        self,
        objectives: Sequence[Objective],
        constraints: Sequence[Mapping],
        structures: Sequence[str],
        *,
        editable: bool,
    ) -> None:
        """Show objectives and constraints of a step; edits of another one's are dropped.

        Parameters
        ----------
        objectives : sequence of Objective
        constraints : sequence of mapping
            As the worker tells what became of them.
        structures : sequence of str
            What a new one may be about.
        editable : bool
        """
        bounds = constraints_from(constraints)
        rows = (*objectives, *bounds)
        if rows != self.edits.objectives:
            self.edits = ObjectiveEdits(rows)
            show_note(self.ui.objectivesNote, "")
        self._constraints = {b.id: row for b, row in zip(bounds, constraints, strict=True)}
        self._structures, self._editable = tuple(structures), editable
        self._fill_objectives()

    def discard_edits(self) -> None:
        """Back to what the plan was made with."""
        self._edit(ObjectiveEdits(self.edits.objectives))

    def _edit(self, edits: ObjectiveEdits, problem: str = "") -> None:
        """Show what is wanted now, and what was wrong with what was asked last."""
        self.edits = edits
        self._fill_objectives()
        self._on_edit()
        show_note(self.ui.objectivesNote, problem)

    def _fill_objectives(self) -> None:
        table, edits = self.ui.objectivesTable, self.edits
        before = selected_row(table)
        selected = self._ids[before] if before is not None else None
        table.blockSignals(True)
        rows = edits.rows
        self._ids = [row.id for row in rows]
        table.setRowCount(len(rows))
        for i, objective in enumerate(rows):
            new = objective in edits.added
            gone = objective.id in edits.removed
            function, color, tip = self._told(objective)
            color = GREY if gone else (AMBER if new else color)
            tip = _("will be removed") if gone else (_("will be added") if new else tip)
            set_cell(table, i, 0, objective.structure, color=color, tip=tip)
            set_cell(table, i, 1, function, color=color, tip=tip)
            original = next((o for o in edits.objectives if o.id == objective.id), None)
            for j, name in enumerate(FIELDS, start=2):
                value = getattr(objective, name, None)
                was = getattr(original, name, None) if original and not new else value
                changed = value != was
                set_cell(
                    table, i, j, "" if value is None else f"{value:.4g}", right=True,
                    editable=self._editable and can_edit(objective, name) and not gone,
                    color=AMBER if changed and not gone else color,
                    tip=_("was {value:.4g}").format(value=was) if changed else tip,
                )  # fmt: skip
        if selected in self._ids:
            choose_row(table, self._ids.index(selected))
        elif before is not None:  # another objective has come to its place: not to be removed
            table.clearSelection()
        table.blockSignals(False)

    def _told(self, row: Row) -> tuple[str, str, str]:
        """Function, background and tooltip of an objective or constraint."""
        if isinstance(row, Objective):
            words = row.function.split("_")
            return " ".join(_FUNCTION_WORDS.get(w, w) for w in words), "", row.id
        function = constraint_words(row.kind)
        outcome = self._constraints.get(row.id)
        if outcome is None or row.id in self.edits.changed:  # what became of another level
            return function, "", row.describe()
        return function, GREEN if outcome["kept"] else RED, outcome["text"]

    def _objective_edited(self, row: int, column: int) -> None:
        objective, name = self.edits.rows[row], FIELDS[column - 2]
        text = self.ui.objectivesTable.item(row, column).text().replace(",", ".")
        edits, problem = self.edits, ""
        try:
            if text != f"{getattr(objective, name):.4g}":
                edits = edits.edited(objective.id, name, float(text))
        except InputError as error:
            problem = str(error)
        except ValueError:
            problem = _("{text!r} is not a number").format(text=text)
        self._edit(edits, problem)

    def _add_objective(self) -> None:
        objective = ask_for_objective(self.ui.objectivesTable, self._structures)
        if objective is not None:
            self._edit(self.edits.with_added(objective))

    def _remove_objective(self) -> None:
        row = selected_row(self.ui.objectivesTable)
        if row is not None:
            self._edit(self.edits.without(self._ids[row]))

    # Sliders

    def show_sliders(self, sliders: Sequence[Slider]) -> None:
        """One slider a row; those that are there stay."""
        if tuple(sliders) == tuple(self._sliders):
            return
        while self._form.count():
            widget = self._form.takeAt(0).widget()
            widget.hide()
            widget.deleteLater()
        self._sliders = {}
        for row, slider in enumerate(sliders):
            self._add_slider(row, slider)

    def _add_slider(self, row: int, slider: Slider) -> None:
        low, high = (
            (_("looser"), _("more exact")) if slider.is_target else (_("spare less"), _("more"))
        )
        name = qt.QLabel(slider.structure)
        bar = qt.QSlider(qt.Qt.Horizontal)
        bar.setRange(-SLIDER_STEPS, SLIDER_STEPS)
        bar.setTickPosition(qt.QSlider.TicksBelow)
        bar.setTickInterval(SLIDER_STEPS)
        value = qt.QLabel("")
        value.setMinimumWidth(46)
        bar.toolTip = _("Left: {low}. Right: {high}. Let go to keep it as a step.").format(
            low=low, high=high
        )
        bar.objectName = f"slider_{slider.structure}"
        bar.valueChanged.connect(lambda position: self._slid(slider, position, value))
        bar.sliderReleased.connect(lambda *_args: self._released(slider, bar))
        for column, widget in enumerate((name, bar, value)):
            self._form.addWidget(widget, row, column)
        self._sliders[slider] = bar

    def _slid(self, slider: Slider, position: int, label: qt.QLabel) -> None:
        label.text = "" if position == 0 else f"{position * 100 // SLIDER_STEPS:+d} %"
        if not self._filling:
            self._on_slide(slider, position / SLIDER_STEPS)

    def _released(self, slider: Slider, bar: qt.QSlider) -> None:
        position = bar.value / SLIDER_STEPS
        if position:
            self._on_release(slider, position)

    def enable_sliders(self, enabled: bool) -> None:
        """Let sliders be moved; the area around them says why not."""
        for bar in self._sliders.values():
            bar.enabled = enabled

    def reset_sliders(self) -> None:
        """All in the middle: a new plan is what they start from."""
        self._filling = True
        for bar in self._sliders.values():
            bar.setValue(0)
        self._filling = False

    def slider(self, structure: str) -> qt.QSlider:
        """The slider of a structure."""
        return next(bar for s, bar in self._sliders.items() if s.structure == structure)


def _step_text(step: Mapping) -> str:
    """What was changed and why, and what came of it, one line each."""
    who = step.get("author") or _("protocol")
    lines = [_("Step {index} ({who}): {title}").format(
        index=step["index"], who=who.removeprefix("person:"), title=step["title"]
    )]
    reason = ""
    for action in step.get("actions", ()):
        again = action.get("reason", "") == reason
        reason = action.get("reason", "")
        lines.append(f"• {action['text']}" + (f" — {reason}" if reason and not again else ""))
    if step.get("outcome"):
        lines.append("→ " + step["outcome"])
    if step.get("note"):
        lines.append(step["note"])
    return "\n".join(lines)


def _shortened(text: str) -> str:
    """The first changes and what came of them; the rest is in the tooltip."""
    lines = text.splitlines()
    changes = [line for line in lines if line.startswith("•")]
    if len(changes) <= MOST_CHANGES:
        return text
    more = _("• and {count} more changes").format(count=len(changes) - MOST_CHANGES)
    rest = [line for line in lines[1:] if not line.startswith("•")]
    return "\n".join([lines[0], *changes[:MOST_CHANGES], more, *rest])
