"""How a session optimizes, and how session.json says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import InputError
from .optimize import SolverSettings


@dataclass(frozen=True)
class SessionSettings:
    """How a session optimizes.

    Parameters
    ----------
    first : SolverSettings
        For the first plan, from a flat fluence.
    later : SolverSettings
        For every later step, from the fluence it builds on.
    trial : SolverSettings
        For a proposal that is only tried out.
    voxel_limit : int
        Voxels of one structure that the optimizer looks at, at most; larger regions are thinned.
        Metrics always use all voxels.
    """

    first: SolverSettings = SolverSettings(max_iterations=400, relative_improvement=5e-6)
    later: SolverSettings = SolverSettings(
        max_iterations=80, relative_improvement=1e-5, sample_first=False
    )
    trial: SolverSettings = SolverSettings(
        max_iterations=40, relative_improvement=1e-4, sample_first=False
    )
    voxel_limit: int = 12_000


def settings_from_dict(stored: Mapping[str, Any]) -> SessionSettings:
    """Settings as session.json has them; what it lacks is as usual.

    Raises
    ------
    InputError
        If it holds settings that this version does not know.
    """
    try:
        solvers = {
            name: SolverSettings(**stored[name])
            for name in ("first", "later", "trial")
            if name in stored
        }
        return SessionSettings(**{**stored, **solvers})
    except TypeError as error:
        raise InputError(
            f"session.json: settings of the optimizer are of another version ({error}); start a "
            "new session"
        ) from None
