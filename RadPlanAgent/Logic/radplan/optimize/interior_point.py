"""Convex problems solved to the end: a primal-dual interior point method.

L-BFGS-B comes close to the optimum quickly and then needs thousands of iterations for the rest.
This method takes some fifteen, each of which makes and factorises the matrix of second derivatives
(beamlets × beamlets). It needs objectives that are squared distances above or below a level, and
mean doses; with those the problem is a convex quadratic programme. DVH objectives are so for a
given choice of the voxels that they count: it is made at the start, and again at the end, until
that changes nothing (which lowers the cost every time; it ends in one of several minima).

Written with one variable s per voxel of an objective, the problem is
minimize Σ w·s² + c·x over x ≥ 0 and s ≥ t, with t = ±(dose − level) the distance in Gy, w the
objective's weight times the voxel's share and c the mean-dose terms. With the multipliers y of
s ≥ t, s = y/2w follows from the conditions of optimality, so what is left are x and its
multipliers z, y, and the slack v = s − t (Nocedal & Wright 2006, Numerical Optimization, 2nd ed.,
section 16.6; predictor and corrector after Mehrotra 1992, SIAM J Optim 2:575; further corrections
after Gondzio 1996, Comput Optim Appl 6:137).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import blas, lapack

from ..errors import InputError
from ..progress import CancelRequested, ProgressReport
from .objectives import Objective, dose_at_volume
from .problem import FluenceProblem
from .verify import exact_back_project, exact_dose, projected_gradient_norm
from .voxels import StructureVoxels

#: Distances that each objective function squares: +1 above the level, −1 below it.
SIDES = {
    "squared_overdosing": (1.0,),
    "squared_underdosing": (-1.0,),
    "squared_deviation": (1.0, -1.0),
    "max_dvh": (1.0,),
    "min_dvh": (-1.0,),
}
#: Times that the voxels are chosen which DVH objectives count.
MOST_CHOICES = 10
MAX_ITERATIONS = 60
#: The complementarity at the start, all products added, relative to the cost.
FIRST_GAP = 1.0
#: A start on the boundary is moved inside, to this share of the mean weight.
INSIDE = 1e-3
#: No step goes further than this share of the way to the boundary.
TO_BOUNDARY = 0.9
#: A step shorter than the first of these is corrected, at most so often, as long as every time
#: makes it longer by the third: to have the products of multipliers and slacks, were it longer by
#: the second, within this range of the one aimed at.
LONG_STEP, CORRECTIONS, LONGER_BY, WORTHWHILE = 0.95, 4, 0.3, 0.03
CENTRAL_RANGE = (0.1, 10.0)
#: Below this gap, relative to the cost, every iterate is held against the tolerance.
NEARLY_CLOSED = 1e-2
#: Rows in the second derivatives: those of highest curvature, and a sample of the others. All have
#: a part in the gradient, so that this costs iterations and no accuracy.
ROWS_PER_BEAMLET = 4
#: After a step shorter than this there are twice as many.
SHORT_STEP = 0.05
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


def is_known(objective: Objective) -> bool:
    """Whether this method knows an objective."""
    return objective.function in (*SIDES, "mean_dose")


def require_known(problem: FluenceProblem) -> None:
    """Refuse (`InputError`) a problem with an objective that this method does not know."""
    for objective in problem.objectives:
        if not is_known(objective):
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
    Its objectives must be known (`require_known`). Takes 8 bytes per pair of beamlets, in
    place of the rows that the problem has taken.
    """
    problem.release_rows()
    fluence, iterations = start, 0
    for _ in range(MOST_CHOICES):
        terms = _Terms(problem, fluence)
        fluence, more, status = _minimize(
            terms, fluence, small_gradient, progress, cancel_requested
        )
        iterations += more
        if status != "converged":
            break
        gradient = problem.exact_cost(problem.objectives, fluence).gradient
        if projected_gradient_norm(fluence, gradient) <= small_gradient:
            break
        status = "iteration limit"
    return fluence, iterations, status


def _minimize(
    terms: _Terms,
    start: np.ndarray,
    small_gradient: float,
    progress: ProgressReport,
    cancel_requested: CancelRequested,
) -> tuple[np.ndarray, int, str]:
    """Minimize the cost with the voxels chosen; as `minimize_to_the_end`."""
    point = _first_point(terms, start)
    rows = max(ROWS_PER_BEAMLET * start.size, BLOCK_ROWS)
    for iteration in range(MAX_ITERATIONS):
        progress("optimizing fluence to the end", iteration / MAX_ITERATIONS)
        dual_residual = terms.linear + terms.back_project(point.y) - point.z
        if point.gap < NEARLY_CLOSED * abs(terms.cost(point)):
            fluence = _on_boundary(point, small_gradient)
            if terms.projected_gradient(fluence) <= small_gradient:
                return fluence, iteration, "converged"
        if cancel_requested():
            return point.x, iteration, "cancelled"
        step, length = _step(terms, point, dual_residual, rows)
        point = point.moved(step, min(1.0, TO_BOUNDARY * length))
        rows *= 2 if length < SHORT_STEP else 1
    return point.x, MAX_ITERATIONS, "iteration limit"


def _first_point(terms: _Terms, start: np.ndarray) -> _Point:
    x = np.maximum(start, INSIDE * (start.mean() or 1.0))
    t = terms.distance_gy(x)
    cost = float(terms.w @ np.maximum(t, 0) ** 2) + abs(float(terms.linear @ x))
    product = FIRST_GAP * max(cost, 1e-12) / (x.size + t.size)
    # The positive root of y·(y/2w − t) = product.
    y = terms.w * t + np.sqrt((terms.w * t) ** 2 + 2 * terms.w * product)
    return _Point(x, product / x, y, product / y, t)


def _step(
    terms: _Terms, point: _Point, dual_residual: np.ndarray, rows: int
) -> tuple[_Point, float]:
    """The next step, and how far along it nothing becomes negative.

    Mehrotra's predictor and corrector, and Gondzio's corrections, which cost next to nothing
    beside the factorisation.
    """
    x, z, y, v = point.x, point.z, point.y, point.v
    slope = y / (2 * terms.w) + v
    factor = terms.factorised(y / slope, z / x, rows)

    def direction(
        of_voxels: np.ndarray, of_beamlets: np.ndarray, residual: np.ndarray | float = 0.0
    ) -> _Point:
        """Newton's direction to given changes of the products y·v and x·z."""
        right = of_beamlets / x - residual - terms.back_project(of_voxels / slope)
        dx = lapack.dpotrs(factor, right, lower=1)[0]
        dt = terms.distance_change_gy(dx)
        dy = (of_voxels + y * dt) / slope
        return _Point(dx, (of_beamlets - z * dx) / x, dy, dy / (2 * terms.w) - dt, dt)

    affine = direction(-y * v, -x * z, dual_residual)
    reached = point.moved(affine, point.longest_step(affine)).gap / point.gap
    product = reached**3 * point.gap / (x.size + y.size)
    step = direction(
        product - y * v - affine.y * affine.v,
        product - x * z - affine.x * affine.z,
        dual_residual,
    )
    length = point.longest_step(step)
    for _ in range(CORRECTIONS):
        if length > LONG_STEP:
            break
        further = point.moved(step, min(1.0, length + LONGER_BY))
        corrected = step.moved(
            direction(
                _to_centre(further.y * further.v, product),
                _to_centre(further.x * further.z, product),
            ),
            1.0,
        )
        reach = point.longest_step(corrected)
        if reach < length + WORTHWHILE:
            break
        step, length = corrected, reach
    return step, length


def _to_centre(products: np.ndarray, aim: float) -> np.ndarray:
    """Changes that bring products near the one aimed at; of those far above it, a part."""
    low, high = (aim * share for share in CENTRAL_RANGE)
    return np.maximum(np.clip(products, low, high) - products, -high)


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

    def __init__(self, problem: FluenceProblem, fluence: np.ndarray) -> None:
        self._matrix = problem.influence.matrix
        self.linear = problem.linear
        rows, sign, level, w = [], [], [], []
        for objective, voxels, level_gy in problem.terms_on_all_voxels():
            counted = self._counted(objective, voxels, fluence)
            for side in SIDES[objective.function]:
                rows.append(voxels.rows)
                sign.append(np.full(voxels.rows.size, side))
                level.append(np.broadcast_to(level_gy, voxels.rows.shape))
                w.append(objective.weight * voxels.share * counted)
        if not rows:
            raise InputError("the interior point method needs more than mean doses")
        # An infinite level, for a voxel that is free, or a share of nothing has no part.
        counts = np.isfinite(np.concatenate(level)) & (np.concatenate(w) > 0)
        of_term = np.concatenate(rows)[counts]
        self._rows, self._position = np.unique(of_term, return_inverse=True)
        self._sign, self._level_gy, self.w = (
            np.concatenate(part)[counts] for part in (sign, level, w)
        )

    def _counted(
        self, objective: Objective, voxels: StructureVoxels, fluence: np.ndarray
    ) -> np.ndarray | bool:
        """Which voxels an objective may count: of a DVH, by their dose at a fluence."""
        if objective.volume_percent is None:
            return True
        dose = exact_dose(self._matrix, voxels.rows, fluence)
        limit = dose_at_volume(dose, voxels.share, objective.volume_percent)
        return dose <= limit if objective.function == "max_dvh" else dose >= limit

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

    def factorised(
        self, curvature: np.ndarray, of_beamlets: np.ndarray, rows: int
    ) -> np.ndarray:
        """Cholesky factor of Aᵀ·diag(curvature)·A + diag(of_beamlets), lower triangle.

        Of A, about as many rows have a part as given.
        """
        of_row = _thinned(np.bincount(self._position, curvature, self._rows.size), rows)
        counting = np.flatnonzero(of_row)
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


def _thinned(curvature: np.ndarray, most: int) -> np.ndarray:
    """Curvatures of which about so many are not zero, for much the same second derivatives.

    The highest are kept. Of the others, neighbours share one of a level that all of these have.
    """
    if np.count_nonzero(curvature) <= most:
        return curvature
    highest_first = np.sort(curvature)[::-1]
    rest = curvature.sum() - np.cumsum(highest_first)
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = np.arange(1, curvature.size + 1) + rest / highest_first
    kept = min(int(np.argmax(~(needed <= most))), most - 1)
    level = (rest[kept - 1] if kept else curvature.sum()) / (most - kept)
    collected = np.cumsum(np.where(curvature < level, curvature, 0.0)) / level
    is_next = np.diff(np.floor(collected), prepend=0.0) > 0
    return np.where(curvature < level, level * is_next, curvature)
