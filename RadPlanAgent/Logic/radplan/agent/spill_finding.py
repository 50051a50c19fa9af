"""Finds what isodoses cover beyond the targets that they are meant for."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..geometry import Grid
from .borders import Border, half_filled, points_mm
from .directions import components_beyond, direction_shares, direction_words
from .dose_scene import SMALLEST_CC, DoseScene, Region, box_of, regions_of, skin_mm, slices, union
from .spill import PLAIN_MM, Island, Neighbour, Spill
from .spots import Share

#: Of more voxels than this, directions are taken of some, evenly spread.
_MOST_POINTS = 20_000


def spill_of(
    scene: DoseScene, in_body: np.ndarray, percent: float, prescribed_gy: float, least_gy: float
) -> Spill:
    """Spill of an isodose beyond the targets whose prescription is at least `least_gy`."""
    level_gy = percent / 100 * prescribed_gy
    targets = tuple(n for n, gy in scene.prescription_gy.items() if gy >= least_gy)
    in_targets = union(scene.regions, targets, scene.grid)
    covered = np.zeros(scene.grid.shape, bool)
    connected = np.zeros(scene.grid.shape, bool)
    apart = []
    for region in regions_of(in_body >= level_gy, scene.grid):
        box = slices(region.start, region.stop)
        covered[box] |= region.mask
        if region.of(in_targets).any():
            connected[box] |= region.mask
        else:
            apart.append(region)
    voxel_cc = scene.grid.voxel_volume_cc
    volume_cc = np.count_nonzero(covered) * voxel_cc
    target_cc = float(in_targets.sum(dtype=np.float64)) * voxel_cc
    shared_cc = float(in_targets[covered].sum(dtype=np.float64)) * voxel_cc
    outside = covered & (in_targets < 0.5)
    reach_mm, reach_direction, reach_point, organ, organ_mm = 0.0, (), None, "", 0.0
    by_direction: tuple[tuple[str, float], ...] = ()
    islands: tuple[Island, ...] = ()
    directions: tuple[str, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    indices = np.argwhere(outside)
    if len(indices):
        border = Border(in_targets >= 0.5, scene.grid)
        points = _edge_mm(covered, outside, scene.grid)
        distance, nearest = border.nearest(points)
        directions = components_beyond(points - nearest, PLAIN_MM)
        # Islands are told as such: they do not reach out from the targets.
        if apart and (connected & outside).any():
            points = _edge_mm(connected, connected & outside, scene.grid)
            distance, nearest = border.nearest(points)
        furthest = int(distance.argmax())
        reach_mm = float(distance[furthest])
        reach_direction = direction_words(points[furthest] - nearest[furthest])
        reach_point = tuple(map(float, points[furthest]))
        organ, organ_mm = _nearest_organ(scene, points[furthest])
        some_indices = indices[:: 1 + len(indices) // _MOST_POINTS]
        some = points_mm(some_indices, scene.grid)
        offsets = some - border.nearest(some)[1]
        neighbours = _neighbours(scene, outside, targets, in_targets, some_indices, offsets)
        islands = tuple(island_of(scene, region, in_body, border) for region in apart)
        shares = direction_shares(offsets)
        by_direction = tuple(
            (word, 100 * share)
            for word, share in sorted(shares.items(), key=lambda item: -item[1])
            if share > 0
        )
    return Spill(
        percent,
        prescribed_gy,
        level_gy,
        targets,
        volume_cc,
        volume_cc - shared_cc,
        volume_cc / target_cc,
        shared_cc**2 / (target_cc * volume_cc) if volume_cc else 0.0,
        reach_mm,
        reach_direction,
        reach_point,
        organ,
        organ_mm,
        by_direction,
        _covered(scene, outside, targets),
        islands,
        directions,
        neighbours,
    )


def _edge_mm(isodose: np.ndarray, outside: np.ndarray, grid: Grid) -> np.ndarray:
    """Points (n, 3) of an isodose's border outside the targets, LPS."""
    edge = isodose & ~ndimage.binary_erosion(isodose) & outside
    # Without one, all that is outside lies in a hole of the targets.
    return points_mm(np.argwhere(edge if edge.any() else outside), grid)


def island_of(scene: DoseScene, region: Region, in_body: np.ndarray, targets: Border) -> Island:
    """A region that touches none of the targets, seen from these."""
    center = region.center_mm
    return Island(
        region.volume_cc,
        float(region.of(in_body).max()),
        tuple(map(float, center)),
        targets.gap_mm(region.border),
        direction_words(center - targets.nearest(center)[1]),
        skin_mm(scene, region),
    )


def _nearest_organ(scene: DoseScene, point: np.ndarray) -> tuple[str, float]:
    """The organ that holds a point (distance 0), else the nearest one; empty if there is none."""
    index = tuple(int(np.floor(i + 0.5)) for i in scene.grid.index_of(tuple(point)))
    distances = {
        name: 0.0 if scene.holds(name, index) else float(scene.borders[name].nearest(point)[0])
        for name in scene.organs
    }
    nearest = min(distances, key=distances.get, default="")
    return nearest, distances.get(nearest, 0.0)


def _neighbours(
    scene: DoseScene,
    outside: np.ndarray,
    meant: tuple[str, ...],
    in_targets: np.ndarray,
    some: np.ndarray,
    offsets_mm: np.ndarray,
) -> tuple[Neighbour, ...]:
    """How near an isodose comes to all that is not meant, and where that lies.

    `some` are voxels (n, 3; z, y, x) of what is outside, `offsets_mm` theirs from the targets.
    """
    spill = Border(outside, scene.grid)
    middle = points_mm(np.argwhere(in_targets >= 0.5), scene.grid).mean(axis=0)
    found = []
    for name in (*scene.organs, *(t for t in scene.targets if t not in meant)):
        of = scene.regions[name]
        mask = half_filled(of)
        overlaps = bool((mask & outside[box_of(of)]).any())
        local = some - of.start
        in_box = ((local >= 0) & (local < mask.shape)).all(axis=1)
        within = offsets_mm[in_box][mask[tuple(local[in_box].T)]]
        ways = (
            *components_beyond(np.subtract(of.centroid_mm, middle), PLAIN_MM),
            *components_beyond(within, PLAIN_MM),
        )
        gap = 0.0 if overlaps else spill.gap_mm(scene.borders[name])
        found.append(Neighbour(name, gap, tuple(dict.fromkeys(ways))))
    return tuple(sorted(found, key=lambda neighbour: neighbour.gap_mm))


def _covered(scene: DoseScene, outside: np.ndarray, meant: tuple[str, ...]) -> tuple[Share, ...]:
    """What a mask covers of organs and of targets that are not meant, by %, the largest first."""
    shares = []
    for name in (*scene.organs, *(t for t in scene.targets if t not in meant)):
        of = scene.regions[name]
        filled = of.values[outside[box_of(of)]].sum(dtype=np.float64)
        volume_cc = float(filled) * scene.grid.voxel_volume_cc
        if volume_cc >= SMALLEST_CC:
            shares.append(Share(name, volume_cc, 100 * volume_cc / of.volume_cc))
    return tuple(sorted(shares, key=lambda share: -share.percent))
