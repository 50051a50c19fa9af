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
    name = "slicer.parameterNodeWrapper"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    sys.modules[name] = slicer.parameterNodeWrapper = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(slicer.parameterNodeWrapper)
    return slicer.parameterNodeWrapper
