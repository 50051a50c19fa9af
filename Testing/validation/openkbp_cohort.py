"""Plan OpenKBP patients with the rules planner and compare with their reference doses.

    python Testing/validation/openkbp_cohort.py PATIENTS OUT [--iterations N] [--only pt_201 …]

PATIENTS is a folder of OpenKBP patient folders. Every patient gets a session folder in OUT (kept
if finished, continued if interrupted); tables go to OUT/openkbp.md. Both doses are scaled to the
same D95% of the primary target before they are compared.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radplan.console import Console
from radplan.evaluate_command import evaluate
from radplan.planning import PlanRequest, plan, resume
from radplan.session_folder import SessionFolder

PROTOCOL = "openkbp_hn_70_63_56"
MEAN_ORGANS = ("Parotid_L", "Parotid_R", "Larynx", "Esophagus")
MAXIMUM_ORGANS = ("Brainstem", "SpinalCord", "Bone_Mandible")


@dataclass(frozen=True)
class Comparison:
    """One patient: our scorecard, the scaled reference's, and how we got there."""

    patient: str
    ours: dict
    reference: dict
    steps: int
    steps_to_all_goals: int
    seconds: float


def planned(patient: Path, out: Path, iterations: int) -> SessionFolder:
    """The finished session of a patient: found, continued, or made."""
    folder = SessionFolder(out / patient.name)
    console = Console()
    if not folder.session_path.is_file():
        plan(PlanRequest(str(patient), PROTOCOL, folder.path, max_steps=iterations), console)
    elif folder.read_session()["state"] != "done":
        resume(folder.path, console)
    console.close()
    return folder


def compared(patient: Path, folder: SessionFolder) -> Comparison:
    """Our plan of a patient beside the reference."""
    reference = evaluate(str(patient), "imported", PROTOCOL, normalize=True, out=None).to_dict()
    ours = json.loads((folder.path / "scorecard.json").read_text())
    steps = [
        json.loads((path / "step.json").read_text())
        for path in sorted(folder.steps_path.glob("[0-9]*"))
    ]
    most = max(s["goals_met"] for s in steps if s["kept"])
    first = next(s["index"] for s in steps if s["goals_met"] == most)
    return Comparison(
        patient.name, ours, reference, len(steps) - 1, first, sum(s["seconds"] for s in steps)
    )


def goals_met(scorecard: dict) -> set[str]:
    """The goals that a scorecard meets, as text."""
    return {
        f"{g['structure']} {g['metric']} {g['op']} {g['value']:g} {g['unit']}"
        for g in scorecard["goals"]
        if g["met"]
    }


def evaluable(scorecard: dict) -> int:
    """How many goals have a value."""
    return sum(g["met"] is not None for g in scorecard["goals"])


def pair(comparison: Comparison, organ: str, key: str) -> tuple[float, float] | None:
    """Our value and the reference's for one organ, None if the patient lacks it."""
    if organ not in comparison.ours["structures"]:
        return None
    return (
        comparison.ours["structures"][organ][key],
        comparison.reference["structures"][organ][key],
    )


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def goals_table(comparisons: list[Comparison]) -> str:
    """Goals met by both, goals that only one of them meets, and steps."""
    rows = []
    for c in comparisons:
        ours, reference = goals_met(c.ours), goals_met(c.reference)
        rows.append(
            [
                c.patient,
                f"{len(ours)} of {evaluable(c.ours)}",
                f"{len(reference)} of {evaluable(c.reference)}",
                "; ".join(sorted(reference - ours)) or "none",
                "; ".join(sorted(ours - reference)) or "none",
                str(c.steps),
                str(c.steps_to_all_goals),
                f"{c.seconds:.0f}",
            ]
        )
    return table(
        [
            "patient",
            "goals met, ours",
            "reference",
            "only the reference meets",
            "only ours meets",
            "steps",
            "steps until all goals it ever meets",
            "planning s",
        ],
        rows,
    )


def doses_table(comparisons: list[Comparison], organs: tuple[str, ...], key: str) -> str:
    """Ours / reference per organ and patient, and the median relative difference."""
    rows = []
    differences: dict[str, list[float]] = {organ: [] for organ in organs}
    for c in comparisons:
        row = [c.patient]
        for organ in organs:
            values = pair(c, organ, key)
            if values is None:
                row.append("–")
                continue
            ours, reference = values
            row.append(f"{ours:.1f} / {reference:.1f}")
            differences[organ].append(100 * (ours / reference - 1))
        rows.append(row)
    rows.append(
        ["median difference"]
        + [f"{np.median(d):+.0f} %" if d else "–" for d in differences.values()]
    )
    return table(["patient", *organs], rows)


def targets_table(comparisons: list[Comparison]) -> str:
    """Coverage and homogeneity of the targets, ours / reference."""
    rows = []
    for c in comparisons:
        doses = {p["target"]: p["dose_gy"] for p in c.ours["prescription"]}
        row = [c.patient]
        for target in ("PTV_7000", "PTV_6300", "PTV_5600"):
            values = pair(c, target, "D99%_gy") if target in doses else None
            row.append("–" if values is None else "{:.1f} / {:.1f}".format(*values))
        for key in ("D2%_gy", "D0.03cc_gy"):
            row.append("{:.1f} / {:.1f}".format(*pair(c, "PTV_7000", key)))
        row.append(f"{c.ours['plan']['hi']:.1f} / {c.reference['plan']['hi']:.1f}")
        row.append(f"{c.ours['plan']['ci']:.2f} / {c.reference['plan']['ci']:.2f}")
        rows.append(row)
    return table(
        [
            "patient",
            "PTV_7000 D99%",
            "PTV_6300 D99%",
            "PTV_5600 D99%",
            "PTV_7000 D2%",
            "PTV_7000 D0.03cc",
            "HI",
            "CI",
        ],
        rows,
    )


def page(comparisons: list[Comparison]) -> str:
    """All tables as one Markdown text."""
    return "\n\n".join(
        [
            "## Goals",
            goals_table(comparisons),
            "## Mean dose, Gy (ours / reference)",
            doses_table(comparisons, MEAN_ORGANS, "mean_gy"),
            "## D0.1cc, Gy (ours / reference)",
            doses_table(comparisons, MAXIMUM_ORGANS, "D0.1cc_gy"),
            "## Mean dose of serial organs and D0.1cc of parallel ones, Gy (ours / reference)",
            doses_table(comparisons, MAXIMUM_ORGANS, "mean_gy"),
            doses_table(comparisons, MEAN_ORGANS, "D0.1cc_gy"),
            "## Targets, Gy (ours / reference)",
            targets_table(comparisons),
        ]
    )


def main() -> None:
    """Plan, compare, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("patients", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--only", nargs="*", help="names of patient folders")
    options = parser.parse_args()
    comparisons = []
    for patient in sorted(p for p in options.patients.iterdir() if p.is_dir()):
        if options.only and patient.name not in options.only:
            continue
        folder = planned(patient, options.out, options.iterations)
        comparisons.append(compared(patient, folder))
        (options.out / "openkbp.md").write_text(page(comparisons) + "\n", encoding="utf-8")
    print(page(comparisons))


if __name__ == "__main__":
    main()
