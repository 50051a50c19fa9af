"""Write the report: draw the pictures, fill the template, put one file in place."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from .. import __version__
from ..case import Case, DoseImage, StructureType
from ..colors import structure_colors
from ..figures import (
    DvhCurve,
    default_point_mm,
    dose_slices,
    dvh_figure,
    save_png,
    trajectory_figure,
)
from ..figures.style import printable
from ..files import written_by_rename
from .folder import DvhTable, SessionRecord, mapping, mappings, number, read_session_record, text
from .folder import texts as text_list
from .goals import Goal, changes, decimals, failed_first, goal_marker, read_goals, verdict
from .history import goal_histories, step_views, token_reader

DPI = 150
#: Changes from the first plan to the final one are told from this part of the limit.
NOTABLE_CHANGE = 0.01
_STATES = {
    "running": "Planning had not ended when this page was written; this is the best plan until "
    "then.",
    "cancelled": "Planning was stopped before it was done; this is the best plan until then.",
    "failed": "Planning ended with an error; this is the best plan until then.",
}
_FIRST_COLUMNS = (
    *("volume_cc", "min_gy", "mean_gy", "max_gy", "D98%_gy", "D95%_gy", "D50%_gy"),
    *("D5%_gy", "D2%_gy", "D0.1cc_gy", "D0.03cc_gy"),
)
_KINDS = {
    StructureType.TARGET: "target",
    StructureType.OAR: "organ",
    StructureType.EXTERNAL: "body",
    None: "helper",
}
_UNITS = {"gy": "Gy", "cc": "cc", "percent": "%", "deg": "°", "mm": "mm"}


@dataclass(frozen=True)
class Picture:
    """A picture of the page: its PNG as a data URI, and the words for who cannot see it."""

    uri: str
    words: str


def write_report(directory: Path, case: Case, dose: DoseImage) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a session folder.

    Parameters
    ----------
    directory : Path
        A session folder with ``session.json`` and ``scorecard.json``; ``dvh.csv``,
        ``steps/*/{step,scorecard,objectives}.json`` and ``audit.jsonl`` where they exist.
    case : Case
        The case that was planned.
    dose : DoseImage
        Dose of the best plan, Gy for the whole course.

    Returns
    -------
    Path
        The page: one file that needs nothing else.

    Raises
    ------
    InputError
        If the folder holds no plan, or one of its files is damaged.
    """
    directory = Path(directory)
    record = read_session_record(directory)
    context = _context(record, case) | {
        "pictures": _pictures(record, case, dose, directory / "figures")
    }
    page = _template().render(context)
    with written_by_rename(directory / "report.html") as file:
        file.write(page.encode("utf-8"))
    return directory / "report.html"


def _template() -> jinja2.Template:
    """Return the page's template; it escapes all it is given, and drops invisible characters."""
    here = resources.files(__package__)
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: (
            printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
        ),
    )
    environment.globals["css"] = Markup(here.joinpath("report.css").read_text("utf-8"))
    return environment.from_string(here.joinpath("report.html.j2").read_text("utf-8"))


def _context(record: SessionRecord, case: Case) -> dict:
    """Everything the template shows but pictures."""
    session, card = record.session, record.scorecard
    protocol = mapping(session.get("protocol"))
    goals = failed_first(read_goals(card, protocol))
    first = record.steps[0] if record.steps else None
    first_goals = [] if first in (None, record.best) else read_goals(first.scorecard, protocol)
    notable = [c for c in changes(first_goals, goals) if c.size >= NOTABLE_CHANGE or c.flipped]
    constraints = [
        {"kept": row.get("kept") is True, "text": text(row.get("text"))}
        for row in mappings(record.best.step.get("constraints") if record.best else None)
    ]
    steps = step_views(record, token_reader(record, case))
    return {
        "case_name": text(mapping(session.get("case")).get("name")) or case.name,
        "protocol_name": text(protocol.get("name")) or text(card.get("protocol")),
        "protocol_title": text(protocol.get("title")),
        "protocol_note": text(protocol.get("note")),
        "prescriptions": _prescriptions(card, protocol),
        "coverage": text(protocol.get("coverage")),
        "beams": _beams(session),
        "dose_grid": _dose_grid(session),
        "engine": text(session.get("engine")),
        "planner": {"rules": "built-in rules (no language model)", "llm": "language model"}.get(
            text(session.get("planner")), text(session.get("planner"))
        ),
        "state": _STATES.get(text(session.get("state")), ""),
        "stop_reason": text(session.get("stop_reason")),
        "unmet": text_list(session.get("unmet")),
        "goals": goals,
        "unverified": sum(g.verified is False for g in goals),
        "constraints": constraints,
        "verdict": verdict(goals, [c["kept"] for c in constraints]),
        "first_step": first.index if first else None,
        "first_achieved": {g.key: g.achieved_text for g in first_goals},
        "gains": [c for c in notable if c.better],
        "costs": [c for c in notable if not c.better],
        "plan_step": record.best.index if record.best else text(card.get("step")),
        "structures": _structure_table(record, case),
        "plan_indices": _plan_indices(card),
        "steps": steps,
        "kept_count": sum(s.kept for s in steps),
        "objectives": _objective_table(record),
        "versions": {k: text(v) for k, v in mapping(session.get("versions")).items()},
        "report_version": __version__,
        "fingerprint": text(session.get("fingerprint")),
        "created": text(session.get("created")),
        "notes": text_list(session.get("notes")),
        "audit": record.audit,
        "settings": _settings(mapping(session.get("settings"))),
        "is_hfs": case.patient_position == "HFS",
        "patient_position": case.patient_position,
    }


def _prescribed_gy(card: Mapping, protocol: Mapping) -> dict[str, float]:
    """Dose of every target, Gy, primary first."""
    rows = mappings(card.get("prescription")) or mappings(protocol.get("prescriptions"))
    doses = {text(row.get("target")): number(row.get("dose_gy")) for row in rows}
    return {target: dose for target, dose in doses.items() if dose and dose > 0}


def _prescriptions(card: Mapping, protocol: Mapping) -> list[str]:
    fractions = {
        text(row.get("target")): number(row.get("fractions"))
        for row in mappings(card.get("prescription"))
    }
    lines = []
    for target, dose in _prescribed_gy(card, protocol).items():
        count = fractions.get(target) or number(protocol.get("fractions"))
        line = f"{target}: {dose:.2f} Gy"
        if count and count > 0:
            line += f" in {count:g} fractions ({dose / count:.2f} Gy each)"
        lines.append(line)
    return lines


def _beams(session: Mapping) -> dict:
    """Rows of the beam table, and a line for what all beams share."""
    rows = []
    for beam in mappings(session.get("beams")):
        isocenter = beam.get("isocenter_mm")
        points = [number(p) for p in isocenter] if isinstance(isocenter, list) else []
        rows.append(
            {
                "name": text(beam.get("name")),
                "gantry": _angle(beam.get("gantry_angle_deg")),
                "couch": _angle(beam.get("couch_angle_deg")),
                "isocenter": ", ".join("—" if p is None else decimals(p, 1) for p in points),
                "bixel": text(beam.get("bixel_width_mm")),
                "machine": text(beam.get("machine")),
            }
        )
    shared = []
    for name, words in (("couch", "couch {}"), ("bixel", "{} mm beamlets"), ("machine", "{}")):
        values = {row[name] for row in rows}
        if len(values) == 1 and "" not in values:
            shared.append(words.format(values.pop()))
    return {
        "rows": rows,
        "gantry": ", ".join(row["gantry"] for row in rows),
        "shared": "; ".join(shared),
    }


def _angle(value: object) -> str:
    return f"{text(value)}°" if text(value) else "—"


def _dose_grid(session: Mapping) -> str:
    grid = mapping(session.get("dose_grid"))
    spacing, shape = grid.get("spacing_mm"), grid.get("shape")
    if not isinstance(spacing, list) or not isinstance(shape, list):
        return ""
    sizes = " × ".join(f"{number(s) or 0:.4g}" for s in spacing)
    counts = " × ".join(text(n) for n in reversed(shape))
    return f"{sizes} mm (x, y, z), {counts} voxels"


def _structure_table(record: SessionRecord, case: Case) -> dict:
    """Numbers of every structure: targets, organs, then the rest; columns as the scorecard has."""
    numbers = {
        name: mapping(values)
        for name, values in mapping(record.scorecard.get("structures")).items()
    }
    present = {key for values in numbers.values() for key in values}
    columns = [key for key in _FIRST_COLUMNS if key in present]
    columns += sorted(present - set(columns))
    columns = [c for c in columns if any(number(v.get(c)) is not None for v in numbers.values())]
    kinds = {s.name: s.type for s in case.structures}
    colors = structure_colors(case.structures)
    rows = []
    for kind, word in _KINDS.items():
        for name, values in numbers.items():
            found = kinds.get(name)
            if (found if found in _KINDS else None) is not kind:
                continue
            rows.append(
                {
                    "name": name,
                    "kind": word,
                    "color": _css_color(colors.get(name)),
                    "cells": [_cell(column, values.get(column)) for column in columns],
                }
            )
    return {"columns": [_heading(c) for c in columns], "rows": rows}


def _css_color(color: tuple[float, float, float] | None) -> str:
    if color is None:
        return "transparent"
    return "#" + "".join(f"{round(255 * c):02x}" for c in color)


def _heading(key: str) -> dict[str, str]:
    """Column heading of a key such as ``D95%_gy``: name and unit."""
    name, _, unit = key.rpartition("_")
    if unit not in _UNITS:
        return {"name": _capital(key), "unit": ""}
    return {"name": _capital(name), "unit": _UNITS[unit]}


def _capital(key: str) -> str:
    words = key.replace("_", " ")
    return words[:1].upper() + words[1:]


def _cell(key: str, value: object) -> str:
    plain = number(value)
    if plain is None:
        return "—"
    return decimals(plain, 2 if key.endswith("_gy") else 1)


def _plan_indices(card: Mapping) -> list[dict[str, str]]:
    plan = mapping(card.get("plan"))
    return [
        {"name": key.upper(), "value": f"{value:.3f}", "formula": text(plan.get(f"{key}_formula"))}
        for key, value in ((k, number(v)) for k, v in plan.items())
        if value is not None
    ]


def _objective_table(record: SessionRecord) -> dict:
    """Objectives of the plan; columns that no objective uses are left out."""
    rows = record.best.objectives if record.best else []
    columns = [c for c in ("structure", "function") if any(c in row for row in rows)]
    known = {"structure", "function", "id", "weight"}
    extra = {key for row in rows for key, value in row.items() if number(value) is not None}
    columns += [c for c in ("dose_gy", "volume_percent") if c in extra]
    columns += sorted(extra - known - set(columns)) + (["weight"] if "weight" in extra else [])
    return {
        "columns": [
            _heading(c) if c in extra else {"name": c.capitalize(), "unit": ""} for c in columns
        ],
        "rows": [
            [
                _function_words(row.get(c)) if c == "function" else _short(row.get(c))
                for c in columns
            ]
            for row in rows
        ],
    }


def _function_words(value: object) -> str:
    return text(value).replace("_", " ").replace("dvh", "DVH").replace("geud", "gEUD")


def _settings(settings: Mapping) -> str:
    """Write settings as JSON, without paths: where things lie is this machine's business."""
    shown = {
        key: value
        for key, value in settings.items()
        if not (isinstance(value, str) and ("/" in value or "\\" in value))
    }
    return json.dumps(shown, ensure_ascii=False, sort_keys=True) if shown else ""


def _short(value: object) -> str:
    plain = number(value)
    return (text(value) or "—") if plain is None else f"{plain:.4g}"


def _pictures(
    record: SessionRecord, case: Case, dose: DoseImage, folder: Path
) -> dict[str, Picture]:
    """Draw and save all pictures that the session has data for."""
    protocol = mapping(record.session.get("protocol"))
    prescribed = _prescribed_gy(record.scorecard, protocol)
    goals = read_goals(record.scorecard, protocol)
    drawn = {}
    if prescribed:
        primary, dose_gy = next(iter(prescribed.items()))
        drawn["slices"] = (
            dose_slices(
                case,
                dose,
                prescription_gy=dose_gy,
                point_mm=default_point_mm(case, dose, primary),
            ),
            f"Dose on axial, coronal and sagittal CT slices through {primary}, with isodoses from "
            f"30 % to 110 % of {dose_gy:.2f} Gy and structure outlines.",
        )
    curves = _curves(record.dvh, case, goals, prescribed)
    if curves:
        first = record.steps[0] if record.steps else None
        compared = first is not None and first is not record.best
        drawn["dvh"] = (
            dvh_figure(
                curves,
                goals=_markers(goals, prescribed, record.scorecard),
                reference=_curves(first.dvh, case, goals, prescribed) if compared else (),
                reference_label=f"first plan (step {first.index})" if compared else "",
                prescriptions_gy=tuple(prescribed.values()),
            ),
            "Cumulative dose-volume histogram of "
            + ", ".join(curve.name for curve in curves)
            + ". The tables on this page give its numbers.",
        )
    order = sorted(goals, key=lambda g: 99 if g.priority is None else g.priority)
    rows, columns = goal_histories(record.steps, record.best, order, dict(protocol))
    if rows and columns:
        drawn["trajectory"] = (
            trajectory_figure(rows, columns),
            "Margin of every goal at every step; the steps below give the same in words.",
        )
    pictures = {}
    for name, (figure, words) in drawn.items():
        path = save_png(figure, folder / f"{name}.png", DPI)
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        pictures[name] = Picture(f"data:image/png;base64,{data}", words)
    return pictures


def _curves(
    table: DvhTable | None, case: Case, goals: list[Goal], prescribed: Mapping[str, float]
) -> list[DvhCurve]:
    """DVHs of targets and organs; of the body and of helpers only where a goal asks for them."""
    if table is None:
        return []
    kinds = {s.name: s.type for s in case.structures}
    colors = structure_colors(case.structures)
    asked = {goal.structure for goal in goals} | set(prescribed)
    clinical = (StructureType.TARGET, StructureType.OAR)
    return [
        DvhCurve(
            name,
            table.dose_gy,
            volumes,
            is_target=kinds.get(name) is StructureType.TARGET or name in prescribed,
            color=colors.get(name),
        )
        for name, volumes in table.volume_percent.items()
        if kinds.get(name) in clinical or name in asked
    ]


def _markers(goals: list[Goal], prescribed: Mapping[str, float], card: Mapping) -> list:
    sizes = mapping(card.get("structures"))
    markers = [
        goal_marker(g, prescribed, number(mapping(sizes.get(g.structure)).get("volume_cc")))
        for g in goals
    ]
    return [m for m in markers if m is not None]
