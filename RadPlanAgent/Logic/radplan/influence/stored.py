"""Influence matrices that were computed elsewhere, kept where those of our engines are.

A dose engine of SlicerRT runs inside Slicer, planning in a process of its own: the matrix goes
from one to the other through the cache folder, with all that planning must know about it.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..beams import Beam
from ..case import Case
from ..errors import InputError
from ..geometry import Grid
from . import cache
from .matrix import Beamlets, InfluenceMatrix

_ADVICE = "compute the influence matrix again"


def anatomy_digest(case: Case) -> str:
    """SHA-256 of a CT and its grid: what a matrix belongs to."""
    digest = hashlib.sha256(repr(asdict(case.grid)).encode())
    digest.update(np.ascontiguousarray(case.ct_hu, np.float32).data)
    return digest.hexdigest()


def content_fingerprint(
    parts: tuple[np.ndarray, ...], grid: Grid, beams: tuple[Beam, ...], engine: str
) -> str:
    """SHA-256 of a matrix and what it is of, for matrices whose making is not ours to describe."""
    digest = hashlib.sha256(repr((asdict(grid), [asdict(b) for b in beams], engine)).encode())
    for array in parts:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def store_influence(influence: InfluenceMatrix, case: Case, cache_dir: Path) -> Path:
    """Keep a matrix for planning.

    Returns
    -------
    Path
        Its folder: what `load_influence` and a plan request take.

    Raises
    ------
    InputError
        If the folder cannot be written or the disk is full.
    """
    cache_dir = Path(cache_dir)
    with cache.disk_errors(cache_dir, 0):
        cache_dir.mkdir(parents=True, exist_ok=True)
    folder = cache_dir / influence.fingerprint
    if not folder.is_dir():
        counts = np.bincount(influence.beamlets.beam, minlength=len(influence.beams))
        about = {
            "engine": influence.engine,
            "grid": asdict(influence.grid),
            "beams": [asdict(beam) for beam in influence.beams],
            "beamlets_per_beam": [int(count) for count in counts],
            "anatomy": anatomy_digest(case),
        }
        cache.store(cache_dir, influence.fingerprint, influence.matrix, about)
    return folder


@dataclass(frozen=True)
class StoredInfluence:
    """What a kept matrix is of, without its numbers."""

    grid: Grid
    beams: tuple[Beam, ...]
    beamlets_per_beam: tuple[int, ...]
    engine: str


def describe_influence(folder: Path, case: Case) -> StoredInfluence:
    """Read what a matrix that `store_influence` kept is of.

    Raises
    ------
    InputError
        If it is missing or its description damaged, or it belongs to another CT.
    """
    folder = Path(folder)
    about = cache.read_about(folder.parent, folder.name)
    if about is None:
        raise InputError(f"{folder}: holds no stored influence matrix; {_ADVICE}")
    try:
        stored = StoredInfluence(
            Grid(**about["grid"]),
            tuple(
                Beam(**(beam | {"isocenter_mm": tuple(beam["isocenter_mm"])}))
                for beam in about["beams"]
            ),
            tuple(int(count) for count in about["beamlets_per_beam"]),
            str(about["engine"]),
        )
        anatomy = about["anatomy"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder}: the description is damaged ({error}); {_ADVICE}") from None
    if anatomy != anatomy_digest(case):
        raise InputError(f"{folder}: the influence matrix belongs to another CT; {_ADVICE}")
    return stored


def load_influence(folder: Path, case: Case) -> InfluenceMatrix:
    """Read what `store_influence` kept; errors as for `describe_influence`."""
    folder = Path(folder)
    stored = describe_influence(folder, case)
    counts = np.array(stored.beamlets_per_beam, np.int64)
    shape = (stored.grid.size, int(counts.sum()))
    matrix = cache.load(folder.parent, folder.name, shape)
    if matrix is None:
        raise InputError(f"{folder}: the influence matrix is damaged; {_ADVICE}")
    return InfluenceMatrix(
        matrix,
        stored.grid,
        stored.beams,
        unplaced_beamlets(counts),
        stored.engine,
        fingerprint=folder.name,
    )


def unplaced_beamlets(counts: np.ndarray) -> Beamlets:
    """Beamlets, so many of each beam, whose places nobody told."""
    nowhere = np.full(int(np.sum(counts)), np.nan, np.float32)
    return Beamlets(np.repeat(np.arange(len(counts)), counts).astype(np.int32), nowhere, nowhere)
