"""Pencil-beam doses of all beamlets of a beam from precomputed depth doses and lateral kernels.

The dose of a beamlet in a voxel is Σ_c a_c(voxel) k_c(x, z): a_c depends on depth and distance
from the source only and is computed once per voxel and beam; k_c is a table on a regular grid in
the isocentre plane, read by bilinear interpolation at the voxel's lateral position relative to
the beamlet's axis. Voxels are kept sorted by where they are seen from the source, so that each
beamlet looks only at those near its axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

#: Width of the strips into which voxels are sorted, mm in the isocentre plane.
_STRIP_MM = 5.0


@dataclass(frozen=True)
class LateralKernels:
    """Lateral kernels on one square grid.

    Parameters
    ----------
    axis_mm : ndarray of float64, shape (n,)
        Equally spaced positions, the same for x and z, mm in the isocentre plane.
    values : ndarray of float32, shape (n * n, components)
        Rows run over x, then z.
    """

    axis_mm: np.ndarray
    values: np.ndarray

    def at(self, x_mm: np.ndarray, z_mm: np.ndarray) -> np.ndarray:
        """Bilinear interpolation inside the grid, float32 (points, components)."""
        step = self.axis_mm[1] - self.axis_mm[0]
        size = self.axis_mm.size
        x = (x_mm - np.float32(self.axis_mm[0])) * np.float32(1 / step)
        z = (z_mm - np.float32(self.axis_mm[0])) * np.float32(1 / step)
        i, j = x.astype(np.int32), z.astype(np.int32)
        x -= i
        z -= j
        corners = np.empty((x.size, 4), np.int32)
        weights = np.empty((x.size, 4), np.float32)
        corners[:, 0] = i * size + j
        corners[:, 1] = corners[:, 0] + 1
        corners[:, 2] = corners[:, 0] + size
        corners[:, 3] = corners[:, 2] + 1
        both = x * z
        weights[:, 3] = both
        weights[:, 2] = x - both
        weights[:, 1] = z - both
        weights[:, 0] = 1 - x - weights[:, 1]
        starts = np.arange(0, corners.size + 1, 4, dtype=np.int32)
        matrix = sparse.csr_array(
            (weights.ravel(), corners.ravel(), starts), shape=(x.size, size * size)
        )
        return matrix @ self.values


def superpose(
    voxels_mm: np.ndarray,
    depth_doses: np.ndarray,
    rows: np.ndarray,
    axes_mm: np.ndarray,
    kernels: LateralKernels,
    source_axis_distance_mm: float,
    lateral_cutoff_mm: float,
    n_rows: int,
    report: Callable[[float], None],
) -> sparse.csc_array:
    """Dose of every beamlet.

    Parameters
    ----------
    voxels_mm : ndarray, (voxels, 3)
        Voxel centres in the beam's-eye view with the source at the origin and y along the beam.
    depth_doses : ndarray of float32, (voxels, components)
        The factors a_c.
    rows : ndarray of int, (voxels,)
        Row of each voxel in the result.
    axes_mm : ndarray, (beamlets, 2)
        Beamlet centres (x, z) in the isocentre plane.
    kernels : LateralKernels
        Must reach as far as the cut-off.
    lateral_cutoff_mm : float
        Voxels farther than this from a beamlet's axis, scaled to the isocentre distance along
        the axis, get no dose.

    Returns
    -------
    scipy.sparse.csc_array
        float32, shape (n_rows, beamlets); rows within a column are not sorted.
    """
    sad = source_axis_distance_mm
    seen = voxels_mm[:, [0, 2]].astype(np.float64) * (sad / voxels_mm[:, 1:2])
    lowest = seen.min(axis=0)
    span = float(np.ptp(seen[:, 0])) + 1.0
    strip = np.floor((seen[:, 1] - lowest[1]) / _STRIP_MM)
    # Sorting by strip, then by x within it, as one number.
    position = strip * span + (seen[:, 0] - lowest[0])
    order = np.argsort(position)
    position, seen = position[order], seen[order]
    u, v = (seen / sad).T.astype(np.float32)
    depth_doses, rows = depth_doses[order], rows[order].astype(np.int32)
    n_strips = int(strip.max()) + 1 if strip.size else 0
    data, indices, counts = [], [], []
    for j, (x, z) in enumerate(axes_mm):
        near = _candidates(position, lowest, span, n_strips, (x, z), sad, lateral_cutoff_mm)
        iso_x, iso_z = _lateral_mm(u.take(near), v.take(near), (x, z), sad)
        kept = iso_x * iso_x + iso_z * iso_z <= np.float32(lateral_cutoff_mm**2)
        near = near[kept]
        kernel = kernels.at(iso_x[kept], iso_z[kept])
        data.append(np.einsum("ij,ij->i", depth_doses.take(near, axis=0), kernel))
        indices.append(rows.take(near))
        counts.append(near.size)
        report(j / len(axes_mm))
    return sparse.csc_array(
        (
            np.concatenate(data),
            np.concatenate(indices),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        ),
        shape=(n_rows, len(axes_mm)),
    )


def _candidates(
    position: np.ndarray,
    lowest: np.ndarray,
    span: float,
    n_strips: int,
    axis: tuple[float, float],
    sad: float,
    cutoff_mm: float,
) -> np.ndarray:
    """Indices of the voxels that may lie within the cut-off of a beamlet's axis.

    Seen on the isocentre plane, the cone around a tilted axis is an ellipse around the axis'
    point; its farthest point lies outwards, where the plane cuts the cone's outer side.
    """
    x, z = axis
    tilt = np.hypot(x, z)
    radius = sad * np.tan(np.arctan(tilt / sad) + np.arctan(cutoff_mm / sad)) - tilt + 0.01
    first = max(0, int((z - radius - lowest[1]) // _STRIP_MM))
    last = min(n_strips - 1, int((z + radius - lowest[1]) // _STRIP_MM))
    strips = np.arange(first, last + 1)
    low_edge = lowest[1] + strips * _STRIP_MM
    distance = np.maximum(np.maximum(low_edge - z, z - low_edge - _STRIP_MM), 0.0)
    half = np.sqrt(np.maximum(radius**2 - distance**2, 0.0))
    start = strips * span + np.clip(x - half - lowest[0], 0.0, span)
    stop = strips * span + np.clip(x + half - lowest[0], 0.0, span - 1e-6)
    ends = np.searchsorted(position, np.stack([start, stop]))
    if not strips.size:
        return np.zeros(0, np.intp)
    return np.concatenate([np.arange(a, b) for a, b in ends.T])


def _lateral_mm(
    u: np.ndarray, v: np.ndarray, axis: tuple[float, float], sad: float
) -> tuple[np.ndarray, np.ndarray]:
    """Lateral position relative to a beamlet's axis, scaled to the isocentre distance, float32.

    The beam's-eye view is turned by the smallest rotation that brings the beamlet's axis onto
    the central ray (Rodrigues' formula), then voxels are projected from the source.

    Parameters
    ----------
    u, v : ndarray of float32
        Tangents of the angles under which voxels are seen, along x and z.
    """
    x, z = axis
    length = np.sqrt(x * x + sad * sad + z * z)
    direction = np.array([x, sad, z]) / length
    cosine = direction[1]
    # R = I + K + K² / (1 + cos) with K the cross product matrix of direction × central ray.
    a, b = direction[0], direction[2]
    rotation = np.array(
        [
            [1 - a * a / (1 + cosine), -a, -a * b / (1 + cosine)],
            [a, cosine, b],
            [-a * b / (1 + cosine), -b, 1 - b * b / (1 + cosine)],
        ]
    ).astype(np.float32)
    along = rotation[1, 0] * u + rotation[1, 1] + rotation[1, 2] * v
    scale = np.float32(sad) / along
    return (
        (rotation[0, 0] * u + rotation[0, 1] + rotation[0, 2] * v) * scale,
        (rotation[2, 0] * u + rotation[2, 1] + rotation[2, 2] * v) * scale,
    )
