"""What the worker wrote about a step, read for display."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..case import DoseImage
from ..geometry import Grid

#: Doses in Gy, and for every structure the volume in per cent that receives at least each dose.
Curves = tuple[np.ndarray, dict[str, np.ndarray]]


def read_scorecard(path: Path) -> dict:
    """A ``scorecard.json``."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_objectives(path: Path) -> list[dict]:
    """An ``objectives.json``."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_dvh(path: Path) -> Curves:
    """A ``dvh.csv``."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    table = np.array(rows, dtype=float)
    return table[:, 0], {name: table[:, i] for i, name in enumerate(header) if i}


def read_dose_grid(session_file: Path) -> Grid:
    """The dose grid of a session, from its ``session.json``."""
    values = json.loads(session_file.read_text(encoding="utf-8"))["dose_grid"]
    return Grid(**{name: tuple(value) for name, value in values.items()})


def read_dose(path: Path, grid: Grid) -> DoseImage:
    """A dose that the worker wrote, float32 (z, y, x) on the dose grid."""
    return DoseImage(grid, np.load(path, allow_pickle=False).reshape(grid.shape))


def prescription_gy(scorecard: Mapping) -> float:
    """The highest prescribed dose of a scorecard's plan, Gy."""
    return max(row["dose_gy"] for row in scorecard["prescription"])
