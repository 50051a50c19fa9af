"""Read CT and structures of a matRad or pyRadPlan ``.mat`` file.

matRad keeps images as (y, x, z) arrays and structures as 1-based indices in MATLAB's column-major
order; ``ct.x``, ``ct.y``, ``ct.z`` are voxel centres in LPS mm. Objectives, plan and dose
influence in the file are not read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..case import Case, Structure, StructureType
from ..errors import InputError
from ..geometry import Grid, Occupancy

#: Names that stand for the patient's outline where the file has no structure of type EXTERNAL;
#: matRad itself lists the outline among the organs.
BODY_NAMES = frozenset({"body", "external", "skin", "contour", "outline", "patient"})


def read_mat(path: str | Path, name: str = "") -> Case:
    """Read a ``.mat`` file with matRad's ``ct`` and ``cst``.

    Parameters
    ----------
    path : path-like
        MATLAB v5/v7, or v7.3 where ``pymatreader`` is installed.
    name : str
        The case's name, by default the file's.

    Raises
    ------
    InputError
        If the file is missing, not MATLAB's, not a plan, has several CT scenarios, no Hounsfield
        units, an uneven grid, or structure indices outside the CT.
    """
    path = Path(path)
    content = _load(path)
    ct, cst = content.get("ct"), content.get("cst")
    if not isinstance(ct, dict) or not isinstance(cst, (np.ndarray, list)):
        raise InputError(
            f"{path}: not a matRad or pyRadPlan plan: it has no 'ct' and 'cst' structures"
        )
    cube_hu = _cube_hu(path, ct)
    grid, flips = _grid(path, ct, cube_hu.shape)
    structures = tuple(_structure(path, row, grid, flips) for row in _rows(path, cst))
    return Case(
        name=name or path.stem,
        grid=grid,
        ct_hu=_to_lps(cube_hu, flips).astype(np.float32),
        structures=_with_external(structures),
        source=str(path),
    )


def _load(path: Path) -> dict[str, Any]:
    """The variables ``ct`` and ``cst`` as nested dictionaries and arrays."""
    # Imported here: scipy.io costs a third of a second that most callers do not need.
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    variables = ["ct", "cst"]
    try:
        return loadmat(path, simplify_cells=True, variable_names=variables)
    except NotImplementedError:
        return _load_hdf5(path, variables)
    except (MatReadError, OSError, ValueError, TypeError, KeyError, EOFError) as error:
        raise InputError(f"{path}: not a readable MATLAB file ({error})") from error


def _load_hdf5(path: Path, variables: list[str]) -> dict[str, Any]:
    """The same from a MATLAB v7.3 (HDF5) file."""
    try:
        from pymatreader import read_mat as read_hdf5_mat
    except ImportError:
        raise InputError(
            f"{path}: MATLAB v7.3 file; install pymatreader and h5py, or save it again with "
            "MATLAB's option -v7"
        ) from None
    try:
        return read_hdf5_mat(path, variable_names=variables)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: not a readable MATLAB v7.3 file ({error})") from error


def _only_scenario(path: Path, what: str, value: Any) -> np.ndarray:
    """Unwrap a cell array of CT scenarios that must hold exactly one."""
    while isinstance(value, list) or (isinstance(value, np.ndarray) and value.dtype == object):
        if len(value) != 1:
            raise InputError(
                f"{path}: {what} has {len(value)} CT scenarios; export one breathing phase"
            )
        value = value[0]
    return np.asarray(value)


def _cube_hu(path: Path, ct: dict[str, Any]) -> np.ndarray:
    """The CT in HU, (y, x, z)."""
    if ct.get("cubeHU") is None:
        has = "only relative densities (ct.cube)" if ct.get("cube") is not None else "no image"
        raise InputError(f"{path}: CT has {has}; Hounsfield units (ct.cubeHU) are needed")
    cube = _only_scenario(path, "ct.cubeHU", ct["cubeHU"])
    if cube.ndim != 3 or not np.issubdtype(cube.dtype, np.number):
        raise InputError(f"{path}: ct.cubeHU must be a 3D image, it has shape {cube.shape}")
    if not np.isfinite(cube).all():
        raise InputError(f"{path}: ct.cubeHU has values that are not numbers (NaN or infinite)")
    return cube


def _grid(
    path: Path, ct: dict[str, Any], shape_yxz: tuple[int, ...]
) -> tuple[Grid, tuple[bool, bool, bool]]:
    """The LPS grid, and along which of (z, y, x) the file's order runs downwards."""
    resolution = ct.get("resolution")
    if not isinstance(resolution, dict) or not {"x", "y", "z"} <= resolution.keys():
        raise InputError(f"{path}: ct.resolution must give x, y and z in mm")
    counts = {"x": shape_yxz[1], "y": shape_yxz[0], "z": shape_yxz[2]}
    spacing, origin, flipped = {}, {}, {}
    for axis, count in counts.items():
        step = float(resolution[axis])
        if not 0 < step < np.inf:
            raise InputError(f"{path}: ct.resolution.{axis} must be positive, it is {step:g} mm")
        centers = ct.get(axis)
        if centers is None:
            # pyRadPlan's convention for files that do not say where the scan is.
            centers = step * (np.arange(count) - count / 2)
        centers = np.atleast_1d(np.asarray(centers, dtype=np.float64))
        flipped[axis] = bool(centers[-1] < centers[0])
        centers = np.sort(centers)
        if centers.shape != (count,) or not np.allclose(np.diff(centers), step, atol=1e-2):
            raise InputError(
                f"{path}: ct.{axis} must be {count} positions {step:g} mm apart "
                "(slices missing or unevenly spaced?)"
            )
        spacing[axis], origin[axis] = step, float(centers[0])
    grid = Grid(
        tuple(counts[a] for a in "zyx"),
        tuple(spacing[a] for a in "xyz"),
        tuple(origin[a] for a in "xyz"),
    )
    return grid, tuple(flipped[a] for a in "zyx")


def _to_lps(array_yxz: np.ndarray, flips: tuple[bool, bool, bool]) -> np.ndarray:
    """A (y, x, z) array in the file's order as (z, y, x) with coordinates that grow."""
    array = array_yxz.transpose(2, 0, 1)
    return np.ascontiguousarray(np.flip(array, [a for a in range(3) if flips[a]]))


def _rows(path: Path, cst: Any) -> list[list[Any]]:
    """Rows of the structure table: number, name, type, indices, settings."""
    if isinstance(cst, np.ndarray):
        # A table of one row loses its first axis when it is read.
        rows = [list(row) for row in np.atleast_2d(cst)]
    else:
        # From a v7.3 file it comes as one list, column after column; the second holds the names.
        count = next((i for i, entry in enumerate(cst) if isinstance(entry, str)), 0)
        rows = [cst[i::count] for i in range(count)]
    if not rows or any(len(row) < 4 or not isinstance(row[1], str) for row in rows):
        raise InputError(f"{path}: 'cst' is not a matRad table of structures")
    return rows


def _structure(
    path: Path, row: list[Any], grid: Grid, flips: tuple[bool, bool, bool]
) -> Structure:
    """One row of the structure table."""
    name = row[1].strip()
    kind = str(row[2]).strip().upper()
    if kind not in StructureType.__members__:
        kind = "HELPER"
    indices = np.atleast_1d(_only_scenario(path, f"structure {name}", row[3])).ravel()
    shape_yxz = (grid.shape[1], grid.shape[2], grid.shape[0])
    if indices.size and not (
        np.issubdtype(indices.dtype, np.number)
        and np.array_equal(indices, np.round(indices))
        and indices.min() >= 1
        and indices.max() <= grid.size
    ):
        raise InputError(
            f"{path}: structure {name} has voxel indices outside its CT (1 … {grid.size})"
        )
    flat = np.zeros(grid.size, bool)
    flat[indices.astype(np.int64) - 1] = True
    mask = _to_lps(flat.reshape(shape_yxz, order="F"), flips)
    return Structure(
        name, StructureType[kind], Occupancy.from_array(grid, mask), name, _color(row)
    )


def _color(row: list[Any]) -> tuple[int, int, int] | None:
    """RGB of a row's settings, which scipy leaves as an object with attributes."""
    settings = row[4] if len(row) > 4 else {}
    settings = settings if isinstance(settings, dict) else vars(settings)
    rgb = np.atleast_1d(settings.get("visibleColor", ()))
    return tuple(round(255 * float(part)) for part in rgb) if rgb.shape == (3,) else None


def _with_external(structures: tuple[Structure, ...]) -> tuple[Structure, ...]:
    """Mark the patient's outline where the file calls it an organ, under its TG-263 name."""
    if any(s.type is StructureType.EXTERNAL for s in structures):
        return structures
    return tuple(
        Structure("External", StructureType.EXTERNAL, s.occupancy, s.source_name, s.color)
        if s.name.lower() in BODY_NAMES
        else s
        for s in structures
    )
