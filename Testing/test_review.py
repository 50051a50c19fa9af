"""A review is a person's, is bound to what was looked at, and does not outlive any change."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from image_phantom import image_phantom, phantom_influence
from quick_session import new_session, restored
from radplan.agent.actions import ChangeWeight
from radplan.agent.trajectory import Proposal
from radplan.audit import read_audit
from radplan.case_file import save_case
from radplan.errors import InputError
from radplan.optimize import SolverSettings
from radplan.review import REVIEWED_FILES, plan_digest, record_review, review_status
from radplan.steering import person, preview, redo, steer, undo

WHO = person("Dr Example")
CHANGE = (ChangeWeight("PTV/squared_overdosing", 1.5, "", WHO),)


@pytest.fixture(scope="module")
def influence(phantom_cache):
    return phantom_influence(phantom_cache)


@pytest.fixture(scope="module")
def two_steps(influence, tmp_path_factory) -> Path:
    """Folder of a session in which a person has made a step; not to be changed."""
    session = new_session(tmp_path_factory.mktemp("two") / "out", influence)
    steer(session, CHANGE, "", WHO)
    return session.folder.path


@pytest.fixture
def session(two_steps, influence, tmp_path):
    return restored(Path(shutil.copytree(two_steps, tmp_path / "out")), influence)


def review(session, verdict="approved", **changed):
    given = {"name": "Dr Example", "comment": "fine", "step": session.best.step.index} | changed
    current = session.best.step.index
    return record_review(session.folder, session.log, current, verdict=verdict, **given)


def void(session) -> str:
    return review_status(session.folder).void


@pytest.mark.parametrize("verdict", ["approved", "rejected"])
def test_a_review_is_kept(session, influence, verdict):
    assert review_status(session.folder) is None
    given = review(session, verdict)
    restored(session.folder.path, influence)
    status = review_status(session.folder)
    assert (status.review, status.void) == (given, "")
    assert status.approved == (verdict == "approved")
    line = next(e for e in read_audit(session.folder.audit_path) if e["kind"] == "review")
    assert line["data"] == json.loads((session.folder.path / "review.json").read_text())
    assert line["data"]["digest"] == plan_digest(session.folder, 1)


@pytest.mark.parametrize("verdict", ["APPROVED", "Approved", "", None, True, "accept", "void"])
def test_no_other_verdicts(session, verdict):
    with pytest.raises(InputError, match="verdict"):
        review(session, verdict)
    assert review_status(session.folder) is None


def test_only_the_current_plan_is_reviewed(session):
    with pytest.raises(InputError, match="step 0 is not the current plan"):
        review(session, step=0)
    assert review_status(session.folder) is None
    assert not (session.folder.path / "review.json").exists()


def test_the_last_review_counts(session):
    review(session, "approved")
    review(session, "rejected", comment="on second thoughts")
    status = review_status(session.folder)
    assert (status.review.verdict, status.void, status.approved) == ("rejected", "", False)
    kinds = [e["kind"] for e in read_audit(session.folder.audit_path)]
    assert kinds.count("review") == 2


# What voids it -----------------------------------------------------------------------------------


def test_a_new_step_voids_it(session):
    review(session)
    steer(session, CHANGE, "", WHO)
    assert "changed after the review" in void(session)
    assert not review_status(session.folder).approved


def test_undo_voids_it_and_redo_does_not_bring_it_back(session, influence):
    review(session)
    undo(session, WHO)
    assert "undo: step 0" in void(session)
    redo(session, WHO)
    assert session.best.step.index == 1
    assert void(session)
    restored(session.folder.path, influence)
    assert void(session)


def test_a_planners_step_that_is_kept_voids_it(session):
    undo(session, WHO)
    review(session)
    better = session.apply(Proposal("x", "goals", "x", CHANGE, "rules"), always_keep=True)
    assert better.kept
    assert void(session)


@pytest.mark.parametrize("name", REVIEWED_FILES)
def test_a_changed_file_voids_it(session, name):
    review(session)
    path = session.folder.step_path(1) / name
    path.write_bytes(path.read_bytes() + b" ")
    assert "changed after the review" in void(session)
    path.unlink()
    assert name in void(session)


def test_another_case_or_protocol_voids_it(session):
    review(session)
    protocol_text = session.folder.session_path.read_text()
    session.folder.session_path.write_text(protocol_text.replace("45.0", "46.0"))
    assert "protocol" in void(session)
    session.folder.session_path.write_text(protocol_text)
    assert void(session) == ""
    save_case(session.folder.case_path, replace(image_phantom(), name="another"))
    assert "case" in void(session)


@pytest.mark.parametrize("name", ["Dr Other", "Dr Example "])
def test_a_forged_file_voids_it(session, name):
    review(session)
    path = session.folder.path / "review.json"
    content = json.loads(path.read_text()) | {"name": name}
    path.write_text(json.dumps(content))
    assert "audit log" in void(session)


def test_a_file_without_its_line_counts_for_nothing(session, tmp_path):
    review(session)
    kept = (session.folder.path / "review.json").read_bytes()
    lines = session.folder.audit_path.read_bytes().splitlines(keepends=True)
    session.folder.audit_path.write_bytes(b"".join(lines[:-1]))
    assert (session.folder.path / "review.json").read_bytes() == kept
    assert review_status(session.folder) is None


def test_a_lost_file_voids_it(session):
    review(session)
    (session.folder.path / "review.json").unlink()
    assert "review.json" in void(session)


def test_what_was_changed_cannot_be_reviewed(session):
    path = session.folder.step_path(1) / "scorecard.json"
    path.write_text(path.read_text().replace('"met": false', '"met": true') + " ")
    with pytest.raises(InputError, match=r"scorecard\.json"):
        review(session)
    assert review_status(session.folder) is None


# What does not -----------------------------------------------------------------------------------


def test_looking_does_not_void_it(session, influence):
    review(session)
    preview(session, CHANGE)
    session.try_out([Proposal("x", "goals", "x", CHANGE, "rules")])
    with pytest.raises(InputError):
        redo(session, WHO)
    again = restored(session.folder.path, influence)
    (again.folder.step_path(1) / "dose.npy").write_bytes(b"derived")
    assert void(again) == ""


def test_a_step_that_was_not_kept_does_not_void_it(session):
    review(session)
    session.settings = replace(session.settings, later=SolverSettings(max_iterations=0))
    assert not session.apply(Proposal("x", "goals", "x", CHANGE, "rules")).kept
    assert void(session) == ""
