"""What is to be planned, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .agent.actions import Action
from .beams import Beam
from .planners import LlmRequest


@dataclass(frozen=True)
class PlanRequest:
    """What to plan and how.

    Parameters
    ----------
    case : str
        What `radplan.io.load_case` takes.
    protocol : str or dict
        Name or path of a protocol, or what its file would say.
    out : Path
        The session folder to make.
    planner : str
        A key of `radplan.planners.PLANNERS`.
    beams : str or tuple of Beam, optional
        Template, gantry angles, or beams as they are; the protocol's template when not given.
    max_steps : int
        Steps after the first plan.
    spacing_mm : float, optional
        Dose grid spacing; chosen for the case when not given.
    bixel_width_mm : float
    cache_dir : Path, optional
        Where influence matrices are kept; a folder of the user's when not given.
    processes : int, optional
        Parallel processes of the dose engine.
    structure_names : dict
        Renames structures of the case before the protocol is held against it.
    overwrite : bool
        Whether an existing session in `out` is replaced.
    llm : LlmRequest
        Which language model plans, if one does.
    preview : bool
        Whether only the first plan is made, and written down what a language model would be sent.
    influence_path : Path, optional
        An influence matrix computed elsewhere (`influence.stored`), with its beams and dose grid.
    actions : tuple of Action
        What a person wants of the first plan: its constraints, changes of its objectives.
    """

    case: str
    protocol: str | dict
    out: Path
    planner: str = "rules"
    beams: str | tuple[Beam, ...] | None = None
    max_steps: int = 40
    spacing_mm: float | None = None
    bixel_width_mm: float = 5.0
    cache_dir: Path | None = None
    processes: int | None = None
    structure_names: dict[str, str] | None = None
    overwrite: bool = False
    llm: LlmRequest = field(default_factory=LlmRequest)
    preview: bool = False
    influence_path: Path | None = None
    actions: tuple[Action, ...] = ()
