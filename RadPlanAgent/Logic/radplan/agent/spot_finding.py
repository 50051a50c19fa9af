"""Finds hot and cold spots: connected regions above or below a share of a prescription."""

from __future__ import annotations

import numpy as np

from ..geometry import distance_mm
from .borders import half_filled
from .directions import direction_words
from .dose_scene import DoseScene, Region, box_of, regions_of, skin_mm, union
from .spots import ColdSpot, HotSpot, Share

#: Hot spots are above these, % of the highest prescription; cold ones below this, % of their own.
HOT_PERCENT = (107.0, 110.0)
COLD_PERCENT = 95.0
#: A lower target is hot above this share of its own prescription, %, so far from higher targets.
LOWER_HOT_PERCENT = 107.0
LOWER_HOT_MM = 5.0
#: A part of a region smaller than this is not said to be in a structure, %.
_LEAST_SHARE_PERCENT = 1.0


def hot_spots(scene: DoseScene, dose_gy: np.ndarray, percent: float, target: str) -> list[HotSpot]:
    """Regions of a dose above a share of a target's prescription, the largest first."""
    prescribed_gy = scene.prescription_gy[target]
    level_gy = percent / 100 * prescribed_gy
    spots = []
    for region in regions_of(dose_gy > level_gy, scene.grid):
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


def lower_hot_spots(scene: DoseScene, target: str) -> list[HotSpot]:
    """What of a lower target is hot by its own prescription, not near higher ones."""
    prescribed_gy = scene.prescription_gy[target]
    higher = tuple(n for n, gy in scene.prescription_gy.items() if gy > prescribed_gy)
    away = distance_mm(union(scene.regions, higher, scene.grid) >= 0.5, scene.grid)
    box = box_of(scene.regions[target])
    own = np.zeros_like(scene.dose_gy)
    held = half_filled(scene.regions[target]) & (away[box] >= LOWER_HOT_MM)
    own[box] = np.where(held, scene.dose_gy[box], 0)
    return hot_spots(scene, own, LOWER_HOT_PERCENT, target)


def cold_spots(scene: DoseScene, target: str) -> list[ColdSpot]:
    """Regions of a target below a share of its own prescription, the largest first."""
    prescribed_gy = scene.prescription_gy[target]
    level_gy = COLD_PERCENT / 100 * prescribed_gy
    of = scene.regions[target]
    cold = half_filled(of) & (scene.dose_gy[box_of(of)] < level_gy)
    spots = []
    for region in regions_of(cold, scene.grid, of.start):
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
                skin_mm(scene, region),
            )
        )
    return spots


def _inside(scene: DoseScene, region: Region) -> tuple[Share, ...]:
    """What a region covers of targets and organs, the largest parts of the region first."""
    shares = []
    for name in (*scene.targets, *scene.organs):
        volume_cc = scene.within(name, region)
        if 100 * volume_cc / region.volume_cc >= _LEAST_SHARE_PERCENT:
            shares.append(Share(name, volume_cc, 100 * volume_cc / scene.regions[name].volume_cc))
    return tuple(sorted(shares, key=lambda share: -share.volume_cc))
