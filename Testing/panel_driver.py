"""Drives the module's panel offscreen, for tests and for the pictures of the panel."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import slicer_host
from image_phantom import FAST, image_phantom, write_protocol

#: What was raised in functions that Qt calls: neither PythonQt nor PySide6 passes it on.
_raised: list[BaseException] = []
#: Planning on the phantom takes seconds; where it takes longer than this, something hangs.
PATIENCE_S = 120.0


class PanelDriver:
    """The module in the stand-in for Slicer, and what a person does with it.

    Parameters
    ----------
    folder : Path
        For settings, sessions and protocols.
    cache : Path
        Folder of influence matrices.
    """

    def __init__(self, folder: Path, cache: Path) -> None:
        slicer_host.start(Path(tempfile.mkdtemp(prefix="radplan-settings-")))
        sys.excepthook = _keep
        import qt
        import slicer

        self.folder = folder
        os.environ["RADPLAN_CACHE"] = str(cache)
        qt.QSettings().setValue("RadPlanAgent/Python", sys.executable)
        qt.QSettings().setValue("RadPlanAgent/SessionsFolder", str(folder / "sessions"))
        slicer.mrmlScene.Clear(False)
        slicer.app.testing = False
        import RadPlanAgent

        parent = slicer.qMRMLWidget()
        parent.setLayout(qt.QVBoxLayout())
        parent.setMRMLScene(slicer.mrmlScene)
        parent.isEntered = True
        self.module = RadPlanAgent.RadPlanAgentWidget(parent)
        self.module.setup()

    @property
    def panel(self) -> Any:
        """The panel."""
        return self.module.panel

    @property
    def ui(self) -> Any:
        """The panel's widgets."""
        return self.module.panel.ui

    @property
    def run(self) -> Any:
        """The planning run."""
        return self.module.panel.run

    @property
    def choices(self) -> Any:
        """The parameter node."""
        return self.module.panel._parameters

    def spin(self, seconds: float = 0.1, until: Callable[[], bool] = lambda: False) -> bool:
        """Let the event loop run for a while, or until something is so; whether it is."""
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                return until()
            _look_after_events()
            time.sleep(0.002)
        _look_after_events()
        return True

    def wait(self, until: Callable[[], bool], what: str = "") -> None:
        """Wait for something that must come."""
        if not self.spin(PATIENCE_S, until):
            raise AssertionError(f"waited in vain {what}: {self.run.state}")

    def load_phantom(self) -> Any:
        """Put the phantom and its choices into the scene, ready to be planned."""
        import slicer

        from radplan.mrml.plan import add_case

        nodes = add_case(slicer.mrmlScene, image_phantom())
        choices = self.choices
        choices.ct, choices.segmentation = nodes.ct, nodes.segmentation
        choices.protocol = str(write_protocol(self.folder))
        choices.structureNames = {name: name for name in ("Cord", "Gland", "Distant")}
        choices.beamTemplate = FAST[1]
        choices.gridSpacingMm, choices.bixelWidthMm = float(FAST[3]), float(FAST[5])
        choices.stepLimit = 2
        self.spin()
        return nodes

    def check_prescription(self) -> None:
        """Tick that structures and prescription are checked."""
        if not self.choices.prescriptionChecked:
            self.ui.prescriptionCheckBox.click()
        self.spin()

    def plan(self, session: str = "") -> None:
        """Press Plan and wait for the end."""
        self.choices.sessionFolder = str(self.folder / session) if session else ""
        self.check_prescription()
        self.ui.planButton.click()
        self.wait(lambda: self.run.state.phase in ("done", "failed"), "for the plan")
        self.settle()

    def settle(self) -> None:
        """Wait until nothing is under way."""
        self.wait(lambda: not self.run.state.is_busy, "for an end")
        self.spin(0.15)

    def press(self, name: str) -> None:
        """Press a button that must be enabled, and wait until nothing is under way."""
        button = getattr(self.ui, name)
        assert button.enabled, f"{name}: {button.toolTip}"
        button.click()
        self.settle()

    def picture(self, path: Path, width: int = 500, sections: tuple[str, ...] = ()) -> None:
        """Save what the panel looks like.

        Parameters
        ----------
        path : Path
        width : int
        sections : tuple of str
            Sections that are open, by their buttons; as they are when empty.
        """
        import slicer

        parent = self.module.parent
        for name in ("patient", "beams", "planSection", "result", "assistant"):
            if sections:
                getattr(self.ui, f"{name}Button").collapsed = f"{name}Button" not in sections
        parent.show()
        for _ in range(3):  # layouts settle: notes wrap, tables take their columns' widths
            parent.resize(width, max(parent.layout().totalHeightForWidth(width), 300))
            slicer.app.processEvents()
        table = self.ui.stepsTable
        for item in table.selectedItems()[:1]:  # scrolling does nothing while it is hidden
            table.scrollToItem(item)
        slicer.app.processEvents()
        path.parent.mkdir(parents=True, exist_ok=True)
        parent.grab().save(str(path))

    def close(self) -> None:
        """As when the application ends."""
        self.module.cleanup()
        self.spin()


def _keep(kind: type, error: BaseException, trace: Any) -> None:
    """Remember what a function that Qt called raised."""
    sys.__excepthook__(kind, error, trace)
    _raised.append(error)


def _look_after_events() -> None:
    """Let Qt handle what happened; raises what its functions raised."""
    import slicer

    slicer.app.processEvents()
    if _raised:
        raise AssertionError("raised in a function that Qt called") from _raised.pop(0)


def fake_parent() -> SimpleNamespace:
    """What Slicer hands to the module's class."""
    return SimpleNamespace(path=str(slicer_host.MODULE_FOLDER / "RadPlanAgent.py"))
