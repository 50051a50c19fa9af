"""Ours against an independent convex solver on sub-problems of a real case.

    python Testing/validation/convex.py CASE PROTOCOL [--beamlets N] [--voxels N]

A sub-problem has some of the beamlets, chosen at random and made stronger by as much as there are
fewer of them, and some of the voxels of every structure. Objectives that are not convex are left
out. Clarabel's cost is from Testing/clarabel_oracle.py. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from first_plan import FirstPlan
from scipy import sparse

from radplan.geometry import Occupancy
from radplan.influence.matrix import Beamlets, InfluenceMatrix
from radplan.optimize import FluenceProblem, SolverSettings, StructureIndex, optimize_fluence
from radplan.optimize.interior_point import is_known
from radplan.session_settings import SessionSettings

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from clarabel_oracle import clarabel_cost

SEEDS = (0, 1, 2)
SESSION = SessionSettings().first
SETTINGS = {
    "as a session does": SESSION,
    "descent, as far as it goes": SolverSettings(20_000, 1e-10),
    "to the end": replace(SESSION, small_gradient=1e-6),
}


def main() -> None:
    """Solve the sub-problems with both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case")
    parser.add_argument("protocol")
    parser.add_argument("--beamlets", type=int, default=250)
    parser.add_argument("--voxels", type=int, default=2000)
    options = parser.parse_args()
    plan = FirstPlan.of(options.case, options.protocol)
    objectives = [o for o in plan.objectives if is_known(o) and o.volume_percent is None]
    regions = sampled_regions(plan, {o.structure for o in objectives}, options.voxels)
    index = StructureIndex(regions)
    target = next(o for o in objectives if o.function == "squared_underdosing")
    print(
        f"| case | seed | Clarabel, s | {' | '.join(f'ours {name}, s' for name in SETTINGS)} |\n"
        f"|{'---|' * (3 + len(SETTINGS))}"
    )
    for seed in SEEDS:
        chosen = np.random.default_rng(seed).permutation(plan.influence.n_beamlets)
        influence = of_some_beamlets(plan.influence, np.sort(chosen[: options.beamlets]))
        began = time.perf_counter()
        oracle = clarabel_cost(influence, index, objectives)
        cells = [f"{oracle:.6g}, {time.perf_counter() - began:.0f}"]
        for settings in SETTINGS.values():
            problem = FluenceProblem(influence, index, objectives)
            level = target.dose_gy / problem.mean_dose_per_unit_fluence(target.structure)
            start = np.full(influence.n_beamlets, level)
            result = optimize_fluence(problem, start, settings)
            above = result.objective_value_all_voxels / oracle - 1
            cells.append(f"{above:+.1e}, {result.seconds:.1f}")
        print(f"| {plan.case.name} | {seed} | {' | '.join(cells)} |")


def sampled_regions(plan: FirstPlan, names: set[str], voxels: int) -> dict[str, Occupancy]:
    """Regions that hold only the voxels which a sample of the size has."""
    grid, index = plan.influence.grid, plan.index(voxels)
    regions = {}
    for name in names:
        sample = index.voxels(name)
        filled = np.zeros(grid.size, np.float32)
        filled[sample.rows] = sample.share / sample.share.max()
        regions[name] = Occupancy.from_array(grid, filled.reshape(grid.shape))
    return regions


def of_some_beamlets(influence: InfluenceMatrix, beamlets: np.ndarray) -> InfluenceMatrix:
    """The matrix of some beamlets, stronger by as much as there are fewer of them."""
    matrix = sparse.csr_array(influence.matrix[:, beamlets])
    matrix.data *= np.float32(influence.n_beamlets / beamlets.size)
    places = [getattr(influence.beamlets, field.name)[beamlets] for field in fields(Beamlets)]
    return replace(influence, matrix=matrix, beamlets=Beamlets(*places))


if __name__ == "__main__":
    main()
