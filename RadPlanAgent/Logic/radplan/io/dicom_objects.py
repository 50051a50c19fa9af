"""A case, its structures and a dose as DICOM objects in memory.

Attributes follow the modules of PS3.3 for CT Image (A.3), RT Structure Set (A.19) and RT Dose
(A.18). Every object says that it is for research only; the structure set is UNAPPROVED, and there
is no way to make it anything else.

**Identity.** A case holds no name and no ID. Objects are anonymous (`anonymous_identity`) unless
the caller names an original DICOM file to copy the patient's identity from (`identity_of`).

**Links.** What belongs to a case read from DICOM refers to its study, CT series and images, and
shares its frame of reference. For other cases all UIDs derive from the content of the CT: writing
the same case twice gives the same CT objects, and a dose written later belongs to them.

**Dose without a plan object.** A fluence plan has no RT Plan object to refer to, but RT Dose of
summation type PLAN must refer to one (Referenced RT Plan Sequence, type 1C). A made-up reference
would dangle, and a beamless RT Plan would pretend. PS3.3 C.8.8.3 has a term for a dose that is
described by parameters instead: PLAN_OVERVIEW, with a Plan Overview Sequence that carries label,
fractions and prescription. Readers that look for a plan (SlicerRT) note its absence in their log
and load the dose.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_UP, Decimal
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds

from .. import __version__
from ..case import Case, DicomReference, DoseImage, Structure, StructureType
from ..errors import InputError
from ..geometry import Grid
from ..protocol import Prescription
from .dicom_contours import trace_contours
from .dicom_folder import CONTOUR_DATA, CT_IMAGE, RT_DOSE, RT_STRUCTURE_SET, dicom_file

RESEARCH_TEXT = "RESEARCH USE ONLY - not for clinical use"
#: Class of a study as a whole, retired, still what PS3.3 C.8.8.5 asks for.
STUDY = "1.2.840.10008.3.1.2.3.1"
AXIAL = [1, 0, 0, 0, 1, 0]
#: Attributes that tie an object to a patient and a study.
IDENTITY_KEYWORDS = (
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
OPTIONAL_KEYWORDS = (
    "SpecificCharacterSet",
    "IssuerOfPatientID",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
)
_NOT_TARGETS = {
    StructureType.EXTERNAL: "EXTERNAL",
    StructureType.OAR: "ORGAN",
    StructureType.HELPER: "CONTROL",
}
_DOSE_LEVELS = 65535


def own_reference(case: Case) -> tuple[DicomReference, str]:
    """UIDs for writing a case's CT, and its frame of reference, from the content of the CT."""
    digest = hashlib.sha256()
    digest.update(f"{case.name} {case.grid} {case.patient_position}".encode())
    digest.update(case.frame_of_reference_uid.encode())
    digest.update(np.ascontiguousarray(case.ct_hu))
    content = digest.hexdigest()

    def uid(*what: object) -> str:
        return generate_uid(entropy_srcs=[content, *map(str, what)])

    images = tuple(uid("image", index) for index in range(case.grid.shape[0]))
    reference = DicomReference(uid("study"), uid("series"), images)
    return reference, case.frame_of_reference_uid or uid("frame")


def original_reference(case: Case) -> tuple[DicomReference, str]:
    """UIDs of the images that a case was read from; `own_reference` where there are none."""
    if case.dicom is None or not case.frame_of_reference_uid:
        return own_reference(case)
    return case.dicom, case.frame_of_reference_uid


def anonymous_identity(case: Case) -> Dataset:
    """Patient and study attributes that say only what the case is called."""
    label = re.sub(r"[\\^=]+", " ", case.name).strip()[:40] or "case"
    identity = _identity(Dataset())
    identity.PatientName = f"{label}^Research"
    identity.PatientID = f"RADPLAN-{label}"
    identity.PatientIdentityRemoved = "YES"
    identity.DeidentificationMethod = "identity was never read"
    return identity


def identity_of(path: Path, study_uid: str) -> Dataset:
    """Patient and study attributes of an original DICOM file or of one in a folder.

    Raises
    ------
    InputError
        If there is no DICOM file, or it belongs to another study than the case.
    """
    candidates = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    files = [file for file in map(dicom_file, candidates) if file is not None]
    if not files:
        raise InputError(f"{path}: no DICOM file here to take the patient's identity from")
    for file in files:
        if str(file.header.get("StudyInstanceUID") or "") == study_uid:
            return _identity(file.read())
    raise InputError(f"{path}: belongs to another study than the case; give a file of the CT")


def _identity(original: Dataset) -> Dataset:
    """The identity attributes of an object; those that every object needs empty if missing."""
    identity = Dataset()
    for keyword in IDENTITY_KEYWORDS:
        if keyword in original:
            identity[keyword] = original[keyword]
        elif keyword not in OPTIONAL_KEYWORDS:
            setattr(identity, keyword, "")
    return identity


def ct_slice(
    case: Case, index: int, reference: DicomReference, frame_uid: str, identity: Dataset
) -> Dataset:
    """One CT slice.

    Parameters
    ----------
    case : Case
    index : int
        Slice of the grid, 0 is the most inferior.
    reference : DicomReference
        The UIDs to give.
    frame_uid : str
    identity : Dataset
        Patient and study attributes.

    Raises
    ------
    InputError
        If a value does not fit 16 bits.
    """
    hu = np.rint(case.ct_hu[index])
    if not np.isfinite(hu).all() or hu.min() < -32768 or hu.max() > 32767:
        raise InputError(f"case {case.name}: CT slice {index} has values that DICOM cannot hold")
    dataset = _object(CT_IMAGE, reference.image_uids[index], "CT", reference, frame_uid, identity)
    dataset.SeriesInstanceUID = reference.series_uid
    dataset.SeriesNumber = 1
    dataset.SeriesDescription = f"CT: {RESEARCH_TEXT}"
    dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    dataset.Laterality = ""
    dataset.KVP = None
    dataset.AcquisitionNumber = None
    dataset.InstanceNumber = index + 1
    dataset.PatientPosition = case.patient_position
    _set_plane(dataset, case.grid, index)
    dataset.RescaleIntercept = 0
    dataset.RescaleSlope = 1
    dataset.RescaleType = "HU"
    _set_pixels(dataset, hu.astype("<i2"))
    return dataset


def structure_set(
    case: Case, reference: DicomReference, frame_uid: str, identity: Dataset
) -> Dataset:
    """All structures of a case as contours on its CT slices.

    A structure too thin to be drawn (see `trace_contours`) is listed without contours.
    """
    dataset = _object(RT_STRUCTURE_SET, generate_uid(), "RTSTRUCT", reference, frame_uid, identity)
    dataset.SeriesInstanceUID = generate_uid()
    dataset.SeriesNumber = 2
    dataset.SeriesDescription = f"Structures: {RESEARCH_TEXT}"
    dataset.InstanceNumber = 1
    dataset.StructureSetLabel = "RESEARCH ONLY"
    dataset.StructureSetName = RESEARCH_TEXT
    dataset.StructureSetDescription = RESEARCH_TEXT
    dataset.StructureSetDate = dataset.InstanceCreationDate
    dataset.StructureSetTime = dataset.InstanceCreationTime
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.ReferencedFrameOfReferenceSequence = [_image_references(reference, frame_uid)]
    dataset.StructureSetROISequence = []
    dataset.ROIContourSequence = []
    dataset.RTROIObservationsSequence = []
    for number, structure in enumerate(case.structures, start=1):
        dataset.StructureSetROISequence.append(
            _item(
                ROINumber=number,
                ReferencedFrameOfReferenceUID=frame_uid,
                ROIName=structure.name,
                ROIGenerationAlgorithm="",
            )
        )
        dataset.ROIContourSequence.append(_contour_item(structure, number, case.grid, reference))
        dataset.RTROIObservationsSequence.append(
            _item(
                ObservationNumber=number,
                ReferencedROINumber=number,
                RTROIInterpretedType=_interpreted_type(structure),
                ROIInterpreter="",
            )
        )
    return dataset


def plan_dose(
    dose: DoseImage,
    fractions: int,
    prescriptions: Sequence[Prescription],
    reference: DicomReference,
    frame_uid: str,
    identity: Dataset,
) -> Dataset:
    """The dose of a whole plan that is not itself a DICOM object.

    Stored with 16 bits: the error is at most half of Dose Grid Scaling, which is the highest dose
    divided by 65535 (0.6 mGy for 80 Gy).

    Parameters
    ----------
    dose : DoseImage
        Gy for the whole course.
    fractions : int
    prescriptions : sequence of Prescription
    reference, frame_uid, identity
        See `ct_slice`.
    """
    dataset = _object(RT_DOSE, generate_uid(), "RTDOSE", reference, frame_uid, identity)
    dataset.SeriesInstanceUID = generate_uid()
    dataset.SeriesNumber = 3
    dataset.SeriesDescription = f"Dose: {RESEARCH_TEXT}"
    dataset.InstanceNumber = 1
    dataset.DoseUnits = "GY"
    dataset.DoseType = "PHYSICAL"
    dataset.DoseComment = f"UNAPPROVED. {RESEARCH_TEXT}"
    dataset.DoseSummationType = "PLAN_OVERVIEW"
    dataset.PlanOverviewSequence = [_overview(fractions, prescriptions)]
    _set_plane(dataset, dose.grid, 0)
    frames, spacing = dose.grid.shape[0], dose.grid.spacing_mm[2]
    dataset.NumberOfFrames = frames
    dataset.FrameIncrementPointer = 0x3004000C
    dataset.GridFrameOffsetVector = [_ds(spacing * index) for index in range(frames)]
    scaling = _dose_grid_scaling(float(dose.dose_gy.max()))
    dataset.DoseGridScaling = scaling
    levels = np.rint(dose.dose_gy.astype(np.float64) / float(scaling))
    _set_pixels(dataset, np.clip(levels, 0, _DOSE_LEVELS).astype("<u2"))
    return dataset


def _object(
    sop_class: str,
    uid: str,
    modality: str,
    reference: DicomReference,
    frame_uid: str,
    identity: Dataset,
) -> Dataset:
    """What all objects have: file meta, identity, study, frame of reference, equipment."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    # Implicit VR, as planning systems write: contours may exceed what explicit DS can hold.
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.update(identity)
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = uid
    now = datetime.now()
    dataset.InstanceCreationDate = now.strftime("%Y%m%d")
    dataset.InstanceCreationTime = now.strftime("%H%M%S")
    dataset.Modality = modality
    dataset.StudyInstanceUID = reference.study_uid
    dataset.FrameOfReferenceUID = frame_uid
    dataset.PositionReferenceIndicator = ""
    dataset.OperatorsName = ""
    dataset.Manufacturer = "RadPlanAgent"
    dataset.ManufacturerModelName = "radplan"
    dataset.SoftwareVersions = __version__
    return dataset


def _item(**attributes: object) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def _ds(value: float) -> str:
    """A number as a decimal string of at most 16 characters, the closest there is."""
    return format_number_as_ds(float(value) + 0.0)


def _set_plane(dataset: Dataset, grid: Grid, index: int) -> None:
    x, y, z = grid.origin_mm
    dataset.ImageOrientationPatient = AXIAL
    dataset.ImagePositionPatient = [_ds(x), _ds(y), _ds(z + index * grid.spacing_mm[2])]
    dataset.PixelSpacing = [_ds(grid.spacing_mm[1]), _ds(grid.spacing_mm[0])]
    dataset.SliceThickness = _ds(grid.spacing_mm[2])


def _set_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    """Store 16-bit pixels (…, rows, columns)."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.BitsAllocated = 16
    dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1 if pixels.dtype.kind == "i" else 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"


def _image_references(reference: DicomReference, frame_uid: str) -> Dataset:
    series = _item(
        SeriesInstanceUID=reference.series_uid,
        ContourImageSequence=[
            _item(ReferencedSOPClassUID=CT_IMAGE, ReferencedSOPInstanceUID=uid)
            for uid in reference.image_uids
        ],
    )
    study = _item(
        ReferencedSOPClassUID=STUDY,
        ReferencedSOPInstanceUID=reference.study_uid,
        RTReferencedSeriesSequence=[series],
    )
    return _item(FrameOfReferenceUID=frame_uid, RTReferencedStudySequence=[study])


def _contour_item(
    structure: Structure, number: int, grid: Grid, reference: DicomReference
) -> Dataset:
    if structure.occupancy.grid != grid:
        raise ValueError(f"structure {structure.name} is not on the CT grid")
    item = _item(ReferencedROINumber=number)
    if structure.color is not None:
        item.ROIDisplayColor = list(structure.color)
    contours = []
    for count, contour in enumerate(trace_contours(structure.occupancy), start=1):
        index = round((contour.z_mm - grid.origin_mm[2]) / grid.spacing_mm[2])
        # The same text as in the slice's position, so that a reader finds the slice.
        z = _ds(grid.origin_mm[2] + index * grid.spacing_mm[2])
        data = "\\".join(f"{x:.3f}\\{y:.3f}\\{z}" for x, y in contour.points_mm)
        image = _item(
            ReferencedSOPClassUID=CT_IMAGE, ReferencedSOPInstanceUID=reference.image_uids[index]
        )
        entry = _item(
            ContourImageSequence=[image],
            ContourGeometricType="CLOSED_PLANAR",
            NumberOfContourPoints=len(contour.points_mm),
            ContourNumber=count,
        )
        # As it will lie in the file: making objects of all numbers takes 20 times longer.
        text = data.encode("ascii") + b" " * (len(data) % 2)
        entry[CONTOUR_DATA] = RawDataElement(
            Tag(CONTOUR_DATA), "DS", len(text), text, 0, True, True
        )
        contours.append(entry)
    if contours:
        item.ContourSequence = contours
    return item


def _interpreted_type(structure: Structure) -> str:
    """RT ROI Interpreted Type; a target that is no GTV, CTV or ITV by name is a PTV."""
    if structure.type is not StructureType.TARGET:
        return _NOT_TARGETS[structure.type]
    kind = re.match(r"I?([GC]TV)|(ITV)", structure.name.upper())
    if kind is None:
        return "PTV"
    return kind.group(1) or "CTV"


def _overview(fractions: int, prescriptions: Sequence[Prescription]) -> Dataset:
    return _item(
        PlanOverviewIndex=1,
        RTPlanLabel="RESEARCH ONLY",
        TreatmentSite="",  # must be there, may be empty (type 2)
        TreatmentSiteCodeSequence=[],
        NumberOfFractionsIncluded=fractions,
        PrescriptionOverviewSequence=[
            _item(TotalPrescriptionDose=float(p.dose_gy), EntityLongLabel=p.target)
            for p in prescriptions
        ],
    )


def _dose_grid_scaling(highest_gy: float) -> str:
    """The smallest decimal string of at most 16 characters that lets the dose fit 16 bits."""
    exact = Decimal(max(highest_gy, 1e-3)) / _DOSE_LEVELS
    # d.ddddddddde-dd: ten significant digits, rounded up so that the maximum still fits.
    step = Decimal(1).scaleb(exact.adjusted() - 9)
    return f"{exact.quantize(step, rounding=ROUND_UP):.9e}"
