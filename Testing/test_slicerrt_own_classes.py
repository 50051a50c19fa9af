"""What only SlicerRT's own classes can show; runs where $SLICERRT_MODULES names their folder.

Nothing here goes through a stand-in: plan and beam nodes, the logic that draws beams, isodose
surfaces and dose-volume histograms are SlicerRT's compiled code.
"""

from __future__ import annotations

from contextlib import ExitStack
from itertools import product

import numpy as np
import pytest
from scipy import ndimage

from radplan.beams import Beam, make_beams
from radplan.case import DoseImage
from radplan.errors import InputError
from radplan.mrml import runtime

pytest.importorskip("slicer", reason="slicer-core is not installed")
try:
    runtime.require_slicer()
except runtime.SlicerMissingError as error:
    pytest.skip(str(error), allow_module_level=True)

import slicer
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from image_phantom import GRID, coordinates, image_phantom
from radplan.influence.fields import beam_rotation, target_points_mm
from radplan.io.dicom_write import write_dicom_plan
from radplan.mrml.dvh import add_dvh_nodes
from radplan.mrml.hierarchy import add_study, place
from radplan.mrml.rt_influence import influence_from_beams
from radplan.mrml.rt_plan import apertures_mm, beam_nodes, read_plan, update_plan
from radplan.mrml.runtime import headless_scene
from radplan.mrml.volumes import ISODOSE_COLORS, add_dose_volume
from radplan.sampling import StructureSampler
from slicerrt_phantom import add_phantom, add_plan
from slicerrt_standins import OWN_MODULES, beams_logic, own_module, slicerrt

pytestmark = pytest.mark.skipif(
    not OWN_MODULES, reason="$SLICERRT_MODULES names no folder with SlicerRT's Python modules"
)

ISOCENTER = (-30.0, 5.0, -10.0)
TURNED = ((1, 2, 0), (1, -1, 1))


@pytest.fixture
def scene():
    with slicerrt(), headless_scene() as scene, beams_logic(scene):
        yield scene


@pytest.fixture
def load(scene, tmp_path):
    """Read a scene file into a scene of its own, as desktop Slicer with SlicerRT does."""
    with ExitStack() as stack:

        def read(path):
            again = stack.enter_context(headless_scene())
            stack.enter_context(beams_logic(again))
            cache, manager = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
            cache.SetRemoteCacheDirectory(str(tmp_path))
            manager.SetCacheManager(cache)
            again.SetDataIOManager(manager)
            stack.callback(again.SetDataIOManager, None)
            messages = slicer.vtkMRMLMessageCollection()
            assert again.ReadFromMRB(str(path), True, messages)
            assert not messages.GetAllMessagesAsString()
            return again

        yield read


def plan_of(scene, beams, **changes):
    volume, segmentation = add_phantom(scene)
    arguments = {
        "volume": volume,
        "segmentation": segmentation,
        "target_ids": ["id_PTV"],
        "prescription_gy": 50.4,
        "dose_grid_spacing_mm": (2.5, 3.0, 4.0),
        "body_id": "id_BODY",
        "engine_name": "An engine",
    } | changes
    return update_plan(scene, None, beams, **arguments)


def world_matrix(node) -> np.ndarray:
    """From the node's own coordinates to LPS."""
    matrix = vtkMatrix4x4()
    node.GetParentTransformNode().GetMatrixTransformToWorld(matrix)
    values = [[matrix.GetElement(i, j) for j in range(4)] for i in range(4)]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ values


class TestDrawnBeams:
    """SlicerRT's Beams logic has its own IEC 61217 transforms."""

    @pytest.mark.parametrize("couch", [0, 20, 90, 330])
    @pytest.mark.parametrize("gantry", [0, 37, 90, 180, 251, 300])
    def test_they_lie_where_the_dose_is_computed(self, scene, gantry, couch):
        plan = plan_of(scene, [Beam(float(gantry), ISOCENTER, float(couch))])
        (node,) = beam_nodes(plan)
        rotation = beam_rotation(gantry, couch)
        source = [0.0, 0.0, 0.0]
        assert node.GetSourcePosition(source)
        np.testing.assert_allclose(
            np.multiply(source, (-1, -1, 1)), ISOCENTER - 1000.0 * rotation[:, 1], atol=1e-9
        )
        to_lps = world_matrix(node)
        np.testing.assert_allclose(to_lps[:3, 3], ISOCENTER, atol=1e-9)
        # Jaws X open across, jaws Y along the patient.
        np.testing.assert_allclose(to_lps[:3, 0], rotation[:, 0], atol=1e-12)
        np.testing.assert_allclose(to_lps[:3, 1], rotation[:, 2], atol=1e-12)

    def test_the_drawn_fields_enclose_the_target(self, scene):
        case, isocenter = image_phantom(), (-30.0, 0.0, -10.0)
        beams = make_beams("0,72,144,216,288", isocenter, 5.0)
        apertures = apertures_mm(case, beams, ["PTV"])
        plan = plan_of(scene, beams, apertures=apertures)
        for beam, node in zip(beams, beam_nodes(plan), strict=True):
            points = target_points_mm(case, ["PTV"], beam)
            seen = np.c_[points, np.ones(len(points))] @ np.linalg.inv(world_matrix(node)).T
            x, y = (seen[:, :2] * (1000.0 / (1000.0 - seen[:, 2:3]))).T
            # The pyramid that is drawn: its edges in the isocentre plane.
            corners = vtk_to_numpy(node.GetPolyData().GetPoints().GetData())[1:, :2] / 2
            for values, edges in ((x, corners[:, 0]), (y, corners[:, 1])):
                assert edges.min() - 1e-3 <= values.min() <= edges.min() + 5.0
                assert edges.max() - 5.0 <= values.max() <= edges.max() + 1e-3

    def test_a_moved_isocentre_moves_them(self, scene):
        plan = plan_of(scene, make_beams("0,90", ISOCENTER))
        volume, segmentation = plan.GetReferenceVolumeNode(), plan.GetSegmentationNode()
        update_plan(
            scene,
            plan,
            make_beams("0,90", (1.0, 2.0, 3.0)),
            volume=volume,
            segmentation=segmentation,
            target_ids=["id_PTV"],
            prescription_gy=50,
            dose_grid_spacing_mm=(3, 3, 3),
        )
        for node in beam_nodes(plan):
            np.testing.assert_allclose(world_matrix(node)[:3, 3], (1, 2, 3), atol=1e-9)


class TestSavedAndLoaded:
    def test_a_plan_comes_back_from_a_scene_file(self, scene, load, tmp_path):
        beams = (*make_beams("0,90,200", ISOCENTER), Beam(30.0, ISOCENTER, 45.0, name="off plane"))
        jaws = [(-10.0 - n, 20.0, -30.0, 40.0) for n in range(4)]
        plan = plan_of(scene, beams, apertures=jaws)
        before = read_plan(plan)
        assert scene.WriteToMRB(str(tmp_path / "plan.mrb"))
        again = load(tmp_path / "plan.mrb")
        node = again.GetFirstNodeByClass("vtkMRMLRTPlanNode")
        assert read_plan(node) == before
        assert node.GetAttribute("RadPlanAgent.Plan") == "1"
        assert node.GetDoseEngineName() == "An engine"
        assert node.GetReferenceVolumeNode().GetName() == "CT"
        # SlicerRT cannot restore that it is a point of our choice (vtkMRMLRTPlanNode.cxx:391-397
        # asks for a scene, which a node that is being read has not), but it stays where it is.
        assert node.GetIsocenterSpecification() == node.CenterOfTarget
        found = beam_nodes(node)
        assert [n.GetX1Jaw() for n in found] == [-10, -11, -12, -13]
        assert {n.GetSAD() for n in found} == {1000.0}
        assert {n.GetParentPlanNode() for n in found} == {node}
        # It goes on from there.
        count = again.GetNumberOfNodes()
        update_plan(
            again,
            node,
            make_beams("5,6", ISOCENTER),
            volume=node.GetReferenceVolumeNode(),
            segmentation=node.GetSegmentationNode(),
            target_ids=["id_PTV"],
            prescription_gy=60,
            dose_grid_spacing_mm=(3, 3, 3),
        )
        assert [b.gantry_angle_deg for b in read_plan(node).beams] == [5, 6]
        assert node.GetIsocenterSpecification() == node.ArbitraryPoint
        assert again.GetNumberOfNodes() < count

    def test_matrices_do_not_and_that_is_said(self, scene, load, tmp_path):
        plan = add_plan(scene, angles="0,90")
        influence_from_beams(plan)
        assert scene.WriteToMRB(str(tmp_path / "plan.mrb"))
        node = load(tmp_path / "plan.mrb").GetFirstNodeByClass("vtkMRMLRTPlanNode")
        with pytest.raises(InputError, match=r"'G000.0' has no influence matrix.*not save"):
            influence_from_beams(node)

    def test_a_copied_beam_has_no_matrix(self, scene):
        plan = add_plan(scene, angles="0,90")
        copy = slicer.vtkMRMLRTBeamNode()
        copy.SetName("Copy")
        scene.AddNode(copy)
        copy.Copy(beam_nodes(plan)[1])  # adds itself to the plan
        assert len(beam_nodes(plan)) == 3
        with pytest.raises(InputError, match="has no influence matrix"):
            influence_from_beams(plan)


#: Falls from 60 Gy in the middle by 0.5 Gy per mm: isodoses are balls of known radii.
HIGHEST_GY, GRADIENT_GY_PER_MM = 60.0, 0.5


def ball_dose() -> DoseImage:
    distance = np.sqrt(sum(axis**2 for axis in coordinates()))
    dose = np.maximum(HIGHEST_GY - GRADIENT_GY_PER_MM * distance, 0.0)
    return DoseImage(GRID, dose.astype(np.float32))


def dose_in_study(scene, prescription_gy=50.0):
    """Dose and structures of the phantom, in a study."""
    _, segmentation = add_phantom(scene)
    study = add_study(scene, "Patient", "Study")
    dose = add_dose_volume(scene, "Dose", ball_dose(), prescription_gy)
    place(segmentation, study)
    place(dose, study)
    return dose, segmentation, study


class TestIsodose:
    """SlicerRT's Isodose module on a dose of ours."""

    @pytest.fixture
    def isodose(self, scene):
        nodes = own_module("vtkSlicerIsodoseModuleMRML")
        logic = own_module("vtkSlicerIsodoseModuleLogic").vtkSlicerIsodoseModuleLogic()
        logic.SetMRMLScene(scene)
        dose, *_ = dose_in_study(scene)
        parameters = nodes.vtkMRMLIsodoseNode()
        scene.AddNode(parameters)
        parameters.SetAndObserveDoseVolumeNode(dose)
        parameters.SetDoseUnits(parameters.Gy)
        yield logic, parameters, dose
        logic.SetMRMLScene(None)

    def test_it_knows_the_unit(self, isodose, scene):
        """The look-up of qSlicerIsodoseModuleWidget.cxx 361-381, which takes "GY" alone."""
        _, _, dose = isodose
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        name = hierarchy.GetAttributeFromItemAncestor(
            hierarchy.GetItemByDataNode(dose), "DicomRtImport.DoseUnitName", "Study"
        )
        assert name == "GY"

    def test_surfaces_lie_at_our_levels_in_our_colours(self, isodose):
        logic, parameters, dose = isodose
        colors = parameters.GetColorTableNode()
        assert colors is dose.GetNodeReference(ISODOSE_COLORS)
        levels_gy = [float(colors.GetColorName(i)) for i in range(colors.GetNumberOfColors())]
        assert {10.0, 25.0, 50.0, 55.0} <= set(levels_gy)
        assert logic.CreateIsodoseSurfaces(parameters)
        model = parameters.GetIsosurfacesModelNode()
        assert model.GetName() == "Dose_IsodoseLevels"
        assert model.GetDisplayNode().GetColorNode() is colors
        surface = model.GetPolyData()
        points = vtk_to_numpy(surface.GetPoints().GetData())
        level_gy = vtk_to_numpy(surface.GetPointData().GetArray("isolevels"))
        assert sorted(set(level_gy)) == sorted(levels_gy)
        inside = np.abs(points[:, 2]) < 45  # the largest is cut off by the volume
        for level in levels_gy:
            chosen = inside & (level_gy == np.float32(level))
            radius_mm = np.linalg.norm(points[chosen], axis=1)
            expected = (HIGHEST_GY - level) / GRADIENT_GY_PER_MM
            assert radius_mm.mean() == pytest.approx(expected, abs=1.0)  # smoothed by SlicerRT

    def test_the_dose_keeps_a_colour_table_that_means_dose(self, isodose):
        """SlicerRT stretches the levels' colours over the dose; ours are not overwritten."""
        logic, parameters, dose = isodose
        ours = dose.GetDisplayNode().GetColorNode()
        colors = [tuple(np.round(color, 3)) for color in table_colors(ours)]
        assert logic.CreateIsodoseSurfaces(parameters)
        assert dose.GetDisplayNode().GetColorNode() is not ours
        assert [tuple(np.round(color, 3)) for color in table_colors(ours)] == colors


def table_colors(node) -> list[list[float]]:
    table = node.GetLookupTable()
    return [list(table.GetTableValue(i)) for i in range(table.GetNumberOfTableValues())]


class TestHistograms:
    """SlicerRT's Dose Volume Histogram module beside our histograms."""

    @pytest.fixture
    def histograms(self, scene):
        nodes = own_module("vtkSlicerDoseVolumeHistogramModuleMRML")
        module = own_module("vtkSlicerDoseVolumeHistogramModuleLogic")
        conversions = slicer.vtkSlicerSegmentationsModuleLogic()  # part of every desktop Slicer
        conversions.SetMRMLScene(scene)
        logic = module.vtkSlicerDoseVolumeHistogramModuleLogic()
        logic.SetMRMLScene(scene)
        dose, segmentation, study = dose_in_study(scene)
        parameters = nodes.vtkMRMLDoseVolumeHistogramNode()
        scene.AddNode(parameters)
        parameters.SetAndObserveDoseVolumeNode(dose)
        parameters.SetAndObserveSegmentationNode(segmentation)
        yield logic, parameters, study
        logic.SetMRMLScene(None)
        conversions.SetMRMLScene(None)

    def add_ours(self, parameters, study):
        dose, segmentation = parameters.GetDoseVolumeNode(), parameters.GetSegmentationNode()
        doses_gy = np.linspace(0, 70, 71)
        curves = {name: sampled(name).dvh(doses_gy) for name in ("PTV", "Gland")}
        volumes_cc = {name: sampled(name).volume_cc for name in curves}
        return add_dvh_nodes(
            dose,
            segmentation,
            (doses_gy, curves),
            study=study,
            title="Ours",
            volumes_cc=volumes_cc,
            structures={name: {} for name in curves},
        )

    def test_both_find_the_same(self, histograms):
        logic, parameters, _ = histograms
        assert logic.ComputeDvh(parameters) == ""
        for name in ("PTV", "Cord", "Gland", "BODY"):
            table = theirs(parameters, name).GetTable()
            doses_gy, percent = (vtk_to_numpy(table.GetColumn(i)) for i in range(2))
            ours = sampled(name)
            volume_cc = theirs(parameters, name).GetAttribute("DoseVolumeHistogram.Volume (cc)")
            assert ours.volume_cc == pytest.approx(float(volume_cc), rel=1e-3)
            mean_gy = np.trapezoid(percent, doses_gy) / 100
            assert mean_gy == pytest.approx(ours.mean_gy, abs=0.2)
            # How theirs comes about: every voxel has eight samples, and no other.
            samples_gy = eight_samples(name)
            expected = [100 * np.mean(samples_gy >= dose - 1e-5) for dose in doses_gy]
            np.testing.assert_allclose(percent, expected, atol=0.05)

    def test_its_names_for_references_are_ours(self, histograms):
        _, parameters, study = histograms
        self.add_ours(parameters, study)
        scene = parameters.GetScene()
        metrics = scene.GetFirstNodeByName("DvhMetrics")
        table = metrics.GetNodeReference(parameters.AssembleDvhNodeReference("id_PTV"))
        assert table is scene.GetFirstNodeByName("id_PTV_DvhTable")

    def test_a_curve_of_its_own_is_drawn_differently_from_ours(self, histograms):
        logic, parameters, study = histograms
        self.add_ours(parameters, study)
        assert logic.ComputeDvh(parameters) == ""
        series = logic.AddDvhToChart(parameters.GetChartNode(), theirs(parameters, "PTV"))
        assert series.GetLineStyle() == slicer.vtkMRMLPlotSeriesNode.LineStyleDash
        assert parameters.GetChartNode().GetXAxisTitle() == "Dose [GY]"
        other = logic.AddDvhToChart(parameters.GetChartNode(), theirs(parameters, "Cord"))
        assert other.GetLineStyle() == slicer.vtkMRMLPlotSeriesNode.LineStyleSolid


class TestDicom:
    """SlicerRT's DICOM-RT reader on the files that we write."""

    @pytest.fixture
    def files(self, tmp_path):
        folder = tmp_path / "plan"
        write_dicom_plan(image_phantom(), ball_dose(), folder, fractions=25)
        return folder

    def reader(self, file):
        try:
            module = own_module("vtkSlicerDicomRtImportExportModuleLogic")
        except ImportError as error:
            pytest.skip(str(error))
        reader = module.vtkSlicerDicomRtReader()
        reader.SetFileName(str(file))
        reader.Update()
        return reader

    def test_structures_arrive(self, files):
        reader, case = self.reader(files / "RTSTRUCT.dcm"), image_phantom()
        assert reader.GetLoadRTStructureSetSuccessful()
        count = reader.GetNumberOfRois()
        assert tuple(reader.GetRoiName(i) for i in range(count)) == case.names
        assert [reader.GetRoiNumber(i) for i in range(count)] == list(range(1, count + 1))
        for index, structure in enumerate(case.structures):
            inside = structure.occupancy.array() > 0.5
            x, y, z = (axis[inside] for axis in coordinates())
            found = reader.GetRoiPolyData(index).GetBounds()
            expected = (-x.max(), -x.min(), -y.max(), -y.min(), z.min(), z.max())
            # Outlines run around the voxels, in the plane.
            grown = np.array((-2.5, 2.5, -2.5, 2.5, 0.0, 0.0))
            np.testing.assert_allclose(found, expected + grown, atol=0.7)

    def test_the_dose_arrives(self, files):
        reader = self.reader(files / "RTDOSE.dcm")
        assert reader.GetLoadRTDoseSuccessful()
        assert reader.GetDoseUnits() == "GY"
        assert reader.GetPixelSpacing() == (5.0, 5.0)
        highest_gy = float(ball_dose().dose_gy.max())
        assert float(reader.GetDoseGridScaling()) == pytest.approx(highest_gy / 65535, rel=1e-4)


def sampled(name: str):
    """A structure of the phantom in the dose, as the product takes it."""
    occupancy = image_phantom().structure(name).occupancy
    return StructureSampler(occupancy, GRID).sample(ball_dose().dose_gy)


def eight_samples(name: str) -> np.ndarray:
    """Dose in the middle of the eight parts of every voxel of a structure, Gy."""
    voxels = np.argwhere(image_phantom().structure(name).occupancy.array() > 0.5)
    parts = np.array(list(product((-0.25, 0.25), repeat=3)))
    points = (voxels[:, None] + parts).reshape(-1, 3)
    return ndimage.map_coordinates(ball_dose().dose_gy, points.T, order=1, mode="nearest")


def theirs(parameters, name: str):
    """The table that SlicerRT made for a structure."""
    role = parameters.AssembleDvhNodeReference(f"id_{name}")
    return parameters.GetMetricsTableNode().GetNodeReference(role)
