"""The matrix rows that the optimizer looks at, each kept once, in the fastest form there is."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy import sparse


class DoseRows(Protocol):
    """Some rows of an influence matrix and what the optimizer does with them.

    The result of a sum over rows depends on which rows have a part in it and on their order, and
    on nothing else.
    """

    precision: str

    def append(self, rows: np.ndarray) -> None:
        """Take more rows of the matrix; they are numbered on in the order given."""

    @property
    def nbytes(self) -> int:
        """Memory that the rows take."""

    def dose(self, rows: np.ndarray, fluence: np.ndarray) -> np.ndarray:
        """Dose of some rows, float64."""

    def back_project(self, rows: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """Σ factor·row over some rows, float64 (n_beamlets,)."""


class SparseRows:
    """Rows as scipy keeps them: the reference, and what runs where numba is missing.

    Parameters
    ----------
    matrix : scipy.sparse.csr_array
    """

    precision = "single precision"

    def __init__(self, matrix: sparse.csr_array) -> None:
        self._whole = matrix
        self._taken = np.zeros(0, np.int64)

    def append(self, rows: np.ndarray) -> None:
        """Take more rows of the matrix; they are numbered on in the order given."""
        self._taken = np.concatenate([self._taken, rows])
        # Kept in the matrix's order: sums must not depend on when a row was taken.
        order = np.argsort(self._taken)
        self._place = np.argsort(order)
        self._matrix = self._whole[self._taken[order]]
        self._transposed = self._matrix.T

    @property
    def nbytes(self) -> int:
        """Memory that the rows take."""
        return sum(getattr(self._matrix, part).nbytes for part in ("data", "indices", "indptr"))

    def dose(self, rows: np.ndarray, fluence: np.ndarray) -> np.ndarray:
        """Dose of some rows, float64."""
        # A float64 operand would make scipy copy the whole float32 matrix.
        dose = self._matrix @ fluence.astype(np.float32)
        return dose[self._place[rows]].astype(np.float64)

    def back_project(self, rows: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """Σ factor·row over some rows, float64 (n_beamlets,)."""
        full = np.zeros(self._taken.size, np.float32)
        full[self._place[rows]] = factor
        return (self._transposed @ full).astype(np.float64)


def make_rows(matrix: sparse.csr_array) -> DoseRows:
    """No rows yet of a matrix, to be packed for numba's loops where numba is installed."""
    try:
        from .kernels import PackedRows
    except ImportError:
        return SparseRows(matrix)
    return PackedRows(matrix)


class RowStore:
    """Rows of one matrix, taken from it once, when first needed.

    They are numbered in the order of the matrix, whenever they were taken.

    Parameters
    ----------
    matrix : scipy.sparse.csr_array, float32
    """

    def __init__(self, matrix: sparse.csr_array) -> None:
        self._rows = make_rows(matrix)
        self._there = np.zeros(matrix.shape[0], bool)
        self._number = np.zeros(0, np.int64)  # of each row taken, in the matrix's order
        self._ids = np.zeros(0, np.int64)

    @property
    def n_rows(self) -> int:
        """Rows taken so far."""
        return self._ids.size

    @property
    def nbytes(self) -> int:
        """Memory that the rows take."""
        return self._rows.nbytes

    @property
    def precision(self) -> str:
        """How the values are kept, in words."""
        return self._rows.precision

    def take(self, rows: np.ndarray) -> None:
        """Take those of some matrix rows (increasing) that are not there yet."""
        new = rows[~self._there[rows]]
        if not new.size:
            return
        self._rows.append(new)
        self._there[new] = True
        ids = np.concatenate([self._ids, new])
        order = np.argsort(ids)
        number = np.concatenate([self._number, self.n_rows + np.arange(new.size)])
        self._ids, self._number = ids[order], number[order]

    def positions(self, rows: np.ndarray) -> np.ndarray:
        """By which numbers matrix rows that are there go until more are taken."""
        return np.searchsorted(self._ids, rows)

    def dose(self, positions: np.ndarray, fluence: np.ndarray) -> np.ndarray:
        """Dose of some rows, float64."""
        return self._rows.dose(self._number[positions], fluence)

    def back_project(self, factor: np.ndarray) -> np.ndarray:
        """Σ factor·row, float64 (n_beamlets,); rows with factor zero cost nothing."""
        counting = np.flatnonzero(factor)
        return self._rows.back_project(self._number[counting], factor[counting])
