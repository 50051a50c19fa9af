"""A case in a file: the same when it comes back, and nothing else is taken for one."""

from __future__ import annotations

import io
import json
import os
import zipfile

import numpy as np
import pytest

from radplan.beams import Beam, make_beams
from radplan.case import Case, DoseImage, ImportedPlan, Structure, StructureType
from radplan.case_file import load_case, save_case
from radplan.errors import InputError
from radplan.files import written_by_rename
from radplan.geometry import Grid, Occupancy

GRID = Grid((5, 6, 7), (1.1, 2.2, 3.3), (-10.1, 20.2, -0.3))


def make_case(ct_hu, **changes):
    rng = np.random.default_rng(3)
    mask = np.zeros(GRID.shape, bool)
    mask[1:4, 2:5, 1:6] = True
    fraction = np.where(mask, rng.random(GRID.shape), 0).astype(np.float32)
    dose_grid = Grid((2, 3, 4), (2.5, 2.5, 2.5), (0.1, 0.2, 0.3))
    fields = {
        "name": "case 1 äß",
        "grid": GRID,
        "ct_hu": ct_hu.astype(np.float32),
        "structures": (
            Structure("PTV", StructureType.TARGET, Occupancy.from_array(GRID, mask), "ptv 1"),
            Structure(
                "Cord", StructureType.OAR, Occupancy.from_array(GRID, fraction), "", (1, 2, 255)
            ),
            Structure("Lens", StructureType.OAR, Occupancy.from_array(GRID, np.zeros_like(mask))),
            Structure("External", StructureType.EXTERNAL, Occupancy.from_array(GRID, mask | True)),
        ),
        "patient_position": "FFS",
        "frame_of_reference_uid": "1.2.3",
        "imported_plan": ImportedPlan(
            "plan a",
            (*make_beams("coplanar5", (0.1, 1 / 3, -7e-5)), Beam(1.5, (0, 1, 2), 90.0, 7.0, "M")),
            28,
            {"PTV": 50.4},
            DoseImage(dose_grid, rng.random(dose_grid.shape).astype(np.float32)),
        ),
        "source": "/somewhere/else",
    }
    return Case(**{**fields, **changes})


INTEGERS = np.arange(GRID.size).reshape(GRID.shape) * 20 - 1024
FRACTIONS = INTEGERS + 0.3
BEYOND_INT16 = INTEGERS * 1000.0


@pytest.mark.parametrize("ct_hu", [INTEGERS, FRACTIONS, BEYOND_INT16, INTEGERS * 0 + 1])
def test_round_trip_is_exact(tmp_path, ct_hu):
    case = make_case(ct_hu)
    save_case(tmp_path / "case.npz", case)
    back = load_case(tmp_path / "case.npz")
    assert back.ct_hu.dtype == np.float32
    np.testing.assert_array_equal(back.ct_hu, case.ct_hu)
    for name in ("name", "grid", "patient_position", "frame_of_reference_uid", "source"):
        assert getattr(back, name) == getattr(case, name)
    for ours, theirs in zip(case.structures, back.structures, strict=True):
        assert (ours.name, ours.type, ours.source_name, ours.color) == (
            theirs.name,
            theirs.type,
            theirs.source_name,
            theirs.color,
        )
        assert ours.occupancy.start == theirs.occupancy.start
        assert theirs.occupancy.values.dtype == np.float32
        assert theirs.occupancy.grid == case.grid
        np.testing.assert_array_equal(ours.occupancy.values, theirs.occupancy.values)
    ours, theirs = case.imported_plan, back.imported_plan
    assert (ours.label, ours.beams, ours.fractions, ours.prescription_gy) == (
        theirs.label,
        theirs.beams,
        theirs.fractions,
        theirs.prescription_gy,
    )
    assert ours.dose.grid == theirs.dose.grid
    assert theirs.dose.dose_gy.dtype == np.float32
    np.testing.assert_array_equal(ours.dose.dose_gy, theirs.dose.dose_gy)


@pytest.mark.parametrize("plan", [None, ImportedPlan(), ImportedPlan(fractions=5)])
def test_parts_of_a_plan_may_be_missing(tmp_path, plan):
    save_case(tmp_path / "case.npz", make_case(INTEGERS, imported_plan=plan, structures=()))
    assert load_case(tmp_path / "case.npz").imported_plan == plan


def test_integers_and_masks_are_stored_small(tmp_path):
    save_case(tmp_path / "case.npz", make_case(INTEGERS))
    with np.load(tmp_path / "case.npz") as file:
        assert file["ct"].dtype == np.int16
        assert file["structure_0"].dtype == np.bool_
        assert file["structure_1"].dtype == np.float32
        assert file["structure_0"].shape == (3, 3, 5)


def test_structure_on_another_grid_is_refused(tmp_path):
    other = Grid(GRID.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    structure = Structure(
        "PTV", StructureType.TARGET, Occupancy.from_array(other, np.ones(GRID.shape, bool))
    )
    with pytest.raises(ValueError, match="PTV is not on the CT grid"):
        save_case(tmp_path / "case.npz", make_case(INTEGERS, structures=(structure,)))
    assert list(tmp_path.iterdir()) == []


def test_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "case.npz"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), written_by_rename(path) as file:
        file.write(b"half of the ne")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_file_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    with written_by_rename(tmp_path / "new" / "file") as file:
        file.write(b"x")
    assert (tmp_path / "new" / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a zip",
        b"PK\x03\x04 and then nothing",
        npz(a=np.zeros(3)),
        npz(meta=np.array("no json")),
        npz(meta=np.array(json.dumps([1, 2]))),
        npz(meta=np.array(json.dumps({"format": "radplan case 1"}))),
        npz(meta=np.array([{"a": 1}], dtype=object)),
    ],
)
def test_what_is_not_ours_is_refused(tmp_path, data):
    (tmp_path / "case.npz").write_bytes(data)
    with pytest.raises(InputError, match=r"case\.npz"):
        load_case(tmp_path / "case.npz")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"case\.npz: no such case file"):
        load_case(tmp_path / "case.npz")


def change_meta(path, change):
    with np.load(path) as file:
        arrays = dict(file)
    meta = json.loads(str(arrays.pop("meta")))
    change(meta, arrays)
    path.write_bytes(npz(meta=np.array(json.dumps(meta)), **arrays))


@pytest.mark.parametrize(
    "change",
    [
        lambda meta, arrays: meta.update(format="radplan case 2"),
        lambda meta, arrays: meta["grid"].update(shape=[5, 6, 8]),
        lambda meta, arrays: meta["structures"][0].update(type="PLAN"),
        lambda meta, arrays: arrays.pop("structure_1"),
        lambda meta, arrays: arrays.pop("imported_dose_gy"),
        lambda meta, arrays: arrays["imported_dose_gy"].fill(-1.0),
        lambda meta, arrays: meta["structures"][1].update(start=[4, 5, 6]),
        lambda meta, arrays: meta["structures"][1].update(name="PTV"),
        lambda meta, arrays: meta["structures"][0].pop("color"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, change):
    path = tmp_path / "case.npz"
    save_case(path, make_case(INTEGERS))
    change_meta(path, change)
    with pytest.raises(InputError):
        load_case(path)


def test_flipped_bytes_never_pass_unnoticed(tmp_path):
    """The archive's checksums cover every array: a damaged one is refused or reads the same."""
    path = tmp_path / "case.npz"
    case = make_case(FRACTIONS)
    save_case(path, case)
    original = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("ct.npy").header_offset
    for offset in range(start, len(original), 37):
        data = bytearray(original)
        data[offset] ^= 0x55
        path.write_bytes(data)
        try:
            back = load_case(path)
        except InputError:
            continue
        np.testing.assert_array_equal(back.ct_hu, case.ct_hu)
