"""Isodose lines: a model of the surfaces of all levels, which slice views cut into lines.

SlicerRT's Isodose module makes such a model too, and takes the same levels from the dose volume.
It is not what is shown here: it colours a level by where its dose lies between the lowest and the
highest level that was found, which is the level's own colour only where levels are evenly spaced
and all of them are reached, and it gives the dose volume its levels' colours, evenly stretched
(``CreateIsodoseSurfaces``, ``UpdateDoseColorTableFromIsodose`` of its logic).
"""

from __future__ import annotations

import numpy as np
import slicer
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkDataObject, vtkPolyData
from vtkmodules.vtkCommonMath import vtkMatrix4x4
from vtkmodules.vtkCommonTransforms import vtkTransform
from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D
from vtkmodules.vtkFiltersGeneral import vtkTransformPolyDataFilter

from .dose_colors import ISODOSE_PERCENT, add_level_color_table

#: Point data: index of the level, which is that of its colour.
LEVEL = "level"
#: As wide as SlicerRT's; outlines of structures are wider.
LINE_WIDTH_PX = 1


def add_isodoses(
    dose: slicer.vtkMRMLScalarVolumeNode, prescription_gy: float
) -> slicer.vtkMRMLModelNode:
    """Add the isodose lines of a dose to its scene; `fill_isodoses` makes them anew."""
    scene = dose.GetScene()
    node = scene.AddNewNodeByClass("vtkMRMLModelNode", f"{dose.GetName()} isodoses")
    node.CreateDefaultDisplayNodes()
    fill_isodoses(node, dose, prescription_gy)
    display = node.GetDisplayNode()
    colors = add_level_color_table(scene, f"{dose.GetName()} levels", prescription_gy)
    display.SetAndObserveColorNodeID(colors.GetID())
    display.SetActiveScalar(LEVEL, vtkDataObject.POINT)
    display.SetScalarRangeFlag(slicer.vtkMRMLDisplayNode.UseManualScalarRange)
    display.SetScalarRange(0, len(ISODOSE_PERCENT) - 1)
    display.SetScalarVisibility(True)
    display.SetVisibility2D(True)
    display.SetVisibility3D(False)
    display.SetSliceIntersectionThickness(LINE_WIDTH_PX)
    return node


def fill_isodoses(
    node: slicer.vtkMRMLModelNode, dose: slicer.vtkMRMLScalarVolumeNode, prescription_gy: float
) -> None:
    """Show where a dose has each level now, in place of what a model showed."""
    levels_gy = np.array(ISODOSE_PERCENT) * prescription_gy / 100.0
    node.SetAndObservePolyData(_surfaces(dose, levels_gy))


def _surfaces(dose: slicer.vtkMRMLScalarVolumeNode, levels_gy: np.ndarray) -> vtkPolyData:
    """Surfaces, RAS mm, on which the dose between voxel centres, trilinear, has a level."""
    matrix, to_ras = vtkMatrix4x4(), vtkTransform()
    dose.GetIJKToRASMatrix(matrix)
    to_ras.SetMatrix(matrix)
    edges, moved = vtkFlyingEdges3D(), vtkTransformPolyDataFilter()
    edges.SetInputData(dose.GetImageData())
    for index, level_gy in enumerate(levels_gy):
        edges.SetValue(index, level_gy)
    edges.ComputeNormalsOff()
    edges.ComputeScalarsOn()
    moved.SetInputConnection(edges.GetOutputPort())
    moved.SetTransform(to_ras)
    moved.Update()
    surfaces = moved.GetOutput()
    found = surfaces.GetPointData().GetScalars()
    values_gy = np.empty(0) if found is None else vtk_to_numpy(found)
    nearest = np.searchsorted((levels_gy[1:] + levels_gy[:-1]) / 2, values_gy)
    scalars = numpy_to_vtk(nearest.astype(np.uint8), deep=True)
    scalars.SetName(LEVEL)
    surfaces.GetPointData().SetScalars(scalars)
    return surfaces
