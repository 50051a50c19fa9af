"""The panel's choices, kept in the scene: saved and loaded with it. Secrets are never here."""

from __future__ import annotations

from enum import Enum

from slicer import vtkMRMLNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import parameterNodeWrapper

from .i18n import _


class BeamSource(Enum):
    """Where beams come from; saved by name."""

    TEMPLATE = "template"
    RT_PLAN = "plan"

    def label(self) -> str:
        """For the menu."""
        return {
            BeamSource.TEMPLATE: _("Template around the targets"),
            BeamSource.RT_PLAN: _("Beams of a SlicerRT plan"),
        }[self]


class PlannerChoice(Enum):
    """Who plans; saved by name."""

    RULES = "rules"
    LLM = "llm"

    def label(self) -> str:
        """For the menu."""
        return {
            PlannerChoice.RULES: _("Built-in rules"),
            PlannerChoice.LLM: _("Language model (section Assistant)"),
        }[self]


@parameterNodeWrapper
class RadPlanAgentParameterNode:
    """What was chosen.

    ct, segmentation, rtPlan: nodes of the scene.
    protocol: name or file.
    structureNames, structureTypes: by segment ID, where a person chose; an empty name leaves the
        segment out.
    doses: by target of the protocol, Gy for the whole course, where a person changed it.
    fractions: 0 for the protocol's.
    prescriptionChecked: a person has confirmed structures and prescription as they are.
    beamTemplate, doseEngine: empty for the protocol's and the built-in one.
    gridSpacingMm: 0 for automatic.
    sessionFolder: empty for a new one.
    """

    ct: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    protocol: str
    structureNames: dict[str, str]
    structureTypes: dict[str, str]
    doses: dict[str, float]
    fractions: int
    prescriptionChecked: bool
    beamSource: BeamSource = BeamSource.TEMPLATE
    beamTemplate: str
    rtPlan: vtkMRMLNode
    doseEngine: str
    gridSpacingMm: float
    bixelWidthMm: float = 5.0
    planner: PlannerChoice = PlannerChoice.RULES
    stepLimit: int = 40
    sessionFolder: str
    showDose: bool = True
    showIsodoses: bool = True
    showLegend: bool = True
    modelUrl: str
    modelName: str
