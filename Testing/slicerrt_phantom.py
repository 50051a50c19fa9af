"""ImagePhantom in a scene, with a plan of SlicerRT's stand-ins and matrices on its beams."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from image_phantom import GRID, coordinates, image_phantom
from radplan.beams import make_beams
from radplan.mrml.read_segments import BINARY
from radplan.mrml.rt_plan import beam_nodes, update_plan
from scene_builders import add_segmentation, add_volume, labelmap, oriented

#: Image axes of Slicer's DICOM import: i to the left, j to posterior, k to superior.
LPS = ((0, 1, 2), (-1, -1, 1))
BEAMLET_MM = 10.0


def add_phantom(scene, orientation=LPS):
    """CT and segmentation of the phantom, made by hand."""
    case = image_phantom()
    hu = case.ct_hu.astype(np.int16)
    volume = add_volume(scene, *oriented(hu, GRID, orientation))
    images = {
        s.name: labelmap(*oriented(s.occupancy.mask().astype(np.uint8), GRID, orientation))
        for s in case.structures
    }
    return volume, add_segmentation(scene, BINARY, images)


def add_plan(scene, orientation=LPS, angles="0,72,144,216,288", prescription_gy=50.0, unit=1.0):
    """The phantom with a plan whose beams have matrices on the CT grid."""
    volume, segmentation = add_phantom(scene, orientation)
    plan = update_plan(
        scene,
        None,
        make_beams(angles, (0.0, 0.0, 0.0), BEAMLET_MM),
        volume=volume,
        segmentation=segmentation,
        target_ids=["id_PTV"],
        prescription_gy=prescription_gy,
        dose_grid_spacing_mm=GRID.spacing_mm,
        body_id="id_BODY",
    )
    plan.SetDoseEngineName("Stand-in pencil beam")
    rows, _ = oriented(np.arange(GRID.size).reshape(GRID.shape), GRID, orientation)
    for node in beam_nodes(plan):
        matrix = pencil_beams(node.GetGantryAngle())[rows.ravel()].tocoo()
        node.SetDoseInfluenceMatrixFromTriplets(
            *matrix.shape, matrix.row, matrix.col, unit * matrix.data
        )
    return plan


def pencil_beams(gantry_deg: float) -> sparse.csr_array:
    """Made-up parallel pencil beams in water, rows in C order of the phantom's LPS grid."""
    x, y, z = (c.ravel() for c in coordinates())
    angle = np.radians(gantry_deg)
    across = x * np.cos(angle) + y * np.sin(angle)
    depth = 90.0 + (y * np.cos(angle) - x * np.sin(angle))
    centers = np.arange(-30, 31, BEAMLET_MM)
    columns = []
    inside = x**2 + y**2 <= 90.0**2
    attenuation = np.where(inside, np.exp(-0.005 * depth), 0.0)
    for u in centers:
        for v in centers:
            lateral = np.exp(-((across - u) ** 2 + (z - v) ** 2) / (2 * 7.0**2))
            columns.append(np.where(lateral > 0.01, lateral * attenuation, 0.0))
    return sparse.csr_array(np.stack(columns, axis=1))
