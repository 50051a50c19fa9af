"""The first objectives of a plan, derived from its protocol alone."""

from __future__ import annotations

from math import inf

from ..case import Case, StructureType
from ..optimize import Objective
from ..protocol import ClinicalGoal, Protocol
from .actions import largest_dose_gy_of
from .helpers import PlanningStructures, core_name, shell_name
from .quality import BODY_MAXIMUM, is_maximum

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
#: Single hot voxels: their volume is small, so their weight is not.
HOT_SPOT_WEIGHT = 3000.0
HOT_SPOT_LEVEL = 0.97


def initial_objectives(
    case: Case, protocol: Protocol, structures: PlanningStructures
) -> tuple[Objective, ...]:
    """Objectives from which planning starts.

    Targets get an under- and an overdosing term at their prescription, outside higher targets;
    every organ goal becomes the objective of its kind; every organ also gets a mean-dose term on
    its part outside the targets, by which it is later pushed down; normal tissue is held by rings.
    """
    present = structures.occupancies
    highest, largest_gy = protocol.highest.dose_gy, largest_dose_gy_of(protocol)
    objectives = target_objectives(protocol, structures)
    targets = set(protocol.targets)
    for goal in protocol.goals:
        if goal.structure in present and goal.structure not in targets and goal.op == "<=":
            objective = organ_objective(goal, structures, highest)
            if objective is not None and (objective.dose_gy or 0) > largest_gy:
                continue  # no plan comes near it
            if objective is not None and all(o.id != objective.id for o in objectives):
                objectives.append(objective)
    for organ in case.of_type(StructureType.OAR):
        part = structures.part_outside_targets(organ.name)
        if part in present:
            objectives.append(Objective(part, "mean_dose", MEAN_DOSE_WEIGHT))
    for ring, level_gy in structures.ring_level_gy.items():
        objectives.append(Objective(ring, "squared_overdosing", RING_WEIGHT, level_gy))
    objectives += [
        hot_spot_objective(protocol, ring, hottest_gy)
        for ring, hottest_gy in structures.ring_hottest_gy.items()
    ]
    return tuple(objectives)


def target_objectives(protocol: Protocol, structures: PlanningStructures) -> list[Objective]:
    """Under- and overdosing terms of every target on its part outside higher targets."""
    objectives: list[Objective] = []
    present = structures.occupancies
    highest = protocol.highest.dose_gy
    for prescription in protocol.prescriptions:
        part = structures.part_outside_targets(prescription.target)
        if part not in present:
            continue  # without a voxel, or inside a higher target and so with its dose
        dose = prescription.dose_gy
        objectives.append(
            Objective(part, "squared_underdosing", UNDERDOSE_WEIGHT, dose * UNDERDOSE_LEVEL)
        )
        if dose == highest:
            objectives.append(
                Objective(part, "squared_overdosing", OVERDOSE_WEIGHT, dose * OVERDOSE_LEVEL)
            )
            objectives.append(hot_spot_objective(protocol, part))
            continue
        core, shell = core_name(prescription.target), shell_name(prescription.target)
        if core in present:
            level_gy = dose * LOWER_TARGET_OVERDOSE_LEVEL
            objectives.append(Objective(core, "squared_overdosing", OVERDOSE_WEIGHT, level_gy))
        if shell in present:
            level_gy = highest * OVERDOSE_LEVEL
            objectives.append(Objective(shell, "squared_overdosing", OVERDOSE_WEIGHT, level_gy))
            objectives.append(hot_spot_objective(protocol, shell))
    return objectives


def hot_spot_id(part: str) -> str:
    """Id of the objective that keeps single hot voxels out of a region."""
    return f"{part}/hot spot"


def hot_spot_objective(protocol: Protocol, part: str, hottest_gy: float = inf) -> Objective:
    """The objective that keeps hot spots of a region below the limit of the highest target.

    Where that is less, below `hottest_gy`.

    An overdosing term is an average over the region, in which one hot voxel weighs nothing; this
    one starts near the limit and weighs much.
    """
    prescription = protocol.highest
    limits_gy = [
        goal.value if goal.unit == "Gy" else goal.value / 100 * prescription.dose_gy
        for goal in protocol.goals
        if goal.structure == prescription.target
        and goal.op == "<="
        and goal.priority <= 2
        and is_maximum(goal.metric)
    ]
    limit_gy = min([*limits_gy, BODY_MAXIMUM * prescription.dose_gy])
    level_gy = max(HOT_SPOT_LEVEL * limit_gy, OVERDOSE_LEVEL * prescription.dose_gy)
    level_gy = min(level_gy, hottest_gy)
    return Objective(part, "squared_overdosing", HOT_SPOT_WEIGHT, level_gy, id=hot_spot_id(part))


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
    if is_maximum(metric):
        part, level_gy = goal.structure, ORGAN_LEVEL * limit_gy
        if limit_gy >= highest_gy:
            level_gy = HOT_ORGAN_LEVEL * limit_gy  # holds inside the target too
        elif limit_gy >= ORGAN_LEVEL * highest_gy:
            # A target needs to exceed it: it can only hold outside.
            if free_part is None:
                return None
            part = free_part
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
