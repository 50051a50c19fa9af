"""The CT and the segmentation of a scene as a case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import slicer

from ..case import Case, Structure, StructureType
from ..errors import InputError
from ..geometry import Grid
from ..naming import laterality_problem
from ..progress import CancelRequested, ProgressReport, check_cancelled, never, silent
from .mapping import SegmentEntry, chosen_name_and_type, segment_entries
from .read_segments import read_segment
from .read_volume import dicom_reference, frame_of_reference_uid, patient_position, read_ct

#: What a case says about where it came from: no name that could tell who the patient is.
SOURCE = "3D Slicer scene"


def case_from_scene(
    volume: slicer.vtkMRMLScalarVolumeNode,
    segmentation: slicer.vtkMRMLSegmentationNode,
    *,
    names: Mapping[str, str | None] | None = None,
    types: Mapping[str, StructureType] | None = None,
    name: str = "patient",
    position: str = "",
    database: Any = None,
    progress: ProgressReport = silent,
    cancel_requested: CancelRequested = never,
) -> Case:
    """Read a case; the scene is left as it is.

    Axes of the CT are swapped and flipped, never resampled. Transforms over the two nodes are
    applied to what is read.

    Parameters
    ----------
    volume, segmentation : MRML nodes
    names : mapping, optional
        Structure names by segment id; None leaves a segment out. Segments that are not listed get
        the name of `mapping.segment_entries`.
    types : mapping, optional
        Structure types by segment id.
    name : str
        Label of the case; must not tell who the patient is.
    position : str
        DICOM patient position, where a person said it; else `database` is asked.
    database : ctkDICOMDatabase, optional
        ``slicer.dicomDatabase``: knows patient position and UIDs of what was loaded from DICOM.
    progress, cancel_requested
        See `radplan.progress`.

    Raises
    ------
    InputError
        Naming volume or segment: no CT, oblique, under a transform that is not linear; two
        segments of one name; no segments; a target that reaches beyond the CT.
    """
    if volume is None or segmentation is None:
        missing = "volume (the planning CT)" if volume is None else "segmentation"
        raise InputError(f"no {missing} is chosen; choose one")
    progress("reading the CT", 0.0)
    grid, hu, warnings = read_ct(volume)
    warnings = list(warnings)
    position = position or patient_position(volume, database)
    if not position:
        position = "HFS"
        warnings.append(
            "the scene does not say how the patient lies; head first supine is assumed"
        )
    entries = segment_entries(segmentation)
    chosen = [(entry, *chosen_name_and_type(entry, names or {}, types or {})) for entry in entries]
    chosen = [row for row in chosen if row[1] is not None]
    if not chosen:
        raise InputError(
            f"segmentation {segmentation.GetName()!r} has no segments to plan with; choose another"
        )
    _refuse_double_names(chosen)
    structures = []
    for number, (entry, structure_name, kind) in enumerate(chosen):
        check_cancelled(cancel_requested)
        progress(f"reading {structure_name}", number / len(chosen))
        structures.append(_structure(segmentation, entry, structure_name, kind, grid, warnings))
        if entry.guess.certainty == "ask" and entry.segment_id not in (names or {}):
            warnings.append(
                f"structure {structure_name} could be {', '.join(entry.guess.candidates)}; kept "
                "under its own name"
            )
    _check_sides(structures, warnings)
    progress("reading the scene", 1.0)
    return Case(
        name=name,
        grid=grid,
        ct_hu=hu,
        structures=tuple(structures),
        patient_position=position,
        frame_of_reference_uid=frame_of_reference_uid(volume, database),
        source=SOURCE,
        dicom=dicom_reference(volume, grid, database),
        warnings=tuple(warnings),
    )


def _refuse_double_names(chosen: list[tuple[SegmentEntry, str, StructureType]]) -> None:
    sources: dict[str, list[str]] = {}
    for entry, name, _ in chosen:
        sources.setdefault(name, []).append(repr(entry.segment_name))
    for name, found in sources.items():
        if len(found) > 1:
            raise InputError(
                f"segments {' and '.join(found)} are both named {name}; give one of them another "
                "name, or leave it out"
            )


def _structure(
    node: slicer.vtkMRMLSegmentationNode,
    entry: SegmentEntry,
    name: str,
    kind: StructureType,
    grid: Grid,
    warnings: list[str],
) -> Structure:
    occupancy, outside_mm, notes = read_segment(node, entry.segment_id, grid)
    # Half a voxel is what outlines along voxel centres or borders may differ by.
    if outside_mm > max(grid.spacing_mm) / 2:
        what = f"reaches {outside_mm:.1f} mm beyond the CT"
        if occupancy.is_empty:
            raise InputError(
                f"segment {entry.segment_name!r} lies outside the CT; choose the CT that it was "
                "drawn on, or leave it out"
            )
        if kind is StructureType.TARGET:
            raise InputError(
                f"segment {entry.segment_name!r} is a target and {what}; use a CT that covers it"
            )
        warnings.append(f"structure {name} {what}; cut off there")
    if occupancy.is_empty:
        warnings.append(f"structure {name} is empty")
    warnings.extend(f"structure {name}: {note}" for note in notes)
    return Structure(name, kind, occupancy, entry.segment_name, entry.color)


def _check_sides(structures: list[Structure], warnings: list[str]) -> None:
    """Tell where a name says left and the structure lies right: a CT may have been mirrored."""
    bodies = [s for s in structures if s.type is StructureType.EXTERNAL]
    if len(bodies) != 1 or bodies[0].occupancy.is_empty:
        return
    midline = bodies[0].occupancy.centroid_mm[0]
    for structure in structures:
        if not structure.occupancy.is_empty:
            problem = laterality_problem(
                structure.name, structure.occupancy.centroid_mm[0], midline
            )
            if problem is not None:
                warnings.append(problem)
