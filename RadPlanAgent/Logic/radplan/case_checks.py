"""Whether a case is fit to be planned by a protocol; what is not is refused before long work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .binding import Binding, resolve
from .case import Case, StructureType
from .errors import InputError
from .geometry import Grid, Occupancy
from .protocol import Protocol
from .sampling import is_mask_on

#: Share of a structure's volume that may lie outside another one (rounding of contours).
LARGEST_SHARE_OUTSIDE = 0.01


def bind(case: Case, protocol: Protocol) -> tuple[Case, Binding]:
    """Hold a protocol against a case.

    Returns
    -------
    Case
        The case with every target of the protocol marked as one, whatever its file called it.
    Binding
        The protocol in the case's names.

    Raises
    ------
    InputError
        If a target or the structure of a must-goal is missing or empty.
    """
    binding = resolve(protocol, case.names)
    targets = binding.protocol.prescription_gy
    for name in targets:
        if case.structure(name).occupancy.is_empty:
            raise InputError(
                f"case {case.name}: target {name} is empty; draw it or remove its prescription "
                "from the protocol"
            )
    for goal in binding.protocol.goals:
        must = goal.priority == 1 and not goal.optional and goal.structure in case.names
        if must and case.structure(goal.structure).occupancy.is_empty:
            raise InputError(
                f"case {case.name}: structure {goal.structure} is empty, but the must-goal "
                f"{goal.label} needs it; draw it or make the goal optional in the protocol"
            )
    marked = (
        replace(s, type=StructureType.TARGET) if s.name in targets else s for s in case.structures
    )
    return case.with_structures(tuple(marked)), binding


def check_anatomy(case: Case, binding: Binding) -> list[str]:
    """Refuse an anatomy that cannot be planned: no body, no CT numbers, targets outside the body.

    Returns
    -------
    list of str
        What a person should know about the rest, one sentence each.
    """
    body = case.external
    if body.occupancy.is_empty:
        raise InputError(f"case {case.name}: EXTERNAL structure {body.name} is empty; draw it")
    if not np.isfinite(case.ct_hu).all():
        raise InputError(
            f"case {case.name}: the CT has voxels that are not numbers (NaN or infinite); export "
            "it again"
        )
    notes = []
    for structure in case.of_type(StructureType.TARGET, StructureType.OAR):
        if structure.occupancy.is_empty:
            notes.append(f"structure {structure.name} is empty: its goals are not evaluable")
            continue
        outside = outside_share(structure.occupancy, body.occupancy)
        if outside <= LARGEST_SHARE_OUTSIDE:
            continue
        where = f"{100 * outside:.0f} % of {structure.name} lies outside {body.name}"
        if structure.name in binding.protocol.prescription_gy:
            raise InputError(f"case {case.name}: target: {where}; correct the contours")
        notes.append(f"{where}, where there is no dose; check the contours")
    return notes


def histogram_notes(case: Case, binding: Binding, dose_grid: Grid) -> list[str]:
    """What other programs' histograms show differently, one sentence each.

    Where a mask of whole dose voxels ends within its outermost voxels nobody knows; we take their
    centres, SlicerRT eight points in each, of which the outer ones lie in the penumbra
    (``Docs/dvh-validation.md``).
    """
    masks = [
        name
        for name in binding.protocol.prescription_gy
        if is_mask_on(case.structure(name).occupancy, dose_grid)
    ]
    if not masks:
        return []
    return [
        f"{', '.join(masks)}: made of whole dose voxels, of which SlicerRT's DVH module may show "
        "a lower D95% unless its oversampling is 1"
    ]


def outside_share(region: Occupancy, body: Occupancy) -> float:
    """Share of a region's volume outside another region on the same grid."""
    box = tuple(slice(a, b) for a, b in zip(region.start, region.stop, strict=True))
    beyond = np.clip(region.values - body.onto(region.grid).array()[box], 0, None)
    return float(beyond.sum() / region.values.sum())


def renamed(case: Case, names: Mapping[str, str]) -> Case:
    """The case with structures renamed; `InputError` if one does not exist."""
    for name in names:
        case.structure(name)
    return case.with_structures(
        tuple(replace(s, name=names.get(s.name, s.name)) for s in case.structures)
    )
