"""What events say of a session: steps with the paths of their files, and where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..agent.trajectory import Step
from ..files import written_by_rename
from ..metrics import dvh_table, write_dvh_csv
from ..plan_making import Plan
from ..planning import OpenSession
from ..review import review_status
from ..session_folder import SessionFolder
from ..stored_step import step_to_dict

#: File of a step that a panel shows; made from its fluence, and no part of what is reviewed.
DOSE_FILE = "dose.npy"
#: Folder of previews, beside the steps; a hidden name, so that it is taken for no step.
PREVIEWS = ".preview"
#: Previews that are on the disk at once: who reads the one before is not disturbed.
KEPT_PREVIEWS = 2


def told_step(folder: SessionFolder, step: Step) -> dict[str, Any]:
    """A step with the paths of its files; the path of the dose is empty where there is none."""
    path = folder.step_path(step.index)
    dose = path / DOSE_FILE
    return step_to_dict(step) | {
        "changes": list(step.changes),
        "reason": "; ".join(dict.fromkeys(a.reason for a in step.actions if a.reason)),
        "scorecard": str(path / "scorecard.json"),
        "objectives": str(path / "objectives.json"),
        "dvh": str(path / "dvh.csv"),
        "dose": str(dose) if dose.is_file() else "",
    }


def store_dose(folder: SessionFolder, plan: Plan) -> str:
    """Write the dose of a step's plan into its folder, if it is not there; its path."""
    path = folder.step_path(plan.step.index) / DOSE_FILE
    if not path.is_file():
        _save(path, plan.dose_gy)
    return str(path)


def store_preview(folder: SessionFolder, number: int, plan: Plan) -> dict[str, Any]:
    """Write dose and DVH of a preview, and remove older ones; what its event says.

    Parameters
    ----------
    folder : SessionFolder
    number : int
        Higher than that of all previews before.
    plan : Plan
    """
    previews = folder.steps_path / PREVIEWS
    dose, dvh = previews / f"dose-{number}.npy", previews / f"dvh-{number}.csv"
    _save(dose, plan.dose_gy)
    write_dvh_csv(dvh, *dvh_table(plan.structure_doses))
    for name in ("dose-{}.npy", "dvh-{}.csv"):
        (previews / name.format(number - KEPT_PREVIEWS)).unlink(missing_ok=True)
    return {
        "dose": str(dose),
        "dvh": str(dvh),
        "scorecard": plan.step.scorecard.to_dict(),
    }


def standing(opened: OpenSession) -> dict[str, Any]:
    """Where a session stands."""
    session, content = opened.session, opened.content
    review = review_status(opened.folder)
    return {
        "folder": str(opened.folder.path),
        "state": content["state"],
        "steps": len(session.steps),
        "current": session.history.current,
        "can_undo": session.history.can_undo,
        "can_redo": session.history.can_redo,
        "review": review.to_dict() if review else None,
    }


def description(opened: OpenSession) -> dict[str, Any]:
    """What a session is about, and all its steps: what a panel needs to show it."""
    session, content = opened.session, opened.content
    grid = session.influence.grid
    return {
        "case": session.case.name,
        "planner": content["planner"],
        "protocol": content["protocol"],
        "engine": session.influence.engine,
        "beams": content["beams"],
        "max_steps": content["settings"].get("max_steps"),
        "stop_reason": content.get("stop_reason", ""),
        "unmet": content.get("unmet", []),
        # Frame LPS, mm; shape (z, y, x), the others (x, y, z).
        "dose_grid": {
            "shape": list(grid.shape),
            "spacing_mm": list(grid.spacing_mm),
            "origin_mm": list(grid.origin_mm),
        },
        "structures": list(session.structures.occupancies),
        "steps": [told_step(opened.folder, step) for step in session.steps],
    }


def _save(path: Path, dose_gy: np.ndarray) -> None:
    with written_by_rename(path) as file:
        np.save(file, dose_gy.astype(np.float32, copy=False))
