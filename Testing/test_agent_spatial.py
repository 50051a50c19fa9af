"""Where the dose is: analytic doses whose hot, cold and spilt parts are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agent_cases import (
    GRID,
    HOSTILE,
    RX_GY,
    TARGET_RADIUS_MM,
    ball,
    ball_case,
    ball_protocol,
    box,
    structure,
    uniform_dose,
)
from radplan.agent.borders import Border
from radplan.agent.directions import DIRECTIONS
from radplan.agent.spatial import spatial_facts
from radplan.agent.tokens import StructureTokens
from radplan.case import DoseImage, StructureType
from radplan.errors import InputError
from radplan.geometry import Grid, average_onto
from radplan.protocol import Prescription
from test_agent_facts import assert_safe

CASE, PROTOCOL = ball_case(), ball_protocol()
TOKENS = StructureTokens.of(CASE, PROTOCOL)
VOXEL_CC = GRID.voxel_volume_cc
#: A unit step (x, y, z) of every direction word.
STEP = {
    "left": (1, 0, 0), "right": (-1, 0, 0), "posterior": (0, 1, 0), "anterior": (0, -1, 0),
    "superior": (0, 0, 1), "inferior": (0, 0, -1),
}  # fmt: skip


def painted(*regions: tuple[np.ndarray, float], base: DoseImage | None = None) -> DoseImage:
    """A dose with other values in some regions."""
    dose = (base or uniform_dose(RX_GY, 10.0)).dose_gy.copy()
    for mask, gy in regions:
        dose[mask] = gy
    return DoseImage(GRID, dose)


def facts_of(dose: DoseImage, case=CASE, protocol=PROTOCOL):
    return spatial_facts(case, dose, protocol)


def test_a_uniform_dose_has_no_spots_and_no_spill() -> None:
    facts = facts_of(uniform_dose(RX_GY, 0.0))
    assert facts.hot_spots == () and facts.cold_spots == ()
    assert facts.maximum_gy == RX_GY and facts.maximum_in == ("PTV_6000",)
    assert [s.percent for s in facts.spills] == [95.0, 50.0]
    for spill in facts.spills:
        assert (spill.outside_cc, spill.reach_mm, spill.reach_point_mm) == (0.0, 0.0, None)
        assert (spill.ratio, spill.conformity) == (pytest.approx(1.0), pytest.approx(1.0))
        assert spill.by_direction == () and spill.covered == ()
    text = " ".join(facts.sentences(TOKENS))
    for words in ("No hot spot above 107 %", "No hot spot above 110 %", "No cold spot below 95 %"):
        assert words in text


@pytest.mark.parametrize("word", DIRECTIONS)
def test_a_hot_ball_in_the_target(word: str) -> None:
    center = tuple(10.0 * c for c in STEP[word])
    mask = ball(center, 6.0)
    facts = facts_of(painted((mask, 66.6)))  # 111 %
    for level in (107.0, 110.0):
        (spot,) = facts.hot_spots_above(level)
        assert spot.volume_cc == pytest.approx(mask.sum() * VOXEL_CC)
        assert (spot.peak_gy, spot.peak_percent) == pytest.approx((66.6, 111.0), rel=1e-5)
        assert spot.center_mm == pytest.approx(center, abs=1e-6)
        assert spot.offset_mm == pytest.approx(center, abs=1e-6)
        assert (spot.direction, spot.target, spot.distance_mm) == ((word,), "PTV_6000", 0.0)
        assert spot.is_in_target and spot.in_targets_percent == pytest.approx(100)
        assert [s.structure for s in spot.inside] == ["PTV_6000"]
        assert spot.inside[0].percent == pytest.approx(
            100 * mask.sum() / ball((0, 0, 0), TARGET_RADIUS_MM).sum()
        )
    assert facts.maximum_percent == pytest.approx(111.0, rel=1e-5)
    assert f"{word} of its centre (10 mm {word})" in facts.hot_spots[0].sentence(TOKENS)


@pytest.mark.parametrize("word", DIRECTIONS)
def test_turning_the_dose_turns_the_words(word: str) -> None:
    """The same hot ball, moved by flips and rotations of the array alone."""
    dose = painted((ball((10.0, 0, 0), 6.0), 66.6)).dose_gy  # left
    turns = {
        "left": lambda d: d,
        "right": lambda d: d[:, :, ::-1],
        "posterior": lambda d: d.transpose(0, 2, 1),
        "anterior": lambda d: d.transpose(0, 2, 1)[:, ::-1, :],
        "superior": lambda d: d.transpose(2, 1, 0)[10:60, :, :],
        "inferior": lambda d: d.transpose(2, 1, 0)[59:9:-1, :, :],
    }
    turned = np.zeros(GRID.shape, np.float32)
    part = turns[word](np.pad(dose, ((10, 10), (0, 0), (0, 0))))
    part = part if part.shape == GRID.shape else part[10:60]
    turned[...] = part
    (spot,) = facts_of(DoseImage(GRID, turned)).hot_spots_above(110.0)
    assert spot.direction == (word,)


def test_a_hot_ball_between_target_and_organ() -> None:
    mask = box((24.0, -4, -4), (30.0, 4, 4))  # from 4 mm off the target into Parotid_L
    facts = facts_of(painted((mask, 65.0)))  # 108.3 %
    (spot,) = facts.hot_spots
    assert spot.level_percent == 107.0
    assert not spot.is_in_target and spot.in_targets_percent == 0
    assert (spot.target, spot.direction) == ("PTV_6000", ("left",))
    assert spot.distance_mm == pytest.approx(4.0, abs=2.0)
    assert (spot.organ, spot.organ_distance_mm) == ("Parotid_L", 0.0)
    (share,) = spot.inside
    assert share.structure == "Parotid_L"
    parotid = CASE.structure("Parotid_L").occupancy.mask()
    assert share.volume_cc == pytest.approx((mask & parotid).sum() * VOXEL_CC)
    sentence = spot.sentence(TOKENS)
    assert "outside the targets" in sentence and "touches Parotid_L" in sentence


def test_the_nearest_organ_of_a_spot_and_how_far_it_is() -> None:
    facts = facts_of(painted((ball((0, -14.0, 0), 4.0), 65.0)))
    (spot,) = facts.hot_spots
    assert spot.organ == HOSTILE
    # From the ball's border at y = -18 to the organ's first voxel at y = -33, less a voxel.
    assert spot.organ_distance_mm == pytest.approx(14.0, abs=2.0)
    assert "nearest organ OAR_1" in spot.sentence(TOKENS)


def test_spots_are_apart_sorted_and_not_too_small() -> None:
    few, enough = np.zeros(GRID.shape, bool), np.zeros(GRID.shape, bool)
    few[25, 35, 35:38] = True  # 0.024 cc
    diagonal = np.arange(3)
    enough[25 + diagonal, 28 + diagonal, 35 + diagonal] = True  # touch by corners
    enough[28, 31, 38] = True  # 0.032 cc
    large = ball((-10.0, 0, 0), 4.0)
    facts = facts_of(painted((few, 65.0), (enough, 65.0), (large, 65.0)))
    assert [round(s.volume_cc / VOXEL_CC) for s in facts.hot_spots] == [large.sum(), 4]


def test_a_cold_corner() -> None:
    target = ball((0, 0, 0), TARGET_RADIUS_MM)
    corner = target & box((6, -70, 6), (70, 70, 70))
    facts = facts_of(painted((corner, 50.0)))
    (spot,) = [s for s in facts.cold_spots if s.target == "PTV_6000"]
    assert spot.volume_cc == pytest.approx(corner.sum() * VOXEL_CC)
    assert spot.target_percent == pytest.approx(100 * corner.sum() / target.sum())
    assert (spot.lowest_gy, spot.lowest_percent) == pytest.approx((50.0, 100 * 50 / 60))
    assert set(spot.direction) == {"left", "superior"}
    assert spot.organ == "Parotid_L"
    assert spot.skin_mm is None
    assert facts.hot_spots == ()
    assert facts_of(painted((corner, 57.5))).cold_spots == ()  # 95.8 %


def test_a_cold_spot_under_the_skin() -> None:
    case = ball_case(center_mm=(0.0, 44.0, 0.0))  # its back touches the body's
    dose = np.where(ball((0.0, 44.0, 0.0), TARGET_RADIUS_MM), RX_GY, 10.0)
    dose[box((-70, 59, -70), (70, 70, 70)) & (dose > 50)] = 40.0
    (spot,) = facts_of(DoseImage(GRID, dose.astype(np.float32)), case).cold_spots
    assert spot.direction == ("posterior",)
    assert spot.skin_mm == pytest.approx(1.0, abs=1.0)
    assert "under the skin" in spot.sentence(TOKENS)


def test_spill_in_one_direction() -> None:
    tongue = box((20, -6, -6), (34.0, 6, 6))  # 40 Gy, 67 %, into Parotid_L
    outside = tongue & ~ball((0, 0, 0), TARGET_RADIUS_MM)
    facts = facts_of(painted((outside, 40.0)))
    conformity, falloff = facts.spills
    assert conformity.outside_cc == 0
    assert falloff.outside_cc == pytest.approx(outside.sum() * VOXEL_CC)
    assert falloff.ratio == pytest.approx(
        1 + outside.sum() / ball((0, 0, 0), TARGET_RADIUS_MM).sum()
    )
    assert falloff.reach_direction == ("left",)
    assert falloff.reach_mm == pytest.approx(14.0, abs=2.5)
    assert falloff.reach_point_mm[0] == pytest.approx(33.0)
    assert (falloff.reach_organ, falloff.reach_organ_distance_mm) == ("Parotid_L", 0.0)
    assert falloff.by_direction[0][0] == "left" and falloff.by_direction[0][1] > 95
    parotid = CASE.structure("Parotid_L").occupancy.mask()
    assert falloff.covered[0].structure == "Parotid_L"
    assert falloff.covered[0].percent == pytest.approx(
        100 * (outside & parotid).sum() / parotid.sum()
    )
    assert "there inside Parotid_L" in falloff.sentence(TOKENS)
    assert "; outside, it covers" in falloff.sentence(TOKENS)


def test_conformity_is_that_of_the_definition() -> None:
    larger = ball((0, 0, 0), 26.0)
    target = ball((0, 0, 0), TARGET_RADIUS_MM)
    spill = facts_of(painted((larger, RX_GY))).spills[0]
    assert spill.conformity == pytest.approx(target.sum() / larger.sum())
    assert spill.reach_mm == pytest.approx(6.0, abs=2.0)
    assert sum(share for _, share in spill.by_direction) == pytest.approx(100)
    assert [share for _, share in spill.by_direction] == pytest.approx([100 / 6] * 6, abs=3)


def test_a_lower_target_is_held_to_its_own_prescription() -> None:
    low = box((-60, -10, -10), (-26, 10, 10))
    case = CASE.with_structures(
        (*CASE.structures, structure("PTV_5000", StructureType.TARGET, low))
    )
    protocol = replace(
        PROTOCOL, prescriptions=(*PROTOCOL.prescriptions, Prescription("PTV_5000", 50.0))
    )
    cold = low & box((-70, -70, -70), (-50, 70, 70))
    facts = facts_of(painted((low, 50.0), (cold, 45.0)), case, protocol)
    assert facts.target == "PTV_6000"
    (spot,) = facts.cold_spots
    assert (spot.target, spot.direction, spot.level_gy) == ("PTV_5000", ("right",), 47.5)
    assert [(s.prescription_gy, s.targets) for s in facts.spills] == [
        (60.0, ("PTV_6000",)), (50.0, ("PTV_6000", "PTV_5000")), (60.0, ("PTV_6000", "PTV_5000")),
    ]  # fmt: skip
    hot = facts_of(painted((low, 58.0)), case, protocol).spills[0]
    assert [(s.structure, round(s.percent)) for s in hot.covered] == [("PTV_5000", 100)]


def test_a_lower_target_is_hot_by_its_own_prescription_away_from_higher_ones() -> None:
    low = box((-60, -10, -10), (-22, 10, 10))  # begins next to the higher target
    case = CASE.with_structures(
        (*CASE.structures, structure("PTV_5000", StructureType.TARGET, low))
    )
    protocol = replace(
        PROTOCOL, prescriptions=(*PROTOCOL.prescriptions, Prescription("PTV_5000", 50.0))
    )
    gradient = ball((0, 0, 0), 23.5)  # what higher dose spills next to its target
    island = box((-53, -3, -3), (-47, 3, 3))
    facts = facts_of(painted((low, 50.0), (low & gradient, 58.0), (island, 55.0)), case, protocol)
    ((target, (spot,)),) = facts.lower_hot_spots
    assert (target, spot.target) == ("PTV_5000", "PTV_5000")
    assert spot.volume_cc == pytest.approx(island.sum() * VOXEL_CC)
    assert (spot.level_gy, spot.peak_percent) == pytest.approx((53.5, 110.0))
    assert facts.hot_spots == ()
    text = "\n".join(facts.sentences(StructureTokens.of(case, protocol)))
    assert "Hot spot above 107 % of 50 Gy (53.5 Gy)" in text
    calm = facts_of(painted((low, 50.0), (low & gradient, 58.0)), case, protocol)
    assert calm.lower_hot_spots == (("PTV_5000", ()),)
    text = "\n".join(calm.sentences(StructureTokens.of(case, protocol)))
    assert "No hot spot by its own prescription in PTV_5000" in text
    assert facts_of(uniform_dose()).lower_hot_spots == ()


def test_the_reach_is_that_of_what_hangs_together() -> None:
    larger = ball((0, 0, 0), 26.0)
    entry = box((44, 26, -4), (52, 34, 4))
    spill = facts_of(painted((larger, RX_GY), (entry, 58.0))).spills[0]
    assert spill.reach_mm == pytest.approx(6.0, abs=2.0)
    assert [round(island.peak_gy) for island in spill.islands] == [58]
    assert "left" in spill.directions  # an island's dose is spilt all the same


def test_the_dose_grid_may_be_another() -> None:
    dose = painted((ball((0, 10.0, 0), 6.0), 66.6))
    grid = Grid((36, 40, 40), (3.0, 3.0, 2.5), (-58.0, -57.0, -43.0))
    coarse = DoseImage(grid, average_onto(dose.dose_gy, GRID, grid))
    (spot,) = facts_of(coarse).hot_spots_above(107.0)
    assert spot.center_mm == pytest.approx((0, 10, 0), abs=1.0)
    assert spot.direction == ("posterior",)
    assert spot.volume_cc == pytest.approx(ball((0, 10, 0), 6.0).sum() * VOXEL_CC, rel=0.35)


def test_dose_outside_the_body_is_no_spill() -> None:
    air = ~CASE.external.occupancy.mask()
    assert facts_of(painted((air, 70.0))).hot_spots == ()


def test_a_dose_that_misses_every_target_is_refused() -> None:
    grid = Grid((5, 5, 5), (2.0, 2.0, 2.0), (500.0, 0.0, 0.0))
    with pytest.raises(InputError, match="PTV_6000 lies on the dose grid"):
        facts_of(DoseImage(grid, np.ones(grid.shape, np.float32)))


def test_a_case_without_organs() -> None:
    case = CASE.with_structures((CASE.structures[0], CASE.structures[3]))
    facts = facts_of(painted((ball((0, 10.0, 0), 6.0), 66.6)), case)
    assert facts.hot_spots[0].organ == ""
    assert len(facts.sentences(TOKENS)) == 6


def test_sentences_hold_nothing_from_outside() -> None:
    rng = np.random.default_rng(0)
    noise = rng.uniform(20, 80, GRID.shape).astype(np.float32)
    facts = facts_of(DoseImage(GRID, noise))
    sentences = facts.sentences(TOKENS)
    assert len(sentences) < 25
    for sentence in sentences:
        assert_safe(sentence.replace("…", ""))
        assert len(sentence) < 400


def test_gaps_between_borders() -> None:
    left, right = (
        Border(box((10, 0, 0), (20, 4, 4)), GRID),
        Border(box((-20, 0, 0), (8, 4, 4)), GRID),
    )
    assert left.gap_mm(right) == pytest.approx(0.0, abs=2.0)
    far = Border(box((40, 0, 0), (50, 4, 4)), GRID)
    assert left.gap_mm(far) == pytest.approx(20.0, abs=2.0)
    assert far.gap_mm(left) == left.gap_mm(far)


def test_islands_apart_from_the_targets() -> None:
    entry = box((44, 26, -4), (52, 34, 4))  # at the left and back, 58 Gy
    spill = facts_of(painted((entry, 58.0))).spills[0]
    (island,) = spill.islands
    assert island.volume_cc == pytest.approx(entry.sum() * VOXEL_CC)
    assert island.peak_gy == pytest.approx(58.0)
    assert island.center_mm == pytest.approx((48.0, 30.0, 0.0), abs=1.5)
    assert island.direction == ("left", "posterior")
    assert island.distance_mm == pytest.approx(np.hypot(44, 26) - TARGET_RADIUS_MM, abs=3)
    assert "an island of" in spill.sentence(TOKENS)
    assert facts_of(uniform_dose()).spills[0].islands == ()


def test_the_hottest_island_is_told_wherever_it_is() -> None:
    """A large lukewarm island must not hide a small hot one under the skin."""
    large, small = box((44, 26, -6), (52, 34, 6)), box((-60, -3, -3), (-54, 3, 3))
    facts = facts_of(painted((large, 58.0), (small, 63.0)))
    islands = facts.spills[0].islands
    assert [round(i.peak_gy) for i in islands] == [58, 63]
    assert islands[1].skin_mm is not None and islands[1].skin_mm < 8
    sentence = facts.spills[0].sentence(TOKENS)
    assert "peak 58.0 Gy" in sentence and "the hottest has 63.0 Gy, 34 mm right" in sentence
    assert sentence.endswith("mm under the skin")
    # It is the highest dose of all, too, and its place is told.
    highest = facts.sentences(TOKENS)[0]
    assert "in no structure, 3" in highest and "mm right of the targets, " in highest
    assert facts_of(uniform_dose()).maximum_place is None


def test_small_spots_are_summed_up_with_their_extreme() -> None:
    spots = [(ball((x, 0, 0), 2.0), gy) for x, gy in ((-12, 65.0), (0, 66.5), (12, 65.5))]
    text = "\n".join(facts_of(painted((ball((0, 12, 0), 4.0), 65.2), *spots)).sentences(TOKENS))
    assert text.count("Hot spot above 107 %") == 2 - (spots[0][0].sum() * VOXEL_CC < 0.1)
    assert "… and 3 smaller, " in text and "peak 66.5 Gy" in text


def test_an_isodose_beside_its_target() -> None:
    shifted = ball((8.0, 0, 0), TARGET_RADIUS_MM)
    target = ball((0, 0, 0), TARGET_RADIUS_MM)
    both = (shifted & target).sum()
    dose = np.where(shifted, RX_GY, 0.0).astype(np.float32)
    spill = facts_of(DoseImage(GRID, dose)).spills[0]
    assert spill.outside_cc == pytest.approx((shifted.sum() - both) * VOXEL_CC)
    assert spill.conformity == pytest.approx(both**2 / (target.sum() * shifted.sum()))
    assert spill.conformity < both / shifted.sum()  # what is missed counts as well
