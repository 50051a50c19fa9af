"""A finished plan as a file that 3D Slicer opens."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..beams import Beam
from ..case import Case, DoseImage
from ..errors import InputError
from ..files import written_by_rename
from ..progress import ProgressReport, silent
from .runtime import headless_scene


def write_scene(
    path: Path,
    case: Case,
    dose: DoseImage,
    dvh: tuple[np.ndarray, Mapping[str, np.ndarray]],
    *,
    prescription_gy: float,
    scorecard: Mapping | None = None,
    beams: Sequence[Beam] = (),
    provenance: Mapping[str, str] | None = None,
    progress: ProgressReport = silent,
) -> None:
    """Write a scene file (``.mrb``): CT, structures, dose, DVH, scorecard and notes.

    The file appears complete or not at all. It holds the case's label and the structures' names,
    but neither their source names nor UIDs, dates or paths.

    Parameters
    ----------
    path : Path
        Ends in ``.mrb``.
    case : Case
    dose : DoseImage
        On any grid.
    dvh : tuple
        Doses in Gy, shape (n,), rising; and for each structure to be shown, the volume in per cent
        that receives at least each dose, shape (n,).
    prescription_gy : float
        Dose that counts as 100 % in the colours.
    scorecard : mapping, optional
        As in ``scorecard.json``. Its goals become a table, its structures the DVH metrics, and its
        first prescription the target that the views show.
    beams : sequence of Beam, optional
        Their isocentres become points.
    provenance : mapping, optional
        More facts about the plan for the notes, by name.
    progress : ProgressReport, optional
        Told before the slow parts: loading MRML, building the scene, packing the file.

    Raises
    ------
    SlicerMissingError
        If this Python has no MRML library; an `InputError`.
    InputError
        If the input does not fit together, or the file cannot be written.
    """
    path = Path(path).absolute()  # Slicer packs nothing into a relative folder
    if path.suffix != ".mrb":
        raise InputError(f"{path}: a Slicer scene file must end in .mrb")
    progress("loading MRML", 0.0)
    with headless_scene() as scene:
        from .plan import add_plan

        progress("building the Slicer scene", 0.2)
        add_plan(
            scene,
            case,
            dose,
            dvh,
            prescription_gy=prescription_gy,
            scorecard=scorecard,
            beams=beams,
            provenance=provenance,
        )
        progress("packing the Slicer scene", 0.4)
        try:
            _write(scene, path)
        except OSError as error:
            raise InputError(f"{path}: the scene cannot be written ({error})") from error
    progress("packing the Slicer scene", 1.0)


def _write(scene: object, path: Path) -> None:
    """Pack the scene in a folder of its own, then move the finished file into place."""
    import slicer

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        # Slicer names what is inside after the file.
        packed = Path(folder) / path.name
        messages = slicer.vtkMRMLMessageCollection()
        written = scene.WriteToMRB(str(packed), None, messages)
        if not written or not packed.is_file():
            raise OSError(" ".join(messages.GetAllMessagesAsString().split()) or "unknown reason")
        with packed.open("rb") as source, written_by_rename(path) as target:
            shutil.copyfileobj(source, target)
