"""Runs inside 3D Slicer: the module's self tests, and a planning run on sample data.

``Slicer --no-main-window --testing --python-script Testing/slicer_selftest.py``

Needs the extension and SlicerRT in Slicer, and the worker's packages: either installed from the
panel before, or a Python that has them, named by $RADPLAN_PYTHON. Without them planning is left
out, and the output says so. Ends Slicer with status 0 if everything passed, 1 if not.
"""

from __future__ import annotations

import os
import sys
import time
import traceback

import qt
import slicer

#: For the plan, whose influence matrix may take minutes, and for a button to be enabled.
PATIENCE_S, ENABLED_S = 600.0, 10.0


def press(button):
    """Press a button once it is enabled, which may be after the next look at the event loop."""
    wait(lambda: button.enabled, lambda: f"{button.objectName}: {button.toolTip}", ENABLED_S)
    button.click()
    slicer.app.processEvents()


def wait(until, what, patience_s=PATIENCE_S):
    """Let Slicer's event loop run until something is so."""
    end = time.monotonic() + patience_s
    while not until():
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what()}")
        slicer.app.processEvents()
        time.sleep(0.01)
    slicer.app.processEvents()


def selfTests():
    """The module's own."""
    import RadPlanAgent

    test = RadPlanAgent.RadPlanAgentTest()
    test.messageDelay = 0
    test.runTest()


def planning():
    """Plan a phantom with the worker, from the panel, and look at what is in the scene."""
    from radplan.panel.sample_data import loadPhantom

    slicer.mrmlScene.Clear()
    if os.environ.get("RADPLAN_PYTHON"):
        qt.QSettings().setValue("RadPlanAgent/Python", os.environ["RADPLAN_PYTHON"])
    widget = slicer.modules.radplanagent.widgetRepresentation().self()
    widget.enter()
    panel = widget.panel
    if not panel.run.offerPackages():
        print("the worker's packages are not installed: planning is left out")
        return
    choices = panel._parameters
    choices.ct, choices.segmentation = loadPhantom("prostate")
    choices.protocol = "prostate_60_20"
    choices.beamTemplate, choices.gridSpacingMm, choices.bixelWidthMm = "coplanar5", 5.0, 10.0
    choices.stepLimit = 2
    choices.sessionFolder = os.path.join(slicer.app.temporaryPath, f"radplan-{os.getpid()}")
    slicer.app.processEvents()  # another choice takes the tick away
    panel.ui.prescriptionCheckBox.click()
    press(panel.ui.planButton)
    wait(lambda: not panel.run.state.is_busy, lambda: f"the plan: {panel.run.state}")
    assert panel.run.state.phase == "done", panel.run.state.message
    assert panel.run.session.steps
    doses = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if node.GetAttribute("DicomRtImport.DoseVolume") == "1"
    ]
    assert len(doses) == 1 and slicer.util.arrayFromVolume(doses[0]).max() > 60.0
    assert slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    # Confirmations answer themselves here; a plan must not be approved by that.
    panel.ui.reviewerEdit.text = panel.ui.commentEdit.text = "nobody"
    press(panel.ui.acceptButton)
    assert panel.run.session.review is None
    widget.cleanup()


def main():
    """Run all, one after the other."""
    failed = False
    for test in (selfTests, planning):
        try:
            test()
            print(f"{test.__name__}: passed")
        except Exception:  # noqa: BLE001 - the script's end is Slicer's exit status
            failed = True
            print(f"{test.__name__}: FAILED")
            traceback.print_exc()
    sys.stdout.flush()
    slicer.util.exit(int(failed))


main()
