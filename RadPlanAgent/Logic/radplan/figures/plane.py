"""Dose on one CT slice, large and plain, for a reader who has nothing but the picture.

Bands of dose are filled and have a colour each; outlines are black and white, so that their
colours are never taken for a dose, and carry numbers that lead to their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ..case import Case, DoseImage, Structure, StructureType
from ..errors import InputError
from ..geometry import Grid, Triple
from .section import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    LineStyle,
    View,
    dose_plane,
    draw_ct,
    draw_isodoses,
    draw_orientation,
    draw_outline,
    draw_scale_bar,
    isodose_color,
    structure_plane,
    voxel_at,
)
from .slices import ISODOSE_PERCENT
from .style import INK, MUTED, new_figure, short_text, styled

VIEWS: dict[str, View] = {view.name.lower(): view for view in (AXIAL, CORONAL, SAGITTAL)}
#: Most that a picture takes of the figure, and the legend beside it, inches.
_PICTURE_IN = (6.3, 6.3)
_LEGEND_IN = 2.45
_TITLE_IN = 0.36
_MARGIN_IN = 0.12
_BAND_ALPHA = 0.85
#: Grey of soft tissue, on which the legend shows the bands.
_TISSUE = 0.55
#: Colour and halo of outlines.
_LINES = {
    StructureType.TARGET: ("white", "black"),
    StructureType.OAR: ("black", "white"),
    StructureType.HELPER: ("black", "white"),
    StructureType.EXTERNAL: ("#8d99a6", "black"),
}
#: Lines of targets, in their order; organs are dashed.
TARGET_LINES: tuple[LineStyle, ...] = ("solid", (0, (7, 1.6, 1.3, 1.6)), (0, (1.2, 1.4)))
#: Diameter of the ring around a spot.
_RING_POINTS = 17.0
_GREY_LEVELS = 40
#: What is shown beyond the lowest isodose, mm.
_BORDER_MM = 15.0
_ROW_IN = 0.235


@styled
def dose_plane_figure(
    case: Case,
    dose: DoseImage,
    *,
    view: str,
    point_mm: Triple,
    prescription_gy: float,
    title: str,
    labels: Mapping[str, str],
    isodose_percent: Sequence[float] = ISODOSE_PERCENT,
    notes: Sequence[str] = (),
    marks_mm: Sequence[Triple] = (),
) -> Figure:
    """Draw the dose on one slice, cropped to where dose is.

    Parameters
    ----------
    case : Case
    dose : DoseImage
    view : str
        ``axial``, ``coronal`` or ``sagittal``.
    point_mm : tuple of float
        LPS (x, y, z) of a point on the slice, moved to the nearest CT voxel.
    prescription_gy : float
        The dose that is 100 %, Gy for the whole course.
    title : str
        Written as it is.
    labels : mapping of str to str
        The structures to outline and what each is called on the picture. Their order gives their
        numbers and targets their line styles, whichever of them a slice shows. The body is
        outlined but not labelled.
    isodose_percent : sequence of float
        Where bands begin, % of the prescription.
    notes : sequence of str
        Lines to be read with the doses, in the legend.
    marks_mm : sequence of tuple of float
        LPS points on or near the slice that get a thin ring.

    Raises
    ------
    InputError
        If the view or a structure is unknown, or the point lies outside the CT.
    """
    if view not in VIEWS:
        raise InputError(f"there is no view {view!r}; there are {', '.join(VIEWS)}")
    seen_from = VIEWS[view]
    levels = sorted(float(p) for p in isodose_percent)
    index = voxel_at(case.grid, point_mm)[seen_from.normal]
    position = float(case.grid.axes_mm[seen_from.normal][index])
    plane = dose_plane(dose, seen_from, position)
    shown = [
        s
        for s in sorted(case.structures, key=lambda s: s.type is not StructureType.EXTERNAL)
        if s.name in labels or s.type is StructureType.EXTERNAL
        if structure_plane(s, seen_from, position) is not None
    ]
    lowest_gy = levels[0] * prescription_gy / 100
    box = _cropped_mm(case, dose.grid, seen_from, plane, lowest_gy, shown)
    extents = [high - low for low, high in (box[seen_from.across], box[seen_from.up])]
    scale = min(most / extent for most, extent in zip(_PICTURE_IN, extents, strict=True))
    wide, high = (scale * extent for extent in extents)
    rows = len(levels) + 7 + len(notes) + len(shown) + bool(marks_mm)
    total = max(high, rows * _ROW_IN) + _TITLE_IN + _MARGIN_IN
    width = wide + _LEGEND_IN + 2 * _MARGIN_IN
    figure = new_figure(width, total)
    axes = figure.add_axes(
        (_MARGIN_IN / width, (total - _TITLE_IN - high) / total, wide / width, high / total),
        label=view,
    )
    draw_ct(axes, case, seen_from, index, box, _GREY_LEVELS)
    if plane is not None:
        isodoses_gy = {p: p * prescription_gy / 100 for p in levels}
        draw_isodoses(axes, dose.grid, seen_from, plane, isodoses_gy, _BAND_ALPHA)
    order = _Order.of(case, labels)
    rings = [np.array([m[2 - seen_from.across], m[2 - seen_from.up]]) for m in marks_mm]
    outlined = _draw_outlines(axes, shown, seen_from, position, order, rings)
    for ring in rings:
        _draw_ring(axes, *ring)
    draw_orientation(axes, seen_from)
    draw_scale_bar(axes, 20.0 if max(extents) < 100 else 50.0)
    figure.text(
        _MARGIN_IN / width, 1 - 0.5 * _TITLE_IN / total, short_text(title, 70),
        fontsize=12.5, fontweight="bold", va="center",
    )  # fmt: skip
    legend = figure.add_axes(
        ((wide + 2 * _MARGIN_IN) / width, 0, _LEGEND_IN / width, 1), label="legend"
    )
    legend.set(xlim=(0, _LEGEND_IN), ylim=(total, 0))
    legend.axis("off")
    highest_gy = None if plane is None else _highest(plane, dose.grid, seen_from, box)
    _draw_legend(
        legend,
        levels,
        prescription_gy,
        highest_gy,
        [(s, labels[s.name]) for s in outlined],
        notes,
        order,
        bool(marks_mm),
    )
    return figure


@dataclass(frozen=True)
class _Order:
    """Numbers and target line styles of the structures that all pictures of a case share."""

    numbers: Mapping[str, int]
    target_lines: Mapping[str, LineStyle]

    @classmethod
    def of(cls, case: Case, labels: Mapping[str, str]) -> _Order:
        types = {s.name: s.type for s in case.structures}
        known = [name for name in labels if types.get(name) is not StructureType.EXTERNAL]
        targets = [name for name in known if types.get(name) is StructureType.TARGET]
        return cls(
            {name: number for number, name in enumerate(known, start=1)},
            {name: TARGET_LINES[k % len(TARGET_LINES)] for k, name in enumerate(targets)},
        )


def _cropped_mm(
    case: Case,
    grid: Grid,
    view: View,
    plane_gy: np.ndarray | None,
    lowest_gy: float,
    shown: Sequence[Structure],
) -> list[tuple[float, float]]:
    """Limits along (z, y, x), mm, that hold a slice's lowest isodose and targets, inside the CT.

    The whole CT where the slice has neither.
    """
    targets = [s.occupancy.box_grid for s in shown if s.type is StructureType.TARGET]
    limits = [tuple(map(float, case.grid.edges_mm(axis)[[0, -1]])) for axis in range(3)]
    for place, axis in enumerate((view.up, view.across)):
        ends = [e for box in targets for e in box.edges_mm(axis)[[0, -1]]]
        if plane_gy is not None:
            hit = np.flatnonzero((plane_gy >= lowest_gy).any(axis=1 - place))
            if hit.size:
                ends += list(grid.edges_mm(axis)[[hit[0], hit[-1] + 1]])
        if ends:
            first, last = limits[axis]
            limits[axis] = (
                float(max(first, min(ends) - _BORDER_MM)),
                float(min(last, max(ends) + _BORDER_MM)),
            )
    return limits


def _draw_outlines(
    axes: Axes,
    shown: Sequence[Structure],
    view: View,
    position_mm: float,
    order: _Order,
    rings: Sequence[np.ndarray],
) -> list[Structure]:
    """Outline structures and number all but the body; return those numbered, in order."""
    shown = sorted(shown, key=lambda s: order.numbers.get(s.name, 0))
    numbered: list[Structure] = []
    paths: list[np.ndarray] = []
    for structure in shown:
        color, halo = _LINES[structure.type]
        line = order.target_lines.get(structure.name, "solid")
        path = draw_outline(
            axes, structure, view, position_mm, color=color, halo=halo, target_line=line
        )
        path = path[_inside(axes, path)]
        if len(path) and structure.type is not StructureType.EXTERNAL:
            numbered.append(structure)
            paths.append(path)
    for structure, place in zip(numbered, _tag_places(axes, paths, rings), strict=True):
        _draw_tag(axes, place, order.numbers[structure.name], structure)
    return numbered


def _inside(axes: Axes, points: np.ndarray) -> np.ndarray:
    low_x, high_x = sorted(axes.get_xlim())
    low_y, high_y = sorted(axes.get_ylim())
    margin = 0.02 * (high_x - low_x)
    return (
        (points[:, 0] > low_x + margin)
        & (points[:, 0] < high_x - margin)
        & (points[:, 1] > low_y + margin)
        & (points[:, 1] < high_y - margin)
    )


def _tag_places(
    axes: Axes, paths: Sequence[np.ndarray], rings: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Where each outline carries its number: far from other outlines, numbers and rings."""
    enough = 0.08 * abs(np.subtract(*axes.get_xlim()))
    places: list[np.ndarray] = []
    for k, path in enumerate(paths):
        others = [p for j, p in enumerate(paths) if j != k]
        room = np.full(len(path), enough)
        for points, weight in [(p, 1.0) for p in others] + [
            (p[None], 1.5) for p in (*places, *rings)
        ]:
            gaps = np.linalg.norm(path[:, None] - points[None], axis=2).min(axis=1)
            room = np.minimum(room, gaps / weight)
        places.append(path[int(np.argmax(room))])
    return places


def _draw_tag(axes: Axes, place: np.ndarray, number: int, structure: Structure) -> None:
    target = structure.type is StructureType.TARGET
    axes.text(
        *place,
        str(number),
        ha="center",
        va="center",
        fontsize=8.5,
        fontweight="bold",
        color="black" if target else "white",
        bbox={
            "boxstyle": "circle,pad=0.22",
            "facecolor": "white" if target else "black",
            "edgecolor": "black" if target else "white",
            "lw": 1.0,
        },
        zorder=6,
    )


def _draw_ring(axes: Axes, across: float, up: float) -> None:
    """Draw a thin ring, white within black, that hides nothing of what it surrounds."""
    axes.plot(
        [across],
        [up],
        marker="o",
        markersize=_RING_POINTS,
        markerfacecolor="none",
        markeredgecolor="white",
        markeredgewidth=1.1,
        path_effects=[withStroke(linewidth=2.6, foreground="black")],
        zorder=5,
    )


def _highest(
    plane_gy: np.ndarray, grid: Grid, view: View, box: Sequence[tuple[float, float]]
) -> float:
    """Highest dose of the part of a slice that is shown, Gy."""
    kept = [
        (axis_mm >= box[axis][0]) & (axis_mm <= box[axis][1])
        for axis, axis_mm in ((k, grid.axes_mm[k]) for k in (view.up, view.across))
    ]
    return float(plane_gy[np.ix_(*kept)].max(initial=0.0))


def _draw_legend(
    axes: Axes,
    levels: Sequence[float],
    prescription_gy: float,
    highest_gy: float | None,
    outlined: Sequence[tuple[Structure, str]],
    notes: Sequence[str],
    order: _Order,
    ring: bool,
) -> None:
    """Stack the dose bands, hot at the top, and list the outlines; inches, y downwards."""
    y = _TITLE_IN + 0.12
    axes.text(0.0, y, "Dose", fontsize=10.5, fontweight="bold", va="center")
    y += 0.85 * _ROW_IN
    background = np.full(3, _TISSUE)
    for percent in sorted(levels, reverse=True):
        color = _BAND_ALPHA * np.array(to_rgb(isodose_color(percent)))
        color += (1 - _BAND_ALPHA) * background
        axes.fill_between([0.0, 0.42], y, y + _ROW_IN, color=tuple(color), lw=0)
        edge = y + _ROW_IN
        axes.plot([0.0, 0.42], [edge, edge], color=isodose_color(percent), lw=1.6)
        middle = y + 0.5 * _ROW_IN
        axes.text(0.52, middle, f"above {percent:.3g} %", fontsize=9.5, va="center")
        dose_text = f"{percent * prescription_gy / 100:.1f} Gy"
        axes.text(2.3, middle, dose_text, fontsize=9.5, va="center", ha="right", color=MUTED)
        y += _ROW_IN
    axes.fill_between([0.0, 0.42], y, y + _ROW_IN, color=(_TISSUE,) * 3, lw=0)
    axes.text(0.52, y + 0.5 * _ROW_IN, f"below {min(levels):.3g} %", fontsize=9.5, va="center")
    y += 1.7 * _ROW_IN
    lines = [f"100 % is {prescription_gy:g} Gy", *(short_text(note, 40) for note in notes)]
    if highest_gy is None:
        lines.append("No dose on this slice")
    else:
        share = 100 * highest_gy / prescription_gy
        lines.append(f"Highest here {highest_gy:.1f} Gy ({share:.1f} %)")
    for line in lines:
        axes.text(0.0, y, line, fontsize=9, va="center", color=MUTED)
        y += 0.85 * _ROW_IN
    y += 0.5 * _ROW_IN
    axes.text(0.0, y, "Outlines", fontsize=10.5, fontweight="bold", va="center")
    y += 1.1 * _ROW_IN
    for structure, label in outlined:
        target = structure.type is StructureType.TARGET
        _draw_tag(axes, np.array([0.1, y]), order.numbers[structure.name], structure)
        axes.plot(
            [0.26, 0.6],
            [y, y],
            color="white" if target else "black",
            lw=1.7,
            ls=order.target_lines[structure.name] if target else (0, (3.7, 1.6)),
            path_effects=[withStroke(linewidth=3.2, foreground=INK if target else "#cccccc")],
        )
        axes.text(0.68, y, short_text(label, 22), fontsize=9.5, va="center")
        y += _ROW_IN
    if ring:
        _draw_ring(axes, 0.3, y)
        axes.text(0.68, y, "the spot of the title", fontsize=9.5, va="center")
