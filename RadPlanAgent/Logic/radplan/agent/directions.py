"""Directions in the patient, in words. Frame: LPS mm, whatever way the patient lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

#: Words along x, y and z for positive and negative components.
_WORDS = (("left", "right"), ("posterior", "anterior"), ("superior", "inferior"))
DIRECTIONS = tuple(word for pair in _WORDS for word in pair)
#: Offsets shorter than this have no direction: they are the rounding of voxels.
SHORTEST_MM = 2.0
#: A component counts if it is at least this share of the largest.
LEAST_SHARE = 0.5


def direction_words(offset_mm: ArrayLike) -> tuple[str, ...]:
    """The main directions of an offset (x, y, z), the largest component first.

    Empty where the offset is shorter than `SHORTEST_MM`.
    """
    offset = np.asarray(offset_mm, np.float64)
    if np.linalg.norm(offset) < SHORTEST_MM:
        return ()
    largest = np.abs(offset).max()
    return tuple(
        _WORDS[axis][int(offset[axis] < 0)]
        for axis in np.argsort(-np.abs(offset), kind="stable")
        if abs(offset[axis]) >= LEAST_SHARE * largest
    )


def components_beyond(offsets_mm: ArrayLike, least_mm: float) -> tuple[str, ...]:
    """All directions in which one of some offsets (n, 3; x, y, z) goes at least so far."""
    offsets = np.asarray(offsets_mm, np.float64).reshape(-1, 3)
    if not len(offsets):
        return ()
    ends = np.column_stack((offsets.max(axis=0), -offsets.min(axis=0))).ravel()
    return tuple(word for word, end in zip(DIRECTIONS, ends, strict=True) if end >= least_mm)


def direction_text(direction: tuple[str, ...]) -> str:
    """``left-posterior``, or ``central`` where there is no direction."""
    return "-".join(direction) or "central"


def offset_text(offset_mm: ArrayLike) -> str:
    """An offset (x, y, z) in whole millimetres: ``12 mm left, 5 mm inferior``."""
    parts = [
        f"{abs(value):.0f} mm {_WORDS[axis][int(value < 0)]}"
        for axis, value in enumerate(np.asarray(offset_mm, np.float64))
        if abs(value) >= SHORTEST_MM
    ]
    return ", ".join(parts)


def direction_shares(offsets_mm: np.ndarray) -> dict[str, float]:
    """How offsets (n, 3; x, y, z), none of them zero, are shared among `DIRECTIONS`; sums to one.

    An offset counts for each of its directions by the square of its direction cosine, so that one
    between two directions counts half for either.
    """
    square = offsets_mm**2
    square /= square.sum(axis=1, keepdims=True)
    positive = np.where(offsets_mm > 0, square, 0.0).mean(axis=0)
    negative = square.mean(axis=0) - positive
    shares = np.column_stack((positive, negative)).ravel()
    return dict(zip(DIRECTIONS, shares.tolist(), strict=True))
