"""Protocols as JSON files, and what is checked when one is read.

The layout is described by ``Resources/Protocols/protocol.schema.json``. This loader needs no
schema library: it checks everything the schema does, and what a schema cannot say (doses that add
up, goals that contradict each other, metrics that need a prescription).
"""

from __future__ import annotations

import difflib
import json
import math
import os
from pathlib import Path

from .beams import gantry_angles
from .errors import InputError
from .naming import target_dose_gy
from .protocol import FORMAT, SIGNS, ClinicalGoal, Prescription, Protocol
from .protocol_fields import ProtocolFields
from .resources import resource_path

#: How far fractions x dose per fraction may be from the prescribed dose, Gy.
DOSE_SUM_TOLERANCE_GY = 0.01

_PRIORITIES = (1, 2, 3, 4)


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
    fields = ProtocolFields(document, where)
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
    fields = ProtocolFields(item, where)
    fields.where += f" ({fields.structure('target')})"
    result = Prescription(
        target=fields.structure("target"),
        dose_gy=fields.number("dose_gy", positive=True),
        dose_per_fraction_gy=fields.number("dose_per_fraction_gy", positive=True, optional=True),
    )
    fields.finish()
    return result


def _goal(item: object, where: str) -> ClinicalGoal:
    fields = ProtocolFields(item, where)
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
    if op not in SIGNS:
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
    targets = protocol.targets
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
