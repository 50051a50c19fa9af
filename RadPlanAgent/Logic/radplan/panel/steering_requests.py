"""What a person changes of a plan: back and forth between steps, and edited objectives."""

from __future__ import annotations

from typing import Any

from .i18n import _
from .plan_section import PlanSection
from .planning_run import PlanningRun
from .result_section import ResultSection
from .result_views import ResultViews


class SteeringRequests:
    """Hands section 3's buttons to the run.

    Parameters
    ----------
    run : PlanningRun
    views : ResultViews
    plan : PlanSection
    result : ResultSection
        Knows who steers.
    """

    def __init__(
        self, run: PlanningRun, views: ResultViews, plan: PlanSection, result: ResultSection
    ) -> None:
        self._run, self._views, self._plan, self._result = run, views, plan, result

    def undo(self) -> None:
        """Back to the plan before."""
        self._request("undo")

    def redo(self) -> None:
        """Take the undoing back."""
        self._request("redo")

    def select(self) -> None:
        """Make the step on display the current plan."""
        self._request("select", step=self._views.shown)

    def optimize(self) -> None:
        """Optimize with the objectives as edited."""
        actions = self._plan.edits.actions()
        reason = _("Objectives edited by hand") if actions else _("Optimized further")
        self._request("steer", actions=actions, reason=reason)

    def _request(self, do: str, **fields: Any) -> None:
        self._run.request(do, self._result.author, **fields)
