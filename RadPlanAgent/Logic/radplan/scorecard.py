"""Every goal of a protocol held against a dose: value, limit, margin, met or not.

Margins are positive inside the limit and negative outside, in the goal's unit, whichever way the
goal points. A goal whose structure the case lacks is neither met nor missed: it is not evaluable,
and says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .errors import InputError
from .metrics import (
    CI_FORMULA,
    HI_FORMULA,
    StructureDose,
    conformity_index_95,
    evaluate_metric,
    homogeneity_index_gpt_radplan,
    metric_note,
    parse_metric,
)
from .protocol import ClinicalGoal, Protocol

#: A goal is met if it is missed by no more than this part of its value (5 mGy in 50 Gy): a plan is
#: scaled so that coverage equals the prescription exactly, and DICOM rounds its dose to 16 bits.
GOAL_TOLERANCE = 1e-4
#: The same for a goal of value zero, in its unit.
ZERO_TOLERANCE = 1e-9

#: What is told about every structure, besides its volume; doses in Gy.
_STRUCTURE_METRICS = tuple(
    parse_metric(text)
    for text in "mean min max D99% D98% D95% D50% D5% D2% D0.1cc D0.03cc".split()
)


@dataclass(frozen=True)
class GoalResult:
    """One goal held against a dose.

    Parameters
    ----------
    goal : ClinicalGoal
    achieved : float or None
        The metric's value, in the goal's unit; None if it cannot be evaluated.
    met : bool or None
        None if it cannot be evaluated.
    margin : float or None
        Distance to the limit in the goal's unit, positive inside; never negative for a met goal.
    relative_margin : float or None
        `margin` over the goal's value (over one unit if that is zero).
    note : str
        What a reader must know: why there is no value, or what is special about it.
    """

    goal: ClinicalGoal
    achieved: float | None = None
    met: bool | None = None
    margin: float | None = None
    relative_margin: float | None = None
    note: str = ""

    def to_dict(self) -> dict:
        """The result as ``scorecard.json`` has it."""
        goal = self.goal
        return {
            "structure": goal.structure,
            "metric": goal.metric.text,
            "op": goal.op,
            "value": goal.value,
            "unit": goal.unit,
            "priority": goal.priority,
            "achieved": self.achieved,
            "met": self.met,
            "margin": self.margin,
            "note": self.note,
        }


@dataclass(frozen=True)
class Scorecard:
    """All goals of a protocol, and the doses of all structures, for one plan.

    Parameters
    ----------
    case_name : str
    protocol : Protocol
        In the case's names.
    step : int
        The planning step that the dose is from.
    goals : tuple of GoalResult
        In the protocol's order.
    structures : mapping of str to mapping of str to float
        For every structure ``volume_cc`` and doses: ``mean_gy``, ``D95%_gy`` …
    homogeneity_index, conformity_index : float
        Of the primary target, by `radplan.metrics.HI_FORMULA` and `CI_FORMULA`.
    """

    case_name: str
    protocol: Protocol
    step: int
    goals: tuple[GoalResult, ...]
    structures: Mapping[str, Mapping[str, float]]
    homogeneity_index: float
    conformity_index: float

    @property
    def evaluable(self) -> tuple[GoalResult, ...]:
        """The goals that have a value."""
        return tuple(r for r in self.goals if r.met is not None)

    @property
    def goals_met(self) -> int:
        """How many goals are met."""
        return sum(r.met is True for r in self.goals)

    @property
    def must_met(self) -> bool:
        """Whether no must-goal is missed."""
        return not any(r.met is False and r.goal.priority == 1 for r in self.goals)

    def rank(self) -> tuple[float, ...]:
        """Rank key for comparing plans of one case and protocol: the smaller, the better.

        Number of missed goals of priority 1 and their summed relative violation, then the same
        for priorities 2, 3 and 4. No number of lesser goals makes up for a higher one.
        """
        key: list[float] = []
        for priority in (1, 2, 3, 4):
            missed = [
                -r.relative_margin
                for r in self.goals
                if r.met is False and r.goal.priority == priority
            ]
            key += [float(len(missed)), sum(missed)]
        return tuple(key)

    def to_dict(self) -> dict:
        """The scorecard as ``scorecard.json`` has it."""
        return {
            "case": self.case_name,
            "protocol": self.protocol.name,
            "prescription": [
                {"target": p.target, "dose_gy": p.dose_gy, "fractions": self.protocol.fractions}
                for p in self.protocol.prescriptions
            ],
            "step": self.step,
            "goals": [result.to_dict() for result in self.goals],
            "structures": {name: dict(values) for name, values in self.structures.items()},
            "plan": {
                "target": self.protocol.primary.target,
                "hi": self.homogeneity_index,
                "hi_formula": HI_FORMULA,
                "ci": self.conformity_index,
                "ci_formula": CI_FORMULA,
            },
        }


def evaluate_scorecard(
    case_name: str,
    protocol: Protocol,
    structure_doses: Mapping[str, StructureDose],
    *,
    external_name: str,
    step: int,
) -> Scorecard:
    """Hold a dose against a protocol.

    Parameters
    ----------
    case_name : str
    protocol : Protocol
        In the case's names (`radplan.binding.resolve`).
    structure_doses : mapping
        Sampled dose of every structure of the case that is not empty.
    external_name : str
        Name of the body.
    step : int
        The planning step that the dose is from.

    Raises
    ------
    InputError
        If there is no dose for the primary target or the body.
    """
    for name, role in (
        (protocol.primary.target, "the primary target"),
        (external_name, "the body"),
    ):
        if name not in structure_doses:
            raise InputError(
                f"case {case_name}: no dose for {name}, {role}; it is missing or empty"
            )
    external = structure_doses[external_name]
    primary_dose = structure_doses[protocol.primary.target]
    prescribed_gy = protocol.primary.dose_gy
    return Scorecard(
        case_name,
        protocol,
        step,
        tuple(_judge(goal, protocol, structure_doses, external) for goal in protocol.goals),
        {name: structure_summary(dose) for name, dose in structure_doses.items()},
        homogeneity_index_gpt_radplan(primary_dose, prescribed_gy),
        conformity_index_95(primary_dose, external, prescribed_gy),
    )


def structure_summary(dose: StructureDose) -> dict[str, float]:
    """Volume (cc) and the usual doses (Gy) of one structure."""
    summary = {"volume_cc": dose.volume_cc}
    for metric in _STRUCTURE_METRICS:
        summary[f"{metric}_gy"] = evaluate_metric(metric, dose, unit="Gy")
    return summary


def _judge(
    goal: ClinicalGoal,
    protocol: Protocol,
    structure_doses: Mapping[str, StructureDose],
    external: StructureDose,
) -> GoalResult:
    dose = structure_doses.get(goal.structure)
    if dose is None:
        return GoalResult(goal, note=f"not evaluable: the case has no {goal.structure}")
    achieved = evaluate_metric(
        goal.metric,
        dose,
        unit=goal.unit,
        prescription_gy=protocol.prescription_gy.get(goal.structure),
        external_dose=external,
    )
    return goal_result(goal, achieved, metric_note(goal.metric, dose))


def goal_result(goal: ClinicalGoal, achieved: float, note: str = "") -> GoalResult:
    """A goal held against a value, in the goal's unit."""
    margin = goal.value - achieved if goal.op == "<=" else achieved - goal.value
    met = margin >= -max(GOAL_TOLERANCE * goal.value, ZERO_TOLERANCE)
    if met:
        margin = max(margin, 0.0)
    relative = margin / goal.value if goal.value else margin
    return GoalResult(goal, achieved, met, margin, relative, note)


def scorecard_from_dict(stored: Mapping, protocol: Protocol) -> Scorecard:
    """Read back what `Scorecard.to_dict` wrote, given the same protocol.

    Raises
    ------
    InputError
        If its goals are not the protocol's, or something is missing.
    """
    try:
        results = []
        for row, goal in zip(stored["goals"], protocol.goals, strict=True):
            own = GoalResult(goal).to_dict()
            if any(row[key] != own[key] for key in ("structure", "metric", "op", "value", "unit")):
                raise InputError(f"scorecard: its goals are not those of protocol {protocol.name}")
            known = row["achieved"] is not None
            results.append(
                goal_result(goal, row["achieved"], row["note"])
                if known
                else GoalResult(goal, note=row["note"])
            )
        return Scorecard(
            stored["case"],
            protocol,
            stored["step"],
            tuple(results),
            stored["structures"],
            stored["plan"]["hi"],
            stored["plan"]["ci"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"scorecard: stored one is damaged ({error})") from None


def sorted_for_reading(scorecard: Scorecard) -> tuple[GoalResult, ...]:
    """Missed goals first, by priority and size; then those met; then those not evaluable."""

    def key(result: GoalResult) -> tuple:
        group = {False: 0, True: 1, None: 2}[result.met]
        size = result.relative_margin if result.met is False else 0.0
        return group, result.goal.priority, size

    return tuple(sorted(scorecard.goals, key=key))


def format_scorecard(scorecard: Scorecard) -> str:
    """The scorecard as a plain-text table for a terminal, missed goals first."""
    protocol = scorecard.protocol
    prescriptions = ", ".join(f"{p.target} {p.dose_gy:g} Gy" for p in protocol.prescriptions)
    results = [r for r in sorted_for_reading(scorecard) if r.met is not None]
    header = ("", "prio", "structure", "goal", "achieved", "margin", "")
    rows = [header, *(_row(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    table = [
        "  ".join(
            cell.rjust(width) if column in (4, 5) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines = [
        f"{scorecard.case_name} | {protocol.title} | {prescriptions} in {protocol.fractions} "
        f"fractions | step {scorecard.step}",
        *table,
        f"{scorecard.goals_met} of {len(scorecard.evaluable)} evaluable goals met, "
        f"{'all' if scorecard.must_met else 'not all'} must-goals; "
        f"{protocol.primary.target}: HI {scorecard.homogeneity_index:.2f}, "
        f"CI {scorecard.conformity_index:.3f}",
    ]
    absent = dict.fromkeys(r.goal.structure for r in scorecard.goals if r.met is None)
    if absent:
        lines.append(f"not evaluable, the case lacks them: {', '.join(absent)}")
    if any(not result.goal.verified for result in results):
        lines.append("* limit not checked against its primary source")
    lines.append("UNAPPROVED - RESEARCH USE ONLY")
    return "\n".join(lines)


def _row(result: GoalResult) -> tuple[str, ...]:
    """Cells of an evaluable goal's line."""
    goal = result.goal
    requirement = goal.requirement if goal.verified else f"{goal.requirement} *"
    digits = 3 if goal.unit == "" else 2
    unit = f" {goal.unit}" if goal.unit else ""
    return (
        "met" if result.met else "MISSED",
        str(goal.priority),
        goal.structure,
        requirement,
        f"{result.achieved:.{digits}f}{unit}",
        f"{result.margin:+.{digits}f}{unit}",
        result.note,
    )
