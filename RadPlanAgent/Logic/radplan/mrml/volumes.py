"""The CT and the dose as volumes."""

from __future__ import annotations

import numpy as np
import slicer
from vtkmodules.vtkCommonDataModel import vtkImageData

from ..case import Case, DoseImage
from ..geometry import Grid
from .dose_colors import add_dose_color_table, add_isodose_color_table
from .geometry import fill_image, ijk_to_ras

#: Attribute by which SlicerRT knows a volume as a dose.
DOSE_VOLUME = "DicomRtImport.DoseVolume"
#: Role by which SlicerRT's Isodose module finds a dose volume's isodose levels and colours.
ISODOSE_COLORS = "colorTableRef"
#: Soft-tissue window, Hounsfield units.
CT_WINDOW_HU, CT_LEVEL_HU = 400.0, 40.0
#: The dose is shown from this fraction of the prescription, as SlicerRT's dose engines do.
SHOWN_FROM = 0.05
#: The colour scale ends at this fraction of the prescription, whatever the dose: there is only one
#: colour above 110 %, and a legend with seven numbers has the prescription among them.
SCALE_REACHES = 1.20


def _add_volume(
    scene: slicer.vtkMRMLScene, name: str, grid: Grid, values: np.ndarray
) -> slicer.vtkMRMLScalarVolumeNode:
    image = vtkImageData()
    fill_image(image, values)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(ijk_to_ras(grid))
    node.SetAndObserveImageData(image)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetInterpolate(True)
    return node


def add_ct(scene: slicer.vtkMRMLScene, case: Case) -> slicer.vtkMRMLScalarVolumeNode:
    """Add the CT: whole Hounsfield units, int16, in a soft-tissue window."""
    limits = np.iinfo(np.int16)
    hu = np.clip(np.rint(case.ct_hu), limits.min, limits.max).astype(np.int16)
    node = _add_volume(scene, f"CT {case.name}", case.grid, hu)
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(CT_WINDOW_HU, CT_LEVEL_HU)
    return node


def add_dose_volume(
    scene: slicer.vtkMRMLScene, name: str, dose: DoseImage, prescription_gy: float
) -> slicer.vtkMRMLScalarVolumeNode:
    """Add a dose, float32 Gy, tagged and coloured as SlicerRT's modules expect it.

    The colours mean per cent of the prescription (see `dose_colors`), whatever the maximum dose:
    two plans with one prescription look alike where their doses are equal.
    """
    values = dose.dose_gy.astype(np.float32, copy=False)
    node = _add_volume(scene, name, dose.grid, values)
    node.SetAttribute(DOSE_VOLUME, "1")
    scale_gy = SCALE_REACHES * prescription_gy
    display = node.GetDisplayNode()
    colors = add_dose_color_table(scene, f"{name} colors", prescription_gy, scale_gy)
    display.SetAndObserveColorNodeID(colors.GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0.0, scale_gy)
    show_above_threshold(node, prescription_gy)
    isodoses = add_isodose_color_table(scene, f"{name}_IsodoseColorTable", prescription_gy)
    node.SetNodeReferenceID(ISODOSE_COLORS, isodoses.GetID())
    return node


def show_above_threshold(node: slicer.vtkMRMLScalarVolumeNode, prescription_gy: float) -> None:
    """Hide low doses and no others: a threshold has an upper end, too, which must not cut.

    To be called for every dose that a volume gets.
    """
    highest_gy = float(node.GetImageData().GetScalarRange()[1])
    display = node.GetDisplayNode()
    display.SetAutoThreshold(False)
    display.SetThreshold(
        SHOWN_FROM * prescription_gy, max(highest_gy, SCALE_REACHES * prescription_gy)
    )
    display.SetApplyThreshold(True)
