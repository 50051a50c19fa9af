"""Partial volumes of regions given by planar contours or closed surfaces.

Rules, the same for every source:

* Even-odd rule within a plane: a contour inside another is a hole, keyholes work, contours side by
  side are separate pieces.
* Between two contour planes the outline moves from one to the other: the in-plane signed distances
  of both outlines are interpolated (shape-based interpolation, Raya and Udupa 1990), and the level
  is chosen so that the area changes linearly. Pure shape interpolation thins what runs obliquely
  through the planes, such as optic nerves.
* A piece that has no counterpart in the next plane ends in a dome: half a plane spacing high, its
  area falling as that of an ellipsoid, A(1 − t²). The last contour says where the organ was last
  seen; it ends somewhere before the next plane. For a rounded organ (area proportional to the
  distance from its end) this dome, 2/3 of a half-slice slab, has the volume that is missing on
  average. Slabs are larger, an end in the plane itself is smaller; systems differ here.

Contours lie in axial planes, points are LPS mm. The result lives on a grid of its own, aligned
with a reference grid and fine enough for the size of the region.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..errors import InputError
from ..geometry import Grid, Occupancy
from .scanlines import covered_fraction, edges_of

#: A region's bounding box gets at least this many voxels, by refining the reference grid …
BOX_VOXELS = 30_000
#: … but by no more than this factor along each axis.
MAX_REFINEMENT = 8
#: Scan lines per pixel along y; along x the coverage is exact.
SCAN_LINES = 4
#: Pixels of the working plane are at most this large.
PLANE_PIXEL_MM = 0.9
#: Levels at which a region is cut lie at most this far apart.
LEVEL_STEP_MM = 0.7
#: Planes further apart than this many usual spacings are not joined.
MAX_GAP = 2.5
#: Wanted relative error of the area of a section, and steps to get there.
AREA_TOLERANCE = 1e-3
AREA_STEPS = 5
#: Contours may wander this far out of their plane.
PLANE_TOLERANCE_MM = 0.05


@dataclass(frozen=True)
class _Plane:
    """Pixels of an axial plane: lower edges, pixel sizes and counts along x and y, LPS mm."""

    x_edge: float
    y_edge: float
    dx: float
    dy: float
    nx: int
    ny: int


def occupancy_from_contours(
    contours: Sequence[np.ndarray], reference: Grid, name: str = "structure"
) -> Occupancy:
    """Region inside closed axial contours.

    Parameters
    ----------
    contours : sequence of ndarray, float, (n, 3)
        Vertices of each closed contour, LPS mm (x, y, z); the first may be repeated at the end.
    reference : Grid
        Grid to align with; the region may reach beyond it.
    name : str
        For error texts.

    Raises
    ------
    InputError
        If there is no contour with an area, a point is not finite, or a contour is not axial.
    """
    planes = _contour_planes(contours, name)
    levels_mm = np.array(sorted(planes))
    spacing = float(np.median(np.diff(levels_mm))) if levels_mm.size > 1 else None
    spacing = spacing or reference.spacing_mm[2]
    points = np.concatenate([p for group in planes.values() for p in group])
    low, high = points.min(axis=0), points.max(axis=0)
    low[2] -= spacing / 2
    high[2] += spacing / 2
    grid = _grid_for(low, high, reference)
    plane, shrink = _working_plane(grid)
    stack = _ContourStack(
        levels_mm,
        [_coverage(edges_of(planes[z]), plane) for z in levels_mm],
        spacing,
        (plane.dy, plane.dx),
    )
    occupancy = _fill(grid, shrink, min(LEVEL_STEP_MM, spacing / 4), stack.cut)
    if occupancy.is_empty:
        raise InputError(f"structure {name!r}: its contours enclose no area")
    return occupancy


def occupancy_from_surface(
    points_mm: np.ndarray, triangles: np.ndarray, reference: Grid, name: str = "structure"
) -> Occupancy:
    """Region inside a closed triangle surface.

    Parameters
    ----------
    points_mm : ndarray, float, (n, 3)
        Vertices, LPS mm (x, y, z).
    triangles : ndarray, int, (m, 3)
        Vertex indices.
    reference : Grid
        Grid to align with; the region may reach beyond it.

    Raises
    ------
    InputError
        If the surface is empty, not closed, or has a point that is not finite.
    """
    if not len(triangles):
        raise InputError(f"structure {name!r}: the surface has no faces")
    corners = np.asarray(points_mm, np.float64)[np.asarray(triangles)]
    if not np.isfinite(corners).all():
        raise InputError(f"structure {name!r}: the surface has points that are not numbers")
    if _has_open_edges(np.asarray(triangles)):
        raise InputError(
            f"structure {name!r}: the surface is not closed; export it as a closed surface or a "
            "binary labelmap"
        )
    z_low, z_high = corners[:, :, 2].min(axis=1), corners[:, :, 2].max(axis=1)
    grid = _grid_for(corners.min(axis=(0, 1)), corners.max(axis=(0, 1)), reference)
    plane, shrink = _working_plane(grid)

    def cut(z_mm: float) -> np.ndarray | None:
        crossed = corners[(z_low < z_mm) & (z_high >= z_mm)]
        return _coverage(_cut_triangles(crossed, z_mm), plane) if len(crossed) else None

    occupancy = _fill(grid, shrink, LEVEL_STEP_MM, cut)
    if occupancy.is_empty:
        raise InputError(f"structure {name!r}: the surface encloses no volume")
    return occupancy


def _contour_planes(contours: Sequence[np.ndarray], name: str) -> dict[float, list[np.ndarray]]:
    """Contours by the z (mm) of their plane; those of fewer than three points are dropped."""
    kept = []
    for contour in contours:
        points = np.asarray(contour, np.float64)
        if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
            raise InputError(f"structure {name!r}: a contour has points that are not numbers")
        if len(points) >= 3:
            if np.ptp(points[:, 2]) > PLANE_TOLERANCE_MM:
                raise InputError(
                    f"structure {name!r}: a contour is not axial (z runs over "
                    f"{np.ptp(points[:, 2]):.3g} mm); only axial contours are read"
                )
            kept.append(points)
    if not kept:
        raise InputError(f"structure {name!r} has no closed contour")
    kept.sort(key=lambda points: points[:, 2].mean())
    planes: dict[float, list[np.ndarray]] = {}
    level = -np.inf
    for points in kept:
        z_mm = float(points[:, 2].mean())
        if z_mm - level > PLANE_TOLERANCE_MM:
            level = z_mm
        planes.setdefault(level, []).append(points)
    return planes


def _grid_for(low_mm: np.ndarray, high_mm: np.ndarray, reference: Grid) -> Grid:
    """Grid around a box, aligned with the reference and refined for small boxes.

    Each voxel of the reference is divided into the same whole number of voxels along every axis.
    """
    spacing = np.asarray(reference.spacing_mm)
    voxels = np.prod(np.maximum(high_mm - low_mm, spacing) / spacing)
    refinement = int(np.clip(np.ceil((BOX_VOXELS / voxels) ** (1 / 3)), 1, MAX_REFINEMENT))
    corner = np.asarray(reference.origin_mm) - spacing / 2
    first = np.floor((low_mm - corner) / spacing) - 1
    last = np.ceil((high_mm - corner) / spacing) + 1
    fine = spacing / refinement
    shape = ((last - first) * refinement).astype(int)
    return Grid(tuple(shape[::-1]), tuple(fine), tuple(corner + first * spacing + fine / 2))


def _working_plane(grid: Grid) -> tuple[_Plane, int]:
    """Plane of fine pixels, and how many of them make up one voxel along x and y."""
    dx, dy, _ = grid.spacing_mm
    shrink = max(1, int(np.ceil(max(dx, dy) / PLANE_PIXEL_MM)))
    return (
        _Plane(
            grid.edges_mm(2)[0],
            grid.edges_mm(1)[0],
            dx / shrink,
            dy / shrink,
            grid.shape[2] * shrink,
            grid.shape[1] * shrink,
        ),
        shrink,
    )


def _fill(
    grid: Grid, shrink: int, level_step_mm: float, cut: Callable[[float], np.ndarray | None]
) -> Occupancy:
    """Average cross-sections, taken at levels spread evenly in each voxel layer.

    `cut` gives the coverage of every working pixel at a level z (mm), None where there is nothing.
    """
    dz = grid.spacing_mm[2]
    count = max(1, int(np.ceil(dz / level_step_mm - 1e-6)))
    offsets = ((np.arange(count) + 0.5) / count - 0.5) * dz
    _, ny, nx = grid.shape
    values = np.zeros(grid.shape, np.float32)
    for layer, z_mm in zip(values, grid.axes_mm[0], strict=True):
        for offset in offsets:
            section = cut(z_mm + offset)
            if section is not None:
                layer += section.reshape(ny, shrink, nx, shrink).mean(axis=(1, 3))
        layer /= count
    return Occupancy.from_array(grid, np.clip(values, 0.0, 1.0))


def _cut_triangles(corners: np.ndarray, z_mm: float) -> np.ndarray:
    """Edges (x0, y0, x1, y1) in which a plane cuts triangles (m, 3, 3), float64 (m, 4)."""
    above = corners[:, :, 2] >= z_mm
    # Roll each triangle so that the vertex alone on its side comes first.
    lone_above = above.sum(axis=1) == 1
    lone = np.argmax(above == lone_above[:, None], axis=1)
    order = (lone[:, None] + np.arange(3)) % 3
    a, b, c = np.moveaxis(np.take_along_axis(corners, order[:, :, None], axis=1), 1, 0)
    ends = []
    for other in (b, c):
        t = (z_mm - a[:, 2]) / (other[:, 2] - a[:, 2])
        ends.append(a[:, :2] + t[:, None] * (other[:, :2] - a[:, :2]))
    return np.hstack(ends)


def _has_open_edges(triangles: np.ndarray) -> bool:
    edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, uses = np.unique(edges, axis=0, return_counts=True)
    return bool((uses % 2).any())


def _coverage(edges: np.ndarray, plane: _Plane) -> np.ndarray:
    """Fraction of each pixel inside closed outlines (even-odd rule), float64 (y, x)."""
    corner = np.array([plane.x_edge, plane.y_edge] * 2)
    pixel = np.array([plane.dx, plane.dy] * 2)
    return covered_fraction((edges - corner) / pixel, (plane.ny, plane.nx), SCAN_LINES)


class _ContourStack:
    """Cross-sections between and beyond contour planes.

    Parameters
    ----------
    levels_mm : ndarray, float64, (n,)
        Ascending z of the planes.
    coverages : list of ndarray, float64, (y, x)
        Coverage of the working pixels in each plane.
    spacing_mm : float
        Usual distance of planes.
    pixel_mm : tuple of float
        Pixel size (y, x).
    """

    def __init__(
        self,
        levels_mm: np.ndarray,
        coverages: list[np.ndarray],
        spacing_mm: float,
        pixel_mm: tuple[float, float],
    ) -> None:
        self._levels_mm = levels_mm
        self._coverages = coverages
        self._half_mm = spacing_mm / 2
        self._joined = np.diff(levels_mm) <= MAX_GAP * spacing_mm
        self._pixel_mm = pixel_mm
        self._gap: int | None = None
        self._parts: list[Callable[[float], np.ndarray]] = []

    def cut(self, z_mm: float) -> np.ndarray | None:
        """Coverage of the working pixels at a level, None where there is nothing."""
        gap = int(np.searchsorted(self._levels_mm, z_mm, "right"))  # between planes gap-1 and gap
        if gap != self._gap:
            self._gap, self._parts = gap, self._make_parts(gap)
        sections = [part(z_mm) for part in self._parts]
        return np.clip(sum(sections), 0.0, 1.0) if sections else None

    def _make_parts(self, gap: int) -> list[Callable[[float], np.ndarray]]:
        """What fills the gap above plane gap-1 and below plane gap: joined pieces and domes."""
        below = self._coverages[gap - 1] if gap > 0 else None
        above = self._coverages[gap] if gap < len(self._coverages) else None
        parts: list[Callable[[float], np.ndarray]] = []
        if below is not None and above is not None and self._joined[gap - 1]:
            linked_below, linked_above = self._link(below, above)
            below, above = below - linked_below, above - linked_above
            if linked_below.any():
                parts.append(self._bridge(linked_below, linked_above, gap))
        if below is not None and below.any():
            parts.append(self._dome(below, self._levels_mm[gap - 1]))
        if above is not None and above.any():
            parts.append(self._dome(above, self._levels_mm[gap]))
        return parts

    def _link(self, below: np.ndarray, above: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pieces of two planes that continue each other.

        Those that overlap do; of the others, those that come within one plane spacing of each
        other: a thin structure at a flat angle to the planes.
        """
        linked_below, linked_above = _touching(below, above), _touching(above, below)
        lone_below, lone_above = below - linked_below, above - linked_above
        if lone_below.any() and lone_above.any():
            reach = 2 * self._half_mm
            near_below = _touching(lone_below, self._distance(lone_above) <= reach)
            near_above = _touching(lone_above, self._distance(lone_below) <= reach)
            if near_below.any() and near_above.any():
                linked_below, linked_above = linked_below + near_below, linked_above + near_above
        return linked_below, linked_above

    def _bridge(
        self, below: np.ndarray, above: np.ndarray, gap: int
    ) -> Callable[[float], np.ndarray]:
        """Outline that moves from one plane to the next, its area changing linearly."""
        low, high = self._levels_mm[gap - 1], self._levels_mm[gap]
        distance_below, distance_above = self._distance(below), self._distance(above)
        area_below, area_above = below.sum(), above.sum()

        def section(z_mm: float) -> np.ndarray:
            t = (z_mm - low) / (high - low)
            distance = (1 - t) * distance_below + t * distance_above
            return self._inside(distance, (1 - t) * area_below + t * area_above)

        return section

    def _dome(self, coverage: np.ndarray, level_mm: float) -> Callable[[float], np.ndarray]:
        """End of a piece: area A(1 − t²), t = distance from its plane / half a plane spacing."""
        distance = self._distance(coverage)
        area = coverage.sum()

        def section(z_mm: float) -> np.ndarray:
            t = abs(z_mm - level_mm) / self._half_mm
            return self._inside(distance, area * (1 - t**2))

        return section

    def _distance(self, coverage: np.ndarray) -> np.ndarray:
        """Signed in-plane distance to the outline, mm, negative inside, sub-pixel at borders."""
        pixel = float(np.mean(self._pixel_mm))
        mask = coverage >= 0.5
        if not mask.any():  # thinner than a pixel everywhere
            mask = coverage >= 0.5 * coverage.max()
        outside = ndimage.distance_transform_edt(~mask, self._pixel_mm)
        inside = ndimage.distance_transform_edt(mask, self._pixel_mm)
        distance = np.where(mask, pixel / 2 - inside, outside - pixel / 2)
        border = (coverage > 0) & (coverage < 1)
        distance[border] = (0.5 - coverage[border]) * pixel
        return distance

    def _inside(self, distance_mm: np.ndarray, area: float) -> np.ndarray:
        """Coverage of pixels when the outline encloses an area (pixels); borders are straight."""
        if area <= 0:
            return np.zeros_like(distance_mm)
        pixel = float(np.mean(self._pixel_mm))
        below = min(int(area), distance_mm.size - 1)
        level = np.partition(distance_mm, below, axis=None)[below]
        for _ in range(AREA_STEPS):  # Newton steps; the area grows by the band's pixels / pixel
            coverage = np.clip(0.5 - (distance_mm - level) / pixel, 0.0, 1.0)
            missing = area - coverage.sum()
            band = np.count_nonzero((coverage > 0) & (coverage < 1))
            if abs(missing) <= AREA_TOLERANCE * area or not band:
                break
            level += missing * pixel / band
        return coverage


def _touching(coverage: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pieces of a section that overlap another one."""
    labels, count = ndimage.label(coverage > 0, structure=np.ones((3, 3)))
    touching = np.zeros(count + 1, bool)
    touching[np.unique(labels[other > 0])] = True
    touching[0] = False
    return np.where(touching[labels], coverage, 0.0)
