"""Versions that a plan depends on, for the record."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from . import __version__

#: Packages whose versions a plan depends on.
RECORDED_PACKAGES = ("numpy", "scipy", "pyRadPlan", "pydicom", "slicer-core")


def versions() -> dict[str, str]:
    """Versions that a plan depends on."""
    found = {"radplan": __version__, "python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
