"""Prescription and clinical goals, each with where it comes from.

A protocol is a JSON file, described by ``Resources/Protocols/protocol.schema.json``. This loader
needs no schema library: it checks everything the schema does, and what a schema cannot say
(doses that add up, goals that contradict each other, metrics that need a prescription).
"""

from __future__ import annotations

import difflib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from .beams import gantry_angles
from .errors import InputError
from .metrics import Metric, parse_metric
from .naming import same_structure, single_ptv, target_dose_gy
from .resources import resource_path

#: Version of the file layout, the only one read.
FORMAT = 1
#: How far fractions x dose per fraction may be from the prescribed dose, Gy.
DOSE_SUM_TOLERANCE_GY = 0.01

_COMPARISONS = ("<=", ">=")
_PRIORITIES = (1, 2, 3, 4)
_MAX_NAME_LENGTH = 64
#: More than any dose in cGy, volume in cc or index that a protocol can mean.
_LARGEST_NUMBER = 100_000


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
    op: str  # "<=" or ">="
    value: float
    unit: str  # "Gy", "%", "cc" or "" for an index
    priority: int
    source: str = ""
    verified: bool = False
    note: str = ""
    optional: bool = False

    @property
    def label(self) -> str:
        """The goal in one short text: ``Rectum V50Gy ≤ 22 %``."""
        sign = "≤" if self.op == "<=" else "≥"
        return f"{self.structure} {self.metric} {sign} {self.value:g} {self.unit}".rstrip()

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
    def structures(self) -> tuple[str, ...]:
        """Every structure that the protocol names, targets first, each once."""
        names = [p.target for p in self.prescriptions] + [g.structure for g in self.goals]
        return tuple(dict.fromkeys(names))

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

    def resolve(self, case_names: Iterable[str]) -> Binding:
        """Find the protocol's structures among a case's.

        A structure is looked for under its own name, then under its aliases, then under names
        that mean the same (``PTV_70.2``, ``PTV 7020cGy`` and ``PTV_7020``; ``rectum``). If the
        protocol has one prescription and the case one PTV, whose name does not speak of another
        dose, they are taken for each other.

        Parameters
        ----------
        case_names : iterable of str
            Names of all structures of the case.

        Raises
        ------
        InputError
            If the primary target or the structure of a must-goal (unless optional) is missing,
            or if two structures of the case fit one of the protocol.
        """
        names = tuple(case_names)
        bound: dict[str, str] = {}
        for structure in self.structures:
            found = self._find(structure, names)
            if found is not None:
                bound[structure] = found
        notes = []
        primary = self.primary.target
        if primary not in bound:
            only = single_ptv(names) if len(self.prescriptions) == 1 else None
            named_gy = target_dose_gy(only) if only is not None else None
            if only is None or named_gy not in (None, self.primary.dose_gy):
                why = f"the primary target, {self.primary.dose_gy:g} Gy"
                raise self._missing(primary, why, names)
            bound[primary] = only
            notes.append(f"{primary} is taken to be {only}, the only PTV of the case")
        self._check_distinct(bound)

        missing = tuple(s for s in self.structures if s not in bound)
        for goal in self.goals:
            if goal.priority == 1 and not goal.optional and goal.structure not in bound:
                raise self._missing(goal.structure, f"needed by the must-goal {goal.label}", names)
        dropped = [p for p in self.prescriptions if p.target not in bound]
        for prescription in dropped:
            relative = [g.label for g in self._relative_goals(prescription.target)]
            also = f", and so is what is relative to it: {', '.join(relative)}" if relative else ""
            notes.append(
                f"the case has no {prescription.target}: its prescription of "
                f"{prescription.dose_gy:g} Gy is dropped{also}"
            )
        unusable = {g for p in dropped for g in self._relative_goals(p.target)}
        in_case_names = replace(
            self,
            prescriptions=tuple(
                replace(p, target=bound[p.target]) for p in self.prescriptions if p not in dropped
            ),
            goals=tuple(
                replace(g, structure=bound.get(g.structure, g.structure))
                for g in self.goals
                if g not in unusable
            ),
            aliases={},
        )
        return Binding(in_case_names, bound, missing, tuple(notes))

    def _relative_goals(self, target: str) -> list[ClinicalGoal]:
        """Goals that mean nothing without the target's prescription."""
        return [g for g in self.goals if g.structure == target and g.needs_prescription]

    def _find(self, structure: str, names: tuple[str, ...]) -> str | None:
        """The case's name for a structure; None if it has none."""
        for wanted in (structure, *self.aliases.get(structure, ())):
            if wanted in names:
                return wanted
        similar = [name for name in names if same_structure(name, structure)]
        if len(similar) > 1:
            raise InputError(
                f"protocol {self.name}: {structure} could be {' or '.join(similar)} of the case; "
                f"name one of them {structure}"
            )
        return similar[0] if similar else None

    def _check_distinct(self, bound: Mapping[str, str]) -> None:
        """Refuse to use one structure of the case for two of the protocol."""
        users: dict[str, str] = {}
        for structure, name in bound.items():
            if name in users:
                raise InputError(
                    f"protocol {self.name}: {name} of the case would be both {users[name]} and "
                    f"{structure}; name the structures as the protocol does"
                )
            users[name] = structure

    def _missing(self, structure: str, why: str, names: tuple[str, ...]) -> InputError:
        return InputError(
            f"protocol {self.name}: the case has no {structure} ({why}); it has "
            f"{', '.join(names) or 'no structures'}; rename one or add it to the protocol's "
            "aliases"
        )


@dataclass(frozen=True)
class Binding:
    """A protocol held against one case's structure names.

    Parameters
    ----------
    protocol : Protocol
        The protocol in the case's names, without the prescriptions of targets that the case
        lacks. Goals of structures that it lacks are still there, to be reported. It can be
        stored, read and resolved again.
    names : mapping
        Name in the protocol → name in the case.
    missing : tuple of str
        Structures of the protocol that the case lacks.
    notes : tuple of str
        What a person should know about the match, one sentence each.
    """

    protocol: Protocol
    names: Mapping[str, str]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def protocols_dir() -> Path:
    """Folder of the protocols that come with the project."""
    return resource_path("Protocols")


def list_protocols() -> tuple[str, ...]:
    """Names of the protocols that come with the project, sorted."""
    return tuple(
        sorted(p.stem for p in protocols_dir().glob("*.json") if not p.stem.endswith(".schema"))
    )


def load_protocol(name_or_path: str | Path) -> Protocol:
    """Read a protocol by its name (see `list_protocols`) or from a file.

    Raises
    ------
    InputError
        If there is no such protocol, or the file is not a valid one: the text names the file,
        the row and the field.
    """
    text = os.fspath(name_or_path)
    if text in list_protocols():
        path = protocols_dir() / f"{text}.json"
    elif text.endswith(".json") or isinstance(name_or_path, Path) or os.path.dirname(text):
        path = Path(text)
    else:
        close = difflib.get_close_matches(text, list_protocols(), n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise InputError(
            f"no protocol {text!r}{hint}; there are {', '.join(list_protocols())}; or give the "
            "path of a .json file"
        )
    try:
        document = json.loads(
            path.read_text(encoding="utf-8"),
            object_pairs_hook=_without_repeated_keys,
            parse_constant=_refuse_constant,
        )
    except OSError as error:
        raise InputError(f"protocol {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"protocol {path}: is not UTF-8 text") from None
    except InputError as error:
        raise InputError(f"protocol {path}: {error}") from None
    except (ValueError, RecursionError) as error:  # bad JSON, or a number of thousands of digits
        raise InputError(f"protocol {path}: is not JSON ({error})") from None
    return protocol_from_dict(document, where=f"protocol {path}")


def _without_repeated_keys(pairs: list[tuple[str, object]]) -> dict:
    document = dict(pairs)
    if len(document) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InputError(f"the field {twice!r} is given twice in one place")
    return document


def _refuse_constant(text: str) -> float:
    raise InputError(f"{text} is not a number that a protocol may hold")


def protocol_from_dict(document: object, where: str = "protocol") -> Protocol:
    """Make a protocol from a parsed file, checking everything.

    Parameters
    ----------
    document : object
        What the JSON text says.
    where : str
        What to call it in error messages, for example ``protocol FILE``.

    Raises
    ------
    InputError
        If anything is missing, unknown, of the wrong type or contradictory.
    """
    fields = _Fields(document, where)
    if fields.integer("format", 1) != FORMAT:
        raise fields.error("format", f"must be {FORMAT}, the only layout there is")
    fields.text("$schema", "")
    name = fields.text("name")
    protocol = Protocol(
        name=name,
        title=fields.text("title"),
        site=fields.text("site"),
        fractions=fields.integer("fractions", minimum=1),
        prescriptions=tuple(
            _prescription(item, f"{where}: prescription {number}")
            for number, item in enumerate(fields.items("prescriptions"), 1)
        ),
        goals=tuple(
            _goal(item, f"{where}: goal {number}")
            for number, item in enumerate(fields.items("goals"), 1)
        ),
        coverage=fields.metric("coverage", "D95%"),
        beams=fields.text("beams", "coplanar9"),
        source=fields.text("source", "", may_be_empty=True),
        note=fields.text("note", "", may_be_empty=True),
        aliases=fields.name_lists("aliases"),
    )
    fields.finish()
    try:
        gantry_angles(protocol.beams)
    except InputError as error:
        raise InputError(f"{where}: field beams: {error}") from None
    if (protocol.coverage.kind, protocol.coverage.level_unit) != ("D", "%"):
        raise fields.error(
            "coverage",
            f"must be a dose to a part of the target such as D95%, got {protocol.coverage}",
        )
    _check_prescriptions(protocol, where)
    _check_goals(protocol, where)
    unknown = sorted(set(protocol.aliases) - set(protocol.structures))
    if unknown:
        raise fields.error(
            "aliases", f"names {unknown[0]}, which is neither a target nor in a goal"
        )
    return protocol


def _prescription(item: object, where: str) -> Prescription:
    fields = _Fields(item, where)
    fields.where += f" ({fields.structure('target')})"
    result = Prescription(
        target=fields.structure("target"),
        dose_gy=fields.number("dose_gy", positive=True),
        dose_per_fraction_gy=fields.number("dose_per_fraction_gy", positive=True, optional=True),
    )
    fields.finish()
    return result


def _goal(item: object, where: str) -> ClinicalGoal:
    fields = _Fields(item, where)
    structure, metric = fields.structure("structure"), fields.metric("metric")
    fields.where += f" ({structure} {metric})"
    value, unit = fields.number("value"), fields.text("unit", may_be_empty=True)
    if unit == "cGy":
        value, unit = value / 100.0, "Gy"
    if unit not in metric.units:
        units = " or ".join(repr(u) for u in metric.units)
        raise fields.error("unit", f"must be {units} for {metric}, got {unit!r}")
    if metric.kind == "V" and unit == "%" and value > 100:
        raise fields.error("value", f"must be at most 100 % of the volume, got {value:g}")
    op = fields.text("op")
    if op not in _COMPARISONS:
        raise fields.error("op", f"must be <= or >=, got {op!r}")
    priority = fields.integer("priority")
    if priority not in _PRIORITIES:
        raise fields.error("priority", f"must be 1 (must) … 4 (ideal), got {priority}")
    goal = ClinicalGoal(
        structure,
        metric,
        op,
        value,
        unit,
        priority,
        source=fields.text("source"),
        verified=fields.flag("verified"),
        note=fields.text("note", "", may_be_empty=True),
        optional=fields.flag("optional", False),
    )
    fields.finish()
    return goal


def _check_prescriptions(protocol: Protocol, where: str) -> None:
    """Targets named once, doses that add up."""
    targets = [p.target for p in protocol.prescriptions]
    for number, prescription in enumerate(protocol.prescriptions, 1):
        here = f"{where}: prescription {number} ({prescription.target})"
        if targets.count(prescription.target) > 1:
            raise InputError(f"{here}: this target has two prescriptions; keep one")
        for name in (prescription.target, *protocol.aliases.get(prescription.target, ())):
            named = target_dose_gy(name)
            if named is not None and not math.isclose(named, prescription.dose_gy, abs_tol=0.01):
                raise InputError(
                    f"{here}: field dose_gy: is {prescription.dose_gy:g} Gy, but the name {name} "
                    f"says {named:g} Gy"
                )
        per_fraction = prescription.dose_per_fraction_gy
        if per_fraction is None:
            continue
        total = protocol.fractions * per_fraction
        if not math.isclose(total, prescription.dose_gy, abs_tol=DOSE_SUM_TOLERANCE_GY):
            raise InputError(
                f"{here}: the prescription does not add up: {protocol.fractions} fractions of "
                f"{per_fraction:g} Gy are {total:g} Gy, but dose_gy is {prescription.dose_gy:g}"
            )


def _check_goals(protocol: Protocol, where: str) -> None:
    """No goal without its prescription, no repeated rows, no limit stricter than its ideal."""
    rows: dict[tuple, list[tuple[int, ClinicalGoal]]] = {}
    for number, goal in enumerate(protocol.goals, 1):
        here = f"{where}: goal {number} ({goal.structure} {goal.metric})"
        if goal.needs_prescription and goal.structure not in protocol.prescription_gy:
            raise InputError(
                f"{here}: field metric: {goal.metric} in {goal.unit or 'no unit'} is relative to "
                f"a prescription, and {goal.structure} has none; give the dose in Gy"
            )
        key = (goal.structure, goal.metric, goal.op, goal.unit)
        for other_number, other in rows.get(key, ()):
            if other.priority == goal.priority:
                raise InputError(
                    f"{here}: repeats goal {other_number}; a metric may appear once per priority"
                )
            must, ideal = (goal, other) if goal.priority < other.priority else (other, goal)
            stricter = ideal.value < must.value if goal.op == "<=" else ideal.value > must.value
            if not stricter:
                raise InputError(
                    f"{here}: field value: together with goal {other_number}, the row of "
                    f"priority {ideal.priority} ({ideal.op} {ideal.value:g}) is not stricter than "
                    f"that of priority {must.priority} ({must.op} {must.value:g})"
                )
        rows.setdefault(key, []).append((number, goal))


_REQUIRED = object()


class _Fields:
    """Takes typed fields out of one JSON object; what is left over at the end is an error."""

    def __init__(self, document: object, where: str) -> None:
        if not isinstance(document, dict):
            raise InputError(f"{where}: must be a JSON object, got {_kind(document)}")
        self.document = document
        self.where = where
        self.taken: set[str] = set()

    def error(self, key: str, problem: str) -> InputError:
        return InputError(f"{self.where}: field {key}: {problem}")

    def finish(self) -> None:
        unknown = [key for key in self.document if key not in self.taken]
        if unknown:
            close = difflib.get_close_matches(unknown[0], self.taken, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise self.error(unknown[0], f"is not known{hint}")

    def _take(self, key: str, default: object = _REQUIRED) -> object:
        self.taken.add(key)
        if key not in self.document:
            if default is _REQUIRED:
                raise self.error(key, "is missing")
            return default
        return self.document[key]

    def text(self, key: str, default: object = _REQUIRED, may_be_empty: bool = False) -> str:
        value = self._take(key, default)
        if not isinstance(value, str):
            raise self.error(key, f"must be text, got {_kind(value)}")
        if not value.strip() and key in self.document and not may_be_empty:
            raise self.error(key, "must not be empty")
        return value

    def structure(self, key: str) -> str:
        value = self.text(key)
        if value != value.strip() or len(value) > _MAX_NAME_LENGTH or not value.isprintable():
            raise self.error(key, f"is not a structure name: {value!r}")
        return value

    def number(self, key: str, positive: bool = False, optional: bool = False) -> float | None:
        value = self._take(key, None if optional else _REQUIRED)
        if optional and key not in self.document:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.error(key, f"must be a number, got {_kind(value)}")
        if not 0 <= value <= _LARGEST_NUMBER or (positive and value == 0):
            least = "above" if positive else "at least"
            raise self.error(key, f"must be {least} 0 and at most {_LARGEST_NUMBER}, got {value}")
        return float(value)

    def integer(self, key: str, default: object = _REQUIRED, minimum: int = 0) -> int:
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(key, f"must be a whole number, got {_kind(value)}")
        if value < minimum:
            raise self.error(key, f"must be at least {minimum}, got {value}")
        return value

    def flag(self, key: str, default: object = _REQUIRED) -> bool:
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"must be true or false, got {_kind(value)}")
        return value

    def metric(self, key: str, default: object = _REQUIRED) -> Metric:
        text = self.text(key, default)
        try:
            return parse_metric(text)
        except InputError as error:
            raise self.error(key, str(error)) from None

    def items(self, key: str) -> list:
        value = self._take(key)
        if not isinstance(value, list) or not value:
            raise self.error(key, "must be a list with at least one entry")
        return value

    def name_lists(self, key: str) -> dict[str, tuple[str, ...]]:
        value = self._take(key, {})
        if not isinstance(value, dict):
            raise self.error(key, f"must be an object, got {_kind(value)}")
        for name, others in value.items():
            if not isinstance(others, list) or not all(isinstance(o, str) and o for o in others):
                raise self.error(key, f"{name}: must be a list of structure names")
        return {name: tuple(others) for name, others in value.items()}


def _kind(value: object) -> str:
    """A value in the words of someone who writes JSON."""
    words = {dict: "an object", list: "a list", str: "text", bool: "true/false"}
    if isinstance(value, float):
        return f"{value!r}"
    return words.get(type(value), "null" if value is None else repr(value))
