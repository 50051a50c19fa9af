"""Asks for a new objective or constraint."""

from __future__ import annotations

from collections.abc import Sequence

import qt

from ..errors import InputError
from ..optimize import (
    CONSTRAINT_KINDS,
    FLUENCE,
    OBJECTIVE_FUNCTIONS,
    ROUGHNESS,
    Constraint,
    Objective,
    constraint_parameters,
)
from .i18n import _

#: Functions that are constraints start with this.
CONSTRAINT = "constraint "


def ask_for_objective(
    parent: qt.QWidget, structures: Sequence[str]
) -> Objective | Constraint | None:
    """What a person describes; None if they think better of it."""
    dialog = qt.QDialog(parent)
    dialog.setWindowTitle(_("Add an objective"))
    form = qt.QFormLayout(dialog)
    structure, function = qt.QComboBox(), qt.QComboBox()
    for name in structures:
        structure.addItem(name)
    for name in OBJECTIVE_FUNCTIONS:
        function.addItem(name.replace("_", " "), name)
    function.addItem(ROUGHNESS.replace("_", " "), ROUGHNESS)
    for kind in CONSTRAINT_KINDS:
        function.addItem(constraint_words(kind), CONSTRAINT + kind)
    numbers = {
        "dose_gy": (_("Dose [Gy]:"), 0.0, 200.0, 20.0),
        "volume_percent": (_("Volume [%]:"), 0.0, 100.0, 30.0),
        "exponent": (_("gEUD exponent:"), 1.0, 50.0, 8.0),
        "weight": (_("Weight:"), 0.001, 1e6, 10.0),
    }
    boxes = {}
    form.addRow(_("Structure:"), structure)
    form.addRow(_("Function:"), function)
    for name, (label, low, high, value) in numbers.items():
        boxes[name] = box = qt.QDoubleSpinBox()
        box.setDecimals(3)
        box.setRange(low, high)
        box.setValue(value)
        form.addRow(label, box)
    buttons = qt.QDialogButtonBox()
    # Not to the constructor: PythonQt would take the number for an orientation, without buttons.
    buttons.setStandardButtons(qt.QDialogButtonBox.Ok | qt.QDialogButtonBox.Cancel)
    buttons.accepted.connect(dialog.accept)
    buttons.rejected.connect(dialog.reject)
    form.addRow(buttons)

    def show_parameters(*_args: object) -> None:
        taken = _parameters(function.currentData)
        for name, box in boxes.items():
            box.enabled = name in taken
            box.toolTip = "" if box.enabled else _("This function does not take it")
        structure.enabled = function.currentData != ROUGHNESS
        structure.toolTip = "" if structure.enabled else _("It is of the fluence of all beams")

    function.currentIndexChanged.connect(show_parameters)
    show_parameters()
    if not dialog.exec_():
        return None
    values = {name: box.value for name, box in boxes.items() if box.enabled}
    try:
        return _made(structure.currentText, function.currentData, values)
    except InputError as error:
        qt.QMessageBox.warning(parent, _("Add an objective"), str(error))
        return None


def constraint_words(kind: str) -> str:
    """How a kind of constraint is shown among functions; its volume has a place of its own."""
    return CONSTRAINT + CONSTRAINT_KINDS[kind].replace("{:g}%", "x")


def _parameters(function: str) -> tuple[str, ...]:
    """What a function takes."""
    if function.startswith(CONSTRAINT):
        return constraint_parameters(function.removeprefix(CONSTRAINT))
    if function == ROUGHNESS:
        return ("weight",)
    return ("weight", *OBJECTIVE_FUNCTIONS[function].parameters)


def _made(structure: str, function: str, values: dict[str, float]) -> Objective | Constraint:
    if function.startswith(CONSTRAINT):
        return Constraint(structure, function.removeprefix(CONSTRAINT), **values)
    return Objective(FLUENCE if function == ROUGHNESS else structure, function, **values)
