"""Slicer's MRML library: looked for, and started without a window."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    import slicer

#: Application, version and revision that a scene file names; the oldest that reads what we write.
#: Slicer warns about files of other applications (slicer-core would name itself) and of newer
#: versions than its own.
READABLE_SINCE = "Slicer 5.10.0 0"


class SlicerMissingError(InputError):
    """There is no MRML library in this Python: no scene can be made, everything else can."""


def require_slicer() -> None:
    """Make sure that MRML can be imported.

    Raises
    ------
    SlicerMissingError
        If the package is absent or broken, or another package of the name ``slicer`` is there
        instead (one on the Python package index explains machine-learning models).
    """
    advice = 'install it with: pip install "radplan[scene]"'
    try:
        module = importlib.import_module("slicer")
    except ImportError as error:
        raise SlicerMissingError(
            f"a Slicer scene needs the slicer-core package ({error}); {advice}"
        ) from None
    if not hasattr(module, "vtkMRMLScene"):
        raise SlicerMissingError(
            f"the installed package 'slicer' ({module.__file__}) is not 3D Slicer's; remove it, "
            f"then get slicer-core: {advice}"
        )


@contextmanager
def headless_scene() -> Iterator[slicer.vtkMRMLScene]:
    """Make an empty scene in which node classes, default colours and singletons are registered.

    Desktop Slicer has all this in its own scene. The order is that of Slicer's start: application
    logic (node classes, selection node), colours (which display nodes refer to), layout (which
    makes the views), markups (their storage node class).
    """
    require_slicer()
    import slicer

    scene = slicer.vtkMRMLScene()
    scene.SetVersion(READABLE_SINCE)
    scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())  # as the module Colors does
    logics = [
        slicer.vtkMRMLApplicationLogic(),
        slicer.vtkMRMLColorLogic(),
        slicer.vtkMRMLLayoutLogic(),
        slicer.vtkSlicerMarkupsLogic(),
    ]
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    for logic in logics:
        logic.SetMRMLScene(scene)
    try:
        yield scene
    finally:
        for logic in reversed(logics):
            logic.SetMRMLScene(None)
        scene.Clear(True)
