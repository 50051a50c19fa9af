"""A scene file is read back with Slicer's own reader and held against what went in."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import types
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from radplan.beams import make_beams
from radplan.case import Case, DoseImage, Structure, StructureType
from radplan.errors import InputError
from radplan.geometry import Grid, Occupancy
from radplan.mrml import runtime
from radplan.mrml.runtime import SlicerMissingError
from radplan.mrml.scene import write_scene

try:
    runtime.require_slicer()
    import slicer
    from vtkmodules.util.numpy_support import vtk_to_numpy
except SlicerMissingError as _error:
    slicer = None

needs_slicer = pytest.mark.skipif(slicer is None, reason="slicer-core is not installed")

#: Anisotropic, off the origin, and not symmetric in any axis.
CT_GRID = Grid((23, 40, 52), (1.25, 2.0, 3.0), (-37.5, -61.0, 212.0))
#: Neither aligned with the CT's voxels nor covering all of it.
DOSE_GRID = Grid((19, 27, 22), (2.5, 2.75, 3.5), (-31.0, -55.0, 207.0))
#: Voxel (z, y, x) of the CT that is a structure of its own.
LANDMARK = (17, 31, 5)
PRESCRIPTION_GY = 50.0
#: A name as bad as they come: with every character that MRML uses as a separator.
ODD_NAME = "Darm; a:b|c (1/2) é"
SECRET = "Doe^Jane 1.2.840.99999"


def ball(center_mm: tuple[float, float, float], radius_mm: float) -> Occupancy:
    z, y, x = np.meshgrid(*CT_GRID.axes_mm, indexing="ij")
    distance = np.sqrt((x - center_mm[0]) ** 2 + (y - center_mm[1]) ** 2 + (z - center_mm[2]) ** 2)
    return Occupancy.from_array(CT_GRID, np.clip((radius_mm - distance) / 2 + 0.5, 0, 1))


def single_voxel(index: tuple[int, int, int]) -> Occupancy:
    array = np.zeros(CT_GRID.shape)
    array[index] = 1.0
    return Occupancy.from_array(CT_GRID, array)


def make_case() -> Case:
    middle = CT_GRID.center_mm
    target = (middle[0] + 6, middle[1] - 9, middle[2] + 5)
    empty = Occupancy(CT_GRID, (0, 0, 0), np.zeros((0, 0, 0), np.float32))
    structures = (
        Structure("BODY", StructureType.EXTERNAL, ball(middle, 36)),
        Structure("PTV_50", StructureType.TARGET, ball(target, 11), SECRET, (255, 0, 0)),
        Structure("Parotid_L", StructureType.OAR, ball((target[0] + 8, *target[1:]), 8)),
        Structure(ODD_NAME, StructureType.OAR, ball((middle[0] - 12, *middle[1:]), 6)),
        Structure("Landmark", StructureType.OAR, single_voxel(LANDMARK)),
        Structure("Nothing", StructureType.OAR, empty),
        Structure("Ring", StructureType.HELPER, ball(target, 16)),
    )
    noise = np.random.default_rng(7).normal(30, 200, CT_GRID.shape)
    ct_hu = np.where(structures[0].occupancy.mask(), noise, -1000).astype(np.float32)
    ct_hu[0, 0, 0] = 70_000  # metal beyond int16
    return Case(
        "Phantom A",
        CT_GRID,
        ct_hu,
        structures,
        frame_of_reference_uid=SECRET,
        source=f"/data/{SECRET}",
    )


def make_dose() -> DoseImage:
    z, y, x = np.meshgrid(*DOSE_GRID.axes_mm, indexing="ij")
    cx, cy, cz = CT_GRID.center_mm
    dose = 53.7 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + 2 * (z - cz) ** 2) / 2 / 18**2)
    return DoseImage(DOSE_GRID, dose.astype(np.float32))


def make_dvh(case: Case) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    doses_gy = np.linspace(0, 55, 111)
    curves = {
        s.name: 100 * np.exp(-((doses_gy / (15 + 7 * i)) ** 4))
        for i, s in enumerate(case.structures)
        if not s.occupancy.is_empty
    }
    return doses_gy, curves


def goal(structure: str, achieved: float | None, met: bool | None) -> dict:
    margin = None if achieved is None else achieved - 47.5
    return {
        "structure": structure,
        "metric": "D95%",
        "op": ">=",
        "value": 47.5,
        "unit": "Gy",
        "priority": 1,
        "achieved": achieved,
        "met": met,
        "margin": margin,
    }


SCORECARD = {
    "case": "Phantom A",
    "protocol": "test-50",
    "prescription": [{"target": "PTV_50", "dose_gy": 50.0, "fractions": 25}],
    "step": 4,
    "goals": [
        goal("PTV_50", 48.125, True),
        goal("Parotid_L", 46.5, False),
        goal("Lens_L", None, None),
    ],
    "structures": {"PTV_50": {"mean_gy": 50.25, "min_gy": 44.5, "max_gy": 53.5}},
}


def read_scene(path: Path, folder: Path):
    """Read with what desktop Slicer reads with; reading needs a folder to unpack in."""
    scene = slicer.vtkMRMLScene()
    scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())  # as the module Colors does
    logics = [
        slicer.vtkMRMLApplicationLogic(),
        slicer.vtkMRMLColorLogic(),
        slicer.vtkSlicerMarkupsLogic(),
    ]
    for logic in logics:
        logic.SetMRMLScene(scene)
    cache = slicer.vtkCacheManager()
    cache.SetRemoteCacheDirectory(str(folder))
    manager = slicer.vtkDataIOManager()
    manager.SetCacheManager(cache)
    scene.SetDataIOManager(manager)
    messages = slicer.vtkMRMLMessageCollection()
    assert scene.ReadFromMRB(str(path), True, messages)
    assert not messages.GetAllMessagesAsString()
    return scene, logics, manager


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    if slicer is None:
        pytest.skip("slicer-core is not installed")
    path = tmp_path_factory.mktemp("scene") / "plan.mrb"
    case = make_case()
    write_scene(
        path,
        case,
        make_dose(),
        make_dvh(case),
        prescription_gy=PRESCRIPTION_GY,
        scorecard=SCORECARD,
        beams=make_beams("coplanar9", (1.0, -20.0, 226.0)),
        provenance={"Dose engine": "a pencil beam"},
    )
    return path


@pytest.fixture(scope="module")
def scene(written, tmp_path_factory):
    opened = read_scene(written, tmp_path_factory.mktemp("cache"))
    yield opened[0]
    opened[0].Clear(True)


@pytest.fixture(scope="module")
def unpacked(written, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    zipfile.ZipFile(written).extractall(folder)
    return folder


def node_named(scene, name: str):
    node = scene.GetFirstNodeByName(name)
    assert node is not None, name
    return node


def ct_node(scene):
    return node_named(scene, "CT Phantom A")


def dose_node(scene):
    return node_named(scene, "Dose - RESEARCH USE ONLY")


def segmentation_node(scene):
    return node_named(scene, "Structures Phantom A")


def voxels(image) -> np.ndarray:
    x, y, z = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(z, y, x)


def ras_from(node, index: tuple[int, int, int]) -> np.ndarray:
    """RAS of a voxel (z, y, x), from the node's own matrix."""
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    matrix = vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return np.array(matrix.MultiplyPoint((*index[::-1], 1.0)))[:3]


def ras_of_lps(grid: Grid, index: tuple[int, int, int]) -> np.ndarray:
    """The same from the definition: x and y change sign."""
    z, y, x = (axis[i] for axis, i in zip(grid.axes_mm, index, strict=True))
    return np.array([-x, -y, z])


def segment_mask(scene, name: str) -> np.ndarray:
    """A segment on the CT grid, placed by its world coordinates alone."""
    node = segmentation_node(scene)
    image = slicer.vtkOrientedImageData()
    segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    mask = np.zeros(CT_GRID.shape, bool)
    assert node.GetBinaryLabelmapRepresentation(segment_id, image)
    if min(image.GetDimensions()) < 1:
        return mask
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    matrix, extent = vtkMatrix4x4(), image.GetExtent()
    image.GetImageToWorldMatrix(matrix)
    first = np.array(matrix.MultiplyPoint((extent[0], extent[2], extent[4], 1.0)))[:3]
    lps = first * (-1, -1, 1)
    start = np.array(CT_GRID.index_of(tuple(lps)))
    assert np.allclose(start, np.rint(start), atol=1e-4)
    values = voxels(image)
    where = tuple(
        slice(int(round(a)), int(round(a)) + n) for a, n in zip(start, values.shape, strict=True)
    )
    mask[where] = values != 0
    return mask


def column(table, name: str) -> list:
    array = table.GetTable().GetColumnByName(name)
    return [array.GetValue(i) for i in range(array.GetNumberOfValues())]


class TestVolumes:
    def test_ct_voxels_are_the_rounded_hounsfield_units(self, scene):
        image = ct_node(scene).GetImageData()
        assert image.GetScalarTypeAsString() == "short"
        expected = np.clip(np.rint(make_case().ct_hu), -32768, 32767)
        np.testing.assert_array_equal(voxels(image), expected)

    @pytest.mark.parametrize("index", [(0, 0, 0), LANDMARK, (22, 0, 51)])
    def test_ct_landmarks_lie_at_their_ras_position(self, scene, index):
        np.testing.assert_allclose(
            ras_from(ct_node(scene), index), ras_of_lps(CT_GRID, index), atol=1e-4
        )

    def test_ct_is_shown_in_a_soft_tissue_window(self, scene):
        display = ct_node(scene).GetDisplayNode()
        assert (display.GetWindow(), display.GetLevel()) == (400, 40)
        assert not display.GetAutoWindowLevel()
        assert display.GetColorNode().GetName() == "Grey"

    def test_dose_is_exactly_the_float32_that_went_in(self, scene):
        image = dose_node(scene).GetImageData()
        assert image.GetScalarTypeAsString() == "float"
        np.testing.assert_array_equal(voxels(image), make_dose().dose_gy)

    @pytest.mark.parametrize("index", [(0, 0, 0), (18, 26, 21), (3, 20, 7)])
    def test_dose_landmarks_lie_at_their_ras_position(self, scene, index):
        np.testing.assert_allclose(
            ras_from(dose_node(scene), index), ras_of_lps(DOSE_GRID, index), atol=1e-4
        )

    def test_dose_is_tagged_as_slicerrt_does(self, scene):
        node = dose_node(scene)
        assert node.GetAttribute("DicomRtImport.DoseVolume") == "1"
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        item = hierarchy.GetItemByDataNode(node)
        # The very look-up with which SlicerRT finds the unit.
        for name, value in (("DoseUnitName", "GY"), ("DoseUnitValue", "1.0")):
            attribute = f"DicomRtImport.{name}"
            assert hierarchy.GetAttributeFromItemAncestor(item, attribute, "Study") == value

    @pytest.mark.parametrize(
        ("percent", "rgb"),
        [(100, (255, 255, 0)), (90, (0, 147, 221)), (105, (255, 128, 0)), (80, (108, 0, 208))],
    )
    def test_a_dose_has_the_colour_of_its_share_of_the_prescription(self, scene, percent, rgb):
        display = dose_node(scene).GetDisplayNode()
        table = display.GetColorNode().GetLookupTable()
        low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
        assert low == 0
        fraction = (percent / 100 * PRESCRIPTION_GY - low) / (high - low)
        color = table.GetTableValue(round(fraction * (table.GetNumberOfTableValues() - 1)))
        np.testing.assert_allclose(np.array(color[:3]) * 255, rgb, atol=13)  # half a table step

    def test_low_dose_is_not_shown_and_the_hottest_voxel_is(self, scene):
        display = dose_node(scene).GetDisplayNode()
        assert display.GetApplyThreshold()
        assert display.GetLowerThreshold() == pytest.approx(0.05 * PRESCRIPTION_GY)
        assert display.GetUpperThreshold() >= make_dose().dose_gy.max()
        assert display.GetInterpolate()

    def test_slicerrt_finds_isodose_levels_in_gy(self, scene):
        table = dose_node(scene).GetNodeReference("colorTableRef")
        names = [table.GetColorName(i) for i in range(table.GetNumberOfColors())]
        assert [float(n) for n in names] == [10, 25, 40, 45, 47.5, 50, 52.5, 55]


class TestSegmentation:
    @pytest.mark.parametrize("name", make_case().names)
    def test_masks_survive_even_where_structures_overlap(self, scene, name):
        expected = make_case().structure(name).occupancy.mask()
        np.testing.assert_array_equal(segment_mask(scene, name), expected)

    def test_a_point_structure_lies_at_its_ras_position(self, scene):
        node = segmentation_node(scene)
        segment_id = node.GetSegmentation().GetSegmentIdBySegmentName("Landmark")
        image = slicer.vtkOrientedImageData()
        node.GetBinaryLabelmapRepresentation(segment_id, image)
        filled = np.argwhere(voxels(image))
        assert len(filled) == 1
        from vtkmodules.vtkCommonMath import vtkMatrix4x4

        matrix, extent = vtkMatrix4x4(), image.GetExtent()
        image.GetImageToWorldMatrix(matrix)
        i, j, k = filled[0][::-1] + (extent[0], extent[2], extent[4])
        ras = np.array(matrix.MultiplyPoint((i, j, k, 1.0)))[:3]
        np.testing.assert_allclose(ras, ras_of_lps(CT_GRID, LANDMARK), atol=1e-4)

    def test_names_order_colours_and_tags_survive(self, scene):
        from radplan.colors import structure_colors

        case, segmentation = make_case(), segmentation_node(scene).GetSegmentation()
        colors = structure_colors(case.structures)
        assert segmentation.GetNumberOfSegments() == len(case.structures)
        for number, structure in enumerate(case.structures, start=1):
            segment = segmentation.GetNthSegment(number - 1)
            assert segment.GetName() == structure.name
            np.testing.assert_allclose(segment.GetColor(), colors[structure.name], atol=1e-5)
            for tag, value in (
                ("DicomRtImport.RoiNumber", str(number)),
                ("RadPlanAgent.StructureType", structure.type.value),
            ):
                stored = slicer_tag(segment, tag)
                assert stored == value

    def test_certain_organs_are_coded_with_their_side_and_nothing_else_is(self, scene):
        segmentation = segmentation_node(scene).GetSegmentation()
        by_name = {
            segmentation.GetNthSegment(i).GetName(): segmentation.GetNthSegment(i).GetTerminology()
            for i in range(segmentation.GetNumberOfSegments())
        }
        assert "45289007^Parotid gland~SCT^7771000^Left" in by_name["Parotid_L"]
        assert "38266002^Entire body" in by_name["BODY"]
        for name in ("PTV_50", "Ring", "Landmark", ODD_NAME):
            assert "85756007^Tissue~SCT^85756007^Tissue" in by_name[name]

    def test_contours_are_lines_and_helpers_are_hidden(self, scene):
        node = segmentation_node(scene)
        display = node.GetDisplayNode()
        assert not display.GetVisibility2DFill()
        assert display.GetVisibility2DOutline()
        visible = {
            s.name: display.GetSegmentVisibility(
                node.GetSegmentation().GetSegmentIdBySegmentName(s.name)
            )
            for s in make_case().structures
        }
        assert visible == {name: name != "Ring" for name in visible}

    def test_the_ct_is_the_reference_image(self, scene):
        node = segmentation_node(scene)
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        assert node.GetNodeReference(role) is ct_node(scene)


def slicer_tag(segment, tag: str) -> str:
    """Read a tag (a string that comes back through an argument)."""
    from vtkmodules.vtkCommonCore import reference

    value = reference("")
    assert segment.GetTag(tag, value)
    return str(value)


class TestDvh:
    def test_every_curve_has_a_table_and_a_series_in_the_chart(self, scene):
        doses_gy, curves = make_dvh(make_case())
        chart = node_named(scene, "DvhChart")
        assert chart.GetNumberOfPlotSeriesNodes() == len(curves)
        segmentation = segmentation_node(scene).GetSegmentation()
        for index, (name, percent) in enumerate(curves.items()):
            series = chart.GetNthPlotSeriesNode(index)
            assert series.GetName() == name
            segment_id = segmentation.GetSegmentIdBySegmentName(name)
            np.testing.assert_allclose(
                series.GetColor(), segmentation.GetSegment(segment_id).GetColor(), atol=1e-5
            )
            table = series.GetTableNode()
            # Tables are text with six digits.
            np.testing.assert_allclose(column(table, series.GetXColumnName()), doses_gy, 1e-5)
            np.testing.assert_allclose(
                column(table, series.GetYColumnName()), percent, rtol=1e-5, atol=1e-12
            )

    def test_tables_carry_slicerrts_attributes_and_references(self, scene):
        case = make_case()
        metrics = node_named(scene, "DvhMetrics")
        chart = node_named(scene, "DvhChart")
        dose, segmentation = dose_node(scene), segmentation_node(scene)
        for row in range(chart.GetNumberOfPlotSeriesNodes()):
            series = chart.GetNthPlotSeriesNode(row)
            table = series.GetTableNode()
            assert chart.GetNthNodeReference("DoseVolumeHistogram.dvhPlotSeries", row) is series
            assert table.GetAttribute("DoseVolumeHistogram.DVH") == "1"
            assert table.GetAttribute("DoseVolumeHistogram.TableRow") == str(row)
            segment_id = table.GetAttribute("DoseVolumeHistogram.SegmentID")
            assert segmentation.GetSegmentation().GetSegment(segment_id).GetName() == (
                series.GetName()
            )
            volume = float(table.GetAttribute("DoseVolumeHistogram.Volume (cc)"))
            assert volume == pytest.approx(case.structure(series.GetName()).volume_cc, rel=1e-5)
            assert table.GetNodeReference("doseVolumeRef") is dose
            assert table.GetNodeReference("segmentationRef") is segmentation
            assert table.GetNodeReference("dvhMetricsTableRef") is metrics
            role = f"DoseVolumeHistogram.{dose.GetID()}_{segmentation.GetID()}_{segment_id}"
            assert metrics.GetNodeReference(role) is table
            created = "DoseVolumeHistogram.createdDvhArrayRef"
            assert dose.GetNthNodeReference(created, row) is table

    def test_axes_show_unit_and_all_of_the_curves(self, scene):
        chart = node_named(scene, "DvhChart")
        assert chart.GetXAxisTitle() == "Dose [Gy]"
        assert "[%]" in chart.GetYAxisTitle()
        assert "RESEARCH USE ONLY" in chart.GetTitle()
        assert not chart.GetXAxisRangeAuto()
        assert chart.GetXAxisRange()[0] == 0
        # Room for the legend in the upper right corner.
        assert 1.3 * 55 <= chart.GetXAxisRange()[1] <= 1.5 * 55
        assert chart.GetYAxisRange()[0] == 0
        assert 100 <= chart.GetYAxisRange()[1] <= 105

    def test_metrics_are_the_scorecards(self, scene):
        metrics = node_named(scene, "DvhMetrics")
        row = column(metrics, "Structure").index("PTV_50")
        for title, key in (("Mean", "mean_gy"), ("Min", "min_gy"), ("Max", "max_gy")):
            value = column(metrics, f"{title} dose (Gy)")[row]
            assert value == pytest.approx(SCORECARD["structures"]["PTV_50"][key])


class TestTheRest:
    def test_scorecard_table_holds_every_goal(self, scene):
        table = node_named(scene, "Scorecard - RESEARCH USE ONLY")
        assert column(table, "Structure") == ["PTV_50", "Parotid_L", "Lens_L"]
        assert column(table, "Goal") == ["≥ 47.5 Gy"] * 3
        assert column(table, "Met") == ["yes", "NO", "not evaluable"]
        np.testing.assert_allclose(column(table, "Achieved"), [48.125, 46.5, np.nan])
        np.testing.assert_allclose(column(table, "Margin"), [0.625, -1.0, np.nan])
        assert table.GetLocked()

    def test_subject_hierarchy_is_patient_study_and_all_nodes(self, scene):
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        dose = hierarchy.GetItemByDataNode(dose_node(scene))
        study = hierarchy.GetItemParent(dose)
        patient = hierarchy.GetItemParent(study)
        assert hierarchy.GetItemLevel(study) == "Study"
        assert "RESEARCH USE ONLY" in hierarchy.GetItemName(study)
        assert hierarchy.GetItemLevel(patient) == "Patient"
        assert hierarchy.GetItemName(patient) == "Phantom A"
        assert hierarchy.GetItemParent(patient) == hierarchy.GetSceneItemID()
        for name in (
            "CT Phantom A",
            "Structures Phantom A",
            "DvhMetrics",
            "DvhChart",
            "Scorecard - RESEARCH USE ONLY",
            "Isocenter",
            "RESEARCH USE ONLY - read me",
        ):
            item = hierarchy.GetItemByDataNode(node_named(scene, name))
            assert hierarchy.GetItemParent(item) == study, name
        chart = node_named(scene, "DvhChart")
        for parent, child in (
            (chart, chart.GetNthPlotSeriesNode(0)),
            (node_named(scene, "DvhMetrics"), chart.GetNthPlotSeriesNode(0).GetTableNode()),
        ):
            item = hierarchy.GetItemByDataNode(child)
            assert hierarchy.GetItemDataNode(hierarchy.GetItemParent(item)) is parent

    def test_isocenter_is_one_point_at_its_ras_position(self, scene):
        node = node_named(scene, "Isocenter")
        assert node.GetNumberOfControlPoints() == 1
        position = [0.0, 0.0, 0.0]
        node.GetNthControlPointPosition(0, position)
        np.testing.assert_allclose(position, (-1.0, 20.0, 226.0), atol=1e-4)
        assert "40, 80" in node.GetNthControlPointDescription(0)

    def test_views_show_dose_over_ct_at_the_target(self, scene):
        x, y, z = make_case().structure("PTV_50").occupancy.centroid_mm
        for name, orientation in (
            ("Red", "Axial"),
            ("Green", "Coronal"),
            ("Yellow", "Sagittal"),
        ):
            view = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
            assert view.GetOrientation() == orientation
            matrix = view.GetSliceToRAS()
            center = [matrix.GetElement(row, 3) for row in range(3)]
            np.testing.assert_allclose(center, (-x, -y, z), atol=1e-2)
            body_mm = 2 * 36
            assert body_mm < view.GetFieldOfView()[1] * 1.2 < 2 * body_mm
            layers = scene.GetSingletonNode(name, "vtkMRMLSliceCompositeNode")
            assert layers.GetBackgroundVolumeID() == ct_node(scene).GetID()
            assert layers.GetForegroundVolumeID() == dose_node(scene).GetID()
            assert layers.GetForegroundOpacity() == pytest.approx(0.45)
        layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        assert layout.GetViewArrangement() == layout.SlicerLayoutFourUpPlotTableView
        plot = scene.GetFirstNodeByClass("vtkMRMLPlotViewNode")
        assert plot.GetPlotChartNode() is node_named(scene, "DvhChart")
        table = scene.GetFirstNodeByClass("vtkMRMLTableViewNode")
        assert table.GetTableNode() is node_named(scene, "Scorecard - RESEARCH USE ONLY")

    def test_notes_state_limits_and_provenance(self, scene):
        text = node_named(scene, "RESEARCH USE ONLY - read me").GetText()
        for words in ("UNAPPROVED", "test-50", "1 met, 1 not met, 1 not evaluable", "pencil beam"):
            assert words in text


class TestFile:
    @pytest.mark.parametrize(
        ("pattern", "grid"),
        [("CT*.nrrd", CT_GRID), ("Dose*.nrrd", DOSE_GRID), ("Structures*.seg.nrrd", CT_GRID)],
    )
    def test_images_have_lps_geometry_for_other_software(self, unpacked, pattern, grid):
        sitk = pytest.importorskip("SimpleITK")
        (file,) = unpacked.glob(f"*/Data/{pattern}")
        image = sitk.ReadImage(str(file))
        assert image.GetSize() == grid.shape[::-1]
        np.testing.assert_allclose(image.GetSpacing(), grid.spacing_mm, rtol=1e-6)
        np.testing.assert_allclose(image.GetOrigin(), grid.origin_mm, rtol=1e-6)
        np.testing.assert_allclose(image.GetDirection(), np.eye(3).ravel(), atol=1e-9)

    def test_other_software_reads_the_same_dose(self, unpacked):
        sitk = pytest.importorskip("SimpleITK")
        (file,) = unpacked.glob("*/Data/Dose*.nrrd")
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
        np.testing.assert_array_equal(array, make_dose().dose_gy)

    def test_nothing_tells_who_the_patient_is_or_where_files_were(self, unpacked, written):
        files = [f for f in unpacked.rglob("*") if f.is_file()]
        assert len(files) > 10
        for file in files:
            content = file.read_bytes() + file.name.encode()
            for secret in ("Jane", "840.99999", str(written.parent), str(Path.home())):
                assert secret.encode() not in content, (file.name, secret)

    def test_the_scene_names_a_slicer_version_that_can_read_it(self, unpacked):
        (file,) = unpacked.glob("*/*.mrml")
        assert file.name == "plan.mrml"
        assert 'version="Slicer 5.10.0 0"' in file.read_text(encoding="utf-8")

    def test_nothing_is_left_beside_the_file(self, written):
        assert [f.name for f in written.parent.iterdir()] == ["plan.mrb"]


@needs_slicer
class TestProcess:
    def test_mrml_does_no_harm_to_the_planning_process_and_says_nothing(self, tmp_path):
        """Slicer's library brings an ITK of its own; SimpleITK's must work before and after."""
        pytest.importorskip("SimpleITK")
        program = textwrap.dedent(
            """
            import sys
            from pathlib import Path
            import numpy as np
            import SimpleITK as sitk
            sys.path.insert(0, sys.argv[2])
            path = Path(sys.argv[1])

            def use_sitk():
                image = sitk.GetImageFromArray(np.arange(210.0).reshape(5, 6, 7))
                sitk.WriteImage(image, str(path / "image.nrrd"))
                again = sitk.ReadImage(str(path / "image.nrrd"))
                smooth = sitk.SmoothingRecursiveGaussian(again, 1.0)
                return sitk.GetArrayFromImage(smooth)

            before = use_sitk()
            from test_mrml_scene import TestRefusals
            TestRefusals().write(path / "scene.mrb")
            assert np.array_equal(use_sitk(), before)
            """
        )
        here = str(Path(__file__).parent)
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path), here],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_progress_ends_at_one(self, tmp_path):
        case, reports = make_case(), []
        write_scene(
            tmp_path / "scene.mrb",
            case,
            make_dose(),
            make_dvh(case),
            prescription_gy=50.0,
            progress=lambda stage, fraction: reports.append((stage, fraction)),
        )
        fractions = [fraction for _, fraction in reports]
        assert fractions == sorted(fractions)
        assert (fractions[0], fractions[-1]) == (0.0, 1.0)
        assert all(stage for stage, _ in reports)


@needs_slicer
class TestSeam:
    """The functions that build nodes work on a scene that holds something already."""

    def test_two_plans_live_in_one_scene(self):
        from radplan.mrml.plan import add_plan

        case = make_case()
        with runtime.headless_scene() as scene:
            for _ in range(2):
                add_plan(scene, case, make_dose(), make_dvh(case), prescription_gy=50.0)
            assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2
            hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
            doses = scene.GetNodesByClass("vtkMRMLScalarVolumeNode")
            doses = [
                doses.GetItemAsObject(i)
                for i in range(doses.GetNumberOfItems())
                if doses.GetItemAsObject(i).GetAttribute("DicomRtImport.DoseVolume")
            ]
            studies = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(d)) for d in doses}
            assert len(studies) == 2

    def test_without_scorecard_the_layout_has_no_table(self):
        from radplan.mrml.plan import add_plan

        case = make_case()
        with runtime.headless_scene() as scene:
            add_plan(scene, case, make_dose(), make_dvh(case), prescription_gy=50.0)
            layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
            assert layout.GetViewArrangement() == layout.SlicerLayoutFourUpPlotView

    def test_a_hotter_plan_keeps_the_colours_of_the_prescription(self):
        from radplan.mrml.plan import add_case, add_dose

        hot = replace(make_dose(), dose_gy=make_dose().dose_gy * np.float32(1.5))
        with runtime.headless_scene() as scene:
            display = add_dose(add_case(scene, make_case()), hot, 50.0).GetDisplayNode()
            scale = display.GetWindowLevelMax()
            assert scale == pytest.approx(60.0) and hot.dose_gy.max() > 60.0
            assert display.GetUpperThreshold() >= hot.dose_gy.max()
            table = display.GetColorNode().GetLookupTable()
            yellow = table.GetTableValue(round(50.0 / scale * 255))
            np.testing.assert_allclose(yellow[:3], (1, 1, 0), atol=0.1)

    def test_a_view_on_the_screen_is_not_distorted(self):
        from radplan.mrml.plan import add_plan

        case = make_case()
        with runtime.headless_scene() as scene:
            layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
            layout.SetViewArrangement(layout.SlicerLayoutFourUpPlotView)
            view = scene.GetSingletonNode("Red", "vtkMRMLSliceNode")
            view.SetDimensions(900, 300, 1)
            add_plan(scene, case, make_dose(), make_dvh(case), prescription_gy=50.0)
            width_mm, height_mm, _ = view.GetFieldOfView()
            assert width_mm / 900 == pytest.approx(height_mm / 300)

    def test_names_that_collide_once_cleaned_stay_apart(self):
        from radplan.mrml.segmentation import segment_ids

        ids = segment_ids(["a b", "a_b", "a;b", "a_b_3"])
        assert len(set(ids.values())) == 4
        assert ids["a b"] == "a_b"


class TestRefusals:
    def write(self, path, dvh=None, prescription_gy=50.0):
        case = make_case()
        write_scene(
            path,
            case,
            make_dose(),
            dvh if dvh is not None else make_dvh(case),
            prescription_gy=prescription_gy,
        )

    def test_other_suffix(self, tmp_path):
        with pytest.raises(InputError, match="must end in .mrb"):
            self.write(tmp_path / "scene.zip")

    @needs_slicer
    @pytest.mark.parametrize(
        ("dvh", "words"),
        [
            (([0.0, 1.0], {"Heart": [100, 0]}), "no structure of the case"),
            (([0.0, 1.0], {"BODY": [100, 50, 0]}), "3 volumes for 2 doses"),
            (([1.0, 0.0], {}), "rising"),
        ],
    )
    def test_histograms_that_do_not_fit(self, tmp_path, dvh, words):
        with pytest.raises(InputError, match=words):
            self.write(tmp_path / "scene.mrb", dvh)
        assert not list(tmp_path.iterdir())

    @needs_slicer
    @pytest.mark.parametrize("prescription_gy", [0.0, -1.0, float("nan")])
    def test_prescription_that_is_no_dose(self, tmp_path, prescription_gy):
        with pytest.raises(InputError, match="positive"):
            self.write(tmp_path / "scene.mrb", prescription_gy=prescription_gy)

    @needs_slicer
    def test_folder_that_is_a_file(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="cannot be written"):
            self.write(tmp_path / "file" / "scene.mrb")

    @needs_slicer
    @pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
    def test_a_full_disk_leaves_the_old_file_and_no_rest(self, tmp_path):
        old = tmp_path / "scene.mrb"
        old.write_bytes(b"old")
        program = textwrap.dedent(
            """
            import resource, signal, sys
            from pathlib import Path
            sys.path.insert(0, sys.argv[2])
            from radplan.errors import InputError
            from test_mrml_scene import TestRefusals
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
            try:
                TestRefusals().write(Path(sys.argv[1]))
            except InputError as error:
                assert "cannot be written" in str(error), error
                assert "\\n" not in str(error)
                sys.exit(3)
            """
        )
        here = str(Path(__file__).parent)
        done = subprocess.run(
            [sys.executable, "-c", program, str(old), here],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 3, done.stderr
        assert old.read_bytes() == b"old"
        assert [f.name for f in tmp_path.iterdir()] == ["scene.mrb"]

    def test_missing_library_says_how_to_get_it(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "slicer", None)
        with pytest.raises(SlicerMissingError, match=r'pip install "radplan\[scene\]"'):
            self.write(tmp_path / "scene.mrb")
        assert not list(tmp_path.iterdir())

    def test_another_package_of_the_same_name_is_told_apart(self, tmp_path, monkeypatch):
        other = types.ModuleType("slicer")
        other.__file__ = "/somewhere/slicer/__init__.py"
        monkeypatch.setitem(sys.modules, "slicer", other)
        with pytest.raises(SlicerMissingError, match="not 3D Slicer's"):
            self.write(tmp_path / "scene.mrb")
