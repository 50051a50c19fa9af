"""Nodes of a scene, built by hand for tests: nothing of the product decides where voxels lie."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import slicer
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonDataModel import vtkImageData
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from radplan.geometry import Grid

#: All ways in which image axes can lie along patient axes: which one, and in which direction.
ORIENTATIONS = [
    (axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)
]


def orientation_name(orientation) -> str:
    """Letters of RAS directions in which i, j, k grow, such as LPS."""
    axes, signs = orientation
    letters = (("R", "L"), ("A", "P"), ("S", "I"))
    return "".join(letters[a][s < 0] for a, s in zip(axes, signs, strict=True))


def matrix_from(array: np.ndarray) -> vtkMatrix4x4:
    matrix = vtkMatrix4x4()
    for i, j in product(range(4), range(4)):
        matrix.SetElement(i, j, float(array[i, j]))
    return matrix


def oriented(values: np.ndarray, grid: Grid, orientation) -> tuple[np.ndarray, np.ndarray]:
    """An LPS array (z, y, x) as an image of another orientation, voxel by voxel.

    Returns the array (k, j, i) and the matrix from (i, j, k) to RAS: along image axis n lies
    the RAS axis ``axes[n]``, growing with the index where ``signs[n]`` is +1.
    """
    axes, signs = orientation
    lengths = [values.shape[2 - a] for a in axes]
    image = np.empty(lengths[::-1], values.dtype)
    matrix = np.eye(4)
    # RAS of the voxel with the lowest coordinates along R, A, S.
    lps_low = np.array(grid.origin_mm)
    lps_high = lps_low + np.multiply(grid.spacing_mm, np.array(grid.shape[::-1]) - 1)
    ras_low = np.array([-lps_high[0], -lps_high[1], lps_low[2]])
    ras_high = np.array([-lps_low[0], -lps_low[1], lps_high[2]])
    for n, (a, s) in enumerate(zip(axes, signs, strict=True)):
        matrix[:3, n] = 0
        matrix[a, n] = s * grid.spacing_mm[a]
        matrix[a, 3] = ras_low[a] if s > 0 else ras_high[a]
    z, y, x = np.indices(values.shape).reshape(3, -1)
    lps = np.add(grid.origin_mm, np.multiply(grid.spacing_mm, np.stack([x, y, z], axis=1)))
    ras = np.c_[lps * (-1, -1, 1), np.ones(len(lps))]
    i, j, k = np.rint(np.linalg.solve(matrix, ras.T)[:3]).astype(int)
    image[k, j, i] = values[z, y, x]
    return image, matrix


def image_of(values: np.ndarray, image: vtkImageData | None = None) -> vtkImageData:
    image = image or vtkImageData()
    image.SetDimensions(values.shape[::-1])
    scalars = numpy_to_vtk(np.ascontiguousarray(values).ravel(), deep=True)
    image.GetPointData().SetScalars(scalars)
    return image


def add_volume(scene, values: np.ndarray, ijk_to_ras: np.ndarray, name: str = "CT"):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetAndObserveImageData(image_of(values))
    node.SetIJKToRASMatrix(matrix_from(ijk_to_ras))
    return node


def labelmap(values: np.ndarray, ijk_to_ras: np.ndarray):
    image = image_of(values, slicer.vtkOrientedImageData())
    image.SetImageToWorldMatrix(matrix_from(ijk_to_ras))
    return image


def add_segmentation(scene, representation: str, segments: dict, name: str = "Segmentation"):
    """Add a segmentation; values are representations, or (representation, label value)."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(representation)
    for segment_name, data in segments.items():
        segment = slicer.vtkSegment()
        segment.SetName(segment_name)
        if isinstance(data, tuple):
            data, label = data
            segment.SetLabelValue(label)
        if data is not None:
            segment.AddRepresentation(representation, data)
        segmentation.AddSegment(segment, f"id_{segment_name}")
    return node


def add_transform(scene, matrix: np.ndarray, node):
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
    transform.SetMatrixTransformToParent(matrix_from(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform
