"""PlanningSession: the plan, its history, and the only door through which it changes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .agent.actions import (
    Action,
    action_to_dict,
    apply_actions,
    constraints_after,
    largest_dose_gy_of,
)
from .agent.helpers import make_planning_structures, planned_organs
from .agent.initial import initial_objectives
from .agent.quality import PlanQuality, collapse, compare, plan_quality
from .agent.trajectory import Planner, Proposal, Situation, Step, Stop, hold_expectations
from .audit import AuditLog
from .case import Case, DoseImage
from .errors import CancelledError, InputError
from .evaluation import DoseEvaluator
from .influence.matrix import InfluenceMatrix
from .optimize import Constraint, Objective, SolverSettings, StructureIndex
from .plan_history import CURRENT, PlanHistory, history_of, with_undone
from .plan_making import Plan, PlanMaker
from .progress import CancelRequested, ProgressReport, check_cancelled, never, silent
from .protocol import Protocol
from .scorecard import Scorecard
from .session_folder import SessionFolder
from .session_settings import SessionSettings
from .stored_step import expectation_to_dict

#: How the outcome of a step that lost a target says so.
COLLAPSE = "collapse"


@dataclass(frozen=True)
class Trial:
    """What a quick optimization made of a proposal.

    Parameters
    ----------
    proposal : Proposal
    scorecard : Scorecard or None
        None if its actions are not allowed.
    quality : PlanQuality or None
    problem : str
        Why there is no scorecard.
    """

    proposal: Proposal
    scorecard: Scorecard | None
    quality: PlanQuality | None
    problem: str = ""


@dataclass(frozen=True)
class _Change:
    """Objectives and constraints after a proposal's actions, and each action in words."""

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    texts: tuple[str, ...]


class PlanningSession:
    """Owns a plan and everything that was tried on it.

    Parameters
    ----------
    case : Case
    protocol : Protocol
        In the case's names.
    influence : InfluenceMatrix
    folder : SessionFolder
        Where every step is written as soon as it is done.
    settings : SessionSettings, optional
    progress : ProgressReport, optional
        Told while structures are prepared.
    first_actions : sequence of Action, optional
        What a person wants changed in the first plan's objectives, and its constraints.
    """

    def __init__(
        self,
        case: Case,
        protocol: Protocol,
        influence: InfluenceMatrix,
        folder: SessionFolder,
        settings: SessionSettings | None = None,
        progress: ProgressReport = silent,
        first_actions: Sequence[Action] = (),
    ) -> None:
        self.case, self.protocol, self.influence = case, protocol, influence
        self.folder = folder
        self.settings = settings or SessionSettings()
        self.evaluator = DoseEvaluator(case, protocol, influence.grid, progress)
        self.structures = make_planning_structures(case, protocol, influence.grid)
        self.first_actions = tuple(first_actions)
        self.steps: list[Step] = []
        #: The current plan, on which everybody builds: the best so far, or what a person chose.
        self.best: Plan | None = None
        self.history = PlanHistory()
        self._organs = planned_organs(case, self.structures)
        self._index = StructureIndex(self.structures.occupancies, self.settings.voxel_limit)
        self._maker = PlanMaker(protocol, influence, self.evaluator, self._index)
        self._audit = AuditLog(folder.audit_path)

    @property
    def situation(self) -> Situation:
        """What planners look at."""
        if self.best is None:
            raise InputError("the session has no plan yet; start it first")
        return Situation(
            self.protocol,
            self._organs,
            self.case.external.name,
            self.structures,
            with_undone(self.steps, self.best.step),
            self.best.step,
            self.case,
            self.best_dose,
            self.best.structure_doses,
            self._index,
        )

    def log(self, kind: str, data: dict) -> None:
        """Write a line to the audit log."""
        self._audit.append(kind, data)

    @property
    def best_dose(self) -> DoseImage:
        """Dose of the best plan."""
        return DoseImage(self.influence.grid, self.best.dose_gy)

    def quality(self, step: Step) -> PlanQuality:
        """Rank value of a step's plan."""
        return plan_quality(
            step.scorecard,
            self.protocol,
            self._organs,
            self.case.external.name,
            step.constraints,
        )

    def start(
        self, progress: ProgressReport = silent, cancel_requested: CancelRequested = never
    ) -> Step:
        """Make the first plan, from objectives derived from the protocol and `first_actions`."""
        objectives = initial_objectives(self.case, self.protocol, self.structures)
        first = Proposal(
            "initial", "initial", "First plan, from the protocol's goals", self.first_actions
        )
        change = self._change(objectives, (), first)
        flat = self._maker.flat_fluence(objectives)
        return self._make_step(
            first, change, flat, self.settings.first, progress, cancel_requested
        )

    def apply(
        self,
        proposal: Proposal,
        progress: ProgressReport = silent,
        cancel_requested: CancelRequested = never,
        always_keep: bool = False,
    ) -> Step:
        """Try a proposal on the best plan; it becomes the best plan if it is better.

        Parameters
        ----------
        proposal : Proposal
        progress, cancel_requested
        always_keep : bool
            Whether it becomes the current plan even if it is worse, as what a person wants does.

        Raises
        ------
        InputError
            If an action is not allowed; nothing has changed then.
        CancelledError
            If the person asked to stop; the unfinished step is dropped.
        """
        try:
            change = self._change_of_best(proposal)
        except InputError as error:
            self._audit.append(
                "actions rejected",
                # As text: what is rejected may hold numbers that JSON has no word for.
                {"actions": [repr(a) for a in proposal.actions], "why": str(error)},
            )
            raise
        return self._make_step(
            proposal,
            change,
            self.best.fluence,
            self.settings.later,
            progress,
            cancel_requested,
            always_keep,
        )

    def preview(
        self,
        proposal: Proposal,
        progress: ProgressReport = silent,
        cancel_requested: CancelRequested = never,
    ) -> Plan:
        """What a quick optimization makes of a proposal on the best plan; nothing is recorded.

        Raises
        ------
        InputError
            If an action is not allowed.
        CancelledError
        """
        change = self._change_of_best(proposal)
        result = self._maker.optimized(
            change.objectives,
            change.constraints,
            self.best.fluence,
            self.settings.trial,
            progress,
            cancel_requested,
            self._usual_scale,
        )
        step = replace(self._next_step, constraints=result.constraints)
        return self._maker.evaluated(step, result.fluence)

    def sketch(
        self,
        proposal: Proposal,
        iterations: int,
        cancel_requested: CancelRequested = never,
    ) -> Plan:
        """What a proposal on the best plan would lead to, at a glance; nothing is recorded.

        Quicker and rougher than `preview`: see `PlanMaker.sketched`.

        Raises
        ------
        InputError
            If an action is not allowed.
        CancelledError
        """
        change = self._change_of_best(proposal)
        return self._maker.sketched(
            self._next_step,
            change.objectives,
            change.constraints,
            self.best.fluence,
            iterations,
            cancel_requested,
        )

    def try_out(
        self,
        proposals: Sequence[Proposal],
        progress: ProgressReport = silent,
        cancel_requested: CancelRequested = never,
    ) -> tuple[Trial, ...]:
        """Quickly optimize each proposal on the best plan; no step is made.

        Returns
        -------
        tuple of Trial
            The best plan first (see `PlanQuality.shortcoming`), proposals that are not allowed
            last.
        """
        trials: list[Trial] = []
        for proposal in proposals:
            try:
                step = self.preview(
                    proposal, progress=progress, cancel_requested=cancel_requested
                ).step
            except InputError as error:
                trials.append(Trial(proposal, None, None, str(error)))
                continue
            trial = Trial(proposal, step.scorecard, self.quality(step))
            better = (
                i
                for i, other in enumerate(trials)
                if other.quality is None or not trial.quality.shortcoming(other.quality)
            )
            trials.insert(next(better, len(trials)), trial)
        self.log(
            "trial",
            {
                "proposals": [
                    {
                        "move": t.proposal.move,
                        "title": t.proposal.title,
                        "actions": [action_to_dict(a) for a in t.proposal.actions],
                        "outcome": t.problem or compare(self.best.step.scorecard, t.scorecard),
                    }
                    for t in trials
                ]
            },
        )
        return tuple(trials)

    def run(
        self,
        planner: Planner,
        max_steps: int,
        progress: ProgressReport = silent,
        cancel_requested: CancelRequested = never,
        on_step=lambda step: None,
    ) -> str:
        """Let a planner improve the plan until it stops or has used its steps.

        Parameters
        ----------
        planner : Planner
        max_steps : int
            Steps after the first plan, those of a resumed session counted.
        progress, cancel_requested
        on_step : callable
            Told of every finished step.

        Returns
        -------
        str
            Why planning ended, one sentence.
        """
        try:
            if self.best is None:
                on_step(self.start(progress, cancel_requested))
            while len(self.steps) <= max_steps:
                check_cancelled(cancel_requested)
                decision = planner.propose(self.situation)
                if isinstance(decision, Stop):
                    return decision.reason
                on_step(self.apply(decision, progress, cancel_requested))
        except CancelledError:
            self.log("cancelled", {"steps": len(self.steps)})
            raise
        return f"the {max_steps} steps allowed are used up"

    def restore(self) -> None:
        """Load the steps that the folder holds, checking each against its own fluence."""
        self.history = history_of(self.folder.read_log())
        for stored in self.folder.read_steps():
            plan = self._maker.evaluated(stored.step, stored.fluence)
            stored.check(plan.step.scorecard)
            self.steps.append(plan.step)
            if plan.step.index == self.history.current:
                self.best = plan
        if self.steps:
            self._audit.append("resumed", {"steps": len(self.steps)})

    def plan_of(self, index: int) -> Plan:
        """The plan of a step: its fluence as stored, its dose from that, bit for bit as it was."""
        if not 0 <= index < len(self.steps):
            raise InputError(f"there is no step {index}; there are 0 to {len(self.steps) - 1}")
        if self.best is not None and index == self.best.step.index:
            return self.best
        return self._maker.evaluated(self.steps[index], self.folder.read_step(index).fluence)

    def move(self, how: str, step: int, author: str) -> Step:
        """Make the plan of another step the current one, and log who wanted it.

        Parameters
        ----------
        how : str
            ``undo``, ``redo`` or ``select``.
        step : int
            Where it leads to.
        author : str
        """
        history = self.history.moved(how, step)
        plan = self.plan_of(step)
        before = self.history.current
        self.log(CURRENT, {"how": how, "step": step, "from": before, "author": author})
        self.history, self.best = history, plan
        return plan.step

    @property
    def _next_step(self) -> Step:
        """The best step under the next step's number: what is only looked at is judged as it."""
        return replace(self.best.step, index=len(self.steps))

    @property
    def _usual_scale(self) -> float:
        """By what the best plan's fluence was scaled: the next one's will hardly differ."""
        return self.best.step.solver.get("coverage_scale", 1.0) if self.best else 1.0

    def _change_of_best(self, proposal: Proposal) -> _Change:
        """What a proposal makes of objectives and constraints of the best plan."""
        step = self.best.step
        return self._change(step.objectives, [o.constraint for o in step.constraints], proposal)

    def _change(
        self,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        proposal: Proposal,
    ) -> _Change:
        bounds = {
            "structures": self._index.names,
            "largest_dose_gy": largest_dose_gy_of(self.protocol),
        }
        objectives, texts = apply_actions(objectives, proposal.actions, **bounds)
        constraints = constraints_after(constraints, proposal.actions, **bounds)
        return _Change(objectives, constraints, texts)

    def _make_step(
        self,
        proposal: Proposal,
        change: _Change,
        start: np.ndarray,
        settings: SolverSettings,
        progress: ProgressReport,
        cancel_requested: CancelRequested,
        always_keep: bool = False,
    ) -> Step:
        """Optimize, normalise, judge, compare with the best plan, and write the step."""
        began = time.perf_counter()
        result = self._maker.optimized(
            change.objectives,
            change.constraints,
            start,
            settings,
            progress,
            cancel_requested,
            self._usual_scale,
        )
        step = Step(
            index=len(self.steps),
            base=self.best.step.index if self.best else None,
            phase=proposal.phase,
            move=proposal.move,
            title=proposal.title,
            actions=proposal.actions,
            changes=change.texts,
            objectives=change.objectives,
            scorecard=None,
            outcome="first plan",
            kept=True,
            solver=result.solver,
            author=proposal.author,
            note=proposal.note,
            assessment=proposal.assessment,
            constraints=result.constraints,
        )
        plan = self._maker.evaluated(step, result.fluence)
        step = plan.step
        if self.best is not None:
            step = self._compared(step, proposal, always_keep)
        told = [step.outcome, *(outcome.describe() for outcome in step.constraints)]
        step = replace(step, outcome="; ".join(told))
        step = replace(step, seconds=time.perf_counter() - began)
        digests = self.folder.write_step(step, result.fluence, plan.structure_doses)
        self._audit.append(
            "step",
            {
                "index": step.index,
                "base": step.base,
                "move": step.move,
                "author": step.author,
                "kept": step.kept,
                "actions": [action_to_dict(a) for a in step.actions],
                "outcome": step.outcome,
                "expectations": [expectation_to_dict(e) for e in step.expectations],
                "solver": step.solver,
                "sha256": digests,
            },
        )
        self.steps.append(step)
        if step.kept:
            self.best, self.history = replace(plan, step=step), self.history.select(step.index)
        return step

    def _compared(self, step: Step, proposal: Proposal, always_keep: bool) -> Step:
        """A new step held against the best plan: kept or not, why, and what was expected."""
        before = self.best.step
        shortcoming = self.quality(step).shortcoming(self.quality(before))
        collapsed = collapse(before.scorecard, step.scorecard, self.protocol)
        if collapsed:
            shortcoming = f"{COLLAPSE}, {collapsed}"
        outcome = compare(before.scorecard, step.scorecard)
        if shortcoming and always_keep:
            outcome += f"; kept as asked for, though no better: {shortcoming}"
            shortcoming = ""
        elif shortcoming:
            outcome += f"; undone: {shortcoming}"
        return replace(
            step,
            kept=not shortcoming,
            outcome=outcome,
            shortcoming=shortcoming,
            expectations=hold_expectations(
                proposal.expectations, before.scorecard, step.scorecard
            ),
        )
