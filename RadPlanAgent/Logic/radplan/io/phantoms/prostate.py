"""Digital phantom: pelvis with a localised prostate cancer."""

from __future__ import annotations

from ...case import Case
from ...geometry import Grid
from .canvas import Canvas
from .pelvis import (
    body,
    both,
    bowel_space,
    crop_for_skin,
    draw_femurs,
    paint_bladder,
    paint_bowel,
    paint_frame,
    paint_large_bowel,
    small_bowel,
)
from .shapes import Margin, Shape, ellipsoid, tube, union, with_margin
from .tissues import (
    BROWN,
    MUSCLE,
    OAR,
    ORANGE,
    ORGAN,
    PINK,
    PURPLE,
    RED,
    SKIN_TONE,
    TARGET,
    YELLOW,
)


def prostate_gland() -> tuple[Shape, Shape]:
    """Return the prostate and both seminal vesicles."""
    gland = ellipsoid((0, 6, -14), (25, 18.5, 22), 2.2, pitch_deg=-8)
    gland = gland.blended(ellipsoid((0, 8, -33), (13, 11, 9)), 8).uneven(0.6, 26, seed=5)
    vesicles = union(
        both(
            tube([(6, 19, 6), (20, 25, 12), (34, 29, 18)], [(6, 5), (7, 5.5), (4.5, 4)]).uneven(
                0.8, 9, seed=6
            )
        )
    )
    return gland, vesicles


def make_prostate() -> Case:
    """Pelvis with a localised prostate cancer.

    CTV: prostate and the first centimetre of the seminal vesicles (about 55 cc). PTV: 7 mm, 5 mm
    posteriorly (about 135 cc); it overlaps the front of the rectum and the floor of the bladder.
    Bladder about 220 cc, rectum about 75 cc, femoral heads about 60 cc, penile bulb about 5 cc.
    CT 2 × 2 × 2.5 mm.
    """
    grid = Grid((84, 126, 194), (2.0, 2.0, 2.5), (-193.0, -118.0, -98.75))
    canvas = Canvas(grid, body(1.0, 1.0, grid))
    paint_frame(canvas, 21.0)
    gland, vesicles = prostate_gland()
    bladder = (
        ellipsoid((0, -17, 39), (46, 34, 29), 2.3, pitch_deg=-10)
        .blended(ellipsoid((0, -4, 14), (17, 15, 12)), 10)
        .uneven(1.0, 50, seed=8)
    ) - gland.grown(0.5)
    rectum = tube(
        [
            (0, 52, -68),
            (0, 46, -50),
            (0, 39.5, -34),
            (0, 40, -12),
            (1, 46, 14),
            (4, 51, 36),
            (9, 45, 58),
            (14, 32, 76),
        ],
        [(10, 10), (10, 11), (13, 11.5), (17, 14), (17, 14), (15, 13), (13.5, 12), (12, 11)],
    ).uneven(0.8, 28, seed=3) - gland.grown(1.0)
    sigmoid = tube(
        [(14, 32, 76), (22, 8, 88), (44, -20, 94), (76, -30, 106), (96, -26, 140)],
        [13, 13, 14, 15, 15],
    )
    bag = bowel_space() - bladder.grown(3)
    paint_large_bowel(canvas, sigmoid, [ellipsoid((62, -33, 102), (20, 8, 8))])
    space = (bag.grown(-2) - sigmoid.grown(2)).tabulated(2.0)
    loops = small_bowel(space, 80, 125, seed=21)
    paint_bowel(canvas, loops, seed=22)
    canvas.paint(vesicles, 25.0)
    paint_bladder(canvas, bladder)
    paint_large_bowel(
        canvas, rectum, [ellipsoid((3, 42, 20), (12, 8, 17)), ellipsoid((-2, 38, -14), (8, 4, 9))]
    )
    canvas.paint(gland, ORGAN)
    canvas.paint(ellipsoid((0, -3, -8), (13, 9, 14)), ORGAN - 5)
    canvas.paint(tube([(0, -2, 6), (0, 4, -16), (0, 8, -44)], [2.5, 2.2, 2.5]), 15.0)
    bulb = ellipsoid((0, 4, -62), (12, 9, 11), pitch_deg=15)
    canvas.paint(bulb, MUSCLE)
    clinical = gland | (vesicles & ellipsoid((0, 16, 2), (26, 20, 16)))
    planning = crop_for_skin(with_margin(clinical, Margin.of(7.0, posterior=5.0)), canvas)

    canvas.draw_body(SKIN_TONE)
    canvas.draw("CTV", TARGET, ORANGE, clinical)
    canvas.draw("PTV", TARGET, RED, planning)
    canvas.draw("Bladder", OAR, YELLOW, bladder)
    canvas.draw("Rectum", OAR, BROWN, rectum.between(-54, 68))
    draw_femurs(canvas)
    canvas.draw("PenileBulb", OAR, PINK, bulb)
    canvas.draw("Colon_Sigmoid", OAR, (190, 130, 90), sigmoid & bag.grown(3))
    canvas.draw("Bag_Bowel", OAR, PURPLE, bag)
    return canvas.finished("phantom-prostate", "phantom:prostate", seed=1)
