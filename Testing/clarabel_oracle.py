"""The optimizer's oracle: an independent convex solver (cvxpy + Clarabel) on the same problem."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from radplan.influence.matrix import InfluenceMatrix
from radplan.optimize import Objective, StructureIndex


def clarabel_cost(
    influence: InfluenceMatrix, index: StructureIndex, objectives: list[Objective]
) -> float:
    """Least cost over all non-negative fluences, in double precision."""
    import cvxpy

    x = cvxpy.Variable(influence.n_beamlets, nonneg=True)
    cost = 0
    for o in objectives:
        voxels = index.all_voxels(o.structure)
        rows = influence.matrix[voxels.rows].astype(np.float64)
        if o.function == "mean_dose":
            cost += o.weight * ((voxels.share @ rows) @ x)
            continue
        root = np.sqrt(voxels.share)
        excess = sparse.diags_array(root) @ rows @ x - root * o.dose_gy
        if o.function == "squared_overdosing":
            excess = cvxpy.pos(excess)
        elif o.function == "squared_underdosing":
            excess = cvxpy.pos(-excess)
        elif o.function != "squared_deviation":
            raise NotImplementedError(o.function)
        cost += o.weight * cvxpy.sum_squares(excess)
    problem = cvxpy.Problem(cvxpy.Minimize(cost))
    problem.solve(solver=cvxpy.CLARABEL)
    return float(problem.value)
