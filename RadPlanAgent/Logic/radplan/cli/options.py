"""What the options of several commands have in common."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

#: Does a command; gives its exit code.
Run = Callable[[argparse.Namespace], int]
#: Adds a command: its name, who does it, one line on what it does, and more for its own help.
AddCommand = Callable[..., argparse.ArgumentParser]

CASE_HELP = (
    "DICOM folder, OpenKBP patient folder, matRad or pyRadPlan .mat file, session folder, or "
    "built-in case (see: radplan cases)"
)
PROTOCOL_HELP = "name (see: radplan protocols) or .json file"


def count(text: str) -> int:
    """A whole number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 on, got {text!r}")
    return int(text)


def length(text: str) -> float:
    """A positive length in mm."""
    return positive(text, "length in mm")


def positive(text: str, what: str = "number") -> float:
    """A positive number."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive {what}, got {text!r}")
    return number
