"""Doses and segmentations as NRRD images, the formats that 3D Slicer reads and writes.

Geometry: any axis-aligned orientation, in LPS or RAS space, is brought to LPS with positive
spacing by swapping and flipping axes, never by resampling. Oblique images are refused.

Segmentations: Slicer's ``.seg.nrrd`` (segments with names, label values and layers in the header)
and plain labelmaps, where every label is a structure.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..case import DoseImage, Structure, StructureType
from ..errors import InputError
from ..files import written_by_rename
from ..geometry import Grid, Occupancy
from ..naming import map_name
from ..orientation import to_lps

if TYPE_CHECKING:
    import SimpleITK

#: Written into the header of every dose.
DOSE_HEADER = {
    "DoseUnits": "Gy",
    "DoseSummation": "whole course",
    "Notice": "RESEARCH USE ONLY - not for clinical use",
}
#: What dose headers may call a hundredth of a gray.
_CENTIGRAY = ("cgy", "centigray")


def read_dose(path: str | Path) -> DoseImage:
    """Read a dose image.

    Values are Gy for the whole course, unless the header key ``DoseUnits`` says cGy.

    Raises
    ------
    InputError
        If the file is missing, no image, oblique, has more than one value per voxel, or the dose
        is negative or not a number.
    """
    image, grid, values = _read_image(Path(path))
    if values.ndim != 3:
        raise InputError(f"{path}: has {values.shape[3]} values per voxel; a dose has one")
    dose_gy = values.astype(np.float32)
    units = image.GetMetaData("DoseUnits") if image.HasMetaDataKey("DoseUnits") else "Gy"
    if units.strip().lower() in _CENTIGRAY:
        dose_gy /= 100.0
    elif units.strip().lower() not in ("gy", "gray"):
        raise InputError(f"{path}: dose in {units!r}; convert it to Gy")
    try:
        return DoseImage(grid, dose_gy)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def write_dose(path: str | Path, image: DoseImage) -> None:
    """Write a dose as NRRD (LPS, float32, compressed), Gy for the whole course.

    Raises
    ------
    InputError
        If the name does not end in ``.nrrd``, or ITK cannot write the image.
    """
    import SimpleITK as sitk  # noqa: N813

    path = Path(path)
    if path.suffix != ".nrrd":
        raise InputError(f"{path}: a dose is written as .nrrd")
    itk_image = sitk.GetImageFromArray(np.ascontiguousarray(image.dose_gy, np.float32))
    itk_image.SetSpacing(image.grid.spacing_mm)
    itk_image.SetOrigin(image.grid.origin_mm)
    for key, value in DOSE_HEADER.items():
        itk_image.SetMetaData(key, value)
    # ITK picks the format by the name's ending, which a temporary name lacks.
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "dose.nrrd"
        try:
            sitk.WriteImage(itk_image, str(written), useCompression=True)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise InputError(f"{path}: cannot be written ({reason}); is the disk full?") from None
        with written.open("rb") as source, written_by_rename(path) as target:
            shutil.copyfileobj(source, target)


def read_segmentation(path: str | Path) -> tuple[Structure, ...]:
    """Read the structures of a ``.seg.nrrd`` or a labelmap, on the image's own grid.

    Segments keep the names they have in the file. The labels of a plain labelmap are named after
    the file where there is only one, ``Label_1`` … otherwise. Segments without voxels are kept,
    with an empty occupancy.

    Raises
    ------
    InputError
        If the file is missing, no image, oblique, holds no segments or something else than whole
        numbers, or two segments have one name.
    """
    path = Path(path)
    image, grid, values = _read_image(path)
    if values.dtype.kind == "f" and not np.array_equal(values, np.rint(values)):
        raise InputError(
            f"{path}: values are not whole numbers; a segmentation holds labels (is it a dose?)"
        )
    layers = values[..., None] if values.ndim == 3 else values
    structures = _segments(path, image, grid, layers) or _labels(path, grid, layers)
    if not structures:
        raise InputError(f"{path}: holds no segments")
    return check_names(path, structures)


def structure_type(name: str) -> StructureType:
    """What a structure is, judged by its name; OAR where the name does not tell."""
    return map_name(name).type or StructureType.OAR


def check_names(path: Path, structures: tuple[Structure, ...]) -> tuple[Structure, ...]:
    """Return the structures; `InputError` if two have one name."""
    names = [s.name for s in structures]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise InputError(f"{path}: two structures are named {', '.join(twice)}; rename one")
    return structures


def _read_image(path: Path) -> tuple[SimpleITK.Image, Grid, np.ndarray]:
    """Read an image, bring it to LPS: the image as read, its grid, values (z, y, x[, layer])."""
    import SimpleITK as sitk  # noqa: N813

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"{path}: cannot be read as an image ({reason})") from None
    if image.GetDimension() != 3:
        raise InputError(f"{path}: has {image.GetDimension()} dimensions, expected 3")
    return image, *to_lps(sitk.GetArrayFromImage(image), _index_to_lps(image), path)


def _index_to_lps(image: SimpleITK.Image) -> np.ndarray:
    """From voxel indices to LPS mm, float64 (4, 4)."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return matrix


def _segments(
    path: Path, image: SimpleITK.Image, grid: Grid, layers: np.ndarray
) -> tuple[Structure, ...]:
    """Segments that Slicer's header fields name; none for a plain labelmap."""
    header = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    numbers = sorted(
        int(match[1]) for key in header if (match := re.fullmatch(r"Segment(\d+)_ID", key))
    )
    structures = []
    for number in numbers:
        identifier = header[f"Segment{number}_ID"]
        name = (header.get(f"Segment{number}_Name") or identifier).strip()
        # Older files have neither field: one layer per segment, filled with ones.
        layer = _whole_number(path, header, f"Segment{number}_Layer", number)
        label = _whole_number(path, header, f"Segment{number}_LabelValue", 1)
        if not 0 <= layer < layers.shape[3]:
            raise InputError(f"{path}: segment {name!r} is in layer {layer}, which is not there")
        structures.append(
            Structure(
                name,
                structure_type(name),
                Occupancy.from_array(grid, layers[..., layer] == label),
                name,
                _color(header.get(f"Segment{number}_Color", "")),
            )
        )
    return tuple(structures)


def _labels(path: Path, grid: Grid, layers: np.ndarray) -> tuple[Structure, ...]:
    """Every label above zero of a plain labelmap."""
    if layers.shape[3] != 1:
        raise InputError(f"{path}: has {layers.shape[3]} values per voxel and names no segments")
    labels = [int(label) for label in np.unique(layers) if label > 0]
    stem = path.name.split(".")[0]
    structures = []
    for label in labels:
        name = stem if len(labels) == 1 else f"Label_{label}"
        occupancy = Occupancy.from_array(grid, layers[..., 0] == label)
        structures.append(Structure(name, structure_type(name), occupancy, name))
    return tuple(structures)


def _whole_number(path: Path, header: dict[str, str], key: str, default: int) -> int:
    try:
        return int(header.get(key, default))
    except ValueError:
        raise InputError(f"{path}: {key} is {header[key]!r}, expected a whole number") from None


def _color(text: str) -> tuple[int, int, int] | None:
    """RGB 0 … 255 from three numbers 0 … 1, None if they are not."""
    try:
        parts = [float(part) for part in text.split()]
    except ValueError:
        return None
    if len(parts) != 3 or not all(0 <= part <= 1 for part in parts):
        return None
    return tuple(round(255 * part) for part in parts)
