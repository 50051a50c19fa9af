"""Cases, structures and doses to DICOM files. What the objects hold: `radplan.io.dicom_objects`.

Files and folders appear whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from pydicom import Dataset

from ..case import Case, DoseImage
from ..errors import InputError
from ..files import folder_written_by_rename, written_by_rename
from ..progress import CancelRequested, ProgressReport, check_cancelled, never, silent
from ..protocol import Prescription
from .dicom_objects import (
    anonymous_identity,
    ct_slice,
    identity_of,
    original_reference,
    own_reference,
    plan_dose,
    structure_set,
)

STRUCTURES_FILE = "RTSTRUCT.dcm"
DOSE_FILE = "RTDOSE.dcm"


def write_dicom_case(
    case: Case,
    directory: str | PathLike,
    *,
    replace: bool = False,
    progress: ProgressReport = silent,
    cancel_requested: CancelRequested = never,
) -> None:
    """Write a case as a self-contained, anonymous DICOM study: CT slices and a structure set.

    HU are rounded to whole numbers. The study and the series are new; the frame of reference
    stays, so that the copy lies where the original lies.

    Parameters
    ----------
    case : Case
    directory : path-like
        A new or empty folder.
    replace : bool
        Whether a folder with files in it is replaced as a whole.
    progress, cancel_requested
        See `radplan.progress`.

    Raises
    ------
    InputError
        If the folder is not empty, cannot be written, or the CT does not fit 16 bits.
    """
    with _folder(directory, replace) as folder:
        _write_ct_and_structures(case, folder, progress, cancel_requested)


def write_dicom_plan(
    case: Case,
    dose: DoseImage,
    directory: str | PathLike,
    *,
    fractions: int,
    prescriptions: Sequence[Prescription] = (),
    patient_from: str | PathLike | None = None,
    replace: bool = False,
    progress: ProgressReport = silent,
    cancel_requested: CancelRequested = never,
) -> None:
    """Write structures and dose of a plan to a folder.

    For a case read from DICOM they refer to the original images, which are not written again. For
    any other case its CT is written too, so that the folder is complete.

    Parameters
    ----------
    case : Case
    dose : DoseImage
        Gy for the whole course.
    directory : path-like
        A new or empty folder.
    fractions : int
    prescriptions : sequence of Prescription
    patient_from : path-like, optional
        An original DICOM file or folder of the case's study: the patient's identity is copied
        from there, so that an archive files the objects under the patient. Without it they are
        anonymous.
    replace, progress, cancel_requested
        As for `write_dicom_case`.

    Raises
    ------
    InputError
        If the folder is not empty, cannot be written, or `patient_from` is another study.
    """
    reference, frame_uid = original_reference(case)
    with _folder(directory, replace) as folder:
        if case.dicom is None:
            _write_ct_and_structures(case, folder, progress, cancel_requested)
        else:
            write_rtstruct(case, folder / STRUCTURES_FILE, patient_from=patient_from)
        write_rtdose(
            case,
            dose,
            folder / DOSE_FILE,
            fractions=fractions,
            prescriptions=prescriptions,
            patient_from=patient_from,
        )
        progress("writing DICOM", 1.0)


def write_rtstruct(
    case: Case, path: str | PathLike, *, patient_from: str | PathLike | None = None
) -> None:
    """Write a case's structures as one RTSTRUCT file.

    It refers to the images that the case was read from, else to those that `write_dicom_case`
    writes. `patient_from` and errors: see `write_dicom_plan`.
    """
    reference, frame_uid = original_reference(case)
    identity = _identity(case, patient_from, reference.study_uid)
    _save(structure_set(case, reference, frame_uid, identity), Path(path))


def write_rtdose(
    case: Case,
    dose: DoseImage,
    path: str | PathLike,
    *,
    fractions: int,
    prescriptions: Sequence[Prescription] = (),
    patient_from: str | PathLike | None = None,
) -> None:
    """Write a dose (Gy for the whole course) as one RTDOSE file.

    It belongs to the study and frame of reference that the case was read from, else to those that
    `write_dicom_case` writes. `patient_from` and errors: see `write_dicom_plan`.
    """
    reference, frame_uid = original_reference(case)
    identity = _identity(case, patient_from, reference.study_uid)
    _save(plan_dose(dose, fractions, prescriptions, reference, frame_uid, identity), Path(path))


def _write_ct_and_structures(
    case: Case, folder: Path, progress: ProgressReport, cancel_requested: CancelRequested
) -> None:
    reference, frame_uid = own_reference(case)
    identity = anonymous_identity(case)
    slices = case.grid.shape[0]
    for index in range(slices):
        check_cancelled(cancel_requested)
        progress("writing DICOM", 0.8 * index / slices)
        _save(
            ct_slice(case, index, reference, frame_uid, identity),
            folder / f"CT{index + 1:04d}.dcm",
        )
    progress("writing DICOM", 0.8)
    _save(structure_set(case, reference, frame_uid, identity), folder / STRUCTURES_FILE)
    progress("writing DICOM", 1.0)


def _identity(case: Case, patient_from: str | PathLike | None, study_uid: str) -> Dataset:
    if patient_from is None:
        return anonymous_identity(case)
    return identity_of(Path(patient_from), study_uid)


@contextmanager
def _folder(directory: str | PathLike, replace: bool) -> Iterator[Path]:
    try:
        with folder_written_by_rename(directory, replace) as folder:
            yield folder
    except OSError as error:
        raise InputError(f"{directory}: cannot be written ({error.strerror})") from error


def _save(dataset: Dataset, path: Path) -> None:
    try:
        with written_by_rename(path) as file:
            dataset.save_as(file, enforce_file_format=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
