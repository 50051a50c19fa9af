"""Running a dose engine of SlicerRT, and not believing what it says.

SlicerRT returns an empty text for success. It does so as well when the engine is unknown, when a
Python engine raised an exception, and when it returned something that is no text. What counts is
therefore whether every beam has a matrix afterwards that it did not have before.
"""

from __future__ import annotations

import slicer

from ..errors import InputError
from .rt_influence import dose_image_grid
from .rt_plan import beam_nodes, require_slicerrt


def inverse_engines() -> tuple[str, ...]:
    """Names of the registered dose engines that give an influence matrix.

    SlicerRT registers its engines when its External Beam Planning module is opened for the first
    time; before, there are none.
    """
    if not hasattr(slicer, "qSlicerDoseEnginePluginHandler"):
        return ()
    handler = slicer.qSlicerDoseEnginePluginHandler().instance()
    return tuple(engine.name for engine in handler.registeredDoseEngines() if engine.isInverse)


def compute_matrices(plan: slicer.vtkMRMLRTPlanNode, engine_name: str) -> None:
    """Let a SlicerRT engine compute the influence matrix of every beam.

    It runs on the calling thread until it is done; SlicerRT cannot cancel it. Matrices that the
    beams had before are dropped first, so that none of them is taken for a new one.

    Parameters
    ----------
    plan : vtkMRMLRTPlanNode
        With beams, reference volume, segmentation and targets.
    engine_name : str

    Raises
    ------
    InputError
        If the engine is unknown or gives no matrices, its dose grid could not be placed (see
        `dose_image_grid`), it said an error, or left a beam without a matrix.
    """
    require_slicerrt()
    known = inverse_engines()
    if engine_name not in known:
        have = ", ".join(known) or "none; open SlicerRT's External Beam Planning module once"
        raise InputError(
            f"SlicerRT has no dose engine {engine_name!r} that gives an influence matrix; there "
            f"are: {have}"
        )
    where = f"SlicerRT's dose engine {engine_name}"
    nodes = beam_nodes(plan)
    if not nodes:
        raise InputError(f"plan {plan.GetName()!r} has no beams; add one")
    for node in nodes:
        node.SetDoseInfluenceMatrixFromTriplets(0, 0, [], [], [])
    if plan.GetDoseEngineName() != engine_name:
        plan.SetDoseEngineName(engine_name)
    dose_image_grid(plan)  # what could not be read afterwards is not computed
    logic = slicer.qSlicerDoseEngineLogic()
    logic.setMRMLScene(plan.GetScene())
    error = logic.calculateDoseInfluenceMatrix(plan)
    if error:
        raise InputError(f"{where}: {error}")
    for node in nodes:
        if not node.GetDoseInfluenceMatrixNumberOfNonZeroElements():
            raise InputError(
                f"{where} left beam {node.GetName()!r} without an influence matrix; the reason "
                "is in Slicer's error log and Python console"
            )
