"""The part of each pixel that closed outlines cover."""

from __future__ import annotations

import numpy as np


def edges_of(polygons: list[np.ndarray]) -> np.ndarray:
    """Edges (x0, y0, x1, y1), float64 (m, 4), of closed polygons (n, 2 or more; x, y first)."""
    return np.concatenate([np.hstack([p[:, :2], np.roll(p[:, :2], -1, axis=0)]) for p in polygons])


def covered_fraction(edges: np.ndarray, shape: tuple[int, int], lines: int) -> np.ndarray:
    """Part of each pixel inside closed outlines, even-odd rule over all of them.

    Scan lines are spread over y; along each of them the covered length of a pixel is exact.

    Parameters
    ----------
    edges : ndarray, float64, (m, 4)
        Start and end (x0, y0, x1, y1) of the edges of closed outlines, in any order and direction,
        in pixels: pixel [j, i] spans i … i+1 along x and j … j+1 along y.
    shape : tuple of int
        Rows (y) and columns (x).
    lines : int
        Scan lines per row.

    Returns
    -------
    ndarray, float64, (rows, columns)
        0 … 1. What lies outside the pixels is cut off.
    """
    rows, columns = shape
    x0, y0, x1, y1 = edges.T
    # An edge crosses the lines at y = (k + 0.5) / lines with low <= y < high: half open, so that
    # an end shared by two edges is crossed once, or twice where the outline turns back.
    first, last = (
        np.clip(np.ceil(y * lines - 0.5), 0, rows * lines).astype(np.int64)
        for y in (np.minimum(y0, y1), np.maximum(y0, y1))
    )
    counts = last - first
    edge = np.repeat(np.arange(len(edges)), counts)
    line = first[edge] + np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    crossing = x0[edge] + ((line + 0.5) / lines - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    order = np.lexsort((crossing, line))
    crossing, row = np.clip(crossing[order], 0, columns), line[order] // lines

    # Crossings alternate between entering and leaving. Entering at x adds the step function that
    # covers pixel floor(x) in part and all pixels after it in full; leaving subtracts it. Summed
    # as differences, then integrated along the row.
    sign = np.where(np.arange(crossing.size) % 2 == 0, 1.0, -1.0)
    pixel = np.floor(crossing).astype(np.int64)
    in_part = sign * (pixel + 1 - crossing)
    width = columns + 2
    steps = np.bincount(row * width + pixel, in_part, rows * width)
    steps += np.bincount(row * width + pixel + 1, sign - in_part, rows * width)
    covered = np.cumsum(steps.reshape(rows, width), axis=1)[:, :columns] / lines
    # What rounding leaves of zero is zero: callers ask where a region is.
    covered[covered < 1e-9] = 0.0
    return np.minimum(covered, 1.0)
