"""Protocols: strict reading, agreement with the schema, the shipped rows, matching to a case."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radplan.beams import gantry_angles
from radplan.binding import resolve
from radplan.errors import InputError
from radplan.naming import map_name
from radplan.protocol_file import list_protocols, load_protocol, protocol_from_dict, protocols_dir

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema checks files against the schema")

SCHEMA = json.loads((protocols_dir() / "protocol.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

GOOD = {
    "format": 1,
    "name": "test",
    "title": "Test",
    "site": "pelvis",
    "fractions": 20,
    "prescriptions": [
        {"target": "PTV_6000", "dose_gy": 60, "dose_per_fraction_gy": 3},
        {"target": "PTV_4800", "dose_gy": 48},
    ],
    "coverage": "D95%",
    "beams": "coplanar7",
    "aliases": {"PTV_6000": ["PTV"], "Bag_Bowel": ["Bowel"]},
    "goals": [
        {
            "structure": "PTV_6000",
            "metric": "V95%",
            "op": ">=",
            "value": 98,
            "unit": "%",
            "priority": 1,
            "source": "a source",
            "verified": True,
        },
        {
            "structure": "Rectum",
            "metric": "V50Gy",
            "op": "<=",
            "value": 22,
            "unit": "%",
            "priority": 1,
            "source": "a source",
            "verified": False,
            "note": "a note",
        },
        {
            "structure": "Bag_Bowel",
            "metric": "D1cc",
            "op": "<=",
            "value": 46.6,
            "unit": "Gy",
            "priority": 3,
            "source": "a source",
            "verified": True,
            "optional": True,
        },
    ],
}
CASE = ("External", "PTV_6000", "PTV_4800", "Rectum", "Bag_Bowel", "Bladder")


def changed(path: tuple, value: object) -> dict:
    """GOOD with one entry replaced (or removed, for the value KeyError)."""
    document = copy.deepcopy(GOOD)
    place = document
    for key in path[:-1]:
        place = place[key]
    if value is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return document


@pytest.mark.parametrize("name", list_protocols())
def test_shipped_protocol_is_valid(name):
    path = protocols_dir() / f"{name}.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    VALIDATOR.validate(document)
    protocol = load_protocol(name)
    assert protocol == load_protocol(path) == protocol_from_dict(protocol.to_dict())
    VALIDATOR.validate(protocol.to_dict())
    assert protocol.name == name
    assert protocol.coverage.text == "D95%"
    assert len(gantry_angles(protocol.beams)) >= 5
    # Normalised coverage is itself a must-goal, so that it shows on the scorecard.
    primary = protocol.primary
    assert any(
        (g.structure, g.metric, g.op, g.value, g.priority)
        == (primary.target, protocol.coverage, ">=", primary.dose_gy, 1)
        for g in protocol.goals
    )
    for goal in protocol.goals:
        assert goal.source
    if not all(goal.verified for goal in protocol.goals):
        assert "not opened" in protocol.note
    if protocol.site != "phantom":
        names = set(protocol.structures) | {a for v in protocol.aliases.values() for a in v}
        assert {n for n in names if map_name(n).name != n} == set()
    # A case with exactly the protocol's structures fits it.
    binding = resolve(protocol, protocol.structures)
    assert binding.protocol == replace(protocol, aliases={})
    assert not binding.missing and not binding.notes


def test_all_protocols_of_the_design_are_there():
    assert set(list_protocols()) == {
        "hn_70_56_52",
        "lung_60_30",
        "openkbp_hn_70_63_56",
        "prostate_60_20",
        "prostate_70.2_26",
        "rectum_25_5",
        "rectum_50.4_28",
        "rectum_sib_50_55_25",
        "tg119_cshape_easy",
        "tg119_cshape_hard",
    }


# Written down once more, from the sources and not from the files: a wrong figure in a protocol is
# a clinical error.
FIGURES = {
    "tg119_cshape_easy": "1 OuterTarget D95% ≥ 50 Gy; 1 OuterTarget D10% ≤ 55 Gy; "
    "1 Core D10% ≤ 25 Gy",
    "tg119_cshape_hard": "1 OuterTarget D95% ≥ 50 Gy; 2 OuterTarget D10% ≤ 55 Gy; "
    "3 Core D10% ≤ 10 Gy",
    "openkbp_hn_70_63_56": "1 Brainstem D0.1cc ≤ 50 Gy; 1 SpinalCord D0.1cc ≤ 45 Gy; "
    "2 Bone_Mandible D0.1cc ≤ 73.5 Gy; 3 Parotid_L mean ≤ 26 Gy; 3 Parotid_R mean ≤ 26 Gy; "
    "3 Larynx mean ≤ 45 Gy; 3 Esophagus mean ≤ 45 Gy; 2 PTV_7000 D99% ≥ 66.5 Gy; "
    "2 PTV_6300 D99% ≥ 59.85 Gy; 2 PTV_5600 D99% ≥ 53.2 Gy",
    "hn_70_56_52": "2 PTV_7000 D99% ≥ 63 Gy; 4 PTV_7000 D99% ≥ 66.5 Gy; "
    "2 PTV_7000 D0.03cc ≤ 82 Gy; 4 PTV_7000 D0.03cc ≤ 77 Gy; 2 PTV_5600 D95% ≥ 50.4 Gy; "
    "1 SpinalCord_PRV05 D0.03cc ≤ 52 Gy; 3 SpinalCord_PRV05 D0.03cc ≤ 50 Gy; "
    "1 Brainstem_PRV05 D0.03cc ≤ 56 Gy; 1 OpticChiasm D0.03cc ≤ 56 Gy; "
    "1 Bone_Mandible D0.03cc ≤ 75 Gy; 3 Bone_Mandible D0.03cc ≤ 70 Gy; "
    "1 Lobe_Temporal_L D0.03cc ≤ 72 Gy; 3 Parotid_L mean ≤ 26 Gy; "
    "3 Cavity_Oral mean ≤ 30 Gy; 3 Larynx_SG mean ≤ 20 Gy; 3 Pharynx mean ≤ 45 Gy; "
    "3 Glnd_Submand_R mean ≤ 39 Gy; 3 Lips mean ≤ 20 Gy; 3 Esophagus_S mean ≤ 30 Gy",
    "prostate_70.2_26": "1 PTV_7020 D95% ≥ 70.2 Gy; 1 Rectum V50Gy ≤ 17 %; "
    "1 Rectum V31Gy ≤ 35 %; 3 Rectum V31Gy ≤ 34 %; 1 Bladder V50Gy ≤ 25 %; "
    "1 Bladder V31Gy ≤ 50 %; 3 Femur_Head_L V40Gy ≤ 10 %; 3 Femur_Head_R V40Gy ≤ 10 %",
    "prostate_60_20": "1 Rectum V20Gy ≤ 85 %; 1 Rectum V30Gy ≤ 57 %; 1 Rectum V40Gy ≤ 38 %; "
    "1 Rectum V50Gy ≤ 22 %; 1 Rectum V60Gy ≤ 1 %; 3 Rectum V57Gy ≤ 10 %; "
    "3 Rectum V30Gy ≤ 35 %; 1 Bladder V60Gy ≤ 3 %; 1 Bladder V56.8Gy ≤ 5 %; "
    "1 Bladder V48Gy ≤ 25 %; 1 Bladder V40Gy ≤ 50 %; 1 Femur_Head_L D0.03cc ≤ 37 Gy; "
    "1 Femur_Head_R V35Gy ≤ 5 %; 1 PenileBulb mean ≤ 35 Gy; 3 PenileBulb mean ≤ 25 Gy; "
    "1 Bag_Bowel D0.1cc ≤ 49 Gy; 1 Bag_Bowel D1cc ≤ 46.6 Gy",
    "rectum_50.4_28": "1 PTV_5040 D95% ≥ 50.4 Gy; 1 Bowel_Small V35Gy ≤ 180 cc; "
    "1 Bowel_Small V40Gy ≤ 100 cc; 1 Bowel_Small V45Gy ≤ 65 cc; 1 Bag_Bowel V45Gy ≤ 195 cc; "
    "3 Bladder V40Gy ≤ 50 %; 4 Bladder V40Gy ≤ 40 %; 3 Bladder V45Gy ≤ 30 %; "
    "4 Bladder V45Gy ≤ 15 %; 3 Femur_Head_L V40Gy ≤ 40 %; 4 Femur_Head_L V45Gy ≤ 25 %",
    "rectum_sib_50_55_25": "1 PTV_5500 D95% ≥ 55 Gy; 1 PTV_5000 D95% ≥ 50 Gy; "
    "1 Bowel_Small V45Gy ≤ 65 cc",
    "rectum_25_5": "1 PTV_2500 D95% ≥ 25 Gy; 2 PTV_2500 D2% ≤ 26.75 Gy; "
    "1 Bowel_Small V21.2Gy ≤ 180 cc; 1 Bowel_Small V23.7Gy ≤ 100 cc",
    "lung_60_30": "1 SpinalCord D0.03cc ≤ 50.5 Gy; 1 Lungs-GTV V20Gy ≤ 37 %; "
    "3 Lungs-GTV mean ≤ 20 Gy; 3 Esophagus mean ≤ 34 Gy; 1 BrachialPlex_L D0.03cc ≤ 66 Gy; "
    "4 PTV_6000 D0.03cc ≤ 66 Gy",
}


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_shipped_figures(name):
    rows = {f"{goal.priority} {goal.label}" for goal in load_protocol(name).goals}
    assert {row.strip() for row in FIGURES[name].split(";")} <= rows


def test_rectum_short_course_is_isoeffective():
    """Every organ row has the biologically effective dose of its row in 25 fractions."""
    protocol = load_protocol("rectum_25_5")
    rows = [g for g in protocol.goals if "isoeffective" in g.source]
    assert len(rows) >= 8
    for goal in rows:
        dose_25 = float(goal.source.split("V")[1].split("Gy")[0])
        effect_25 = dose_25 * (1 + dose_25 / 25 / 3)
        effect_5 = goal.metric.level * (1 + goal.metric.level / 5 / 3)
        assert effect_5 == pytest.approx(effect_25, rel=0.01)  # doses are rounded to 0.1 Gy
        assert not goal.verified


BAD = [
    # path, value, words of the message, whether a schema can see it
    (("fractions",), 0, "fractions at least 1", True),
    (("fractions",), 20.5, "fractions whole number", True),
    (("fractions",), True, "fractions whole number", True),
    (("name",), KeyError, "name missing", True),
    (("name",), " ", "name empty", True),
    (("titel",), "x", "titel not known title", True),
    (("format",), 2, "format 1", True),
    (("beams",), "coplanar99", "beams coplanar99", False),
    (("coverage",), "V95%", "coverage D95%", True),
    (("coverage",), "D0.03cc", "coverage D95%", True),
    (("prescriptions",), [], "prescriptions at least one", True),
    (("prescriptions",), {}, "prescriptions list", True),
    (("prescriptions", 0, "dose_gy"), 0, "prescription 1 (PTV_6000) dose_gy above 0", True),
    (("prescriptions", 0, "dose_gy"), -60, "dose_gy above 0", True),
    (("prescriptions", 0, "dose_gy"), "60", "dose_gy number", True),
    (("prescriptions", 0, "dose_gy"), None, "dose_gy number null", True),
    (("prescriptions", 0, "dose_gy"), 10**400, "dose_gy", True),
    (("prescriptions", 0, "dose_gy"), 61, "PTV_6000 61 Gy name says 60", False),
    (("prescriptions", 0, "dose_per_fraction_gy"), 2, "does not add up 20 fractions 40 Gy", False),
    (("prescriptions", 0, "fractions"), 20, "prescription 1 fractions not known", True),
    (("prescriptions", 1, "target"), "PTV_6000", "two prescriptions", False),
    (("prescriptions", 1, "target"), "PTV ", "not a structure name", True),
    (("goals",), [], "goals at least one", True),
    (("goals", 1), "Rectum V50Gy ≤ 22 %", "goal 2 object", True),
    (("goals", 1, "structure"), "", "goal 2 structure empty", True),
    (("goals", 1, "structure"), 3, "goal 2 structure text", True),
    (("goals", 1, "metric"), "V50", "goal 2 metric V50 not a metric", True),
    (("goals", 1, "metric"), "D0%", "goal 2 metric volume must be above 0", False),
    (("goals", 1, "metric"), "V95%", "goal 2 (Rectum V95%) relative prescription", False),
    (("goals", 1, "metric"), "HI", "goal 2 unit", True),
    (("goals", 1, "op"), "<", "goal 2 (Rectum V50Gy) op <= or >=", True),
    (("goals", 1, "value"), math.nan, "goal 2 (Rectum V50Gy) value nan", None),
    (("goals", 1, "value"), math.inf, "goal 2 value inf", True),
    (("goals", 1, "value"), -1, "goal 2 value at least 0", True),
    (("goals", 1, "value"), 101, "goal 2 value 100 % of the volume", True),
    (("goals", 1, "value"), True, "goal 2 value number true/false", True),
    (("goals", 1, "unit"), "Gy", "goal 2 unit '%' or 'cc' V50Gy", True),
    (("goals", 1, "unit"), "", "goal 2 unit", True),
    (("goals", 2, "unit"), "cc", "goal 3 (Bag_Bowel D1cc) unit 'Gy'", True),
    (("goals", 2, "unit"), "%", "goal 3 relative prescription", False),
    (("goals", 1, "priority"), 0, "goal 2 priority 1 (must)", True),
    (("goals", 1, "priority"), 5, "goal 2 priority 4 (ideal), got 5", True),
    (("goals", 1, "priority"), 1.5, "goal 2 priority whole number", True),
    (("goals", 1, "priority"), "1", "goal 2 priority whole number", True),
    (("goals", 1, "verified"), "yes", "goal 2 verified true or false", True),
    (("goals", 1, "verified"), KeyError, "goal 2 verified missing", True),
    (("goals", 1, "source"), KeyError, "goal 2 source missing", True),
    (("goals", 1, "source"), "", "goal 2 source empty", True),
    (("goals", 1, "optional"), 1, "goal 2 optional true or false", True),
    (("goals", 1, "limit"), 3, "goal 2 limit not known", True),
    (("aliases",), [], "aliases object", True),
    (("aliases",), {"Rectum": "R"}, "aliases Rectum list", True),
    (("aliases",), {"Uterus": ["U"]}, "aliases Uterus neither", False),
    (("aliases",), {"PTV_6000": ["PTV_70"]}, "60 Gy the name PTV_70 says 70 Gy", False),
]


@pytest.mark.parametrize(("path", "value", "words", "schema_sees"), BAD)
def test_bad_documents(path, value, words, schema_sees):
    document = changed(path, value)
    with pytest.raises(InputError) as error:
        protocol_from_dict(document, "protocol my.json")
    text = str(error.value)
    assert text.startswith("protocol my.json") and "\n" not in text
    for word in words.split():
        assert word in text, f"{word!r} not in {text!r}"
    if schema_sees is not None:  # JSON has no NaN for a schema to see
        assert VALIDATOR.is_valid(document) != schema_sees


def test_good_document():
    VALIDATOR.validate(GOOD)
    protocol = protocol_from_dict(GOOD)
    assert protocol.prescription_gy == {"PTV_6000": 60.0, "PTV_4800": 48.0}
    assert protocol.structures == ("PTV_6000", "PTV_4800", "Rectum", "Bag_Bowel")
    assert protocol.goals[1].label == "Rectum V50Gy ≤ 22 %"
    assert protocol.goals[2].optional and not protocol.goals[1].optional


PLACES = [
    (),
    *((key,) for key in GOOD),
    ("prescriptions", 0),
    ("prescriptions", 0, "target"),
    ("prescriptions", 0, "dose_gy"),
    ("prescriptions", 1, "dose_per_fraction_gy"),
    *(("goals", i, key) for i in range(3) for key in (*GOOD["goals"][1], "optional", "extra")),
]
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 10)
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["Gy", "cGy", "%", "cc", "", "D95%", "V20Gy", "mean", "HI", "Rectum"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(PLACES), JUNK)
def test_loader_is_never_laxer_than_the_schema(path, junk):
    document = changed(path, junk) if path else junk
    try:
        protocol = protocol_from_dict(document)
    except InputError:
        return  # no other exception may come out
    VALIDATOR.validate(document)
    VALIDATOR.validate(protocol.to_dict())
    assert protocol_from_dict(protocol.to_dict()) == protocol


def test_cgy_becomes_gy():
    document = copy.deepcopy(GOOD)
    document["goals"][2] |= {"metric": "mean", "value": 4660, "unit": "cGy"}
    document["goals"][1]["metric"] = "V5000cGy"
    goals = protocol_from_dict(document).goals
    assert (goals[2].value, goals[2].unit) == (46.6, "Gy")
    assert goals[1].metric.text == "V50Gy"


def with_second_row(**changes) -> dict:
    document = copy.deepcopy(GOOD)
    document["goals"].append(document["goals"][1] | changes)
    return document


def test_limit_and_ideal_are_two_rows():
    protocol_from_dict(with_second_row(priority=3, value=15))
    protocol_from_dict(with_second_row(priority=3, metric="V40Gy", value=40))
    with pytest.raises(InputError, match=r"goal 4 \(Rectum V50Gy\): repeats goal 2"):
        protocol_from_dict(with_second_row(value=15))
    with pytest.raises(InputError, match="repeats goal 2"):
        protocol_from_dict(with_second_row(metric="V5000cGy"))
    for value in (22, 30):
        with pytest.raises(InputError, match="not stricter"):
            protocol_from_dict(with_second_row(priority=4, value=value))
    document = with_second_row()
    document["goals"][3] = document["goals"][0] | {"priority": 4, "value": 97}
    with pytest.raises(InputError, match="not stricter"):
        protocol_from_dict(document)


@pytest.mark.parametrize(("per_fraction", "fits"), [(1.4857, True), (1.49, False)])
def test_dose_per_fraction_may_be_rounded(per_fraction, fits):
    document = copy.deepcopy(GOOD) | {"fractions": 35}
    document["prescriptions"] = [
        {"target": "PTV_5200", "dose_gy": 52, "dose_per_fraction_gy": per_fraction}
    ]
    document["goals"] = document["goals"][1:2]
    del document["aliases"]
    if fits:
        protocol_from_dict(document)
    else:
        with pytest.raises(InputError, match="35 fractions of 1.49 Gy are 52.15 Gy"):
            protocol_from_dict(document)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[1]", "must be a JSON object, got a list"),
        (b"\xff\xfe{}", "is not UTF-8"),
        (b'{"value": NaN}', "NaN is not a number"),
        (b'{"value": -Infinity}', "-Infinity is not a number"),
        (b'{"name": "a", "name": "b"}', "'name' is given twice"),
        (b'{"value": ' + b"1" * 5000 + b"}", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
    ],
)
def test_bad_files(tmp_path, content, words):
    path = tmp_path / "mine.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        load_protocol(path)
    assert words in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_finding_protocols(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(GOOD), encoding="utf-8")
    assert load_protocol(path) == load_protocol(str(path)) == protocol_from_dict(GOOD)
    with pytest.raises(InputError, match="did you mean prostate_60_20"):
        load_protocol("prostate_60_2")
    with pytest.raises(InputError, match="there are hn_70_56_52"):
        load_protocol("nothing like it")
    with pytest.raises(InputError, match="cannot be read"):
        load_protocol(tmp_path / "absent.json")
    with pytest.raises(InputError, match="cannot be read"):
        load_protocol(Path(tmp_path))


def test_resolve_by_name_alias_and_meaning():
    protocol = protocol_from_dict(GOOD)
    exact = resolve(protocol, CASE)
    assert exact.names == {name: name for name in protocol.structures}
    binding = resolve(protocol, ["BODY", "PTV", "PTV 48Gy", "rectum", "Bowel", "GTV"])
    assert binding.names == {
        "PTV_6000": "PTV",
        "PTV_4800": "PTV 48Gy",
        "Rectum": "rectum",
        "Bag_Bowel": "Bowel",
    }
    assert [p.target for p in binding.protocol.prescriptions] == ["PTV", "PTV 48Gy"]
    assert [g.structure for g in binding.protocol.goals] == ["PTV", "rectum", "Bowel"]
    # Its own name wins over an alias.
    assert resolve(protocol, [*CASE, "PTV", "Bowel"]).names == exact.names


@pytest.mark.parametrize("names", [["PTV 60Gy", "Rectum"], ["PTV", "rectum", "Bowel"], CASE])
def test_resolved_protocol_can_be_stored_and_resolved_again(names):
    document = copy.deepcopy(GOOD)
    document["goals"].append(document["goals"][0] | {"structure": "PTV_4800", "priority": 2})
    binding = resolve(protocol_from_dict(document), names)
    stored = protocol_from_dict(json.loads(json.dumps(binding.protocol.to_dict())))
    assert resolve(stored, names).protocol == stored == binding.protocol
    assert ("PTV_4800 V95%" in str(binding.notes)) == ("PTV_4800" not in names)


@pytest.mark.parametrize("name", list_protocols())
def test_shipped_protocol_without_optional_structures_can_be_stored(name):
    protocol = load_protocol(name)
    needed = {g.structure for g in protocol.goals if g.priority == 1 and not g.optional}
    aliases = [protocol.aliases.get(n, (n,))[0] for n in (protocol.primary.target, *needed)]
    bound = resolve(protocol, dict.fromkeys(aliases)).protocol
    assert protocol_from_dict(bound.to_dict()) == bound


def test_resolve_without_lower_target_and_organ():
    binding = resolve(protocol_from_dict(GOOD), ["PTV_6000", "Rectum"])
    assert binding.missing == ("PTV_4800", "Bag_Bowel")
    assert [p.target for p in binding.protocol.prescriptions] == ["PTV_6000"]
    assert "PTV_4800" in binding.notes[0] and "dropped" in binding.notes[0]
    assert len(binding.protocol.goals) == 3


def test_resolve_without_must_goal_structure():
    protocol = protocol_from_dict(GOOD)
    with pytest.raises(InputError) as error:
        resolve(protocol, ["PTV_6000", "Bladder"])
    for word in ("no Rectum", "must-goal Rectum V50Gy ≤ 22 %", "PTV_6000, Bladder"):
        assert word in str(error.value)
    document = changed(("goals", 1, "optional"), True)
    assert "Rectum" in resolve(protocol_from_dict(document), ["PTV_6000"]).missing


def test_resolve_primary_target():
    protocol = protocol_from_dict(GOOD)
    with pytest.raises(InputError, match="no PTV_6000 .the primary target, 60 Gy.*PTV_4800"):
        resolve(protocol, ["PTV_4800", "Rectum"])
    with pytest.raises(InputError, match="no structures"):
        resolve(protocol, [])


def test_only_ptv_stands_for_only_prescription():
    prostate = load_protocol("prostate_70.2_26")
    organs = ["External", "Rectum", "Bladder", "CTV", "zPTV_ring"]
    for name in ("PTV", "PTV1", "PTV_70.2", "PTV_7020", "PTVp"):
        binding = resolve(prostate, [*organs, name])
        assert binding.names["PTV_7020"] == name
        assert bool(binding.notes) == (name in ("PTV", "PTV1", "PTVp"))
    for names in (["PTV_6000"], ["PTV 78Gy"], ["PTV1", "PTV2"], ["GTV"], []):
        with pytest.raises(InputError, match="no PTV_7020"):
            resolve(prostate, [*organs, *names])
    # With several prescriptions, a PTV without a dose could be any of them.
    with pytest.raises(InputError, match="no PTV_7000"):
        resolve(load_protocol("openkbp_hn_70_63_56"), ["PTV"])


def test_ambiguous_structures_are_refused():
    protocol = protocol_from_dict(GOOD)
    with pytest.raises(InputError, match="Rectum could be rectum or RECTUM"):
        resolve(protocol, ["PTV_6000", "rectum", "RECTUM"])
    document = changed(("aliases",), {"PTV_6000": ["PTV"], "PTV_4800": ["PTV"]})
    with pytest.raises(InputError, match="PTV of the case would be both PTV_6000 and PTV_4800"):
        resolve(protocol_from_dict(document), ["PTV", "Rectum"])


def test_sides_are_never_exchanged():
    protocol = load_protocol("openkbp_hn_70_63_56")
    binding = resolve(protocol, ["PTV70", "Parotid R", "SpinalCord"])
    assert binding.names["Parotid_R"] == "Parotid R"
    assert "Parotid_L" in binding.missing


def test_openkbp_patients_may_lack_organs_and_targets(data_dir):
    protocol = load_protocol("openkbp_hn_70_63_56")
    folders = sorted((data_dir / "open-kbp" / "validation-pats").glob("pt_*"))
    assert len(folders) == 10
    for folder in folders:
        names = {p.stem for p in folder.glob("*.csv")}
        binding = resolve(protocol, sorted(names))
        assert binding.names["PTV_7000"] == "PTV70"
        assert binding.names["Parotid_L"] == "LeftParotid"
        assert ("PTV_6300" in binding.missing) == ("PTV63" not in names)
        assert ("Bone_Mandible" in binding.missing) == ("Mandible" not in names)
