"""A case's first plan, step by step, for the scripts that change one thing in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from radplan.agent.helpers import PlanningStructures, make_planning_structures
from radplan.agent.initial import initial_objectives
from radplan.case import Case
from radplan.case_checks import bind
from radplan.dose_setup import influence_for
from radplan.evaluation import DoseEvaluator
from radplan.influence.matrix import InfluenceMatrix
from radplan.io import load_case
from radplan.metrics import StructureDose
from radplan.optimize import FluenceProblem, Objective, StructureIndex
from radplan.planning import Observer, PlanRequest
from radplan.protocol import Protocol
from radplan.protocol_file import load_protocol


@dataclass(frozen=True)
class FirstPlan:
    """Everything that a session's first plan is made from.

    Parameters
    ----------
    case : Case
    protocol : Protocol
        In the case's names.
    influence : InfluenceMatrix
    """

    case: Case
    protocol: Protocol
    influence: InfluenceMatrix

    @classmethod
    def of(cls, case_name: str, protocol_name: str) -> FirstPlan:
        """Read a case and its influence matrix, from the cache if it is there."""
        case, binding = bind(load_case(case_name), load_protocol(protocol_name))
        request = PlanRequest(case_name, protocol_name, Path())
        return cls(case, binding.protocol, influence_for(case, binding, request, Observer()))

    @cached_property
    def evaluator(self) -> DoseEvaluator:
        """What judges its doses."""
        return DoseEvaluator(self.case, self.protocol, self.influence.grid)

    @cached_property
    def structures(self) -> PlanningStructures:
        """Structures and helpers on the dose grid."""
        return make_planning_structures(self.case, self.protocol, self.influence.grid)

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """Those with which planning starts."""
        return initial_objectives(self.case, self.protocol, self.structures)

    def flat(self, problem: FluenceProblem) -> np.ndarray:
        """The fluence with which planning starts."""
        target = self.protocol.primary
        level_gy = target.dose_gy / problem.mean_dose_per_unit_fluence(target.target)
        return np.full(self.influence.n_beamlets, level_gy)

    def index(self, voxel_limit: int) -> StructureIndex:
        """Voxels of all of them, at most so many of each looked at in the beginning."""
        return StructureIndex(self.structures.occupancies, voxel_limit)

    def structure_doses(self, fluence: np.ndarray) -> dict[str, StructureDose]:
        """Sampled doses, scaled to the primary target's coverage."""
        dose_gy = self.influence.dose_gy(fluence)
        scale = self.protocol.primary.dose_gy / self.evaluator.coverage_gy(dose_gy)
        return self.evaluator.structure_doses(scale * dose_gy)
