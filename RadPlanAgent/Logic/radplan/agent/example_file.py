"""Reference plans as files: a JSON document, and a picture beside it.

A file from elsewhere cannot bring instructions into a prompt: it is read word by word, and what is
no token, number or known word is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..case import StructureType
from ..errors import InputError
from ..files import written_by_rename
from ..optimize import Objective
from ..protocol import Protocol
from ..protocol_file import list_protocols, load_protocol, protocol_from_dict
from ..scorecard import GoalResult, goal_result
from .actions import (
    Action,
    AddObjective,
    ConstraintAction,
    action_from_dict,
    action_to_dict,
)
from .anatomy import AnatomyFact
from .example import (
    DOSE_MAP,
    DOSES,
    NAME,
    ORIGINS,
    OTHER_SITE,
    OWN_PROTOCOL,
    Example,
    TriedStep,
    objectives_after,
    without_free_text,
)
from .tokens import is_token

FORMAT = 1
#: More than any value of a plan.
_LARGEST = 1e9
_PNG = b"\x89PNG\r\n\x1a\n"


def save_example(folder: Path, example: Example) -> Path:
    """Write an example's JSON file, and its picture beside it; the path of the JSON file."""
    path = folder / f"{example.name}.json"
    if example.picture is not None:
        with written_by_rename(path.with_suffix(".png")) as file:
            file.write(example.picture)
    with written_by_rename(path) as file:
        file.write(_layout(_to_dict(example)).encode("utf-8"))
    return path


def load_example(path: Path) -> Example:
    """Read an example.

    Raises
    ------
    InputError
        If the file is damaged, or holds anything but tokens, numbers and known words.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        example = _from_dict(document, path.stem)
        picture = path.with_suffix(".png")
        if picture.is_file():
            example = replace(example, picture=_png(picture))
        return example
    except OSError as error:
        raise InputError(f"example {path}: cannot be read ({error.strerror})") from None
    except RecursionError:
        raise InputError(f"example {path}: is nested too deeply; it is damaged") from None
    except (InputError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"example {path}: is damaged or not in the format of this version: {what}; remove it "
            "or make it anew with radplan examples add"
        ) from None


# Writing -----------------------------------------------------------------------------------------


def _to_dict(example: Example) -> dict:
    protocol = example.protocol
    return {
        "format": FORMAT,
        "name": example.name,
        "origin": example.origin,
        "source": example.source,
        "approved_by": example.approved_by,
        "made_with": {"radplan": example.version, "planner": example.planner},
        "site": example.site,
        "protocol": {
            "name": protocol.name,
            "fractions": protocol.fractions,
            "coverage": protocol.coverage.text,
            "prescriptions": {p.target: p.dose_gy for p in protocol.prescriptions},
            "goals": [
                [g.structure, g.metric.text, g.op, g.value, g.unit, g.priority]
                for g in protocol.goals
            ],
        },
        "anatomy": [
            {
                "structure": fact.structure,
                "type": fact.type.value,
                "volume_cc": round(fact.volume_cc, 3),
                "nearest_target": fact.nearest_target,
                "distance_mm": None if fact.distance_mm is None else round(fact.distance_mm, 2),
                "overlap_percent": round(fact.overlap_percent, 2),
            }
            for fact in example.anatomy
        ],
        "first_objectives": [_brief(o.to_dict()) for o in example.steps[0].objectives],
        "steps": [
            {
                "base": step.base,
                "kept": step.kept,
                "actions": [_action_values(a) for a in step.actions],
                "achieved": [_rounded(r.achieved) for r in step.goals],
            }
            for step in example.steps
        ],
        "dose_columns_gy": list(DOSES),
        "doses": {name: [round(v, 2) for v in row] for name, row in example.doses.items()},
        "homogeneity_index": round(example.homogeneity_index, 3),
        "conformity_index": round(example.conformity_index, 4),
    }


def _action_values(action: Action) -> dict:
    values = action_to_dict(action)
    if isinstance(action, AddObjective):
        values["objective"] = _brief(values["objective"])
    # Reasons and authors are written by people and models.
    return {k: v for k, v in values.items() if k not in ("reason", "author")}


def _brief(values: Mapping[str, Any]) -> dict:
    return {key: value for key, value in values.items() if value is not None}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _layout(document: Mapping[str, Any]) -> str:
    """JSON with one line per row of a table, so that changes can be read."""

    def compact(value: object) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    lines = []
    for key, value in document.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n" + ",\n".join(f"  {compact(item)}" for item in value) + "\n ]"
        elif isinstance(value, dict):
            rows = ",\n".join(f"  {compact(k)}: {compact(v)}" for k, v in value.items())
            text = "{\n" + rows + "\n }"
        else:
            text = compact(value)
        lines.append(f" {compact(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


# Reading -----------------------------------------------------------------------------------------


def _from_dict(document: Mapping[str, Any], stem: str) -> Example:
    if document["format"] != FORMAT:
        raise InputError(f"its format is {document['format']!r}, this version reads {FORMAT}")
    name = document["name"]
    if name != stem or not NAME.fullmatch(name):
        raise InputError(f"its name {str(name)[:60]!r} is not that of the file")
    protocol = _protocol(document["protocol"])
    if document["dose_columns_gy"] != list(DOSES):
        raise InputError(f"its dose table must have the columns {', '.join(DOSES)}")
    doses = {
        _token(structure): tuple(_number(v) for v in row)
        for structure, row in document["doses"].items()
    }
    if any(len(row) != len(DOSES) for row in doses.values()):
        raise InputError("a row of its dose table is incomplete")
    anatomy = tuple(_anatomy(item, protocol) for item in document["anatomy"])
    if protocol.primary.target not in [fact.structure for fact in anatomy]:
        raise InputError(f"its anatomy lacks the target {protocol.primary.target}")
    return Example(
        name=name,
        origin=_word(document["origin"], tuple(ORIGINS)),
        site=_word(document["site"], (*_sites(), OTHER_SITE)),
        protocol=protocol,
        anatomy=anatomy,
        steps=_steps(document, protocol),
        doses=doses,
        homogeneity_index=_number(document["homogeneity_index"]),
        conformity_index=_number(document["conformity_index"]),
        planner=str(document["made_with"]["planner"]),
        version=str(document["made_with"]["radplan"]),
        source=str(document["source"]),
        approved_by=str(document["approved_by"]),
    )


def _protocol(stored: Mapping[str, Any]) -> Protocol:
    names = ("structure", "metric", "op", "value", "unit", "priority")
    document = {
        "name": _word(stored["name"], (*list_protocols(), OWN_PROTOCOL)),
        "title": OWN_PROTOCOL,
        "site": OTHER_SITE,
        "fractions": stored["fractions"],
        "coverage": stored["coverage"],
        "prescriptions": [
            {"target": _token(target), "dose_gy": dose_gy}
            for target, dose_gy in stored["prescriptions"].items()
        ],
        "goals": [
            dict(zip(names, row, strict=True)) | {"source": "-", "verified": False}
            for row in stored["goals"]
        ],
    }
    for goal in document["goals"]:
        _token(goal["structure"])
    return without_free_text(protocol_from_dict(document, "its protocol"))


def _anatomy(item: Mapping[str, Any], protocol: Protocol) -> AnatomyFact:
    structure, nearest = _token(item["structure"]), item["nearest_target"]
    return AnatomyFact(
        structure,
        StructureType(item["type"]),
        _number(item["volume_cc"]),
        protocol.prescription_gy.get(structure),
        _token(nearest) if nearest else "",
        None if item["distance_mm"] is None else _number(item["distance_mm"]),
        (),
        _number(item["overlap_percent"]),
    )


def _steps(document: Mapping[str, Any], protocol: Protocol) -> tuple[TriedStep, ...]:
    first = tuple(_objective(o) for o in document["first_objectives"])
    if len({o.id for o in first}) < len(first):
        raise InputError("two of its first objectives have the same id")
    steps: list[TriedStep] = []
    for number, item in enumerate(document["steps"]):
        base, actions = item["base"], tuple(_action(a) for a in item["actions"])
        if (base is None) != (number == 0):
            raise InputError(f"step {number} does not say which step it builds on")
        if base is not None and not 0 <= base < number:
            raise InputError(f"step {number} builds on step {base}, which is not before it")
        before = steps[base].objectives if number else first
        steps.append(
            TriedStep(
                base,
                item["kept"] is True,
                actions,
                objectives_after(before, actions),
                _goals(item["achieved"], protocol),
            )
        )
    if not any(step.kept for step in steps):
        raise InputError("none of its steps is kept")
    return tuple(steps)


def _goals(achieved: Sequence[float | None], protocol: Protocol) -> tuple[GoalResult, ...]:
    return tuple(
        GoalResult(goal) if value is None else goal_result(goal, _number(value))
        for goal, value in zip(protocol.goals, achieved, strict=True)
    )


def _objective(values: Mapping[str, Any]) -> Objective:
    _token(values["structure"])
    if values.get("dose_map") not in (None, DOSE_MAP):
        raise InputError("an objective names a dose map")
    return Objective(**values)


def _action(values: Mapping[str, Any]) -> Action:
    if "objective" in values:
        _objective(values["objective"])
    action = action_from_dict({**values, "reason": "", "author": ""})
    if isinstance(action, ConstraintAction):
        raise InputError("a step sets or lifts a constraint, which only a person does")
    return action


def _token(value: object) -> str:
    if not isinstance(value, str) or not is_token(value):
        raise InputError(f"{str(value)[:40]!r} is no token of a structure")
    return value


def _number(value: object) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not abs(value) <= _LARGEST:
        raise InputError(f"{str(value)[:40]!r} stands where a number must be")
    return float(value)


def _word(value: object, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise InputError(f"{str(value)[:40]!r} must be one of {', '.join(allowed)}")
    return value


def _png(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.startswith(_PNG):
        raise InputError(f"its picture {path} is no PNG file")
    return content


def _sites() -> tuple[str, ...]:
    return tuple(dict.fromkeys(load_protocol(name).site for name in list_protocols()))
