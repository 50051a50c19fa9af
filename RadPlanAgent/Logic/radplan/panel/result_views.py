"""What the slice and plot views show: the dose and DVH of a step, of two, or of a preview."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import slicer

from ..mrml.plan_record import store_plan
from ..mrml.shown_plan import Anatomy, ShownPlan
from .i18n import _
from .mapping_rows import MappingRow
from .objective_edits import objectives_from
from .step_files import Curves, prescription_gy


class ResultViews:
    """Keeps the views and the step on display together."""

    def __init__(self) -> None:
        self.shown: int | None = None
        self.compared: int | None = None
        self._plan: ShownPlan | None = None
        self._session = ""
        self._chart_shown = False

    def forget(self) -> None:
        """Another session, or no scene: what was shown is not this module's any more."""
        self.shown = self.compared = self._plan = None
        self._chart_shown = False

    def show(self, run: Any, index: int, parameters: Any, rows: Sequence[MappingRow]) -> None:
        """Show a step of a planning run."""
        self.shown = index
        session, dose = run.session, run.dose(index)
        curves = session.dvh(index)
        if dose is None:
            return
        scorecard = session.scorecard(index)
        if self._plan is None:
            # A path could tell who the patient is; its digest cannot.
            self._session = hashlib.sha256(str(session.folder).encode()).hexdigest()[:16]
            anatomy = _anatomy(parameters, rows, scorecard)
            self._plan = ShownPlan(anatomy, prescription_gy(scorecard), self._session)
        label = _("Dose of step {index}").format(index=index)
        self._plan.show_dose(dose, label)
        self._show_curves(curves, scorecard, _("DVH of step {index}").format(index=index))
        self.applyChoices(parameters)
        if index == session.current:
            store_plan(
                slicer.mrmlScene,
                self._plan.study(),
                self._session,
                scorecard=scorecard,
                objectives=objectives_from(session.objectives(index)),
                facts=session.facts(),
            )
        if not self._chart_shown:
            self._plan.show_chart()
            self._chart_shown = True

    def showPreview(self, run: Any, event: Mapping) -> None:
        """Show what a slider would lead to."""
        if self._plan is not None:
            self._plan.show_dose(run.session.previewDose(event), _("Preview"))
            curves = run.session.previewDvh(event)
            self._show_curves(curves, event["scorecard"], _("DVH of the preview"))

    def compare(self, run: Any, index: int) -> None:
        """Show another step beside."""
        self.compared = index
        dose = run.dose(index)
        if self._plan is not None and dose is not None:
            label = _("Dose of step {index}").format(index=index)
            remark = _("dashed: step {index}").format(index=index)
            self._plan.compare(dose, run.session.dvh(index), label, remark)

    def endComparison(self) -> None:
        """Show one step only."""
        self.compared = None
        if self._plan is not None:
            self._plan.end_comparison()

    def applyChoices(self, parameters: Any) -> None:
        """Dose, isodoses and legend on or off."""
        if self._plan is not None:
            self._plan.set_dose_visible(parameters.showDose)
            self._plan.set_isodoses_visible(parameters.showIsodoses)
            self._plan.set_legend_visible(parameters.showLegend)

    def jumpToHotSpot(self) -> str:
        """Move the slices to the highest dose; what was found, in words."""
        point = self._plan.hot_spot_mm() if self._plan else None
        if point is None:
            return ""
        self._plan.jump_to(point)
        highest = slicer.util.arrayFromVolume(self._plan.dose_node).max()
        return _("Highest dose: {dose:.1f} Gy").format(dose=float(highest))

    def _show_curves(self, curves: Curves, scorecard: Mapping, title: str) -> None:
        self._plan.show_dvh(curves, scorecard["structures"], title)


def _anatomy(parameters: Any, rows: Sequence[MappingRow], scorecard: Mapping) -> Anatomy:
    structures = scorecard["structures"]
    used = [row for row in rows if row.name in structures]
    return Anatomy(
        parameters.ct,
        parameters.segmentation,
        {row.name: row.segment_id for row in used},
        {row.name: structures[row.name]["volume_cc"] for row in used},
    )
