"""Options by which a person says what a plan must keep to."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .options import positive

if TYPE_CHECKING:
    from ..agent.actions import Action


def add_persons_options(command: argparse.ArgumentParser, lift: bool = False) -> None:
    """Add the options; `persons_actions` reads them.

    Parameters
    ----------
    command : ArgumentParser
    lift : bool
        Whether there may be constraints already.
    """
    group = command.add_argument_group(
        "what a person asks for",
        "A step of its own before planning goes on; every later step keeps to it."
        if lift
        else "Every step keeps to it, from the first plan on.",
    )
    group.add_argument(
        "--constraint",
        action="append",
        default=[],
        metavar="TEXT",
        help="dose bound in Gy, such as 'SpinalCord max <= 45', 'Parotid_L mean <= 26' or "
        "'PTV D95%% >= 50'; may be repeated",
    )
    if lift:
        group.add_argument(
            "--lift",
            action="append",
            default=[],
            metavar="TEXT",
            help="constraint to let go, written the same way; may be repeated",
        )
    group.add_argument(
        "--roughness",
        type=positive,
        metavar="WEIGHT",
        help="weight of an objective against differences of neighbouring beamlets",
    )
    group.add_argument("--by", metavar="NAME", help="who asks (default: unnamed)")


def persons_actions(options: argparse.Namespace) -> tuple[Action, ...]:
    """What the options ask for."""
    from ..agent.actions import AddObjective, LiftConstraint, SetConstraint
    from ..optimize import FLUENCE, ROUGHNESS, Constraint, Objective
    from ..steering import NAMELESS, person

    why = {"reason": "", "author": person(NAMELESS if options.by is None else options.by)}
    lifted = [Constraint.from_text(text) for text in getattr(options, "lift", ())]
    wanted = [Constraint.from_text(text) for text in options.constraint]
    actions: list[Action] = [LiftConstraint(c, **why) for c in lifted]
    actions += [SetConstraint(c, **why) for c in wanted]
    if options.roughness is not None:
        roughness = Objective(FLUENCE, ROUGHNESS, options.roughness)
        actions.append(AddObjective(roughness, **why))
    return tuple(actions)
