"""A volume node as the CT of a case."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from ..case import DicomReference
from ..errors import InputError
from ..geometry import Grid
from ..orientation import orientation_of, to_lps
from .geometry import array_of, image_array, node_to_lps, shifted
from .volumes import DOSE_VOLUME

#: Value of voxels outside the scan, HU; scanners' padding lies below.
OUTSIDE_HU = -1024.0
#: The unit that Slicer's DICOM import writes on CT volumes (UCUM).
HOUNSFIELD_CODE = "[hnsf'U]"
#: A CT of a patient has air or fat below this …
HIGHEST_AIR_HU = -200.0
#: … as long as it has soft tissue or bone above this.
LOWEST_TISSUE_HU = 200.0
POSITIONS = ("HFS", "HFP", "FFS", "FFP")
#: Slicer's attribute with the instance UID of every slice, in the order of k.
INSTANCE_UIDS = "DICOM.instanceUIDs"


def read_ct(node: slicer.vtkMRMLScalarVolumeNode) -> tuple[Grid, np.ndarray, tuple[str, ...]]:
    """Read a CT, brought to LPS by swapping and flipping axes.

    Returns
    -------
    grid : Grid
    hu : ndarray of float32, (z, y, x)
    warnings : tuple of str

    Raises
    ------
    InputError
        If the volume is empty, a labelmap, a dose or a colour image, oblique, under a transform
        that is not linear, has voxels that are not numbers, or is not in Hounsfield units.
    """
    where = f"volume {node.GetName()!r}"
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or not image.GetNumberOfPoints():
        raise InputError(f"{where} holds no image; load it again")
    if node.IsA("vtkMRMLLabelMapVolumeNode") or node.GetAttribute(DOSE_VOLUME):
        kind = "dose" if node.GetAttribute(DOSE_VOLUME) else "labelmap"
        raise InputError(f"{where} is a {kind}; choose the planning CT")
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(
            f"{where} has {image.GetNumberOfScalarComponents()} values per voxel; choose the "
            "planning CT"
        )
    _check_units(node, where)
    values, first = image_array(image)
    grid, values = to_lps(values, shifted(ijk_to_lps(node), first), where)
    hu = values.astype(np.float32)
    if not np.isfinite(hu).all():
        count = int(np.count_nonzero(~np.isfinite(hu)))
        raise InputError(
            f"{where} has {count} voxels that are not numbers (NaN or infinite); import it again"
        )
    warnings = _check_range(hu, where)
    np.maximum(hu, OUTSIDE_HU, out=hu)
    return grid, hu, warnings


def ijk_to_lps(node: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """Matrix (4, 4) from a volume's voxel indices to LPS of the patient; see `node_to_lps`."""
    matrix = vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return node_to_lps(node, f"volume {node.GetName()!r}") @ array_of(matrix)


def _check_units(node: slicer.vtkMRMLScalarVolumeNode, where: str) -> None:
    units = node.GetVoxelValueUnits()
    code = (units.GetCodeValue() or "") if units is not None else ""
    if code and code != HOUNSFIELD_CODE:
        meaning = units.GetCodeMeaning() or code
        raise InputError(f"{where} is in {meaning}, not in Hounsfield units; choose the CT")


def _check_range(hu: np.ndarray, where: str) -> tuple[str, ...]:
    """Refuse what cannot be Hounsfield units of a patient; say what is merely odd."""
    lowest, highest = float(hu.min()), float(hu.max())
    if lowest > HIGHEST_AIR_HU and highest > LOWEST_TISSUE_HU:
        raise InputError(
            f"{where} has values from {lowest:g} to {highest:g} and nothing as light as fat or "
            "air: not Hounsfield units, or not a CT; choose the CT, or import it so that the "
            "rescale intercept is applied"
        )
    if lowest > HIGHEST_AIR_HU:
        return (
            f"the CT has values from {lowest:g} to {highest:g} HU only, no air; is it a CT in "
            "Hounsfield units?",
        )
    return ()


def patient_position(node: slicer.vtkMRMLScalarVolumeNode, database: Any) -> str:
    """DICOM patient position of a CT, empty where it is not known.

    Parameters
    ----------
    node : vtkMRMLScalarVolumeNode
    database : ctkDICOMDatabase or None
        ``slicer.dicomDatabase``.
    """
    position = _header(node, database, "0018,5100").strip().upper()
    return position if position in POSITIONS else ""


def frame_of_reference_uid(node: slicer.vtkMRMLScalarVolumeNode, database: Any) -> str:
    """DICOM frame of reference of a CT, empty where it is not known."""
    return _header(node, database, "0020,0052").strip()


def dicom_reference(
    node: slicer.vtkMRMLScalarVolumeNode, grid: Grid, database: Any
) -> DicomReference | None:
    """The DICOM images that a CT volume was loaded from, in the order of the grid.

    None where the volume does not name one image per slice, was resampled or turned since, or
    Slicer's database does not know the series.
    """
    uids = _instance_uids(node)
    study, series = (_header(node, database, tag).strip() for tag in ("0020,000D", "0020,000E"))
    if not (study and series) or len(uids) != grid.shape[0] or len(set(uids)) < len(uids):
        return None
    if node.GetParentTransformNode() is not None:
        return None
    columns = ijk_to_lps(node)[:3, :3]
    orientation = orientation_of(columns / np.linalg.norm(columns, axis=0))
    if orientation is None or orientation.axes[2] != 2:
        return None
    return DicomReference(study, series, uids if orientation.signs[2] > 0 else uids[::-1])


def _instance_uids(node: slicer.vtkMRMLScalarVolumeNode) -> tuple[str, ...]:
    return tuple((node.GetAttribute(INSTANCE_UIDS) or "").split())


def _header(node: slicer.vtkMRMLScalarVolumeNode, database: Any, tag: str) -> str:
    """A DICOM attribute of a volume's first image; empty where there is none."""
    uids = _instance_uids(node)
    if database is None or not uids:
        return ""
    return str(database.instanceValue(uids[0], tag) or "")
