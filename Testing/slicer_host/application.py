"""Stand-ins for slicer.app, slicer.modules, slicer.i18n and ScriptedLoadableModule."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import slicer
import slicer.util

MODULE = "RadPlanAgent"


def start(settings_folder: Path) -> None:
    """Make slicer.app and its scene, and the modules that a scripted module imports."""
    import qt

    from . import MODULE_FOLDER, mrml_widgets

    application = qt.QApplication.instance() or qt.QApplication(["Slicer"])
    application.setStyle("Fusion")
    qt.QSettings.setDefaultFormat(qt.QSettings.Format.IniFormat)
    for scope in (qt.QSettings.Scope.UserScope, qt.QSettings.Scope.SystemScope):
        qt.QSettings.setPath(qt.QSettings.Format.IniFormat, scope, str(settings_folder))
    application.setOrganizationName("NA-MIC")
    application.setApplicationName("Slicer")
    slicer.app = App(application)
    slicer.modules = SimpleNamespace(
        radplanagent=SimpleNamespace(path=str(MODULE_FOLDER / f"{MODULE}.py"))
    )
    slicer.mrmlScene = _new_scene(settings_folder)
    for name in ("qMRMLWidget", "qMRMLNodeComboBox"):
        setattr(slicer, name, getattr(mrml_widgets, name))
    _register("slicer.i18n", tr=lambda text: text, translate=lambda _context, text: text)
    from . import parameter_node

    sys.modules["slicer.parameterNodeWrapper"] = parameter_node
    slicer.parameterNodeWrapper = parameter_node
    names = [f"ScriptedLoadableModule{kind}" for kind in ("", "Widget", "Logic", "Test")]
    classes = {name: getattr(sys.modules[__name__], name) for name in names}
    _register("slicer.ScriptedLoadableModule", __all__=list(classes), **classes)
    sys.modules["SampleData"] = ModuleType("SampleData")
    sys.modules["SampleData"].SampleDataLogic = SampleDataLogic


def _register(name: str, **content: Any) -> None:
    module = ModuleType(name)
    vars(module).update(content)
    sys.modules[name] = module
    setattr(slicer, name.partition(".")[2], module)


def _new_scene(home: Path) -> slicer.vtkMRMLScene:
    """The one scene, with the singletons that the application makes at its start."""
    scene = slicer.vtkMRMLScene()
    scene.SetVersion("Slicer 5.12.0 0")
    _logics[:] = [
        slicer.vtkMRMLApplicationLogic(),
        slicer.vtkSlicerColorLogic(),
        slicer.vtkMRMLLayoutLogic(),
        slicer.vtkSlicerMarkupsLogic(),
    ]
    # Where the application's colour tables would lie; here are none.
    (home / "share" / "ColorFiles").mkdir(parents=True, exist_ok=True)
    _logics[0].SetHomeDirectory(str(home))
    _logics[0].SetShareDirectory("share")
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    for logic in _logics:
        if hasattr(logic, "SetMRMLApplicationLogic"):
            logic.SetMRMLApplicationLogic(_logics[0])
        logic.SetMRMLScene(scene)
    return scene


_logics: list[Any] = []  # the scene does not keep them


class App:
    """``slicer.app``: only what the panel asks of it."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._slots: dict[str, list] = {}
        self.testing = False
        self.applicationName = "Slicer"
        self.majorVersion, self.minorVersion = 5, 12

    def testingEnabled(self) -> bool:
        """Whether the application was started with --testing."""
        return self.testing

    def processEvents(self) -> None:
        """Handle what happened."""
        self._application.processEvents()

    def topLevelWidgets(self) -> list:
        """All windows; the main window is not among them, as with --no-main-window."""
        return self._application.topLevelWidgets()

    def connect(self, signal: str, slot: Any) -> None:
        """Connect to a signal of the application."""
        self._slots.setdefault(signal, []).append(slot)

    def disconnect(self, signal: str, slot: Any) -> None:
        """Undo `connect`."""
        self._slots[signal].remove(slot)

    def emit(self, signal: str) -> None:
        """Stand in for the application's own signals."""
        for slot in list(self._slots.get(signal, ())):
            slot()

    def moduleManager(self) -> App:
        """Here, the same object has the module manager's signals."""
        return self

    def settings(self) -> Any:
        """The application's settings."""
        import qt

        return qt.QSettings()


class SampleDataLogic:
    """What the Sample Data module is told, by the parameters that it has in Slicer 5.10."""

    registered: list[dict[str, Any]] = []

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFiles=None,
        loadFileProperties=None,
        checksums=None,
        loadFileType=None,
    ) -> None:
        """Offer a sample; as in Slicer, nothing can be left out of what is downloaded."""
        for given in (uris, fileNames, nodeNames):
            assert isinstance(given, str)
        SampleDataLogic.registered.append(
            {
                "category": category,
                "name": sampleName,
                "thumbnail": thumbnailFileName,
                "load": customDownloader,
            }
        )


class ScriptedLoadableModule:
    """Base of the module's class."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__


class ScriptedLoadableModuleWidget:
    """Base of the module's widget."""

    def __init__(self, parent: Any = None) -> None:
        import qt

        self.moduleName = type(self).__name__.removesuffix("Widget")
        if parent is None:
            parent = slicer.qMRMLWidget()
            parent.setLayout(qt.QVBoxLayout())
            parent.setMRMLScene(slicer.mrmlScene)
        self.parent, self.layout = parent, parent.layout()
        slicer.app.connect("moduleAboutToBeUnloaded(QString)", self.cleanup)

    def setup(self) -> None:
        """Build the widget."""

    def resourcePath(self, name: str) -> str:
        """Path of a file below the module's Resources."""
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / name)


class ScriptedLoadableModuleLogic:
    """Base of the module's logic: the singleton parameter node."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> slicer.vtkMRMLScriptedModuleNode:
        """The module's node in the scene, made when it is not there."""
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetAttribute("ModuleName", self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
            node.SetName(self.moduleName)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of the module's self test."""

    def delayDisplay(self, text: str, msec: int = 0) -> None:
        """Let a person read; here nobody waits."""
