"""Goals of a scorecard, ordered and worded for a reader; numbers are the scorecard's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import InputError
from ..figures import GoalMarker
from ..metrics import Metric, parse_metric
from ..protocol import SIGNS
from .folder import mapping, mappings, number, text, whole

#: A goal's identity in all scorecards of a session and in the protocol.
GoalKey = tuple[str, str, str, float | None, str]

_PRIORITY_WORDS = {1: "must", 2: "must-like", 3: "should", 4: "ideal"}
_DECIMALS = {"Gy": 2, "%": 1, "cc": 1}
_MOST_DECIMALS = 4
#: Changes below this part of the limit are not told as a change.
SMALLEST_CHANGE = 0.002
#: The bar that shows how close a goal is ends at this margin, relative to the limit.
BAR_MARGIN = 0.3


@dataclass(frozen=True)
class Goal:
    """One goal of one scorecard.

    `met` and `margin` (in `unit`, positive where met) are None where it could not be evaluated.
    """

    structure: str
    metric: str
    op: str
    limit: float | None
    unit: str
    priority: int | None
    achieved: float | None
    met: bool | None
    margin: float | None
    note: str = ""
    source: str = ""
    verified: bool | None = None

    @property
    def key(self) -> GoalKey:
        """What identifies the goal."""
        return (self.structure, self.metric, self.op, self.limit, self.unit)

    @property
    def is_must(self) -> bool:
        """Whether its priority is 1."""
        return self.priority == 1

    @property
    def requirement(self) -> str:
        """For example ``D95% ≥ 50 Gy``."""
        limit = "?" if self.limit is None else f"{self.limit:g}"
        return f"{self.metric} {SIGNS.get(self.op, self.op)} {limit} {self.unit}".rstrip()

    @property
    def label(self) -> str:
        """Structure and requirement."""
        return f"{self.structure} {self.requirement}"

    @property
    def priority_text(self) -> str:
        """For example ``1 must``."""
        if self.priority is None:
            return "—"
        return f"{self.priority} {_PRIORITY_WORDS.get(self.priority, '')}".rstrip()

    @property
    def relative_margin(self) -> float | None:
        """Margin relative to the limit; None where it has no meaning."""
        if self.margin is None or not self.limit:
            return None
        return self.margin / abs(self.limit)

    @property
    def achieved_text(self) -> str:
        """Achieved value with unit; as many digits as show that a missed goal is missed."""
        if self.achieved is None:
            return "—"
        return with_unit(self._digits(self.achieved), self.unit)

    @property
    def margin_text(self) -> str:
        """Margin with sign and unit; the sign agrees with the verdict."""
        if self.margin is None or self.met is None:
            return "—"
        sign = "+" if self.met else "−"
        return with_unit(f"{sign}{self._digits(abs(self.margin))}", self.unit)

    @property
    def bar_percent(self) -> float | None:
        """Length of the bar from the limit, % of its half: positive inside, negative outside."""
        relative = self.relative_margin
        if relative is None or self.met is None:
            return None
        size = min(1.0, abs(relative) / BAR_MARGIN)
        return round(100 * size if self.met else -100 * size, 1)

    @property
    def bar_is_cut(self) -> bool:
        """Whether the margin is longer than the bar."""
        return self.relative_margin is not None and abs(self.relative_margin) > BAR_MARGIN

    def _digits(self, value: float) -> str:
        """Write a value so that a missed goal does not look met by rounding."""
        places = _DECIMALS.get(self.unit, 3)
        if self.met is False and self.margin:
            while places < _MOST_DECIMALS and round(abs(self.margin), places) == 0:
                places += 1
        return decimals(value, places)


def decimals(value: float, places: int) -> str:
    """Write a number with a real minus sign, and no minus sign before a zero."""
    plain = f"{value:.{places}f}"
    return plain.replace("-", "−") if float(plain) else plain.lstrip("-")


def with_unit(value: str, unit: str) -> str:
    """Value and unit, parted by a space."""
    return f"{value} {unit}".rstrip()


def read_goals(scorecard: Mapping, protocol: Mapping) -> list[Goal]:
    """Goals of a scorecard in its order, with source and verification from the protocol's rows."""
    rows = {_key(row): row for row in mappings(protocol.get("goals"))}
    goals = []
    for item in mappings(scorecard.get("goals")):
        row = mapping(rows.get(_key(item)))
        met = item.get("met")
        verified = row.get("verified")
        goals.append(
            Goal(
                *_key(item),
                priority=whole(item.get("priority")),
                achieved=number(item.get("achieved")),
                met=met if isinstance(met, bool) else None,
                margin=number(item.get("margin")),
                note=text(item.get("note")),
                source=text(row.get("source")),
                verified=verified if isinstance(verified, bool) else None,
            )
        )
    return goals


def _key(item: Mapping) -> GoalKey:
    return (
        text(item.get("structure")),
        text(item.get("metric")),
        text(item.get("op")),
        number(item.get("value")),
        text(item.get("unit")),
    )


def failed_first(goals: Iterable[Goal]) -> list[Goal]:
    """Missed goals, then those not evaluated, then met ones; by priority, then the tightest."""

    def order(goal: Goal) -> tuple:
        verdict = {False: 0, None: 1, True: 2}[goal.met]
        priority = 99 if goal.priority is None else goal.priority
        relative = goal.relative_margin
        return (verdict, priority, 0.0 if relative is None else relative)

    return sorted(goals, key=order)


@dataclass(frozen=True)
class Change:
    """How one goal differs between two plans."""

    goal: Goal
    before: Goal
    better: bool

    @property
    def flipped(self) -> bool:
        """Whether the verdict is another."""
        return self.goal.met is not self.before.met

    @property
    def size(self) -> float:
        """Change of the margin relative to the limit, or in the unit where the limit is 0."""
        return abs(self.goal.margin - self.before.margin) / abs(self.goal.limit or 1.0)

    @property
    def amount_text(self) -> str:
        """Change of the achieved value, with sign and unit."""
        difference = self.goal.achieved - self.before.achieved
        places = _DECIMALS.get(self.goal.unit, 3)
        sign = "+" if difference >= 0 else "−"
        return with_unit(f"{sign}{abs(difference):.{places}f}", self.goal.unit)


def changes(before: Iterable[Goal], after: Iterable[Goal]) -> list[Change]:
    """Goals that differ between two plans, verdicts that changed first, then by size."""
    earlier = {goal.key: goal for goal in before}
    found = []
    for goal in after:
        old = earlier.get(goal.key)
        numbers = (goal.margin, goal.achieved, old and old.margin, old and old.achieved)
        if any(n is None for n in numbers):
            continue
        change = Change(goal, old, goal.margin > old.margin)
        if change.size >= SMALLEST_CHANGE or change.flipped:
            found.append(change)
    return sorted(found, key=lambda c: (not c.flipped, -c.size))


@dataclass(frozen=True)
class Verdict:
    """The plan in one sentence; `tone` is good, fair (only other goals missed) or bad."""

    headline: str
    musts: str
    tone: str
    not_evaluated: int


def verdict(goals: Iterable[Goal], constraints_kept: Sequence[bool] = ()) -> Verdict:
    """Count the goals, and the constraints that are missed."""
    goals = list(goals)
    judged = [g for g in goals if g.met is not None]
    met = [g for g in judged if g.met]
    musts = [g for g in goals if g.is_must]
    missed = [g for g in musts if g.met is False]
    unknown = [g for g in musts if g.met is None]
    if not musts:
        sentence = "The protocol has no must-goals."
    elif missed:
        sentence = f"{len(missed)} of {_count(len(musts), 'must-goal')} {_are(missed)} not met."
    elif unknown:
        sentence = (
            f"{len(unknown)} of {_count(len(musts), 'must-goal')} could not be evaluated; "
            "no other is missed."
        )
    else:
        sentence = "All must-goals are met." if len(musts) > 1 else "The one must-goal is met."
    if broken := constraints_kept.count(False):
        sentence += f" {broken} of {_count(len(constraints_kept), 'constraint')} not kept."
    bad = missed or unknown or broken
    tone = "bad" if bad else "good" if len(met) == len(goals) > 0 else "fair"
    return Verdict(
        f"{len(met)} of {_count(len(judged), 'goal')} met",
        sentence,
        tone,
        len(goals) - len(judged),
    )


def _count(number_of: int, word: str) -> str:
    return f"{number_of} {word}{'' if number_of == 1 else 's'}"


def _are(items: list) -> str:
    return "is" if len(items) == 1 else "are"


def goal_marker(
    goal: Goal, prescriptions_gy: Mapping[str, float], volume_cc: float | None
) -> GoalMarker | None:
    """Return the goal as a point of the DVH; None if it is none or a size is missing."""
    if goal.limit is None or goal.op not in ("<=", ">=", "<", ">"):
        return None
    try:
        metric = parse_metric(goal.metric)
    except InputError:
        return None
    prescription = prescriptions_gy.get(goal.structure)
    if metric.kind == "V":
        dose = _gy(metric.level, metric.level_unit, prescription)
        volume = _percent(goal.limit, goal.unit, volume_cc)
    elif metric.kind in ("D", "max", "min"):
        dose = _gy(goal.limit, goal.unit, prescription)
        volume = _dose_metric_volume(metric, volume_cc)
    else:
        return None
    if dose is None or volume is None:
        return None
    return GoalMarker(goal.structure, dose, min(100.0, volume), goal.op.startswith("<"), goal.met)


def _gy(value: float, unit: str, prescription_gy: float | None) -> float | None:
    if unit == "Gy":
        return value
    return value * prescription_gy / 100 if unit == "%" and prescription_gy else None


def _percent(value: float, unit: str, volume_cc: float | None) -> float | None:
    if unit == "%":
        return value
    return 100 * value / volume_cc if unit == "cc" and volume_cc else None


def _dose_metric_volume(metric: Metric, volume_cc: float | None) -> float | None:
    if metric.kind == "D":
        return _percent(metric.level, metric.level_unit, volume_cc)
    return 0.0 if metric.kind == "max" else 100.0
