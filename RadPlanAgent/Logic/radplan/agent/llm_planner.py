"""The planner that is a language model: it proposes, code decides what may be done.

Whatever the model says, a step is one of typed, bounded actions that passed `guard`; where it says
nothing of use, the rules take the step. What to do follows from the steps, the log and the model's
replies alone, so that an interrupted run goes on and a recorded one can be replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from typing import Protocol as Interface

from ..case import Case
from ..progress import CancelRequested, never
from ..protocol import Protocol
from . import briefing
from .assessment import Assessment
from .briefing import section
from .checked import RejectedReplyError
from .evaluator import Evaluator, PlanFacts
from .exchange import Exchanges, GivenUpError
from .guard import AUTHOR, PLAN_SCHEMA, CheckedPlan, check_plan
from .llm.messages import Message, ServerError
from .memory import LENGTH, memory_text
from .rules import RulesPlanner
from .trajectory import UNDONE_BY_PERSON, Proposal, Situation, Step, Stop
from .view import View, view_of

#: How the note of a step begins that the rules took for want of a server.
NO_SERVER = "no usable language model"
#: After so many steps in a row without a server the rules go on alone.
MOST_FAILURES = 3
#: So much of the reason why the rules stepped in is kept with the step; the log has all of it.
LONGEST_NOTE = 240


@dataclass(frozen=True)
class LlmPlannerSettings:
    """How a language model plans.

    Parameters
    ----------
    vision : bool
        Whether the evaluator is shown pictures, if the model sees them.
    examples : int
        Reference plans in the prompt.
    memory : int
        Steps that are remembered in full.
    proposals : int
        With more than one, as many are asked for, and the best after a quick trial is taken.
    stalled_steps : int
        Stop when so many steps in a row improved nothing.
    pushing_steps : int
        The same once all goals are met.
    most_tokens : int or None
        Stop when prompts and replies have used so many.
    most_seconds : float or None
        Stop when optimizer and model have worked so long.
    most_cost : float or None
        Stop when the model has cost so much, in the currency of its prices.
    """

    vision: bool = True
    examples: int = 3
    memory: int = LENGTH
    proposals: int = 1
    stalled_steps: int = 4
    pushing_steps: int = 3
    most_tokens: int | None = None
    most_seconds: float | None = None
    most_cost: float | None = None


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost, read and written; 0 where it is not known."""

    prompt: float = 0.0
    completion: float = 0.0


class Reference(Interface):
    """A reference plan, in tokens: `radplan.agent.examples.Example`."""

    name: str
    text: str
    picture: bytes | None


#: Finds so many reference plans like a case: `radplan.agent.examples.similar_examples`.
FindReferences = Callable[[Case, Protocol, int], Sequence[Reference]]


class LlmPlanner:
    """Plans with a language model.

    Parameters
    ----------
    exchanges : Exchanges
        How the model is asked.
    log : callable
        Writes a line to the audit log.
    try_out : callable
        `PlanningSession.try_out`.
    find_references : callable
    settings : LlmPlannerSettings, optional
    prices : Prices, optional
    cancel_requested : callable, optional
    """

    name = AUTHOR

    def __init__(
        self,
        exchanges: Exchanges,
        log: Callable[[str, dict], None],
        try_out: Callable[[Sequence[Proposal]], Sequence[Any]],
        find_references: FindReferences,
        settings: LlmPlannerSettings | None = None,
        prices: Prices | None = None,
        cancel_requested: CancelRequested = never,
    ) -> None:
        self.settings = settings or LlmPlannerSettings()
        self._exchanges, self._log, self._try_out = exchanges, log, try_out
        self._find_references = find_references
        self._prices = prices or Prices()
        self._cancel_requested = cancel_requested
        self._evaluator = Evaluator(exchanges, self.settings.vision, log)
        self._rules = RulesPlanner()
        self._case_text = ""
        self._references: tuple[Reference, ...] | None = None

    def propose(self, situation: Situation) -> Proposal | Stop:
        """The next thing to try, or the decision to stop.

        Raises
        ------
        CancelledError
            If the person asked to stop.
        """
        # Without a server the rules plan on, and they end when they are done.
        alone = _failures(situation.steps) >= MOST_FAILURES
        reason = self._budget(situation) or ("" if alone else self._exhausted(situation))
        if reason:
            return Stop(reason)
        if alone:
            why = f"{NO_SERVER} in the last {MOST_FAILURES} steps: not asked again"
            return self._by_rules(situation, why)
        return self._by_model(situation)

    def _by_model(self, situation: Situation) -> Proposal | Stop:
        """Let the model propose; where it cannot, the rules do."""
        view = view_of(situation)
        facts = PlanFacts(view)
        assessment: Assessment | None = None
        try:
            assessment = self._evaluator.assess(
                view, self._case(view), facts, self._cancel_requested
            )
            messages = self._messages(view, assessment, facts)
            plans = self._plans(view, messages)
        except ServerError as error:
            return self._by_rules(situation, f"{NO_SERVER}: {error}", assessment)
        except GivenUpError as error:
            return self._by_rules(situation, f"the language model: {error}", assessment)
        if plans[0].stop:
            reason = plans[0].stop_reason.rstrip(" .")
            return Stop(f"the language model sees nothing worth trying: {reason}")
        return self._best_of([_proposal(p, situation, assessment) for p in plans])

    def preview(self, situation: Situation) -> list[tuple[str, list[Message]]]:
        """What would be sent for a step, by voice; nothing is sent.

        What depends on replies is left out: the planner is shown the assessment that code makes.
        """
        view = view_of(situation)
        facts = PlanFacts(view)
        return [
            *self._evaluator.preview(view, self._case(view), facts),
            ("planner", self._messages(view, self._evaluator.by_rules(view, facts), facts)),
        ]

    # What the model is told ----------------------------------------------------------------------

    def _case(self, view: View) -> str:
        if not self._case_text:
            self._case_text = briefing.case_text(view)
        return self._case_text

    def _similar(self, view: View) -> tuple[Reference, ...]:
        if self._references is None:
            s, count = view.situation, self.settings.examples
            found = self._find_references(s.case, s.protocol, count) if count else ()
            self._references = tuple(found)
        return self._references

    def _messages(self, view: View, seen: Assessment, facts: PlanFacts) -> list[Message]:
        """What the planner is told, what never changes first."""
        references = self._similar(view)
        shown = self._evaluator.shows_pictures
        pictured = [r for r in references if r.picture] if shown else []
        pictures = tuple(r.picture for r in pictured)
        pushing = not _unmet(view.situation.best)
        task = (
            "All goals are met. Push: spare organs further without losing a goal."
            if pushing
            else "Goals are missed. Pursue them in the order of their priority."
        )
        text = "\n\n".join(
            (
                self._case(view),
                *(section(f"Reference plan: {r.name}", r.text) for r in references),
                briefing.numbers(view),
                facts.text,
                briefing.objectives(view),
                briefing.burdens(view),
                briefing.assessment(view, seen),
                section("Memory", memory_text(view, self.settings.memory)),
                *([briefing.captions([r.name for r in pictured])] if pictured else ()),
                section("Task", task),
            )
        )
        return [Message("system", briefing.planner_prompt(view)), Message("user", text, pictures)]

    # What the model answers ----------------------------------------------------------------------

    def _plans(self, view: View, messages: list[Message]) -> list[CheckedPlan]:
        """Ask for proposals, each knowing those before it; what is the same again is left out."""
        plans: list[CheckedPlan] = []
        for _ in range(self.settings.proposals):
            asked = messages
            if plans:
                others = "; ".join(p.title for p in plans)
                extra = section(
                    "Other proposals for this step",
                    f"{others}\nPropose another way; the best after a trial is taken.",
                )
                asked = [messages[0], replace(messages[1], text=f"{messages[1].text}\n\n{extra}")]
            try:
                plan = self._exchanges.ask(
                    "planner",
                    asked,
                    PLAN_SCHEMA,
                    lambda value: self._read(value, view),
                    self._cancel_requested,
                )
            except GivenUpError:
                if not plans:
                    raise
                break
            if plan.stop:
                return plans or [plan]
            if all(p.actions != plan.actions for p in plans):
                plans.append(plan)
        return plans

    def _read(self, value: dict, view: View) -> CheckedPlan:
        plan = check_plan(value, view)
        if plan.stop:
            early = self._too_early(view.situation)
            if early:
                raise RejectedReplyError([early])
        return plan

    def _too_early(self, situation: Situation) -> str:
        """Why the model may not stop yet; empty if it may."""
        stalled = _stalled(situation.steps)
        if _unmet(situation.best):
            if stalled < 2:
                return (
                    "it is too early to stop: goals are missed, and the last two steps have not "
                    "both failed; propose actions"
                )
        elif not stalled:
            return (
                "it is too early to stop: all goals are met, but no push to spare organs further "
                "has failed yet; propose one"
            )
        return ""

    def _best_of(self, proposals: list[Proposal]) -> Proposal:
        """The best proposal, after a quick trial of each if there are several."""
        if len(proposals) == 1:
            return proposals[0]
        best = self._try_out(proposals)[0].proposal
        how = f"The best of {len(proposals)} proposals after a quick trial of each."
        return replace(best, note=f"{best.note} {how}")

    def _by_rules(
        self, situation: Situation, why: str, assessment: Assessment | None = None
    ) -> Proposal | Stop:
        """Let the rules take the step, and say why."""
        self._log("rules step in", {"why": why})
        decision = self._rules.propose(situation)
        if isinstance(decision, Stop):
            return Stop(f"{decision.reason} (by the built-in rules: {why})")
        if assessment is not None and assessment.author == AUTHOR:
            decision = replace(decision, assessment=assessment)
        told = why if len(why) <= LONGEST_NOTE else f"{why[:LONGEST_NOTE]}…"
        return replace(decision, note=f"The built-in rules took this step. Why: {told}")

    # When to stop --------------------------------------------------------------------------------

    def _budget(self, situation: Situation) -> str:
        """Which budget is used up; empty if none is."""
        spent, settings = self._exchanges.spent, self.settings
        tokens = spent.prompt_tokens + spent.completion_tokens
        if settings.most_tokens is not None and tokens >= settings.most_tokens:
            return f"the budget of {settings.most_tokens} tokens is used up ({tokens})"
        seconds = spent.seconds + sum(s.seconds for s in situation.steps)
        if settings.most_seconds is not None and seconds >= settings.most_seconds:
            return f"the budget of {settings.most_seconds:g} s is used up ({seconds:.0f} s)"
        cost = (
            spent.prompt_tokens * self._prices.prompt
            + spent.completion_tokens * self._prices.completion
        ) / 1e6
        if settings.most_cost is not None and cost >= settings.most_cost:
            return f"the budget of {settings.most_cost:g} for the model is used up ({cost:.2f})"
        return ""

    def _exhausted(self, situation: Situation) -> str:
        """Why nothing more is to be found; empty if that is not known yet."""
        stalled, unmet = _stalled(situation.steps), _unmet(situation.best)
        if not unmet and stalled >= self.settings.pushing_steps:
            return (
                f"all goals are met and {stalled} steps of pushing in a row found nothing more "
                "to spare"
            )
        if unmet and stalled >= self.settings.stalled_steps:
            return f"{unmet} goal(s) stay unmet and the last {stalled} steps improved nothing"
        return ""


def _proposal(plan: CheckedPlan, situation: Situation, assessment: Assessment) -> Proposal:
    pushing = not _unmet(situation.best)
    return Proposal(
        move=f"llm: {plan.title}",
        phase="sparing" if pushing else "goals",
        title=plan.title,
        actions=plan.actions,
        author=AUTHOR,
        note=plan.thoughts,
        assessment=assessment,
        expectations=plan.expectations,
    )


def _stalled(steps: Sequence[Step]) -> int:
    """How many steps at the end improved nothing; what a person did begins the count anew."""
    count = 0
    for step in reversed(steps):
        by_person = step.shortcoming == UNDONE_BY_PERSON or step.author.startswith("person")
        if step.kept or by_person:
            break
        count += 1
    return count


def _failures(steps: Sequence[Step]) -> int:
    """How many steps at the end the rules took for want of a server."""
    count = 0
    for step in reversed(steps):
        if NO_SERVER not in step.note:
            break
        count += 1
    return count


def _unmet(best: Step) -> int:
    return sum(r.met is False for r in best.scorecard.goals)
