"""Everything a physicist needs of a finished session, written into its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .case_file import load_case
from .errors import InputError
from .files import write_json
from .io.nrrd import read_dose, write_dose
from .metrics import dvh_table, write_dvh_csv
from .mrml.runtime import SlicerMissingError
from .mrml.scene import write_scene
from .progress import ProgressReport
from .session import PlanningSession
from .session_folder import SessionFolder


def write_outputs(
    session: PlanningSession,
    folder: SessionFolder,
    provenance: dict[str, str],
    progress: ProgressReport,
) -> list[str]:
    """Write scorecard, DVH, dose, DICOM and scene of the best plan.

    Parameters
    ----------
    session : PlanningSession
    folder : SessionFolder
    provenance : dict
        What the scene says of where the plan comes from.
    progress : ProgressReport

    Returns
    -------
    list of str
        What could not be written and why; the rest is there.
    """
    # Readers and writers of files are wanted by this function alone.
    from .io.dicom_write import write_dicom_plan

    case, best, dose = session.case, session.best, session.best_dose
    scorecard = best.step.scorecard.to_dict()
    header, rows = dvh_table(best.structure_doses)
    write_json(folder.path / "scorecard.json", scorecard)
    write_dvh_csv(folder.path / "dvh.csv", header, rows)
    write_dose(folder.path / "dose.nrrd", dose)
    write_dicom_plan(
        case,
        dose,
        folder.path / "dicom",
        fractions=session.protocol.fractions,
        prescriptions=session.protocol.prescriptions,
        replace=True,
        progress=progress,
    )
    warnings = []
    try:
        write_scene(
            folder.path / "scene.mrb",
            case,
            dose,
            _curves(header, rows),
            prescription_gy=session.protocol.highest.dose_gy,
            scorecard=scorecard,
            beams=session.influence.beams,
            provenance=provenance,
            progress=progress,
        )
    except SlicerMissingError as error:
        warnings.append(f"scene.mrb is not written: {error}")
    return warnings


def write_session_report(
    session: PlanningSession, folder: SessionFolder, progress: ProgressReport
) -> None:
    """Write report.html from the other files of a finished session."""
    from .report import write_report  # needs Jinja2 and matplotlib

    progress("writing report", 0.0)
    write_report(folder.path, session.case, session.best_dose)
    progress("writing report", 1.0)


def rewrite_report(path: Path) -> Path:
    """Write the report of a finished session folder anew; the report's path."""
    from .report import write_report

    folder = SessionFolder(path)
    state = folder.read_session()["state"]
    if state != "done":
        raise InputError(f"{path}: the session is {state}; finish it with radplan resume first")
    return write_report(path, load_case(folder.case_path), read_dose(path / "dose.nrrd"))


def _curves(
    header: Sequence[str], rows: Sequence[Sequence[float]]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Doses and the volume percentages of every structure, from a DVH table."""
    table = np.asarray(rows, dtype=float)
    return table[:, 0], {name: table[:, i] for i, name in enumerate(header) if i > 0}
