"""Pictures for a model that can see: right way round, small, and silent about the person."""

from __future__ import annotations

import struct
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from matplotlib.text import Text

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
from radplan.agent.pictures import MOST_BYTES, dose_pictures
from radplan.agent.spatial import spatial_facts
from radplan.agent.tokens import StructureTokens
from radplan.case import DoseImage, StructureType
from radplan.errors import InputError
from radplan.figures import dose_plane_figure
from radplan.figures.section import isodose_color
from radplan.geometry import Grid
from radplan.protocol import Prescription
from test_agent_facts import assert_safe

CASE, PROTOCOL = ball_case(), ball_protocol()
TOKENS = StructureTokens.of(CASE, PROTOCOL)
#: How far a drawn colour may be from the band's own: CT shines through.
COLOR_TOLERANCE = 0.17


def fall_off(hot_mm: tuple | None = None) -> DoseImage:
    """60 Gy in the target, falling by distance from it; 111 % in a small ball."""
    z, y, x = np.meshgrid(*GRID.axes_mm, indexing="ij")
    distance = np.sqrt(x**2 + y**2 + z**2)
    dose = RX_GY * np.exp(-np.maximum(distance - TARGET_RADIUS_MM, 0) / 25)
    if hot_mm is not None:
        dose[ball(hot_mm, 6.0)] = 1.11 * RX_GY
        dose[ball(hot_mm, 2.0)] = 1.12 * RX_GY
    return DoseImage(GRID, dose.astype(np.float32))


def pictures_of(dose: DoseImage, case=CASE, protocol=PROTOCOL):
    facts = spatial_facts(case, dose, protocol)
    return dose_pictures(case, dose, protocol, facts, StructureTokens.of(case, protocol))


def chunks(png: bytes) -> dict[str, bytes]:
    """The chunks of a PNG file by type."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = {}, 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind = png[at + 4 : at + 8].decode("ascii")
        found[kind] = found.get(kind, b"") + png[at + 8 : at + 8 + length]
        at += 12 + length
    return found


def plane(dose: DoseImage, view: str, case=CASE, labels=None, **options):
    """One figure and its pixels in the picture, rows from the top."""
    figure = dose_plane_figure(
        case, dose, view=view, point_mm=(0.0, 0.0, 0.0), prescription_gy=RX_GY, title="T",
        labels=labels or {"PTV_6000": "PTV_6000"}, **options,
    )  # fmt: skip
    figure.canvas.draw()
    image = np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255
    axes = next(a for a in figure.axes if a.get_label() == view)
    x0, y0, x1, y1 = (round(v) for v in axes.get_window_extent().extents)
    return figure, image[image.shape[0] - y1 : image.shape[0] - y0, x0:x1]


def place_of(image: np.ndarray, percent: float) -> tuple[float, float]:
    """Mean place (across, down; 0 … 1) of what has the colour of a dose band."""
    near = np.abs(image - to_rgb(isodose_color(percent))).max(axis=2) < COLOR_TOLERANCE
    assert near.sum() > 50
    down, across = np.argwhere(near).mean(axis=0) / near.shape
    return across, down


def test_pictures_are_small_and_hold_nothing_but_pixels() -> None:
    rng = np.random.default_rng(0)
    noisy = replace(CASE, ct_hu=(CASE.ct_hu + rng.normal(0, 40, GRID.shape)).astype(np.float32))
    dose = fall_off((0, 0, 10.0))
    pictures = pictures_of(dose, noisy)
    assert len(pictures) >= 4
    for picture in pictures:
        assert len(picture.png) < MOST_BYTES
        height, width = imread(BytesIO(picture.png)).shape[:2]
        assert 300 < min(height, width) and max(height, width) <= 1200
        found = chunks(picture.png)
        assert set(found) <= {"IHDR", "pHYs", "IDAT", "IEND"}
        assert_safe(picture.title)
    assert pictures == pictures_of(dose, noisy)  # the same every time


def test_which_slices_are_shown() -> None:
    titles = [p.title for p in pictures_of(fall_off((0, 0, 10.0)))]
    assert titles == [
        "Axial through PTV_6000 centre",
        "Coronal through PTV_6000 centre",
        "Sagittal through PTV_6000 centre",
        "Axial through the hot spot above 110 %",
    ]
    cold = fall_off().dose_gy.copy()
    cold[ball((0, 0, 0), 20.0) & box((-70, -70, 12), (70, 70, 70))] = 50.0
    cold[box((30, -3, -8), (36, 3, -2))] = 58.0
    titles = [p.title for p in pictures_of(DoseImage(GRID, cold))]
    assert "Axial through the cold spot of PTV_6000" in titles
    assert any("the island of 95 % of 60 Gy" in title for title in titles)
    tongue = fall_off().dose_gy.copy()
    tongue[box((0, -3, -8), (36, 3, -2))] = 58.0
    titles = [p.title for p in pictures_of(DoseImage(GRID, tongue))]
    assert any("the furthest reach of 95 % of 60 Gy" in title for title in titles)
    # A hot spot in a slice that is shown anyway is not shown twice.
    titles = [p.title for p in pictures_of(fall_off((10.0, 0, 0)))]
    assert len(titles) == 3
    assert titles[0] == "Axial through PTV_6000 centre and the hot spot above 110 %"


def test_a_spot_has_a_ring_that_does_not_hide_it() -> None:
    dose = fall_off((10.0, 0, 0))
    marked, image = plane(dose, "axial", marks_mm=[(10.0, 0.0, 0.0)])
    _, bare = plane(dose, "axial")
    x, y = place_of(image, 110.0)
    assert (x, y) == pytest.approx(place_of(bare, 110.0), abs=0.02)
    down, across = np.argwhere(np.abs(image - bare).max(axis=2) > 0.2).mean(axis=0)
    assert (across / image.shape[1], down / image.shape[0]) == pytest.approx((x, y), abs=0.02)
    assert "the spot of the title" in [t.get_text() for t in marked.findobj(Text)]


def test_numbers_and_lines_are_the_same_on_every_slice() -> None:
    low = structure("PTV_5000", StructureType.TARGET, box((-44, -8, 4), (-26, 8, 12)))
    case = CASE.with_structures((*CASE.structures, low))
    labels = {n: n for n in ("PTV_6000", "PTV_5000", "Parotid_L")}
    seen = {}
    for z in (0.0, 8.0):
        figure = dose_plane_figure(
            case, fall_off(), view="axial", point_mm=(0.0, 0.0, z), prescription_gy=RX_GY,
            title="T", labels=labels,
        )  # fmt: skip
        seen[z] = {t.get_text() for t in figure.findobj(Text)} & {"1", "2", "3"}
    assert seen == {0.0: {"1", "3"}, 8.0: {"1", "2", "3"}}  # 2 is kept for what is not here
    legend = next(axes for axes in figure.axes if axes.get_label() == "legend")
    lines = [line.get_linestyle() for line in legend.get_lines()[-3:]]
    assert lines == ["-", "--", "--"]  # matplotlib's word for all that is broken


def test_a_target_of_a_hostile_name() -> None:
    case, protocol = ball_case(HOSTILE + " 2"), ball_protocol(HOSTILE + " 2")
    titles = [p.title for p in pictures_of(fall_off(), case, protocol)]
    assert titles[0] == "Axial through TARGET_1 centre"


def test_all_text_on_a_picture_is_made_here() -> None:
    labels = {s.name: TOKENS.token(s.name) for s in CASE.structures}
    figure, _ = plane(fall_off(), "axial", labels=labels, notes=["76 % is 95 % for PTV_5600"])
    texts = [t.get_text() for t in figure.findobj(Text)]
    assert {"OAR_1", "Parotid_L", "PTV_6000", "above 107 %", "64.2 Gy", "A", "R"} <= set(texts)
    assert "External" not in texts
    assert "76 % is 95 % for PTV_5600" in texts
    for text in texts:
        assert_safe(text)


@pytest.mark.parametrize(
    ("view", "hot_mm", "across", "down"),
    [
        ("axial", (10, 0, 0), 1, 0),  # the patient's left is on the right
        ("axial", (0, -10, 0), 0, -1),  # anterior is at the top
        ("coronal", (-10, 0, 0), -1, 0),
        ("coronal", (0, 0, 10), 0, -1),  # superior is at the top
        ("sagittal", (0, -10, 0), -1, 0),  # anterior is on the left
        ("sagittal", (0, 0, -10), 0, 1),
    ],
)
def test_a_hot_spot_is_where_it_is(view: str, hot_mm: tuple, across: int, down: int) -> None:
    _, image = plane(fall_off(hot_mm), view)
    x, y = place_of(image, 110.0)
    assert np.sign(round(x - 0.5, 1)) == across
    assert np.sign(round(y - 0.5, 1)) == down


def test_bands_lie_around_each_other() -> None:
    _, image = plane(fall_off(), "axial")
    areas = {
        p: (np.abs(image - to_rgb(isodose_color(p))).max(axis=2) < COLOR_TOLERANCE).sum()
        for p in (95.0, 30.0)
    }
    assert areas[30.0] > areas[95.0] > 0


def test_isodoses_of_lower_prescriptions() -> None:
    low = structure("PTV_5000", StructureType.TARGET, box((-44, -8, -8), (-26, 8, 8)))
    case = CASE.with_structures((*CASE.structures, low))
    protocol = replace(
        PROTOCOL, prescriptions=(*PROTOCOL.prescriptions, Prescription("PTV_5000", 50.0))
    )
    plain = pictures_of(fall_off(), CASE, PROTOCOL)[0]
    with_low = pictures_of(fall_off(), case, protocol)[0]
    # 80 % gives way to 95 % of the lower prescription, which is 79.2 % and has its colour too;
    # the colours of the others are on both.
    assert plain.png != with_low.png
    for picture in (plain, with_low):
        image = imread(BytesIO(picture.png))[..., :3]
        for percent in (30.0, 50.0, 79.2, 95.0, 100.0):
            place_of(image, percent)


def test_a_slice_without_dose() -> None:
    grid = Grid((3, 10, 10), (2.0, 2.0, 2.0), (0.0, 0.0, 40.0))
    dose = DoseImage(grid, np.ones(grid.shape, np.float32))
    figure, _ = plane(dose, "axial")
    texts = [t.get_text() for t in figure.findobj(Text)]
    assert "No dose on this slice" in texts


def test_a_hot_spot_beyond_the_ct_is_left_out() -> None:
    facts = spatial_facts(CASE, fall_off(), PROTOCOL)
    astray = replace(facts, maximum_mm=(0.0, 0.0, 900.0))
    assert len(dose_pictures(CASE, fall_off(), PROTOCOL, astray, TOKENS)) == 3


def test_unknown_views_are_refused() -> None:
    with pytest.raises(InputError, match="axial, coronal, sagittal"):
        plane(uniform_dose(), "oblique")
