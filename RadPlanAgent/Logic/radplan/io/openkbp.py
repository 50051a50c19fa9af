"""Read a patient of the OpenKBP challenge (Babier et al., Med Phys 2021, 10.1002/mp.14845).

A patient is a folder of CSV files, each with a header line and then rows ``index,value`` (masks:
``index,``). An index counts voxels of a 128 × 128 × 128 array in C order with axes
(anterior → posterior, right → left, superior → inferior); ``voxel_dimensions.csv`` holds the
spacing along the three, mm. ``ct.csv`` is HU + 1024 clipped to 0 … 4095, ``dose.csv`` is Gy for
the course of 35 fractions.

The position of the scan in the room is not given; here the array is centred on (0, 0, 0).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from ..beams import make_beams
from ..case import Case, DoseImage, ImportedPlan, Structure, StructureType
from ..errors import InputError
from ..geometry import Grid, Occupancy

SHAPE = (128, 128, 128)
FRACTIONS = 35
#: Above this a voxel is tissue when the body is outlined; between air and lung or fat, HU.
TISSUE_HU = -300.0

#: File name without suffix: name after TG-263, type, colour.
STRUCTURES: dict[str, tuple[str, StructureType, tuple[int, int, int]]] = {
    "PTV70": ("PTV_7000", StructureType.TARGET, (220, 30, 30)),
    "PTV63": ("PTV_6300", StructureType.TARGET, (240, 140, 30)),
    "PTV56": ("PTV_5600", StructureType.TARGET, (230, 200, 40)),
    "Brainstem": ("Brainstem", StructureType.OAR, (60, 160, 220)),
    "SpinalCord": ("SpinalCord", StructureType.OAR, (40, 200, 120)),
    "RightParotid": ("Parotid_R", StructureType.OAR, (170, 100, 220)),
    "LeftParotid": ("Parotid_L", StructureType.OAR, (120, 90, 230)),
    "Esophagus": ("Esophagus", StructureType.OAR, (170, 120, 70)),
    "Larynx": ("Larynx", StructureType.OAR, (230, 120, 180)),
    "Mandible": ("Bone_Mandible", StructureType.OAR, (200, 190, 150)),
}
PRESCRIPTION_GY = {"PTV_7000": 70.0, "PTV_6300": 63.0, "PTV_5600": 56.0}


def is_openkbp_folder(path: Path) -> bool:
    """Whether a folder looks like an OpenKBP patient, complete or not."""
    return any((path / name).is_file() for name in ("ct.csv", "voxel_dimensions.csv"))


def read_openkbp_folder(path: str | Path) -> Case:
    """Read one patient folder.

    Returns
    -------
    Case
        Grid of 128³ voxels; structures under TG-263 names plus ``External``, which the data set
        lacks and `body_from_ct` outlines; `imported_plan` holds the reference dose, its nine
        coplanar beams (isocentre at the centroid of all targets: the data set gives none) and the
        prescription of the targets present. Note that the targets of OpenKBP are disjoint.

    Raises
    ------
    InputError
        Naming file and row: missing file, index out of range or listed twice, a value that is
        not a number, negative dose, no target.
    """
    path = Path(path)
    spacing_mm = _read_spacing(path / "voxel_dimensions.csv")
    grid = Grid(
        SHAPE, spacing_mm, tuple(-s * (n - 1) / 2 for s, n in zip(spacing_mm, SHAPE, strict=True))
    )
    ct_hu = _read_image(path / "ct.csv", lowest=0.0) - 1024.0
    masks = {
        stem: _read_mask(path / f"{stem}.csv")
        for stem in STRUCTURES
        if (path / f"{stem}.csv").is_file()
    }
    # Files of absent organs may be left out or hold only the header.
    masks = {stem: mask for stem, mask in masks.items() if mask.any()}
    structures = tuple(
        Structure(name, kind, Occupancy.from_array(grid, masks[stem]), stem, color)
        for stem, (name, kind, color) in STRUCTURES.items()
        if stem in masks
    )
    targets = [s for s in structures if s.type is StructureType.TARGET]
    if not targets:
        raise InputError(f"{path}: no target; expected PTV70.csv, PTV63.csv or PTV56.csv")
    body = body_from_ct(
        ct_hu, _read_mask(path / "possible_dose_mask.csv"), np.any(list(masks.values()), axis=0)
    )
    external = Structure(
        "External", StructureType.EXTERNAL, Occupancy.from_array(grid, body), "", (200, 180, 160)
    )
    dose = None
    if (path / "dose.csv").is_file():
        dose = DoseImage(grid, _read_image(path / "dose.csv", lowest=0.0))
    union = Occupancy.from_array(grid, np.any([s.occupancy.mask() for s in targets], axis=0))
    return Case(
        name=path.resolve().name,
        grid=grid,
        ct_hu=ct_hu,
        structures=(*structures, external),
        imported_plan=ImportedPlan(
            label="OpenKBP reference",
            beams=make_beams("coplanar9", union.centroid_mm),
            fractions=FRACTIONS,
            prescription_gy={s.name: PRESCRIPTION_GY[s.name] for s in targets},
            dose=dose,
        ),
        source=str(path),
    )


def body_from_ct(ct_hu: np.ndarray, dosed: np.ndarray, structures: np.ndarray) -> np.ndarray:
    """Outline the patient: tissue without the couch, cavities filled slice by slice.

    Parameters
    ----------
    ct_hu : ndarray of float32, (z, y, x)
    dosed, structures : ndarray of bool, (z, y, x)
        Voxels that may receive dose (in some patients these include the couch), and the union of
        all structures, which the body always contains.

    Returns
    -------
    ndarray of bool, (z, y, x)
    """
    tissue = (ct_hu > TISSUE_HU) | structures
    # Opening cuts the thin bridges and sheets of couch and head rest away from the patient.
    labels, _ = ndimage.label(ndimage.binary_opening(tissue))
    # The patient is what holds structures: mostly one piece, several where the scan is cut.
    of_patient = np.unique(labels[structures])
    patient = np.isin(labels, of_patient[of_patient > 0])
    # Opening also took edges, nose and ears: give back what lies within four voxels.
    patient = ndimage.binary_dilation(patient, iterations=4, mask=tissue | dosed) | structures
    return np.stack([_filled(plane) for plane in patient])


def _filled(plane: np.ndarray) -> np.ndarray:
    """Fill cavities of one slice, also those that a gap of up to four voxels opens outwards."""
    closed = ndimage.binary_closing(plane, iterations=2) | plane
    return ndimage.binary_fill_holes(closed)


def _read_spacing(path: Path) -> tuple[float, float, float]:
    """Voxel spacing along LPS (x, y, z), mm, from the file's order (A-P, R-L, S-I)."""
    try:
        along = [float(line) for line in _read_lines(path) if line.strip()]
    except ValueError as error:
        raise InputError(f"{path}: voxel dimensions must be numbers ({error})") from None
    if len(along) != 3 or not all(0 < length < np.inf for length in along):
        raise InputError(f"{path}: expected three positive voxel dimensions in mm, got {along}")
    return along[1], along[0], along[2]


def _read_image(path: Path, lowest: float) -> np.ndarray:
    """An image in LPS, float32 (z, y, x); voxels not listed are zero."""
    indices, values = _read_rows(path)
    numbers = np.empty(len(indices), np.float64)
    for row, text in enumerate(values):
        try:
            numbers[row] = float(text)
        except ValueError:
            raise InputError(f"{path}, row {row + 2}: {text!r} is not a number") from None
    bad = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= lowest)))
    if bad.size:
        raise InputError(
            f"{path}, row {bad[0] + 2}: value {values[bad[0]]} must be a number ≥ {lowest:g}"
        )
    flat = np.zeros(np.prod(SHAPE), np.float32)
    flat[indices] = numbers
    return _to_lps(flat)


def _read_mask(path: Path) -> np.ndarray:
    """A mask in LPS, bool (z, y, x)."""
    indices, _ = _read_rows(path)
    flat = np.zeros(np.prod(SHAPE), bool)
    flat[indices] = True
    return _to_lps(flat)


def _to_lps(flat: np.ndarray) -> np.ndarray:
    """C-order (A → P, R → L, S → I) to an LPS array (z, y, x), where z grows upwards."""
    return np.ascontiguousarray(flat.reshape(SHAPE).transpose(2, 0, 1)[::-1])


def _read_rows(path: Path) -> tuple[np.ndarray, list[str]]:
    """Indices and the text after the comma of every row below the header."""
    lines = _read_lines(path)[1:]
    while lines and not lines[-1].strip():
        lines.pop()
    indices = np.empty(len(lines), np.int64)
    values = []
    for row, line in enumerate(lines):
        index, _, value = line.partition(",")
        try:
            indices[row] = int(index)
        except (ValueError, OverflowError):
            raise InputError(f"{path}, row {row + 2}: {index!r} is not a voxel index") from None
        values.append(value)
    outside = np.flatnonzero((indices < 0) | (indices >= np.prod(SHAPE)))
    if outside.size:
        raise InputError(
            f"{path}, row {outside[0] + 2}: voxel index {indices[outside[0]]} is outside "
            f"0 … {np.prod(SHAPE) - 1}"
        )
    order = np.argsort(indices, kind="stable")
    again = np.flatnonzero(np.diff(indices[order]) == 0)
    if again.size:
        row = order[again[0] + 1]
        raise InputError(f"{path}, row {row + 2}: voxel index {indices[row]} is listed twice")
    return indices, values


def _read_lines(path: Path) -> list[str]:
    """Lines of a text file; `InputError` when it is missing or not text."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: file is missing from the OpenKBP patient folder") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
