"""RadPlanAgent: radiotherapy treatment planning with a person in charge, as a module of 3D Slicer.

This file tells Slicer about the module and hands it its panel; everything else is in the package
``radplan`` below ``Logic``, which also works without Slicer.
"""

from __future__ import annotations

import sys
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

_LOGIC_FOLDER = str(Path(__file__).resolve().parent / "Logic")
if _LOGIC_FOLDER not in sys.path:
    sys.path.append(_LOGIC_FOLDER)  # where the package radplan lies


class RadPlanAgent(ScriptedLoadableModule):
    """What Slicer shows about the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("RadPlan Agent")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Radiotherapy")]
        self.parent.dependencies = ["Segmentations", "SubjectHierarchy"]
        self.parent.contributors = ["The RadPlanAgent contributors"]
        self.parent.helpText = _("""
Makes radiotherapy treatment plans from a CT, structures and a clinical protocol, step by step,
with a person in charge. RESEARCH USE ONLY.
The user guide is Docs/user-guide.md of the extension's sources.
""")
        self.parent.acknowledgementText = _("""
Dose engine: pyRadPlan, by the e0404 group at DKFZ. Plans and doses are shown with SlicerRT.
""")
        slicer.app.connect("startupCompleted()", _onStartupCompleted)


def _onStartupCompleted():
    """Register what needs other modules to be there."""
    from radplan.mrml.rt_register import register_plan_optimizer
    from radplan.panel.sample_data import registerSampleData

    register_plan_optimizer()  # for SlicerRT's External Beam Planning, where there is one
    registerSampleData(str(Path(__file__).resolve().parent / "Resources" / "Icons"))


class RadPlanAgentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's panel in Slicer's life cycle; the panel itself is `radplan.panel.panel`."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None

    def setup(self):
        """Build the panel; called when the module is first shown."""
        ScriptedLoadableModuleWidget.setup(self)
        from radplan.panel.panel import Panel

        self.logic = RadPlanAgentLogic()
        self.panel = Panel(lambda name: slicer.util.loadUI(self.resourcePath(f"UI/{name}.ui")))
        self.layout.addWidget(self.panel.widget)
        self.panel.setMRMLScene(slicer.mrmlScene)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self.panel.setParameterNode(self.logic.getParameterNode())

    def cleanup(self):
        """End the worker process; called when the application closes."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.shutDown()

    def enter(self):
        """Called each time the module is shown."""
        self.panel.setParameterNode(self.logic.getParameterNode())

    def exit(self):
        """Called each time another module is shown: planning goes on."""
        self.panel.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        """Stop planning; its steps are in the session folder."""
        self.panel.sceneCloses()

    def onSceneEndClose(self, caller, event):
        """Start with a new parameter node if the module is on display."""
        if self.parent.isEntered:
            self.panel.setParameterNode(self.logic.getParameterNode())

    def onSceneEndImport(self, caller, event):
        """Show the choices of a scene that was loaded; a person has to confirm them anew."""
        if self.parent.isEntered:
            parameters = self.logic.getParameterNode()
            parameters.prescriptionChecked = False
            self.panel.setParameterNode(parameters)


class RadPlanAgentLogic(ScriptedLoadableModuleLogic):
    """The module's choices in the scene; planning itself is done by the worker process."""

    def getParameterNode(self):
        """The choices, with types."""
        from radplan.panel.parameters import RadPlanAgentParameterNode

        return RadPlanAgentParameterNode(super().getParameterNode())


class RadPlanAgentTest(ScriptedLoadableModuleTest):
    """The module's self test in Slicer; the project's own tests are in Testing."""

    def setUp(self):
        """Start with an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run all self tests."""
        self.setUp()
        self.test_PhantomToCase()
        self.setUp()
        self.test_NothingIsApprovedByItself()

    def test_PhantomToCase(self):
        """A phantom put into the scene is read back as the same case."""
        from radplan.panel.self_test import checkPhantomToCase

        checkPhantomToCase(self)
        self.delayDisplay(_("Test passed"))

    def test_NothingIsApprovedByItself(self):
        """In testing mode confirmations answer themselves; an approval must not."""
        from radplan.panel.review_dialog import confirmReview

        if slicer.app.testingEnabled():
            self.assertFalse(confirmReview("approved", "A Person", "step 1"))
