"""What a plan is made from, as chosen in the sections Patient and Beams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .mapping_rows import MappingRow


@dataclass(frozen=True)
class PlanInputs:
    """What is planned, before anybody plans.

    Parameters
    ----------
    ct, segmentation : MRML nodes
    rows : tuple of MappingRow
        What the segments are.
    protocol : mapping
        As its file would say.
    beams : str or None
        Template or gantry angles; the protocol's when not given.
    rt_plan : vtkMRMLRTPlanNode or None
        SlicerRT plan whose beams are taken in place of a template's.
    spacing_mm : float or None
        Of the dose grid; chosen for the case when not given.
    bixel_width_mm : float
    """

    ct: Any
    segmentation: Any
    rows: tuple[MappingRow, ...]
    protocol: Mapping
    beams: str | None
    rt_plan: Any
    spacing_mm: float | None
    bixel_width_mm: float
