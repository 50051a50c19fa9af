"""Where the beamlets of a beam are: the targets seen from the source, with a margin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ..beams import Beam
from ..case import Case, StructureType
from ..errors import InputError
from ..geometry import Occupancy


def supine_angles(
    gantry_angle_deg: float, couch_angle_deg: float, patient_position: str
) -> tuple[float, float]:
    """Gantry and couch angle that give a head-first supine patient the same beam.

    Turning the patient on the table is a rotation by 180° about a patient axis: z for prone, y
    for feet first, both for feet-first prone. With the beam rotation R = R_y(couch) R_z(gantry)
    in LPS, R_z(180°) R_y(c) R_z(g) = R_y(-c) R_z(g + 180°) and R_y(180°) R_y(c) = R_y(c + 180°).

    Raises
    ------
    InputError
        If the position is not HFS, HFP, FFS or FFP.
    """
    if patient_position not in {"HFS", "HFP", "FFS", "FFP"}:
        raise InputError(
            f"patient position {patient_position!r} is not supported; use HFS, HFP, FFS or FFP"
        )
    gantry, couch = gantry_angle_deg, couch_angle_deg
    if patient_position.endswith("P"):
        gantry, couch = gantry + 180.0, -couch
    if patient_position.startswith("FF"):
        couch += 180.0
    return gantry % 360.0, couch % 360.0


def beam_rotation(gantry_angle_deg: float, couch_angle_deg: float) -> np.ndarray:
    """Rotation from the beam's-eye view to LPS of a head-first supine patient, float64 (3, 3).

    Columns are the LPS directions of the beam's-eye axes: x across, y along the central ray away
    from the source, z along the patient axis at couch 0 (IEC 61217 angles).
    """
    g, c = np.deg2rad(gantry_angle_deg), np.deg2rad(couch_angle_deg)
    gantry = np.array([[np.cos(g), -np.sin(g), 0], [np.sin(g), np.cos(g), 0], [0, 0, 1]])
    couch = np.array([[np.cos(c), 0, np.sin(c)], [0, 1, 0], [-np.sin(c), 0, np.cos(c)]])
    return couch @ gantry


def target_points_mm(case: Case, target_names: Sequence[str], beam: Beam) -> np.ndarray:
    """Points of the targets' union grown by one beamlet width, LPS (x, y, z), float64 (n, 3).

    The margin is a box, rounded up to whole CT voxels and at least one voxel wide. CT voxels
    wider than a beamlet are sampled at several points each, so that no beamlet is missed.

    Raises
    ------
    InputError
        If no target is named, or one is empty or lies wholly outside EXTERNAL.
    """
    union = _target_union(case, target_names)
    spacing = case.grid.spacing_mm[::-1]
    width = beam.bixel_width_mm
    margin = [int(np.ceil(max(width, s) / s)) for s in spacing]
    box = np.pad(union.values > 0, [(m, m) for m in margin])
    for axis, m in enumerate(margin):
        box = ndimage.maximum_filter1d(box, 2 * m + 1, axis=axis)
    start = np.subtract(union.start, margin)
    index = np.argwhere(box) + start
    origin = np.array(case.grid.origin_mm[::-1])
    points = origin + index * np.array(spacing)
    for axis, s in enumerate(spacing):
        parts = int(np.ceil(s / width))
        shifts = np.zeros((parts, 3))
        shifts[:, axis] = ((np.arange(parts) + 0.5) / parts - 0.5) * s
        points = (points[:, None, :] + shifts).reshape(-1, 3)
    return points[:, ::-1]


def beamlet_positions(
    points_mm: np.ndarray, beam: Beam, source_axis_distance_mm: float, patient_position: str
) -> tuple[np.ndarray, np.ndarray]:
    """Beamlet centres that cover points: multiples of the beamlet width in the isocentre plane.

    Parameters
    ----------
    points_mm : ndarray, (n, 3)
        LPS (x, y, z).

    Returns
    -------
    x_mm, z_mm : ndarray of float64, shape (beamlets,)
        Ordered by x, then z.
    """
    angles = supine_angles(beam.gantry_angle_deg, beam.couch_angle_deg, patient_position)
    seen = (points_mm - np.array(beam.isocenter_mm)) @ beam_rotation(*angles)
    scale = source_axis_distance_mm / (source_axis_distance_mm + seen[:, 1:2])
    steps = np.round(seen[:, [0, 2]] * scale / beam.bixel_width_mm).astype(np.int64)
    steps = np.unique(steps, axis=0)
    return steps[:, 0] * beam.bixel_width_mm, steps[:, 1] * beam.bixel_width_mm


def _target_union(case: Case, target_names: Sequence[str]) -> Occupancy:
    """Voxels at least half filled by one of the targets, on the CT grid."""
    targets = [case.structure(name) for name in target_names]
    if not targets:
        raise InputError(
            f"case {case.name} has no {StructureType.TARGET.value} structure; "
            "name at least one target"
        )
    body = case.external.occupancy.array() > 0
    union = np.zeros(case.grid.shape, bool)
    for target in targets:
        occupancy = target.occupancy
        if occupancy.is_empty:
            raise InputError(
                f"case {case.name}: target {target.name!r} is empty; draw it or leave it out"
            )
        box = tuple(slice(a, b) for a, b in zip(occupancy.start, occupancy.stop, strict=True))
        # A target thinner than half a voxel still needs beamlets.
        level = min(0.5, float(occupancy.values.max()))
        voxels = occupancy.values >= level
        if not (voxels & body[box]).any():
            raise InputError(
                f"case {case.name}: target {target.name!r} lies outside the body "
                f"{case.external.name!r}; check that both belong to this CT"
            )
        union[box] |= voxels
    return Occupancy.from_array(case.grid, union)
