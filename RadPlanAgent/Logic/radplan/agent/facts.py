"""What a language model is told about a plan in numbers, all computed here.

A model is asked to judge, never to compute: every goal comes with its value, limit, margin and a
sentence that says which way it went. Texts are short, since a prompt holds many, and name
structures, goals and objectives by their tokens only (`radplan.agent.tokens`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..metrics import StructureDose
from ..protocol import ClinicalGoal, Protocol
from ..scorecard import GoalResult, Scorecard
from .tokens import GoalTokens, StructureTokens

PRIORITY_WORDS = {1: "must", 2: "must if possible", 3: "should", 4: "ideal"}
#: Volumes at which a DVH is told, % of the structure.
DVH_VOLUMES_PERCENT = (99.0, 98.0, 95.0, 90.0, 75.0, 50.0, 25.0, 10.0, 5.0, 2.0)
#: A dose to this volume stands for the maximum.
MAXIMUM_VOLUME_CC = 0.03
_MOST_DECIMALS = 4


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with no blanks to pay for."""
    lines = ["|".join(header), "|".join("-" for _ in header)]
    lines += ["|".join(row) for row in rows]
    return "\n".join(f"|{line}|" for line in lines)


def number(value: float, figures: int = 3) -> str:
    """A number with some significant figures, never in exponents, integers in full."""
    if value == 0:
        return "0"
    if abs(value) >= 10 ** (figures - 1):
        return f"{value:.0f}"
    text = f"{value:.{figures}g}"
    return f"{value:.6f}".rstrip("0") if "e" in text else text


@dataclass(frozen=True)
class GoalFact:
    """One clinical goal held against a plan, ready to be read.

    Parameters
    ----------
    goal : str
        Token of the goal, ``G1`` ….
    structure : str
        Token of its structure.
    metric : str
    priority : int
    met : bool or None
        None if the goal cannot be evaluated.
    achieved, margin : float or None
        In `unit`; the margin is positive inside the limit.
    relative_margin : float or None
        Margin over the limit.
    unit : str
    sentence : str
        ``57.3 Gy, limit ≤ 50 Gy: missed by 7.3 Gy (14.6 % of the limit)``
    """

    goal: str
    structure: str
    metric: str
    priority: int
    met: bool | None
    achieved: float | None
    margin: float | None
    relative_margin: float | None
    unit: str
    sentence: str

    @property
    def line(self) -> str:
        """The fact in one line."""
        return f"{self.goal} {self.structure} {self.metric}: {self.sentence}"


def goal_facts(scorecard: Scorecard, tokens: StructureTokens) -> tuple[GoalFact, ...]:
    """All goals by priority; in each the missed ones first, then those with the least to spare."""
    goal_tokens = GoalTokens(scorecard.protocol)

    def key(result: GoalResult) -> tuple:
        return result.goal.priority, result.met is None, result.met is True, result.relative_margin

    return tuple(
        GoalFact(
            goal_tokens.token(r.goal),
            tokens.token(r.goal.structure),
            r.goal.metric.text,
            r.goal.priority,
            r.met,
            r.achieved,
            r.margin,
            r.relative_margin,
            r.goal.unit,
            _sentence(r),
        )
        for r in sorted(scorecard.goals, key=key)
    )


def scorecard_text(scorecard: Scorecard, tokens: StructureTokens) -> str:
    """The scorecard: every goal with a sentence, by priority, and what cannot be evaluated."""
    facts = goal_facts(scorecard, tokens)
    lines = [f"{scorecard.goals_met} of {len(scorecard.evaluable)} goals met."]
    for priority in sorted(PRIORITY_WORDS):
        own = [f for f in facts if f.priority == priority and f.met is not None]
        if own:
            lines.append(f"Priority {priority} ({PRIORITY_WORDS[priority]}):")
            lines += [f"- {fact.line}" for fact in own]
    absent = [f"{f.goal} {f.structure} {f.metric}" for f in facts if f.met is None]
    if absent:
        lines.append(f"Not evaluable, the case lacks the structure: {', '.join(absent)}")
    target = tokens.token(scorecard.protocol.primary.target)
    lines.append(
        f"{target}: homogeneity index {scorecard.homogeneity_index:.1f} (0 is ideal), "
        f"conformity index {scorecard.conformity_index:.2f} (1 is ideal)"
    )
    return "\n".join(lines)


def dvh_text(
    structure_doses: Mapping[str, StructureDose],
    protocol: Protocol,
    external: str,
    tokens: StructureTokens,
) -> str:
    """Doses (Gy) at some volumes, mean and near-maximum of every structure but the body.

    Parameters
    ----------
    structure_doses : mapping of name to StructureDose
    protocol : Protocol
        In the case's names; targets come first, then its organs, then the others.
    external : str
        The body, which is left out.
    tokens : StructureTokens
    """
    order = [n for n in protocol.structures if n in structure_doses]
    order += [n for n in structure_doses if n not in order]
    rows = []
    for name in order:
        if name == external:
            continue
        dose = structure_doses[name]
        values = [dose.mean_gy, *(dose.dose_at_volume_percent(v) for v in DVH_VOLUMES_PERCENT)]
        values.append(dose.dose_at_volume_cc(MAXIMUM_VOLUME_CC))
        rows.append([tokens.token(name), number(dose.volume_cc), *(f"{v:.1f}" for v in values)])
    percent = [f"D{v:g}%" for v in DVH_VOLUMES_PERCENT]
    header = ["Gy", "cc", "mean", *percent, f"D{MAXIMUM_VOLUME_CC:g}cc"]
    return table(header, rows)


def protocol_text(
    protocol: Protocol, tokens: StructureTokens, left_out: Collection[ClinicalGoal] = ()
) -> str:
    """Prescription and goals by priority; nothing of the protocol's free text.

    Goals that cannot be evaluated may be left out: `scorecard_text` names them.
    """
    goal_tokens = GoalTokens(protocol)
    prescriptions = ", ".join(
        f"{tokens.token(p.target)} {p.dose_gy:g} Gy" for p in protocol.prescriptions
    )
    primary = tokens.token(protocol.primary.target)
    lines = [
        f"Prescription: {prescriptions}; {protocol.fractions} fractions. Every plan is scaled so "
        f"that {protocol.coverage} of {primary} is {protocol.primary.dose_gy:g} Gy."
    ]
    told = [g for g in protocol.goals if g not in left_out]
    for priority in sorted({g.priority for g in told}):
        goals = [
            f"{goal_tokens.token(g)} {tokens.token(g.structure)} {g.requirement}"
            for g in told
            if g.priority == priority
        ]
        lines.append(f"Priority {priority} ({PRIORITY_WORDS[priority]}): {'; '.join(goals)}")
    return "\n".join(lines)


def _sentence(result: GoalResult) -> str:
    """Value, limit and margin of one goal in words."""
    goal = result.goal
    if result.met is None:
        return f"limit {goal.limit}: not evaluable, the case has no such structure"
    places = 1 if goal.unit else 2
    while places < _MOST_DECIMALS and not result.met and round(result.margin, places) == 0:
        places += 1  # what is missed must not read as missed by nothing
    unit = f" {goal.unit}" if goal.unit else ""
    relative = ""
    if goal.value:
        relative = f" ({number(100 * abs(result.relative_margin), 2)} % of the limit)"
    if not result.met:
        outcome = f"missed by {abs(result.margin):.{places}f}{unit}{relative}"
    elif round(result.margin, places) == 0:
        outcome = "just met"
    else:
        outcome = f"met with {result.margin:.{places}f}{unit} to spare{relative}"
    note = f"; {result.note}" if result.note else ""
    return f"{result.achieved:.{places}f}{unit}, limit {goal.limit}: {outcome}{note}"
