"""SlicerRT's plan and beam nodes: read as beams, and made so that SlicerRT draws them.

SlicerRT's isocentre is a point of a markups node, in that node's own RAS: a transform over it is
not applied, neither by SlicerRT nor here. The source-axis distance of a beam node (2000 mm unless
set) is used for drawing only; a dose engine uses its machine's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer
from vtkmodules.vtkCommonCore import vtkCollection

from ..beams import Beam
from ..case import Case
from ..errors import InputError
from ..geometry import Triple
from ..influence.fields import beamlet_positions, target_points_mm
from .geometry import ras_of

#: Attribute of plans that we made and may change: beams of other plans are a person's.
OURS = "RadPlanAgent.Plan"
#: Source-axis distance of the generic photon machine, mm.
SOURCE_AXIS_DISTANCE_MM = 1000.0
#: SlicerRT's own default of the same, which nobody chose.
UNSET_SAD_MM = 2000.0
#: How SlicerRT ends the name of the transform that it makes for a beam.
BEAM_TRANSFORM = "_BeamTransform"
#: Isocentres closer than this are one.
ISOCENTER_TOLERANCE_MM = 0.01


@dataclass(frozen=True)
class RtPlan:
    """What a SlicerRT plan says.

    Parameters
    ----------
    beams : tuple of Beam
        In the order of their numbers.
    target_ids : tuple of str
        Segment ids.
    body_id : str
        Segment id, empty where none is set.
    prescription_gy : float
    dose_grid_spacing_mm : tuple of float
        Along the axes i, j, k of the reference volume.
    warnings : tuple of str
        What our dose calculation does not take from the plan.
    """

    beams: tuple[Beam, ...]
    target_ids: tuple[str, ...]
    body_id: str
    prescription_gy: float
    dose_grid_spacing_mm: Triple
    warnings: tuple[str, ...]


def slicerrt_is_there() -> bool:
    """Whether SlicerRT's plan and beam nodes exist in this Slicer."""
    return hasattr(slicer, "vtkMRMLRTPlanNode") and hasattr(slicer, "vtkMRMLRTBeamNode")


def require_slicerrt() -> None:
    """Refuse (`InputError`) a Slicer without SlicerRT."""
    if not slicerrt_is_there():
        raise InputError(
            "SlicerRT is not installed; install it with the Extensions Manager, or go on without "
            "plan and beam nodes"
        )


def beam_nodes(plan: slicer.vtkMRMLRTPlanNode) -> list:
    """The beam nodes of a plan, by their numbers (the subject hierarchy does not sort them).

    A beam that was removed but is still held by somebody stays in the hierarchy where the plugins
    of desktop Slicer do not clean it up. SlicerRT crashes when such a beam is changed.
    """
    found = vtkCollection()
    plan.GetBeams(found)
    nodes = [found.GetItemAsObject(i) for i in range(found.GetNumberOfItems())]
    present = [node for node in nodes if node.GetScene() is not None]
    return sorted(present, key=lambda node: node.GetBeamNumber())


def read_plan(
    plan: slicer.vtkMRMLRTPlanNode, bixel_width_mm: float = 5.0, machine: str = "Generic"
) -> RtPlan:
    """Read a SlicerRT plan; nothing is created in the scene.

    Raises
    ------
    InputError
        If the plan has no beams or no isocentre, is an ion plan, or a weight is negative.
    """
    where = f"plan {plan.GetName()!r}"
    if plan.GetIonPlanFlag():
        raise InputError(f"{where} is an ion plan; only photon plans are supported")
    nodes = beam_nodes(plan)
    if not nodes:
        raise InputError(f"{where} has no beams; add one, or use a beam template")
    beams, warnings = [], []
    for node in nodes:
        name = node.GetName() or f"Beam {node.GetBeamNumber()}"
        beams.append(
            Beam(
                gantry_angle_deg=node.GetGantryAngle() % 360.0,
                isocenter_mm=_isocenter_mm(plan, node, where),
                couch_angle_deg=node.GetCouchAngle() % 360.0,
                bixel_width_mm=bixel_width_mm,
                machine=machine,
                name=name,
            )
        )
        warnings.extend(_ignored(node, name))
    if plan.GetAttribute(OURS) is None and not any(any(b.isocenter_mm) for b in beams):
        warnings.insert(
            0,
            f"{where}: the isocentre is at (0, 0, 0), where SlicerRT puts it before anybody sets "
            "it; check it",
        )
    return RtPlan(
        beams=tuple(beams),
        target_ids=tuple(plan.GetTargetSegmentIDs()),
        body_id=plan.GetBodySegmentID() or "",
        prescription_gy=float(plan.GetRxDose()),
        dose_grid_spacing_mm=tuple(plan.GetDoseGridSpacing()),
        warnings=tuple(warnings),
    )


def beams_from_plan(
    plan: slicer.vtkMRMLRTPlanNode, bixel_width_mm: float = 5.0, machine: str = "Generic"
) -> tuple[Beam, ...]:
    """The beams of a SlicerRT plan (see `read_plan`)."""
    return read_plan(plan, bixel_width_mm, machine).beams


def _isocenter_mm(plan: slicer.vtkMRMLRTPlanNode, node: object, where: str) -> Triple:
    """A beam's isocentre, LPS: its own where it has one (dynamic beams), else the plan's."""
    if node.GetIsocenterPositionFlag():
        return ras_of(tuple(float(v) for v in node.GetIsocenterPosition()))
    if plan.GetPoisMarkupsFiducialNode() is None:  # asking for the position would make one
        raise InputError(f"{where} has no isocentre; set it in External Beam Planning")
    position = [0.0, 0.0, 0.0]
    plan.GetIsocenterPosition(position)
    return ras_of(tuple(position))


def _ignored(node: object, name: str) -> list[str]:
    """What a beam node says that our dose calculation does not follow."""
    texts = []
    if node.GetCollimatorAngle() % 360.0:
        texts.append(
            f"beam {name}: collimator angle {node.GetCollimatorAngle():g} degrees is not used; "
            "beamlets are computed for 0"
        )
    if node.GetSAD() not in (SOURCE_AXIS_DISTANCE_MM, UNSET_SAD_MM):
        texts.append(
            f"beam {name}: the source-axis distance of {node.GetSAD():g} mm is for drawing; the "
            "dose is computed with the machine's"
        )
    return texts


def apertures_mm(
    case: Case, beams: Sequence[Beam], target_names: Sequence[str]
) -> tuple[tuple[float, float, float, float], ...]:
    """Jaws X1, X2, Y1, Y2 of every beam that just leave its beamlets open, mm.

    In the isocentre plane, collimator at 0 (IEC 61217). For drawing: our dose calculation has
    beamlets, not jaws.
    """
    found = []
    for beam in beams:
        points = target_points_mm(case, target_names, beam)
        x, z = beamlet_positions(points, beam, SOURCE_AXIS_DISTANCE_MM, case.patient_position)
        half = beam.bixel_width_mm / 2
        edges = (x.min() - half, x.max() + half, z.min() - half, z.max() + half)
        found.append(tuple(float(edge) for edge in edges))
    return tuple(found)


def update_plan(
    scene: slicer.vtkMRMLScene,
    plan: slicer.vtkMRMLRTPlanNode | None,
    beams: Sequence[Beam],
    *,
    volume: slicer.vtkMRMLScalarVolumeNode,
    segmentation: slicer.vtkMRMLSegmentationNode,
    target_ids: Sequence[str],
    prescription_gy: float,
    dose_grid_spacing_mm: Triple,
    body_id: str = "",
    engine_name: str = "",
    apertures: Sequence[tuple[float, float, float, float]] = (),
    source_axis_distance_mm: float = SOURCE_AXIS_DISTANCE_MM,
    name: str = "RadPlanAgent plan",
) -> slicer.vtkMRMLRTPlanNode:
    """Make or change a plan node and its beams; SlicerRT draws them.

    Beam nodes are kept and changed as far as there are any; further ones are added, those too
    many are removed. Nothing piles up however often it is called.

    Parameters
    ----------
    scene : vtkMRMLScene
    plan : vtkMRMLRTPlanNode or None
        One that this function made, or None for a new one.
    beams : sequence of Beam
        Around one isocentre.
    volume, segmentation : MRML nodes
        In the same scene.
    target_ids : sequence of str
        Segment ids.
    prescription_gy : float
    dose_grid_spacing_mm : tuple of float
        Along i, j, k of the volume.
    body_id : str
        Segment id of the body. Without one SlicerRT's pyRadPlan engine asks to make one.
    engine_name : str
        Of a SlicerRT dose engine; left as it is when empty.
    apertures : sequence of tuple
        Of every beam, see `apertures_mm`; jaws stay as they are when there are none.
    source_axis_distance_mm : float
        For drawing.
    name : str
        Of a new plan.

    Raises
    ------
    InputError
        If SlicerRT is absent, there are no beams or several isocentres, or the plan is not ours.
    """
    require_slicerrt()
    if not beams:
        raise InputError("a plan needs at least one beam")
    points = np.array([beam.isocenter_mm for beam in beams])
    if np.abs(points - points[0]).max() > ISOCENTER_TOLERANCE_MM:
        raise InputError("a SlicerRT plan has one isocentre; make a plan for each")
    if plan is None:
        plan = slicer.vtkMRMLRTPlanNode()
        plan.SetName(scene.GenerateUniqueName(name))
        scene.AddNode(plan)
        plan.SetAttribute(OURS, "1")
    elif plan.GetAttribute(OURS) is None:
        raise InputError(
            f"plan {plan.GetName()!r} was not made by RadPlanAgent, its beams are not changed; "
            "use them as they are, or make a new plan"
        )
    plan.SetAndObserveReferenceVolumeNode(volume)
    plan.SetAndObserveSegmentationNode(segmentation)
    plan.SetTargetSegmentIDs(list(target_ids))
    plan.SetBodySegmentID(body_id or None)
    plan.SetRxDose(float(prescription_gy))
    plan.SetDoseGridSpacing(*(float(s) for s in dose_grid_spacing_mm))
    # Before the beams: their transforms are computed from it when they are added or turned.
    plan.SetIsocenterSpecification(slicer.vtkMRMLRTPlanNode.ArbitraryPoint)
    plan.SetIsocenterPosition(list(ras_of(beams[0].isocenter_mm)))
    _update_beams(scene, plan, beams, source_axis_distance_mm)
    for node, jaws in zip(beam_nodes(plan), apertures, strict=False):
        _set_jaws(node, jaws)
    if engine_name and plan.GetDoseEngineName() != engine_name:
        plan.SetDoseEngineName(engine_name)  # gives the beams that engine's parameters
    return plan


def _remove_beam(plan: slicer.vtkMRMLRTPlanNode, node: slicer.vtkMRMLRTBeamNode) -> None:
    """Remove a beam with its display and the transform that SlicerRT made, which it leaves."""
    scene, transform = node.GetScene(), node.GetParentTransformNode()
    left = [node.GetNthDisplayNode(i) for i in range(node.GetNumberOfDisplayNodes())]
    left += [node.GetNthStorageNode(i) for i in range(node.GetNumberOfStorageNodes())]
    if transform is not None and (transform.GetName() or "").endswith(BEAM_TRANSFORM):
        left.append(transform)
    plan.RemoveBeam(node)
    for gone in filter(None, left):
        scene.RemoveNode(gone)


def _set_jaws(node: slicer.vtkMRMLRTBeamNode, jaws: tuple[float, float, float, float]) -> None:
    node.SetX1Jaw(jaws[0])
    node.SetX2Jaw(jaws[1])
    node.SetY1Jaw(jaws[2])
    node.SetY2Jaw(jaws[3])


def _update_beams(
    scene: slicer.vtkMRMLScene,
    plan: slicer.vtkMRMLRTPlanNode,
    beams: Sequence[Beam],
    source_axis_distance_mm: float,
) -> None:
    nodes = beam_nodes(plan)
    for surplus in nodes[len(beams) :]:
        _remove_beam(plan, surplus)
    for number, beam in enumerate(beams):
        name = beam.name or f"G{beam.gantry_angle_deg:05.1f}"
        if number < len(nodes):
            node = nodes[number]
            node.SetName(name)
        else:
            node = slicer.vtkMRMLRTBeamNode()
            node.SetName(name)  # at once: SlicerRT names the beam's transform after it
            scene.AddNode(node)
            plan.AddBeam(node)
        node.SetSAD(source_axis_distance_mm)
        node.SetCollimatorAngle(0.0)
        node.SetCouchAngle(beam.couch_angle_deg)
        node.SetGantryAngle(beam.gantry_angle_deg)
