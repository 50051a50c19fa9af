"""The built-in planner: improves a plan as a dosimetrist would, by rules, without a model.

It first pursues goals that are not met, the most important first; then homogeneity of the
highest target; then it pushes every organ down as far as coverage and more important goals allow.
Each move is tried on the best plan; what does not help is undone by the session and tried again
more gently, until nothing helps any more. What to do next follows from the steps alone, so that an
interrupted run continues as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..optimize import Objective
from ..protocol import ClinicalGoal
from ..scorecard import GoalResult
from .actions import WEIGHT_BOUNDS, Action, AddObjective, ChangeDose, ChangeVolume, ChangeWeight
from .assessment import assess_by_rules
from .initial import OVERDOSE_LEVEL, RING_WEIGHT, hot_spot_id, organ_objective
from .quality import hot_spot, inhomogeneity, is_maximum, organ_burden
from .trajectory import Proposal, Situation, Step, Stop

AUTHOR = "rules"
#: How hard a move is tried: first strong, then more gently after each failure.
STRENGTHS = (2.5, 1.4)
#: A goal is out of reach when this many more steps like the last one on it would not meet it. It
#: is then no longer pursued for itself; sparing the organ with the others goes on.
REACH_STEPS = 5
#: A goal is close to its limit when less than this share of it is left. While something else is
#: pushed by a factor, what is close to its limit is held with this power of it.
CLOSE_MARGIN = 0.03
GUARD_SHARE = 0.5
#: A target's dose level is moved by this share of its prescription at a time, and the level that
#: counts as underdosed goes up to this share, since a soft term never reaches its level.
LEVEL_STEP = 0.01
LARGEST_UNDERDOSE_LEVEL = 1.03
#: Below this inhomogeneity, (D2 − D98)/prescription, a target needs no further evening out.
HOMOGENEOUS_ENOUGH = 0.04


class RulesPlanner:
    """Plans by rules; a pure function of the situation."""

    name = "rules"

    def propose(self, situation: Situation) -> Proposal | Stop:
        """The next thing to try, or the decision to stop.

        Parameters
        ----------
        situation : Situation

        Returns
        -------
        Proposal or Stop
        """
        for proposal in self._moves(situation):
            if proposal.actions:
                return proposal
        unmet = [r for r in situation.best.scorecard.goals if r.met is False]
        if unmet:
            return Stop(
                f"{len(unmet)} goal(s) stay unmet and no further change helps without harming "
                "what matters more"
            )
        return Stop("all goals are met and no organ can be spared more without harming the rest")

    def _moves(self, s: Situation) -> Iterator[Proposal]:
        """All moves still worth trying on the best plan, in order of preference."""
        unmet = sorted(
            (
                r
                for r in s.best.scorecard.goals
                if r.met is False and not self._out_of_reach(s, r.goal)
            ),
            key=lambda r: r.goal.priority,
        )
        for priority in sorted({r.goal.priority for r in unmet}):
            group = [r for r in unmet if r.goal.priority == priority]
            if len(group) > 1:
                yield from self._try(
                    s,
                    group_move(priority),
                    "goals",
                    f"Meet the {len(group)} unmet goals of priority {priority}",
                    lambda strength, group=group: _merged(
                        a for r in group for a in self._meet(s, r, strength)
                    ),
                )
            for result in group:
                yield from self._try(
                    s,
                    f"meet {result.goal.label}",
                    "goals",
                    f"Meet {result.goal.label}",
                    lambda strength, result=result: self._meet(s, result, strength),
                )
        if hot_spot(s.best.scorecard, s.protocol, s.external) > 0:
            yield from self._try(
                s,
                "cool hot spots",
                "homogeneity",
                "Cool the hot spots",
                lambda strength: self._cool(s, strength),
            )
        if inhomogeneity(s.best.scorecard, s.protocol) > HOMOGENEOUS_ENOUGH:
            yield from self._try(
                s,
                "homogeneity",
                "homogeneity",
                "Even out the dose in the highest target",
                lambda strength: self._homogenize(s, strength),
            )
        organs = sorted(
            # What lies wholly inside a target gets the target's dose.
            (o for o in s.organs if s.structures.part_outside_targets(o) is not None),
            key=lambda o: -organ_burden(s.best.scorecard, s.protocol, o),
        )
        yield from self._try(
            s,
            "spare all organs",
            "sparing",
            "Push all organs down together",
            lambda strength: self._push(s, organs, strength),
        )
        for organ in organs:
            yield from self._try(
                s,
                f"spare {organ}",
                "sparing",
                f"Push {organ} down",
                lambda strength, organ=organ: self._push(s, [organ], strength),
            )
        yield from self._try(
            s,
            "spare normal tissue",
            "sparing",
            "Draw the dose closer around the targets",
            lambda strength: self._conform(s, strength),
        )

    def _try(self, s: Situation, move, phase, title, make_actions) -> Iterator[Proposal]:
        """The move at the strength that its failures so far leave, if any is left."""
        failures = sum(1 for step in s.steps if step.move == move and not step.kept)
        if failures < len(STRENGTHS):
            actions = tuple(make_actions(STRENGTHS[failures]))
            seen = assess_by_rules(s.best.scorecard)
            yield Proposal(move, phase, title, actions, AUTHOR, assessment=seen)

    def _out_of_reach(self, s: Situation, goal: ClinicalGoal) -> bool:
        """Whether the last step that pursued an unmet goal came too little closer to it."""
        pursued = [
            step
            for step in s.steps
            if step.phase == "goals"
            and step.kept
            and (goal.label in step.move or step.move == group_move(goal.priority))
        ]
        if not pursued:
            return False
        missing_after = _missing(pursued[-1], goal)
        gained = _missing(s.steps[pursued[-1].base], goal) - missing_after
        return missing_after > REACH_STEPS * gained

    def _of(self, s: Situation, structure: str, *functions: str) -> list[Objective]:
        """Objectives of the best plan on a structure or its helper parts."""
        return [
            o
            for o in s.best.objectives
            if s.structures.structure_of(o.structure) == structure
            and (not functions or o.function in functions)
        ]

    def _meet(self, s: Situation, result: GoalResult, strength: float) -> list[Action]:
        """Actions that pursue an unmet goal, and hold what is close to its limit."""
        achieved = f"{result.achieved:.1f} {result.goal.unit}".rstrip()
        reason = f"{result.goal.label} is not met: it is {achieved}"
        actions = self._pursue(s, result, strength, reason)
        return _merged([*actions, *self._guard(s, strength)]) if actions else []

    def _pursue(
        self, s: Situation, result: GoalResult, strength: float, reason: str
    ) -> list[Action]:
        """Actions that make the objectives behind a goal count more."""
        goal = result.goal
        prescription_gy = s.protocol.prescription_gy.get(goal.structure)
        if prescription_gy is not None:
            return self._meet_target(s, goal, prescription_gy, strength, reason)
        if goal.op == ">=":
            return []
        return self._meet_organ(s, result, strength, reason)

    def _guard(self, s: Situation, strength: float) -> list[Action]:
        """Actions that keep goals within their limits while something else is pushed."""
        actions: list[Action] = []
        for result in s.best.scorecard.evaluable:
            normalised = (
                result.goal.structure == s.protocol.primary.target
                and result.goal.metric == s.protocol.coverage
            )
            if result.met and not normalised and result.relative_margin < CLOSE_MARGIN:
                reason = f"{result.goal.label} is close to its limit and must stay within it"
                actions += self._pursue(s, result, strength**GUARD_SHARE, reason)
        if hot_spot(s.best.scorecard, s.protocol, s.external, CLOSE_MARGIN) > 0:
            actions += self._cool(s, strength)
        return actions

    def _meet_target(
        self,
        s: Situation,
        goal: ClinicalGoal,
        prescription_gy: float,
        strength: float,
        reason: str,
    ) -> list[Action]:
        under = self._of(s, goal.structure, "squared_underdosing")
        over = self._of(s, goal.structure, "squared_overdosing")
        if goal.metric.kind == "CI":
            return self._conform(s, strength, f"{reason}, so dose must fall off faster outside")
        if goal.metric.kind == "HI":
            return _scaled(under + over, strength, reason)
        if goal.op == ">=":
            reason = f"{reason}, so underdose must cost more"
            actions = _scaled(under, strength, reason)
            for objective in under:
                level = min(
                    objective.dose_gy + LEVEL_STEP * prescription_gy,
                    LARGEST_UNDERDOSE_LEVEL * prescription_gy,
                )
                if level > objective.dose_gy:
                    actions.append(ChangeDose(objective.id, round(level, 3), reason, AUTHOR))
            return actions
        hot = [o for o in over if o.id == hot_spot_id(o.structure)]
        if is_maximum(goal.metric) and hot:
            return _scaled(hot, strength, f"{reason}, so hot spots must cost more")
        actions = _scaled(over, strength, f"{reason}, so overdose must cost more")
        lowest = prescription_gy * (1 + (OVERDOSE_LEVEL - 1) / 3)
        for objective in over:
            if objective not in hot and lowest < objective.dose_gy < 1.1 * prescription_gy:
                level = max(lowest, objective.dose_gy - LEVEL_STEP * prescription_gy)
                actions.append(ChangeDose(objective.id, round(level, 3), reason, AUTHOR))
        return actions

    def _meet_organ(
        self, s: Situation, result: GoalResult, strength: float, reason: str
    ) -> list[Action]:
        goal = result.goal
        functions = ("mean_dose",) if goal.metric.kind == "mean" else ()
        found = self._of(s, goal.structure, *functions)
        if goal.metric.kind in ("V", "D", "max"):
            found = [o for o in found if o.function != "mean_dose"] or found
        wanted = organ_objective(goal, s.structures, s.protocol.highest.dose_gy)
        if not found:
            return [AddObjective(wanted, reason, AUTHOR)] if wanted else []
        actions = _scaled(found, strength, reason)
        for objective in found:
            # Two goals of one metric share an objective, made for the first, which may ask less.
            if wanted and objective.id == wanted.id and wanted.volume_percent is not None:
                volume = round(wanted.volume_percent, 3)
                if objective.volume_percent > volume:
                    actions.append(ChangeVolume(objective.id, volume, reason, AUTHOR))
        excess = result.achieved / goal.value if goal.value > 0 else 1.0
        if goal.metric.kind in ("D", "max") and excess > 1:
            for objective in found:
                if objective.dose_gy is not None:
                    # Ask for as much less as the goal is missed by, but never for half at once.
                    level = objective.dose_gy * max(0.5, 1 / excess)
                    actions.append(ChangeDose(objective.id, round(level, 3), reason, AUTHOR))
        return actions

    def _homogenize(self, s: Situation, strength: float) -> list[Action]:
        highest = s.protocol.highest
        spread = 100 * inhomogeneity(s.best.scorecard, s.protocol)
        reason = f"D2% and D98% of {highest.target} are {spread:.1f} % of the prescription apart"
        found = self._of(s, highest.target, "squared_underdosing", "squared_overdosing")
        return _scaled(found, strength, reason)

    def _cool(self, s: Situation, strength: float) -> list[Action]:
        hottest_gy = s.best.scorecard.structures[s.external]["D0.03cc_gy"]
        highest = s.protocol.highest.dose_gy
        reason = (
            f"0.03 cc of the body get {hottest_gy:.1f} Gy, {100 * hottest_gy / highest:.0f} % of "
            "the highest prescription"
        )
        found = [o for o in s.best.objectives if o.id == hot_spot_id(o.structure)]
        return _scaled(found, strength, reason)

    def _push(self, s: Situation, organs: list[str], strength: float) -> list[Action]:
        """Actions that spare organs, and hold what is close to its limit."""
        actions = [a for organ in organs for a in self._spare(s, organ, strength)]
        return _merged([*actions, *self._guard(s, strength)]) if actions else []

    def _spare(self, s: Situation, organ: str, strength: float) -> list[Action]:
        doses = s.best.scorecard.structures[organ]
        if doses["D2%_gy"] < 0.02 * s.protocol.highest.dose_gy:
            return []  # practically out of the beams
        reason = (
            f"{organ} (mean {doses['mean_gy']:.1f} Gy, near-maximum {doses['D2%_gy']:.1f} Gy) "
            "may have room below its limits"
        )
        actions = _scaled(self._of(s, organ, "mean_dose"), strength, reason)
        lower = 1 - 0.05 * strength
        for objective in self._of(s, organ, "squared_overdosing"):
            level = min(objective.dose_gy, doses["D2%_gy"]) * lower
            actions.append(ChangeDose(objective.id, round(level, 3), reason, AUTHOR))
        for objective in self._of(s, organ, "max_dvh"):
            volume = round(objective.volume_percent * lower, 3)
            actions.append(ChangeVolume(objective.id, volume, reason, AUTHOR))
        return actions

    def _conform(self, s: Situation, strength: float, reason: str = "") -> list[Action]:
        rings = [
            o
            for o in s.best.objectives
            if o.structure in s.structures.ring_level_gy and o.id != hot_spot_id(o.structure)
        ]
        reason = reason or "normal tissue around the targets may have room below its dose"
        heaviest = max((o.weight for o in rings), default=RING_WEIGHT)
        return _scaled(rings, strength, reason) if heaviest < 100 * RING_WEIGHT else []


def group_move(priority: int) -> str:
    """Key of the move that pursues all unmet goals of one priority together."""
    return f"meet priority {priority}"


def _missing(step: Step, goal: ClinicalGoal) -> float:
    """By how much a step's plan misses a goal, in the goal's unit; 0 when it is met."""
    result = next(r for r in step.scorecard.goals if r.goal == goal)
    return 0.0 if result.met is not False else -result.margin


def _scaled(objectives: list[Objective], factor: float, reason: str) -> list[Action]:
    """Raise the weights of objectives, as far as their bounds allow."""
    return [
        ChangeWeight(o.id, factor, reason, AUTHOR)
        for o in objectives
        if o.weight * factor <= WEIGHT_BOUNDS[1]
    ]


def _merged(actions: Iterable[Action]) -> list[Action]:
    """Of several actions of one kind on one objective, the first."""
    first: dict[tuple, Action] = {}
    for action in actions:
        subject = action.objective.id if isinstance(action, AddObjective) else action.objective_id
        first.setdefault((action.kind, subject), action)
    return list(first.values())
