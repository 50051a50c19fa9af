"""Translation: Slicer's where the panel runs in Slicer, none elsewhere."""

from __future__ import annotations

try:
    from slicer.i18n import tr as _
except ImportError:  # Slicer's, or slicer-core without the application

    def _(text: str) -> str:
        """The text itself."""
        return text


__all__ = ["_"]
