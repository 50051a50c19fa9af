"""LPS arrays and images in RAS, the frame of MRML.

LPS and RAS differ in the signs of x and y. A grid of positive LPS spacing therefore gets an
image whose first two axes point to negative RAS; no voxel is moved and nothing is resampled.
"""

from __future__ import annotations

import numpy as np
import slicer
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkImageData
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from ..errors import InputError
from ..geometry import Grid, Triple

#: From RAS to LPS and back.
FLIP_XY = np.diag([-1.0, -1.0, 1.0, 1.0])


def ras_of(point_mm: Triple) -> Triple:
    """RAS of an LPS point, mm. Its own inverse."""
    x, y, z = point_mm
    return (-x, -y, z)


def ijk_to_ras(grid: Grid) -> vtkMatrix4x4:
    """Matrix from voxel indices (x, y, z) to RAS mm."""
    matrix = vtkMatrix4x4()
    for axis, (sign, spacing, origin) in enumerate(
        zip((-1, -1, 1), grid.spacing_mm, ras_of(grid.origin_mm), strict=True)
    ):
        matrix.SetElement(axis, axis, sign * spacing)
        matrix.SetElement(axis, 3, origin)
    return matrix


def fill_image(
    image: vtkImageData, values: np.ndarray, start: tuple[int, int, int] = (0, 0, 0)
) -> None:
    """Copy an array into an image.

    Parameters
    ----------
    image : vtkImageData
        Any kind of image; its origin and spacing are left alone.
    values : ndarray, (z, y, x)
        Its type becomes the image's.
    start : tuple of int
        Index (z, y, x) of the array's first voxel, which becomes the start of the image's extent.
    """
    extent = []
    for first, count in zip(start[::-1], values.shape[::-1], strict=True):
        extent += [first, first + count - 1]
    image.SetExtent(extent)
    scalars = numpy_to_vtk(np.ascontiguousarray(values).ravel(), deep=True)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)


def image_array(image: vtkImageData) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Values of an image with one number per voxel.

    Returns
    -------
    values : ndarray, (k, j, i)
        A view on the image's memory.
    first : tuple of int
        Index (i, j, k) of its first voxel.
    """
    extent = image.GetExtent()
    shape = tuple(extent[2 * a + 1] - extent[2 * a] + 1 for a in (2, 1, 0))
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)
    return values, (extent[0], extent[2], extent[4])


def array_of(matrix: vtkMatrix4x4) -> np.ndarray:
    """A matrix as float64 (4, 4)."""
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


def matrix_of(array: np.ndarray) -> vtkMatrix4x4:
    """VTK's matrix of an array (4, 4)."""
    matrix = vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, float).ravel().tolist())
    return matrix


def node_to_lps(node: slicer.vtkMRMLTransformableNode, where: str) -> np.ndarray:
    """Matrix (4, 4) from a node's own RAS to LPS of the patient: its transforms, hardened.

    The scene stays as it is.

    Raises
    ------
    InputError
        If the node is under a transform that is not linear.
    """
    matrix = vtkMatrix4x4()
    transform = node.GetParentTransformNode()
    if transform is not None:
        if not transform.IsTransformToWorldLinear():
            raise InputError(
                f"{where} is under the transform {transform.GetName()!r}, which is not linear "
                "(Slicer makes one for CTs with tilted or irregular slices); harden it first "
                "(Data module, Harden transform)"
            )
        transform.GetMatrixTransformToWorld(matrix)
    return FLIP_XY @ array_of(matrix)


def shifted(matrix: np.ndarray, first: tuple[int, int, int]) -> np.ndarray:
    """An index-to-point matrix for indices that count from `first`."""
    moved = matrix.copy()
    moved[:, 3] = matrix @ (*first, 1.0)
    return moved
