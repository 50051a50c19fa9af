"""Dose influence matrices: which beamlet gives how much dose to which voxel."""

from .compute import estimate_memory, influence_matrix
from .dose_grid import MemoryEstimate, choose_dose_grid
from .matrix import Beamlets, InfluenceMatrix

__all__ = [
    "Beamlets",
    "InfluenceMatrix",
    "MemoryEstimate",
    "choose_dose_grid",
    "estimate_memory",
    "influence_matrix",
]
