"""What a person sees of a plan: Slicer's own slice views, rendered, hold what they should."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from radplan.case import DoseImage
from radplan.geometry import Grid
from radplan.mrml import runtime

pytest.importorskip("slicer", reason="slicer-core is not installed")
try:
    runtime.require_slicer()
except runtime.SlicerMissingError as error:
    pytest.skip(str(error), allow_module_level=True)

import slice_views

if slice_views.why_not():
    pytest.skip(slice_views.why_not(), allow_module_level=True)

import slicer

from image_phantom import image_phantom
from radplan.mrml.dose_colors import ISODOSE_PERCENT, PERCENT_COLORS
from radplan.mrml.notes import RESEARCH_ONLY
from radplan.mrml.read_segments import BINARY
from radplan.mrml.runtime import headless_scene
from radplan.mrml.scene import write_scene
from radplan.mrml.shown_plan import Anatomy, ShownPlan
from radplan.mrml.views import DOSE_OPACITY
from scene_builders import (
    ORIENTATIONS,
    add_segmentation,
    add_volume,
    labelmap,
    orientation_name,
    oriented,
)
from slice_views import SliceView, chart_picture
from test_mrml_scene import read_scene

#: Nowhere symmetric; 120 × 110 × 108 mm.
CT_GRID = Grid((36, 44, 60), (2.0, 2.5, 3.0), (-41.0, -63.5, 12.0))
#: Neither the CT's voxels nor its box, which it fills.
DOSE_GRID = Grid((30, 28, 36), (3.5, 4.0, 4.0), (-45.0, -65.0, 8.0))
#: LPS, Slicer's own RAS, flipped along every axis, and three that are turned.
SOME = {
    name: orientation
    for orientation in ORIENTATIONS
    if (name := orientation_name(orientation)) in ("LPS", "RAS", "RPI", "ASL", "SRA", "PIL")
}
VIEWS = ("Red", "Yellow", "Green")
SIZE = (260, 220)
WINDOW_HU, LEVEL_HU = 400.0, 40.0
PRESCRIPTION_GY = 50.0
GREEN = (0.0, 1.0, 0.0)
CENTER_MM, RADIUS_MM = np.array([5.0, -18.0, 55.0]), 20.0


def points(grid: Grid) -> np.ndarray:
    """LPS of all voxel centres, (z, y, x, 3)."""
    z, y, x = np.meshgrid(*grid.axes_mm, indexing="ij")
    return np.stack([x, y, z], axis=-1)


def distance_mm(grid: Grid, center_mm) -> np.ndarray:
    return np.linalg.norm(points(grid) - center_mm, axis=-1)


def ct_hu() -> np.ndarray:
    """Waves that tell every direction from its opposite, inside the window."""
    x, y, z = np.moveaxis(points(CT_GRID), -1, 0)
    return 40 + 60 * np.sin(x / 17) + 50 * np.sin(y / 23 + 1) + 40 * np.sin(z / 29 + 2)


def wavy_dose() -> DoseImage:
    """From nothing to 115 % of the prescription, different in every direction."""
    x, y, z = np.moveaxis(points(DOSE_GRID), -1, 0)
    waves = np.sin(x / 19) * np.cos(y / 13 + 0.5) + np.sin(z / 23 + 1) + np.sin((x + y) / 31)
    return DoseImage(DOSE_GRID, (waves.clip(0) * 28).astype(np.float32))


def cone_dose(center_mm=CENTER_MM, highest_gy=62.0) -> DoseImage:
    """A dose that falls by 1 Gy per mm from a point: isodoses are circles of known radius."""
    dose_gy = (highest_gy - distance_mm(DOSE_GRID, center_mm)).clip(0)
    return DoseImage(DOSE_GRID, dose_gy.astype(np.float32))


def curves(shift_gy: float = 0.0):
    doses_gy = np.linspace(0, 60, 241)
    falling = 100 / (1 + np.exp((doses_gy - 50 - shift_gy) / 0.7))
    return doses_gy, {"PTV": falling}


class Scene:
    """A user's CT and target of some orientation, in views that are open."""

    def __init__(self, scene, orientation) -> None:
        self.scene = scene
        self.views = {name: SliceView(scene, name, SIZE) for name in VIEWS}
        self.ct = add_volume(scene, *oriented(ct_hu(), CT_GRID, orientation))
        self.ct.CreateDefaultDisplayNodes()
        display = self.ct.GetDisplayNode()
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(WINDOW_HU, LEVEL_HU)
        mask = (distance_mm(CT_GRID, CENTER_MM) <= RADIUS_MM).astype(np.uint8)
        image = labelmap(*oriented(mask, CT_GRID, orientation))
        # As Slicer shows a segmentation that somebody loads: filled.
        self.segmentation = add_segmentation(scene, BINARY, {"PTV": image})
        self.segmentation.GetSegmentation().GetSegment("id_PTV").SetColor(*GREEN)
        self.segmentation.GetDisplayNode().SetVisibility2DFill(True)
        anatomy = Anatomy(self.ct, self.segmentation, {"PTV": "id_PTV"}, {"PTV": 33.5})
        self.plan = ShownPlan(anatomy, PRESCRIPTION_GY, "a1b2")

    def show(self, dose: DoseImage, *, outlines=False, lines=False, legend=False) -> None:
        self.segmentation.GetDisplayNode().SetVisibility(outlines)
        self.plan.show_dose(dose, "Dose of step 1")
        self.plan.set_isodoses_visible(lines)
        self.plan.set_legend_visible(legend)
        for view in self.views.values():
            view.fit()
        self.plan.jump_to(tuple(CENTER_MM))

    def pictures(self) -> dict[str, np.ndarray]:
        return {name: view.picture() for name, view in self.views.items()}

    def close(self) -> None:
        for view in self.views.values():
            view.close()


@pytest.fixture(params=["LPS"])
def shown(request):
    with headless_scene() as scene:
        opened = Scene(scene, SOME[request.param])
        yield opened
        opened.close()


every_orientation = pytest.mark.parametrize("shown", sorted(SOME), indirect=True)


def pixel_points(view: SliceView) -> np.ndarray:
    """LPS of all pixel centres, (row, column, 3)."""
    width, height = view.size
    first, across, down = (view.point_of(*p) for p in ((0, 0), (0, 1), (1, 0)))
    rows, columns = np.mgrid[:height, :width]
    return first + rows[..., None] * (down - first) + columns[..., None] * (across - first)


def sampled(values: np.ndarray, grid: Grid, points_mm: np.ndarray):
    """Trilinear values, and how many voxels a point is inside the box of voxel centres."""
    index = (points_mm - grid.origin_mm) / np.array(grid.spacing_mm)
    inside = np.minimum(index, np.array(grid.shape[::-1]) - 1 - index).min(axis=-1)
    index = np.moveaxis(index[..., ::-1], -1, 0)
    return map_coordinates(values, index, order=1, mode="nearest"), inside


def dose_rgb(dose_gy: np.ndarray) -> np.ndarray:
    percent, colors = zip(*PERCENT_COLORS, strict=True)
    channels = np.array(colors, float).T
    return np.stack(
        [np.interp(dose_gy / PRESCRIPTION_GY * 100, percent, channel) for channel in channels],
        axis=-1,
    )


def expected_picture(view: SliceView, dose: DoseImage) -> tuple[np.ndarray, np.ndarray]:
    """What a slice must show, and where that is known: inside CT and dose, off the threshold."""
    points_mm = pixel_points(view)
    hu, in_ct = sampled(ct_hu(), CT_GRID, points_mm)
    dose_gy, in_dose = sampled(dose.dose_gy, dose.grid, points_mm)
    grey = ((hu - LEVEL_HU) / WINDOW_HU + 0.5).clip(0, 1)[..., None] * np.full(3, 255.0)
    tint = (1 - DOSE_OPACITY) * grey + DOSE_OPACITY * dose_rgb(dose_gy)
    picture = np.where((dose_gy >= 0.05 * PRESCRIPTION_GY)[..., None], tint, grey)
    known = (in_ct > 0.1) & (in_dose > 0.1) & (abs(dose_gy - 0.05 * PRESCRIPTION_GY) > 0.3)
    return picture, known


def share_equal(picture: np.ndarray, expected: np.ndarray, known: np.ndarray) -> float:
    """Share of the known pixels that are as expected.

    To 8 of 255 levels: the table has 256 colours, and up to 7 levels between neighbours.
    """
    return float((abs(picture - expected).max(axis=-1) <= 8)[known].mean())


def near(picture: np.ndarray, rgb, tolerance: float = 3) -> np.ndarray:
    """Which pixels have a colour, RGB 0 … 255."""
    return abs(picture - np.asarray(rgb, float)).max(axis=-1) <= tolerance


class TestDose:
    @every_orientation
    def test_every_pixel_is_ct_tinted_by_the_dose_that_is_there(self, shown):
        dose = wavy_dose()
        shown.show(dose)
        for name, picture in shown.pictures().items():
            expected, known = expected_picture(shown.views[name], dose)
            assert known.mean() > 0.4, name
            assert share_equal(picture, expected, known) > 0.99, name

    def test_a_dose_one_voxel_off_or_flipped_would_be_seen(self, shown):
        dose = wavy_dose()
        shown.show(dose)
        wrong = [np.roll(dose.dose_gy, 1, axis) for axis in range(3)]
        wrong += [np.flip(dose.dose_gy, axis) for axis in range(3)]
        pictures = shown.pictures()
        for number, dose_gy in enumerate(wrong):
            shares = [
                share_equal(pictures[name], *expected_picture(view, DoseImage(DOSE_GRID, dose_gy)))
                for name, view in shown.views.items()
            ]
            assert min(shares) < 0.9, number

    def test_dose_that_is_switched_off_leaves_the_ct(self, shown):
        shown.show(wavy_dose())
        shown.plan.set_dose_visible(False)
        nothing = DoseImage(DOSE_GRID, np.zeros(DOSE_GRID.shape, np.float32))
        for name, picture in shown.pictures().items():
            assert share_equal(picture, *expected_picture(shown.views[name], nothing)) > 0.99

    def test_a_hotter_step_that_follows_has_no_hole_where_it_is_hottest(self, shown):
        shown.show(cone_dose())
        hot = cone_dose(highest_gy=80.0)  # beyond the end of the colours
        shown.plan.show_dose(hot, "Dose of step 2")
        for name, picture in shown.pictures().items():
            assert share_equal(picture, *expected_picture(shown.views[name], hot)) > 0.99

    def test_a_segmentation_that_was_filled_does_not_hide_the_dose(self, shown):
        dose = cone_dose()
        shown.show(dose, outlines=True)
        for name, view in shown.views.items():
            row, column = (round(v) for v in view.pixel_of(CENTER_MM))
            expected, _ = expected_picture(view, dose)
            np.testing.assert_allclose(
                shown.pictures()[name][row, column], expected[row, column], atol=5
            )

    def test_a_person_may_fill_segments_again(self, shown):
        shown.show(cone_dose())
        shown.segmentation.GetDisplayNode().SetVisibility2DFill(True)
        shown.plan.show_dose(cone_dose(), "Dose of step 2")
        assert shown.segmentation.GetDisplayNode().GetVisibility2DFill()


class TestOutlines:
    @every_orientation
    def test_the_target_is_outlined_at_its_edge_all_around(self, shown):
        shown.show(cone_dose(), outlines=True)
        for name, picture in shown.pictures().items():
            view = shown.views[name]
            found = pixel_points(view)[near(picture, np.multiply(GREEN, 255), 25)] - CENTER_MM
            assert len(found) > 150, name
            radii = np.linalg.norm(found, axis=1)
            # A ball of voxels of up to 3 mm: its edge is half a voxel off, at most.
            assert abs(radii.mean() - RADIUS_MM) < 1.0, name
            assert abs(radii - RADIUS_MM).max() < 3.0, name
            assert np.linalg.norm(found.mean(axis=0)) < 1.0, name
            plane = found[:, np.ptp(found, axis=0) > 1.0]
            angles = np.degrees(np.arctan2(*plane.T))
            assert (np.histogram(angles, bins=24, range=(-180, 180))[0] > 0).all(), name


class TestIsodoses:
    @every_orientation
    def test_lines_lie_where_the_dose_crosses_their_levels(self, shown):
        shown.show(cone_dose(), lines=True)
        for name, picture in shown.pictures().items():
            points_mm = pixel_points(shown.views[name])
            dose_gy, inside = sampled(cone_dose().dose_gy, DOSE_GRID, points_mm)
            for percent in ISODOSE_PERCENT[1:]:  # the circle of 20 % reaches beyond the CT
                level_gy = percent * PRESCRIPTION_GY / 100
                # Lines have the pure colour, the volumes are tinted; 1 Gy is 1 mm here.
                found = dose_gy[near(picture, dose_rgb(np.array(level_gy)), 6) & (inside > 1)]
                assert len(found) > 10, (name, percent)
                assert abs(np.median(found) - level_gy) < 0.3, (name, percent)
                assert (abs(found - level_gy) < 1.0).mean() > 0.97, (name, percent)

    def test_lines_follow_the_next_dose_and_go_when_switched_off(self, shown):
        shown.show(cone_dose(), lines=True)
        shown.plan.show_dose(cone_dose(highest_gy=74.0), "Dose of step 2")
        picture = shown.views["Red"].picture()
        radii = np.linalg.norm(pixel_points(shown.views["Red"]) - CENTER_MM, axis=-1)
        yellow = radii[near(picture, (255, 255, 0), 6)]
        assert abs(np.median(yellow) - 24.0) < 0.4
        shown.plan.set_isodoses_visible(False)
        assert not near(shown.views["Red"].picture(), (255, 255, 0), 6).any()

    def test_a_dose_below_every_level_has_no_lines(self, shown):
        shown.show(cone_dose(highest_gy=9.0), lines=True)
        picture = shown.views["Red"].picture()
        for percent in ISODOSE_PERCENT:
            assert not near(picture, dose_rgb(np.array(percent / 2)), 3).any()


class TestLegend:
    def swatches(self, picture) -> list[float]:
        """Levels whose colours fill a bar at the right edge, from the top."""
        right = picture[:, -40:]
        rows = {p: near(right, dose_rgb(np.array(p / 2)), 3).sum(axis=1) for p in ISODOSE_PERCENT}
        found = {p: np.flatnonzero(count >= 6) for p, count in rows.items()}
        return sorted((p for p in found if len(found[p]) > 4), key=lambda p: found[p].mean())

    def test_isodoses_are_named_from_the_highest_to_the_lowest(self, shown):
        shown.show(wavy_dose(), lines=True, legend=True)
        shown.plan.set_dose_visible(False)
        assert self.swatches(shown.views["Red"].picture()) == sorted(ISODOSE_PERCENT)[::-1]
        shown.plan.set_legend_visible(False)
        assert self.swatches(shown.views["Red"].picture()) == []

    def test_without_lines_it_is_the_dose_that_is_explained(self, shown):
        shown.show(cone_dose())
        without = shown.views["Red"].picture()
        shown.plan.set_legend_visible(True)
        changed = (shown.views["Red"].picture() != without).any(axis=-1)
        assert 0.02 < changed.mean() < 0.2
        assert changed[:, SIZE[0] // 2 :].sum() == changed.sum()  # lower right
        assert changed[SIZE[1] // 3 :].sum() == changed.sum()

    def test_the_prescription_is_one_of_its_numbers(self, shown):
        shown.show(cone_dose(), legend=True)
        legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(shown.plan.dose_node)
        display = shown.plan.dose_node.GetDisplayNode()
        numbers = np.linspace(
            display.GetWindowLevelMin(), display.GetWindowLevelMax(), legend.GetNumberOfLabels()
        )
        assert np.isclose(numbers, PRESCRIPTION_GY).any()
        assert "Gy" in legend.GetTitleText()


class TestHotSpot:
    @pytest.mark.parametrize("shown", ["LPS", "ASL"], indirect=True)
    def test_it_is_in_the_middle_of_every_view(self, shown):
        center = np.array([32.0, -5.0, 76.0])  # a voxel of the dose
        shown.show(cone_dose(center))
        shown.plan.jump_to(shown.plan.hot_spot_mm())
        for name, view in shown.views.items():
            row, column = view.pixel_of(center)
            assert abs(row - (SIZE[1] - 1) / 2) <= 1, name
            assert abs(column - (SIZE[0] - 1) / 2) <= 1, name
            in_slice = view.point_of(row, column)
            assert np.linalg.norm(in_slice - center) < 1e-3, name  # the slice goes through it
            rgb = view.picture()[round(row), round(column)].astype(float)
            assert rgb[0] > 1.5 * rgb[1:].max(), name  # red: more than 110 %


class TestComparison:
    OTHER_MM = CENTER_MM + (12.0, 20.0, 0.0)

    def compared(self, shown) -> None:
        shown.show(cone_dose(), lines=True)
        shown.plan.show_dvh(curves(), {}, "DVH of step 1")
        shown.plan.compare(
            cone_dose(self.OTHER_MM), curves(-4.0), "Dose of step 0", "dashed: step 0"
        )

    def test_both_doses_are_on_the_same_slice_each_with_its_own_lines(self, shown):
        self.compared(shown)
        left, right = shown.views["Red"], shown.views["Green"]
        np.testing.assert_allclose(pixel_points(left), pixel_points(right), atol=1e-6)
        for view, center in ((left, CENTER_MM), (right, self.OTHER_MM)):
            radii = np.linalg.norm(pixel_points(view) - center, axis=-1)
            yellow = radii[near(view.picture(), (255, 255, 0), 6)]
            assert len(yellow) > 20 and abs(yellow - 12.0).max() < 1.5

    def test_dose_that_is_switched_off_stays_off(self, shown):
        shown.show(cone_dose())
        shown.plan.show_dvh(curves(), {}, "DVH of step 1")
        shown.plan.set_dose_visible(False)
        shown.plan.compare(cone_dose(self.OTHER_MM), curves(), "Dose of step 0")
        picture = shown.views["Green"].picture().astype(int)
        assert abs(picture - picture.mean(axis=-1, keepdims=True)).max() <= 1  # grey

    def test_the_end_brings_back_what_was_there(self, shown):
        shown.show(cone_dose(), lines=True)
        before = shown.pictures()
        self.compared(shown)
        assert (shown.views["Green"].picture() != before["Green"]).any()
        shown.plan.end_comparison()
        for name, picture in shown.pictures().items():
            np.testing.assert_array_equal(picture, before[name])


class TestChart:
    RED = (1.0, 0.0, 0.0)

    def chart(self, shown):
        shown.segmentation.GetSegmentation().GetSegment("id_PTV").SetColor(*self.RED)
        shown.show(cone_dose())
        shown.plan.show_dvh(curves(), {}, "DVH of step 1")
        return shown.scene.GetFirstNodeByClass("vtkMRMLPlotChartNode")

    def test_the_legend_hides_no_part_of_the_targets_curve(self, shown):
        chart = self.chart(shown)
        chart.SetLegendVisibility(False)
        curve = near(chart_picture(chart), (255, 0, 0), 60)
        assert curve.sum() > 300
        chart.SetLegendVisibility(True)
        with_legend = near(chart_picture(chart), (255, 0, 0), 60)
        assert with_legend[curve].mean() > 0.99

    def test_a_compared_step_is_dashed_and_not_in_the_legend(self, shown):
        chart = self.chart(shown)
        alone = near(chart_picture(chart), (255, 0, 0), 60)
        shown.plan.compare(cone_dose(), curves(-15.0), "Dose of step 0", "dashed: step 0")
        both = near(chart_picture(chart), (255, 0, 0), 60)
        added = both & ~alone
        assert added[:, : both.shape[1] * 2 // 3].sum() > 50  # a curve 15 Gy to the left
        assert not added[:, both.shape[1] * 3 // 4 :].any()  # the legend is as it was
        assert chart.GetTitle() == "DVH of step 1; dashed: step 0"
        shown.plan.end_comparison()
        np.testing.assert_array_equal(near(chart_picture(chart), (255, 0, 0), 60), alone)
        assert chart.GetTitle() == "DVH of step 1"


def test_a_scene_that_is_closed_leaves_black_views(shown):
    shown.show(cone_dose(), outlines=True, lines=True, legend=True)
    assert all(picture.max() > 200 for picture in shown.pictures().values())
    shown.scene.Clear(False)
    assert all(picture.max() == 0 for picture in shown.pictures().values())


def test_a_display_made_anew_leaves_nothing_of_the_old_one(shown):
    shown.show(cone_dose(), lines=True, legend=True)
    before = shown.pictures()
    count = shown.scene.GetNumberOfNodes()
    shown.plan = ShownPlan(shown.plan.anatomy, PRESCRIPTION_GY, "a1b2")
    assert shown.plan.dose_node is None
    shown.show(cone_dose(), lines=True, legend=True)
    assert shown.scene.GetNumberOfNodes() == count
    for name, picture in shown.pictures().items():
        np.testing.assert_array_equal(picture, before[name])


def test_a_scene_file_opens_on_the_target_with_isodose_lines_and_the_whole_body(tmp_path):
    case = image_phantom()
    dose = DoseImage(case.grid, (62.0 - distance_mm(case.grid, (0, 0, 0))).clip(0))
    (tmp_path / "unpacked").mkdir()
    path = tmp_path / "plan.mrb"
    write_scene(path, case, dose, curves(), prescription_gy=PRESCRIPTION_GY)
    scene, *alive = read_scene(path, tmp_path / "unpacked")
    lines = scene.GetFirstNodeByName(f"Dose - {RESEARCH_ONLY} isodoses")
    names = lines.GetDisplayNode().GetColorNode()
    assert names.GetColorName(len(ISODOSE_PERCENT) - 1) == "55.0 (110%)"
    for name in VIEWS:
        with SliceView(scene, name, SIZE) as view:
            picture, radii = view.picture(), np.linalg.norm(pixel_points(view), axis=-1)
            yellow = radii[near(picture, (255, 255, 0), 6)]
            assert len(yellow) > 8 and abs(np.median(yellow) - 12.0) < 0.8, name
            rim = np.ones(picture.shape[:2], bool)
            rim[2:-2, 2:-2] = False
            assert picture[rim].max() < 60, name  # air, and no outline
    del alive
