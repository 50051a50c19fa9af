"""Three voices that judge a plan: of its numbers, of its pictures, and one that merges both.

Without pictures the first voice is the assessment; without a model code makes it from the same
facts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from ..case import StructureType
from ..progress import CancelRequested, never
from . import briefing
from .assessment import (
    ASSESSMENT_SCHEMA,
    Assessment,
    Problem,
    assess_by_rules,
    read_assessment,
)
from .briefing import prompt, section
from .directions import DIRECTIONS
from .exchange import Exchanges, GivenUpError
from .llm.messages import Message
from .spatial import SpatialFacts, spatial_facts
from .tokens import StructureTokens
from .view import View
from .vision import CLAIMS_SCHEMA, CheckedClaims, Claim, check_claims, read_claims

#: Spots of each kind that code tells of by itself.
MOST_SPOTS = 2


class PlanFacts:
    """Where the dose of a view's best plan lies; worked out when it is first asked for."""

    def __init__(self, view: View) -> None:
        self._view = view

    @cached_property
    def spatial(self) -> SpatialFacts:
        """Hot spots, cold spots and spill."""
        s = self._view.situation
        return spatial_facts(s.case, s.dose, s.protocol, s.structures.occupancies)

    @property
    def text(self) -> str:
        """The same as a part of a prompt."""
        lines = self.spatial.sentences(self._view.tokens)
        return section("Where the dose lies", "\n".join(f"- {line}" for line in lines))


class Evaluator:
    """Judges the best plan of a view.

    Parameters
    ----------
    exchanges : Exchanges or None
        How a model is asked; None: code judges alone.
    vision : bool
        Whether pictures are shown, to a model that sees them.
    log : callable
        Writes a line to the audit log.
    """

    def __init__(
        self, exchanges: Exchanges | None, vision: bool, log: Callable[[str, dict], None]
    ) -> None:
        self._exchanges, self._vision, self._log = exchanges, vision, log

    def assess(
        self,
        view: View,
        case_text: str,
        facts: PlanFacts,
        cancel_requested: CancelRequested = never,
    ) -> Assessment:
        """The assessment of the best plan; the one that a step already has, if there is one.

        Parameters
        ----------
        view : View
        case_text : str
            Anatomy and protocol (`Briefing.case`).
        facts : PlanFacts
        cancel_requested : callable

        Raises
        ------
        ServerError
            If there is no usable server.
        CancelledError
        """
        known = self._known(view)
        if known is not None:
            return known
        if self._exchanges is None:
            return self.by_rules(view, facts)
        try:
            by_numbers = self._ask(
                "dvh expert", dvh_messages(view, case_text), view, cancel_requested
            )
        except GivenUpError as error:
            self._log("evaluator", {"voice": "dvh expert", "replaced by rules": str(error)})
            return self.by_rules(view, facts)
        if not self.shows_pictures:
            return by_numbers
        return self._merged(view, case_text, facts, by_numbers, cancel_requested)

    @property
    def shows_pictures(self) -> bool:
        """Whether the model is shown pictures."""
        return self._vision and self._exchanges is not None and self._exchanges.model.sees_pictures

    def preview(
        self, view: View, case_text: str, facts: PlanFacts
    ) -> list[tuple[str, list[Message]]]:
        """What the experts would be sent, by voice; the evaluator is sent their replies."""
        sent = [("dvh expert", dvh_messages(view, case_text))]
        if self.shows_pictures:
            sent.append(("vision expert", vision_messages(view, facts)))
        return sent

    def _known(self, view: View) -> Assessment | None:
        """What a model said of the best plan when an earlier step set out from it."""
        for step in reversed(view.steps):
            if step.base == view.best.index and step.assessment is not None:
                return step.assessment
        return None

    def by_rules(self, view: View, facts: PlanFacts) -> Assessment:
        """The assessment that code makes."""
        return assess_by_rules(view.scorecard, spot_problems(facts.spatial, view.tokens))

    def _ask(
        self,
        voice: str,
        messages: list[Message],
        view: View,
        cancel_requested: CancelRequested,
    ) -> Assessment:
        return self._exchanges.ask(
            voice,
            messages,
            ASSESSMENT_SCHEMA,
            lambda value: read_assessment(value, view.structures, view.scorecard),
            cancel_requested,
        )

    def _merged(
        self,
        view: View,
        case_text: str,
        facts: PlanFacts,
        by_numbers: Assessment,
        cancel_requested: CancelRequested,
    ) -> Assessment:
        """What the numbers say, and what of the pictures holds, in one assessment."""
        try:
            checked = self._look(view, facts, cancel_requested)
        except GivenUpError as error:
            self._log("evaluator", {"voice": "vision expert", "left out": str(error)})
            return by_numbers
        self._log(
            "vision claims",
            {
                "held": [claim.text for claim in checked.held],
                "dropped": list(checked.notes),
            },
        )
        if not checked.held:
            return by_numbers.noted(checked.notes)
        messages = evaluator_messages(view, case_text, facts, by_numbers, checked)
        try:
            merged = self._ask("evaluator", messages, view, cancel_requested)
        except GivenUpError as error:
            self._log("evaluator", {"voice": "evaluator", "left out": str(error)})
            merged = by_numbers
        return merged.noted((*by_numbers.notes, *checked.notes))

    def _look(
        self, view: View, facts: PlanFacts, cancel_requested: CancelRequested
    ) -> CheckedClaims:
        """Ask for what the pictures show, and keep what the facts bear out."""
        names = clinical_structures(view)
        claims = self._exchanges.ask(
            "vision expert",
            vision_messages(view, facts),
            CLAIMS_SCHEMA,
            lambda value: read_claims(value, names),
            cancel_requested,
        )
        return check_claims(claims, facts.spatial, view.tokens)


def dvh_messages(view: View, case_text: str) -> list[Message]:
    """What the DVH expert is told."""
    return [
        Message("system", prompt("dvh_expert", kinds=briefing.kinds())),
        Message("user", f"{case_text}\n\n{briefing.numbers(view)}"),
    ]


def vision_messages(view: View, facts: PlanFacts) -> list[Message]:
    """What the vision expert is shown."""
    from .pictures import dose_pictures  # needs matplotlib

    s = view.situation
    pictures = dose_pictures(s.case, s.dose, s.protocol, facts.spatial, view.tokens)
    instructions = prompt(
        "vision_expert",
        structures=", ".join(clinical_structures(view)),
        directions=", ".join(DIRECTIONS),
    )
    titles = "\n".join(f"Picture {n}: {p.title}" for n, p in enumerate(pictures, start=1))
    return [
        Message("system", instructions),
        Message("user", titles, tuple(p.png for p in pictures)),
    ]


def evaluator_messages(
    view: View,
    case_text: str,
    facts: PlanFacts,
    by_numbers: Assessment,
    checked: CheckedClaims,
) -> list[Message]:
    """What the evaluator merges."""
    claims = "\n".join(f"- {_place(c)} (place checked, words not): {c.text}" for c in checked.held)
    text = "\n\n".join(
        (
            case_text,
            briefing.scorecard(view),
            facts.text,
            briefing.assessment(view, by_numbers, "By numbers"),
            section("By pictures", claims),
        )
    )
    return [Message("system", prompt("evaluator", kinds=briefing.kinds())), Message("user", text)]


def _place(claim: Claim) -> str:
    """What of a claim was checked."""
    return ", ".join(filter(None, (claim.kind, claim.structure, claim.direction, claim.quality)))


def clinical_structures(view: View) -> tuple[str, ...]:
    """Tokens of the targets and organs that have voxels."""
    s = view.situation
    return tuple(
        view.tokens.token(structure.name)
        for structure in s.case.of_type(StructureType.TARGET, StructureType.OAR)
        if structure.name in s.structures.occupancies
    )


def spot_problems(facts: SpatialFacts, tokens: StructureTokens) -> tuple[Problem, ...]:
    """Hot and cold spots as problems, the largest of each kind."""
    hot = facts.hot_spots_above(min(facts.hot_levels_percent))[:MOST_SPOTS]
    cold = facts.cold_spots[:MOST_SPOTS]
    return tuple(
        [Problem(tokens.token(s.target), "hot spot", s.sentence(tokens)) for s in hot]
        + [Problem(tokens.token(s.target), "cold spot", s.sentence(tokens)) for s in cold]
    )
