"""Absolute scale: what one unit of beamlet weight means, the same for every engine.

One unit on every beamlet of a 10 × 10 cm² field gives 1 Gy at the isocentre, 10 cm deep in water.
The factor is found by running the engine on a digital water phantom, so it includes what the
engine includes, for example its lateral cut-off.
"""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..beams import Beam
from ..errors import InputError
from ..files import written_by_rename
from ..geometry import Grid
from ..progress import CancelRequested, ProgressReport
from .engine import AIR_HU, Anatomy, DoseEngine, Field
from .parallel import compute_beams, work_folder

FIELD_WIDTH_MM = 100.0
DEPTH_MM = 100.0
#: The isocentre is the centre of a voxel and the surface a voxel border: 39.5 voxels of depth.
_SPACING_MM = DEPTH_MM / 39.5
_VOXELS_BEHIND = 8
_HALF_WIDTH_VOXELS = 24

_known: dict[str, float] = {}


def dose_per_unit(
    engine: DoseEngine,
    machine: str,
    bixel_width_mm: float,
    cache_dir: Path | None,
    progress: ProgressReport,
    cancel_requested: CancelRequested,
) -> float:
    """The engine's dose at the reference point for one unit on every beamlet of the field.

    Computed once per engine version, machine and beamlet width, then remembered in memory and in
    ``cache_dir``. Divide the engine's doses by it to get Gy per unit weight.

    Raises
    ------
    InputError
        If the engine gives no dose at the reference point.
    """
    key = f"{engine.identity(machine)}, bixel {bixel_width_mm:g} mm, spacing {_SPACING_MM:.9g} mm"
    if key in _known:
        return _known[key]
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]
    path = None if cache_dir is None else cache_dir / f"calibration-{digest}.json"
    value = None if path is None else _read(path, key)
    if value is None:
        value = _measure(engine, machine, bixel_width_mm, cache_dir, progress, cancel_requested)
        if path is not None:
            text = json.dumps({"key": key, "dose_per_unit": value})
            with written_by_rename(path) as file:
                file.write(text.encode())
    _known[key] = value
    return value


def water_phantom() -> Anatomy:
    """Water from 100 mm before to 21 mm behind the origin along y, 124 mm wide; air around it."""
    side = 2 * _HALF_WIDTH_VOXELS + 1
    depth = 40 + _VOXELS_BEHIND
    hu = np.full((side + 2, depth + 2, side + 2), AIR_HU, np.float32)
    hu[1:-1, 1:-1, 1:-1] = 0.0
    half = _SPACING_MM * (_HALF_WIDTH_VOXELS + 1)
    grid = Grid(hu.shape, (_SPACING_MM,) * 3, (-half, -_SPACING_MM * 40, -half))
    return Anatomy(grid, hu, hu > AIR_HU)


def reference_field(machine: str, bixel_width_mm: float) -> tuple[Field, np.ndarray]:
    """The beamlets of the reference field, and the part of each inside the field (0 … 1]."""
    count = math.ceil(FIELD_WIDTH_MM / bixel_width_mm - 1e-9)
    centers = (np.arange(count) - (count - 1) / 2) * bixel_width_mm
    inside = np.minimum(centers + bixel_width_mm / 2, FIELD_WIDTH_MM / 2) - np.maximum(
        centers - bixel_width_mm / 2, -FIELD_WIDTH_MM / 2
    )
    share = inside / bixel_width_mm
    x, z = np.meshgrid(centers, centers, indexing="ij")
    beam = Beam(0.0, (0.0, 0.0, 0.0), 0.0, bixel_width_mm, machine, "reference")
    return Field(beam, x.ravel(), z.ravel()), np.outer(share, share).ravel()


def _measure(
    engine: DoseEngine,
    machine: str,
    bixel_width_mm: float,
    cache_dir: Path | None,
    progress: ProgressReport,
    cancel_requested: CancelRequested,
) -> float:
    phantom = water_phantom()
    field, weights = reference_field(machine, bixel_width_mm)
    stage = "Dose engine: calibrating on water"
    with work_folder(cache_dir) as folder:
        (block,) = compute_beams(
            engine,
            phantom,
            [field],
            Path(folder),
            1,
            lambda fraction: progress(stage, fraction),
            cancel_requested,
        )
        center = phantom.grid.index_of((0.0, 0.0, 0.0))
        row = int(np.ravel_multi_index([round(i) for i in center], phantom.grid.shape))
        entries = slice(block.indptr[row], block.indptr[row + 1])
        value = float(block.data[entries].astype(np.float64) @ weights[block.indices[entries]])
        del block
    if not value > 0:
        raise InputError(
            f"{engine.identity(machine)} gives no dose at 10 cm depth in water for beamlets of "
            f"{bixel_width_mm:g} mm; choose another beamlet width or machine"
        )
    return value


def _read(path: Path, key: str) -> float | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(path.read_text())
        value = float(content["dose_per_unit"])
        if content["key"] == key and 0 < value < math.inf:
            return value
    return None
