"""A reference plan in few words: a prompt holds three of them.

Levels are told in % of the highest prescription, so that a planner can carry them over to another
one. What does not fit is left out from the end of each part, and its number is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..optimize import Objective
from ..protocol import Protocol
from ..scorecard import GoalResult
from .actions import Action, AddObjective, ChangeDose, ChangeVolume, ChangeWeight
from .anatomy import AnatomyFact
from .example import DOSES, ORIGINS, Example, TriedStep
from .facts import number
from .quality import goal_effect

#: Characters of a text, at most.
LENGTH = 2500
#: What of it each part that can grow may have; what one leaves goes to the others, in this order.
SHARES = {"objectives": 760, "steps": 520, "anatomy": 480, "missed": 150}
#: A weight or level that differs by less is told as the same.
_SAME_SHARE = 0.01
#: Levels near the prescription are told to three figures, %.
_EXACT_FROM = 90.0
_LEFT_OUT = "({} more left out)"
_TOLD_DOSES = ("mean", "D98%", "D50%", "D2%")
_RING = re.compile(r"zRing(\d)_(.+)")
_PART = re.compile(r"z(.+)_(?:free|core|shell)")


def example_text(example: Example) -> str:
    """The text of a reference plan."""
    protocol = example.protocol
    prescriptions = ", ".join(f"{p.target} {p.dose_gy:g} Gy" for p in protocol.prescriptions)
    origin = ORIGINS[example.origin]
    if example.approved_by:
        origin += ", approved by a person"
    head = [f"Site: {example.site}. Origin: {origin}.", example.remark]
    head.append(
        f"Prescription: {prescriptions} in {protocol.fractions} fractions. Doses and levels are "
        f"in % of {protocol.highest.dose_gy:g} Gy, goals in their own units. To carry a level "
        "over, take its % of your own highest prescription."
    )
    columns = "/".join(name.rstrip("%") for name in _TOLD_DOSES)
    titles = {
        "anatomy": f"Structure: cc; mm to the nearest target; % in targets; final {columns}",
        "objectives": "Final objectives: level/volume % w weight (was: in the first plan)",
        "steps": "Steps after the first plan",
        "missed": _result(example),
    }
    lines = {
        "anatomy": _anatomy_lines(example),
        "objectives": _objective_lines(example),
        "steps": _step_lines(example),
        "missed": _missed_lines(example),
    }
    fixed = sum(len(line) + 1 for line in (*head, *titles.values()))
    allowed = _allowances({k: sum(len(t) + 1 for t in v) for k, v in lines.items()}, fixed)
    parts = ([titles[k], *_fitting(lines[k], allowed[k])] for k in titles)
    return "\n".join((*filter(None, head), *(line for part in parts for line in part)))


def _allowances(needed: dict[str, int], fixed: int) -> dict[str, int]:
    """Characters that each part gets: its share, or less, and of the rest what it needs."""
    scale = min(1.0, (LENGTH - fixed) / sum(SHARES.values()))
    allowed = {key: min(needed[key], int(scale * share)) for key, share in SHARES.items()}
    rest = LENGTH - fixed - sum(allowed.values())
    for key in SHARES:
        more = max(0, min(rest, needed[key] - allowed[key]))
        allowed[key] += more
        rest -= more
    return allowed


def by_nearness(anatomy: Iterable[AnatomyFact]) -> list[AnatomyFact]:
    """Targets, the highest prescription first, then organs, the nearest first."""

    def key(fact: AnatomyFact) -> tuple:
        gap = fact.distance_mm if fact.distance_mm is not None else 0.0
        return -(fact.prescription_gy or 0.0), gap, -fact.overlap_percent

    return sorted(anatomy, key=key)


def _anatomy_lines(example: Example) -> list[str]:
    highest_gy = example.protocol.highest.dose_gy
    columns = [DOSES.index(name) for name in _TOLD_DOSES]
    lines = []
    for fact in by_nearness(example.anatomy):
        row = example.doses.get(fact.structure)
        doses = "/".join(f"{100 * row[k] / highest_gy:.0f}" for k in columns) if row else "outside"
        gap = "" if fact.distance_mm is None else f"{fact.distance_mm:.0f}"
        overlap = f"{fact.overlap_percent:.0f}"
        place = "" if fact.prescription_gy else f"; {gap}; {overlap}"
        lines.append(f"{fact.structure}: {number(fact.volume_cc)}{place}; {doses}")
    return lines


def _objective_lines(example: Example) -> list[str]:
    """One line per structure, targets first, then organs by nearness, then rings.

    Rings and parts around targets that the case lacks, for which the plan is shown, say nothing
    there: they are left out.
    """
    order = [fact.structure for fact in by_nearness(example.anatomy)]
    first = {o.id: o for o in example.steps[0].objectives}
    groups: dict[str, dict[tuple[str, str], list[str]]] = {}
    rings: dict[str, set[str]] = {}

    def place(objective: Objective) -> tuple:
        part, ring = _PART.fullmatch(objective.structure), _RING.fullmatch(objective.structure)
        of = part[1] if part else ring[2] if ring else objective.structure
        known = order.index(of) if of in order else len(order)
        return ring is not None, known, part is not None

    lacking: dict[str, None] = {}
    for objective in sorted(example.best.objectives, key=place):
        ring = _RING.fullmatch(objective.structure)
        part = _PART.fullmatch(objective.structure)
        of = ring[2] if ring else part[1] if part else ""
        if (
            example.shown_for is not None
            and of in example.protocol.prescription_gy
            and of not in example.shown_for
        ):
            lacking[of] = None
            continue
        name = objective.structure
        if ring:
            name = f"zRing*_{ring[2]}"
            rings.setdefault(name, set()).add(ring[1])
        before = first.get(objective.id)
        kind = objective.function, _weight(objective, before)
        point = _point(objective, before, example.protocol)
        groups.setdefault(name, {}).setdefault(kind, []).append(point)
    lines: dict[str, list[str]] = {}
    for name, kinds in groups.items():
        parts = (
            " ".join(t for t in (function, ", ".join(p for p in points if p), weight) if t)
            for (function, weight), points in kinds.items()
        )
        if name in rings:
            name = name.replace("*", ",".join(sorted(rings[name])))
        lines.setdefault("; ".join(parts), []).append(name)
    told = [f"{', '.join(names)}: {text}" for text, names in lines.items()]
    if lacking:
        told.append(f"(parts and rings of {', '.join(lacking)}, not in your case, are left out)")
    return told


def _weight(objective: Objective, before: Objective | None) -> str:
    text = f"w{number(objective.weight)}"
    if before is None:
        return f"{text} (new)"
    changed = abs(objective.weight / before.weight - 1) > _SAME_SHARE
    return f"{text} (was {number(before.weight)})" if changed else text


def _point(objective: Objective, before: Objective | None, protocol: Protocol) -> str:
    """Level and volume, and what was different in the first plan."""
    level, volume = _level(objective, protocol), _volume(objective)
    exponent = "" if objective.exponent is None else f" a{objective.exponent:g}"
    was = ""
    if before is not None:
        if _level(before, protocol) != level:
            was = f" (was {_level(before, protocol)}{_volume(before)})"
        elif _volume(before) != volume:
            was = f" (was {_volume(before)})"
    return f"{level}{volume}{exponent}{was}"


def _level(objective: Objective, protocol: Protocol) -> str:
    if objective.dose_map is not None:
        return "by voxel"
    if objective.dose_gy is None:
        return ""
    percent = 100 * objective.dose_gy / protocol.highest.dose_gy
    return number(percent, 3 if percent > _EXACT_FROM else 2)


def _volume(objective: Objective) -> str:
    return "" if objective.volume_percent is None else f"/{number(objective.volume_percent, 2)}"


def _step_lines(example: Example) -> list[str]:
    """Kept steps and what they did, then the undone ones, alike ones together."""
    kept, undone = [], {}
    for index, step in enumerate(example.steps):
        if step.base is None:
            continue
        base = example.steps[step.base]
        if step.kept:
            changes = _changes(step.actions, base.objectives)
            kept.append(f"{index} kept: {changes} → {_effect(base, step)}")
        else:
            changes = _changes(step.actions, base.objectives, by_how_much=False)
            undone.setdefault(changes, []).append(index)
    lines = []
    for changes, where in undone.items():
        last = example.steps[where[-1]]
        cost = _effect(example.steps[last.base], last, most=1, only="worse")
        lines.append(f"{','.join(map(str, where))} undone: {changes} → {cost}")
    return [*kept, *lines] or ["none"]


def _changes(
    actions: Sequence[Action], before: Sequence[Objective], by_how_much: bool = True
) -> str:
    """What a step's actions did, alike ones together, those of most objectives first."""
    present = {o.id: o for o in before}
    groups: dict[str, tuple[list[str], list[float]]] = {}
    for action in actions:
        if isinstance(action, AddObjective):
            objective, what, factor = action.objective, "added", 1.0
            present[objective.id] = objective
        else:
            objective = present[action.objective_id]
            what, factor = _moved(action, objective)
            if factor != 1:
                what += " up" if factor > 1 else " down"
        names, factors = groups.setdefault(f"{objective.function} {what}", ([], []))
        factors.append(factor)
        if objective.structure not in names:
            names.append(objective.structure)
    parts = []
    for what, (names, factors) in sorted(groups.items(), key=lambda g: -len(g[1][1])):
        ends = dict.fromkeys(number(f, 2) for f in (min(factors), max(factors)))
        if by_how_much and set(factors) != {1.0}:
            what = f"{what.rpartition(' ')[0]} ×{'-'.join(ends)}"
        parts.append(f"{what} of {_some(names)}")
    return _some(parts, "; ")


def _moved(action: Action, objective: Objective) -> tuple[str, float]:
    """What an action changes of an objective, and by which factor."""
    if isinstance(action, ChangeWeight):
        return "weight", action.factor
    if isinstance(action, ChangeDose):
        return "level", action.dose_gy / objective.dose_gy if objective.dose_gy else 1.0
    if isinstance(action, ChangeVolume):
        old = objective.volume_percent
        return "volume", action.volume_percent / old if old else 1.0
    return "removed", 1.0


def _some(texts: Sequence[str], separator: str = ", ", most: int = 3) -> str:
    more = f" +{len(texts) - most}" if len(texts) > most else ""
    return separator.join(texts[:most]) + more


def _effect(before: TriedStep, after: TriedStep, most: int = 3, only: str = "") -> str:
    """The goals that were met or lost, then those that changed most; only better or worse ones."""
    changed = []
    for b, a in zip(before.goals, after.goals, strict=True):
        effect = goal_effect(b, a)
        if effect in ("", "same") or (only and effect != only):
            continue
        size = abs(a.achieved - b.achieved) / max(abs(a.goal.value), 1e-9)
        now = "" if a.met == b.met else " now met" if a.met else " now missed"
        text = f"{a.goal.structure} {a.goal.metric} {_value(b)}→{_value(a)} {a.goal.unit}{now}"
        changed.append((not now, -size, text))
    # One goal per structure and metric: tables often have a must and a wish for the same.
    told = list(dict.fromkeys(text for *_, text in sorted(changed)))[:most]
    return ", ".join(told) or f"no goal {only or 'changed'}"


def _value(result: GoalResult) -> str:
    return f"{result.achieved:.{1 if result.goal.unit else 2}f}"


def _result(example: Example) -> str:
    target = example.protocol.primary.target
    met = (
        "all"
        if example.goals_met == example.goals_total
        else f"{example.goals_met} of {example.goals_total}"
    )
    return (
        f"Result: {met} goals met; {target} homogeneity index "
        f"{example.homogeneity_index:.1f}, conformity index {example.conformity_index:.2f}."
    )


def _missed_lines(example: Example) -> list[str]:
    missed = [r for r in example.best.goals if r.met is False]
    missed.sort(key=lambda r: (r.goal.priority, r.relative_margin))
    return [f"Missed (priority {r.goal.priority}): {r.goal.label}, is {_value(r)}" for r in missed]


def _fitting(lines: Sequence[str], most: int) -> list[str]:
    """The lines that fit into so many characters, the first first, and how many do not."""
    if sum(len(line) + 1 for line in lines) <= most:
        return list(lines)
    kept, used = [], len(_LEFT_OUT.format(len(lines))) + 1
    for line in lines:
        if used + len(line) < most:
            kept.append(line)
            used += len(line) + 1
    return [*kept, _LEFT_OUT.format(len(lines) - len(kept))]
