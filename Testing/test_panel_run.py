"""The panel at work, offscreen, with the real worker on ImagePhantom.

The host is a stand-in (`slicer_host`); the scene, Qt, the panel and the worker are real.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import slicer_host
from panel_driver import PanelDriver, fake_parent
from radplan.audit import read_audit

pytestmark = pytest.mark.skipif(bool(slicer_host.why_not()), reason=slicer_host.why_not())


@pytest.fixture
def driver(tmp_path, phantom_cache):
    driver = PanelDriver(tmp_path, phantom_cache)
    yield driver
    driver.close()


@pytest.fixture(scope="module")
def planned(tmp_path_factory, phantom_cache):
    """A finished plan that the tests below look at and steer, one after the other."""
    driver = PanelDriver(tmp_path_factory.mktemp("planned"), phantom_cache)
    driver.load_phantom()
    driver.plan("session")
    yield driver
    driver.close()


def worker_pid(driver) -> int:
    driver.wait(lambda: bool(driver.run.client.about), "for the worker")
    return driver.run.client.about["pid"]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# Before there is a plan


def test_empty_panel_says_what_is_missing(driver):
    assert not driver.ui.planButton.enabled
    assert driver.ui.planButton.toolTip == "Choose a CT" == driver.ui.patientMessage.text
    assert not driver.run.client.is_running  # nothing is started before it is wanted


def test_every_disabled_button_has_a_reason(driver):
    import qt

    for state in ("empty", "phantom"):
        if state == "phantom":
            driver.load_phantom()
        for widget in driver.panel.widget.findChildren(qt.QPushButton):
            if not widget.enabled and widget.name.endswith("Button"):
                assert widget.toolTip, f"{widget.name} is disabled and does not say why ({state})"


def test_planning_needs_a_check_by_a_person_and_changes_take_it_back(driver):
    driver.load_phantom()
    assert "checked" in driver.ui.planButton.toolTip and not driver.ui.planButton.enabled
    driver.check_prescription()
    assert driver.ui.planButton.enabled
    driver.panel.patient._type_chosen("Gland", "HELPER")
    driver.spin()
    assert not driver.choices.prescriptionChecked and not driver.ui.planButton.enabled


def test_a_name_that_has_to_be_chosen_blocks_until_it_is(driver):
    nodes = driver.load_phantom()
    nodes.segmentation.GetSegmentation().GetSegment("Gland").SetName("Parotid")
    driver.choices.structureNames = {"Cord": "Cord", "Distant": "Distant"}
    driver.spin()
    assert "Parotid" in driver.panel.patient.problem
    row = next(r for r in driver.panel.patient.rows if r.segment_name == "Parotid")
    combo = driver.ui.mappingTable.cellWidget(driver.panel.patient.rows.index(row), 1)
    combo.setCurrentIndex(combo.findText("Parotid_L"))
    combo.activated.emit(combo.currentIndex)
    driver.spin()
    assert driver.choices.structureNames["Gland"] == "Parotid_L"
    assert driver.panel.patient.problem == ""


def test_choices_survive_saving_and_loading_the_scene_and_secrets_are_not_saved(driver, tmp_path):
    import slicer

    driver.load_phantom()
    driver.check_prescription()
    driver.ui.modelUrlEdit.text = "http://localhost:11434/v1"
    driver.ui.modelKeyEdit.text = "sk-secret-key"
    driver.ui.stepsSpinBox.value = 7
    driver.spin()
    scene = slicer.mrmlScene
    text = scene.SetSaveToXMLString(1) or (scene.Commit() and scene.GetSceneXMLString())
    assert "sk-secret-key" not in text and "11434" in text
    driver.module.onSceneStartClose(None, None)
    scene.SetLoadFromXMLString(1)
    scene.SetSceneXMLString(text)
    scene.Clear(False)
    scene.Import()
    driver.module.onSceneEndImport(None, None)
    driver.spin()
    assert driver.choices.stepLimit == 7 == driver.ui.stepsSpinBox.value
    assert driver.choices.structureNames["Gland"] == "Gland"
    # Nobody who looks at the scene now has checked anything.
    assert not driver.choices.prescriptionChecked


# Planning


def test_plan_arrives_in_panel_and_scene(planned):
    import slicer

    run, ui = planned.run, planned.ui
    assert run.state.phase == "done" and len(run.session.steps) == 3
    assert ui.stepsTable.rowCount == 3 and ui.scorecardTable.rowCount == 4
    assert ui.objectivesTable.rowCount == len(run.session.objectives(run.session.current))
    dose = planned.panel.views._plan.dose_node
    assert dose.GetAttribute("DicomRtImport.DoseVolume") == "1"
    layers = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")
    assert layers.GetForegroundVolumeID() == dose.GetID()
    charts = slicer.mrmlScene.GetNodesByClass("vtkMRMLPlotChartNode")
    assert charts.GetNumberOfItems() == 1
    assert charts.GetItemAsObject(0).GetNumberOfPlotSeriesNodes() == 5
    assert Path(planned.choices.sessionFolder) == run.session.folder


def test_hot_spot_is_the_highest_dose(planned):
    import slicer

    planned.press("hotSpotButton")
    dose = slicer.util.arrayFromVolume(planned.panel.views._plan.dose_node)
    assert f"{dose.max():.1f} Gy" in planned.panel.views.jumpToHotSpot()


def test_dose_isodoses_and_legend_follow_their_check_boxes_at_once(planned, monkeypatch):
    import slicer

    def dose_opacity():
        layers = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")
        return layers.GetForegroundOpacity()

    def shown(kind):
        return [n for n in slicer.util.getNodesByClass(kind) if n.GetVisibility()]

    ui, plan = planned.ui, planned.panel.views._plan
    assert dose_opacity() > 0
    ui.doseCheckBox.click()
    assert dose_opacity() == 0  # the event loop has not run since
    ui.doseCheckBox.click()
    assert dose_opacity() > 0
    legend, isodoses = "vtkMRMLColorLegendDisplayNode", "vtkMRMLModelDisplayNode"
    assert len(shown(isodoses)) == 1 == len(shown(legend))
    ui.isodoseCheckBox.click()
    assert not shown(isodoses) and len(shown(legend)) == 1
    ui.legendCheckBox.click()
    assert not shown(isodoses) and not shown(legend)
    told = []
    monkeypatch.setattr(plan, "set_isodoses_visible", told.append)
    planned.choices.bixelWidthMm += 0.5
    planned.choices.bixelWidthMm -= 0.5
    assert told == []  # nothing to do: isodose surfaces are not made anew
    monkeypatch.undo()
    ui.isodoseCheckBox.click()
    ui.legendCheckBox.click()
    assert len(shown(isodoses)) == 1 == len(shown(legend))


def test_slider_previews_while_dragged_and_keeps_when_released(planned):
    run, n = planned.run, len(planned.run.session.steps)
    previews = []
    told = run.onPreview
    run.onPreview = lambda event: (previews.append(event), told(event))
    slider = planned.panel.plan.slider("Gland")
    for position in (3, 6, 9):
        slider.setValue(position)
        planned.spin(0.1)
    planned.wait(lambda: bool(previews), "for a preview")
    run.onPreview = told
    assert "Preview" in planned.ui.previewNote.text
    assert len(run.session.steps) == n  # nothing is recorded
    slider.sliderReleased.emit()
    planned.settle()
    assert len(run.session.steps) == n + 1 and run.session.current == n
    step = run.session.steps[-1]
    assert step["author"].startswith("person:") and "Gland" in step["title"]
    assert slider.value == 0 and planned.ui.previewNote.text == ""


def test_objective_edited_by_hand_and_optimized_again(planned):
    run, table = planned.run, planned.ui.objectivesTable
    n, before = len(run.session.steps), run.session.objectives(run.session.current)[0]["dose_gy"]
    table.item(0, 2).setText("not a number")
    assert "not a number" in planned.ui.objectivesNote.text
    table.item(0, 2).setText(f"{before + 1:g}")
    planned.spin()
    assert planned.panel.plan.edits.count == 1
    assert "Optimize or discard" in planned.ui.acceptButton.toolTip
    planned.press("optimizeButton")
    assert run.session.objectives(run.session.current)[0]["dose_gy"] == pytest.approx(before + 1)
    assert len(run.session.steps) == n + 1 and planned.panel.plan.edits.count == 0


def test_undo_redo_select_move_the_current_plan_and_the_dose_on_display(planned):
    import slicer

    run, n = planned.run, len(planned.run.session.steps)
    last = run.session.current

    def shown_max():
        dose = planned.panel.views._plan.dose_node
        return float(slicer.util.arrayFromVolume(dose).max())

    maximum = shown_max()
    planned.press("undoButton")
    assert run.session.current != last and planned.panel.views.shown == run.session.current
    planned.press("redoButton")
    assert run.session.current == last and shown_max() == pytest.approx(maximum)
    planned.ui.stepsTable.selectRow(0)
    planned.spin(0.3)
    assert planned.panel.views.shown == 0 and not planned.ui.optimizeButton.enabled
    planned.press("selectStepButton")
    assert run.session.current == 0 and len(run.session.steps) == n
    planned.press("undoButton")
    assert run.session.current == last


def test_two_steps_side_by_side(planned):
    import slicer

    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    before = layout.GetViewArrangement()
    planned.panel._compareStep(0)
    planned.spin(0.2)
    chart = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLPlotChartNode")
    assert chart.GetNumberOfPlotSeriesNodes() == 10
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView
    assert not planned.ui.scorecardTable.isColumnHidden(4)
    planned.panel._compareStep(None)
    planned.spin(0.2)
    assert chart.GetNumberOfPlotSeriesNodes() == 5
    assert layout.GetViewArrangement() == before
    assert planned.ui.scorecardTable.isColumnHidden(4)


def test_review_is_a_persons_bound_and_void_after_a_change(planned):
    import slicer

    run = planned.run
    planned.ui.reviewerEdit.text = "A. Physicist"
    assert not planned.ui.acceptButton.enabled
    planned.ui.commentEdit.text = "all slices, DVH and goals looked at"
    planned.spin()
    # In testing mode Slicer's confirmations answer themselves: an approval must not.
    slicer.app.testing = True
    planned.press("acceptButton")
    assert run.session.review is None
    slicer.app.testing = False
    asked = []
    planned.panel.resultRequests.confirmReview = lambda *what: asked.append(what) or True
    planned.press("acceptButton")
    assert asked == [("approved", "A. Physicist", f"step {run.session.current}")]
    assert run.session.review["verdict"] == "approved" and not run.session.review["void"]
    assert "APPROVED by A. Physicist" in planned.ui.reviewNote.text
    planned.press("optimizeButton")
    assert run.session.review["void"] and "NOT APPROVED" in planned.ui.reviewNote.text
    kinds = [entry["kind"] for entry in read_audit(run.session.folder / "audit.jsonl")]
    assert kinds.count("review") == 1


@pytest.mark.parametrize(
    ("button", "path"), [("exportDicomButton", "dicom"), ("exportReportButton", "report.html")]
)
def test_exports(planned, button, path):
    planned.press(button)
    assert (planned.run.session.folder / path).exists()
    assert path in planned.ui.exportNote.text


def test_open_what_another_worker_planned(planned):
    n, current = len(planned.run.session.steps), planned.run.session.current
    planned.run.client.kill()
    planned.spin(0.2)
    assert planned.run.state.phase == "failed" and "Resume" in planned.run.state.message
    planned.press("resumeButton")
    assert planned.run.state.phase == "done", planned.run.state
    assert (len(planned.run.session.steps), planned.run.session.current) == (n, current)
    assert planned.ui.stepsTable.rowCount == n and planned.ui.optimizeButton.enabled


# What goes wrong


def test_cancel_keeps_steps_and_worker_and_plan_can_go_on(driver):
    driver.load_phantom()
    driver.choices.stepLimit = 200
    driver.choices.sessionFolder = str(driver.folder / "cancelled")
    driver.check_prescription()
    driver.ui.planButton.click()
    driver.wait(lambda: len(driver.run.session.steps) > 0, "for a step")
    driver.spin()
    assert driver.ui.planButton.text == "Cancel"
    driver.ui.planButton.click()
    driver.settle()
    assert driver.run.state.phase == "done" and "Cancelled" in driver.run.state.message
    assert driver.run.session.steps and driver.ui.optimizeButton.enabled  # the session stays open
    state = json.loads((driver.run.session.folder / "session.json").read_text())["state"]
    assert state == "cancelled"


def test_cancel_while_preparing_leaves_nothing(driver):
    driver.load_phantom()
    driver.choices.sessionFolder = str(driver.folder / "never")
    driver.check_prescription()
    driver.ui.planButton.click()
    driver.ui.planButton.click()
    driver.settle()
    assert driver.run.state.phase == "idle" and "Cancelled" in driver.run.state.message
    assert not (driver.folder / "never").exists()


def test_killed_worker_is_told_and_resumed(driver):
    driver.load_phantom()
    driver.choices.stepLimit = 200
    driver.choices.sessionFolder = str(driver.folder / "killed")
    driver.check_prescription()
    driver.ui.planButton.click()
    driver.wait(lambda: len(driver.run.session.steps) > 0, "for a step")
    os.kill(worker_pid(driver), signal.SIGKILL)
    driver.wait(lambda: driver.run.state.phase == "failed", "for the crash")
    driver.spin()
    n = len(driver.run.session.steps)
    assert "Resume" in driver.run.state.message and driver.ui.resumeButton.enabled
    driver.ui.resumeButton.click()
    # On a busy machine the worker may have taken its last step before it was killed.
    run = driver.run
    driver.wait(lambda: len(run.session.steps) > n or run.state.phase == "done", "for the rest")
    if run.state.phase != "done":
        driver.ui.planButton.click()
    driver.settle()
    assert run.state.phase == "done" and len(run.session.steps) >= n


def test_closing_the_scene_ends_the_worker_and_offers_to_resume(driver):
    import slicer

    driver.load_phantom()
    driver.choices.stepLimit = 200
    folder = driver.folder / "closed"
    driver.choices.sessionFolder = str(folder)
    driver.check_prescription()
    driver.ui.planButton.click()
    driver.wait(lambda: len(driver.run.session.steps) > 0, "for a step")
    pid = worker_pid(driver)
    slicer.mrmlScene.Clear(False)
    driver.spin(0.3)
    driver.wait(lambda: not is_alive(pid), "for the worker's end")
    assert driver.run.state.phase == "idle" and not driver.run.session.steps
    assert driver.choices is not None and not driver.choices.sessionFolder
    driver.load_phantom()
    driver.choices.sessionFolder = str(folder)
    driver.spin()
    assert driver.ui.resumeButton.enabled


def test_closing_the_application_leaves_no_process(driver):
    driver.load_phantom()
    driver.choices.sessionFolder = str(driver.folder / "ended")
    driver.check_prescription()
    driver.ui.planButton.click()
    driver.wait(lambda: driver.run.client.is_running, "for the worker")
    pid = worker_pid(driver)
    driver.module.cleanup()
    driver.spin(0.5)
    assert not is_alive(pid)


def test_a_case_that_cannot_be_planned_is_explained(driver):
    driver.load_phantom()
    driver.choices.beamTemplate = "0"
    driver.choices.sessionFolder = str(driver.folder / "file")
    (driver.folder / "file").write_text("in the way")
    driver.check_prescription()
    driver.ui.planButton.click()
    driver.settle()
    assert driver.run.state.phase == "failed" and "not a folder" in driver.run.state.message
    assert driver.ui.stateNote.text == driver.run.state.message


# Beams in the scene


@pytest.fixture
def with_slicerrt(driver):
    """The module in an application that has SlicerRT; its modules stay loaded."""
    import slicer

    from slicerrt_standins import beams_logic, slicerrt

    modules = slicer.modules
    with slicerrt(), beams_logic(slicer.mrmlScene):
        slicer.modules = modules
        yield driver


def beams_of(plan) -> dict[str, float]:
    """Gantry angle of every beam node, by its ID."""
    from radplan.mrml.rt_plan import beam_nodes

    return {node.GetID(): node.GetGantryAngle() for node in beam_nodes(plan)}


def test_beams_cannot_be_put_into_the_scene_without_slicerrt(driver):
    driver.load_phantom()
    assert not driver.ui.updatePlanButton.enabled
    assert "External Beam Planning" in driver.ui.updatePlanButton.toolTip


def test_beams_are_put_into_the_scene_and_changed_there(with_slicerrt):
    import slicer

    driver = with_slicerrt
    nodes = driver.load_phantom()
    driver.choices.beamTemplate = "coplanar9"
    driver.spin()
    driver.press("updatePlanButton")
    assert driver.ui.beamsMessage.text == "" and driver.run.state.phase == "idle"
    plan = driver.choices.rtPlan
    first = beams_of(plan)
    assert list(first.values()) == list(range(0, 360, 40))
    assert plan.GetReferenceVolumeNode() is nodes.ct
    assert plan.GetSegmentationNode() is nodes.segmentation
    target, body = (
        nodes.segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)
        for name in ("PTV", "BODY")
    )
    assert (plan.GetTargetSegmentIDs(), plan.GetBodySegmentID()) == ((target,), body)
    assert plan.GetRxDose() == driver.panel.patient.binding.protocol.primary.dose_gy
    assert plan.GetDoseGridSpacing() == (driver.choices.gridSpacingMm,) * 3
    count = slicer.mrmlScene.GetNumberOfNodes()
    driver.press("updatePlanButton")
    assert driver.choices.rtPlan is plan and beams_of(plan) == first
    driver.choices.beamTemplate = "0,90,180"
    driver.spin()
    driver.press("updatePlanButton")
    assert driver.choices.rtPlan is plan and slicer.mrmlScene.GetNumberOfNodes() == count - 18
    assert beams_of(plan) == dict(zip(first, (0, 90, 180), strict=False))


def test_a_persons_own_plan_is_not_changed(with_slicerrt):
    import slicer

    driver = with_slicerrt
    driver.load_phantom()
    own = slicer.vtkMRMLRTPlanNode()
    own.SetName("Mine")
    slicer.mrmlScene.AddNode(own)
    driver.choices.rtPlan = own
    driver.spin()
    driver.press("updatePlanButton")
    assert driver.choices.rtPlan is not own
    assert beams_of(own) == {} and len(beams_of(driver.choices.rtPlan)) == 5


def test_a_session_outlives_putting_its_beams_into_the_scene(with_slicerrt):
    driver = with_slicerrt
    driver.load_phantom()
    driver.choices.stepLimit = 0
    driver.plan("session")
    steps, phase = list(driver.run.session.steps), driver.run.state
    driver.press("updatePlanButton")
    assert (driver.run.session.steps, driver.run.state) == (steps, phase)
    assert driver.run.isOpen and driver.ui.optimizeButton.enabled


def test_the_beams_of_a_slicerrt_plan_are_planned_with(with_slicerrt):
    from radplan.mrml.rt_plan import beam_nodes
    from radplan.panel.parameters import BeamSource

    driver = with_slicerrt
    driver.load_phantom()
    driver.choices.stepLimit = 0
    driver.press("updatePlanButton")
    plan = driver.choices.rtPlan
    isocenter_ras = (4.0, 3.0, -2.0)
    plan.SetIsocenterPosition(isocenter_ras)
    for node in beam_nodes(plan):  # as a person turns them in External Beam Planning
        node.SetGantryAngle(node.GetGantryAngle() + 10.0)
    driver.choices.beamSource = BeamSource.RT_PLAN
    driver.spin()
    assert "already" in driver.ui.updatePlanButton.toolTip
    driver.plan("session")
    assert driver.run.state.phase == "done", driver.run.state
    beams = json.loads((driver.run.session.folder / "session.json").read_text())["beams"]
    assert [b["gantry_angle_deg"] for b in beams] == [10, 82, 154, 226, 298]
    assert all(b["isocenter_mm"] == [-4.0, -3.0, -2.0] for b in beams)  # LPS


# Assistant


def test_a_remote_server_needs_consent_that_scenes_do_not_carry(driver):
    import qt

    from radplan.panel.assistant_section import ALLOWED

    qt.QSettings().remove(ALLOWED)
    driver.load_phantom()
    driver.check_prescription()
    driver.ui.plannerComboBox.currentIndex = 1
    driver.ui.modelUrlEdit.text = "https://models.example.org/v1"
    driver.ui.modelNameEdit.text = "some-model"
    driver.spin()
    assert "models.example.org is not this computer" in driver.ui.planButton.toolTip
    assert driver.panel.assistant.settings()["allow_remote"] == []
    driver.ui.allowRemoteCheckBox.click()
    driver.spin()
    assert driver.ui.planButton.enabled
    assert driver.panel.assistant.settings()["allow_remote"] == ["models.example.org"]
    driver.ui.modelUrlEdit.text = "http://localhost:1/v1"
    driver.spin()
    assert driver.panel.assistant.settings()["allow_remote"] == []  # that one needs no consent
    assert driver.ui.planButton.enabled
    qt.QSettings().remove(ALLOWED)


def test_what_would_be_sent_is_shown_and_nothing_is_sent(driver):
    nodes = driver.load_phantom()
    nodes.ct.SetName("DOE JOHN 1234")
    driver.ui.modelUrlEdit.text = "https://models.example.org/v1"
    driver.ui.modelNameEdit.text = "some-model"
    driver.check_prescription()
    driver.press("previewSentButton")
    assert driver.run.state.phase == "done", driver.run.state
    text = driver.ui.sentText.plainText
    assert "# Evaluator" in text or "# Planner" in text
    assert "DOE" not in text and str(driver.folder) not in text


def test_a_server_that_does_not_answer_is_told(driver):
    driver.load_phantom()
    driver.ui.modelUrlEdit.text, driver.ui.modelNameEdit.text = "http://localhost:1/v1", "none"
    driver.spin()
    driver.ui.checkModelButton.click()
    driver.wait(lambda: "localhost" in driver.ui.modelNote.text and "…" not in
                driver.ui.modelNote.text, "for the answer")  # fmt: skip


# The module itself


def test_module_tells_slicer_about_itself(tmp_path):
    slicer_host.start(tmp_path)
    import RadPlanAgent

    module = RadPlanAgent.RadPlanAgent(parent := fake_parent())
    assert parent.title == "RadPlan Agent" and parent.categories == ["Radiotherapy"]
    assert module.moduleName == "RadPlanAgent" and "RESEARCH USE ONLY" in parent.helpText


@pytest.mark.slow
def test_self_test_of_the_module_passes(driver):
    import RadPlanAgent
    import slicer

    slicer.app.testing = True
    RadPlanAgent.RadPlanAgentTest().runTest()


def test_panel_needs_no_package_that_slicer_lacks():
    """The panel is imported where the worker's packages cannot be."""
    code = """
import sys, tempfile, pathlib
blocked = ("pyRadPlan", "numba", "matplotlib", "pydicom", "openai", "keyring", "jinja2", "tqdm",
           "SimpleITK", "pymatreader", "h5py", "threadpoolctl", "pydantic", "httpx")
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(f"{name} is not in Slicer")
sys.meta_path.insert(0, Blocker())
sys.path.insert(0, %r)
import slicer_host
slicer_host.start(pathlib.Path(tempfile.mkdtemp()))
import qt, slicer
import RadPlanAgent
parent = slicer.qMRMLWidget(); parent.setLayout(qt.QVBoxLayout()); parent.isEntered = True
widget = RadPlanAgent.RadPlanAgentWidget(parent)
widget.setup()
import radplan.mrml.read_case, radplan.panel.sample_data, radplan.panel.rt_plan_beams
print(widget.panel.ui.planButton.toolTip)
widget.cleanup()
"""
    result = subprocess.run(
        [sys.executable, "-c", code % str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"QT_QPA_PLATFORM": "offscreen"},
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "Choose a CT" in result.stdout
