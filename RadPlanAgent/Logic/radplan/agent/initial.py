"""The first objectives of a plan, derived from its protocol alone."""

from __future__ import annotations

from ..case import Case, StructureType
from ..metrics import Metric
from ..optimize import Objective
from ..protocol import ClinicalGoal, Protocol
from .helpers import PlanningStructures, core_name, shell_name

#: Objectives ask for a little more than the goals, since a sum of soft terms never reaches them.
UNDERDOSE_LEVEL = 1.01
OVERDOSE_LEVEL = 1.03
LOWER_TARGET_OVERDOSE_LEVEL = 1.05
ORGAN_LEVEL = 0.9
#: For organs that may get as much as the target.
HOT_ORGAN_LEVEL = 0.98
UNDERDOSE_WEIGHT = 100.0
OVERDOSE_WEIGHT = 50.0
#: Weights of organ objectives by the priority of their goal, 1 (must) to 4 (ideal).
ORGAN_WEIGHT = {1: 30.0, 2: 20.0, 3: 10.0, 4: 5.0}
MEAN_DOSE_WEIGHT = 1.5
RING_WEIGHT = 5.0
#: A dose to less than this is a maximum, not a point of a DVH.
SMALL_VOLUME_CC = 3.0
SMALL_VOLUME_PERCENT = 5.0


def initial_objectives(
    case: Case, protocol: Protocol, structures: PlanningStructures
) -> tuple[Objective, ...]:
    """Objectives from which planning starts.

    Targets get an under- and an overdosing term at their prescription, outside higher targets;
    every organ goal becomes the objective of its kind; every organ also gets a mean-dose term on
    its part outside the targets, by which it is later pushed down; normal tissue is held by rings.
    """
    objectives: list[Objective] = []
    present = structures.occupancies
    highest = max(p.dose_gy for p in protocol.prescriptions)
    for prescription in protocol.prescriptions:
        if prescription.target not in present:
            continue
        part = structures.part_outside_targets(prescription.target)
        dose = prescription.dose_gy
        objectives.append(
            Objective(part, "squared_underdosing", UNDERDOSE_WEIGHT, dose * UNDERDOSE_LEVEL)
        )
        if dose == highest:
            objectives.append(
                Objective(part, "squared_overdosing", OVERDOSE_WEIGHT, dose * OVERDOSE_LEVEL)
            )
        else:
            for name, level_gy in (
                (core_name(prescription.target), dose * LOWER_TARGET_OVERDOSE_LEVEL),
                (shell_name(prescription.target), highest),
            ):
                if name in present:
                    objectives.append(
                        Objective(name, "squared_overdosing", OVERDOSE_WEIGHT, level_gy)
                    )
    targets = {p.target for p in protocol.prescriptions}
    for goal in protocol.goals:
        if goal.structure in present and goal.structure not in targets and goal.op == "<=":
            objective = organ_objective(goal, structures, highest)
            if objective is not None and all(o.id != objective.id for o in objectives):
                objectives.append(objective)
    for organ in case.of_type(StructureType.OAR):
        part = structures.part_outside_targets(organ.name)
        if part in present:
            objectives.append(Objective(part, "mean_dose", MEAN_DOSE_WEIGHT))
    for ring, level_gy in structures.ring_level_gy.items():
        weight = OVERDOSE_WEIGHT if ring in structures.caps else RING_WEIGHT
        objectives.append(Objective(ring, "squared_overdosing", weight, level_gy))
    return tuple(objectives)


def organ_objective(
    goal: ClinicalGoal, structures: PlanningStructures, highest_gy: float
) -> Objective | None:
    """The objective that pursues one organ goal; None where the mean-dose term already does."""
    metric = goal.metric
    weight = ORGAN_WEIGHT[goal.priority]
    volume_cc = structures.occupancies[goal.structure].volume_cc
    free_part = structures.part_outside_targets(goal.structure)
    if metric.kind == "V":
        level_gy = metric.level if metric.level_unit == "Gy" else metric.level / 100 * highest_gy
        percent = goal.value if goal.unit == "%" else 100 * goal.value / volume_cc
        return Objective(
            goal.structure,
            "max_dvh",
            weight,
            level_gy,
            min(100.0, ORGAN_LEVEL * percent),
            id=f"{goal.structure}/max_dvh {metric}",
        )
    limit_gy = goal.value if goal.unit == "Gy" else goal.value / 100 * highest_gy
    if metric.kind == "max" or (metric.kind == "D" and _is_small(metric, volume_cc)):
        part, level_gy = goal.structure, ORGAN_LEVEL * limit_gy
        if limit_gy >= highest_gy:
            level_gy = HOT_ORGAN_LEVEL * limit_gy  # holds inside the target too
        elif limit_gy >= ORGAN_LEVEL * highest_gy:
            part = free_part  # a target needs to exceed it: it can only hold outside
        return Objective(
            part,
            "squared_overdosing",
            weight,
            level_gy,
            id=f"{goal.structure}/squared_overdosing",
        )
    if metric.kind == "D":
        percent = metric.level if metric.level_unit == "%" else 100 * metric.level / volume_cc
        return Objective(
            goal.structure,
            "max_dvh",
            weight,
            ORGAN_LEVEL * limit_gy,
            min(100.0, percent),
            id=f"{goal.structure}/max_dvh {metric}",
        )
    return None


def _is_small(metric: Metric, volume_cc: float) -> bool:
    if metric.level_unit == "cc":
        return metric.level <= max(SMALL_VOLUME_CC, SMALL_VOLUME_PERCENT / 100 * volume_cc)
    return metric.level <= SMALL_VOLUME_PERCENT
