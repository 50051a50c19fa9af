"""Matrix rows in packed form against scipy, on any number of threads."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse

from radplan.errors import InputError
from radplan.optimize.rows import RowStore, SparseRows

kernels = pytest.importorskip("radplan.optimize.kernels", reason="numba is not installed")


def make_matrix(rows: int = 300, columns: int = 133, density: float = 0.3) -> sparse.csr_array:
    """Rows with patches of beamlets, some rows empty, some beamlets reaching nothing."""
    rng = np.random.default_rng(5)
    dense = rng.uniform(0, 1, (rows, columns)).astype(np.float32)
    dense *= np.repeat(rng.uniform(size=(rows, -(-columns // 7))) < density, 7, 1)[:, :columns]
    dense[[0, 17, rows - 1]] = 0
    if columns > 1:
        dense[:, columns // 2] = 0
    return sparse.csr_array(dense)


@pytest.fixture(params=[1, 15, 16, 17, 133])
def matrix(request) -> sparse.csr_array:
    return make_matrix(columns=request.param)


def packed_rows(matrix, rows):
    packed = kernels.PackedRows(matrix)
    packed.append(rows)
    return packed


def test_packed_rows_do_what_scipy_does(matrix):
    rng = np.random.default_rng(0)
    chosen = rng.permutation(matrix.shape[0])[:200]
    packed, reference = kernels.PackedRows(matrix), SparseRows(matrix)
    for store in (packed, reference):
        for part in (chosen[:130], chosen[130:131], chosen[131:]):
            store.append(part)
    x, every = rng.uniform(0, 5, matrix.shape[1]), np.arange(200)
    highest = matrix.max() * x.sum()
    np.testing.assert_allclose(
        packed.dose(every, x), reference.dose(every, x), atol=2e-5 * highest
    )
    rows = np.sort(rng.permutation(200)[:70])
    factor = rng.normal(size=70)
    scale = np.abs(factor).sum() * matrix.max()
    np.testing.assert_allclose(
        packed.back_project(rows, factor), reference.back_project(rows, factor), atol=2e-5 * scale
    )


def test_rounding_of_values_is_as_stated():
    matrix = make_matrix()
    every = np.arange(matrix.shape[0])
    packed = packed_rows(matrix, every)
    back = np.stack([packed.dose(every, unit) for unit in np.eye(matrix.shape[1])], axis=1)
    highest = matrix.toarray().max(axis=1, keepdims=True)
    assert (np.abs(back - matrix.toarray()) <= highest * (1 / 131070 + 1e-6)).all()


def test_duplicates_and_unsorted_columns_are_summed():
    matrix = sparse.csr_array(
        (np.float32([1, 2, 4]), np.int32([40, 2, 40]), np.int32([0, 3, 3])), shape=(2, 50)
    )
    packed = packed_rows(matrix, np.array([1, 0]))
    np.testing.assert_allclose(packed.dose(np.arange(2), np.ones(50)), [0, 7], rtol=1e-4)


@pytest.mark.parametrize("value", [-1e-3, np.nan, np.inf])
def test_senseless_dose_is_refused(value):
    matrix = make_matrix()
    matrix.data[matrix.indptr[5]] = value
    with pytest.raises(InputError, match="voxel 5"):
        packed_rows(matrix, np.arange(10))


@pytest.mark.parametrize("compiled", [True, False])
def test_when_a_row_was_taken_changes_nothing(compiled, monkeypatch):
    """Bit for bit: what else is in the store, and since when, has no part in a sum."""
    if not compiled:
        monkeypatch.setitem(sys.modules, "radplan.optimize.kernels", None)
    matrix, rng = make_matrix(), np.random.default_rng(1)
    x, wanted = rng.uniform(0, 1, matrix.shape[1]), np.arange(50, 200, 3)
    weight = rng.normal(size=wanted.size)
    sums, doses = [], []
    for history in ([wanted], [np.arange(90, 300), wanted], [wanted[::2], np.arange(4), wanted]):
        store = RowStore(matrix)
        for rows in history:
            store.take(rows)
        positions = store.positions(wanted)
        factor = np.zeros(store.n_rows)
        factor[positions] = weight
        sums.append(store.back_project(factor))
        doses.append(store.dose(positions, x))
        np.testing.assert_allclose(doses[-1], (matrix @ x)[wanted], atol=1e-3)
        np.testing.assert_allclose(sums[-1], weight @ matrix[wanted], atol=1e-2)
    for other in (1, 2):
        np.testing.assert_array_equal(sums[other], sums[0])
        np.testing.assert_array_equal(doses[other], doses[0])


def test_memory_is_well_below_the_matrix():
    matrix = make_matrix(2000, 1500)
    packed = packed_rows(matrix, np.arange(2000))
    assert packed.nbytes < 1.5 * (matrix.nnz * 8)


def test_result_does_not_depend_on_the_number_of_threads():
    code = """
import numpy as np
from test_optimize_rows import make_matrix, packed_rows
rows = np.arange(2000)
packed = packed_rows(make_matrix(2000, 500), rows)
dose = packed.dose(rows, np.random.default_rng(0).uniform(0, 1, 500))
print(dose.tobytes().hex()[:4000], packed.back_project(rows, dose).tobytes().hex())
"""
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"RADPLAN_THREADS": threads},
            cwd=os.path.dirname(__file__),
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for threads in ("1", "3")
    ]
    assert outputs[0] == outputs[1]
