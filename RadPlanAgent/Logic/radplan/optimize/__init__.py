"""From objectives to fluence."""

from .fall_off import fall_off_levels_gy
from .objectives import OBJECTIVE_FUNCTIONS, Objective
from .problem import FluenceProblem
from .solver import FluenceResult, SolverSettings, optimize_fluence
from .voxels import StructureIndex

__all__ = [
    "OBJECTIVE_FUNCTIONS",
    "FluenceProblem",
    "FluenceResult",
    "Objective",
    "SolverSettings",
    "StructureIndex",
    "fall_off_levels_gy",
    "optimize_fluence",
]
