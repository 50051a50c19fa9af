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
    BLUE,
    BROWN,
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
GLOTTIS_Z = -26.0
#: Without involved nodes, level II is treated up to the transverse process of C1 only.
UNINVOLVED_NECK_TOP_Z = 38.0
TARGET_COLORS = {
    "CTV_7000": (255, 90, 120),
    "PTV_7000": RED,
    "PTV_5600": ORANGE,
    "PTV_5200": YELLOW,
}
#: Left and right colour of paired organs.
PAIRS = {
    "Parotid": (GREEN, (120, 210, 60)),
    "Glnd_Submand": (TEAL, (90, 200, 180)),
}
ORGAN_COLORS = {
    "SpinalCord": (0, 200, 255),
    "Brainstem": BLUE,
    "Bone_Mandible": (240, 240, 200),
    "Larynx": PURPLE,
    "Larynx_SG": (190, 130, 230),
    "Pharynx": (190, 120, 90),
    "Cavity_Oral": (255, 170, 120),
    "Esophagus_S": BROWN,
    "Lips": (220, 90, 130),
    "Glnd_Thyroid": (200, 200, 60),
    "Brain": (200, 170, 200),
}


def parotid() -> Shape:
    """Return the left parotid: superficial lobe, and deep lobe behind the jaw."""
    superficial = ellipsoid((60, 0, 44), (11, 21, 28), yaw_deg=-12)
    deep = ellipsoid((49, 4, 43), (12, 12, 20))
    gland = superficial.blended(deep, 8).uneven(0.8, 16, seed=14)
    return gland - mandible().grown(2.0) - ellipsoid((56, 22, 66), (13, 15, 19))


def submandibular() -> Shape:
    """Return the left submandibular gland."""
    gland = ellipsoid((35, -36, 5), (10, 16.5, 12.5), yaw_deg=25).uneven(0.5, 14, seed=15)
    return gland - mandible().grown(2.0)


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
        [(38, 6, 46), (41, 4, 28), (40, 3, 5), (36, 1, -20), (33, -1, -44)],
        [(9, 12), (12, 16), (13, 17), (11, 15), (11, 14)],
    )
    lower = tube(
        [(33, -1, -44), (31, -3, -62), (30, -2, -80)], [(11, 14), (11, 13), (11, 13)]
    ).blended(tube([(30, 0, -77), (46, 2, -81), (64, 6, -83)], [(9, 12), (10, 11), (7, 9)]), 6)
    return upper, lower


def organs() -> dict[str, Shape]:
    """Return the organs at risk by name; of pairs the left one, without its side."""
    jaw = mandible()
    larynx = ellipsoid((0, -35, -24), (19.5, 16.5, 20.5), 2.2)
    cord = tube(canal_points(), [(6.5, 4.6)] * len(canal_points()))
    brainstem = tube(
        [(0, 22, 50), (0, 21, 62), (0, 16, 80), (0, 10, 98), (0, 4, 114)],
        [(7, 6), (8.5, 7.5), (13, 10.5), (16.5, 13), (14, 10)],
    ).between(FORAMEN_MAGNUM_Z, 118)
    lobe = ellipsoid((16, -28, -62), (8.5, 11, 20), pitch_deg=8)
    isthmus = ellipsoid((0, -39, -64), (12, 3, 8))
    return {
        "SpinalCord": cord.between(-200, FORAMEN_MAGNUM_Z),
        "Brainstem": brainstem,
        "Parotid": parotid(),
        "Glnd_Submand": submandibular(),
        "Bone_Mandible": jaw,
        "Larynx": larynx,
        "Larynx_SG": larynx.between(GLOTTIS_Z, 10),
        "Pharynx": tube(
            [(0, -14, 56), (0, -15, 30), (0, -16, 5), (0, -19, -20), (0, -20, -42)],
            [(17, 4), (18, 4), (19, 4.5), (18, 4.5), (13, 4.5)],
        ),
        "Cavity_Oral": ellipsoid((0, -56, 33), (26, 28, 25), 2.2) - jaw,
        "Esophagus_S": oesophagus(),
        "Lips": ellipsoid((0, -92, 38), (25, 8, 10), 2.3),
        "Glnd_Thyroid": union([*both(lobe), isthmus], 3) - airway()[1].grown(2),
        "Brain": brain() - brainstem,
    }


def _paint_organs(canvas: Canvas, organ: dict[str, Shape]) -> None:
    """Paint organs, laryngeal skeleton and airway over the frame."""
    pharynx_air, larynx_air = airway()
    gullet = organ["Esophagus_S"]
    canvas.paint(organ["Lips"] & canvas.body.grown(-1.5), MUSCLE - 10)
    canvas.paint(organ["Pharynx"], MUSCLE)
    canvas.paint(pharynx_air.grown(3.0), ORGAN)
    canvas.paint(organ["Larynx"], ORGAN)
    canvas.paint_pair(organ["Parotid"], PAROTID_HU)
    canvas.paint_pair(organ["Glnd_Submand"], SUBMANDIBULAR_HU)
    canvas.paint(organ["Glnd_Thyroid"], THYROID_HU)
    canvas.paint(gullet, ORGAN)
    canvas.paint(gullet.grown(-4.5), -300.0)
    canvas.paint(organ["SpinalCord"], 38.0)
    canvas.paint(organ["Brainstem"], 36.0)
    tumour, node = primary_tumour(), involved_node()
    canvas.paint(tumour, 65.0)
    canvas.paint(node, 60.0)
    canvas.paint(node.grown(-5.0), 25.0)
    thyroid_cartilage = tube(
        [(0, -51, -19), (12, -44, -18), (20, -32, -17), (22, -20, -16)],
        [(11, 1.8), (13, 1.8), (13, 1.8), (14, 1.8)],
        side=(0, 0, 1),
    )
    canvas.paint_pair(thyroid_cartilage, 180.0)
    cricoid = ellipsoid((0, -33, -41), (15, 14, 7))
    canvas.paint(cricoid, 160.0)
    hyoid = tube([(-21, -28, 4), (-14, -42, 2), (0, -47, 1), (14, -42, 2), (21, -28, 4)], 2.8)
    canvas.paint(hyoid, 700.0)
    canvas.paint(larynx_air.grown(2.0).between(-200, -44), CARTILAGE)
    canvas.paint(union([pharynx_air, larynx_air]), GAS)


def _targets() -> dict[str, Shape]:
    """Return CTVs and PTVs by name, each PTV without those of higher dose."""
    barrier = union([mandible(), *airway()]).tabulated(1.5)
    gross = union([primary_tumour(), involved_node()])
    upper, lower = neck_levels()
    retropharyngeal = tube([(14, -12, 58), (16, -11, 40), (16, -11, 12)], [5, 5, 4.5])
    high = (with_margin(gross, Margin.of(CTV_MARGIN_MM)) - barrier).tabulated(1.5)
    middle = union(
        [
            with_margin(gross, Margin.of(2 * CTV_MARGIN_MM)),
            upper,
            upper.mirrored().between(-100, UNINVOLVED_NECK_TOP_Z),
            *both(retropharyngeal),
            submandibular(),
        ]
    )
    low = union(both(lower)).tabulated(1.5)
    ptv_high, ptv_middle, ptv_low = (
        with_margin(clinical, Margin.of(PTV_MARGIN_MM))
        for clinical in (high, (middle - barrier).tabulated(1.5), low)
    )
    return {
        "CTV_7000": high,
        "PTV_7000": ptv_high,
        "PTV_5600": ptv_middle - ptv_high,
        "PTV_5200": ptv_low - (ptv_high | ptv_middle),
    }


def make_head_neck() -> Case:
    """Head and neck with a cancer of the left tonsil and a node in left level II.

    CTV_7000: primary and node with 5 mm. CTV_5600: left levels Ib to III and right II to III,
    retropharyngeal nodes. CTV_5200: level IV and the supraclavicular fossae. PTVs: 4 mm, at least
    4 mm under the skin, each without the PTVs of higher dose (about 120, 250 and 100 cc). They
    overlap both parotids, the left submandibular gland, pharynx, oral cavity and larynx. Parotids
    about 27 cc, submandibular glands 8, cord 17, brainstem 28, mandible 67, larynx 30, oral
    cavity 80, oesophagus 13 cc. CT 2 × 2 × 2.5 mm.
    """
    grid = Grid((98, 112, 232), (2.0, 2.0, 2.5), (-231.0, -115.0, -115.0))
    canvas = Canvas(grid, body(grid))
    paint_frame(canvas)
    organ = organs()
    _paint_organs(canvas, organ)

    canvas.draw_body(SKIN_TONE)
    air = union(airway())
    canvas.draw("GTV", TARGET, PINK, primary_tumour() - air, involved_node())
    under_skin = canvas.body.grown(-SKIN_CROP_MM)
    for name, target in _targets().items():
        canvas.draw(name, TARGET, TARGET_COLORS[name], target & under_skin)
    for name, shape in organ.items():
        if name in PAIRS:
            left_color, right_color = PAIRS[name]
            canvas.draw(f"{name}_L", OAR, left_color, shape)
            canvas.draw(f"{name}_R", OAR, right_color, shape.mirrored())
        else:
            canvas.draw(name, OAR, ORGAN_COLORS[name], shape)
    # The cord runs on below the scan: so does its margin.
    cord = organ["SpinalCord"].between(-130, FORAMEN_MAGNUM_Z)
    prv_mm = Margin.of(5.0)
    canvas.draw("SpinalCord_PRV05", OAR, (120, 220, 255), with_margin(cord, prv_mm))
    canvas.draw("Brainstem_PRV05", OAR, (150, 180, 255), with_margin(organ["Brainstem"], prv_mm))
    return canvas.finished("phantom-head-neck", "phantom:head-neck", seed=3)
