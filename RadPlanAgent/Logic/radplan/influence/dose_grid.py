"""Choosing the dose grid, and how much memory an influence matrix on it will take."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..case import Case
from ..errors import InputError
from ..geometry import Grid
from .engine import Anatomy, Field
from .fields import beam_rotation

#: Dose voxels are as wide as this where the CT is fine enough, mm.
FINEST_DEFAULT_MM, COARSEST_DEFAULT_MM = 2.5, 3.0
#: Row indices and the position of every entry are 32-bit.
MOST_NONZEROS = 2**31 - 1
#: A CSR entry: float32 value and int32 column.
BYTES_PER_NONZERO = 8
#: While a beam is computed: pyRadPlan's entry (float32, int64) grown ahead of need, and ours.
_WORKER_BYTES_PER_NONZERO = 32
_WORKER_BYTES = 600_000_000


def choose_dose_grid(case: Case, spacing_mm: float | None = None) -> Grid:
    """The grid to plan on: the box of EXTERNAL and one voxel around it.

    Parameters
    ----------
    case : Case
    spacing_mm : float, optional
        Wanted voxel width on every axis. By default each axis gets the largest multiple of the
        CT spacing within 2.5 … 3 mm, else 3 mm; a coarser CT keeps its own spacing.

    Returns
    -------
    Grid
        Where the spacing is a multiple of the CT's, dose voxels are made of whole CT voxels.

    Raises
    ------
    InputError
        If the spacing is not positive, or EXTERNAL is missing or empty.
    """
    if spacing_mm is not None and not 0 < spacing_mm < np.inf:
        raise InputError(f"dose grid spacing must be a positive length in mm, got {spacing_mm}")
    body = case.external.occupancy
    if body.is_empty:
        raise InputError(
            f"case {case.name}: EXTERNAL structure {case.external.name!r} is empty; draw the body"
        )
    shape, spacing, origin = [], [], []
    for axis in range(3):
        ct_spacing = case.grid.spacing_mm[2 - axis]
        width = spacing_mm or _default_spacing(ct_spacing)
        multiple = round(width / ct_spacing)
        if multiple >= 1 and abs(multiple * ct_spacing - width) < 1e-6 * width:
            start = body.start[axis] - multiple
            count = int(np.ceil((body.stop[axis] - body.start[axis]) / multiple)) + 2
            low = case.grid.edges_mm(axis)[0] + start * ct_spacing
        else:
            low, high = body.box_grid.edges_mm(axis)[[0, -1]]
            count = int(np.ceil((high - low) / width - 1e-6)) + 2
            low -= width
        shape.append(count)
        spacing.append(width)
        origin.append(low + width / 2)
    return Grid(tuple(shape), tuple(spacing[::-1]), tuple(origin[::-1]))


def _default_spacing(ct_spacing_mm: float) -> float:
    multiples = ct_spacing_mm * np.arange(1, int(COARSEST_DEFAULT_MM / ct_spacing_mm + 1e-6) + 1)
    fitting = multiples[multiples >= FINEST_DEFAULT_MM - 1e-6]
    if fitting.size:
        return float(fitting[-1])
    return max(ct_spacing_mm, COARSEST_DEFAULT_MM)


@dataclass(frozen=True)
class MemoryEstimate:
    """What an influence matrix will take, before it is computed.

    Parameters
    ----------
    beamlets, nonzeros : int
        Columns, and entries estimated from a sample of beamlets.
    matrix_bytes : int
        The finished matrix, in memory and again on disk in the cache.
    peak_bytes : int
        The most memory all processes hold at once.
    """

    beamlets: int
    nonzeros: int
    matrix_bytes: int
    peak_bytes: int

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"{self.beamlets} beamlets, about {self.nonzeros / 1e6:.0f} million entries: "
            f"matrix {self.matrix_bytes / 1e9:.1f} GB, at most {self.peak_bytes / 1e9:.1f} GB "
            "while it is computed"
        )

    def require(self, available_bytes: int | None) -> None:
        """Refuse what cannot work.

        Parameters
        ----------
        available_bytes : int or None
            Free memory; None where it is not known.

        Raises
        ------
        InputError
            With advice, if the entries cannot be counted in 32 bits or memory does not suffice.
        """
        advice = "use a coarser dose grid, wider beamlets or fewer beams"
        if self.nonzeros > MOST_NONZEROS:
            raise InputError(
                f"influence matrix too large ({self}): more than 2^31 entries; {advice}"
            )
        if available_bytes is not None and self.peak_bytes > available_bytes:
            raise InputError(
                f"influence matrix too large ({self}), but only {available_bytes / 1e9:.1f} GB "
                f"of memory are free; {advice}"
            )


def estimate_fields(
    anatomy: Anatomy,
    fields: Sequence[Field],
    source_axis_distance_mm: float,
    lateral_cutoff_mm: float,
    processes: int,
) -> MemoryEstimate:
    """Estimate from a sample of voxels and beamlets how large the matrix will be.

    An entry is a voxel inside the body within the lateral cut-off of a beamlet's axis, measured
    in the plane through the isocentre (a cone around the axis).
    """
    grid = anatomy.grid
    inside = np.flatnonzero(anatomy.inside)
    stride = max(1, inside.size // 40_000)
    # At random: a fixed step could follow the columns of the grid.
    sample = np.random.default_rng(0).choice(inside, inside.size // stride, replace=False)
    index = np.stack(np.unravel_index(sample, grid.shape)[::-1], axis=1)
    points = np.array(grid.origin_mm) + index * np.array(grid.spacing_mm)
    per_beam = []
    for field in fields:
        beam = field.beam
        rotation = beam_rotation(beam.gantry_angle_deg, beam.couch_angle_deg)
        rays = (points - np.array(beam.isocenter_mm)) @ rotation
        rays[:, 1] += source_axis_distance_mm
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        picked = np.unique(np.linspace(0, field.x_mm.size - 1, 48).astype(int))
        axes = np.stack(
            [
                field.x_mm[picked],
                np.full(picked.size, source_axis_distance_mm),
                field.z_mm[picked],
            ]
        )
        axes /= np.linalg.norm(axes, axis=0)
        least_cosine = 1 / np.hypot(1, lateral_cutoff_mm / source_axis_distance_mm)
        share = float((rays @ axes >= least_cosine).mean())
        per_beam.append(share * inside.size * field.x_mm.size)
    beamlets = sum(field.x_mm.size for field in fields)
    nonzeros = int(sum(per_beam))
    matrix_bytes = nonzeros * BYTES_PER_NONZERO + (grid.size + 1) * 8
    workers = min(processes, len(fields))
    computing = workers * (_WORKER_BYTES + 60 * grid.size) + _WORKER_BYTES_PER_NONZERO * int(
        sum(sorted(per_beam)[-workers:])
    )
    merging = int(1.1 * matrix_bytes) + 200_000_000
    return MemoryEstimate(beamlets, nonzeros, matrix_bytes, max(computing, merging))


def available_memory_bytes() -> int | None:
    """Memory that can be taken without swapping; None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
