"""An RT structure set to structures on the CT grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset

from ..case import Structure, StructureType
from ..errors import InputError
from ..geometry import Grid
from ..naming import clean_name, map_name
from ..progress import CancelRequested, ProgressReport, check_cancelled
from .dicom_contours import PLANE_TOLERANCE_MM, Contour, fill_contours
from .dicom_folder import CONTOUR_DATA, DicomFile

#: What RT ROI Interpreted Type means to the planner; every other term is a HELPER.
INTERPRETED_TYPES = {
    "PTV": StructureType.TARGET,
    "CTV": StructureType.TARGET,
    "GTV": StructureType.TARGET,
    "EXTERNAL": StructureType.EXTERNAL,
    "ORGAN": StructureType.OAR,
    "AVOIDANCE": StructureType.OAR,
}
#: Contours that enclose an area.
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


@dataclass(frozen=True)
class StructureSet:
    """Structures, names by ROI number (for references from a plan), and what was left out."""

    structures: tuple[Structure, ...]
    name_of_roi: dict[int, str]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Roi:
    """One region of interest as the file gives it, with the name and type it gets here."""

    number: int
    source_name: str
    name: str
    type: StructureType
    frame_uid: str
    contour_item: Dataset | None


def read_structures(
    file: DicomFile,
    dataset: Dataset,
    grid: Grid,
    frame_uid: str,
    mapping: Mapping[str, str] | None,
    progress: ProgressReport,
    cancel_requested: CancelRequested,
) -> StructureSet:
    """Fill the contours of a structure set.

    What cannot be used (no contours, another frame of reference, contours that are not axial) is
    left out with a warning, or refused when it is a target.

    Parameters
    ----------
    file, dataset : DicomFile, Dataset
        The RTSTRUCT.
    grid : Grid
        CT grid.
    frame_uid : str
        Frame of reference of the CT, may be empty.
    mapping : mapping of str to str, optional
        Names to use, by the name in the file.
    progress, cancel_requested
        See `radplan.progress`.

    Raises
    ------
    InputError
        If names collide, the mapping names what is not there, a structure lies outside the CT, or
        a target cannot be used.
    """
    warnings: list[str] = []
    rois = _rois(file, dataset, dict(mapping or {}), warnings)
    used = [roi for roi in rois if roi.contour_item is not None]
    _check_frames(file, rois, frame_uid)
    structures, name_of_roi = [], {}
    for roi in rois:
        if roi.contour_item is None:
            _leave_out(file, roi, "has no contours", warnings)
    for number, roi in enumerate(used):
        check_cancelled(cancel_requested)
        progress("filling contours", number / len(used))
        if frame_uid and roi.frame_uid not in ("", frame_uid):
            _leave_out(file, roi, "is drawn in another frame of reference", warnings)
            continue
        contours, ignored, reason = _contours(file, roi)
        if ignored:
            warnings.append(f"structure {roi.name}: {ignored} ignored")
        if reason or not contours:
            _leave_out(file, roi, reason or "has no closed contours", warnings)
            continue
        structure = _filled(file, roi, contours, grid, warnings)
        if structure is not None:
            structures.append(structure)
            name_of_roi[roi.number] = roi.name
    progress("filling contours", 1.0)
    _refuse_double_names(file, structures)
    if not structures:
        raise InputError(f"{file.path}: no structure has usable contours; export it again")
    return StructureSet(tuple(structures), name_of_roi, tuple(warnings))


def _rois(
    file: DicomFile, dataset: Dataset, mapping: dict[str, str], warnings: list[str]
) -> list[_Roi]:
    """All regions of interest with their names and types."""
    contour_items = {}
    for item in dataset.get("ROIContourSequence") or ():
        if item.get("ContourSequence"):
            contour_items[_number(item, "ReferencedROINumber")] = item
    interpreted = {
        _number(item, "ReferencedROINumber"): str(item.get("RTROIInterpretedType") or "").upper()
        for item in dataset.get("RTROIObservationsSequence") or ()
    }
    rois = []
    for item in dataset.get("StructureSetROISequence") or ():
        number = _number(item, "ROINumber")
        source_name = str(item.get("ROIName") or "")
        name, kind = _name_and_type(source_name, interpreted.get(number, ""), mapping, warnings)
        rois.append(
            _Roi(
                number,
                source_name,
                name,
                kind,
                str(item.get("ReferencedFrameOfReferenceUID") or ""),
                contour_items.get(number),
            )
        )
    if not rois:
        raise InputError(f"{file.path}: the structure set has no structures; export it again")
    unknown = sorted(set(mapping) - {roi.source_name for roi in rois})
    if unknown:
        raise InputError(
            f"{file.path}: the name mapping has {unknown[0]!r}, which the structure set does not; "
            f"it has {', '.join(roi.source_name for roi in rois)}"
        )
    numbers = [roi.number for roi in rois]
    if len(set(numbers)) < len(numbers):
        raise InputError(f"{file.path}: two structures have the same ROI number; export it again")
    return rois


def _name_and_type(
    source_name: str, dicom_type: str, mapping: dict[str, str], warnings: list[str]
) -> tuple[str, StructureType]:
    """The structure's name and type: from the mapping, the TG-263 mapper, or the file itself."""
    wanted = mapping.get(source_name, source_name)
    found = map_name(wanted, dicom_type)
    kind = found.type or INTERPRETED_TYPES.get(dicom_type, StructureType.HELPER)
    if source_name in mapping:
        return wanted, kind
    if found.name is not None:
        return found.name, kind
    name = clean_name(source_name)
    if found.candidates:
        warnings.append(
            f"structure {name} could be {', '.join(found.candidates)}; kept under its own name"
        )
    return name, kind


def _number(item: Dataset, keyword: str) -> int:
    try:
        return int(item.get(keyword))
    except (TypeError, ValueError):
        return -1


def _check_frames(file: DicomFile, rois: list[_Roi], frame_uid: str) -> None:
    frames = {roi.frame_uid for roi in rois if roi.contour_item is not None} - {""}
    if frame_uid and frames and frame_uid not in frames:
        raise InputError(
            f"{file.path}: the structures are drawn in frame of reference …"
            f"{sorted(frames)[0][-8:]}, but the CT is in …{frame_uid[-8:]}; export the CT that "
            "they were drawn on"
        )


def _contours(file: DicomFile, roi: _Roi) -> tuple[list[Contour], str, str]:
    """Closed contours, what was ignored (words), and why the structure cannot be used (words)."""
    contours, ignored = [], {}
    for item in roi.contour_item.ContourSequence:
        kind = str(item.get("ContourGeometricType") or "").upper()
        if kind not in CLOSED:
            ignored[kind] = ignored.get(kind, 0) + 1
            continue
        data = _contour_data(item)
        if data.size % 3 or not np.isfinite(data).all():
            raise InputError(
                f"{file.path}: structure {roi.source_name}: a contour is not a list of x, y, z "
                "numbers; export it again"
            )
        points = data.reshape(-1, 3)
        if len(points) < 3:
            ignored["too short"] = ignored.get("too short", 0) + 1
        elif np.ptp(points[:, 2]) > PLANE_TOLERANCE_MM:
            return [], "", "has contours that are not in axial planes"
        else:
            contours.append(Contour(points[:, :2], float(points[:, 2].mean())))
    words = ", ".join(f"{count} {kind or 'unnamed'} contour(s)" for kind, count in ignored.items())
    return contours, words, ""


def _contour_data(item: Dataset) -> np.ndarray:
    """Numbers of Contour Data, float64; one NaN where the text is not numbers."""
    try:
        # The element as it lies in the file: making objects of all numbers takes 20 times longer.
        element = item.get_item(CONTOUR_DATA)
        value = b"" if element is None else element.value
        values = value.split(b"\\") if isinstance(value, bytes) else value
        return np.array([float(v) for v in values if v != b""], dtype=np.float64)
    except (TypeError, ValueError):
        return np.array([np.nan])


def _filled(
    file: DicomFile, roi: _Roi, contours: list[Contour], grid: Grid, warnings: list[str]
) -> Structure | None:
    """The structure on the grid; None when its contours enclose nothing."""
    filled = fill_contours(contours, grid)
    where = f"{file.path}: structure {roi.source_name}"
    # Half a voxel is what contours traced along voxel centres or borders may differ by.
    tolerance = max(grid.spacing_mm) / 2
    if filled.outside_mm > tolerance and filled.occupancy.is_empty:
        raise InputError(f"{where} lies outside the CT; is it the right CT series?")
    if filled.outside_mm > tolerance and roi.type is StructureType.TARGET:
        raise InputError(
            f"{where} is a target and reaches {filled.outside_mm:.1f} mm beyond the CT; "
            "use a CT that covers it"
        )
    if filled.outside_mm > tolerance:
        warnings.append(
            f"structure {roi.name} reaches {filled.outside_mm:.1f} mm beyond the CT; cut off there"
        )
    if filled.occupancy.is_empty:
        _leave_out(file, roi, "has contours that enclose nothing", warnings)
        return None
    warnings.extend(f"structure {roi.name}: {text}" for text in filled.warnings)
    color = roi.contour_item.get("ROIDisplayColor")
    return Structure(
        roi.name,
        roi.type,
        filled.occupancy,
        roi.source_name,
        tuple(int(c) for c in color) if color is not None and len(color) == 3 else None,
    )


def _leave_out(file: DicomFile, roi: _Roi, reason: str, warnings: list[str]) -> None:
    if roi.type is StructureType.TARGET:
        raise InputError(
            f"{file.path}: structure {roi.source_name} is a target but {reason}; draw it, or "
            "delete it and export again"
        )
    warnings.append(f"structure {roi.name} {reason}; left out")


def _refuse_double_names(file: DicomFile, structures: list[Structure]) -> None:
    sources: dict[str, list[str]] = {}
    for structure in structures:
        sources.setdefault(structure.name, []).append(structure.source_name)
    for name, found in sources.items():
        if len(found) > 1:
            raise InputError(
                f"{file.path}: structures {' and '.join(repr(s) for s in found)} are both named "
                f"{name}; rename one, or say which is which with a name mapping"
            )
