"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def written_by_rename(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` that takes its name when the block ends well.

    The data is on the disk before the rename, so that a crash leaves the old file or the new one,
    never half of it. When the block raises, the temporary file is removed and `path` is untouched.

    Parameters
    ----------
    path : path-like
        The final name; missing folders are made.

    Yields
    ------
    file object, binary, writable
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for the owner only; a result should be as readable as any other.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
