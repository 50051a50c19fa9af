"""What the panel shows, worked out without Qt."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import pytest

from radplan.agent.actions import action_from_dict, apply_actions, constraints_after
from radplan.binding import Binding
from radplan.case import StructureType
from radplan.errors import InputError
from radplan.naming import map_name
from radplan.optimize import Constraint, Objective
from radplan.panel.availability import Facts, reasons
from radplan.panel.goal_rows import goal_rows, summary
from radplan.panel.mapping_rows import (
    Match,
    bound,
    mapping_problem,
    mapping_rows,
    open_questions,
)
from radplan.panel.objective_edits import ObjectiveEdits
from radplan.panel.planning_state import CANCELLING, DONE, FAILED, IDLE, PREPARING, RUNNING
from radplan.panel.sliders import Slider, slider_actions, sliders
from radplan.panel.treatment import Treatment
from radplan.protocol_file import load_protocol, protocol_from_dict


@dataclass(frozen=True)
class FakeSegment:
    """A row's source, as `radplan.mrml.mapping.SegmentEntry` has it."""

    segment_id: str

    @property
    def segment_name(self):
        return self.segment_id

    @property
    def guess(self):
        return map_name(self.segment_id)

    @property
    def default_name(self):
        return self.guess.name or self.segment_id

    @property
    def default_type(self):
        return self.guess.type or StructureType.OAR


def rows_of(*names, chosen=None, types=None):
    return mapping_rows([FakeSegment(n) for n in names], chosen or {}, types or {})


PELVIS = ("BODY", "PTV_6000", "Rectum", "Bladder", "Femur_Head_L", "Femur_Head_R")

# Mapping


def test_names_are_certain_asked_about_or_unknown():
    rows = rows_of("Rectum", "Parotid", "blob 17")
    assert [r.match for r in rows] == [Match.CERTAIN, Match.ASK, Match.UNMAPPED]
    assert {"Parotid_L", "Parotid_R"} <= set(rows[1].candidates)


def test_what_nobody_knows_is_left_out_until_it_is_named():
    assert rows_of("blob 17")[0].name is None
    row = rows_of("blob 17", chosen={"blob 17": "Bladder"})[0]
    assert (row.name, row.type, row.match) == ("Bladder", StructureType.OAR, Match.CHOSEN)


def test_a_side_is_never_guessed():
    rows = rows_of(*PELVIS, "Parotid")
    assert open_questions(rows) == ("Parotid",)
    assert "Parotid" in mapping_problem(rows)
    assert not mapping_problem(rows_of(*PELVIS, "Parotid", chosen={"Parotid": "Parotid_L"}))
    assert not mapping_problem(rows_of(*PELVIS, "Parotid", chosen={"Parotid": None}))


def test_a_type_alone_answers_no_question():
    rows = rows_of(*PELVIS, "Parotid", types={"Parotid": StructureType.OAR})
    assert open_questions(rows) == ("Parotid",)


def test_two_segments_of_one_name_and_missing_or_double_bodies_are_told():
    assert "Rectum" in mapping_problem(rows_of(*PELVIS, "blob", chosen={"blob": "Rectum"}))
    assert "EXTERNAL" in mapping_problem(rows_of(*PELVIS[1:]))
    body = {"blob": StructureType.EXTERNAL}
    twice = rows_of(*PELVIS, "blob", chosen={"blob": "Skin"}, types=body)
    assert "More than one" in mapping_problem(twice)


def test_protocol_is_held_against_the_names():
    protocol = load_protocol("prostate_60_20")
    fit = bound(protocol, rows_of(*PELVIS))
    assert isinstance(fit, Binding)
    assert "no" in bound(protocol, rows_of("BODY", "Rectum"))


# Prescription


def test_an_unchanged_treatment_is_the_protocol():
    protocol = load_protocol("prostate_60_20")
    treatment = Treatment(protocol, {}, protocol.fractions)
    assert not treatment.changes
    assert treatment.to_dict() == protocol.to_dict()


def test_a_changed_prescription_is_a_valid_protocol_that_says_so():
    protocol = load_protocol("prostate_60_20")
    target = protocol.primary.target
    treatment = Treatment(protocol, {target: 57.0}, 19)
    changed = protocol_from_dict(treatment.to_dict())
    assert changed.primary.dose_gy == 57.0 and changed.fractions == 19
    assert changed.primary.dose_per_fraction_gy == pytest.approx(3.0)
    assert len(treatment.changes) == 2 and "57" in changed.note
    assert [g.value for g in changed.goals] == [g.value for g in protocol.goals]
    # The dose in the target's name follows, for the prescription and for its goals.
    assert changed.primary.target == treatment.target(target) == "PTV_5700"
    assert target not in {g.structure for g in changed.goals}


# Objectives

OBJECTIVES = (
    Objective("PTV", "squared_underdosing", 100.0, dose_gy=60.0),
    Objective("Rectum", "max_dvh", 10.0, dose_gy=40.0, volume_percent=30.0),
    Objective("Bladder", "mean_dose", 2.0),
)


def after(actions, objectives=OBJECTIVES):
    typed = [action_from_dict({"reason": "test", "author": "person:Test"} | a) for a in actions]
    structures = ("PTV", "Rectum", "Bladder", "Bowel")
    return apply_actions(objectives, typed, structures=structures, largest_dose_gy=72.0)[0]


@pytest.mark.parametrize(
    ("objective", "name", "value"),
    [(0, "dose_gy", 61.5), (1, "volume_percent", 17.0), (2, "weight", 0.004), (0, "weight", 9e5)],
)
def test_edits_become_actions_that_make_them_so(objective, name, value):
    edits = ObjectiveEdits(OBJECTIVES).edited(OBJECTIVES[objective].id, name, value)
    result = after(edits.actions())
    assert getattr(result[objective], name) == pytest.approx(value, rel=1e-6)
    others = [o for i, o in enumerate(result) if i != objective]
    assert others == [o for i, o in enumerate(OBJECTIVES) if i != objective]


def test_an_edit_taken_back_leaves_nothing():
    edits = ObjectiveEdits(OBJECTIVES).edited("PTV/squared_underdosing", "dose_gy", 61.0)
    assert edits.count == 1
    assert edits.edited("PTV/squared_underdosing", "dose_gy", 60.0).actions() == []


def test_added_and_removed_objectives():
    new = Objective("Bowel", "mean_dose", 1.0)
    edits = ObjectiveEdits(OBJECTIVES).with_added(new).with_added(new).without(OBJECTIVES[1].id)
    result = after(edits.actions())
    assert [o.structure for o in result] == ["PTV", "Bladder", "Bowel", "Bowel"]
    assert len({o.id for o in result}) == 4
    assert edits.without(OBJECTIVES[1].id).count == 2  # removal taken back


@pytest.mark.parametrize(("name", "value"), [("weight", 0.0), ("weight", 1e9), ("dose_gy", -1.0)])
def test_edits_outside_bounds_are_refused(name, value):
    with pytest.raises(InputError):
        ObjectiveEdits(OBJECTIVES).edited("PTV/squared_underdosing", name, value)


def test_numbers_that_a_function_lacks_cannot_be_edited():
    with pytest.raises(InputError):
        ObjectiveEdits(OBJECTIVES).edited("Bladder/mean_dose", "dose_gy", 20.0)


LIMIT = Constraint("Rectum", "max_dose", 50.0)
COVER = Constraint("PTV", "min_dose_at_volume", 57.0, 98.0)


def constraints_of(edits, before=()):
    typed = [
        action_from_dict({"reason": "", "author": "person:Test"} | a) for a in edits.actions()
    ]
    bounds = {"structures": ("PTV", "Rectum", "Bladder"), "largest_dose_gy": 72.0}
    return constraints_after(before, typed, **bounds)


def test_constraints_are_rows_like_objectives():
    edits = ObjectiveEdits((*OBJECTIVES, LIMIT)).with_added(COVER)
    assert (edits.count, edits.rows[-2:]) == (1, (LIMIT, COVER))
    assert constraints_of(edits, (LIMIT,)) == (LIMIT, COVER)
    lower = replace(LIMIT, dose_gy=45.0)
    for changed in (edits.edited(LIMIT.id, "dose_gy", 45.0), edits.with_added(lower)):
        assert constraints_of(changed, (LIMIT,)) == (lower, COVER)
        assert changed.edited(LIMIT.id, "dose_gy", 50.0).count == 1
    assert constraints_of(edits.without(LIMIT.id).without(COVER.id), (LIMIT,)) == ()
    again = edits.without(LIMIT.id).with_added(lower)
    assert constraints_of(again, (LIMIT,)) == (lower, COVER)
    for name, value in (("weight", 2.0), ("volume_percent", 5.0), ("dose_gy", -1.0)):
        with pytest.raises(InputError):
            edits.edited(COVER.id, name, value)
    assert after(edits.actions()) == OBJECTIVES


# Sliders


@pytest.mark.parametrize("position", [-1.0, -0.3, 0.2, 1.0])
@pytest.mark.parametrize("structure", ["PTV", "Rectum", "Bladder"])
def test_slider_positions_are_allowed_actions_in_the_right_direction(structure, position):
    slider = Slider(structure, structure == "PTV")
    result = after(slider_actions(OBJECTIVES, slider, position))
    for before, now in zip(OBJECTIVES, result, strict=True):
        if before.structure != structure:
            assert now == before
            continue
        assert (now.weight > before.weight) == (position > 0)
        if before.dose_gy and structure != "PTV":
            assert (now.dose_gy < before.dose_gy) == (position > 0)
        if structure == "PTV":
            assert now.dose_gy == before.dose_gy


def test_a_slider_in_the_middle_asks_for_nothing():
    assert slider_actions(OBJECTIVES, Slider("Rectum", False), 0.0) == []


def test_an_organ_without_objective_gets_one():
    result = after(slider_actions(OBJECTIVES, Slider("Bowel", False), 0.5))
    assert result[-1].structure == "Bowel" and result[-1].weight == pytest.approx(2.0)
    assert slider_actions(OBJECTIVES, Slider("Bowel", False), -0.5) == []


def test_weights_at_their_bounds_stay_inside():
    heavy = tuple(replace(o, weight=5e5) for o in OBJECTIVES)
    assert after(slider_actions(heavy, Slider("Rectum", False), 1.0), heavy)[1].weight <= 1e6


def test_sliders_are_targets_then_judged_organs_then_others():
    kinds = [
        ("Bowel", StructureType.OAR), ("BODY", StructureType.EXTERNAL),
        ("Rectum", StructureType.OAR), ("PTV", StructureType.TARGET),
        ("Ring", StructureType.HELPER),
    ]  # fmt: skip
    names = [s.structure for s in sliders(kinds, ("PTV", "Rectum"))]
    assert names == ["PTV", "Rectum", "Bowel"]


# Scorecard


def goal(structure, achieved, met, margin, priority=1):
    return {
        "structure": structure, "metric": "mean", "op": "<=", "value": 20.0, "unit": "Gy",
        "priority": priority, "achieved": achieved, "met": met, "margin": margin, "note": "",
    }  # fmt: skip


def test_goals_side_by_side():
    first = {"goals": [goal("Rectum", 18.0, True, 2.0, 3), goal("Cord", 22.0, False, -2.0)]}
    other = {"goals": [goal("Rectum", 19.0, True, 1.0, 3), goal("Cord", 21.0, False, -1.0)]}
    rows = goal_rows(first, other)
    assert [r.label for r in rows] == ["Cord mean ≤ 20 Gy", "Rectum mean ≤ 20 Gy"]
    assert [r.better for r in rows] == [-1, 1]
    assert rows[0].compared == "21.0 Gy" and rows[0].margin == "-2.0 Gy"
    assert summary(first).startswith("1 of 2 goals met") and "missed" in summary(first)


def test_goals_without_value_are_neither_met_nor_missed():
    row = goal_rows({"goals": [goal("Cord", None, None, None)]})[0]
    assert (row.met, row.reached, row.margin, row.better) == (None, "–", "–", 0)


# Availability

READY = Facts(prescription_checked=True, has_rt_plans=True)
PLANNED = replace(
    READY, state=DONE, steps=3, shown=2, current=2, session_open=True, can_undo=True,
    reviewer="A Person", comment="looked at all slices",
)  # fmt: skip


def test_every_state_gives_every_control_a_reason_or_none():
    controls = set(reasons(Facts()))
    for state in (IDLE, PREPARING, RUNNING, CANCELLING, DONE, FAILED):
        found = reasons(replace(PLANNED, state=state))
        assert set(found) == controls
        assert all(isinstance(text, str) for text in found.values())


def test_planning_waits_for_a_person_to_check_the_prescription():
    assert reasons(READY)["planButton"] == ""
    assert "checked" in reasons(replace(READY, prescription_checked=False))["planButton"]
    for name in ("input_problem", "beams_problem", "packages_problem"):
        assert reasons(replace(READY, **{name: "why"}))["planButton"] == "why"
    model = replace(READY, model_problem="no server")
    assert reasons(model)["planButton"] == ""  # nobody asks it
    assert reasons(replace(model, uses_model=True))["planButton"] == "no server"


def test_planning_can_always_be_cancelled_while_it_runs():
    for state in (PREPARING, RUNNING):
        assert reasons(replace(Facts(), state=state))["planButton"] == ""
    assert reasons(replace(Facts(), state=CANCELLING))["planButton"]


@pytest.mark.parametrize(
    "change",
    [
        {"reviewer": " "}, {"comment": ""}, {"shown": 1}, {"edits": 1}, {"steps": 0},
        {"session_open": False}, {"state": RUNNING},
    ],
)  # fmt: skip
def test_a_review_needs_a_name_a_comment_and_the_current_plan(change):
    assert reasons(PLANNED)["acceptButton"] == reasons(PLANNED)["rejectButton"] == ""
    found = reasons(replace(PLANNED, **change))
    assert found["acceptButton"] and found["rejectButton"]


def test_only_the_current_plan_is_steered():
    other = reasons(replace(PLANNED, shown=1))
    assert other["slidersArea"] and other["optimizeButton"] and not other["selectStepButton"]
    assert reasons(PLANNED)["selectStepButton"]


def test_facts_cover_what_the_ui_needs():
    assert {"state", "input_problem", "reviewer"} <= {f.name for f in fields(Facts)}
