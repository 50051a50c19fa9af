"""A case and its plan as nodes of a scene: desktop Slicer's, or one made for a file.

Every function adds nodes, places them in the subject hierarchy, and returns them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import slicer

from ..beams import Beam
from ..case import Case, DoseImage, StructureType
from ..errors import InputError
from ..geometry import Grid, Triple
from .dvh import Dvh, add_dvh_nodes, check_dvh
from .hierarchy import add_study, place
from .isocenters import add_isocenters
from .isodoses import add_isodoses
from .notes import RESEARCH_ONLY, add_notes, plan_facts
from .scorecard_table import add_scorecard_table
from .segmentation import add_segmentation
from .views import arrange_views, show_legend
from .volumes import add_ct, add_dose_volume


@dataclass(frozen=True)
class CaseNodes:
    """A case in a scene: its item in the subject hierarchy and its nodes."""

    case: Case
    study: int
    ct: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode


def add_case(scene: slicer.vtkMRMLScene, case: Case) -> CaseNodes:
    """Add CT and structures under a new patient and study."""
    study = add_study(scene, case.name, f"Plan - {RESEARCH_ONLY}")
    ct = add_ct(scene, case)
    segmentation = add_segmentation(scene, case, ct)
    place(ct, study)
    place(segmentation, study, expanded=False)
    return CaseNodes(case, study, ct, segmentation)


def add_dose(
    nodes: CaseNodes, dose: DoseImage, prescription_gy: float
) -> slicer.vtkMRMLScalarVolumeNode:
    """Add a dose to a case's study.

    Raises
    ------
    InputError
        If the prescription, which the colours refer to, is not positive.
    """
    if not prescription_gy > 0:
        raise InputError(f"the prescription must be a positive dose, got {prescription_gy:g} Gy")
    node = add_dose_volume(nodes.ct.GetScene(), f"Dose - {RESEARCH_ONLY}", dose, prescription_gy)
    place(node, nodes.study)
    return node


def add_dvh(
    nodes: CaseNodes,
    dose: slicer.vtkMRMLScalarVolumeNode,
    dvh: Dvh,
    scorecard: Mapping | None = None,
) -> slicer.vtkMRMLPlotChartNode:
    """Add the dose-volume histograms of a dose to a case's study; `InputError` if they misfit."""
    check_dvh(dvh, nodes.case.names)
    return add_dvh_nodes(
        dose,
        nodes.segmentation,
        dvh,
        study=nodes.study,
        title=f"Dose Volume Histogram - {RESEARCH_ONLY}",
        volumes_cc={name: nodes.case.structure(name).volume_cc for name in dvh[1]},
        structures=(scorecard or {}).get("structures", {}),
    )


def _body(case: Case) -> Grid:
    """The box around the body, or the CT's."""
    for structure in case.of_type(StructureType.EXTERNAL):
        if not structure.occupancy.is_empty:
            return structure.occupancy.box_grid
    return case.grid


def _center_mm(case: Case, scorecard: Mapping | None) -> Triple:
    """The centre of the primary target, of any target, of the body, or of the CT."""
    prescribed = [row["target"] for row in (scorecard or {}).get("prescription", ())]
    candidates = [s for name in prescribed for s in case.structures if s.name == name]
    candidates += case.of_type(StructureType.TARGET) + case.of_type(StructureType.EXTERNAL)
    for structure in candidates:
        if not structure.occupancy.is_empty:
            return structure.occupancy.centroid_mm
    return case.grid.center_mm


def add_plan(
    scene: slicer.vtkMRMLScene,
    case: Case,
    dose: DoseImage,
    dvh: Dvh,
    *,
    prescription_gy: float,
    scorecard: Mapping | None = None,
    beams: Sequence[Beam] = (),
    provenance: Mapping[str, str] | None = None,
) -> None:
    """Add a case and a finished plan, and arrange the views (see `scene.write_scene`)."""
    nodes = add_case(scene, case)
    dose_node = add_dose(nodes, dose, prescription_gy)
    isodoses = add_isodoses(dose_node, prescription_gy)
    place(isodoses, nodes.study)
    show_legend(isodoses, True)
    chart = add_dvh(nodes, dose_node, dvh, scorecard)
    table = None
    if scorecard is not None:
        table = add_scorecard_table(scene, f"Scorecard - {RESEARCH_ONLY}", scorecard)
        place(table, nodes.study)
    if beams:
        place(add_isocenters(scene, beams), nodes.study)
    facts = plan_facts(case, dose, prescription_gy, beams, scorecard) | dict(provenance or {})
    place(add_notes(scene, facts), nodes.study)
    arrange_views(
        scene,
        ct=nodes.ct,
        dose=dose_node,
        chart=chart,
        table=table,
        region=_body(case),
        center_mm=_center_mm(case, scorecard),
    )
