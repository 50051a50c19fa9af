"""Slicer's own Python files in place of stand-ins, where a checkout of Slicer is at hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import ctk
import slicer
from PySide6.QtWidgets import QWidget

#: Widgets that Slicer's wrapper asks about and our panel does not use.
_CTK = (
    *("ctkCheckBox", "ctkCheckablePushButton", "ctkColorPickerButton", "ctkComboBox"),
    *("ctkDirectoryButton", "ctkDoubleRangeSlider", "ctkDoubleSlider", "ctkDoubleSpinBox"),
    *("ctkRangeSlider", "ctkRangeWidget", "ctkSliderWidget"),
)
_QMRML = ("qMRMLRangeWidget", "qMRMLSliderWidget", "qMRMLSpinBox")


def use_own_parameter_node_wrapper(source: Path) -> ModuleType:
    """Load ``slicer.parameterNodeWrapper`` from a checkout of Slicer.

    Parameters
    ----------
    source : Path
        The checkout.
    """
    for module, names in ((ctk, _CTK), (slicer, _QMRML)):
        for name in names:
            setattr(module, name, type(name, (QWidget,), {}))
    folder = source / "Base" / "Python" / "slicer" / "parameterNodeWrapper"
    return _load("slicer.parameterNodeWrapper", folder / "__init__.py", [str(folder)])


def use_own_modules(source: Path) -> None:
    """Load what a scripted module imports from a checkout of Slicer.

    These are ``slicer.i18n``, ``slicer.ScriptedLoadableModule``, the parameter node wrapper and
    ``SampleData``. The module must not have been imported yet.

    Parameters
    ----------
    source : Path
        The checkout.
    """
    slicer.app.translate = lambda _context, text: text
    python = source / "Base" / "Python" / "slicer"
    _load("slicer.i18n", python / "i18n.py")
    _load("slicer.ScriptedLoadableModule", python / "ScriptedLoadableModule.py")
    use_own_parameter_node_wrapper(source)
    _load("SampleData", source / "Modules" / "Scripted" / "SampleData" / "SampleData.py")


def _load(name: str, path: Path, folders: list[str] | None = None) -> ModuleType:
    """Load a file as a module of a name, in place of one that is there."""
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=folders)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    package, _, attribute = name.rpartition(".")
    if package:
        setattr(sys.modules[package], attribute, module)
    spec.loader.exec_module(module)
    return module
