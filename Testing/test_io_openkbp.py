"""OpenKBP folders: exact numbers, right way up, and clear refusals."""

from __future__ import annotations

import numpy as np
import pytest

from radplan.case import StructureType
from radplan.errors import InputError
from radplan.io import load_case
from radplan.io.openkbp import body_from_ct, read_openkbp_folder

N = 128


def flat_index(posterior: int, left: int, inferior: int) -> int:
    """Index of a voxel so many steps from the most anterior, right and superior one."""
    return (posterior * N + left) * N + inferior


def write_csv(path, rows):
    path.write_text(",data\n" + "".join(f"{i},{v}\n" for i, v in rows))


def block(center, half):
    ranges = [range(c - half, c + half + 1) for c in center]
    return [flat_index(p, q, r) for p in ranges[0] for q in ranges[1] for r in ranges[2]]


@pytest.fixture
def folder(tmp_path):
    """A patient made of a cube of water with an air cavity, a couch below it, and two organs."""
    path = tmp_path / "pt_9"
    path.mkdir()
    (path / "voxel_dimensions.csv").write_text("4.0\n3.0\n2.5\n")
    body = set(block((60, 64, 50), 12))
    cavity = set(block((60, 64, 50), 2))
    couch = {flat_index(p, q, r) for p in (76, 77) for q in range(44, 85) for r in range(30, 70)}
    write_csv(path / "ct.csv", [(i, 1024 + 40) for i in sorted((body - cavity) | couch)])
    write_csv(path / "possible_dose_mask.csv", [(i, "") for i in sorted(body | couch)])
    write_csv(path / "PTV70.csv", [(i, "") for i in block((55, 60, 47), 2)])
    write_csv(path / "LeftParotid.csv", [(i, "") for i in block((60, 73, 44), 1)])
    write_csv(path / "dose.csv", [(flat_index(55, 60, 47), 70.25), (flat_index(60, 73, 44), 12.5)])
    return path


def test_axes_go_to_lps(folder):
    """Posterior is +y, left is +x, superior is +z, with the spacing of each."""
    case = read_openkbp_folder(folder)
    assert case.name == "pt_9"
    assert case.grid.spacing_mm == (3.0, 4.0, 2.5)
    center = np.array(case.grid.center_mm)
    np.testing.assert_allclose(center, 0.0)
    steps = np.array([60 - 63.5, 55 - 63.5, -(47 - 63.5)])
    np.testing.assert_allclose(
        case.structure("PTV_7000").occupancy.centroid_mm, steps * (3.0, 4.0, 2.5), atol=1e-5
    )
    parotid = case.structure("Parotid_L").occupancy.centroid_mm
    assert parotid[0] > center[0]
    assert parotid[2] > case.structure("PTV_7000").occupancy.centroid_mm[2]
    dose = case.imported_plan.dose.dose_gy
    assert dose[N - 1 - 47, 55, 60] == 70.25
    assert dose[N - 1 - 44, 60, 73] == 12.5
    assert np.count_nonzero(dose) == 2


def test_hounsfield_units(folder):
    case = read_openkbp_folder(folder)
    assert case.ct_hu[N - 1 - 50, 50, 64] == 40.0
    assert case.ct_hu[0, 0, 0] == -1024.0


def test_names_types_and_plan(folder):
    case = read_openkbp_folder(folder)
    assert {s.name: s.type for s in case.structures} == {
        "PTV_7000": StructureType.TARGET,
        "Parotid_L": StructureType.OAR,
        "External": StructureType.EXTERNAL,
    }
    plan = case.imported_plan
    assert [b.gantry_angle_deg for b in plan.beams] == list(range(0, 360, 40))
    assert all(
        b.isocenter_mm == pytest.approx(case.structure("PTV_7000").occupancy.centroid_mm)
        for b in plan.beams
    )
    assert plan.fractions == 35
    assert plan.prescription_gy == {"PTV_7000": 70.0}


def test_body_is_the_patient_without_couch_with_cavities(folder):
    """The cube comes back whole but for its corners; nothing of the couch below it."""
    case = read_openkbp_folder(folder)
    body = case.external.occupancy.mask()
    assert body[N - 1 - 50, 60, 64], "air inside belongs to the body"
    assert not body[:, 75:, :].any(), "couch"
    assert 25**3 - 8 <= body.sum() <= 25**3


def test_body_that_touches_the_image_border_stays_whole():
    ct_hu = np.full((6, 40, 40), -1024.0, np.float32)
    ct_hu[:, 10:30, :] = 0.0
    structures = np.zeros(ct_hu.shape, bool)
    structures[3, 20, 20] = True
    body = body_from_ct(ct_hu, np.zeros_like(structures), structures)
    np.testing.assert_array_equal(body, ct_hu == 0.0)


def test_absent_dose_and_empty_organ_are_fine(folder):
    (folder / "dose.csv").unlink()
    write_csv(folder / "Larynx.csv", [])
    case = read_openkbp_folder(folder)
    assert case.imported_plan.dose is None
    assert "Larynx" not in case.names


@pytest.mark.parametrize("name", ["ct", "voxel_dimensions", "possible_dose_mask"])
def test_missing_file_is_named(folder, name):
    (folder / f"{name}.csv").unlink()
    with pytest.raises(InputError, match=rf"{name}\.csv: file is missing"):
        load_case(folder)


def test_no_target_is_refused(folder):
    (folder / "PTV70.csv").unlink()
    with pytest.raises(InputError, match="no target"):
        read_openkbp_folder(folder)


@pytest.mark.parametrize(
    ("file", "rows", "message"),
    [
        ("PTV70", [(5, ""), (N**3, "")], r"PTV70.csv, row 3: voxel index 2097152 is outside"),
        ("PTV70", [(-1, "")], r"PTV70.csv, row 2: .*outside"),
        ("PTV70", [(7, ""), (8, ""), (7, "")], r"PTV70.csv, row 4: .*twice"),
        ("PTV70", [("x", "")], r"PTV70.csv, row 2: 'x' is not a voxel index"),
        ("PTV70", [("1.5", "")], r"row 2: '1.5' is not a voxel index"),
        ("PTV70", [(10**30, "")], r"row 2"),
        ("ct", [(1, 5.0), (2, "nan")], r"ct.csv, row 3: value nan"),
        ("ct", [(1, "")], r"ct.csv, row 2: '' is not a number"),
        ("ct", [(1, "soft")], r"ct.csv, row 2: 'soft' is not a number"),
        ("dose", [(1, 1.0), (2, -0.5)], r"dose.csv, row 3: value -0.5 must be a number ≥ 0"),
        ("dose", [(1, "inf")], r"dose.csv, row 2"),
    ],
)
def test_bad_row_is_named(folder, file, rows, message):
    write_csv(folder / f"{file}.csv", rows)
    with pytest.raises(InputError, match=message):
        read_openkbp_folder(folder)


@pytest.mark.parametrize("text", ["", "4\n3\n", "4\n3\n-2.5\n", "4\n3\nnan\n", "a\nb\nc\n"])
def test_bad_voxel_dimensions(folder, text):
    (folder / "voxel_dimensions.csv").write_text(text)
    with pytest.raises(InputError, match=r"voxel_dimensions\.csv"):
        read_openkbp_folder(folder)


def test_not_text_is_refused(folder):
    (folder / "ct.csv").write_bytes(b"\xff\xfe\x00\x00" * 10)
    with pytest.raises(InputError, match=r"ct\.csv: cannot be read"):
        read_openkbp_folder(folder)


def patient_folders(data_dir):
    folders = sorted((data_dir / "open-kbp").glob("*-pats/pt_*"))
    if not folders:
        pytest.skip(f"no OpenKBP patients below {data_dir}")
    return folders


@pytest.mark.parametrize(
    "names", [{"pt_1", "pt_203", "pt_215"}, pytest.param(None, marks=pytest.mark.slow)]
)
def test_patients_are_the_right_way_up(data_dir, names):
    """Anatomy that holds for everybody, and the data set's own arithmetic."""
    for folder in patient_folders(data_dir):
        if names is not None and folder.name not in names:
            continue
        case = load_case(folder)
        at = {s.name: s.occupancy.centroid_mm for s in case.structures}
        assert at["Parotid_L"][0] > at["SpinalCord"][0] > at["Parotid_R"][0], folder.name
        if "Brainstem" in at:
            assert at["Brainstem"][2] > at["SpinalCord"][2], folder.name
        if "Bone_Mandible" in at:
            assert at["Bone_Mandible"][1] < at["SpinalCord"][1], folder.name
        targets = case.of_type(StructureType.TARGET)
        together = np.sum([t.occupancy.array() for t in targets], axis=0)
        assert together.max() == 1.0, f"{folder.name}: targets overlap"
        dose = case.imported_plan.dose.dose_gy
        body = case.external.occupancy.mask()
        ptv70 = case.structure("PTV_7000").occupancy.mask()
        assert 60.0 < np.percentile(dose[ptv70], 5) < 75.0, folder.name
        assert not (together.astype(bool) & ~body).any(), f"{folder.name}: target outside body"
        # High dose outside the body lies behind it, in the couch, and nowhere else. The scan of
        # pt_203 has wide gaps, through which the outline runs.
        high = np.argwhere((dose > 20) & ~body)
        back = [np.flatnonzero(plane.any(axis=1)).max(initial=-1) for plane in body]
        stray = sum(y <= back[z] for z, y, _ in high)
        assert stray < (0.07 if folder.name == "pt_203" else 0.01) * (dose > 20).sum(), folder.name


def test_numbers_are_those_of_the_files(data_dir):
    """Sums over the files, computed without the reader's mapping."""
    folder = patient_folders(data_dir)[0]
    case = read_openkbp_folder(folder)
    ct = np.loadtxt(folder / "ct.csv", delimiter=",", skiprows=1)
    dose = np.loadtxt(folder / "dose.csv", delimiter=",", skiprows=1)
    assert (case.ct_hu + 1024).sum(dtype=np.float64) == ct[:, 1].sum()
    assert np.count_nonzero(case.ct_hu > -1024) == len(ct)
    assert case.imported_plan.dose.dose_gy.sum(dtype=np.float64) == pytest.approx(
        dose[:, 1].sum(), rel=1e-6
    )
