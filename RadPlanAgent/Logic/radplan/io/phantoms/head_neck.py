"""Digital phantom: head and neck with an oropharyngeal cancer and its nodes."""

from __future__ import annotations

from ...case import Case
from ...geometry import Grid
from .canvas import Canvas
from .neck_frame import (
    FORAMEN_MAGNUM_Z,
    airway,
    body,
    both,
    brain,
    canal_points,
    mandible,
    oesophagus,
    paint_frame,
)
from .shapes import Margin, Shape, ellipsoid, tube, union, with_margin
from .tissues import (
    BROWN,
    BLUE,
    CARTILAGE,
    GAS,
    GREEN,
    MUSCLE,
    OAR,
    ORANGE,
    ORGAN,
    PINK,
    PURPLE,
    RED,
    SKIN_CROP_MM,
    SKIN_TONE,
    TARGET,
    TEAL,
    YELLOW,
)

PAROTID_HU, SUBMANDIBULAR_HU, THYROID_HU = -15.0, 30.0, 110.0
CTV_MARGIN_MM, PTV_MARGIN_MM = 5.0, 4.0


def parotid() -> Shape:
    """Return the left parotid: superficial lobe, and deep lobe behind the jaw."""
    superficial = ellipsoid((60, 0, 45), (10, 19, 26), yaw_deg=-12)
    deep = ellipsoid((49, 4, 44), (11, 11, 19))
    gland = superficial.blended(deep, 8).uneven(0.8, 16, seed=14)
    return gland - mandible().grown(1.5) - ellipsoid((56, 22, 66), (13, 15, 19))


def submandibular() -> Shape:
    """Return the left submandibular gland."""
    gland = ellipsoid((33, -36, 5), (10, 16, 12.5), yaw_deg=25).uneven(0.5, 14, seed=15)
    return gland - mandible().grown(1.5)


def primary_tumour() -> Shape:
    """Return a cancer of the left tonsil that reaches the base of the tongue."""
    tonsil = ellipsoid((20, -22, 23), (12, 14, 18), roll_deg=8)
    tongue_base = ellipsoid((9, -38, 14), (12, 10, 11))
    return tonsil.blended(tongue_base, 8).uneven(1.0, 18, seed=16)


def involved_node() -> Shape:
    """Return an enlarged node of left level II, between jugular vein and sternocleidomastoid."""
    return ellipsoid((42, 4, 6), (10, 12, 16), roll_deg=5).uneven(0.8, 16, seed=17)


def neck_levels() -> tuple[Shape, Shape]:
    """Return left levels II and III, and left level IV with the supraclavicular fossa."""
    upper = tube(
        [(38, 6, 50), (41, 4, 30), (40, 3, 5), (36, 1, -20), (33, -1, -44)],
        [(9, 12), (12, 16), (13, 17), (11, 15), (11, 14)],
    )
    lower = tube(
        [(33, -1, -44), (31, -3, -62), (30, -2, -84)], [(11, 14), (11, 13), (11, 13)]
    ).blended(tube([(30, 0, -80), (46, 2, -84), (64, 6, -86)], [(9, 12), (10, 11), (7, 9)]), 6)
    return upper, lower


def make_head_neck() -> Case:
    """Head and neck with a cancer of the left tonsil and a node in left level II.

    CTV_7000: primary and node with 5 mm. CTV_5600: left levels Ib to III and right II to III,
    retropharyngeal nodes. CTV_5200: level IV and the supraclavicular fossae. PTVs: 4 mm, at least
    4 mm under the skin, each without the PTVs of higher dose (about 120, 250 and 110 cc). They
    overlap the left parotid and submandibular gland, and touch the right ones and the larynx.
    Parotids about 30 cc, cord 17, brainstem 26, mandible 65, larynx 25, oral cavity 75,
    oesophagus 10 cc. CT 2 × 2 × 2.5 mm.
    """
    grid = Grid((98, 112, 220), (2.0, 2.0, 2.5), (-219.0, -115.0, -115.0))
    canvas = Canvas(grid, body(grid))
    paint_frame(canvas)

    pharynx_air, larynx_air = airway()
    air = union([pharynx_air, larynx_air])
    jaw, gullet = mandible(), oesophagus()
    glands = {"Parotid": parotid(), "Glnd_Submand": submandibular()}
    larynx = ellipsoid((0, -35, -24), (19.5, 16.5, 20.5), 2.2)
    pharynx = tube(
        [(0, -14, 56), (0, -15, 30), (0, -16, 5), (0, -19, -20), (0, -20, -42)],
        [(17, 4), (18, 4), (19, 4.5), (18, 4.5), (13, 4.5)],
    )
    lobe = ellipsoid((16, -28, -62), (8.5, 11, 20), pitch_deg=8)
    thyroid = union([*both(lobe), ellipsoid((0, -39, -64), (12, 3, 8))], 3) - larynx_air.grown(2)
    cord = tube(canal_points(), [(6.5, 4.6)] * len(canal_points())).between(-200, FORAMEN_MAGNUM_Z)
    brainstem = tube(
        [(0, 22, 50), (0, 21, 62), (0, 16, 80), (0, 10, 98), (0, 4, 114)],
        [(7, 6), (8.5, 7.5), (13, 10.5), (16.5, 13), (14, 10)],
    ).between(FORAMEN_MAGNUM_Z, 118)

    canvas.paint(pharynx, MUSCLE)
    canvas.paint(pharynx_air.grown(3.0), ORGAN)
    canvas.paint(larynx, ORGAN)
    for name, hu in (("Parotid", PAROTID_HU), ("Glnd_Submand", SUBMANDIBULAR_HU)):
        canvas.paint_pair(glands[name], hu)
    canvas.paint(thyroid, THYROID_HU)
    canvas.paint(gullet, ORGAN)
    canvas.paint(gullet.grown(-4.5), -300.0)
    canvas.paint(cord, 38.0)
    canvas.paint(brainstem, 36.0)
    tumour, node = primary_tumour() - air.grown(0.5), involved_node()
    canvas.paint(tumour, 65.0)
    canvas.paint(node, 60.0)
    canvas.paint(node.grown(-5.0), 25.0)
    wings = tube(
        [(0, -51, -19), (12, -44, -18), (20, -32, -17), (22, -20, -16)],
        [(11, 1.8), (13, 1.8), (13, 1.8), (14, 1.8)],
        side=(0, 0, 1),
    )
    canvas.paint_pair(wings, 180.0)
    canvas.paint(ellipsoid((0, -33, -41), (15, 14, 7)), 160.0)
    canvas.paint(
        tube([(-23, -26, 4), (-14, -42, 2), (0, -47, 1), (14, -42, 2), (23, -26, 4)], 3.0), 700.0
    )
    canvas.paint(larynx_air.grown(2.0).between(-200, -44), CARTILAGE)
    canvas.paint(air, GAS)

    solid = union([jaw, air]).tabulated(1.5)
    gross = union([tumour, node])
    high = with_margin(gross, Margin.of(CTV_MARGIN_MM)) - solid
    upper, lower = neck_levels()
    retropharyngeal = tube([(14, -12, 58), (16, -11, 40), (16, -11, 12)], [5, 5, 4.5])
    middle = union(
        [
            with_margin(gross, Margin.of(2 * CTV_MARGIN_MM)),
            *both(upper),
            *both(retropharyngeal),
            submandibular(),
        ]
    )
    low = union(both(lower))
    ptv_margin = Margin.of(PTV_MARGIN_MM)
    under_skin = canvas.body.grown(-SKIN_CROP_MM)
    ptv_high = with_margin(high.tabulated(1.5), ptv_margin)
    ptv_middle = with_margin((middle - solid).tabulated(1.5), ptv_margin)
    ptv_low = with_margin(low.tabulated(1.5), ptv_margin)

    canvas.draw_body(SKIN_TONE)
    canvas.draw("GTV", TARGET, PINK, tumour, node)
    canvas.draw("CTV_7000", TARGET, (255, 90, 120), high)
    canvas.draw("PTV_7000", TARGET, RED, ptv_high & under_skin)
    canvas.draw("PTV_5600", TARGET, ORANGE, (ptv_middle - ptv_high) & under_skin)
    canvas.draw("PTV_5200", TARGET, YELLOW, (ptv_low - union([ptv_high, ptv_middle])) & under_skin)
    canvas.draw("SpinalCord", OAR, (0, 200, 255), cord)
    canvas.draw(
        "SpinalCord_PRV05",
        OAR,
        (120, 220, 255),
        with_margin(cord.between(-130, 200), Margin.of(5.0)),
    )
    canvas.draw("Brainstem", OAR, BLUE, brainstem)
    canvas.draw("Brainstem_PRV03", OAR, (150, 180, 255), with_margin(brainstem, Margin.of(3.0)))
    for name, left_color, right_color in (
        ("Parotid", GREEN, (120, 210, 60)),
        ("Glnd_Submand", TEAL, (90, 200, 180)),
    ):
        canvas.draw(f"{name}_L", OAR, left_color, glands[name])
        canvas.draw(f"{name}_R", OAR, right_color, glands[name].mirrored())
    canvas.draw("Bone_Mandible", OAR, (240, 240, 200), jaw)
    canvas.draw("Larynx", OAR, PURPLE, larynx)
    canvas.draw("Pharynx", OAR, (190, 120, 90), pharynx)
    canvas.draw(
        "Cavity_Oral", OAR, (255, 170, 120), ellipsoid((0, -56, 33), (26, 28, 25), 2.2) - jaw
    )
    canvas.draw("Esophagus", OAR, BROWN, gullet)
    canvas.draw("Lips", OAR, (220, 90, 130), ellipsoid((0, -92, 38), (25, 8, 10), 2.3))
    canvas.draw("Glnd_Thyroid", OAR, (200, 200, 60), thyroid)
    canvas.draw("Brain", OAR, (200, 170, 200), brain() - brainstem)
    return canvas.finished("phantom-head-neck", "phantom:head-neck", seed=3)
