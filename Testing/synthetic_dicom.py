"""A small DICOM RT study made with pydicom alone, to be spoilt by tests of the reader.

Knows nothing of the reader or writer under test.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
RT_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
RT_PLAN = "1.2.840.10008.5.1.4.1.1.481.5"
#: Directions of columns along x and rows along y for each patient position, as scanners write.
SIGNS = {"HFS": (1, 1), "HFP": (-1, -1), "FFS": (-1, 1), "FFP": (1, -1)}


def circle(radius_mm: float, z_mm: float, center=(0.0, 0.0), points: int = 180) -> np.ndarray:
    """Points (n, 3) of a circle in an axial plane, LPS mm."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.column_stack(
        [
            center[0] + radius_mm * np.cos(angle),
            center[1] + radius_mm * np.sin(angle),
            np.full(points, z_mm),
        ]
    )


@dataclass
class Roi:
    """A structure to write: contours are arrays (n, 3), LPS mm."""

    name: str
    interpreted_type: str
    contours: list[np.ndarray] = field(default_factory=list)
    geometric_type: str = "CLOSED_PLANAR"
    frame_uid: str | None = None


@dataclass
class SyntheticStudy:
    """A CT of random HU with a body and a target, in memory until `write`."""

    shape: tuple[int, int, int] = (10, 40, 48)
    spacing_mm: tuple[float, float, float] = (2.0, 1.5, 3.0)
    origin_mm: tuple[float, float, float] = (-47.0, -29.25, -13.5)
    position: str = "HFS"

    def __post_init__(self) -> None:
        self.study_uid, self.series_uid = generate_uid(), generate_uid()
        self.frame_uid, self.structure_uid = generate_uid(), generate_uid()
        self.plan_uid = generate_uid()
        self.image_uids = [generate_uid() for _ in range(self.shape[0])]
        generator = np.random.default_rng(7)
        self.hu = generator.integers(-1000, 1500, self.shape).astype(np.int16)
        self.z_mm = self.origin_mm[2] + self.spacing_mm[2] * np.arange(self.shape[0])
        self.rois = [
            Roi("BODY", "EXTERNAL", [circle(25.0, z) for z in self.z_mm]),
            Roi("PTV_50Gy", "PTV", [circle(10.0, z) for z in self.z_mm[3:7]]),
            Roi("Bladder", "ORGAN", [circle(5.0, z, (12.0, 0.0)) for z in self.z_mm[2:6]]),
        ]

    def ct_slice(self, index: int) -> Dataset:
        """Slice of index along z (from inferior), stored as the patient position demands."""
        column_sign, row_sign = SIGNS[self.position]
        dataset = self._object(CT_IMAGE, self.image_uids[index], "CT", self.series_uid)
        dataset.SeriesNumber = 4
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.PatientPosition = self.position
        dataset.ImageOrientationPatient = [column_sign, 0, 0, 0, row_sign, 0]
        x, y, z = self.corner(index)
        dataset.ImagePositionPatient = [x, y, z]
        dataset.PixelSpacing = [self.spacing_mm[1], self.spacing_mm[0]]
        dataset.SliceThickness = self.spacing_mm[2]
        # Instance numbers against the direction of z: they must not matter.
        dataset.InstanceNumber = self.shape[0] - index
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        stored = self.hu[index][::row_sign, ::column_sign].astype(np.int32) + 1024
        set_pixels(dataset, stored.astype(np.uint16))
        return dataset

    def corner(self, index: int) -> tuple[float, float, float]:
        """LPS position of the first stored pixel of a slice."""
        column_sign, row_sign = SIGNS[self.position]
        x, y, z = self.origin_mm
        if column_sign < 0:
            x += self.spacing_mm[0] * (self.shape[2] - 1)
        if row_sign < 0:
            y += self.spacing_mm[1] * (self.shape[1] - 1)
        return x, y, z + self.spacing_mm[2] * index

    def structure_set(self) -> Dataset:
        """The RTSTRUCT of `rois`."""
        dataset = self._object(RT_STRUCTURE_SET, self.structure_uid, "RTSTRUCT", generate_uid())
        dataset.StructureSetLabel = "SYNTHETIC"
        series = Dataset()
        series.SeriesInstanceUID = self.series_uid
        series.ContourImageSequence = [_reference(CT_IMAGE, uid) for uid in self.image_uids]
        study = _reference("1.2.840.10008.3.1.2.3.1", self.study_uid)
        study.RTReferencedSeriesSequence = [series]
        frame = Dataset()
        frame.FrameOfReferenceUID = self.frame_uid
        frame.RTReferencedStudySequence = [study]
        dataset.ReferencedFrameOfReferenceSequence = [frame]
        dataset.StructureSetROISequence = []
        dataset.ROIContourSequence = []
        dataset.RTROIObservationsSequence = []
        for number, roi in enumerate(self.rois, start=11):
            item, contour_item, observation = Dataset(), Dataset(), Dataset()
            item.ROINumber = number
            item.ROIName = roi.name
            item.ReferencedFrameOfReferenceUID = roi.frame_uid or self.frame_uid
            contour_item.ReferencedROINumber = number
            contour_item.ROIDisplayColor = [255, number, 0]
            contour_item.ContourSequence = []
            for points in roi.contours:
                contour = Dataset()
                contour.ContourGeometricType = roi.geometric_type
                contour.NumberOfContourPoints = len(points)
                contour.ContourData = [f"{v:.4f}" for v in np.asarray(points).ravel()]
                contour_item.ContourSequence.append(contour)
            observation.ReferencedROINumber = number
            observation.RTROIInterpretedType = roi.interpreted_type
            dataset.StructureSetROISequence.append(item)
            dataset.ROIContourSequence.append(contour_item)
            dataset.RTROIObservationsSequence.append(observation)
        return dataset

    def plan(self, gantry_angles=(0.0, 120.0, 240.0), fractions: int = 25) -> Dataset:
        """A plan of static photon beams and a setup beam, 50 Gy to the first target."""
        dataset = self._object(RT_PLAN, self.plan_uid, "RTPLAN", generate_uid())
        dataset.RTPlanLabel = "Doe^Jane secret"
        dataset.ReferencedStructureSetSequence = [_reference(RT_STRUCTURE_SET, self.structure_uid)]
        dose_reference = Dataset()
        dose_reference.DoseReferenceStructureType = "VOLUME"
        dose_reference.DoseReferenceType = "TARGET"
        dose_reference.ReferencedROINumber = 12
        dose_reference.TargetPrescriptionDose = 50
        dataset.DoseReferenceSequence = [dose_reference]
        group = Dataset()
        group.FractionGroupNumber = 1
        group.NumberOfFractionsPlanned = fractions
        dataset.FractionGroupSequence = [group]
        dataset.BeamSequence = []
        for number, angle in enumerate((*gantry_angles, 0.0), start=1):
            beam, first, last = Dataset(), Dataset(), Dataset()
            beam.BeamNumber = number
            beam.RadiationType = "PHOTON"
            is_setup = number > len(gantry_angles)
            beam.TreatmentDeliveryType = "SETUP" if is_setup else "TREATMENT"
            first.GantryAngle, first.PatientSupportAngle = angle, 0
            first.IsocenterPosition = [1.5, -2.5, 3.5]
            beam.ControlPointSequence = [first, last]
            dataset.BeamSequence.append(beam)
        return dataset

    def dose(self, summation: str = "PLAN", beams=(), scaling: float = 1e-3) -> Dataset:
        """A dose that rises linearly along x, y and z; see `dose_at`."""
        column_sign, row_sign = SIGNS[self.position]
        shape, spacing, origin = (6, 9, 11), (4.0, 3.0, 5.0), (-20.0, -12.0, -12.0)
        axes = [origin[2 - a] + spacing[2 - a] * np.arange(shape[a]) for a in range(3)]
        z, y, x = np.meshgrid(*axes, indexing="ij")
        stored = np.rint(self.dose_at(x, y, z) / scaling).astype(np.uint16)
        dataset = self._object(RT_DOSE, generate_uid(), "RTDOSE", generate_uid())
        normal = column_sign * row_sign
        corner = [
            axes[2][0 if column_sign > 0 else -1],
            axes[1][0 if row_sign > 0 else -1],
            axes[0][0 if normal > 0 else -1],
        ]
        dataset.ImagePositionPatient = [float(c) for c in corner]
        dataset.ImageOrientationPatient = [column_sign, 0, 0, 0, row_sign, 0]
        dataset.PixelSpacing = [spacing[1], spacing[0]]
        dataset.SliceThickness = spacing[2]
        dataset.NumberOfFrames = shape[0]
        dataset.FrameIncrementPointer = 0x3004000C
        dataset.GridFrameOffsetVector = [spacing[2] * i for i in range(shape[0])]
        dataset.DoseUnits, dataset.DoseType = "GY", "PHYSICAL"
        dataset.DoseSummationType = summation
        dataset.DoseGridScaling = scaling
        plan = _reference(RT_PLAN, self.plan_uid)
        if beams:
            group = Dataset()
            group.ReferencedFractionGroupNumber = 1
            group.ReferencedBeamSequence = []
            for number in beams:
                beam = Dataset()
                beam.ReferencedBeamNumber = number
                group.ReferencedBeamSequence.append(beam)
            plan.ReferencedFractionGroupSequence = [group]
        dataset.ReferencedRTPlanSequence = [plan]
        set_pixels(dataset, stored[::normal, ::row_sign, ::column_sign])
        return dataset

    @staticmethod
    def dose_at(x, y, z):
        """Gy at an LPS point, mm."""
        return 20.0 + 0.1 * x + 0.2 * y + 0.3 * z

    def write(self, folder: Path, *extra: Dataset) -> Path:
        """Write CT, structure set and what else is given; files named against their order."""
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(self.shape[0]):
            save(self.ct_slice(index), folder / "ct" / f"{(7 * index + 3) % 101:03d}.img")
        save(self.structure_set(), folder / "structures")
        for number, dataset in enumerate(extra):
            save(dataset, folder / f"extra{number}.dcm")
        return folder

    def _object(self, sop_class: str, uid: str, modality: str, series_uid: str) -> Dataset:
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, uid
        dataset.Modality = modality
        dataset.PatientName, dataset.PatientID = "Doe^Jane", "SECRET-ID"
        dataset.PatientBirthDate, dataset.PatientSex = "19500101", "F"
        dataset.StudyDate, dataset.StudyID = "20200102", "S1"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = self.study_uid, series_uid
        dataset.FrameOfReferenceUID = self.frame_uid
        return dataset


def _reference(sop_class: str, uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    return item


def set_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    """Store unsigned 16-bit pixels."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
    dataset["PixelData"].VR = "OW"


def save(dataset: Dataset, path: Path) -> None:
    """Write one file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def change(path: Path, **attributes: object) -> None:
    """Set attributes of a file; those set to None are removed."""
    dataset = pydicom.dcmread(path)
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    save(dataset, path)


def slice_file(folder: Path, index: int) -> Path:
    """The file of a slice, counted from inferior."""
    return folder / "ct" / f"{(7 * index + 3) % 101:03d}.img"
