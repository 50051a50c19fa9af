"""The frame that both pelvic phantoms share: outline, muscles, bones, vessels, bowel.

Origin: midway between the centres of the femoral heads. Lengths in mm, LPS. The numbers are the
usual dimensions of an adult man lying supine, chosen for this phantom; no patient was traced.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from ...geometry import Grid
from .canvas import Canvas
from .shapes import Shape, ellipsoid, half_space, loft, tube, union
from .tissues import (
    BLOOD,
    CARTILAGE,
    FAT,
    GAS,
    GREEN,
    MARROW,
    MUSCLE,
    OAR,
    SKIN,
    SKIN_CROP_MM,
    STOOL,
    TEAL,
    URINE,
)


def both(left: Shape) -> tuple[Shape, Shape]:
    """Return a solid of the left side and its mirror image."""
    return left, left.mirrored()


def body(width: float, depth: float, grid: Grid) -> Shape:
    """Outline of trunk, buttocks, thighs and genitals over the length of a CT grid.

    The scales are relative to 370 mm wide and 220 mm deep.
    """
    w, d = width, depth
    trunk = loft(
        [
            (-125, 0, 0, 60 * w, 30 * d, 30 * d, 2.0),
            (-95, 0, 0, 110 * w, 55 * d, 55 * d, 2.2),
            (-70, 0, 4, 165 * w, 85 * d, 80 * d, 2.5),
            (-40, 0, 5, 181 * w, 97 * d, 95 * d, 2.5),
            (0, 0, 5, 185 * w, 103 * d, 100 * d, 2.4),
            (60, 0, 5, 179 * w, 111 * d, 100 * d, 2.4),
            (120, 0, 5, 166 * w, 116 * d, 98 * d, 2.3),
            (180, 0, 3, 158 * w, 114 * d, 96 * d, 2.3),
        ]
    )
    buttocks = both(ellipsoid((80 * w, 66 * d, -15), (84 * w, 59 * d, 92)))
    thighs = both(
        loft(
            [
                (-200, 92 * w, 6, 84 * w, 86 * d, 90 * d, 2.2),
                (-100, 94 * w, 4, 90 * w, 90 * d, 92 * d, 2.2),
                (-50, 95 * w, 4, 84 * w, 88 * d, 86 * d, 2.2),
                (20, 95 * w, 4, 60 * w, 70 * d, 70 * d, 2.2),
            ]
        )
    )
    genitals = ellipsoid((0, -84 * d, -92), (30, 27, 42), pitch_deg=20)
    z = grid.edges_mm(0)
    low, high = (-200.0, -140.0, z[0] - 6), (200.0, 150.0, z[-1] + 6)
    return union([trunk, *buttocks, *thighs, genitals], 24).tabulated(3.0, low, high)


def cavity() -> Shape:
    """Inside of the pelvis and lower abdomen: what lies within muscle and bone."""
    return loft(
        [
            (-84, 0, 20, 30, 30, 34, 2.0),
            (-60, 0, 20, 38, 44, 40, 2.0),
            (-25, 0, 18, 43, 48, 48, 2.2),
            (5, 0, 14, 47, 54, 54, 2.4),
            (35, 0, 8, 62, 68, 62, 2.4),
            (65, 0, 0, 92, 76, 58, 2.4),
            (95, 0, -8, 110, 78, 46, 2.4),
            (118, 0, -14, 118, 76, 38, 2.4),
            (180, 0, -18, 122, 74, 32, 2.4),
        ]
    )


def femur() -> tuple[Shape, Shape, Shape]:
    """Return the left femur's head, its neck and trochanters, and its shaft."""
    head = ellipsoid((88, 0, 0), (23.5, 23.5, 23.5))
    neck = tube([(88, 0, 0), (105, 4, -14), (124, 10, -28)], [15, 14.5, 17])
    trochanter = ellipsoid((134, 17, -20), (13, 18, 25), roll_deg=-12)
    shaft = tube([(129, 11, -38), (128, 6, -90), (124, 2, -220)], [17.5, 15.5, 14.5])
    return head, neck.blended(trochanter, 8), shaft


@cache
def hip_bone() -> Shape:
    """Return the left hip bone: ilium, acetabulum, ischium, pubis."""
    blade = ellipsoid((78, 14, 86), (42, 74, 52), yaw_deg=31, roll_deg=14)
    ilium = blade - blade.moved((-10.0, -6.5, 9.0))
    sacroiliac = ellipsoid((57, 58, 80), (11, 17, 32), yaw_deg=25, roll_deg=-8)
    arcuate = tube([(80, 10, 34), (70, 34, 46), (58, 54, 66)], [14, 12, 10])
    roof = ellipsoid((91, 2, 36), (16, 28, 25), yaw_deg=25, roll_deg=14)
    cup = ellipsoid((83, 3, 4), (29, 37, 36)) & half_space((93, 0, -4), (0.85, -0.15, -0.5))
    superior_ramus = tube([(10, -46, -20), (36, -45, -5), (64, -24, 8)], [8.5, 7.5, 12])
    inferior_ramus = tube([(11, -42, -38), (30, -20, -62), (50, 14, -80)], [6.5, 6.0, 8.0])
    pubis = ellipsoid((13, -44, -27), (10, 8.5, 19), pitch_deg=-20)
    ischium = tube([(72, 28, 2), (66, 36, -25), (60, 33, -58), (54, 22, -82)], [16, 13, 14.5, 11])
    whole = union(
        [ilium, sacroiliac, arcuate, roof, cup, superior_ramus, inferior_ramus, pubis, ischium],
        7,
    )
    return (whole - ellipsoid((88, 0, 0), (26.5, 26.5, 26.5))).tabulated(2.0)


def sacrum() -> Shape:
    """Return the sacrum without its foramina."""
    return tube(
        [(0, 40, 116), (0, 57, 92), (0, 75, 62), (0, 83, 34), (0, 82, 14)],
        [(50, 19), (50, 19), (40, 14), (27, 9), (13, 6)],
    )


def paint_frame(canvas: Canvas, fat_mm: float) -> None:
    """Paint what every pelvis has: skin, fat, muscles, vessels and bones.

    Parameters
    ----------
    canvas : Canvas
    fat_mm : float
        Thickness of the fat under the skin of the abdomen.
    """
    canvas.paint(canvas.body, SKIN)
    canvas.paint(canvas.body.grown(-2.0), FAT)
    _paint_muscles(canvas, fat_mm)
    _paint_bones(canvas)
    _paint_vessels(canvas)


def _paint_muscles(canvas: Canvas, fat_mm: float) -> None:
    inner = cavity()
    sheath = canvas.body.grown(-fat_mm)
    for left in (
        # gluteus maximus, then medius with minimus, tensor fasciae latae
        tube(
            [(30, 86, 88), (66, 84, 45), (104, 64, -2), (134, 32, -52)],
            [(34, 13), (54, 20), (60, 24), (42, 17)],
            side=(0.55, 0.0, 0.85),
        ),
        tube(
            [(112, 20, 128), (124, 20, 85), (136, 16, 40), (143, 16, -4)],
            [(30, 8), (48, 22), (44, 22), (24, 13)],
            side=(-0.35, 1, 0),
        ),
        ellipsoid((144, -36, -8), (13, 25, 64), yaw_deg=20),
        # quadratus femoris with the gemelli, obturator externus with pectineus
        ellipsoid((94, 30, -40), (30, 14, 34)),
        ellipsoid((62, -20, -34), (34, 14, 24), roll_deg=20),
        # back muscles
        tube(
            [(26, 92, 40), (33, 86, 95), (37, 66, 130), (40, 62, 220)],
            [(16, 9), (28, 18), (35, 27), (37, 29)],
        ),
        tube([(98, 0, -48), (94, 2, -95), (93, 4, -220)], [(40, 40), (63, 62), (66, 68)]),
    ):
        canvas.paint_pair(left & sheath, MUSCLE)
    for left in (
        # vasti, adductors, hamstrings: parted by thin planes of fat
        tube([(128, 6, -45), (122, -6, -90), (112, -8, -220)], [(30, 34), (38, 44), (44, 48)]),
        tube([(50, -26, -50), (60, -14, -90), (70, 4, -220)], [(22, 18), (32, 34), (36, 42)]),
        tube([(66, 34, -70), (86, 44, -110), (90, 50, -220)], [(18, 12), (36, 24), (38, 26)]),
    ):
        canvas.paint_pair((left & sheath).lining(1.6), FAT + 50)
    for left in (
        # sartorius, rectus femoris
        tube([(124, -50, 70), (118, -62, 10), (92, -76, -70), (60, -62, -220)], [6, 9, 10, 10]),
        tube(
            [(110, -42, 22), (114, -56, -20), (116, -62, -80), (112, -62, -220)], [8, 13, 16, 18]
        ),
    ):
        muscle = left & canvas.body.grown(-0.7 * fat_mm)
        canvas.paint_pair(muscle.grown(2.0), FAT)
        canvas.paint_pair(muscle, MUSCLE)
    # The wall around the cavity: abdominal muscles in front, obturator internus at the side.
    wall = inner.grown(11.0).between(-62, 1e4) & canvas.body.grown(-0.7 * fat_mm)
    wall = wall - ellipsoid((0, 84, -45), (62, 46, 78)) - ellipsoid((0, -48, -76), (30, 30, 30))
    canvas.paint(wall, MUSCLE)
    canvas.paint(inner, FAT)
    # Linea alba and the fat planes that part the recti from the oblique muscles.
    for x in (0.0, 58.0, -58.0):
        canvas.paint(ellipsoid((x, -88, 80), (1.6, 16, 120)) & inner.grown(10.0), FAT + 40)
    for left in (
        psoas_muscle(),
        ellipsoid((92, 6, 92), (11, 44, 46), yaw_deg=31, roll_deg=14),
        tube([(22, 62, 52), (62, 56, 38), (100, 34, 22), (128, 20, 8)], [8, 12, 10, 5]),
    ):
        canvas.paint_pair(left, MUSCLE)
    # Levator ani: a funnel around the rectum, narrowing to the anal canal.
    funnel = loft(
        [
            (-64, 0, 47, 14, 14, 14, 2.0),
            (-45, 0, 36, 20, 34, 22, 2.0),
            (-25, 0, 22, 34, 40, 42, 2.0),
            (-8, 0, 18, 43, 46, 48, 2.2),
        ]
    )
    canvas.paint(funnel.grown(1.8).lining(3.6).between(-62, -10), MUSCLE)
    # Roots of the penis and the perineal membrane.
    canvas.paint(ellipsoid((0, 4, -52), (32, 14, 5), pitch_deg=-25), MUSCLE)
    canvas.paint_pair(tube([(8, -32, -70), (26, -8, -72), (42, 14, -76)], [9, 7, 5]), MUSCLE)
    canvas.paint(ellipsoid((0, -84, -90), (23, 20, 34), pitch_deg=20) & sheath.grown(12), MUSCLE)


def _paint_bones(canvas: Canvas) -> None:
    canvas.paint(ellipsoid((0, -44, -27), (5, 7, 17), pitch_deg=-20), CARTILAGE)
    head, upper, shaft = femur()
    joint = ellipsoid((88, 0, 0), (26.5, 26.5, 26.5))
    canvas.paint_bone(hip_bone(), paired=True)
    canvas.paint_pair(joint, CARTILAGE - 30)
    for left, cortex_mm, marrow in ((head, 1.8, 330.0), (upper, 2.2, 200.0), (shaft, 5.5, MARROW)):
        canvas.paint_bone(left, cortex_mm, marrow, paired=True)
    # Where neck and shaft, neck and head meet there is no cortex between them.
    for left in (
        tube([(92, 1, -3), (112, 6, -20)], [12, 11.5]),
        ellipsoid((126, 12, -32), (10, 11, 14)),
    ):
        canvas.paint_pair(left, 190.0)
    canvas.paint_bone(sacrum(), 1.8, 170.0, 650.0)
    canvas.paint_bone(tube([(0, 81, 9), (0, 77, -6), (0, 69, -19)], [(9, 5), (8, 4.5), (5, 3.5)]))
    for z in (92.0, 66.0, 44.0):
        y = float(np.interp(z, [34, 62, 92], [83, 75, 57]))
        foramen = tube([(21, y - 16, z - 5), (19, y + 14, z + 3)], [4.2, 3.2])
        canvas.paint_pair(foramen, FAT + 60)
    canvas.paint(
        tube([(0, 84, 50), (0, 76, 80), (0, 62, 112), (0, 56, 200)], [4, 7, 8.5, 9]), 15.0
    )
    for y, z in ((24.0, 143.0), (20.0, 178.0)):
        canvas.paint(ellipsoid((0, y + 3, z - 18), (24, 16, 5.5), 2.6, pitch_deg=-12), CARTILAGE)
        canvas.paint_bone(ellipsoid((0, y, z), (26, 18, 14), 3.0, pitch_deg=-8), 1.8, 190.0, 700.0)
        arch = union(
            [
                *both(tube([(15, y + 14, z + 4), (15, y + 40, z), (3, y + 54, z - 4)], [6, 6, 4])),
                *both(tube([(15, y + 30, z), (42, y + 34, z + 2)], [5, 3.5])),
                ellipsoid((0, y + 64, z - 6), (4, 15, 9)),
            ],
            4,
        )
        canvas.paint_bone(arch, 2.0, 250.0, 800.0)


def _paint_vessels(canvas: Canvas) -> None:
    for left in (
        # common and external iliac artery and vein into the thigh, then the internal iliacs
        tube(
            [(14, 12, 150), (30, 14, 115), (52, -2, 80), (70, -32, 35), (74, -56, 0)]
            + [(76, -64, -90)],
            [6.5, 5.5, 4.8, 4.6, 4.5, 4.0],
        ),
        tube(
            [(18, 20, 150), (33, 22, 115), (54, 8, 80), (66, -24, 35), (64, -54, 0)]
            + [(68, -60, -90)],
            [7.5, 6.5, 5.8, 5.6, 5.5, 5.0],
        ),
        tube([(32, 20, 112), (42, 36, 88), (50, 46, 58), (46, 44, 30)], [5, 4.5, 3.8, 2.5]),
        tube([(34, 26, 108), (45, 41, 84), (53, 51, 56), (50, 48, 28)], [5.5, 5, 4, 2.5]),
    ):
        canvas.paint_pair(left, BLOOD)


def bowel_space() -> Shape:
    """Return the part of the peritoneal cavity that holds bowel, above bladder and rectum."""
    space = loft(
        [
            (50, 0, -30, 34, 24, 20, 2.2),
            (66, 0, -22, 66, 44, 34, 2.4),
            (85, 0, -22, 84, 56, 38, 2.5),
            (105, 0, -24, 100, 60, 34, 2.5),
            (180, 0, -26, 112, 62, 30, 2.5),
        ]
    )
    psoas = union(both(psoas_muscle()))
    return (space.between(54, 1e4) - psoas.grown(4)).tabulated(
        2.5, (-116.0, -95.0, 50.0), (116.0, 25.0, 185.0)
    )


def psoas_muscle() -> Shape:
    """Return the left psoas down to the lesser trochanter."""
    return tube(
        [(46, 22, 220), (50, 14, 120), (70, -14, 55), (88, -36, 5), (104, -8, -50)],
        [24, 22, 20, 17, 12],
    )


def small_bowel(space: Shape, low_z_mm: float, high_z_mm: float, seed: int) -> list[Shape]:
    """Loops of small bowel packed into a space, as short winding tubes in rising rows."""
    rng = np.random.default_rng(seed)
    (x_low, y_low, _), (x_high, y_high, _) = space.low_mm, space.high_mm
    loops = []
    for row, z in enumerate(np.arange(low_z_mm, high_z_mm, 23.0)):
        for column, y in enumerate(np.arange(y_low + 12, y_high - 6, 25.0)):
            x = np.arange(x_low + 10, x_high - 4, 14.0)
            sway = 8.0 * np.sin(x / 15.0 + rng.uniform(0, 6.3))
            rise = 7.0 * np.cos(x / 17.0 + rng.uniform(0, 6.3)) + 6.0 * (column % 2)
            points = np.stack([x, y + sway + 6 * (row % 2), z + rise], axis=1)
            points += rng.normal(0, 1.2, points.shape)
            radii = 11.3 + 1.8 * np.sin(x / 9.0 + rng.uniform(0, 6.3))
            loops.append(tube([tuple(p) for p in points], list(radii)) & space)
    return loops


def paint_bowel(canvas: Canvas, loops: list[Shape], seed: int) -> None:
    """Paint loops with a wall, contents and a few pockets of gas at the top (anterior)."""
    rng = np.random.default_rng(seed)
    for loop in loops:
        canvas.paint(loop, 45.0)
        canvas.paint(loop.grown(-2.5), float(rng.uniform(10, 30)))
    for loop in loops:
        if rng.uniform() < 0.4:
            x = rng.uniform(loop.low_mm[0] + 20, loop.high_mm[0] - 20)
            middle = 0.5 * (np.array(loop.low_mm) + np.array(loop.high_mm))
            bubble = ellipsoid((x, middle[1] - 5, middle[2]), (13, 8, 10)) & loop.grown(-3.0)
            canvas.paint(bubble, GAS)


def paint_large_bowel(canvas: Canvas, bowel: Shape, gas: list[Shape]) -> None:
    """Paint rectum or colon: wall, stool and gas."""
    canvas.paint(bowel, 42.0)
    lumen = bowel.grown(-3.5)
    canvas.paint(lumen, STOOL)
    for bubble in gas:
        canvas.paint(bubble & lumen.grown(-0.5), GAS)


def paint_bladder(canvas: Canvas, bladder: Shape) -> None:
    """Paint a bladder: wall and urine."""
    canvas.paint(bladder, 32.0)
    canvas.paint(bladder.grown(-3.5), URINE)


def draw_femurs(canvas: Canvas) -> None:
    """Draw the femoral heads with the upper half of the neck."""
    head, upper, _ = femur()
    left = head | (upper & half_space((103, 4, -12), (0.78, 0.2, -0.6)))
    canvas.draw("Femur_Head_L", OAR, GREEN, left)
    canvas.draw("Femur_Head_R", OAR, TEAL, left.mirrored())


def crop_for_skin(target: Shape, canvas: Canvas) -> Shape:
    """Return the part of a target that lies deeper than `SKIN_CROP_MM`."""
    return target & canvas.body.grown(-SKIN_CROP_MM)
