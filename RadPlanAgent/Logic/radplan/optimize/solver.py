"""Find the fluence of least cost."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import numpy as np
from scipy.optimize import minimize

from ..errors import CancelledError
from ..progress import CancelRequested, ProgressReport, never, silent
from .interior_point import minimize_to_the_end, require_known
from .problem import FluenceProblem
from .threads import single_blas_thread
from .verify import projected_gradient_norm

#: Rows whose dose is within this share of their level from counting are watched: at first, and
#: then between these two, by whether that had missed any.
FIRST_MARGIN, SMALLEST_MARGIN, LARGEST_MARGIN = 0.1, 0.03, 0.4
#: Iterations over which progress is judged: the first steps after a change are small ones.
WINDOW = 20
#: Iterations between looks at all rows.
LOOK_EVERY = 20
#: A sample of the voxels is solved less exactly, by this factor.
SAMPLE_TOLERANCE = 100
#: The same margin for voxels of large structures whose rows are not there yet.
VOXEL_MARGIN = 0.1


@dataclass(frozen=True)
class SolverSettings:
    """When the optimizer stops.

    Parameters
    ----------
    max_iterations : int
    relative_improvement : float
        Stop when iterations lower the cost by less than this share each, on average over the last
        `WINDOW` of them.
    history : int
        Pairs of steps and gradient changes that L-BFGS-B remembers.
    sample_first : bool
        Whether to begin with a sample of the voxels of large structures. That is faster from a
        poor start and slower from a good one.
    small_gradient : float, optional
        Go on, with an interior point method, until the projected gradient has fallen to this
        share of that at the start. For those objectives only that this method knows
        (`interior_point.is_known`).
    """

    max_iterations: int = 300
    relative_improvement: float = 1e-5
    history: int = 20
    sample_first: bool = True
    small_gradient: float | None = None


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
    Most voxels are idle: they are on the right side of their levels. The solver looks only at
    those that count or nearly do. Every so often it evaluates all rows and watches those that
    came near; where that shows that it had missed some cost, it starts afresh from there. Of
    large structures it looks at a sample of voxels until that is solved, and then takes in voxels
    that count until none is missing. It ends only when nothing is missed any more.
    """
    settings = settings or SolverSettings()
    if settings.small_gradient is not None:
        require_known(problem)
    began, evaluations_before = time.perf_counter(), problem.evaluations
    descent = _Descent(problem, start, settings, progress, cancel_requested)
    with single_blas_thread():
        status = descent.run()
    fluence, iterations = descent.fluence, descent.iterations
    if settings.small_gradient is not None and status != "cancelled":
        small = settings.small_gradient * descent.first_norm
        fluence, more, status = minimize_to_the_end(
            problem, fluence, small, progress, cancel_requested
        )
        iterations += more
    exact, on_all_voxels = problem.exact_costs(fluence)
    return FluenceResult(
        fluence=fluence,
        objective_value=exact.value,
        objective_value_all_voxels=on_all_voxels.value,
        iterations=iterations,
        evaluations=problem.evaluations - evaluations_before,
        status=status,
        projected_gradient=projected_gradient_norm(fluence, exact.gradient) / descent.first_norm,
        shortcuts=_shortcuts(problem),
        seconds=time.perf_counter() - began,
    )


def sketch_fluence(
    problem: FluenceProblem,
    start: np.ndarray,
    iterations: int,
    cancel_requested: CancelRequested = never,
) -> np.ndarray:
    """Take a few steps down, for a person who waits to see where a change leads.

    Unlike `optimize_fluence`, it looks at a sample of the voxels of large structures to the end
    and computes no exact costs: its result is to be looked at, not to be kept.

    Parameters
    ----------
    problem : FluenceProblem
    start : ndarray of float64, (n_beamlets,)
        Close to what is wanted, such as the current plan.
    iterations : int
    cancel_requested
        Asked every iteration.

    Returns
    -------
    ndarray of float64, (n_beamlets,)

    Raises
    ------
    CancelledError
    """
    settings = SolverSettings(max_iterations=iterations)
    descent = _Descent(problem, start, settings, silent, cancel_requested)
    with single_blas_thread():
        cancelled = not descent.run_on_sample()
    if cancelled:
        raise CancelledError("cancelled")
    return descent.fluence


class _Descent:
    """L-BFGS-B on the rows that count, and the looks at all others in between.

    Variables are scaled to the mean start weight, so that the first step has the right size.
    """

    def __init__(
        self,
        problem: FluenceProblem,
        start: np.ndarray,
        settings: SolverSettings,
        progress: ProgressReport,
        cancel_requested: CancelRequested,
    ) -> None:
        self.fluence, self.iterations = np.maximum(start, 0.0), 0
        self._problem, self._settings = problem, settings
        self._progress, self._cancel_requested = progress, cancel_requested
        self._scale = float(self.fluence.mean()) or 1.0
        self._margin, self._next_look = FIRST_MARGIN, 0
        # Whatever was optimized before must have no part in the result.
        problem.look_at_sample()
        self._value, gradient = problem.value_and_gradient(self.fluence)
        self.first_norm = projected_gradient_norm(self.fluence, gradient) or 1.0

    def run(self) -> str:
        """Descend until nothing is missed; returns why it ended."""
        try:
            most, tolerance = self._settings.max_iterations, self._settings.relative_improvement
            if self._settings.sample_first and self._problem.thinned:
                self._minimize(most // 2, SAMPLE_TOLERANCE * tolerance)
            self._problem.look_at_all_voxels(self.fluence, VOXEL_MARGIN)
            while self.iterations < most:
                converged = self._minimize(most, tolerance)
                missed = self._problem.look_at_all_voxels(self.fluence, VOXEL_MARGIN)
                if converged and self._negligible(missed):
                    return "converged"
        except _CancelledError:
            return "cancelled"
        return "iteration limit"

    def run_on_sample(self) -> bool:
        """Descend on the sample only; returns False if that was cancelled."""
        try:
            self._minimize(self._settings.max_iterations, self._settings.relative_improvement)
        except _CancelledError:
            return False
        return True

    def _minimize(self, most_iterations: int, relative_improvement: float) -> bool:
        """Minimize on the voxels looked at; returns whether that converged."""
        self._look_at_all_rows()
        while (left := most_iterations - self.iterations) > 0:
            self._values: list[float] = []
            self._missed = False
            result = minimize(
                self._scaled_value_and_gradient,
                self.fluence / self._scale,
                jac=True,
                method="L-BFGS-B",
                bounds=[(0, None)] * self.fluence.size,
                callback=lambda x: self._after_iteration(x, relative_improvement),
                options={
                    "maxiter": left,
                    "maxfun": 2 * left,
                    "maxcor": self._settings.history,
                    "ftol": 0.0,
                    "gtol": 0.0,
                },
            )
            self.fluence = result.x * self._scale
            if self._is_done(relative_improvement) and self._look_at_all_rows():
                return True
        return False

    def _is_done(self, relative_improvement: float) -> bool:
        """Whether scipy ended because there is nothing more to gain."""
        if self._missed:
            return False
        # Where rounding is reached, the line search gives up at once or soon after the start.
        gained = self._values[0] - self._values[-1] if self._values else 0.0
        stuck = gained <= relative_improvement * abs(self._value)
        return stuck or self._is_slow(relative_improvement)

    def _is_slow(self, relative_improvement: float) -> bool:
        """Whether the last iterations have lowered the cost by too little to go on."""
        if len(self._values) <= WINDOW:
            return False
        gained = self._values[-1 - WINDOW] - self._values[-1]
        return gained <= WINDOW * relative_improvement * abs(self._values[-1])

    def _scaled_value_and_gradient(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        if self._cancel_requested():
            raise _CancelledError
        self._value, gradient = self._problem.value_and_gradient(x * self._scale)
        return self._value, gradient * self._scale

    def _after_iteration(self, x: np.ndarray, relative_improvement: float) -> None:
        self.fluence = x * self._scale
        self.iterations += 1
        self._values.append(self._value)
        self._progress(
            "optimizing fluence", min(self.iterations / self._settings.max_iterations, 1.0)
        )
        if self._is_slow(relative_improvement):
            raise StopIteration
        if self.iterations >= self._next_look and not self._look_at_all_rows():
            self._missed = True
            raise StopIteration

    def _look_at_all_rows(self) -> bool:
        """Watch the rows near the current fluence; returns whether those before had sufficed."""
        fine = self._negligible(self._problem.watch_near(self.fluence, self._margin))
        self._margin = (
            max(self._margin / 2, SMALLEST_MARGIN)
            if fine
            else min(2 * self._margin, LARGEST_MARGIN)
        )
        self._next_look = self.iterations + (LOOK_EVERY if self.iterations >= LOOK_EVERY else 5)
        return fine

    def _negligible(self, cost: float) -> bool:
        return abs(cost) <= self._settings.relative_improvement * abs(self._value)


def _shortcuts(problem: FluenceProblem) -> tuple[str, ...]:
    names = [problem.precision, "voxels skipped while far from counting"]
    if problem.thinned:
        names.append(f"voxels thinned: {', '.join(problem.thinned)}")
    return tuple(names)
