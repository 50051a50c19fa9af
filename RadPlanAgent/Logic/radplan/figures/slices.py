"""Dose on CT in three orthogonal slices, all at one scale, in the radiological convention.

The patient's left is on the right of the axial and coronal pictures, anterior is at the top of
the axial and on the left of the sagittal picture, superior at the top of the other two.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ..case import Case, DoseImage, Structure, StructureType
from ..colors import Rgb, structure_colors
from ..errors import InputError
from ..geometry import Triple
from .section import (
    AXIAL,
    AXIS_LETTER,
    CORONAL,
    SAGITTAL,
    View,
    dose_plane,
    draw_ct,
    draw_isodoses,
    draw_orientation,
    draw_outline,
    draw_scale_bar,
    isodose_color,
    voxel_at,
)
from .style import (
    INK,
    MUTED,
    new_figure,
    readable_on_black,
    short_text,
    styled,
)

#: Isodoses drawn, % of the prescription.
ISODOSE_PERCENT = (110.0, 107.0, 100.0, 95.0, 80.0, 50.0, 30.0)
#: Air shown around the body, and the most that is shown along the patient, mm.
BORDER_MM = 8.0
LENGTH_MM = 420.0
_WIDTH_IN = 10.0
_GAP_MM = 10.0
_HEADING_IN = 0.28
_ROW_IN = 0.2


def default_point_mm(case: Case, dose: DoseImage, target: str | None = None) -> Triple:
    """Where to cut: the centre of a target, of the first target that has one, or the hottest dose.

    Parameters
    ----------
    case : Case
    dose : DoseImage
    target : str, optional
        The structure to cut through; ignored when the case lacks it or it is empty.

    Returns
    -------
    tuple of float
        LPS (x, y, z), mm.
    """
    named = [s for s in case.structures if s.name == target]
    for structure in (*named, *case.of_type(StructureType.TARGET)):
        if not structure.occupancy.is_empty:
            return structure.occupancy.centroid_mm
    index = np.unravel_index(int(dose.dose_gy.argmax()), dose.dose_gy.shape)
    return tuple(float(dose.grid.axes_mm[2 - k][index[2 - k]]) for k in range(3))


@styled
def dose_slices(
    case: Case,
    dose: DoseImage,
    *,
    prescription_gy: float,
    structures: Sequence[str] | None = None,
    point_mm: Triple | None = None,
    isodose_percent: Sequence[float] = ISODOSE_PERCENT,
) -> Figure:
    """Draw the dose on axial, coronal and sagittal CT slices through one point.

    Isodose bands and lines are drawn from the dose interpolated linearly (to the slice, and
    between voxel centres within it); structure outlines are the half-filled level of their voxels.

    Parameters
    ----------
    case : Case
        CT in Hounsfield units, shown from −160 to 240 HU.
    dose : DoseImage
        Any grid in the case's frame; nothing is drawn where it does not reach.
    prescription_gy : float
        The dose that is 100 %, Gy for the whole course.
    structures : sequence of str, optional
        Names of the outlines to draw; by default all but HELPER structures.
    point_mm : tuple of float, optional
        LPS (x, y, z); by default the centre of the first target. Moved to the nearest CT voxel.
    isodose_percent : sequence of float
        Isodoses, % of the prescription.

    Raises
    ------
    InputError
        If the prescription or an isodose is not positive, a structure is unknown, or the point
        lies outside the CT.
    """
    if not 0 < prescription_gy < np.inf:
        raise InputError(f"isodoses need a prescription above 0 Gy, got {prescription_gy}")
    levels = sorted({float(p) for p in isodose_percent})
    if not levels or not 0 < levels[0] <= levels[-1] < np.inf:
        raise InputError(f"isodoses must be percentages above 0, got {list(isodose_percent)}")
    if structures is None:
        shown = [s for s in case.structures if s.type is not StructureType.HELPER]
    else:
        shown = [case.structure(name) for name in structures]
    isodoses_gy = {p: p * prescription_gy / 100.0 for p in levels}
    index = voxel_at(case.grid, point_mm or default_point_mm(case, dose))
    box = _shown_box_mm(case, index)
    colors = {name: readable_on_black(c) for name, c in structure_colors(case.structures).items()}

    extent = [high - low for low, high in box]  # along z, y, x
    inch_per_mm = _WIDTH_IN / (extent[2] + extent[1] + _GAP_MM)
    wide, deep, tall = (extent[k] * inch_per_mm for k in (2, 1, 0))
    gap = _GAP_MM * inch_per_mm
    top_row = max(deep, _legend_rows(len(levels) + 4, len(shown) + 1) * _ROW_IN)
    height = tall + top_row + 2 * _HEADING_IN + gap
    figure = new_figure(_WIDTH_IN, height)
    places = {
        AXIAL: (0.0, height - _HEADING_IN - deep, wide, deep),
        CORONAL: (0.0, 0.0, wide, tall),
        SAGITTAL: (wide + gap, 0.0, deep, tall),
    }
    seen: set[str] = set()
    for view, (left, bottom, width, high) in places.items():
        axes = figure.add_axes(
            (left / _WIDTH_IN, bottom / height, width / _WIDTH_IN, high / height),
            label=view.name.lower(),
        )
        draw_ct(axes, case, view, index[view.normal], box)
        position = float(case.grid.axes_mm[view.normal][index[view.normal]])
        plane = dose_plane(dose, view, position)
        if plane is not None:
            draw_isodoses(axes, dose.grid, view, plane, isodoses_gy)
        for structure in shown:
            color = colors[structure.name]
            if draw_outline(axes, structure, view, position, color=color) is not None:
                seen.add(structure.name)
        _draw_cuts(axes, case, view, index)
        draw_orientation(axes, view)
        figure.text(
            left / _WIDTH_IN,
            (bottom + high + 0.07) / height,
            f"{view.name}   {AXIS_LETTER[view.normal]} = {position:.1f} mm".replace("-", "−"),
            fontsize=9.5,
            fontweight="bold",
        )
    draw_scale_bar(figure.axes[0])
    legend = figure.add_axes(
        (
            (wide + gap) / _WIDTH_IN,
            (height - top_row - _HEADING_IN) / height,
            deep / _WIDTH_IN,
            (top_row + _HEADING_IN) / height,
        ),
        label="legend",
    )
    legend.set(xlim=(0, deep), ylim=(top_row + _HEADING_IN, 0))
    legend.axis("off")
    outlines = [(s, colors[s.name]) for s in shown if s.name in seen]
    _draw_legend(legend, levels, prescription_gy, float(dose.dose_gy.max()), outlines)
    return figure


def _shown_box_mm(case: Case, index: tuple[int, int, int]) -> list[tuple[float, float]]:
    """Limits of the pictures along (z, y, x), mm: the body with a border, inside the CT."""
    bodies = [s for s in case.of_type(StructureType.EXTERNAL) if not s.occupancy.is_empty]
    limits = []
    for axis in range(3):
        low, high = case.grid.edges_mm(axis)[[0, -1]]
        here = float(case.grid.axes_mm[axis][index[axis]])
        if bodies:
            edges = bodies[0].occupancy.box_grid.edges_mm(axis)
            low, high = max(low, edges[0] - BORDER_MM), min(high, edges[-1] + BORDER_MM)
        if axis == 0 and high - low > LENGTH_MM:
            low = min(max(low, here - LENGTH_MM / 2), high - LENGTH_MM)
            high = low + LENGTH_MM
        half_voxel = case.grid.spacing_mm[2 - axis] / 2  # the cut itself is always in view
        limits.append((float(min(low, here - half_voxel)), float(max(high, here + half_voxel))))
    return limits


def _draw_cuts(axes: Axes, case: Case, view: View, index: tuple[int, int, int]) -> None:
    """Mark where the two other slices cut this one, at the picture's edges only."""
    x = float(case.grid.axes_mm[view.across][index[view.across]])
    y = float(case.grid.axes_mm[view.up][index[view.up]])
    style = {"color": "white", "linewidth": 0.8, "alpha": 0.8}
    for low, high in ((0.0, 0.03), (0.97, 1.0)):
        axes.axvline(x, low, high, **style)
        axes.axhline(y, low, high, **style)


def _legend_rows(isodose_rows: int, structure_rows: int) -> int:
    """Rows the legend needs; structures beyond its height go to a further column."""
    return max(isodose_rows, min(structure_rows, 14) + 1)


def _draw_legend(
    axes: Axes,
    levels: Sequence[float],
    prescription_gy: float,
    maximum_gy: float,
    outlines: Sequence[tuple[Structure, Rgb]],
) -> None:
    """List isodoses (hot first) and outlines; the axes are in inches, y downwards."""
    width = float(axes.get_xlim()[1])
    room = int(axes.get_ylim()[0] / _ROW_IN) - 2
    column = min(1.75, 0.47 * width)

    def heading(x: float, text: str) -> None:
        axes.text(x, 0.16, text, fontsize=9.5, fontweight="bold", va="center")

    heading(0.05, "Isodose")
    for row, percent in enumerate(sorted(levels, reverse=True), start=2):
        y = row * _ROW_IN + 0.06
        color = isodose_color(percent)
        axes.fill_between([0.05, 0.33], y - 0.055, y + 0.055, color=color, alpha=0.5, lw=0)
        axes.plot([0.05, 0.33], [y - 0.055, y - 0.055], color=color, lw=1.4)
        axes.text(0.78, y, f"{percent:g} %", ha="right", va="center", fontsize=9.2)
        axes.text(
            column - 0.12,
            y,
            f"{percent * prescription_gy / 100:.2f} Gy",
            ha="right",
            va="center",
            fontsize=9.2,
            color=MUTED,
        )
    y = (len(levels) + 2.35) * _ROW_IN + 0.06
    for line in (
        f"100 % = {prescription_gy:.2f} Gy",
        f"Maximum {maximum_gy:.2f} Gy",
        f"({100 * maximum_gy / prescription_gy:.1f} %)",
    ):
        axes.text(0.05, y, line, fontsize=8.2, color=MUTED, va="center")
        y += 0.85 * _ROW_IN

    heading(column, "Outlines")
    columns = 1 if len(outlines) <= room else 2
    step = (width - column) / columns
    for place, (structure, color) in enumerate(outlines[: 2 * room]):
        x = column + step * (place // room)
        y = (place % room + 2) * _ROW_IN + 0.06
        solid = structure.type in (StructureType.TARGET, StructureType.EXTERNAL)
        axes.plot(
            [x, x + 0.3],
            [y, y],
            color=color,
            lw=2.2,
            ls="-" if solid else (0, (2, 0.8)),
            path_effects=[withStroke(linewidth=3.4, foreground=INK, alpha=0.8)],
        )
        letters = int((step - 0.42) / 0.082)
        axes.text(x + 0.38, y, short_text(structure.name, letters), va="center", fontsize=9)
