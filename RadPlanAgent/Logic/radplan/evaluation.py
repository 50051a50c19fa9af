"""Hold doses against a protocol: samplers of all structures, made once, used for every dose."""

from __future__ import annotations

import numpy as np

from .case import Case
from .errors import InputError
from .geometry import Grid
from .metrics import StructureDose, evaluate_metric
from .progress import ProgressReport, silent
from .protocol import Protocol
from .sampling import StructureSampler
from .scorecard import Scorecard, evaluate_scorecard

#: A dose that leaves out more of a target than this share is no dose of the plan.
LARGEST_UNCOVERED_TARGET = 0.01


class DoseEvaluator:
    """Judges doses on one grid for one case and protocol.

    Parameters
    ----------
    case : Case
    protocol : Protocol
        In the case's names (see `radplan.binding.resolve`).
    grid : Grid
        Grid of the doses.
    progress : ProgressReport, optional
        Told while the samplers are made.
    """

    def __init__(
        self, case: Case, protocol: Protocol, grid: Grid, progress: ProgressReport = silent
    ) -> None:
        self._case, self._protocol = case, protocol
        self._external = case.external.name
        self._samplers: dict[str, StructureSampler] = {}
        for number, structure in enumerate(case.structures):
            if not structure.occupancy.is_empty:
                self._samplers[structure.name] = StructureSampler(structure.occupancy, grid)
            progress("preparing structures", (number + 1) / len(case.structures))

    def require_target_dose(self) -> None:
        """Refuse (`InputError`) a dose grid that leaves out part of a target."""
        for prescription in self._protocol.prescriptions:
            uncovered = self._samplers[prescription.target].uncovered_fraction
            if uncovered > LARGEST_UNCOVERED_TARGET:
                raise InputError(
                    f"{100 * uncovered:.0f} % of target {prescription.target} lies outside the "
                    "dose grid; is the dose of this patient and in this frame of reference?"
                )

    def structure_doses(self, dose_gy: np.ndarray) -> dict[str, StructureDose]:
        """Sampled dose of every structure that is not empty; dose in Gy, (z, y, x)."""
        return {name: sampler.sample(dose_gy) for name, sampler in self._samplers.items()}

    def scorecard(self, structure_doses: dict[str, StructureDose], step: int) -> Scorecard:
        """All goals held against sampled doses."""
        return evaluate_scorecard(
            self._case.name,
            self._protocol,
            structure_doses,
            external_name=self._external,
            step=step,
        )

    def coverage_gy(self, dose_gy: np.ndarray) -> float:
        """The primary target's coverage metric, Gy; `InputError` if it is not a dose."""
        metric, primary = self._protocol.coverage, self._protocol.primary
        if metric.kind not in ("D", "mean", "min"):
            raise InputError(
                f"protocol {self._protocol.name}: coverage {metric} is not a dose metric, so a "
                "plan cannot be scaled to it; use for example D95%"
            )
        sampled = self._samplers[primary.target].sample(dose_gy)
        return evaluate_metric(metric, sampled, unit="Gy")
