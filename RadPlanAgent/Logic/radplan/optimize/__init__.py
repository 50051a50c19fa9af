"""From objectives to fluence."""

from .constrained import ConstrainedResult, ConstraintOutcome, optimize_constrained
from .constraints import CONSTRAINT_KINDS, Constraint, constraint_parameters
from .fall_off import fall_off_levels_gy
from .objectives import FLUENCE, OBJECTIVE_FUNCTIONS, ROUGHNESS, Objective, dose_at_volume
from .problem import FluenceProblem
from .roughness import FluenceRoughness
from .solver import FluenceResult, SolverSettings, optimize_fluence, sketch_fluence
from .voxels import StructureIndex

__all__ = [
    "CONSTRAINT_KINDS",
    "FLUENCE",
    "OBJECTIVE_FUNCTIONS",
    "ROUGHNESS",
    "ConstrainedResult",
    "Constraint",
    "ConstraintOutcome",
    "FluenceProblem",
    "FluenceResult",
    "FluenceRoughness",
    "Objective",
    "SolverSettings",
    "StructureIndex",
    "constraint_parameters",
    "dose_at_volume",
    "fall_off_levels_gy",
    "optimize_constrained",
    "optimize_fluence",
    "sketch_fluence",
]
