"""Offering our optimizer to SlicerRT, where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from pathlib import Path

import slicer

logger = logging.getLogger(__name__)

NAME = "RadPlanAgentPlanOptimizer"
_PACKAGE = "PlanOptimizers"
_PATH = Path(__file__).with_name(f"{NAME}.py")


def register_plan_optimizer(immediately: bool = False) -> bool:
    """Make SlicerRT know our optimizer; silent where SlicerRT is absent.

    External Beam Planning instantiates and registers what ``slicer.modules.planOptimizerNames``
    lists when it is entered. It looks for the class in ``PlanOptimizers.<name>`` and, not finding
    it, would load the file under another name and fail: so the module is put there.

    Parameters
    ----------
    immediately : bool
        Register at once, for scripts that never enter that module.

    Returns
    -------
    bool
        Whether SlicerRT is there and has been told.
    """
    try:
        package = importlib.import_module(_PACKAGE)
        _load_into(package)
    except Exception as error:  # another extension's trouble must not be ours
        logger.debug("SlicerRT's plan optimizers are not available: %s", error)
        return False
    names = getattr(slicer.modules, "planOptimizerNames", None)
    if names is None:
        names = slicer.modules.planOptimizerNames = []
    if NAME not in names:
        names.append(NAME)
    return _register_now() if immediately else True


def _load_into(package: object) -> None:
    full_name = f"{_PACKAGE}.{NAME}"
    if full_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(full_name, _PATH)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[full_name] = module
    setattr(package, NAME, sys.modules[full_name])


def _register_now() -> bool:
    try:
        widgets = importlib.import_module("qSlicerExternalBeamPlanningModuleWidgetsPythonQt")
    except ImportError as error:
        logger.debug("SlicerRT's External Beam Planning is not available: %s", error)
        return False
    optimizer = widgets.qSlicerScriptedPlanOptimizer(None)
    # With slashes on Windows, too, as SlicerRT does.
    if not optimizer.setPythonSource(_PATH.as_posix()):
        return False
    optimizer.self().register()
    return True
