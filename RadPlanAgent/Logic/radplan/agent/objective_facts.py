"""The optimizer's objectives as a language model sees them: what they ask, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..optimize import OBJECTIVE_FUNCTIONS, Objective, StructureIndex
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
    """

    value: float
    residual_gy: float
    cost: float
    cost_share: float
    is_near: bool | None = None

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
    values, near = {}, {}
    for objective in objectives:
        voxels = structures.all_voxels(objective.structure)
        level_gy = structures.level_gy(objective, voxels.rows)
        function = OBJECTIVE_FUNCTIONS[objective.function]
        own = dose[voxels.rows], voxels.share
        values[objective.id] = function.value_and_gradient(*own, level_gy, objective)[0]
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
        )
        for o in objectives
    }


def objectives_text(
    objectives: Sequence[Objective],
    objective_tokens: ObjectiveTokens,
    values: Mapping[str, ObjectiveValue] | None = None,
) -> str:
    """The objectives as a table; those that cost most first, where their values are known.

    The id tells structure and function. Residuals are in Gy: a mean dose, or the root mean square
    by which the dose misses the level (soft maximum, gEUD: by how much it is above). What costs
    next to nothing is said to be binding or idle, and of such hot-spot objectives those that
    differ by their structure alone share a line.
    """
    header = ["objective", "level Gy", "volume %", "a", "weight"]
    if values is not None:
        header += ["residual Gy", "cost %", "state"]
        objectives = sorted(objectives, key=lambda o: -values[o.id].cost)
    rows = []
    folded: dict[tuple[str, ...], list[str]] = {}
    for o in objectives:
        level = "by voxel" if o.dose_map is not None else _optional(o.dose_gy, 4)
        row = [objective_tokens.token(o.id), level, _optional(o.volume_percent)]
        row += [_optional(o.exponent), number(o.weight)]
        if values is not None:
            present = values[o.id]
            row += [f"{present.residual_gy:.2f}", f"{100 * present.cost_share:.1f}"]
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
