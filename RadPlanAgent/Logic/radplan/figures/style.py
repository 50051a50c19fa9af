"""What all pictures share: type, colours, safe text, and how a picture reaches the disk."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import ParamSpec

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..colors import Rgb
from ..files import written_by_rename

Arguments = ParamSpec("Arguments")

INK = "#1d2733"
MUTED = "#5b6875"
GRID = "#dfe4ea"
GOOD = "#0b6e4f"
BAD = "#b3261e"

_SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same on every machine
    "font.size": 8.5,
    "text.parse_math": False,  # a "$" in a structure's name is a dollar sign
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "path.simplify_threshold": 0.05,
}


def styled(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Draw with the project's settings, whatever the user's matplotlibrc says; then restore."""

    @wraps(draw)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(_SETTINGS)
            return draw(*args, **kwargs)

    return wrapped


def new_figure(width_in: float, height_in: float) -> Figure:
    """Make an empty white figure with its own Agg canvas, size in inches."""
    figure = Figure(figsize=(width_in, height_in), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def printable(text: str) -> str:
    """One line without control, bidirectional or other invisible characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def short_text(text: str, limit: int = 28) -> str:
    """One printable line of at most `limit` characters, for names that came from outside."""
    clean = printable(text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def luminance(color: Rgb) -> float:
    """Relative luminance of an sRGB colour, 0 black … 1 white (WCAG 2.1)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def readable_on_white(color: Rgb, most: float = 0.30) -> Rgb:
    """Darken a colour until it shows as a line on white (contrast of 3 : 1; WCAG 2.1)."""
    while luminance(color) > most:
        color = tuple(0.92 * c for c in color)
    return color


def readable_on_black(color: Rgb, least: float = 0.16) -> Rgb:
    """Lighten a colour until it shows as a line on dark CT."""
    while luminance(color) < least:
        color = tuple(1.0 - 0.92 * (1.0 - c) for c in color)
    return color


def save_png(figure: Figure, path: Path, dpi: int = 150) -> Path:
    """Write a figure as PNG; the file appears complete or not at all.

    Raises
    ------
    OSError
        If the folder cannot be written to.
    """
    with written_by_rename(path) as file:
        file.write(png_bytes(figure, dpi))
    return Path(path)


def png_bytes(figure: Figure, dpi: int = 150) -> bytes:
    """A figure as PNG file.

    The file holds no date and no software version, so that equal figures are equal files.
    """
    file = BytesIO()
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        # A name in a script that the font lacks is drawn as boxes; the page has it in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    return file.getvalue()
