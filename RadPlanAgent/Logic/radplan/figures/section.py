"""One plane through a patient: CT, isodoses, outlines, orientation, scale.

In the radiological convention: the patient's left is on the right of axial and coronal pictures,
anterior is at the top of axial and on the left of sagittal ones, superior at the top of the other
two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from ..case import Case, DoseImage, Structure, StructureType
from ..colors import Rgb
from ..errors import InputError
from ..geometry import Grid, Triple

#: A line style of matplotlib's: a name, or an offset and lengths of strokes and gaps.
LineStyle = str | tuple[float, tuple[float, ...]]
#: Soft-tissue window of the CT, Hounsfield units (level 40, width 400).
CT_WINDOW_HU = (-160.0, 240.0)
#: Colour of an isodose by % of the prescription, cold to hot; between them the next lower holds.
_ISODOSE_COLORS = (
    (0.0, "#364fc7"),
    (30.0, "#3b7ddd"),
    (50.0, "#22b8cf"),
    (55.0, "#40c057"),
    (84.0, "#a9e34b"),
    (95.0, "#fcc419"),
    (100.0, "#ff7a1a"),
    (107.0, "#e03131"),
    (110.0, "#d6149c"),
)


@dataclass(frozen=True)
class View:
    """One slice direction: array axes (0 z, 1 y, 2 x) and the letters at the picture's edges."""

    name: str
    normal: int
    across: int
    up: int
    up_is_positive: bool
    left: str
    right: str
    top: str
    bottom: str


AXIAL = View("Axial", 0, 2, 1, False, "R", "L", "A", "P")
CORONAL = View("Coronal", 1, 2, 0, True, "R", "L", "S", "I")
SAGITTAL = View("Sagittal", 2, 1, 0, True, "A", "P", "S", "I")
AXIS_LETTER = "zyx"


def voxel_at(grid: Grid, point_mm: Triple) -> tuple[int, int, int]:
    """Index (z, y, x) of the voxel that holds a point."""
    index = tuple(int(np.floor(i + 0.5)) for i in grid.index_of(point_mm))
    if not all(0 <= i < n for i, n in zip(index, grid.shape, strict=True)):
        where = ", ".join(f"{p:.1f}" for p in point_mm)
        raise InputError(f"the point ({where}) mm lies outside the CT; choose one inside it")
    return index


def _plane(array: np.ndarray, view: View, index: int) -> np.ndarray:
    """One slice of a (z, y, x) array with the picture's vertical axis first."""
    return np.take(array, index, axis=view.normal)  # the axes left are already (up, across)


def draw_ct(
    axes: Axes,
    case: Case,
    view: View,
    index: int,
    box: list[tuple[float, float]],
    grey_levels: int = 256,
) -> None:
    """Draw a CT slice; `box` are the limits of the picture along (z, y, x), LPS mm.

    Fewer grey levels make smaller files: most of a picture's bytes are noise of the CT.
    """
    across, up = (case.grid.edges_mm(k) for k in (view.across, view.up))
    axes.imshow(
        _plane(case.ct_hu, view, index),
        cmap=colormaps["gray"].resampled(grey_levels),
        vmin=CT_WINDOW_HU[0],
        vmax=CT_WINDOW_HU[1],
        extent=(across[0], across[-1], up[0], up[-1]),
        origin="lower",
        interpolation="bilinear",
        aspect="equal",
    )
    low, high = box[view.up]
    axes.set(
        xlim=box[view.across],
        ylim=(low, high) if view.up_is_positive else (high, low),
        xticks=[],
        yticks=[],
        facecolor="black",
        autoscale_on=False,
    )
    for spine in axes.spines.values():
        spine.set_visible(False)


def dose_plane(dose: DoseImage, view: View, position_mm: float) -> np.ndarray | None:
    """Dose on a slice, Gy, linear between dose planes; None where the dose grid does not reach."""
    low, high = dose.grid.edges_mm(view.normal)[[0, -1]]
    if not low <= position_mm <= high:
        return None
    count = dose.grid.shape[view.normal]
    centres = dose.grid.axes_mm[view.normal]
    spacing = dose.grid.spacing_mm[2 - view.normal]
    place = float(np.clip((position_mm - centres[0]) / spacing, 0, count - 1))
    below = min(int(place), max(count - 2, 0))
    above = min(below + 1, count - 1)
    part = place - below
    return (1 - part) * _plane(dose.dose_gy, view, below) + part * _plane(
        dose.dose_gy, view, above
    )


def draw_isodoses(
    axes: Axes,
    grid: Grid,
    view: View,
    plane_gy: np.ndarray,
    isodoses_gy: dict[float, float],
    alpha: float = 0.33,
) -> None:
    """Draw bands and lines; `isodoses_gy` holds the dose of every percentage, ascending."""
    reached = {p: d for p, d in isodoses_gy.items() if d < plane_gy.max()}
    if min(plane_gy.shape) < 2 or not reached:
        return
    doses = list(reached.values())
    colors = [isodose_color(p) for p in reached]
    across, up = grid.axes_mm[view.across], grid.axes_mm[view.up]
    axes.contourf(across, up, plane_gy, [*doses, np.inf], colors=colors, alpha=alpha)
    axes.contour(across, up, plane_gy, doses, colors=colors, linewidths=0.9)


def isodose_color(percent: float) -> str:
    """Colour of the band that starts at a percentage, or of the next lower one."""
    return [color for start, color in _ISODOSE_COLORS if start <= percent][-1]


def structure_plane(structure: Structure, view: View, position_mm: float) -> np.ndarray | None:
    """Occupancy of a structure's box on a slice with a ring of empty voxels around it.

    The ring closes outlines that touch the box. None where no voxel is more than half filled.
    """
    occupancy = structure.occupancy
    if occupancy.is_empty:
        return None
    box = occupancy.box_grid
    index = int(np.searchsorted(box.edges_mm(view.normal), position_mm, "right")) - 1
    if not 0 <= index < box.shape[view.normal]:
        return None
    plane = np.pad(_plane(occupancy.values, view, index), 1)
    return plane if plane.max() > 0.5 else None


def draw_outline(
    axes: Axes,
    structure: Structure,
    view: View,
    position_mm: float,
    *,
    color: Rgb | str,
    halo: str = "black",
    target_line: LineStyle = "solid",
) -> np.ndarray | None:
    """Outline a structure: the body solid, organs dashed, all but the body haloed.

    Returns
    -------
    ndarray of float64, (n, 2), or None
        Points of the outline (across, up), mm; None where the structure is not on this slice.
    """
    plane = structure_plane(structure, view, position_mm)
    if plane is None:
        return None
    box = structure.occupancy.box_grid
    across, up = (
        _with_ring(box.axes_mm[k], box.spacing_mm[2 - k]) for k in (view.across, view.up)
    )
    target = structure.type is StructureType.TARGET
    external = structure.type is StructureType.EXTERNAL
    lines = axes.contour(
        across,
        up,
        plane,
        [0.5],
        colors=[color],
        linewidths=1.0 if external else 1.7,
        linestyles=[target_line if target else "solid" if external else "dashed"],
    )
    if not external:
        lines.set_path_effects([withStroke(linewidth=2.9, foreground=halo, alpha=0.75)])
    return np.concatenate([path.vertices for path in lines.get_paths()])


def _with_ring(centres: np.ndarray, spacing: float) -> np.ndarray:
    return np.concatenate(([centres[0] - spacing], centres, [centres[-1] + spacing]))


def draw_orientation(axes: Axes, view: View) -> None:
    """Write the letters of the patient's sides at the picture's edges."""
    # Beside the cut marks, which may sit in the middle of an edge.
    for letter, x, y, horizontal, vertical in (
        (view.left, 0.012, 0.52, "left", "bottom"),
        (view.right, 0.988, 0.52, "right", "bottom"),
        (view.top, 0.52, 0.985, "left", "top"),
        (view.bottom, 0.52, 0.015, "left", "bottom"),
    ):
        axes.text(
            x,
            y,
            letter,
            transform=axes.transAxes,
            ha=horizontal,
            va=vertical,
            color="white",
            fontsize=11,
            fontweight="bold",
            path_effects=[withStroke(linewidth=2.2, foreground="black")],
        )


def draw_scale_bar(axes: Axes, length_mm: float = 50.0) -> None:
    """Draw a bar of known length in the lower left corner."""
    low, high = axes.get_xlim()
    bottom, top = axes.get_ylim()
    x = low + 0.03 * (high - low)
    y = bottom + 0.035 * (top - bottom)
    halo = [withStroke(linewidth=3.4, foreground="black")]
    axes.plot([x, x + length_mm], [y, y], color="white", linewidth=2, path_effects=halo)
    axes.text(
        x + length_mm / 2,
        y + 0.015 * (top - bottom),
        f"{length_mm / 10:.0f} cm",
        color="white",
        ha="center",
        va="bottom",
        fontsize=8,
        path_effects=[withStroke(linewidth=2, foreground="black")],
    )
