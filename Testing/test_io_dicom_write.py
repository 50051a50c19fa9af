"""Cases, structures and doses to DICOM and back, held against validators and other readers."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

from radplan.case import Case, DoseImage, Structure, StructureType
from radplan.errors import CancelledError, InputError
from radplan.geometry import Grid, Occupancy
from radplan.io.dicom_contours import Contour, fill_contours
from radplan.io.dicom_read import read_dicom_folder, read_rtdose
from radplan.io.dicom_write import (
    write_dicom_case,
    write_dicom_plan,
    write_rtdose,
    write_rtstruct,
)
from radplan.protocol import Prescription
from synthetic_dicom import SyntheticStudy

GRID = Grid((24, 70, 80), (1.9, 1.3, 3.0), (-75.05, -44.85, -34.5))
DOSE_GRID = Grid((12, 20, 30), (3.0, 3.3, 2.5), (-40.0, -30.5, -10.25))
#: Resolution of a float32 around 68 Gy.
FLOAT32_GY = 8e-6
PRESCRIPTIONS = (Prescription("PTV_5000", 50.0),)


def ring(radius: float, z: float, center=(0.0, 0.0)) -> Contour:
    angle = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    points_mm = np.column_stack([np.cos(angle), np.sin(angle)]) * radius + np.array(center)
    return Contour(points_mm, float(z))


def make_case(**changes) -> Case:
    """A body, a sphere with a colour, a tube and a two-part organ."""
    z_mm = GRID.axes_mm[0]

    def structure(name, kind, contours, color=None):
        return Structure(name, kind, fill_contours(contours, GRID).occupancy, name, color)

    sphere = [ring(np.sqrt(400 - z * z), z, (8, 3)) for z in z_mm if abs(z) < 20]
    tube = [ring(r, z, (-20, 0)) for z in z_mm[4:16] for r in (18.0, 12.0)]
    pair = [ring(8.0, z, (x, -15)) for z in z_mm[6:14] for x in (25, 48)]
    structures = (
        structure("External", StructureType.EXTERNAL, [ring(42, z) for z in z_mm]),
        structure("PTV_5000", StructureType.TARGET, sphere, (255, 0, 10)),
        structure("Bladder", StructureType.OAR, tube),
        structure("Lungs", StructureType.OAR, pair),
        structure("zRing", StructureType.HELPER, [ring(30, z) for z in z_mm[3:9]]),
    )
    hu = np.random.default_rng(1).integers(-1024, 3000, GRID.shape).astype(np.float32)
    return Case(**{"name": "tube", "grid": GRID, "ct_hu": hu, "structures": structures, **changes})


def make_dose() -> DoseImage:
    dose_gy = np.random.default_rng(2).uniform(0, 68.3, DOSE_GRID.shape).astype(np.float32)
    return DoseImage(DOSE_GRID, dose_gy)


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case()


@pytest.fixture(scope="module")
def dose() -> DoseImage:
    return make_dose()


@pytest.fixture(scope="module")
def folder(case, dose, tmp_path_factory) -> Path:
    """CT, structures and dose of a case that does not come from DICOM."""
    path = tmp_path_factory.mktemp("written") / "plan"
    write_dicom_plan(case, dose, path, fractions=25, prescriptions=PRESCRIPTIONS)
    return path


def dice(first: Occupancy, second: Occupancy) -> float:
    a, b = first.array(), second.array()
    return 2 * np.minimum(a, b).sum() / (a.sum() + b.sum())


# --- round trip ---------------------------------------------------------------------------------


def test_case_reads_back_the_same(case, folder):
    again = read_dicom_folder(folder)
    assert again.grid == case.grid
    np.testing.assert_array_equal(again.ct_hu, case.ct_hu)
    assert again.names == case.names
    assert again.warnings == ()
    for structure in case.structures:
        other = again.structure(structure.name)
        assert other.type is structure.type
        assert other.color == structure.color
        assert other.volume_cc == pytest.approx(structure.volume_cc, rel=0.01)
        assert dice(structure.occupancy, other.occupancy) > 0.98


def test_second_round_trip_changes_next_to_nothing(folder, tmp_path):
    first = read_dicom_folder(folder)
    write_dicom_case(first, tmp_path / "again")
    second = read_dicom_folder(tmp_path / "again")
    assert second.frame_of_reference_uid == first.frame_of_reference_uid
    for structure in first.structures:
        other = second.structure(structure.name)
        assert other.volume_cc == pytest.approx(structure.volume_cc, rel=3e-3)


@pytest.mark.parametrize("position", ["HFP", "FFS"])
def test_patient_position_survives(tmp_path, position):
    write_dicom_case(make_case(patient_position=position), tmp_path / "a")
    assert read_dicom_folder(tmp_path / "a").patient_position == position


def test_awkward_grid_numbers_survive(tmp_path):
    grid = Grid(GRID.shape, (1 / 3, 0.9765625, 2.4999), (-1 / 7, -249.51171875, 1234.56789))
    mask = np.zeros(grid.shape, np.float32)
    mask[3:9, 10:60, 10:60] = 1
    body = Structure("External", StructureType.EXTERNAL, Occupancy.from_array(grid, mask))
    case = make_case(grid=grid, structures=(body,))
    write_dicom_case(case, tmp_path / "a")
    again = read_dicom_folder(tmp_path / "a").grid
    assert again.shape == grid.shape
    np.testing.assert_allclose(again.spacing_mm, grid.spacing_mm, atol=1e-9)
    np.testing.assert_allclose(again.origin_mm, grid.origin_mm, atol=1e-9)


def test_dose_is_kept_to_half_a_step(dose, folder):
    plan = read_dicom_folder(folder).imported_plan
    dataset = pydicom.dcmread(folder / "RTDOSE.dcm")
    step = float(dataset.DoseGridScaling)
    assert plan.dose.grid == DOSE_GRID
    assert np.abs(plan.dose.dose_gy - dose.dose_gy).max() <= step / 2 + FLOAT32_GY
    assert plan.fractions == 25 and plan.prescription_gy == {"PTV_5000": 50.0}
    assert step == pytest.approx(dose.dose_gy.max() / 65535, rel=1e-6)
    assert dataset.pixel_array.max() == 65535


@pytest.mark.parametrize("highest", [0.0, 1e-4, 0.98765, 7.0, 65.535, 123.456789, 9999.9])
def test_dose_scaling_fits_its_text_and_16_bits(case, tmp_path, highest):
    dose_gy = np.zeros(DOSE_GRID.shape, np.float32)
    dose_gy[3, 4, 5] = highest
    path = tmp_path / "dose.dcm"
    write_rtdose(case, DoseImage(DOSE_GRID, dose_gy), path, fractions=1)
    dataset = pydicom.dcmread(path)
    text = dataset.get_item("DoseGridScaling").value
    assert len(text.strip()) <= 16
    step = float(text)
    error = np.abs(read_rtdose(path).dose_gy - dose_gy).max()
    assert error <= step / 2 + 1e-7 * highest


def test_single_slice_dose(case, tmp_path):
    grid = Grid((1, 4, 5), (3.0, 3.0, 2.5), (0.0, 0.0, 1.0))
    dose = DoseImage(grid, np.arange(20, dtype=np.float32).reshape(grid.shape))
    write_rtdose(case, dose, tmp_path / "dose.dcm", fractions=1)
    assert read_rtdose(tmp_path / "dose.dcm").grid == grid


def test_structure_too_thin_to_draw_is_listed_without_contours(case, tmp_path):
    thin = np.zeros(GRID.shape, np.float32)
    thin[4:6, 20:40, 20:40] = 0.3
    structures = (
        *case.structures,
        Structure("Bowel", StructureType.OAR, Occupancy.from_array(GRID, thin)),
    )
    write_dicom_case(make_case(structures=structures), tmp_path / "a")
    assert (
        "structure Bowel has no contours; left out" in read_dicom_folder(tmp_path / "a").warnings
    )


# --- what is in the files -----------------------------------------------------------------------


def test_every_object_says_research_and_unapproved(folder):
    research = "RESEARCH USE ONLY - not for clinical use"
    for path in folder.iterdir():
        assert research in pydicom.dcmread(path).SeriesDescription
    structures = pydicom.dcmread(folder / "RTSTRUCT.dcm")
    assert structures.ApprovalStatus == "UNAPPROVED"
    assert "RESEARCH" in structures.StructureSetLabel
    assert structures.StructureSetDescription == research
    dose = pydicom.dcmread(folder / "RTDOSE.dcm")
    assert "UNAPPROVED" in dose.DoseComment and research in dose.DoseComment
    assert (dose.BitsAllocated, dose.DoseUnits, dose.DoseType) == (16, "GY", "PHYSICAL")
    overview = dose.PlanOverviewSequence[0]
    assert overview.NumberOfFractionsIncluded == 25
    assert overview.TreatmentSite == "" and "TreatmentSiteCodeSequence" in overview
    assert overview.PrescriptionOverviewSequence[0].TotalPrescriptionDose == 50


def test_references_resolve(folder):
    images = {}
    for path in folder.glob("CT*.dcm"):
        dataset = pydicom.dcmread(path)
        images[dataset.SOPInstanceUID] = dataset
    structures = pydicom.dcmread(folder / "RTSTRUCT.dcm")
    dose = pydicom.dcmread(folder / "RTDOSE.dcm")
    frames = {d.FrameOfReferenceUID for d in (*images.values(), structures, dose)}
    studies = {d.StudyInstanceUID for d in (*images.values(), structures, dose)}
    assert len(frames) == len(studies) == 1
    assert len({d.SeriesInstanceUID for d in (*images.values(), structures, dose)}) == 3
    frame = structures.ReferencedFrameOfReferenceSequence[0]
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert {i.ReferencedSOPInstanceUID for i in series.ContourImageSequence} == set(images)
    for roi in structures.ROIContourSequence:
        for contour in roi.ContourSequence:
            image = images[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            z = {float(v) for v in contour.ContourData[2::3]}
            assert z == {float(image.ImagePositionPatient[2])}


def test_same_case_gets_same_images_another_ct_others(case, folder, tmp_path):
    def image_uids(path):
        return {pydicom.dcmread(p).SOPInstanceUID for p in path.glob("CT*.dcm")}

    write_dicom_case(case, tmp_path / "same")
    assert image_uids(tmp_path / "same") == image_uids(folder)
    changed = case.ct_hu.copy()
    changed[0, 0, 0] += 1
    write_dicom_case(make_case(ct_hu=changed), tmp_path / "other")
    assert not image_uids(tmp_path / "other") & image_uids(folder)


@pytest.fixture
def clinical(tmp_path) -> tuple[SyntheticStudy, Path]:
    study = SyntheticStudy()
    return study, study.write(tmp_path / "clinical")


def test_plan_on_original_images_refers_to_them_and_is_anonymous(clinical, tmp_path, dose):
    study, original = clinical
    case = read_dicom_folder(original)
    write_dicom_plan(case, dose, tmp_path / "plan", fractions=5)
    assert sorted(p.name for p in (tmp_path / "plan").iterdir()) == ["RTDOSE.dcm", "RTSTRUCT.dcm"]
    for path in (tmp_path / "plan").iterdir():
        dataset = pydicom.dcmread(path)
        assert dataset.StudyInstanceUID == study.study_uid
        assert dataset.FrameOfReferenceUID == study.frame_uid
        for secret in (b"Doe", b"SECRET-ID", b"19500101"):
            assert secret not in path.read_bytes()
    shutil.copytree(original / "ct", tmp_path / "plan" / "ct")
    again = read_dicom_folder(tmp_path / "plan")
    assert again.dicom == case.dicom
    for structure in case.structures:
        # Traced to voxels of 2 x 1.5 mm: small circles keep their volume, not every edge voxel.
        other = again.structure(structure.name)
        assert other.volume_cc == pytest.approx(structure.volume_cc, rel=0.01)


def test_copy_of_a_clinical_case_has_its_own_images(clinical, tmp_path):
    study, original = clinical
    case = read_dicom_folder(original)
    write_dicom_case(case, tmp_path / "copy")
    copy = read_dicom_folder(tmp_path / "copy")
    assert not set(copy.dicom.image_uids) & set(study.image_uids)
    assert copy.dicom.study_uid != study.study_uid
    assert copy.frame_of_reference_uid == study.frame_uid
    np.testing.assert_array_equal(copy.ct_hu, case.ct_hu)


def test_identity_is_copied_only_on_request_and_from_the_same_study(clinical, tmp_path, dose):
    _, original = clinical
    case = read_dicom_folder(original)
    write_dicom_plan(case, dose, tmp_path / "plan", fractions=5, patient_from=original)
    for path in (tmp_path / "plan").iterdir():
        dataset = pydicom.dcmread(path)
        assert (dataset.PatientName, dataset.PatientID) == ("Doe^Jane", "SECRET-ID")
        assert dataset.StudyID == "S1"
        assert "PatientIdentityRemoved" not in dataset
    other = SyntheticStudy().write(tmp_path / "other")
    with pytest.raises(InputError, match="another study"):
        write_rtstruct(case, tmp_path / "rs.dcm", patient_from=other)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no DICOM file"):
        write_rtstruct(case, tmp_path / "rs.dcm", patient_from=tmp_path / "none")
    assert not (tmp_path / "rs.dcm").exists()


# --- nothing half written -----------------------------------------------------------------------


def test_folder_with_files_is_left_alone_unless_replaced(case, tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    (path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not empty"):
        write_dicom_case(case, path)
    assert [p.name for p in path.iterdir()] == ["mine.txt"]
    write_dicom_case(case, path, replace=True)
    assert not (path / "mine.txt").exists() and (path / "RTSTRUCT.dcm").is_file()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        write_dicom_case(case, tmp_path / "file")


def test_cancel_and_full_disk_leave_nothing(case, tmp_path, monkeypatch):
    calls = iter(range(100))
    with pytest.raises(CancelledError):
        write_dicom_case(case, tmp_path / "out", cancel_requested=lambda: next(calls) > 5)
    assert list(tmp_path.iterdir()) == []

    saved, count = pydicom.Dataset.save_as, iter(range(100))

    def full(self, *args, **kwargs):
        if next(count) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        saved(self, *args, **kwargs)

    monkeypatch.setattr(pydicom.Dataset, "save_as", full)
    with pytest.raises(InputError, match="No space left"):
        write_dicom_case(case, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_hu_that_do_not_fit_are_refused(case, tmp_path):
    hu = case.ct_hu.copy()
    hu[2, 3, 4] = 40000
    with pytest.raises(InputError, match="CT slice 2"):
        write_dicom_case(make_case(ct_hu=hu), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# --- other programs -----------------------------------------------------------------------------


def validator(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed (Debian package dicom3tools)")
    return program


def complaints(program: str, *paths: Path) -> list[str]:
    result = subprocess.run(
        [program, *(["-new"] if "dciodvfy" in program else []), *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0
    return [line for line in (result.stdout + result.stderr).splitlines() if "Error" in line]


@pytest.mark.parametrize("name", ["CT0001.dcm", "CT0024.dcm", "RTSTRUCT.dcm", "RTDOSE.dcm"])
def test_dciodvfy_finds_no_error(folder, name):
    assert complaints(validator("dciodvfy"), folder / name) == []


def test_dciodvfy_finds_no_error_on_original_images(clinical, tmp_path, dose):
    program = validator("dciodvfy")
    _, original = clinical
    case = read_dicom_folder(original)
    for label, source in (("anonymous", None), ("identified", original)):
        write_dicom_plan(case, dose, tmp_path / label, fractions=5, patient_from=source)
        for path in (tmp_path / label).iterdir():
            assert complaints(program, path) == []


def test_dcentvfy_finds_the_set_consistent(folder):
    program = validator("dcentvfy")
    result = subprocess.run(
        [program, *map(str, sorted(folder.iterdir()))], capture_output=True, text=True, check=False
    )
    assert (result.returncode, (result.stdout + result.stderr).strip()) == (0, "")


def test_plastimatch_reads_the_same_volumes_and_dose(case, dose, folder, tmp_path):
    pytest.importorskip("plastimatch", reason="plastimatch is not installed")
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    program = Path(sys.executable).parent / "plastimatch"
    if not program.exists():
        pytest.skip("plastimatch has no command line program here")
    arguments = ["convert", "--input", folder, "--prefix-format", "nrrd"]
    arguments += ["--output-prefix", tmp_path / "structures", "--output-img", tmp_path / "ct.nrrd"]
    arguments += ["--output-dose-img", tmp_path / "dose.nrrd"]
    subprocess.run([program, *arguments], check=True, capture_output=True)
    ct = sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "ct.nrrd"))
    np.testing.assert_array_equal(ct, case.ct_hu)
    image = sitk.ReadImage(tmp_path / "dose.nrrd")
    np.testing.assert_allclose(image.GetOrigin(), DOSE_GRID.origin_mm, atol=1e-5)
    np.testing.assert_allclose(image.GetSpacing(), DOSE_GRID.spacing_mm, atol=1e-5)
    step = dose.dose_gy.max() / 65535
    difference = sitk.GetArrayFromImage(image) - dose.dose_gy
    assert np.abs(difference).max() <= step / 2 + FLOAT32_GY
    for structure in case.structures:
        mask = sitk.ReadImage(tmp_path / "structures" / f"{structure.name}.nrrd")
        filled = sitk.GetArrayFromImage(mask).sum() * np.prod(mask.GetSpacing()) / 1000
        # Whole voxels only: the border voxels' share is the difference.
        assert filled == pytest.approx(structure.volume_cc, rel=0.02)


def test_pyradplan_reads_the_same_case(case, folder):
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    module = pytest.importorskip("pyRadPlan.io.dicom", reason="this pyRadPlan reads no DICOM")
    importer = module.DicomImporter(str(folder))
    ct = importer.load_ct()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ct.cube_hu), case.ct_hu)
    np.testing.assert_allclose(ct.cube_hu.GetOrigin(), GRID.origin_mm, atol=1e-6)
    vois = {voi.name: voi for voi in importer.load_cst(ct).vois}
    for structure in case.structures:
        filled = sitk.GetArrayFromImage(vois[structure.name].mask).sum() * GRID.voxel_volume_cc
        assert filled == pytest.approx(structure.volume_cc, rel=0.02)
