"""A session of the worker as the panel knows it: what was told of it, and files of its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..case import DoseImage
from ..geometry import Grid
from .i18n import _
from .step_files import (
    Curves,
    read_dose,
    read_dose_grid,
    read_dvh,
    read_objectives,
    read_scorecard,
)


class SessionMirror:
    """Steps, which of them is the current plan, its review, and what was written about them.

    Parameters
    ----------
    folder : Path or None
        The session's folder; None while there is no session.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.steps: list[dict] = []
        self.current: int | None = None
        self.canUndo = self.canRedo = False
        self.review: Mapping | None = None
        self._grid: Grid | None = None
        self._files: dict[str, Any] = {}
        self._facts: dict[str, str] = {}

    # What the worker tells

    def take(self, answer: Mapping) -> None:
        """Take over what an answer says of the session."""
        description = answer.get("description")
        if description:
            self._facts = {name: str(description[name]) for name in ("planner", "engine")}
            grid = description["dose_grid"]
            self._grid = Grid(**{name: tuple(value) for name, value in grid.items()})
            self.steps = [dict(step) for step in description["steps"]]
        if answer.get("step"):
            self._setStep(dict(answer["step"]))
        session = answer.get("session")
        if session and "current" in session:
            self.current = session["current"]
            self.canUndo, self.canRedo = session["can_undo"], session["can_redo"]
            self.review = session["review"]

    def addStep(self, event: Mapping) -> None:
        """Take over a step that was made."""
        if self._grid is None and self.folder is not None:
            self._grid = read_dose_grid(self.folder / "session.json")
        self._setStep(dict(event["step"]))
        self.current = event["current"]
        self.canUndo, self.canRedo = event["can_undo"], event["can_redo"]

    def _setStep(self, step: dict) -> None:
        index = step["index"]
        if index < len(self.steps):
            self.steps[index] = step
        else:
            self.steps.append(step)

    # What it wrote

    def scorecard(self, index: int) -> dict:
        """Scorecard of a step."""
        return self._read(self.steps[index]["scorecard"], read_scorecard)

    def objectives(self, index: int) -> list[dict]:
        """Objectives of a step."""
        return self._read(self.steps[index]["objectives"], read_objectives)

    def dvh(self, index: int) -> Curves:
        """DVH of a step."""
        return self._read(self.steps[index]["dvh"], read_dvh)

    def dose(self, index: int) -> DoseImage | None:
        """Dose of a step; None while the worker has not written it."""
        path = self.steps[index]["dose"]
        return read_dose(Path(path), self._grid) if path and self._grid is not None else None

    def previewDose(self, event: Mapping) -> DoseImage:
        """Dose of a preview."""
        return read_dose(Path(event["dose"]), self._grid)

    @staticmethod
    def previewDvh(event: Mapping) -> Curves:
        """DVH of a preview."""
        return read_dvh(Path(event["dvh"]))

    def sentText(self) -> str:
        """What a language model would be sent, if that was found out; empty if not."""
        path = self.folder / "llm" / "preview.md" if self.folder else None
        return path.read_text(encoding="utf-8") if path and path.is_file() else ""

    def _read(self, path: str, reader: Callable[[Path], Any]) -> Any:
        if path not in self._files:
            self._files[path] = reader(Path(path))
        return self._files[path]

    # In words

    def facts(self) -> dict[str, str]:
        """What the scene says of where the current plan comes from, and what it keeps to."""
        rows = self.steps[self.current]["constraints"]
        constraints = {"constraints": "; ".join(row["text"] for row in rows)} if rows else {}
        return self._facts | constraints

    def stepText(self, index: int) -> str:
        """A step for the transcript."""
        step = self.steps[index]
        lines = [f"[{index}] {step.get('author') or _('protocol')}: {step['title']}"]
        assessment = step.get("assessment") or {}
        lines += [f"    {text}" for text in assessment.values() if isinstance(text, str) and text]
        lines += [f"    {a['text']} — {a['reason']}" for a in step["actions"]]
        return "\n".join([*lines, f"    → {step['outcome']}"])
