"""One process a session folder: two at work in the same place would undo each other's."""

from __future__ import annotations

import weakref
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import InputError

#: Stays in the folder; whether it is locked is known to the operating system, which lets go of it
#: when a process ends, however it ends.
LOCK_NAME = ".lock"


class SessionLock:
    """The right to change a session folder, held by this process while there is such an object.

    A process may have several of one folder; it is free when the last is gone.

    Parameters
    ----------
    folder : Path
        Made if it is not there.

    Raises
    ------
    InputError
        If another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_new = not folder.is_dir()
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(
            folder.resolve() / LOCK_NAME, timeout=0, thread_local=False, is_singleton=True
        )
        try:
            # A file system without locks, as some network drives: planning there is possible.
            with suppress(NotImplementedError):
                lock.acquire()
        except Timeout:
            raise InputError(
                f"{folder}: another process has this session open; end planning or close the "
                "session there, or choose another folder"
            ) from None
        self._release = weakref.finalize(self, lock.release)

    def abandon(self) -> None:
        """Let go of it, and of a folder that was made for it and holds nothing else."""
        self._release()
        if self._is_new:
            with suppress(OSError):  # not empty
                (self._folder / LOCK_NAME).unlink(missing_ok=True)
                self._folder.rmdir()
