"""The process that computes beams for `radplan.influence.parallel`."""

from __future__ import annotations

import errno
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import sparse

from ..beams import Beam
from ..errors import InputError
from ..geometry import Grid
from .engine import Anatomy, Field


def main(folder: Path) -> int:
    """Compute beams nobody else has claimed until none is left; returns the exit code."""
    parent = os.getppid()
    job = json.loads((folder / "job.json").read_text())
    module, name = job["engine"]
    engine = getattr(importlib.import_module(module), name)()
    anatomy = Anatomy(
        Grid(**job["grid"]), np.load(folder / "hu.npy"), np.load(folder / "inside.npy")
    )
    progress = np.lib.format.open_memmap(folder / "progress.npy", mode="r+")
    for index, beam in enumerate(job["beams"]):
        if not _claim(folder, index):
            continue
        beam["isocenter_mm"] = tuple(beam["isocenter_mm"])
        x_mm, z_mm = np.load(folder / f"beamlets-{index}.npy")
        report = _reporter(progress, index, parent)
        try:
            block = _rows_first(engine.influence(anatomy, Field(Beam(**beam), x_mm, z_mm), report))
            for part in ("data", "indices", "indptr"):
                np.save(folder / f"block-{index}-{part}.npy", getattr(block, part))
        except InputError as error:
            (folder / f"error-{index}.txt").write_text(str(error))
            return 2
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            return errno.ENOSPC
        progress[index] = 1.0
    return 0


def _rows_first(matrix: sparse.sparray) -> sparse.csr_array:
    """Engine's matrix as CSR: int32 indices, float32 values, sorted, no duplicates, no zeros."""
    if matrix.indices.dtype != np.int32:
        # Before the transposition, which needs a second copy of them.
        matrix.indices = matrix.indices.astype(np.int32)
        matrix.indptr = matrix.indptr.astype(np.int32)
    block = matrix.tocsr()
    block.data = block.data.astype(np.float32, copy=False)
    block.sum_duplicates()
    block.eliminate_zeros()
    return block


def _claim(folder: Path, index: int) -> bool:
    """Whether this process is the first to ask for a beam."""
    try:
        os.close(os.open(folder / f"claim-{index}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _reporter(progress: np.ndarray, index: int, parent: int) -> Callable[[float], None]:
    def report(fraction: float) -> None:
        progress[index] = 0.98 * fraction
        if os.getppid() != parent:
            # Nobody waits for the result any more.
            os._exit(1)

    return report


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
