"""Which of two plans is better, and what changed between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..metrics import Metric
from ..optimize import ConstraintOutcome
from ..optimize.constraints import TOLERANCE_GY
from ..protocol import Protocol
from ..scorecard import GoalResult, Scorecard

#: Limits every plan is held to, whether or not the protocol says so (ICRU 83: targets'
#: near-minimum at least 95 %, near-maximum at most 107 % of the prescription; nowhere in the body
#: more than the given share of the highest prescription to 0.03 cc). They rank after the goals of
#: priority 2. The near-maximum counts for the highest prescription only (next to it a lower target
#: cannot be cold), and only where the protocol has no such limit of priority 1 or 2; a limit on a
#: point, as D0.03cc, is none, or a whole target could be as hot as its hottest point may be.
NEAR_MINIMUM = 0.95
NEAR_MAXIMUM = 1.07
BODY_MAXIMUM = 1.10
#: An organ's burden: how much of its limits it uses, limits on a maximum counting less, since far
#: below them little is gained; and its mean dose relative to the prescription.
LIMIT_SHARE = 0.7
MAXIMUM_SHARE = 0.2
MEAN_SHARE = 0.3
#: What inhomogeneity, (D2 − D98)/prescription, and non-conformity, 1 − CI, of the target cost.
INHOMOGENEITY_COST = 0.5
NONCONFORMITY_COST = 0.2
#: Violations that differ by less are not ruled on by rank but weighed against the burden: what
#: must be met is met exactly, what should be met is not bought at any price.
STRICT_TOLERANCE = 1e-3
WISH_TOLERANCE = 0.02
#: A goal that is far out of reach does not rule on hundredths of what it is missed by.
RELATIVE_TOLERANCE = 0.01
#: A burden must fall by more than this share to count.
BURDEN_TOLERANCE = 3e-3
#: Parts of the burden that are told of one step, the largest changes first, and the least told.
MOST_PARTS = 6
LEAST_PART = 5e-4
#: A goal's value that moves by less than this share of its limit stays the same.
SAME_SHARE = 0.005
#: A step that leaves less than this share of its prescription to 98 % of a target has lost it.
COLLAPSE_SHARE = 0.90
#: A dose to at most this much of an organ is a maximum.
SMALL_VOLUME_CC = 3.0
SMALL_VOLUME_PERCENT = 5.0
#: Shares of a limit are relative to no less than this (in the limit's unit).
SMALLEST_SCALE = {"Gy": 5.0, "%": 5.0, "cc": 5.0, "": 0.05}


TIER_NAMES = (
    "the number of must-goals unmet",
    "what must-goals are missed by",
    "the number of priority 2 goals unmet",
    "what priority 2 goals are missed by",
    "cold or hot spots (targets' near-minimum and near-maximum, hottest 0.03 cc of the body)",
    "the number of priority 3 goals unmet",
    "what priority 3 goals are missed by",
    "the number of priority 4 goals unmet",
    "what priority 4 goals are missed by",
)


@dataclass(frozen=True)
class PlanQuality:
    """How good a plan is; earlier tiers rule over later ones, and less is better.

    Parameters
    ----------
    tiers : tuple of float
        `Scorecard.rank`, and after priority 2 the shortfall against `NEAR_MINIMUM`,
        `NEAR_MAXIMUM` and `BODY_MAXIMUM`.
    tolerances : tuple of float
        Of each tier.
    burden_parts : tuple of (str, float)
        What organs get, relative to their limits, what goals are missed by, and how uneven and
        loose the dose to the target is: each by its name.
    missed_gy : float
        By how much constraints are missed, in all; it rules over everything else.
    """

    tiers: tuple[float, ...]
    tolerances: tuple[float, ...]
    burden_parts: tuple[tuple[str, float], ...]
    missed_gy: float = 0.0

    @property
    def burden(self) -> float:
        """Sum of all parts."""
        return sum(part for _, part in self.burden_parts)

    def shortcoming(self, other: PlanQuality) -> str:
        """Why this plan is not better than another, in a few words; empty if it is."""
        more_gy = self.missed_gy - other.missed_gy
        if abs(more_gy) > TOLERANCE_GY:
            return f"misses constraints by {more_gy:.2f} Gy more" if more_gy > 0 else ""
        for name, mine, theirs, tolerance in zip(
            TIER_NAMES, self.tiers, other.tiers, self.tolerances, strict=True
        ):
            slack = tolerance + RELATIVE_TOLERANCE * theirs
            if mine > theirs + slack:
                return f"worse in {name}"
            if mine < theirs - slack:
                return ""
        allowed = other.burden * (1 - BURDEN_TOLERANCE)
        if self.burden < allowed:
            return ""
        return (
            "organs, homogeneity and conformity together gained nothing: burden "
            f"{other.burden:.3f} → {self.burden:.3f}, not below {allowed:.3f}"
            f"{self._parts_against(other)}"
        )

    def _parts_against(self, other: PlanQuality) -> str:
        """What moved the burden, the largest parts first."""
        pairs = zip(self.burden_parts, other.burden_parts, strict=True)
        moved = [(name, mine - theirs) for (name, mine), (_, theirs) in pairs]
        told = [part for part in moved if abs(part[1]) >= LEAST_PART]
        told = sorted(told, key=lambda part: -abs(part[1]))[:MOST_PARTS]
        texts = [f"{name} {change:+.3f}" for name, change in told]
        rest = sum(change for _, change in moved) - sum(change for _, change in told)
        if told and abs(rest) >= LEAST_PART:
            texts.append(f"all others {rest:+.3f}")
        return f" ({', '.join(texts)})" if texts else ""


def plan_quality(
    scorecard: Scorecard,
    protocol: Protocol,
    organs: tuple[str, ...],
    external: str,
    constraints: Sequence[ConstraintOutcome] = (),
) -> PlanQuality:
    """Rank value of a plan, from its scorecard and the constraints that it has."""
    rank = scorecard.rank()
    shortfall = target_shortfall(scorecard, protocol) + hot_spot(scorecard, protocol, external)
    tiers = (*rank[:4], shortfall, *rank[4:])
    parts = (
        *((organ, organ_burden(scorecard, protocol, organ)) for organ in organs),
        ("missed goals", sum(rank[1::2])),
        ("cold or hot spots", shortfall),
        ("inhomogeneity", INHOMOGENEITY_COST * inhomogeneity(scorecard, protocol)),
        ("nonconformity", NONCONFORMITY_COST * (1 - scorecard.conformity_index)),
    )
    tolerances = (STRICT_TOLERANCE,) * 5 + (WISH_TOLERANCE,) * (len(tiers) - 5)
    missed_gy = sum(o.violation_gy for o in constraints if not o.kept)
    return PlanQuality(tiers, tolerances, parts, missed_gy)


def target_shortfall(scorecard: Scorecard, protocol: Protocol) -> float:
    """Summed shortfall of all targets against the near-minimum and near-maximum, relative."""
    highest = protocol.highest.dose_gy
    limited = {
        g.structure
        for g in protocol.goals
        if g.op == "<=" and g.priority <= 2 and not _is_point(g.metric)
    }
    total = 0.0
    for prescription in protocol.prescriptions:
        doses = scorecard.structures[prescription.target]
        total += max(0.0, NEAR_MINIMUM - doses["D98%_gy"] / prescription.dose_gy)
        if prescription.dose_gy == highest and prescription.target not in limited:
            total += max(0.0, doses["D2%_gy"] / prescription.dose_gy - NEAR_MAXIMUM)
    return total


def hot_spot(
    scorecard: Scorecard, protocol: Protocol, external: str, margin: float = 0.0
) -> float:
    """How far the hottest 0.03 cc of the body exceed `BODY_MAXIMUM` less a margin, relative."""
    highest = protocol.highest.dose_gy
    hottest = scorecard.structures[external]["D0.03cc_gy"] / highest
    return max(0.0, hottest - BODY_MAXIMUM + margin)


def inhomogeneity(scorecard: Scorecard, protocol: Protocol) -> float:
    """(D2 − D98) of the highest target over its prescription."""
    highest = protocol.highest
    doses = scorecard.structures[highest.target]
    return (doses["D2%_gy"] - doses["D98%_gy"]) / highest.dose_gy


def organ_burden(scorecard: Scorecard, protocol: Protocol, organ: str) -> float:
    """How much of its limits an organ uses (1 = all), and of the prescription on average."""
    used = [
        (MAXIMUM_SHARE if is_maximum(r.goal.metric) else LIMIT_SHARE)
        * r.achieved
        / max(abs(r.goal.value), SMALLEST_SCALE[r.goal.unit])
        for r in scorecard.goals
        if r.goal.structure == organ and r.goal.op == "<=" and r.achieved is not None
    ]
    highest = protocol.highest.dose_gy
    mean = scorecard.structures[organ]["mean_gy"] / highest
    return sum(used) / max(len(used), 1) + MEAN_SHARE * mean


def is_maximum(metric: Metric) -> bool:
    """Whether a metric asks for the dose to no more than a small volume."""
    if metric.kind == "D":
        limit = SMALL_VOLUME_CC if metric.level_unit == "cc" else SMALL_VOLUME_PERCENT
        return metric.level <= limit
    return metric.kind == "max"


def _is_point(metric: Metric) -> bool:
    """Whether a metric asks for the dose to a point: the maximum, or to a volume in cc."""
    return metric.kind == "max" or (metric.kind == "D" and metric.level_unit == "cc")


def goal_effect(before: GoalResult, after: GoalResult) -> str:
    """Whether a goal got ``better``, ``worse`` or stayed the ``same``; empty without a value."""
    if before.achieved is None or after.achieved is None:
        return ""
    goal = after.goal
    gained = after.achieved - before.achieved
    if goal.op == "<=":
        gained = -gained
    if abs(gained) < SAME_SHARE * max(abs(goal.value), SMALLEST_SCALE[goal.unit]):
        return "same"
    return "better" if gained > 0 else "worse"


def collapse(before: Scorecard, after: Scorecard, protocol: Protocol) -> str:
    """Which targets a step has lost, in a few words; empty if it has lost none.

    A target is lost when its near-minimum falls below `COLLAPSE_SHARE` of its prescription, or
    when a must-goal of it that was met is no longer.
    """
    lost = []
    for prescription in protocol.prescriptions:
        floor_gy = COLLAPSE_SHARE * prescription.dose_gy
        was, now = (card.structures[prescription.target]["D98%_gy"] for card in (before, after))
        if now < floor_gy <= was:
            lost.append(f"D98% of {prescription.target} fell to {now:.1f} Gy")
    lost += [
        f"{a.goal.label} is no longer met"
        for b, a in zip(before.goals, after.goals, strict=True)
        if a.goal.structure in protocol.prescription_gy
        and a.goal.priority == 1
        and b.met
        and a.met is False
    ]
    return "; ".join(lost)


def compare(before: Scorecard, after: Scorecard, largest: int = 4) -> str:
    """What a step did, in one sentence: goals newly met or lost, then the largest changes."""
    pairs = [
        (b, a)
        for b, a in zip(before.goals, after.goals, strict=True)
        if a.achieved is not None and b.achieved is not None
    ]
    parts = []
    gained = [a.goal.label for b, a in pairs if a.met and not b.met]
    lost = [a.goal.label for b, a in pairs if b.met and not a.met]
    if gained:
        parts.append(f"now met: {', '.join(gained)}")
    if lost:
        parts.append(f"lost: {', '.join(lost)}")
    changes = sorted(
        pairs,
        key=lambda p: (
            -abs(p[1].achieved - p[0].achieved)
            / max(abs(p[1].goal.value), SMALLEST_SCALE[p[1].goal.unit])
        ),
    )
    moved, seen = [], set()
    for b, a in changes:
        key = (a.goal.structure, str(a.goal.metric))
        if key in seen or abs(a.achieved - b.achieved) < 0.05:
            continue
        seen.add(key)
        moved.append(
            f"{a.goal.structure} {a.goal.metric} {b.achieved:.1f} → {a.achieved:.1f} {a.goal.unit}"
        )
        if len(moved) == largest:
            break
    if moved:
        parts.append("; ".join(m.rstrip() for m in moved))
    return "; ".join(parts) or "nothing changed noticeably"
