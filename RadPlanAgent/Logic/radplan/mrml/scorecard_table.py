"""The scorecard as a table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import slicer

from ..protocol import SIGNS
from .tables import add_table

_MET = {True: "yes", False: "NO", None: "not evaluable"}


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)


def scorecard_columns(scorecard: Mapping) -> dict[str, list]:
    """A row per clinical goal, in the scorecard's order.

    Parameters
    ----------
    scorecard : mapping
        As in ``scorecard.json``: ``goals`` is a list of mappings with ``structure``, ``metric``,
        ``op``, ``value``, ``unit``, ``priority``, ``achieved``, ``margin``, ``met`` and perhaps
        ``note``. What was achieved, the margin and whether it is met may be None: not evaluable,
        and no number in the table.
    """
    goals = scorecard["goals"]
    return {
        "Priority": [float(g["priority"]) for g in goals],
        "Structure": [g["structure"] for g in goals],
        "Metric": [g["metric"] for g in goals],
        "Goal": [f"{SIGNS[g['op']]} {g['value']:g} {g['unit']}".strip() for g in goals],
        "Achieved": [_number(g["achieved"]) for g in goals],
        "Margin": [_number(g["margin"]) for g in goals],
        "Unit": [g["unit"] or "index" for g in goals],
        "Met": [_MET[g["met"]] for g in goals],
        "Note": [g.get("note", "") for g in goals],
    }


def add_scorecard_table(
    scene: slicer.vtkMRMLScene, name: str, scorecard: Mapping
) -> slicer.vtkMRMLTableNode:
    """Add the table of a scorecard (see `scorecard_columns`)."""
    return add_table(scene, name, scorecard_columns(scorecard))
