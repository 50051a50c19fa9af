"""A scene in, a case out: landmarks are where they were, in every orientation."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from radplan.case import StructureType
from radplan.errors import CancelledError, InputError
from radplan.geometry import Grid
from radplan.mrml import runtime
from radplan.orientation import Orientation, orientation_of, to_lps

pytest.importorskip("slicer", reason="slicer-core is not installed")
try:
    runtime.require_slicer()
except runtime.SlicerMissingError as error:
    pytest.skip(str(error), allow_module_level=True)

import slicer
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import vtkDoubleArray, vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
from vtkmodules.vtkFiltersSources import vtkSphereSource

from radplan.mrml.mapping import segment_entries
from radplan.mrml.read_case import case_from_scene
from radplan.mrml.read_segments import BINARY, CONTOURS, FRACTIONAL, SURFACE
from radplan.mrml.runtime import headless_scene
from scene_builders import (
    ORIENTATIONS,
    add_segmentation,
    add_transform,
    add_volume,
    image_of,
    labelmap,
    matrix_from,
    orientation_name,
    oriented,
)

#: Anisotropic in shape and spacing and off the origin: no mix-up of axes goes unseen.
GRID = Grid((4, 5, 7), (1.5, 2.0, 3.0), (-17.0, 8.5, 101.25))
LANDMARK = (3, 1, 5)
LPS = ((0, 1, 2), (-1, -1, 1))


@pytest.fixture
def scene():
    with headless_scene() as scene:
        yield scene


def ct_values() -> np.ndarray:
    values = np.random.default_rng(3).integers(-900, 900, GRID.shape).astype(np.int16)
    values[0, 0, 0] = -1000
    values[LANDMARK] = 1234
    return values


def landmark_mask() -> np.ndarray:
    mask = np.zeros(GRID.shape, np.uint8)
    mask[LANDMARK] = 1
    mask[2, 1, 5] = 1
    return mask


def add_ct(scene, orientation=LPS):
    return add_volume(scene, *oriented(ct_values(), GRID, orientation))


def add_landmark(scene, orientation=LPS, name="Heart"):
    image = labelmap(*oriented(landmark_mask(), GRID, orientation))
    return add_segmentation(scene, BINARY, {name: image})


def assert_is_the_anatomy(case) -> None:
    """Voxel for voxel what the test put into patient space."""
    assert case.grid.matches(GRID)
    np.testing.assert_array_equal(case.ct_hu, ct_values())
    occupancy = case.structures[0].occupancy
    np.testing.assert_array_equal(occupancy.array(), landmark_mask())
    assert occupancy.grid == case.grid  # what a case file asks for


class TestOrientations:
    @pytest.mark.parametrize("orientation", ORIENTATIONS, ids=orientation_name)
    def test_a_ct_of_any_orientation_gives_the_same_case(self, scene, orientation):
        case = case_from_scene(add_ct(scene, orientation), add_landmark(scene))
        assert_is_the_anatomy(case)

    @pytest.mark.parametrize("orientation", ORIENTATIONS, ids=orientation_name)
    def test_a_labelmap_of_any_orientation_gives_the_same_case(self, scene, orientation):
        case = case_from_scene(add_ct(scene), add_landmark(scene, orientation))
        assert_is_the_anatomy(case)

    @pytest.mark.parametrize("index", range(0, 48, 5))
    def test_both_may_differ(self, scene, index):
        case = case_from_scene(
            add_ct(scene, ORIENTATIONS[index]), add_landmark(scene, ORIENTATIONS[-1 - index])
        )
        assert_is_the_anatomy(case)

    def test_the_landmark_lies_where_slicer_says(self, scene):
        """The scene's own matrix, not ours, places the voxel; x and y change sign."""
        values, _ = oriented(ct_values(), GRID, ORIENTATIONS[29])
        volume = add_ct(scene, ORIENTATIONS[29])
        k, j, i = np.argwhere(values == 1234)[0]
        from vtkmodules.vtkCommonMath import vtkMatrix4x4

        matrix = vtkMatrix4x4()
        volume.GetIJKToRASMatrix(matrix)
        r, a, s, _ = matrix.MultiplyPoint((i, j, k, 1.0))
        case = case_from_scene(volume, add_landmark(scene))
        z, y, x = case.grid.index_of((-r, -a, s))
        assert case.ct_hu[round(z), round(y), round(x)] == 1234

    @pytest.mark.parametrize("degrees", [0.5, 12.0, 45.0])
    def test_an_oblique_ct_is_refused(self, scene, degrees):
        values, matrix = oriented(ct_values(), GRID, LPS)
        volume = add_volume(scene, values, turned(degrees) @ matrix)
        with pytest.raises(InputError, match=r"volume 'CT'.*oblique.*resample"):
            case_from_scene(volume, add_landmark(scene))

    def test_rounding_of_directions_is_not_oblique(self, scene):
        values, matrix = oriented(ct_values(), GRID, LPS)
        volume = add_volume(scene, values, turned(0.01) @ matrix)
        case = case_from_scene(volume, add_landmark(scene))
        np.testing.assert_array_equal(case.ct_hu, ct_values())

    def test_a_sheared_ct_is_refused(self, scene):
        values, matrix = oriented(ct_values(), GRID, LPS)
        shear = np.eye(4)
        shear[1, 2] = 0.2  # a tilted gantry
        with pytest.raises(InputError, match="oblique"):
            case_from_scene(add_volume(scene, values, shear @ matrix), add_landmark(scene))

    def test_arranging_can_be_undone(self):
        values = np.arange(2 * 3 * 5).reshape(2, 3, 5)
        for axes, signs in ORIENTATIONS:
            orientation = Orientation(axes, signs)
            np.testing.assert_array_equal(
                orientation.restored(orientation.arranged(values)), values
            )

    def test_no_orientation_for_what_has_none(self):
        assert orientation_of(np.full((3, 3), np.nan)) is None
        assert orientation_of(np.array([[1, 1, 0], [0, 0, 0], [0, 0, 1.0]])) is None
        with pytest.raises(InputError, match=r"thing: .*damaged"):
            to_lps(np.zeros((1, 1, 1)), np.zeros((4, 4)), "thing")


def turned(degrees: float) -> np.ndarray:
    """A turn about S, then about R."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about_s = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    about_r = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1.0]])
    return about_r @ about_s


class TestTransforms:
    def test_a_linear_transform_moves_what_is_read_and_not_the_scene(self, scene):
        volume, segmentation = add_ct(scene), add_landmark(scene)
        shift = np.eye(4)
        shift[:3, 3] = (10.0, -20.0, 30.0)
        transform = add_transform(scene, shift, volume)
        segmentation.SetAndObserveTransformNodeID(transform.GetID())
        before = scene.GetNumberOfNodes()
        case = case_from_scene(volume, segmentation)
        expected = np.add(GRID.origin_mm, (-10.0, 20.0, 30.0))
        np.testing.assert_allclose(case.grid.origin_mm, expected, atol=1e-9)
        np.testing.assert_array_equal(case.structures[0].occupancy.array(), landmark_mask())
        assert volume.GetParentTransformNode() is transform
        assert scene.GetNumberOfNodes() == before

    def test_a_quarter_turn_of_all_is_exact(self, scene):
        volume, segmentation = add_ct(scene), add_landmark(scene)
        quarter = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
        transform = add_transform(scene, quarter, volume)
        segmentation.SetAndObserveTransformNodeID(transform.GetID())
        case = case_from_scene(volume, segmentation)
        # R and A grow where A and -R grew: LPS x' = -y … the array is turned by 90 degrees.
        np.testing.assert_array_equal(case.ct_hu, np.flip(ct_values().swapaxes(1, 2), 2))
        landmark = case.structures[0].occupancy.array()
        np.testing.assert_array_equal(landmark, np.flip(landmark_mask().swapaxes(1, 2), 2))

    def test_a_transform_on_the_segmentation_alone_moves_it_alone(self, scene):
        volume, segmentation = add_ct(scene), add_landmark(scene)
        shift = np.eye(4)
        shift[0, 3] = 2 * GRID.spacing_mm[0]  # two voxels to the right: R grows, x falls
        add_transform(scene, shift, segmentation)
        case = case_from_scene(volume, segmentation)
        expected = np.roll(landmark_mask(), -2, axis=2)
        np.testing.assert_array_equal(case.structures[0].occupancy.array(), expected)

    @pytest.mark.parametrize("which", ["volume", "segmentation"])
    def test_a_transform_that_is_not_linear_is_refused(self, scene, which):
        volume, segmentation = add_ct(scene), add_landmark(scene)
        transform = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "Bent")
        from vtkmodules.vtkFiltersHybrid import vtkBSplineTransform

        bent = vtkBSplineTransform()
        transform.SetAndObserveTransformToParent(bent)
        node = {"volume": volume, "segmentation": segmentation}[which]
        node.SetAndObserveTransformNodeID(transform.GetID())
        with pytest.raises(InputError, match=f"{which}.*'Bent'.*not linear.*harden"):
            case_from_scene(volume, segmentation)


class TestCt:
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_not_a_number_is_refused(self, scene, value):
        values = ct_values().astype(np.float32)
        values[1, 2, 3] = value
        volume = add_volume(scene, *oriented(values, GRID, LPS))
        with pytest.raises(InputError, match="'CT' has 1 voxels that are not numbers"):
            case_from_scene(volume, add_landmark(scene))

    def test_values_that_are_no_hounsfield_units_are_refused(self, scene):
        values = np.random.default_rng(1).integers(0, 3000, GRID.shape).astype(np.int16)
        volume = add_volume(scene, *oriented(values, GRID, LPS))
        with pytest.raises(InputError, match="not Hounsfield units, or not a CT"):
            case_from_scene(volume, add_landmark(scene))

    def test_water_alone_is_odd_but_read(self, scene):
        volume = add_volume(scene, *oriented(np.zeros(GRID.shape, np.int16), GRID, LPS))
        case = case_from_scene(volume, add_landmark(scene))
        assert any("no air" in warning for warning in case.warnings)

    @pytest.mark.parametrize(
        ("code", "refused"), [("[hnsf'U]", False), ("{SUVbw}g/ml", True), ("", False)]
    )
    def test_the_unit_that_slicer_wrote_is_believed(self, scene, code, refused):
        volume, segmentation = add_ct(scene), add_landmark(scene)
        entry = slicer.vtkCodedEntry()
        entry.SetValueSchemeMeaning(code, "UCUM", "a unit")
        volume.SetVoxelValueUnits(entry)
        if refused:
            with pytest.raises(InputError, match="'CT' is in a unit, not in Hounsfield"):
                case_from_scene(volume, segmentation)
        else:
            case_from_scene(volume, segmentation)

    def test_padding_below_the_scanners_scale_becomes_air(self, scene):
        values = ct_values()
        values[0, 0, 1] = -3024
        case = case_from_scene(
            add_volume(scene, *oriented(values, GRID, LPS)), add_landmark(scene)
        )
        assert case.ct_hu[0, 0, 1] == -1024

    def test_a_dose_a_labelmap_and_an_empty_volume_are_refused(self, scene):
        dose, segmentation = add_ct(scene), add_landmark(scene)
        dose.SetAttribute("DicomRtImport.DoseVolume", "1")
        with pytest.raises(InputError, match="is a dose; choose the planning CT"):
            case_from_scene(dose, segmentation)
        labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "L")
        labels.SetAndObserveImageData(image_of(np.zeros((2, 2, 2), np.uint8)))
        with pytest.raises(InputError, match="'L' is a labelmap"):
            case_from_scene(labels, segmentation)
        empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "E")
        with pytest.raises(InputError, match="'E' holds no image"):
            case_from_scene(empty, segmentation)

    def test_missing_nodes_are_named(self, scene):
        with pytest.raises(InputError, match="no volume"):
            case_from_scene(None, add_landmark(scene))
        with pytest.raises(InputError, match="no segmentation"):
            case_from_scene(add_ct(scene), None)

    def test_the_scene_is_neither_changed_nor_shared(self, scene):
        volume = add_ct(scene)
        case = case_from_scene(volume, add_landmark(scene))
        case.ct_hu[:] = 7
        np.testing.assert_array_equal(slicer_array(volume), oriented(ct_values(), GRID, LPS)[0])


def slicer_array(volume) -> np.ndarray:
    from radplan.mrml.geometry import image_array

    return image_array(volume.GetImageData())[0]


def read(scene, segmentation, **kwargs):
    return case_from_scene(add_ct(scene), segmentation, **kwargs)


class TestSegments:
    def test_segments_that_share_a_labelmap_are_told_apart(self, scene):
        values = np.zeros(GRID.shape, np.uint8)
        values[1, 2, 3], values[1, 2, 4] = 3, 8
        image = labelmap(*oriented(values, GRID, ORIENTATIONS[11]))
        case = read(
            scene, add_segmentation(scene, BINARY, {"Heart": (image, 3), "Liver": (image, 8)})
        )
        for name, index in (("Heart", (1, 2, 3)), ("Liver", (1, 2, 4))):
            assert np.argwhere(case.structure(name).occupancy.array()).tolist() == [list(index)]

    def test_segments_may_overlap(self, scene):
        first, second = landmark_mask(), landmark_mask()
        second[:] = 1
        images = {
            "Heart": labelmap(*oriented(first, GRID, LPS)),
            "Body": labelmap(*oriented(second, GRID, LPS)),
        }
        case = read(scene, add_segmentation(scene, BINARY, images))
        np.testing.assert_array_equal(case.structure("Heart").occupancy.array(), first)
        assert case.external.occupancy.array().all()

    def test_a_labelmap_may_be_a_box_that_starts_anywhere(self, scene):
        """As Slicer keeps them: an extent that does not start at zero."""
        image = slicer.vtkOrientedImageData()
        image.SetExtent(4, 5, 1, 1, 2, 3)
        values = np.array([[[0, 1]], [[1, 0]]], np.uint8)
        image.GetPointData().SetScalars(numpy_to_vtk(values.ravel(), deep=True))
        image.SetImageToWorldMatrix(matrix_from(oriented(landmark_mask(), GRID, LPS)[1]))
        case = read(scene, add_segmentation(scene, BINARY, {"Heart": image}))
        # LPS has i, j, k along x, y, z.
        found = np.argwhere(case.structures[0].occupancy.array()).tolist()
        assert found == [[2, 1, 5], [3, 1, 4]]

    def test_a_labelmap_of_finer_voxels_fills_parts(self, scene):
        fine = Grid((8, 10, 14), (0.75, 1.0, 1.5), (-17.375, 8.0, 100.5))
        values = np.zeros(fine.shape, np.uint8)
        values[6:8, 2:4, 10:12] = 1  # voxel (3, 1, 5) whole
        values[4, 2, 10] = 1  # an eighth of (2, 1, 5)
        image = labelmap(*oriented(values, fine, ORIENTATIONS[20]))
        case = read(scene, add_segmentation(scene, BINARY, {"Heart": image}))
        array = case.structures[0].occupancy.array()
        assert array[LANDMARK] == pytest.approx(1, abs=1e-5)
        assert array[2, 1, 5] == pytest.approx(0.125, abs=1e-5)
        assert array.sum() == pytest.approx(1.125, abs=1e-5)
        assert not case.warnings[1:]  # nothing but the patient position

    def test_a_labelmap_of_coarser_voxels_keeps_its_volume(self, scene):
        coarse = Grid((2, 2, 3), (3.1, 4.3, 5.9), (-16.0, 10.5, 103.0))
        values = np.zeros(coarse.shape, np.uint8)
        values[0, 0, 1] = 1
        image = labelmap(*oriented(values, coarse, ORIENTATIONS[33]))
        case = read(scene, add_segmentation(scene, BINARY, {"Heart": image}))
        assert case.structures[0].volume_cc == pytest.approx(3.1 * 4.3 * 5.9 / 1000, rel=1e-5)
        assert case.structures[0].occupancy.centroid_mm == pytest.approx(
            (-12.9, 10.5, 103.0), abs=1.0
        )

    def test_an_oblique_labelmap_is_resampled_and_told(self, scene):
        grid = Grid((24, 30, 40), (1.0, 1.0, 1.0), (-20.0, -15.0, 100.0))
        ct = np.full(grid.shape, -1000, np.int16)
        volume = add_volume(scene, *oriented(ct, grid, LPS))
        small = np.zeros((10, 12, 14), np.uint8)
        small[2:8, 3:9, 4:10] = 1
        own = np.eye(4)
        own[:3, 3] = (-7.0, -6.0, 107.0)
        matrix = turned_about(17.0, (0.0, 0.0, 112.0)) @ own
        segmentation = add_segmentation(scene, BINARY, {"Heart": labelmap(small, matrix)})
        case = case_from_scene(volume, segmentation)
        heart = case.structure("Heart")
        assert heart.volume_cc == pytest.approx(0.216, rel=0.02)
        center = matrix @ (6.5, 5.5, 4.5, 1.0)
        assert heart.occupancy.centroid_mm == pytest.approx(
            (-center[0], -center[1], center[2]), abs=0.05
        )
        assert any("Heart" in w and "obliquely" in w for w in case.warnings)
        partly = heart.occupancy.values
        assert ((partly > 0) & (partly < 1)).any()

    def test_fractional_labelmaps_keep_their_fractions(self, scene):
        fractions = np.zeros(GRID.shape, np.float32)
        fractions[1, 2, 3], fractions[1, 2, 4] = 1.0, 0.25
        stored = np.rint(fractions * 216 - 108).astype(np.int8)
        image = labelmap(*oriented(stored, GRID, ORIENTATIONS[7]))
        limits = vtkDoubleArray()
        limits.SetName("ScalarRange")
        limits.InsertNextValue(-108)
        limits.InsertNextValue(108)
        image.GetFieldData().AddArray(limits)
        case = read(scene, add_segmentation(scene, FRACTIONAL, {"Heart": image}))
        np.testing.assert_allclose(case.structures[0].occupancy.array(), fractions, atol=1e-6)

    def test_a_closed_surface_is_filled(self, scene):
        grid = Grid((24, 30, 40), (1.0, 1.0, 1.0), (-20.0, -15.0, 100.0))
        volume = add_volume(scene, *oriented(np.full(grid.shape, -1000, np.int16), grid, LPS))
        sphere = vtkSphereSource()
        sphere.SetCenter(4.0, -3.0, 111.0)  # RAS
        sphere.SetRadius(6.0)
        sphere.SetThetaResolution(60)
        sphere.SetPhiResolution(60)
        sphere.Update()
        segmentation = add_segmentation(scene, SURFACE, {"Heart": sphere.GetOutput()})
        heart = case_from_scene(volume, segmentation).structure("Heart")
        assert heart.volume_cc == pytest.approx(4 / 3 * np.pi * 0.216, rel=0.01)
        assert heart.occupancy.centroid_mm == pytest.approx((-4.0, 3.0, 111.0), abs=0.02)

    def test_an_open_surface_is_refused_by_name(self, scene):
        sphere = vtkSphereSource()
        sphere.SetCenter(12.0, -12.0, 105.0)
        sphere.SetRadius(3.0)
        sphere.SetEndTheta(200)
        sphere.Update()
        segmentation = add_segmentation(scene, SURFACE, {"Heart": sphere.GetOutput()})
        with pytest.raises(InputError, match="'Heart'.*not closed"):
            read(scene, segmentation)

    def test_contours_are_filled_as_from_dicom(self, scene):
        from radplan.io.dicom_contours import Contour, fill_contours

        grid = Grid((6, 30, 40), (1.0, 1.0, 2.5), (-20.0, -15.0, 100.0))
        volume = add_volume(scene, *oriented(np.full(grid.shape, -1000, np.int16), grid, LPS))
        angles = np.linspace(0, 2 * np.pi, 50, endpoint=False)
        rings = [
            np.c_[5 + r * np.cos(angles), -2 + r * np.sin(angles), np.full(50, z)]
            for r, z in ((5.0, 102.5), (7.0, 105.0), (3.0, 105.0), (4.0, 107.5))
        ]
        segmentation = add_segmentation(scene, CONTOURS, {"Heart": contour_polydata(rings)})
        case = case_from_scene(volume, segmentation)
        expected = fill_contours([Contour(r[:, :2], r[0, 2]) for r in rings], grid).occupancy
        np.testing.assert_allclose(
            case.structures[0].occupancy.array(), expected.array(), atol=1e-4
        )
        assert expected.volume_cc > 0.5

    def test_contours_that_are_not_axial_are_refused(self, scene):
        ring = np.array([[0, 0, 101.0], [5, 0, 103], [5, 5, 103], [0, 5, 101]])
        segmentation = add_segmentation(scene, CONTOURS, {"Heart": contour_polydata([ring])})
        with pytest.raises(InputError, match="'Heart'.*not in axial planes"):
            read(scene, segmentation)

    def test_empty_segments_are_kept_and_told(self, scene):
        blank = labelmap(*oriented(np.zeros(GRID.shape, np.uint8), GRID, LPS))
        images = {"Heart": blank, "Brain": slicer.vtkOrientedImageData()}
        case = read(scene, add_segmentation(scene, BINARY, images))
        assert all(s.occupancy.is_empty for s in case.structures)
        assert [w for w in case.warnings if "is empty" in w] == [
            f"structure {name} is empty" for name in images
        ]

    def test_hidden_segments_are_read(self, scene):
        segmentation = add_landmark(scene)
        segmentation.GetDisplayNode().SetSegmentVisibility("id_Heart", False)
        segmentation.GetDisplayNode().SetVisibility(False)
        assert not read(scene, segmentation).structures[0].occupancy.is_empty

    def test_other_representations_are_refused_by_name(self, scene):
        segmentation = add_segmentation(scene, "Ribbon model", {"Heart": vtkSphere()})
        with pytest.raises(InputError, match="'Heart' is kept as 'Ribbon model'; convert"):
            read(scene, segmentation)

    @pytest.mark.parametrize(
        ("name", "refused"), [("PTV", True), ("Heart", False)], ids=["target", "organ"]
    )
    def test_what_reaches_beyond_the_ct_is_cut_or_refused(self, scene, name, refused):
        large = Grid((4, 5, 12), GRID.spacing_mm, GRID.origin_mm)
        values = np.zeros(large.shape, np.uint8)
        values[1, 1, 5:9] = 1
        segmentation = add_segmentation(
            scene, BINARY, {name: labelmap(*oriented(values, large, LPS))}
        )
        if refused:
            with pytest.raises(InputError, match=r"'PTV' is a target and reaches 3.0 mm beyond"):
                read(scene, segmentation)
            return
        case = read(scene, segmentation)
        assert np.argwhere(case.structures[0].occupancy.array())[:, 2].tolist() == [5, 6]
        assert any("reaches 3.0 mm beyond the CT; cut off" in w for w in case.warnings)

    def test_a_segmentation_of_another_scan_is_refused(self, scene):
        away = Grid(GRID.shape, GRID.spacing_mm, (500.0, 0.0, 0.0))
        image = labelmap(*oriented(landmark_mask(), away, LPS))
        with pytest.raises(InputError, match="'Heart' lies outside the CT"):
            read(scene, add_segmentation(scene, BINARY, {"Heart": image}))


def turned_about(degrees: float, center) -> np.ndarray:
    to, back = np.eye(4), np.eye(4)
    to[:3, 3], back[:3, 3] = np.negative(center), center
    return back @ turned(degrees) @ to


def vtkSphere():  # noqa: N802
    sphere = vtkSphereSource()
    sphere.Update()
    return sphere.GetOutput()


def contour_polydata(rings) -> vtkPolyData:
    """Closed lines in RAS, the first point repeated at the end, as SlicerRT imports them."""
    points, lines = vtkPoints(), vtkCellArray()
    for ring in rings:
        ids = [points.InsertNextPoint(-x, -y, z) for x, y, z in ring]
        lines.InsertNextCell(len(ids) + 1)
        for point in (*ids, ids[0]):
            lines.InsertCellPoint(point)
    data = vtkPolyData()
    data.SetPoints(points)
    data.SetLines(lines)
    return data


class TestNames:
    def names_scene(self, scene, *names):
        image = labelmap(*oriented(landmark_mask(), GRID, LPS))
        return add_segmentation(scene, BINARY, dict.fromkeys(names, image))

    def test_the_table_says_what_is_certain_and_what_is_not(self, scene):
        node = self.names_scene(scene, "lt parotid", "SC", "Thing 7", "PTV_50")
        rows = {e.segment_name: e for e in segment_entries(node)}
        assert rows["lt parotid"].guess.certainty == "certain"
        assert rows["lt parotid"].guess.name == "Parotid_L"
        assert rows["SC"].guess.certainty == "ask"
        assert rows["SC"].guess.candidates == ("SpinalCord",)
        assert rows["Thing 7"].guess.certainty == "unknown"
        assert rows["Thing 7"].default_name == "Thing_7"
        assert rows["PTV_50"].default_type is StructureType.TARGET
        assert rows["SC"].segment_id == "id_SC"

    def test_guesses_are_used_unless_a_person_chose(self, scene):
        node = self.names_scene(scene, "lt parotid", "SC", "Thing 7")
        case = read(
            scene,
            node,
            names={"id_SC": "SpinalCord", "id_Thing 7": None},
            types={"id_lt parotid": StructureType.HELPER},
        )
        assert case.names == ("Parotid_L", "SpinalCord")
        assert case.structure("Parotid_L").type is StructureType.HELPER
        assert case.structure("SpinalCord").source_name == "SC"

    def test_a_chosen_name_brings_its_type(self, scene):
        node = self.names_scene(scene, "Thing 7")
        case = read(scene, node, names={"id_Thing 7": "PTV_6000"})
        assert case.structures[0].type is StructureType.TARGET

    def test_an_open_question_is_told(self, scene):
        case = read(scene, self.names_scene(scene, "SC"))
        assert case.names == ("SC",)
        assert any("SC could be SpinalCord" in w for w in case.warnings)

    def test_two_segments_of_one_name_are_refused_by_name(self, scene):
        node = self.names_scene(scene, "Heart", "Thing")
        with pytest.raises(InputError, match="'Heart' and 'Thing' are both named Heart"):
            read(scene, node, names={"id_Thing": "Heart"})

    def test_types_that_we_wrote_are_remembered(self, scene):
        node = self.names_scene(scene, "Thing")
        node.GetSegmentation().GetNthSegment(0).SetTag("RadPlanAgent.StructureType", "TARGET")
        assert read(scene, node).structures[0].type is StructureType.TARGET

    def test_no_segments_left_is_refused(self, scene):
        with pytest.raises(InputError, match="'Segmentation' has no segments"):
            read(scene, self.names_scene(scene, "Heart"), names={"id_Heart": None})

    def test_a_mirrored_structure_is_told(self, scene):
        body = np.ones(GRID.shape, np.uint8)
        left = np.zeros(GRID.shape, np.uint8)
        left[2, 2, 0] = 1  # x falls to the right
        grid = Grid(GRID.shape, (15.0, 20.0, 30.0), GRID.origin_mm)
        volume = add_volume(scene, *oriented(ct_values(), grid, LPS))
        images = {
            "Body": labelmap(*oriented(body, grid, LPS)),
            "Parotid_L": labelmap(*oriented(left, grid, LPS)),
        }
        case = case_from_scene(volume, add_segmentation(scene, BINARY, images))
        assert any("Parotid_L should be on the left" in w for w in case.warnings)


class Database:
    """Stands in for ``slicer.dicomDatabase``: what images are known to say."""

    def __init__(self, **values):
        self.values = values

    def instanceValue(self, uid: str, tag: str) -> str:  # noqa: N802
        assert uid.startswith("1.2.")
        return self.values.get(tag.replace(",", "_"), "")


class TestDicom:
    DATABASE = {
        "0018_5100": "FFS",
        "0020_0052": "9.9",
        "0020_000D": "7.7",
        "0020_000E": "8.8",
    }

    def loaded(self, scene, orientation):
        volume = add_ct(scene, orientation)
        axes, _ = orientation
        count = GRID.shape[2 - axes[2]]
        volume.SetAttribute("DICOM.instanceUIDs", " ".join(f"1.2.{k}" for k in range(count)))
        return volume

    def test_position_and_uids_come_from_slicers_database(self, scene):
        case = case_from_scene(
            self.loaded(scene, LPS), add_landmark(scene), database=Database(**self.DATABASE)
        )
        assert case.patient_position == "FFS"
        assert case.frame_of_reference_uid == "9.9"
        assert case.dicom.study_uid == "7.7"
        assert case.dicom.image_uids == tuple(f"1.2.{k}" for k in range(4))
        assert not any("lies" in w for w in case.warnings)

    def test_uids_run_from_inferior_to_superior(self, scene):
        flipped = ((0, 1, 2), (-1, 1, -1))
        case = case_from_scene(
            self.loaded(scene, flipped), add_landmark(scene), database=Database(**self.DATABASE)
        )
        assert case.dicom.image_uids == ("1.2.3", "1.2.2", "1.2.1", "1.2.0")

    def test_sagittal_slices_name_no_axial_images(self, scene):
        sagittal = ((1, 2, 0), (1, 1, 1))
        case = case_from_scene(
            self.loaded(scene, sagittal), add_landmark(scene), database=Database(**self.DATABASE)
        )
        assert case.dicom is None

    def test_without_a_database_the_assumption_is_told(self, scene):
        case = case_from_scene(add_ct(scene), add_landmark(scene))
        assert case.patient_position == "HFS"
        assert case.dicom is None
        assert any("head first supine is assumed" in w for w in case.warnings)

    def test_a_person_may_say_how_the_patient_lies(self, scene):
        case = case_from_scene(add_ct(scene), add_landmark(scene), position="HFP")
        assert case.patient_position == "HFP"
        assert case.warnings == ()


class TestRest:
    def test_a_case_file_takes_what_was_read(self, scene, tmp_path):
        from radplan.case_file import load_case, save_case

        image = labelmap(*oriented(landmark_mask(), GRID, ORIENTATIONS[41]))
        volume = add_ct(scene, ORIENTATIONS[17])
        case = case_from_scene(volume, add_segmentation(scene, BINARY, {"Heart": image}))
        save_case(tmp_path / "case.npz", case)
        again = load_case(tmp_path / "case.npz")
        assert again.grid == case.grid
        np.testing.assert_array_equal(again.ct_hu, case.ct_hu)

    def test_what_we_wrote_is_what_we_read(self, scene):
        from radplan.mrml.plan import add_case
        from test_mrml_scene import make_case

        written = make_case()
        nodes = add_case(scene, written)
        names = {f"{n}": n for n in written.names}
        case = case_from_scene(nodes.ct, nodes.segmentation, names=names)
        assert case.grid.matches(written.grid)
        for structure in written.structures:
            found = next(s for s in case.structures if s.source_name == structure.name)
            np.testing.assert_array_equal(
                found.occupancy.mask(), structure.occupancy.mask(), err_msg=structure.name
            )
            assert found.type is structure.type

    def test_progress_is_told_and_cancel_heard(self, scene):
        told = []
        segmentation = add_landmark(scene)
        volume = add_ct(scene)
        case_from_scene(
            volume, segmentation, progress=lambda stage, fraction: told.append((stage, fraction))
        )
        assert told[0][0] == "reading the CT"
        assert told[-1][1] == 1.0
        with pytest.raises(CancelledError):
            case_from_scene(volume, segmentation, cancel_requested=lambda: True)

    def test_identity_stays_out_of_the_case(self, scene):
        volume = add_ct(scene)
        volume.SetName("DOE^JANE 1950")
        case = case_from_scene(volume, add_landmark(scene))
        assert "DOE" not in repr((case.name, case.source, case.warnings))

    def test_reading_a_scene_needs_only_what_slicer_has(self):
        """Slicer's own Python has neither the dose engine nor pydicom's peers of ours."""
        code = (
            "import sys; import radplan.mrml.read_case;"
            "bad = {'pyRadPlan', 'numba', 'matplotlib', 'pydicom', 'openai', 'SimpleITK'};"
            "found = bad & set(sys.modules); assert not found, found"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
