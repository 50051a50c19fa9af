"""The matrix rows that the optimizer looks at, each kept once, in the fastest form there is."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy import sparse


class DoseRows(Protocol):
    """Some rows of an influence matrix and what the optimizer does with them."""

    n_rows: int
    precision: str

    @property
    def nbytes(self) -> int:
        """Memory that the rows take."""

    def dose(self, rows: np.ndarray, fluence: np.ndarray) -> np.ndarray:
        """Dose of some rows, float64."""

    def back_project(self, rows: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """Σ factor·row over some rows, float64 (n_beamlets,)."""

    def curvature_product(
        self, rows: np.ndarray, curvature: np.ndarray, direction: np.ndarray
    ) -> np.ndarray:
        """Σ curvature·row·(row·direction) over some rows, float64 (n_beamlets,)."""


class SparseRows:
    """Rows as scipy keeps them: the reference, and what runs where numba is missing.

    Parameters
    ----------
    matrix : scipy.sparse.csr_array
    rows : ndarray of int64
        Which rows, in the order in which they are to be numbered.
    """

    precision = "single precision"

    def __init__(self, matrix: sparse.csr_array, rows: np.ndarray) -> None:
        self.n_rows = rows.size
        self._matrix = matrix[rows]
        self._transposed = self._matrix.T

    @property
    def nbytes(self) -> int:
        """Memory that the rows take."""
        return sum(getattr(self._matrix, part).nbytes for part in ("data", "indices", "indptr"))

    def dose(self, rows: np.ndarray, fluence: np.ndarray) -> np.ndarray:
        """Dose of some rows, float64."""
        # A float64 operand would make scipy copy the whole float32 matrix.
        return (self._matrix @ fluence.astype(np.float32))[rows].astype(np.float64)

    def back_project(self, rows: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """Σ factor·row over some rows, float64 (n_beamlets,)."""
        full = np.zeros(self.n_rows, np.float32)
        full[rows] = factor
        return (self._transposed @ full).astype(np.float64)

    def curvature_product(
        self, rows: np.ndarray, curvature: np.ndarray, direction: np.ndarray
    ) -> np.ndarray:
        """Σ curvature·row·(row·direction) over some rows, float64 (n_beamlets,)."""
        return self.back_project(rows, curvature * self.dose(rows, direction))


def make_rows(matrix: sparse.csr_array, rows: np.ndarray) -> DoseRows:
    """Rows of a matrix, packed for numba's loops where numba is installed."""
    try:
        from .kernels import PackedRows
    except ImportError:
        return SparseRows(matrix, rows)
    return PackedRows(matrix, rows)


class RowStore:
    """Rows of one matrix, taken from it once, when first needed.

    Parameters
    ----------
    matrix : scipy.sparse.csr_array, float32
    """

    def __init__(self, matrix: sparse.csr_array) -> None:
        self._matrix = matrix
        self._position = np.full(matrix.shape[0], -1, np.int64)
        self._blocks: list[DoseRows] = []
        self._starts = [0]

    @property
    def n_rows(self) -> int:
        """Rows taken so far."""
        return self._starts[-1]

    @property
    def nbytes(self) -> int:
        """Memory that the rows take."""
        return sum(block.nbytes for block in self._blocks)

    @property
    def precision(self) -> str:
        """How the values are kept, in words."""
        return self._blocks[0].precision if self._blocks else "no rows"

    def take(self, rows: np.ndarray) -> None:
        """Take those of some matrix rows (increasing) that are not there yet."""
        new = rows[~self.has(rows)]
        if new.size:
            self._blocks.append(make_rows(self._matrix, new))
            self._position[new] = self.n_rows + np.arange(new.size)
            self._starts.append(self.n_rows + new.size)

    def has(self, rows: np.ndarray) -> np.ndarray:
        """Which of some matrix rows are there, bool."""
        return self._position[rows] >= 0

    def positions(self, rows: np.ndarray) -> np.ndarray:
        """By which numbers matrix rows that are there go in this store."""
        return self._position[rows]

    def dose(self, rows: np.ndarray, fluence: np.ndarray) -> np.ndarray:
        """Dose of some rows, given by increasing positions, float64."""
        parts = [block.dose(positions, fluence) for block, positions, _ in self._split(rows)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def back_project(self, factor: np.ndarray) -> np.ndarray:
        """Σ factor·row, float64 (n_beamlets,); rows with factor zero cost nothing."""
        rows = np.flatnonzero(factor)
        total = np.zeros(self._matrix.shape[1])
        for block, positions, of_block in self._split(rows):
            total += block.back_project(positions, factor[of_block])
        return total

    def curvature_product(self, curvature: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Σ curvature·row·(row·direction), float64; rows with curvature zero cost nothing."""
        rows = np.flatnonzero(curvature)
        total = np.zeros(self._matrix.shape[1])
        for block, positions, of_block in self._split(rows):
            total += block.curvature_product(positions, curvature[of_block], direction)
        return total

    def _split(self, rows: np.ndarray) -> list[tuple[DoseRows, np.ndarray, np.ndarray]]:
        """Increasing positions, by block: the block, positions within it, and overall."""
        borders = np.searchsorted(rows, self._starts)
        return [
            (block, rows[a:b] - start, rows[a:b])
            for block, start, a, b in zip(
                self._blocks, self._starts, borders, borders[1:], strict=False
            )
            if b > a
        ]
