"""Structures as 3D Slicer stores them in VTK files: ``.seg.vtm`` with its ``.vtp``, or ``.vtp``.

A segmentation is one ``.seg.vtm`` that lists one ``.vtp`` per segment; name and colour are in the
field data. A ``.vtp`` holds either planar contours (lines, SlicerRT's import of an RTSTRUCT) or a
closed surface (polygons). Slicer writes the points as they are in the segmentation node: RAS mm.
A ``.vtp`` that says ``SPACE=LPS`` in its header (Slicer's model files) is taken as LPS.

`read_structures` is the one door for structures in any file format that ``radplan dvh`` reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ..case import Structure
from ..errors import InputError
from ..geometry import Grid, Occupancy
from . import CASE_FILE_NAME, load_case
from .nrrd import check_names, read_segmentation, structure_type
from .openkbp import is_openkbp_folder
from .rasterize import occupancy_from_contours, occupancy_from_surface

#: Image formats of labelmaps, besides ``.seg.nrrd``.
LABELMAPS = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")


def read_structures(path: str | Path, reference_grid: Grid) -> tuple[Structure, ...]:
    """Read structures from a segmentation, surfaces, labelmaps or a folder of them.

    Parameters
    ----------
    path : path-like
        ``.seg.vtm`` (``.vtm``), ``.vtp``, ``.seg.nrrd``, a labelmap, a case (``.mat``, ``.npz``),
        or a folder. Of a folder the first of these is taken: its one ``.vtm`` or ``.seg.nrrd``,
        its ``.vtp`` files, the case that it is (session, OpenKBP), its labelmaps, the case that
        it is (DICOM).
    reference_grid : Grid
        Usually the dose grid. Surfaces and contours are turned into partial volumes on grids of
        their own that are aligned with it; labelmaps keep their grid.

    Raises
    ------
    InputError
        Naming the file: missing, of an unknown kind, unreadable, or without structures; two
        structures of one name; a surface that is not closed; a contour that is not axial.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.is_dir():
        return _read_folder(path, reference_grid)
    name = path.name.lower()
    if name.endswith(".vtm"):
        structures = tuple(
            structure
            for part in _parts_of(path)
            for structure in _read_polydata(part, reference_grid)
        )
    elif name.endswith(".vtp"):
        structures = _read_polydata(path, reference_grid)
    elif name.endswith(LABELMAPS):
        return read_segmentation(path)
    elif name.endswith((".mat", ".npz")):
        return load_case(path).structures
    else:
        raise InputError(
            f"{path}: unknown kind of structures; use .seg.vtm, .vtp, .seg.nrrd, a labelmap "
            f"({', '.join(LABELMAPS)}), a case, or for DICOM the folder"
        )
    if not structures:
        raise InputError(f"{path}: holds no segments")
    return check_names(path, structures)


def _read_folder(path: Path, reference_grid: Grid) -> tuple[Structure, ...]:
    files = sorted(file for file in path.iterdir() if file.is_file())
    whole = [file for file in files if file.name.lower().endswith((".vtm", ".seg.nrrd"))]
    if len(whole) > 1:
        raise InputError(
            f"{path}: holds several segmentations ({', '.join(f.name for f in whole)}); name one"
        )
    surfaces = [file for file in files if file.name.lower().endswith(".vtp")]
    labelmaps = [file for file in files if file.name.lower().endswith(LABELMAPS)]
    is_case = (path / CASE_FILE_NAME).is_file() or is_openkbp_folder(path)
    parts = whole or surfaces or ([] if is_case else labelmaps)
    if not parts:
        return load_case(path).structures
    return check_names(
        path, tuple(s for part in parts for s in read_structures(part, reference_grid))
    )


def _parts_of(path: Path) -> list[Path]:
    """List the files that a ``.vtm`` names."""
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not a VTK multi-block file ({error})") from None
    names = [node.get("file") for node in root.iter("DataSet")]
    if root.tag != "VTKFile" or not all(names):
        raise InputError(f"{path}: is not a VTK multi-block file")
    parts = []
    for name in names:
        part = path.parent / name
        # A segmentation names files of its own folder; anything else is damaged or hostile.
        if not part.resolve().is_relative_to(path.parent.resolve()):
            raise InputError(f"{path}: names {name}, which lies outside its folder")
        if not part.is_file():
            raise InputError(f"{path}: names {name}, which is missing")
        parts.append(part)
    return parts


def _read_polydata(path: Path, reference_grid: Grid) -> tuple[Structure, ...]:
    """Read the segment of one ``.vtp``; without lines and polygons its occupancy is empty."""
    polydata = _load(path)
    fields = polydata.GetFieldData()
    name = (_field(fields, "Segment_Name") or path.name.split(".")[0]).strip()
    points = _points(polydata, path)
    polygons, lines = cells_of(polydata.GetPolys()), cells_of(polydata.GetLines())
    if polygons or polydata.GetNumberOfStrips():
        corners, triangles = triangles_of(polydata)
        occupancy = occupancy_from_surface(
            corners * _frame_signs(fields), triangles, reference_grid, f"{path}: {name}"
        )
    elif lines:
        occupancy = occupancy_from_contours(
            [points[line] for line in lines], reference_grid, f"{path}: {name}"
        )
    else:
        occupancy = Occupancy(reference_grid, (0, 0, 0), np.zeros((0, 0, 0), np.float32))
    color = fields.GetAbstractArray("Segment_Color") or fields.GetAbstractArray(
        "Segment_DefaultColor"
    )
    rgb = None
    if color is not None and color.GetNumberOfValues() == 3:
        rgb = tuple(
            int(np.clip(round(255 * color.GetVariantValue(i).ToDouble()), 0, 255))
            for i in range(3)
        )
    return (Structure(name, structure_type(name), occupancy, name, rgb),)


def _load(path: Path) -> Any:
    """Read the vtkPolyData of a file."""
    try:
        from vtkmodules.vtkIOXML import vtkXMLPolyDataReader
    except ImportError:
        raise InputError(
            f"{path}: reading VTK surfaces needs the vtk package: pip install vtk, or export the "
            "segmentation as .seg.nrrd"
        ) from None
    reader = vtkXMLPolyDataReader()
    if not path.is_file() or not reader.CanReadFile(str(path)):
        raise InputError(f"{path}: is not a VTK polygon file (.vtp)")
    reader.SetFileName(str(path))
    reader.Update()
    if reader.GetErrorCode() or reader.GetOutput() is None:
        raise InputError(f"{path}: is damaged and cannot be read")
    return reader.GetOutput()


def _frame_signs(fields: Any) -> np.ndarray:
    """Factors that bring points of the file to LPS."""
    space = _field(fields, "SPACE") or ""
    return np.array([1.0, 1.0, 1.0]) if "LPS" in space else np.array([-1.0, -1.0, 1.0])


def _points(polydata: Any, path: Path) -> np.ndarray:
    """Vertices, LPS mm, float64 (n, 3)."""
    from vtkmodules.util.numpy_support import vtk_to_numpy

    if polydata.GetPoints() is None or not polydata.GetNumberOfPoints():
        return np.zeros((0, 3))
    points = vtk_to_numpy(polydata.GetPoints().GetData()).astype(np.float64)
    if not np.isfinite(points).all():
        raise InputError(f"{path}: has points that are not numbers")
    return points * _frame_signs(polydata.GetFieldData())


def cells_of(cells: Any) -> list[np.ndarray]:
    """Point indices of every cell of a vtkCellArray."""
    from vtkmodules.util.numpy_support import vtk_to_numpy

    if cells is None or not cells.GetNumberOfCells():
        return []
    indices = vtk_to_numpy(cells.GetConnectivityArray())
    return np.split(indices, vtk_to_numpy(cells.GetOffsetsArray())[1:-1])


def triangles_of(polydata: Any) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (file frame) and triangles of a surface, coinciding vertices merged."""
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkFiltersCore import vtkCleanPolyData, vtkTriangleFilter

    triangulate = vtkTriangleFilter()
    triangulate.SetInputData(polydata)
    triangulate.PassLinesOff()
    triangulate.PassVertsOff()
    merge = vtkCleanPolyData()
    merge.SetInputConnection(triangulate.GetOutputPort())
    merge.PointMergingOn()
    merge.SetTolerance(0.0)
    merge.ConvertPolysToLinesOff()
    merge.Update()
    surface = merge.GetOutput()
    corners = vtk_to_numpy(surface.GetPoints().GetData()).astype(np.float64)
    return corners, np.array(cells_of(surface.GetPolys())).reshape(-1, 3)


def _field(fields: Any, name: str) -> str | None:
    """First text of a field-data array."""
    array = fields.GetAbstractArray(name)
    return array.GetVariantValue(0).ToString() if array and array.GetNumberOfValues() else None
