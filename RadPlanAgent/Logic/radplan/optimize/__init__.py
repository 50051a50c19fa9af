"""From objectives to fluence."""

from .objectives import OBJECTIVE_FUNCTIONS, Objective
from .problem import FluenceProblem, StructureIndex
from .solver import FluenceResult, SolverSettings, optimize_fluence

__all__ = [
    "OBJECTIVE_FUNCTIONS",
    "FluenceProblem",
    "FluenceResult",
    "Objective",
    "SolverSettings",
    "StructureIndex",
    "optimize_fluence",
]
