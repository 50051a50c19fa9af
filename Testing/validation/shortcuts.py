"""What each of the optimizer's shortcuts does to the DVH of a first plan.

    python Testing/validation/shortcuts.py CASE PROTOCOL

The first plan is made as a session makes it, and again with one shortcut left out at a time, all
from the same start. Both are scaled to the same coverage. Prints a Markdown table: the largest
differences over all structures, in Gy, and which structure they are in; how much the cost on all
voxels changes; and the time that it takes.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from unittest.mock import patch

import numpy as np
from first_plan import FirstPlan

from radplan.metrics import StructureDose, evaluate_metric, parse_metric
from radplan.optimize import FluenceProblem, SolverSettings, optimize_fluence
from radplan.optimize.interior_point import is_known
from radplan.session_settings import SessionSettings

METRICS = ("D98%", "D50%", "D2%", "mean")
SESSION = SessionSettings()
EVERY_VOXEL = np.iinfo(np.int64).max


class EveryRow(FluenceProblem):
    """Evaluates the dose of every row, counting or not."""

    def watch_near(self, fluence: np.ndarray, margin: float) -> float:
        self.watch_all()
        return 0.0


@dataclass(frozen=True)
class Variant:
    """One way to make the first plan."""

    name: str
    problem: type[FluenceProblem] = FluenceProblem
    settings: SolverSettings = SESSION.first
    voxel_limit: int = SESSION.voxel_limit
    packed: bool = True


PLANNED = Variant("as planned")
VARIANTS = (
    Variant("values in single precision, not 16-bit", packed=False),
    Variant("no voxel left out at first", voxel_limit=EVERY_VOXEL),
    Variant("no idle voxel skipped", problem=EveryRow),
)
LONGER = replace(SESSION.first, max_iterations=5000, relative_improvement=1e-8)
LONG_VARIANTS = (
    Variant("as planned, but for long", settings=LONGER),
    Variant("no shortcut, for long", EveryRow, LONGER, EVERY_VOXEL, False),
)
TO_THE_END = Variant("solved to the end", settings=replace(SESSION.first, small_gradient=1e-6))


@dataclass(frozen=True)
class Outcome:
    """What became of a variant."""

    doses: dict[str, StructureDose]
    cost: float
    seconds: float


def main() -> None:
    """Make the plans and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case")
    parser.add_argument("protocol")
    options = parser.parse_args()
    plan = FirstPlan.of(options.case, options.protocol)
    outcome_of(plan, replace(PLANNED, settings=SolverSettings(max_iterations=2)))  # warms up
    planned = outcome_of(plan, PLANNED)
    variants = [*VARIANTS, *LONG_VARIANTS]
    if all(is_known(o) for o in plan.objectives):
        variants.append(TO_THE_END)
    print(
        f"{plan.case.name}: as planned, cost {planned.cost:.6g} in {planned.seconds:.1f} s\n\n"
        f"| instead | {' | '.join(f'ΔGy of {m}' for m in METRICS)} | cost, % | seconds |\n"
        f"|{'---|' * (len(METRICS) + 3)}"
    )
    for variant in variants:
        other = outcome_of(plan, variant)
        cells = [largest_difference(metric, planned, other) for metric in METRICS]
        change = 100 * (other.cost / planned.cost - 1)
        print(f"| {variant.name} | {' | '.join(cells)} | {change:+.3f} | {other.seconds:.1f} |")


def outcome_of(plan: FirstPlan, variant: Variant) -> Outcome:
    """The first plan made in one way."""
    began = time.perf_counter()
    with as_where_numba_is_missing() if not variant.packed else nullcontext():
        problem = variant.problem(plan.influence, plan.index(variant.voxel_limit), plan.objectives)
    result = optimize_fluence(problem, plan.flat(problem), variant.settings)
    seconds = time.perf_counter() - began
    cost = result.objective_value_all_voxels
    return Outcome(plan.structure_doses(result.fluence), cost, seconds)


def as_where_numba_is_missing() -> AbstractContextManager:
    """Rows made meanwhile are scipy's; exact doses stay compiled."""
    return patch.dict(sys.modules, {"radplan.optimize.kernels": None})


def largest_difference(metric: str, planned: Outcome, other: Outcome) -> str:
    """The largest change of a metric over all structures, and where."""
    parsed = parse_metric(metric)
    changes = {
        name: evaluate_metric(parsed, other.doses[name]) - evaluate_metric(parsed, doses)
        for name, doses in planned.doses.items()
    }
    name = max(changes, key=lambda name: abs(changes[name]))
    return f"{changes[name]:+.2f} ({name})"


if __name__ == "__main__":
    main()
