"""Grids, occupancies and beams: positions, conserved volumes, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radplan.beams import gantry_angles, make_beams
from radplan.errors import InputError
from radplan.geometry import Grid, Occupancy, average_onto, overlap_matrix

GRID = Grid((8, 10, 12), (2.0, 3.0, 2.5), (-11.0, 7.0, 100.0))


def test_axes_and_indices_agree():
    z, y, x = GRID.axes_mm
    assert (z[0], y[0], x[0]) == (100.0, 7.0, -11.0)
    assert (z[1] - z[0], y[1] - y[0], x[1] - x[0]) == (2.5, 3.0, 2.0)
    assert GRID.index_of((x[3], y[2], z[1])) == pytest.approx((1, 2, 3))
    assert GRID.center_mm == pytest.approx((x.mean(), y.mean(), z.mean()))
    assert GRID.voxel_volume_cc == pytest.approx(0.015)


def test_cropped_grid_keeps_positions():
    part = GRID.cropped((2, 1, 3), (5, 4, 9))
    assert part.shape == (3, 3, 6)
    for axis, start in enumerate((2, 1, 3)):
        np.testing.assert_allclose(
            part.axes_mm[axis], GRID.axes_mm[axis][start : start + part.shape[axis]]
        )


def test_coarsened_grid_covers_the_same_box():
    coarse = GRID.coarsened((5.0, 5.0, 5.0))
    for axis in range(3):
        assert coarse.edges_mm(axis)[0] <= GRID.edges_mm(axis)[0] + 1e-9
        assert coarse.edges_mm(axis)[-1] >= GRID.edges_mm(axis)[-1] - 1e-9
    assert coarse.center_mm == pytest.approx(GRID.center_mm)


def test_matches_looks_at_the_far_corner():
    assert GRID.matches(Grid(GRID.shape, GRID.spacing_mm, GRID.origin_mm))
    drifted = Grid(GRID.shape, (2.0005, 3.0, 2.5), GRID.origin_mm)
    assert not GRID.matches(drifted)
    assert GRID.matches(drifted, tolerance_mm=0.01)


@pytest.mark.parametrize(
    "values",
    [
        ((0, 1, 1), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
        ((1, 1, 1), (1.0, -1.0, 1.0), (0.0, 0.0, 0.0)),
        ((1, 1, 1), (1.0, 1.0, 1.0), (0.0, np.nan, 0.0)),
    ],
)
def test_impossible_grids_are_refused(values):
    with pytest.raises(ValueError, match="grid"):
        Grid(*values)


@settings(max_examples=25, deadline=None)
@given(
    spacing=st.tuples(*[st.floats(0.7, 7.0)] * 3),
    shift=st.tuples(*[st.floats(-4.0, 4.0)] * 3),
    seed=st.integers(0, 1000),
)
def test_volume_and_centroid_survive_another_grid(spacing, shift, seed):
    rng = np.random.default_rng(seed)
    inner = np.zeros(GRID.shape, np.float32)
    inner[2:6, 3:7, 3:9] = rng.uniform(0, 1, (4, 4, 6))
    region = Occupancy.from_array(GRID, inner)
    wide = Grid((40, 40, 40), spacing, (0, 0, 0))
    offset = [c - w + d for c, w, d in zip(GRID.center_mm, wide.center_mm, shift, strict=True)]
    moved = region.onto(Grid(wide.shape, spacing, tuple(offset)))
    assert moved.volume_cc == pytest.approx(region.volume_cc, rel=1e-4)
    assert moved.centroid_mm == pytest.approx(region.centroid_mm, abs=max(spacing) / 2)
    assert moved.values.max() <= 1


def test_the_part_outside_the_other_grid_is_lost_and_no_more():
    full = Occupancy.from_array(GRID, np.ones(GRID.shape, np.float32))
    half = GRID.cropped((0, 0, 0), (8, 10, 6))
    assert full.onto(half).volume_cc == pytest.approx(full.volume_cc / 2, rel=1e-6)


def test_overlap_rows_sum_to_one_inside():
    matrix = overlap_matrix(
        GRID, GRID.cropped((1, 1, 1), (6, 9, 11)).coarsened((2.9, 3.1, 2.2)), 2
    )
    np.testing.assert_allclose(matrix.sum(axis=1)[1:-1], 1.0, atol=1e-12)


def test_average_of_a_linear_image_is_its_value_at_the_voxel_centre():
    z, y, x = np.meshgrid(*GRID.axes_mm, indexing="ij")
    coarse = Grid((4, 5, 6), (4.0, 6.0, 5.0), (-10.0, 8.5, 101.25))
    averaged = average_onto(2 * x - y + 0.5 * z, GRID, coarse)
    zc, yc, xc = np.meshgrid(*coarse.axes_mm, indexing="ij")
    np.testing.assert_allclose(averaged, 2 * xc - yc + 0.5 * zc, rtol=1e-5)


def test_rounding_is_no_part_of_a_structure():
    mask = np.zeros(GRID.shape)
    mask[3, 4, 5] = 1
    shifted = Grid(GRID.shape, GRID.spacing_mm, (-11.0 + 1e-9, 7.0 - 1e-9, 100.0 + 1e-9))
    assert Occupancy.from_array(GRID, mask).onto(shifted).values.size == 1


def test_box_of_a_region():
    array = np.zeros(GRID.shape)
    array[2:4, 5:6, 1:9] = 0.5
    region = Occupancy.from_array(GRID, array)
    assert (region.start, region.stop) == ((2, 5, 1), (4, 6, 9))
    np.testing.assert_array_equal(region.array(), array.astype(np.float32))
    empty = Occupancy.from_array(GRID, np.zeros(GRID.shape))
    assert empty.is_empty and empty.volume_cc == 0 and empty.onto(GRID).is_empty
    with pytest.raises(ValueError, match="centroid"):
        _ = empty.centroid_mm


@pytest.mark.parametrize("value", [-0.1, 1.5, np.nan])
def test_fractions_beyond_0_and_1_are_refused(value):
    array = np.zeros(GRID.shape)
    array[0, 0, 0] = value
    with pytest.raises(ValueError, match="between 0 and 1"):
        Occupancy.from_array(GRID, array)


def test_beam_templates():
    assert gantry_angles("coplanar9") == (0, 40, 80, 120, 160, 200, 240, 280, 320)
    assert gantry_angles("10, 350.5") == (10.0, 350.5)
    beams = make_beams("0,90", (1.0, 2.0, 3.0), bixel_width_mm=7.0)
    assert [b.gantry_angle_deg for b in beams] == [0.0, 90.0]
    assert all(b.isocenter_mm == (1.0, 2.0, 3.0) and b.bixel_width_mm == 7.0 for b in beams)


@pytest.mark.parametrize("text", ["", "nine", "0,0", "-10,20", "360", "nan", "10,,20"])
def test_nonsense_beams_are_refused(text):
    with pytest.raises(InputError, match="beams"):
        gantry_angles(text)
