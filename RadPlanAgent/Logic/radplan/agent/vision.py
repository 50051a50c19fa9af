"""What a model claims to see in pictures of a dose, held against where the dose is.

Models misread dose pictures, so nothing that they claim goes on before code has found it in the
dose. Claims are in tokens; the facts are in the case's names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .assessment import LONGEST_TEXT
from .checked import (
    Checker,
    check_object,
    list_schema,
    object_schema,
    text_schema,
    word_schema,
)
from .directions import DIRECTIONS, direction_text
from .spots import ColdSpot, HotSpot, SpatialFacts
from .tokens import StructureTokens

CLAIM_KINDS = ("hot spot", "cold spot", "spill", "conformity")
QUALITIES = ("good", "poor")
MOST_CLAIMS = 8
#: A hot spot is next to what is not further away than this.
NEAR_MM = 10.0
#: Dose spills in a direction if at least this share of what is outside lies there, %.
SPILL_SHARE_PERCENT = 20.0
#: Conformity (TV²/(T·V) of the 95 % isodose) that cannot be called poor, and that cannot be good.
NOT_POOR, NOT_GOOD = 0.85, 0.60

CLAIMS_SCHEMA = object_schema(
    claims=list_schema(
        object_schema(
            kind=word_schema(CLAIM_KINDS),
            structure=text_schema("structure name or null", nullable=True),
            direction=text_schema("direction or null", nullable=True),
            quality=text_schema("conformity only: good or poor, else null", nullable=True),
            text=text_schema("one sentence"),
        )
    )
)


@dataclass(frozen=True)
class Claim:
    """One thing that a model says it sees.

    Parameters
    ----------
    kind : str
        One of `CLAIM_KINDS`.
    structure : str
        Token; empty if it names none.
    direction : str
        One of `directions.DIRECTIONS`; empty if it names none.
    quality : str
        ``good`` or ``poor``, of conformity.
    text : str
    """

    kind: str
    structure: str
    direction: str
    quality: str
    text: str


@dataclass(frozen=True)
class CheckedClaims:
    """Claims that the facts bear out, and those that they do not, with the reason."""

    held: tuple[Claim, ...]
    dropped: tuple[tuple[Claim, str], ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was dropped and why, for the log."""
        return tuple(f'vision claim dropped, "{claim.text}": {why}' for claim, why in self.dropped)


def read_claims(value: dict, structures: Sequence[str]) -> tuple[Claim, ...]:
    """Check the form of a vision expert's reply.

    Raises
    ------
    RejectedReplyError
        If it is not as `CLAIMS_SCHEMA` has it: what to repair.
    """
    with check_object(value) as reply:
        claims = [_read_claim(item, structures) for item in reply.objects("claims")]
    return tuple(claims[:MOST_CLAIMS])


def _read_claim(item: Checker, structures: Sequence[str]) -> Claim:
    kind = item.word("kind", CLAIM_KINDS)
    return Claim(
        kind,
        item.word("structure", structures) if "structure" in item else "",
        item.word("direction", DIRECTIONS) if "direction" in item else "",
        item.word("quality", QUALITIES) if kind == "conformity" else "",
        item.text("text", LONGEST_TEXT),
    )


def check_claims(
    claims: Sequence[Claim], facts: SpatialFacts, tokens: StructureTokens
) -> CheckedClaims:
    """Hold every claim against the facts."""
    held, dropped = [], []
    for claim in claims:
        why = _contradiction(claim, facts, tokens)
        if why:
            dropped.append((claim, why))
        else:
            held.append(claim)
    return CheckedClaims(tuple(held), tuple(dropped))


def _contradiction(claim: Claim, facts: SpatialFacts, tokens: StructureTokens) -> str:
    """Why a claim is wrong; empty if the facts bear it out."""
    name = tokens.name(claim.structure) if claim.structure else ""
    if claim.kind == "hot spot":
        level = f"{min(facts.hot_levels_percent):g} %"
        near = [s for s in facts.hot_spots if not name or name in _places(s)]
        return _misplaced(claim, near, f"no hot spot above {level}")
    if claim.kind == "cold spot":
        cold = [s for s in facts.cold_spots if not name or s.target == name]
        return _misplaced(claim, cold, f"no cold spot below {facts.cold_level_percent:g} %")
    if claim.kind == "spill":
        return _no_spill(claim, name, facts)
    return _other_conformity(claim, name, facts)


def _places(spot: HotSpot) -> set[str]:
    """Everything that a hot spot is in or next to."""
    places = {share.structure for share in spot.inside}
    if spot.distance_mm <= NEAR_MM:
        places.add(spot.target)
    if spot.organ_distance_mm <= NEAR_MM:
        places.add(spot.organ)
    return places


def _misplaced(claim: Claim, spots: Sequence[HotSpot | ColdSpot], none: str) -> str:
    if not spots:
        return f"{none} in or next to {claim.structure}" if claim.structure else none
    if not claim.direction or any(claim.direction in s.direction for s in spots):
        return ""
    there = ", ".join(dict.fromkeys(direction_text(s.direction) for s in spots))
    return f"it lies {there}, not {claim.direction}"


def _no_spill(claim: Claim, name: str, facts: SpatialFacts) -> str:
    spills = [s for s in facts.spills if s.reach_point_mm is not None]
    if not spills:
        return "no dose leaves the targets"
    if name:
        spills = [
            s
            for s in spills
            if name in (s.reach_organ, *s.targets, *(part.structure for part in s.covered))
        ]
        if not spills:
            return f"no isodose that was looked at reaches {claim.structure}"
    words = {
        word for s in spills for word, percent in s.by_direction if percent >= SPILL_SHARE_PERCENT
    } | {word for s in spills for word in s.reach_direction}
    if claim.direction and claim.direction not in words:
        return f"dose spills {', '.join(sorted(words)) or 'nowhere'}, not {claim.direction}"
    return ""


def _other_conformity(claim: Claim, name: str, facts: SpatialFacts) -> str:
    conformities = [s.conformity for s in facts.spills[:-1] if not name or name in s.targets]
    if not conformities:
        return f"{claim.structure} is no target"
    if claim.quality == "poor" and min(conformities) >= NOT_POOR:
        return f"conformity of the 95 % isodose is at least {NOT_POOR:g}"
    if claim.quality == "good" and max(conformities) < NOT_GOOD:
        return f"conformity of the 95 % isodose is below {NOT_GOOD:g}"
    return ""
