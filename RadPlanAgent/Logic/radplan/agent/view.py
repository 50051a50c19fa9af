"""A situation as a language model may see it: every name a token.

What is shown to a model, what it answers, and what that is checked against all speak of tokens;
only what passed the checks is translated back. So no check can let a name out by its message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ..optimize import Objective
from ..protocol import ClinicalGoal, Protocol
from ..scorecard import Scorecard
from .actions import Action, AddObjective, ConstraintAction, describe_action, with_own_ids
from .tokens import GoalTokens, ObjectiveTokens, StructureTokens
from .trajectory import Situation, Step


@dataclass(frozen=True)
class View:
    """What planners and evaluators that are models work with.

    Parameters
    ----------
    situation : Situation
        In the case's own names; for pictures and the final translation only.
    tokens : StructureTokens
    objectives : ObjectiveTokens
        Of all objectives that any step had.
    """

    situation: Situation
    tokens: StructureTokens
    objectives: ObjectiveTokens

    @cached_property
    def protocol(self) -> Protocol:
        """The protocol, in tokens."""
        return self._hidden_protocol()

    @cached_property
    def goals(self) -> GoalTokens:
        """Ids of the goals of `protocol`."""
        return GoalTokens(self.protocol)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """All steps, in tokens and without texts that a person or this program wrote."""
        done: list[Step] = []
        for step in self.situation.steps:
            base = done[step.base].objectives if step.base is not None else ()
            done.append(self._hidden_step(step, base))
        return tuple(done)

    @property
    def best(self) -> Step:
        """The best plan, in tokens."""
        return self.steps[self.situation.best.index]

    @property
    def scorecard(self) -> Scorecard:
        """Scorecard of the best plan, in tokens."""
        return self.best.scorecard

    @cached_property
    def structures(self) -> tuple[str, ...]:
        """Tokens of what an objective can be about: structures and helpers with voxels."""
        return tuple(self.tokens.token(n) for n in self.situation.structures.occupancies)

    @cached_property
    def clinical_structures(self) -> tuple[str, ...]:
        """Tokens of the case's own structures, without helpers."""
        return tuple(self.tokens.token(n) for n in self.situation.case.names)

    def structure_of(self, token: str) -> str:
        """Token of the case structure behind a token, as `PlanningStructures.structure_of`."""
        return self.tokens.token(self.situation.structures.structure_of(self.tokens.name(token)))

    def hidden_objectives(self, objectives: Sequence[Objective]) -> tuple[Objective, ...]:
        """Objectives with tokens for structures and ids."""
        return tuple(
            replace(o, structure=self.tokens.token(o.structure), id=self.objectives.token(o.id))
            for o in objectives
            if not o.on_fluence  # of the machine, not of the patient: not a planner's matter
        )

    def revealed(self, actions: Sequence[Action]) -> tuple[Action, ...]:
        """Actions in the case's names; what is added gets an id that no step has used."""
        own = []
        for action in actions:
            if isinstance(action, AddObjective):
                structure = self.tokens.name(action.objective.structure)
                new = replace(action.objective, structure=structure, id="")
                own.append(replace(action, objective=new))
            else:
                objective_id = self.objectives.id(action.objective_id)
                own.append(replace(action, objective_id=objective_id))
        return with_own_ids(own, {o.id for s in self.situation.steps for o in s.objectives})

    def hidden_goal(self, goal: ClinicalGoal) -> ClinicalGoal:
        """A goal of the case's protocol, in tokens."""
        return self.protocol.goals[self.situation.protocol.goals.index(goal)]

    def revealed_goal(self, label: str) -> str:
        """A goal's label in the case's names."""
        labels = [g.label for g in self.protocol.goals]
        return self.situation.protocol.goals[labels.index(label)].label

    def _hidden_protocol(self) -> Protocol:
        protocol = self.situation.protocol
        token = self.tokens.token
        return replace(
            protocol,
            prescriptions=tuple(
                replace(p, target=token(p.target)) for p in protocol.prescriptions
            ),
            goals=tuple(replace(g, structure=token(g.structure), note="") for g in protocol.goals),
            aliases={},
        )

    def _hidden_scorecard(self, scorecard: Scorecard) -> Scorecard:
        return replace(
            scorecard,
            case_name="case",
            protocol=self.protocol,
            goals=tuple(
                replace(result, goal=goal)
                for result, goal in zip(scorecard.goals, self.protocol.goals, strict=True)
            ),
            structures={
                self.tokens.token(name): values for name, values in scorecard.structures.items()
            },
        )

    def _hidden_action(self, action: Action, author: str) -> Action:
        # Reasons are shown only where a model wrote them, in tokens; others may hold anything.
        reason = action.reason if author == "llm" else ""
        if isinstance(action, AddObjective):
            hidden = self.hidden_objectives([action.objective])[0]
            return replace(action, objective=hidden, reason=reason)
        return replace(
            action, objective_id=self.objectives.token(action.objective_id), reason=reason
        )

    def _is_persons(self, action: Action) -> bool:
        """Whether it is of what only people decide: constraints, and objectives on the fluence."""
        if isinstance(action, ConstraintAction):
            return True
        if isinstance(action, AddObjective):
            return action.objective.on_fluence
        return action.objective_id not in self.objectives

    def _hidden_step(self, step: Step, base: Sequence[Objective]) -> Step:
        actions = tuple(
            self._hidden_action(a, step.author) for a in step.actions if not self._is_persons(a)
        )
        labels = {
            own.label: hidden.label
            for own, hidden in zip(self.situation.protocol.goals, self.protocol.goals, strict=True)
        }
        objectives = self.hidden_objectives(step.objectives)
        by_llm = step.author == "llm"
        return replace(
            step,
            title=step.title if by_llm else "",
            note="",
            outcome="",
            shortcoming=self.tokens.hide(step.shortcoming),
            actions=actions,
            # An action may change what one before it in the same step added.
            changes=tuple(describe_action(a, (*base, *objectives), by_id=True) for a in actions),
            objectives=objectives,
            scorecard=self._hidden_scorecard(step.scorecard),
            assessment=step.assessment if _by_model(step) else None,
            expectations=tuple(replace(e, goal=labels[e.goal]) for e in step.expectations),
            constraints=(),
        )


def view_of(situation: Situation) -> View:
    """The view of a situation; the same steps always give the same tokens."""
    tokens = StructureTokens.of(
        situation.case, situation.protocol, situation.structures.occupancies
    )
    objectives = [o for s in situation.steps for o in s.objectives if not o.on_fluence]
    return View(situation, tokens, ObjectiveTokens(tokens, objectives))


def _by_model(step: Step) -> bool:
    """Whether a step's assessment is a model's, and so in tokens."""
    return step.assessment is not None and step.assessment.author == "llm"
