"""A patient's anatomy in a few numbers: volumes, and how organs lie to the targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..case import Case, StructureType
from ..geometry import Occupancy
from ..protocol import Protocol
from .borders import Border
from .directions import direction_text, direction_words
from .facts import number, table
from .tokens import StructureTokens

#: Smaller shares of an organ in a target are rounding.
_LEAST_OVERLAP = 5e-4


@dataclass(frozen=True)
class AnatomyFact:
    """One structure and its nearest target, by their names in the case.

    Parameters
    ----------
    structure : str
    type : StructureType
    volume_cc : float
    prescription_gy : float or None
        Of a target.
    nearest_target : str
        The target with the highest prescription among the nearest; of a target: another one, or
        empty if there is none.
    distance_mm : float or None
        Between the borders of both, to about a voxel of the dose grid; 0 where they touch or
        overlap.
    direction : tuple of str
        Where the structure's centre lies, seen from that target's centre (`direction_words`).
    overlap_percent : float
        Part of the structure that lies in targets (of a target: in other targets), %.
    """

    structure: str
    type: StructureType
    volume_cc: float
    prescription_gy: float | None
    nearest_target: str
    distance_mm: float | None
    direction: tuple[str, ...]
    overlap_percent: float


def anatomy_facts(
    case: Case, protocol: Protocol, occupancies: Mapping[str, Occupancy]
) -> tuple[AnatomyFact, ...]:
    """Facts about every target with a prescription and every organ, in the case's order.

    Parameters
    ----------
    case : Case
    protocol : Protocol
        In the case's names.
    occupancies : mapping of name to Occupancy
        Structures on the dose grid; those that are missing or empty there are left out.
    """
    present = {
        s.name: occupancies[s.name]
        for s in case.structures
        if s.name in occupancies and not occupancies[s.name].is_empty
    }
    targets = [
        p.target
        for p in sorted(protocol.prescriptions, key=lambda p: -p.dose_gy)
        if p.target in present
    ]
    in_target = {name: present[name].array() for name in targets}
    borders = {name: Border.of(present[name]) for name in targets}
    facts = []
    for structure in case.structures:
        name = structure.name
        is_target = name in targets
        if name not in present or not (is_target or structure.type is StructureType.OAR):
            continue
        own = present[name].array()
        others = [t for t in targets if t != name]
        in_others = np.max([in_target[t] for t in others], axis=0) if others else 0.0
        overlap = float(np.minimum(own, in_others).sum() / own.sum())
        border = borders[name] if is_target else Border.of(present[name])
        gaps = {
            t: 0.0 if np.minimum(own, in_target[t]).any() else borders[t].gap_mm(border)
            for t in others
        }
        nearest = min(gaps, key=gaps.get, default="")
        offset = (
            np.subtract(present[name].centroid_mm, present[nearest].centroid_mm)
            if nearest
            else np.zeros(3)
        )
        facts.append(
            AnatomyFact(
                name,
                structure.type,
                structure.volume_cc,
                protocol.prescription_gy.get(name),
                nearest,
                gaps.get(nearest),
                direction_words(offset),
                100 * overlap if overlap > _LEAST_OVERLAP else 0.0,
            )
        )
    return tuple(facts)


def anatomy_text(facts: tuple[AnatomyFact, ...], tokens: StructureTokens) -> str:
    """The anatomy as a table, targets first."""
    header = ["structure", "cc", "nearest target", "gap mm", "lies", "in targets %"]
    rows = []
    for fact in sorted(facts, key=lambda f: -(f.prescription_gy or 0)):
        name = tokens.token(fact.structure)
        if fact.prescription_gy:
            name += f" ({fact.prescription_gy:g} Gy)"
        rows.append(
            [
                name,
                number(fact.volume_cc),
                tokens.token(fact.nearest_target) if fact.nearest_target else "",
                "" if fact.distance_mm is None else f"{fact.distance_mm:.0f}",
                direction_text(fact.direction) if fact.nearest_target else "",
                f"{fact.overlap_percent:.0f}" if fact.overlap_percent else "0",
            ]
        )
    return table(header, rows)
