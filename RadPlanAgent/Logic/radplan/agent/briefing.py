"""The texts that the voices of a language model are given about case and plan.

What stays the same from step to step comes first, so that servers can keep what they have read.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from ..case import StructureType
from ..optimize import OBJECTIVE_FUNCTIONS
from ..resources import resource_path
from .action_bounds import LARGEST_LEVEL_STEP
from .anatomy import anatomy_facts, anatomy_text
from .assessment import PROBLEM_KINDS, Assessment, Problem
from .burden_facts import burdens_text
from .facts import dvh_text, protocol_text, scorecard_text
from .guard import MOST_ACTIONS
from .helpers import (
    LEVEL_GRADIENT_MM,
    RINGS,
    core_name,
    overlap_free_name,
    ring_name,
    shell_name,
)
from .objective_facts import NEAR_SHARE, objective_values, objectives_text
from .quality import (
    BODY_MAXIMUM,
    BURDEN_TOLERANCE,
    INHOMOGENEITY_COST,
    LIMIT_SHARE,
    MAXIMUM_SHARE,
    MEAN_SHARE,
    NEAR_MAXIMUM,
    NEAR_MINIMUM,
    NONCONFORMITY_COST,
    SAME_SHARE,
    SMALLEST_SCALE,
    STRICT_TOLERANCE,
    WISH_TOLERANCE,
)
from .view import View

#: What each function is good for, in a few words; its parameters are added from the optimizer.
FUNCTION_WORDS = {
    "squared_deviation": "everything away from a level",
    "squared_overdosing": "everything above a level",
    "squared_underdosing": "everything below a level",
    "mean_dose": "the mean dose itself",
    "squared_mean_overdosing": "the mean dose above a level",
    "dose_variance": "unevenness, whatever the level",
    "soft_maximum": "the maximum above a level",
    "geud": "the generalized mean above a level; a = 1 mean, a = 8 and more near the maximum",
    "max_dvh": "volume above a level beyond what is allowed",
    "min_dvh": "volume below a level beyond what is allowed",
}
#: Which goals bear on a kind of problem: those that limit a structure from below, or from above.
_LIMITED_BY = {"target underdosed": ">=", "target overdosed": "<=", "organ overdosed": "<="}


def prompt(name: str, **values: str) -> str:
    """A prompt of ``Resources/Prompts`` with its placeholders filled in."""
    text = resource_path("Prompts", f"{name}.md").read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace("{{" + key + "}}", value)
    return text.strip()


def section(title: str, text: str) -> str:
    """A titled part of a prompt."""
    return f"## {title}\n{text.strip()}"


def case_text(view: View) -> str:
    """Anatomy and protocol."""
    s = view.situation
    facts = anatomy_facts(s.case, s.protocol, s.structures.occupancies)
    absent = [r.goal for r in s.best.scorecard.goals if r.met is None]
    return "\n\n".join(
        (
            section("Anatomy", anatomy_text(facts, view.tokens)),
            section("Protocol", protocol_text(s.protocol, view.tokens, absent)),
        )
    )


def numbers(view: View) -> str:
    """Scorecard and dose-volume table of the best plan."""
    s = view.situation
    table = dvh_text(s.structure_doses, s.protocol, s.external, view.tokens)
    return "\n\n".join((scorecard(view), section("Dose-volume table", table)))


def scorecard(view: View) -> str:
    """Scorecard of the best plan."""
    text = scorecard_text(view.situation.best.scorecard, view.tokens)
    return section(f"Scorecard of the best plan (step {view.best.index})", text)


def objectives(view: View) -> str:
    """Objectives of the best plan, with what each measures and costs."""
    s = view.situation
    shown = [o for o in s.best.objectives if not o.on_fluence]
    values = objective_values(shown, s.index, s.dose.dose_gy)
    return section("Objectives of the best plan", objectives_text(shown, view.objectives, values))


def burdens(view: View) -> str:
    """What organs bear, now and in the first plan."""
    return section("Burden of organs", burdens_text(view))


def assessment(view: View, seen: Assessment, title: str = "Assessment of the best plan") -> str:
    """What an evaluator says of the best plan, with what the scorecard has on it in brackets."""
    met = "all must-goals are met" if view.scorecard.must_met else "must-goals are missed"
    lines = [f"Verdict: {seen.verdict} [{met}]"]
    lines += [
        f"{number}. {p.structure}, {p.kind}{_goals_of(p, view)}: {p.text}"
        for number, p in enumerate(seen.problems, start=1)
    ]
    lines += [f"- {direction}" for direction in seen.directions]
    return section(title, "\n".join(lines))


def _goals_of(problem: Problem, view: View) -> str:
    """What the scorecard has on a problem, in brackets; empty if nothing."""
    op = _LIMITED_BY.get(problem.kind)
    if op is None:
        return ""
    targets = view.situation.case.of_type(StructureType.TARGET)
    structure = view.structure_of(problem.structure)
    is_target = structure in {view.tokens.token(s.name) for s in targets}
    if is_target != problem.kind.startswith("target"):
        return f" [it is {'a' if is_target else 'no'} target]"
    own = [
        r
        for r in view.scorecard.evaluable
        if r.goal.op == op and r.goal.structure == problem.structure
    ]
    missed = [view.goals.token(r.goal) for r in own if not r.met]
    if missed:
        return f" [misses {', '.join(missed)}]"
    return " [its limits are met]" if own else ""


def captions(references: Sequence[str]) -> str:
    """What the pictures of reference plans show, by the plans' names."""
    lines = [
        f"Picture {number}: reference plan {name}. It shows the REFERENCE patient, not this one; "
        "its outlines and doses are that patient's."
        for number, name in enumerate(references, start=1)
    ]
    return section("Pictures below", "\n".join((*lines, "No picture shows the present plan.")))


def planner_prompt(view: View) -> str:
    """The planner's instructions, with what exists in this case."""
    return prompt(
        "planner",
        level_step_gy=f"{LARGEST_LEVEL_STEP * view.protocol.highest.dose_gy:g}",
        most_actions=str(MOST_ACTIONS),
        near_minimum=f"{100 * NEAR_MINIMUM:g}",
        near_maximum=f"{100 * NEAR_MAXIMUM:g}",
        body_maximum=f"{100 * BODY_MAXIMUM:g}",
        strict=f"{100 * STRICT_TOLERANCE:g}",
        wish=f"{100 * WISH_TOLERANCE:g}",
        burden_gain=f"{100 * BURDEN_TOLERANCE:g}",
        limit_share=f"{LIMIT_SHARE:g}",
        maximum_share=f"{MAXIMUM_SHARE:g}",
        mean_share=f"{MEAN_SHARE:g}",
        inhomogeneity_cost=f"{INHOMOGENEITY_COST:g}",
        nonconformity_cost=f"{NONCONFORMITY_COST:g}",
        same=f"{100 * SAME_SHARE:g}",
        least_scale=f"{SMALLEST_SCALE['Gy']:g}",
        near_share=f"{100 * NEAR_SHARE:g}",
        functions="; ".join(
            f"{name} ({', '.join(spec.parameters) or 'no parameters'}): {FUNCTION_WORDS[name]}"
            for name, spec in OBJECTIVE_FUNCTIONS.items()
        ),
        structures=", ".join(view.structures),
        helpers=helper_words(),
    )


def helper_words() -> str:
    """What the names of helper structures mean, in one line."""
    rings = ", ".join(
        f"{ring_name(number, '').rstrip('_')} "
        + (
            f"{ring.near_mm:g}-{ring.far_mm:g} mm"
            if isfinite(ring.far_mm)
            else f"beyond {ring.near_mm:g} mm"
        )
        for number, ring in enumerate(RINGS, start=1)
    )
    free, core, shell = (name("...") for name in (overlap_free_name, core_name, shell_name))
    return (
        f"Helpers among them: {free} is the part of an organ outside all targets, or of a target "
        f"outside those of higher prescription; {core} is what of that lies more than "
        f"{LEVEL_GRADIENT_MM:g} mm from these, {shell} the rest; rings are normal tissue around "
        f"the target they are named after, by distance: {rings}"
    )


def kinds() -> str:
    """The kinds of problems, for prompts."""
    return ", ".join(f'"{kind}"' for kind in PROBLEM_KINDS)
