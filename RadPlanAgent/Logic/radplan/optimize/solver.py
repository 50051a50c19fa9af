"""Find the fluence of least cost."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import numpy as np
from scipy.optimize import minimize

from ..progress import CancelRequested, ProgressReport, never, silent
from .problem import FluenceProblem
from .threads import single_blas_thread

#: Rows whose dose is within this share of their level from counting are watched: at first, and
#: then between these two, by whether that had missed any.
FIRST_MARGIN, SMALLEST_MARGIN, LARGEST_MARGIN = 0.1, 0.03, 0.4
#: Iterations between looks at all rows.
CHECK_EVERY = 20


@dataclass(frozen=True)
class SolverSettings:
    """When the optimizer stops.

    Parameters
    ----------
    max_iterations : int
    relative_improvement : float
        Stop when an iteration lowers the cost by less than this share.
    history : int
        Pairs of steps and gradient changes that L-BFGS-B remembers.
    """

    max_iterations: int = 300
    relative_improvement: float = 1e-5
    history: int = 20


@dataclass(frozen=True)
class FluenceResult:
    """An optimized fluence and how it was reached.

    Parameters
    ----------
    fluence : ndarray of float64
        Beamlet weights, not negative.
    objective_value : float
        Cost on the voxels that the optimizer looks at, from the matrix as it is, summed in double
        precision.
    objective_value_all_voxels : float
        The same on all voxels of all structures.
    iterations, evaluations : int
    status : str
        ``converged``, ``iteration limit`` or ``cancelled``; for the last, `fluence` is the last
        iterate.
    projected_gradient : float
        How far the conditions of optimality are missed: largest component of the projected
        gradient of `objective_value`, relative to that at the start.
    shortcuts : tuple of str
        What the optimizer did to be fast. None of them has a part in the numbers above.
    seconds : float
    """

    fluence: np.ndarray
    objective_value: float
    objective_value_all_voxels: float
    iterations: int
    evaluations: int
    status: str
    projected_gradient: float
    shortcuts: tuple[str, ...]
    seconds: float

    def report(self) -> dict:
        """Everything but the fluence, for logs."""
        values = asdict(self)
        del values["fluence"]
        return values


class _CancelledError(Exception):
    """Leaves scipy's loop."""


def projected_gradient_norm(fluence: np.ndarray, gradient: np.ndarray) -> float:
    """Largest violation of the optimality conditions of min f, x ≥ 0."""
    projected = np.where((fluence <= 0) & (gradient > 0), 0.0, gradient)
    return float(np.abs(projected).max(initial=0.0))


def optimize_fluence(
    problem: FluenceProblem,
    start: np.ndarray,
    settings: SolverSettings | None = None,
    progress: ProgressReport = silent,
    cancel_requested: CancelRequested = never,
) -> FluenceResult:
    """Minimize the problem's cost over non-negative fluences with L-BFGS-B.

    Parameters
    ----------
    problem : FluenceProblem
    start : ndarray of float64, (n_beamlets,)
        First guess; negative entries are set to zero.
    settings : SolverSettings, optional
    progress, cancel_requested
        Called every iteration; on cancel the last iterate is returned.

    Returns
    -------
    FluenceResult

    Notes
    -----
    Variables are scaled to the mean start weight, so that the first step has the right size.

    Most rows are idle: their voxels are on the right side of their levels. The solver looks only
    at rows that count or nearly do. Every so often it evaluates all rows and watches those that
    came near; where that shows that it had missed some cost, it starts afresh from there. It ends
    only when the cost on the watched rows is that on all rows.
    """
    settings = settings or SolverSettings()
    began, evaluations_before = time.perf_counter(), problem.evaluations
    fluence = np.maximum(start, 0.0)
    scale = float(fluence.mean()) or 1.0
    problem.watch_all()
    value, gradient = problem.value_and_gradient(fluence)
    first_norm = projected_gradient_norm(fluence, gradient) or 1.0
    iterations, next_check, margin = 0, 0, FIRST_MARGIN
    status = "iteration limit"

    def scaled_value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal value
        if cancel_requested():
            raise _CancelledError
        value, slope = problem.value_and_gradient(x * scale)
        return value, slope * scale

    def all_is_shown() -> bool:
        """Look at all rows, watch those near the current fluence, and set the next check."""
        nonlocal next_check, margin
        missed = problem.watch_near(fluence, margin)
        fine = abs(missed) <= settings.relative_improvement * abs(value)
        margin = max(margin / 2, SMALLEST_MARGIN) if fine else min(2 * margin, LARGEST_MARGIN)
        next_check = iterations + (CHECK_EVERY if iterations >= CHECK_EVERY else 5)
        return fine

    def after_iteration(x: np.ndarray) -> None:
        nonlocal fluence, iterations
        fluence = x * scale
        iterations += 1
        progress("optimizing fluence", min(iterations / settings.max_iterations, 1.0))
        if iterations >= next_check and not all_is_shown():
            raise StopIteration

    all_is_shown()
    try:
        with single_blas_thread():
            while iterations < settings.max_iterations:
                result = minimize(
                    scaled_value_and_gradient,
                    fluence / scale,
                    jac=True,
                    method="L-BFGS-B",
                    bounds=[(0, None)] * fluence.size,
                    callback=after_iteration,
                    options={
                        "maxiter": settings.max_iterations - iterations,
                        "maxfun": 2 * settings.max_iterations,
                        "maxcor": settings.history,
                        "ftol": settings.relative_improvement,
                        "gtol": 0.0,
                    },
                )
                fluence = result.x * scale
                # Without an iteration the line search found nothing better: rounding is reached.
                if (result.success or result.nit == 0) and all_is_shown():
                    status = "converged"
                    break
    except _CancelledError:
        status = "cancelled"
    exact, on_all_voxels = problem.exact_costs(fluence)
    return FluenceResult(
        fluence=fluence,
        objective_value=exact.value,
        objective_value_all_voxels=on_all_voxels.value,
        iterations=iterations,
        evaluations=problem.evaluations - evaluations_before,
        status=status,
        projected_gradient=projected_gradient_norm(fluence, exact.gradient) / first_norm,
        shortcuts=_shortcuts(problem),
        seconds=time.perf_counter() - began,
    )


def _shortcuts(problem: FluenceProblem) -> tuple[str, ...]:
    names = [problem.precision, "rows skipped while far from counting"]
    if problem.thinned:
        names.append(f"voxels thinned: {', '.join(problem.thinned)}")
    return tuple(names)
