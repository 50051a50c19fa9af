"""Files that appear whole or not at all, and JSON in them."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from .errors import InputError

#: What a full disk is told by: the disk, a quota, a limit on the size of files.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename in (None, temporary):
            # A full disk is told without a name, or with one that nobody knows.
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextmanager
def folder_written_by_rename(path: str | os.PathLike, replace: bool = False) -> Iterator[Path]:
    """Fill a temporary folder beside `path` that takes its name when the block ends well.

    When the block raises, the temporary folder is removed and `path` is untouched.

    Parameters
    ----------
    path : path-like
        The final name; missing parents are made.
    replace : bool
        Whether an existing folder with files in it is replaced as a whole.

    Yields
    ------
    pathlib.Path
        The folder to write to.

    Raises
    ------
    InputError
        If there is a file of that name, or a folder with files and `replace` is False.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file; give the name of a folder")
    if not replace and path.is_dir() and any(path.iterdir()):
        raise InputError(f"{path}: folder is not empty; give another name or empty it")
    path.parent.mkdir(parents=True, exist_ok=True)
    workspace = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        # mkdtemp makes folders for the owner only; inside it, a plain one gets the usual rights.
        new, old = workspace / "new", workspace / "old"
        new.mkdir()
        yield new
        if path.is_dir():
            os.replace(path, old)
        try:
            os.replace(new, path)
        except OSError:
            if old.is_dir():
                os.replace(old, path)
            raise
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def write_json(path: Path, content: Mapping | list) -> None:
    """Write JSON by rename; numbers that are not finite are refused."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    with written_by_rename(path) as file:
        file.write(text.encode("utf-8"))


def read_json(path: Path) -> Any:
    """Read JSON; `InputError` naming the file if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}); it may be damaged") from None
