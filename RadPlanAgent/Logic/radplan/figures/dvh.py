"""Cumulative dose-volume histograms that can be read in grey and by the colour-blind.

Every curve carries a number that leads to its name, so colour is never the only key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..colors import PALETTE, TARGET_PALETTE, Rgb, rgb_of
from .style import (
    BAD,
    GRID,
    INK,
    MUTED,
    new_figure,
    readable_on_white,
    short_text,
    styled,
)

_WIDTH_IN, _HEIGHT_IN = 10.0, 5.2
_PLOT_IN = (0.62, 0.55, 6.75, 4.45)  # left, bottom, width, height
_ROW_IN = 0.215
#: Line styles of organs in turn: neighbours differ in more than colour.
_DASHES = ("solid", (0, (6, 1.6)), (0, (2.2, 1.2)), (0, (7, 1.5, 1.4, 1.5)))
#: Volumes (%) at which a curve may carry its number.
_TAG_VOLUMES = np.array([50.0, 42, 58, 34, 66, 26, 74, 18, 82, 12, 88, 7, 93])


@dataclass(frozen=True)
class DvhCurve:
    """Cumulative DVH of one structure.

    Parameters
    ----------
    name : str
    dose_gy : ndarray of float, (n,)
        Ascending doses, Gy for the whole course.
    volume_percent : ndarray of float, (n,)
        Part of the volume that receives at least each dose, %.
    is_target : bool
    color : tuple of float, optional
        RGB 0 … 1; from the palette when there is none.
    """

    name: str
    dose_gy: np.ndarray
    volume_percent: np.ndarray
    is_target: bool = False
    color: Rgb | None = None

    def visible(self) -> tuple[np.ndarray, np.ndarray]:
        """Doses and volumes up to the first zero: no line along the axis."""
        zeros = np.flatnonzero(~(self.volume_percent > 0))
        end = zeros[0] + 1 if zeros.size else self.dose_gy.size
        return self.dose_gy[:end], self.volume_percent[:end]

    def dose_at(self, volume_percent: float) -> float:
        """Dose at which the curve falls to a volume (linear between points), for drawing only."""
        falling = np.minimum.accumulate(np.nan_to_num(self.volume_percent))
        return float(np.interp(-volume_percent, -falling, self.dose_gy))


@dataclass(frozen=True)
class GoalMarker:
    """A clinical goal that is a point of the DVH: a limit on the volume at a dose, or reverse.

    `at_most` is True for an upper limit (the curve must pass below and to the left); `met` is None
    where the goal could not be evaluated.
    """

    structure: str
    dose_gy: float
    volume_percent: float
    at_most: bool
    met: bool | None


@styled
def dvh_figure(
    curves: Sequence[DvhCurve],
    *,
    goals: Sequence[GoalMarker] = (),
    reference: Sequence[DvhCurve] = (),
    reference_label: str = "reference",
    prescriptions_gy: Sequence[float] = (),
) -> Figure:
    """Draw cumulative DVHs, targets thick and solid, organs thin, with goals as triangles.

    Parameters
    ----------
    curves : sequence of DvhCurve
    goals : sequence of GoalMarker
        Those of structures without a curve are left out.
    reference : sequence of DvhCurve
        Another dose in the same structures, drawn faint and dotted in the same colours.
    reference_label : str
        What the other dose is.
    prescriptions_gy : sequence of float
        Marked by a vertical line each, Gy.
    """
    ordered = _ordered(curves)
    styles = _styles(ordered)
    figure = new_figure(_WIDTH_IN, _HEIGHT_IN)
    left, bottom, width, height = _PLOT_IN
    axes = figure.add_axes(
        (left / _WIDTH_IN, bottom / _HEIGHT_IN, width / _WIDTH_IN, height / _HEIGHT_IN),
        label="dvh",
    )
    limit = _dose_limit((*curves, *reference), (*prescriptions_gy, *(g.dose_gy for g in goals)))
    axes.set(xlim=(0, limit), ylim=(0, 102), xlabel="Dose (Gy)", ylabel="Volume (%)")
    axes.set_yticks(range(0, 101, 10))
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    for prescription in sorted({float(p) for p in prescriptions_gy}):
        axes.axvline(prescription, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)))
        axes.text(
            prescription, 102.5, f"{prescription:g} Gy", fontsize=7.5, color=MUTED, ha="center"
        )
    by_name = {curve.name: style for curve, style in zip(ordered, styles, strict=True)}
    for curve in reference:
        if curve.name in by_name:
            axes.plot(
                *curve.visible(),
                color=by_name[curve.name]["color"],
                linewidth=1.0,
                linestyle=(0, (1, 1.6)),
                alpha=0.9,
            )
    for curve, style in zip(ordered, styles, strict=True):
        axes.plot(*curve.visible(), **style)
    _draw_goals(axes, [g for g in goals if g.structure in by_name], by_name)
    places = _tag_places(ordered, limit)
    for number, (place, style) in enumerate(zip(places, styles, strict=True), start=1):
        axes.text(*place, str(number), bbox=_tag_box(style["color"]), **_TAG_TEXT)

    legend = figure.add_axes(
        ((left + width + 0.25) / _WIDTH_IN, 0, (_WIDTH_IN - left - width - 0.3) / _WIDTH_IN, 1),
        label="legend",
    )
    legend.set(xlim=(0, _WIDTH_IN - left - width - 0.3), ylim=(_HEIGHT_IN, 0))
    legend.axis("off")
    _draw_legend(legend, ordered, styles, bool(goals), reference_label if reference else "")
    return figure


_TAG_TEXT = {
    "ha": "center",
    "va": "center",
    "fontsize": 7,
    "fontweight": "bold",
    "color": INK,
    "zorder": 6,
}


def _tag_box(color: Rgb) -> dict:
    return {"boxstyle": "circle,pad=0.22", "facecolor": "white", "edgecolor": color, "lw": 1.2}


def _ordered(curves: Sequence[DvhCurve]) -> list[DvhCurve]:
    """Targets first, each group as the curves lie at half the volume, highest dose first."""
    return sorted(curves, key=lambda c: (not c.is_target, -c.dose_at(50.0), c.name))


def _styles(curves: Sequence[DvhCurve]) -> list[dict]:
    styles, targets, organs = [], 0, 0
    for curve in curves:
        if curve.is_target:
            color = curve.color or rgb_of(TARGET_PALETTE[targets % len(TARGET_PALETTE)])
            styles.append({"linewidth": 2.6, "linestyle": "solid", "zorder": 4})
            targets += 1
        else:
            color = curve.color or rgb_of(PALETTE[organs % len(PALETTE)])
            dashes = _DASHES[organs % len(_DASHES)]
            styles.append({"linewidth": 1.5, "linestyle": dashes, "zorder": 3})
            organs += 1
        styles[-1]["color"] = readable_on_white(color)
    return styles


def _dose_limit(curves: Sequence[DvhCurve], doses_gy: Sequence[float]) -> float:
    """Dose up to which something is to be seen, Gy."""
    ends = [0.0]
    for curve in curves:
        seen = np.flatnonzero(curve.volume_percent > 0.02)
        if seen.size:
            ends.append(float(curve.dose_gy[seen[-1]]))
    highest = max(*ends, *doses_gy) if doses_gy else max(ends)
    return 1.04 * highest if highest > 0 else 1.0


def _draw_goals(axes: Axes, goals: Sequence[GoalMarker], by_name: dict[str, dict]) -> None:
    for goal in goals:
        color = by_name[goal.structure]["color"]
        missed = goal.met is False
        axes.plot(
            goal.dose_gy,
            goal.volume_percent,
            marker="v" if goal.at_most else "^",
            markersize=8.5 if missed else 7,
            markerfacecolor="white" if missed else color,
            markeredgecolor=BAD if missed else "white",
            markeredgewidth=1.8 if missed else 0.8,
            linestyle="none",
            clip_on=False,
            zorder=7,
        )


def _tag_places(curves: Sequence[DvhCurve], limit_gy: float) -> list[tuple[float, float]]:
    """Where each curve carries its number: on the curve, far from other curves and numbers."""
    paths = [
        np.column_stack((c.dose_gy / limit_gy * _PLOT_IN[2], c.volume_percent / 102 * _PLOT_IN[3]))
        for c in curves
    ]
    taken: list[np.ndarray] = []
    places = []
    for number, curve in enumerate(curves):
        doses = np.array([curve.dose_at(v) for v in _TAG_VOLUMES])
        spots = np.column_stack((doses / limit_gy * _PLOT_IN[2], _TAG_VOLUMES / 102 * _PLOT_IN[3]))
        others = [p for k, p in enumerate(paths) if k != number]
        room = _distance(spots, others, enough_in=0.22) + 3 * _distance(
            spots, [t[None] for t in taken], enough_in=0.24
        )
        best = int(np.argmax(room))  # the first of equals: nearest to half the volume
        taken.append(spots[best])
        places.append((float(doses[best]), float(_TAG_VOLUMES[best])))
    return places


def _distance(spots: np.ndarray, obstacles: Sequence[np.ndarray], enough_in: float) -> np.ndarray:
    """Distance of each spot to the nearest obstacle, inches, no more than is enough."""
    nearest = np.full(len(spots), enough_in)
    for points in obstacles:
        gaps = np.linalg.norm(spots[:, None, :] - points[None, :, :], axis=2)
        nearest = np.minimum(nearest, np.nan_to_num(gaps, nan=np.inf).min(axis=1))
    return nearest


def _draw_legend(
    axes: Axes,
    curves: Sequence[DvhCurve],
    styles: Sequence[dict],
    with_goals: bool,
    reference_label: str,
) -> None:
    """Name the numbered curves; the axes are in inches, y downwards."""
    width = float(axes.get_xlim()[1])
    keys = (2 if with_goals else 0) + (1 if reference_label else 0)
    rows = len(curves) + 3 + keys
    row = min(_ROW_IN, (_HEIGHT_IN - 0.3) / max(rows, 1))
    size = 8.5 * min(1.0, row / 0.17)
    y = 0.2

    def heading(text: str) -> None:
        nonlocal y
        axes.text(0.0, y, text, fontsize=size + 1, fontweight="bold", va="center")
        y += row

    group = None
    for number, (curve, style) in enumerate(zip(curves, styles, strict=True), start=1):
        if group != curve.is_target:
            y += 0.3 * row if group is not None else 0
            group = curve.is_target
            heading("Targets" if group else "Organs at risk")
        tag = {**_TAG_TEXT, "fontsize": min(7, size - 1)}
        axes.text(0.09, y, str(number), bbox=_tag_box(style["color"]), **tag)
        axes.plot([0.25, 0.68], [y, y], **style)
        letters = int((width - 0.78) / (0.0085 * size))
        axes.text(0.77, y, short_text(curve.name, letters), fontsize=size, va="center")
        y += row
    y += 0.35 * row
    if reference_label:
        axes.plot([0.0, 0.68], [y, y], color=INK, linewidth=1.0, linestyle=(0, (1, 1.6)))
        axes.text(0.77, y, short_text(reference_label, 26), fontsize=size, va="center")
        y += row
    if with_goals:
        for marker, x in (("v", 0.08), ("^", 0.32)):
            axes.plot(x, y, marker=marker, markersize=6.5, color=INK, linestyle="none")
        axes.text(0.5, y, "upper, lower limit: met", fontsize=size, va="center")
        y += row
        for marker, x in (("v", 0.08), ("^", 0.32)):
            axes.plot(
                x,
                y,
                marker=marker,
                markersize=8,
                markerfacecolor="white",
                markeredgecolor=BAD,
                markeredgewidth=1.8,
                linestyle="none",
            )
        axes.text(0.5, y, "hollow, red: not met", fontsize=size, va="center")
