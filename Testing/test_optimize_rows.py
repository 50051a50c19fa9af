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


def test_packed_rows_do_what_scipy_does(matrix):
    rng = np.random.default_rng(0)
    chosen = rng.permutation(matrix.shape[0])[:200]
    packed, reference = kernels.PackedRows(matrix, chosen), SparseRows(matrix, chosen)
    x = rng.uniform(0, 5, matrix.shape[1])
    highest = matrix.max() * x.sum()
    np.testing.assert_allclose(
        packed.dose(np.arange(200), x), reference.dose(np.arange(200), x), atol=2e-5 * highest
    )
    rows = np.sort(rng.permutation(200)[:70])
    factor = rng.normal(size=70)
    scale = np.abs(factor).sum() * matrix.max()
    np.testing.assert_allclose(
        packed.back_project(rows, factor), reference.back_project(rows, factor), atol=2e-5 * scale
    )
    np.testing.assert_allclose(
        packed.curvature_product(rows, factor, x),
        reference.curvature_product(rows, factor, x),
        atol=4e-5 * scale * highest,
    )


def test_rounding_of_values_is_as_stated():
    matrix = make_matrix()
    packed = kernels.PackedRows(matrix, np.arange(matrix.shape[0]))
    unit = np.eye(matrix.shape[1])
    back = np.stack([packed.dose(np.arange(packed.n_rows), column) for column in unit], axis=1)
    highest = matrix.toarray().max(axis=1, keepdims=True)
    assert (np.abs(back - matrix.toarray()) <= highest * (1 / 131070 + 1e-6)).all()


def test_duplicates_and_unsorted_columns_are_summed():
    matrix = sparse.csr_array(
        (np.float32([1, 2, 4]), np.int32([40, 2, 40]), np.int32([0, 3, 3])), shape=(2, 50)
    )
    packed = kernels.PackedRows(matrix, np.array([1, 0]))
    np.testing.assert_allclose(packed.dose(np.arange(2), np.ones(50)), [0, 7], rtol=1e-4)


@pytest.mark.parametrize("value", [-1e-3, np.nan, np.inf])
def test_senseless_dose_is_refused(value):
    matrix = make_matrix()
    matrix.data[matrix.indptr[5]] = value
    with pytest.raises(InputError, match="voxel 5"):
        kernels.PackedRows(matrix, np.arange(10))


def test_rows_are_taken_once_and_added_when_needed():
    matrix = make_matrix()
    store = RowStore(matrix)
    store.take(np.arange(100, 200))
    first = store.positions(np.arange(100, 200))
    store.take(np.arange(50, 150))
    again = store.positions(np.arange(50, 150))
    assert store.n_rows == 150
    np.testing.assert_array_equal(again[50:], first[:50])
    x = np.random.default_rng(1).uniform(0, 1, matrix.shape[1])
    np.testing.assert_allclose(
        store.dose(np.arange(150), x)[again], (matrix @ x)[50:150], atol=1e-3
    )
    factor = np.zeros(150)
    factor[again] = np.linspace(-1, 1, 100)
    np.testing.assert_allclose(
        store.back_project(factor), np.linspace(-1, 1, 100) @ matrix[50:150], atol=1e-2
    )


def test_memory_is_well_below_the_matrix():
    matrix = make_matrix(2000, 1500)
    packed = kernels.PackedRows(matrix, np.arange(2000))
    assert packed.nbytes < 1.5 * (matrix.nnz * 8)


def test_result_does_not_depend_on_the_number_of_threads():
    code = """
import numpy as np
from test_optimize_rows import make_matrix
from radplan.optimize.kernels import PackedRows
packed = PackedRows(make_matrix(2000, 500), np.arange(2000))
x = np.random.default_rng(0).uniform(0, 1, 500)
product = packed.curvature_product(np.arange(2000), np.ones(2000), x)
print(packed.dose(np.arange(2000), x).tobytes().hex()[:4000], product.tobytes().hex())
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
