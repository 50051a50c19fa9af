"""Constraints of a session: kept on the dose that is judged, told, stored, undone and repeated."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from image_phantom import (
    FAST,
    image_phantom,
    phantom_influence,
    protocol,
    write_phantom,
    write_protocol,
)
from planned import phantom_request
from quick_session import content
from radplan import planning
from radplan.agent.actions import (
    AddObjective,
    ChangeWeight,
    LiftConstraint,
    SetConstraint,
    action_from_dict,
    action_to_dict,
    constraints_after,
)
from radplan.agent.example_making import make_example
from radplan.agent.quality import PlanQuality
from radplan.agent.rules import RulesPlanner
from radplan.agent.trajectory import Proposal
from radplan.agent.unmet import unmet_goals
from radplan.agent.view import view_of
from radplan.audit import read_audit
from radplan.cli import main
from radplan.errors import InputError
from radplan.metrics import StructureDose, parse_metric
from radplan.optimize import FLUENCE, ROUGHNESS, Constraint, FluenceRoughness, Objective
from radplan.plan_constraints import JudgedDose, coverage_constraint
from radplan.planning import Observer, open_session, plan
from radplan.protocol_file import protocol_from_dict
from radplan.replay_command import replay
from radplan.review import plan_digest, record_review, review_status
from radplan.session import PlanningSession
from radplan.session_folder import SessionFolder
from radplan.steering import person, persons_actions, preview, redo, steer, undo
from radplan.stored_step import step_from_dict, step_to_dict

WHO = person("Dr Example")
GLAND, CORD = (Constraint.from_text(t) for t in ("Gland mean <= 28", "Cord max <= 37"))
#: The gland overlaps the target.
IMPOSSIBLE = Constraint("Gland", "max_dose", 45.0)
ROUGH = Objective(FLUENCE, ROUGHNESS, 1000.0)


def setting(*constraints: Constraint) -> tuple[SetConstraint, ...]:
    return tuple(SetConstraint(c, "", WHO) for c in constraints)


@pytest.fixture(scope="module")
def influence(phantom_cache):
    return phantom_influence(phantom_cache)


def opened(path: Path, influence) -> PlanningSession:
    """The session of a folder with the usual settings, as a new process would load it."""
    document = protocol_from_dict(protocol())
    session = PlanningSession(image_phantom(), document, influence, SessionFolder(path))
    session.restore()
    return session


@pytest.fixture(scope="module")
def first_plan(influence, tmp_path_factory) -> Path:
    """Folder of a session with its first plan; not to be changed."""
    path = tmp_path_factory.mktemp("first") / "out"
    SessionFolder(path).create(image_phantom(), content(influence))
    opened(path, influence).start()
    return path


@pytest.fixture(scope="module")
def constrained(first_plan, influence, tmp_path_factory) -> Path:
    """The same with a step that keeps to two constraints; not to be changed."""
    path = Path(shutil.copytree(first_plan, tmp_path_factory.mktemp("constrained") / "out"))
    steer(opened(path, influence), setting(GLAND, CORD), "protect", WHO)
    return path


@pytest.fixture
def session(first_plan, influence, tmp_path):
    return opened(Path(shutil.copytree(first_plan, tmp_path / "out")), influence)


@pytest.fixture
def protected(constrained, influence, tmp_path):
    return opened(Path(shutil.copytree(constrained, tmp_path / "out")), influence)


def covered_gy(plan) -> float:
    return plan.structure_doses["PTV"].dose_at_volume_percent(95)


# Words -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "constraint"),
    [
        ("SpinalCord max <= 45", Constraint("SpinalCord", "max_dose", 45.0)),
        ("SpinalCord: max ≤ 45 Gy", Constraint("SpinalCord", "max_dose", 45.0)),
        ("Parotid L  mean<=26.5gy", Constraint("Parotid L", "mean_dose", 26.5)),
        ("PTV D95% >= 50", Constraint("PTV", "min_dose_at_volume", 50.0, 95.0)),
        ("PTV min >= 47", Constraint("PTV", "min_dose_at_volume", 47.0, 100.0)),
        ("Rectum d 2.5 % ≤ 60", Constraint("Rectum", "max_dose_at_volume", 60.0, 2.5)),
    ],
)
def test_constraints_as_one_writes_them(text, constraint):
    assert Constraint.from_text(text) == constraint
    assert Constraint.from_text(constraint.describe()) == constraint


@pytest.mark.parametrize(
    "text",
    [
        *("", "Cord", "Cord max", "Cord max 45", "Cord max < 45", "Cord max >= 45", "max <= 45"),
        *("Cord mean >= 20", "PTV min <= 50", "Cord D0.03cc <= 45", "Cord D2 <= 45"),
        *("Cord max <= 4.5.6", "Cord max <= -45", "Cord max <= 0", "Cord max <= nan"),
        *("Cord max <= 45 Gy, Gland mean <= 26", "PTV D101% >= 50", "PTV D..% >= 50"),
    ],
)
def test_texts_that_are_no_constraint(text):
    with pytest.raises(InputError, match="constraint"):
        Constraint.from_text(text)


BOUNDS = {"structures": ("PTV", "Cord", "Gland"), "largest_dose_gy": 60.0}


def test_setting_and_lifting():
    lower = replace(CORD, dose_gy=30.0)
    after = constraints_after((), setting(GLAND, CORD, lower), **BOUNDS)
    assert after == (GLAND, lower)
    assert constraints_after(after, [LiftConstraint(GLAND, "", WHO)], **BOUNDS) == (lower,)


@pytest.mark.parametrize(
    "action",
    [
        *setting(Constraint("Spleen", "max_dose", 20.0), Constraint("Cord", "max_dose", 61.0)),
        LiftConstraint(GLAND, "", WHO),
        LiftConstraint(replace(CORD, dose_gy=CORD.dose_gy + 1e-9), "", WHO),
    ],
)
def test_actions_on_constraints_that_are_not_allowed(action):
    with pytest.raises(InputError):
        constraints_after((CORD,), [action], **BOUNDS)


@pytest.mark.parametrize("kind", ["set_constraint", "lift_constraint"])
def test_actions_round_trip(kind):
    values = {"kind": kind, "constraint": CORD.to_dict(), "reason": "x", "author": WHO}
    action = action_from_dict(json.loads(json.dumps(values)))
    assert (action.constraint, action.kind) == (CORD, kind)
    assert action_to_dict(action) == values


@pytest.mark.parametrize(
    "constraint",
    [
        None,
        "Cord max <= 45",
        [],
        {},
        {"structure": "Cord", "kind": "max_dose"},
        *(
            CORD.to_dict() | changed
            for changed in (
                {"kind": "min_dose"},
                {"kind": ["max_dose"]},
                {"dose_gy": -1.0},
                {"dose_gy": "45"},
                {"dose_gy": float("nan")},
                {"dose_gy": float("inf")},
                {"dose_gy": None},
                {"dose_gy": 10**400},
                {"structure": ["Cord"]},
                {"volume_percent": 5.0},
                {"kind": "max_dose_at_volume", "volume_percent": None},
                {"kind": "max_dose_at_volume", "volume_percent": "5"},
                {"kind": "max_dose_at_volume", "volume_percent": float("nan")},
                {"command": "rm"},
            )
        ),
    ],
)
def test_hostile_constraints(constraint):
    values = {"kind": "set_constraint", "constraint": constraint}
    with pytest.raises(InputError):
        persons_actions([values], "", WHO)


# Kept --------------------------------------------------------------------------------------------


def test_constraints_are_kept_on_the_scaled_dose(protected):
    first, step = protected.plan_of(0), protected.best.step
    doses = protected.best.structure_doses
    assert first.structure_doses["Gland"].mean_gy > GLAND.dose_gy + 1
    assert first.structure_doses["Cord"].max_gy > CORD.dose_gy + 1
    assert doses["Gland"].mean_gy <= GLAND.dose_gy + GLAND.tolerance_gy
    assert doses["Cord"].max_gy <= CORD.dose_gy + CORD.tolerance_gy
    assert covered_gy(protected.best) == pytest.approx(50.0, abs=1e-4)
    achieved = {o.constraint: o.achieved_gy for o in step.constraints}
    assert achieved[GLAND] == pytest.approx(doses["Gland"].mean_gy, abs=1e-3)
    assert achieved[CORD] == pytest.approx(doses["Cord"].max_gy, abs=1e-3)
    assert all(o.kept and o.price_per_gy > 0 for o in step.constraints)
    for text in ("Gland: mean ≤ 28 Gy: ", "Cord: max ≤ 37 Gy: ", "Gy, kept, price "):
        assert text in step.outcome


def test_every_later_step_keeps_to_them(protected):
    weight = AddObjective(Objective("PTV", "dose_variance", 50.0), "", WHO)
    steps = [steer(protected, (), "", WHO), steer(protected, (weight,), "", WHO)]
    steps.append(protected.apply(RulesPlanner().propose(protected.situation)))
    plan = protected.preview(Proposal("try", "goals", "Try", (weight_up(protected),), "rules"))
    for step in (*steps, plan.step):
        assert [o.constraint for o in step.constraints] == [GLAND, CORD]
        assert all(o.kept for o in step.constraints), step.outcome


def weight_up(session) -> ChangeWeight:
    return ChangeWeight(session.best.step.objectives[0].id, 2.0, "", WHO)


def test_what_cannot_be_kept_is_named(session):
    step = steer(session, setting(IMPOSSIBLE), "", WHO)
    (outcome,) = step.constraints
    achieved_gy = session.best.structure_doses["Gland"].max_gy
    assert outcome.achieved_gy == pytest.approx(achieved_gy, abs=1e-3)
    assert outcome.violation_gy == pytest.approx(achieved_gy - 45.0, abs=1e-3)
    assert not outcome.kept
    assert outcome.conflicts == ("PTV: D95% ≥ 50 Gy",)
    assert f"missed by {outcome.violation_gy:.2f} Gy, against PTV: D95% ≥ 50 Gy" in step.outcome
    assert outcome.describe() in unmet_goals(step, session.steps)
    assert covered_gy(session.best) == pytest.approx(50.0, abs=1e-4)


def test_a_plan_that_misses_constraints_by_more_is_not_better():
    def quality(missed_gy: float, burden: float) -> PlanQuality:
        return PlanQuality((0.0,) * 9, (1e-3,) * 9, (("Gland", burden),), missed_gy)

    assert "misses constraints by 1.00 Gy more" in quality(1.0, 0.1).shortcoming(quality(0.0, 9.0))
    assert not quality(0.0, 9.0).shortcoming(quality(1.0, 0.1))
    assert not quality(0.05, 0.1).shortcoming(quality(0.0, 9.0))


def test_a_lifted_constraint_holds_no_longer(protected):
    step = steer(protected, [LiftConstraint(c, "", WHO) for c in (GLAND, CORD)], "", WHO)
    assert step.constraints == ()
    assert protected.best.structure_doses["Gland"].mean_gy > GLAND.dose_gy + 1
    assert step.changes == (
        "lift constraint Gland: mean ≤ 28 Gy",
        "lift constraint Cord: max ≤ 37 Gy",
    )


def test_a_preview_says_how_far_it_is_from_constraints(session):
    plan = preview(session, setting(CORD), iterations=5)
    (outcome,) = plan.step.constraints
    assert outcome.achieved_gy == pytest.approx(plan.structure_doses["Cord"].max_gy, abs=1e-3)
    assert "missed by" in outcome.describe()


def test_a_refused_constraint_changes_nothing(session):
    before = session.best, list(session.steps)
    with pytest.raises(InputError, match="Spleen"):
        steer(session, setting(CORD, Constraint("Spleen", "max_dose", 20.0)), "", WHO)
    assert (session.best, session.steps) == before
    assert read_audit(session.folder.audit_path)[-1]["kind"] == "actions rejected"


# Aims --------------------------------------------------------------------------------------------


def test_a_helper_is_held_by_its_voxels(protected):
    helper = next(n for n in protected.structures.occupancies if n not in image_phantom().names)
    bound = Constraint(helper, "max_dose", 60.0)
    plan = protected.best
    judged = JudgedDose(plan.dose_gy, plan.structure_doses, protected.situation.index)
    rows = protected.situation.index.all_voxels(helper).rows
    assert judged.outcome(bound).achieved_gy == plan.dose_gy.ravel()[rows].max()
    assert judged.aim(bound, 2.0) == replace(bound, dose_gy=30.0)


@pytest.mark.parametrize(
    ("metric", "percent"), [("D95%", 95.0), ("D5cc", 25.0), ("D99cc", 100.0), ("min", 100.0)]
)
def test_coverage_as_a_constraint(metric, percent):
    document = replace(protocol_from_dict(protocol()), coverage=parse_metric(metric))
    doses = {"PTV": StructureDose(np.array([50.0, 51.0]), np.array([10.0, 10.0]))}
    expected = Constraint("PTV", "min_dose_at_volume", 50.0, percent)
    assert coverage_constraint(document, doses) == expected


def test_constraints_are_kept_where_coverage_is_a_mean(influence, tmp_path):
    document = replace(protocol_from_dict(protocol()), coverage=parse_metric("mean"))
    SessionFolder(tmp_path / "out").create(image_phantom(), content(influence))
    session = PlanningSession(
        image_phantom(), document, influence, SessionFolder(tmp_path / "out"),
        first_actions=setting(CORD),
    )  # fmt: skip
    session.start()
    assert session.best.structure_doses["PTV"].mean_gy == pytest.approx(50.0, abs=1e-3)
    assert session.best.structure_doses["Cord"].max_gy <= CORD.dose_gy + CORD.tolerance_gy


# Stored ------------------------------------------------------------------------------------------


def test_constraints_are_read_back(protected, constrained, influence):
    step = protected.steps[1]
    assert opened(constrained, influence).best.step.constraints == step.constraints
    stored = json.loads(json.dumps(step_to_dict(step)))
    objectives = [o.to_dict() for o in step.objectives]
    assert step_from_dict(stored, objectives).constraints == step.constraints


def test_steps_stored_before_there_were_constraints(first_plan, influence):
    step = opened(first_plan, influence).best.step
    stored = step_to_dict(step)
    del stored["constraints"]
    assert step_from_dict(stored, [o.to_dict() for o in step.objectives]).constraints == ()


def test_undo_and_redo_move_constraints_too(protected):
    constraints = protected.best.step.constraints
    assert undo(protected, WHO).constraints == ()
    assert steer(protected, (), "", WHO).constraints == ()
    undo(protected, WHO)
    with pytest.raises(InputError, match="nothing to undo"):
        undo(protected, WHO)
    redo(protected, WHO)
    assert protected.best.step.constraints == ()
    protected.move("select", 1, WHO)
    assert protected.best.step.constraints == constraints


def test_a_review_covers_constraints(protected):
    folder = protected.folder
    record_review(
        folder, protected.log, 1, verdict="approved", name="Dr Example", comment="ok", step=1
    )
    assert review_status(folder).approved
    before, path = plan_digest(folder, 1), folder.step_path(1) / "step.json"
    stored = json.loads(path.read_text())
    stored["constraints"][0]["constraint"]["dose_gy"] = 99.0
    path.write_text(json.dumps(stored))
    assert plan_digest(folder, 1) != before
    assert review_status(folder).void
    del stored["constraints"]
    path.write_text(json.dumps(stored))
    assert plan_digest(folder, 1) != before
    with pytest.raises(InputError, match=r"step\.json"):
        folder.read_step(1)


# Roughness ---------------------------------------------------------------------------------------


def test_roughness_is_an_objective_like_others(session):
    roughness = FluenceRoughness(session.influence.beamlets)

    def relative(fluence):
        return roughness.value_and_gradient(fluence / fluence.mean())[0]

    before = relative(session.best.fluence)
    step = steer(session, [AddObjective(ROUGH, "", WHO)], "", WHO)
    assert relative(session.best.fluence) < 0.8 * before
    assert step.changes == ("add fluence: fluence roughness, weight 1000",)
    assert session.apply(RulesPlanner().propose(session.situation)).objectives[-1] is not None


def test_a_language_model_sees_neither_constraints_nor_roughness(session):
    plain = view_of(session.situation)
    step = steer(session, [*setting(CORD), AddObjective(ROUGH, "", WHO)], "", WHO)
    assert step.constraints
    view = view_of(session.situation)
    assert (view.best.actions, view.best.changes, view.best.constraints) == ((), (), ())
    assert view.best.objectives == plain.best.objectives
    example = make_example(
        session.situation, "mine", origin="public", planner="rules", version="1",
        with_picture=False,
    )  # fmt: skip
    assert [s.actions for s in example.steps] == [(), ()]


# The whole job -----------------------------------------------------------------------------------


@pytest.fixture
def without_outputs(monkeypatch):
    """Leaves out what is written after planning, which takes seconds."""
    monkeypatch.setattr(planning, "write_outputs", lambda *_: [])
    monkeypatch.setattr(planning, "write_session_report", lambda *_: None)


@pytest.fixture
def request_for(tmp_path, phantom_cache):
    def make(out: Path, **more):
        inputs = write_phantom(tmp_path), write_protocol(tmp_path)
        return phantom_request(inputs, phantom_cache, out, **more)

    return make


@pytest.mark.usefixtures("without_outputs")
def test_a_first_plan_with_constraints_is_resumed_and_repeated(request_for, tmp_path):
    out = tmp_path / "out"
    actions = (*setting(CORD), AddObjective(ROUGH, "", WHO))
    outcome = plan(request_for(out, max_steps=1, actions=actions), Observer())
    assert outcome.constraints[0].constraint == CORD
    session = open_session(out, Observer()).session
    first = session.steps[0]
    assert (first.author, first.actions) == ("", actions)
    assert first.constraints[0].kept
    steer(session, setting(GLAND), "", WHO)
    del session
    _, differences = replay(out, tmp_path / "again", Observer())
    assert differences == ()


@pytest.mark.usefixtures("without_outputs")
def test_what_was_asked_of_the_first_plan_cannot_be_changed(request_for, tmp_path):
    out = tmp_path / "out"
    plan(request_for(out, max_steps=0, actions=setting(CORD)), Observer())
    path = out / "session.json"
    before = json.loads(path.read_text())
    for actions in ([], None, [action_to_dict(setting(GLAND)[0])]):
        changed = {k: v for k, v in before.items() if k != "actions" or actions is not None}
        if actions is not None:
            changed["actions"] = actions
        path.write_text(json.dumps(changed))
        with pytest.raises(InputError, match="actions"):
            open_session(out, Observer())


def test_command_line(tmp_path, phantom_cache, capsys):
    case, document, out = write_phantom(tmp_path), write_protocol(tmp_path), tmp_path / "out"
    arguments = ["plan", str(case), "--protocol", str(document), *FAST]
    arguments += ["--cache", str(phantom_cache), "--iterations", "0", "--out", str(out)]
    for wrong in ("Cord max 45", "Spleen max <= 45", "Cord max <= 99"):
        assert main([*arguments, "--constraint", wrong]) == 2
        assert "constraint" in capsys.readouterr().err
        assert not out.exists()
    main([*arguments, "--constraint", "Cord max <= 37", "--by", "Dr Example"])
    assert "- Cord: max ≤ 37 Gy: " in capsys.readouterr().out
    page = (out / "report.html").read_text()
    assert "Cord: max ≤ 37 Gy: " in page
    assert "person: Dr Example" in page
    assert main(["resume", str(out), "--lift", "Cord max <= 36"]) == 2
    assert "there are: Cord: max ≤ 37 Gy" in capsys.readouterr().err
    changes = ("--lift", "Cord max <= 37", "--constraint", IMPOSSIBLE.describe())
    assert main(["resume", str(out), *changes]) == 3
    printed = capsys.readouterr().out
    assert "1 of 1 constraint not kept." in (out / "report.html").read_text()
    assert "Gland: max ≤ 45 Gy: " in printed
    assert "missed by" in printed
    assert "Cord: max" not in printed
