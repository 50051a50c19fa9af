"""Pictures of dose, DVH and planning history; the only room that uses matplotlib.

Every function returns a `matplotlib.figure.Figure` of its own (no pyplot, no shared state) and
draws the same picture for the same input. Text on a picture comes from structure names, goals and
numbers only, never from DICOM attributes.
"""

from __future__ import annotations

from .convergence import CostCurve, convergence_figure
from .dvh import DvhCurve, GoalMarker, dvh_figure
from .history import GoalHistory, StepLabel, trajectory_figure
from .plane import VIEWS, dose_plane_figure
from .scaling import EvaluationTime, scaling_figure
from .slices import ISODOSE_PERCENT, default_point_mm, dose_slices
from .style import png_bytes, save_png

__all__ = [
    "ISODOSE_PERCENT",
    "VIEWS",
    "CostCurve",
    "DvhCurve",
    "EvaluationTime",
    "GoalHistory",
    "GoalMarker",
    "StepLabel",
    "convergence_figure",
    "default_point_mm",
    "dose_plane_figure",
    "dose_slices",
    "dvh_figure",
    "png_bytes",
    "save_png",
    "scaling_figure",
    "trajectory_figure",
]
