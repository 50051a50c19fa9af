"""The optimizer's objectives as a language model sees them: what they ask, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..optimize import OBJECTIVE_FUNCTIONS, Objective, StructureIndex, dose_at_volume
from .facts import number, table
from .tokens import HOT_SPOT, ObjectiveTokens

#: An objective whose share of the cost is smaller is told as one of no cost.
NO_COST_SHARE = 0.0005
#: A dose that comes this near to a level, relative, may be held there by the objective.
NEAR_SHARE = 0.01
#: On which side of the level a function begins to count: 1 above it, -1 below it.
_COUNTS = {
    "squared_overdosing": 1,
    "squared_mean_overdosing": 1,
    "soft_maximum": 1,
    "geud": 1,
    "max_dvh": 1,
    "squared_underdosing": -1,
    "min_dvh": -1,
}
#: Dose to this much of a structure stands for its maximum, to the rest of it for its minimum, %.
NEAR_MAXIMUM_PERCENT = 2.0
#: What is told of a structure beside the level of a function.
_NEAR_MAXIMUM = frozenset(("squared_overdosing", "soft_maximum"))
_NEAR_MINIMUM = frozenset(("squared_underdosing",))
_BOTH_ENDS = frozenset(("squared_deviation", "dose_variance"))
#: This function alone is in Gy, the others are in Gy².
_LINEAR = "mean_dose"


@dataclass(frozen=True)
class ObjectiveValue:
    """What one objective measures in a plan.

    Parameters
    ----------
    value : float
        Of its function: Gy for a mean dose, else Gy².
    residual_gy : float
        The same in Gy: the mean dose, or the root mean square of what is too much or too little.
    cost : float
        Value times weight.
    cost_share : float
        Part of the cost of all objectives, 0 … 1.
    is_near : bool or None
        Whether the dose comes within `NEAR_SHARE` of the level from the side that costs nothing,
        or passes it, so that the objective may be what holds it there; None if it has no such
        side.
    now : str
        What the structure gets of what the function limits: see `present_dose`.
    """

    value: float
    residual_gy: float
    cost: float
    cost_share: float
    is_near: bool | None = None
    now: str = ""

    @property
    def state(self) -> str:
        """``binding`` or ``idle`` of an objective that costs next to nothing, else empty."""
        if self.is_near is None or self.cost_share >= NO_COST_SHARE:
            return ""
        return "binding" if self.is_near else "idle"


def objective_values(
    objectives: Sequence[Objective], structures: StructureIndex, dose_gy: np.ndarray
) -> dict[str, ObjectiveValue]:
    """Value and share of the cost of every objective, by its id, on all voxels of a dose.

    Parameters
    ----------
    objectives : sequence of Objective
    structures : StructureIndex
        Structures and helpers on the dose grid.
    dose_gy : ndarray, float, (z, y, x)
        Gy for the whole course. A plan's dose is scaled to its prescription after optimization,
        so this is not exactly what the optimizer ended with.
    """
    dose = np.asarray(dose_gy, np.float64).ravel()
    values, near, present = {}, {}, {}
    for objective in objectives:
        voxels = structures.all_voxels(objective.structure)
        level_gy = structures.level_gy(objective, voxels.rows)
        function = OBJECTIVE_FUNCTIONS[objective.function]
        own = dose[voxels.rows], voxels.share
        values[objective.id] = function.value_and_gradient(*own, level_gy, objective)[0]
        present[objective.id] = present_dose(objective, *own, level_gy)
        side = _COUNTS.get(objective.function)
        near[objective.id] = None
        if side is not None:
            stricter_gy = level_gy * (1 - side * NEAR_SHARE)
            value = function.value_and_gradient(*own, stricter_gy, objective)[0]
            near[objective.id] = bool(value > 0)
    costs = {o.id: o.weight * values[o.id] for o in objectives}
    total = sum(costs.values())
    return {
        o.id: ObjectiveValue(
            values[o.id],
            values[o.id] if o.function == _LINEAR else float(np.sqrt(values[o.id])),
            costs[o.id],
            costs[o.id] / total if total > 0 else 0.0,
            near[o.id],
            present[o.id],
        )
        for o in objectives
    }


def present_dose(
    objective: Objective, dose_gy: np.ndarray, share: np.ndarray, level_gy: float | np.ndarray
) -> str:
    """What a structure gets of what an objective limits, to be read beside level and volume.

    Of a DVH objective the volume that gets at least its level (or the levels of its voxels), of
    what counts above a level D2% (and the maximum, if only that is near or above the level), of
    what counts below it D98%, of what counts on both sides both; the generalized mean of gEUD,
    else the mean.

    Parameters
    ----------
    objective : Objective
    dose_gy : ndarray, float, (n,)
        Of the structure's voxels.
    share : ndarray, float, (n,)
        Part of the structure that each voxel holds; their sum is 1.
    level_gy : float or ndarray (n,)
    """
    function = objective.function
    if objective.volume_percent is not None:
        return f"V {100 * float(share[dose_gy >= level_gy].sum()):.1f} %"
    ends = (100 - NEAR_MAXIMUM_PERCENT, NEAR_MAXIMUM_PERCENT)
    doses_gy = [dose_at_volume(dose_gy, share, percent) for percent in ends]
    low, high = (f"D{p:g}% {gy:.1f}" for p, gy in zip(ends, doses_gy, strict=True))
    if function in _NEAR_MAXIMUM:
        near_level_gy = (1 - NEAR_SHARE) * float(np.min(level_gy))
        hottest_gy = float(dose_gy.max())
        only_hottest = doses_gy[1] < near_level_gy <= hottest_gy
        return f"{high}, max {hottest_gy:.1f}" if only_hottest else high
    if function in _NEAR_MINIMUM:
        return low
    if function in _BOTH_ENDS:
        return f"{low}, {high}"
    if objective.exponent is not None:
        square, _ = OBJECTIVE_FUNCTIONS[function].value_and_gradient(
            dose_gy, share, 0.0, objective
        )
        return f"gEUD {np.sqrt(square):.1f}"
    return f"mean {float(share @ dose_gy):.1f}"


def objectives_text(
    objectives: Sequence[Objective],
    objective_tokens: ObjectiveTokens,
    values: Mapping[str, ObjectiveValue] | None = None,
) -> str:
    """The objectives as a table; those that cost most first, where their values are known.

    The id tells structure and function; "now" is what the structure gets, to be read beside level
    and volume (`present_dose`, doses in Gy). Residuals are in Gy: a mean dose, or the root mean
    square by which the dose misses the level (soft maximum, gEUD: by how much it is above). What
    costs next to nothing is said to be binding or idle, and of such hot-spot objectives those that
    differ by their structure alone share a line.
    """
    header = ["objective", "level Gy", "volume %", "a", "weight"]
    if values is not None:
        header += ["now", "residual Gy", "cost %", "state"]
        objectives = sorted(objectives, key=lambda o: -values[o.id].cost)
    rows = []
    folded: dict[tuple[str, ...], list[str]] = {}
    for o in objectives:
        level = "by voxel" if o.dose_map is not None else _optional(o.dose_gy, 4)
        row = [objective_tokens.token(o.id), level, _optional(o.volume_percent)]
        row += [_optional(o.exponent), number(o.weight)]
        if values is not None:
            present = values[o.id]
            row += [present.now, f"{present.residual_gy:.2f}", f"{100 * present.cost_share:.1f}"]
            row.append(present.state)
            structure, _, rest = row[0].partition("/")
            if row[0].endswith(HOT_SPOT) and present.state:
                folded.setdefault((rest, level, number(o.weight), present.state), []).append(
                    structure
                )
                continue
        rows.append(row)
    # Columns that none of the objectives uses say nothing.
    kept = [k for k in range(len(header)) if k < 2 or any(row[k] for row in rows)]
    lines = [table([header[k] for k in kept], [[row[k] for k in kept] for row in rows])]
    for (rest, level, weight, state), names in folded.items():
        lines.append(
            f"STRUCTURE/{rest}, level {level} Gy, weight {weight}, cost 0.0 %, {state}, for each "
            f"STRUCTURE of: {', '.join(names)}"
        )
    return "\n".join(lines)


def _optional(value: float | None, figures: int = 3) -> str:
    return "" if value is None else number(value, figures)
