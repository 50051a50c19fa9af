"""A problem that every optimizer can be given: the first plan of a case, on whole voxels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..agent.helpers import make_planning_structures
from ..agent.initial import initial_objectives
from ..case import Case
from ..geometry import Occupancy
from ..influence.matrix import InfluenceMatrix
from ..influence.pyradplan_optimizer import FUNCTIONS
from ..optimize import FluenceProblem, Objective, StructureIndex
from ..protocol import Protocol


@dataclass(frozen=True)
class BenchProblem:
    """An influence matrix and objectives that pyRadPlan knows too.

    Parameters
    ----------
    influence : InfluenceMatrix
    regions : dict of str to Occupancy
        The objectives' structures on the dose grid, every voxel whole or not at all: pyRadPlan
        knows no other.
    objectives : tuple of Objective
    """

    influence: InfluenceMatrix
    regions: dict[str, Occupancy]
    objectives: tuple[Objective, ...]

    @property
    def start(self) -> np.ndarray:
        """No fluence at all, with which pyRadPlan starts."""
        return np.zeros(self.influence.n_beamlets)

    @property
    def stored_bytes(self) -> int:
        """Memory of the matrix as stored."""
        matrix = self.influence.matrix
        return matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes

    def cost(self, fluence: np.ndarray) -> float:
        """Cost on all voxels, in double precision: one judge for all optimizers."""
        return self._judge.exact_cost(self.objectives, fluence).value

    @cached_property
    def _judge(self) -> FluenceProblem:
        # Exact costs take no rows into their fast form; the fewer there are, the better.
        return FluenceProblem(
            self.influence, StructureIndex(self.regions, voxel_limit=1), self.objectives
        )


def first_plan_problem(
    case: Case, protocol: Protocol, influence: InfluenceMatrix
) -> BenchProblem:
    """The objectives with which planning starts, those that pyRadPlan lacks left out.

    Parameters
    ----------
    case : Case
    protocol : Protocol
        In the case's names.
    influence : InfluenceMatrix
    """
    structures = make_planning_structures(case, protocol, influence.grid)
    objectives = [
        o
        for o in initial_objectives(case, protocol, structures)
        if o.function in FUNCTIONS
    ]
    regions = {
        name: Occupancy.from_array(influence.grid, structures.occupancies[name].mask())
        for name in {o.structure for o in objectives}
    }
    regions = {name: region for name, region in regions.items() if not region.is_empty}
    return BenchProblem(influence, regions, tuple(o for o in objectives if o.structure in regions))
