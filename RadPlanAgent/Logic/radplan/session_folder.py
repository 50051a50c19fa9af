"""The session folder: every file of a planning session, each written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .agent.trajectory import Step
from .audit import AuditLog, read_audit
from .case import Case
from .case_file import save_case
from .errors import InputError
from .files import read_json, write_json, written_by_rename
from .metrics import StructureDose, dvh_table, write_dvh_csv
from .stored_step import StoredStep, step_from_dict, step_to_dict

FORMAT = 1
#: All that a session writes into its folder; whatever else is there belongs to the user.
CONTENT = (
    "session.json",
    "audit.jsonl",
    "case.npz",
    "steps",
    "llm",
    "scorecard.json",
    "dvh.csv",
    "dose.nrrd",
    "scene.mrb",
    "dicom",
    "figures",
    "report.html",
    "review.json",
)
_REQUIRED = (
    *("state", "planner", "protocol", "beams", "dose_grid"),
    *("settings", "engine", "fingerprint"),
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
    def llm_path(self) -> Path:
        """Folder of the pictures that a language model was sent."""
        return self.path / "llm"

    @property
    def steps_path(self) -> Path:
        """Folder of the steps."""
        return self.path / "steps"

    def create(self, case: Case, content: Mapping) -> None:
        """Write the first files of a new session, in place of an old one if there is one.

        All that is new is on the disk before anything old goes; when writing fails, the folder
        holds what it held before.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self.path) as workspace:
            new = SessionFolder(Path(workspace))
            save_case(new.case_path, case)
            AuditLog(new.audit_path).append("start", new.inputs(content))
            new.write_session(content)
            self._remove(CONTENT)
            for path in (new.audit_path, new.case_path, new.session_path):
                os.replace(path, self.path / path.name)

    def remove_leftovers(self) -> None:
        """Remove the temporary files of a process that was killed."""
        self._remove([".new-*", *(f".{name}.*" for name in CONTENT)])

    def _remove(self, patterns: Sequence[str]) -> None:
        for path in [p for pattern in patterns for p in self.path.glob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def inputs(self, content: Mapping) -> dict[str, str]:
        """SHA-256 of everything that was given to the session, by name."""
        given = {"case": hashlib.sha256(self.case_path.read_bytes()).hexdigest()}
        for name in ("protocol", "beams", "dose_grid", "fingerprint", "actions"):
            if name not in content:  # actions: what a person wanted of the first plan, if anything
                continue
            text = json.dumps(content[name], sort_keys=True)
            given[name] = hashlib.sha256(text.encode()).hexdigest()
        return given

    def check_inputs(self, content: Mapping) -> None:
        """Refuse to go on with other inputs than the audit log says the session started with."""
        first = next((e["data"] for e in read_audit(self.audit_path) if e["kind"] == "start"), {})
        given = self.inputs(content)
        for name in {**first, **given}:
            if first.get(name) != given.get(name):
                file = self.case_path if name == "case" else self.session_path
                raise InputError(
                    f"{file}: the {name.replace('_', ' ')} is not what the session was started "
                    "with; put the original back or start a new session"
                )

    def write_session(self, content: Mapping) -> None:
        """Write session.json."""
        write_json(self.session_path, {"format": FORMAT, **content})

    def read_session(self) -> dict:
        """Read session.json; `InputError` if this is no session folder of a known format."""
        if not self.session_path.is_file():
            raise InputError(
                f"{self.path}: is no session folder (it has no {self.session_path.name}); give "
                "the --out folder of a radplan plan"
            )
        content = read_json(self.session_path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise InputError(
                f"{self.session_path}: is not a session of format {FORMAT}; it was written by "
                "another version or is damaged"
            )
        missing = [name for name in _REQUIRED if name not in content]
        if missing:
            raise InputError(f"{self.session_path}: has no {missing[0]!r}; it is damaged")
        return content

    def write_step(
        self, step: Step, fluence: np.ndarray, structure_doses: Mapping[str, StructureDose]
    ) -> dict[str, str]:
        """Write one step's folder; it appears complete or not at all.

        Returns
        -------
        dict
            The SHA-256 of each of its files, for the audit log.
        """
        final = self.step_path(step.index)
        partial = self.steps_path / f".{step.index:03d}.partial"
        try:
            if partial.exists():
                shutil.rmtree(partial)
            partial.mkdir(parents=True)
            write_json(partial / "step.json", step_to_dict(step))
            write_json(partial / "objectives.json", [o.to_dict() for o in step.objectives])
            write_json(partial / "scorecard.json", step.scorecard.to_dict())
            write_dvh_csv(partial / "dvh.csv", *dvh_table(structure_doses))
            with written_by_rename(partial / "fluence.npy") as file:
                np.save(file, fluence)
            digests = file_digests(partial)
            os.replace(partial, final)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise InputError(
                f"{final}: cannot be written ({error.strerror}); free space or choose another "
                f"--out folder, then continue with: radplan resume {self.path}"
            ) from error
        return digests

    def read_steps(self) -> list[StoredStep]:
        """All steps that the audit log tells of, in order.

        A step whose line in the log is missing is one that was never finished: it is removed.

        Raises
        ------
        InputError
            If a step is missing, damaged or was changed, or the log was.
        """
        logged = [entry["data"] for entry in self.read_log() if entry["kind"] == "step"]
        found = sorted(p for p in self.steps_path.glob("[0-9]*") if p.is_dir())
        unfinished = self.step_path(len(logged))
        strangers = [p for p in found[len(logged) :] if p != unfinished]
        if strangers:
            raise InputError(f"{strangers[0]}: the audit log knows nothing of it; remove it")
        steps = [self._read_step(number, data) for number, data in enumerate(logged)]
        if unfinished in found:
            shutil.rmtree(unfinished)
        return steps

    def read_log(self) -> list[dict[str, Any]]:
        """All entries of the audit log; none where there is no log yet."""
        return read_audit(self.audit_path) if self.audit_path.is_file() else []

    def read_step(self, index: int) -> StoredStep:
        """One step that the audit log tells of; `InputError` if it is damaged or was changed."""
        logged = [entry["data"] for entry in self.read_log() if entry["kind"] == "step"]
        return self._read_step(index, logged[index])

    def step_path(self, index: int) -> Path:
        """Folder of one step."""
        return self.steps_path / f"{index:03d}"

    def _read_step(self, number: int, logged: Mapping) -> StoredStep:
        folder = self.step_path(number)
        if not folder.is_dir():
            raise InputError(f"{folder}: step is missing, the audit log tells of it; put it back")
        now = file_digests(folder)
        for name, digest in logged["sha256"].items():
            if now.get(name) != digest:
                raise InputError(
                    f"{folder / name}: is missing, damaged or was changed since the step was made "
                    "(its SHA-256 is not the one in the audit log); put the original back"
                )
        step = step_from_dict(
            read_json(folder / "step.json"), read_json(folder / "objectives.json")
        )
        fluence = np.load(folder / "fluence.npy", allow_pickle=False)
        return StoredStep(step, fluence, read_json(folder / "scorecard.json"), folder)


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder, by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }
