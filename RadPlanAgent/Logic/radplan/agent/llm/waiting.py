"""Waiting for a server with a deadline on the clock, and letting go within a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ...progress import CancelRequested, check_cancelled

#: How often the person is asked whether to stop, seconds.
POLL_S = 0.1
#: What closing the connection may take when a request is given up, seconds.
CLOSE_S = 0.5

Result = TypeVar("Result")


class DeadlineError(Exception):
    """The time is over."""


def wait_for(
    work: Coroutine[Any, Any, Result], deadline: float, cancel_requested: CancelRequested
) -> Result:
    """Run a coroutine until it is done, the time is over, or the person asks to stop.

    In the latter two it is cancelled where it stands, which closes its sockets; there is no
    thread that could stay behind (only a name that is being resolved cannot be given up).

    Parameters
    ----------
    work : coroutine
    deadline : float
        On the clock of `time.monotonic`, seconds.
    cancel_requested : callable

    Raises
    ------
    DeadlineError, CancelledError
    """
    watched = _watched(work, deadline, cancel_requested)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(watched)
    # In a notebook this thread already runs a loop of its own.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_run, watched).result()


async def _watched(
    work: Coroutine[Any, Any, Result], deadline: float, cancel_requested: CancelRequested
) -> Result:
    task = asyncio.ensure_future(work)
    while not task.done():
        check_cancelled(cancel_requested)
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise DeadlineError
        await asyncio.wait({task}, timeout=min(POLL_S, left_s))
    return task.result()


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    """Do what `asyncio.run` does, but without waiting for names that are still being resolved."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        # Whatever ended the waiting, Ctrl-C included: what is still under way is given up.
        loop.run_until_complete(_give_up(asyncio.all_tasks(loop)))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _give_up(tasks: set[asyncio.Task]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CLOSE_S)
