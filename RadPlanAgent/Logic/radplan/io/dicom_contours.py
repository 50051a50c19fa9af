"""Planar contours to filled voxel fractions and back.

Reading rules (`fill_contours`)

- All contours of one plane are filled together by the even-odd rule: islands add, a contour inside
  another is a hole, and a keyhole contour (outer and inner ring joined by a channel of no width)
  is the ring it means.
- In the plane, a voxel gets the part of its area inside the contours: exact along x, sampled on
  `SUBLINES` lines per voxel along y.
- A plane stands for a slab. Next to a neighbour plane the slab ends half way; at the ends of the
  structure it ends half a contour spacing away, so that a cylinder drawn on n slices is n slices
  long. The contour spacing is that of the CT, unless the structure was regularly drawn on other
  planes (every second slice, or planes of another scan); then it is its own. Where a plane is
  missing within that spacing nothing is filled in, and a warning says so.

Writing rule (`trace_contours`): where a slice has whole pixels only, their borders, so that a mask
stays what it is; else the level line of the filled fraction at which the polygons enclose exactly
the area that the structure fills there, which for smooth outlines is very close to 0.5. (The 0.5
line of a mask would cut every corner and shrink small structures by several per cent.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry import Grid, Occupancy
from .scanlines import covered_fraction, edges_of

#: Lines per voxel along y on which contours are sampled.
SUBLINES = 16
#: Planes closer than this to each other, or to a CT slice, count as the same plane.
PLANE_TOLERANCE_MM = 0.1
#: Largest contour spacing, other than the CT's own, across which slices are filled in.
MAX_CONTOUR_SPACING_MM = 10.0
#: Wanted relative error of the area enclosed by traced contours, and halvings to get there.
AREA_TOLERANCE = 1e-3
LEVEL_HALVINGS = 14


#: A ring of points (n, 2) and the holes in it.
_Outline = tuple[np.ndarray, list[np.ndarray]]


@dataclass(frozen=True)
class Contour:
    """A closed polygon in an axial plane: points (x, y) LPS mm, float64 (n, 2), at z mm."""

    points_mm: np.ndarray
    z_mm: float


@dataclass(frozen=True)
class FilledStructure:
    """What `fill_contours` made of a structure.

    Parameters
    ----------
    occupancy : Occupancy
        Filled fraction of each voxel; empty when the structure lies outside the grid.
    outside_mm : float
        How far the contours reach beyond the grid, 0 when they do not.
    warnings : tuple of str
        What was assumed, without the structure's name.
    """

    occupancy: Occupancy
    outside_mm: float
    warnings: tuple[str, ...] = ()


def plane_slabs(
    planes_mm: np.ndarray, slice_spacing_mm: float
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Lower and upper end of the slab that each contour plane stands for.

    Parameters
    ----------
    planes_mm : ndarray, float64, (n,)
        Heights of the planes, increasing.
    slice_spacing_mm : float
        Distance of the CT slices.

    Returns
    -------
    low, high : ndarray, float64, (n,)
    warnings : tuple of str
    """
    gaps = np.diff(planes_mm)
    spacing, warnings = slice_spacing_mm, ()
    if gaps.size:
        own = float(np.sort(gaps)[(gaps.size - 1) // 2])
        regular = gaps.size > 1 and np.mean(np.abs(gaps - own) <= PLANE_TOLERANCE_MM) >= 0.75
        if own <= slice_spacing_mm + PLANE_TOLERANCE_MM:
            spacing = own
        elif regular and own <= MAX_CONTOUR_SPACING_MM:
            spacing = own
            warnings += (
                f"drawn every {own:.3g} mm on a CT with slices every {slice_spacing_mm:.3g} mm; "
                "the slices between were filled in",
            )
        missing = (gaps > 1.5 * spacing) & (gaps < 2.5 * spacing)
        if missing.any():
            where = ", ".join(f"{z:.1f}" for z in (planes_mm[:-1] + gaps / 2)[missing][:3])
            more = ", …" if missing.sum() > 3 else ""
            warnings += (f"no contour on single slices at z = {where}{more} mm; left empty there",)
    half = np.where(gaps <= 1.5 * spacing, gaps / 2, spacing / 2)
    low = planes_mm - np.concatenate([[spacing / 2], half])
    high = planes_mm + np.concatenate([half, [spacing / 2]])
    return low, high, warnings


def fill_contours(contours: list[Contour], grid: Grid) -> FilledStructure:
    """Filled fraction of every voxel of a structure drawn as contours.

    Parameters
    ----------
    contours : list of Contour
        At least one.
    grid : Grid
        The CT grid.

    Returns
    -------
    FilledStructure
    """
    planes, heights = _planes(contours, grid)
    low, high, warnings = plane_slabs(heights, grid.spacing_mm[2])
    points = np.concatenate([c.points_mm for c in contours])
    (z_low, z_high), (y_low, y_high), (x_low, x_high) = (
        grid.edges_mm(axis)[[0, -1]] for axis in range(3)
    )
    least, most = points.min(axis=0), points.max(axis=0)
    outside = max(
        0.0,
        *(x_low - least[0], most[0] - x_high, y_low - least[1], most[1] - y_high),
        *(z_low - low[0], high[-1] - z_high),
    )

    # Work in the box of columns and rows that the contours touch.
    box = []
    for axis in (0, 1):
        edges = grid.edges_mm(2 - axis)
        size = grid.shape[2 - axis]
        begin = int(np.clip(np.searchsorted(edges, least[axis], "right") - 1, 0, size))
        box.append((begin, int(np.clip(np.searchsorted(edges, most[axis], "left"), begin, size))))
    (column, column_end), (row, row_end) = box
    edges = grid.edges_mm(0)
    # Slabs meet slice borders to rounding only; a sliver below 1e-6 of a slice is not a slice.
    touched = np.flatnonzero((edges[1:] > low[0]) & (edges[:-1] < high[-1]))
    if row == row_end or column == column_end or not touched.size:
        return FilledStructure(_nothing(grid), outside, warnings)
    first = touched[0]
    values = np.zeros((len(touched), row_end - row, column_end - column), np.float32)
    corner = np.array([grid.edges_mm(2)[column], grid.edges_mm(1)[row]])
    for polygons, slab_low, slab_high in zip(planes, low, high, strict=True):
        overlap = np.minimum(edges[1:], slab_high) - np.maximum(edges[:-1], slab_low)
        parts = overlap[touched] / grid.spacing_mm[2]
        if parts.max() < 1e-6:
            continue
        edges_in_pixels = edges_of([(p - corner) / grid.spacing_mm[:2] for p in polygons])
        covered = covered_fraction(edges_in_pixels, values.shape[1:], SUBLINES)
        for index in np.flatnonzero(parts >= 1e-6):
            values[index] += np.float32(parts[index]) * covered
    box_grid = grid.cropped((first, row, column), (touched[-1] + 1, row_end, column_end))
    local = Occupancy.from_array(box_grid, np.clip(values, 0.0, 1.0))
    if local.is_empty:
        return FilledStructure(_nothing(grid), outside, warnings)
    corner_index = tuple(
        int(a + b) for a, b in zip((first, row, column), local.start, strict=True)
    )
    return FilledStructure(Occupancy(grid, corner_index, local.values), outside, warnings)


def _nothing(grid: Grid) -> Occupancy:
    return Occupancy(grid, (0, 0, 0), np.zeros((0, 0, 0), np.float32))


def _planes(contours: list[Contour], grid: Grid) -> tuple[list[list[np.ndarray]], np.ndarray]:
    """Contours grouped by height, from low to high; heights of CT slices where they are that."""
    planes: list[list[np.ndarray]] = []
    heights: list[float] = []
    slices = grid.axes_mm[0]
    for contour in sorted(contours, key=lambda c: c.z_mm):
        nearest = slices[np.abs(slices - contour.z_mm).argmin()]
        on_slice = abs(nearest - contour.z_mm) <= PLANE_TOLERANCE_MM
        z = float(nearest if on_slice else contour.z_mm)
        if heights and z - heights[-1] <= PLANE_TOLERANCE_MM:
            planes[-1].append(contour.points_mm)
        else:
            planes.append([contour.points_mm])
            heights.append(z)
    return planes, np.array(heights)


def trace_contours(occupancy: Occupancy) -> list[Contour]:
    """Contours of a structure, one list for all slices, holes joined by keyholes.

    Slices that the structure's end fills to less than a half are left out, as contours cannot say
    that; everything else keeps its area.

    Parameters
    ----------
    occupancy : Occupancy

    Returns
    -------
    list of Contour
        From inferior to superior. Empty when nothing is filled enough.
    """
    if occupancy.is_empty:
        return []
    box = occupancy.box_grid
    peak = occupancy.values.max(axis=(1, 2))
    # A slice next to an empty one may be an end, filled in part because the structure stops
    # within the slice; inner slices are thin where their peak is low.
    padded = np.concatenate([[0.0], peak, [0.0]])
    lower_end, upper_end = padded[:-2] == 0, padded[2:] == 0
    is_end = lower_end | upper_end
    # Slices filled to exactly one half at both ends are common (planes on every second slice):
    # keep the upper one only, so that the length stays right.
    least = np.where(lower_end, 0.5 + 1e-3, np.where(upper_end, 0.5 - 1e-3, 0.0))
    contours = []
    for index, z in enumerate(box.axes_mm[0]):
        if peak[index] <= 0 or (peak[index] < least[index] and len(peak) > 1):
            continue
        image = occupancy.values[index].astype(np.float64)
        if is_end[index]:
            image /= peak[index]
        for outer, holes in _outlines(image):
            # Points are in pixel indices of the box.
            polygon = _joined_by_keyholes(outer, holes)
            points = polygon * box.spacing_mm[:2] + box.origin_mm[:2]
            contours.append(Contour(points, float(z)))
    return contours


def _outlines(image: np.ndarray) -> list[_Outline]:
    """Outlines that enclose as much area as the image fills, in pixel indices."""
    whole_pixels = np.all((image == 0) | (image == 1))
    found = _pixel_outlines(image) if whole_pixels else _level_outlines(image)
    return [
        (_without_collinear(outer), [_without_collinear(h) for h in holes if _area(h) > 1e-3])
        for outer, holes in found
        if _area(outer) > 1e-3
    ]


def _pixel_outlines(mask: np.ndarray) -> list[_Outline]:
    """Outlines along the borders of the pixels of a 0/1 mask."""
    # Each pixel twice, at both its borders: the level line then runs between two pixels, and
    # rounding puts it on their border.
    rows, columns = (np.arange(n)[:, None] + [-0.49, 0.49] for n in mask.shape)
    twice = mask.repeat(2, axis=0).repeat(2, axis=1)
    x, y = (np.concatenate([[-0.51], v.ravel(), [v[-1, 1] + 0.02]]) for v in (columns, rows))
    outlines = _contour(np.pad(twice, 1), x, y, 0.5)
    return [(_on_borders(outer), [_on_borders(h) for h in holes]) for outer, holes in outlines]


def _on_borders(ring: np.ndarray) -> np.ndarray:
    """The ring with its points moved to the nearest pixel corners, repeated points dropped."""
    moved = np.round(ring - 0.5) + 0.5
    return moved[(moved != np.roll(moved, 1, axis=0)).any(axis=1)]


def _level_outlines(image: np.ndarray) -> list[_Outline]:
    """Level lines of an image with partly filled pixels."""
    padded = np.pad(image, 1)
    rows, columns = (np.arange(-1.0, n + 1.0) for n in image.shape)
    wanted, top = image.sum(), image.max()
    low, high, level = 0.02 * top, 0.98 * top, 0.5 * top
    for _ in range(LEVEL_HALVINGS):
        outlines = _contour(padded, columns, rows, level)
        area = sum(_area(outer) - sum(map(_area, holes)) for outer, holes in outlines)
        if abs(area - wanted) <= AREA_TOLERANCE * wanted:
            break
        low, high = (level, high) if area > wanted else (low, level)
        level = (low + high) / 2
    return outlines


def _contour(image: np.ndarray, x: np.ndarray, y: np.ndarray, level: float) -> list[_Outline]:
    """Outlines of where an image is at least at a level, its border below it."""
    # contourpy is imported where it is needed: reading DICOM does without it.
    from contourpy import FillType, contour_generator

    generator = contour_generator(x, y, image, fill_type=FillType.OuterOffset)
    outlines = []
    for points, offsets in zip(*generator.filled(level, 2.0), strict=True):
        # The first and the last point of a ring are the same.
        rings = [points[a : b - 1] for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
        outlines.append((rings[0], rings[1:]))
    return outlines


def _area(ring: np.ndarray) -> float:
    """Area inside a ring of points, pixels squared."""
    x, y = ring.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _without_collinear(ring: np.ndarray) -> np.ndarray:
    """The ring without points on the straight line between their neighbours."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    keep = np.abs(cross) > 1e-9
    return ring[keep] if keep.sum() >= 3 else ring


def _joined_by_keyholes(outer: np.ndarray, holes: list[np.ndarray]) -> np.ndarray:
    """One ring of an outline and its holes, joined by channels of no width.

    DICOM PS3.3 C.8.8.6.3 asks for this where CLOSED_PLANAR contours have holes. The shortest
    channel is cut first, so that channels do not cross rings.
    """
    ring, left = outer, list(holes)
    while left:
        distances = [
            np.linalg.norm(ring[:, None] - hole[None], axis=2).astype(np.float32) for hole in left
        ]
        nearest = int(np.argmin([d.min() for d in distances]))
        on_ring, on_hole = np.unravel_index(distances[nearest].argmin(), distances[nearest].shape)
        hole = np.roll(left.pop(nearest), -on_hole, axis=0)
        ring = np.concatenate([ring[: on_ring + 1], hole, hole[:1], ring[on_ring:]])
    return ring
