"""Find the fluence of least cost."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import numpy as np
from scipy.optimize import minimize

from ..progress import CancelRequested, ProgressReport, never, silent
from .problem import FluenceProblem


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
    iterations, evaluations : int
    status : str
        ``converged``, ``iteration limit`` or ``cancelled``; for the last, `fluence` is the last
        iterate.
    projected_gradient : float
        Largest component of the projected gradient, relative to that at the start.
    seconds : float
    """

    fluence: np.ndarray
    objective_value: float
    iterations: int
    evaluations: int
    status: str
    projected_gradient: float
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
    """
    settings = settings or SolverSettings()
    began, evaluations_before = time.perf_counter(), problem.evaluations
    start = np.maximum(start, 0.0)
    scale = float(start.mean()) or 1.0
    iterate = start / scale
    value, gradient = problem.value_and_gradient(start)
    first_norm = projected_gradient_norm(start, gradient) or 1.0
    iterations = 0

    def scaled_value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        if cancel_requested():
            raise _CancelledError
        cost, slope = problem.value_and_gradient(x * scale)
        return cost, slope * scale

    def after_iteration(x: np.ndarray) -> None:
        nonlocal iterate, iterations
        iterate = x.copy()
        iterations += 1
        progress("optimizing fluence", min(iterations / settings.max_iterations, 1.0))

    try:
        result = minimize(
            scaled_value_and_gradient,
            iterate,
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, None)] * iterate.size,
            callback=after_iteration,
            options={
                "maxiter": settings.max_iterations,
                "maxfun": 2 * settings.max_iterations,
                "maxcor": settings.history,
                "ftol": settings.relative_improvement,
                "gtol": 0.0,
            },
        )
        iterate = result.x
        status = "iteration limit" if result.status == 1 else "converged"
    except _CancelledError:
        status = "cancelled"
    fluence = iterate * scale
    value, gradient = problem.value_and_gradient(fluence)
    return FluenceResult(
        fluence=fluence,
        objective_value=value,
        iterations=iterations,
        evaluations=problem.evaluations - evaluations_before,
        status=status,
        projected_gradient=projected_gradient_norm(fluence, gradient) / first_norm,
        seconds=time.perf_counter() - began,
    )
