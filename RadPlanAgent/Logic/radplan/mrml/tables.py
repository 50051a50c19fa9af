"""Tables from columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import slicer
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import vtkAbstractArray, vtkStringArray
from vtkmodules.vtkCommonDataModel import vtkTable


def _column(name: str, values: Sequence[str] | Sequence[float] | np.ndarray) -> vtkAbstractArray:
    if len(values) and isinstance(values[0], str):
        column = vtkStringArray()
        for value in values:
            column.InsertNextValue(value)
    else:
        column = numpy_to_vtk(np.asarray(values, np.float64), deep=True)
    column.SetName(name)
    return column


def add_table(
    scene: slicer.vtkMRMLScene,
    name: str,
    columns: Mapping[str, Sequence[str] | Sequence[float] | np.ndarray],
) -> slicer.vtkMRMLTableNode:
    """Add a table; columns of text stay text, all others become float64. It cannot be edited."""
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    set_columns(node, columns)
    node.SetLocked(True)
    return node


def set_columns(
    node: slicer.vtkMRMLTableNode,
    columns: Mapping[str, Sequence[str] | Sequence[float] | np.ndarray],
) -> None:
    """Put columns in place of those that a table has."""
    table = vtkTable()
    for title, values in columns.items():
        table.AddColumn(_column(title, values))
    node.SetAndObserveTable(table)
