"""What the segments of a segmentation are: a first guess, for a person to confirm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import slicer
from vtkmodules.vtkCommonCore import reference

from ..case import StructureType
from ..naming import NameMapping, clean_name, map_name, map_names
from .segmentation import STRUCTURE_TYPE


@dataclass(frozen=True)
class SegmentEntry:
    """A row of the mapping table.

    Parameters
    ----------
    segment_id : str
        Unique within the segmentation; names need not be.
    segment_name : str
    color : tuple of int
        RGB 0 … 255.
    guess : NameMapping
        What the name seems to mean; its `certainty` is ``certain``, ``ask`` or ``unknown``.
    """

    segment_id: str
    segment_name: str
    color: tuple[int, int, int]
    guess: NameMapping

    @property
    def default_name(self) -> str:
        """The name that the structure gets when nobody says otherwise."""
        return self.guess.name or clean_name(self.segment_name)

    @property
    def default_type(self) -> StructureType:
        """The type that the structure gets when nobody says otherwise."""
        return self.guess.type or StructureType.OAR


def segment_entries(node: slicer.vtkMRMLSegmentationNode) -> tuple[SegmentEntry, ...]:
    """All segments, in order, visible or not."""
    segmentation = node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(i) for i in range(segmentation.GetNumberOfSegments())]
    segments = [segmentation.GetSegment(segment_id) for segment_id in ids]
    guesses = map_names([segment.GetName() or "" for segment in segments])
    return tuple(
        SegmentEntry(
            segment_id,
            segment.GetName() or "",
            tuple(round(255 * channel) for channel in segment.GetColor()),
            _with_own_type(guess, segment),
        )
        for segment_id, segment, guess in zip(ids, segments, guesses, strict=True)
    )


def _with_own_type(guess: NameMapping, segment: slicer.vtkSegment) -> NameMapping:
    """The guess, with the type that we tagged the segment with when we made it."""
    value = reference("")
    if segment.GetTag(STRUCTURE_TYPE, value) and str(value) in StructureType.__members__:
        return replace(guess, type=StructureType[str(value)])
    return guess


def chosen_name_and_type(
    entry: SegmentEntry,
    names: Mapping[str, str | None],
    types: Mapping[str, StructureType],
) -> tuple[str | None, StructureType]:
    """A segment's name and type: what a person chose, by segment id, else the guess.

    A chosen name of None leaves the segment out. Where only a name was chosen, and it is one of
    TG-263, the type follows it.
    """
    name = names.get(entry.segment_id, entry.default_name)
    kind = types.get(entry.segment_id)
    if kind is None and entry.segment_id in names and name:
        kind = map_name(name).type
    return name, kind or entry.default_type
