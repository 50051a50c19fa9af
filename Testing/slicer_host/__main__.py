"""``python -m slicer_host SCRIPT``, for ``Slicer --testing --python-script SCRIPT``.

In the stand-in, with Slicer's own Python files where $SLICER_SOURCE names a checkout of Slicer.
Ends with the status that the script gives to ``slicer.util.exit``.
"""

from __future__ import annotations

import os
import runpy
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from . import start


def main(script: str) -> None:
    """Run a script in the stand-in, with the module there as Slicer has it after its start."""
    with tempfile.TemporaryDirectory(prefix="radplan-settings-") as folder:
        start(Path(folder))
        import slicer

        slicer.app.testing = True
        slicer.app.temporaryPath = folder
        slicer.util.exit = sys.exit
        if os.environ.get("SLICER_SOURCE"):
            from .own_files import use_own_modules

            use_own_modules(Path(os.environ["SLICER_SOURCE"]))
        import RadPlanAgent

        RadPlanAgent.RadPlanAgent(SimpleNamespace(path=RadPlanAgent.__file__))
        slicer.app.emit("startupCompleted()")
        widgets = []

        def representation() -> SimpleNamespace:
            """Slicer makes a module's widget when it is first asked for."""
            if not widgets:
                widgets.append(RadPlanAgent.RadPlanAgentWidget(_parent()))
                widgets[0].setup()
            return SimpleNamespace(self=lambda: widgets[0])

        slicer.modules.radplanagent.widgetRepresentation = representation
        runpy.run_path(script, run_name="__main__")


def _parent() -> Any:
    """What Slicer puts a module's widget into."""
    import qt
    import slicer

    parent = slicer.qMRMLWidget()
    parent.setLayout(qt.QVBoxLayout())
    parent.setMRMLScene(slicer.mrmlScene)
    parent.isEntered = True
    return parent


os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
main(sys.argv[1])
