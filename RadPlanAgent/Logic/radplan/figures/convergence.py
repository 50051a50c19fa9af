"""How the cost of an optimization falls with time, for several optimizers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from .style import BAD, GOOD, GRID, INK, MUTED, new_figure, short_text, styled

#: What of the vertical axis is shown.
LEAST_PERCENT, MOST_PERCENT = 0.05, 1e4
_LOOKS = ((GOOD, "solid"), (BAD, (0, (6, 1.6))), (INK, (0, (2.2, 1.2))), (MUTED, "dashdot"))


@dataclass(frozen=True)
class CostCurve:
    """Cost of one optimizer against seconds since it was called."""

    name: str
    seconds: Sequence[float]
    cost: Sequence[float]


@styled
def convergence_figure(title: str, curves: Sequence[CostCurve], lowest: float) -> Figure:
    """Draw how far each optimizer is above the lowest cost known, both axes logarithmic.

    Parameters
    ----------
    title : str
    curves : sequence of CostCurve
    lowest : float
        Cost that counts as zero.
    """
    figure = new_figure(6.4, 3.9)
    axes = figure.add_axes((0.12, 0.14, 0.85, 0.76))
    first, last = np.inf, 0.0
    for curve, (color, dashes) in zip(curves, _LOOKS, strict=False):
        above = [max(100 * (cost / lowest - 1), 1e-3) for cost in curve.cost]
        seen = [s for s, a in zip(curve.seconds, above, strict=True) if a <= MOST_PERCENT]
        first, last = min([first, *seen]), max([last, *seen])
        axes.plot(
            curve.seconds, above, color=color, linestyle=dashes, linewidth=1.8, label=curve.name
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="seconds since the optimizer was called, preparation included",
        ylabel="cost above the lowest known, %",
        xlim=(first / 1.2, 1.2 * last),
        ylim=(LEAST_PERCENT, MOST_PERCENT),
    )
    axes.axhline(1, color=MUTED, linewidth=0.8)
    axes.set_title(short_text(title, 60), fontsize=9.5, loc="left")
    axes.grid(color=GRID, linewidth=0.6)
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure
