"""How long a change of the objectives takes, from the plan that it is made on.

    python Testing/validation/reoptimize.py CASE PROTOCOL

After the first plan, three changes as planners make them, each from the first plan's fluence with
a session's settings for later steps. Prints a Markdown table, medians of several runs: seconds
until progress is first told; seconds in all, with dose, DVH and scorecard; and how far the cost is
above the least there is, before and after.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from first_plan import FirstPlan

from radplan.optimize import FluenceProblem, Objective, SolverSettings, optimize_fluence
from radplan.optimize.interior_point import is_known
from radplan.session_settings import SessionSettings

SESSION = SessionSettings()
RUNS = 5


def main() -> None:
    """Make the changes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case")
    parser.add_argument("protocol")
    options = parser.parse_args()
    plan = FirstPlan.of(options.case, options.protocol)
    problem = FluenceProblem(plan.influence, plan.index(SESSION.voxel_limit), plan.objectives)
    first = optimize_fluence(problem, plan.flat(problem), SESSION.first)
    plan.evaluator.scorecard(plan.structure_doses(first.fluence), 0)  # makes the samplers
    print(
        f"{plan.case.name}: first plan in {first.seconds:.1f} s\n\n| change | first progress, s "
        "| seconds in all | processor s | of it dose, DVH, scorecard, s | iterations "
        "| cost above the least before, % | after, % |\n|---|---|---|---|---|---|---|---|"
    )
    for name, objectives in changes(plan).items():
        least = least_cost(problem, objectives, first.fluence)
        before = 100 * (problem.exact_cost(objectives, first.fluence).value / least - 1)
        runs = np.array(
            [reoptimized(plan, problem, objectives, first.fluence) for _ in range(RUNS)]
        )
        progress, seconds, processor, judging, iterations, cost = np.median(runs, axis=0)
        print(
            f"| {name} | {progress:.2f} | {seconds:.2f} | {processor:.2f} | {judging:.2f} "
            f"| {iterations:.0f} | {before:.2f} | {100 * (cost / least - 1):.2f} |"
        )


def changes(plan: FirstPlan) -> dict[str, tuple[Objective, ...]]:
    """The plan's objectives after each of three changes."""
    at_first = plan.objectives
    targets = plan.protocol.targets
    organs = [
        (k, o)
        for k, o in enumerate(at_first)
        if o.dose_gy and o.dose_gy > 3 and o.structure in plan.case.names
    ]
    k, lowered = next((k, o) for k, o in organs if o.structure not in targets)
    by_mean = next(o for o in at_first if o.function == "mean_dose")
    added = Objective(by_mean.structure, "geud", 5.0, 25.0, exponent=4.0)
    weighed = at_first[0]
    return {
        f"weight × 2 ({weighed.id})": (
            replace(weighed, weight=2 * weighed.weight),
            *at_first[1:],
        ),
        f"dose − 3 Gy ({lowered.id})": (
            *at_first[:k],
            replace(lowered, dose_gy=lowered.dose_gy - 3),
            *at_first[k + 1 :],
        ),
        f"added ({added.describe()})": (*at_first, added),
    }


def least_cost(
    problem: FluenceProblem, objectives: Sequence[Objective], start: np.ndarray
) -> float:
    """The least cost known: to the end where ours can go there, else after a long descent."""
    settings = SolverSettings(5000, 1e-8)
    if all(is_known(o) for o in objectives):
        settings = replace(SESSION.first, small_gradient=1e-6)
    problem.set_objectives(objectives)
    return optimize_fluence(problem, start, settings).objective_value_all_voxels


def reoptimized(
    plan: FirstPlan,
    problem: FluenceProblem,
    objectives: Sequence[Objective],
    start: np.ndarray,
) -> tuple[float, ...]:
    """Seconds to the first progress, in all, of the processor, and of the judging; and more."""
    told: list[float] = []
    began, processor = time.perf_counter(), time.process_time()
    problem.set_objectives(objectives)
    result = optimize_fluence(
        problem,
        start,
        SESSION.later,
        lambda stage, fraction: told.append(time.perf_counter() - began),
    )
    optimized = time.perf_counter()
    plan.evaluator.scorecard(plan.structure_doses(result.fluence), 1)
    ended = time.perf_counter()
    return (
        told[0],
        ended - began,
        time.process_time() - processor,
        ended - optimized,
        result.iterations,
        result.objective_value_all_voxels,
    )


if __name__ == "__main__":
    main()
