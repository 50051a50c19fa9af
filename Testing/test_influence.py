"""Influence matrices: geometry, physics, absolute scale, cache, cancel and bad input."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from fake_engines import (
    FakeCrashingEngine,
    FakeDarkEngine,
    FakeEngine,
    FakeFullDiskEngine,
    FakeKilledEngine,
    FakePointEngine,
    FakeRefusingEngine,
    FakeSleepingEngine,
    FakeTalkingEngine,
)
from radplan.beams import Beam, make_beams
from radplan.case import Case, Structure, StructureType
from radplan.errors import CancelledError, InputError
from radplan.geometry import Grid, Occupancy
from radplan.influence import (
    cache,
    calibration,
    choose_dose_grid,
    compute,
    estimate_memory,
    influence_matrix,
)
from radplan.influence.calibration import (
    DEPTH_MM,
    dose_per_unit,
    reference_field,
    water_phantom,
)
from radplan.influence.dose_grid import MemoryEstimate
from radplan.influence.engine import AIR_HU, Anatomy, Field, anatomy_on
from radplan.influence.fields import (
    beam_rotation,
    beamlet_positions,
    supine_angles,
    target_points_mm,
)
from radplan.influence.superposition import LateralKernels
from radplan.progress import never, silent

needs_pyradplan = pytest.mark.skipif(
    importlib.util.find_spec("pyRadPlan") is None, reason="pyRadPlan is not installed"
)
CENTER = (0.0, 0.0, 0.0)


def build_case(grid, hu, body, target, position="HFS"):
    return Case(
        "phantom",
        grid,
        hu.astype(np.float32),
        (
            Structure("External", StructureType.EXTERNAL, Occupancy.from_array(grid, body)),
            Structure("PTV", StructureType.TARGET, Occupancy.from_array(grid, target)),
        ),
        position,
    )


def cylinder_case(target_center=CENTER, outside_hu=AIR_HU):
    """Water cylinder along z, radius 70 mm, odd number of voxels: voxel centres at 0."""
    n = 49
    grid = Grid((29, n, n), (3.0, 3.0, 3.0), (-72.0, -72.0, -42.0))
    z, y, x = np.meshgrid(*grid.axes_mm, indexing="ij")
    body = (x**2 + y**2 < 70**2) & (abs(z) < 41)
    a, b, c = target_center
    target = (x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2 < 12**2
    return build_case(grid, np.where(body, 0.0, outside_hu), body, target)


def source_mm(gantry_deg, isocenter, distance=1000.0):
    """Where the source is for a head-first supine patient, from the definition of the angle."""
    g = np.deg2rad(gantry_deg)
    return np.array(isocenter) + distance * np.array([np.sin(g), -np.cos(g), 0.0])


@pytest.fixture(scope="module")
def cylinder():
    return cylinder_case(target_center=(15.0, 0.0, 6.0))


@pytest.fixture(scope="module")
def cylinder_matrix(cylinder, tmp_path_factory):
    beams = make_beams("0,90,180,270,40", (15.0, 0.0, 6.0))
    grid = choose_dose_grid(cylinder)
    folder = tmp_path_factory.mktemp("cylinder")
    return influence_matrix(cylinder, beams, grid, cache_dir=folder)


# --- the matrix of the real engine ----------------------------------------------------------


@needs_pyradplan
def test_matrix_is_compact_sorted_and_without_zeros(cylinder_matrix):
    matrix = cylinder_matrix.matrix
    assert matrix.format == "csr"
    assert matrix.data.dtype == np.float32
    assert matrix.indices.dtype == matrix.indptr.dtype == np.int32
    assert matrix.shape == (cylinder_matrix.grid.size, cylinder_matrix.beamlets.beam.size)
    copy = sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape)
    assert copy.has_canonical_format  # recomputed: sorted, no duplicates
    assert matrix.data.min() > 0
    assert "pyRadPlan" in cylinder_matrix.engine


@needs_pyradplan
def test_no_dose_outside_the_body(cylinder, cylinder_matrix):
    inside = cylinder.external.occupancy.onto(cylinder_matrix.grid).array() > 0
    dose = cylinder_matrix.dose_gy(np.ones(cylinder_matrix.n_beamlets))
    assert not inside.all()
    assert dose[~inside].max() == 0
    assert (dose[inside] > 0).mean() > 0.9


@needs_pyradplan
def test_every_beamlet_is_brightest_on_its_own_ray(cylinder_matrix):
    """A row is where it should be, for every gantry angle; x and z of a beamlet, too."""
    columns = cylinder_matrix.matrix.tocsc()
    grid, beamlets = cylinder_matrix.grid, cylinder_matrix.beamlets
    for j in range(0, cylinder_matrix.n_beamlets, 3):
        beam = cylinder_matrix.beams[beamlets.beam[j]]
        g = np.deg2rad(beam.gantry_angle_deg)
        source = source_mm(beam.gantry_angle_deg, beam.isocenter_mm)
        across = np.array([np.cos(g), np.sin(g), 0.0])
        aim = (
            np.array(beam.isocenter_mm)
            + beamlets.x_mm[j] * across
            + beamlets.z_mm[j] * np.array([0.0, 0.0, 1.0])
        )
        ray = (aim - source) / np.linalg.norm(aim - source)
        column = columns[:, [j]].toarray().ravel()
        index = np.unravel_index(column.argmax(), grid.shape)
        point = np.array([grid.axes_mm[a][index[a]] for a in range(3)])[::-1]
        off = point - source - ((point - source) @ ray) * ray
        # Within a voxel's half diagonal, plus the quarter millimetre by which the engine's
        # kernels are off centre.
        assert np.linalg.norm(off) < np.sqrt(3) * 1.5 + 0.4, (j, beam, off)


@needs_pyradplan
@pytest.mark.parametrize(
    ("gantry", "axis", "sign"), [(0, 1, -1), (90, 2, 1), (180, 1, 1), (270, 2, -1)]
)
def test_beams_enter_from_the_right_side(cylinder_matrix, gantry, axis, sign):
    """Gantry 0 enters a supine patient from the front, 90 from the patient's left (LPS +x)."""
    index = [b.gantry_angle_deg for b in cylinder_matrix.beams].index(gantry)
    dose = cylinder_matrix.dose_gy(cylinder_matrix.beamlets.beam == index).sum(
        axis=tuple(a for a in range(3) if a != axis)
    )
    coordinate = cylinder_matrix.grid.axes_mm[axis]
    assert dose[sign * coordinate > 20].sum() > 1.2 * dose[sign * coordinate < -20].sum()


@needs_pyradplan
def test_a_round_phantom_gets_the_same_dose_from_every_side(tmp_path):
    case = cylinder_case()
    result = influence_matrix(
        case, make_beams("0,90,180,270", CENTER), case.grid, cache_dir=tmp_path
    )
    doses = [result.dose_gy(result.beamlets.beam == i) for i in range(4)]
    # Central part, where the engine's kernels (off centre by 0.25 mm) matter little.
    core = np.s_[10:19, 14:35, 14:35]
    for turns in (1, 2, 3):
        # A turn of the gantry by +90° moves the source from -y to +x.
        turned = np.rot90(doses[turns], k=turns, axes=(1, 2))
        difference = abs(turned - doses[0])[core]
        assert difference.mean() < 0.01 * doses[0].max()
        assert np.median(turned[core] / doses[0][core]) == pytest.approx(1, abs=0.005)


@needs_pyradplan
def test_reference_field_gives_one_gray_at_ten_centimetres(tmp_path):
    """The definition, by another way: a plan on a 10 × 10 cm² plate 10 cm deep in water."""
    grid = Grid((33, 56, 33), (5.0, 4.0, 5.0), (-80.0, -98.0, -80.0))
    z, y, x = np.meshgrid(*grid.axes_mm, indexing="ij")
    body = np.ones(grid.shape, bool)
    body[[0, -1]] = body[:, :, [0, -1]] = False
    plate = (abs(x) <= 46) & (abs(z) <= 46) & (abs(y) < 4)
    case = build_case(grid, np.where(body, 0.0, AIR_HU), body, plate)
    result = influence_matrix(case, [Beam(0.0, CENTER)], grid, cache_dir=tmp_path)
    x_mm, z_mm = result.beamlets.x_mm, result.beamlets.z_mm
    part = [np.clip((52.5 - abs(p)) / 5.0, 0.0, 1.0) for p in (x_mm, z_mm)]
    assert (part[0] * part[1]).sum() == pytest.approx(400, rel=1e-6)
    axis_dose = result.dose_gy(part[0] * part[1])[16, :, 16]
    depth = grid.axes_mm[1] + 100.0  # the surface is 100 mm above the isocentre
    at = np.interp([100.0, 50.0, 200.0], depth, axis_dose)
    assert at[0] == pytest.approx(1.0, abs=0.005)
    # Depth doses of 6 MV, 10 × 10 cm², SSD 90 cm: about 1.3 at 5 cm and 0.57 at 20 cm.
    assert 1.20 < at[1] < 1.40
    assert 0.52 < at[2] < 0.62
    deep = depth > 30
    assert (np.diff(axis_dose[deep]) < 0).all()


@needs_pyradplan
def test_calibration_does_not_depend_on_the_beamlet_width():
    """Narrow or wide, one unit on every beamlet is the same fluence: doses differ by the
    engine's treatment of beamlet edges only."""
    from radplan.influence.pyradplan_engine import PyRadPlanPencilBeam

    phantom = water_phantom()
    row = int(np.ravel_multi_index([24 + 1, 40, 24 + 1], phantom.grid.shape))
    assert phantom.grid.axes_mm[1][40] == pytest.approx(0)
    surface = phantom.grid.axes_mm[1][phantom.inside.any(axis=(0, 2))][0]
    assert -surface + phantom.grid.spacing_mm[1] / 2 == pytest.approx(DEPTH_MM)
    values = []
    for width in (10.0, 8.0):
        field, weights = reference_field("Generic", width)
        assert weights.sum() * width**2 == pytest.approx(100.0**2)
        matrix = PyRadPlanPencilBeam().influence(phantom, field, lambda fraction: None)
        values.append(float((matrix @ weights)[row]))
    assert values[0] == pytest.approx(values[1], rel=0.02)


@needs_pyradplan
def test_inverse_square_law():
    """The same slab 100 mm farther from the source, nothing but air between."""
    from radplan.influence.pyradplan_engine import PyRadPlanPencilBeam

    doses = []
    for shift in (0, 20):
        grid = Grid((21, 40, 21), (5.0, 5.0, 5.0), (-50.0, -97.5, -50.0))
        inside = np.zeros(grid.shape, bool)
        inside[1:-1, 5 + shift : 15 + shift, 1:-1] = True
        anatomy = Anatomy(grid, np.where(inside, 0, AIR_HU).astype(np.float32), inside)
        field = Field(Beam(0.0, CENTER), np.array([0.0]), np.array([0.0]))
        matrix = PyRadPlanPencilBeam().influence(anatomy, field, lambda fraction: None)
        doses.append(matrix.toarray().reshape(grid.shape)[10, 10 + shift, 10])
    distance = 1000 + grid.axes_mm[1][[10, 30]]
    assert doses[0] / doses[1] == pytest.approx((distance[1] / distance[0]) ** 2, rel=0.01)


# --- pyRadPlan itself as the oracle ----------------------------------------------------------


@pytest.fixture(scope="module")
def pyradplan_inputs(cylinder):
    """CT, structures and plan of the cylinder as pyRadPlan's own chain wants them."""
    pytest.importorskip("pyRadPlan")
    import SimpleITK
    from pyRadPlan.cst import VOI, create_cst
    from pyRadPlan.ct import create_ct
    from pyRadPlan.plan import PhotonPlan

    def image(array):
        result = SimpleITK.GetImageFromArray(array)
        result.SetSpacing(cylinder.grid.spacing_mm)
        result.SetOrigin(cylinder.grid.origin_mm)
        return result

    ct = create_ct(cube_hu=image(cylinder.ct_hu))
    vois = [
        VOI(
            name=s.name,
            voi_type=s.type.value,
            ct_image=ct,
            mask=image(s.occupancy.mask().astype(np.uint8)),
        )
        for s in cylinder.structures
    ]
    plan = PhotonPlan(machine="Generic")
    plan.prop_stf = {
        "gantry_angles": [40.0],
        "couch_angles": [0.0],
        "bixel_width": 5.0,
        "iso_center": [15.0, 0.0, 6.0],
    }
    return ct, create_cst(vois=vois, ct=ct), plan


@pytest.mark.filterwarnings("ignore")
def test_beamlets_and_dose_are_those_of_pyradplan(cylinder, pyradplan_inputs, tmp_path):
    from pyRadPlan import generate_stf
    from pyRadPlan.dose.engines import PhotonPencilBeamSVDEngine

    ct, structures, plan = pyradplan_inputs
    steering = generate_stf(ct, structures, plan)
    theirs = np.array([ray.ray_pos_bev for ray in steering.beams[0].rays])[:, [0, 2]]
    engine = PhotonPencilBeamSVDEngine(plan)
    engine.dose_grid = ct.grid
    weights = np.random.default_rng(1).random(len(theirs)).astype(np.float32)
    image = engine.calc_dose_forward(ct, structures, steering, weights)["physical_dose"]
    import SimpleITK

    expected = SimpleITK.GetArrayFromImage(image)

    beam = Beam(40.0, (15.0, 0.0, 6.0))
    ours = influence_matrix(cylinder, [beam], cylinder.grid, cache_dir=tmp_path)
    positions = np.stack([ours.beamlets.x_mm, ours.beamlets.z_mm], axis=1)
    np.testing.assert_allclose(positions, theirs, atol=1e-4)
    dose = ours.dose_gy(weights)
    scale = dose.max() / expected.max()
    # A voxel at the very edge of a beamlet's cut-off may fall on either side of it.
    np.testing.assert_allclose(dose, expected * scale, atol=1e-3 * dose.max())
    assert abs(dose - expected * scale).sum() < 1e-5 * dose.sum()


def test_superposed_beamlets_equal_those_of_stock_pyradplan(cylinder, monkeypatch):
    pytest.importorskip("pyRadPlan")
    from radplan.influence import pyradplan_engine

    version = pyradplan_engine._installed_version()
    if not version.startswith(pyradplan_engine._SUPERPOSED_VERSIONS):
        pytest.skip(f"pyRadPlan {version} computes its beamlets itself")
    beam = Beam(40.0, (15.0, 0.0, 6.0), couch_angle_deg=20.0)
    points = target_points_mm(cylinder, ["PTV"], beam)
    field = Field(beam, *beamlet_positions(points, beam, 1000.0, "HFS"))
    anatomy = anatomy_on(cylinder, cylinder.grid)
    engine = pyradplan_engine.PyRadPlanPencilBeam()
    ours = engine.influence(anatomy, field, lambda fraction: None).tocsr()
    monkeypatch.setattr(pyradplan_engine, "_SUPERPOSED_VERSIONS", ("none",))
    stock = engine.influence(anatomy, field, lambda fraction: None).tocsr()
    assert abs(ours.nnz - stock.nnz) <= 5  # at the very edge of the cut-off
    difference = abs(ours - stock)
    assert difference.max() < 1e-3 * stock.max()
    assert difference.sum() < 3e-6 * stock.sum()


@needs_pyradplan
def test_a_coarse_dose_grid_keeps_its_place(cylinder, cylinder_matrix, tmp_path):
    """pyRadPlan's own resampled grids start elsewhere; ours must not."""
    coarse = choose_dose_grid(cylinder, 6.0)
    beams = cylinder_matrix.beams[4:]
    result = influence_matrix(cylinder, beams, coarse, cache_dir=tmp_path)
    selected = cylinder_matrix.beamlets.beam == 4
    fine = cylinder_matrix.dose_gy(selected.astype(float))
    dose = result.dose_gy(np.ones(result.n_beamlets))

    def centroid(image, grid):
        image = np.where(image > 0.5 * image.max(), image, 0.0)
        return [
            float(image.sum(axis=tuple(b for b in range(3) if b != a)) @ grid.axes_mm[a])
            / image.sum()
            for a in range(3)
        ]

    np.testing.assert_allclose(
        centroid(dose, coarse), centroid(fine, cylinder_matrix.grid), atol=1.0
    )


# --- what an engine is given -----------------------------------------------------------------


def test_outside_the_body_is_air_and_skin_voxels_average_only_tissue():
    grid = Grid((4, 8, 8), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    body = np.zeros(grid.shape, bool)
    body[:, :, 3:] = True
    hu = np.where(body, 100.0, 3000.0)  # metal outside
    case = build_case(grid, hu, body, body)
    anatomy = anatomy_on(case, grid.coarsened((4.0, 4.0, 4.0)))
    np.testing.assert_allclose(anatomy.hu[:, :, 0], AIR_HU)
    np.testing.assert_allclose(anatomy.hu[:, :, 1], (AIR_HU + 100.0) / 2)
    np.testing.assert_allclose(anatomy.hu[:, :, 2:], 100.0)
    assert anatomy.inside[:, :, 1:].all()
    assert not anatomy.inside[:, :, 0].any()


def test_beyond_the_ct_is_air():
    case = grid_case((2.0, 2.0, 2.0))
    start = [o - 10.0 for o in case.grid.origin_mm]
    anatomy = anatomy_on(case, Grid((50, 60, 70), (2.0, 2.0, 2.0), tuple(start)))
    for axis in range(3):
        np.testing.assert_array_equal(np.take(anatomy.hu, range(5), axis=axis), AIR_HU)
    assert anatomy.hu.max() == 0


@pytest.mark.parametrize(
    ("position", "gantry", "expected"),
    [
        ("HFS", 0, (0, -1, 0)),  # supine: from the front
        ("HFP", 0, (0, 1, 0)),  # prone: from the back
        ("FFS", 0, (0, -1, 0)),
        ("FFP", 0, (0, 1, 0)),
        # Gantry 90 is at a fixed side of the room: the left side of HFS and FFP, else the right.
        ("HFS", 90, (1, 0, 0)),
        ("HFP", 90, (-1, 0, 0)),
        ("FFS", 90, (-1, 0, 0)),
        ("FFP", 90, (1, 0, 0)),
    ],
)
def test_patient_positions(position, gantry, expected):
    rotation = beam_rotation(*supine_angles(gantry, 0.0, position))
    np.testing.assert_allclose(rotation @ [0, -1, 0], expected, atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_turning_the_patient_is_a_rotation_about_a_patient_axis():
    turns = {"HFP": np.diag([-1, -1, 1]), "FFS": np.diag([-1, 1, -1]), "FFP": np.diag([1, -1, -1])}
    for position, turn in turns.items():
        for gantry, couch in ((33.0, 17.0), (200.0, 340.0)):
            np.testing.assert_allclose(
                beam_rotation(*supine_angles(gantry, couch, position)),
                turn @ beam_rotation(gantry, couch),
                atol=1e-12,
            )


def test_unknown_patient_position():
    with pytest.raises(InputError, match="HFDR"):
        supine_angles(0, 0, "HFDR")


def test_beamlets_cover_the_target_with_a_margin(cylinder):
    beam = Beam(90.0, (15.0, 0.0, 6.0))
    points = target_points_mm(cylinder, ["PTV"], beam)
    x, z = beamlet_positions(points, beam, 1000.0, "HFS")
    # Radius 12 mm and a margin of 5 … 6 mm on every side.
    for positions in (x, z):
        assert 15 <= positions.max() <= 20
        assert -20 <= positions.min() <= -15
    np.testing.assert_allclose(x % 5.0, 0.0)


def test_beamlets_narrower_than_ct_voxels_leave_no_holes():
    grid = Grid((9, 9, 9), (7.0, 7.0, 7.0), (-28.0, -28.0, -28.0))
    body = np.ones(grid.shape, bool)
    target = np.zeros(grid.shape, bool)
    target[3:6, 3:6, 3:6] = True
    beam = Beam(0.0, CENTER, bixel_width_mm=3.0)
    points = target_points_mm(build_case(grid, body * 0.0, body, target), ["PTV"], beam)
    x, z = beamlet_positions(points, beam, 1000.0, "HFS")
    across = np.unique(x)
    np.testing.assert_allclose(np.diff(across), 3.0)
    assert x.size == across.size * np.unique(z).size


def test_kernels_are_interpolated_bilinearly():
    axis = np.arange(-4, 5) * 0.5
    a, b = np.meshgrid(axis, axis, indexing="ij")
    values = np.stack([(1 + 2 * a - 3 * b + 0.5 * a * b).ravel(), a.ravel()], axis=1)
    kernels = LateralKernels(axis, values.astype(np.float32))
    x, z = np.random.default_rng(0).uniform(-1.9, 1.9, (2, 100)).astype(np.float32)
    expected = np.stack([1 + 2 * x - 3 * z + 0.5 * x * z, x], axis=1)
    np.testing.assert_allclose(kernels.at(x, z), expected, atol=1e-5)


# --- the dose grid ---------------------------------------------------------------------------


def grid_case(spacing):
    grid = Grid((40, 50, 60), spacing, (-31.7, 12.3, 100.1))
    body = np.zeros(grid.shape, bool)
    body[5:31, 10:41, 7:52] = True
    return build_case(grid, body - 1.0, body, body)


@pytest.mark.parametrize(
    ("ct", "expected"),
    [(1.0, 3.0), (0.9765625, 2.9296875), (1.25, 2.5), (2.0, 3.0), (2.5, 2.5), (3.0, 3.0)]
    + [(1.9, 3.0), (1.1, 3.0), (4.0, 4.0), (5.422, 5.422), (0.5, 3.0)],
)
def test_default_spacing(ct, expected):
    assert choose_dose_grid(grid_case((ct, 3.0, 2.5))).spacing_mm == pytest.approx(
        (expected, 3.0, 2.5)
    )


@pytest.mark.parametrize("spacing", [None, 4.0, 5.3, 1.0])
def test_dose_grid_is_the_box_of_the_body_and_one_voxel(spacing):
    case = grid_case((1.0, 1.25, 3.0))
    grid = choose_dose_grid(case, spacing)
    body = case.external.occupancy.box_grid
    for axis in range(3):
        low, high = body.edges_mm(axis)[[0, -1]]
        edges, width = grid.edges_mm(axis), grid.spacing_mm[2 - axis]
        assert low - edges[0] == pytest.approx(width)
        assert width - 1e-9 <= edges[-1] - high < 2 * width + 1e-9
    total = case.external.occupancy.onto(grid).volume_cc
    assert total == pytest.approx(case.external.volume_cc, rel=1e-5)


def test_dose_voxels_are_made_of_whole_ct_voxels():
    case = grid_case((1.0, 1.25, 2.5))
    grid = choose_dose_grid(case)
    for axis in range(3):
        ct_edges = case.grid.edges_mm(axis)
        steps = (grid.edges_mm(axis) - ct_edges[0]) / case.grid.spacing_mm[2 - axis]
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan"), float("inf")])
def test_senseless_spacing(spacing):
    with pytest.raises(InputError, match="spacing"):
        choose_dose_grid(grid_case((2.0, 2.0, 2.0)), spacing)


@needs_pyradplan
def test_memory_estimate_is_close(cylinder, cylinder_matrix):
    estimate = estimate_memory(cylinder, cylinder_matrix.beams, cylinder_matrix.grid)
    assert estimate.beamlets == cylinder_matrix.n_beamlets
    assert estimate.nonzeros == pytest.approx(cylinder_matrix.matrix.nnz, rel=0.1)
    assert estimate.peak_bytes > estimate.matrix_bytes > 8 * estimate.nonzeros
    assert "GB" in str(estimate)


def test_what_does_not_fit_is_refused_with_advice():
    estimate = MemoryEstimate(1000, 10**9, 8 * 10**9, 9 * 10**9)
    estimate.require(None)
    estimate.require(10**10)
    with pytest.raises(InputError, match=r"9\.0 GB.*only 5\.0 GB.*coarser"):
        estimate.require(5 * 10**9)
    with pytest.raises(InputError, match=r"2\^31.*fewer beams"):
        replace(estimate, nonzeros=2**31).require(None)


# --- joining, cache, processes (no real engine needed) ---------------------------------------


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(compute, "dose_per_unit", lambda *args: 1.0)
    grid = Grid((6, 8, 8), (5.0, 5.0, 5.0), (-17.5, -17.5, -12.5))
    body = np.zeros(grid.shape, bool)
    body[:, 1:-1, 1:-1] = True
    target = np.zeros(grid.shape, bool)
    target[2:4, 3:5, 3:5] = True
    return build_case(grid, np.where(body, 0.0, AIR_HU), body, target)


def compute_small(case, tmp_path, engine=None, beams=None, grid=None, **options):
    options.setdefault("cache_dir", tmp_path / "cache")
    return influence_matrix(
        case,
        beams or make_beams("0,90", CENTER),
        grid or case.grid,
        engine=engine or FakeEngine(),
        **options,
    )


@pytest.mark.parametrize("chunk", [1, 50, 10**6])
def test_merge_columns(monkeypatch, chunk):
    monkeypatch.setattr(compute, "_MERGE_NONZEROS", chunk)
    rng = np.random.default_rng(3)
    blocks = [
        sparse.random_array((40, n), density=0.2, rng=rng, dtype=np.float32).tocsr()
        for n in (3, 1, 7)
    ]
    for block in blocks:
        block.indices, block.indptr = block.indices.astype("i4"), block.indptr.astype("i4")
    merged = compute.merge_columns(blocks, 2.0, lambda fraction: None)
    np.testing.assert_allclose(merged.toarray(), 2 * sparse.hstack(blocks).toarray())
    assert merged.has_sorted_indices
    assert merged.indices.dtype == np.int32


def test_columns_belong_to_their_beams_and_positions(small, tmp_path):
    result = compute_small(small, tmp_path)
    counts = np.bincount(result.beamlets.beam)
    row = int(np.flatnonzero(result.matrix.sum(axis=1))[0])
    column = result.matrix[[row]].toarray().ravel()
    number = np.concatenate([np.arange(1, n + 1) for n in counts])
    np.testing.assert_allclose(column / column[0], number)
    inside = small.external.occupancy.array().ravel() > 0
    np.testing.assert_array_equal(np.diff(result.matrix.indptr) > 0, inside)


def test_second_call_reads_the_stored_matrix(small, tmp_path, monkeypatch):
    first = compute_small(small, tmp_path)

    def forbidden(*args):
        raise AssertionError("computed again")

    monkeypatch.setattr(compute, "compute_beams", forbidden)
    second = compute_small(small, tmp_path)
    assert second.fingerprint == first.fingerprint
    assert (second.matrix != first.matrix).nnz == 0
    assert second.matrix.indices.dtype == np.int32
    # Names of beams and structures do not matter.
    renamed = [replace(beam, name="x") for beam in first.beams]
    assert compute_small(small, tmp_path, beams=renamed).beams[0].name == "x"


class FakeNewerEngine(FakeEngine):
    version = "2"


def _changed(case, name):
    """(case, options) with one input changed."""
    beams = make_beams("0,90", CENTER)
    grid = case.grid
    hu = case.ct_hu.copy()
    hu[3, 4, 4] += 1
    external, target = case.structures
    wider = external.occupancy.array()
    wider[0, 0, 0] = 1
    moved = np.roll(target.occupancy.array(), 1, axis=1)
    return {
        "ct": lambda: (replace(case, ct_hu=hu), {}),
        "external": lambda: (
            case.with_structures(
                (replace(external, occupancy=Occupancy.from_array(grid, wider)), target)
            ),
            {},
        ),
        "target": lambda: (
            case.with_structures(
                (external, replace(target, occupancy=Occupancy.from_array(grid, moved)))
            ),
            {},
        ),
        "position": lambda: (replace(case, patient_position="HFP"), {}),
        "gantry": lambda: (case, {"beams": (beams[0], replace(beams[1], gantry_angle_deg=91.0))}),
        "couch": lambda: (case, {"beams": (beams[0], replace(beams[1], couch_angle_deg=1.0))}),
        "isocenter": lambda: (case, {"beams": make_beams("0,90", (0.0, 0.0, 1.0))}),
        "bixel": lambda: (case, {"beams": make_beams("0,90", CENTER, 6.0)}),
        "machine": lambda: (case, {"beams": make_beams("0,90", CENTER, machine="Other")}),
        "order": lambda: (case, {"beams": beams[::-1]}),
        "grid": lambda: (case, {"grid": grid.cropped((1, 0, 0), grid.shape)}),
        "shift": lambda: (case, {"grid": replace(grid, origin_mm=(-17.5, -17.5, -12.4))}),
        "engine": lambda: (case, {"engine": FakeNewerEngine()}),
    }[name]()


@pytest.mark.parametrize(
    "name",
    ["ct", "external", "target", "position", "gantry", "couch", "isocenter", "bixel"]
    + ["machine", "order", "grid", "shift", "engine"],
)
def test_a_changed_input_never_meets_a_stale_matrix(small, tmp_path, monkeypatch, name):
    keys = []

    def remember(cache_dir, key, shape):
        keys.append(key)
        raise CancelledError

    monkeypatch.setattr(cache, "load", remember)
    changed, options = _changed(small, name)
    for case, extra in ((small, {}), (small, {}), (changed, options)):
        with pytest.raises(CancelledError):
            compute_small(case, tmp_path, **extra)
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("damage", ["flip", "cut", "missing", "junk", "shape"])
def test_a_damaged_matrix_is_noticed_and_computed_again(small, tmp_path, caplog, damage):
    first = compute_small(small, tmp_path)
    folder = tmp_path / "cache" / first.fingerprint
    data = folder / "data.npy"
    if damage == "flip":
        content = bytearray(data.read_bytes())
        content[-2] ^= 1
        data.write_bytes(content)
    elif damage == "cut":
        data.write_bytes(data.read_bytes()[:-5])
    elif damage == "missing":
        (folder / "indptr.npy").unlink()
    elif damage == "junk":
        (folder / "meta.json").write_text("{]")
    else:
        meta = (folder / "meta.json").read_text()
        (folder / "meta.json").write_text(meta.replace('"shape": [384', '"shape": [385'))
        assert (folder / "meta.json").read_text() != meta
    with caplog.at_level(logging.WARNING):
        second = compute_small(small, tmp_path)
    assert "damaged" in caplog.text
    assert (second.matrix != first.matrix).nnz == 0
    caplog.clear()
    compute_small(small, tmp_path)
    assert not caplog.text


def names_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_disk_too_small_is_said_before_anything_is_written(small, tmp_path, monkeypatch):
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10)
    )
    with pytest.raises(InputError, match=r"disk full: .*cache needs .* GB"):
        compute_small(small, tmp_path)
    assert names_in(tmp_path / "cache") == []


def test_disk_that_fills_up_leaves_nothing_behind(small, tmp_path, monkeypatch):
    compute_small(small, tmp_path)
    before = names_in(tmp_path / "cache")
    save = np.save

    def full(path, array):
        if ".partial" in str(path) and "indices" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        save(path, array)

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(InputError, match="disk full"):
        compute_small(small, tmp_path, beams=make_beams("10", CENTER))
    assert names_in(tmp_path / "cache") == before


def test_disk_that_fills_up_in_a_process(small, tmp_path):
    with pytest.raises(InputError, match="disk full"):
        compute_small(small, tmp_path, FakeFullDiskEngine())
    assert names_in(tmp_path / "cache") == []


def test_cache_that_is_a_file(small, tmp_path):
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(InputError, match="cannot write"):
        compute_small(small, tmp_path)


def test_old_leftovers_are_removed(small, tmp_path):
    folder = tmp_path / "cache"
    for name in ("abc.partial", "radplan-beams-x"):
        (folder / name).mkdir(parents=True)
        os.utime(folder / name, (0, 0))
    (folder / "young.partial").mkdir()
    compute_small(small, tmp_path)
    left = names_in(folder)
    assert "young.partial" in left
    assert not {"abc.partial", "radplan-beams-x"} & set(left)


def test_progress_rises_to_one(small, tmp_path):
    seen = []
    compute_small(small, tmp_path, progress=lambda stage, fraction: seen.append((stage, fraction)))
    assert all(0 <= fraction <= 1 for _, fraction in seen)
    beams = [fraction for stage, fraction in seen if "2 beams" in stage]
    assert beams == sorted(beams)
    assert beams[-1] == 1.0
    assert seen[-1][1] == 1.0


def test_cancel_leaves_no_process_and_no_file(small, tmp_path, monkeypatch):
    started = []
    popen = subprocess.Popen

    def remember(*args, **kwargs):
        started.append(popen(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", remember)
    fractions = []
    with pytest.raises(CancelledError):
        compute_small(
            small,
            tmp_path,
            FakeSleepingEngine(),
            processes=2,
            progress=lambda stage, fraction: fractions.append(fraction),
            # Only once both processes are in the middle of their beams.
            cancel_requested=lambda: bool(fractions) and fractions[-1] > 0.2,
        )
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)
    assert names_in(tmp_path / "cache") == []


def test_errors_of_processes(small, tmp_path):
    with pytest.raises(InputError, match="this engine refuses"):
        compute_small(small, tmp_path, FakeRefusingEngine())
    with pytest.raises(RuntimeError, match="a bug in the engine"):
        compute_small(small, tmp_path, FakeCrashingEngine())
    with pytest.raises(InputError, match="memory ran out"):
        compute_small(small, tmp_path, FakeKilledEngine())
    assert names_in(tmp_path / "cache") == []


def calibrate(engine, folder, progress=silent, cancel_requested=never):
    return dose_per_unit(engine, "M", 5.0, folder, progress, cancel_requested)


def test_calibration_is_computed_once_and_kept(tmp_path, monkeypatch):
    value = calibrate(FakePointEngine(), tmp_path)
    assert value == pytest.approx(FakePointEngine.dose * 400)
    (kept,) = names_in(tmp_path)

    def forbidden(*args):
        raise AssertionError("computed again")

    monkeypatch.setattr(calibration, "compute_beams", forbidden)
    assert calibrate(FakePointEngine(), None) == value  # from memory
    monkeypatch.setattr(calibration, "_known", {})
    assert calibrate(FakePointEngine(), tmp_path) == value  # from disk
    monkeypatch.undo()
    monkeypatch.setattr(calibration, "_known", {})
    (tmp_path / kept).write_text('{"key": "another", "dose_per_unit": 7}')
    assert calibrate(FakePointEngine(), tmp_path) == value


def test_engine_that_gives_no_dose_cannot_be_calibrated(tmp_path):
    with pytest.raises(InputError, match="no dose at 10 cm"):
        calibrate(FakeDarkEngine(), tmp_path)


def test_doses_are_divided_by_the_calibration(small, tmp_path, monkeypatch):
    monkeypatch.setattr(compute, "dose_per_unit", lambda *args: 4.0)
    assert compute_small(small, tmp_path).matrix.data.min() == 0.25


def test_nothing_reaches_the_terminal(small, tmp_path, capfd):
    compute_small(small, tmp_path, FakeTalkingEngine())
    out, err = capfd.readouterr()
    assert out == err == ""


@needs_pyradplan
def test_pyradplan_does_not_reach_the_terminal(cylinder, cylinder_matrix, tmp_path, capfd):
    capfd.readouterr()
    influence_matrix(
        cylinder, cylinder_matrix.beams[:1], choose_dose_grid(cylinder, 6.0), cache_dir=tmp_path
    )
    out, err = capfd.readouterr()
    assert out == err == ""


def test_works_without_a_cache(small, tmp_path):
    result = compute_small(small, tmp_path, cache_dir=None)
    assert result.matrix.nnz > 0
    assert names_in(tmp_path) == []


# --- bad input -------------------------------------------------------------------------------


def test_bad_input(small, tmp_path):
    external, target = small.structures
    nothing = Occupancy.from_array(small.grid, np.zeros(small.grid.shape))
    corner = np.zeros(small.grid.shape)
    corner[0, 0, 0] = 1
    away = Occupancy.from_array(small.grid, corner)
    whole = make_beams("0", CENTER)

    def check(match, structures=(external, target), beams=whole, **options):
        with pytest.raises(InputError, match=match):
            influence_matrix(
                small.with_structures(structures),
                beams,
                small.grid,
                engine=FakeEngine(),
                **options,
            )

    check("no beams", beams=())
    check("'PTV' is empty", (external, replace(target, occupancy=nothing)))
    check("'PTV' lies outside the body", (external, replace(target, occupancy=away)))
    check("no TARGET", (external,))
    check("no structure 'GTV'", target_names=["GTV"])
    check("EXTERNAL", (target,))
    check("is empty", (replace(external, occupancy=nothing), target))
    check("finite", beams=(replace(whole[0], gantry_angle_deg=float("nan")),))
    check("1 … 50 mm", beams=(replace(whole[0], bixel_width_mm=0.0),))
    check("one machine", beams=(*whole, replace(whole[0], machine="Other")))
    with pytest.raises(InputError, match="does not meet the body"):
        far = replace(small.grid, origin_mm=(1000.0, 0.0, 0.0))
        influence_matrix(small, whole, far, engine=FakeEngine())


@needs_pyradplan
def test_unknown_machine(small):
    with pytest.raises(InputError, match=r"'Linac7'; it has Generic"):
        influence_matrix(small, make_beams("0", CENTER, machine="Linac7"), small.grid)


def test_missing_pyradplan(small, monkeypatch):
    from importlib import metadata

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(InputError, match=r"pip install 'radplan\["):
        influence_matrix(small, make_beams("0", CENTER), small.grid)
