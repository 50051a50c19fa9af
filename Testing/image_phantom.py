"""ImagePhantom: a small water cylinder with a target and organs, for tests that plan.

No patient and no product phantom: coarse enough that pyRadPlan's dose engine and the whole
planning loop take seconds on it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from radplan.beams import make_beams
from radplan.case import Case, Structure, StructureType
from radplan.case_file import save_case
from radplan.geometry import Grid, Occupancy
from radplan.influence import choose_dose_grid, influence_matrix
from radplan.influence.matrix import InfluenceMatrix

#: 5 mm voxels, 200 × 200 × 110 mm, centred on the origin.
GRID = Grid((22, 40, 40), (5.0, 5.0, 5.0), (-97.5, -97.5, -52.5))
#: Command line options that keep planning on it fast.
FAST = ("--beams", "0,72,144,216,288", "--spacing-mm", "5", "--bixel-width-mm", "10")

TARGET, EXTERNAL, OAR = StructureType.TARGET, StructureType.EXTERNAL, StructureType.OAR


def coordinates() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """LPS x, y, z of all voxel centres, mm."""
    z, y, x = np.meshgrid(*GRID.axes_mm, indexing="ij")
    return x, y, z


def ball(center: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    """Mask of a ball, bool (z, y, x)."""
    offsets = zip(coordinates(), center, strict=True)
    return sum((axis - c) ** 2 for axis, c in offsets) <= radius_mm**2


def cylinder(radius_mm: float) -> np.ndarray:
    """Mask of a cylinder along z, bool (z, y, x)."""
    x, y, _ = coordinates()
    return x**2 + y**2 <= radius_mm**2


def structure(name: str, kind: StructureType, mask: np.ndarray) -> Structure:
    """A structure on the phantom's grid."""
    return Structure(name, kind, Occupancy.from_array(GRID, mask), source_name=name)


def image_phantom(*changed: Structure, without: tuple[str, ...] = ()) -> Case:
    """The phantom.

    PTV is a ball of 2.5 cm radius in the middle; Cord touches it from behind, Gland overlaps its
    side, Distant is out of the beams' way in z.

    Parameters
    ----------
    *changed : Structure
        Replace those of the same name, or are added.
    without : tuple of str
        Names that are left out.
    """
    structures = {
        s.name: s
        for s in (
            structure("BODY", EXTERNAL, cylinder(90.0)),
            structure("PTV", TARGET, ball((0.0, 0.0, 0.0), 25.0)),
            structure("Cord", OAR, ball((0.0, 37.0, 0.0), 13.0)),
            structure("Gland", OAR, ball((30.0, 0.0, 0.0), 15.0)),
            structure("Distant", OAR, ball((0.0, 0.0, -45.0), 8.0)),
            *changed,
        )
        if s.name not in without
    }
    hu = np.where(cylinder(90.0), 0.0, -1000.0).astype(np.float32)
    return Case("ImagePhantom", GRID, hu, tuple(structures.values()), source="Testing")


def write_phantom(folder: Path, case: Case | None = None) -> Path:
    """Write a case file that the command line takes as CASE; its path."""
    path = folder / "phantom.npz"
    save_case(path, case or image_phantom())
    return path


def goal(structure_name: str, metric: str, op: str, value: float, unit: str, priority: int = 1):
    """One row of a protocol."""
    return {
        "structure": structure_name,
        "metric": metric,
        "op": op,
        "value": value,
        "unit": unit,
        "priority": priority,
        "source": "made-up protocol of a test",
        "verified": False,
    }


GOALS = (
    goal("PTV", "D95%", ">=", 50.0, "Gy"),
    goal("PTV", "D2%", "<=", 56.0, "Gy", 2),
    goal("Cord", "max", "<=", 45.0, "Gy"),
    goal("Gland", "mean", "<=", 30.0, "Gy", 3),
)


def protocol(goals=GOALS, **changed) -> dict:
    """The phantom's protocol as a JSON document: 50 Gy in 25 fractions to PTV."""
    return {
        "format": 1,
        "name": "image_phantom",
        "title": "Made-up protocol for ImagePhantom",
        "site": "phantom",
        "fractions": 25,
        "prescriptions": [{"target": "PTV", "dose_gy": 50.0, "dose_per_fraction_gy": 2.0}],
        "coverage": "D95%",
        "beams": "coplanar5",
        "source": "made-up protocol of a test",
        "goals": list(goals),
    } | changed


def write_protocol(folder: Path, document: dict | None = None) -> Path:
    """Write a protocol file; its path."""
    path = folder / "protocol.json"
    path.write_text(json.dumps(document or protocol()))
    return path


def phantom_influence(cache: Path, case: Case | None = None) -> InfluenceMatrix:
    """The matrix that planning with `FAST` uses, by pyRadPlan."""
    case = case or image_phantom()
    beams = make_beams(FAST[1], (0.0, 0.0, 0.0), float(FAST[5]))
    grid = choose_dose_grid(case, float(FAST[3]))
    return influence_matrix(case, beams, grid, target_names=("PTV",), cache_dir=cache)
