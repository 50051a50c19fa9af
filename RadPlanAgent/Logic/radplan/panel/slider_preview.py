"""A slider that moves: a preview of what it would lead to; let go, it makes a step."""

from __future__ import annotations

from collections.abc import Mapping

import qt

from .i18n import _
from .objective_edits import objectives_from
from .planning_run import PlanningRun
from .result_section import ResultSection
from .result_views import ResultViews
from .sliders import Slider, slider_actions
from .tables import show_note

#: A preview is asked for when a slider has rested this long, milliseconds.
PREVIEW_PAUSE_MS = 60


class SliderPreview:
    """What a slider asks of the planning run, and what comes back.

    Parameters
    ----------
    run : PlanningRun
    views : ResultViews
    result : ResultSection
    note : qt.QLabel
        Says how long a preview took.
    """

    def __init__(
        self, run: PlanningRun, views: ResultViews, result: ResultSection, note: qt.QLabel
    ) -> None:
        self._run, self._views, self._result, self._note = run, views, result, note
        self._slide: tuple[Slider, float] | None = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(PREVIEW_PAUSE_MS)
        self._timer.timeout.connect(self._ask)

    @property
    def isHeld(self) -> bool:
        """Whether a slider has been moved and no step has come of it yet."""
        return self._slide is not None

    def slid(self, slider: Slider, position: float) -> None:
        """A slider moves: look at what it would lead to once it rests."""
        self._slide = (slider, position)
        self._timer.start()

    def released(self, slider: Slider, position: float) -> None:
        """A slider was let go: make a step."""
        self._timer.stop()
        word = _("more") if position > 0 else _("less")
        if slider.is_target:
            reason = _("{name}: {word} exact dose (slider {position:+.0%})")
        else:
            reason = _("{name}: spare {word} (slider {position:+.0%})")
        self._run.request(
            "steer",
            self._result.author,
            actions=self._actions(slider, position),
            reason=reason.format(name=slider.structure, word=word, position=position),
        )

    def show(self, event: Mapping) -> None:
        """Show what a slider would lead to; the step on display stays the plan."""
        if self._slide is None:
            return
        self._views.showPreview(self._run, event)
        session = self._run.session
        self._result.show_scorecard(
            _("Preview"),
            event["scorecard"],
            _("Step {index}").format(index=session.current),
            session.scorecard(session.current),
        )
        text = _("Preview in {seconds:.1f} s; let go to keep it as a step.")
        lines = [text.format(seconds=event["seconds"])]
        if event["constraints"]:
            lines.append(_("Unlike a step, it is not held to constraints:"))
            lines += [row["text"] for row in event["constraints"]]
        show_note(self._note, "\n".join(lines))

    def end(self) -> None:
        """A step has arrived: what is on display is a plan again."""
        self._slide = None
        show_note(self._note, "")

    def stop(self) -> None:
        """Ask for nothing more."""
        self._timer.stop()

    def _ask(self) -> None:
        if self._slide is not None and self._run.isOpen and not self._run.state.is_busy:
            actions = self._actions(*self._slide)
            if actions:
                self._run.preview(actions)

    def _actions(self, slider: Slider, position: float) -> list[dict]:
        session = self._run.session
        objectives = objectives_from(session.objectives(session.current))
        return slider_actions(objectives, slider, position)
