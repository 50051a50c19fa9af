"""From objectives to fluence."""

from .fall_off import fall_off_levels_gy
from .objectives import FLUENCE, OBJECTIVE_FUNCTIONS, ROUGHNESS, Objective
from .problem import FluenceProblem
from .roughness import FluenceRoughness
from .solver import FluenceResult, SolverSettings, optimize_fluence
from .voxels import StructureIndex

__all__ = [
    "FLUENCE",
    "OBJECTIVE_FUNCTIONS",
    "ROUGHNESS",
    "FluenceProblem",
    "FluenceResult",
    "FluenceRoughness",
    "Objective",
    "SolverSettings",
    "StructureIndex",
    "fall_off_levels_gy",
    "optimize_fluence",
]
