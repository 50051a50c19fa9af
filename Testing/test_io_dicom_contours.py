"""Contours to filled fractions and back: volumes that can be computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from radplan.geometry import Grid, Occupancy
from radplan.io.dicom_contours import (
    Contour,
    fill_contours,
    plane_slabs,
    trace_contours,
)
from radplan.io.scanlines import covered_fraction, edges_of

GRID = Grid((40, 90, 100), (1.1, 0.9, 2.5), (-54.3, -41.4, -50.2))
Z_MM = GRID.axes_mm[0]


def ring(radius: float, z: float, center=(0.0, 0.0), points: int = 360) -> Contour:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    points_mm = np.column_stack([np.cos(angle), np.sin(angle)]) * radius + np.array(center)
    return Contour(points_mm, float(z))


def dice(a: Occupancy, b: Occupancy) -> float:
    first, second = a.array(), b.array()
    return 2 * np.minimum(first, second).sum() / (first.sum() + second.sum())


def test_coverage_agrees_with_counting_points_in_any_polygon():
    generator = np.random.default_rng(3)
    # Random polygons cross themselves and each other: even-odd must hold everywhere.
    polygons = [generator.uniform(-2, 14, (9, 2)) for _ in range(3)]
    covered = covered_fraction(edges_of(polygons), (11, 12), lines=64)
    fine = 40
    y, x = (np.arange(11 * fine) + 0.5) / fine, (np.arange(12 * fine) + 0.5) / fine
    inside = np.zeros((y.size, x.size), bool)
    for polygon in polygons:
        for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            spans = (y0 <= y) != (y1 <= y)
            crossing = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
            inside ^= spans[:, None] & (crossing[:, None] <= x[None])
    counted = inside.reshape(11, fine, 12, fine).mean(axis=(1, 3))
    assert np.abs(covered - counted).max() < 0.03
    assert abs(covered.sum() - counted.sum()) < 0.05


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.31, 0.17), (-0.55, 0.45)])
def test_sphere_volume_within_half_a_percent(shift):
    radius, z0 = 20.0, 0.7
    contours = [
        ring(np.sqrt(radius**2 - (z - z0) ** 2), z, shift) for z in Z_MM if abs(z - z0) < radius
    ]
    filled = fill_contours(contours, GRID)
    assert filled.occupancy.volume_cc == pytest.approx(4 / 3 * np.pi * 8.0, rel=0.005)
    assert filled.warnings == () and filled.outside_mm == 0
    assert filled.occupancy.centroid_mm == pytest.approx((*shift, z0), abs=0.05)


def test_cylinder_ends_half_a_slice_beyond_its_last_contours():
    filled = fill_contours([ring(15.0, z) for z in Z_MM[10:20]], GRID)
    assert filled.occupancy.volume_cc == pytest.approx(np.pi * 2.25 * 2.5, rel=1e-3)
    assert filled.occupancy.values.shape[0] == 10
    assert filled.occupancy.values.max() == 1.0


def test_one_contour_is_one_slice():
    filled = fill_contours([ring(10.0, Z_MM[5])], GRID)
    assert filled.occupancy.volume_cc == pytest.approx(np.pi * 0.25, rel=2e-3)


def test_hole_island_in_hole_and_keyhole():
    z = Z_MM[7]
    nested = fill_contours([ring(20.0, z), ring(12.0, z), ring(5.0, z)], GRID)
    area = np.pi * (400 - 144 + 25)
    assert nested.occupancy.volume_cc == pytest.approx(area * 2.5 / 1000, rel=2e-3)

    outer, inner = ring(20.0, z).points_mm, ring(12.0, z).points_mm[::-1]
    keyhole = np.concatenate([outer, outer[:1], np.roll(inner, 1, axis=0), inner[-1:]])
    keyhole = Contour(keyhole, z)
    two = fill_contours([ring(20.0, z), ring(12.0, z)], GRID).occupancy
    one = fill_contours([keyhole], GRID).occupancy
    np.testing.assert_allclose(one.array(), two.array(), atol=1e-6)


def test_islands_on_one_slice_add_up():
    z = Z_MM[7]
    filled = fill_contours([ring(6.0, z, (-20, 0)), ring(6.0, z, (20, 0))], GRID)
    assert filled.occupancy.volume_cc == pytest.approx(2 * np.pi * 0.09, rel=3e-3)


def test_every_second_slice_is_filled_in_and_said():
    every = fill_contours([ring(15.0, z) for z in Z_MM[10:21]], GRID)
    second = fill_contours([ring(15.0, z) for z in Z_MM[10:21:2]], GRID)
    assert "every 5 mm" in second.warnings[0] and "filled in" in second.warnings[0]
    # Six planes of 5 mm instead of eleven of 2.5 mm: the ends reach one half slice further.
    assert second.occupancy.volume_cc == pytest.approx(every.occupancy.volume_cc * 30 / 27.5)
    inner = second.occupancy.values[1:-1]
    assert inner.shape[0] == 11
    np.testing.assert_allclose(inner, np.broadcast_to(inner[:1], inner.shape), atol=1e-6)


def test_one_missing_plane_stays_empty_and_is_said():
    planes = [z for i, z in enumerate(Z_MM[10:20]) if i != 4]
    filled = fill_contours([ring(15.0, z) for z in planes], GRID)
    assert filled.occupancy.values[4].max() == 0
    assert "left empty" in filled.warnings[0] and f"{Z_MM[14]:.1f}" in filled.warnings[0]


def test_two_pieces_far_apart_are_not_joined():
    filled = fill_contours([ring(9.0, Z_MM[5]), ring(9.0, Z_MM[25])], GRID)
    assert filled.occupancy.volume_cc == pytest.approx(2 * np.pi * 0.81 * 0.25, rel=3e-3)


def test_planes_between_ct_slices_keep_their_volume():
    filled = fill_contours([ring(15.0, z + 1.0) for z in Z_MM[10:20]], GRID)
    assert filled.occupancy.volume_cc == pytest.approx(np.pi * 2.25 * 2.5, rel=1e-3)
    assert filled.occupancy.centroid_mm[2] == pytest.approx(Z_MM[10:20].mean() + 1.0, abs=1e-3)
    finer = fill_contours([ring(15.0, z) for z in np.arange(-10.0, 10.0, 1.0)], GRID)
    assert finer.occupancy.volume_cc == pytest.approx(np.pi * 2.25 * 2.0, rel=1e-3)


def test_slabs_never_overlap():
    generator = np.random.default_rng(0)
    for _ in range(50):
        planes = np.cumsum(generator.choice([0.4, 2.5, 2.5, 5.0, 20.0], 12))
        low, high, _ = plane_slabs(planes, 2.5)
        assert (low < planes).all() and (planes < high).all()
        assert (low[1:] >= high[:-1] - 1e-9).all()


def test_what_reaches_out_of_the_grid_is_cut_and_measured():
    x_edge = GRID.edges_mm(2)[-1]
    filled = fill_contours([ring(10.0, z, (x_edge, 0.0)) for z in Z_MM[5:9]], GRID)
    assert filled.outside_mm == pytest.approx(10.0, abs=0.01)
    assert filled.occupancy.volume_cc == pytest.approx(np.pi * 1.0 / 2, rel=0.01)
    away = fill_contours([ring(10.0, Z_MM[5], (x_edge + 30, 0.0))], GRID)
    assert away.occupancy.is_empty and away.outside_mm > 30
    above = fill_contours([ring(10.0, Z_MM[-1] + 50)], GRID)
    assert above.occupancy.is_empty and above.outside_mm > 40


def _kidney() -> Occupancy:
    contours = []
    for z in Z_MM[8:30]:
        angle = np.linspace(0, 2 * np.pi, 300, endpoint=False)
        radius = 16 * np.sqrt(max(0.05, 1 - ((z - Z_MM[19]) / 30) ** 2))
        radius = radius * (1 + 0.35 * np.cos(angle) + 0.1 * np.sin(3 * angle))
        points = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
        contours.append(Contour(points, float(z)))
    return fill_contours(contours, GRID).occupancy


def test_traced_contours_give_the_structure_back():
    for occupancy in (
        _kidney(),
        fill_contours([ring(r, z) for z in Z_MM[9:19] for r in (20.0, 11.0)], GRID).occupancy,
    ):
        again = fill_contours(trace_contours(occupancy), GRID).occupancy
        assert again.volume_cc == pytest.approx(occupancy.volume_cc, rel=0.01)
        assert dice(occupancy, again) > 0.98


def test_holes_are_written_as_one_keyhole_contour():
    z = Z_MM[7]
    occupancy = fill_contours(
        [ring(22.0, z), ring(5.0, z, (-9, 0)), ring(5.0, z, (9, 0))], GRID
    ).occupancy
    contours = trace_contours(occupancy)
    assert len(contours) == 1
    again = fill_contours(contours, GRID).occupancy
    assert again.volume_cc == pytest.approx(np.pi * (484 - 50) * 2.5 / 1000, rel=5e-3)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_masks_come_back_voxel_by_voxel(size):
    mask = np.zeros(GRID.shape, bool)
    mask[10:13, 30 : 30 + size, 40 : 40 + size] = True
    mask[15:25] = np.random.default_rng(size).random((10, *GRID.shape[1:])) < 0.4
    occupancy = Occupancy.from_array(GRID, mask)
    again = fill_contours(trace_contours(occupancy), GRID).occupancy
    np.testing.assert_allclose(again.array(), mask, atol=1e-3)


def test_partly_filled_small_structures_keep_their_volume():
    filled = fill_contours([ring(1.6, z, (0.3, 0.2)) for z in Z_MM[10:16]], GRID).occupancy
    again = fill_contours(trace_contours(filled), GRID).occupancy
    assert again.volume_cc == pytest.approx(filled.volume_cc, rel=0.015)
    assert again.centroid_mm == pytest.approx(filled.centroid_mm, abs=0.05)


def test_part_filled_end_slices_round_to_whole_slices():
    values = np.zeros(GRID.shape, np.float32)
    values[10:15, 30:50, 30:50] = 1
    values[9, 30:50, 30:50] = 0.2
    values[15, 30:50, 30:50] = 0.8
    again = fill_contours(trace_contours(Occupancy.from_array(GRID, values)), GRID).occupancy
    assert (again.start[0], again.stop[0]) == (10, 16)
    assert again.volume_cc == pytest.approx(values.sum() * GRID.voxel_volume_cc, rel=0.01)


def test_nothing_gives_no_contours():
    assert trace_contours(Occupancy.from_array(GRID, np.zeros(GRID.shape))) == []
