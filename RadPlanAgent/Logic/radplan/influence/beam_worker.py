"""The process that computes beams for `radplan.influence.parallel`."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

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
        field = Field(Beam(**beam), x_mm, z_mm)
        try:
            matrix = engine.influence(anatomy, field, _reporter(progress, index, parent))
        except InputError as error:
            (folder / f"error-{index}.txt").write_text(str(error))
            return 2
        # Halve the row indices before the transposition, which needs a second copy anyway.
        if matrix.indices.dtype != np.int32:
            matrix.indices = matrix.indices.astype(np.int32)
            matrix.indptr = matrix.indptr.astype(np.int32)
        block = matrix.tocsr()
        del matrix
        block.sum_duplicates()
        block.eliminate_zeros()
        for part in ("data", "indices", "indptr"):
            np.save(folder / f"block-{index}-{part}.npy", getattr(block, part))
        progress[index] = 1.0
    return 0


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
