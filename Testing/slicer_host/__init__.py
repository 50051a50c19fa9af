"""Stand-in for the host application: enough of 3D Slicer to run the module's panel offscreen.

The scene, its nodes and ``slicer.util`` are Slicer's own (package ``slicer-core``); Qt is real
too (PySide6). Stood in for: ``qt`` and ``ctk`` as PythonQt shows them, the ``qMRML*`` widgets,
``slicer.app``, ``slicer.modules``, the parameter node wrapper and ``ScriptedLoadableModule``.
Where desktop Slicer behaves differently, desktop Slicer is right; ``Docs/slicer-panel.md`` lists
what cannot be shown here.

`start` makes the host, once a process.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: The folder of RadPlanAgent.py.
MODULE_FOLDER = Path(__file__).resolve().parents[2] / "RadPlanAgent"


def why_not() -> str:
    """Why the host cannot start in this Python; empty if it can."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    try:
        from PySide6 import QtUiTools, QtWidgets  # noqa: F401
    except ImportError as error:
        return f"Qt cannot be loaded ({error}); it needs PySide6-Essentials and libegl1"
    try:
        import slicer  # noqa: F401
    except ImportError as error:
        return f"there is no MRML ({error}); it needs slicer-core"
    return ""


def start(settings_folder: Path) -> None:
    """Put the host's modules where ``import qt`` and ``import slicer.…`` find them.

    Parameters
    ----------
    settings_folder : Path
        Where QSettings are kept, so that the user's own stay as they are.
    """
    if "qt" in sys.modules:
        return
    problem = why_not()
    if problem:
        raise RuntimeError(problem)
    from . import application, pythonqt

    sys.modules["qt"] = pythonqt.make_qt()
    from . import ctk_widgets

    sys.modules["ctk"] = ctk_widgets
    application.start(settings_folder)
    sys.path.insert(0, str(MODULE_FOLDER))
