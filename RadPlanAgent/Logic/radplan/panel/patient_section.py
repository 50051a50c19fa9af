"""Section 1: CT, structures and what they are, protocol, prescription."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import qt

from ..binding import Binding
from ..case import StructureType
from ..errors import InputError
from ..protocol_file import list_protocols, load_protocol, protocol_from_dict
from ..structure_lookup import tg263_names
from .i18n import _
from .mapping_rows import MappingRow, Match, bound, mapping_problem, mapping_rows
from .tables import AMBER, GREEN, GREY, set_cell, show_note, stretch_column
from .treatment import Treatment

_COLORS = {Match.CERTAIN: GREEN, Match.CHOSEN: GREEN, Match.ASK: AMBER}
_NAME, _TYPE = 1, 2


class PatientSection:
    """Widgets of section 1 and what they say.

    Parameters
    ----------
    ui : object
        Widgets of Patient.ui by name.
    changed : callable
        Called when anything was chosen.
    """

    def __init__(self, ui: Any, changed: Callable[[], None]) -> None:
        self.ui, self._changed = ui, changed
        self._choices: Any = None
        self._filling = False
        self._shown: tuple | None = None
        self.rows: tuple[MappingRow, ...] = ()
        self.treatment: Treatment | None = None
        self.binding: Binding | None = None
        self.problem = ""
        stretch_column(ui.mappingTable, (0, 1))
        stretch_column(ui.prescriptionTable, 0)
        ui.protocolComboBox.addItem(_("Choose a protocol"))
        for name in list_protocols():
            ui.protocolComboBox.addItem(load_protocol(name).title, name)
        ui.protocolComboBox.addItem(_("From a file…"))
        # Qt 5 has signals of these names that give a text, too: the widgets are asked instead.
        ui.protocolComboBox.activated.connect(lambda *_args: self._choose_protocol())
        ui.prescriptionTable.cellChanged.connect(self._dose_edited)
        ui.fractionsSpinBox.valueChanged.connect(lambda *_args: self._fractions_edited())

    def update(self, choices: Any) -> None:
        """Show the choices; `choices` is None while there is no scene."""
        self._choices = choices
        state = self._state(choices)
        if state != self._shown:
            if state and self._shown:
                # Whatever was changed, and wherever: nobody has checked what is there now.
                choices.prescriptionChecked = False
            self._shown = state
            self._read(choices)
            self._show()

    def _state(self, choices: Any) -> tuple | None:
        if choices is None:
            return None
        segments = _segments(choices.segmentation)
        return (
            choices.ct and choices.ct.GetID(),
            tuple((s.segment_id, s.segment_name, s.color) for s in segments),
            choices.protocol,
            tuple(sorted(choices.structureNames.items())),
            tuple(sorted(choices.structureTypes.items())),
            tuple(sorted(choices.doses.items())),
            choices.fractions,
        )

    def _read(self, choices: Any) -> None:
        """Work out rows, treatment and what is wrong with them."""
        self.rows, self.treatment, self.binding, self.problem = (), None, None, ""
        if choices is None:
            self.problem = _("There is no scene")
            return
        segments = _segments(choices.segmentation)
        self._colors = {s.segment_id: s.color for s in segments}
        names = {key: name or None for key, name in choices.structureNames.items()}
        types = {key: StructureType[kind] for key, kind in choices.structureTypes.items()}
        self.rows = mapping_rows(segments, names, types)
        try:
            if choices.protocol:
                protocol = load_protocol(choices.protocol)
                self.treatment = Treatment(
                    protocol, dict(choices.doses), choices.fractions or protocol.fractions
                )
        except InputError as error:
            self.problem = str(error)
        if choices.ct is None:
            self.problem = _("Choose a CT")
        elif choices.segmentation is None:
            self.problem = _("Choose a segmentation")
        elif not self.rows:
            self.problem = _("The segmentation has no segments")
        elif not choices.protocol:
            self.problem = _("Choose a protocol")
        elif not self.problem:
            self.problem = mapping_problem(self.rows)
        if self.treatment and self.rows:
            fit = bound(protocol_from_dict(self.treatment.to_dict()), self.rows)
            if isinstance(fit, Binding):
                self.binding = fit
            else:
                self.problem = self.problem or fit

    def _show(self) -> None:
        self._filling = True
        try:
            self._show_protocol()
            self._show_mapping()
            self._show_prescription()
        finally:
            self._filling = False
        show_note(self.ui.patientMessage, self.problem)

    def _show_protocol(self) -> None:
        combo = self.ui.protocolComboBox
        chosen = self._choices.protocol if self._choices else ""
        index = combo.findData(chosen) if chosen else 0
        if index < 0:  # a file
            index = combo.count - 1
            combo.insertItem(index, chosen, chosen)
        combo.setCurrentIndex(index)
        notes = self.binding.notes if self.binding else ()
        missing = self.binding.missing if self.binding else ()
        parts = list(notes)
        if missing:
            parts.append(
                _("Not among the structures, their goals cannot be judged: {names}").format(
                    names=", ".join(missing)
                )
            )
        show_note(self.ui.protocolNote, "\n".join(parts))

    def _show_mapping(self) -> None:
        table = self.ui.mappingTable
        table.setRowCount(len(self.rows))
        words = {
            Match.CERTAIN: _("certain"),
            Match.ASK: _("choose"),
            Match.UNMAPPED: _("unmapped"),
            Match.CHOSEN: _("by you"),
            Match.LEFT_OUT: _("left out"),
        }
        for i, row in enumerate(self.rows):
            color = _COLORS.get(row.match, GREY)
            set_cell(table, i, 0, row.segment_name, tip=row.segment_name)
            pixmap = qt.QPixmap(12, 12)
            pixmap.fill(qt.QColor(*self._colors[row.segment_id]))
            table.item(i, 0).setIcon(qt.QIcon(pixmap))
            set_cell(table, i, 3, words[row.match], color=color, tip=row.reason)
            self._show_name(i, row)
            self._show_type(i, row)
        asked = next((i for i, row in enumerate(self.rows) if row.match is Match.ASK), None)
        if asked is not None:
            table.scrollToItem(table.item(asked, 0))
        counts = {m: sum(r.match is m for r in self.rows) for m in Match}
        text = ""
        if self.rows:
            text = _("{sure} of {all} certain or chosen").format(
                sure=counts[Match.CERTAIN] + counts[Match.CHOSEN], all=len(self.rows)
            )
            if counts[Match.ASK]:
                text += ", " + _("{n} to be chosen").format(n=counts[Match.ASK])
            if counts[Match.UNMAPPED] + counts[Match.LEFT_OUT]:
                text += ", " + _("{n} left out").format(
                    n=counts[Match.UNMAPPED] + counts[Match.LEFT_OUT]
                )
        show_note(self.ui.mappingNote, text)

    def _show_name(self, i: int, row: MappingRow) -> None:
        """An editable menu: candidates, the segment's own name, and to leave it out."""
        combo = qt.QComboBox()
        combo.setEditable(True)
        combo.setFrame(False)
        combo.setInsertPolicy(qt.QComboBox.NoInsert)
        combo.setMinimumContentsLength(8)
        names = [row.name] if row.name and row.match is not Match.ASK else []
        names += [c for c in row.candidates if c not in names]
        for name in names:
            combo.addItem(name)
        combo.addItem(_("(leave out)"), "")
        # The menu is its parent: PythonQt deletes what nobody owns with the last reference.
        completer = qt.QCompleter(list(tg263_names()), combo)
        completer.setCaseSensitivity(qt.Qt.CaseInsensitive)
        combo.setCompleter(completer)
        if row.match is Match.ASK:
            combo.setCurrentIndex(-1)
            combo.lineEdit().setPlaceholderText(_("choose…"))
        else:
            combo.setCurrentIndex(0 if row.name else len(names))
        combo.toolTip = row.reason
        key = row.segment_id
        combo.activated.connect(lambda *_args: self._name_chosen(key, combo))
        combo.lineEdit().editingFinished.connect(lambda *_args: self._name_chosen(key, combo))
        self.ui.mappingTable.setCellWidget(i, _NAME, combo)

    def _show_type(self, i: int, row: MappingRow) -> None:
        combo = qt.QComboBox()
        combo.setFrame(False)
        for kind in StructureType:
            combo.addItem(kind.name)
        combo.setCurrentIndex(list(StructureType).index(row.type))
        combo.enabled = row.name is not None or row.match is Match.ASK
        combo.toolTip = "" if combo.enabled else _("This segment is left out")
        key = row.segment_id
        combo.activated.connect(lambda *_args: self._type_chosen(key, combo.currentText))
        self.ui.mappingTable.setCellWidget(i, _TYPE, combo)

    def _show_prescription(self) -> None:
        table, treatment = self.ui.prescriptionTable, self.treatment
        rows = treatment.protocol.prescriptions if treatment else ()
        table.setRowCount(len(rows))
        for i, prescription in enumerate(rows):
            dose_gy = treatment.dose_gy(prescription.target)
            changed = abs(dose_gy - prescription.dose_gy) > 1e-6
            name = treatment.target(prescription.target)
            bound_name = self.binding.names.get(name, name) if self.binding else name
            shown = name if bound_name == name else f"{name}  →  {bound_name}"
            set_cell(table, i, 0, shown)
            set_cell(
                table, i, 1, f"{dose_gy:g}", editable=True, right=True,
                color=AMBER if changed else "",
                tip=_("Double-click to change"),
            )  # fmt: skip
            set_cell(table, i, 2, f"{dose_gy / treatment.fractions:.2f}", right=True)
        self.ui.fractionsSpinBox.enabled = treatment is not None
        self.ui.fractionsSpinBox.toolTip = (
            _("Number of fractions of the course.") if treatment else _("Choose a protocol first")
        )
        if treatment:
            self.ui.fractionsSpinBox.value = treatment.fractions
        box = self.ui.prescriptionCheckBox
        box.enabled = not self.problem
        box.toolTip = self.problem or _(
            "Planning starts only when a person has checked what is to be treated."
        )
        if treatment and treatment.changes and not self.problem:
            show_note(
                self.ui.protocolNote,
                _("Changed: {changes}. The goals stay as the protocol has them.").format(
                    changes="; ".join(treatment.changes)
                ),
            )

    def _change(self, **values: Any) -> None:
        """Store what was chosen; what was confirmed before is not confirmed any more."""
        if self._filling or self._choices is None:
            return
        for name, value in values.items():
            setattr(self._choices, name, value)
        self._choices.prescriptionChecked = False
        self._changed()

    def _choose_protocol(self) -> None:
        combo = self.ui.protocolComboBox
        index = combo.currentIndex
        name = combo.itemData(index) or ""
        if index == combo.count - 1:
            name = qt.QFileDialog.getOpenFileName(None, _("Protocol"), "", _("Protocols (*.json)"))
            name = name[0] if isinstance(name, tuple) else name  # PySide gives the filter too
        if name or index == 0:
            self._change(protocol=name, doses={}, fractions=0)

    def _name_chosen(self, segment_id: str, combo: qt.QComboBox) -> None:
        text = combo.currentText.strip()
        name = "" if text in ("", _("(leave out)")) else text
        row = next((r for r in self.rows if r.segment_id == segment_id), None)
        if row is None or self._filling or (not text and row.match is Match.ASK):
            return
        if name != (row.name or "") or row.match is Match.ASK:
            self._change(structureNames={**self._choices.structureNames, segment_id: name})

    def _type_chosen(self, segment_id: str, kind: str) -> None:
        self._change(structureTypes={**self._choices.structureTypes, segment_id: kind})

    def _dose_edited(self, row: int, column: int) -> None:
        if self._filling or column != 1 or self.treatment is None:
            return
        prescription = self.treatment.protocol.prescriptions[row]
        try:
            dose_gy = float(self.ui.prescriptionTable.item(row, 1).text().replace(",", "."))
        except ValueError:
            dose_gy = -1.0
        if not 0 < dose_gy <= 200:
            self._shown = None
            self.update(self._choices)
            show_note(self.ui.patientMessage, _("A dose in Gy is needed, for the whole course"))
            return
        old_name = self.treatment.target(prescription.target)
        doses = {**self._choices.doses, prescription.target: dose_gy}
        new_name = replace(self.treatment, doses_gy=doses).target(prescription.target)
        # A segment that was named by its dose is named by the new one.
        renamed = {r.segment_id: new_name for r in self.rows if r.name == old_name != new_name}
        self._change(doses=doses, structureNames={**self._choices.structureNames, **renamed})

    def _fractions_edited(self) -> None:
        self._change(fractions=self.ui.fractionsSpinBox.value)


def _segments(node: Any) -> tuple:
    """Entries of a segmentation node; none without one."""
    if node is None:
        return ()
    from ..mrml.mapping import segment_entries

    return segment_entries(node)
