"""What a dose engine is given and what it gives back.

An engine sees no case, no structure and no file: only water-like tissue on the dose grid and one
beam divided into beamlets. Everything else (which beamlets, parallel processes, cache, absolute
scale) is the same for every engine and lives beside this file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import sparse

from ..beams import Beam
from ..case import Case
from ..errors import InputError
from ..geometry import Grid, average_onto

#: Hounsfield units of air: what surrounds the patient.
AIR_HU = -1000.0
#: A dose voxel takes dose when at least this fraction of it lies inside EXTERNAL.
INSIDE_FRACTION = 1e-3


@dataclass(frozen=True)
class Anatomy:
    """The patient as a dose engine sees it.

    Parameters
    ----------
    grid : Grid
        The dose grid.
    hu : ndarray of float32, (z, y, x)
        Hounsfield units, averaged over each dose voxel.
    inside : ndarray of bool, (z, y, x)
        Voxels that get dose.
    """

    grid: Grid
    hu: np.ndarray
    inside: np.ndarray


@dataclass(frozen=True)
class Field:
    """One beam and its beamlets, in the terms of an engine that knows only head-first supine.

    Parameters
    ----------
    beam : Beam
        Angles are those of a head-first supine patient (see `fields.supine_angles`).
    x_mm, z_mm : ndarray of float64, shape (beamlets,)
        Beamlet centres in the isocentre plane of the beam's-eye view: at gantry 0, couch 0 x
        points to LPS +x and z to LPS +z; both turn with gantry and couch.
    """

    beam: Beam
    x_mm: np.ndarray
    z_mm: np.ndarray


class DoseEngine(Protocol):
    """A source of influence matrices; implementations have a constructor without arguments."""

    #: Beamlets give no dose farther than this from their axis, mm in the isocentre plane.
    lateral_cutoff_mm: float

    def identity(self, machine: str) -> str:
        """Name of engine, version and machine; changes whenever results may change.

        Raises
        ------
        InputError
            If the engine is not installed or does not know the machine.
        """

    def source_axis_distance_mm(self, machine: str) -> float:
        """Distance of source and isocentre, mm."""

    def influence(
        self, anatomy: Anatomy, field: Field, report: Callable[[float], None]
    ) -> sparse.sparray:
        """Dose per unit weight of each beamlet, in the engine's own unit.

        Parameters
        ----------
        anatomy : Anatomy
        field : Field
        report : callable
            Called now and then with the fraction done, 0 … 1.

        Returns
        -------
        sparse array, float32, shape (grid.size, beamlets)
            Rows are dose voxels in C order (z, y, x). Zero outside ``anatomy.inside``.
        """


def anatomy_on(case: Case, grid: Grid) -> Anatomy:
    """Bring a case's CT and body to the dose grid.

    Whatever lies outside EXTERNAL (couch, immobilisation, clothes, artefacts) is made air before
    the CT is averaged over the dose voxels, so that it neither attenuates a beam nor leaks into
    the skin voxels; where it belongs to the treatment it must be drawn into EXTERNAL. A dose
    voxel gets dose as soon as part of it is inside EXTERNAL: structures fill voxels partly, so
    leaving those at the skin without dose would spoil the DVH of superficial targets.

    Raises
    ------
    InputError
        If EXTERNAL is missing, empty, or does not reach the dose grid.
    """
    external = case.external
    if external.occupancy.is_empty:
        raise InputError(
            f"case {case.name}: EXTERNAL structure {external.name!r} is empty; draw the body"
        )
    inside = external.occupancy.onto(grid).array() >= INSIDE_FRACTION
    if not inside.any():
        raise InputError(
            f"case {case.name}: the dose grid (origin {grid.origin_mm} mm) does not meet the body "
            f"{external.name!r}; choose a grid around it"
        )
    # Relative to air, so that what lies beyond the CT counts as air, too.
    above_air = np.where(external.occupancy.mask(), case.ct_hu - np.float32(AIR_HU), 0.0)
    hu = average_onto(np.maximum(above_air, 0.0), case.grid, grid) + np.float32(AIR_HU)
    return Anatomy(grid, hu, inside)
