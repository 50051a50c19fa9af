"""The structures of the table, found by the words of a name.

A word may say the side (``lt``, ``links``), be a synonym (``nerve`` for ``Nrv``) or say nothing
(``the``); words may stand in any order, run together, or be misspelt. What lies on the other side
than the one spoken of is never found.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from . import structure_names
from .case import StructureType

_SIDES = {
    **dict.fromkeys(("l", "lt", "lft", "left", "sin", "sinistra", "links"), "L"),
    **dict.fromkeys(("r", "rt", "rgt", "rht", "right", "dex", "dextra", "rechts"), "R"),
}
#: Where a side begins after an abbreviation: "LNr" is LN and r, not an L and a word "Nr".
_SIDE_AFTER_CAPITALS = re.compile(rf"(?<=[A-Z]{{2}})(?=(?:{'|'.join(_SIDES)})(?![A-Za-z]))")
_NO_SIDE_NAMED = frozenset(
    ("ipsi", "contra", "ipsilateral", "contralateral", "ipsilat", "contralat")
)
_SYNONYMS = {
    "femoral": "femur", "fem": "femur", "femoris": "femur",
    "nerve": "nrv", "nerv": "nrv", "nervus": "nrv", "nv": "nrv",
    "gland": "glnd", "glandula": "glnd", "gl": "glnd",
    "submandibular": "submand", "submandibula": "submand",
    "plexus": "plex", "muscle": "musc", "muscles": "musc",
    "oesophagus": "esophagus", "artery": "a", "vein": "v", "lobus": "lobe",
    "parotis": "parotid", "temporalis": "temporal", "temp": "temporal",
    "tumour": "tumor", "nodes": "ln", "node": "ln", "nodal": "ln",
}  # fmt: skip
_FILLERS = frozenset(("the", "of", "and", "organ", "oar"))
#: Letters from which on a misspelling is worth a guess.
_SHORTEST_GUESS = 5


@dataclass(frozen=True)
class Entry:
    """One structure of the table, before its side is known."""

    name: str
    type: StructureType
    is_lateral: bool = False
    both: str = ""

    def candidates(self, sides: set[str]) -> tuple[str, ...]:
        """Its full names that agree with the sides spoken of."""
        if not self.is_lateral:
            return (self.name,)
        if len(sides) == 1:
            return (f"{self.name}_{next(iter(sides))}",)
        return (f"{self.name}_L", f"{self.name}_R", *((self.both,) if self.both else ()))


@dataclass(frozen=True)
class _Table:
    """The structures, found by full name, by words in any order, and by letters alone."""

    exact: Mapping[str, Entry]
    words: Mapping[tuple[str, ...], Entry]
    letters: Mapping[str, Entry]


@cache
def _table() -> _Table:
    exact: dict[str, Entry] = {}
    words: dict[tuple[str, ...], Entry] = {}
    letters: dict[str, Entry] = {}

    def add(text: str, entry: Entry) -> None:
        plain = words_of(text)
        standard = _standard_words(plain)
        words.setdefault(tuple(sorted(standard)), entry)
        letters.setdefault("".join(plain), entry)
        letters.setdefault("".join(standard), entry)

    sections = (
        (structure_names.MEDIAN, StructureType.OAR, False),
        (structure_names.EXTERNAL, StructureType.EXTERNAL, False),
        (structure_names.NOT_ANATOMY, StructureType.HELPER, False),
        (structure_names.LATERAL, StructureType.OAR, True),
    )
    for text, kind, is_lateral in sections:
        for line in filter(None, text.splitlines()):
            names, _, aliases = line.partition("|")
            name, _, both = (part.strip() for part in names.partition("="))
            entry = Entry(name, kind, is_lateral, both)
            for full_name in entry.candidates(set()):
                exact[full_name.casefold()] = Entry(full_name, kind)
            for alias in (name, *filter(str.strip, aliases.split(";"))):
                add(alias, entry)
            if both:
                plural = Entry(both, kind)
                add(both, plural)
                for alias in filter(str.strip, aliases.split(";")):
                    add(alias.strip() + "s", plural)
    return _Table(exact, words, letters)


def tg263_names() -> tuple[str, ...]:
    """Every full structure name of the table, sorted; targets are a grammar and not listed."""
    return tuple(sorted(entry.name for entry in _table().exact.values()))


def exact_entry(text: str) -> Entry | None:
    """The structure of exactly this full name, in any case of letters."""
    return _table().exact.get(text.casefold())


def words_of(text: str) -> tuple[str, ...]:
    """Lower-case words of a name: split at separators, case changes and where digits begin."""
    text = _SIDE_AFTER_CAPITALS.sub(" ", text)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)
    text = re.sub(r"(?<=[A-Za-z]{2})(?=\d)", " ", text)
    return tuple(re.findall(r"\d+\.\d+|[a-z0-9%]+", text.casefold()))


def lookup(words: tuple[str, ...]) -> tuple[Entry | None, set[str]]:
    """The structure that these words name, and the sides they speak of."""
    table = _table()
    # A side may be part of a name: left anterior descending artery.
    for candidates in (words, _take_sides(words)[0]):
        sides = set() if candidates == words else _take_sides(words)[1]
        standard = _standard_words(candidates)
        entry = (
            table.words.get(tuple(sorted(standard)))
            or table.letters.get("".join(candidates))
            or table.letters.get("".join(standard))
        )
        if entry is not None:
            return entry, sides
    plain, sides = _take_sides(words)
    return _glued_side("".join(plain)) if not sides else (None, sides)


def similar_names(words: tuple[str, ...]) -> tuple[str, ...]:
    """Full names that a person may want to choose from, never of another side."""
    table = _table()
    plain, sides = _take_sides(words)
    # "Parotid_L2": the side is likely, so the other one must not be offered.
    sides = sides | {w[0].upper() for w in plain if re.fullmatch(r"[lr]\d+", w)}
    standard = set(_standard_words(plain))
    inside = [
        (len(key), entry)
        for key, entry in table.words.items()
        if standard.issuperset(key) and len("".join(key)) > 2
    ]
    entries = [entry for _, entry in sorted(inside, key=lambda item: -item[0])]
    joined = "".join(plain)
    long_keys = [key for key in table.letters if len(key) >= _SHORTEST_GUESS]
    for key in difflib.get_close_matches(joined, long_keys, n=4, cutoff=0.82):
        entries.append(table.letters[key])
    if not sides:  # it may hide in a word: "lparotid 2", "leftparottid"
        sides = _hidden_sides((*plain, re.sub(r"\d", "", joined)))
    names = [name for entry in entries for name in entry.candidates(sides)]
    return tuple(dict.fromkeys(name for name in names if _agrees(name, sides)))


def ambiguous_names(words: tuple[str, ...]) -> tuple[str, ...]:
    """What words that have several uses may mean; nothing for all others."""
    plain, sides = _take_sides(words)
    names = structure_names.AMBIGUOUS.get(" ".join(plain), ())
    return tuple(name for name in names if _agrees(name, sides))


def is_ambiguous(text: str) -> bool:
    """Whether a name has several uses, though it may stand in the table."""
    return " ".join(words_of(text)) in structure_names.AMBIGUOUS


def one_side_of(both: str, sides: set[str]) -> tuple[str, ...]:
    """For ``Lungs`` and the left side, ``Lung_L``."""
    for entry in _table().words.values():
        if entry.both == both:
            return entry.candidates(sides)
    return ()


def side_of(name: str) -> str | None:
    """``L`` or ``R`` for a TG-263 name of a structure on one side, else None."""
    match = re.search(r"_([LR])(?:_PRV\d*|-[A-Z]+)?$", name)
    return match.group(1) if match else None


def _standard_words(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(_SYNONYMS.get(word, word) for word in words if word not in _FILLERS)


def _take_sides(words: Iterable[str]) -> tuple[tuple[str, ...], set[str]]:
    """The words without those that name a side, and the sides they name."""
    plain = tuple(w for w in words if w not in _SIDES and w not in _NO_SIDE_NAMED)
    return plain, {_SIDES[w] for w in words if w in _SIDES}


def _glued_side(word: str) -> tuple[Entry | None, set[str]]:
    """``lparotid``, ``parotidlt``: a side with no separator, if exactly one reading fits."""
    readings = set()
    for side_word, side in _SIDES.items():
        for rest in (word.removeprefix(side_word), word.removesuffix(side_word)):
            entry = _table().letters.get(rest) if rest != word else None
            if entry is not None and entry.is_lateral:
                readings.add((entry, side))
    if len(readings) == 1:
        entry, side = next(iter(readings))
        return entry, {side}
    return None, {side for _, side in readings}


def _hidden_sides(words: Iterable[str]) -> set[str]:
    """Sides that words without separators seem to speak of."""
    found = set()
    for word in words:
        found |= _glued_side(word)[1]
        for text, side in _SIDES.items():
            if len(text) > 1 and (word.startswith(text) or word.endswith(text)):
                found.add(side)
    return found


def _agrees(name: str, sides: set[str]) -> bool:
    """Whether a full name lies on a side spoken of, or has none."""
    own = side_of(name)
    return own is None or not sides or own in sides
