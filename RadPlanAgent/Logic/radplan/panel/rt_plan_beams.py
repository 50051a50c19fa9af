"""The beams of a template as a SlicerRT plan, so that SlicerRT draws them before planning."""

from __future__ import annotations

from collections.abc import Mapping
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


def beamsIntoScene(
    case: Case,
    protocol: Mapping,
    *,
    ct: Any,
    segmentation: Any,
    segment_ids: Mapping[str, str],
    beams: str | None,
    spacing_mm: float | None,
    bixel_width_mm: float,
    plan: Any,
) -> Any:
    """Make or change the plan node with the beams that planning would use.

    Parameters
    ----------
    case : Case
        As read from the two nodes.
    protocol : mapping
        As its file would say.
    ct, segmentation : MRML nodes
    segment_ids : mapping
        By structure name.
    beams : str or None
        Template or gantry angles; the protocol's when not given.
    spacing_mm : float or None
        Of the dose grid; chosen for the case when not given.
    bixel_width_mm : float
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
    case, binding = bind(case, protocol_from_dict(dict(protocol)))
    targets = binding.protocol.targets
    template = beams or binding.protocol.beams
    fields = make_beams(template, isocenter(case, binding), bixel_width_mm)
    grid = choose_dose_grid(case, spacing_mm)
    return update_plan(
        slicer.mrmlScene,
        plan if plan is not None and plan.GetAttribute(OURS) else None,
        fields,
        volume=ct,
        segmentation=segmentation,
        target_ids=[segment_ids[name] for name in targets],
        prescription_gy=binding.protocol.primary.dose_gy,
        dose_grid_spacing_mm=_along_image_axes(grid.spacing_mm, ct),
        body_id=segment_ids[case.external.name],
        apertures=apertures_mm(case, fields, targets),
    )


def _along_image_axes(spacing_mm: Triple, volume: Any) -> Triple:
    """A spacing along x, y, z as one along the axes i, j, k of a volume that is not oblique."""
    columns = ijk_to_lps(volume)[:3, :3]
    axes = np.abs(columns).argmax(axis=0)  # the patient's axis along which i, j, k run
    return tuple(float(spacing_mm[axis]) for axis in axes)
