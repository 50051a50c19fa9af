"""Digital phantom: pelvis with a locally advanced rectal cancer and its nodes."""

from __future__ import annotations

from ...case import Case
from ...geometry import Grid
from .canvas import Canvas
from .pelvis import (
    body,
    bowel_space,
    crop_for_skin,
    draw_femurs,
    hip_bone,
    paint_bladder,
    paint_bowel,
    paint_frame,
    paint_large_bowel,
    sacrum,
    small_bowel,
)
from .shapes import Margin, Shape, ellipsoid, loft, tube, union, with_margin
from .tissues import (
    BLOOD,
    BROWN,
    FAT,
    GAS,
    OAR,
    ORANGE,
    ORGAN,
    PINK,
    PURPLE,
    RED,
    SKIN_TONE,
    STOOL,
    TARGET,
    YELLOW,
)


def mesorectum() -> Shape:
    """Return the fat around the rectum within its fascia, from levator to promontory."""
    return loft(
        [
            (-38, 0, 42, 15, 13, 15, 2.0),
            (-12, 0, 46, 29, 21, 20, 2.1),
            (15, 0, 54, 39, 32, 19, 2.2),
            (40, 0, 54, 41, 35, 17, 2.3),
            (62, 0, 46, 38, 31, 14, 2.3),
            (80, 0, 36, 33, 24, 11, 2.3),
            (100, 0, 22, 28, 14, 9, 2.2),
            (118, 0, 10, 22, 9, 8, 2.2),
        ]
    ).between(-38, 118)


def nodes() -> Shape:
    """Return internal iliac and obturator nodes: 1 cm around the vessels, within the bones."""
    left = tube(
        [(32, 20, 112), (43, 38, 86), (51, 46, 58), (49, 36, 30), (44, 14, 2)],
        [(12, 12), (14, 14), (13, 15), (12, 18), (9, 16)],
    )
    return union([left, left.mirrored()])


def make_rectum() -> Case:
    """Pelvis with a cancer of the middle rectum.

    GTV: a thickened wall over 5 cm, about 40 cc. CTV_Low: mesorectum, presacral space, internal
    iliac and obturator nodes (about 470 cc); PTV_Low: 8 mm, 10 mm anteriorly (about 950 cc).
    CTV_High: GTV and 6 mm of the mesorectum around it; PTV_High: 7 mm (about 200 cc). PTV_Low
    overlaps the back of the bladder and the lowest bowel loops. Bladder about 240 cc, small bowel
    about 480 cc, femoral heads about 55 cc. CT 2 × 2 × 3 mm.
    """
    grid = Grid((87, 121, 184), (2.0, 2.0, 3.0), (-183.0, -114.0, -94.5))
    canvas = Canvas(grid, body(0.95, 0.96, grid))
    paint_frame(canvas, 17.0)
    course = [
        (0, 50, -68),
        (0, 43, -48),
        (0, 40, -32),
        (0, 45, -10),
        (3, 53, 14),
        (4, 56, 36),
        (-1, 50, 58),
        (-4, 38, 78),
        (4, 24, 96),
    ]
    radii = [(10, 10), (10, 11), (13, 11), *3 * [(16, 13)], (15, 12), *2 * [(13, 12)]]
    rectum = tube(course, radii).uneven(0.8, 28, seed=3)
    tumour = (
        tube(
            [(2, 50, 12), (6, 54, 30), (4, 54, 46), (0, 50, 60)],
            [(13, 11), (23, 17), (22, 16), (12, 10)],
        )
        .uneven(1.5, 22, seed=11)
        .tabulated(1.5)
    )
    lumen = tube([(0, 50, 8), (-5, 56, 34), (-3, 50, 64)], [7, 3.5, 7])
    sigmoid = tube(
        [(4, 24, 96), (14, -2, 108), (44, -24, 108), (78, -30, 116), (98, -22, 170)],
        [13, 13, 14, 15, 15],
    )
    bladder = (
        ellipsoid((0, -13, 37), (48, 32, 32), 2.3, pitch_deg=-8)
        .blended(ellipsoid((0, -8, 10), (17, 15, 14)), 10)
        .uneven(1.0, 50, seed=9)
    )
    gland = ellipsoid((0, 2, -16), (23, 17, 18), 2.1, pitch_deg=-8).uneven(0.6, 26, seed=5)
    bladder = bladder - gland.grown(0.5)
    vesicle = tube([(5, 13, 2), (18, 18, 8), (32, 20, 14)], [(6, 4.5), (7, 5), (4, 3.5)])

    envelope = mesorectum()
    pouch = ellipsoid((0, 12, 76), (48, 20, 22))  # bowel sinks in between bladder and rectum
    free = bowel_space().blended(pouch, 10) - bladder.grown(3) - envelope.grown(1)
    bag = free.between(50, 132)
    space = (free.grown(-2) - sigmoid.grown(2)).tabulated(2.0)
    loops = small_bowel(space, 74, 180, seed=31)
    canvas.paint(envelope, FAT)
    canvas.paint(envelope.lining(1.5).between(-28, 112), FAT + 70)
    for x, y in ((6, 4), (-8, 2), (14, -6)):
        vessel = tube([(x / 3, 18, 112), (x, 42 + y, 76), (2.5 * x, 62 + y, 44)], [2.4, 2.0, 1.4])
        canvas.paint(vessel & envelope, BLOOD)
    paint_large_bowel(canvas, sigmoid, [ellipsoid((66, -32, 112), (20, 8, 8))])
    paint_bowel(canvas, loops, seed=32)
    canvas.paint_pair(vesicle, 25.0)
    paint_bladder(canvas, bladder)
    canvas.paint(gland, ORGAN)
    paint_large_bowel(canvas, rectum, [ellipsoid((-3, 42, 80), (9, 7, 14))])
    canvas.paint(tumour, ORGAN + 12)
    canvas.paint(lumen, STOOL)
    canvas.paint(lumen.grown(-1.5) & ellipsoid((-5, 52, 34), (5, 4, 16)), GAS)

    bones = union([sacrum(), hip_bone(), hip_bone().mirrored()])
    elective = ((envelope | nodes() | tumour) - bones).tabulated(1.5)
    boost = with_margin(tumour, Margin.of(6.0)) & (envelope | rectum)
    planning = {
        "PTV_Low": (with_margin(elective, Margin(8, 8, 10, 8, 8, 8)), ORANGE),
        "PTV_High": (with_margin(boost, Margin.of(7.0)), RED),
    }
    canvas.draw_body(SKIN_TONE)
    canvas.draw("GTV", TARGET, PINK, tumour - lumen)
    canvas.draw("CTV_High", TARGET, (255, 90, 120), boost)
    canvas.draw("CTV_Low", TARGET, (255, 190, 90), elective)
    for name, (target, color) in planning.items():
        canvas.draw(name, TARGET, color, crop_for_skin(target, canvas))
    canvas.draw("Bladder", OAR, YELLOW, bladder)
    canvas.draw("Bowel_Small", OAR, PURPLE, *(loop.between(50, 132) for loop in loops))
    canvas.draw("Bag_Bowel", OAR, (200, 150, 230), bag)
    canvas.draw("Colon_Sigmoid", OAR, BROWN, sigmoid & bag.grown(3))
    draw_femurs(canvas)
    return canvas.finished("phantom-rectum", "phantom:rectum", seed=2)
