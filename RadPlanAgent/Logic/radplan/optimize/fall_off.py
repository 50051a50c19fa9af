"""Dose levels that fall off with the distance from a target, for conformity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import InputError
from ..geometry import Occupancy, distance_mm

#: What part of the way from the low level to the surface level is left at a distance, given as a
#: share of the fall-off distance.
FALL_OFF_SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda share: np.maximum(1 - share, 0),
    "exponential": lambda share: np.exp(-share),
}


def fall_off_levels_gy(
    target: Occupancy,
    surface_gy: float,
    low_gy: float,
    fall_off_mm: float,
    shape: str = "linear",
) -> np.ndarray:
    """Level of every voxel by its distance r from a target.

    Parameters
    ----------
    target : Occupancy
        On the dose grid; voxels at least half filled are inside.
    surface_gy : float
        Level in the target and at its surface, Gy for the whole course.
    low_gy : float
        Level far away, Gy; not above `surface_gy`.
    fall_off_mm : float
        For ``linear``, where the low level is reached; for ``exponential``, where 1/e of the
        difference is left.
    shape : str
        A key of `FALL_OFF_SHAPES`.

    Returns
    -------
    ndarray of float64, (z, y, x)
        A dose map for `StructureIndex.set_dose_map`; used with ``squared_overdosing``.

    Raises
    ------
    InputError
        If the target fills no voxel by half, or a number makes no sense.

    Notes
    -----
    linear: low + (surface − low)·max(1 − r/R, 0), with the parameters of RayStation's "dose
    fall-off" function: high and low dose level and the low dose distance R.

    exponential: surface·e^(−k·r) + low·(1 − e^(−k·r)) with k = 1/R, as Eclipse's normal tissue
    objective with its start and end dose and fall-off k.

    r is the distance between voxel centres, with the spacing of each axis, so that the level
    falls from the outermost target voxels on.
    """
    if shape not in FALL_OFF_SHAPES:
        raise InputError(f"fall-off {shape!r} is unknown; there are {', '.join(FALL_OFF_SHAPES)}")
    if not 0 <= low_gy <= surface_gy < np.inf:
        raise InputError(
            f"fall-off from {surface_gy:g} to {low_gy:g} Gy: levels must not rise, nor be negative"
        )
    if not 0 < fall_off_mm < np.inf:
        raise InputError(f"fall-off distance must be positive, got {fall_off_mm:g} mm")
    inside = target.mask()
    if not inside.any():
        raise InputError("fall-off from a target that fills no voxel of the dose grid by half")
    left = FALL_OFF_SHAPES[shape](
        distance_mm(inside, target.grid).astype(np.float64) / fall_off_mm
    )
    return low_gy + (surface_gy - low_gy) * left
