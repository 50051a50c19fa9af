"""The only door to numba: matrix rows in a compact form, and the loops over them.

A row of an influence matrix is a few dense patches (of every beam, the beamlets near the voxel),
so it is kept as runs of 16-beamlet tiles, zeros inside them included, each value a 16-bit share of
the row's highest. That is 3.4 instead of 8 bytes per non-zero, and the loops run over contiguous
numbers, which a processor does 16 at a time; indexed access takes three times as long.

Loops run on Python threads (numba releases the interpreter lock), over chunks whose number does
not depend on the number of threads, so neither does the result. Compiled code is kept beside this
file, or in the user's cache folder (or $NUMBA_CACHE_DIR) where that cannot be written.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from scipy import sparse

from ..errors import InputError
from .threads import CHUNKS, in_chunks

#: Beamlets per tile: one 512-bit register of single precision numbers.
TILE = 16
#: The largest packed value.
FULL_SCALE = 65535
#: Sums may be reordered and multiplications fused, but infinities and NaN keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}


class PackedRows:
    """Rows of an influence matrix, packed.

    Parameters
    ----------
    matrix : scipy.sparse.csr_array, float32
        Values must not be negative.

    Notes
    -----
    Rounding a value to 16 bits changes it by at most 1/131070 of the row's highest value.
    """

    precision = "16-bit values"

    def __init__(self, matrix: sparse.csr_array) -> None:
        self._csr = (matrix.indptr, matrix.indices, matrix.data)
        self._n_beamlets = matrix.shape[1]
        self._tiles = -(-self._n_beamlets // TILE)
        self._runs, self._run_start = np.zeros((2, 1), np.int64)
        self._run_tile, self._values = np.empty(0, np.int32), np.empty(0, np.uint16)
        self._scale = np.empty(0, np.float32)

    def append(self, rows: np.ndarray) -> None:
        """Pack more rows of the matrix; they are numbered on in the order given.

        Raises
        ------
        InputError
            If a value is negative or not a number.
        """
        runs, tiles = np.zeros((2, rows.size + 1), np.int64)
        sound = np.ones(rows.size, np.bool_)

        def measure(_: int, first: int, end: int) -> None:
            _measure(*self._csr, rows, self._tiles, first, end, runs, tiles, sound)

        in_chunks(rows.size, measure)
        if not sound.all():
            raise InputError(
                f"influence matrix: dose in voxel {rows[~sound][0]} is negative or not a number; "
                "compute the matrix again"
            )
        runs[0], tiles[0] = self._runs[-1], self._run_start[-1] // TILE
        np.cumsum(runs, out=runs)
        np.cumsum(tiles, out=tiles)
        self._make_room(tiles[-1] * TILE)
        added = runs[-1] - runs[0]
        self._run_tile = np.concatenate([self._run_tile, np.empty(added, np.int32)])
        self._run_start = np.concatenate([self._run_start, np.empty(added, np.int64)])
        self._run_start[-1] = tiles[-1] * TILE
        scale = np.empty(rows.size, np.float32)

        def fill(_: int, first: int, end: int) -> None:
            _fill(
                *self._csr, rows, self._tiles, first, end, runs, tiles,
                self._run_tile, self._run_start, self._values, scale,
            )  # fmt: skip

        in_chunks(rows.size, fill)
        self._runs = np.concatenate([self._runs, runs[1:]])
        self._scale = np.concatenate([self._scale, scale])

    def _make_room(self, needed: int) -> None:
        if needed > self._values.size:
            # Memory that is not written to yet costs nothing: twice as much saves copies later.
            values, used = np.empty(2 * needed, np.uint16), self._run_start[-1]
            values[:used] = self._values[:used]
            self._values = values

    @property
    def nbytes(self) -> int:
        """Memory that the rows take."""
        arrays = (self._runs, self._run_tile, self._run_start, self._scale)
        return sum(a.nbytes for a in arrays) + 2 * int(self._run_start[-1])

    def dose(self, rows: np.ndarray, fluence: np.ndarray) -> np.ndarray:
        """Dose of some rows, float64 (summed in float32)."""
        x, out = self._pad(fluence), np.empty(rows.size)
        in_chunks(
            rows.size,
            lambda _, first, end: _dose(*self._arrays, rows[first:end], x, out[first:end]),
        )
        return out

    def back_project(self, rows: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """Σ factor·row over some rows, float64 (n_beamlets,)."""
        factor = factor.astype(np.float32)
        partial = np.zeros((CHUNKS, self._tiles * TILE), np.float32)
        in_chunks(
            rows.size,
            lambda c, first, end: _back_project(
                *self._arrays, rows[first:end], factor[first:end], partial[c]
            ),
        )
        return partial.sum(axis=0, dtype=np.float64)[: self._n_beamlets]

    @property
    def _arrays(self) -> tuple[np.ndarray, ...]:
        return self._runs, self._run_tile, self._run_start, self._values, self._scale

    def _pad(self, vector: np.ndarray) -> np.ndarray:
        padded = np.zeros(self._tiles * TILE, np.float32)
        padded[: self._n_beamlets] = vector
        return padded


@njit(nogil=True, cache=True)
def _measure(indptr, indices, data, rows, tiles, first, end, runs, tile_counts, sound):
    """Count runs and tiles of each row and check its values."""
    hit = np.zeros(tiles, np.bool_)
    for i in range(first, end):
        hit[:] = False
        for k in range(indptr[rows[i]], indptr[rows[i] + 1]):
            hit[indices[k] // TILE] = True
            if not 0 <= data[k] < np.inf:
                sound[i] = False
        inside = False
        for tile in range(tiles):
            if hit[tile]:
                tile_counts[i + 1] += 1
                if not inside:
                    runs[i + 1] += 1
            inside = hit[tile]


@njit(nogil=True, cache=True)
def _fill(
    indptr, indices, data, rows, tiles, first, end, runs, tile_counts,
    run_tile, run_start, values, scale,
):  # fmt: skip
    """Write each row's runs."""
    hit = np.zeros(tiles, np.bool_)
    dense = np.zeros(tiles * TILE, np.float32)
    for i in range(first, end):
        hit[:] = False
        dense[:] = 0
        highest = np.float32(0)
        for k in range(indptr[rows[i]], indptr[rows[i] + 1]):
            column = indices[k]
            hit[column // TILE] = True
            dense[column] += data[k]
            highest = max(highest, dense[column])
        scale[i] = highest / np.float32(FULL_SCALE)
        to_packed = np.float32(FULL_SCALE) / highest if highest > 0 else np.float32(0)
        run, position, inside = runs[i], tile_counts[i] * TILE, False
        for tile in range(tiles):
            if hit[tile]:
                if not inside:
                    run_tile[run] = tile
                    run_start[run] = position
                    run += 1
                for k in range(tile * TILE, (tile + 1) * TILE):
                    values[position] = np.uint16(dense[k] * to_packed + np.float32(0.5))
                    position += 1
            inside = hit[tile]


@njit(nogil=True, cache=True, fastmath=_FAST, inline="always")
def _row_dose(runs, run_tile, run_start, values, i, x):
    total = np.float32(0)
    for run in range(runs[i], runs[i + 1]):
        start = run_start[run]
        length = run_start[run + 1] - start
        column = np.int64(run_tile[run]) * TILE
        packed, weights = values[start : start + length], x[column : column + length]
        for k in range(length):
            total += np.float32(packed[k]) * weights[k]
    return total


@njit(nogil=True, cache=True, fastmath=_FAST, inline="always")
def _add_row(runs, run_tile, run_start, values, i, factor, out):
    for run in range(runs[i], runs[i + 1]):
        start = run_start[run]
        length = run_start[run + 1] - start
        column = np.int64(run_tile[run]) * TILE
        packed, sums = values[start : start + length], out[column : column + length]
        for k in range(length):
            sums[k] += factor * np.float32(packed[k])


@njit(nogil=True, cache=True, fastmath=_FAST)
def _dose(runs, run_tile, run_start, values, scale, rows, x, out):
    for j in range(rows.size):
        i = rows[j]
        out[j] = scale[i] * _row_dose(runs, run_tile, run_start, values, i, x)


@njit(nogil=True, cache=True, fastmath=_FAST)
def _back_project(runs, run_tile, run_start, values, scale, rows, factor, out):
    for j in range(rows.size):
        i = rows[j]
        _add_row(runs, run_tile, run_start, values, i, factor[j] * scale[i], out)


def exact_dose(matrix: sparse.csr_array, rows: np.ndarray, fluence: np.ndarray) -> np.ndarray:
    """Dose of some rows of a matrix as it is, summed in double precision."""
    csr, out = (matrix.indptr, matrix.indices, matrix.data), np.empty(rows.size)
    in_chunks(
        rows.size,
        lambda _, first, end: _exact_dose(*csr, rows[first:end], fluence, out[first:end]),
    )
    return out


def exact_back_project(
    matrix: sparse.csr_array, rows: np.ndarray, factor: np.ndarray
) -> np.ndarray:
    """Σ factor·row over some rows of a matrix as it is, in double precision."""
    csr, partial = (
        (matrix.indptr, matrix.indices, matrix.data),
        np.zeros((CHUNKS, matrix.shape[1])),
    )
    in_chunks(
        rows.size,
        lambda c, first, end: _exact_back_project(
            *csr, rows[first:end], factor[first:end], partial[c]
        ),
    )
    return partial.sum(axis=0)


@njit(nogil=True, cache=True, fastmath=_FAST)
def _exact_dose(indptr, indices, data, rows, x, out):
    for j in range(rows.size):
        total = 0.0
        for k in range(indptr[rows[j]], indptr[rows[j] + 1]):
            total += np.float64(data[k]) * x[indices[k]]
        out[j] = total


@njit(nogil=True, cache=True, fastmath=_FAST)
def _exact_back_project(indptr, indices, data, rows, factor, out):
    for j in range(rows.size):
        for k in range(indptr[rows[j]], indptr[rows[j] + 1]):
            out[indices[k]] += factor[j] * np.float64(data[k])
