"""Plans from objectives: optimized, scaled to coverage, judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .agent.trajectory import Step
from .errors import CancelledError, InputError
from .evaluation import DoseEvaluator
from .influence.matrix import InfluenceMatrix
from .metrics import StructureDose
from .optimize import (
    Constraint,
    ConstraintOutcome,
    FluenceProblem,
    Objective,
    SolverSettings,
    StructureIndex,
    optimize_constrained,
    optimize_fluence,
    sketch_fluence,
)
from .plan_constraints import JudgedDose, coverage_constraint, outcomes_of
from .progress import CancelRequested, ProgressReport
from .protocol import Protocol

#: Relative rounding of a dose in single precision.
ROUNDING = 3e-7
#: Optimizations at most until constraints are kept on the scaled and sampled dose.
MOST_PASSES = 3


@dataclass(frozen=True)
class Plan:
    """One step's result: fluence, dose, and the sampled dose of every structure."""

    step: Step
    fluence: np.ndarray
    dose_gy: np.ndarray
    structure_doses: dict[str, StructureDose]


@dataclass(frozen=True)
class OptimizedFluence:
    """What an optimization came to.

    Parameters
    ----------
    fluence : ndarray of float64
        Scaled so that the primary target's coverage is exactly as prescribed.
    solver : dict
        Report of the solver, and the scale.
    constraints : tuple of ConstraintOutcome
        Held against the dose of this fluence.
    """

    fluence: np.ndarray
    solver: dict
    constraints: tuple[ConstraintOutcome, ...] = ()


class PlanMaker:
    """Makes plans of one case with one influence matrix; remembers none of them.

    Parameters
    ----------
    protocol : Protocol
        In the case's names.
    influence : InfluenceMatrix
    evaluator : DoseEvaluator
        Judges doses on the matrix's grid.
    index : StructureIndex
        Voxels by which objectives are evaluated.
    """

    def __init__(
        self,
        protocol: Protocol,
        influence: InfluenceMatrix,
        evaluator: DoseEvaluator,
        index: StructureIndex,
    ) -> None:
        self._protocol, self._influence = protocol, influence
        self._evaluator, self._index = evaluator, index
        self._problem: FluenceProblem | None = None

    def flat_fluence(self, objectives: Sequence[Objective]) -> np.ndarray:
        """Equal weights that give the primary target its prescribed dose on average.

        Raises
        ------
        InputError
            If no beamlet reaches the target.
        """
        target = self._protocol.primary
        return self._problem_for(objectives).flat_fluence(target.target, target.dose_gy)

    def optimized(
        self,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        start: np.ndarray,
        settings: SolverSettings,
        progress: ProgressReport,
        cancel_requested: CancelRequested,
        scale: float = 1.0,
    ) -> OptimizedFluence:
        """The fluence of least cost that keeps to constraints, scaled to coverage.

        Where there are constraints, coverage is one more of them, so that scaling changes little;
        levels are corrected until what is scaled and sampled keeps to them. What cannot be kept
        is in the outcomes.

        Parameters
        ----------
        objectives, constraints, start, settings, progress, cancel_requested
            As `optimize_constrained` takes them.
        scale : float
            By which the fluence will be scaled, as far as one knows; if it is by something else,
            constraints take one optimization more.

        Raises
        ------
        CancelledError
            If a person stopped it.
        """
        problem = self._problem_for(objectives)
        if not constraints:
            result = optimize_fluence(problem, start, settings, progress, cancel_requested)
            _check_finished(result.status)
            fluence, scale = self.normalized(result.fluence)
            return OptimizedFluence(fluence, result.report() | {"coverage_scale": scale})
        judged = self._judged_dose(start)
        covered = coverage_constraint(self._protocol, judged.structure_doses)
        for number in range(MOST_PASSES):
            if covered:  # what lacks is aimed at; only what is more than asked for is scaled down
                scale = min(scale, 1.0)
            aims = [judged.aim(c, scale) for c in constraints]
            if covered:
                aims.append(judged.aim(covered))
            result = optimize_constrained(
                problem, aims, start, settings, progress, cancel_requested
            )
            _check_finished(result.status)
            start = result.fluence
            fluence, scale = self.normalized(start)
            judged = self._judged_dose(fluence)
            solver = result.report() | {"coverage_scale": scale}
            outcomes = outcomes_of(constraints, covered, judged, result, scale)
            # The first aims may be wrong: they are those of another dose.
            hopeless = number > 0 and result.status == "infeasible"
            if hopeless or all(outcome.kept for outcome in outcomes):
                break
        return OptimizedFluence(fluence, solver, outcomes)

    def sketched(
        self,
        step: Step,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        start: np.ndarray,
        iterations: int,
        cancel_requested: CancelRequested,
    ) -> Plan:
        """A rough plan after few iterations on a sample of the voxels, see `sketch_fluence`.

        Dose and scorecard are those of the fluence found, on all voxels. Constraints have no part
        in it: the step's outcomes say how far it is from them.
        """
        fluence = sketch_fluence(
            self._problem_for(objectives), start, iterations, cancel_requested
        )
        dose_gy = self._influence.dose_gy(fluence)
        # A little more, so that single precision does not miss the prescription by a rounding.
        scale = (1 + ROUNDING) * self._coverage_scale(dose_gy)
        plan = self._judged(step, fluence * scale, dose_gy * np.float32(scale))
        outcomes = tuple(
            JudgedDose(plan.dose_gy, plan.structure_doses, self._index).outcome(c)
            for c in constraints
        )
        return replace(plan, step=replace(plan.step, constraints=outcomes))

    def normalized(self, fluence: np.ndarray) -> tuple[np.ndarray, float]:
        """The fluence scaled so that the primary target's coverage is exactly as prescribed."""
        primary = self._protocol.primary
        scale = self._coverage_scale(self._influence.dose_gy(fluence))
        # Doses are sums in single precision: a second look takes up what rounding left, and a
        # little more, so that the prescription is reached and not missed by a rounding.
        reached_gy = self._evaluator.coverage_gy(self._influence.dose_gy(fluence * scale))
        scale *= (1 + ROUNDING) * primary.dose_gy / reached_gy
        return fluence * scale, scale

    def evaluated(self, step: Step, fluence: np.ndarray) -> Plan:
        """The plan of a fluence; the step gets its scorecard."""
        return self._judged(step, fluence, self._influence.dose_gy(fluence))

    def _judged_dose(self, fluence: np.ndarray) -> JudgedDose:
        dose_gy = self._influence.dose_gy(fluence)
        return JudgedDose(dose_gy, self._evaluator.structure_doses(dose_gy), self._index)

    def _judged(self, step: Step, fluence: np.ndarray, dose_gy: np.ndarray) -> Plan:
        doses = self._evaluator.structure_doses(dose_gy)
        scorecard = self._evaluator.scorecard(doses, step.index)
        return Plan(replace(step, scorecard=scorecard), fluence, dose_gy, doses)

    def _problem_for(self, objectives: Sequence[Objective]) -> FluenceProblem:
        if self._problem is None:
            self._problem = FluenceProblem(self._influence, self._index, objectives)
        else:
            self._problem.set_objectives(objectives)
        return self._problem

    def _coverage_scale(self, dose_gy: np.ndarray) -> float:
        """What a dose is to be multiplied by for the primary target's coverage."""
        primary = self._protocol.primary
        covered_gy = self._evaluator.coverage_gy(dose_gy)
        if covered_gy <= 0:
            raise InputError(
                f"target {primary.target} gets no dose: {self._protocol.coverage} is 0 Gy; check "
                "that the beams cover it"
            )
        return primary.dose_gy / covered_gy


def _check_finished(status: str) -> None:
    if status == "cancelled":
        raise CancelledError("cancelled while optimizing; finished steps are kept")
