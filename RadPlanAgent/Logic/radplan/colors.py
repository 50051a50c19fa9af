"""The colours of structures, the same in figures, in the report and in the MRML scene."""

from __future__ import annotations

from collections.abc import Iterable

from .case import Structure, StructureType

#: RGB, 0 … 1.
Rgb = tuple[float, float, float]

#: Colours for structures that bring none: distinct for the colour-blind (Okabe and Ito 2008,
#: black left out; more from Tol's "bright" and "muted" sets).
PALETTE = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#882255",
    "#999933",
    "#4477aa",
    "#b7a100",
)
TARGET_PALETTE = ("#d00000", "#7b2cbf", "#e85d04")
EXTERNAL_COLOR = "#d8dee6"


def rgb_of(hexadecimal: str) -> Rgb:
    """RGB 0 … 1 of a colour written as ``#rrggbb``."""
    return tuple(int(hexadecimal[i : i + 2], 16) / 255.0 for i in (1, 3, 5))


def structure_colors(structures: Iterable[Structure]) -> dict[str, Rgb]:
    """RGB 0 … 1 of every structure by name: its own colour, else one from the palettes."""
    colors: dict[str, Rgb] = {}
    targets = organs = 0
    for structure in structures:
        if structure.type is StructureType.EXTERNAL:
            colors[structure.name] = rgb_of(EXTERNAL_COLOR)
        elif structure.color is not None:
            colors[structure.name] = tuple(c / 255.0 for c in structure.color)
        elif structure.type is StructureType.TARGET:
            colors[structure.name] = rgb_of(TARGET_PALETTE[targets % len(TARGET_PALETTE)])
            targets += 1
        else:
            colors[structure.name] = rgb_of(PALETTE[organs % len(PALETTE)])
            organs += 1
    return colors
