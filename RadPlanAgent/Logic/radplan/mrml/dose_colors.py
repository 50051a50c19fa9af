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
#: Levels of isodose lines, per cent of the prescription: SlicerRT's, 95 % (ICRU 83's least dose
#: to a target), and what shows where the dose goes outside of it.
ISODOSE_PERCENT = (20.0, 50.0, 80.0, 90.0, 95.0, 100.0, 105.0, 110.0)


def _rgb(percent: np.ndarray) -> np.ndarray:
    """Colours of doses in per cent, RGB 0 … 1, shape (n, 3)."""
    levels, colors = zip(*PERCENT_COLORS, strict=True)
    channels = np.asarray(colors, float).T / 255.0
    return np.stack([np.interp(percent, levels, channel) for channel in channels], axis=1)


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
    rgb = _rgb(doses_gy / prescription_gy * 100.0)
    return _new_table(scene, name, [f"{d:.2f}" for d in doses_gy], rgb)


def add_isodose_color_table(
    scene: slicer.vtkMRMLScene, name: str, prescription_gy: float
) -> slicer.vtkMRMLColorTableNode:
    """Add the levels for SlicerRT's Isodose module, which reads a colour's name as Gy."""
    names = [f"{percent * prescription_gy / 100.0:g}" for percent in ISODOSE_PERCENT]
    return _new_table(scene, name, names, _rgb(np.array(ISODOSE_PERCENT)))


def add_level_color_table(
    scene: slicer.vtkMRMLScene, name: str, prescription_gy: float
) -> slicer.vtkMRMLColorTableNode:
    """Add the levels as a legend names them: Gy (per cent of the prescription)."""
    names = [f"{p * prescription_gy / 100.0:.1f} ({p:.0f}%)" for p in ISODOSE_PERCENT]
    return _new_table(scene, name, names, _rgb(np.array(ISODOSE_PERCENT)))
