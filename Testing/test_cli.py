"""The command line: what it does with good and bad input, what it prints where, exit codes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from image_phantom import (
    EXTERNAL,
    FAST,
    GOALS,
    GRID,
    OAR,
    TARGET,
    ball,
    cylinder,
    goal,
    image_phantom,
    protocol,
    structure,
    write_phantom,
    write_protocol,
)
from radplan import planning
from radplan.case import DoseImage, ImportedPlan
from radplan.case_checks import bind, histogram_notes
from radplan.cli import main
from radplan.influence import choose_dose_grid
from radplan.io.nrrd import write_dose
from radplan.protocol_file import protocol_from_dict
from radplan.session_lock import LOCK_NAME
from synthetic_dicom import Roi, SyntheticStudy, change, circle, save, slice_file

DICOM_PROTOCOL = protocol(
    goals=[goal("PTV_5000", "D95%", ">=", 50.0, "Gy")],
    prescriptions=[{"target": "PTV_5000", "dose_gy": 50.0}],
)


def plan_arguments(case, protocol_file, out, *more) -> list[str]:
    return ["plan", str(case), "--protocol", str(protocol_file), "--out", str(out), *FAST, *more]


@pytest.fixture
def plan(tmp_path, phantom_cache):
    """Arguments of a plan of ImagePhantom, with what is given in place of the usual."""

    def arguments(case=None, document=None, out=tmp_path / "out", more=()):
        case = case if isinstance(case, Path) else write_phantom(tmp_path, case)
        file = write_protocol(tmp_path, document)
        return plan_arguments(case, file, out, "--cache", str(phantom_cache), *more)

    return arguments


@pytest.fixture
def without_outputs(monkeypatch):
    """Leaves out what is written after planning, which takes seconds."""
    monkeypatch.setattr(planning, "write_outputs", lambda *_: [])
    monkeypatch.setattr(planning, "write_session_report", lambda *_: None)


@pytest.fixture
def refused(capsys, tmp_path):
    """Runs a command that must fail as bad input does, and returns what it says."""

    def run(arguments, *words):
        before = sorted(tmp_path.rglob("*"))
        assert main([str(a) for a in arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        for word in words:
            assert word in err
        assert sorted(tmp_path.rglob("*")) == before, "something half written is left"
        return err

    return run


# Bad input ---------------------------------------------------------------------------------------


def test_case_that_is_not_there(refused, plan, tmp_path):
    refused(plan(case=tmp_path / "nowhere"), "nowhere", "no such file or folder")


def test_empty_folder(refused, plan, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(plan(case=tmp_path / "empty"), str(tmp_path / "empty"), "is empty")


def test_folder_of_something_else(refused, plan, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "letter.txt").write_text("Dear colleague")
    refused(plan(case=tmp_path / "notes"), str(tmp_path / "notes"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_folder(refused, plan, tmp_path):
    folder = tmp_path / "secret"
    folder.mkdir(mode=0o000)
    try:
        refused(plan(case=folder), str(folder), "cannot be read")
    finally:
        folder.chmod(0o700)


def test_unreadable_folder_by_error(refused, plan, tmp_path, monkeypatch):
    folder = tmp_path / "secret"
    folder.mkdir()

    def denied(self):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    arguments = plan(case=folder)
    usual = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda p: denied(p) if p == folder else usual(p))
    refused(arguments, str(folder), "Permission denied")


@pytest.fixture
def study(tmp_path):
    return SyntheticStudy(), tmp_path / "dicom"


def test_missing_slice(refused, plan, study):
    study, folder = study
    study.write(folder)
    slice_file(folder, 4).unlink()
    refused(plan(case=folder, document=DICOM_PROTOCOL), "missing", "copy the whole series")


def test_unequal_slice_spacing(refused, plan, study):
    study, folder = study
    study.write(folder)
    x, y, z = study.corner(4)
    change(slice_file(folder, 4), ImagePositionPatient=[x, y, z + 1.2])
    refused(plan(case=folder, document=DICOM_PROTOCOL), "unequal slice spacing", "resample")


def test_structures_in_another_frame(refused, plan, study):
    study, folder = study
    study.rois = [replace(roi, frame_uid="1.2.3.4") for roi in study.rois]
    study.write(folder)
    refused(plan(case=folder, document=DICOM_PROTOCOL), "structures", "frame of reference")


def test_structure_outside_the_ct(refused, plan, study):
    study, folder = study
    study.rois.append(Roi("Rectum", "ORGAN", [circle(5.0, 500.0), circle(5.0, 503.0)]))
    study.write(folder)
    refused(plan(case=folder, document=DICOM_PROTOCOL), "Rectum", "outside the CT")


def test_target_without_contours(refused, plan, study):
    study, folder = study
    study.rois[1].contours = []
    study.write(folder)
    refused(plan(case=folder, document=DICOM_PROTOCOL), "PTV_50Gy", "target", "draw it")


def test_two_structures_of_one_name(refused, plan, study):
    study, folder = study
    study.rois.append(Roi("Bladder", "ORGAN", study.rois[2].contours))
    study.write(folder)
    refused(plan(case=folder, document=DICOM_PROTOCOL), "Bladder", "rename one")


def test_target_missing(refused, plan):
    refused(plan(image_phantom(without=("PTV",))), "PTV", "Cord, Gland", "rename one")


def test_target_empty(refused, plan):
    empty = structure("PTV", TARGET, np.zeros(GRID.shape, bool))
    refused(plan(image_phantom(empty)), "target PTV is empty", "draw it")


def test_target_outside_the_body(refused, plan):
    outside = structure("PTV", TARGET, ball((0.0, 75.0, 0.0), 22.0))
    refused(plan(image_phantom(outside)), "target", "% of PTV", "outside BODY", "correct")


def test_body_missing_twice_or_empty(refused, plan):
    refused(plan(image_phantom(without=("BODY",))), "EXTERNAL", "none")
    twice = structure("Skin", EXTERNAL, cylinder(80.0))
    refused(plan(image_phantom(twice)), "EXTERNAL", "BODY, Skin")
    empty = structure("BODY", EXTERNAL, np.zeros(GRID.shape, bool))
    refused(plan(image_phantom(empty)), "EXTERNAL", "BODY", "empty")


def test_ct_that_is_not_numbers(refused, plan):
    case = image_phantom()
    case.ct_hu[3, 20, 20] = np.nan
    refused(plan(case), "CT", "NaN")


def test_must_goal_of_a_structure_that_is_not_there(refused, plan):
    document = protocol(goals=[*GOALS, goal("Rectum", "max", "<=", 40.0, "Gy")])
    refused(plan(document=document), "no Rectum", "must-goal Rectum max ≤ 40 Gy")


def test_must_goal_of_an_empty_structure(refused, plan):
    empty = structure("Cord", OAR, np.zeros(GRID.shape, bool))
    refused(plan(image_phantom(empty)), "Cord is empty", "must-goal Cord max ≤ 45 Gy")


def test_other_goals_of_structures_that_are_not_there_are_told(plan, capsys, without_outputs):
    empty = structure("Lens", OAR, np.zeros(GRID.shape, bool))
    goals = [
        *GOALS,
        goal("Rectum", "max", "<=", 40.0, "Gy", 2),
        goal("Lens", "max", "<=", 5.0, "Gy", 2),
    ]
    arguments = plan(image_phantom(empty), protocol(goals=goals), more=("--iterations", "0"))
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "not evaluable, the case lacks them: Rectum, Lens" in out
    assert "Lens is empty" in err
    assert "of 4 evaluable goals met" in out


def test_prescription_that_does_not_add_up(refused, plan):
    wrong = [{"target": "PTV", "dose_gy": 50.0, "dose_per_fraction_gy": 1.8}]
    refused(plan(document=protocol(prescriptions=wrong)), "protocol.json", "25", "1.8", "50")


def test_names(refused, plan):
    refused(plan(more=("--map", "Gland=Cord")), "two structures are named Cord", "rename one")
    refused(plan(more=("--map", "Spleen=Gland")), "no structure 'Spleen'", "Gland")
    refused(plan(more=("--map", "Gland")), "--map 'Gland'", "CASE_NAME=NAME")
    refused(plan(more=("--map", "Gland=A", "--map", "Gland=B")), "already renamed to A")


def test_mat_that_is_not_a_plan(refused, plan, tmp_path):
    savemat(tmp_path / "other.mat", {"measurement": np.arange(3)})
    refused(plan(case=tmp_path / "other.mat"), "other.mat")
    (tmp_path / "text.mat").write_text("not a matrix")
    refused(plan(case=tmp_path / "text.mat"), "text.mat")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"{}"])
def test_damaged_case_file(refused, plan, tmp_path, content):
    (tmp_path / "broken.npz").write_bytes(content)
    refused(plan(case=tmp_path / "broken.npz"), "broken.npz", "damaged")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--protocol", "prostate_60_21", ("prostate_60_21", "did you mean prostate_60_20?")),
        ("--planner", "oracle", ("planner 'oracle'", "rules")),
        ("--beams", "coplanar8", ("coplanar8", "coplanar9", "0,40,80")),
        ("--beams", "0,0,40", ("0,0,40", "differ")),
        ("--bixel-width-mm", "0.1", ("beamlet width", "0.1")),
    ],
)
def test_unknown_choices(refused, plan, option, value, words):
    arguments = plan()
    position = arguments.index(option) if option in arguments else None
    if position is None:
        arguments += [option, value]
    else:
        arguments[position + 1] = value
    refused(arguments, *words)


def test_unknown_builtin_case(refused, plan):
    arguments = plan()
    arguments[1] = "phantom:elbow"
    refused(arguments, "phantom:elbow", "phantom:prostate")


def test_out_that_cannot_be_used(refused, plan, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    refused(plan(out=file), str(file), "is a file")
    refused(plan(out=file / "below"), str(file / "below"), "cannot be written")
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "thesis.doc").write_text("mine")
    refused(plan(out=folder), str(folder), "not empty")
    refused(plan(out=folder, more=("--overwrite",)), "no session")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_out_without_permission(refused, plan, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    refused(plan(out=tmp_path / "locked" / "out"), "locked", "cannot be written")


def test_verbose_tells_more(plan, capsys, tmp_path):
    assert main([*plan(case=tmp_path / "nowhere"), "-v"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert "Traceback" in err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["paint"],
        ["plan", "case"],
        ["plan", "c", "--protocol", "p", "--out", "o", "--iterations", "-1"],
        ["plan", "c", "--protocol", "p", "--out", "o", "--iterations", "many"],
        ["plan", "c", "--protocol", "p", "--out", "o", "--spacing-mm", "0"],
        ["plan", "c", "--protocol", "p", "--out", "o", "--spacing-mm", "nan"],
    ],
)
def test_bad_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err


# The disk is full --------------------------------------------------------------------------------


def disk_full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some file")


def test_disk_full_in_the_cache(refused, plan, tmp_path, monkeypatch):
    arguments = plan()
    arguments[arguments.index("--cache") + 1] = str(tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    # Told before the dose engine begins, after the line on how much memory it will take.
    assert main(arguments) == 2
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("what", ["save_case", "write_json"])
def test_disk_full_at_the_start(plan, tmp_path, monkeypatch, capsys, what):
    monkeypatch.setattr(f"radplan.session_folder.{what}", disk_full)
    assert main(plan()) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "No space left" in last
    assert "free space" in last
    assert not (tmp_path / "out").exists()


def test_disk_full_keeps_the_session_that_was_to_be_replaced(
    plan, tmp_path, monkeypatch, without_outputs
):
    assert main(plan(more=("--iterations", "0"))) == 0
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    monkeypatch.setattr("radplan.session_folder.write_json", disk_full)
    assert main(plan(more=("--overwrite",))) == 2
    assert {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("what", ["write_dvh_csv", "os.replace"])
def test_disk_full_in_a_step(plan, tmp_path, monkeypatch, capsys, without_outputs, what):
    out = tmp_path / "out"
    arguments = plan(more=("--iterations", "1"))
    with monkeypatch.context() as patched:
        usual = os.replace
        fail = disk_full
        if what == "os.replace":
            # The last moment: everything is written and takes its name.
            fail = lambda a, b: disk_full() if Path(b).name == "001" else usual(a, b)  # noqa: E731
        else:
            from radplan import session_folder

            write = session_folder.write_dvh_csv
            fail = lambda p, *a: disk_full() if "001" in str(p) else write(p, *a)  # noqa: E731
        patched.setattr(f"radplan.session_folder.{what}", fail)
        assert main(arguments) == 2
    err = capsys.readouterr().err
    assert "steps/001" in err.splitlines()[-1]
    assert "radplan resume" in err.splitlines()[-1]
    assert sorted(p.name for p in (out / "steps").iterdir()) == ["000"]
    assert json.loads((out / "session.json").read_text())["state"] == "failed"
    assert main(["resume", str(out)]) == 0
    assert sorted(p.name for p in (out / "steps").iterdir()) == ["000", "001"]


@pytest.mark.parametrize("what", ["write_dose", "write_scene", "write_dvh_csv"])
def test_disk_full_while_results_are_written(plan, tmp_path, monkeypatch, capsys, what):
    for slow in ("write_scene", "write_dose"):
        monkeypatch.setattr(f"radplan.outputs.{slow}", lambda *_, **__: None)
    monkeypatch.setattr(f"radplan.outputs.{what}", disk_full)
    monkeypatch.setattr("radplan.io.dicom_write.write_dicom_plan", lambda *_, **__: None)
    assert main(plan(more=("--iterations", "0"))) == 2
    assert "No space left" in capsys.readouterr().err.splitlines()[-1]
    out = tmp_path / "out"
    assert json.loads((out / "session.json").read_text())["state"] == "failed"
    assert [p.name for p in out.glob("**/.*")] == [LOCK_NAME]
    assert main(["report", str(out)]) == 2
    assert "radplan resume" in capsys.readouterr().err


@pytest.mark.slow
def test_damaged_cache_is_computed_again(plan, tmp_path, phantom_cache, capsys, caplog):
    cache = tmp_path / "cache"
    shutil.copytree(phantom_cache, cache)
    (data,) = cache.glob("*/data.npy")
    content = bytearray(data.read_bytes())
    content[-5] ^= 1
    data.write_bytes(content)
    arguments = plan(more=("--iterations", "0"))
    arguments[arguments.index("--cache") + 1] = str(cache)
    assert main(arguments) == 0
    assert "damaged influence matrix" in caplog.text
    assert data.read_bytes() != bytes(content)


# Good input --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def session(tmp_path_factory, phantom_cache):
    """A finished session with all its outputs, made with a relative --out; not to be changed."""
    folder = tmp_path_factory.mktemp("session")
    case, file = write_phantom(folder), write_protocol(folder)
    arguments = plan_arguments(case, file, "out", "--cache", str(phantom_cache))
    command = [sys.executable, "-m", "radplan.cli", *arguments, "--iterations", "3"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return folder / "out", done


def test_plan_writes_the_session_folder(session):
    out, done = session
    assert done.returncode == 0, done.stderr
    names = {p.name for p in out.iterdir()} - {"scene.mrb", LOCK_NAME}
    assert names == {
        *("session.json", "audit.jsonl", "case.npz", "steps", "scorecard.json", "dvh.csv"),
        *("dose.nrrd", "dicom", "figures", "report.html"),
    }
    assert json.loads((out / "session.json").read_text())["state"] == "done"
    assert sorted(p.name for p in (out / "steps").iterdir()) == ["000", "001", "002", "003"]


def test_plan_prints_results_to_stdout_and_the_rest_to_stderr(session):
    out, done = session
    assert "4 of 4 evaluable goals met, all must-goals" in done.stdout
    assert f"Report: {out / 'report.html'}" in done.stdout
    assert "RESEARCH USE ONLY" in done.stdout
    assert "step  0 [kept]" not in done.stdout
    steps = [line for line in done.stderr.splitlines() if line.startswith("step ")]
    assert len(steps) == 4
    assert "\r" not in done.stderr


def test_report_is_written_anew(session, tmp_path, capsys):
    out = tmp_path / "copy"
    shutil.copytree(session[0], out)
    (out / "report.html").unlink()
    assert main(["report", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out / "report.html")
    report = (out / "report.html").read_text()
    assert "UNAPPROVED" in report and "unless its oversampling is 1" in report


def test_report_of_no_session(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(["report", tmp_path / "empty"], "no session folder")
    refused(["resume", tmp_path / "empty"], "no session folder")


def test_session_is_a_case(session, tmp_path, capsys):
    file = write_protocol(tmp_path)
    dose = ["--dose", str(session[0] / "dose.nrrd")]
    assert main(["evaluate", str(session[0]), *dose, "--protocol", str(file)]) == 0
    assert "4 of 4" in capsys.readouterr().out


def test_exported_dicom_gets_the_same_scorecard(session, tmp_path, capsys):
    file = write_protocol(tmp_path)
    names = ["evaluate", str(session[0] / "dicom"), "--dose", "imported"]
    card = tmp_path / "scorecard.json"
    assert main([*names, "--protocol", str(file), "--out", str(card)]) == 0
    stored = json.loads((session[0] / "scorecard.json").read_text())
    for ours, theirs in zip(json.loads(card.read_text())["goals"], stored["goals"], strict=True):
        assert ours["achieved"] == pytest.approx(theirs["achieved"], abs=0.05)
        assert ours["met"] == theirs["met"]


def test_existing_session_is_not_overwritten_unasked(refused, session, tmp_path):
    case, file = write_phantom(tmp_path), write_protocol(tmp_path)
    refused(plan_arguments(case, file, session[0]), "radplan resume", "--overwrite")


def test_overwriting_keeps_what_is_not_the_sessions(plan, tmp_path, without_outputs):
    out = tmp_path / "out"
    assert main(plan(more=("--iterations", "1"))) == 0
    (out / "thesis.doc").write_text("mine")
    assert main(plan(more=("--iterations", "0", "--overwrite"))) == 0
    assert sorted(p.name for p in (out / "steps").iterdir()) == ["000"]
    assert (out / "thesis.doc").read_text() == "mine"


def test_no_iterations_means_the_first_plan(plan, tmp_path, capsys, without_outputs):
    assert main(plan(more=("--iterations", "0"))) == 0
    assert [p.name for p in (tmp_path / "out" / "steps").iterdir()] == ["000"]
    assert "0 steps allowed are used up" in capsys.readouterr().out


def test_unmet_must_goal(plan, capsys, tmp_path, without_outputs):
    document = protocol(goals=[*GOALS, goal("Gland", "max", "<=", 5.0, "Gy")])
    assert main(plan(document=document, more=("--iterations", "3"))) == 3
    assert "not all must-goals" in capsys.readouterr().out
    session = json.loads((tmp_path / "out" / "session.json").read_text())
    (sentence,) = [s for s in session["unmet"] if s.startswith("Gland max")]
    assert "priority 1" in sentence


def test_prescribed_structure_is_a_target_whatever_its_type(plan, tmp_path, without_outputs):
    organ = replace(image_phantom().structure("PTV"), type=OAR)
    assert main(plan(image_phantom(organ), more=("--iterations", "0"))) == 0
    objectives = json.loads((tmp_path / "out" / "steps" / "000" / "objectives.json").read_text())
    assert not [o for o in objectives if "PTV" in o["structure"] and o["function"] == "mean_dose"]


def test_organ_outside_the_body_is_told(plan, capsys, without_outputs):
    organ = structure("Hand", OAR, ball((85.0, 85.0, 0.0), 10.0))
    assert main(plan(image_phantom(organ), more=("--iterations", "0"))) == 0
    assert "100 % of Hand lies outside BODY" in capsys.readouterr().err


def test_targets_of_whole_dose_voxels_are_told(plan, capsys, without_outputs):
    """SlicerRT's histograms sample between the centres of these voxels, ours do not."""
    assert main(plan(more=("--iterations", "0"))) == 0
    assert "PTV: made of whole dose voxels" in capsys.readouterr().err
    case = image_phantom()
    ptv = case.structure("PTV")
    half = replace(ptv.occupancy, values=ptv.occupancy.values * np.float32(0.5))
    outlined = case.with_structures((case.external, replace(ptv, occupancy=half)))
    document = protocol_from_dict(protocol(goals=GOALS[:1]))
    for other, spacing_mm in ((case, 4.0), (outlined, 5.0)):
        grid = choose_dose_grid(other, spacing_mm)
        assert not histogram_notes(*bind(other, document), grid)


# Any dose ----------------------------------------------------------------------------------------


def even_dose(level_gy=50.0, grid=GRID) -> DoseImage:
    return DoseImage(grid, np.full(grid.shape, level_gy, np.float32))


def evaluate(folder, dose_gy: np.ndarray | DoseImage, *more, case=None) -> list[str]:
    image = dose_gy if isinstance(dose_gy, DoseImage) else DoseImage(GRID, dose_gy)
    write_dose(folder / "dose.nrrd", image)
    names = ["evaluate", write_phantom(folder, case), "--dose", folder / "dose.nrrd"]
    return [str(a) for a in (*names, "--protocol", write_protocol(folder), *more)]


def test_evaluate(tmp_path, capsys):
    assert main(evaluate(tmp_path, even_dose(50.0))) == 3
    out, err = capsys.readouterr()
    assert err == ""
    assert "MISSED  1     Cord" in out
    assert "met     1     PTV        D95% ≥ 50 Gy" in out


def test_evaluate_normalized(tmp_path, capsys):
    assert main(evaluate(tmp_path, even_dose(20.0), "--normalize")) == 3
    line = next(x for x in capsys.readouterr().out.splitlines() if "D95% ≥ 50 Gy" in x)
    assert "50.00 Gy" in line
    assert line.startswith("met")


def test_evaluate_imported(tmp_path, capsys):
    case = replace(image_phantom(), imported_plan=ImportedPlan(dose=even_dose(40.0)))
    arguments = evaluate(tmp_path, even_dose(), case=case)
    arguments[arguments.index("--dose") + 1] = "imported"
    assert main(arguments) == 3
    assert "40.00 Gy" in capsys.readouterr().out


def test_evaluate_nothing_imported(refused, tmp_path):
    arguments = evaluate(tmp_path, even_dose())
    arguments[arguments.index("--dose") + 1] = "imported"
    refused(arguments, "phantom.npz", "without a dose")


def test_evaluate_no_dose_in_the_target(refused, tmp_path):
    dose = even_dose().dose_gy.copy()
    dose[:, 15:25] = 0
    refused(evaluate(tmp_path, dose, "--normalize"), "PTV gets no dose")


def test_evaluate_dose_beside_the_target(refused, tmp_path):
    beside = even_dose(grid=replace(GRID, origin_mm=(0.0, 0.0, 0.0)))
    refused(evaluate(tmp_path, beside), "dose.nrrd", "target PTV", "outside the dose grid")


def test_evaluate_dose_in_another_frame(refused, tmp_path):
    study = SyntheticStudy()
    study.write(tmp_path / "dicom")
    dose = study.dose()
    dose.FrameOfReferenceUID = "1.2.3.4"
    save(dose, tmp_path / "RD")  # the name says nothing
    names = ["evaluate", tmp_path / "dicom", "--dose", tmp_path / "RD"]
    file = write_protocol(tmp_path, DICOM_PROTOCOL)
    refused([*names, "--protocol", file], "RD", "frame of reference")


@pytest.mark.parametrize("value", [np.nan, -1.0, np.inf])
def test_dose_that_is_none(refused, tmp_path, value, monkeypatch):
    monkeypatch.setattr(DoseImage, "__post_init__", lambda self: None)
    dose = even_dose().dose_gy.copy()
    dose[2, 20, 20] = value
    arguments = evaluate(tmp_path, dose)
    monkeypatch.undo()
    word = "negative" if value < 0 else "NaN"
    refused(arguments, "dose.nrrd", word)
    table = ["--structures", tmp_path / "phantom.npz", "--out", tmp_path / "dvh.csv"]
    refused(["dvh", "--dose", tmp_path / "dose.nrrd", *table], "dose.nrrd", word)


def test_dvh(tmp_path, capsys):
    evaluate(tmp_path, even_dose(30.0))
    table = ["--structures", str(tmp_path / "phantom.npz"), "--out", str(tmp_path / "dvh.csv")]
    dose = ["dvh", "--dose", str(tmp_path / "dose.nrrd"), *table]
    assert main([*dose, "--metrics", "D95%,V20Gy,mean"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == "structure volume_cc D95% [Gy] V20Gy [%] mean [Gy]".split()
    assert next(line for line in lines if line.startswith("PTV")).endswith("100.000     30.000")
    assert (tmp_path / "dvh.csv").read_text().startswith("dose_gy,BODY,PTV,Cord")


def test_dvh_bad_metrics(refused, tmp_path):
    evaluate(tmp_path, even_dose())
    table = ["--structures", tmp_path / "phantom.npz", "--out", tmp_path / "dvh.csv"]
    dose = ["dvh", "--dose", tmp_path / "dose.nrrd", *table, "--metrics"]
    refused([*dose, "D95"], "D95")
    refused([*dose, "HI"], "prescription", "radplan evaluate")


def test_dvh_of_real_data(data_dir, tmp_path, capsys):
    eclipse = data_dir / "eclipse-prostate"
    if not eclipse.is_dir():
        pytest.skip(f"no {eclipse}")
    dose = ["--dose", str(eclipse / "EclipseProstate_Dose.nrrd")]
    structures = ["--structures", str(eclipse / "EclipseProstate_Structures.seg.vtm")]
    out = ["--out", str(tmp_path / "dvh.csv"), "--metrics", "mean"]
    assert main(["dvh", *dose, *structures, *out]) == 0
    printed = capsys.readouterr().out
    assert "Femoral Head RT" in printed
    assert "note" not in printed


def test_evaluate_real_data(data_dir, capsys):
    patient = data_dir / "open-kbp" / "validation-pats" / "pt_201"
    if not patient.is_dir():
        pytest.skip(f"no {patient}")
    names = ["--dose", "imported", "--protocol", "openkbp_hn_70_63_56", "--normalize"]
    assert main(["evaluate", str(patient), *names]) == 3
    out, err = capsys.readouterr()
    assert "70.00 Gy   +0.00 Gy" in out
    assert err == ""


# Lists and help ----------------------------------------------------------------------------------


def test_lists(capsys):
    assert main(["protocols"]) == 0
    assert "prostate_60_20" in capsys.readouterr().out
    assert main(["protocols", "prostate_60_20"]) == 0
    out = capsys.readouterr().out
    assert "PTV" in out
    assert "Source: " in out
    assert main(["cases"]) == 0
    assert "phantom:head-neck" in capsys.readouterr().out


def test_limits_are_told_apart_where_the_output_has_no_sign_for_them():
    command = [sys.executable, "-m", "radplan.cli", "protocols", "prostate_60_20"]
    environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert b"PTV_6000 D95% \\u2265 60 Gy" in done.stdout


def test_protocol_that_is_not_there(refused):
    refused(["protocols", "kidney"], "no protocol 'kidney'", "prostate_60_20", ".json")


@pytest.mark.parametrize(
    "command", ["", "plan", "resume", "dvh", "evaluate", "protocols", "cases", "report"]
)
def test_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert "usage: radplan" in out
    assert "None" not in out
