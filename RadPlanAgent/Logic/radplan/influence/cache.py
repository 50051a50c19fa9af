"""Influence matrices kept on disk, one folder per fingerprint.

A folder is written under a temporary name and renamed when it is complete. Every array's SHA-256
is checked when it is read; what is damaged is removed and computed again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from scipy import sparse

from ..errors import InputError
from .engine import Anatomy, Field

logger = logging.getLogger(__name__)

#: Raised by one when the files change their meaning.
FORMAT_VERSION = 1
#: How temporary folders of running calculations are named.
WORK_PREFIX = "radplan-beams-"
_LEFTOVER_SECONDS = 24 * 3600
_PARTS = ("data", "indices", "indptr")


def fingerprint(anatomy: Anatomy, fields: Sequence[Field], engine_identity: str) -> str:
    """SHA-256 of everything that determines a matrix: what the engine is given, and which one.

    CT, EXTERNAL, targets, patient position and beamlet width act only through the arguments, so
    any change in them that could change a dose changes the fingerprint, and no other does.
    """
    digest = hashlib.sha256()
    text = {
        "format": FORMAT_VERSION,
        "engine": engine_identity,
        "grid": [anatomy.grid.shape, anatomy.grid.spacing_mm, anatomy.grid.origin_mm],
        "beams": [
            [
                f.beam.gantry_angle_deg,
                f.beam.couch_angle_deg,
                f.beam.isocenter_mm,
                f.beam.bixel_width_mm,
                f.beam.machine,
                f.x_mm.size,
            ]
            for f in fields
        ],
    }
    digest.update(json.dumps(text, sort_keys=True).encode())
    arrays = [anatomy.hu, np.packbits(anatomy.inside)]
    arrays += [position for field in fields for position in (field.x_mm, field.z_mm)]
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def load(cache_dir: Path, key: str, shape: tuple[int, int]) -> sparse.csr_array | None:
    """The matrix of a fingerprint, or None where there is none (or no sound one)."""
    folder = cache_dir / key
    if not folder.is_dir():
        return None
    try:
        meta = json.loads((folder / "meta.json").read_text())
        arrays = [np.load(folder / f"{part}.npy") for part in _PARTS]
        with ThreadPoolExecutor(2) as pool:
            sums = list(pool.map(_checksum, arrays))
        if sums != [meta["sha256"][part] for part in _PARTS] or tuple(meta["shape"]) != shape:
            raise ValueError("checksum or shape differs")
        return sparse.csr_array(tuple(arrays), shape=shape)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        logger.warning("damaged influence matrix in %s (%s): computing it again", folder, error)
        shutil.rmtree(folder, ignore_errors=True)
        return None


def store(
    cache_dir: Path, key: str, matrix: sparse.csr_array, about: Mapping | None = None
) -> None:
    """Keep a matrix, and what `read_about` shall give; nothing is left behind when that fails.

    Raises
    ------
    InputError
        If the disk is too full or the folder cannot be written.
    """
    arrays = {part: getattr(matrix, part) for part in _PARTS}
    needed_bytes = sum(array.nbytes for array in arrays.values())
    require_disk(cache_dir, needed_bytes)
    partial = Path(tempfile.mkdtemp(prefix=f"{key[:16]}-", suffix=".partial", dir=cache_dir))
    try:
        with disk_errors(cache_dir, needed_bytes):
            for part, array in arrays.items():
                np.save(partial / f"{part}.npy", array)
            with ThreadPoolExecutor(2) as pool:
                sums = dict(zip(arrays, pool.map(_checksum, arrays.values()), strict=True))
            meta = {"format": FORMAT_VERSION, "shape": matrix.shape, "sha256": sums}
            if about is not None:
                meta["about"] = dict(about)
            (partial / "meta.json").write_text(json.dumps(meta))
            try:
                os.rename(partial, cache_dir / key)
            except OSError:
                # Where another process was faster, its copy is as good as ours.
                if not (cache_dir / key).is_dir():
                    raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_about(cache_dir: Path, key: str) -> dict | None:
    """What a matrix was stored with besides its numbers; None where there is none."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return dict(json.loads((cache_dir / key / "meta.json").read_text())["about"])
    return None


def remove_leftovers(cache_dir: Path) -> None:
    """Remove what killed processes left half done more than a day ago."""
    for pattern in ("*.partial", f"{WORK_PREFIX}*"):
        for path in cache_dir.glob(pattern):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def disk_errors(folder: Path, needed_bytes: int) -> Iterator[None]:
    """Turn a failure to write into an `InputError` that names the folder and what it needs."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise _disk_full(folder, needed_bytes) from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}:
            raise InputError(
                f"cannot write the dose calculation's files in {folder}: {error.strerror}; "
                "choose a folder that can be written"
            ) from error
        raise


def require_disk(folder: Path, needed_bytes: int) -> None:
    """Refuse (`InputError`) what the disk of a folder has no room for."""
    with disk_errors(folder, needed_bytes):
        free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise _disk_full(folder, needed_bytes)


def _disk_full(folder: Path, needed_bytes: int) -> InputError:
    return InputError(
        f"disk full: {folder} needs {needed_bytes / 1e9:.2f} GB free for the influence matrix; "
        "make room, choose another cache folder or a coarser dose grid"
    )


def _checksum(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
