"""DICOM folders to cases: geometry, structures, plan, dose, and what must be refused."""

from __future__ import annotations

import gzip

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, generate_uid

from radplan.case import StructureType
from radplan.errors import CancelledError, InputError
from radplan.io.dicom_read import read_dicom_folder, read_rtdose
from synthetic_dicom import SIGNS, Roi, SyntheticStudy, change, circle, save, slice_file


@pytest.fixture
def study() -> SyntheticStudy:
    return SyntheticStudy()


def refusal(folder, **options) -> str:
    with pytest.raises(InputError) as error:
        read_dicom_folder(folder, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- geometry -----------------------------------------------------------------------------------


@pytest.mark.parametrize("position", SIGNS)
def test_landmark_lies_at_its_lps_point_in_every_position(tmp_path, position):
    study = SyntheticStudy(position=position)
    study.hu[:] = -1000
    study.hu[3, 25, 8] = 1200  # x = -31, y = 8.25, z = -4.5
    study.rois = [
        Roi("BODY", "EXTERNAL", [circle(25.0, z) for z in study.z_mm]),
        Roi("Bladder", "ORGAN", [circle(4.0, study.z_mm[3], (-12.0, 8.25))]),
    ]
    case = read_dicom_folder(study.write(tmp_path, study.plan(), study.dose()))
    assert case.patient_position == position
    assert case.grid.shape == study.shape
    assert case.grid.spacing_mm == study.spacing_mm
    assert case.grid.origin_mm == study.origin_mm
    z, y, x = (int(round(i)) for i in case.grid.index_of((-31.0, 8.25, -4.5)))
    assert case.ct_hu[z, y, x] == 1200
    np.testing.assert_array_equal(case.ct_hu, study.hu)
    assert case.structure("Bladder").occupancy.centroid_mm == pytest.approx(
        (-12.0, 8.25, -4.5), abs=0.05
    )
    dose = case.imported_plan.dose
    axes = dose.grid.axes_mm
    expected = study.dose_at(axes[2][None, None], axes[1][None, :, None], axes[0][:, None, None])
    np.testing.assert_allclose(dose.dose_gy, expected, atol=6e-4)


def test_values_names_types_and_privacy(tmp_path, study):
    study.rois.append(Roi("Parotid", "ORGAN", [circle(4.0, study.z_mm[3], (-12.0, 8.0))]))
    study.rois.append(Roi("Left thing #3", "CONTROL", [circle(4.0, study.z_mm[3], (0.0, 8.0))]))
    case = read_dicom_folder(study.write(tmp_path, study.plan()))
    assert case.external.source_name == "BODY"
    (target,) = case.of_type(StructureType.TARGET)
    assert target.name == "PTV_5000" and target.source_name == "PTV_50Gy"
    assert target.color == (255, 12, 0)
    assert target.volume_cc == pytest.approx(np.pi * 1.0 * 1.2, rel=0.003)
    assert case.structure("Bladder").type is StructureType.OAR
    # "Parotid" could be left or right: never guessed.
    assert case.structure("Parotid").type is StructureType.OAR
    assert any("Parotid" in w and "could be" in w for w in case.warnings)
    helper = next(s for s in case.structures if s.source_name == "Left thing #3")
    assert helper.type is StructureType.HELPER and "#" not in helper.name
    assert case.dicom.study_uid == study.study_uid
    assert case.dicom.series_uid == study.series_uid
    assert case.dicom.image_uids == tuple(study.image_uids)
    assert case.frame_of_reference_uid == study.frame_uid
    told = repr((case.name, case.warnings, case.imported_plan))
    for secret in ("Doe", "Jane", "SECRET", "1950"):
        assert secret not in told


def test_mapping_overrides_names(tmp_path, study):
    folder = study.write(tmp_path)
    case = read_dicom_folder(folder, mapping={"Bladder": "Rectum", "PTV_50Gy": "PTV_High"})
    assert {"Rectum", "PTV_High"} < set(case.names)
    assert case.structure("Rectum").source_name == "Bladder"
    assert "'Blase'" in refusal(folder, mapping={"Blase": "Bladder"})


def test_padding_and_values_below_air_are_outside(tmp_path, study):
    folder = study.write(tmp_path)
    dataset = pydicom.dcmread(slice_file(folder, 2))
    pixels = dataset.pixel_array.copy()
    pixels[0, :5] = 63
    dataset.PixelData = pixels.tobytes()
    dataset.PixelPaddingValue = 63
    dataset["PixelPaddingValue"].VR = "US"
    save(dataset, slice_file(folder, 2))
    change(slice_file(folder, 4), RescaleIntercept=-5000)
    case = read_dicom_folder(folder)
    assert (case.ct_hu[2, 0, :5] == -1024).all()
    assert case.ct_hu.min() == -1024
    assert case.ct_hu[2, 0, 6] == study.hu[2, 0, 6]


def test_other_series_scouts_and_foreign_files_do_not_disturb(tmp_path, study):
    other = SyntheticStudy()
    for index in range(3):
        save(other.ct_slice(index), tmp_path / "other" / f"{index}")
    scout = study.ct_slice(0)
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.SOPInstanceUID = generate_uid()
    scout.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    save(scout, tmp_path / "scout.dcm")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").write_bytes(b"")
    case = read_dicom_folder(study.write(tmp_path))
    np.testing.assert_array_equal(case.ct_hu, study.hu)


def test_files_without_preamble_are_read(tmp_path, study):
    folder = study.write(tmp_path)
    for index in range(study.shape[0]):
        dataset = pydicom.dcmread(slice_file(folder, index))
        file_meta, dataset.file_meta = dataset.file_meta, None
        with slice_file(folder, index).open("wb") as file:
            pydicom.filewriter.write_dataset(_plain(file), dataset)
        assert file_meta.TransferSyntaxUID
    np.testing.assert_array_equal(read_dicom_folder(folder).ct_hu, study.hu)


def _plain(file):
    from pydicom.filebase import DicomFileLike

    wrapped = DicomFileLike(file)
    wrapped.is_implicit_VR, wrapped.is_little_endian = True, True
    return wrapped


def test_progress_runs_and_cancel_stops(tmp_path, study):
    told = []
    folder = study.write(tmp_path)
    read_dicom_folder(folder, progress=lambda stage, fraction: told.append((stage, fraction)))
    stages = dict.fromkeys(stage for stage, _ in told)
    assert list(stages) == ["reading DICOM headers", "reading CT", "filling contours"]
    assert all(0 <= f <= 1 for _, f in told)
    with pytest.raises(CancelledError):
        read_dicom_folder(folder, cancel_requested=lambda: True)


# --- refused: folders and CT --------------------------------------------------------------------


def test_folder_that_is_not_there_empty_or_incomplete(tmp_path, study):
    assert "no such folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "a").mkdir()
    assert "no DICOM files" in refusal(tmp_path / "a")
    save(study.structure_set(), tmp_path / "b" / "structures")
    assert "no CT images" in refusal(tmp_path / "b")
    for index in range(3):
        save(study.ct_slice(index), tmp_path / "c" / str(index))
    assert "RTSTRUCT" in refusal(tmp_path / "c")


def test_gzipped_files_are_named_as_such(tmp_path, study):
    folder = study.write(tmp_path)
    for path in list((folder / "ct").iterdir()):
        path.with_suffix(".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert "10 files are gzip-compressed" in refusal(folder)


def test_missing_slice(tmp_path, study):
    folder = study.write(tmp_path)
    slice_file(folder, 4).unlink()
    # The structure set lists its images, so even a missing end slice is noticed.
    assert "1 of the 10 images" in refusal(folder)
    rtstruct = pydicom.dcmread(folder / "structures")
    series = rtstruct.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    del series.RTReferencedSeriesSequence[0].ContourImageSequence
    save(rtstruct, folder / "structures")
    text = refusal(folder)
    assert "1 CT slice(s) missing" in text and slice_file(folder, 3).name in text


def test_unequal_spacing(tmp_path, study):
    folder = study.write(tmp_path)
    x, y, z = study.corner(9)
    change(slice_file(folder, 9), ImagePositionPatient=[x, y, z + 1.2])
    text = refusal(folder)
    assert "unequal slice spacing" in text and slice_file(folder, 9).name in text


def test_rounded_positions_are_accepted(tmp_path, study):
    folder = study.write(tmp_path)
    x, y, z = study.corner(5)
    change(slice_file(folder, 5), ImagePositionPatient=[x, y, z + 0.05])
    assert read_dicom_folder(folder).grid.spacing_mm[2] == 3.0


def test_doubled_slice(tmp_path, study):
    folder = study.write(tmp_path)
    copy = study.ct_slice(4)
    copy.SOPInstanceUID = generate_uid()
    save(copy, folder / "again.dcm")
    text = refusal(folder)
    assert "at one position" in text and "again.dcm" in text


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"PixelSpacing": [2.0, 2.0]}, "another pixel spacing"),
        ({"ImageOrientationPatient": [-1, 0, 0, 0, -1, 0]}, "another orientation"),
        ({"RescaleSlope": None}, "RescaleSlope is missing"),
        ({"RescaleIntercept": None}, "RescaleIntercept is missing"),
        ({"ImagePositionPatient": None}, "ImagePositionPatient is missing"),
        ({"FrameOfReferenceUID": "1.2.3"}, "another frame of reference"),
        ({"PixelData": b"\0\0"}, "pixels cannot be read"),
        ({"PixelData": None}, "pixels cannot be read"),
    ],
)
def test_bad_slice_is_named(tmp_path, study, attributes, expected):
    folder = study.write(tmp_path)
    change(slice_file(folder, 6), **attributes)
    text = refusal(folder)
    assert expected in text and slice_file(folder, 6).name in text


def test_slice_of_another_size_is_named(tmp_path, study):
    folder = study.write(tmp_path)
    small = SyntheticStudy(shape=(10, 38, 48))
    small.series_uid, small.frame_uid = study.series_uid, study.frame_uid
    small.image_uids = study.image_uids
    save(small.ct_slice(6), slice_file(folder, 6))
    text = refusal(folder)
    assert "another size" in text and slice_file(folder, 6).name in text


@pytest.mark.filterwarnings("error")
def test_truncated_and_broken_files_are_named(tmp_path, study):
    folder = study.write(tmp_path)
    data = slice_file(folder, 6).read_bytes()
    slice_file(folder, 6).write_bytes(data[:-500])
    assert slice_file(folder, 6).name in refusal(folder)
    slice_file(folder, 6).write_bytes(data[:150] + b"\xff" * 40)
    assert slice_file(folder, 6).name in refusal(folder)


def test_compressed_pixels_without_a_decoder(tmp_path, study):
    folder = study.write(tmp_path)
    dataset = pydicom.dcmread(slice_file(folder, 6))
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51 not really"])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    save(dataset, slice_file(folder, 6))
    text = refusal(folder)
    assert "compressed (JPEG 2000" in text and slice_file(folder, 6).name in text


@pytest.mark.parametrize(
    ("orientation", "position", "expected"),
    [
        ([0, 1, 0, -1, 0, 0], "HFS", "decubitus"),
        ([1, 0, 0, 0, 0, -1], "HFS", "not axial"),
        ([0.995, 0.0998, 0, -0.0998, 0.995, 0], "HFS", "oblique"),
        ([1, 0, 0, 0, 0.985, 0.174], "HFS", "oblique"),
        ([1, 0, 0, 0, 1, 0], "HFDR", "HFDR"),
    ],
)
def test_orientations_that_are_refused(tmp_path, study, orientation, position, expected):
    folder = study.write(tmp_path)
    for index in range(study.shape[0]):
        change(
            slice_file(folder, index),
            ImageOrientationPatient=orientation,
            PatientPosition=position,
        )
    assert expected in refusal(folder)


def test_sheared_stack_is_refused(tmp_path, study):
    folder = study.write(tmp_path)
    for index in range(study.shape[0]):
        x, y, z = study.corner(index)
        change(slice_file(folder, index), ImagePositionPatient=[x, y + 0.5 * index, z])
    assert "sideways" in refusal(folder)


# --- refused or left out: structure sets --------------------------------------------------------


def test_ambiguous_series_are_listed(tmp_path, study):
    folder = study.write(tmp_path)
    rtstruct = pydicom.dcmread(folder / "structures")
    del rtstruct.ReferencedFrameOfReferenceSequence
    save(rtstruct, folder / "structures")
    second = SyntheticStudy()
    second.frame_uid = study.frame_uid
    for index in range(4):
        save(second.ct_slice(index), folder / "second" / str(index))
    text = refusal(folder)
    assert "2 CT series" in text and "10 slices" in text and "4 slices" in text
    assert study.series_uid[-8:] in text


def test_two_structure_sets(tmp_path, study):
    folder = study.write(tmp_path)
    save(SyntheticStudy().structure_set(), folder / "more")
    assert "2 RT structure sets" in refusal(folder)


def test_other_frame_of_reference(tmp_path, study):
    folder = study.write(tmp_path)
    save(SyntheticStudy().structure_set(), folder / "structures")
    assert "frame of reference" in refusal(folder)
    for roi in study.rois:
        roi.frame_uid = "1.2.3.4.99999999"
    save(study.structure_set(), folder / "structures")
    assert "99999999" in refusal(folder)


def test_structures_without_contours_are_left_out_unless_targets(tmp_path, study):
    study.rois.append(Roi("Rectum", "ORGAN"))
    case = read_dicom_folder(study.write(tmp_path / "a"))
    assert "Rectum" not in case.names
    assert "structure Rectum has no contours; left out" in case.warnings
    study.rois.append(Roi("PTV_60Gy", "PTV"))
    assert "PTV_60Gy is a target but has no contours" in refusal(study.write(tmp_path / "b"))


def test_points_and_open_contours_are_ignored_with_a_warning(tmp_path, study):
    study.rois.append(Roi("Iso", "ISOCENTER", [np.array([[0.0, 0.0, 0.0]])], "POINT"))
    study.rois.append(Roi("Wire", "MARKER", [circle(4, 0.0)], "OPEN_PLANAR"))
    case = read_dicom_folder(study.write(tmp_path))
    assert len(case.structures) == 3
    assert any("1 POINT contour(s) ignored" in w for w in case.warnings)
    assert any("1 OPEN_PLANAR contour(s) ignored" in w for w in case.warnings)


def test_contours_in_other_planes(tmp_path, study):
    tilted = circle(4.0, 0.0)
    tilted[:, 2] += 0.2 * tilted[:, 0]
    study.rois.append(Roi("Rectum", "ORGAN", [tilted]))
    case = read_dicom_folder(study.write(tmp_path / "a"))
    assert any("Rectum has contours that are not in axial planes" in w for w in case.warnings)
    study.rois[-1].interpreted_type = "CTV"
    study.rois[-1].name = "CTV"
    assert "not in axial planes" in refusal(study.write(tmp_path / "b"))


def test_contour_data_that_is_not_points(tmp_path, study):
    folder = study.write(tmp_path)
    rtstruct = pydicom.dcmread(folder / "structures")
    contour = rtstruct.ROIContourSequence[2].ContourSequence[0]
    contour.ContourData = list(contour.ContourData)[:-1]
    save(rtstruct, folder / "structures")
    assert "structure Bladder: a contour is not a list" in refusal(folder)


def test_structure_outside_the_ct(tmp_path, study):
    study.rois.append(Roi("Rectum", "ORGAN", [circle(4.0, 900.0)]))
    assert "Rectum lies outside the CT" in refusal(study.write(tmp_path / "a"))
    study.rois[-1] = Roi("Couch", "SUPPORT", [circle(60.0, z) for z in study.z_mm])
    case = read_dicom_folder(study.write(tmp_path / "b"))
    assert any("mm beyond the CT" in w for w in case.warnings)
    study.rois[-1] = Roi("PTV_60Gy", "PTV", [circle(9.0, study.z_mm[4], (44.0, 0.0))])
    assert "PTV_60Gy is a target and reaches" in refusal(study.write(tmp_path / "c"))


def test_two_structures_with_one_name(tmp_path, study):
    contours = study.rois[2].contours
    study.rois.append(Roi("Bladder", "ORGAN", contours))
    assert "both named Bladder" in refusal(study.write(tmp_path / "a"))
    study.rois[-1].name = "Blase (alt)"
    folder = study.write(tmp_path / "b")
    assert "both named Bladder" in refusal(folder, mapping={"Blase (alt)": "Bladder"})
    study.rois[-2:] = [Roi("LT PAROTID", "ORGAN", contours), Roi("Parotid L", "ORGAN", contours)]
    text = refusal(study.write(tmp_path / "c"))
    assert "Parotid_L" in text and "'LT PAROTID'" in text


def test_structure_set_without_structures(tmp_path, study):
    study.rois = []
    assert "no structures" in refusal(study.write(tmp_path))


# --- plan and dose ------------------------------------------------------------------------------


def test_plan_is_imported(tmp_path, study):
    plan = read_dicom_folder(study.write(tmp_path, study.plan(), study.dose())).imported_plan
    assert [b.gantry_angle_deg for b in plan.beams] == [0.0, 120.0, 240.0]
    assert plan.beams[0].isocenter_mm == (1.5, -2.5, 3.5)
    assert plan.fractions == 25
    assert plan.prescription_gy == {"PTV_5000": 50.0}
    assert plan.dose is not None


def test_arcs_electrons_and_loose_prescriptions_are_said(tmp_path, study):
    plan = study.plan()
    plan.BeamSequence[0].ControlPointSequence[1].GantryAngle = 179.0
    plan.BeamSequence[1].RadiationType = "ELECTRON"
    del plan.DoseReferenceSequence[0].ReferencedROINumber
    case = read_dicom_folder(study.write(tmp_path, plan))
    assert [b.gantry_angle_deg for b in case.imported_plan.beams] == [240.0]
    for text in ("beam 1 is an arc", "beam 2 is not a photon beam", "50 Gy belongs to no"):
        assert any(text in w for w in case.warnings)


def test_no_plan_no_dose(tmp_path, study):
    assert read_dicom_folder(study.write(tmp_path)).imported_plan is None


def test_several_plans_are_not_guessed_between(tmp_path, study):
    second = study.plan()
    second.SOPInstanceUID = generate_uid()
    case = read_dicom_folder(study.write(tmp_path, study.plan(), second))
    assert case.imported_plan is None and any("2 plans" in w for w in case.warnings)


def test_absolute_frame_offsets(tmp_path, study):
    dose = study.dose()
    z = float(dose.ImagePositionPatient[2])
    dose.GridFrameOffsetVector = [z + float(v) for v in dose.GridFrameOffsetVector]
    save(study.dose(), tmp_path / "relative.dcm")
    save(dose, tmp_path / "absolute.dcm")
    relative, absolute = (read_rtdose(tmp_path / f"{n}.dcm") for n in ("relative", "absolute"))
    assert relative.grid == absolute.grid
    np.testing.assert_array_equal(relative.dose_gy, absolute.dose_gy)
    dose.GridFrameOffsetVector = [-float(v) for v in study.dose().GridFrameOffsetVector]
    save(dose, tmp_path / "downwards.dcm")
    downwards = read_rtdose(tmp_path / "downwards.dcm")
    assert downwards.grid.origin_mm[2] == pytest.approx(z - 25.0)
    np.testing.assert_array_equal(downwards.dose_gy, relative.dose_gy[::-1])


def test_beam_doses_add_up_when_all_are_there(tmp_path, study):
    doses = [study.dose("BEAM", [number]) for number in (1, 2, 3)]
    case = read_dicom_folder(study.write(tmp_path / "a", study.plan(), *doses))
    one = read_rtdose(tmp_path / "a" / "extra1.dcm")
    np.testing.assert_allclose(case.imported_plan.dose.dose_gy, 3 * one.dose_gy, rtol=1e-6)
    case = read_dicom_folder(study.write(tmp_path / "b", study.plan(), *doses[:2]))
    assert case.imported_plan.dose is None
    assert any("beams 1, 2 of a plan with beams 1, 2, 3" in w for w in case.warnings)


def test_session_dose_is_multiplied_by_the_fractions(tmp_path, study):
    for kind, factor in (("FRACTION", 1), ("FRACTION_SESSION", 25)):
        folder = study.write(tmp_path / kind, study.plan(), study.dose(kind))
        one = read_rtdose(folder / "extra1.dcm")
        dose = read_dicom_folder(folder).imported_plan.dose
        np.testing.assert_allclose(dose.dose_gy, factor * one.dose_gy, rtol=1e-6)


def test_plan_dose_is_preferred_and_partial_doses_are_refused(tmp_path, study):
    doses = [study.dose("PLAN", scaling=2e-3), study.dose("BEAM", [1])]
    case = read_dicom_folder(study.write(tmp_path / "a", study.plan(), *doses))
    assert case.imported_plan.dose.dose_gy.max() == pytest.approx(
        read_rtdose(tmp_path / "a" / "extra1.dcm").dose_gy.max()
    )
    folder = study.write(tmp_path / "b", study.plan(), study.dose("CONTROL_POINT"))
    case = read_dicom_folder(folder)
    assert case.imported_plan.dose is None
    assert any("CONTROL_POINT" in w for w in case.warnings)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"DoseUnits": "RELATIVE"}, "dose units are RELATIVE"),
        ({"DoseUnits": None}, "dose units are missing"),
        ({"DoseType": "ERROR"}, "type ERROR"),
        ({"DoseGridScaling": None}, "DoseGridScaling is missing"),
        ({"DoseGridScaling": -1}, "DoseGridScaling is -1"),
        ({"PixelRepresentation": 1}, "negative"),
        ({"GridFrameOffsetVector": None}, "GridFrameOffsetVector is missing"),
        ({"GridFrameOffsetVector": [0, 5, 10]}, "6 dose planes but 3"),
        ({"GridFrameOffsetVector": [0, 5, 10, 15, 20, 30]}, "not equally spaced"),
        ({"GridFrameOffsetVector": [7, 12, 17, 22, 27, 32]}, "neither 0 nor"),
        ({"ImageOrientationPatient": [0.9, 0.436, 0, -0.436, 0.9, 0]}, "oblique"),
        ({"FrameOfReferenceUID": "1.2.3.4"}, "frame of reference"),
        ({"PixelData": b"\0\0"}, "pixels cannot be read"),
    ],
)
def test_bad_dose_is_named(tmp_path, study, attributes, expected):
    dose = study.dose()
    if "PixelRepresentation" in attributes:
        pixels = dose.pixel_array.copy()
        pixels[0, 0, 0] = 65000
        dose.PixelData = pixels.tobytes()
    folder = study.write(tmp_path, study.plan(), dose)
    change(folder / "extra1.dcm", **attributes)
    text = refusal(folder)
    assert expected in text and "extra1.dcm" in text


def test_reading_a_dose_from_something_else(tmp_path, study):
    folder = study.write(tmp_path)
    with pytest.raises(InputError, match="not a DICOM RT dose"):
        read_rtdose(folder / "structures")
    with pytest.raises(InputError, match="cannot be read"):
        read_rtdose(tmp_path / "none.dcm")
