"""Prescription and clinical goals, each with where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from .metrics import Metric

#: Version of the file layout, the only one read.
FORMAT = 1
#: The comparisons of goals, and how they are shown.
SIGNS = {"<=": "≤", ">=": "≥"}


@dataclass(frozen=True)
class Prescription:
    """Dose to one target, Gy for the whole course."""

    target: str
    dose_gy: float
    dose_per_fraction_gy: float | None = None


@dataclass(frozen=True)
class ClinicalGoal:
    """One row of a protocol: structure, metric, comparison, value, unit, priority.

    `priority` runs from 1 (must) over 2 (must-like target floor) and 3 (should) to 4 (ideal).
    A must-goal's structure has to exist in the case unless the goal is `optional`.
    `verified` is True only where the value was read in the source that is named.
    """

    structure: str
    metric: Metric
    op: str  # a key of SIGNS
    value: float
    unit: str  # "Gy", "%", "cc" or "" for an index
    priority: int
    source: str = ""
    verified: bool = False
    note: str = ""
    optional: bool = False

    @property
    def limit(self) -> str:
        """What the metric has to keep to: ``≤ 22 %``."""
        return f"{SIGNS[self.op]} {self.value:g} {self.unit}".rstrip()

    @property
    def requirement(self) -> str:
        """Metric and limit: ``V50Gy ≤ 22 %``."""
        return f"{self.metric} {self.limit}"

    @property
    def label(self) -> str:
        """The goal in one short text: ``Rectum V50Gy ≤ 22 %``."""
        return f"{self.structure} {self.requirement}"

    @property
    def needs_prescription(self) -> bool:
        """Whether the metric is relative to the structure's own prescribed dose."""
        if self.metric.kind == "V":
            return self.metric.level_unit == "%"
        return self.metric.kind in ("HI", "CI") or self.unit == "%"


@dataclass(frozen=True)
class Protocol:
    """Prescription, fractions and goals of one treatment.

    The first prescription is the primary target: the whole plan is scaled so that its
    `coverage` metric (``D95%`` by default) equals its dose exactly.
    `aliases` lists other names under which a case may hold a structure of the protocol.
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
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def primary(self) -> Prescription:
        """The prescription that the plan is normalised to."""
        return self.prescriptions[0]

    @cached_property
    def highest(self) -> Prescription:
        """The highest prescription."""
        return max(self.prescriptions, key=lambda p: p.dose_gy)

    @cached_property
    def prescription_gy(self) -> dict[str, float]:
        """Prescribed dose of every target, Gy for the whole course."""
        return {p.target: p.dose_gy for p in self.prescriptions}

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets, the primary one first."""
        return tuple(p.target for p in self.prescriptions)

    @property
    def structures(self) -> tuple[str, ...]:
        """Every structure that the protocol names, targets first, each once."""
        return tuple(dict.fromkeys((*self.targets, *(g.structure for g in self.goals))))

    def to_dict(self) -> dict:
        """The protocol as its file has it; `protocol_from_dict` is the way back."""
        return {
            "format": FORMAT,
            "name": self.name,
            "title": self.title,
            "site": self.site,
            "fractions": self.fractions,
            "prescriptions": [
                {"target": p.target, "dose_gy": p.dose_gy}
                | (
                    {}
                    if p.dose_per_fraction_gy is None
                    else {"dose_per_fraction_gy": p.dose_per_fraction_gy}
                )
                for p in self.prescriptions
            ],
            "coverage": self.coverage.text,
            "beams": self.beams,
            "source": self.source,
            "note": self.note,
            "aliases": {name: list(others) for name, others in self.aliases.items()},
            "goals": [
                {
                    "structure": g.structure,
                    "metric": g.metric.text,
                    "op": g.op,
                    "value": g.value,
                    "unit": g.unit,
                    "priority": g.priority,
                    "source": g.source,
                    "verified": g.verified,
                    "note": g.note,
                    "optional": g.optional,
                }
                for g in self.goals
            ],
        }
