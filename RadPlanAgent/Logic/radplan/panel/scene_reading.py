"""The scene read into a case, between looks at the event loop."""

from __future__ import annotations

from collections.abc import Callable

import slicer

from ..case import Case
from ..progress import check_cancelled
from .plan_inputs import PlanInputs


class SceneReading:
    """One reading of CT and structures; nobody may want it any more while it is under way.

    The scene may be read on the main thread only, so the event loop has its turn in between.

    Parameters
    ----------
    inputs : PlanInputs
        Its CT, segmentation and rows are read.
    progress : callable
        Told stage and fraction.
    """

    def __init__(self, inputs: PlanInputs, progress: Callable[[str, float], None]) -> None:
        self._inputs, self._progress = inputs, progress
        self.isUnwanted = False

    def stop(self) -> None:
        """Nobody wants the case any more."""
        self.isUnwanted = True

    def case(self) -> Case:
        """Read it.

        Raises
        ------
        InputError
            If the scene holds no case.
        CancelledError
            If nobody wants it any more.
        """
        from ..mrml.read_case import case_from_scene

        inputs = self._inputs
        check_cancelled(lambda: self.isUnwanted)
        return case_from_scene(
            inputs.ct,
            inputs.segmentation,
            names={row.segment_id: row.name for row in inputs.rows},
            types={row.segment_id: row.type for row in inputs.rows},
            database=getattr(slicer, "dicomDatabase", None),
            progress=self.tell,
            cancel_requested=lambda: self.isUnwanted,
        )

    def tell(self, stage: str, fraction: float) -> None:
        """Between two structures: show progress, and let the user cancel."""
        self._progress(stage, fraction)
        slicer.app.processEvents()
