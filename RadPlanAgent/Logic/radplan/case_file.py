"""One case in one file, read and written with numpy alone.

The file is a compressed ``.npz``: an array ``meta`` with a JSON text, ``ct``, one array per
structure (its box only) and, where there is one, the imported dose. Nothing in it is pickled.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import asdict
from os import PathLike
from pathlib import Path

import numpy as np

from .beams import Beam
from .case import Case, DicomReference, DoseImage, ImportedPlan, Structure, StructureType
from .errors import InputError
from .files import written_by_rename
from .geometry import Grid, Occupancy

#: What the file says it is; the number changes when older programs could not read it.
FORMAT = "radplan case 1"


def _compact(values: np.ndarray) -> np.ndarray:
    """The same numbers in the smallest type that holds them: bool, int16 or float32."""
    for dtype in (np.bool_, np.int16):
        low, high = (0, 1) if dtype is np.bool_ else (-32768, 32767)
        if values.size == 0 or (values.min() >= low and values.max() <= high):
            small = values.astype(dtype)
            if np.array_equal(small, values):
                return small
    return values.astype(np.float32)


def save_case(path: str | PathLike, case: Case) -> None:
    """Write a case; what `load_case` returns is the same to the last bit.

    Parameters
    ----------
    path : path-like
        Usually ends in ``.npz``; written under a temporary name and renamed.
    case : Case
        Structures must live on the CT grid (`ValueError` otherwise).
    """
    arrays = {"ct": _compact(case.ct_hu)}
    structures = []
    for number, structure in enumerate(case.structures):
        if structure.occupancy.grid != case.grid:
            raise ValueError(f"structure {structure.name} is not on the CT grid")
        arrays[f"structure_{number}"] = _compact(structure.occupancy.values)
        structures.append(
            {
                "name": structure.name,
                "type": structure.type.value,
                "source_name": structure.source_name,
                "color": structure.color,
                "start": structure.occupancy.start,
            }
        )
    plan = None
    if case.imported_plan is not None:
        imported = case.imported_plan
        plan = {
            "label": imported.label,
            "beams": [asdict(beam) for beam in imported.beams],
            "fractions": imported.fractions,
            "prescription_gy": imported.prescription_gy,
            "dose_grid": None,
        }
        if imported.dose is not None:
            plan["dose_grid"] = asdict(imported.dose.grid)
            arrays["imported_dose_gy"] = imported.dose.dose_gy.astype(np.float32)
    meta = {
        "format": FORMAT,
        "name": case.name,
        "grid": asdict(case.grid),
        "patient_position": case.patient_position,
        "frame_of_reference_uid": case.frame_of_reference_uid,
        "source": case.source,
        "structures": structures,
        "imported_plan": plan,
        "dicom": None if case.dicom is None else asdict(case.dicom),
        "warnings": case.warnings,
    }
    with written_by_rename(path) as file:
        np.savez_compressed(file, meta=np.array(json.dumps(meta)), **arrays)


def load_case(path: str | PathLike) -> Case:
    """Read what `save_case` wrote.

    Raises
    ------
    InputError
        If the file is missing, damaged or not a case of this format.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such case file")
    try:
        with np.load(path, allow_pickle=False) as file:
            meta = json.loads(str(file["meta"]))
            if meta["format"] != FORMAT:
                raise InputError(
                    f"{path}: is a {meta['format']!r} file, this version reads {FORMAT!r}"
                )
            return _case(meta, {name: file[name] for name in file.files if name != "meta"})
    except InputError:
        raise
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a radplan case file, or damaged ({error})") from error
    except (zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        # RuntimeError: flipped bits can ask for encryption or features of zip that nobody has.
        raise InputError(f"{path}: case file is damaged ({error}); import it again") from error


def _case(meta: dict, arrays: dict[str, np.ndarray]) -> Case:
    """Build the case; KeyError, TypeError or ValueError when something does not fit."""
    grid = Grid(**meta["grid"])
    structures = tuple(
        Structure(
            name=entry["name"],
            type=StructureType(entry["type"]),
            occupancy=_occupancy(grid, entry["start"], arrays[f"structure_{number}"]),
            source_name=entry["source_name"],
            color=tuple(entry["color"]) if entry["color"] is not None else None,
        )
        for number, entry in enumerate(meta["structures"])
    )
    plan = meta["imported_plan"]
    imported = None
    if plan is not None:
        dose = None
        if plan["dose_grid"] is not None:
            dose = DoseImage(Grid(**plan["dose_grid"]), arrays["imported_dose_gy"])
        imported = ImportedPlan(
            label=plan["label"],
            beams=tuple(
                Beam(**{**beam, "isocenter_mm": tuple(beam["isocenter_mm"])})
                for beam in plan["beams"]
            ),
            fractions=plan["fractions"],
            prescription_gy=plan["prescription_gy"],
            dose=dose,
        )
    dicom = meta.get("dicom")
    if dicom is not None:
        dicom = DicomReference(**{**dicom, "image_uids": tuple(dicom["image_uids"])})
    return Case(
        name=meta["name"],
        grid=grid,
        ct_hu=arrays["ct"].astype(np.float32),
        structures=structures,
        patient_position=meta["patient_position"],
        frame_of_reference_uid=meta["frame_of_reference_uid"],
        imported_plan=imported,
        source=meta["source"],
        dicom=dicom,
        warnings=tuple(meta.get("warnings", ())),
    )


def _occupancy(grid: Grid, start: list[int], box: np.ndarray) -> Occupancy:
    """Build a region; ValueError when its box leaves the grid or its values leave 0 … 1."""
    occupancy = Occupancy(grid, tuple(start), box.astype(np.float32))
    inside = all(
        0 <= first <= last <= count
        for first, last, count in zip(occupancy.start, occupancy.stop, grid.shape, strict=True)
    )
    if not inside or not np.all((occupancy.values >= 0) & (occupancy.values <= 1)):
        raise ValueError("a structure does not fit the CT grid")
    return occupancy
