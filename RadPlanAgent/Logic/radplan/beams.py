"""Treatment beams and the usual ways to arrange them."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import InputError
from .geometry import Triple


@dataclass(frozen=True)
class Beam:
    """One static photon field that a dose engine divides into beamlets.

    Angles follow IEC 61217, degrees; the isocentre is LPS (x, y, z) mm.
    """

    gantry_angle_deg: float
    isocenter_mm: Triple
    couch_angle_deg: float = 0.0
    bixel_width_mm: float = 5.0
    machine: str = "Generic"
    name: str = ""


#: Named arrangements: gantry angles in degrees, coplanar.
BEAM_TEMPLATES: dict[str, tuple[float, ...]] = {
    "coplanar5": tuple(range(0, 360, 72)),
    "coplanar7": (0, 51, 103, 154, 206, 257, 309),
    "coplanar9": tuple(range(0, 360, 40)),
    "coplanar11": tuple(round(i * 360 / 11) for i in range(11)),
    "coplanar18": tuple(range(0, 360, 20)),
    "coplanar36": tuple(range(0, 360, 10)),
}


def gantry_angles(template: str) -> tuple[float, ...]:
    """Gantry angles of a template name or of a list such as ``"0,40,80"``.

    Raises
    ------
    InputError
        If the text is neither, or an angle is repeated or outside 0 … 360.
    """
    if template in BEAM_TEMPLATES:
        return BEAM_TEMPLATES[template]
    try:
        angles = tuple(float(part) for part in template.split(","))
    except ValueError:
        raise InputError(
            f"beams {template!r} is neither a template ({', '.join(BEAM_TEMPLATES)}) nor gantry "
            'angles in degrees such as "0,40,80"'
        ) from None
    if not all(0 <= a < 360 for a in angles) or len(set(angles)) != len(angles):
        raise InputError(f"beams {template!r}: gantry angles must differ and lie in 0 ≤ a < 360")
    return angles


def make_beams(
    template: str, isocenter_mm: Triple, bixel_width_mm: float = 5.0, machine: str = "Generic"
) -> tuple[Beam, ...]:
    """Coplanar beams of a template (see `gantry_angles`) around one isocentre."""
    return tuple(
        Beam(float(a), isocenter_mm, 0.0, bixel_width_mm, machine, f"G{a:05.1f}")
        for a in gantry_angles(template)
    )
