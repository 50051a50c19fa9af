"""Prescription and clinical goals, each with where it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from .metrics import Metric


@dataclass(frozen=True)
class Prescription:
    """Dose to one target, Gy for the whole course."""

    target: str
    dose_gy: float


@dataclass(frozen=True)
class ClinicalGoal:
    """One row of a protocol: structure, metric, comparison, value, unit, priority.

    `priority` runs from 1 (must) over 2 (must-like target floor) and 3 (should) to 4 (ideal).
    `verified` is True only where the value was read in the primary text.
    """

    structure: str
    metric: Metric
    op: str  # "<=" or ">="
    value: float
    unit: str  # "Gy", "%", "cc" or "" for an index
    priority: int
    source: str = ""
    verified: bool = False
    note: str = ""


@dataclass(frozen=True)
class Protocol:
    """Prescription, fractions and goals of one treatment.

    The first prescription is the primary target: the whole plan is scaled so that its
    `coverage` metric (``D95%`` by default) equals its dose exactly.
    """

    name: str
    title: str
    site: str
    fractions: int
    prescriptions: tuple[Prescription, ...]
    goals: tuple[ClinicalGoal, ...]
    coverage: Metric
    beams: str = "coplanar9"
    source: str = ""
    note: str = ""
