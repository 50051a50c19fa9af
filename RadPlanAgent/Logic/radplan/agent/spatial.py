"""Where the dose is, computed: what claims about dose pictures are held against.

Everything is counted in voxels of the dose grid: structures there fill parts of voxels, regions of
dose are whole voxels. Volumes therefore agree with the DVH to about a voxel's layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..case import Case, DoseImage, StructureType
from ..errors import InputError
from ..geometry import Grid, Occupancy, Triple, distance_mm
from ..protocol import Protocol
from .borders import Border, half_filled, points_mm
from .directions import components_beyond, direction_shares, direction_words
from .spots import (
    PLAIN_MM,
    ColdSpot,
    HotSpot,
    Island,
    Neighbour,
    Share,
    SpatialFacts,
    Spill,
)

#: Hot spots are above these, % of the highest prescription; cold ones below this, % of their own.
HOT_PERCENT = (107.0, 110.0)
COLD_PERCENT = 95.0
#: A lower target is hot above this share of its own prescription, %, so far from higher targets.
LOWER_HOT_PERCENT = 107.0
LOWER_HOT_MM = 5.0
#: Isodoses whose spill is told: of every prescription, and of the highest.
CONFORMITY_PERCENT = 95.0
FALLOFF_PERCENT = 50.0
#: Smaller islands are left out.
SMALLEST_CC = 0.03
#: A part of a region smaller than this is not said to be in a structure, %.
_LEAST_SHARE_PERCENT = 1.0
#: Depths up to this are told.
_DEEPEST_SKIN_MM = 10.0
#: Of more voxels than this, directions are taken of some, evenly spread.
_MOST_POINTS = 20_000
#: Voxels that touch by a corner are connected.
_NEIGHBOURS = np.ones((3, 3, 3), bool)


def spatial_facts(
    case: Case,
    dose: DoseImage,
    protocol: Protocol,
    occupancies: Mapping[str, Occupancy] | None = None,
) -> SpatialFacts:
    """Hot spots, cold spots and spill of a dose.

    Parameters
    ----------
    case : Case
    dose : DoseImage
    protocol : Protocol
        In the case's names.
    occupancies : mapping of name to Occupancy, optional
        Structures on the dose grid, where they are known already.

    Raises
    ------
    InputError
        If no target with a prescription lies on the dose grid.
    """
    scene = _Scene.of(case, dose, protocol, occupancies or {})
    highest = max(scene.prescription_gy, key=scene.prescription_gy.get)
    highest_gy = scene.prescription_gy[highest]
    in_body = np.where(scene.inside_body, scene.dose_gy, 0.0)
    hottest = np.unravel_index(int(in_body.argmax()), in_body.shape)
    spills = [
        _spill(scene, in_body, CONFORMITY_PERCENT, level_gy, level_gy)
        for level_gy in sorted(set(scene.prescription_gy.values()), reverse=True)
    ]
    spills.append(_spill(scene, in_body, FALLOFF_PERCENT, highest_gy, 0.0))
    return SpatialFacts(
        highest,
        highest_gy,
        float(in_body[hottest]),
        _point(hottest, scene.grid),
        tuple(n for n in (*scene.targets, *scene.organs) if scene.holds(n, hottest)),
        HOT_PERCENT,
        COLD_PERCENT,
        tuple(s for percent in HOT_PERCENT for s in _hot_spots(scene, in_body, percent, highest)),
        tuple(
            sorted(
                (spot for target in scene.targets for spot in _cold_spots(scene, target)),
                key=lambda spot: -spot.volume_cc,
            )
        ),
        tuple(spills),
        tuple(
            (target, tuple(_lower_hot_spots(scene, target)))
            for target, prescribed_gy in scene.prescription_gy.items()
            if prescribed_gy < highest_gy
        ),
        _maximum_place(scene, in_body, hottest),
    )


@dataclass(frozen=True)
class _Scene:
    """Dose and structures on the dose grid, with what is needed again and again.

    `targets` have a prescription, `organs` are all organs at risk; both are on the grid and not
    empty. `in_target` is the largest part of each voxel that one of the targets fills.
    """

    grid: Grid
    dose_gy: np.ndarray
    regions: dict[str, Occupancy]
    prescription_gy: dict[str, float]
    organs: tuple[str, ...]
    borders: dict[str, Border]
    in_target: np.ndarray
    inside_body: np.ndarray

    @classmethod
    def of(
        cls, case: Case, dose: DoseImage, protocol: Protocol, known: Mapping[str, Occupancy]
    ) -> _Scene:
        wanted = {s.name: s for s in case.structures}
        regions = {
            name: known[name] if name in known else s.occupancy.onto(dose.grid)
            for name, s in wanted.items()
            if name in protocol.prescription_gy
            or s.type in (StructureType.OAR, StructureType.EXTERNAL)
        }
        regions = {name: region for name, region in regions.items() if not region.is_empty}
        prescription_gy = {n: gy for n, gy in protocol.prescription_gy.items() if n in regions}
        if not prescription_gy:
            raise InputError(
                f"case {case.name}: none of the targets {', '.join(protocol.prescription_gy)} "
                "lies on the dose grid; is the dose of this patient?"
            )
        organs = tuple(
            s.name
            for s in case.of_type(StructureType.OAR)
            if s.name in regions and s.name not in prescription_gy
        )
        in_target = _union(regions, prescription_gy, dose.grid)
        body = regions.get(case.external.name)
        inside_body = in_target >= 0.5
        if body is not None:
            inside_body[_box(body)] |= half_filled(body)
        borders = {n: Border.of(regions[n]) for n in (*prescription_gy, *organs)}
        return cls(
            dose.grid, dose.dose_gy, regions, prescription_gy, organs, borders, in_target,
            inside_body,
        )  # fmt: skip

    @property
    def targets(self) -> tuple[str, ...]:
        """Targets with a prescription."""
        return tuple(self.prescription_gy)

    def holds(self, name: str, index: tuple[int, ...]) -> bool:
        """Whether a structure fills at least half of a voxel."""
        region = self.regions[name]
        local = tuple(i - a for i, a in zip(index, region.start, strict=True))
        if not all(0 <= i < n for i, n in zip(local, region.values.shape, strict=True)):
            return False
        return bool(region.values[local] >= 0.5)

    def within(self, name: str, region: _Region) -> float:
        """Volume that a region shares with a structure, cc."""
        of = self.regions[name]
        start = np.maximum(of.start, region.start)
        stop = np.minimum(of.stop, region.stop)
        if (stop <= start).any():
            return 0.0
        theirs = of.values[_slices(start - of.start, stop - of.start)]
        mine = region.mask[_slices(start - region.start, stop - region.start)]
        return float(theirs[mine].sum(dtype=np.float64)) * self.grid.voxel_volume_cc

    def nearest(self, names: Iterable[str], region: _Region) -> tuple[str, float]:
        """The structure that holds most of a region, else the nearest, and the gap, mm."""
        names = tuple(names)
        shared = {name: self.within(name, region) for name in names}
        most = max(names, key=shared.get, default="")
        if not most or shared[most] > 0:
            return most, 0.0
        gaps = {name: self.borders[name].gap_mm(region.border) for name in names}
        nearest = min(names, key=gaps.get)
        return nearest, gaps[nearest]


@dataclass(frozen=True)
class _Region:
    """A connected set of voxels: its box on the grid, and which voxels of the box it is."""

    grid: Grid
    start: tuple[int, int, int]
    mask: np.ndarray

    @property
    def stop(self) -> tuple[int, int, int]:
        return tuple(a + n for a, n in zip(self.start, self.mask.shape, strict=True))

    @property
    def volume_cc(self) -> float:
        return np.count_nonzero(self.mask) * self.grid.voxel_volume_cc

    @property
    def border(self) -> Border:
        return Border(self.mask, self.grid.cropped(self.start, self.stop))

    @property
    def center_mm(self) -> np.ndarray:
        return points_mm(np.argwhere(self.mask) + self.start, self.grid).mean(axis=0)

    def of(self, array: np.ndarray) -> np.ndarray:
        """Values of an array of the whole grid in the region's voxels, in C order."""
        return array[_slices(self.start, self.stop)][self.mask]

    def point_mm(self, number: int) -> Triple:
        """The voxel of that number in C order, LPS."""
        index = np.argwhere(self.mask)[number] + self.start
        return _point(index, self.grid)


def _lower_hot_spots(scene: _Scene, target: str) -> list[HotSpot]:
    """What of a lower target is hot by its own prescription, not near higher ones."""
    prescribed_gy = scene.prescription_gy[target]
    higher = tuple(n for n, gy in scene.prescription_gy.items() if gy > prescribed_gy)
    away = distance_mm(_union(scene.regions, higher, scene.grid) >= 0.5, scene.grid)
    box = _box(scene.regions[target])
    own = np.zeros_like(scene.dose_gy)
    held = half_filled(scene.regions[target]) & (away[box] >= LOWER_HOT_MM)
    own[box] = np.where(held, scene.dose_gy[box], 0)
    return _hot_spots(scene, own, LOWER_HOT_PERCENT, target)


def _hot_spots(scene: _Scene, dose_gy: np.ndarray, percent: float, target: str) -> list[HotSpot]:
    """Regions of a dose above a share of a target's prescription, the largest first."""
    prescribed_gy = scene.prescription_gy[target]
    level_gy = percent / 100 * prescribed_gy
    spots = []
    for region in _regions(dose_gy > level_gy, scene.grid):
        doses = region.of(scene.dose_gy)
        peak = int(doses.argmax())
        center = region.center_mm
        place, gap = scene.nearest(scene.targets, region)
        organ, organ_gap = scene.nearest(scene.organs, region)
        in_targets = 100 * float(region.of(scene.in_target).mean())
        offset = center - scene.regions[place].centroid_mm
        if in_targets >= 50:
            direction = direction_words(offset)
        else:
            direction = direction_words(center - scene.borders[place].nearest(center)[1])
        spots.append(
            HotSpot(
                percent,
                prescribed_gy,
                level_gy,
                region.volume_cc,
                float(doses[peak]),
                100 * float(doses[peak]) / prescribed_gy,
                tuple(map(float, center)),
                region.point_mm(peak),
                _inside(scene, region),
                in_targets,
                place,
                gap,
                direction,
                tuple(map(float, offset)),
                organ,
                organ_gap,
            )
        )
    return spots


def _inside(scene: _Scene, region: _Region) -> tuple[Share, ...]:
    """What a region covers of targets and organs, the largest parts of the region first."""
    shares = []
    for name in (*scene.targets, *scene.organs):
        volume_cc = scene.within(name, region)
        if 100 * volume_cc / region.volume_cc >= _LEAST_SHARE_PERCENT:
            shares.append(Share(name, volume_cc, 100 * volume_cc / scene.regions[name].volume_cc))
    return tuple(sorted(shares, key=lambda share: -share.volume_cc))


def _cold_spots(scene: _Scene, target: str) -> list[ColdSpot]:
    prescribed_gy = scene.prescription_gy[target]
    level_gy = COLD_PERCENT / 100 * prescribed_gy
    of = scene.regions[target]
    cold = half_filled(of) & (scene.dose_gy[_box(of)] < level_gy)
    spots = []
    for region in _regions(cold, scene.grid, of.start):
        doses = region.of(scene.dose_gy)
        lowest = int(doses.argmin())
        center = region.center_mm
        offset = center - of.centroid_mm
        organ, organ_gap = scene.nearest(scene.organs, region)
        volume_cc = scene.within(target, region)
        spots.append(
            ColdSpot(
                target,
                COLD_PERCENT,
                level_gy,
                volume_cc,
                100 * volume_cc / of.volume_cc,
                float(doses[lowest]),
                100 * float(doses[lowest]) / prescribed_gy,
                tuple(map(float, center)),
                region.point_mm(lowest),
                direction_words(offset),
                tuple(map(float, offset)),
                organ,
                organ_gap,
                _skin_mm(scene, region),
            )
        )
    return spots


def _skin_mm(scene: _Scene, region: _Region) -> float | None:
    """Distance of a region from what is not body, mm; None beyond `_DEEPEST_SKIN_MM`."""
    spacing = np.asarray(scene.grid.spacing_mm[::-1])
    margin = np.ceil(_DEEPEST_SKIN_MM / spacing).astype(int) + 1
    start = np.maximum(np.subtract(region.start, margin), 0)
    stop = np.minimum(np.add(region.stop, margin), scene.grid.shape)
    body = scene.inside_body[_slices(start, stop)]
    if body.all():
        return None
    depth = ndimage.distance_transform_edt(body, sampling=spacing)
    own = depth[_slices(region.start - start, region.stop - start)][region.mask]
    least = max(0.0, float(own.min()) - spacing.min())
    return least if least <= _DEEPEST_SKIN_MM else None


def _spill(
    scene: _Scene, in_body: np.ndarray, percent: float, prescribed_gy: float, least_gy: float
) -> Spill:
    """Spill of an isodose beyond the targets whose prescription is at least `least_gy`."""
    level_gy = percent / 100 * prescribed_gy
    targets = tuple(n for n, gy in scene.prescription_gy.items() if gy >= least_gy)
    in_targets = _union(scene.regions, targets, scene.grid)
    covered = np.zeros(scene.grid.shape, bool)
    connected = np.zeros(scene.grid.shape, bool)
    apart = []
    for region in _regions(in_body >= level_gy, scene.grid):
        box = _slices(region.start, region.stop)
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
        islands = tuple(_island(scene, region, in_body, border) for region in apart)
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


def _island(scene: _Scene, region: _Region, in_body: np.ndarray, targets: Border) -> Island:
    center = region.center_mm
    return Island(
        region.volume_cc,
        float(region.of(in_body).max()),
        tuple(map(float, center)),
        targets.gap_mm(region.border),
        direction_words(center - targets.nearest(center)[1]),
        _skin_mm(scene, region),
    )


def _maximum_place(scene: _Scene, in_body: np.ndarray, hottest: tuple[int, ...]) -> Island | None:
    """Where the hottest voxel is, seen from the targets; None in one of them."""
    if scene.in_target[hottest] >= 0.5:
        return None
    voxel = _Region(scene.grid, tuple(map(int, hottest)), np.ones((1, 1, 1), bool))
    return _island(scene, voxel, in_body, Border(scene.in_target >= 0.5, scene.grid))


def _nearest_organ(scene: _Scene, point: np.ndarray) -> tuple[str, float]:
    """The organ that holds a point (distance 0), else the nearest one; empty if there is none."""
    index = tuple(int(np.floor(i + 0.5)) for i in scene.grid.index_of(tuple(point)))
    distances = {
        name: 0.0 if scene.holds(name, index) else float(scene.borders[name].nearest(point)[0])
        for name in scene.organs
    }
    nearest = min(distances, key=distances.get, default="")
    return nearest, distances.get(nearest, 0.0)


def _neighbours(
    scene: _Scene,
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
        overlaps = bool((mask & outside[_box(of)]).any())
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


def _covered(scene: _Scene, outside: np.ndarray, meant: tuple[str, ...]) -> tuple[Share, ...]:
    """What a mask covers of organs and of targets that are not meant, by %, the largest first."""
    shares = []
    for name in (*scene.organs, *(t for t in scene.targets if t not in meant)):
        of = scene.regions[name]
        filled = of.values[outside[_box(of)]].sum(dtype=np.float64)
        volume_cc = float(filled) * scene.grid.voxel_volume_cc
        if volume_cc >= SMALLEST_CC:
            shares.append(Share(name, volume_cc, 100 * volume_cc / of.volume_cc))
    return tuple(sorted(shares, key=lambda share: -share.percent))


def _regions(
    mask: np.ndarray, grid: Grid, start: tuple[int, int, int] = (0, 0, 0)
) -> list[_Region]:
    """Connected regions of at least `SMALLEST_CC`, the largest first; `start` places the mask."""
    labels, _ = ndimage.label(mask, _NEIGHBOURS)
    found = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        corner = tuple(a + s.start for a, s in zip(start, box, strict=True))
        region = _Region(grid, corner, labels[box] == number)
        if region.volume_cc >= SMALLEST_CC:
            found.append(region)
    return sorted(found, key=lambda region: -region.volume_cc)


def _union(regions: Mapping[str, Occupancy], names: Iterable[str], grid: Grid) -> np.ndarray:
    """Largest part of each voxel that one of the regions fills, float32 (z, y, x)."""
    filled = np.zeros(grid.shape, np.float32)
    for name in names:
        box = _box(regions[name])
        filled[box] = np.maximum(filled[box], regions[name].values)
    return filled


def _box(occupancy: Occupancy) -> tuple[slice, ...]:
    return _slices(occupancy.start, occupancy.stop)


def _slices(start: Iterable[int], stop: Iterable[int]) -> tuple[slice, ...]:
    return tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))


def _point(index: Iterable[int], grid: Grid) -> Triple:
    return tuple(map(float, points_mm(np.asarray([tuple(index)]), grid)[0]))
