"""The mapping table: what each segment is, how sure that is, and what is still to be answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol as Interface

from ..binding import Binding, resolve
from ..case import StructureType
from ..errors import InputError
from ..naming import NameMapping, map_name
from ..protocol import Protocol
from .i18n import _


class Match(Enum):
    """How a segment's name and type were found."""

    CERTAIN = "certain"
    ASK = "ask"
    UNMAPPED = "unmapped"
    CHOSEN = "chosen"
    LEFT_OUT = "left out"


class Segment(Interface):
    """What is known of a segment (`radplan.mrml.mapping.SegmentEntry`)."""

    segment_id: str
    segment_name: str
    guess: NameMapping
    default_name: str
    default_type: StructureType


@dataclass(frozen=True)
class MappingRow:
    """A segment and what it is taken for.

    Parameters
    ----------
    segment_id, segment_name : str
    name : str or None
        The structure's name; None leaves the segment out.
    type : StructureType
    match : Match
    candidates : tuple of str
        Names to choose from, the likeliest first.
    reason : str
        Why, in a few words.
    """

    segment_id: str
    segment_name: str
    name: str | None
    type: StructureType
    match: Match
    candidates: tuple[str, ...] = ()
    reason: str = ""


def mapping_rows(
    segments: Sequence[Segment],
    names: Mapping[str, str | None],
    types: Mapping[str, StructureType],
) -> tuple[MappingRow, ...]:
    """The rows, in the segments' order.

    Parameters
    ----------
    segments : sequence of Segment
    names, types : mapping
        What a person chose, by segment id; a name of None leaves a segment out.
    """
    return tuple(_row(segment, names, types) for segment in segments)


def _row(
    segment: Segment, names: Mapping[str, str | None], types: Mapping[str, StructureType]
) -> MappingRow:
    guess, key = segment.guess, segment.segment_id
    name = segment.default_name
    match = {"certain": Match.CERTAIN, "ask": Match.ASK}.get(guess.certainty, Match.UNMAPPED)
    reason = guess.reason
    if match is Match.UNMAPPED:
        name = None  # what nobody knows is not planned with
        reason = _("no meaning is known: left out until you name it")
    kind = types.get(key)
    if key in names:
        name = names[key]
        match = Match.LEFT_OUT if name is None else Match.CHOSEN
        reason = _("left out by you") if name is None else _("chosen by you")
        if kind is None and name:
            kind = map_name(name).type
    elif key in types and match is not Match.ASK:
        match, name = Match.CHOSEN, name or segment.default_name
        reason = _("type chosen by you")
    return MappingRow(
        key,
        segment.segment_name,
        name,
        kind or segment.default_type,
        match,
        guess.candidates,
        reason,
    )


def open_questions(rows: Iterable[MappingRow]) -> tuple[str, ...]:
    """Segments that a person still has to say something about."""
    return tuple(row.segment_name for row in rows if row.match is Match.ASK)


def mapping_problem(rows: Sequence[MappingRow]) -> str:
    """Why the structures cannot be planned with; empty if they can."""
    questions = open_questions(rows)
    if questions:
        return _("Choose what {names} is in the structure table").format(
            names=", ".join(questions[:3]) + (" …" if len(questions) > 3 else "")
        )
    used = [row for row in rows if row.name is not None]
    twice = sorted({r.name for r in used if sum(o.name == r.name for o in used) > 1})
    if twice:
        return _("Two segments are named {name}; rename one or leave it out").format(name=twice[0])
    bodies = [r.name for r in used if r.type is StructureType.EXTERNAL]
    if not bodies:
        return _("No segment is the body (type EXTERNAL); choose it in the structure table")
    if len(bodies) > 1:
        return _("More than one segment is the body: {names}; keep one").format(
            names=", ".join(bodies)
        )
    return ""


def bound(protocol: Protocol, rows: Sequence[MappingRow]) -> Binding | str:
    """The protocol held against the structures, or why it does not fit."""
    try:
        return resolve(protocol, (row.name for row in rows if row.name is not None))
    except InputError as error:
        return str(error)
