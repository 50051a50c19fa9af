"""Reference plans made from sessions."""

from __future__ import annotations

from dataclasses import replace

from ..case import StructureType
from ..errors import InputError
from ..metrics import StructureDose
from ..optimize import Objective
from .actions import Action, AddObjective
from .example import (
    DOSE_MAP,
    NAME,
    ORIGINS,
    Example,
    TriedStep,
    without_free_text,
)
from .examples import anatomy_in_tokens, site_of
from .facts import DVH_VOLUMES_PERCENT, MAXIMUM_VOLUME_CC
from .trajectory import Situation
from .view import View, view_of

#: Pixels per inch of the picture: three of them go with every prompt.
DPI = 75


def make_example(
    situation: Situation,
    name: str,
    *,
    origin: str,
    planner: str,
    version: str,
    source: str = "",
    approved_by: str = "",
    with_picture: bool = True,
) -> Example:
    """Make a reference plan of a session's best plan.

    Parameters
    ----------
    situation : Situation
    name : str
        Letters, digits and ``. _ -``, at most 40; a prompt shows it.
    origin : str
        A key of `radplan.agent.example.ORIGINS`.
    planner, version : str
        Who planned, and with which version of the program.
    source, approved_by : str
        For people; a language model is shown neither.
    with_picture : bool
        Whether the dose is drawn on an axial slice through the highest target.

    Raises
    ------
    InputError
        If the name cannot be one.
    """
    if not NAME.fullmatch(name):
        raise InputError(
            f"a reference plan cannot be called {name[:60]!r}: use at most 40 letters, digits and "
            ". _ - and begin with a letter or digit"
        )
    if origin not in ORIGINS:
        raise InputError(f"origin {origin!r} of a reference plan; there are {', '.join(ORIGINS)}")
    view = view_of(situation)
    token = view.tokens.token
    case, protocol = situation.case, situation.protocol
    anatomy = anatomy_in_tokens(case, protocol, view.tokens)
    shown = {fact.structure for fact in anatomy}
    return Example(
        name=name,
        origin=origin,
        site=site_of(protocol, view.tokens),
        protocol=without_free_text(view.protocol),
        anatomy=anatomy,
        steps=_steps(view),
        doses={
            token(structure): _doses(dose)
            for structure, dose in situation.structure_doses.items()
            if token(structure) in shown
        },
        homogeneity_index=view.scorecard.homogeneity_index,
        conformity_index=view.scorecard.conformity_index,
        planner=planner,
        version=version,
        source=source,
        approved_by=approved_by,
        picture=_picture(situation, view) if with_picture else None,
    )


def _steps(view: View) -> tuple[TriedStep, ...]:
    """The steps up to the best plan and after it, with the goals' free text taken out."""
    goals = without_free_text(view.protocol).goals
    steps = []
    for step in view.steps:
        results = tuple(
            replace(result, goal=goal, note="")
            for goal, result in zip(goals, step.scorecard.goals, strict=True)
        )
        actions = tuple(_plain_action(a) for a in step.actions)
        objectives = tuple(_plain(o) for o in step.objectives)
        steps.append(TriedStep(step.base, step.kept, actions, objectives, results))
    return tuple(steps)


def _plain_action(action: Action) -> Action:
    action = replace(action, reason="", author="")
    if isinstance(action, AddObjective):
        return replace(action, objective=_plain(action.objective))
    return action


def _plain(objective: Objective) -> Objective:
    """An objective without the name of its dose map, which may be anything."""
    return objective if objective.dose_map is None else replace(objective, dose_map=DOSE_MAP)


def _doses(dose: StructureDose) -> tuple[float, ...]:
    """`radplan.agent.example.DOSES` of one structure, Gy."""
    return (
        dose.mean_gy,
        *(dose.dose_at_volume_percent(v) for v in DVH_VOLUMES_PERCENT),
        dose.dose_at_volume_cc(MAXIMUM_VOLUME_CC),
    )


def _picture(situation: Situation, view: View) -> bytes:
    from ..figures import dose_plane_figure, png_bytes  # needs matplotlib

    case, highest = situation.case, situation.protocol.highest
    targets = situation.protocol.prescription_gy
    figure = dose_plane_figure(
        case,
        situation.dose,
        view="axial",
        point_mm=case.structure(highest.target).occupancy.centroid_mm,
        prescription_gy=highest.dose_gy,
        title=f"Axial through {view.tokens.token(highest.target)} centre",
        labels={
            s.name: view.tokens.token(s.name)
            for s in case.structures
            if s.name in targets or s.type is StructureType.OAR
        },
    )
    return png_bytes(figure, DPI)
