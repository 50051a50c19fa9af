"""Convex problems solved to the end: a primal-dual interior point method.

L-BFGS-B comes close to the optimum quickly and then needs thousands of iterations for the rest.
This method takes some thirty, each of which makes and factorises the matrix of second derivatives
(beamlets × beamlets). It needs objectives that are squared distances above or below a level, and
mean doses; with those the problem is a convex quadratic programme.

Written with one variable s per voxel of an objective, the problem is
minimize Σ w·s² + c·x over x ≥ 0 and s ≥ t, with t = ±(dose − level) the distance in Gy, w the
objective's weight times the voxel's share and c the mean-dose terms. With the multipliers y of
s ≥ t, s = y/2w follows from the conditions of optimality, so what is left are x and its
multipliers z, y, and the slack v = s − t (Nocedal & Wright 2006, Numerical Optimization, 2nd ed.,
section 16.6; predictor and corrector after Mehrotra 1992, SIAM J Optim 2:575).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import blas, lapack

from ..errors import InputError
from ..progress import CancelRequested, ProgressReport
from .objectives import Objective
from .problem import FluenceProblem
from .verify import exact_back_project, exact_dose, projected_gradient_norm

#: Distances that each objective function squares: +1 above the level, −1 below it.
SIDES = {
    "squared_overdosing": (1.0,),
    "squared_underdosing": (-1.0,),
    "squared_deviation": (1.0, -1.0),
}
MAX_ITERATIONS = 60
#: The complementarity at the start, all products added, relative to the cost.
FIRST_GAP = 1.0
#: A start on the boundary is moved inside, to this share of the mean weight.
INSIDE = 1e-3
#: No step goes further than this share of the way to the boundary.
TO_BOUNDARY = 0.995
#: Below this gap, relative to the cost, every iterate is held against the tolerance.
NEARLY_CLOSED = 1e-2
#: Rows whose curvature is below this share of the highest are left out of the second derivatives.
#: They stay in the gradient, so that this costs iterations and no accuracy.
SMALLEST_CURVATURE = 1e-5
#: Keeps the factorisation from failing where no beamlet is curved, relative to the largest
#: diagonal element.
REGULARISATION = 1e-7
#: Rows made dense at a time.
BLOCK_ROWS = 2048


@dataclass(frozen=True)
class _Point:
    """Fluence and its multipliers, multipliers of the distances, slacks, and distances in Gy."""

    x: np.ndarray
    z: np.ndarray
    y: np.ndarray
    v: np.ndarray
    t: np.ndarray

    def moved(self, by: _Point, length: float) -> _Point:
        """The point some way along a direction."""
        pairs = zip(vars(self).values(), vars(by).values(), strict=True)
        return _Point(*(here + length * step for here, step in pairs))

    def longest_step(self, by: _Point) -> float:
        """How far along a direction (at most 1) nothing becomes negative."""
        shrinking = max(
            float((-step / here).max())
            for here, step in ((self.x, by.x), (self.z, by.z), (self.y, by.y), (self.v, by.v))
        )
        return 1.0 / max(shrinking, 1.0)

    @property
    def gap(self) -> float:
        """Sum of the products of multipliers and slacks; it vanishes at the optimum."""
        return float(self.x @ self.z + self.y @ self.v)


def is_quadratic(objective: Objective) -> bool:
    """Whether this method knows an objective."""
    return objective.function in (*SIDES, "mean_dose")


def require_quadratic(problem: FluenceProblem) -> None:
    """Refuse (`InputError`) a problem with an objective that this method does not know."""
    for objective in problem.objectives:
        if not is_quadratic(objective):
            raise InputError(
                f"objective {objective.id}: convergence to the end knows {', '.join(SIDES)} and "
                "mean_dose only; leave out small_gradient"
            )


def minimize_to_the_end(
    problem: FluenceProblem,
    start: np.ndarray,
    small_gradient: float,
    progress: ProgressReport,
    cancel_requested: CancelRequested,
) -> tuple[np.ndarray, int, str]:
    """Minimize the cost on all voxels until the projected gradient is small.

    Parameters
    ----------
    problem : FluenceProblem
    start : ndarray of float64, (n_beamlets,)
        A good fluence saves iterations.
    small_gradient : float
        Largest component of the projected gradient to stop at.
    progress, cancel_requested
        Called every iteration; on cancel the last iterate is returned.

    Returns
    -------
    ndarray, int, str
        The fluence, the iterations that it took, and why it ended: ``converged``, ``iteration
        limit`` or ``cancelled``.

    Notes
    -----
    The problem must be quadratic (`require_quadratic`). Takes 8 bytes per pair of beamlets, in
    place of the rows that the problem has taken.
    """
    problem.release_rows()
    terms = _Terms(problem)
    point = _first_point(terms, start)
    for iteration in range(MAX_ITERATIONS):
        progress("optimizing fluence to the end", iteration / MAX_ITERATIONS)
        dual_residual = terms.linear + terms.back_project(point.y) - point.z
        if point.gap < NEARLY_CLOSED * abs(terms.cost(point)):
            fluence = _on_boundary(point, small_gradient)
            if terms.projected_gradient(fluence) <= small_gradient:
                return fluence, iteration, "converged"
        if cancel_requested():
            return point.x, iteration, "cancelled"
        point = _next_point(terms, point, dual_residual)
    return point.x, MAX_ITERATIONS, "iteration limit"


def _first_point(terms: _Terms, start: np.ndarray) -> _Point:
    x = np.maximum(start, INSIDE * (start.mean() or 1.0))
    t = terms.distance_gy(x)
    cost = float(terms.w @ np.maximum(t, 0) ** 2) + abs(float(terms.linear @ x))
    product = FIRST_GAP * max(cost, 1e-12) / (x.size + t.size)
    # The positive root of y·(y/2w − t) = product.
    y = terms.w * t + np.sqrt((terms.w * t) ** 2 + 2 * terms.w * product)
    return _Point(x, product / x, y, product / y, t)


def _next_point(terms: _Terms, point: _Point, dual_residual: np.ndarray) -> _Point:
    """One step of Mehrotra's predictor and corrector."""
    x, z, y, v = point.x, point.z, point.y, point.v
    slope = y / (2 * terms.w) + v
    factor = terms.factorised(y / slope, z / x)

    def direction(of_voxels: np.ndarray, of_beamlets: np.ndarray) -> _Point:
        """Newton's direction to given changes of the products y·v and x·z."""
        right = of_beamlets / x - dual_residual - terms.back_project(of_voxels / slope)
        dx = lapack.dpotrs(factor, right, lower=1)[0]
        dt = terms.distance_change_gy(dx)
        dy = (of_voxels + y * dt) / slope
        return _Point(dx, (of_beamlets - z * dx) / x, dy, dy / (2 * terms.w) - dt, dt)

    affine = direction(-y * v, -x * z)
    reached = point.moved(affine, point.longest_step(affine)).gap / point.gap
    product = reached**3 * point.gap / (x.size + y.size)
    step = direction(product - y * v - affine.y * affine.v, product - x * z - affine.x * affine.z)
    return point.moved(step, min(1.0, TO_BOUNDARY * point.longest_step(step)))


def _on_boundary(point: _Point, small_gradient: float) -> np.ndarray:
    """The fluence, zero where its multiplier says that it will be.

    Where multipliers are too small to be told from rounding, no bound is reached.
    """
    weight, slope = point.x / point.x.mean(), point.z / point.z.mean()
    return np.where((weight < slope) & (point.z > small_gradient), 0.0, point.x)


class _Terms:
    """All distances that count, one after the other, and the products with the matrix.

    Products are exact; only the second derivatives are in single precision.
    """

    def __init__(self, problem: FluenceProblem) -> None:
        self._matrix = problem.influence.matrix
        self.linear = problem.linear
        rows, sign, level, w = [], [], [], []
        for objective, voxels, level_gy in problem.terms_on_all_voxels():
            for side in SIDES[objective.function]:
                rows.append(voxels.rows)
                sign.append(np.full(voxels.rows.size, side))
                level.append(np.broadcast_to(level_gy, voxels.rows.shape))
                w.append(objective.weight * voxels.share)
        if not rows:
            raise InputError("the interior point method needs more than mean doses")
        # An infinite level, for a voxel that is free, or a share of nothing has no part.
        counts = np.isfinite(np.concatenate(level)) & (np.concatenate(w) > 0)
        of_term = np.concatenate(rows)[counts]
        self._rows, self._position = np.unique(of_term, return_inverse=True)
        self._sign, self._level_gy, self.w = (
            np.concatenate(part)[counts] for part in (sign, level, w)
        )

    def distance_gy(self, fluence: np.ndarray) -> np.ndarray:
        """How far every term's dose is on the wrong side of its level."""
        dose = exact_dose(self._matrix, self._rows, fluence)
        return self._sign * (dose[self._position] - self._level_gy)

    def distance_change_gy(self, change: np.ndarray) -> np.ndarray:
        """By how much these change with the fluence."""
        return self._sign * exact_dose(self._matrix, self._rows, change)[self._position]

    def back_project(self, factor: np.ndarray) -> np.ndarray:
        """Σ factor·gradient of the distance over the terms, float64 (n_beamlets,)."""
        of_row = np.bincount(self._position, self._sign * factor, self._rows.size)
        return exact_back_project(self._matrix, self._rows, of_row)

    def cost(self, point: _Point) -> float:
        """What the fluence of a point costs."""
        return float(self.w @ np.maximum(point.t, 0) ** 2 + self.linear @ point.x)

    def projected_gradient(self, fluence: np.ndarray) -> float:
        """Largest component of the projected gradient."""
        excess = np.maximum(self.distance_gy(fluence), 0)
        gradient = self.linear + self.back_project(2 * self.w * excess)
        return projected_gradient_norm(fluence, gradient)

    def factorised(self, curvature: np.ndarray, of_beamlets: np.ndarray) -> np.ndarray:
        """Cholesky factor of Aᵀ·diag(curvature)·A + diag(of_beamlets), lower triangle."""
        of_row = np.bincount(self._position, curvature, self._rows.size)
        counting = np.flatnonzero(of_row > SMALLEST_CURVATURE * of_row.max())
        n = of_beamlets.size
        # Summed in the second half of the memory that holds them in double precision afterwards.
        memory = np.empty(n * n)
        single = memory.view(np.float32)[n * n :]
        single[:] = 0
        second = single.reshape(n, n, order="F")
        for first in range(0, counting.size, BLOCK_ROWS):
            block = counting[first : first + BLOCK_ROWS]
            dense = self._matrix[self._rows[block]].toarray()
            dense *= np.sqrt(of_row[block])[:, None].astype(np.float32)
            second = blas.ssyrk(1.0, dense.T, beta=1.0, c=second, overwrite_c=1, lower=1)
        if not np.may_share_memory(second, single):
            single[:] = second.reshape(-1, order="F")  # BLAS worked on a copy
        for first in range(0, n * n, n):
            # What is written never reaches what is still to be read.
            memory[first : first + n] = single[first : first + n].copy()
        second = memory.reshape(n, n, order="F")
        diagonal = np.einsum("ii->i", second)
        diagonal += of_beamlets + REGULARISATION * diagonal.max()
        factor, failed = lapack.dpotrf(second, lower=1, overwrite_a=1)
        if failed:
            raise ArithmeticError("the second derivatives could not be factorised")
        return factor
