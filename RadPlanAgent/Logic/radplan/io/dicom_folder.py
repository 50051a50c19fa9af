"""What lies in a DICOM folder: headers without identity, and which objects belong together."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.uid import UID, ImplicitVRLittleEndian

from ..errors import InputError
from ..progress import CancelRequested, ProgressReport, check_cancelled

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2.1"
RT_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
RT_PLAN = "1.2.840.10008.5.1.4.1.1.481.5"

#: Tag of Contour Data.
CONTOUR_DATA = 0x30060050
GZIP_MAGIC = b"\x1f\x8b"

#: The only attributes read while looking through a folder; none identifies the patient.
HEADER_KEYWORDS = [
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "PatientPosition",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "FrameOfReferenceUID",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
]


@dataclass(frozen=True)
class DicomFile:
    """A file and the part of its header that says where it belongs."""

    path: Path
    header: Dataset

    @property
    def uid(self) -> str:
        """SOP instance UID, empty when there is none."""
        return str(self.header.get("SOPInstanceUID") or "")

    @property
    def series_uid(self) -> str:
        """Series UID, empty when there is none."""
        return str(self.header.get("SeriesInstanceUID") or "")

    @property
    def frame_uid(self) -> str:
        """Frame of reference UID, empty when there is none."""
        return str(self.header.get("FrameOfReferenceUID") or "")

    def read(self) -> Dataset:
        """The whole object; `InputError` naming the file when it is damaged."""
        try:
            dataset = pydicom.dcmread(self.path, force=True)
            if "TransferSyntaxUID" not in dataset.file_meta:
                # Files of before 1995 have no meta header and are in the default encoding.
                dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            return dataset
        except Exception as error:  # a damaged file can raise anything
            raise InputError(
                f"{self.path}: cannot be read as DICOM ({_one_line(error)}); export it again"
            ) from error


@dataclass(frozen=True)
class DicomFolder:
    """The DICOM files of a folder and its subfolders, and how many others lie there."""

    path: Path
    files: tuple[DicomFile, ...]
    foreign: int
    gzipped: int

    def of_class(self, sop_class: str) -> tuple[DicomFile, ...]:
        """Files of one SOP class, in order of their paths."""
        return tuple(f for f in self.files if f.header.get("SOPClassUID") == sop_class)

    @cached_property
    def ct_series(self) -> dict[str, tuple[DicomFile, ...]]:
        """CT images by series UID; scout views are left out."""
        series: dict[str, list[DicomFile]] = {}
        for file in self.of_class(CT_IMAGE):
            if "LOCALIZER" not in (file.header.get("ImageType") or ()):
                series.setdefault(file.series_uid, []).append(file)
        return {uid: tuple(files) for uid, files in series.items()}


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom's remarks on unusual values, which quote them, out of the output."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def scan_folder(
    path: Path, progress: ProgressReport, cancel_requested: CancelRequested
) -> DicomFolder:
    """Read the headers of all DICOM files under a folder.

    Parameters
    ----------
    path : Path
    progress, cancel_requested
        See `radplan.progress`.

    Raises
    ------
    InputError
        If it is not a folder, cannot be read, or a DICOM file in it is damaged.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; give the folder that holds the DICOM files")
    try:
        paths = sorted(p for p in path.rglob("*") if p.is_file())
    except OSError as error:
        raise InputError(f"{path}: cannot be listed ({error.strerror})") from error
    files, foreign, gzipped = [], 0, 0
    for number, file in enumerate(paths):
        check_cancelled(cancel_requested)
        progress("reading DICOM headers", number / len(paths))
        found = dicom_file(file)
        if found is not None:
            files.append(found)
        else:
            foreign += 1
            gzipped += _begins_with(file, 0, GZIP_MAGIC)
    progress("reading DICOM headers", 1.0)
    return DicomFolder(path, tuple(files), foreign, gzipped)


def require_ct_and_structures(folder: DicomFolder) -> None:
    """Raise `InputError` saying what a folder lacks to be a case."""
    found = f"{len(folder.files)} DICOM files and {folder.foreign} others"
    hint = (
        f"; {folder.gzipped} files are gzip-compressed, unpack them first"
        if folder.gzipped
        else ""
    )
    if not folder.files:
        raise InputError(f"{folder.path}: no DICOM files here ({folder.foreign} others){hint}")
    if not folder.ct_series:
        if folder.of_class(ENHANCED_CT_IMAGE):
            raise InputError(
                f"{folder.path}: the CT is stored as an enhanced multi-frame image, which is not "
                "read; export it as one file per slice"
            )
        raise InputError(f"{folder.path}: no CT images among {found}{hint}")
    if not folder.of_class(RT_STRUCTURE_SET):
        raise InputError(
            f"{folder.path}: no RT structure set (RTSTRUCT) among {found}{hint}; "
            "export it together with the CT"
        )


def the_structure_set(folder: DicomFolder) -> DicomFile:
    """The one RTSTRUCT of a folder; `InputError` listing them when there are several."""
    found = folder.of_class(RT_STRUCTURE_SET)
    if len(found) > 1:
        names = ", ".join(f"{f.path.relative_to(folder.path)} (UID …{f.uid[-8:]})" for f in found)
        raise InputError(
            f"{folder.path}: {len(found)} RT structure sets ({names}); keep one in the folder"
        )
    return found[0]


def referenced_images(structure_set: Dataset) -> dict[str, set[str]]:
    """Image UIDs by series UID that a structure set says it was drawn on."""
    series: dict[str, set[str]] = {}
    for frame in structure_set.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for entry in study.get("RTReferencedSeriesSequence") or ():
                images = entry.get("ContourImageSequence") or ()
                series.setdefault(str(entry.get("SeriesInstanceUID") or ""), set()).update(
                    str(image.get("ReferencedSOPInstanceUID") or "") for image in images
                )
    return series


def referenced_frames(structure_set: Dataset) -> set[str]:
    """Frames of reference that the structures of a structure set are drawn in."""
    frames = {
        str(roi.get("ReferencedFrameOfReferenceUID") or "")
        for roi in structure_set.get("StructureSetROISequence") or ()
    }
    if not frames - {""}:
        frames = {
            str(frame.get("FrameOfReferenceUID") or "")
            for frame in structure_set.get("ReferencedFrameOfReferenceSequence") or ()
        }
    return frames - {""}


def choose_ct_series(
    folder: DicomFolder, file: DicomFile, structure_set: Dataset
) -> tuple[DicomFile, ...]:
    """The CT series that a structure set was drawn on.

    Raises
    ------
    InputError
        If images of that series are missing, if several series are possible, or if no CT shares
        the frame of reference of the structures.
    """
    series = folder.ct_series
    references = referenced_images(structure_set)
    named = [uid for uid in series if uid in references]
    if not named:
        # Some programs rename series; then the images or the frame of reference must tell.
        images = set().union(*references.values()) if references else set()
        named = [uid for uid, files in series.items() if images & {f.uid for f in files}]
    if not named:
        frames = referenced_frames(structure_set)
        named = [
            uid for uid, files in series.items() if not frames or files[0].frame_uid in frames
        ]
        if not named:
            raise InputError(
                f"{file.path}: the structures refer to frame of reference …"
                f"{_tails(frames)}, but the CT is in …"
                f"{_tails({files[0].frame_uid for files in series.values()})}; "
                "export the CT that they were drawn on"
            )
    if len(named) > 1:
        raise InputError(
            f"{folder.path}: the structures could belong to {len(named)} CT series: "
            f"{'; '.join(_series_text(series[uid]) for uid in named)}; keep one in the folder"
        )
    chosen = series[named[0]]
    missing = references.get(named[0], set()) - {f.uid for f in chosen} - {""}
    if missing and len(missing) < len(references[named[0]]):
        raise InputError(
            f"{folder.path}: {_series_text(chosen)} is incomplete: {len(missing)} of the "
            f"{len(references[named[0]])} images that {file.path.name} refers to are missing; "
            "copy the whole series"
        )
    return chosen


def _series_text(files: tuple[DicomFile, ...]) -> str:
    number = files[0].header.get("SeriesNumber")
    label = f"CT series {number}" if number is not None else "CT series without number"
    return f"{label} ({len(files)} slices, UID …{files[0].series_uid[-8:]})"


def _tails(uids: set[str]) -> str:
    return ", …".join(sorted(uid[-8:] or "(none)" for uid in uids))


def dicom_file(path: Path) -> DicomFile | None:
    """Look at a file's header; None when it is not DICOM.

    Raises
    ------
    InputError
        If the file cannot be opened or is DICOM but damaged.
    """
    has_preamble = _begins_with(path, 128, b"DICM")
    # Old files have none; they start with an element of group 0002 or 0008, low byte first.
    if not has_preamble and not any(
        _begins_with(path, 0, start) for start in (b"\x02\x00", b"\x08\x00")
    ):
        return None
    try:
        header = pydicom.dcmread(
            path, force=True, stop_before_pixels=True, specific_tags=HEADER_KEYWORDS
        )
    except Exception as error:  # a damaged file can raise anything
        raise InputError(
            f"{path}: cannot be read as DICOM ({_one_line(error)}); export it again"
        ) from error
    if header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID"):
        return DicomFile(path, header)
    if has_preamble:
        raise InputError(f"{path}: is DICOM but does not say what it holds; export it again")
    return None


def _begins_with(path: Path, offset: int, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(offset + len(magic))[offset:] == magic
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _one_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__


def decoded_pixels(file: DicomFile, dataset: Dataset):
    """Stored pixel values as an array; `InputError` saying why they cannot be decoded."""
    try:
        return dataset.pixel_array
    except Exception as error:  # decoders raise what they like
        syntax = UID(str(getattr(dataset.file_meta, "TransferSyntaxUID", "") or ""))
        if syntax and not syntax.is_private and syntax.is_valid and _is_compressed(syntax):
            raise InputError(
                f"{file.path}: the pixels are compressed ({syntax.name}) and cannot be decoded "
                "here; export the images uncompressed, or install pylibjpeg with its plug-ins"
            ) from error
        raise InputError(
            f"{file.path}: the pixels cannot be read ({_one_line(error)}); export it again"
        ) from error


def _is_compressed(syntax: UID) -> bool:
    try:
        return bool(syntax.is_compressed)
    except ValueError:
        return False
