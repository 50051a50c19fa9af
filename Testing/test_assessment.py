"""What experts say is checked: verdicts against the scorecard, claims against the dose."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from agent_cases import ball, ball_case, ball_protocol, box, uniform_dose
from radplan.agent import briefing
from radplan.agent.assessment import (
    ASSESSMENT_SCHEMA,
    MOST_ITEMS,
    Problem,
    assess_by_rules,
    assessment_from_dict,
    read_assessment,
    verdict_of,
)
from radplan.agent.checked import RejectedReplyError
from radplan.agent.evaluator import Evaluator, PlanFacts, clinical_structures
from radplan.agent.spatial import spatial_facts
from radplan.agent.tokens import StructureTokens
from radplan.agent.view import view_of
from radplan.agent.vision import CLAIMS_SCHEMA, Claim, check_claims, read_claims
from radplan.case import DoseImage
from scripted_llm import ScriptedServer, says
from scripted_replies import assessment, claim, logged, phantom_session, planner_for, script


@pytest.fixture(scope="module")
def session(phantom_cache, tmp_path_factory):
    """A session with its first plan; tests leave it as it is."""
    return phantom_session(phantom_cache, tmp_path_factory.mktemp("assess") / "session")


@pytest.fixture(scope="module")
def view(session):
    return view_of(session.situation)


# Form and verdict --------------------------------------------------------------------------------


def test_a_good_reply(view):
    read = read_assessment(assessment(), view.structures, view.scorecard)
    assert (read.verdict, read.author, read.notes) == ("improve", "llm", ())
    assert read.problems == (Problem("OAR_1", "organ overdosed", "Its mean dose is high."),)
    assert assessment_from_dict(json.loads(json.dumps(read.to_dict()))) == read


@pytest.mark.parametrize("verdict", ["approve", "approved", "APPROVED", "Approval granted"])
def test_an_approval_is_ignored_and_told(view, verdict):
    read = read_assessment(assessment(verdict=verdict), view.structures, view.scorecard)
    assert read.verdict == "improve"
    assert "only a person can approve" in read.notes[0]


def test_a_verdict_cannot_be_better_than_the_scorecard(view):
    read = read_assessment(assessment(verdict="acceptable"), view.structures, view.scorecard)
    assert read.verdict == "improve"
    assert "contradicts the scorecard" in read.notes[0]
    worse = read_assessment(assessment(verdict="unacceptable"), view.structures, view.scorecard)
    assert worse.verdict == "unacceptable"  # it may be worse, but not without a word
    assert worse.notes == ('verdict "unacceptable", though no must-goal is missed',)
    missed = replace(view.scorecard.goals[0], met=False, margin=-1.0, relative_margin=-0.02)
    bad = replace(view.scorecard, goals=(missed, *view.scorecard.goals[1:]))
    assert verdict_of(bad) == "unacceptable"
    assert read_assessment(assessment(), view.structures, bad).verdict == "unacceptable"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"verdict": "splendid"}, "acceptable, improve, unacceptable"),
        ({"verdict": 3}, "verdict"),
        ({"problems": "none"}, '"problems" must be a list'),
        ({"problems": [{"structure": "Liver", "kind": "spill", "text": "x"}]}, "OAR_1"),
        ({"problems": [{"structure": "PTV", "kind": "ugly", "text": "x"}]}, "cold spot"),
        ({"problems": [{"structure": "PTV", "kind": "spill"}]}, '"text" must be a text'),
        ({"problems": [None]}, "must be a JSON object"),
        ({"directions": [1]}, "list of texts"),
    ],
)
def test_a_bad_reply_is_told_what_to_repair(view, changed, words):
    with pytest.raises(RejectedReplyError) as caught:
        read_assessment(assessment(**changed), view.structures, view.scorecard)
    assert words in str(caught.value)


def test_the_scorecard_stands_beside_what_a_model_says(view):
    """False claims about goals are contradicted before the next voice reads them."""
    kinds = (
        ("OAR_1", "organ overdosed", "misses G4"),
        ("SpinalCord", "organ overdosed", "its limits are met"),
        ("PTV", "target underdosed", "its limits are met"),
        ("PTV", "organ overdosed", "it is a target"),
        ("OAR_1", "target underdosed", "it is no target"),
    )
    problems = [{"structure": s, "kind": k, "text": "It is all wrong."} for s, k, _ in kinds]
    problems.append({"structure": "OAR_2", "kind": "spill", "text": "It is all wrong."})
    reply = assessment(verdict="unacceptable", problems=problems)
    read = read_assessment(reply, view.structures, view.scorecard)
    text = briefing.assessment(view, read)
    assert "Verdict: unacceptable [all must-goals are met]" in text
    for structure, kind, words in kinds:
        assert f"{structure}, {kind} [{words}]: It is all wrong." in text
    assert "OAR_2, spill: It is all wrong." in text


def test_long_replies_are_cut(view):
    many = [{"structure": "PTV", "kind": "spill", "text": "x" * 5000}] * 50
    read = read_assessment(assessment(problems=many), view.structures, view.scorecard)
    assert len(read.problems) == MOST_ITEMS
    assert len(read.problems[0].text) <= 500


def test_the_rules_see_the_same_facts(view):
    seen = assess_by_rules(view.scorecard)
    assert seen.verdict == verdict_of(view.scorecard) == "improve"
    assert [p.structure for p in seen.problems] == ["OAR_1"]
    assert "priority 3" in seen.problems[0].text
    assert seen.directions == ("lower the dose in OAR_1",)


def test_schemas_keep_to_the_common_subset():
    text = json.dumps([ASSESSMENT_SCHEMA, CLAIMS_SCHEMA])
    for word in ("minimum", "maxItems", "maxLength", "default", "anyOf"):
        assert f'"{word}"' not in text


# Claims ------------------------------------------------------------------------------------------

TOKENS = StructureTokens.of(ball_case(), ball_protocol())


def facts_of(paint):
    """Facts about a uniform target dose on which something is painted."""
    dose = uniform_dose(60.0, 5.0)
    changed = np.array(dose.dose_gy)
    paint(changed)
    return spatial_facts(ball_case(), DoseImage(dose.grid, changed), ball_protocol())


def hot_left(dose):
    dose[ball((12.0, 0.0, 0.0), 5.0)] = 68.0


def cold_behind(dose):
    dose[ball((0.0, 14.0, 0.0), 4.0)] = 50.0


def spilling_left(dose):
    dose[ball((26.0, 0.0, 0.0), 16.0)] = 60.0


def hot_above_in_front(dose):
    dose[ball((0.0, -9.0, 14.0), 3.5)] = 68.0  # anterior is the smaller component


def reaching_front(far_mm: float):
    """Dose in front of the target up to so far from its centre; OAR_1 begins at 32 mm."""

    def paint(dose):
        dose[box((-6, -far_mm, -6), (6, 0, 6))] = 60.0

    return paint


def made(kind: str, structure: str = "", direction: str = "", quality: str = "") -> Claim:
    return Claim(kind, structure, direction, quality, "a claim")


@pytest.mark.parametrize(
    ("paint", "claimed", "why"),
    [
        (hot_left, made("hot spot", "PTV_6000"), ""),
        (hot_left, made("hot spot"), ""),
        (hot_left, made("hot spot", "PTV_6000", "left"), ""),
        (hot_left, made("hot spot", "PTV_6000", "right"), "it lies left"),
        (hot_left, made("hot spot", "OAR_1"), "no hot spot above 107 % in or next to OAR_1"),
        (hot_left, made("cold spot", "PTV_6000"), "no cold spot"),
        (cold_behind, made("cold spot", "PTV_6000", "posterior"), ""),
        (cold_behind, made("cold spot", "PTV_6000", "anterior"), "it lies posterior"),
        (cold_behind, made("hot spot", "PTV_6000"), "no hot spot"),
        (spilling_left, made("spill", "Parotid_L"), ""),
        (spilling_left, made("spill", "Parotid_L", "left"), ""),
        (spilling_left, made("spill", "", "right"), "dose spills"),
        (spilling_left, made("spill", "OAR_1"), "does not come within 10 mm of OAR_1"),
        (spilling_left, made("spill", "Parotid_L", "posterior"), "dose spills left, not"),
        (spilling_left, made("spill", "PTV_6000", "left"), ""),
        # Near the organ is enough, far from it is not, however near it the furthest point is.
        (reaching_front(24.0), made("spill", "OAR_1", "anterior"), ""),
        (reaching_front(24.0), made("spill", "OAR_1", "right"), "dose spills anterior"),
        (reaching_front(20.5), made("spill", "OAR_1"), "does not come within 10 mm"),
        # A slice that shows the spot in front does not show that it lies above.
        (hot_above_in_front, made("hot spot", "PTV_6000", "anterior"), ""),
        (hot_above_in_front, made("hot spot", "PTV_6000", "superior"), ""),
        (hot_above_in_front, made("hot spot", "PTV_6000", "left"), "not left"),
        (hot_left, made("no hot spot", "PTV_6000"), "there is a hot spot above 107 %, left"),
        (hot_left, made("no hot spot"), "there is a hot spot"),
        (hot_left, made("no hot spot", "PTV_6000", "right"), ""),
        (hot_left, made("no hot spot", "OAR_1"), ""),
        (hot_left, made("no cold spot", "PTV_6000"), ""),
        (cold_behind, made("no cold spot"), "there is a cold spot below 95 %, posterior"),
        (spilling_left, made("conformity", "PTV_6000", "", "fair"), ""),
        (spilling_left, made("conformity", "PTV_6000", "", "poor"), ", fair"),
        (spilling_left, made("conformity", "PTV_6000", "", "good"), ", fair"),
        (lambda dose: None, made("conformity", "PTV_6000", "", "poor"), "is 1.00, good"),
        (lambda dose: None, made("conformity", "PTV_6000", "", "good"), ""),
        (spilling_left, made("conformity", "Parotid_L", "", "good"), "is no target"),
    ],
)
def test_claims_are_held_against_the_dose(paint, claimed, why):
    checked = check_claims([claimed], facts_of(paint), TOKENS)
    if why:
        assert not checked.held
        assert why in checked.dropped[0][1]
        assert why in checked.notes[0]
    else:
        assert checked.held == (claimed,), checked.dropped


@pytest.mark.parametrize(
    ("conformity", "held"),
    [
        (0.95, {"good"}),
        (0.847, {"good", "fair"}),  # by eye nobody can tell this from 0.85
        (0.75, {"fair"}),
        (0.62, {"fair", "poor"}),
        (0.4, {"poor"}),
    ],
)
def test_a_quality_next_to_a_border_may_be_called_either(conformity, held):
    facts = facts_of(lambda dose: None)
    spills = tuple(replace(s, conformity=conformity) for s in facts.spills)
    claims = [made("conformity", "PTV_6000", "", q) for q in ("good", "fair", "poor")]
    checked = check_claims(claims, replace(facts, spills=spills), TOKENS)
    assert {claim.quality for claim in checked.held} == held


def test_good_conformity_is_contradicted_where_dose_is_everywhere():
    flooded = facts_of(lambda dose: dose.fill(60.0))
    checked = check_claims([made("conformity", "PTV_6000", "", "good")], flooded, TOKENS)
    assert "is 0.02, poor" in checked.notes[0]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"kind": "canal"}, "hot spot, cold spot"),
        ({"structure": "Liver"}, "OAR_1"),
        ({"direction": "up"}, "left, right"),
        ({"kind": "conformity", "quality": "so so"}, "good, fair, poor"),
        ({"text": None}, "text"),
    ],
)
def test_the_form_of_claims(changed, words):
    with pytest.raises(RejectedReplyError) as caught:
        read_claims({"claims": [claim(**changed)]}, ("PTV", "OAR_1"))
    assert words in str(caught.value)


def test_no_claims_are_a_good_answer():
    assert read_claims({"claims": []}, ("PTV",)) == ()


# Three voices ------------------------------------------------------------------------------------


def assess(session, view, server, vision: bool):
    planner = planner_for(session, server, vision=vision)
    return planner._evaluator.assess(view, "anatomy", PlanFacts(view))


def test_without_pictures_the_numbers_are_the_assessment(session, view):
    with ScriptedServer(script()) as server:
        assess(session, view, server, vision=False)
        assert len(server.requests) == 1


def test_both_voices_are_merged(session, view):
    merged = assessment(directions=["merged"])
    answers = script(
        vision_expert={"claims": [claim(), claim(kind="cold spot")]}, evaluator=merged
    )
    with ScriptedServer(answers) as server:
        seen = assess(session, view, server, vision=True)
        told = server.requests[2].body["messages"][1]["content"]
    assert seen.directions == ("merged",)
    assert "Dose leaves the target towards OAR_1." in told
    assert "vision claim dropped" in seen.notes[0]
    assert logged(session, "vision claims")[-1]["dropped"] == list(seen.notes)
    shown = told.partition("## By pictures")[2]
    assert "- spill, OAR_1 (place checked, words not): Dose leaves" in shown
    assert "cold spot" not in shown


def test_where_no_claim_holds_nothing_is_merged(session, view):
    answers = script(vision_expert={"claims": [claim(kind="cold spot", structure="PTV")]})
    with ScriptedServer(answers) as server:
        seen = assess(session, view, server, vision=True)
        assert len(server.requests) == 2
    assert seen.directions == tuple(assessment()["directions"])
    assert "dropped" in seen.notes[0]


@pytest.mark.parametrize("voice", ["vision_expert", "evaluator"])
def test_a_voice_that_says_nothing_of_use_is_left_out(session, view, voice):
    answers = {"vision_expert": {"claims": [claim()]}} | {voice: says("hm")}
    with ScriptedServer(script(**answers)) as server:
        seen = assess(session, view, server, vision=True)
    assert seen.author == "llm"
    assert logged(session, "evaluator")[-1]["voice"] == voice.replace("_", " ")


def test_without_a_model_code_judges(view):
    seen = Evaluator(None, True, lambda *_: None).assess(view, "", PlanFacts(view))
    assert seen.author == "rules"
    assert seen.problems[0].structure == "OAR_1"


def test_structures_that_claims_may_name(view):
    assert clinical_structures(view) == ("PTV", "SpinalCord", "OAR_1", "OAR_2")
