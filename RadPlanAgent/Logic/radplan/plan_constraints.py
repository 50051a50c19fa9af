"""Constraints, held on the dose as it is judged: scaled to coverage, sampled inside voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .metrics import StructureDose
from .optimize import ConstrainedResult, Constraint, ConstraintOutcome, StructureIndex
from .protocol import Protocol

#: Levels of voxels and of samples differ by no more than this share; what differs by more is a
#: dose at which the constraint counts for nothing.
LARGEST_CORRECTION = 0.1


@dataclass(frozen=True)
class JudgedDose:
    """A dose as constraints are held against it.

    Parameters
    ----------
    dose_gy : ndarray, (z, y, x)
    structure_doses : mapping of name to StructureDose
        The same, sampled as the scorecard has it. Helpers are not sampled: of them, voxels count.
    index : StructureIndex
    """

    dose_gy: np.ndarray
    structure_doses: Mapping[str, StructureDose]
    index: StructureIndex

    def outcome(self, constraint: Constraint) -> ConstraintOutcome:
        """How the dose keeps to a constraint; of its price nothing is known."""
        value_gy = self._achieved_gy(constraint)
        return ConstraintOutcome(constraint, value_gy, constraint.violation_gy(value_gy), 0.0)

    def aim(self, constraint: Constraint, scale: float = 1.0) -> Constraint:
        """The constraint with the level that the optimizer is to keep to.

        The optimizer counts whole voxels, and scales nothing. What that makes of this dose is
        taken to hold for the next.

        Parameters
        ----------
        constraint : Constraint
        scale : float
            By which the optimizer's dose will be multiplied.
        """
        sampled_gy = self._achieved_gy(constraint)
        ratio = self._of_voxels_gy(constraint) / sampled_gy if sampled_gy > 0 else 1.0
        ratio = float(np.clip(ratio, 1 - LARGEST_CORRECTION, 1 + LARGEST_CORRECTION))
        return replace(constraint, dose_gy=constraint.dose_gy * ratio / scale)

    def _achieved_gy(self, constraint: Constraint) -> float:
        sampled = self.structure_doses.get(constraint.structure)
        if sampled is None:
            return self._of_voxels_gy(constraint)
        share = sampled.sample_volume_cc / sampled.volume_cc
        return constraint.achieved_gy(sampled.dose_gy, share)

    def _of_voxels_gy(self, constraint: Constraint) -> float:
        voxels = self.index.all_voxels(constraint.structure)
        dose_gy = self.dose_gy.ravel()[voxels.rows].astype(np.float64)
        return constraint.achieved_gy(dose_gy, voxels.share)


def coverage_constraint(
    protocol: Protocol, structure_doses: Mapping[str, StructureDose]
) -> Constraint | None:
    """What scaling to coverage asks of the optimizer; None where coverage is a mean dose."""
    metric, primary = protocol.coverage, protocol.primary
    percent = 100.0
    if metric.kind == "mean":
        return None
    if metric.kind == "D":
        percent = metric.level
        if metric.level_unit == "cc":
            percent = min(100 * percent / structure_doses[primary.target].volume_cc, 100.0)
    return Constraint(primary.target, "min_dose_at_volume", primary.dose_gy, percent)


def outcomes_of(
    constraints: Sequence[Constraint],
    covered: Constraint | None,
    judged: JudgedDose,
    result: ConstrainedResult,
    scale: float,
) -> tuple[ConstraintOutcome, ...]:
    """How a scaled dose keeps to constraints, with the optimizer's prices and conflicts.

    Parameters
    ----------
    constraints : sequence of Constraint
    covered : Constraint or None
        Of coverage.
    judged : JudgedDose
        The scaled dose.
    result : ConstrainedResult
        Its constraints are the aims of these, and of coverage.
    scale : float
        By which the optimizer's dose was multiplied.
    """
    wanted = (*constraints, *([covered] if covered else []))
    names = {
        aimed.constraint.describe(): constraint.describe()
        for aimed, constraint in zip(result.outcomes, wanted, strict=True)
    }
    outcomes = []
    for constraint, optimized in zip(constraints, result.outcomes, strict=False):
        outcome = replace(judged.outcome(constraint), price_per_gy=optimized.price_per_gy)
        if not outcome.kept:
            against = tuple(names[name] for name in optimized.conflicts)
            if not against and covered and scale > 1:  # kept until dose was scaled up
                against = (covered.describe(),)
            outcome = replace(outcome, conflicts=against)
        outcomes.append(outcome)
    return tuple(outcomes)
