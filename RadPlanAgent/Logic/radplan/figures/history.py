"""What each planning step did to each clinical goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .style import INK, MUTED, new_figure, short_text, styled

#: Margins of this part of the limit, or more, have the full colour.
FULL_COLOR_MARGIN = 0.25
#: Steps up to which every cell holds its number; beyond, a sign.
MOST_NUMBERED_STEPS = 20
_LABEL_IN = 2.55
_ROW_IN = 0.27
_WIDTH_IN = 10.0
#: Light enough for dark numbers at a contrast above 4.5 : 1.
_MISSED = LinearSegmentedColormap.from_list("missed", ["#fbe6df", "#e0725c"])
_MET = LinearSegmentedColormap.from_list("met", ["#eaf5f0", "#62b996"])


@dataclass(frozen=True)
class StepLabel:
    """A column: the step's index, whether its changes were kept, and whether it is the plan."""

    index: int
    kept: bool
    is_best: bool = False


@dataclass(frozen=True)
class GoalHistory:
    """A row: one goal over all steps.

    Parameters
    ----------
    label : str
        For example ``Parotid_L mean ≤ 26 Gy``.
    limit : float
        The goal's value, in its unit; colours show margins relative to it.
    margins : tuple of float or None
        Margin at every step in the goal's unit, positive where met; None where not evaluated.
    met : tuple of bool or None
        The verdict at every step; it decides between green and red, the margin only how strong.
    """

    label: str
    limit: float
    margins: tuple[float | None, ...]
    met: tuple[bool | None, ...]


@styled
def trajectory_figure(goals: Sequence[GoalHistory], steps: Sequence[StepLabel]) -> Figure:
    """Draw goals × steps as a heat table: the margin of every goal at every step.

    Green with a plus sign is met, red with a minus sign is not; steps whose changes were undone
    are marked in the heading; the plan's step is framed.

    Raises
    ------
    ValueError
        If a goal has not one margin and one verdict for each step.
    """
    for goal in goals:
        if not len(goal.margins) == len(goal.met) == len(steps):
            raise ValueError(f"goal {goal.label}: {len(goal.margins)} margins, {len(steps)} steps")
    heading, footer = 0.52, 0.42
    height = heading + footer + _ROW_IN * max(len(goals), 1)
    figure = new_figure(_WIDTH_IN, height)
    axes = figure.add_axes((0, 0, 1, 1), label="trajectory")
    axes.set(xlim=(0, _WIDTH_IN), ylim=(height, 0))
    axes.axis("off")
    cell = min(0.85, (_WIDTH_IN - _LABEL_IN - 0.05) / max(len(steps), 1))
    numbered = len(steps) <= MOST_NUMBERED_STEPS
    _draw_heading(axes, steps, cell, heading)
    for row, goal in enumerate(goals):
        y = heading + row * _ROW_IN
        axes.text(
            _LABEL_IN - 0.1, y + _ROW_IN / 2, short_text(goal.label, 38), ha="right", va="center"
        )
        for column in range(len(steps)):
            _draw_cell(axes, goal, column, (_LABEL_IN + column * cell, y, cell), numbered)
    for column, step in enumerate(steps):
        if step.is_best:
            frame = (_LABEL_IN + column * cell, heading - 0.02)
            size = (cell, _ROW_IN * len(goals) + 0.04)
            axes.add_patch(Rectangle(frame, *size, fill=False, edgecolor=INK, linewidth=2.2))
    unit = "numbers: margin in the goal's unit; " if numbered else ""
    axes.text(
        0.1,
        height - footer / 2,
        "green +  met     red −  not met     ·  not evaluated     ▼ framed: the plan     "
        f"× undone     ({unit}colour: margin relative to the limit)",
        fontsize=7.5,
        color=MUTED,
        va="center",
    )
    return figure


def _draw_heading(axes: Axes, steps: Sequence[StepLabel], cell: float, heading: float) -> None:
    axes.text(_LABEL_IN - 0.1, heading - 0.14, "Step", ha="right", va="center", color=MUTED)
    narrow = cell < 0.24  # too narrow for a number over every column
    marks = ("plan", "undone") if cell >= 0.5 else ("▼", "×")
    for column, step in enumerate(steps):
        x = _LABEL_IN + (column + 0.5) * cell
        if not narrow or step.is_best or column % 2 == 0:
            axes.text(
                x,
                heading - 0.14,
                str(step.index),
                ha="center",
                va="center",
                fontsize=7 if narrow else 8.5,
                fontweight="bold" if step.is_best else "normal",
                color=INK if step.kept else MUTED,
            )
        note = marks[0] if step.is_best else "" if step.kept else marks[1]
        axes.text(
            x,
            heading - 0.34,
            note,
            ha="center",
            va="center",
            fontsize=7.5,
            fontweight="bold" if step.is_best else "normal",
            color=INK if step.is_best else MUTED,
        )


def _draw_cell(
    axes: Axes,
    goal: GoalHistory,
    column: int,
    box: tuple[float, float, float],
    numbered: bool,
) -> None:
    """Draw one margin in a box of left, top and width, inches."""
    left, top, width = box
    margin, met = goal.margins[column], goal.met[column]
    axes.add_patch(
        Rectangle(
            (left, top),
            width,
            _ROW_IN,
            facecolor=_cell_color(goal, column),
            edgecolor="white",
            linewidth=1.2,
        )
    )
    if met is None:
        text = "·"
    elif numbered and margin is not None:
        text = signed(margin, met)
    else:
        text = "+" if met else "−"
    axes.text(
        left + width / 2,
        top + _ROW_IN / 2 + 0.005,
        text,
        ha="center",
        va="center",
        fontsize=7.5 if width >= 0.44 else 6.5,
        fontweight="normal" if met else "bold",
    )


def _cell_color(goal: GoalHistory, column: int) -> tuple[float, ...]:
    margin, met = goal.margins[column], goal.met[column]
    if met is None:
        return (0.93, 0.94, 0.95)
    if margin is None or goal.limit == 0:
        strength = 0.4
    else:
        # The root keeps small misses visible: 1 % of the limit has a fifth of the full colour.
        strength = np.sqrt(min(1.0, abs(margin / goal.limit) / FULL_COLOR_MARGIN))
    return (_MET if met else _MISSED)(strength)


def signed(margin: float, met: bool) -> str:
    """Write a margin with a sign that agrees with the verdict, even where it rounds to zero."""
    size = abs(margin)
    digits = 2 if size < 1 else 1 if size < 100 else 0
    return f"{'+' if met else '−'}{size:.{digits}f}"
