"""What the dose of a plan is computed with: beams, dose grid and influence matrix."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .beams import Beam, make_beams
from .binding import Binding
from .case import Case
from .geometry import Grid, Occupancy, Triple
from .influence import choose_dose_grid, estimate_memory, influence_matrix
from .influence.matrix import InfluenceMatrix
from .influence.stored import describe_influence, load_influence
from .observer import Observer
from .plan_request import PlanRequest


def influence_for(
    case: Case, binding: Binding, request: PlanRequest, observer: Observer
) -> InfluenceMatrix:
    """The influence matrix with which a request is planned."""
    beams, grid = beams_and_grid(case, binding, request)
    return influence_of(case, binding, beams, grid, influence_settings(request), observer)


def beams_and_grid(
    case: Case, binding: Binding, request: PlanRequest
) -> tuple[tuple[Beam, ...], Grid]:
    """What to compute the influence matrix for, or what the one given is of."""
    if request.influence_path is not None:
        stored = describe_influence(request.influence_path, case)
        return stored.beams, stored.grid
    return choose_beams(case, binding, request), choose_dose_grid(case, request.spacing_mm)


def choose_beams(case: Case, binding: Binding, request: PlanRequest) -> tuple[Beam, ...]:
    """The request's beams, else the protocol's, around the centre of all targets."""
    if isinstance(request.beams, tuple):
        return request.beams
    template = request.beams or binding.protocol.beams
    return make_beams(template, isocenter(case, binding), request.bixel_width_mm)


def isocenter(case: Case, binding: Binding) -> Triple:
    """Centre of mass of the union of all targets, LPS mm."""
    union = np.zeros(case.grid.shape, np.float32)
    for name in binding.protocol.targets:
        union = np.maximum(union, case.structure(name).occupancy.onto(case.grid).array())
    return Occupancy.from_array(case.grid, union).centroid_mm


def influence_settings(request: PlanRequest) -> dict[str, Any]:
    """Where a request's matrix is from and kept, as session.json has it."""
    return {
        "cache_dir": _text(request.cache_dir),
        "processes": request.processes,
        "influence_path": _text(request.influence_path),
    }


def influence_of(
    case: Case,
    binding: Binding,
    beams: tuple[Beam, ...],
    grid: Grid,
    settings: Mapping[str, Any],
    observer: Observer,
) -> InfluenceMatrix:
    """The influence matrix of beams on a grid: given, kept from before, or computed.

    Parameters
    ----------
    case : Case
    binding : Binding
    beams : tuple of Beam
    grid : Grid
    settings : mapping
        See `influence_settings`.
    observer : Observer
        Told how large the matrix will be, and how far it is.
    """
    if settings.get("influence_path"):  # older sessions do not have it
        return load_influence(Path(settings["influence_path"]), case)
    targets = binding.protocol.targets
    estimate = estimate_memory(case, beams, grid, target_names=targets)
    observer.note(str(estimate))
    cache_dir = Path(settings["cache_dir"]) if settings["cache_dir"] else default_cache_dir()
    return influence_matrix(
        case,
        beams,
        grid,
        target_names=targets,
        cache_dir=cache_dir,
        processes=settings["processes"],
        progress=observer.progress,
        cancel_requested=observer.cancel_requested,
    )


def default_cache_dir() -> Path:
    """Folder of influence matrices: $RADPLAN_CACHE, else radplan in the user's cache folder."""
    if "RADPLAN_CACHE" in os.environ:
        return Path(os.environ["RADPLAN_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "radplan"


def _text(path: Path | None) -> str | None:
    return str(path.absolute()) if path else None
