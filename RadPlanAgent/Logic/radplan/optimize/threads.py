"""How many threads the optimizer's loops run on, and who else may start threads meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cache

#: Parts into which rows are divided; a constant, so that sums do not depend on the threads.
CHUNKS = 8


def thread_count() -> int:
    """Processors this process may use, or $RADPLAN_THREADS."""
    if "RADPLAN_THREADS" in os.environ:
        return max(1, int(os.environ["RADPLAN_THREADS"]))
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_chunks(count: int, work: Callable[[int, int, int], None]) -> None:
    """Call ``work(chunk, first, end)`` for `CHUNKS` parts of ``range(count)``, in parallel."""
    borders = [count * chunk // CHUNKS for chunk in range(CHUNKS + 1)]
    # Reading the results raises what a thread raised.
    list(_pool().map(work, range(CHUNKS), borders[:-1], borders[1:]))


def single_blas_thread() -> AbstractContextManager:
    """Keep the linear algebra library from starting threads while this context lasts.

    L-BFGS-B calls it for matrices of a few dozen rows. Its threads wait by spinning: on a busy
    machine that made the optimizer five times slower. Without threadpoolctl nothing is done.
    """
    controller = _blas()
    return controller.limit(limits=1, user_api="blas") if controller else nullcontext()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_count(), "radplan-optimize")


@cache
def _blas():
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()
