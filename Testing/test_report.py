"""The report: complete, in one file, safe against hostile text, honest about what is missing."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

import fake_session
from radplan.case import Case, DoseImage
from radplan.errors import InputError
from radplan.report import write_report
from radplan.report.goals import Goal, changes, failed_first, goal_marker, verdict

GOAL = Goal("Cord", "D0.03cc", "<=", 45.0, "Gy", 1, 44.0, True, 1.0)


class Page(HTMLParser):
    """The parts of a page that tests ask about: tags, attributes, text in reading order."""

    VOID = {"meta", "img", "br", "link", "input"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and data.strip():
            self.words.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def attributes(self, tag: str) -> list[dict]:
        return [a for t, a in self.tags if t == tag]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Case, DoseImage]:
    """Return a session folder without a report; copy it before changing it."""
    folder = tmp_path_factory.mktemp("session") / "fake"
    return folder, *fake_session.write_fake_session(folder)


@pytest.fixture(scope="module")
def page(made: tuple, tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, str, Path]:
    folder = tmp_path_factory.mktemp("report") / "fake"
    shutil.copytree(made[0], folder)
    html = write_report(folder, *made[1:]).read_text("utf-8")
    return Page(html), html, folder


@pytest.fixture
def rewrite(made: tuple, tmp_path: Path) -> Callable[..., Page]:
    """Change files of a copy of the session and report it anew; pictures only if asked for."""

    def run(change: Callable[[Path], None], case: Case | None = None) -> Page:
        folder = tmp_path / "changed"
        shutil.copytree(made[0], folder)
        change(folder)
        return Page(write_report(folder, case or made[1], made[2]).read_text("utf-8"))

    return run


def edit(path: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_the_page_is_one_file_without_scripts_or_outside_resources(page: tuple) -> None:
    parsed, html, _ = page
    tags = {tag for tag, _ in parsed.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base", "audio"}
    for tag, attributes in parsed.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{tag} {name}"
            if name in ("src", "href", "srcset", "data", "poster", "action", "background"):
                assert value.startswith(("data:image/png;base64,", "#")), f"{tag} {name}"
    outside_pictures = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", html)
    assert "http" not in outside_pictures.replace("http-equiv", "")
    assert "url(" not in outside_pictures and "@import" not in outside_pictures
    policy = next(a for a in parsed.attributes("meta") if "http-equiv" in a)
    assert policy["content"].startswith("default-src 'none'")
    ids = {a["id"] for _, a in parsed.tags if "id" in a}
    assert {a["href"][1:] for a in parsed.attributes("a")} <= ids


def test_pictures_in_the_page_are_those_in_the_folder_and_have_words(page: tuple) -> None:
    parsed, _, folder = page
    images = parsed.attributes("img")
    files = [folder / "figures" / f"{n}.png" for n in ("dvh", "slices", "trajectory")]
    inside = [base64.b64decode(a["src"].split(",", 1)[1]) for a in images]
    assert sorted(inside) == sorted(f.read_bytes() for f in files)
    assert all(len(a["alt"]) > 40 for a in images)
    for file in files:
        with Image.open(file) as picture:
            assert picture.width == 1500 and not picture.info.get("Software")


def test_research_use_and_unapproved_are_said_first_last_and_on_every_printed_page(
    page: tuple,
) -> None:
    parsed, html, _ = page
    body = [w for w in parsed.words if "Plan report:" not in w]
    assert body[0] == "RESEARCH USE ONLY" and "not for clinical use" in body[1]
    assert body[2] == body[-1] == "UNAPPROVED"
    assert re.search(r"@top-center \{ content: \"RESEARCH USE ONLY.*UNAPPROVED\"", html)
    assert "APPROVED" not in parsed.text.replace("UNAPPROVED", "")


def test_the_verdict_counts_goals_and_says_what_is_unmet(page: tuple) -> None:
    parsed, _, folder = page
    card = fake_session.read_json(folder / "scorecard.json")
    met = sum(g["met"] is True for g in card["goals"])
    assert 0 < met < len(card["goals"])
    assert f"{met} of {len(card['goals'])} goals met. All must-goals are met." in parsed.text
    assert fake_session.read_json(folder / "session.json")["unmet"][0] in parsed.text


def test_failed_goals_come_first_with_limit_value_margin_and_source(page: tuple) -> None:
    parsed, html, folder = page
    body = html.split('<table class="goals">')[1].split("</table>")[0].split("<tbody>")[1]
    rows = [Page("<tr" + row.split("</tr>")[0] + "</tr>").text for row in body.split("<tr")[1:]]
    card = fake_session.read_json(folder / "scorecard.json")
    assert len(rows) == len(card["goals"])
    verdicts = ["not met" in row for row in rows]
    assert verdicts == sorted(verdicts, reverse=True) and verdicts[0] and not verdicts[-1]
    (missed,) = (g for g in card["goals"] if not g["met"])
    assert f"{missed['structure']} {missed['metric']} ≤ {missed['value']:g} %" in rows[0]
    assert f"{missed['achieved']:.1f} %" in rows[0]
    assert f"−{-missed['margin']:.1f} %" in rows[0]
    assert "made-up protocol, table 5" in rows[0] and "✗" in rows[0]
    unverified = [row for row in rows if "unverified" in row]
    assert len(unverified) == sum(not g[7] for g in fake_session.GOALS)
    priorities = [int(re.search(r"(\d) (?:must|must-like|should|ideal) ", r)[1]) for r in rows[1:]]
    assert priorities == sorted(priorities)


def test_all_steps_are_there_with_reasons_outcome_and_fate(page: tuple) -> None:
    parsed, html, _ = page
    blocks = html.split('<details class="step')[1:]
    assert len(blocks) == len(fake_session.STEPS)
    for index, (step, block) in enumerate(zip(fake_session.STEPS, blocks, strict=True)):
        text = Page(block.split(">", 1)[1].split("</details>")[0]).text
        fate = "★ the plan" if index == fake_session.BEST_STEP else "✓ kept"
        assert (fate if step.kept else "↺ undone") in text
        assert step.title in text and step.outcome in text
        for _, change, reason, _ in step.actions:
            assert change.removeprefix("add ") in text and reason in text
    assert "person: Dr Example" in parsed.text
    assert parsed.text.count("Step 1 Step 2 Change") == 1
    assert parsed.text.count("Step 1 Step 3 Change") == 1, "step 3 set out from step 1, not 2"


def test_a_step_tells_what_was_seen_changed_expected_and_done(page: tuple) -> None:
    text = page[0].text.partition("3 Even out the target")[2].partition("4 Spare the penile")[0]
    seen, _, rest = text.partition("Changed")
    assert "Seen in step 1" in seen and "improve" in seen
    assert "PTV_6000 , target overdosed: The near-maximum D0.03cc is missed." in seen
    assert "hold Rectum and Bladder" in seen
    assert 'vision claim dropped, "cold spot in PTV_6000"' in seen
    assert "one new term on PTV_6000 should do." in rest
    assert "✓ expected PTV_6000 D0.03cc ≤ 64.2 Gy to get better; it got better" in rest
    assert "✗ expected Rectum mean ≤ 12.5 Gy to stay the same; it got better" in rest
    assert "The built-in rules took this step. Why: no usable language model" in page[0].text


def test_names_stand_where_a_model_wrote_tokens(rewrite: Callable[..., Page]) -> None:
    def unusual(folder: Path) -> None:
        for path in folder.glob("**/*.json"):
            path.write_text(path.read_text("utf-8").replace("PenileBulb", "Bulb of Mr X"), "utf-8")
        path = folder / "steps" / "003" / "step.json"
        path.write_text(path.read_text("utf-8").replace("Bulb of Mr X", "OAR_1"), "utf-8")

    case = fake_session.fake_case()
    renamed = [
        replace(s, name="Bulb of Mr X") if s.name == "PenileBulb" else s for s in case.structures
    ]
    page = rewrite(unusual, replace(case, structures=tuple(renamed)))
    assert "The mean dose of Bulb of Mr X is above its limit." in page.text
    assert "OAR_1" not in page.text


def test_beams_grid_engine_objectives_and_limits_are_told(page: tuple) -> None:
    text = page[0].text
    for wanted in (
        "PTV_6000: 60.00 Gy in 20 fractions (3.00 Gy each)",
        "9 fields, gantry 0°, 40°, 80°",
        "couch 0°; 5 mm beamlets; Generic",
        "0.0, 0.4, −1.5",
        "3 × 3 × 3 mm (x, y, z), 120 × 84 × 60 voxels",
        "made-up smooth dose (test double)",
        "5 steps tried, 4 kept; the plan is step 4",
        "squared underdosing 60.6",
        "Not deliverable as it is.",
        "not one that was measured and commissioned",
        "No independent check.",
        "without interpolation between samples",
        "5f0c1e9d5f0c1e9d",
        "5 entries, chain intact, ends with",
        "(D5% - D95%) / prescription",
    ):
        assert wanted in text, wanted
    assert "/home/someone" not in text and '{"max_steps": 30}' in text
    assert "made up" not in text, "where a case was read from may name a patient"


def test_the_report_is_the_same_every_time(page: tuple, made: tuple) -> None:
    _, html, folder = page
    assert write_report(folder, *made[1:]).read_text("utf-8") == html
    assert not [p for p in folder.rglob(".*")], "temporary files were left"


HOSTILE = "<script>alert(1)</script>\"'><img src=http://evil.example/x onerror=alert(1)>{{ 7*7 }}"


def test_hostile_text_in_any_file_stays_text(rewrite: Callable, made: tuple) -> None:
    old = "Bladder"

    def poison(value: object) -> object:
        if isinstance(value, dict):
            return {HOSTILE if k == old else k: poison(v) for k, v in value.items()}
        if isinstance(value, list):
            return [poison(v) for v in value]
        if isinstance(value, str) and value not in ("rules", "done") and len(value) > 8:
            return HOSTILE if value != "PTV_6000" else value
        return HOSTILE if value in (old, "G000.0", "0.1.0") else value

    def change(folder: Path) -> None:
        for path in folder.rglob("*.json"):
            content = poison(json.loads(path.read_text("utf-8")))
            path.write_text(json.dumps(content), encoding="utf-8")
        for path in folder.rglob("dvh.csv"):
            header, rest = path.read_text("utf-8").split("\n", 1)
            quoted = '"' + HOSTILE.replace('"', '""') + '"'
            path.write_text(header.replace(old, quoted) + "\n" + rest, encoding="utf-8")

    structures = [replace(s, name=HOSTILE) if s.name == old else s for s in made[1].structures]
    parsed = rewrite(change, replace(made[1], name=HOSTILE, structures=tuple(structures)))
    assert not parsed.attributes("script")
    assert len(parsed.attributes("img")) == 3
    assert all(a["src"].startswith("data:image/png") for a in parsed.attributes("img"))
    assert not any(name.startswith("on") for _, a in parsed.tags for name in a)
    assert parsed.text.count("{{ 7*7 }}") > 20 and "49" not in parsed.text.split("{{ 7*7 }}")[1]


def test_unicode_is_kept_and_invisible_characters_are_not(rewrite: Callable) -> None:
    parsed = rewrite(
        lambda folder: edit(
            folder / "session.json",
            lambda s: s.update(unmet=["Größe ≥ 5 µm, 直腸 – \u202eevil\x00\u200b\nend"]),
        )
    )
    assert "Größe ≥ 5 µm, 直腸 – evil end" in parsed.text


def test_a_session_that_has_only_what_must_be_there(rewrite: Callable) -> None:
    def change(folder: Path) -> None:
        for name in ("dvh.csv", "audit.jsonl"):
            (folder / name).unlink()
        shutil.rmtree(folder / "steps")
        (folder / "session.json").write_text('{"format": 1}')
        edit(folder / "scorecard.json", lambda card: [card.pop(k) for k in ("plan", "structures")])

    parsed = rewrite(change)
    for wanted in (
        "No histogram was saved.",
        "No steps were saved.",
        "No objectives were saved.",
        "No numbers were saved.",
        "source not stated",
    ):
        assert wanted in parsed.text, wanted
    assert len(parsed.attributes("img")) == 1


def test_a_step_that_lost_its_scorecard_and_objectives_is_still_told(rewrite: Callable) -> None:
    def change(folder: Path) -> None:
        (folder / "steps/003/scorecard.json").unlink()
        (folder / "steps/004/objectives.json").unlink()
        (folder / "steps/002/step.json").unlink()  # unfinished: not a step

    text = rewrite(change).text
    assert "Even out the target" in text and "Push the rectum's mean dose" not in text
    assert "No objectives were saved." in text


def test_goals_without_numbers_are_reported_as_not_evaluated(rewrite: Callable) -> None:
    def change(folder: Path) -> None:
        def empty(card: dict) -> None:
            card["goals"][0].update(achieved=None, met=None, margin=None, note="not in the case")
            card["structures"]["Rectum"]["mean_gy"] = None
            card["plan"]["ci"] = None

        edit(folder / "scorecard.json", empty)

    text = rewrite(change).text
    assert "1 goal could not be evaluated." in text
    assert "1 of 6 must-goals could not be evaluated; no other is missed." in text
    assert "– not evaluated PTV_6000 D95% ≥ 60 Gy" in text and "not in the case" in text


@pytest.mark.parametrize(
    ("state", "wanted"),
    [("cancelled", "Planning was stopped"), ("failed", "an error"), ("running", "had not ended")],
)
def test_a_session_that_did_not_end_well_says_so(
    rewrite: Callable, state: str, wanted: str
) -> None:
    def change(folder: Path) -> None:
        (folder / "scorecard.json").write_text('{"goals": []}')
        (folder / "session.json").write_text(json.dumps({"state": state}))
        (folder / "dvh.csv").unlink()
        shutil.rmtree(folder / "steps")

    text = rewrite(change).text
    assert wanted in text and "The protocol has no goals." in text
    assert "No isodoses can be drawn" in text


def test_a_tampered_audit_log_is_shown(rewrite: Callable) -> None:
    def change(folder: Path) -> None:
        log = folder / "audit.jsonl"
        log.write_text(log.read_text().replace("Steeper", "steeper"))

    text = rewrite(change).text
    assert "✗ chain broken" in text and "line 2" in text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("session.json", None, "no session.json"),
        ("scorecard.json", None, "no scorecard.json"),
        ("scorecard.json", "{", "scorecard.json: "),
        ("session.json", "[1]", "session.json: must hold a JSON object"),
        ("steps/001/step.json", '{"title": "x"}', "step.json: 'index' must be a whole number"),
        ("dvh.csv", "dose_gy,A\n1,x\n", "dvh.csv: cannot be read as a DVH"),
        ("dvh.csv", "dose_gy,A\n2,1\n1,1\n", "doses must ascend"),
        ("dvh.csv", "", "dvh.csv: cannot be read as a DVH"),
    ],
)
def test_a_damaged_session_is_refused_by_file_and_writes_nothing(
    made: tuple, tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(made[0], folder)
    path = folder / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        write_report(folder, *made[1:])
    assert "\n" not in str(caught.value)
    assert not (folder / "report.html").exists() and not (folder / "figures").exists()


def test_numbers_of_any_kind_in_the_files_do_not_break_the_page(rewrite: Callable) -> None:
    def change(folder: Path) -> None:
        def strange(card: dict) -> None:
            values = ("achieved", "value", "margin", "priority", "unit", "structure", "met")
            for goal, key in zip(card["goals"], values, strict=False):
                goal[key] = [None, {"a": 1}]
            card["goals"][8]["achieved"] = 10**400
            card["goals"] += ["text", None]
            card["structures"]["Rectum"] = 7
            card["prescription"][0]["fractions"] = 0

        edit(folder / "scorecard.json", strange)
        edit(
            folder / "session.json",
            lambda s: s.update(beams=[None, {"isocenter_mm": 3}], dose_grid={"shape": 1}, unmet=3),
        )

    parsed = rewrite(change)
    assert len(re.findall("✓ met|✗ not met|– not evaluated", parsed.text)) == 12
    assert "nan" not in parsed.text.lower().split() and "None" not in parsed.text


def test_a_missed_goal_never_looks_met_by_rounding() -> None:
    missed = replace(GOAL, achieved=45.0004, margin=-0.0004, met=False)
    assert missed.achieved_text == "45.0004 Gy" and missed.margin_text == "−0.0004 Gy"
    assert replace(missed, unit="%").achieved_text == "45.0004 %"
    scaled = replace(GOAL, op=">=", achieved=44.99999, margin=-1e-5)
    assert scaled.achieved_text == "45.00 Gy" and scaled.margin_text == "+0.00 Gy"
    assert replace(GOAL, achieved=-0.0).achieved_text == "0.00 Gy"


def test_order_failed_then_unknown_then_met_by_priority_and_tightness() -> None:
    goals = [
        replace(GOAL, structure="met 1 loose", margin=10.0),
        replace(GOAL, structure="met 1 tight", margin=0.1),
        replace(GOAL, structure="met 3", priority=3, margin=0.0),
        replace(GOAL, structure="unknown", met=None, margin=None, achieved=None),
        replace(GOAL, structure="missed 3", met=False, priority=3, margin=-9.0),
        replace(GOAL, structure="missed 1", met=False, margin=-0.1),
        replace(GOAL, structure="missed 1 more", met=False, margin=-1.0),
    ]
    assert [g.structure for g in failed_first(goals)] == [
        "missed 1 more", "missed 1", "missed 3", "unknown", "met 1 tight", "met 1 loose", "met 3",
    ]  # fmt: skip


def test_verdict_words_and_tones() -> None:
    missed = replace(GOAL, met=False, margin=-1.0)
    assert verdict([GOAL, GOAL]).tone == "good"
    assert verdict([GOAL, replace(missed, priority=3)]).tone == "fair"
    bad = verdict([GOAL, missed])
    assert (bad.tone, bad.musts) == ("bad", "1 of 2 must-goals is not met.")
    assert verdict([GOAL, replace(GOAL, met=None)]).tone == "bad"
    assert verdict([]).headline == "0 of 0 goals met" and verdict([]).tone == "fair"


def test_changes_know_better_from_worse_for_both_kinds_of_limit() -> None:
    floor = replace(GOAL, structure="PTV", op=">=", achieved=46.0, margin=1.0)
    before = [GOAL, floor]
    after = [
        replace(GOAL, achieved=40.0, margin=5.0),
        replace(floor, achieved=44.0, margin=-1.0, met=False),
    ]
    worse, better = changes(before, after)
    assert (worse.goal.structure, worse.better, worse.flipped) == ("PTV", False, True)
    assert worse.amount_text == "−2.00 Gy"
    assert (better.goal.structure, better.better, better.flipped) == ("Cord", True, False)
    assert changes(before, before) == []
    assert changes([], after) == [], "a goal that was not there before has not changed"


@pytest.mark.parametrize(
    ("goal", "place"),
    [
        (GOAL, (45.0, 0.3, True)),  # 0.03 of 10 cc
        (replace(GOAL, metric="D95%", op=">="), (45.0, 95.0, False)),
        (replace(GOAL, metric="V20Gy", limit=35.0, unit="%"), (20.0, 35.0, True)),
        (replace(GOAL, metric="V20Gy", limit=2.0, unit="cc"), (20.0, 20.0, True)),
        (replace(GOAL, metric="V95%", limit=98.0, unit="%", op=">="), (57.0, 98.0, False)),
        (replace(GOAL, metric="max", limit=107.0, unit="%"), (64.2, 0.0, True)),
        (replace(GOAL, metric="min", op=">="), (45.0, 100.0, False)),
        (replace(GOAL, metric="D20cc"), (45.0, 100.0, True)),  # more than there is
        (replace(GOAL, metric="mean"), None),
        (replace(GOAL, metric="HI", unit=""), None),
        (replace(GOAL, metric="nonsense"), None),
        (replace(GOAL, limit=None), None),
    ],
)
def test_goals_become_points_of_the_dvh(goal: Goal, place: tuple | None) -> None:
    marker = goal_marker(goal, {"Cord": 60.0}, 10.0)
    if place is None:
        assert marker is None
        return
    dose, volume, at_most = place
    assert marker.dose_gy == pytest.approx(dose)
    assert marker.volume_percent == pytest.approx(volume)
    assert marker.at_most is at_most


def test_goals_that_need_an_unknown_prescription_or_volume_are_no_points() -> None:
    assert goal_marker(replace(GOAL, metric="V95%", unit="%"), {}, 10.0) is None
    assert goal_marker(GOAL, {}, None) is None
