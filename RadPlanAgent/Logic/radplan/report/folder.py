"""What the report takes from a session folder.

Only ``session.json`` and ``scorecard.json`` must be there. Everything else may be missing, as it
is after a run that was stopped early; what is there but damaged is an error that names the file.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..audit import verify_audit
from ..errors import InputError
from ..files import read_json


@dataclass(frozen=True)
class DvhTable:
    """Cumulative DVHs: doses, Gy (n,), and the volume of every structure at them, % (n,)."""

    dose_gy: np.ndarray
    volume_percent: dict[str, np.ndarray]


@dataclass(frozen=True)
class StepRecord:
    """One step as its folder has it; `scorecard` and `objectives` may be empty."""

    index: int
    step: dict
    scorecard: dict
    objectives: list[dict]
    dvh: DvhTable | None


@dataclass(frozen=True)
class AuditSummary:
    """The audit log: its entries, the hash of the last one, and what is wrong with the chain."""

    entries: int
    head: str
    problem: str


@dataclass(frozen=True)
class SessionRecord:
    """One session as its folder has it."""

    session: dict
    scorecard: dict
    steps: tuple[StepRecord, ...]
    dvh: DvhTable | None
    audit: AuditSummary | None

    @property
    def best(self) -> StepRecord | None:
        """The step that is the plan, None if its folder is missing."""
        wanted = whole(self.scorecard.get("step"))
        if wanted is None:
            wanted = whole(self.session.get("best_step"))
        return next((s for s in self.steps if s.index == wanted), None)


def read_session_record(directory: Path) -> SessionRecord:
    """Read a session folder.

    Raises
    ------
    InputError
        If ``session.json`` or ``scorecard.json`` is missing, or a file is damaged.
    """
    directory = Path(directory)
    for name in ("session.json", "scorecard.json"):
        if not (directory / name).is_file():
            raise InputError(
                f"{directory}: has no {name}, so there is no plan to report; give the --out "
                "folder of a planning run that made at least one plan"
            )
    steps = [
        _read_step(path)
        for path in sorted((directory / "steps").glob("[0-9]*"))
        if (path / "step.json").is_file()
    ]
    return SessionRecord(
        _read_object(directory / "session.json"),
        _read_object(directory / "scorecard.json"),
        tuple(sorted(steps, key=lambda s: s.index)),
        _read_dvh(directory / "dvh.csv"),
        _read_audit(directory / "audit.jsonl"),
    )


def _read_step(path: Path) -> StepRecord:
    step = _read_object(path / "step.json")
    index = whole(step.get("index"))
    if index is None:
        raise InputError(f"{path / 'step.json'}: 'index' must be a whole number")
    card, objectives = path / "scorecard.json", path / "objectives.json"
    return StepRecord(
        index,
        step,
        _read_object(card) if card.is_file() else {},
        mappings(read_json(objectives)) if objectives.is_file() else [],
        _read_dvh(path / "dvh.csv"),
    )


def _read_object(path: Path) -> dict:
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: must hold a JSON object; it may be damaged")
    return content


def _read_dvh(path: Path) -> DvhTable | None:
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file))
        values = np.array([[float(cell or "nan") for cell in row] for row in rows if row])
        if header[0] != "dose_gy" or values.ndim != 2 or values.shape[1] != len(header):
            raise ValueError("not a table of dose_gy and one column per structure")
        if not np.isfinite(values[:, 0]).all() or (np.diff(values[:, 0]) < 0).any():
            raise ValueError("doses must ascend")
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{path}: cannot be read as a DVH ({error}); it may be damaged") from None
    return DvhTable(
        values[:, 0],
        {name: values[:, column] for column, name in enumerate(header) if column},
    )


def _read_audit(path: Path) -> AuditSummary | None:
    if not path.is_file():
        return None
    problems = [p for p in verify_audit(path) if not p.torn]  # a crash may tear the last line
    lines = path.read_bytes().split(b"\n")[:-1]
    head = "" if problems or not lines else json.loads(lines[-1])["hash"]
    return AuditSummary(len(lines), head, str(problems[0]) if problems else "")


def number(value: object) -> float | None:
    """Return a finite number as float; None for everything else that JSON can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        result = float(value)
    except OverflowError:  # JSON has integers of any length
        return None
    return result if math.isfinite(result) else None


def whole(value: object) -> int | None:
    """Return a whole number as int; None for everything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def text(value: object) -> str:
    """Return text or a number as text; the empty text for everything else."""
    if isinstance(value, str):
        return value
    plain = number(value)
    return "" if plain is None else f"{plain:.10g}"


def mapping(value: object) -> Mapping[str, Any]:
    """Return a JSON object; an empty one for everything else."""
    return value if isinstance(value, dict) else {}


def mappings(value: object) -> list[dict]:
    """Return the JSON objects of a list; none for everything else."""
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def texts(value: object) -> Sequence[str]:
    """Return the texts of a list; none for everything else."""
    return [v for v in value if isinstance(v, str) and v] if isinstance(value, list) else []
