"""Pictures: orientation, scale, isodoses where the dose says, safe text, same every time."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from radplan.case import Case, DoseImage, Structure, StructureType
from radplan.errors import InputError
from radplan.figures import (
    DvhCurve,
    GoalHistory,
    GoalMarker,
    StepLabel,
    default_point_mm,
    dose_slices,
    dvh_figure,
    save_png,
    trajectory_figure,
)
from radplan.figures.history import signed
from radplan.figures.style import (
    luminance,
    printable,
    readable_on_black,
    readable_on_white,
    short_text,
)
from radplan.geometry import Grid, Occupancy

GRID = Grid((20, 40, 50), (4.0, 4.0, 5.0), (-98.0, -78.0, -47.5))


def box(low: tuple, high: tuple) -> np.ndarray:
    """Voxels whose centre lies in a box given by LPS corners, mm."""
    z, y, x = np.meshgrid(*GRID.axes_mm, indexing="ij")
    inside = np.ones(GRID.shape, bool)
    for values, a, b in zip((x, y, z), low, high, strict=True):
        inside &= (values >= a) & (values <= b)
    return inside


def marked_case(low: tuple, high: tuple, names: tuple[str, ...] = ()) -> Case:
    """Return a black CT (−160 HU) with one white box, a body, and a target around the origin."""
    ct = np.full(GRID.shape, -160.0, np.float32)
    ct[box(low, high)] = 1000.0
    body = Structure(
        "BODY", StructureType.EXTERNAL, Occupancy.from_array(GRID, box((-90,) * 3, (90,) * 3))
    )
    target = Structure(
        "PTV", StructureType.TARGET, Occupancy.from_array(GRID, box((-10, -10, -10), (10, 10, 10)))
    )
    others = tuple(
        Structure(
            name,
            StructureType.OAR,
            Occupancy.from_array(GRID, box((-30, -10, -10), (-20, 10, 10))),
        )
        for name in names
    )
    return Case("marked", GRID, ct, (body, target, *others))


def zero_dose() -> DoseImage:
    return DoseImage(GRID, np.zeros(GRID.shape, np.float32))


def pixels(figure, label: str) -> np.ndarray:
    """RGB of one panel as drawn, rows from the top."""
    figure.canvas.draw()
    image = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    axes = next(a for a in figure.axes if a.get_label() == label)
    x0, y0, x1, y1 = (round(v) for v in axes.get_window_extent().extents)
    return image[image.shape[0] - y1 : image.shape[0] - y0, x0:x1]


@pytest.mark.parametrize(
    ("side", "low", "high", "panel", "where"),
    [
        ("left", (40, -8, -8), (70, 8, 8), "axial", "right"),
        ("right", (-70, -8, -8), (-40, 8, 8), "axial", "left"),
        ("left", (40, -8, -8), (70, 8, 8), "coronal", "right"),
        ("anterior", (-8, -60, -8), (8, -35, 8), "axial", "top"),
        ("posterior", (-8, 35, -8), (8, 60, 8), "axial", "bottom"),
        ("anterior", (-8, -60, -8), (8, -35, 8), "sagittal", "left"),
        ("posterior", (-8, 35, -8), (8, 60, 8), "sagittal", "right"),
        ("superior", (-8, -8, 25), (8, 8, 40), "coronal", "top"),
        ("superior", (-8, -8, 25), (8, 8, 40), "sagittal", "top"),
        ("inferior", (-8, -8, -40), (8, 8, -25), "sagittal", "bottom"),
    ],
)
def test_a_mark_in_the_patient_is_where_the_radiological_convention_has_it(
    side: str, low: tuple, high: tuple, panel: str, where: str
) -> None:
    case = marked_case(low, high)
    figure = dose_slices(case, zero_dose(), prescription_gy=50, structures=())
    plain = dose_slices(
        marked_case((1e3,) * 3, (1e3,) * 3), zero_dose(), prescription_gy=50, structures=()
    )
    extra = (pixels(figure, panel) - pixels(plain, panel)).sum(axis=2) > 300
    rows, columns = np.nonzero(extra)
    assert rows.size > 50, "the mark is not drawn"
    height, width = extra.shape
    middle = {
        "left": columns.mean() < 0.4 * width,
        "right": columns.mean() > 0.6 * width,
        "top": rows.mean() < 0.4 * height,
        "bottom": rows.mean() > 0.6 * height,
    }
    assert middle[where], f"{side} is not at the {where} of the {panel} picture"


def test_letters_at_the_edges_agree_with_the_picture() -> None:
    figure = dose_slices(marked_case((0,) * 3, (0,) * 3), zero_dose(), prescription_gy=50)
    for panel, left, right, top, bottom in (
        ("axial", "R", "L", "A", "P"),
        ("coronal", "R", "L", "S", "I"),
        ("sagittal", "A", "P", "S", "I"),
    ):
        axes = next(a for a in figure.axes if a.get_label() == panel)
        at = {t.get_text(): t.get_position() for t in axes.texts if len(t.get_text()) == 1}
        assert at[left][0] < 0.1 and at[right][0] > 0.9
        assert at[bottom][1] < 0.1 and at[top][1] > 0.9


def test_a_millimetre_is_as_long_in_every_direction_and_panel() -> None:
    figure = dose_slices(marked_case((0,) * 3, (0,) * 3), zero_dose(), prescription_gy=50)
    figure.canvas.draw()
    scales = []
    for axes in figure.axes[:3]:
        size = axes.get_window_extent()
        scales.append(size.width / abs(np.diff(axes.get_xlim())[0]))
        scales.append(size.height / abs(np.diff(axes.get_ylim())[0]))
    np.testing.assert_allclose(scales, scales[0], rtol=1e-6)


def test_isodose_lines_lie_where_a_linear_dose_has_that_value() -> None:
    # 0.25 Gy/mm along x on a grid of its own, other spacing and shifted: 95 % of 20 Gy is at 6 mm.
    grid = Grid((12, 16, 31), (5.0, 9.0, 7.0), (-70.0, -66.0, -40.0))
    x = grid.axes_mm[2]
    dose = np.broadcast_to((17.5 + 0.25 * x).astype(np.float32), grid.shape).copy()
    figure = dose_slices(
        marked_case((0,) * 3, (0,) * 3),
        DoseImage(grid, dose),
        prescription_gy=20,
        structures=(),
        isodose_percent=(95,),
    )
    for label in ("axial", "coronal"):
        axes = next(a for a in figure.axes if a.get_label() == label)
        line = [c for c in axes.collections if not c.get_facecolor().size][-1]
        across = np.concatenate([p.vertices[:, 0] for p in line.get_paths()])
        np.testing.assert_allclose(across, 6.0, atol=1e-3)


def test_the_dose_between_planes_is_interpolated_and_absent_off_its_grid() -> None:
    grid = Grid((3, 4, 4), (30.0, 30.0, 10.0), (-45.0, -45.0, 0.0))
    dose = np.zeros(grid.shape, np.float32)
    dose[1:] = 10.0
    dose[:, :, 2:] *= 2
    case = marked_case((0,) * 3, (0,) * 3)
    # At z = 7.5 mm the dose is 7.5 and 15 Gy: 50 % of 20 Gy lies between the middle columns.
    figure = dose_slices(
        case, DoseImage(grid, dose), prescription_gy=20, structures=(),
        point_mm=(0, 0, 7.5), isodose_percent=(50,),
    )  # fmt: skip
    line = [c for c in figure.axes[0].collections if not c.get_facecolor().size][-1]
    across = np.concatenate([p.vertices[:, 0] for p in line.get_paths()])
    np.testing.assert_allclose(across, -15 + 30 * (10 - 7.5) / 7.5, atol=1e-3)
    away = dose_slices(
        case, DoseImage(grid, dose), prescription_gy=20, structures=(), point_mm=(0, 0, -32.5)
    )
    assert not away.axes[0].collections


def test_outlines_have_the_structure_s_size_even_where_it_touches_the_edge_of_its_box() -> None:
    figure = dose_slices(
        marked_case((0,) * 3, (0,) * 3), zero_dose(), prescription_gy=50, structures=("PTV",)
    )
    (line,) = (c for c in figure.axes[0].collections if not c.get_facecolor().size)
    points = np.concatenate([p.vertices for p in line.get_paths()])
    # Voxel centres from −10 to 10 mm, 4 mm apart: edges at ±12 mm.
    np.testing.assert_allclose([points.min(), points.max()], [-12, 12], atol=1e-6)


def test_slices_go_through_the_target_asked_for_else_the_hottest_dose() -> None:
    case = marked_case((0,) * 3, (0,) * 3, ("Spinal",))
    hot = np.zeros(GRID.shape, np.float32)
    hot[3, 4, 5] = 1.0
    dose = DoseImage(GRID, hot)
    np.testing.assert_allclose(default_point_mm(case, dose), (0, 0, 0), atol=1e-4)
    assert default_point_mm(case, dose, "Spinal")[0] == pytest.approx(-26)
    bare = case.with_structures(case.structures[:1])
    assert default_point_mm(bare, dose) == pytest.approx((-78, -62, -32.5))


def test_what_cannot_be_drawn_is_refused_in_plain_words() -> None:
    case, dose = marked_case((0,) * 3, (0,) * 3), zero_dose()
    with pytest.raises(InputError, match="above 0 Gy"):
        dose_slices(case, dose, prescription_gy=0)
    with pytest.raises(InputError, match="percentages above 0"):
        dose_slices(case, dose, prescription_gy=50, isodose_percent=(0, 50))
    with pytest.raises(InputError, match="outside the CT"):
        dose_slices(case, dose, prescription_gy=50, point_mm=(0, 0, 500))
    with pytest.raises(InputError, match="no structure 'PTW'"):
        dose_slices(case, dose, prescription_gy=50, structures=("PTW",))


HOSTILE = ("$\\frac{1}{$", "_hidden", "名前", "a\nb\u202eevil", "x" * 400, "<script>", "%s{0}")


def test_hostile_names_are_drawn_as_text(tmp_path: Path) -> None:
    case = marked_case((0,) * 3, (0,) * 3, HOSTILE)
    curves = [DvhCurve(n, np.arange(3.0), np.array([100.0, 50, 0])) for n in HOSTILE]
    rows = [GoalHistory(n, 1.0, (0.5,), (True,)) for n in HOSTILE]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number, figure in enumerate(
            (
                dose_slices(case, zero_dose(), prescription_gy=50),
                dvh_figure(curves, goals=[GoalMarker("$\\frac{1}{$", 1, 50, True, False)]),
                trajectory_figure(rows, [StepLabel(0, True, True)]),
            )
        ):
            assert save_png(figure, tmp_path / f"{number}.png").stat().st_size > 5000
    texts = [t.get_text() for t in dvh_figure(curves).axes[1].texts]
    assert "_hidden" in texts and "<script>" in texts and "a b evil" in texts
    assert printable("a\tb\u202ec\x00") == "a b c"
    assert short_text("x" * 400, 10) == "x" * 9 + "…"


def test_pictures_are_the_same_every_time_and_leave_no_settings_behind(tmp_path: Path) -> None:
    case = marked_case((0,) * 3, (0,) * 3)
    before = dict(mpl.rcParams)
    first = save_png(dose_slices(case, zero_dose(), prescription_gy=50), tmp_path / "a.png")
    assert dict(mpl.rcParams) == before
    with mpl.rc_context({"font.size": 30, "font.family": "monospace", "lines.linewidth": 9}):
        second = save_png(dose_slices(case, zero_dose(), prescription_gy=50), tmp_path / "b.png")
    assert (
        hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest()
    )


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    figure = dvh_figure([DvhCurve("A", np.arange(3.0), np.array([100.0, 50, 0]))])

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="no space"):
        save_png(figure, path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def dvh(name: str, end_gy: float, **more: object) -> DvhCurve:
    doses = np.linspace(0, 80, 161)
    return DvhCurve(name, doses, np.clip(100 * (1 - doses / end_gy), 0, 100), **more)


def test_the_dvh_lists_targets_first_then_organs_from_hot_to_cold() -> None:
    figure = dvh_figure(
        [dvh("Cold", 20), dvh("PTV low", 50, is_target=True), dvh("Hot", 60),
         dvh("PTV high", 70, is_target=True)]
    )  # fmt: skip
    names = [t.get_text() for t in figure.axes[1].texts if len(t.get_text()) > 1]
    assert names == ["Targets", "PTV high", "PTV low", "Organs at risk", "Hot", "Cold"]


def test_dvh_curves_are_told_apart_without_colour() -> None:
    figure = dvh_figure([dvh("A", 40), dvh("B", 45), dvh("C", 50), dvh("P", 60, is_target=True)])
    lines = figure.axes[0].lines[:4]
    assert len({str(line._dash_pattern) for line in lines[1:]}) == 3
    assert lines[0].get_linewidth() > 1.5 * lines[1].get_linewidth()
    tags = [t for t in figure.axes[0].texts if t.get_text().isdigit()]
    assert [t.get_text() for t in tags] == ["1", "2", "3", "4"]
    for tag, end in zip(tags, (60, 50, 45, 40), strict=True):  # every number sits on its curve
        dose, volume = tag.get_position()
        assert volume == pytest.approx(100 * (1 - dose / end), abs=0.5)


def test_missed_goals_look_different_from_met_ones_without_colour() -> None:
    figure = dvh_figure(
        [dvh("A", 40)],
        goals=[
            GoalMarker("A", 20, 60, True, True),
            GoalMarker("A", 20, 40, True, False),
            GoalMarker("A", 20, 40, False, True),
            GoalMarker("absent", 20, 40, False, True),
        ],
    )
    markers = [line for line in figure.axes[0].lines if line.get_marker() in ("v", "^")]
    assert [m.get_marker() for m in markers] == ["v", "v", "^"]
    assert [to_rgb(m.get_markerfacecolor()) == (1, 1, 1) for m in markers] == [False, True, False]


def test_a_dvh_of_nothing_or_of_no_numbers_is_still_a_picture(tmp_path: Path) -> None:
    empty = DvhCurve("empty", np.arange(3.0), np.full(3, np.nan))
    save_png(dvh_figure([]), tmp_path / "a.png")
    save_png(dvh_figure([empty, dvh("A", 30)], reference=[empty]), tmp_path / "b.png")


def test_lines_keep_their_contrast() -> None:
    for color in ((1, 1, 0), (1, 1, 1), (0, 0, 0), (0, 0, 1), (0.2, 1, 0.4)):
        assert 1.05 / (luminance(readable_on_white(color)) + 0.05) >= 3
        assert (luminance(readable_on_black(color)) + 0.05) / 0.05 >= 4


def cells(figure) -> list[str]:
    return [t.get_text() for t in figure.axes[0].texts]


def test_the_trajectory_shows_every_margin_with_the_sign_of_its_verdict() -> None:
    rows = [
        GoalHistory("A mean ≤ 26 Gy", 26, (-1.5, 0.25, None), (False, True, None)),
        GoalHistory("B V20Gy ≤ 0 %", 0, (-0.001, 0.0, 3.0), (False, True, True)),
    ]
    steps = [StepLabel(0, True), StepLabel(1, True, True), StepLabel(2, False)]
    texts = cells(trajectory_figure(rows, steps))
    for wanted in ("A mean ≤ 26 Gy", "−1.5", "+0.25", "·", "−0.00", "+0.00", "plan", "undone"):
        assert wanted in texts
    assert signed(-0.0004, False) == "−0.00" and signed(0.0, True) == "+0.00"


def test_a_long_trajectory_keeps_signs_and_all_steps() -> None:
    steps = [StepLabel(i, i % 3 > 0, i == 58) for i in range(60)]
    row = GoalHistory(
        "A", 10, tuple(i - 30.0 for i in range(60)), tuple(i >= 30 for i in range(60))
    )
    texts = cells(trajectory_figure([row], steps))
    assert texts.count("+") == 30 and texts.count("−") == 30 and "58" in texts
    with pytest.raises(ValueError, match="60 margins, 3 steps"):
        trajectory_figure([row], steps[:3])
