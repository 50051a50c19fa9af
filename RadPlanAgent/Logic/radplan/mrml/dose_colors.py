"""Colours of the dose: those of SlicerRT's relative isodose table, at the doses they stand for.

SlicerRT's table names five levels in per cent of the prescription: 80 violet, 90 blue, 100 yellow,
105 orange, 110 red. Here each keeps its colour at its own dose; from 80 % down violet fades to
grey, so that the tint over the CT grows with the dose and nothing far below the prescription looks
like the prescription.
"""

from __future__ import annotations

import numpy as np
import slicer

#: Per cent of the prescription and RGB 0 … 255; the last five are SlicerRT's.
PERCENT_COLORS = (
    (0.0, (96, 96, 96)),
    (20.0, (84, 100, 132)),
    (50.0, (124, 84, 190)),
    (80.0, (108, 0, 208)),
    (90.0, (0, 147, 221)),
    (100.0, (255, 255, 0)),
    (105.0, (255, 128, 0)),
    (110.0, (255, 0, 0)),
)
NUMBER_OF_COLORS = 256


def _new_table(
    scene: slicer.vtkMRMLScene, name: str, names: list[str], rgb: np.ndarray
) -> slicer.vtkMRMLColorTableNode:
    """Add a user colour table, RGB 0 … 1, shape (number of names, 3)."""
    node = slicer.vtkMRMLColorTableNode()
    node.SetName(name)
    node.SetTypeToUser()
    node.SetNumberOfColors(len(names))
    for index, color in enumerate(rgb):
        node.SetColor(index, names[index], *(float(c) for c in color), 1.0)
    node.GetLookupTable().SetTableRange(0, len(names) - 1)
    node.SetHideFromEditors(False)
    return scene.AddNode(node)


def add_dose_color_table(
    scene: slicer.vtkMRMLScene, name: str, prescription_gy: float, scale_gy: float
) -> slicer.vtkMRMLColorTableNode:
    """Add the continuous table that spans 0 … `scale_gy`; every colour is named by its dose."""
    doses_gy = np.linspace(0.0, scale_gy, NUMBER_OF_COLORS)
    percent, colors = zip(*PERCENT_COLORS, strict=True)
    levels_gy = np.asarray(percent) * prescription_gy / 100.0
    channels = np.asarray(colors, float).T / 255.0
    rgb = np.stack([np.interp(doses_gy, levels_gy, channel) for channel in channels], axis=1)
    return _new_table(scene, name, [f"{d:.2f}" for d in doses_gy], rgb)


def add_isodose_color_table(
    scene: slicer.vtkMRMLScene, name: str, prescription_gy: float
) -> slicer.vtkMRMLColorTableNode:
    """Add the levels for SlicerRT's Isodose module, which reads a colour's name as Gy."""
    levels = [(percent, rgb) for percent, rgb in PERCENT_COLORS if percent > 0]
    names = [f"{percent * prescription_gy / 100.0:g}" for percent, _ in levels]
    return _new_table(scene, name, names, np.asarray([rgb for _, rgb in levels], float) / 255.0)
