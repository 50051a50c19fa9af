"""RT plan and RT dose objects to what a case keeps of an existing plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset

from ..beams import Beam
from ..case import DoseImage, ImportedPlan
from ..errors import InputError
from ..geometry import Grid
from .dicom_ct import POSITION_TOLERANCE_MM, axis_signs, numbers
from .dicom_folder import RT_DOSE, RT_PLAN, DicomFile, DicomFolder, decoded_pixels

#: Dose summation types that cover a plan in one object, and those that do beam by beam.
PLAN_KINDS = ("PLAN", "PLAN_OVERVIEW", "FRACTION", "FRACTION_SESSION")
BEAM_KINDS = ("BEAM", "BEAM_SESSION")


@dataclass(frozen=True)
class _Dose:
    """An RTDOSE file, its content, and which plan, fraction group and beams it belongs to."""

    file: DicomFile
    dataset: Dataset
    summation: str
    plan_uid: str
    beam_numbers: tuple[int, ...]


def read_plan(
    folder: DicomFolder, structure_set: DicomFile, frame_uid: str, name_of_roi: dict[int, str]
) -> tuple[ImportedPlan | None, tuple[str, ...]]:
    """Beams, prescription and dose that came with a structure set.

    Parameters
    ----------
    folder : DicomFolder
    structure_set : DicomFile
        The RTSTRUCT in use.
    frame_uid : str
        Frame of reference of the CT.
    name_of_roi : dict
        Structure names by ROI number.

    Returns
    -------
    plan : ImportedPlan or None
        None when the folder has neither a plan nor a dose that can be used.
    warnings : tuple of str

    Raises
    ------
    InputError
        If the dose is relative, negative, not finite, oblique, in another frame of reference or
        damaged.
    """
    warnings: list[str] = []
    plan_file, plan = _the_plan(folder, structure_set, warnings)
    doses = [_dose(f) for f in folder.of_class(RT_DOSE)]
    if plan_file is not None:
        doses = [d for d in doses if d.plan_uid in ("", plan_file.uid)]
    group = _fraction_group(plan, warnings) if plan is not None else None
    fractions = int(group.get("NumberOfFractionsPlanned") or 0) or None if group else None
    beams, beam_numbers = _beams(plan, warnings) if plan is not None else ((), ())
    dose = _plan_dose(doses, beam_numbers, fractions, frame_uid, warnings)
    if plan is None and dose is None:
        return None, tuple(warnings)
    if plan is not None:
        prescription = _prescription(plan, name_of_roi, warnings)
    else:
        fractions, prescription = _overview(doses, set(name_of_roi.values()))
    # The plan's own label is free text that may identify the patient.
    return ImportedPlan("imported plan", beams, fractions, prescription, dose), tuple(warnings)


def _the_plan(
    folder: DicomFolder, structure_set: DicomFile, warnings: list[str]
) -> tuple[DicomFile | None, Dataset | None]:
    """The one plan made on the structure set; none, with a warning, when there are several."""
    candidates = []
    plans = folder.of_class(RT_PLAN)
    for file in plans:
        dataset = file.read()
        uids = {
            str(item.get("ReferencedSOPInstanceUID") or "")
            for item in dataset.get("ReferencedStructureSetSequence") or ()
        }
        if not uids or structure_set.uid in uids:
            candidates.append((file, dataset))
    if plans and not candidates:
        warnings.append("the plan belongs to another structure set; not imported")
    if len(candidates) > 1:
        warnings.append(f"{len(candidates)} plans belong to the structure set; none was imported")
    return candidates[0] if len(candidates) == 1 else (None, None)


def _fraction_group(plan: Dataset, warnings: list[str]) -> Dataset | None:
    groups = plan.get("FractionGroupSequence") or ()
    if len(groups) > 1:
        warnings.append("the plan has several fraction groups; its fractions were not imported")
    return groups[0] if len(groups) == 1 else None


def _beams(plan: Dataset, warnings: list[str]) -> tuple[tuple[Beam, ...], tuple[int, ...]]:
    """Static photon treatment beams, and the numbers of all treatment beams."""
    beams, numbers_of_beams = [], []
    for item in plan.get("BeamSequence") or ():
        if str(item.get("TreatmentDeliveryType") or "TREATMENT").upper() != "TREATMENT":
            continue
        number = int(item.get("BeamNumber") or 0)
        numbers_of_beams.append(number)
        where = f"the plan's beam {number}"
        if str(item.get("RadiationType") or "PHOTON").upper() != "PHOTON":
            warnings.append(f"{where} is not a photon beam; not imported")
            continue
        points = item.get("ControlPointSequence") or ()
        angles = {round(float(p.GantryAngle), 3) for p in points if _has(p, "GantryAngle")}
        if len(angles) != 1:
            what = "is an arc" if angles else "has no gantry angle"
            warnings.append(f"{where} {what}; not imported")
            continue
        isocenter = points[0].get("IsocenterPosition")
        if isocenter is None or len(isocenter) != 3:
            warnings.append(f"{where} has no isocentre; not imported")
            continue
        gantry = angles.pop() % 360.0
        couch = float(points[0].get("PatientSupportAngle") or 0.0) % 360.0
        beams.append(
            Beam(
                gantry,
                tuple(float(v) for v in isocenter),
                couch_angle_deg=couch,
                name=f"G{gantry:05.1f}" + (f"T{couch:05.1f}" if couch else ""),
            )
        )
    return tuple(beams), tuple(numbers_of_beams)


def _prescription(
    plan: Dataset, name_of_roi: dict[int, str], warnings: list[str]
) -> dict[str, float]:
    """Prescribed dose by target, Gy for the whole course."""
    prescription: dict[str, float] = {}
    for item in plan.get("DoseReferenceSequence") or ():
        if not _has(item, "TargetPrescriptionDose"):
            continue
        dose = float(item.TargetPrescriptionDose)
        roi = item.get("ReferencedROINumber")
        name = name_of_roi.get(int(roi)) if roi is not None else None
        if name is None:
            warnings.append(f"a prescription of {dose:g} Gy belongs to no structure; not imported")
        elif prescription.get(name, dose) != dose:
            warnings.append(
                f"{name} is prescribed {prescription[name]:g} Gy and {dose:g} Gy; the higher is "
                "kept"
            )
            prescription[name] = max(prescription[name], dose)
        else:
            prescription[name] = dose
    return prescription


def _overview(doses: list[_Dose], names: set[str]) -> tuple[int | None, dict[str, float]]:
    """Fractions and prescription that a dose states itself, as ours do."""
    overviews = [item for dose in doses for item in dose.dataset.get("PlanOverviewSequence") or ()]
    if len(overviews) != 1:
        return None, {}
    entries = overviews[0].get("PrescriptionOverviewSequence") or ()
    prescription = {
        str(entry.EntityLongLabel): float(entry.TotalPrescriptionDose)
        for entry in entries
        if _has(entry, "TotalPrescriptionDose") and entry.get("EntityLongLabel") in names
    }
    return int(overviews[0].get("NumberOfFractionsIncluded") or 0) or None, prescription


def _has(item: Dataset, keyword: str) -> bool:
    return item.get(keyword) not in (None, "")


def _dose(file: DicomFile) -> _Dose:
    dataset = file.read()
    plan_uid, beam_numbers = "", []
    for plan in dataset.get("ReferencedRTPlanSequence") or ():
        plan_uid = str(plan.get("ReferencedSOPInstanceUID") or "")
        for group in plan.get("ReferencedFractionGroupSequence") or ():
            for beam in group.get("ReferencedBeamSequence") or ():
                beam_numbers.append(int(beam.get("ReferencedBeamNumber") or 0))
    return _Dose(
        file,
        dataset,
        str(dataset.get("DoseSummationType") or "").upper(),
        plan_uid,
        tuple(beam_numbers),
    )


def _plan_dose(
    doses: list[_Dose],
    beam_numbers: tuple[int, ...],
    fractions: int | None,
    frame_uid: str,
    warnings: list[str],
) -> DoseImage | None:
    """The dose of the whole plan, from the objects that say so or that add up to it.

    DICOM PS3.3 C.8.8.3: PLAN, FRACTION and BEAM doses are for the entire delivery of the plan, of
    one fraction group and of the beam; FRACTION_SESSION and BEAM_SESSION doses are for a single
    session and are multiplied by the number of fractions. PLAN_OVERVIEW is what
    `radplan.io.dicom_write` uses for the dose of a plan that is not a DICOM object.
    """
    by_kind: dict[str, list[_Dose]] = {}
    for dose in doses:
        if dose.dataset.get("PixelData") is not None:
            by_kind.setdefault(dose.summation, []).append(dose)
    for kind in PLAN_KINDS + BEAM_KINDS:
        found = by_kind.get(kind)
        if not found:
            continue
        problem = _problem(kind, found, beam_numbers, fractions)
        if problem:
            warnings.append(f"{problem}; no dose was imported")
            return None
        factor = fractions if kind.endswith("_SESSION") else 1
        return _sum([(dose, factor) for dose in found], frame_uid)
    if by_kind:
        kinds = ", ".join(kind or "unnamed" for kind in sorted(by_kind))
        warnings.append(f"no dose is of a whole plan (only {kinds}); no dose was imported")
    return None


def _problem(
    kind: str, doses: list[_Dose], beam_numbers: tuple[int, ...], fractions: int | None
) -> str:
    """Why doses of one kind do not make a plan's dose, in words; empty when they do."""
    if kind in PLAN_KINDS and len(doses) > 1:
        return f"{len(doses)} {kind} doses and no way to choose"
    covered = sorted(number for dose in doses for number in dose.beam_numbers)
    if kind in BEAM_KINDS and (not covered or covered != sorted(beam_numbers)):
        return (
            f"{kind} doses for beams {_list(covered)} of a plan with beams {_list(beam_numbers)} "
            "do not add up"
        )
    if kind.endswith("_SESSION") and fractions is None:
        return f"{kind} doses and no number of fractions"
    return ""


def _list(values: Iterable[int]) -> str:
    return ", ".join(str(v) for v in values) or "(none)"


def _sum(parts: list[tuple[_Dose, int]], frame_uid: str) -> DoseImage:
    grid, total = None, None
    for dose, factor in parts:
        image = read_dose(dose.file, dose.dataset, frame_uid)
        if grid is None:
            grid, total = image.grid, image.dose_gy * np.float32(factor)
        elif not grid.matches(image.grid, tolerance_mm=0.01):
            raise InputError(
                f"{dose.file.path}: the beam doses are on different grids; export the plan's dose"
            )
        else:
            total += image.dose_gy * np.float32(factor)
    return DoseImage(grid, total)


def read_dose(file: DicomFile, dataset: Dataset, frame_uid: str) -> DoseImage:
    """The dose of one RTDOSE object, flipped to the patient's axes.

    Parameters
    ----------
    file, dataset : DicomFile, Dataset
    frame_uid : str
        Frame of reference that the dose must be in; empty if not known.

    Returns
    -------
    DoseImage
        Gy, of whatever the object's Dose Summation Type says.

    Raises
    ------
    InputError
        If the dose is relative, negative, not finite, oblique, irregular, in another frame of
        reference or damaged. The file is named.
    """
    where = file.path
    units = str(dataset.get("DoseUnits") or "").upper()
    if units != "GY":
        raise InputError(
            f"{where}: dose units are {units or 'missing'}, not GY; export the dose as absolute "
            "dose"
        )
    if str(dataset.get("DoseType") or "PHYSICAL").upper() == "ERROR":
        raise InputError(f"{where}: holds dose differences (type ERROR), not a dose")
    if frame_uid and file.frame_uid and file.frame_uid != frame_uid:
        raise InputError(
            f"{where}: the dose is in frame of reference …{file.frame_uid[-8:]}, but the CT is in "
            f"…{frame_uid[-8:]}; export the dose on that CT"
        )
    (scaling,) = numbers(dataset, "DoseGridScaling", 1, where)
    if scaling <= 0:
        raise InputError(f"{where}: DoseGridScaling is {scaling:g}; export the dose again")
    stored = decoded_pixels(file, dataset)
    stored = stored[None] if stored.ndim == 2 else stored
    row_spacing, column_spacing = numbers(dataset, "PixelSpacing", 2, where)
    corner = numbers(dataset, "ImagePositionPatient", 3, where)
    signs = axis_signs(dataset, where)
    z = _frame_heights(dataset, corner[2], signs, len(stored), where)
    gaps = np.diff(z)
    if len(z) == 1:
        z_spacing = numbers(dataset, "SliceThickness", 1, where)[0]
    else:
        z_spacing = round(float(z[-1] - z[0]) / len(gaps), 9)
        if z_spacing == 0 or np.abs(gaps - z_spacing).max() > POSITION_TOLERANCE_MM:
            raise InputError(f"{where}: the dose planes are not equally spaced; resample the dose")
    if min(row_spacing, column_spacing, abs(z_spacing)) <= 0:
        raise InputError(f"{where}: the dose grid has no spacing; export the dose again")
    upward = 1 if z_spacing > 0 else -1
    dose_gy = (stored[::upward, :: signs[1], :: signs[0]] * scaling).astype(np.float32)
    _, rows, columns = stored.shape
    grid = Grid(
        stored.shape,
        (column_spacing, row_spacing, abs(z_spacing)),
        (
            corner[0] + min(0.0, signs[0] * column_spacing * (columns - 1)),
            corner[1] + min(0.0, signs[1] * row_spacing * (rows - 1)),
            float(z.min()),
        ),
    )
    try:
        return DoseImage(grid, dose_gy)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _frame_heights(
    dataset: Dataset, first_z: float, signs: tuple[int, int], frames: int, where: object
) -> np.ndarray:
    """Height (patient z) of each dose plane.

    DICOM PS3.3 C.8.8.3.2: offsets that start with zero count along the cross product of row and
    column direction from the first plane; offsets that start with that plane's z are z.
    """
    offsets = dataset.get("GridFrameOffsetVector")
    if offsets is None or offsets == "":
        if frames == 1:
            return np.array([first_z])
        raise InputError(f"{where}: GridFrameOffsetVector is missing; export the dose again")
    offsets = np.atleast_1d(np.array(offsets, dtype=np.float64))
    if offsets.size != frames:
        raise InputError(
            f"{where}: {frames} dose planes but {offsets.size} frame offsets; export it again"
        )
    if abs(offsets[0]) < 1e-6:
        return first_z + signs[0] * signs[1] * offsets
    if abs(offsets[0] - first_z) < POSITION_TOLERANCE_MM:
        return offsets
    raise InputError(
        f"{where}: frame offsets start with {offsets[0]:g}, neither 0 nor the first plane's z "
        f"({first_z:g}); export the dose again"
    )
