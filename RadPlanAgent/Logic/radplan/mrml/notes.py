"""What a reader of the scene must know, as text in the scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import slicer

from .. import __version__
from ..beams import Beam
from ..case import Case, DoseImage

RESEARCH_ONLY = "RESEARCH USE ONLY"

LIMITS = """\
RESEARCH USE ONLY - UNAPPROVED - NOT FOR THE TREATMENT OF PATIENTS

Limits
- This plan was made by research software. No qualified person has approved it, and opening,
  saving or exporting this scene does not approve it.
- The dose is the dose engine's estimate for an ideal fluence. There are no machine apertures and
  no monitor units; nothing here can be delivered.
- Segments are the CT voxels that a structure fills at least half. The histograms and the
  scorecard were computed with the filled fraction of every voxel, so that numbers computed anew
  from the segments may differ a little, most for small or thin structures.
- Dose colours mean per cent of the prescription: red is 110 and more, orange 105, yellow 100,
  blue 90, violet 80, fading to grey for less. Dose below 5 per cent is not shown. Doses are Gy for
  the whole course.
"""


def plan_facts(
    case: Case,
    dose: DoseImage,
    prescription_gy: float,
    beams: Sequence[Beam],
    scorecard: Mapping | None,
) -> dict[str, str]:
    """Facts about the plan, by name; nothing that tells who the patient is."""
    facts = {
        "Software": f"radplan {__version__}",
        "Case": case.name,
        "Prescription of 100 %": f"{prescription_gy:g} Gy",
        "Maximum dose": f"{float(dose.dose_gy.max()):.2f} Gy",
        "Dose grid spacing": " x ".join(f"{s:g}" for s in dose.grid.spacing_mm) + " mm",
    }
    if beams:
        facts["Beams"] = f"{len(beams)}, machine {', '.join(sorted({b.machine for b in beams}))}"
    if scorecard:
        facts["Protocol"] = str(scorecard["protocol"])
        facts["Step"] = str(scorecard["step"])
        met = [goal["met"] for goal in scorecard["goals"]]
        facts["Goals"] = f"{met.count(True)} met, {met.count(False)} not met"
        if None in met:
            facts["Goals"] += f", {met.count(None)} not evaluable"
    return facts


def add_notes(scene: slicer.vtkMRMLScene, facts: Mapping[str, str]) -> slicer.vtkMRMLTextNode:
    """Add the limits and the facts as a text."""
    node = scene.AddNewNodeByClass("vtkMRMLTextNode", f"{RESEARCH_ONLY} - read me")
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    node.SetText("\n".join([LIMITS, "Plan", *lines, ""]))
    node.SetForceCreateStorageNode(slicer.vtkMRMLTextNode.CreateStorageNodeAlways)
    return node
