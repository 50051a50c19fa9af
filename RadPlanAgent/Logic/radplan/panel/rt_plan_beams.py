"""The beams of a template as a SlicerRT plan, so that SlicerRT draws them before planning."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from ..beams import make_beams
from ..case import Case
from ..case_checks import bind
from ..dose_setup import isocenter
from ..geometry import Triple
from ..influence import choose_dose_grid
from ..mrml.read_volume import ijk_to_lps
from ..mrml.rt_plan import OURS, apertures_mm, update_plan
from ..protocol_file import protocol_from_dict
from .plan_inputs import PlanInputs


def beamsIntoScene(case: Case, inputs: PlanInputs, plan: Any) -> Any:
    """Make or change the plan node with the beams that planning would use.

    Parameters
    ----------
    case : Case
        As read from the scene.
    inputs : PlanInputs
    plan : vtkMRMLRTPlanNode or None
        Changed if this module made it; a person's own plan is left alone and a new one made.

    Returns
    -------
    vtkMRMLRTPlanNode

    Raises
    ------
    InputError
        If the case lacks a target or the body.
    """
    case, binding = bind(case, protocol_from_dict(dict(inputs.protocol)))
    targets = binding.protocol.targets
    template = inputs.beams or binding.protocol.beams
    fields = make_beams(template, isocenter(case, binding), inputs.bixel_width_mm)
    grid = choose_dose_grid(case, inputs.spacing_mm)
    segment_ids = {row.name: row.segment_id for row in inputs.rows if row.name}
    return update_plan(
        slicer.mrmlScene,
        plan if plan is not None and plan.GetAttribute(OURS) else None,
        fields,
        volume=inputs.ct,
        segmentation=inputs.segmentation,
        target_ids=[segment_ids[name] for name in targets],
        prescription_gy=binding.protocol.primary.dose_gy,
        dose_grid_spacing_mm=_along_image_axes(grid.spacing_mm, inputs.ct),
        body_id=segment_ids[case.external.name],
        apertures=apertures_mm(case, fields, targets),
    )


def _along_image_axes(spacing_mm: Triple, volume: Any) -> Triple:
    """A spacing along x, y, z as one along the axes i, j, k of a volume that is not oblique."""
    columns = ijk_to_lps(volume)[:3, :3]
    axes = np.abs(columns).argmax(axis=0)  # the patient's axis along which i, j, k run
    return tuple(float(spacing_mm[axis]) for axis in axes)
