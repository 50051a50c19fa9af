"""One door for cases: the right reader for what is there, and words for what is not."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from radplan import io as radplan_io
from radplan.case import Case, Structure, StructureType
from radplan.case_file import save_case
from radplan.errors import InputError
from radplan.geometry import Grid, Occupancy
from radplan.io import builtin_cases, load_case


@pytest.fixture
def case():
    grid = Grid((3, 4, 5), (1, 1, 1), (0, 0, 0))
    body = Occupancy.from_array(grid, np.ones(grid.shape, bool))
    return Case(
        "c", grid, np.zeros(grid.shape), (Structure("External", StructureType.EXTERNAL, body),)
    )


def test_session_folder_and_case_file(tmp_path, case):
    save_case(tmp_path / "case.npz", case)
    assert load_case(tmp_path).name == "c"
    assert load_case(str(tmp_path / "case.npz")).name == "c"


def test_progress_starts_and_ends(tmp_path, case):
    save_case(tmp_path / "case.npz", case)
    seen = []
    load_case(tmp_path, lambda stage, fraction: seen.append(fraction))
    assert seen[0] == 0.0
    assert seen[-1] == 1.0


def test_builtin_cases_load():
    pytest.importorskip("pyRadPlan", reason="TG-119 comes with pyRadPlan")
    assert load_case("TG119").name == "TG119"
    assert "tg119" in builtin_cases()


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in builtin_cases() if n.startswith("phantom:")])
def test_phantoms_load(name):
    case = load_case(name)
    assert case.of_type(StructureType.TARGET)
    assert case.external.volume_cc > 1000


def test_nothing_there_names_what_was_looked_for(tmp_path):
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError) as caught:
            load_case(path)
        text = str(caught.value)
        assert str(path) in text
        for word in ("DICOM", "OpenKBP", ".mat", "case.npz", "tg119", "phantom:rectum"):
            assert word in text
        assert "\n" not in text


def test_unknown_builtin_names_those_there_are():
    with pytest.raises(InputError, match="phantom:prostate"):
        load_case("phantom:liver")


def test_file_of_another_kind(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(InputError, match=r"a\.txt: not a file of a known kind"):
        load_case(tmp_path / "a.txt")


def test_folder_without_anything_known(tmp_path):
    pytest.importorskip("pydicom")
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(InputError):
        load_case(tmp_path)


def test_incomplete_openkbp_folder_is_not_taken_for_dicom(tmp_path):
    (tmp_path / "ct.csv").write_text(",data\n1,2.0\n")
    with pytest.raises(InputError, match=r"voxel_dimensions\.csv: file is missing"):
        load_case(tmp_path)


def test_tg119_without_pyradplan_says_what_to_install(monkeypatch):
    monkeypatch.setattr(radplan_io, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install pyRadPlan"):
        load_case("tg119")


def test_tg119_is_found_without_importing_pyradplan(monkeypatch):
    pytest.importorskip("pyRadPlan")
    for name in [n for n in sys.modules if n.partition(".")[0] == "pyRadPlan"]:
        monkeypatch.delitem(sys.modules, name)
    assert radplan_io.tg119_path().is_file()
    assert not any(n.partition(".")[0] == "pyRadPlan" for n in sys.modules)


def test_dicom_without_pydicom_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.dcm").write_bytes(b"")
    for name in [n for n in sys.modules if n.startswith(("pydicom", "radplan.io.dicom"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(InputError, match="pip install pydicom"):
        load_case(tmp_path)
