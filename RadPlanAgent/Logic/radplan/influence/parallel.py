"""Beams computed in parallel processes of their own.

Each process is a fresh interpreter running ``radplan.influence.beam_worker``, not a fork and not
a ``multiprocessing`` child: it works the same from a script, a notebook and 3D Slicer's Python,
it can be killed at any moment, and what an engine prints ends in its log file. Arrays travel
through files in a temporary folder.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
from scipy import sparse

from ..errors import InputError
from ..progress import CancelRequested, check_cancelled
from .cache import WORK_PREFIX
from .engine import Anatomy, DoseEngine, Field

_POLL_SECONDS = 0.05
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


def usable_cpus() -> int:
    """Processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def compute_beams(
    engine: DoseEngine,
    anatomy: Anatomy,
    fields: Sequence[Field],
    folder: Path,
    processes: int,
    report: Callable[[float], None],
    cancel_requested: CancelRequested,
) -> list[sparse.csr_array]:
    """Compute one block of columns per field.

    Parameters
    ----------
    engine : DoseEngine
        Rebuilt from its class, without arguments, in every process.
    folder : Path
        An empty folder that outlives the returned arrays, which are mapped from files in it.
    processes : int
        How many processes to run at once.
    report : callable
        Called with the fraction done, 0 … 1.

    Returns
    -------
    list of scipy.sparse.csr_array
        float32 values and int32 indices, shape (grid.size, beamlets of the field), sorted.

    Raises
    ------
    InputError, CancelledError
    OSError
        If the disk of the folder is full. No process is left in any of these cases.
    """
    _write_job(engine, anatomy, fields, folder)
    progress = np.lib.format.open_memmap(
        folder / "progress.npy", mode="w+", dtype=np.float64, shape=(len(fields),)
    )
    weights = np.array([field.x_mm.size for field in fields], dtype=np.float64)
    weights /= weights.sum()
    count = max(1, min(processes, len(fields)))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(os.path.abspath(p) for p in sys.path),
        **dict.fromkeys(_THREAD_VARIABLES, str(max(1, usable_cpus() // count))),
    }
    workers: list[subprocess.Popen] = []
    try:
        for k in range(count):
            with (folder / f"worker-{k}.log").open("wb") as log:
                workers.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "radplan.influence.beam_worker", "."],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env=environment,
                        # Away from the user's folder: pyRadPlan reads a .env file it finds there.
                        cwd=folder,
                    )
                )
        while True:
            codes = [worker.poll() for worker in workers]
            check_cancelled(cancel_requested)
            if any(codes):
                failed = next(k for k, code in enumerate(codes) if code)
                _raise_failure(folder, failed, codes[failed])
            report(float(weights @ progress))
            if all(code == 0 for code in codes):
                break
            time.sleep(_POLL_SECONDS)
    finally:
        for worker in workers:
            with suppress(OSError):
                worker.kill()
            worker.wait()
    return [_read_block(folder, i, anatomy.grid.size, f.x_mm.size) for i, f in enumerate(fields)]


def work_folder(parent: Path | None) -> tempfile.TemporaryDirectory:
    """A temporary folder for `compute_beams`, in the cache where there is one."""
    return tempfile.TemporaryDirectory(prefix=WORK_PREFIX, dir=parent, ignore_cleanup_errors=True)


def _write_job(
    engine: DoseEngine, anatomy: Anatomy, fields: Sequence[Field], folder: Path
) -> None:
    np.save(folder / "hu.npy", anatomy.hu)
    np.save(folder / "inside.npy", anatomy.inside)
    for i, field in enumerate(fields):
        np.save(folder / f"beamlets-{i}.npy", np.stack([field.x_mm, field.z_mm]))
    job = {
        "engine": [type(engine).__module__, type(engine).__qualname__],
        "grid": asdict(anatomy.grid),
        "beams": [asdict(field.beam) for field in fields],
    }
    (folder / "job.json").write_text(json.dumps(job))


def _read_block(folder: Path, index: int, rows: int, columns: int) -> sparse.csr_array:
    data, indices, indptr = (
        np.load(folder / f"block-{index}-{part}.npy", mmap_mode="r")
        for part in ("data", "indices", "indptr")
    )
    block = sparse.csr_array((rows, columns), dtype=np.float32)
    # Set directly: the constructor would read the whole file to check it.
    block.data, block.indices, block.indptr = data, indices, indptr
    return block


def _raise_failure(folder: Path, worker: int, code: int) -> None:
    for path in sorted(folder.glob("error-*.txt")):
        raise InputError(path.read_text())
    if code == errno.ENOSPC:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    log = (folder / f"worker-{worker}.log").read_text(errors="replace").strip()
    if os.name == "posix" and code == -signal.SIGKILL:
        raise InputError(
            "a dose calculation process was killed from outside, most likely because memory ran "
            "out; use fewer processes, a coarser dose grid or wider beamlets"
        )
    raise RuntimeError(f"a dose calculation process failed (exit code {code}):\n{log[-4000:]}")
