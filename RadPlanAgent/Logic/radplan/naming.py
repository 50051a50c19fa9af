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

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from . import structure_names
from .case import StructureType
from .structure_lookup import (
    ambiguous_names,
    exact_entry,
    is_ambiguous,
    lookup,
    one_side_of,
    side_of,
    similar_names,
    words_of,
)

#: TG-263 keeps names this short because some planning systems cut longer ones.
MAX_LENGTH = 16

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
    exact = exact_entry(text)
    if exact is not None and (text == exact.name or not is_ambiguous(text)):
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
    if text[0] in "zZ" and (_TARGET_WORD.match(text[1:]) or lookup(words_of(text[1:]))[0]):
        return True
    return not _HELPER_WORDS.isdisjoint(words_of(text))


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
                return _ask(
                    source, similar_names(words_of(text)), f"a margin of {margin} mm is unusual"
                )
            suffix = "_PRV" + (f"{int(margin):02d}" if margin else "")
            margin_reason = " with a margin"
            text = f"{text[: match.start()]} {text[match.end() :]}"
            break
    words = words_of(text)
    if not words:
        return NameMapping(source, None, None, "unknown", reason="no word that is known")
    ambiguous = ambiguous_names(words)
    if ambiguous:
        return _ask(source, (name + suffix for name in ambiguous), "the name has several uses")
    entry, sides = lookup(words)
    if entry is None:
        similar = similar_names(words)
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
        single = one_side_of(entry.name, sides)
        return _ask(
            source, (name + suffix for name in single or names), f"{entry.name} has no side"
        )
    return _certain(source, names[0] + suffix, entry.type, "name" + margin_reason)


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
        names.append(mapping.name or "".join(words_of(text)))
    return names[0] == names[1]


def single_ptv(names: Iterable[str]) -> str | None:
    """The one name among these that is a PTV; None if there is none or more than one."""
    found = [
        n
        for n in names
        if (m := map_name(n)).type is StructureType.TARGET and (m.name or "").startswith("PTV")
    ]
    return found[0] if len(found) == 1 else None
