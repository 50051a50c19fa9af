"""What a person does with a plan: look at its hot spot, review it, export it."""

from __future__ import annotations

import slicer

from .i18n import _
from .planning_run import PlanningRun
from .result_section import ResultSection
from .result_views import ResultViews
from .review_dialog import confirmReview


class ResultRequests:
    """Hands section 4's buttons to the run and the views.

    Parameters
    ----------
    run : PlanningRun
    views : ResultViews
    result : ResultSection
    """

    def __init__(self, run: PlanningRun, views: ResultViews, result: ResultSection) -> None:
        self._run, self._views, self._result = run, views, result
        self.confirmReview = confirmReview

    def showHotSpot(self) -> None:
        """Move the slices to where the dose is highest."""
        text = self._views.jumpToHotSpot()
        if text:
            slicer.util.showStatusMessage(text, 5000)

    def review(self, verdict: str) -> None:
        """Record a person's verdict, once they confirm it."""
        name, step = self._result.reviewer.strip(), self._run.session.current
        if not self.confirmReview(verdict, name, _("step {index}").format(index=step)):
            return
        self._run.request(
            "review",
            "",
            verdict=verdict,
            name=name,
            comment=self._result.comment.strip(),
            step=step,
        )

    def export(self, what: str) -> None:
        """Write the current plan: ``dicom``, ``report`` or ``scene``."""
        self._result.show_export(_("Writing…"))
        self._run.export(what, self._result.show_export)
