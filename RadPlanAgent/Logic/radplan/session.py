"""PlanningSession: the plan, its history, and the only door through which it changes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from typing import Protocol as Interface

import numpy as np

from .agent.actions import (
    LARGEST_DOSE_SHARE,
    action_to_dict,
    apply_actions,
)
from .agent.helpers import make_planning_structures
from .agent.initial import initial_objectives
from .agent.quality import PlanQuality, collapse, compare, plan_quality
from .agent.trajectory import (
    UNDONE_BY_PERSON,
    Proposal,
    Situation,
    Step,
    Stop,
    hold_expectations,
)
from .audit import AuditLog
from .case import Case, DoseImage, StructureType
from .errors import CancelledError, InputError
from .evaluation import DoseEvaluator
from .influence.matrix import InfluenceMatrix
from .metrics import StructureDose
from .optimize import (
    FluenceProblem,
    FluenceResult,
    Objective,
    SolverSettings,
    StructureIndex,
    optimize_fluence,
    sketch_fluence,
)
from .plan_history import CURRENT, PlanHistory, history_of
from .progress import CancelRequested, ProgressReport, check_cancelled, never, silent
from .protocol import Protocol
from .scorecard import Scorecard
from .session_folder import SessionFolder, expectation_to_dict

#: Relative rounding of a dose in single precision.
ROUNDING = 3e-7
#: How the outcome of a step that lost a target says so.
COLLAPSE = "collapse"


class Planner(Interface):
    """Whatever decides what to try next."""

    name: str

    def propose(self, situation: Situation) -> Proposal | Stop:
        """The next thing to try on the best plan, or the decision to stop."""


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


def session_settings(stored: Mapping[str, Any]) -> SessionSettings:
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


@dataclass(frozen=True)
class Plan:
    """One step's result: fluence, dose, and the sampled dose of every structure."""

    step: Step
    fluence: np.ndarray
    dose_gy: np.ndarray
    structure_doses: dict[str, StructureDose]


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
    """

    def __init__(
        self,
        case: Case,
        protocol: Protocol,
        influence: InfluenceMatrix,
        folder: SessionFolder,
        settings: SessionSettings | None = None,
        progress: ProgressReport = silent,
    ) -> None:
        self.case, self.protocol, self.influence = case, protocol, influence
        self.folder = folder
        self.settings = settings or SessionSettings()
        self.evaluator = DoseEvaluator(case, protocol, influence.grid, progress)
        self.structures = make_planning_structures(case, protocol, influence.grid)
        self.steps: list[Step] = []
        #: The current plan, on which everybody builds: the best so far, or what a person chose.
        self.best: Plan | None = None
        self.history = PlanHistory()
        self._organs = tuple(
            s.name
            for s in case.of_type(StructureType.OAR)
            if s.name in self.structures.occupancies
        )
        self._index = StructureIndex(self.structures.occupancies, self.settings.voxel_limit)
        self._problem: FluenceProblem | None = None
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
        return plan_quality(step.scorecard, self.protocol, self._organs, self.case.external.name)

    def start(
        self, progress: ProgressReport = silent, cancel_requested: CancelRequested = never
    ) -> Step:
        """Make the first plan, from objectives derived from the protocol."""
        objectives = initial_objectives(self.case, self.protocol, self.structures)
        target = self.protocol.primary
        problem = self._problem_for(objectives)
        per_unit = problem.mean_dose_per_unit_fluence(target.target)
        if per_unit <= 0:
            raise InputError(
                f"no beamlet reaches target {target.target}; check the beams' isocentre"
            )
        flat = np.full(self.influence.n_beamlets, target.dose_gy / per_unit)
        first = Proposal("initial", "initial", "First plan, from the protocol's goals", ())
        return self._make_step(
            first, (), objectives, flat, self.settings.first, progress, cancel_requested
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
            objectives, changes = self._objectives_after(proposal)
        except InputError as error:
            self._audit.append(
                "actions rejected",
                # As text: what is rejected may hold numbers that JSON has no word for.
                {"actions": [repr(a) for a in proposal.actions], "why": str(error)},
            )
            raise
        return self._make_step(
            proposal,
            changes,
            objectives,
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
        objectives, _ = self._objectives_after(proposal)
        result = self._optimized(
            objectives,
            self.best.fluence,
            self.settings.trial,
            progress,
            cancel_requested,
        )
        fluence, _ = self._normalized(result.fluence)
        return self._evaluated(replace(self.best.step, index=len(self.steps)), fluence)

    def sketch(
        self,
        proposal: Proposal,
        iterations: int,
        cancel_requested: CancelRequested = never,
    ) -> Plan:
        """What a proposal on the best plan would lead to, at a glance; nothing is recorded.

        Quicker and rougher than `preview`: see `sketch_fluence`. Dose and scorecard are those of
        the fluence found, on all voxels.

        Raises
        ------
        InputError
            If an action is not allowed.
        CancelledError
        """
        objectives, _ = self._objectives_after(proposal)
        problem = self._problem_for(objectives)
        fluence = sketch_fluence(problem, self.best.fluence, iterations, cancel_requested)
        dose_gy = self.influence.dose_gy(fluence)
        # A little more, so that single precision does not miss the prescription by a rounding.
        scale = (1 + ROUNDING) * self._coverage_scale(dose_gy)
        step = replace(self.best.step, index=len(self.steps))
        return self._judged(step, fluence * scale, dose_gy * np.float32(scale))

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
            plan = self._evaluated(stored.step, stored.fluence)
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
        return self._evaluated(self.steps[index], self.folder.read_step(index).fluence)

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

    def unmet_goals(self) -> list[str]:
        """One sentence per unmet goal: by how much, and what pursuing it further cost."""
        best = self.best.step
        sentences = []
        for result in best.scorecard.goals:
            if result.met is not False:
                continue
            achieved = f"{result.achieved:.1f} {result.goal.unit}".rstrip()
            text = f"{result.goal.label} is not met ({achieved}, priority {result.goal.priority})"
            tried = [
                s
                for s in self.steps
                if s.phase == "goals" and any(result.goal.label in t for t in _pursued(s))
            ]
            if tried:
                last, base = tried[-1], self.steps[tried[-1].base]
                text += f"; pushing it further: {compare(base.scorecard, last.scorecard)}"
            sentences.append(text)
        return sentences

    def _problem_for(self, objectives: Sequence[Objective]) -> FluenceProblem:
        if self._problem is None:
            self._problem = FluenceProblem(self.influence, self._index, objectives)
        else:
            self._problem.set_objectives(objectives)
        return self._problem

    def _objectives_after(
        self, proposal: Proposal
    ) -> tuple[tuple[Objective, ...], tuple[str, ...]]:
        """Objectives of the best plan after a proposal's actions, and each change in words."""
        return apply_actions(
            self.best.step.objectives,
            proposal.actions,
            structures=self._index.names,
            largest_dose_gy=LARGEST_DOSE_SHARE * self.protocol.highest.dose_gy,
        )

    def _optimized(
        self,
        objectives: Sequence[Objective],
        start: np.ndarray,
        settings: SolverSettings,
        progress: ProgressReport,
        cancel_requested: CancelRequested,
    ) -> FluenceResult:
        result = optimize_fluence(
            self._problem_for(objectives), start, settings, progress, cancel_requested
        )
        if result.status == "cancelled":
            raise CancelledError("cancelled while optimizing; finished steps are kept")
        return result

    def _evaluated(self, step: Step, fluence: np.ndarray) -> Plan:
        return self._judged(step, fluence, self.influence.dose_gy(fluence))

    def _judged(self, step: Step, fluence: np.ndarray, dose_gy: np.ndarray) -> Plan:
        doses = self.evaluator.structure_doses(dose_gy)
        scorecard = self.evaluator.scorecard(doses, step.index)
        return Plan(replace(step, scorecard=scorecard), fluence, dose_gy, doses)

    def _make_step(
        self,
        proposal: Proposal,
        changes: tuple[str, ...],
        objectives: tuple[Objective, ...],
        start: np.ndarray,
        settings: SolverSettings,
        progress: ProgressReport,
        cancel_requested: CancelRequested,
        always_keep: bool = False,
    ) -> Step:
        """Optimize, normalise, judge, compare with the best plan, and write the step."""
        began = time.perf_counter()
        before = self.best.step if self.best else None
        result = self._optimized(objectives, start, settings, progress, cancel_requested)
        fluence, scale = self._normalized(result.fluence)
        step = Step(
            index=len(self.steps),
            base=before.index if before else None,
            phase=proposal.phase,
            move=proposal.move,
            title=proposal.title,
            actions=proposal.actions,
            changes=changes,
            objectives=objectives,
            scorecard=None,
            outcome="",
            kept=True,
            solver=result.report() | {"coverage_scale": scale},
            author=proposal.author,
            note=proposal.note,
            assessment=proposal.assessment,
        )
        plan = self._evaluated(step, fluence)
        shortcoming, outcome, expectations = "", "first plan", ()
        if before is not None:
            after = plan.step.scorecard
            shortcoming = self.quality(plan.step).shortcoming(self.quality(before))
            collapsed = collapse(before.scorecard, after, self.protocol)
            if collapsed:
                shortcoming = f"{COLLAPSE}, {collapsed}"
            outcome = compare(before.scorecard, after)
            if shortcoming and always_keep:
                outcome += f"; kept as asked for, though no better: {shortcoming}"
                shortcoming = ""
            elif shortcoming:
                outcome += f"; undone: {shortcoming}"
            expectations = hold_expectations(proposal.expectations, before.scorecard, after)
        kept = not shortcoming
        step = replace(
            plan.step,
            kept=kept,
            outcome=outcome,
            shortcoming=shortcoming,
            expectations=expectations,
            seconds=time.perf_counter() - began,
        )
        digests = self.folder.write_step(step, fluence, plan.structure_doses)
        self._audit.append(
            "step",
            {
                "index": step.index,
                "base": step.base,
                "move": step.move,
                "author": step.author,
                "kept": kept,
                "actions": [action_to_dict(a) for a in step.actions],
                "outcome": outcome,
                "expectations": [expectation_to_dict(e) for e in step.expectations],
                "solver": step.solver,
                "sha256": digests,
            },
        )
        self.steps.append(step)
        if kept:
            self.best, self.history = replace(plan, step=step), self.history.select(step.index)
        return step

    def _normalized(self, fluence: np.ndarray) -> tuple[np.ndarray, float]:
        """The fluence scaled so that the primary target's coverage is exactly as prescribed."""
        primary = self.protocol.primary
        scale = self._coverage_scale(self.influence.dose_gy(fluence))
        # Doses are sums in single precision: a second look takes up what rounding left, and a
        # little more, so that the prescription is reached and not missed by a rounding.
        reached_gy = self.evaluator.coverage_gy(self.influence.dose_gy(fluence * scale))
        scale *= (1 + ROUNDING) * primary.dose_gy / reached_gy
        return fluence * scale, scale

    def _coverage_scale(self, dose_gy: np.ndarray) -> float:
        """What a dose is to be multiplied by for the primary target's coverage."""
        primary = self.protocol.primary
        covered_gy = self.evaluator.coverage_gy(dose_gy)
        if covered_gy <= 0:
            raise InputError(
                f"target {primary.target} gets no dose: {self.protocol.coverage} is 0 Gy; check "
                "that the beams cover it"
            )
        return primary.dose_gy / covered_gy


def with_undone(steps: Sequence[Step], current: Step) -> tuple[Step, ...]:
    """The steps as planners see them: what a person went back on counts as undone."""
    leading, step = set(), current
    while step is not None:
        leading.add(step.index)
        step = None if step.base is None else steps[step.base]
    return tuple(
        replace(s, kept=False, shortcoming=UNDONE_BY_PERSON)
        if s.kept and s.index not in leading
        else s
        for s in steps
    )


def _pursued(step: Step) -> list[str]:
    """What a step says of the goals that it pursues."""
    improved = [e.goal for e in step.expectations if e.effect == "better"]
    return [step.move, *(a.reason for a in step.actions), *improved]
