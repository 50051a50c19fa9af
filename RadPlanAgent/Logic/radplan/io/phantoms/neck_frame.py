"""The frame of the head-and-neck phantom: outline, muscles, spine, skull, airways, vessels.

Origin: in the midline, at the hyoid bone, z = 0 about at the disc of C3 and C4; the foramen
magnum lies at z = 62. Lengths in mm, LPS. The numbers are the usual dimensions of an adult man
lying supine, chosen for this phantom; no patient was traced.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from ...geometry import Grid, Triple
from .canvas import Canvas
from .shapes import Shape, ellipsoid, half_space, tube, union
from .tissues import BLOOD_CONTRAST, CARTILAGE, FAT, GAS, LUNG, MUSCLE, ORGAN, SKIN

#: Spinal canal: z and y of its centre, from the second thoracic vertebra to the skull.
_CANAL_Z = (-140.0, -85.0, -50.0, -20.0, 10.0, 40.0, 62.0)
_CANAL_Y = (46.0, 27.0, 19.0, 16.0, 17.0, 20.0, 22.0)
FORAMEN_MAGNUM_Z = 62.0


def both(left: Shape) -> tuple[Shape, Shape]:
    """Return a solid of the left side and its mirror image."""
    return left, left.mirrored()


def canal_y(z: float) -> float:
    """Where the centre of the spinal canal lies (y) at a height, mm."""
    return float(np.interp(z, _CANAL_Z, _CANAL_Y))


def canal_points() -> list[Triple]:
    """Points along the spinal canal, from below."""
    return [(0.0, y, z) for y, z in zip(_CANAL_Y, _CANAL_Z, strict=True)]


def body(grid: Grid) -> Shape:
    """Outline of head, neck and shoulders over the length of a CT grid."""
    head = [
        ellipsoid((0, 2, 105), (77, 95, 86)),
        ellipsoid((0, -40, 54), (66, 56, 64), 2.3),
        ellipsoid((0, -72, 16), (34, 23, 20)),
    ]
    neck = tube(
        [(0, 6, 75), (0, 4, 45), (0, 3, 15), (0, 2, -18), (0, 8, -60), (0, 20, -150)],
        [(66, 64), (71, 65), (67, 62), (61, 59), (66, 58), (110, 66)],
    )
    trunk = [
        ellipsoid((0, 22, -172), (210, 84, 98), 2.6),
        *both(tube([(40, 28, -40), (105, 24, -92), (168, 14, -126)], [30, 40, 52])),
        *both(ellipsoid((180, 12, -160), (42, 54, 70))),
    ]
    details = [
        ellipsoid((0, -93, 62), (11, 13, 19), pitch_deg=-12),
        ellipsoid((0, -48, -20), (17, 11, 20)),
        *both(ellipsoid((77, 14, 70), (6, 15, 27), yaw_deg=25)),
    ]
    z = grid.edges_mm(0)
    low, high = (-236.0, -125.0, z[0] - 6), (236.0, 125.0, z[-1] + 6)
    whole = union([*head, neck], 22).blended(union(trunk, 20), 36)
    return whole.blended(union(details), 6).tabulated(2.5, low, high)


@cache
def brain() -> Shape:
    """Return the inside of the skull: three fossae under one vault."""
    vault = ellipsoid((0, 4, 118), (67, 85, 63), 2.1)
    posterior = half_space((0, 30, 57), (0, -0.5, -1.0))
    anterior = half_space((0, 0, 96), (0, 0, -1))
    temporal = both(ellipsoid((40, -14, 90), (23, 29, 17)))
    orbits = union(both(orbit().grown(3.0)))
    whole = union([vault & posterior, vault & anterior, *temporal], 4) - orbits
    return whole.tabulated(2.0)


def orbit() -> Shape:
    """Return the left orbit with the eye."""
    return ellipsoid((33, -62, 92), (18, 26, 16), yaw_deg=12)


@cache
def mandible() -> Shape:
    """Return the lower jaw without teeth."""
    left = union(
        [
            tube(
                [(-3, -81, 17), (12, -80, 17), (30, -66, 16), (43, -44, 18), (50, -18, 24)],
                [(13.5, 6.5), (13.5, 6.5), (13, 6.2), (13, 6), (13, 5)],
                side=(0, 0, 1),
            ),
            tube(
                [(50, -18, 24), (52, -12, 46), (53, -8, 62), (52, -4, 71)],
                [(15, 5), (15, 4.3), (10, 4.3), (5.5, 6)],
                side=(0, 1, 0),
            ),
            ellipsoid((52, -23, 60), (3.2, 6, 13)),
        ],
        5,
    )
    return union(both(left), 3).tabulated(1.5)


def airway() -> tuple[Shape, Shape]:
    """Return the airway above the larynx, and larynx with trachea."""
    upper = tube(
        [(0, -26, 66), (0, -23, 45), (0, -25, 25), (0, -28, 8), (0, -31, -4)],
        [(13, 9), (12, 5.5), (11, 6.5), (13, 6), (12, 5)],
    )
    lower = tube(
        [(0, -32, -4), (0, -36, -18), (0, -37, -28), (0, -34, -42), (0, -28, -70), (0, -10, -140)],
        [(11, 6), (8, 7.5), (3.5, 9), (9, 10), (9.5, 9), (9.5, 9)],
    )
    return upper, lower


def oesophagus() -> Shape:
    """Return the oesophagus from the cricoid downwards."""
    return tube(
        [(1, -18, -44), (3, -13, -62), (5, -8, -88), (5, 9, -140)],
        [(8, 5), (8.5, 6), (8.5, 6.5), (8.5, 6.5)],
    )


def paint_frame(canvas: Canvas) -> None:
    """Paint what every neck has: skin, fat, muscles, spine, skull, airways, vessels."""
    canvas.paint(canvas.body, SKIN)
    canvas.paint(canvas.body.grown(-2.0), FAT)
    _paint_muscles(canvas)
    _paint_chest(canvas)
    _paint_skull(canvas)
    _paint_spine(canvas)
    _paint_vessels(canvas)


def _paint_muscles(canvas: Canvas) -> None:
    sheath = canvas.body.grown(-4.5)
    for left in (
        # back of the neck: semispinalis, splenius, levator scapulae, trapezius
        tube(
            [(17, 48, 62), (18, 43, 20), (18, 42, -20), (20, 50, -70), (24, 68, -140)],
            [(15, 13), (16, 16), (16, 17), (18, 18), (22, 20)],
        ),
        tube(
            [(50, 36, 55), (40, 40, 15), (34, 44, -25), (30, 58, -70), (26, 74, -110)],
            [(7, 16), (9, 18), (9, 17), (13, 12), (14, 8)],
        ),
        tube([(38, 18, 30), (44, 22, -10), (48, 32, -50), (66, 52, -100)], [8, 10, 11, 11]),
        tube(
            [(14, 62, 40), (20, 60, -15), (52, 54, -52), (105, 38, -72), (150, 24, -90)],
            [(12, 4), (20, 6), (28, 8), (26, 10), (22, 10)],
            side=(1, -0.2, -0.5),
        ),
        # front and side: scalenes, longus colli, sternocleidomastoid, straps
        tube([(24, 2, 0), (30, 8, -40), (44, 12, -80), (56, 4, -100)], [6, 9, 11, 9]),
        tube(
            [(8, -7, 50), (8, -7, 0), (10, -6, -40), (10, 4, -90)],
            [(8, 4), (9, 4.5), (9, 5), (8, 4)],
        ),
        tube(
            [
                (60, 22, 58),
                (55, 20, 25),
                (49, 8, -8),
                (40, -10, -38),
                (26, -30, -72),
                (14, -44, -112),
            ],
            [(6, 12), (8, 17), (7.5, 19), (7, 18), (6.5, 14), (5, 9)],
        ),
        tube(
            [(9, -50, 0), (12, -53, -25), (12, -48, -60), (12, -46, -110)],
            [(8, 3), (9, 3.2), (9, 3.5), (9, 4)],
        ),
        # jaw: masseter, medial and lateral pterygoid, temporalis, digastric
        tube([(56, -20, 18), (61, -24, 42), (62, -34, 66)], [(7, 15), (8.5, 16), (5, 9)]),
        tube([(45, -14, 22), (37, -17, 42), (24, -26, 60)], [(6, 11), (7, 10), (5, 7)]),
        tube([(48, -8, 66), (34, -16, 68), (20, -24, 66)], [6, 9, 6]),
        tube([(55, -26, 66), (63, -22, 90), (68, -14, 120)], [(6, 14), (6, 26), (4, 36)]),
        tube([(50, 14, 52), (38, -12, 12), (20, -36, 4), (8, -70, 6)], [5, 4.5, 4.5, 4.5]),
        # shoulder: deltoid, pectoralis, supraspinatus with subscapularis
        ellipsoid((178, 8, -118), (34, 44, 46)),
        ellipsoid((84, -38, -136), (72, 14, 34)),
        tube([(70, 62, -112), (110, 50, -98), (150, 26, -92)], [(20, 20), (22, 22), (14, 12)]),
        tube([(70, 70, -140), (120, 60, -128), (160, 30, -115)], [26, 26, 16]),
    ):
        canvas.paint_pair(left & sheath, MUSCLE)
    # Tongue and floor of the mouth.
    canvas.paint(ellipsoid((0, -52, 28), (31, 32, 21), 2.4), MUSCLE - 5)
    canvas.paint(ellipsoid((0, -50, 10), (33, 28, 9), 2.4), MUSCLE)
    canvas.paint(ellipsoid((0, -52, 22), (1.5, 22, 14)), FAT + 80)


def _paint_chest(canvas: Canvas) -> None:
    lung = ellipsoid((50, 22, -140), (40, 44, 54))
    canvas.paint_pair(lung.grown(3.0), MUSCLE)
    canvas.paint_pair(lung, LUNG)
    for rib in (
        tube([(16, 26, -88), (40, 34, -90), (66, 12, -98), (52, -34, -114), (24, -50, -122)], 5.0),
        tube([(18, 40, -108), (50, 56, -110), (88, 28, -122), (80, -20, -140)], 5.0),
    ):
        canvas.paint_bone(rib, 1.5, 200.0, 700.0, paired=True)
    clavicle = tube(
        [(14, -50, -114), (55, -48, -102), (105, -22, -90), (148, 2, -90)], [8, 6, 5.5, 7]
    )
    scapula = union(
        [
            tube([(84, 66, -118), (120, 48, -100), (152, 22, -88)], [(5, 8), (5, 9), (9, 6)]),
            ellipsoid((112, 58, -135), (36, 3.5, 40), yaw_deg=-30),
            ellipsoid((146, 24, -116), (9, 11, 15)),
        ],
        6,
    )
    humerus = ellipsoid((172, 14, -116), (23, 23, 23)).blended(
        tube([(178, 14, -124), (184, 14, -200)], 14), 8
    )
    for bone in (clavicle, scapula, humerus):
        canvas.paint_bone(bone, 2.2, 220.0, 900.0, paired=True)


def _paint_skull(canvas: Canvas) -> None:
    inside = brain()
    vault = ellipsoid((0, 4, 118), (67, 85, 63), 2.1).grown(7.0)
    canvas.paint((inside.grown(7.0) & vault).between(86, 300) | inside.grown(2.5), 950.0)
    occiput = (vault & half_space((0, 30, 52), (0, -0.6, -1.0))) & half_space(
        (0, 22, 0), (0, -1, 0)
    )
    canvas.paint(occiput, 950.0)
    canvas.paint(inside.grown(-0.5), 12.0)
    canvas.paint(inside.grown(-3.0).uneven(1.5, 16, seed=12), 34.0)
    canvas.paint_pair(ellipsoid((9, -4, 122), (5, 30, 12), pitch_deg=-10), 6.0)
    face = union(
        [
            *both(tube([(60, -4, 72), (66, -34, 73), (46, -66, 72)], [4.5, 4.5, 7])),
            *both(ellipsoid((29, -58, 66), (17, 18, 19))),
            *both(orbit().grown(3.0) & half_space((0, -50, 0), (0, 1, 0))),
            ellipsoid((0, -62, 80), (15, 24, 30)),
            ellipsoid((0, -58, 51), (24, 26, 3.6)),
            ellipsoid((0, -22, 88), (18, 20, 15)),
            *both(tube([(14, -27, 72), (15, -28, 52)], [(4, 6), (2.5, 5)])),
        ],
        4,
    ) & canvas.body.grown(-6.0)
    canvas.paint_bone(face, 2.0, 150.0, 700.0)
    base = union(
        [
            tube([(0, -14, 88), (0, 2, 66)], [10, 7]),
            tube([(0, 0, 65), (22, 12, 60), (20, 34, 58), (0, 42, 57)], 5),
            tube([(0, 0, 65), (-22, 12, 60), (-20, 34, 58), (0, 42, 57)], 5),
            *both(tube([(14, -4, 80), (36, 6, 78), (58, 12, 74)], [8, 10, 11])),
        ],
        5,
    )
    canvas.paint_bone(base, 2.5, 350.0)
    mastoid = ellipsoid((56, 22, 62), (12, 14, 18))
    canvas.paint_pair(mastoid, 800.0)
    canvas.paint_pair(mastoid.grown(-2.5), -350.0)
    canvas.paint_pair(tube([(52, 6, 72), (74, 8, 72)], 3.2), GAS)
    for cavity in (
        ellipsoid((29, -57, 66), (13.5, 15, 16)),
        ellipsoid((6, -54, 88), (4.5, 24, 13)),
        ellipsoid((7, -58, 68), (5, 30, 14)),
    ):
        canvas.paint_pair(cavity, GAS)
    canvas.paint(ellipsoid((0, -22, 89), (12, 13, 9)), GAS)
    for turbinate in (ellipsoid((8, -54, 58), (3, 20, 4)), ellipsoid((7, -52, 69), (2.5, 17, 3))):
        canvas.paint_pair(turbinate, ORGAN)
    canvas.paint_pair(orbit() & canvas.body.grown(-3), FAT + 10)
    canvas.paint_pair(ellipsoid((33, -73, 92), (12, 12, 12)), 10.0)
    canvas.paint_pair(ellipsoid((33, -83, 92), (4.5, 2.5, 4.5)), 80.0)
    canvas.paint_pair(tube([(32, -61, 92), (18, -36, 93)], [2.2, 2.0]), ORGAN)
    canvas.paint_bone(mandible(), 2.3, 250.0, 1200.0)
    for z, y_front in ((42.0, -83.0), (33.0, -82.0)):
        teeth = tube(
            [(-25, -46, z), (-21, -68, z), (0, y_front, z), (21, -68, z), (25, -46, z)],
            [(5, 4.5), (4.5, 3.5), (4.5, 2.8), (4.5, 3.5), (5, 4.5)],
            side=(0, 0, 1),
        )
        canvas.paint(teeth, 1500.0)


def _paint_spine(canvas: Canvas) -> None:
    canal = tube(canal_points(), [(12, 8.5)] * len(_CANAL_Z))
    levels = [
        (27.0, 13.0),
        (8.0, 13.0),
        (-11.0, 13.5),
        (-29.0, 14.0),
        (-47.0, 14.5),
        (-66.0, 15.0),
    ]
    levels += [(-87.0, 15.5), (-109.0, 15.5)]
    for z, half in levels:
        y = canal_y(z)
        body_center = (0, y - 17, z)
        canvas.paint(ellipsoid((0, y - 17, z + 10), (half - 1, 9, 3.5), 2.6), CARTILAGE)
        canvas.paint_bone(ellipsoid(body_center, (half, 9.5, 8), 3.0), 1.6, 260.0, 750.0)
        arch = union(
            [
                ellipsoid((0, y + 1, z - 1), (17.5, 13, 6.5), 2.4),
                *both(tube([(12, y - 9, z), (25, y - 4, z - 1)], [5.5, 4.5])),
                *both(ellipsoid((19, y + 1, z), (7, 7, 8))),
                tube([(0, y + 12, z - 2), (0, y + 31 + 8 * (z < -60), z - 9)], [5, 3.5]),
            ],
            3,
        )
        canvas.paint_bone(arch - canal, 1.8, 280.0, 800.0)
    # Dens and atlas.
    canvas.paint_bone(tube([(0, 2, 30), (0, 4, 52)], [7.5, 5.5]), 1.8, 300.0)
    atlas = union(
        [
            ellipsoid((0, 17, 46), (24, 21, 5.5), 2.2) - ellipsoid((0, 17, 46), (16, 15, 20), 2.2),
            *both(ellipsoid((19, 9, 47), (9, 9, 8))),
            *both(tube([(22, 10, 46), (38, 14, 45)], [5.5, 4.5])),
        ],
        3,
    )
    canvas.paint_bone(atlas - canal, 1.8, 280.0, 850.0)
    canvas.paint(canal.between(-200, FORAMEN_MAGNUM_Z + 6), 10.0)


def _paint_vessels(canvas: Canvas) -> None:
    carotid = tube(
        [(24, -2, 62), (28, -4, 22), (28, -8, -10), (25, -10, -45), (20, -14, -80), (16, 0, -140)],
        [3, 3.6, 4.6, 3.8, 4.0, 4.5],
    )
    jugular = tube(
        [(30, 6, 62), (35, 4, 22), (36, 0, -10), (33, -4, -45), (28, -12, -80), (20, -18, -120)],
        [4.5, 5.5, 6, 6.5, 7, 8],
    )
    subclavian = tube([(16, -6, -118), (40, -6, -98), (70, -14, -100), (110, -10, -120)], 4.5)
    for vessel in (carotid, jugular, subclavian):
        canvas.paint_pair(vessel, BLOOD_CONTRAST)
