"""Analytic shapes in linear dose gradients (Nelms et al., Med Phys 42 (2015) 4435), and rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radplan.errors import InputError
from radplan.geometry import Grid, Occupancy
from radplan.sampling import StructureSampler

DOSE_GRID = Grid((34, 36, 38), (2.5, 2.5, 2.5), (-46.1, -43.4, -41.7))
CT_GRID = Grid((34, 70, 74), (1.2, 1.2, 2.5), (-44.3, -41.8, -40.9))
GRADIENTS = {"x": (1.0, 0.0, 0.0), "z": (0.0, 0.0, 1.0), "oblique": (0.5, -0.4, 0.6)}


def dose_at(points_xyz: np.ndarray, gradient: str) -> np.ndarray:
    """Linear dose, Gy."""
    return 60.0 + points_xyz @ np.array(GRADIENTS[gradient])


def dose_image(grid: Grid, gradient: str) -> np.ndarray:
    z, y, x = np.meshgrid(*grid.axes_mm, indexing="ij")
    return dose_at(np.stack([x, y, z], axis=-1), gradient).astype(np.float32)


#: Radius at height z, half height, volume in cc: bodies of revolution around the z axis, mm.
SHAPES = {
    "sphere": (lambda z: np.sqrt(np.maximum(15.0**2 - z**2, 0)), 15.0, 4.5 * np.pi),
    "cylinder": (lambda z: np.full_like(z, 12.0), 14.0, np.pi * 1.2**2 * 2.8),
    "cone": (lambda z: 16.0 * np.maximum(14.0 - z, 0) / 28.0, 14.0, np.pi * 1.6**2 * 2.8 / 3),
}


@pytest.fixture(scope="module")
def points_inside():
    """Points spread evenly in each shape."""
    generator = np.random.default_rng(7)
    points = generator.uniform(-16.5, 16.5, (4_000_000, 3))
    inside = {}
    for name, (radius, half_height, _) in SHAPES.items():
        x, y, z = points.T
        inside[name] = points[(np.abs(z) <= half_height) & (x**2 + y**2 <= radius(z) ** 2)]
    return inside


@pytest.fixture(scope="module")
def occupancies():
    """Each shape on each grid, finely voxelised (about 0.25 mm)."""
    made = {}
    for grid_name, grid in (("dose grid", DOSE_GRID), ("CT grid", CT_GRID)):
        parts = [max(4, round(s / 0.25)) for s in grid.spacing_mm]
        fine = Grid(
            tuple(n * k for n, k in zip(grid.shape, parts[::-1], strict=True)),
            tuple(s / k for s, k in zip(grid.spacing_mm, parts, strict=True)),
            tuple(
                o - s / 2 + s / k / 2
                for o, s, k in zip(grid.origin_mm, grid.spacing_mm, parts, strict=True)
            ),
        )
        start = [np.searchsorted(a, -17.5) for a in fine.axes_mm]
        stop = [np.searchsorted(a, 17.5) for a in fine.axes_mm]
        box = fine.cropped(tuple(start), tuple(stop))
        z, y, x = np.meshgrid(*box.axes_mm, indexing="ij", sparse=True)
        half = box.spacing_mm[2] / 2
        for name, (radius, half_height, _) in SHAPES.items():
            # Flat ends need not fall on voxel borders: take the part of each layer between them.
            layer = np.minimum(z + half, half_height) - np.maximum(z - half, -half_height)
            filled = (x**2 + y**2 <= radius(z) ** 2) * np.clip(layer / (2 * half), 0, 1)
            made[name, grid_name] = Occupancy.from_array(box, filled).onto(grid)
    return made


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("grid_name", ["dose grid", "CT grid"])
@pytest.mark.parametrize("shape", SHAPES)
def test_analytic_shapes(shape, grid_name, gradient, occupancies, points_inside):
    occupancy = occupancies[shape, grid_name]
    result = StructureSampler(occupancy, DOSE_GRID).sample(dose_image(DOSE_GRID, gradient))
    truth = dose_at(points_inside[shape], gradient)
    assert result.volume_cc == pytest.approx(SHAPES[shape][2], rel=0.005)
    for percent in (2, 50, 95):
        expected = np.quantile(truth, 1 - percent / 100)
        assert result.dose_at_volume_percent(percent) == pytest.approx(expected, abs=0.1)
    for level in np.quantile(truth, (0.05, 0.25, 0.5, 0.8, 0.97)):
        expected = 100 * (truth >= level).mean()
        assert result.volume_percent_at_dose(level) == pytest.approx(expected, abs=0.5)
    assert result.mean_gy == pytest.approx(truth.mean(), abs=0.05)


def test_sphere_dvh_matches_its_formula(occupancies):
    dose = StructureSampler(occupancies["sphere", "CT grid"], DOSE_GRID).sample(
        dose_image(DOSE_GRID, "x")
    )
    x = np.linspace(-14, 14, 29)  # part of a sphere of radius r beyond the plane at x
    beyond = (2 * 15**3 - 3 * 15**2 * x + x**3) / (4 * 15**3)
    np.testing.assert_allclose(dose.dvh(60 + x), 100 * beyond, atol=0.4)


def ball(grid: Grid, radius_mm: float) -> Occupancy:
    """A ball at the origin with soft borders, good enough to test rules on."""
    z, y, x = np.meshgrid(*grid.axes_mm, indexing="ij")
    distance = np.sqrt(x**2 + y**2 + z**2) - radius_mm
    return Occupancy.from_array(grid, np.clip(0.5 - distance / min(grid.spacing_mm), 0, 1))


@given(
    st.floats(2.0, 14.0),
    st.tuples(*[st.floats(0.8, 4.0)] * 3),
    st.integers(0, 2**31),
)
@settings(max_examples=25, deadline=None)
def test_volume_is_conserved_and_doses_stay_in_range(radius, spacing, seed):
    grid = Grid(
        tuple(int(36 // s) + 1 for s in spacing[::-1]), spacing, (-18.0, -18.0, -18.0)
    )
    occupancy = ball(grid, radius)
    if occupancy.is_empty:
        return
    dose = np.random.default_rng(seed).uniform(0, 70, DOSE_GRID.shape).astype(np.float32)
    result = StructureSampler(occupancy, DOSE_GRID).sample(dose)
    assert result.volume_cc == pytest.approx(occupancy.volume_cc, rel=1e-5)
    assert result.min_gy >= dose.min() - 1e-4 and result.max_gy <= dose.max() + 1e-4
    assert result.uncovered_fraction == 0


@pytest.mark.parametrize("radius", [1.5, 5.0, 40.0])
def test_uniform_dose_is_uniform(radius):
    result = StructureSampler(ball(DOSE_GRID, radius), DOSE_GRID).sample(
        np.full(DOSE_GRID.shape, 50.0, np.float32)
    )
    assert result.min_gy == pytest.approx(50, abs=1e-4)
    assert result.max_gy == pytest.approx(50, abs=1e-4)


def test_dose_scales_and_adds():
    sampler = StructureSampler(ball(DOSE_GRID, 9.0), DOSE_GRID)
    one, other = (dose_image(DOSE_GRID, g) for g in ("x", "z"))
    assert sampler.sample(3 * one).mean_gy == pytest.approx(3 * sampler.sample(one).mean_gy)
    assert sampler.sample(one + other).mean_gy == pytest.approx(
        sampler.sample(one).mean_gy + sampler.sample(other).mean_gy, rel=1e-5
    )
    flat = sampler.sample(one.reshape(-1))
    np.testing.assert_array_equal(flat.dose_gy, sampler.sample(one).dose_gy)


@pytest.mark.parametrize("size", [5, 40])
def test_masks_on_the_dose_grid_are_their_voxels(size):
    grid = Grid((40, 40, 40), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    mask = np.zeros(grid.shape, bool)
    mask[:size, :size, :size] = True
    dose = np.random.default_rng(0).uniform(0, 60, grid.shape).astype(np.float32)
    occupancy = Occupancy.from_array(grid, mask)
    for dose_grid, values in (  # the second holds the same voxels and fewer others
        (grid, dose),
        (grid.cropped((0, 0, 0), (size, size, size)), dose[:size, :size, :size]),
    ):
        result = StructureSampler(occupancy, dose_grid).sample(values)
        np.testing.assert_allclose(result.dose_gy, np.sort(dose[mask])[::-1], rtol=1e-6)


def test_large_structures_on_the_dose_grid_keep_their_hottest_voxel():
    grid = Grid((40, 40, 40), (3.0, 3.0, 3.0), (-58.5, -58.5, -58.5))
    dose = np.random.default_rng(0).uniform(0, 60, grid.shape).astype(np.float32)
    dose[20, 20, 20] = 77.0
    assert StructureSampler(ball(grid, 68.0), grid).sample(dose).max_gy == 77.0


def test_large_fine_structures_are_averaged_onto_the_dose_grid():
    fine = Grid((100, 100, 100), (0.5, 0.5, 0.5), (-24.75, -24.75, -24.75))
    occupancy = ball(fine, 22.0)
    sampler = StructureSampler(occupancy, DOSE_GRID)
    assert sampler.sample_count < 100_000
    result = sampler.sample(dose_image(DOSE_GRID, "oblique"))
    assert result.volume_cc == pytest.approx(occupancy.volume_cc, rel=1e-5)
    assert result.mean_gy == pytest.approx(60, abs=0.02)


def test_what_lies_outside_the_dose_grid_counts_as_zero_and_is_told():
    grid = Grid((20, 20, 20), (2.0, 2.0, 2.0), (-19.0, -19.0, -19.0))
    occupancy = ball(grid, 10.0)
    upper = Grid((20, 20, 20), (2.0, 2.0, 2.0), (-19.0, -19.0, 1.0))  # starts at z = 0
    result = StructureSampler(occupancy, upper).sample(np.full(upper.shape, 30.0, np.float32))
    assert result.uncovered_fraction == pytest.approx(0.5, abs=0.01)
    assert result.volume_cc == pytest.approx(occupancy.volume_cc, rel=1e-5)
    assert result.mean_gy == pytest.approx(15.0, abs=0.3)
    assert result.min_gy == 0
    far = Grid((5, 5, 5), (2.0, 2.0, 2.0), (500.0, 0.0, 0.0))
    nowhere = StructureSampler(occupancy, far)
    assert nowhere.uncovered_fraction == 1
    assert nowhere.sample(np.full(far.shape, 30.0, np.float32)).max_gy == 0


def test_half_a_voxel_beyond_the_outer_centres_is_inside():
    grid = Grid((6, 6, 6), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    sampler = StructureSampler(Occupancy.from_array(grid, np.ones(grid.shape)), grid)
    assert sampler.uncovered_fraction == 0


def test_a_grid_of_one_slice_works():
    grid = Grid((1, 8, 8), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    sampler = StructureSampler(Occupancy.from_array(grid, np.ones(grid.shape)), grid)
    assert sampler.sample(np.full(grid.shape, 2.0, np.float32)).mean_gy == pytest.approx(2)


def test_samples_are_the_same_every_time():
    dose = dose_image(DOSE_GRID, "oblique")
    first, second = (
        StructureSampler(ball(DOSE_GRID, 8.0), DOSE_GRID).sample(dose).dose_gy for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("value", "message"), [(np.nan, "not numbers"), (-1.0, "negative")])
def test_hostile_doses_are_refused(value, message):
    dose = np.full(DOSE_GRID.shape, value, np.float32)
    with pytest.raises(InputError, match=message):
        StructureSampler(ball(DOSE_GRID, 8.0), DOSE_GRID).sample(dose)


def test_empty_structures_and_wrong_grids_are_refused():
    empty = Occupancy.from_array(DOSE_GRID, np.zeros(DOSE_GRID.shape))
    with pytest.raises(InputError, match="empty"):
        StructureSampler(empty, DOSE_GRID)
    with pytest.raises(InputError, match="shape"):
        StructureSampler(ball(DOSE_GRID, 8.0), DOSE_GRID).sample(np.zeros((3, 3, 3)))
    with pytest.raises(InputError, match="shape"):
        StructureSampler(ball(DOSE_GRID, 8.0), DOSE_GRID).sample(
            np.zeros(DOSE_GRID.shape[::-1], np.float32)
        )
