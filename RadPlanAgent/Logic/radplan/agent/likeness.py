"""How alike two anatomies are to a planner.

GPT-Plan (Phys Med Biol 2025, 10.1088/1361-6560/adbff1) picks reference plans by
Σ w_o (1 − |overlap_o − overlap'_o|) over organs o, w fixed by site. Here the weights come from
the geometry, so that any site can be compared: an organ counts the more, the nearer it is to a
target, w_o = 1 / (1 + d_o / 10 mm) with d_o the smaller of both distances. An organ's likeness is
the mean, half by overlap as in GPT-Plan and a quarter each by distance and volume, of

* 1 − |overlap − overlap'|, as shares;
* the ratio of the distances to the nearest target, each plus 10 mm, the smaller over the larger;
* the ratio of the volumes, the smaller over the larger.

Ratios are differences on a logarithmic scale. Organs that only one anatomy has count 0. The
targets make a quarter of the whole: by the volume of the highest and by how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..case import StructureType
from .anatomy import AnatomyFact

#: Distance at which an organ counts half, and that is added to distances before they are compared.
NEAR_MM = 10.0
OVERLAP_SHARE, DISTANCE_SHARE, VOLUME_SHARE = 0.5, 0.25, 0.25
TARGET_SHARE = 0.25
#: Organs of one patient have the same volume, to rounding.
SAME_VOLUME = 1e-3
#: So many of the organs that two anatomies share must be the same in one patient.
SAME_ORGANS = 0.5


def likeness(one: Sequence[AnatomyFact], other: Sequence[AnatomyFact]) -> float:
    """How alike two anatomies are, 0 … 1; the same whichever comes first.

    Parameters
    ----------
    one, other : sequence of AnatomyFact
        In tokens, so that the same organ has the same name.
    """
    organs, others = _organs(one), _organs(other)
    weights, found = 0.0, 0.0
    for name in {*organs, *others}:
        gaps = [side[name].distance_mm or 0.0 for side in (organs, others) if name in side]
        weight = 1 / (1 + min(gaps) / NEAR_MM)
        weights += weight
        if name in organs and name in others:
            found += weight * _organ_likeness(organs[name], others[name])
    of_organs = found / weights if weights else 1.0
    return (1 - TARGET_SHARE) * of_organs + TARGET_SHARE * _target_likeness(one, other)


def same_patient(one: Sequence[AnatomyFact], other: Sequence[AnatomyFact]) -> bool:
    """Whether most organs that both have are the very same.

    Names of cases are not compared: they are not kept, and say little (two hospitals can have a
    patient 1 each). So a patient is recognised with other targets or some organs redrawn.
    """
    organs, others = _organs(one), _organs(other)
    shared = [name for name in organs if name in others]
    same = [
        name
        for name in shared
        if 1 - _ratio(organs[name].volume_cc, others[name].volume_cc) < SAME_VOLUME
    ]
    return bool(same) and len(same) >= SAME_ORGANS * len(shared)


def shared_organs(one: Sequence[AnatomyFact], other: Sequence[AnatomyFact]) -> set[str]:
    """Organs that both have."""
    return set(_organs(one)) & set(_organs(other))


def _organs(anatomy: Sequence[AnatomyFact]) -> dict[str, AnatomyFact]:
    return {f.structure: f for f in anatomy if not f.prescription_gy and f.type is _OAR}


_OAR = StructureType.OAR


def _organ_likeness(one: AnatomyFact, other: AnatomyFact) -> float:
    overlap = 1 - abs(one.overlap_percent - other.overlap_percent) / 100
    gaps = [(fact.distance_mm or 0.0) + NEAR_MM for fact in (one, other)]
    return (
        OVERLAP_SHARE * overlap
        + DISTANCE_SHARE * _ratio(*gaps)
        + VOLUME_SHARE * _ratio(one.volume_cc, other.volume_cc)
    )


def _target_likeness(one: Sequence[AnatomyFact], other: Sequence[AnatomyFact]) -> float:
    targets = [
        sorted((f for f in side if f.prescription_gy), key=lambda f: -f.prescription_gy)
        for side in (one, other)
    ]
    if not all(targets):
        return 0.0
    volumes = _ratio(*(side[0].volume_cc for side in targets))
    return 0.5 * volumes + 0.5 * _ratio(*(len(side) for side in targets))


def _ratio(one: float, other: float) -> float:
    largest = max(one, other)
    return min(one, other) / largest if largest > 0 else 1.0
