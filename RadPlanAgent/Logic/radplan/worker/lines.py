"""Lines of JSON in and out."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator

#: A longer request is refused; the largest sensible one is a list of objectives.
MOST_BYTES = 4 << 20
_CHUNK_BYTES = 1 << 16


class EventWriter:
    """Writes events, each as one line, from any thread.

    Parameters
    ----------
    descriptor : int
        File descriptor to write to.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._broken = False

    def __call__(self, event: str, **fields: object) -> None:
        """Write an event; where nobody reads any more, nothing happens."""
        text = json.dumps({"event": event, **fields}, ensure_ascii=False, allow_nan=False)
        line = memoryview(text.encode() + b"\n")
        with self._lock:
            try:
                while line and not self._broken:
                    line = line[os.write(self._descriptor, line) :]
            except OSError:
                # Who reads has gone; the end of standard input tells the same.
                self._broken = True


def read_lines(descriptor: int) -> Iterator[bytes | None]:
    """Lines of a file descriptor as they come, without their ends, until it ends.

    Read directly: the lock of a buffered file would keep the process from ending.

    Yields
    ------
    bytes or None
        None in place of a line that is longer than `MOST_BYTES`. What follows the last line end
        is no line.
    """
    rest, too_long = b"", False
    while chunk := os.read(descriptor, _CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield None if too_long or len(line) > MOST_BYTES else line
            too_long = False
        if len(rest) > MOST_BYTES:
            rest, too_long = b"", True
