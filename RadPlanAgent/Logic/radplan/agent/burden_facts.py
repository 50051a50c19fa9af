"""What organs bear, as a language model sees it: where there is something to push, and what not.

An organ's burden is what counts for it when two plans are compared (`quality.organ_burden`).
"""

from __future__ import annotations

import numpy as np

from ..geometry import Occupancy
from ..protocol import ClinicalGoal
from .facts import table
from .quality import BURDEN_TOLERANCE, organ_burden, plan_quality
from .view import View

#: Parts of an organ smaller than this have no mean worth telling, cc.
SMALLEST_PART_CC = 0.1


def burdens_text(view: View) -> str:
    """The burden of every organ now and in the first plan, the highest first.

    Below, for organs that miss a mean goal and overlap targets, what the parts inside and outside
    the targets get.
    """
    organs = [n for n in view.situation.organs if n in view.situation.structures.occupancies]
    first, best = view.steps[0].scorecard, view.best.scorecard
    rows = []
    for name in organs:
        token = view.tokens.token(name)
        then, now = (organ_burden(card, view.protocol, token) for card in (first, best))
        rows.append((now, [token, f"{now:.3f}", f"{then:.3f}"]))
    rows.sort(key=lambda row: -row[0])
    lines = [table(["organ", "burden now", "in the first plan"], [row for _, row in rows])]
    lines.append(_total(view))
    lines += [
        text
        for r in view.situation.best.scorecard.goals
        if r.met is False and r.goal.metric.kind == "mean" and r.goal.structure in organs
        if (text := _parts(view, r.goal))
    ]
    return "\n".join(lines)


def _total(view: View) -> str:
    """What the organs' burdens are summed up with when two plans are compared, and the sum."""
    s = view.situation
    quality = plan_quality(s.best.scorecard, s.protocol, tuple(s.organs), s.external)
    organs = set(s.organs)
    others = [f"{n} {part:.3f}" for n, part in quality.burden_parts if n not in organs and part]
    allowed = quality.burden * (1 - BURDEN_TOLERANCE)
    return (
        f"With {', '.join(others)} the sum is {quality.burden:.3f}; where nothing else decides, a "
        f"better plan has less than {allowed:.3f}"
    )


def _parts(view: View, goal: ClinicalGoal) -> str:
    """What an organ's parts outside and inside the targets get; empty if it overlaps none."""
    s = view.situation
    free = s.structures.part_outside_targets(goal.structure)
    if free == goal.structure:
        return ""
    dose = np.asarray(s.dose.dose_gy, np.float64)
    organ = s.structures.occupancies[goal.structure]
    volume_cc, integral = organ.volume_cc, _integral(organ, dose)
    text = f"{view.goals.token(view.hidden_goal(goal))} {view.tokens.token(goal.structure)}: "
    if free is None:
        return f"{text}all of it lies inside targets, mean {integral / volume_cc:.1f} Gy"
    part = s.structures.occupancies[free]
    inside_cc, outside = volume_cc - part.volume_cc, _integral(part, dose)
    if inside_cc < SMALLEST_PART_CC:
        return ""
    needed_gy = (goal.value * volume_cc - (integral - outside)) / part.volume_cc
    text += (
        f"mean {outside / part.volume_cc:.1f} Gy in its {part.volume_cc:.1f} cc outside targets, "
        f"{(integral - outside) / inside_cc:.1f} Gy in its {inside_cc:.1f} cc inside. "
    )
    if needed_gy <= 0:
        return f"{text}The part inside alone is more than the goal allows: it cannot be met"
    return f"{text}To meet the goal the mean outside must fall to {needed_gy:.1f} Gy"


def _integral(occupancy: Occupancy, dose_gy: np.ndarray) -> float:
    """Dose times volume of a structure, Gy·cc."""
    box = tuple(slice(a, b) for a, b in zip(occupancy.start, occupancy.stop, strict=True))
    total = (occupancy.values * dose_gy[box]).sum(dtype=np.float64)
    return float(total) * occupancy.grid.voxel_volume_cc
