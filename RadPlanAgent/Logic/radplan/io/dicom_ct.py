"""A CT series to an axis-aligned image in Hounsfield units."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset

from ..errors import InputError
from ..geometry import Grid
from ..progress import CancelRequested, ProgressReport, check_cancelled
from .dicom_folder import DicomFile, decoded_pixels

#: Patient positions with the patient on back or belly.
POSITIONS = ("HFS", "HFP", "FFS", "FFP")
#: Largest cosine that an image axis may have with the other patient axes (0.06 degrees).
OBLIQUE_TOLERANCE = 1e-3
#: How far a slice may lie from its place on a regular grid (positions are written rounded).
POSITION_TOLERANCE_MM = 0.1
#: Value of voxels outside the scan, HU.
OUTSIDE_HU = -1024.0


@dataclass(frozen=True)
class CtImage:
    """A CT: grid, values (z, y, x) HU float32, patient position and the slices' UIDs along z."""

    grid: Grid
    hu: np.ndarray
    patient_position: str
    image_uids: tuple[str, ...]
    warnings: tuple[str, ...]


def axis_signs(header: Dataset, where: object) -> tuple[int, int]:
    """Directions of image columns and rows along patient x and y.

    Parameters
    ----------
    header : Dataset
        Has Image Orientation (Patient).
    where : object
        What to name in an error, usually the path.

    Returns
    -------
    (int, int)
        +1 where the column index grows with x (to the patient's left), -1 where it falls; the
        same for row index and y (to posterior).

    Raises
    ------
    InputError
        If the orientation is missing, the patient lies on a side, or planes are not axial.
    """
    cosines = numbers(header, "ImageOrientationPatient", 6, where)
    along_row, along_column = np.array(cosines[:3]), np.array(cosines[3:])
    largest = int(np.abs(along_row).argmax()), int(np.abs(along_column).argmax())
    for direction, axis in zip((along_row, along_column), largest, strict=True):
        if np.abs(np.delete(direction, axis)).max() > OBLIQUE_TOLERANCE:
            raise InputError(
                f"{where}: the image is oblique (Image Orientation (Patient) {cosines}); "
                "resample it to planes along the patient's axes"
            )
    if largest == (1, 0):
        raise InputError(
            f"{where}: the patient lies on a side (decubitus), which is not supported; only "
            f"{', '.join(POSITIONS)} are"
        )
    if largest != (0, 1):
        raise InputError(f"{where}: the image planes are not axial; export axial slices")
    return int(np.sign(along_row[0])), int(np.sign(along_column[1]))


def numbers(header: Dataset, keyword: str, count: int, where: object) -> list[float]:
    """Finite numbers of an attribute; `InputError` naming file and attribute otherwise."""
    value = header.get(keyword)
    try:
        values = [float(v) for v in (value if count > 1 else [value])]
    except (TypeError, ValueError):
        values = []
    if len(values) != count or not np.isfinite(values).all():
        raise InputError(f"{where}: {keyword} is missing or not {count} number(s); export again")
    return values


def read_ct(
    files: tuple[DicomFile, ...], progress: ProgressReport, cancel_requested: CancelRequested
) -> CtImage:
    """Read a CT series.

    Slices are sorted by position, whatever their file names and instance numbers, and flipped so
    that x grows to the patient's left, y to posterior and z to superior.

    Parameters
    ----------
    files : tuple of DicomFile
        All images of one series.
    progress, cancel_requested
        See `radplan.progress`.

    Raises
    ------
    InputError
        If slices are missing, doubled, of different size, unequally spaced, oblique, not on back
        or belly, without rescale values or without readable pixels. The file is named.
    """
    where = files[0].path
    if len(files) < 2:
        raise InputError(f"{where}: the CT series has a single slice; copy the whole series")
    _same_frame(files)
    position, warnings = _patient_position(files[0])
    signs = _common_geometry(files)
    rows, columns = (int(files[0].header[k].value) for k in ("Rows", "Columns"))
    row_spacing, column_spacing = numbers(files[0].header, "PixelSpacing", 2, where)
    if min(rows, columns) < 1 or min(row_spacing, column_spacing) <= 0:
        raise InputError(f"{where}: the image has no size; export it again")
    corners = np.array([numbers(f.header, "ImagePositionPatient", 3, f.path) for f in files])
    order = np.argsort(corners[:, 2], kind="stable")
    files, corners = [files[i] for i in order], corners[order]
    z_spacing = _slice_spacing(files, corners)

    x = corners[0, 0] + min(0.0, signs[0] * column_spacing * (columns - 1))
    y = corners[0, 1] + min(0.0, signs[1] * row_spacing * (rows - 1))
    grid = Grid(
        (len(files), rows, columns),
        (column_spacing, row_spacing, z_spacing),
        (x, y, corners[0, 2]),
    )
    hu = np.empty(grid.shape, np.float32)
    for index, file in enumerate(files):
        check_cancelled(cancel_requested)
        progress("reading CT", index / len(files))
        hu[index] = _hounsfield(file)[:: signs[1], :: signs[0]]
    np.maximum(hu, OUTSIDE_HU, out=hu)
    progress("reading CT", 1.0)
    return CtImage(grid, hu, position, tuple(f.uid for f in files), warnings)


def _patient_position(file: DicomFile) -> tuple[str, tuple[str, ...]]:
    position = str(file.header.get("PatientPosition") or "").strip().upper()
    if not position:
        return "HFS", ("the CT does not say how the patient lies; head first supine is assumed",)
    if position not in POSITIONS:
        raise InputError(
            f"{file.path}: patient position {position} is not supported, only "
            f"{', '.join(POSITIONS)} are"
        )
    return position, ()


def _same_frame(files: tuple[DicomFile, ...]) -> None:
    for file in files:
        if file.frame_uid != files[0].frame_uid:
            raise InputError(
                f"{file.path}: is in another frame of reference than the rest of its series; "
                "export the series again"
            )


def _common_geometry(files: tuple[DicomFile, ...]) -> tuple[int, int]:
    """Axis signs of the series; `InputError` naming the odd slice out."""
    keys = []
    for file in files:
        spacing = numbers(file.header, "PixelSpacing", 2, file.path)
        size = tuple(int(numbers(file.header, k, 1, file.path)[0]) for k in ("Rows", "Columns"))
        if int(file.header.get("NumberOfFrames") or 1) != 1:
            raise InputError(f"{file.path}: several frames in one CT file; export single slices")
        keys.append(
            (size, tuple(round(s, 4) for s in spacing), axis_signs(file.header, file.path))
        )
    (usual, _), *_ = Counter(keys).most_common(1)
    for file, key in zip(files, keys, strict=True):
        if key != usual:
            what = ("size", "pixel spacing", "orientation")
            differs = [w for w, a, b in zip(what, key, usual, strict=True) if a != b]
            raise InputError(
                f"{file.path}: slice of another {' and '.join(differs)} than the rest of its "
                "series; remove it or export the series again"
            )
    return usual[2]


def _slice_spacing(files: list[DicomFile], corners: np.ndarray) -> float:
    """Distance of the slices, sorted along z; `InputError` naming where they are irregular."""
    z = corners[:, 2]
    gaps = np.diff(z)
    usual = float(np.median(gaps))
    for index in np.flatnonzero(gaps < 0.01):
        raise InputError(
            f"{files[index].path} and {files[index + 1].path.name} are slices at one position "
            f"(z = {z[index]:.2f} mm); remove the one that does not belong"
        )
    aside = np.abs(corners[:, :2] - corners[0, :2]).max(axis=1)
    if aside.max() > POSITION_TOLERANCE_MM:
        raise InputError(
            f"{files[int(aside.argmax())].path}: slice shifted sideways by {aside.max():.2f} mm "
            "(tilted gantry?); resample the CT to a regular grid"
        )
    for index in np.flatnonzero(np.abs(gaps - usual) > 2 * POSITION_TOLERANCE_MM):
        ratio = gaps[index] / usual
        between = (
            f"between {files[index].path} (z = {z[index]:.2f} mm) and "
            f"{files[index + 1].path.name} (z = {z[index + 1]:.2f} mm)"
        )
        if ratio > 1.5 and abs(ratio - round(ratio)) * usual <= 2 * POSITION_TOLERANCE_MM:
            raise InputError(
                f"{round(ratio) - 1} CT slice(s) missing {between}; copy the whole series"
            )
        raise InputError(
            f"unequal slice spacing {between}: {gaps[index]:.3g} mm instead of {usual:.3g} mm; "
            "resample the CT to equal spacing"
        )
    spacing = float(z[-1] - z[0]) / len(gaps)
    off = np.abs(z - z[0] - spacing * np.arange(len(z)))
    if off.max() > POSITION_TOLERANCE_MM:
        raise InputError(
            f"{files[int(off.argmax())].path}: unequal slice spacing, {off.max():.2f} mm off a "
            f"regular grid of {spacing:.3f} mm; resample the CT to equal spacing"
        )
    # Positions are decimal texts; nine decimals undo what binary subtraction added.
    return round(spacing, 9)


def _hounsfield(file: DicomFile) -> np.ndarray:
    """Pixel values of one slice in HU, float32 (rows, columns) as stored."""
    slope, intercept = (
        numbers(file.header, k, 1, file.path)[0] for k in ("RescaleSlope", "RescaleIntercept")
    )
    if slope == 0:
        raise InputError(f"{file.path}: RescaleSlope is zero; export it again")
    dataset = file.read()
    stored = decoded_pixels(file, dataset)
    if stored.shape != (file.header.Rows, file.header.Columns):
        raise InputError(f"{file.path}: pixels of shape {stored.shape} are not a CT slice")
    hu = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    padding = dataset.get("PixelPaddingValue")
    if padding is not None:
        limit = dataset.get("PixelPaddingRangeLimit", padding)
        low, high = sorted((int(padding), int(limit)))
        hu[(stored >= low) & (stored <= high)] = OUTSIDE_HU
    return hu
