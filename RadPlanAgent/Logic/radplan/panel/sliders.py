"""Sliders: one per organ and target, and the actions that a position stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..agent.actions import WEIGHT_BOUNDS
from ..case import StructureType
from ..optimize import Objective
from .objective_edits import weight_actions

#: At the slider's end a weight is multiplied or divided by this.
LARGEST_FACTOR = 10.0
#: At the slider's end an organ's dose levels are lowered or raised by this share.
LARGEST_DOSE_CHANGE = 0.3


@dataclass(frozen=True)
class Slider:
    """A structure that can be steered.

    Parameters
    ----------
    structure : str
    is_target : bool
        To the right means: more exactly the prescribed dose; of organs: less dose.
    """

    structure: str
    is_target: bool


def sliders(
    structures: Sequence[tuple[str, StructureType]], judged: Sequence[str]
) -> tuple[Slider, ...]:
    """Targets first, then organs that the protocol judges, then the other organs.

    Parameters
    ----------
    structures : sequence of (name, type)
        Of the case.
    judged : sequence of str
        Names in the protocol's goals.
    """
    targets = [n for n, kind in structures if kind is StructureType.TARGET]
    organs = [n for n, kind in structures if kind is StructureType.OAR]
    organs.sort(key=lambda name: name not in judged)
    return (*(Slider(n, True) for n in targets), *(Slider(n, False) for n in organs))


def slider_actions(
    objectives: Sequence[Objective], slider: Slider, position: float
) -> list[dict]:
    """What a slider's position asks for.

    Weights of the structure's objectives are multiplied by up to `LARGEST_FACTOR`; for an organ,
    dose levels fall by up to `LARGEST_DOSE_CHANGE` as well, since an objective whose level is
    reached does not care about its weight. An organ that has no objective gets one of its mean
    dose.

    Parameters
    ----------
    objectives : sequence of Objective
        Of the current plan.
    slider : Slider
    position : float
        -1 … 1; 0 asks for nothing.

    Returns
    -------
    list of dict
        Plain actions, without reason and author.
    """
    if position == 0:
        return []
    own = [o for o in objectives if o.structure == slider.structure]
    if not own:
        wanted = not slider.is_target and position > 0
        return [_new_objective(objectives, slider, position)] if wanted else []
    actions = []
    for objective in own:
        low, high = (bound / objective.weight for bound in WEIGHT_BOUNDS)
        factor = float(np.clip(LARGEST_FACTOR**position, low, high))
        actions += weight_actions(objective, factor)
        if not slider.is_target and objective.dose_gy:
            dose_gy = round(objective.dose_gy * (1 - LARGEST_DOSE_CHANGE * position), 3)
            actions.append(
                {"kind": "change_dose", "objective_id": objective.id, "dose_gy": dose_gy}
            )
    return actions


def _new_objective(objectives: Sequence[Objective], slider: Slider, position: float) -> dict:
    """An objective of the organ's mean dose; half-way it is weighed like others of its kind."""
    alike = [o.weight for o in objectives if o.function == "mean_dose"]
    weight = float(np.median(alike)) if alike else 1.0
    weight *= LARGEST_FACTOR ** (2 * position - 1)
    objective = Objective(slider.structure, "mean_dose", float(np.clip(weight, *WEIGHT_BOUNDS)))
    return {"kind": "add_objective", "objective": objective.to_dict()}
