"""A DICOM folder to a case: CT and structures, and plan and dose where they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from ..case import Case, DicomReference, DoseImage
from ..errors import InputError
from ..progress import CancelRequested, ProgressReport, never, silent
from .dicom_ct import read_ct
from .dicom_folder import (
    RT_DOSE,
    choose_ct_series,
    dicom_file,
    quiet_pydicom,
    require_ct_and_structures,
    scan_folder,
    the_structure_set,
)
from .dicom_plan import read_dose, read_plan
from .dicom_structures import read_structures


@quiet_pydicom()
def read_dicom_folder(
    path: str | PathLike,
    *,
    mapping: Mapping[str, str] | None = None,
    progress: ProgressReport = silent,
    cancel_requested: CancelRequested = never,
) -> Case:
    """Read CT, structures and, where present, plan and dose from a folder.

    Files may have any name and order and lie in subfolders; other files are skipped. The CT is
    the series that the structure set refers to, flipped to patient axes; see `read_ct` for what is
    refused and `radplan.io.dicom_contours` for how contours are filled. Nothing that identifies
    the patient is kept: the case gets a neutral name, the plan a neutral label.

    Parameters
    ----------
    path : path-like
        The folder.
    mapping : mapping of str to str, optional
        Structure names to use, by the name in the file; all others are mapped to TG-263 where that
        is certain and only cleaned where it is not.
    progress, cancel_requested
        See `radplan.progress`.

    Returns
    -------
    Case
        With what was left out or assumed in `Case.warnings`.

    Raises
    ------
    InputError
        If something is missing, ambiguous, damaged or not supported; the file, series or structure
        is named.
    """
    path = Path(path)
    folder = scan_folder(path, progress, cancel_requested)
    require_ct_and_structures(folder)
    structure_file = the_structure_set(folder)
    dataset = structure_file.read()
    series = choose_ct_series(folder, structure_file, dataset)
    frame_uid = series[0].frame_uid
    ct = read_ct(series, progress, cancel_requested)
    structures = read_structures(
        structure_file, dataset, ct.grid, frame_uid, mapping, progress, cancel_requested
    )
    plan, plan_warnings = read_plan(folder, structure_file, frame_uid, structures.name_of_roi)
    return Case(
        name=_neutral_name(series[0].series_uid),
        grid=ct.grid,
        ct_hu=ct.hu,
        structures=structures.structures,
        patient_position=ct.patient_position,
        frame_of_reference_uid=frame_uid,
        imported_plan=plan,
        source=str(path),
        dicom=DicomReference(
            str(series[0].header.get("StudyInstanceUID") or ""),
            series[0].series_uid,
            ct.image_uids,
        ),
        warnings=ct.warnings + structures.warnings + plan_warnings,
    )


def _neutral_name(series_uid: str) -> str:
    """A name that tells cases apart and says nothing about the patient."""
    return f"dicom-{hashlib.sha256(series_uid.encode()).hexdigest()[:8]}"


@quiet_pydicom()
def read_rtdose(path: str | PathLike, frame_uid: str = "") -> DoseImage:
    """Read the dose of one RTDOSE file, Gy, as it stands there.

    Parameters
    ----------
    path : path-like
    frame_uid : str
        Frame of reference that the dose must be in; empty if not known.

    Raises
    ------
    InputError
        If it is not an RTDOSE file or its dose cannot be used, see `read_dose`.
    """
    file = dicom_file(Path(path))
    if file is None or file.header.get("SOPClassUID") != RT_DOSE:
        raise InputError(f"{path}: not a DICOM RT dose file (RTDOSE)")
    return read_dose(file, file.read(), frame_uid)
