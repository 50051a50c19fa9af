"""TG-263 structure names, and what the names found in real plans mean.

`map_name` answers in one of three ways. *certain*: the name has one meaning. *ask*: it probably
means one of the candidates, and a person has to say which. *unknown*: nothing fits. It never takes
a left for a right: a name that speaks of one side has no candidate on the other, unless the side
is written together with other words, and then both are offered.

Target names follow the grammar of TG-263: ``PTV``, ``PTVp1``, ``PTV_7000`` (cGy), ``CTV_High``.
Derived names: ``Brainstem_PRV03`` (margin in mm), ``~Lung_L`` (a part), ``Lungs-GTV`` (minus), and
``z…`` or ``_…`` for helpers of the optimizer.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from . import structure_names
from .case import StructureType

#: TG-263 keeps names this short because some planning systems cut longer ones.
MAX_LENGTH = 16

_SIDES = {
    **dict.fromkeys(("l", "lt", "lft", "left", "sin", "sinistra", "links"), "L"),
    **dict.fromkeys(("r", "rt", "rgt", "rht", "right", "dex", "dextra", "rechts"), "R"),
}
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
_HELPER_WORDS = frozenset(
    "opt optimization optimisation ring rind shell dls dummy tuning avoid avoidance overlap "
    "hotspot coldspot isodose override buffer crop cropped falloff donut ntring nto".split()
)
_TARGET = re.compile(
    r"(?P<kind>IGTV|ICTV|GTV|CTV|ITV|PTV)[\s_\-]*"
    r"(?:(?P<classifier>sb|par|vas|p|n|v)(?![a-z]))?"
    r"(?:[\s_]*(?P<index>[1-9])(?![\d.,]|[\s_]*c?gy))?"
    r"(?:[\s_\-]*(?P<level>high|low|mid(?:\d\d)?))?"
    r"(?:[\s_\-]*(?P<dose>[1-9]\d*(?:[.,]\d+)?)[\s_]*(?P<unit>c?gy)?(?P<fractions>x\d{1,2})?)?",
    re.IGNORECASE,
)
_TARGET_WORD = re.compile(r"(?:IGTV|ICTV|GTV|CTV|ITV|PTV)", re.IGNORECASE)
_PRV = re.compile(
    r"prv[\s_]*(?:\+?(?P<margin>\d{1,2})(?![.,\d])[\s_]*(?:mm)?)?"
    r"(?![a-z.,\d])",
    re.IGNORECASE,
)
_MARGIN = re.compile(r"\+[\s_]*(?P<margin>\d{1,2})[\s_]*mm", re.IGNORECASE)
_MINUS = re.compile(
    r"(.+?)[\s_]*(?:-|[\s_](?:minus|not)[\s_])[\s_]*(IGTV|ICTV|GTV|CTV|ITV|PTV)s?", re.IGNORECASE
)
_DOSE_REGION = re.compile(
    r"(?:iso)?(?:dose)?[\s_]*\d+(?:[.,]\d+)?[\s_]*\[?(?:c?gy|%)\]?", re.IGNORECASE
)
#: DICOM RT ROI interpreted types that are neither organ, target nor body.
_NOT_ANATOMY_TYPES = frozenset(
    "BOLUS CONTRAST_AGENT CONTROL DOSE_MEASUREMENT DOSE_REGION FIXATION IRRAD_VOLUME ISOCENTER "
    "MARKER REGISTRATION SUPPORT TREATED_VOLUME".split()
)
_TARGET_TYPES = frozenset(("GTV", "CTV", "PTV"))
#: Organs that are judged without the target in them; of others, the rest is a helper.
_JUDGED_WITHOUT_TARGET = frozenset(("Lungs", "Lung_L", "Lung_R", "Liver", "Brain"))
#: A bare number in a target's name is a dose in Gy from here (below, it could be a count) …
_LOWEST_GY, _HIGHEST_GY = 20, 100
#: … and in cGy from here.
_LOWEST_CGY, _HIGHEST_CGY = 1000, 9999
_MAX_CANDIDATES = 6
#: Letters from which on a misspelling is worth a guess.
_SHORTEST_GUESS = 5
_LARGEST_PRV_MM = 30


@dataclass(frozen=True)
class NameMapping:
    """What a name found in a plan means.

    Parameters
    ----------
    source : str
        The name as it was found.
    name : str or None
        The TG-263 name; None unless certain.
    type : StructureType or None
        What the structure is; None where that is not known.
    certainty : str
        ``certain``, ``ask`` or ``unknown``.
    candidates : tuple of str
        Names to choose from, the likeliest first; empty unless `certainty` is ``ask``.
    reason : str
        Why, in a few words.
    """

    source: str
    name: str | None
    type: StructureType | None
    certainty: str
    candidates: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class _Entry:
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

    exact: Mapping[str, _Entry]
    words: Mapping[tuple[str, ...], _Entry]
    letters: Mapping[str, _Entry]


@cache
def _table() -> _Table:
    exact: dict[str, _Entry] = {}
    words: dict[tuple[str, ...], _Entry] = {}
    letters: dict[str, _Entry] = {}

    def add(text: str, entry: _Entry) -> None:
        plain = _split(text)
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
            entry = _Entry(name, kind, is_lateral, both)
            for full_name in entry.candidates(set()):
                exact[full_name.casefold()] = _Entry(full_name, kind)
            for alias in (name, *filter(str.strip, aliases.split(";"))):
                add(alias, entry)
            if both:
                plural = _Entry(both, kind)
                add(both, plural)
                for alias in filter(str.strip, aliases.split(";")):
                    add(alias.strip() + "s", plural)
    return _Table(exact, words, letters)


def tg263_names() -> tuple[str, ...]:
    """Every full structure name of the table, sorted; targets are a grammar and not listed."""
    return tuple(sorted(entry.name for entry in _table().exact.values()))


def _split(text: str) -> tuple[str, ...]:
    """Lower-case words of a name: split at separators, case changes and where digits begin."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)
    text = re.sub(r"(?<=[A-Za-z]{2})(?=\d)", " ", text)
    return tuple(re.findall(r"\d+\.\d+|[a-z0-9%]+", text.casefold()))


def _standard_words(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(_SYNONYMS.get(word, word) for word in words if word not in _FILLERS)


def clean_name(source: str) -> str:
    """A name as it can be shown, filed and told apart: letters, digits and ``_+-~.`` only."""
    text = unicodedata.normalize("NFKD", source).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_+\-~.]+", "_", text.strip()).strip("_ ") or "Unnamed"


def map_name(source_name: str, dicom_type: str | None = None) -> NameMapping:  # noqa: PLR0911
    """Find out what a structure is from its name in a plan.

    Parameters
    ----------
    source_name : str
        The name in the file.
    dicom_type : str, optional
        RT ROI Interpreted Type (3006,00A4), where the file has one.
    """
    mapping = _map_by_name(source_name)
    kind = (dicom_type or "").strip().upper()
    if kind == "EXTERNAL":
        if mapping.certainty == "certain" and mapping.type is not StructureType.EXTERNAL:
            return _ask(
                source_name, (mapping.name, "External"), f"the file calls {mapping.name} the body"
            )
        if mapping.certainty != "certain":
            return _certain(
                source_name,
                "External",
                StructureType.EXTERNAL,
                "the file says that it is the body",
            )
    if kind == "ORGAN" and mapping.candidates == structure_names.AMBIGUOUS["skin"]:
        return _certain(source_name, "Skin", StructureType.OAR, "the file says it is an organ")
    if kind in _TARGET_TYPES:
        if mapping.type is StructureType.OAR:
            return _ask(
                source_name, (mapping.name, kind), f"the file calls {mapping.name} a {kind}"
            )
        if mapping.certainty == "unknown":
            return _ask(source_name, (kind,), f"the file says it is a {kind}")
    if kind in _NOT_ANATOMY_TYPES and mapping.certainty == "unknown":
        return _helper(source_name, f"the file says it is of type {kind}")
    if kind == "ORGAN" and mapping.certainty == "unknown":
        return replace(mapping, type=StructureType.OAR)
    return mapping


@lru_cache(maxsize=4096)
def _map_by_name(source: str) -> NameMapping:  # noqa: PLR0911
    text = unicodedata.normalize("NFKC", source).strip()
    if not text:
        return NameMapping(source, None, None, "unknown", reason="the name is empty")
    if len(text) > 1 and text[0] == "~":
        whole = _map_by_name(text[1:])
        if whole.certainty != "certain" or whole.type is not StructureType.OAR:
            return replace(
                whole,
                source=source,
                name=None,
                certainty="unknown",
                candidates=(),
                reason="a part (~) of something not known",
            )
        return _certain(source, f"~{whole.name}", whole.type, f"a part of {whole.name}")
    exact = _table().exact.get(text.casefold())
    if exact is not None and (text == exact.name or not _is_ambiguous(text)):
        if text != "Skin":
            return _certain(source, exact.name, exact.type, "TG-263 name")
    if _is_helper(text):
        return _helper(source, "named as a helper of the optimizer")
    minus = _MINUS.fullmatch(text)
    if minus is not None:
        return _map_difference(source, minus.group(1), minus.group(2).upper())
    if _TARGET_WORD.match(text):
        return _map_target(source, text)
    return _map_organ(source, text)


def _certain(source: str, name: str, kind: StructureType, reason: str) -> NameMapping:
    if len(name) > MAX_LENGTH:
        reason += f"; longer than the {MAX_LENGTH} characters of TG-263"
    return NameMapping(source, name, kind, "certain", reason=reason)


def _ask(source: str, candidates: Iterable[str], reason: str) -> NameMapping:
    names = tuple(dict.fromkeys(candidates))[:_MAX_CANDIDATES]
    return NameMapping(source, None, None, "ask", names, reason)


def _helper(source: str, reason: str) -> NameMapping:
    name = clean_name(source)
    if source.strip().startswith("_"):
        name = f"_{name}"
    elif not name.startswith("z"):
        name = f"z{name}"
    return NameMapping(source, name, StructureType.HELPER, "certain", reason=reason)


def _is_helper(text: str) -> bool:
    """Whether a name follows a convention for helpers: z… or _…, ``…_opt``, a ring, an isodose."""
    if text[0] == "_" or _DOSE_REGION.fullmatch(text):
        return True
    if re.match(r"z(?:[\s_\-]|[A-Z0-9])", text):
        return True
    if text[0] in "zZ" and (_TARGET_WORD.match(text[1:]) or _lookup(_split(text[1:]))[0]):
        return True
    return not _HELPER_WORDS.isdisjoint(_split(text))


def _is_ambiguous(text: str) -> bool:
    return " ".join(_split(text)) in structure_names.AMBIGUOUS


def _map_difference(source: str, organ: str, target: str) -> NameMapping:
    """``Lungs-GTV`` and the like."""
    whole = _map_by_name(organ)
    if whole.certainty == "ask":
        return _ask(source, (f"{name}-{target}" for name in whole.candidates), whole.reason)
    if whole.certainty == "unknown" or whole.type is StructureType.TARGET:
        return NameMapping(source, None, None, "unknown", reason="a part of something not known")
    if whole.type is StructureType.EXTERNAL:
        return _certain(source, f"E-{target}", StructureType.HELPER, "the body without the target")
    judged = whole.name in _JUDGED_WITHOUT_TARGET
    kind = StructureType.OAR if judged else StructureType.HELPER
    return _certain(source, f"{whole.name}-{target}", kind, f"{whole.name} without the {target}")


def _map_target(source: str, text: str) -> NameMapping:
    match = _TARGET.fullmatch(text)
    kind = _TARGET_WORD.match(text).group(0).upper()
    if match is None:
        return _ask(source, (kind,), f"the part after {kind} is not in the grammar of TG-263")
    name = kind + (match["classifier"] or "").lower() + (match["index"] or "")
    if match["level"]:
        name += f"_{match['level'].capitalize()}"
    if match["dose"] is None:
        return _certain(source, name, StructureType.TARGET, "a target of TG-263's grammar")
    dose_gy = _dose_gy(match["dose"].replace(",", "."), (match["unit"] or "").lower())
    if dose_gy is None:
        return _ask(source, (name,), f"{match['dose']} could be a dose in Gy or cGy, or a number")
    full_name = f"{name}_{round(100 * dose_gy)}{(match['fractions'] or '').lower()}"
    return _certain(source, full_name, StructureType.TARGET, f"target of {dose_gy:g} Gy")


def _dose_gy(number: str, unit: str) -> float | None:
    """The dose that a number in a target's name means, Gy; None where it could be several."""
    value = float(number)
    if unit == "gy":
        return value if value <= _HIGHEST_GY else None
    if unit == "cgy":
        return value / 100.0 if value >= 100 else None
    if "." in number or value < _LOWEST_CGY:
        return value if _LOWEST_GY <= value <= _HIGHEST_GY else None
    return value / 100.0 if value <= _HIGHEST_CGY else None


def _map_organ(source: str, text: str) -> NameMapping:  # noqa: PLR0911
    """An organ, its side and its margin."""
    suffix, margin_reason = "", ""
    for pattern in (_PRV, _MARGIN):
        match = pattern.search(text)
        if match is not None:
            margin = match["margin"]
            if margin is not None and not 0 < int(margin) <= _LARGEST_PRV_MM:
                return _ask(source, _similar(_split(text)), f"a margin of {margin} mm is unusual")
            suffix = "_PRV" + (f"{int(margin):02d}" if margin else "")
            margin_reason = " with a margin"
            text = f"{text[: match.start()]} {text[match.end() :]}"
            break
    words = _split(text)
    if not words:
        return NameMapping(source, None, None, "unknown", reason="no word that is known")
    ambiguous, sides = _ambiguous(words)
    if ambiguous:
        return _ask(source, (name + suffix for name in ambiguous), "the name has several uses")
    entry, sides = _lookup(words)
    if entry is None:
        similar = _similar(words)
        if similar:
            return _ask(
                source, (name + suffix for name in similar), "similar to names that are known"
            )
        return NameMapping(source, None, None, "unknown", reason="no word that is known")
    names = entry.candidates(sides)
    if entry.is_lateral:
        if len(sides) == 1:
            return _certain(source, names[0] + suffix, entry.type, "name and side" + margin_reason)
        reason = "both sides are named" if sides else "the side is not named"
        return _ask(source, (name + suffix for name in names), reason)
    if sides:
        single = _one_side_of(entry.name, sides)
        return _ask(
            source, (name + suffix for name in single or names), f"{entry.name} has no side"
        )
    return _certain(source, names[0] + suffix, entry.type, "name" + margin_reason)


def _one_side_of(both: str, sides: set[str]) -> tuple[str, ...]:
    """For ``Lungs`` and the left side, ``Lung_L``."""
    for entry in _table().words.values():
        if entry.both == both:
            return entry.candidates(sides)
    return ()


def _ambiguous(words: tuple[str, ...]) -> tuple[tuple[str, ...], set[str]]:
    plain, sides = _take_sides(words)
    names = structure_names.AMBIGUOUS.get(" ".join(plain), ())
    return tuple(name for name in names if _agrees(name, sides)), sides


def _agrees(name: str, sides: set[str]) -> bool:
    """Whether a full name lies on a side spoken of, or has none."""
    own = side_of(name)
    return own is None or not sides or own in sides


def _take_sides(words: Iterable[str]) -> tuple[tuple[str, ...], set[str]]:
    """The words without those that name a side, and the sides they name."""
    plain = tuple(w for w in words if w not in _SIDES and w not in _NO_SIDE_NAMED)
    return plain, {_SIDES[w] for w in words if w in _SIDES}


def _lookup(words: tuple[str, ...]) -> tuple[_Entry | None, set[str]]:
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


def _glued_side(word: str) -> tuple[_Entry | None, set[str]]:
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


def _similar(words: tuple[str, ...]) -> tuple[str, ...]:
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


def _hidden_sides(words: Iterable[str]) -> set[str]:
    """Sides that words without separators seem to speak of."""
    found = set()
    for word in words:
        found |= _glued_side(word)[1]
        for text, side in _SIDES.items():
            if len(text) > 1 and (word.startswith(text) or word.endswith(text)):
                found.add(side)
    return found


def side_of(name: str) -> str | None:
    """``L`` or ``R`` for a TG-263 name of a structure on one side, else None."""
    match = re.search(r"_([LR])(?:_PRV\d*|-[A-Z]+)?$", name)
    return match.group(1) if match else None


def map_names(
    sources: Sequence[str], dicom_types: Mapping[str, str] | None = None
) -> tuple[NameMapping, ...]:
    """Map all names of one plan; two that would get the same name are both asked about.

    Parameters
    ----------
    sources : sequence of str
    dicom_types : mapping, optional
        RT ROI Interpreted Type of each source name, where known.
    """
    types = dicom_types or {}
    mappings = [map_name(source, types.get(source)) for source in sources]
    names = [m.name for m in mappings if m.name is not None]
    result = []
    for mapping in mappings:
        if mapping.name is not None and names.count(mapping.name) > 1:
            rivals = [m.source for m in mappings if m.name == mapping.name]
            mapping = _ask(
                mapping.source,
                (mapping.name,),
                f"{' and '.join(rivals)} would both be {mapping.name}",
            )
        result.append(mapping)
    return tuple(result)


def laterality_problem(
    name: str, centroid_x_mm: float, midline_x_mm: float, tolerance_mm: float = 5.0
) -> str | None:
    """Check a structure's side against where it is.

    Parameters
    ----------
    name : str
        TG-263 name.
    centroid_x_mm, midline_x_mm : float
        LPS x (to the patient's left) of the structure's centre and of the patient's midline.
    tolerance_mm : float
        How far across the midline is still not a contradiction.

    Returns
    -------
    str or None
        One sentence when the structure lies on the other side, else None.
    """
    side = side_of(name)
    offset = centroid_x_mm - midline_x_mm
    if (side == "L" and offset < -tolerance_mm) or (side == "R" and offset > tolerance_mm):
        words = {"L": "left", "R": "right"}
        other = words["R" if side == "L" else "L"]
        return (
            f"{name} should be on the {words[side]} but its centre lies {abs(offset):.0f} mm to "
            f"the {other} of the midline"
        )
    return None


def target_dose_gy(name: str) -> float | None:
    """The dose in a target's name, Gy: 70.2 for ``PTV_7020`` and ``PTV 70.2Gy``; else None."""
    mapping = map_name(name)
    if mapping.type is not StructureType.TARGET or mapping.name is None:
        return None
    match = re.search(r"_(\d{3,4})(?:x\d+)?$", mapping.name)
    return int(match.group(1)) / 100.0 if match else None


def same_structure(first: str, second: str) -> bool:
    """Whether two names certainly mean the same structure."""
    names = []
    for text in (first, second):
        mapping = map_name(text)
        if mapping.certainty == "ask":
            return False
        names.append(mapping.name or "".join(_split(text)))
    return names[0] == names[1]


def single_ptv(names: Iterable[str]) -> str | None:
    """The one name among these that is a PTV; None if there is none or more than one."""
    found = [
        n
        for n in names
        if (m := map_name(n)).type is StructureType.TARGET and (m.name or "").startswith("PTV")
    ]
    return found[0] if len(found) == 1 else None
