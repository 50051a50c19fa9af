"""The dose influence matrix: dose of every beamlet in every voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from ..beams import Beam
from ..geometry import Grid


@dataclass(frozen=True)
class Beamlets:
    """Where each column of an influence matrix comes from; arrays of one length.

    Parameters
    ----------
    beam : ndarray of int32
        Index into the beams.
    x_mm, z_mm : ndarray of float32
        Centre in the isocentre plane of the beam's-eye view: x across, z along the patient axis.
        NaN where an engine does not say.
    """

    beam: np.ndarray
    x_mm: np.ndarray
    z_mm: np.ndarray


@dataclass(frozen=True)
class InfluenceMatrix:
    """Dose per unit beamlet weight, Gy for the whole course.

    One unit on every beamlet of a 10 × 10 cm² field gives 1 Gy at the isocentre, 10 cm deep in
    water, source-axis distance of the machine: the same for every engine of our own. A matrix that
    was computed elsewhere (`stored.py`) has that program's unit; the dose of a plan is in Gy all
    the same, as the weights are scaled to the prescription.

    Parameters
    ----------
    matrix : scipy.sparse.csr_array, float32 values and int32 indices, shape (grid.size, beamlets)
        Rows are voxels of `grid` in C order (z, y, x).
    grid : Grid
        The dose grid.
    beams : tuple of Beam
    beamlets : Beamlets
    engine : str
        Engine, its version and machine.
    fingerprint : str
        Hex digest of everything that determines the matrix.
    """

    matrix: sparse.csr_array
    grid: Grid
    beams: tuple[Beam, ...]
    beamlets: Beamlets
    engine: str
    fingerprint: str

    @property
    def n_beamlets(self) -> int:
        """Number of columns."""
        return self.matrix.shape[1]

    def dose_gy(self, fluence: np.ndarray) -> np.ndarray:
        """Dose of a fluence, Gy for the whole course, float32 (z, y, x)."""
        return (self.matrix @ fluence.astype(np.float32)).reshape(self.grid.shape)
