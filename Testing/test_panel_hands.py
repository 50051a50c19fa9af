"""The panel's dialogs, menus and tables, used as a person's hands use them.

Written for PythonQt as well as for the stand-in: `slicer.util.findChildren` and numbers of enums,
nothing that only PySide6 has.
"""

from __future__ import annotations

import ast
import gc
import re
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import slicer_host
from panel_driver import PanelDriver

pytestmark = pytest.mark.skipif(bool(slicer_host.why_not()), reason=slicer_host.why_not())


@pytest.fixture
def driver(tmp_path, phantom_cache):
    driver = PanelDriver(tmp_path, phantom_cache)
    driver.load_phantom()
    yield driver
    driver.close()


@pytest.fixture(scope="module")
def planned(tmp_path_factory, phantom_cache):
    """A plan of two steps."""
    driver = PanelDriver(tmp_path_factory.mktemp("planned"), phantom_cache)
    driver.load_phantom()
    driver.choices.stepLimit = 1
    driver.plan("session")
    yield driver
    driver.close()


class Answer:
    """What a person does to the dialog that opens next.

    Parameters
    ----------
    act : callable
        Given the dialog.
    """

    def __init__(self, act: Callable[[Any], None]) -> None:
        import qt

        self.given, self._act = False, act
        self._timer = qt.QTimer()
        self._timer.setInterval(20)
        self._timer.timeout.connect(self._look)

    def __enter__(self) -> Answer:
        self._timer.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._timer.stop()

    def _look(self) -> None:
        import qt

        dialog = qt.QApplication.activeModalWidget()
        if dialog is None:
            return
        if self.given:
            dialog.close()  # nobody expects another one, which would wait for ever
            return
        self.given = True
        try:
            self._act(dialog)
        except Exception:
            dialog.close()
            raise


def the(widget: Any, class_name: str, place: int = 0) -> Any:
    """A widget of a class, in the order in which they were made."""
    import slicer

    found = slicer.util.findChildren(widget, className=class_name)
    assert len(found) > place, f"there is no {class_name}"
    # Slicer's findChildren walks from the last child to the first.
    return sorted(found, key=lambda w: (w.mapTo(widget, w.rect.topLeft()).y(), w.x))[place]


def press(dialog: Any, which: str) -> None:
    """Press a standard button of a dialog."""
    import qt

    box = the(dialog, "QDialogButtonBox")
    button = box.button(getattr(qt.QDialogButtonBox, which))
    assert button is not None, f"the dialog has no {which} button"
    button.click()


# What PySide6 would forgive and PythonQt does not, where no run may come by


def test_no_class_of_qt_is_asked_for_and_no_argument_goes_by_keyword():
    package = slicer_host.MODULE_FOLDER / "Logic" / "radplan"
    files = [*package.glob("panel/*.py"), *package.glob("mrml/*.py")]
    assert len(files) > 30
    for path in files:
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call):
                where, what = f"{path.name}:{call.lineno}", ast.unparse(call)
                assert not re.match(r"isinstance\(.*\bqt\.", what), f"{where}: always false"
                of_qt = ast.unparse(call.func).startswith("qt.")
                assert not (of_qt and call.keywords), f"{where}: {what}"


# Structures and prescription


def test_ct_and_structures_are_chosen_from_the_scene(driver):
    ct, segmentation = driver.choices.ct, driver.choices.segmentation
    selectors = (driver.ui.ctSelector, driver.ui.segmentationSelector)
    assert all(selector.enabled for selector in selectors)
    assert selectors[0].currentNode() is ct and selectors[1].currentNode() is segmentation
    selectors[0].setCurrentNode(None)
    driver.spin()
    assert driver.choices.ct is None and driver.ui.patientMessage.text == "Choose a CT"
    selectors[0].setCurrentNode(ct)
    driver.spin()
    assert driver.choices.ct is ct and driver.ui.patientMessage.text != "Choose a CT"


def test_typed_names_are_completed(driver):
    combo = driver.ui.mappingTable.cellWidget(0, 1)
    gc.collect()
    completer = combo.completer()
    completer.setCompletionPrefix("parotid")
    assert completer.completionCount() >= 2


def test_a_name_typed_by_hand(driver):
    rows = driver.panel.patient.rows
    index = next(i for i, row in enumerate(rows) if row.segment_name == "Gland")
    combo = driver.ui.mappingTable.cellWidget(index, 1)
    combo.setEditText("Parotid_R")
    combo.lineEdit().editingFinished.emit()
    driver.spin()
    assert driver.choices.structureNames["Gland"] == "Parotid_R"


def test_a_type_from_the_menu(driver):
    rows = driver.panel.patient.rows
    index = next(i for i, row in enumerate(rows) if row.segment_name == "Gland")
    combo = driver.ui.mappingTable.cellWidget(index, 2)
    combo.setCurrentIndex(combo.findText("HELPER"))
    combo.activated.emit(combo.currentIndex)
    driver.spin()
    assert driver.choices.structureTypes == {"Gland": "HELPER"}
    assert not driver.choices.prescriptionChecked


def test_dose_and_fractions_by_hand(driver):
    driver.check_prescription()
    table = driver.ui.prescriptionTable
    target = driver.panel.patient.treatment.protocol.prescriptions[0].target
    table.item(0, 1).setText("61,5")
    driver.spin()
    assert driver.choices.doses[target] == 61.5 and not driver.choices.prescriptionChecked
    driver.ui.fractionsSpinBox.value = 30
    driver.spin()
    assert driver.choices.fractions == 30 and table.item(0, 2).text() == "2.05"
    table.item(0, 1).setText("much")
    driver.spin()
    assert driver.choices.doses[target] == 61.5
    assert "Gy" in driver.ui.patientMessage.text


def test_a_protocol_from_the_menu_and_from_a_file(driver, monkeypatch):
    import qt

    combo = driver.ui.protocolComboBox
    index = combo.findData("prostate_60_20")
    combo.setCurrentIndex(index)
    combo.activated.emit(index)
    driver.spin()
    assert driver.choices.protocol == "prostate_60_20"
    path = str(next(driver.folder.glob("*.json")))
    dialogs = SimpleNamespace(getOpenFileName=lambda *_args: path)
    monkeypatch.setattr(qt, "QFileDialog", dialogs)
    combo.setCurrentIndex(combo.count - 1)
    combo.activated.emit(combo.count - 1)
    driver.spin()
    assert driver.choices.protocol == path and combo.currentText == path


# Beams


def test_beams_from_the_menu_and_angles_by_hand(driver):
    combo = driver.ui.beamTemplateComboBox
    index = combo.findData("coplanar9")
    combo.setCurrentIndex(index)
    combo.activated.emit(index)
    driver.spin()
    assert driver.choices.beamTemplate == "coplanar9"
    combo.setEditText("0, 72, 144")
    combo.lineEdit().editingFinished.emit()
    driver.spin()
    assert driver.choices.beamTemplate == "0,72,144"
    combo.setEditText("0, north")
    combo.lineEdit().editingFinished.emit()
    driver.spin()
    assert "north" in driver.ui.beamsMessage.text and not driver.ui.planButton.enabled


# Objectives


def test_an_objective_is_added_in_the_dialog_and_removed_again(planned):
    table = planned.ui.objectivesTable
    before = table.rowCount

    def fill(dialog):
        structure, function = the(dialog, "QComboBox"), the(dialog, "QComboBox", 1)
        structure.setCurrentIndex(structure.findText("Cord"))
        function.setCurrentIndex(function.findData("squared_overdosing"))
        dose, volume = the(dialog, "QDoubleSpinBox"), the(dialog, "QDoubleSpinBox", 1)
        assert dose.enabled and not volume.enabled and volume.toolTip
        dose.setValue(33.5)
        press(dialog, "Ok")

    with Answer(fill) as answer:
        planned.ui.addObjectiveButton.click()
    planned.spin()
    assert answer.given and table.rowCount == before + 1
    assert (table.item(before, 0).text(), table.item(before, 1).text()) == (
        "Cord",
        "squared overdosing",
    )
    assert planned.panel.plan.edits.added[0].dose_gy == 33.5
    table.selectRow(before)
    planned.spin()
    planned.press("removeObjectiveButton")
    assert table.rowCount == before and not planned.panel.plan.edits.count


def test_a_constraint_is_set_in_the_dialog_kept_and_lifted_again(planned):
    table, run = planned.ui.objectivesTable, planned.run
    before = table.rowCount

    def fill(dialog):
        structure, function = the(dialog, "QComboBox"), the(dialog, "QComboBox", 1)
        structure.setCurrentIndex(structure.findText("Cord"))
        function.setCurrentIndex(function.findData("fluence_roughness"))
        assert not structure.enabled
        function.setCurrentIndex(function.findData("constraint max_dose"))
        boxes = [the(dialog, "QDoubleSpinBox", i) for i in range(4)]
        assert structure.enabled and [b.enabled for b in boxes] == [True, False, False, False]
        boxes[0].setValue(37.0)
        press(dialog, "Ok")

    with Answer(fill):
        planned.ui.addObjectiveButton.click()
    planned.spin()
    assert (table.item(before, 0).text(), table.item(before, 1).text()) == (
        "Cord",
        "constraint max ≤",
    )
    planned.press("optimizeButton")
    step = run.session.steps[run.session.current]
    assert step["constraints"][0]["text"].startswith("Cord: max ≤ 37 Gy: ")
    assert table.item(before, 2).toolTip() == step["constraints"][0]["text"]
    assert "Cord: max ≤ 37 Gy: " in planned.ui.stepNote.text
    previews: list = []
    show = run.onPreview
    run.onPreview = lambda event: (previews.append(event), show(event))
    planned.panel.plan.slider("Gland").setValue(5)
    planned.wait(lambda: bool(previews), "for a preview")
    run.onPreview = show
    assert "not held to constraints:\nCord: max ≤ 37 Gy: " in planned.ui.previewNote.text
    planned.panel.plan.slider("Gland").setValue(0)
    planned.panel.sliderPreview.end()
    green = table.item(before, 1).background().color().name()
    table.item(before, 2).setText("36")
    edited = table.item(before, 1)
    assert edited.toolTip() == "Cord: max ≤ 36 Gy", "37 Gy were kept, of 36 nothing is known"
    assert edited.background().color().name() != green
    table.selectRow(before)
    planned.spin()
    planned.press("removeObjectiveButton")
    planned.press("optimizeButton")
    assert table.rowCount == before
    assert run.session.steps[run.session.current]["constraints"] == []


def test_a_constraint_that_cannot_be_is_refused(planned):
    before = planned.ui.objectivesTable.rowCount

    def fill(dialog):
        function = the(dialog, "QComboBox", 1)
        function.setCurrentIndex(function.findData("constraint mean_dose"))
        the(dialog, "QDoubleSpinBox").setValue(0.0)
        press(dialog, "Ok")

    with Answer(fill) as answer:  # it closes the box that tells, too
        planned.ui.addObjectiveButton.click()
    planned.spin()
    assert answer.given and planned.ui.objectivesTable.rowCount == before


def test_no_objective_when_the_dialog_is_left(planned):
    with Answer(lambda dialog: press(dialog, "Cancel")) as answer:
        planned.ui.addObjectiveButton.click()
    planned.spin()
    assert answer.given and not planned.panel.plan.edits.count


def test_what_is_no_number_is_refused_and_edits_can_be_discarded(planned):
    table = planned.ui.objectivesTable
    column = next(c for c in range(2, 6) if table.item(0, c).text())
    was = table.item(0, column).text()
    table.item(0, column).setText("lots")
    planned.spin()
    assert "lots" in planned.ui.objectivesNote.text and table.item(0, column).text() == was
    table.item(0, column).setText(str(float(was) + 1))
    planned.spin()
    assert planned.panel.plan.edits.count == 1
    table.item(0, column).setText("more")
    planned.spin()
    assert "more" in planned.ui.objectivesNote.text
    planned.press("discardEditsButton")
    assert table.item(0, column).text() == was and not planned.panel.plan.edits.count
    assert not planned.ui.objectivesNote.text and not planned.ui.objectivesNote.visible


def test_what_is_selected_is_an_objective_and_no_row(planned):
    """What takes the place of the selected one is not removed in its stead."""
    table, removal = planned.ui.objectivesTable, planned.ui.removeObjectiveButton
    before = table.rowCount

    def add(structure: str, function: str) -> None:
        def fill(dialog):
            choices = the(dialog, "QComboBox"), the(dialog, "QComboBox", 1)
            choices[0].setCurrentIndex(choices[0].findText(structure))
            choices[1].setCurrentIndex(choices[1].findData(function))
            the(dialog, "QDoubleSpinBox").setValue(38.5)
            press(dialog, "Ok")

        with Answer(fill):
            planned.ui.addObjectiveButton.click()
        planned.spin()

    def selected() -> list[str]:
        rows = table.selectionModel().selectedRows()
        return [table.item(index.row(), 1).text() for index in rows]

    add("Cord", "constraint max_dose")
    add("Gland", "constraint mean_dose")
    table.item(before, 2).setText("none")
    planned.spin()
    assert "none" in planned.ui.objectivesNote.text
    table.item(before, 2).setText("36,5")
    planned.spin()
    assert planned.panel.plan.edits.added[0].dose_gy == 36.5
    table.item(before, 2).setText("0")
    planned.spin()
    assert "positive" in planned.ui.objectivesNote.text
    assert table.item(before, 2).text() == "36.5"
    table.selectRow(before)
    planned.spin()
    planned.press("removeObjectiveButton")
    assert table.rowCount == before + 1 and not selected() and not removal.enabled
    assert not planned.ui.objectivesNote.text
    planned.press("optimizeButton")
    table.selectRow(before)
    planned.spin()
    add("Gland", "soft_maximum")
    planned.press("optimizeButton")  # objectives are listed before constraints
    assert table.item(before, 1).text() == "soft maximum"
    assert selected() == ["constraint mean ≤"]
    planned.press("removeObjectiveButton")
    table.selectRow(before)
    planned.spin()
    planned.press("removeObjectiveButton")
    planned.press("optimizeButton")
    assert table.rowCount == before and not selected()


def test_steps_are_compared_from_the_menu(planned):
    combo = planned.ui.compareComboBox
    combo.setCurrentIndex(1)
    combo.activated.emit(1)
    planned.spin()
    assert planned.panel.views.compared == combo.currentData
    assert planned.panel.views.compared != planned.panel.views.shown
    combo.setCurrentIndex(0)
    combo.activated.emit(0)
    planned.spin()
    assert planned.panel.views.compared is None


# Review


@pytest.mark.parametrize(("button", "expected"), [("Yes", True), ("Cancel", False), ("", False)])
def test_a_verdict_needs_a_yes(driver, button, expected):
    import qt

    from radplan.panel.review_dialog import confirmReview

    def reply(box):
        assert "A. Physicist" in box.text and "APPROVED" in box.text
        assert box.defaultButton() == box.button(qt.QMessageBox.Cancel)
        if button:
            box.button(getattr(qt.QMessageBox, button)).click()
        else:
            box.reject()  # Escape, or the window closed

    with Answer(reply) as answer:
        assert confirmReview("approved", "A. Physicist", "step 1") is expected
    assert answer.given


# Processes


def run_command(code: str, entered: bytes = b"") -> tuple[bytes, bytes, list[int]]:
    """Run Python code as the worker is run: output, log, how it ended."""
    import os
    import time

    import qt

    from radplan.panel.process import QtProcess

    python = str(qt.QSettings().value("RadPlanAgent/Python"))
    output, log, ends = [], [], []
    process = QtProcess(python, ["-c", code], dict(os.environ))
    process.start(output.append, log.append, ends.append)
    if entered:
        process.write(entered)
    process.close_input()
    deadline = time.monotonic() + 20
    while not ends and time.monotonic() < deadline:
        qt.QApplication.processEvents()
        time.sleep(0.002)
    qt.QApplication.processEvents()
    return b"".join(output), b"".join(log), ends


def test_bytes_come_and_go_as_they_are(driver):
    every = bytes(range(256)) * 4000
    code = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])"
    output, log, ends = run_command(code, every)
    assert output == every[::-1] and log == b"" and ends == [0]


def test_how_a_process_ended(driver):
    assert run_command("import sys; print('bad', file=sys.stderr); sys.exit(3)") == (
        b"",
        b"bad\n",
        [3],
    )
    if sys.platform != "win32":
        assert run_command("import os; os.kill(os.getpid(), 9)")[2] == [-1]


def test_the_key_goes_to_the_keyring_by_a_pipe(driver, tmp_path):
    """With a keyring command that keeps what it is told in a file."""
    import qt

    (tmp_path / "keyring.py").write_text(
        "import sys, pathlib\n"
        f"pathlib.Path({str(tmp_path / 'told')!r}).write_text(repr((sys.argv[1:], input())))\n"
        "sys.exit(int(sys.argv[3] == 'refused.example.org'))\n"
    )
    python = str(qt.QSettings().value("RadPlanAgent/Python"))
    host = driver.run.host
    host._module = lambda _name, *arguments: [python, str(tmp_path / "keyring.py"), *arguments]
    driver.ui.modelUrlEdit.text = "https://models.example.org/v1"
    driver.ui.modelNameEdit.text = "some-model"
    driver.ui.modelKeyEdit.text = "sk-secret"
    driver.spin()
    driver.press("saveKeyButton")
    driver.wait(lambda: bool(driver.ui.modelNote.text), "for the keyring")
    told = (tmp_path / "told").read_text()
    assert told == "(['set', 'radplan', 'models.example.org'], 'sk-secret')"
    assert driver.ui.modelKeyEdit.text == "" and "keyring" in driver.ui.modelNote.text
    driver.ui.modelUrlEdit.text = "https://refused.example.org/v1"
    driver.spin()
    driver.press("forgetKeyButton")
    driver.wait(lambda: "refused" in driver.ui.modelNote.text, "for the refusal")


# Packages


@pytest.mark.parametrize("agrees", [True, False])
def test_packages_are_installed_only_when_a_person_agrees(driver, tmp_path, agrees):
    import qt

    from radplan.panel.packages import PackageFolder

    host = driver.run.host
    python = str(qt.QSettings().value("RadPlanAgent/Python"))
    host._python = ""
    host._packages = PackageFolder(tmp_path / "packages", python)
    commands = []
    host._run = lambda command, ended: commands.append(command)
    said = []

    def reply(box):
        said.append(box.text)
        which = qt.QMessageBox.Ok if agrees else qt.QMessageBox.Cancel
        box.button(which).click()

    driver.check_prescription()
    # Inside an event loop, as a click is: Slicer's box deletes itself once that goes on.
    loop = qt.QEventLoop()

    def press_plan():
        driver.ui.planButton.click()
        loop.quit()

    with Answer(reply) as answer:
        qt.QTimer.singleShot(0, press_plan)
        loop.exec_()
    driver.spin()
    assert answer.given and "not installed yet" in said[0] and str(tmp_path) in said[0]
    assert len(commands) == int(agrees) and driver.run.state.phase == "idle"
