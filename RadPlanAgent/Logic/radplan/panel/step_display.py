"""The step on display, and one beside it: in the tables, the sliders and the views."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..optimize import Objective
from .i18n import _
from .objective_edits import objectives_from
from .patient_section import PatientSection
from .plan_section import PlanSection
from .planning_run import PlanningRun
from .result_section import ResultSection
from .result_views import ResultViews
from .sliders import sliders


class StepDisplay:
    """Keeps sections and views at the step that a person looks at.

    Parameters
    ----------
    run : PlanningRun
    views : ResultViews
    patient : PatientSection
    plan : PlanSection
    result : ResultSection
    choices : callable
        Gives the parameter node; None while there is no scene.
    """

    def __init__(
        self,
        run: PlanningRun,
        views: ResultViews,
        patient: PatientSection,
        plan: PlanSection,
        result: ResultSection,
        choices: Callable[[], Any],
    ) -> None:
        self._run, self._views = run, views
        self._patient, self._plan, self._result = patient, plan, result
        self._choices = choices

    def show(self, index: int) -> None:
        """Put a step on display; edits of another one's objectives are dropped."""
        views, choices = self._views, self._choices()
        if self._plan.edits.count and index != views.shown:
            self._plan.discard_edits()
        if views.compared == index:
            views.endComparison()
        if choices is not None and choices.ct and choices.segmentation:
            views.show(self._run, index, choices, self._patient.rows)
        else:
            views.shown = index

    def compare(self, index: int | None) -> None:
        """Put another step beside it; None for none."""
        if index is None:
            self._views.endComparison()
        else:
            self._views.compare(self._run, index)

    def update(self) -> None:
        """Fill steps, objectives, sliders, goals and review anew."""
        run, session, views = self._run, self._run.session, self._views
        shown = views.shown if views.shown is not None else session.current
        if not session.steps:
            shown = None
        self._plan.show_steps(session.steps, session.current, shown, views.compared)
        objectives: tuple[Objective, ...] = ()
        constraints: Sequence[Mapping] = ()
        if shown is not None:
            objectives = objectives_from(session.objectives(shown))
            constraints = session.steps[shown]["constraints"]
        structures = [(row.name, row.type) for row in self._patient.rows if row.name]
        editable = run.isOpen and shown == session.current and not run.state.is_busy
        names = tuple(name for name, _type in structures)
        self._plan.show_objectives(objectives, constraints, names, editable=editable)
        binding = self._patient.binding
        judged = binding.protocol.structures if binding else ()
        self._plan.show_sliders(sliders(structures, judged) if session.steps else ())
        self._result.show_scorecard(
            _named(shown),
            session.scorecard(shown) if shown is not None else None,
            _named(views.compared),
            session.scorecard(views.compared) if views.compared is not None else None,
        )
        self._result.show_review(session.review)


def _named(step: int | None) -> str:
    return "" if step is None else _("Step {index}").format(index=step)
