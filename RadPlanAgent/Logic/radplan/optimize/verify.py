"""What a fluence costs without any shortcut: all voxels, values as stored, double precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from .objectives import OBJECTIVE_FUNCTIONS, Level, Objective
from .voxels import StructureVoxels

#: Without compiled loops, rows are converted to double precision in blocks of about this many.
_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class ExactCost:
    """Cost and its gradient with respect to the fluence, float64."""

    value: float
    gradient: np.ndarray


class ExactDose:
    """The dose of one fluence in all the voxels that objectives look at.

    Parameters
    ----------
    matrix : scipy.sparse.csr_array, float32
    rows : ndarray of int64
        The voxels, increasing.
    fluence : ndarray of float64, (n_beamlets,)
    """

    def __init__(self, matrix: sparse.csr_array, rows: np.ndarray, fluence: np.ndarray) -> None:
        self._matrix = matrix
        self._dose = np.zeros(matrix.shape[0])
        self._dose[rows] = exact_dose(matrix, rows, np.ascontiguousarray(fluence, np.float64))

    def cost(
        self,
        objectives: Sequence[Objective],
        voxels: Sequence[StructureVoxels],
        levels_gy: Sequence[Level],
    ) -> ExactCost:
        """Cost of objectives, each on its voxels with its dose level."""
        total, dose_gradient = 0.0, np.zeros_like(self._dose)
        for objective, of, level_gy in zip(objectives, voxels, levels_gy, strict=True):
            function = OBJECTIVE_FUNCTIONS[objective.function]
            value, gradient = function.value_and_gradient(
                self._dose[of.rows], of.share, level_gy, objective
            )
            total += objective.weight * value
            dose_gradient[of.rows] += objective.weight * gradient
        rows = np.flatnonzero(dose_gradient)
        return ExactCost(total, exact_back_project(self._matrix, rows, dose_gradient[rows]))


def projected_gradient_norm(fluence: np.ndarray, gradient: np.ndarray) -> float:
    """Largest violation of the optimality conditions of min f, x ≥ 0."""
    projected = np.where((fluence <= 0) & (gradient > 0), 0.0, gradient)
    return float(np.abs(projected).max(initial=0.0))


def exact_dose(matrix: sparse.csr_array, rows: np.ndarray, fluence: np.ndarray) -> np.ndarray:
    """Dose of some rows of a matrix as it is, in double precision."""
    try:
        from . import kernels
    except ImportError:
        parts = [matrix[block].astype(np.float64) @ fluence for block in _blocks(rows)]
        return np.concatenate(parts) if parts else np.zeros(0)
    return kernels.exact_dose(matrix, rows, fluence)


def exact_back_project(
    matrix: sparse.csr_array, rows: np.ndarray, factor: np.ndarray
) -> np.ndarray:
    """Σ factor·row over some rows of a matrix as it is, in double precision."""
    try:
        from . import kernels
    except ImportError:
        total = np.zeros(matrix.shape[1])
        for block, of_block in zip(_blocks(rows), _blocks(factor), strict=True):
            total += matrix[block].astype(np.float64).T @ of_block
        return total
    return kernels.exact_back_project(matrix, rows, factor)


def _blocks(array: np.ndarray) -> list[np.ndarray]:
    return [array[k : k + _BLOCK_ROWS] for k in range(0, array.size, _BLOCK_ROWS)]
