"""The library of reference plans: which there are, and which are like a case.

It has plans that come with the program and those that the user added. Both hold tokens and numbers
only (`radplan.agent.example`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..case import Case
from ..errors import InputError
from ..protocol import Protocol
from ..protocol_file import list_protocols, load_protocol
from ..resources import resource_path
from .anatomy import AnatomyFact, anatomy_facts
from .example import OTHER_SITE, Example
from .example_file import load_example
from .likeness import likeness, same_patient, shared_organs
from .tokens import StructureTokens

#: Anatomies are compared on voxels of this width, mm, whatever the dose grid.
SPACING_MM = 3.0
#: Plans of another site are shown if they are at least this like.
LEAST_LIKENESS = 0.3
#: Of plans about equally alike (to this), the user's own come first.
EQUALLY_ALIKE = 0.1


@dataclass(frozen=True)
class Choice:
    """Reference plans for a case.

    Parameters
    ----------
    examples : tuple of Example
        The likest first; each one's remark says how like it is.
    notes : tuple of str
        What was left out and why, for people.
    """

    examples: tuple[Example, ...]
    notes: tuple[str, ...] = ()


def user_folder() -> Path:
    """Folder of the user's own plans: $RADPLAN_EXAMPLES, else in the user's config folder."""
    if "RADPLAN_EXAMPLES" in os.environ:
        return Path(os.environ["RADPLAN_EXAMPLES"])
    config = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config"))
    return config / "radplan" / "examples"


def list_examples() -> tuple[Example, ...]:
    """All reference plans: the user's own, then those that come with the program, by name.

    Raises
    ------
    InputError
        If a file is damaged; the text names it.
    """
    own = [replace(e, origin="own") for e in _in_folder(user_folder())]
    return (*own, *_in_folder(resource_path("Examples")))


def similar_examples(case: Case, protocol: Protocol, count: int) -> tuple[Example, ...]:
    """The reference plans that are most like a case: `choose_examples` without its notes."""
    return choose_examples(case, protocol, count).examples


def choose_examples(
    case: Case, protocol: Protocol, count: int, library: Sequence[Example] | None = None
) -> Choice:
    """The reference plans that are most like a case.

    Those of the same site come first, then others with organs in common; each group by
    `likeness` of anatomy, among about equally like ones the user's own first and then those whose
    dose per fraction is nearest. Any prescription will do. Plans made on the same anatomy are left
    out: they would give the answer away.

    Parameters
    ----------
    case : Case
    protocol : Protocol
        In the case's names.
    count : int
        Plans wanted; there may be fewer.
    library : sequence of Example, optional
        All reference plans when not given.
    """
    tokens = StructureTokens.of(case, protocol)
    anatomy = anatomy_in_tokens(case, protocol, tokens)
    site = site_of(protocol, tokens)
    present = frozenset(fact.structure for fact in anatomy)
    left_out = []
    ranked: list[tuple[tuple, Example]] = []
    for example in list_examples() if library is None else library:
        if same_patient(anatomy, example.anatomy):
            left_out.append(example.name)
            continue
        alike = likeness(anatomy, example.anatomy)
        own_site = example.site == site and site != OTHER_SITE
        if not own_site and (
            alike < LEAST_LIKENESS or not shared_organs(anatomy, example.anatomy)
        ):
            continue
        remark = (
            f"Shown because: {'the same site' if own_site else 'another site'}, its anatomy is "
            f"{100 * alike:.0f} % like this case's."
        )
        key = (
            not own_site,
            -round(alike / EQUALLY_ALIKE),
            example.origin != "own",
            _fraction_unlikeness(protocol, example.protocol),
            -alike,
            example.name,
        )
        ranked.append((key, replace(example, remark=remark, shown_for=present)))
    ranked.sort(key=lambda item: item[0])
    notes = (
        [f"not shown as reference, made on this very anatomy: {', '.join(left_out)}"]
        if left_out
        else []
    )
    return Choice(tuple(example for _, example in ranked[:count]), tuple(notes))


def anatomy_in_tokens(
    case: Case, protocol: Protocol, tokens: StructureTokens
) -> tuple[AnatomyFact, ...]:
    """The anatomy as reference plans have it: in tokens, on voxels of one width."""
    grid = case.grid.coarsened((SPACING_MM,) * 3)
    occupancies = {s.name: s.occupancy.onto(grid) for s in case.structures}
    return tuple(
        replace(
            fact,
            structure=tokens.token(fact.structure),
            nearest_target=tokens.token(fact.nearest_target) if fact.nearest_target else "",
            direction=(),
        )
        for fact in anatomy_facts(case, protocol, occupancies)
    )


def site_of(protocol: Protocol, tokens: StructureTokens) -> str:
    """The site of a protocol, as one of those of the protocols that come with the program.

    The protocol's own word counts if it is one of them, however it is written. Else it is the site
    of the protocol that shares the largest part of its organs (Jaccard index), if that is at
    least a quarter.

    Parameters
    ----------
    protocol : Protocol
        In the case's names.
    tokens : StructureTokens
    """
    shipped = [load_protocol(name) for name in list_protocols()]
    for known in shipped:
        if _letters(known.site) == _letters(protocol.site):
            return known.site
    organs = {tokens.token(name) for name in _organs(protocol)}

    def shared(known: Protocol) -> float:
        theirs = _organs(known)
        return len(organs & theirs) / max(len(organs | theirs), 1)

    nearest = max(shipped, key=shared)
    return nearest.site if shared(nearest) >= 0.25 else OTHER_SITE


def find_example(name: str) -> Example:
    """The reference plan of a name; `InputError` naming all otherwise."""
    library = list_examples()
    for example in library:
        if example.name == name:
            return example
    known = ", ".join(e.name for e in library) or "none"
    raise InputError(f"there is no reference plan {name!r}; there are {known}")


def _in_folder(folder: Path) -> list[Example]:
    return [load_example(path) for path in sorted(folder.glob("*.json"))]


def _fraction_unlikeness(one: Protocol, other: Protocol) -> float:
    per_fraction = [p.highest.dose_gy / p.fractions for p in (one, other)]
    return 1 - min(per_fraction) / max(per_fraction)


def _organs(protocol: Protocol) -> set[str]:
    return {g.structure for g in protocol.goals} - set(protocol.prescription_gy)


def _letters(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())
