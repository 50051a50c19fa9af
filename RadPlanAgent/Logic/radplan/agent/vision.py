"""What a model claims to see in pictures of a dose, held against where the dose is.

Models misread dose pictures, so nothing that they claim goes on before code has found it in the
dose. Claims are in tokens; the facts are in the case's names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
from .directions import DIRECTIONS, components_beyond
from .spatial import SpatialFacts
from .spill import PLAIN_MM
from .spots import ColdSpot, HotSpot
from .tokens import StructureTokens

#: The last two say that there is none.
CLAIM_KINDS = ("hot spot", "cold spot", "spill", "conformity", "no hot spot", "no cold spot")
QUALITIES = ("good", "fair", "poor")
MOST_CLAIMS = 8
#: A hot spot, or spilt dose, is next to what is not further away than this.
NEAR_MM = 10.0
#: Conformity (TV²/(T·V) of the 95 % isodose) from which on it is good, and fair; else it is poor.
GOOD, FAIR = 0.85, 0.60
#: This near to such a border nobody can tell by eye on which side it is.
BLURRED = 0.05

CLAIMS_SCHEMA = object_schema(
    claims=list_schema(
        object_schema(
            kind=word_schema(CLAIM_KINDS),
            structure=text_schema("structure name or null", nullable=True),
            direction=text_schema("direction or null", nullable=True),
            quality=text_schema("conformity only: good, fair or poor, else null", nullable=True),
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
        One of `QUALITIES`, of conformity.
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
    if claim.kind == "spill":
        return _no_spill(claim, name, facts)
    if claim.kind == "conformity":
        return _other_conformity(claim, name, facts)
    if claim.kind.endswith("hot spot"):
        kind = f"hot spot above {min(facts.hot_levels_percent):g} %"
        spots = [s for s in facts.hot_spots if not name or name in _places(s)]
    else:
        kind = f"cold spot below {facts.cold_level_percent:g} %"
        spots = [s for s in facts.cold_spots if not name or s.target == name]
    if claim.kind.startswith("no "):
        meant = [s for s in spots if not claim.direction or claim.direction in _ways(s)]
        return f"there is a {kind}, {_listed(_ways(meant[0]))}" if meant else ""
    return _misplaced(claim, spots, f"no {kind}")


def _places(spot: HotSpot) -> set[str]:
    """Everything that a hot spot is in or next to."""
    places = {share.structure for share in spot.inside}
    if spot.distance_mm <= NEAR_MM:
        places.add(spot.target)
    if spot.organ_distance_mm <= NEAR_MM:
        places.add(spot.organ)
    return places


def _ways(spot: HotSpot | ColdSpot) -> tuple[str, ...]:
    """All directions in which a spot can be said to lie: one slice does not show them all."""
    ways = (*spot.direction, *components_beyond(spot.offset_mm, PLAIN_MM))
    return tuple(dict.fromkeys(ways))


def _listed(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words)) or "central"


def _misplaced(claim: Claim, spots: Sequence[HotSpot | ColdSpot], none: str) -> str:
    if not spots:
        return f"{none} in or next to {claim.structure}" if claim.structure else none
    ways = [way for s in spots for way in _ways(s)]
    if not claim.direction or claim.direction in ways:
        return ""
    return f"it lies {_listed(ways)}, not {claim.direction}"


def _no_spill(claim: Claim, name: str, facts: SpatialFacts) -> str:
    """Hold spill against what the isodoses reach: the organ that is named, or all around."""
    spills = [s for s in facts.spills if s.reach_point_mm is not None]
    if not spills:
        return "no dose leaves the targets"
    own = [s for s in spills if not name or name in s.targets]
    reached = [
        n for s in spills for n in s.neighbours if n.structure == name and n.gap_mm <= NEAR_MM
    ]
    if not own and not reached:
        lowest = min(facts.spills, key=lambda s: s.level_gy)
        return (
            f"the {lowest.percent:g} % isodose does not come within {NEAR_MM:g} mm of "
            f"{claim.structure}"
        )
    ways = [way for place in (*reached, *own) for way in place.directions]
    if claim.direction and claim.direction not in ways:
        return f"dose spills {_listed(ways)}, not {claim.direction}"
    return ""


def _other_conformity(claim: Claim, name: str, facts: SpatialFacts) -> str:
    conformities = [s.conformity for s in facts.spills[:-1] if not name or name in s.targets]
    if not conformities:
        return f"{claim.structure} is no target"
    seen = {_quality(c + blur) for c in conformities for blur in (-BLURRED, 0.0, BLURRED)}
    if claim.quality not in seen:
        values = " and ".join(f"{c:.2f}, {_quality(c)}" for c in conformities)
        return f"conformity of the 95 % isodose is {values}"
    return ""


def _quality(conformity: float) -> str:
    if conformity >= GOOD:
        return "good"
    return "fair" if conformity >= FAIR else "poor"
