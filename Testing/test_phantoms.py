"""Digital phantoms: shapes against analytic volumes, and anatomy as a planner expects it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from radplan.binding import resolve
from radplan.case import Case, StructureType
from radplan.errors import InputError
from radplan.geometry import Grid
from radplan.io.phantoms import PHANTOMS, make_phantom
from radplan.io.phantoms.canvas import AIR_HU, Canvas, rasterize
from radplan.io.phantoms.shapes import Margin, ellipsoid, half_space, tube, with_margin
from radplan.naming import map_name
from radplan.protocol_file import load_protocol

#: Volumes in cc: lowest and highest that a planner would take for granted.
VOLUMES_CC = {
    "prostate": {
        "External": (9000, 18000),
        "CTV": (50, 60),
        "PTV": (115, 160),
        "Bladder": (180, 250),
        "Rectum": (60, 90),
        "Femur_Head_L": (50, 60),
        "Femur_Head_R": (50, 60),
        "PenileBulb": (4, 6),
        "Colon_Sigmoid": (30, 80),
        "Bag_Bowel": (300, 900),
    },
    "rectum": {
        "External": (9000, 18000),
        "GTV": (30, 60),
        "CTV_High": (70, 130),
        "CTV_Low": (400, 650),
        "PTV_High": (150, 260),
        "PTV_Low": (900, 1300),
        "Bladder": (180, 260),
        "Bowel_Small": (300, 600),
        "Bag_Bowel": (500, 900),
        "Colon_Sigmoid": (40, 100),
        "Femur_Head_L": (50, 60),
        "Femur_Head_R": (50, 60),
    },
    "head-neck": {
        "External": (4500, 8000),
        "GTV": (20, 40),
        "CTV_7000": (50, 90),
        "PTV_7000": (100, 160),
        "PTV_5600": (200, 350),
        "PTV_5200": (70, 160),
        "SpinalCord": (15, 25),
        "SpinalCord_PRV05": (50, 90),
        "Brainstem": (25, 30),
        "Brainstem_PRV05": (50, 75),
        "Parotid_L": (25, 35),
        "Parotid_R": (25, 35),
        "Glnd_Submand_L": (7, 10),
        "Glnd_Submand_R": (7, 10),
        "Bone_Mandible": (60, 80),
        "Larynx": (20, 40),
        "Larynx_SG": (10, 20),
        "Pharynx": (15, 35),
        "Cavity_Oral": (70, 110),
        "Esophagus_S": (10, 15),
        "Lips": (5, 15),
        "Glnd_Thyroid": (10, 25),
        "Brain": (600, 1300),
    },
}
#: Overlap of a target with an organ, cc: what makes the trade-off, and where it must stay small.
OVERLAPS_CC = {
    "prostate": [("PTV", "Rectum", 0.5, 3), ("PTV", "Bladder", 2, 8)],
    "rectum": [
        ("PTV_Low", "Bladder", 2, 20),
        ("PTV_Low", "Bowel_Small", 5, 40),
        ("PTV_Low", "Bag_Bowel", 15, 80),
        ("PTV_Low", "Femur_Head_L", 0, 0),
        ("PTV_High", "Bowel_Small", 0, 0),
    ],
    "head-neck": [
        ("PTV_7000", "Parotid_L", 0.5, 5),
        ("PTV_7000", "Parotid_R", 0, 0),
        ("PTV_5600", "Parotid_L", 3, 12),
        ("PTV_5600", "Parotid_R", 2, 8),
        ("PTV_7000", "Glnd_Submand_L", 1, 8),
        ("PTV_5600", "Larynx", 0.3, 6),
        ("PTV_7000", "Cavity_Oral", 5, 30),
        ("PTV_7000", "SpinalCord_PRV05", 0, 0),
        ("PTV_5600", "SpinalCord_PRV05", 0, 0),
        ("PTV_5600", "Brainstem_PRV05", 0, 0),
        ("PTV_7000", "PTV_5600", 0, 3),
        ("PTV_5600", "PTV_5200", 0, 3),
    ],
}
#: Mean HU of the middle of organs.
ORGAN_HU = {
    "prostate": {"CTV": (25, 50), "Bladder": (0, 20), "PenileBulb": (35, 60)},
    "rectum": {"Bladder": (0, 20), "Colon_Sigmoid": (-300, 60)},
    "head-neck": {
        "Brain": (25, 45),
        "Brainstem": (25, 45),
        "SpinalCord": (25, 50),
        "Parotid_L": (-40, 10),
        "Glnd_Submand_R": (15, 60),
        "Glnd_Thyroid": (90, 130),
        "Bone_Mandible": (200, 1300),
    },
}
PROTOCOLS = {
    "prostate": ("prostate_60_20", "prostate_70.2_26"),
    "rectum": ("rectum_50.4_28", "rectum_25_5", "rectum_sib_50_55_25"),
    "head-neck": ("hn_70_56_52",),
}


@pytest.fixture(scope="module", params=sorted(PHANTOMS))
def phantom(request: pytest.FixtureRequest) -> tuple[str, Case]:
    return request.param, make_phantom(request.param)


def overlap_cc(case: Case, first: str, second: str) -> float:
    a, b = (case.structure(n).occupancy.array() for n in (first, second))
    # Two parts of one voxel that add up to less than the whole need not overlap.
    return float(np.clip(a + b - 1, 0, 1).sum() * case.grid.voxel_volume_cc)


def depth_mm(case: Case) -> np.ndarray:
    """Distance of every voxel of the body from the nearest voxel outside it."""
    inside = case.external.occupancy.array() > 0.5
    # What is beyond the ends of the scan is body, not air.
    padded = np.pad(inside, ((20, 20), (1, 1), (1, 1)), mode="edge")
    padded[:, [0, -1]] = padded[:, :, [0, -1]] = False
    spacing = case.grid.spacing_mm[::-1]
    return ndimage.distance_transform_edt(padded, sampling=spacing)[20:-20, 1:-1, 1:-1]


# Shapes


def test_partial_volumes_of_an_ellipsoid_are_exact() -> None:
    grid = Grid((30, 41, 41), (2.0, 2.0, 2.5), (-40.3, -39.8, -36.1))
    shape = ellipsoid((1.2, -0.7, 0.4), (24, 15, 19), yaw_deg=25, pitch_deg=10)
    occupancy = rasterize(shape, grid)
    exact_cc = 4 / 3 * np.pi * 24 * 15 * 19 / 1000
    assert occupancy.volume_cc == pytest.approx(exact_cc, rel=2e-3)
    assert occupancy.centroid_mm == pytest.approx((1.2, -0.7, 0.4), abs=0.03)
    assert ((occupancy.values > 0.05) & (occupancy.values < 0.95)).any()


def test_partial_volumes_across_a_plane() -> None:
    grid = Grid((4, 4, 8), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    filled = rasterize(half_space((6.5, 0, 0), (1, 0, 0)), grid).array()
    # Voxel 3 spans 5 … 7 mm: three quarters lie below the plane.
    assert filled[1, 1] == pytest.approx([1, 1, 1, 0.75, 0, 0, 0, 0], abs=0.01)


def test_tube_is_a_rounded_cylinder() -> None:
    grid = Grid((60, 40, 40), (1.5, 1.5, 1.5), (-29.25, -29.25, -44.25))
    straight = tube([(0, 0, -25), (0, 0, 0), (0, 0, 25)], 9.0)
    exact_cc = (np.pi * 81 * 50 + 4 / 3 * np.pi * 9**3) / 1000
    assert rasterize(straight, grid).volume_cc == pytest.approx(exact_cc, rel=5e-3)


def test_margin_is_three_dimensional() -> None:
    grid = Grid((50, 50, 50), (2.0, 2.0, 2.0), (-49.0, -49.0, -49.0))
    ball = ellipsoid((0, 0, 0), (20, 20, 20))
    grown = rasterize(with_margin(ball, Margin.of(7.0)), grid)
    assert grown.volume_cc == pytest.approx(4 / 3 * np.pi * 27**3 / 1000, rel=0.025)
    uneven = rasterize(with_margin(ball, Margin(6, 6, 7, 3, 9, 5)), grid).array()
    z, y, x = grid.axes_mm
    step = 2.0
    along_y = uneven[25, :, 25].sum() * step
    along_z = uneven[:, 25, 25].sum() * step
    along_x = uneven[25, 25, :].sum() * step
    assert (along_x, along_y, along_z) == pytest.approx((52, 50, 54), abs=1.2)
    # The side of y > 0 is posterior: 3 mm there, 7 mm in front.
    assert y[uneven[25, :, 25] > 0.5].max() == pytest.approx(23, abs=2.1)
    assert y[uneven[25, :, 25] > 0.5].min() == pytest.approx(-27, abs=2.1)
    assert z[uneven[:, 25, 25] > 0.5].max() == pytest.approx(29, abs=2.1)


def test_paint_mixes_tissues_by_their_share_of_a_voxel() -> None:
    grid = Grid((10, 20, 20), (2.0, 2.0, 2.0), (-19.0, -19.0, -9.0))
    canvas = Canvas(grid, half_space((10.5, 0, 0), (1, 0, 0)))
    canvas.paint(canvas.body, 0.0)
    canvas.paint(half_space((0.5, 0, 0), (1, 0, 0)), 100.0)
    row = canvas.hu[5, 10]
    assert row[9] == pytest.approx(100, abs=0.1)
    assert row[10] == pytest.approx(25, abs=2)
    assert row[12] == pytest.approx(0, abs=0.1)
    # Voxel 15 spans 10 … 12 mm: a quarter is body, the rest air.
    assert row[15] == pytest.approx(0.75 * AIR_HU, abs=10)
    assert row[17] == AIR_HU


# Anatomy


def test_unknown_name_lists_those_that_exist() -> None:
    with pytest.raises(InputError, match="prostate"):
        make_phantom("knee")


def test_same_process_shares_one_case_that_nobody_can_change(phantom: tuple[str, Case]) -> None:
    name, case = phantom
    assert make_phantom(name) is case
    with pytest.raises(ValueError, match="read-only"):
        case.ct_hu[0, 0, 0] = 0
    with pytest.raises(ValueError, match="read-only"):
        case.structures[-1].occupancy.values[0, 0, 0] = 0


@pytest.mark.slow
def test_building_again_gives_the_same_case() -> None:
    first, again = make_phantom("prostate"), PHANTOMS["prostate"]()
    assert first is not again
    assert np.array_equal(first.ct_hu, again.ct_hu)
    for a, b in zip(first.structures, again.structures, strict=True):
        assert a.name == b.name
        assert np.array_equal(a.occupancy.values, b.occupancy.values)


def test_volumes(phantom: tuple[str, Case]) -> None:
    name, case = phantom
    expected = VOLUMES_CC[name]
    assert set(case.names) == set(expected)
    wrong = {
        s.name: round(s.volume_cc, 1)
        for s in case.structures
        if not expected[s.name][0] <= s.volume_cc <= expected[s.name][1]
    }
    assert not wrong


def test_names_and_types_follow_tg263(phantom: tuple[str, Case]) -> None:
    _, case = phantom
    for structure in case.structures:
        mapped = map_name(structure.name)
        assert (mapped.name, mapped.type) == (structure.name, structure.type)
        assert structure.color is not None


def test_protocols_bind_to_the_phantom_made_for_them(phantom: tuple[str, Case]) -> None:
    name, case = phantom
    for protocol in PROTOCOLS[name]:
        binding = resolve(load_protocol(protocol), case.names)
        assert len(binding.protocol.prescriptions) == len(load_protocol(protocol).prescriptions)
        targets = binding.protocol.targets
        assert all(case.structure(t).type is StructureType.TARGET for t in targets)


def test_left_is_positive_x(phantom: tuple[str, Case]) -> None:
    _, case = phantom
    sided = [s for s in case.structures if s.name.endswith(("_L", "_R"))]
    assert sided
    for structure in sided:
        x = structure.occupancy.centroid_mm[0]
        assert x > 25 if structure.name.endswith("_L") else x < -25


def test_everything_lies_in_the_body_and_targets_below_the_skin(
    phantom: tuple[str, Case],
) -> None:
    _, case = phantom
    body, depth = case.external.occupancy.array(), depth_mm(case)
    for structure in case.structures:
        inside = structure.occupancy.array()
        assert (inside - body).max() < 1e-3, structure.name
        if structure.type is StructureType.TARGET:
            # EDT counts from voxel centres: 4 mm from the skin is at least 3 mm by that count.
            assert depth[inside > 0.5].min() > 3.0, structure.name


def test_body_is_one_piece_within_the_scan(phantom: tuple[str, Case]) -> None:
    _, case = phantom
    body = case.external.occupancy.array() > 0.5
    assert ndimage.label(body)[1] == 1
    assert not body[:, [0, -1]].any()
    assert not body[:, :, [0, -1]].any()
    widths = np.ptp(np.argwhere(body), axis=0) * case.grid.spacing_mm[::-1]
    assert 300 <= widths[2] <= 460
    assert 180 <= widths[1] <= 245


def test_targets_are_one_piece_and_end_inside_the_scan(phantom: tuple[str, Case]) -> None:
    name, case = phantom
    for structure in case.of_type(StructureType.TARGET):
        filled = structure.occupancy.array() > 0.5
        _, count = ndimage.label(filled, np.ones((3, 3, 3)))
        sizes = np.sort(np.bincount(ndimage.label(filled, np.ones((3, 3, 3)))[0].ravel())[1:])
        allowed = 1 if name != "head-neck" else 2
        assert sizes[-allowed:].sum() > 0.97 * filled.sum(), (structure.name, count)
        ends = case.grid.axes_mm[0][np.flatnonzero(filled.any(axis=(1, 2)))[[0, -1]]]
        z = case.grid.axes_mm[0]
        assert ends[0] - z[0] > 15
        assert z[-1] - ends[1] > 15


def test_ctv_lies_in_its_ptv(phantom: tuple[str, Case]) -> None:
    name, case = phantom
    pairs = {
        "prostate": [("CTV", "PTV")],
        "rectum": [("GTV", "CTV_High"), ("CTV_High", "PTV_High"), ("CTV_Low", "PTV_Low")],
        "head-neck": [("GTV", "CTV_7000"), ("CTV_7000", "PTV_7000")],
    }[name]
    for inner, outer in pairs:
        a, b = (case.structure(n).occupancy.array() for n in (inner, outer))
        assert np.clip(a - b, 0, 1).sum() < 0.01 * a.sum(), (inner, outer)


def test_margin_of_the_prostate_is_smaller_at_the_back() -> None:
    case = make_phantom("prostate")
    _, y, x = case.grid.axes_mm
    k = int(round(case.grid.index_of((0, 0, -14))[0]))
    column = int(np.argmin(np.abs(x)))
    edges = []
    for name in ("CTV", "PTV"):
        profile = case.structure(name).occupancy.array()[k, :, column]
        edges.append((y[profile > 0].min(), y[profile > 0].max(), profile.sum() * 2.0))
    assert edges[1][2] - edges[0][2] == pytest.approx(12, abs=1.0)
    assert edges[0][0] - edges[1][0] == pytest.approx(7, abs=1.6)
    assert edges[1][1] - edges[0][1] == pytest.approx(5, abs=1.6)


def test_overlaps_make_the_trade_off(phantom: tuple[str, Case]) -> None:
    name, case = phantom
    for target, organ, lowest, highest in OVERLAPS_CC[name]:
        overlap = overlap_cc(case, target, organ)
        assert lowest <= overlap + 0.02, (target, organ, overlap)
        assert overlap <= highest + 0.02, (target, organ, overlap)


def test_organs_do_not_run_into_each_other_or_bone(phantom: tuple[str, Case]) -> None:
    name, case = phantom
    soft = {
        "prostate": ("Bladder", "Rectum", "CTV", "PenileBulb"),
        "rectum": ("Bladder", "GTV", "Bowel_Small"),
        "head-neck": ("Larynx", "Glnd_Submand_L", "Parotid_R", "Brainstem", "Esophagus_S"),
    }[name]
    for index, first in enumerate(soft):
        for second in soft[index + 1 :]:
            assert overlap_cc(case, first, second) < 0.6, (first, second)
        inside = case.structure(first).occupancy.array() > 0.99
        # The thyroid cartilage is ossified in part.
        if first != "Larynx":
            assert (case.ct_hu[inside] > 400).mean() < 0.01, first


def test_organ_hu(phantom: tuple[str, Case]) -> None:
    name, case = phantom
    for organ, (lowest, highest) in ORGAN_HU[name].items():
        filled = case.structure(organ).occupancy.array() > 0.99
        core = ndimage.binary_erosion(filled, np.ones((1, 3, 3)))
        core = core if core.sum() > 30 else filled
        assert lowest <= np.median(case.ct_hu[core]) <= highest, organ


def test_tissues_are_all_there(phantom: tuple[str, Case]) -> None:
    name, case = phantom
    inside = case.external.occupancy.array() > 0.999
    hu = case.ct_hu[inside]
    assert case.ct_hu[case.external.occupancy.array() == 0].mean() == pytest.approx(-1000, abs=5)

    def share(low: float, high: float) -> float:
        return float(((hu > low) & (hu < high)).mean())

    assert 0.2 < share(-140, -60) < 0.65  # fat
    assert 0.2 < share(20, 80) < 0.6  # muscle and organs
    assert 0.02 < share(130, 3000) < 0.2  # bone
    assert 0.0005 < share(-1100, -700) < 0.08  # gas, airway, lung
    assert hu.max() < 2500
    # Grain: muscle is not flat, and not wild.
    muscle = hu[(hu > 20) & (hu < 80)]
    assert 5 < muscle.std() < 25
    # Subcutaneous fat: 6 to 10 mm below the skin.
    depth = depth_mm(case)
    below_skin = case.ct_hu[(depth > 6) & (depth < 10)]
    assert -115 < np.median(below_skin) < -85 or name == "head-neck"


def test_spinal_cord_runs_in_the_canal() -> None:
    case = make_phantom("head-neck")
    cord = case.structure("SpinalCord").occupancy.array() > 0.99
    assert (case.ct_hu[cord] > 150).mean() < 0.01
    ring = ndimage.binary_dilation(cord, np.ones((1, 3, 3)), iterations=6) & ~cord
    assert (case.ct_hu[ring] > 200).mean() > 0.15
    stem = case.structure("Brainstem").occupancy
    assert stem.centroid_mm[2] > case.structure("SpinalCord").occupancy.centroid_mm[2] + 60
    assert overlap_cc(case, "SpinalCord", "Brainstem") == pytest.approx(0, abs=0.05)
