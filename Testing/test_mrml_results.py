"""Results in a scene that a user already works in: CT and segmentation are hers, and stay so."""

from __future__ import annotations

import json

import numpy as np
import pytest

from radplan.case import DoseImage
from radplan.errors import InputError
from radplan.geometry import Grid
from radplan.mrml import runtime

pytest.importorskip("slicer", reason="slicer-core is not installed")
try:
    runtime.require_slicer()
except runtime.SlicerMissingError as error:
    pytest.skip(str(error), allow_module_level=True)

import slicer

from radplan.mrml.geometry import image_array
from radplan.mrml.hierarchy import place, subject_hierarchy
from radplan.mrml.plan_record import store_plan, stored_plans
from radplan.mrml.read_segments import BINARY
from radplan.mrml.read_volume import ijk_to_lps
from radplan.mrml.runtime import headless_scene
from radplan.mrml.shown_plan import Anatomy, ShownPlan
from radplan.optimize import Objective
from radplan.orientation import to_lps
from scene_builders import add_segmentation, add_volume, labelmap, oriented
from test_mrml_scene import SCORECARD, column, read_scene

CT_GRID = Grid((8, 10, 12), (1.5, 2.0, 3.0), (-17.0, 8.5, 101.25))
#: Neither the CT's voxels nor its box.
DOSE_GRID = Grid((5, 6, 7), (2.5, 3.0, 4.0), (-16.0, 10.0, 103.0))
#: Not how we would write one.
TURNED = ((1, 2, 0), (1, -1, 1))
SESSION = "a1b2"
OBJECTIVES = (
    Objective("PTV_50", "squared_deviation", 100.0, dose_gy=50.0),
    Objective("Heart", "max_dvh", 5.0, dose_gy=20.0, volume_percent=30.0),
    Objective("Heart", "mean_dose", 1.0),
)
STRUCTURES = {"PTV_50": {"mean_gy": 50.0, "min_gy": 44.0, "max_gy": 53.0}, "Heart": {}}


@pytest.fixture
def scene():
    with headless_scene() as scene:
        yield scene


def anatomy_of(scene, with_study=True):
    """The user's own nodes; segments are not named as the structures."""
    hu = np.full(CT_GRID.shape, -1000, np.int16)
    mask = np.zeros(CT_GRID.shape, np.uint8)
    mask[3:5, 4:6, 5:8] = 1
    ct = add_volume(scene, *oriented(hu, CT_GRID, TURNED), name="3: Thorax")
    image = labelmap(*oriented(mask, CT_GRID, TURNED))
    segmentation = add_segmentation(scene, BINARY, {"target volume": image, "cor": image})
    if with_study:
        hierarchy = subject_hierarchy(scene)
        patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
        study = hierarchy.CreateStudyItem(patient, "Study")
        place(ct, study)
        place(segmentation, study)
    ids = {"PTV_50": "id_target volume", "Heart": "id_cor"}
    return Anatomy(ct, segmentation, ids, {"PTV_50": 0.108, "Heart": 0.108})


def shown_plan(scene, session=SESSION, **kwargs) -> ShownPlan:
    return ShownPlan(anatomy_of(scene, **kwargs), 50.0, session)


def dose_of(seed: int) -> DoseImage:
    values = np.random.default_rng(seed).uniform(1, 55, DOSE_GRID.shape)
    return DoseImage(DOSE_GRID, values.astype(np.float32))


def dvh_of(scale: float):
    doses_gy = np.linspace(0, 60, 61)
    return doses_gy, {
        "PTV_50": 100 * np.exp(-((doses_gy / 50) ** 8) * scale),
        "Heart": 100 * np.exp(-doses_gy / 10 * scale),
        "zRing": np.full(61, 100.0),  # a helper: no segment of the user's
    }


def show_all(plan: ShownPlan, step: int) -> None:
    plan.show_dose(dose_of(step), f"Dose of step {step}")
    plan.show_dvh(dvh_of(1 + step / 10), STRUCTURES, f"DVH of step {step}")


def nodes_of(scene) -> list[str]:
    return sorted(
        f"{scene.GetNthNode(i).GetClassName()} {scene.GetNthNode(i).GetID()}"
        for i in range(scene.GetNumberOfNodes())
    )


def lps_values(volume):
    values, _ = image_array(volume.GetImageData())
    return to_lps(values, ijk_to_lps(volume), "dose")


class TestShownPlan:
    def test_the_dose_lies_where_it_was_computed(self, scene):
        plan = shown_plan(scene)
        show_all(plan, 3)
        grid, values = lps_values(plan.dose_node)
        assert grid.matches(DOSE_GRID)
        np.testing.assert_array_equal(values, dose_of(3).dose_gy)

    def test_the_dose_joins_the_users_study_with_a_unit(self, scene):
        plan = shown_plan(scene)
        show_all(plan, 0)
        hierarchy = subject_hierarchy(scene)
        item = hierarchy.GetItemByDataNode(plan.dose_node)
        ct_item = hierarchy.GetItemByDataNode(plan.anatomy.ct)
        assert hierarchy.GetItemParent(item) == hierarchy.GetItemParent(ct_item)
        for name, value in (("DoseUnitName", "GY"), ("DoseUnitValue", "1.0")):
            found = hierarchy.GetAttributeFromItemAncestor(item, f"DicomRtImport.{name}", "Study")
            assert found == value
        assert plan.dose_node.GetAttribute("DicomRtImport.DoseVolume") == "1"

    def test_a_ct_in_a_folder_still_finds_its_study(self, scene):
        """SlicerRT looks for the unit on the study, not on whatever is above a node."""
        plan = shown_plan(scene)
        hierarchy = subject_hierarchy(scene)
        ct_item = hierarchy.GetItemByDataNode(plan.anatomy.ct)
        study = hierarchy.GetItemParent(ct_item)
        folder = hierarchy.CreateFolderItem(study, "mine")
        hierarchy.SetItemParent(ct_item, folder)
        show_all(plan, 0)
        assert hierarchy.GetItemAttribute(study, "DicomRtImport.DoseUnitName") == "GY"
        assert not hierarchy.GetItemAttribute(folder, "DicomRtImport.DoseUnitName")

    def test_what_an_import_wrote_on_the_study_stays(self, scene):
        plan = shown_plan(scene)
        hierarchy = subject_hierarchy(scene)
        study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(plan.anatomy.ct))
        hierarchy.SetItemAttribute(study, "DicomRtImport.DoseUnitName", "GY")
        hierarchy.SetItemAttribute(study, "DicomRtImport.DoseUnitValue", "0.00025")
        show_all(plan, 0)
        assert hierarchy.GetItemAttribute(study, "DicomRtImport.DoseUnitName") == "GY"
        assert hierarchy.GetItemAttribute(study, "DicomRtImport.DoseUnitValue") == "0.00025"

    def test_without_a_study_one_is_made_around_the_users_nodes(self, scene):
        plan = shown_plan(scene, with_study=False)
        show_all(plan, 0)
        show_all(plan, 1)
        hierarchy = subject_hierarchy(scene)
        items = [
            hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))
            for node in (plan.dose_node, plan.anatomy.ct, plan.anatomy.segmentation)
        ]
        assert len(set(items)) == 1
        assert hierarchy.GetItemLevel(items[0]) == "Study"

    def test_the_users_ct_and_segments_are_not_touched(self, scene):
        plan = shown_plan(scene)
        ct, segmentation = plan.anatomy.ct, plan.anatomy.segmentation
        ct_before = image_array(ct.GetImageData())[0].copy()
        names = [segmentation.GetSegmentation().GetNthSegment(i).GetName() for i in range(2)]
        show_all(plan, 0)
        plan.compare(dose_of(9), dvh_of(2.0), "other")
        plan.end_comparison()
        np.testing.assert_array_equal(image_array(ct.GetImageData())[0], ct_before)
        assert ct.GetName() == "3: Thorax"
        assert names == ["target volume", "cor"]

    def test_steps_and_previews_reuse_their_nodes(self, scene):
        plan = shown_plan(scene)
        show_all(plan, 0)
        before = nodes_of(scene)
        for step in range(1, 5):
            show_all(plan, step)
        assert nodes_of(scene) == before
        np.testing.assert_array_equal(lps_values(plan.dose_node)[1], dose_of(4).dose_gy)
        chart = scene.GetFirstNodeByClass("vtkMRMLPlotChartNode")
        assert chart.GetTitle() == "DVH of step 4"
        series = chart.GetNthPlotSeriesNode(0)
        np.testing.assert_allclose(
            column(series.GetTableNode(), "Volume"), dvh_of(1.4)[1]["PTV_50"], rtol=1e-6
        )

    def test_two_steps_are_compared_and_one_remains(self, scene):
        plan = shown_plan(scene)
        show_all(plan, 0)
        plan.show_chart()
        before = nodes_of(scene)
        for step in (7, 8):
            plan.compare(dose_of(step), dvh_of(0.5), f"Dose of step {step}")
        chart = scene.GetFirstNodeByClass("vtkMRMLPlotChartNode")
        assert chart.GetNumberOfPlotSeriesNodes() == 4  # two structures, two steps
        styles = [chart.GetNthPlotSeriesNode(i).GetLineStyle() for i in range(4)]
        assert len(set(styles[:2])) == len(set(styles[2:])) == 1
        assert styles[0] != styles[2]
        np.testing.assert_array_equal(lps_values(plan.dose_node)[1], dose_of(0).dose_gy)
        plan.end_comparison()
        assert nodes_of(scene) == before
        assert chart.GetNumberOfPlotSeriesNodes() == 2

    def test_curves_are_tied_to_the_users_segments(self, scene):
        plan = shown_plan(scene)
        show_all(plan, 0)
        chart = scene.GetFirstNodeByClass("vtkMRMLPlotChartNode")
        tables = {
            chart.GetNthPlotSeriesNode(i).GetName(): chart.GetNthPlotSeriesNode(i).GetTableNode()
            for i in range(chart.GetNumberOfPlotSeriesNodes())
        }
        assert set(tables) == {"PTV_50", "Heart"}
        heart = tables["Heart"]
        assert heart.GetAttribute("DoseVolumeHistogram.SegmentID") == "id_cor"
        assert heart.GetNodeReference("doseVolumeRef") is plan.dose_node
        assert heart.GetNodeReference("segmentationRef") is plan.anatomy.segmentation

    def test_a_histogram_that_the_user_made_keeps_its_links(self, scene):
        """SlicerRT finds its histograms by a reference on dose and segmentation."""
        plan = shown_plan(scene)
        segmentation, role = plan.anatomy.segmentation, "DoseVolumeHistogram.createdDvhArrayRef"
        hers = scene.AddNewNodeByClass("vtkMRMLTableNode", "hers")
        segmentation.AddNodeReferenceID(role, hers.GetID())
        show_all(plan, 0)
        assert segmentation.GetNumberOfNodeReferences(role) == 3
        doses_gy, curves = dvh_of(1.0)
        plan.show_dvh((doses_gy, {"Heart": curves["Heart"]}), STRUCTURES, "other structures")
        assert segmentation.GetNumberOfNodeReferences(role) == 2
        shown_again = ShownPlan(plan.anatomy, 50.0, SESSION)
        assert segmentation.GetNumberOfNodeReferences(role) == 1
        assert segmentation.GetNodeReference(role) is hers
        assert shown_again.dose_node is None

    def test_the_hot_spot_is_found_in_patient_space(self, scene):
        plan = shown_plan(scene)
        dose = dose_of(1)
        dose.dose_gy[4, 1, 6] = 80.0
        plan.show_dose(dose, "Dose")
        expected = np.add(DOSE_GRID.origin_mm, np.multiply(DOSE_GRID.spacing_mm, (6, 1, 4)))
        assert plan.hot_spot_mm() == pytest.approx(tuple(expected))


def store(scene, plan, step=4, session=SESSION):
    return store_plan(
        scene,
        plan.study(),
        session,
        scorecard=SCORECARD | {"step": step},
        objectives=OBJECTIVES,
        facts={"Dose engine": "a pencil beam"},
    )


class TestRecord:
    def test_scorecard_and_objectives_are_tables(self, scene):
        record = store(scene, shown_plan(scene))
        assert column(record.scorecard, "Met") == ["yes", "NO", "not evaluable"]
        assert column(record.objectives, "Function")[1] == "max_dvh"
        np.testing.assert_array_equal(column(record.objectives, "Dose (Gy)"), [50.0, 20.0, np.nan])
        assert record.objectives.GetLocked()

    def test_the_text_says_all_and_can_be_read(self, scene):
        plan = shown_plan(scene)
        record = store(scene, plan)
        (document,) = stored_plans(scene)
        assert document["objectives"] == OBJECTIVES
        assert document["step"] == 4
        assert document["scorecard"]["goals"] == SCORECARD["goals"]
        assert document["facts"]["Dose engine"] == "a pencil beam"
        assert "RESEARCH USE ONLY" in record.text.GetText()

    def test_a_new_step_replaces_the_old_one(self, scene):
        plan = shown_plan(scene)
        first = store(scene, plan)
        before = nodes_of(scene)
        for step in (5, 6):
            again = store(scene, plan, step)
        assert again == first
        assert nodes_of(scene) == before
        assert "step 6" in first.scorecard.GetName()
        assert stored_plans(scene)[0]["step"] == 6

    def test_sessions_do_not_overwrite_each_other(self, scene):
        plan = shown_plan(scene)
        store(scene, plan, 1, "one")
        store(scene, plan, 2, "two")
        assert {d["session"]: d["step"] for d in stored_plans(scene)} == {"one": 1, "two": 2}

    @pytest.mark.parametrize(
        "text", ["", "{}", "[1]", '{"format": "radplan plan 99"}', "not JSON at all"]
    )
    def test_a_changed_text_is_refused_by_name(self, scene, text):
        record = store(scene, shown_plan(scene))
        record.text.SetText(text)
        with pytest.raises(InputError, match=r"text 'Plan step 4.*' is no plan"):
            stored_plans(scene)

    def test_other_texts_are_left_alone(self, scene):
        scene.AddNewNodeByClass("vtkMRMLTextNode", "shopping list").SetText("milk")
        assert stored_plans(scene) == ()


class TestReload:
    @pytest.fixture
    def again(self, scene, tmp_path):
        """The scene, saved and opened in another one."""
        plan = shown_plan(scene)
        show_all(plan, 2)
        plan.compare(dose_of(7), dvh_of(0.5), "Dose of step 7")
        store(scene, plan)
        path = tmp_path / "user.mrb"
        assert scene.WriteToMRB(str(path), None, slicer.vtkMRMLMessageCollection())
        (tmp_path / "cache").mkdir()
        opened = read_scene(path, tmp_path / "cache")
        yield opened[0]
        opened[0].Clear(True)

    def test_everything_comes_back(self, again):
        dose = again.GetFirstNodeByName("Dose of step 2 - RESEARCH USE ONLY")
        grid, values = lps_values(dose)
        assert grid.matches(DOSE_GRID)
        np.testing.assert_array_equal(values, dose_of(2).dose_gy)
        assert dose.GetAttribute("DicomRtImport.DoseVolume") == "1"
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(again)
        item = hierarchy.GetItemByDataNode(dose)
        unit = hierarchy.GetAttributeFromItemAncestor(item, "DicomRtImport.DoseUnitName", "Study")
        assert unit == "GY"
        (document,) = stored_plans(again)
        assert document["objectives"] == OBJECTIVES
        chart = again.GetFirstNodeByClass("vtkMRMLPlotChartNode")
        assert chart.GetNumberOfPlotSeriesNodes() == 4

    def test_going_on_after_reloading_piles_nothing_up(self, again):
        anatomy = Anatomy(
            again.GetFirstNodeByName("3: Thorax"),
            again.GetFirstNodeByName("Segmentation"),
            {"PTV_50": "id_target volume", "Heart": "id_cor"},
            {"PTV_50": 0.108, "Heart": 0.108},
        )
        counts = []
        for _ in range(3):
            plan = ShownPlan(anatomy, 50.0, SESSION)
            show_all(plan, 2)
            store(again, plan, 5)
            counts.append(
                {
                    kind: again.GetNumberOfNodesByClass(kind)
                    for kind in (
                        "vtkMRMLScalarVolumeNode",
                        "vtkMRMLTableNode",
                        "vtkMRMLPlotSeriesNode",
                        "vtkMRMLPlotChartNode",
                        "vtkMRMLColorTableNode",
                        "vtkMRMLTextNode",
                        "vtkMRMLScalarVolumeDisplayNode",
                        "vtkMRMLStorageNode",
                    )
                }
            )
        assert counts[0]["vtkMRMLScalarVolumeNode"] == 2  # CT and one dose
        assert counts[0]["vtkMRMLPlotSeriesNode"] == 2
        assert counts[0] == counts[1] == counts[2]
        assert stored_plans(again)[0]["step"] == 5

    def test_another_session_keeps_the_earlier_ones_dose(self, again):
        anatomy = Anatomy(
            again.GetFirstNodeByName("3: Thorax"),
            again.GetFirstNodeByName("Segmentation"),
            {"PTV_50": "id_target volume"},
            {"PTV_50": 0.108},
        )
        ShownPlan(anatomy, 50.0, "another").show_dose(dose_of(5), "New")
        assert again.GetFirstNodeByName("Dose of step 2 - RESEARCH USE ONLY") is not None

    def test_nothing_tells_who_the_patient_is_or_where_files_are(self, again):
        text = json.dumps(stored_plans(again)[0]["scorecard"])
        assert "Thorax" not in text
        assert "/" not in SESSION
