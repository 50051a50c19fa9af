"""Beams, as far as MRML without SlicerRT can show them: their isocentres.

SlicerRT's plan and beam nodes are its own classes; nothing is made here that pretends to be one.
"""

from __future__ import annotations

from collections.abc import Sequence

import slicer

from ..beams import Beam
from ..geometry import Triple
from .geometry import ras_of


def _angles(beams: Sequence[Beam]) -> str:
    def text(beam: Beam) -> str:
        couch = f"/couch {beam.couch_angle_deg:g}" if beam.couch_angle_deg else ""
        return f"{beam.gantry_angle_deg:g}{couch}"

    return ", ".join(text(beam) for beam in beams)


def add_isocenters(
    scene: slicer.vtkMRMLScene, beams: Sequence[Beam]
) -> slicer.vtkMRMLMarkupsFiducialNode:
    """Add one locked point per isocentre, labelled with the number of its beams.

    The point's description lists the gantry angles, IEC 61217 degrees.
    """
    groups: dict[Triple, list[Beam]] = {}
    for beam in beams:
        groups.setdefault(beam.isocenter_mm, []).append(beam)
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Isocenter")
    node.CreateDefaultDisplayNodes()
    for point_mm, group in groups.items():
        index = node.AddControlPoint(*ras_of(point_mm), f"Isocenter ({len(group)} beams)")
        node.SetNthControlPointDescription(index, f"gantry angles (deg): {_angles(group)}")
    node.SetLocked(True)
    display = node.GetDisplayNode()
    display.SetGlyphType(slicer.vtkMRMLMarkupsDisplayNode.CrossDot2D)
    display.SetGlyphScale(2.0)
    return node
