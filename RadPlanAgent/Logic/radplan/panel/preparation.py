"""What the worker plans from, made ready: the case as a file, a matrix of SlicerRT's engine."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt

from ..case import Case
from ..case_file import save_case
from ..errors import CancelledError, InputError
from .i18n import _
from .scene_reading import SceneReading

#: How often a thread that writes is looked after, milliseconds.
POLL_MS = 50


class Preparation:
    """Reads the scene and writes the case, the latter on a thread of its own.

    Parameters
    ----------
    reading : SceneReading
        Stopping it cancels the preparation.
    rt_plan : MRML node or None
    engine : str
        SlicerRT's dose engine that computes the matrix of `rt_plan`; empty if the worker's does.
    ready : callable
        Told the fields ``case`` and perhaps ``influence`` of the request to plan.
    failed : callable
        Told the `InputError`, `CancelledError` or `OSError` that ended it instead.
    """

    def __init__(
        self,
        reading: SceneReading,
        rt_plan: Any,
        engine: str,
        ready: Callable[[dict[str, str]], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._reading, self._rtPlan, self._engine = reading, rt_plan, engine
        self._ready, self._failed = ready, failed
        self._isDropped = False
        self._folder: str | None = None
        self._fields: dict[str, str] = {}
        self._thread: threading.Thread | None = None
        self._writeError: Exception | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._lookAfterWriting)

    def begin(self) -> None:
        """Begin once the event loop has time."""
        qt.QTimer.singleShot(0, self._prepare)

    def drop(self) -> None:
        """Another session begins: nobody is told any more, and nothing is left."""
        self._isDropped = True
        self._reading.stop()
        self._timer.stop()
        self.removeFiles()

    def removeFiles(self) -> None:
        """Remove the case's file, once the worker has read it or nobody will."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _prepare(self) -> None:
        """Read the scene, then write the case on a thread."""
        try:
            case = self._reading.case()
            if self._engine and self._rtPlan is not None:
                self._fields["influence"] = self._computeMatrices(case)
        except (InputError, CancelledError) as error:
            if not self._isDropped:
                self._failed(error)
            return
        if self._isDropped:
            return
        self._folder = tempfile.mkdtemp(prefix="radplan-")
        path = Path(self._folder) / "case.npz"
        self._fields["case"] = str(path)
        self._thread = threading.Thread(target=self._write, args=(path, case), daemon=True)
        self._thread.start()
        self._timer.start()
        self._reading.tell(_("writing the case"), 0.0)

    def _computeMatrices(self, case: Case) -> str:
        """Let SlicerRT's engine compute, which no one can cancel, and keep the matrix."""
        from ..dose_setup import default_cache_dir
        from ..influence.stored import store_influence
        from ..mrml.rt_engine import compute_matrices
        from ..mrml.rt_influence import influence_from_beams

        self._reading.tell(_("{engine} computes").format(engine=self._engine), 0.0)
        compute_matrices(self._rtPlan, self._engine)
        matrix = influence_from_beams(self._rtPlan)
        return str(store_influence(matrix, case, default_cache_dir()))

    def _write(self, path: Path, case: Case) -> None:
        try:
            save_case(path, case)
        except (OSError, InputError) as error:
            self._writeError = error

    def _lookAfterWriting(self) -> None:
        if self._thread.is_alive():
            return
        self._timer.stop()
        if self._reading.isUnwanted or self._writeError:
            self._failed(self._writeError or CancelledError(_("cancelled")))
        else:
            self._ready(self._fields)
