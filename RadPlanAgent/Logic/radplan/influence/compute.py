"""From a case and beams to an influence matrix: the public entry of this package."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

from ..beams import Beam
from ..case import Case, StructureType
from ..errors import InputError
from ..geometry import Grid
from ..progress import CancelRequested, ProgressReport, check_cancelled, never, silent
from . import cache
from .calibration import dose_per_unit
from .dose_grid import (
    MOST_NONZEROS,
    MemoryEstimate,
    available_memory_bytes,
    estimate_fields,
)
from .engine import Anatomy, DoseEngine, Field, anatomy_on
from .fields import beamlet_positions, supine_angles, target_points_mm
from .matrix import Beamlets, InfluenceMatrix
from .parallel import compute_beams, usable_cpus, work_folder
from .pyradplan_engine import PyRadPlanPencilBeam

#: Rows merged at once hold about this many entries.
_MERGE_NONZEROS = 4_000_000


def influence_matrix(
    case: Case,
    beams: Sequence[Beam],
    grid: Grid,
    *,
    target_names: Sequence[str] | None = None,
    cache_dir: Path | None = None,
    processes: int | None = None,
    progress: ProgressReport = silent,
    cancel_requested: CancelRequested = never,
    engine: DoseEngine | None = None,
) -> InfluenceMatrix:
    """Dose of every beamlet of every beam in every voxel of a dose grid.

    Parameters
    ----------
    case : Case
        Needs one EXTERNAL structure. Whatever is outside it is taken as air and gets no dose
        (see `engine.anatomy_on`).
    beams : sequence of Beam
        All of one machine and one beamlet width.
    grid : Grid
        The dose grid, see `choose_dose_grid`.
    target_names : sequence of str, optional
        Targets that the beams must cover; by default every TARGET structure.
    cache_dir : Path, optional
        Where matrices are kept; a second call with the same input reads it back.
    processes : int, optional
        Beams computed at once; by default one per usable processor.
    progress, cancel_requested
        See `radplan.progress`.
    engine : DoseEngine, optional
        pyRadPlan's pencil beam by default.

    Returns
    -------
    InfluenceMatrix
        Absolute scale as defined there.

    Raises
    ------
    InputError
        If beams, targets or EXTERNAL do not make sense, the engine is missing, or memory or
        disk do not suffice.
    CancelledError
        Nothing is left running or half written.
    """
    engine = engine or PyRadPlanPencilBeam()
    names = _target_names(case, target_names)
    beams, processes = _checked_beams(beams), processes or usable_cpus()
    progress("Dose engine: preparing beams", 0.0)
    identity = engine.identity(beams[0].machine)
    anatomy = anatomy_on(case, grid)
    fields = _fields(case, beams, names, engine)
    beamlets = Beamlets(
        np.repeat(np.arange(len(fields)), [f.x_mm.size for f in fields]).astype(np.int32),
        np.concatenate([f.x_mm for f in fields]).astype(np.float32),
        np.concatenate([f.z_mm for f in fields]).astype(np.float32),
    )
    key = cache.fingerprint(anatomy, fields, identity)
    check_cancelled(cancel_requested)
    if cache_dir is not None:
        cache_dir = Path(cache_dir)
        with cache.disk_errors(cache_dir, 0):
            cache_dir.mkdir(parents=True, exist_ok=True)
        cache.remove_leftovers(cache_dir)
        progress("Dose engine: looking for a stored matrix", 0.0)
        stored = cache.load(cache_dir, key, (grid.size, beamlets.beam.size))
        if stored is not None:
            progress("Dose engine: looking for a stored matrix", 1.0)
            return InfluenceMatrix(stored, grid, beams, beamlets, identity, key)
    estimate = _estimate(anatomy, fields, engine, processes)
    estimate.require(available_memory_bytes())
    disk, needed_bytes = cache_dir or Path(tempfile.gettempdir()), estimate.matrix_bytes
    cache.require_disk(disk, needed_bytes)
    with cache.disk_errors(disk, needed_bytes):
        machine, width = beams[0].machine, beams[0].bixel_width_mm
        scale = 1.0 / dose_per_unit(engine, machine, width, cache_dir, progress, cancel_requested)
        with work_folder(cache_dir) as folder:
            stage = f"Dose engine: {len(beams)} beams, {beamlets.beam.size} beamlets"
            blocks = compute_beams(
                engine,
                anatomy,
                fields,
                Path(folder),
                processes,
                lambda fraction: progress(stage, fraction),
                cancel_requested,
            )

            def joined(fraction: float) -> None:
                check_cancelled(cancel_requested)
                progress("Dose engine: joining beams", fraction)

            matrix = merge_columns(blocks, scale, joined)
            del blocks
    if cache_dir is not None:
        progress("Dose engine: storing the matrix", 0.0)
        cache.store(cache_dir, key, matrix)
    progress("Dose engine: done", 1.0)
    return InfluenceMatrix(matrix, grid, beams, beamlets, identity, key)


def estimate_memory(
    case: Case,
    beams: Sequence[Beam],
    grid: Grid,
    *,
    target_names: Sequence[str] | None = None,
    processes: int | None = None,
    engine: DoseEngine | None = None,
) -> MemoryEstimate:
    """What `influence_matrix` with the same arguments would take."""
    engine = engine or PyRadPlanPencilBeam()
    names = _target_names(case, target_names)
    fields = _fields(case, _checked_beams(beams), names, engine)
    return _estimate(anatomy_on(case, grid), fields, engine, processes or usable_cpus())


def merge_columns(
    blocks: Sequence[sparse.csr_array], scale: float, report: Callable[[float], None]
) -> sparse.csr_array:
    """Put blocks of columns side by side and scale them, holding few of them in memory at once.

    Parameters
    ----------
    blocks : sequence of scipy.sparse.csr_array
        float32 values, int32 indices, equal number of rows; may be mapped from files.
    scale : float
        Factor on all values.
    report : callable
        Called now and then with the fraction done, 0 … 1.

    Returns
    -------
    scipy.sparse.csr_array
        float32 values, int32 indices, sorted.

    Raises
    ------
    InputError
        If the entries cannot be counted in 32 bits.
    """
    rows = blocks[0].shape[0]
    indptr = np.sum([np.asarray(block.indptr, dtype=np.int64) for block in blocks], axis=0)
    if indptr[-1] > MOST_NONZEROS:
        raise InputError(
            f"influence matrix has {indptr[-1]} entries, more than 2^31; use a coarser dose grid, "
            "wider beamlets or fewer beams"
        )
    data = np.empty(indptr[-1], np.float32)
    indices = np.empty(indptr[-1], np.int32)
    row = 0
    while row < rows:
        limit = np.searchsorted(indptr, indptr[row] + _MERGE_NONZEROS, "right") - 1
        stop = min(rows, max(row + 1, int(limit)))
        part = sparse.hstack([_rows(block, row, stop) for block in blocks], format="csr")
        place = slice(indptr[row], indptr[stop])
        np.multiply(part.data, np.float32(scale), out=data[place])
        indices[place] = part.indices
        row = stop
        report(row / rows)
    columns = sum(block.shape[1] for block in blocks)
    return sparse.csr_array((data, indices, indptr.astype(np.int32)), shape=(rows, columns))


def _rows(block: sparse.csr_array, start: int, stop: int) -> sparse.csr_array:
    pointers = np.asarray(block.indptr[start : stop + 1])
    place = slice(pointers[0], pointers[-1])
    return sparse.csr_array(
        (block.data[place], block.indices[place], pointers - pointers[0]),
        shape=(stop - start, block.shape[1]),
    )


def _target_names(case: Case, names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return tuple(structure.name for structure in case.of_type(StructureType.TARGET))
    return tuple(names)


def _checked_beams(beams: Sequence[Beam]) -> tuple[Beam, ...]:
    beams = tuple(beams)
    if not beams:
        raise InputError("no beams given; name at least one gantry angle")
    for beam in beams:
        numbers = (beam.gantry_angle_deg, beam.couch_angle_deg, *beam.isocenter_mm)
        if not all(map(math.isfinite, numbers)):
            raise InputError(f"beam {beam.name!r}: angles and isocentre must be finite numbers")
        if not 1.0 <= beam.bixel_width_mm <= 50.0:
            raise InputError(
                f"beam {beam.name!r}: beamlet width must be 1 … 50 mm, got {beam.bixel_width_mm:g}"
            )
    if len({(beam.machine, beam.bixel_width_mm) for beam in beams}) > 1:
        raise InputError("all beams of a plan must have one machine and one beamlet width")
    return beams


def _fields(
    case: Case, beams: Sequence[Beam], names: Sequence[str], engine: DoseEngine
) -> list[Field]:
    points = target_points_mm(case, names, beams[0])
    distance = engine.source_axis_distance_mm(beams[0].machine)
    fields = []
    for beam in beams:
        x, z = beamlet_positions(points, beam, distance, case.patient_position)
        gantry, couch = supine_angles(
            beam.gantry_angle_deg, beam.couch_angle_deg, case.patient_position
        )
        supine = Beam(
            gantry, beam.isocenter_mm, couch, beam.bixel_width_mm, beam.machine, beam.name
        )
        fields.append(Field(supine, x, z))
    return fields


def _estimate(
    anatomy: Anatomy, fields: Sequence[Field], engine: DoseEngine, processes: int
) -> MemoryEstimate:
    distance = engine.source_axis_distance_mm(fields[0].beam.machine)
    return estimate_fields(anatomy, fields, distance, engine.lateral_cutoff_mm, processes)
