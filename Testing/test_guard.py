"""Guard rails: what a language model may change, and what no sequence of its replies can break."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from image_phantom import TARGET, ball, goal, image_phantom, protocol, structure
from radplan.agent.action_bounds import PRIMARY_WEIGHT_FLOOR
from radplan.agent.actions import (
    LARGEST_DOSE_SHARE,
    WEIGHT_BOUNDS,
    AddObjective,
    ChangeDose,
    ChangeWeight,
    RemoveObjective,
    apply_actions,
)
from radplan.agent.checked import RejectedReplyError
from radplan.agent.guard import (
    KINDS,
    MOST_ACTIONS,
    PLAN_SCHEMA,
    approvals,
    check_plan,
)
from radplan.agent.movements import movements
from radplan.agent.trajectory import Proposal
from radplan.agent.view import View, view_of
from radplan.optimize import OBJECTIVE_FUNCTIONS, SolverSettings
from radplan.session_folder import SessionFolder
from scripted_replies import action, phantom_session, plan

UNDER, OVER = "PTV/squared_underdosing", "PTV/squared_overdosing"
GLAND, CORD = "zOAR_1_free/mean_dose", "SpinalCord/squared_overdosing"


@pytest.fixture(scope="module")
def session(phantom_cache, tmp_path_factory):
    """A session with its first plan; tests leave it as it is."""
    return phantom_session(phantom_cache, tmp_path_factory.mktemp("guard") / "session")


@pytest.fixture(scope="module")
def view(session):
    return view_of(session.situation)


def rejected(view, *actions, **changed) -> str:
    with pytest.raises(RejectedReplyError) as caught:
        check_plan(plan(*actions, **changed), view)
    return str(caught.value)


def change_dose(objective: str, dose_gy: float, **more) -> dict:
    return action(kind="change_dose", objective=objective, factor=None, dose_gy=dose_gy, **more)


def add(structure_name: str, function: str, **numbers) -> dict:
    return action(
        kind="add_objective",
        objective=None,
        factor=None,
        structure=structure_name,
        function=function,
        **({"weight": 5.0} | numbers),
    )


def test_actions_come_out_in_the_cases_names(view):
    checked = check_plan(
        plan(
            action(),
            change_dose(CORD, 38.0),
            add("OAR_1", "geud", dose_gy=30.0, exponent=4, volume_percent=7),
            action(kind="remove_objective", objective="OAR_2/mean_dose"),
        ),
        view,
    )
    weight, dose, new, gone = checked.actions
    assert weight == ChangeWeight("zGland_free/mean_dose", 2.0, weight.reason, "llm")
    assert dose == ChangeDose("Cord/squared_overdosing", 38.0, dose.reason, "llm")
    assert isinstance(new, AddObjective)
    assert (new.objective.structure, new.objective.id) == ("Gland", "Gland/geud")
    assert (new.objective.exponent, new.objective.volume_percent) == (4.0, None)
    assert gone == RemoveObjective("Distant/mean_dose", gone.reason, "llm")
    assert {e.goal for e in checked.expectations} == {"Gland mean ≤ 30 Gy"}
    assert [e.action for e in checked.expectations] == [0, 1, 2, 3]


def test_a_group_is_expanded_by_code(view):
    group = action(kind="scale_priority_group", objective=None, priority=1, factor=1.5)
    checked = check_plan(plan(group), view)
    assert {a.objective_id for a in checked.actions} == {
        "PTV/squared_underdosing",
        "Cord/squared_overdosing",
    }
    assert all(
        a == replace(checked.actions[0], objective_id=a.objective_id) for a in checked.actions
    )
    assert "priorities 1, 2, 3" in rejected(view, action(kind="scale_priority_group", priority=4))


def test_two_new_objectives_of_a_kind_get_ids_of_their_own(view):
    checked = check_plan(
        plan(
            add("OAR_1", "max_dvh", dose_gy=30.0, volume_percent=20.0),
            add("OAR_1", "max_dvh", dose_gy=20.0, volume_percent=50.0),
        ),
        view,
    )
    assert [a.objective.id for a in checked.actions] == ["Gland/max_dvh", "Gland/max_dvh#2"]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (action(objective="Gland/mean_dose"), "must be one of: PTV/squared_underdosing"),
        (action(objective=None), "missing"),
        (action(factor="2"), "plain number"),
        (action(factor=[2]), "plain number"),
        (action(factor=10**400), "plain number"),
        (action(factor=0), "factor must lie in 0.1 … 10"),
        (action(factor=10.1), "factor must lie in"),
        (change_dose(GLAND, 20.0), "no dose level"),
        (change_dose(CORD, -1.0), "at most 7.5 Gy in one step: from "),
        (change_dose(CORD, 49.0), "at most 7.5 Gy"),
        (change_dose(OVER, 49.9), "needs at least that level: from 50 to "),
        (change_dose(UNDER, 49.0), "may not fall below 50 Gy: from 50 to "),
        (
            action(objective=UNDER, factor=0.2),
            f"below {PRIMARY_WEIGHT_FLOOR:g}: a factor from 0.25",
        ),
        (action(kind="remove_objective", objective=UNDER), "may not be removed"),
        (action(kind="change_volume", objective=CORD, volume_percent=5), "no volume"),
        (add("Liver", "mean_dose"), "must be one of: External, PTV"),
        (add("OAR_1", "median"), "must be one of: squared_deviation"),
        (add("OAR_1", "fluence_roughness"), "must be one of: squared_deviation"),
        (add("OAR_1", "geud", dose_gy=20.0), '"exponent" is missing'),
        (add("OAR_1", "geud", dose_gy=20.0, exponent=0.5), "at least 1"),
        (add("OAR_1", "max_dvh", dose_gy=20.0, volume_percent=140), "0 … 100"),
        (add("OAR_1", "squared_overdosing", dose_gy=61.0), "above the 60 Gy"),
        (add("OAR_1", "squared_overdosing", dose_gy="60 Gy"), "plain number"),
        (add("OAR_1", "mean_dose", weight=0), "positive"),
        (add("OAR_1", "mean_dose", weight=1e9), "outside"),
        (add("PTV", "mean_dose"), "push a target below"),
        (add("PTV", "squared_overdosing", dose_gy=40.0), "push a target below"),
        (add("zOAR_1_free", "mean_dose"), "already such an objective"),
        (action(expected=[]), "at least one goal"),
        (action(expected=[{"goal": "G3", "effect": "great"}]), "better, worse, same"),
        (action(expected=[{"goal": "G33", "effect": "better"}]), "G1, G2, G3, G4"),
        (action(reason=""), '"reason" must be a text'),
        (action(kind="sudo"), "scale_priority_group"),
    ],
)
def test_what_is_not_allowed_is_told_with_what_is(view, reply, words):
    text = rejected(view, reply)
    assert words in text
    for name in ("Gland", "Cord/", "Distant", "BODY"):
        assert name not in text.replace('Gland/mean_dose"', "").replace("SpinalCord/", "")


def test_a_part_of_a_target_is_protected_as_its_target(phantom_cache, tmp_path):
    """A GTV has no prescription of its own; what caps it starves the PTV around it."""
    case = image_phantom(structure("GTV", TARGET, ball((0.0, 0.0, 0.0), 10.0)))
    view = view_of(phantom_session(phantom_cache, tmp_path / "session", case).situation)
    assert "GTV" in view.structures
    cap = {"dose_gy": 40.0, "volume_percent": 50.0}
    assert "push a target below" in rejected(view, add("GTV", "max_dvh", **cap))
    assert "push a target below" in rejected(view, add("GTV", "mean_dose"))
    assert check_plan(plan(add("GTV", "squared_underdosing", dose_gy=51.0)), view).actions
    assert check_plan(plan(add("GTV", "squared_overdosing", dose_gy=53.0)), view).actions


def test_the_range_that_a_refusal_tells_is_allowed(view):
    for objective in (CORD, OVER, UNDER):
        told = rejected(view, change_dose(objective, 0.0)).rpartition(": from ")[2]
        low, high = told.removesuffix(" Gy").split(" to ")
        for dose_gy in (float(low), float(high)):
            assert check_plan(plan(change_dose(objective, dose_gy)), view)
        assert "from" in rejected(view, change_dose(objective, float(low) - 0.01))


def test_goals_without_a_value_are_not_expected(view):
    absent = view.goals.goal("G4").label
    goals = tuple(
        replace(r, achieved=None, met=None, margin=None) if r.goal.label == absent else r
        for r in view.scorecard.goals
    )
    best = replace(view.best, scorecard=replace(view.scorecard, goals=goals))
    blind = View(view.situation, view.tokens, view.objectives)
    blind.__dict__["steps"] = (best, *view.steps[1:])
    expected = [{"goal": "G4", "effect": "better"}, {"goal": "G3", "effect": "same"}]
    checked = check_plan(plan(action(expected=expected)), blind)
    assert [e.effect for e in checked.expectations] == ["same"]
    assert "cannot be evaluated" in checked.ignored[0]


def test_all_problems_are_told_at_once(view):
    text = rejected(view, action(factor="x"), action(objective="y"), action(kind="z"))
    assert text.count("actions[") >= 3


def test_refusals_by_different_rules_are_told_at_once(view):
    text = rejected(
        view,
        change_dose(CORD, 49.0),
        action(kind="change_volume", objective=GLAND, volume_percent=5),
        add("OAR_1", "squared_overdosing", dose_gy=61.0),
        change_dose(UNDER, 49.0),
        change_dose(OVER, 49.9),
    )
    for words in (
        "at most 7.5 Gy in one step",
        "no volume",
        "above the 60 Gy",
        "may not fall below 50 Gy",
        "needs at least that level",
    ):
        assert words in text


def test_what_only_all_actions_together_break_is_told_with_the_rest(view):
    gone = action(kind="remove_objective", objective=GLAND)
    text = rejected(view, gone, action(objective=GLAND, factor=1.5), change_dose(CORD, 49.0))
    assert f"no objective '{GLAND}'" in text and "at most 7.5 Gy" in text


def test_the_same_twice_in_one_reply(view):
    assert "two actions change the same" in rejected(view, action(), action(factor=1.5))


def test_too_many_actions(view):
    many = [action(factor=1.5)] * (MOST_ACTIONS + 1)
    assert f"at most {MOST_ACTIONS}" in rejected(view, *many)


def test_a_new_objective_may_not_be_changed_in_the_same_step(view):
    new = add("OAR_1", "geud", dose_gy=30.0, exponent=4)
    assert "must be one of" in rejected(view, new, action(objective="OAR_1/geud"))


@pytest.mark.parametrize(
    "text", ["I approve this plan", "Approved.", "approval granted", "APPROVE"]
)
def test_approvals_are_heard_and_ignored(text):
    assert "only a person" in approvals(text)[0]


def test_nothing_else_is_an_approval():
    assert not approvals("an approximate provision is improved")


def test_the_schema_keeps_to_what_all_servers_take():
    def check(schema):
        assert not {"minimum", "maximum", "minItems", "maxItems", "default"} & set(schema)
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False
            assert set(schema["required"]) == set(schema["properties"])
            for field in schema["properties"].values():
                check(field)
        if schema.get("type") == "array":
            check(schema["items"])

    check(PLAN_SCHEMA)


# What was tried before ---------------------------------------------------------------------------


def after(session, *steps):
    """The view after steps that are made up: (actions in tokens, kept) each."""
    first = session.situation
    made, best = [first.best], first.best
    for number, (replies, kept) in enumerate(steps, start=1):
        situation = replace(first, steps=tuple(made), best=best)
        checked = check_plan(plan(*replies), view_of(situation))
        objectives, _ = apply_actions(
            best.objectives,
            checked.actions,
            structures=tuple(session.structures.occupancies),
            largest_dose_gy=60.0,
        )
        step = replace(
            best, index=number, base=best.index, actions=checked.actions, objectives=objectives,
            changes=("",) * len(checked.actions), kept=kept, author="llm",
        )  # fmt: skip
        made.append(step)
        best = step if kept else best
    return view_of(replace(first, steps=tuple(made), best=best))


def test_a_kept_change_is_not_taken_back(session):
    view = after(session, ([action(factor=4.0)], True))
    assert "makes the plan oscillate" in rejected(view, action(factor=0.3))
    assert "a factor from 0.518 to 1" in rejected(view, action(factor=0.5))
    assert check_plan(plan(action(factor=0.52)), view), "a little back is no oscillation"
    assert check_plan(plan(action(factor=2.0)), view), "more of it is none either"


def test_what_has_just_failed_is_not_turned_round(session):
    view = after(session, ([action(factor=4.0)], False))
    assert "has just failed" in rejected(view, action(factor=0.25))
    later = after(session, ([action(factor=4.0)], False), ([change_dose(CORD, 38.0)], False))
    assert check_plan(plan(action(factor=0.25)), later)


def test_old_changes_may_be_taken_back(session):
    others = [([change_dose(CORD, dose)], True) for dose in (39.5, 39.0, 38.5)]
    view = after(session, ([action(factor=4.0)], True), *others)
    assert check_plan(plan(action(factor=0.3)), view)


def test_what_failed_is_not_tried_again(session):
    failed = [action(factor=2.0), change_dose(CORD, 38.0)]
    view = after(session, (failed, False))
    assert "tried in step 1 and failed" in rejected(view, *reversed(failed))
    assert "tried in step 1" in rejected(view, action(factor=2.05), change_dose(CORD, 38.1))
    assert check_plan(plan(action(factor=3.0), change_dose(CORD, 38.0)), view)


def test_removing_and_adding_again_is_taking_back(session):
    gone = action(kind="remove_objective", objective="OAR_2/mean_dose")
    view = after(session, ([gone], True))
    assert "oscillate" in rejected(view, add("OAR_2", "mean_dose"))


def test_movements_know_what_was_there(session):
    objectives = session.best.step.objectives
    moved = movements([ChangeWeight(objectives[0].id, 2.0, "", "")], objectives)
    assert moved[0].amount == pytest.approx(math.log(2.0))


# Targets -----------------------------------------------------------------------------------------


def test_a_lower_target_is_protected_from_starving_too(phantom_cache, tmp_path):
    boost = structure("PTV_High", TARGET, ball((-8.0, 0.0, 0.0), 12.0))
    document = protocol(
        prescriptions=[
            {"target": "PTV_High", "dose_gy": 60.0},
            {"target": "PTV", "dose_gy": 50.0},
        ],
        goals=[
            goal("PTV_High", "D95%", ">=", 60.0, "Gy"),
            goal("PTV", "D98%", ">=", 47.5, "Gy", 2),
        ],
    )
    session = phantom_session(phantom_cache, tmp_path / "s", image_phantom(boost), document)
    view = view_of(session.situation)
    target = view.tokens.token("PTV")
    expected = [{"goal": "G1", "effect": "same"}]
    low = add(target, "squared_overdosing", dose_gy=45.0, expected=expected)
    assert "below its prescription of 50 Gy" in rejected(view, low)


def test_a_lost_target_is_a_collapse(session, tmp_path, monkeypatch):
    """Whatever the ranks say, a step that lost a target is rolled back and called so."""
    copy = fresh(session, tmp_path / "copy")
    monkeypatch.setattr("radplan.session.collapse", lambda *_: "D98% of PTV fell to 3.0 Gy")
    better = Proposal("m", "goals", "t", (ChangeWeight("zGland_free/mean_dose", 2.0, "r", "llm"),))
    step = copy.apply(better)
    assert not step.kept
    assert copy.best.step.index == 0
    assert "undone: collapse, D98% of PTV fell to 3.0 Gy" in step.outcome
    assert step.shortcoming.startswith("collapse")


# Properties --------------------------------------------------------------------------------------


def fresh(session, path):
    """The session with its first plan only, writing elsewhere."""
    from radplan.session import PlanningSession

    copy = PlanningSession.__new__(PlanningSession)
    copy.__dict__.update(session.__dict__)
    copy.steps, copy.folder = session.steps[:1], SessionFolder(path)
    return copy


IDS = (UNDER, OVER, GLAND, CORD, "zRing3_PTV/squared_overdosing", "SpinalCord/mean_dose", "x")
NUMBERS = st.one_of(
    st.none(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(0.1, 10),
    st.floats(20, 60),
    st.sampled_from([True, "2", "5 Gy", 10**400, -1, 0]),
)
ACTIONS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(KINDS),
        "objective": st.sampled_from(IDS),
        "priority": st.sampled_from([1, 2, 3, 4, None, "1"]),
        "factor": NUMBERS,
        "structure": st.sampled_from(["PTV", "OAR_1", "zOAR_1_free", "External", "Liver", None]),
        "function": st.sampled_from([*OBJECTIVE_FUNCTIONS, "max"]),
        "dose_gy": NUMBERS,
        "volume_percent": NUMBERS,
        "exponent": NUMBERS,
        "weight": NUMBERS,
        "reason": st.just("a reason"),
        "expected": st.just([{"goal": "G4", "effect": "better"}]),
    }
)
REPLIES = st.lists(ACTIONS, min_size=1, max_size=3).map(lambda actions: plan(*actions))


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(replies=st.lists(REPLIES, min_size=1, max_size=4))
def test_no_sequence_of_replies_breaks_the_session(session, tmp_path_factory, replies):
    copy = fresh(session, tmp_path_factory.mktemp("property"))
    copy.settings = replace(session.settings, later=SolverSettings(max_iterations=2))
    highest = copy.protocol.highest.dose_gy
    for reply in replies:
        before = copy.best
        try:
            checked = check_plan(reply, view_of(copy.situation))
        except RejectedReplyError as error:
            assert error.problems
            continue
        step = copy.apply(
            Proposal("m", "goals", "t", checked.actions, "llm", expectations=checked.expectations)
        )
        # Best never worse; what is undone leaves everything exactly as it was.
        assert not step.kept or not copy.quality(step).shortcoming(copy.quality(before.step))
        if not step.kept:
            assert copy.best is before
        assert copy.situation.best.objectives == copy.best.step.objectives
        # Bounds and units.
        for objective in step.objectives:
            assert WEIGHT_BOUNDS[0] <= objective.weight <= WEIGHT_BOUNDS[1]
            assert 0 <= (objective.dose_gy or 0) <= LARGEST_DOSE_SHARE * highest
            assert 0 <= (objective.volume_percent or 0) <= 100
            assert objective.structure in copy.structures.occupancies
        ids = [o.id for o in step.objectives]
        assert len(set(ids)) == len(ids)
        # The target is never given up.
        held = next(o for o in step.objectives if o.id == "PTV/squared_underdosing")
        assert held.weight >= PRIMARY_WEIGHT_FLOOR * (1 - 1e-9)
        assert held.dose_gy >= copy.protocol.primary.dose_gy
        doses = step.scorecard.structures["PTV"]
        assert doses["D95%_gy"] == pytest.approx(50.0, rel=2e-6)
