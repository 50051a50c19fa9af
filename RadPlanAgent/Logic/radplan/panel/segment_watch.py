"""Follows segments that are renamed, added or removed elsewhere in Slicer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer


class SegmentWatch:
    """Watches the segments of one segmentation node at a time.

    Parameters
    ----------
    changed : callable
        Called when a segment was renamed, added or removed.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._node: Any = None
        self._tags: list[int] = []

    def follow(self, node: Any) -> None:
        """Watch a node from now on; None for none."""
        if node is self._node:
            return
        for tag in self._tags:
            self._node.RemoveObserver(tag)
        self._node, self._tags = node, []
        if node is not None:
            events = slicer.vtkSegmentation
            self._tags = [
                node.AddObserver(event, lambda *_args: self._changed())
                for event in (events.SegmentAdded, events.SegmentRemoved, events.SegmentModified)
            ]
