"""The session folder: every file of a planning session, each written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .agent.actions import action_from_dict, action_to_dict
from .agent.trajectory import Step
from .errors import InputError
from .files import written_by_rename
from .metrics import StructureDose, dvh_table, write_dvh_csv
from .optimize import Objective
from .scorecard import Scorecard

FORMAT = 1
#: Achieved values of a restored step may differ from the stored ones by this much (Gy, %, cc).
RESTORE_TOLERANCE = 1e-2


def write_json(path: Path, content: Mapping | list) -> None:
    """Write JSON by rename; numbers that are not finite are refused."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    with written_by_rename(path) as file:
        file.write(text.encode("utf-8"))


def read_json(path: Path) -> Any:
    """Read JSON; `InputError` naming the file if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}); it may be damaged") from None


@dataclass(frozen=True)
class StoredStep:
    """A step as read from its folder; `scorecard` is the stored one, as plain values."""

    step: Step
    fluence: np.ndarray
    scorecard: dict
    path: Path

    def check(self, recomputed: Scorecard) -> None:
        """Refuse a step whose stored scorecard is not what its fluence gives."""
        for stored, goal in zip(
            self.scorecard["goals"], recomputed.to_dict()["goals"], strict=True
        ):
            a, b = stored["achieved"], goal["achieved"]
            if (a is None) != (b is None) or (a is not None and abs(a - b) > RESTORE_TOLERANCE):
                raise InputError(
                    f"{self.path}: {goal['structure']} {goal['metric']} was {a} when the step was "
                    f"made and is {b} now; the case, protocol or dose engine has changed. Start a "
                    "new session"
                )


@dataclass(frozen=True)
class SessionFolder:
    """Paths and files of one session."""

    path: Path

    @property
    def audit_path(self) -> Path:
        """The audit log."""
        return self.path / "audit.jsonl"

    @property
    def session_path(self) -> Path:
        """What was planned, with what, and how it ended."""
        return self.path / "session.json"

    @property
    def case_path(self) -> Path:
        """The case as planned."""
        return self.path / "case.npz"

    @property
    def steps_path(self) -> Path:
        """Folder of the steps."""
        return self.path / "steps"

    def remove(self) -> None:
        """Delete the folder and everything in it."""
        shutil.rmtree(self.path)

    def write_session(self, content: Mapping) -> None:
        """Write session.json."""
        write_json(self.session_path, {"format": FORMAT, **content})

    def read_session(self) -> dict:
        """Read session.json; `InputError` if this is no session folder of a known format."""
        content = read_json(self.session_path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise InputError(
                f"{self.session_path}: is not a session of format {FORMAT}; it was written by "
                "another version or is damaged"
            )
        return content

    def write_step(
        self, step: Step, fluence: np.ndarray, structure_doses: Mapping[str, StructureDose]
    ) -> None:
        """Write one step's folder; it appears complete or not at all."""
        final = self.steps_path / f"{step.index:03d}"
        partial = self.steps_path / f".{step.index:03d}.partial"
        try:
            if partial.exists():
                shutil.rmtree(partial)
            partial.mkdir(parents=True)
            scorecard = step.scorecard.to_dict()
            write_json(partial / "step.json", step_to_dict(step))
            write_json(partial / "objectives.json", [o.to_dict() for o in step.objectives])
            write_json(partial / "scorecard.json", scorecard)
            write_dvh_csv(partial / "dvh.csv", *dvh_table(structure_doses))
            np.save(partial / "fluence.npy", fluence)
            if final.exists():
                shutil.rmtree(final)
            os.replace(partial, final)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise InputError(
                f"{final}: cannot be written ({error.strerror}); free space or choose another "
                "--out folder, then continue with: radplan resume"
            ) from error

    def read_steps(self) -> list[StoredStep]:
        """All complete steps, in order; unfinished ones are ignored."""
        folders = sorted(p for p in self.steps_path.glob("[0-9]*") if p.is_dir())
        steps = []
        for number, folder in enumerate(folders):
            if folder.name != f"{number:03d}":
                raise InputError(f"{self.steps_path}: step {number:03d} is missing")
            try:
                fluence = np.load(folder / "fluence.npy", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise InputError(f"{folder / 'fluence.npy'}: is damaged ({error})") from None
            step = step_from_dict(
                read_json(folder / "step.json"), read_json(folder / "objectives.json")
            )
            steps.append(StoredStep(step, fluence, read_json(folder / "scorecard.json"), folder))
        return steps


def step_to_dict(step: Step) -> dict:
    """A step for JSON, without its objectives and scorecard, which have files of their own."""
    results = step.scorecard.evaluable
    worst = min(results, key=lambda r: r.relative_margin, default=None)
    return {
        "index": step.index,
        "base": step.base,
        "phase": step.phase,
        "move": step.move,
        "title": step.title,
        "actions": [
            action_to_dict(a) | {"text": text}
            for a, text in zip(step.actions, step.changes, strict=True)
        ],
        "outcome": step.outcome,
        "kept": step.kept,
        "goals_met": step.scorecard.goals_met,
        "goals_total": len(results),
        "worst_margin": ""
        if worst is None
        else f"{worst.goal.structure} {worst.goal.metric}: {worst.margin:+.2f} {worst.goal.unit}",
        "solver": step.solver,
        "seconds": round(step.seconds, 3),
    }


def step_from_dict(values: dict, objectives: list[dict]) -> Step:
    """Read back what `step_to_dict` wrote; the scorecard is left to be computed anew."""
    try:
        actions, changes = [], []
        for item in values["actions"]:
            item = dict(item)
            changes.append(item.pop("text"))
            actions.append(action_from_dict(item))
        return Step(
            index=values["index"],
            base=values["base"],
            phase=values["phase"],
            move=values["move"],
            title=values["title"],
            actions=tuple(actions),
            changes=tuple(changes),
            objectives=tuple(Objective(**o) for o in objectives),
            scorecard=None,
            outcome=values["outcome"],
            kept=values["kept"],
            solver=values["solver"],
            seconds=values["seconds"],
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"step {values.get('index')}: stored step is damaged ({error})") from None
