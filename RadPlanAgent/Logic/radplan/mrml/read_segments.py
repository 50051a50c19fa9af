"""Segments of a segmentation node as the fraction of each CT voxel that they fill.

What a segment was made from decides (its source representation), not what is shown: labelmaps on
any grid of their own, fractional labelmaps, closed surfaces, and the planar contours that SlicerRT
imports from an RTSTRUCT, which are filled as the DICOM reader fills them. Whether a segment is
visible does not matter.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import slicer
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkImageData, vtkPolyData
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from ..errors import InputError
from ..geometry import Grid, Occupancy
from ..io.dicom_contours import PLANE_TOLERANCE_MM, Contour, fill_contours
from ..io.rasterize import occupancy_from_surface
from ..io.surfaces import cells_of, triangles_of
from ..orientation import orientation_of, to_lps
from .geometry import array_of, image_array, node_to_lps, shifted

_CONVERTER = slicer.vtkSegmentationConverter
BINARY = _CONVERTER.GetSegmentationBinaryLabelmapRepresentationName()
FRACTIONAL = _CONVERTER.GetSegmentationFractionalLabelmapRepresentationName()
SURFACE = _CONVERTER.GetSegmentationClosedSurfaceRepresentationName()
CONTOURS = _CONVERTER.GetSegmentationPlanarContourRepresentationName()
#: Points per axis at which a voxel is looked up in a labelmap that lies obliquely to it.
OBLIQUE_SAMPLES = 4
#: How far a voxel of a labelmap may lie from one of the CT and still be the same, in voxels.
ALIGNMENT_TOLERANCE = 1e-3


def read_segment(
    node: slicer.vtkMRMLSegmentationNode, segment_id: str, grid: Grid
) -> tuple[Occupancy, float, tuple[str, ...]]:
    """Read one segment.

    Parameters
    ----------
    node : vtkMRMLSegmentationNode
    segment_id : str
    grid : Grid
        The CT grid.

    Returns
    -------
    occupancy : Occupancy
        On the CT grid; empty where the segment is.
    outside_mm : float
        How far the segment reaches beyond the CT, 0 when it does not.
    warnings : tuple of str
        What was assumed, without the segment's name.

    Raises
    ------
    InputError
        If the segment is kept in a form that cannot be read, its surface is not closed, or its
        contours are not axial.
    """
    segmentation = node.GetSegmentation()
    segment = segmentation.GetSegment(segment_id)
    where = f"segment {segment.GetName()!r}"
    source = segmentation.GetSourceRepresentationName()
    data = segment.GetRepresentation(source)
    to_lps_mm = node_to_lps(node, f"segmentation {node.GetName()!r}")
    if data is None or not data.GetNumberOfPoints():
        return _nothing(grid), 0.0, ()
    if source in (BINARY, FRACTIONAL):
        filled = _binary(data, segment) if source == BINARY else _fractional(data)
        matrix = vtkMatrix4x4()
        data.GetImageToWorldMatrix(matrix)
        return _from_labelmap(*_cropped(*filled), to_lps_mm @ array_of(matrix), grid)
    if source == SURFACE:
        return _from_surface(data, to_lps_mm, grid, where)
    if source == CONTOURS:
        return _from_contours(data, to_lps_mm, grid, where)
    raise InputError(
        f"{where} is kept as {source!r}; convert the segmentation to binary labelmaps "
        "(Segmentations module, Representations)"
    )


def _nothing(grid: Grid) -> Occupancy:
    return Occupancy(grid, (0, 0, 0), np.zeros((0, 0, 0), np.float32))


def _binary(
    image: vtkImageData, segment: slicer.vtkSegment
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """A segment's voxels of a labelmap that it may share with others, bool."""
    values, first = image_array(image)
    return values == segment.GetLabelValue(), first


def _fractional(image: vtkImageData) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Filled fractions of a fractional labelmap, whose field data say what is none and all."""
    values, first = image_array(image)
    limits = image.GetFieldData().GetArray(_CONVERTER.GetScalarRangeFieldName())
    low, high = (limits.GetValue(0), limits.GetValue(1)) if limits is not None else (0.0, 1.0)
    fractions = (values.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.clip(fractions, 0.0, 1.0), first


def _cropped(
    values: np.ndarray, first: tuple[int, int, int]
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """The box (k, j, i) of everything above zero, float32, and its first index (i, j, k)."""
    box = []
    for axis in range(3):
        hit = np.flatnonzero(values.any(axis=tuple(a for a in range(3) if a != axis)))
        if not hit.size:
            return np.zeros((0, 0, 0), np.float32), first
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    start = tuple(f + part.start for f, part in zip(first, reversed(box), strict=True))
    return values[tuple(box)].astype(np.float32), start


def _from_labelmap(
    values: np.ndarray, first: tuple[int, int, int], index_to_lps: np.ndarray, grid: Grid
) -> tuple[Occupancy, float, tuple[str, ...]]:
    if not values.size:
        return _nothing(grid), 0.0, ()
    index_to_lps = shifted(index_to_lps, first)
    columns = index_to_lps[:3, :3]
    if orientation_of(columns / np.linalg.norm(columns, axis=0)) is None:
        return _from_oblique(values, index_to_lps, grid)
    own, values = to_lps(values, index_to_lps, "labelmap")
    edges = [own.edges_mm(2 - axis)[[0, -1]] for axis in range(3)]
    outside = _reach_beyond(*np.transpose(edges), grid)
    offset = np.array(grid.index_of(own.origin_mm))
    if (
        np.allclose(own.spacing_mm, grid.spacing_mm, rtol=1e-5, atol=0)
        and np.abs(offset - np.rint(offset)).max() < ALIGNMENT_TOLERANCE
    ):
        return _same_voxels(values, np.rint(offset).astype(int), grid), outside, ()
    occupancy = Occupancy(own, (0, 0, 0), values).onto(grid)
    return Occupancy(grid, occupancy.start, occupancy.values), outside, ()


def _same_voxels(values: np.ndarray, start: np.ndarray, grid: Grid) -> Occupancy:
    """A box of voxels that are the CT's own, to the last bit; what lies beyond is cut off."""
    stop = np.minimum(start + values.shape, grid.shape)
    begin = np.maximum(start, 0)
    if (stop <= begin).any():
        return _nothing(grid)
    part = values[tuple(slice(a, b) for a, b in zip(begin - start, stop - start, strict=True))]
    local = Occupancy.from_array(grid.cropped(tuple(begin), tuple(stop)), part)
    if local.is_empty:
        return _nothing(grid)
    place = tuple(int(a + b) for a, b in zip(begin, local.start, strict=True))
    return Occupancy(grid, place, local.values)


def _from_oblique(
    values: np.ndarray, index_to_lps: np.ndarray, grid: Grid
) -> tuple[Occupancy, float, tuple[str, ...]]:
    """Look up a labelmap at points spread evenly over every CT voxel."""
    shape_ijk = np.array(values.shape[::-1])
    ends = np.array(list(product(*((-0.5, n - 0.5) for n in shape_ijk))))
    corners = _moved(ends, index_to_lps)
    low, high = corners.min(axis=0), corners.max(axis=0)
    start = np.clip(np.floor(grid.index_of(low)), 0, np.array(grid.shape) - 1).astype(int)
    stop = np.clip(np.ceil(grid.index_of(high)) + 1, start + 1, grid.shape).astype(int)
    box = grid.cropped(tuple(start), tuple(stop))
    to_index = np.linalg.inv(index_to_lps)
    offsets = (np.arange(OBLIQUE_SAMPLES) + 0.5) / OBLIQUE_SAMPLES - 0.5
    total = np.zeros(box.shape, np.float32)
    z, y, x = np.meshgrid(*box.axes_mm, indexing="ij")
    for shift in product(offsets, repeat=3):
        dx, dy, dz = np.multiply(shift, box.spacing_mm)
        inside = np.ones(box.shape, bool)
        index = []
        for row, count in zip(to_index[:3], shape_ijk, strict=True):
            place = np.rint(
                row[0] * (x + dx) + row[1] * (y + dy) + row[2] * (z + dz) + row[3]
            ).astype(np.int32)
            inside &= (place >= 0) & (place < count)
            index.append(np.clip(place, 0, count - 1))
        i, j, k = index
        total += values[k, j, i] * inside
    occupancy = _same_voxels(total / OBLIQUE_SAMPLES**3, start, grid)
    centers = _moved(np.argwhere(values > 0)[:, ::-1], index_to_lps)
    outside = _reach_beyond(centers.min(axis=0), centers.max(axis=0), grid)
    warning = "its labelmap lies obliquely to the CT; resampled to the CT's voxels"
    return occupancy, outside, (warning,)


def _reach_beyond(low_mm: np.ndarray, high_mm: np.ndarray, grid: Grid) -> float:
    """How far a box, given by its corners (x, y, z), reaches beyond the CT, mm."""
    reach = 0.0
    for axis, (low, high) in enumerate(zip(low_mm[::-1], high_mm[::-1], strict=True)):
        grid_low, grid_high = grid.edges_mm(axis)[[0, -1]]
        reach = max(reach, float(grid_low - low), float(high - grid_high))
    return reach if reach > 1e-3 else 0.0


def _from_surface(
    surface: vtkPolyData, to_lps_mm: np.ndarray, grid: Grid, where: str
) -> tuple[Occupancy, float, tuple[str, ...]]:
    corners, triangles = triangles_of(surface)
    corners = _moved(corners, to_lps_mm)
    occupancy = occupancy_from_surface(corners, triangles, grid, where).onto(grid)
    outside = _reach_beyond(corners.min(axis=0), corners.max(axis=0), grid)
    return Occupancy(grid, occupancy.start, occupancy.values), outside, ()


def _from_contours(
    lines: vtkPolyData, to_lps_mm: np.ndarray, grid: Grid, where: str
) -> tuple[Occupancy, float, tuple[str, ...]]:
    points = vtk_to_numpy(lines.GetPoints().GetData()).astype(np.float64)
    points = _moved(points, to_lps_mm)
    contours = []
    for cell in (*cells_of(lines.GetLines()), *cells_of(lines.GetPolys())):
        ring = points[cell]
        if np.ptp(ring[:, 2]) > PLANE_TOLERANCE_MM:
            raise InputError(
                f"{where} has contours that are not in axial planes; convert the segmentation to "
                "binary labelmaps (Segmentations module, Representations)"
            )
        if len(ring) > 1 and np.allclose(ring[0], ring[-1]):
            ring = ring[:-1]
        if len(ring) >= 3:
            contours.append(Contour(ring[:, :2], float(ring[:, 2].mean())))
    if not contours:
        return _nothing(grid), 0.0, ()
    filled = fill_contours(contours, grid)
    return filled.occupancy, filled.outside_mm, filled.warnings


def _moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (n, 3) through a matrix (4, 4)."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]
