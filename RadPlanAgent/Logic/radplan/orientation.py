"""Images of any orientation brought to the project's axes, without moving a voxel.

An image whose axes run along patient axes, in any order and direction, becomes one of positive
LPS spacing by swapping and flipping axes. Oblique images are refused: resampling changes numbers,
and whoever needs it should see it done.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import InputError
from .geometry import Grid

#: Direction cosines may differ from 0 and ±1 by this much (0.06 degrees).
DIRECTION_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Orientation:
    """How the axes of an image lie along those of the patient.

    Parameters
    ----------
    axes : tuple of int
        Image axis (0 = i, the fastest) that runs along LPS x, y and z.
    signs : tuple of int
        +1 where its index grows with x, y, z; -1 where it falls.
    """

    axes: tuple[int, int, int]
    signs: tuple[int, int, int]

    def arranged(self, values: np.ndarray) -> np.ndarray:
        """An array (k, j, i[, …]) with its axes along (z, y, x) and its indices growing with them.

        Its own inverse is `restored`.
        """
        values = np.moveaxis(values, [2 - axis for axis in reversed(self.axes)], [0, 1, 2])
        return np.ascontiguousarray(np.flip(values, self._flipped))

    def restored(self, values: np.ndarray) -> np.ndarray:
        """An array (z, y, x[, …]) in the image's own order (k, j, i[, …])."""
        values = np.flip(values, self._flipped)
        values = np.moveaxis(values, [0, 1, 2], [2 - axis for axis in reversed(self.axes)])
        return np.ascontiguousarray(values)

    @property
    def _flipped(self) -> tuple[int, ...]:
        """Array axes (0 z, 1 y, 2 x) along which the image falls."""
        return tuple(2 - axis for axis, sign in enumerate(self.signs) if sign < 0)


def orientation_of(directions: np.ndarray) -> Orientation | None:
    """How an image lies, None where it is oblique.

    Parameters
    ----------
    directions : ndarray, float, (3, 3)
        Columns are the unit vectors (LPS) of the image axes i, j, k.
    """
    signs = np.rint(directions)
    if (
        not np.isfinite(directions).all()
        or np.abs(directions - signs).max() > DIRECTION_TOLERANCE
        or np.abs(signs).sum(axis=0).tolist() != [1, 1, 1]
        or np.abs(signs).sum(axis=1).tolist() != [1, 1, 1]
    ):
        return None
    axes = np.argmax(np.abs(signs), axis=1)
    return Orientation(
        tuple(int(axis) for axis in axes),
        tuple(int(signs[row, axis]) for row, axis in enumerate(axes)),
    )


def to_lps(values: np.ndarray, index_to_lps: np.ndarray, where: object) -> tuple[Grid, np.ndarray]:
    """Swap and flip the axes of an image so that they run along x, y and z of LPS.

    Parameters
    ----------
    values : ndarray, (k, j, i[, …])
    index_to_lps : ndarray, float, (4, 4)
        From voxel indices (i, j, k) to LPS mm.
    where : object
        What to name in an error.

    Returns
    -------
    Grid
    ndarray, (z, y, x[, …])

    Raises
    ------
    InputError
        If the image is oblique, sheared or has no size.
    """
    columns = np.asarray(index_to_lps, float)[:3, :3]
    spacing = np.linalg.norm(columns, axis=0)
    if not np.isfinite(index_to_lps).all() or spacing.min() <= 0:
        raise InputError(f"{where}: the image geometry is damaged (spacing {spacing.tolist()} mm)")
    directions = columns / spacing
    orientation = orientation_of(directions)
    if orientation is None:
        raise InputError(
            f"{where}: the image is oblique (directions {np.round(directions, 4).tolist()}); "
            "resample it to an axis-aligned grid"
        )
    origin = np.asarray(index_to_lps, float)[:3, 3].copy()
    spacing = spacing[list(orientation.axes)]
    counts = [values.shape[2 - axis] for axis in orientation.axes]
    for axis, sign in enumerate(orientation.signs):
        if sign < 0:
            origin[axis] -= spacing[axis] * (counts[axis] - 1)
    arranged = orientation.arranged(values)
    return Grid(arranged.shape[:3], tuple(spacing), tuple(origin)), arranged
