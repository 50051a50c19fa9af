"""How much memory some work needs."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

_PROCESS = Path("/proc/self")


def peak_growth_bytes(work: Callable[[], object]) -> int | None:
    """How far resident memory rises above where it is while some work runs.

    Memory that is reserved and never written to does not count.

    Parameters
    ----------
    work : callable

    Returns
    -------
    int or None
        None where the system does not tell; Linux does.
    """
    gc.collect()
    try:
        (_PROCESS / "clear_refs").write_text("5")  # the peak so far is forgotten
    except OSError:
        return None
    before = _status_bytes("VmRSS")
    work()
    return _status_bytes("VmHWM") - before


def _status_bytes(name: str) -> int:
    for line in (_PROCESS / "status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_PROCESS / 'status'} has no {name}")
