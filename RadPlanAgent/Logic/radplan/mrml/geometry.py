"""From LPS arrays to images in RAS, the frame of MRML.

LPS and RAS differ in the signs of x and y. A grid of positive LPS spacing therefore gets an
image whose first two axes point to negative RAS; no voxel is moved and nothing is resampled.
"""

from __future__ import annotations

import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonDataModel import vtkImageData
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from ..geometry import Grid, Triple


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
