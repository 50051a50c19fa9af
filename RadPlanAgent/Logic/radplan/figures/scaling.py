"""How the time of an evaluation grows with the entries of the influence matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from .style import BAD, GOOD, GRID, INK, MUTED, new_figure, short_text, styled


@dataclass(frozen=True)
class EvaluationTime:
    """Processor time of one evaluation of cost and gradient, and what was evaluated."""

    entries: int
    milliseconds: float
    beams: int
    spacing_mm: float


@styled
def scaling_figure(case: str, times: Sequence[EvaluationTime]) -> Figure:
    """Draw time against entries, both axes logarithmic, beside a line of proportionality.

    Parameters
    ----------
    case : str
    times : sequence of EvaluationTime
        Those on the coarsest grid are drawn as more beams, the others as finer grids.
    """
    figure = new_figure(6.4, 3.9)
    axes = figure.add_axes((0.11, 0.14, 0.86, 0.76))
    coarsest = max(t.spacing_mm for t in times)
    entries = np.array([t.entries for t in times]) / 1e6
    typical = np.median([t.milliseconds / (t.entries / 1e6) for t in times])
    ends = np.array([entries.min() / 1.5, entries.max() * 1.5])
    axes.plot(
        ends, typical * ends, color=MUTED, linewidth=0.9, label=f"{typical:.2f} ns per entry"
    )
    groups = (
        ("more beams", GOOD, "o", [t for t in times if t.spacing_mm == coarsest], (8, -9, "left")),
        ("finer grids", BAD, "s", [t for t in times if t.spacing_mm < coarsest], (-8, 6, "right")),
    )
    for label, color, marker, group, (right, up, side) in groups:
        axes.plot(
            [t.entries / 1e6 for t in group],
            [t.milliseconds for t in group],
            color=color, marker=marker, markersize=5.5, linestyle="none", label=label,
        )  # fmt: skip
        for t in group:
            beams = "beam" if t.beams == 1 else "beams"
            axes.annotate(
                f"{t.beams} {beams}, {t.spacing_mm:g} mm",
                (t.entries / 1e6, t.milliseconds),
                xytext=(right, up), ha=side, textcoords="offset points", fontsize=7.5, color=INK,
            )  # fmt: skip
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(ends[0], ends[1] * 2),
        xlabel="entries in the rows that count, million",
        ylabel="processor time of an evaluation, ms",
    )
    axes.set_title(
        short_text(f"{case}: cost and gradient, all rows that count evaluated", 70),
        fontsize=9.5,
        loc="left",
    )
    axes.grid(color=GRID, linewidth=0.6)
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure
