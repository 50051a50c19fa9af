"""Test double of a planning session: a synthetic patient, a smooth made-up dose, five steps.

Nothing here is planned or computed by a dose engine. The numbers in the files agree with the dose,
and the files have the format of a real session folder. Run ``python Testing/fake_session.py DIR``
to look at its report.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radplan.audit import AuditLog
from radplan.case import Case, DoseImage, Structure, StructureType
from radplan.geometry import Grid, Occupancy
from radplan.metrics import (
    CI_FORMULA,
    HI_FORMULA,
    StructureDose,
    evaluate_metric,
    parse_metric,
)

PRESCRIPTION_GY, FRACTIONS = 60.0, 20
TARGET = "PTV_6000"
#: Structure, metric, op, value, unit, priority, source, verified.
GOALS = (
    (TARGET, "D95%", ">=", 60.0, "Gy", 1, "made-up protocol, table 4", True),
    (TARGET, "D99%", ">=", 57.0, "Gy", 2, "made-up protocol, table 4", True),
    (TARGET, "D0.03cc", "<=", 64.2, "Gy", 2, "ICRU 83: 107 % of the prescription", False),
    ("Rectum", "V57Gy", "<=", 3.0, "%", 1, "made-up protocol, table 5", True),
    ("Rectum", "V40Gy", "<=", 5.5, "%", 1, "made-up protocol, table 5", True),
    ("Rectum", "mean", "<=", 12.5, "Gy", 3, "local practice", False),
    ("Bladder", "V48Gy", "<=", 8.0, "%", 1, "made-up protocol, table 5", True),
    ("Bladder", "V40Gy", "<=", 7.6, "%", 3, "made-up protocol, table 5", True),
    ("Femur_Head_L", "D0.03cc", "<=", 20.0, "Gy", 1, "made-up protocol, table 5", True),
    ("Femur_Head_R", "D0.03cc", "<=", 20.0, "Gy", 1, "made-up protocol, table 5", True),
    ("Bag_Bowel", "D0.1cc", "<=", 49.0, "Gy", 3, "made-up protocol, table 5", False),
    ("PenileBulb", "mean", "<=", 11.5, "Gy", 3, "made-up protocol, table 5", False),
)


@dataclass(frozen=True)
class FakeStep:
    """One made-up step: how its dose falls off, and what is told about it."""

    title: str
    phase: str
    falloff_mm: float
    rectum_pull: float
    hot: float
    kept: bool
    base: int | None
    actions: tuple[tuple[str, str, str, str], ...]
    outcome: str
    author: str = "rules"
    note: str = ""
    assessment: dict | None = None
    expectations: tuple[dict, ...] = ()


#: What a language model says, in tokens: OAR_1 is a structure whose name it was not told.
ASSESSMENT = {
    "verdict": "improve",
    "problems": [
        {
            "structure": "PTV_6000",
            "kind": "target overdosed",
            "text": "The near-maximum D0.03cc is missed.",
        },
        {
            "structure": "PenileBulb",
            "kind": "organ overdosed",
            "text": "The mean dose of PenileBulb is above its limit.",
        },
    ],
    "directions": ["cool the hottest part of PTV_6000", "hold Rectum and Bladder"],
    "author": "llm",
    "notes": ['vision claim dropped, "cold spot in PTV_6000": no cold spot below 95 %'],
}
EXPECTATIONS = (
    {
        "action": 0,
        "goal": "PTV_6000 D0.03cc ≤ 64.2 Gy",
        "effect": "better",
        "before": 65.1,
        "after": 63.4,
        "observed": "better",
        "held": True,
    },
    {
        "action": 0,
        "goal": "Rectum mean ≤ 12.5 Gy",
        "effect": "same",
        "before": 13.1,
        "after": 12.6,
        "observed": "better",
        "held": False,
    },
)

STEPS = (
    FakeStep(
        "First plan, from the protocol's goals", "initial", 26.0, 0.0, 0.075, True, None, (),
        "first plan",
    ),
    FakeStep(
        "Steeper dose around the target", "goals", 15.0, 0.0, 0.06, True, 0,
        (
            (
                "change_weight",
                "Ring_20 squared overdosing: weight 5 → 20",
                "Rectum V40Gy is missed, and the dose falls off slowly around the target.",
                "rules",
            ),
        ),
        "Rectum and bladder goals are nearer; the target's hot spot is unchanged.",
    ),
    FakeStep(
        "Push the rectum's mean dose", "sparing", 12.0, 0.6, 0.13, False, 1,
        (
            (
                "change_weight",
                "Rectum mean dose: weight 2 → 20",
                "The rectum's mean dose is the largest part of its limits.",
                "rules",
            ),
            (
                "change_dose",
                "Rectum max DVH: dose 40 → 36 Gy",
                "Its V40Gy is close to its limit.",
                "rules",
            ),
        ),
        "The rectum gained, but the target's hot spot rose above 107 %: undone.",
        note="The built-in rules took this step. Why: no usable language model: "
        "the server did not answer within 300 s",
    ),
    FakeStep(
        "Even out the target", "homogeneity", 13.0, 0.2, 0.035, True, 1,
        (
            (
                "add_objective",
                "add PTV_6000: squared overdosing 61.8 Gy, weight 200",
                "The near-maximum of the target is missed.",
                "llm",
            ),
        ),
        "The near-maximum is met; no organ lost.",
        "llm",
        "The hot spot limits the plan, not the organs; one new term on PTV_6000 should do.",
        ASSESSMENT,
        EXPECTATIONS,
    ),
    FakeStep(
        "Spare the penile bulb", "person", 11.0, 0.35, 0.035, True, 3,
        (
            (
                "change_weight",
                "PenileBulb mean dose: weight 1 → 6",
                "Dr Example asked for it: “the bulb matters to this man”.",
                "person:Dr Example",
            ),
        ),
        "The bulb's mean fell; rectum and bladder fell a little as well.",
    ),
)  # fmt: skip
BEST_STEP = 4
OBJECTIVES = (
    (TARGET, "squared_underdosing", 60.6, None, None, 400.0),
    (TARGET, "squared_overdosing", 61.8, None, None, 200.0),
    ("Ring_20", "squared_overdosing", 42.0, None, None, 20.0),
    ("Rectum", "max_dvh", 40.0, 35.0, None, 30.0),
    ("Rectum", "mean_dose", None, None, None, 2.0),
    ("Bladder", "geud", 30.0, None, 8.0, 5.0),
    ("PenileBulb", "mean_dose", None, None, None, 6.0),
)


def fake_case() -> Case:
    """Return a pelvis of ellipses: body, femoral heads, target, rectum, bladder, bulb, bowel."""
    spacing = (2.0, 2.0, 3.0)
    shape = (60, 125, 180)
    origin = tuple(-s * (n - 1) / 2 for s, n in zip(spacing, shape[::-1], strict=True))
    grid = Grid(shape, spacing, origin)
    z, y, x = np.meshgrid(*grid.axes_mm, indexing="ij", sparse=True)

    def ellipsoid(center: tuple, radii: tuple) -> np.ndarray:
        return sum(
            ((axis - c) / r) ** 2 for axis, c, r in zip((x, y, z), center, radii, strict=True)
        ) <= np.ones(shape)

    body = ((x / 170) ** 2 + (y / 112) ** 2 <= 1) & np.ones(shape, bool)
    muscle = ((x / 148) ** 2 + (y / 92) ** 2 <= 1) & np.ones(shape, bool)
    regions = {
        TARGET: ellipsoid((0, 0, 0), (26, 22, 27)),
        "Rectum": (((x - 2) / 17) ** 2 + ((y - 34) / 15) ** 2 <= 1) & (np.abs(z) <= 55),
        "Bladder": ellipsoid((0, -14, 45), (36, 30, 27)),
        "Femur_Head_L": ellipsoid((88, -4, 8), (24, 24, 24)),
        "Femur_Head_R": ellipsoid((-88, -4, 8), (24, 24, 24)),
        "PenileBulb": ellipsoid((0, 14, -36), (10, 9, 8)),
        "Bag_Bowel": ellipsoid((0, -40, 78), (90, 40, 24)),
    }
    noise = np.random.default_rng(20).normal(0, 14, shape)
    ct = np.full(shape, -1000.0)
    ct[body] = -95.0
    ct[muscle] = 45.0
    ct[regions["Bladder"]] = 8.0
    ct[regions["Rectum"]] = 20.0
    ct[(((x - 2) / 8) ** 2 + ((y - 32) / 7) ** 2 <= 1) & (z > 6)] = -900.0
    for name in ("Femur_Head_L", "Femur_Head_R"):
        ct[regions[name]] = 320.0
    ct[ellipsoid((0, 84, 12), (22, 14, 60)) & body] = 420.0
    ct = np.where(body, ct + noise, -1000.0).astype(np.float32)
    structures = [
        Structure("BODY", StructureType.EXTERNAL, Occupancy.from_array(grid, body), "External")
    ]
    for name, mask in regions.items():
        kind = StructureType.TARGET if name == TARGET else StructureType.OAR
        structures.append(Structure(name, kind, Occupancy.from_array(grid, mask & body), name))
    return Case("fake-prostate", grid, ct, tuple(structures))


def fake_dose(case: Case, step: FakeStep) -> DoseImage:
    """Return a smooth dose: a plateau over the target, a fall-off, and nine faint beams."""
    grid = case.grid.coarsened((3.0, 3.0, 3.0))
    z, y, x = np.meshgrid(*grid.axes_mm, indexing="ij", sparse=True)
    radius = np.sqrt((x / 26) ** 2 + (y / 22) ** 2 + (z / 27) ** 2)
    distance_mm = (radius - 1) * 25 + step.rectum_pull * 6 * (y > 0) * np.minimum(y, 30) / 30
    plateau = 1 / (1 + np.exp((distance_mm - 8) / (step.falloff_mm / 8)))
    angle = np.arctan2(y, x)
    beams = 0.30 + 0.10 * np.cos(9 * angle)
    bath = beams * np.exp(-(np.abs(z / 36) ** 4)) * np.exp(-np.maximum(distance_mm, 0) / 130)
    ripple = 1 + step.hot * (0.6 + 0.4 * np.cos(x / 9) * np.cos(z / 11))
    dose = np.maximum(plateau * ripple, bath * (0.8 + step.falloff_mm / 80))
    body = case.external.occupancy.onto(grid).array() > 0.05
    dose = np.where(body, dose, 0.0)
    target = case.structure(TARGET).occupancy.onto(grid)
    d95 = _sampled(dose, target).dose_at_volume_percent(95)
    return DoseImage(grid, (dose * PRESCRIPTION_GY / d95).astype(np.float32))


def _sampled(dose_gy: np.ndarray, occupancy: Occupancy) -> StructureDose:
    share = occupancy.array()
    inside = share > 0
    return StructureDose(dose_gy[inside], share[inside] * occupancy.grid.voxel_volume_cc)


def write_fake_session(directory: Path) -> tuple[Case, DoseImage]:
    """Write all files of the session that a report reads; return its case and final dose."""
    case = fake_case()
    doses = [fake_dose(case, step) for step in STEPS]
    for index, (step, dose) in enumerate(zip(STEPS, doses, strict=True)):
        _write_step(directory / "steps" / f"{index:03d}", case, index, step, dose)
    best = directory / "steps" / f"{BEST_STEP:03d}"
    for name in ("scorecard.json", "dvh.csv"):
        (directory / name).write_bytes((best / name).read_bytes())
    missed = [g for g in read_json(best / "scorecard.json")["goals"] if g["met"] is False]
    grid = doses[0].grid
    _write_json(
        directory / "session.json",
        {
            "format": 1,
            "state": "done",
            "case": {"name": case.name, "source": "made up"},
            "protocol": protocol(),
            "notes": [],
            "planner": "rules",
            "beams": [
                {
                    "name": f"G{a:05.1f}",
                    "gantry_angle_deg": float(a),
                    "couch_angle_deg": 0.0,
                    "isocenter_mm": [0.0, 0.4, -1.5],
                    "bixel_width_mm": 5.0,
                    "machine": "Generic",
                }
                for a in range(0, 360, 40)
            ],
            "dose_grid": {
                "shape": grid.shape,
                "spacing_mm": grid.spacing_mm,
                "origin_mm": grid.origin_mm,
            },
            "engine": "made-up smooth dose (test double)",
            "fingerprint": "5f0c1e9d" * 8,
            "settings": {"max_steps": 30, "cache_dir": "/home/someone/cache"},
            "versions": {"radplan": "0.1.0", "numpy": np.__version__},
            "created": "2026-01-02T03:04:05+00:00",
            "best_step": BEST_STEP,
            "stop_reason": "nothing that was tried on the last plan made it better",
            "unmet": [
                f"{g['structure']} {g['metric']} ≤ {g['value']:g} {g['unit']} is not met "
                f"({g['achieved']:.1f} {g['unit']}, priority {g['priority']}); pushing it "
                f"further: {TARGET} D99% 57.6 → 56.2 Gy"
                for g in missed
            ],
        },
    )
    log = AuditLog(directory / "audit.jsonl")
    for index, step in enumerate(STEPS):
        log.append("step", {"index": index, "title": step.title})
    return case, doses[BEST_STEP]


def protocol() -> dict:
    """Return the protocol as session.json has it."""
    names = ("structure", "metric", "op", "value", "unit", "priority", "source", "verified")
    return {
        "name": "fake_prostate_60_20",
        "title": "Prostate, 60 Gy in 20 fractions (test double)",
        "site": "prostate",
        "fractions": FRACTIONS,
        "prescriptions": [{"target": TARGET, "dose_gy": PRESCRIPTION_GY}],
        "coverage": "D95%",
        "goals": [dict(zip(names, row, strict=True)) for row in GOALS],
    }


def _write_step(folder: Path, case: Case, index: int, step: FakeStep, dose: DoseImage) -> None:
    folder.mkdir(parents=True)
    sampled = {
        s.name: _sampled(dose.dose_gy, s.occupancy.onto(dose.grid)) for s in case.structures
    }
    card = _scorecard(case, index, sampled)
    verdicts = [g["met"] for g in card["goals"]]
    _write_json(folder / "scorecard.json", card)
    _write_json(
        folder / "step.json",
        {
            "index": index,
            "base": step.base,
            "title": step.title,
            "phase": step.phase,
            "actions": [
                dict(zip(("kind", "text", "reason", "author"), action, strict=True))
                for action in step.actions
            ],
            "outcome": step.outcome,
            "kept": step.kept,
            "goals_met": verdicts.count(True),
            "goals_total": len(verdicts),
            "worst_margin": "",
            "solver": {"status": "converged", "iterations": 80 - 9 * index},
            "seconds": 3.2 + index,
            "author": step.author,
            "note": step.note,
            "assessment": step.assessment,
            "expectations": list(step.expectations),
        },
    )
    keys = ("structure", "function", "dose_gy", "volume_percent", "exponent", "weight")
    _write_json(
        folder / "objectives.json", [dict(zip(keys, row, strict=True)) for row in OBJECTIVES]
    )
    doses = np.arange(0, 70, 0.2)
    table = np.column_stack([doses, *(s.dvh(doses) for s in sampled.values())])
    with (folder / "dvh.csv").open("w", encoding="utf-8") as file:
        file.write(",".join(["dose_gy", *sampled]) + "\n")
        np.savetxt(file, table, "%.4f", ",")


def _scorecard(case: Case, index: int, sampled: dict[str, StructureDose]) -> dict:
    goals = []
    for structure, metric, op, value, unit, priority, *_ in GOALS:
        achieved = evaluate_metric(
            parse_metric(metric),
            sampled[structure],
            unit=unit,
            prescription_gy=PRESCRIPTION_GY,
        )
        margin = value - achieved if op == "<=" else achieved - value
        goals.append(
            {
                "structure": structure,
                "metric": metric,
                "op": op,
                "value": value,
                "unit": unit,
                "priority": priority,
                "achieved": achieved,
                "met": bool(margin >= -1e-4),
                "margin": margin,
                "note": "",
            }
        )
    structures = {}
    for name, dose in sampled.items():
        structures[name] = {"volume_cc": dose.volume_cc}
        for metric in ("mean", "min", "max", "D98%", "D95%", "D50%", "D2%"):
            structures[name][f"{metric}_gy"] = evaluate_metric(parse_metric(metric), dose)
    hi, ci = (
        evaluate_metric(
            parse_metric(word),
            sampled[TARGET],
            prescription_gy=PRESCRIPTION_GY,
            external_dose=sampled["BODY"],
        )
        for word in ("HI", "CI")
    )
    return {
        "case": case.name,
        "protocol": protocol()["name"],
        "prescription": [{"target": TARGET, "dose_gy": PRESCRIPTION_GY, "fractions": FRACTIONS}],
        "step": index,
        "goals": goals,
        "structures": structures,
        "plan": {
            "target": TARGET,
            "hi": hi,
            "hi_formula": HI_FORMULA,
            "ci": ci,
            "ci_formula": CI_FORMULA,
        },
    }


def read_json(path: Path) -> dict:
    """Read a file of the session."""
    return json.loads(path.read_text(encoding="utf-8"))


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


if __name__ == "__main__":
    from radplan.report import write_report

    folder = Path(sys.argv[1])
    print(write_report(folder, *write_fake_session(folder)))
