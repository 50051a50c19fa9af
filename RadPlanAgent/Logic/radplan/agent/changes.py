"""What a step did to goals, and to what has no goal, in words for a planner that is a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..scorecard import GoalResult
from .quality import goal_effect
from .tokens import GoalTokens
from .trajectory import Step
from .view import View

#: Goals whose changes are told of one step, the largest first; more if all of them must be told.
MOST_GOALS = 10
#: A dose without a goal that moves by less than this is not told, Gy.
LEAST_CHANGE_GY = 0.3
#: The same for the homogeneity index (%) and the conformity index of the primary target.
LEAST_HI_CHANGE = 0.3
LEAST_CI_CHANGE = 0.005


@dataclass(frozen=True)
class GoalChange:
    """How one value moved, and what that did to the goals that limit it.

    Parameters
    ----------
    size : float
        Share of the (strictest) limit.
    must_be_told : bool
        Whether a goal is met or missed that was not, or a goal of priority 1 moved.
    has_flipped : bool
        Whether a goal is met or missed that was not.
    goals : int
        How many goals limit the value.
    text : str
        ``G11/G15 Rectum V40Gy 31.0 → 36.2 % worse, G15 now MISSED``
    """

    size: float
    must_be_told: bool
    has_flipped: bool
    goals: int
    text: str


def goals_text(before: Step, after: Step, view: View) -> str:
    """Goals that changed: first those newly met or missed, then must-goals, then the largest."""
    changes = goal_changes(before.scorecard.goals, after.scorecard.goals, view.goals)
    always = [c for c in changes if c.must_be_told]
    others = [c for c in changes if not c.must_be_told]
    told = max(0, MOST_GOALS - len(always))
    parts = [c.text for c in (*always, *others[:told])]
    if others[told:]:
        parts.append(f"{sum(c.goals for c in others[told:])} smaller changes")
    same = len(after.scorecard.evaluable) - sum(c.goals for c in changes)
    if same:
        parts.append(f"{same} goal{'s' if same > 1 else ''} the same")
    return "; ".join(parts) or "nothing changed"


def goal_changes(
    before: Sequence[GoalResult], after: Sequence[GoalResult], goals: GoalTokens
) -> list[GoalChange]:
    """Every value with goals that changed: new verdicts, then must-goals, then by size.

    Goals of one value in one direction are told as one.
    """
    groups: dict[tuple[str, str, str], list[tuple[GoalResult, GoalResult]]] = {}
    for b, a in zip(before, after, strict=True):
        effect = goal_effect(b, a)
        if effect and (effect != "same" or a.met != b.met):
            key = (a.goal.structure, a.goal.metric.text, a.goal.op)
            groups.setdefault(key, []).append((b, a))
    changes = [_goal_change(pairs, goals) for pairs in groups.values()]
    return sorted(changes, key=lambda c: (not c.has_flipped, not c.must_be_told, -c.size))


def _goal_change(pairs: Sequence[tuple[GoalResult, GoalResult]], goals: GoalTokens) -> GoalChange:
    tokens = [goals.token(a.goal) for _, a in pairs]
    flipped = [
        (f"{token} " if len(pairs) > 1 else "") + f"now {'met' if a.met else 'MISSED'}"
        for token, (b, a) in zip(tokens, pairs, strict=True)
        if a.met != b.met
    ]
    effects = [e for e in (goal_effect(*pair) for pair in pairs) if e != "same"]
    sizes = [abs(a.achieved - b.achieved) / max(abs(a.goal.value), 1e-9) for b, a in pairs]
    before, after = pairs[0]
    goal = after.goal
    values = _moved(before.achieved, after.achieved, 1 if goal.unit else 3)
    text = f"{'/'.join(tokens)} {goal.structure} {goal.metric} {values} {goal.unit}".rstrip()
    return GoalChange(
        max(sizes),
        bool(flipped) or any(a.goal.priority == 1 for _, a in pairs),
        bool(flipped),
        len(pairs),
        f"{text} {', '.join((*effects[:1], *flipped))}",
    )


def elsewhere_text(before: Step, after: Step, view: View) -> str:
    """What moved without being a goal: organs' means, targets' ends and indices, the maximum.

    Prices and gains that no goal shows; empty if nothing moved noticeably.
    """
    own = {(g.structure, g.metric.text) for g in view.protocol.goals}
    then, now = before.scorecard, after.scorecard
    parts = []
    for structure, metric in _without_goal(view):
        if (structure, metric) in own or structure not in now.structures:
            continue
        values = [card.structures[structure][f"{metric}_gy"] for card in (then, now)]
        if abs(values[1] - values[0]) >= LEAST_CHANGE_GY:
            parts.append(f"{structure} {metric} {_moved(*values, 1)} Gy")
    primary = view.protocol.primary.target
    indices = (
        ("HI", then.homogeneity_index, now.homogeneity_index, LEAST_HI_CHANGE, 1),
        ("CI", then.conformity_index, now.conformity_index, LEAST_CI_CHANGE, 3),
    )
    parts += [
        f"{primary} {name} {_moved(was, is_now, places)}"
        for name, was, is_now, least, places in indices
        if (primary, name) not in own and abs(is_now - was) >= least
    ]
    return "; ".join(parts)


def _without_goal(view: View) -> Iterable[tuple[str, str]]:
    """Structures (tokens) and metrics that count though the protocol may have no goal for them."""
    s, token = view.situation, view.tokens.token
    for target in view.protocol.prescription_gy:
        yield from ((target, "D98%"), (target, "D2%"))
    yield token(s.external), "D0.03cc"
    yield from ((token(organ), "mean") for organ in s.organs)


def _moved(before: float, after: float, places: int) -> str:
    """Two values, with more decimals where they would look alike."""
    if f"{before:.{places}f}" == f"{after:.{places}f}":
        places += 2
    return f"{before:.{places}f} → {after:.{places}f}"
