# ruff: noqa: N802 - names are SlicerRT's
"""Stand-ins for SlicerRT's classes, which no package offers outside desktop Slicer.

They are test doubles: nothing in the product knows of them. Each method has the name, arguments,
defaults and oddities of SlicerRT's (commit df6ef69c, 2026-07); the header or source file that it
follows is named. What is not here is not used by the product. Where SlicerRT behaves otherwise,
SlicerRT is right.

They are real nodes of a real scene (Python subclasses of MRML classes), but the scene file knows
them by their base class only, so that they cannot show saving and loading of a plan.

Whoever has SlicerRT's libraries, built for this Python and its MRML, names the folder of its
Python modules in $SLICERRT_MODULES: its own plan, beam and objective nodes are then used in all
tests, and test_slicerrt_own_classes.py runs as well. Engines and the optimizer's C++ side, which
need Slicer's Qt, remain stood in for.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import slicer
from scipy import sparse
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonCore import VTK_INT, vtkCollection
from vtkmodules.vtkCommonDataModel import vtkFieldData

#: Folder of SlicerRT's own Python modules; empty: stand-ins.
OWN_MODULES = os.environ.get("SLICERRT_MODULES", "")
#: Event of a beam node upon which the Beams logic redraws it (Beams/MRML/vtkMRMLRTBeamNode.h:60).
BEAM_TRANSFORM_MODIFIED = 62201


def own_module(name: str) -> types.ModuleType:
    """SlicerRT's own Python module of a library, such as vtkSlicerBeamsModuleMRML."""
    if OWN_MODULES not in sys.path:
        sys.path.append(OWN_MODULES)
    return importlib.import_module(f"{name}Python")


def node_classes() -> dict[str, type]:
    """SlicerRT's nodes by name: its own where there are some, else the stand-ins."""
    if not OWN_MODULES:
        return {
            "vtkMRMLRTPlanNode": StandInPlanNode,
            "vtkMRMLRTBeamNode": StandInBeamNode,
            "vtkMRMLRTObjectiveNode": StandInObjectiveNode,
        }
    beams = own_module("vtkSlicerBeamsModuleMRML")
    objectives = own_module("vtkSlicerExternalBeamPlanningModuleMRML")
    return {
        "vtkMRMLRTPlanNode": beams.vtkMRMLRTPlanNode,
        "vtkMRMLRTBeamNode": beams.vtkMRMLRTBeamNode,
        "vtkMRMLRTObjectiveNode": objectives.vtkMRMLRTObjectiveNode,
    }


def _as_float(value) -> float:
    """What VTK's wrapping does with a double argument: anything else is a TypeError."""
    if not isinstance(value, (int, float, np.number)):
        raise TypeError(f"a float is required, got {type(value).__name__}")
    return float(value)


class StandInPlanNode(slicer.vtkMRMLFolderDisplayNode):
    """Stands in for vtkMRMLRTPlanNode (Beams/MRML/vtkMRMLRTPlanNode.h, .cxx)."""

    IsocenterSpecificationType = IntEnum(  # .h
        "IsocenterSpecificationType", {"CenterOfTarget": 0, "ArbitraryPoint": 1}
    )
    CenterOfTarget, ArbitraryPoint = IsocenterSpecificationType
    ISOCENTER_FIDUCIAL_NAME = "Isocenter"  # .cxx:52

    def __init__(self):
        self._rx_dose = 1.0  # .h: RxDose{ 1.0 }
        self._target_ids: tuple[str, ...] = ()
        self._body_id = None
        self._isocenter_specification = self.CenterOfTarget
        self._next_beam_number = 1
        self._dose_engine_name = None
        self._optimizer_name = None
        self._dose_grid_spacing = [5.0, 5.0, 5.0]  # .h: DoseGridSpacing
        self._inverse = False
        self._ion = False
        self.HideFromEditorsOff()  # .cxx:66

    # Nodes (.h:169-210, .cxx:340-500): references, refused where the scenes differ.
    def _reference(self, role: str):
        return self.GetNodeReference(role)

    def _refer(self, role: str, node) -> None:
        if node is not None and node.GetScene() is not self.GetScene():
            return  # .cxx: an error on the console, nothing set
        self.SetNodeReferenceID(role, node.GetID() if node is not None else None)

    def GetReferenceVolumeNode(self):
        return self._reference("referenceVolumeRef")

    def SetAndObserveReferenceVolumeNode(self, node):
        self._refer("referenceVolumeRef", node)

    def GetSegmentationNode(self):
        return self._reference("segmentationRef")

    def SetAndObserveSegmentationNode(self, node):
        self._refer("segmentationRef", node)

    def GetOutputTotalDoseVolumeNode(self):
        return self._reference("outputTotalDoseVolumeRef")

    def SetAndObserveOutputTotalDoseVolumeNode(self, node):
        self._refer("outputTotalDoseVolumeRef", node)

    def GetPoisMarkupsFiducialNode(self):
        return self._reference("posMarkupsRef")

    # Isocentre (.h:141-182, .cxx:376-464): local to the markups node, which is made when asked.
    def CreatePoisMarkupsFiducialNode(self):
        node = self.GetPoisMarkupsFiducialNode()
        if node is None:
            node = self.GetScene().AddNewNodeByClass(
                "vtkMRMLMarkupsFiducialNode", f"{self.GetName()}_POI"
            )
            node.AddControlPoint((0.0, 0.0, 0.0), self.ISOCENTER_FIDUCIAL_NAME)
            self._refer("posMarkupsRef", node)
            _hierarchy(self).CreateItem(self.GetPlanSubjectHierarchyItemID(), node)
        return node

    def GetIsocenterPosition(self, isocenter) -> bool:
        isocenter[:] = self.CreatePoisMarkupsFiducialNode().GetNthControlPointPosition(0)
        return True

    def SetIsocenterPosition(self, isocenter) -> bool:
        self.CreatePoisMarkupsFiducialNode().SetNthControlPointPosition(0, *isocenter)
        return True

    def GetIsocenterSpecification(self) -> int:
        return self._isocenter_specification

    def SetIsocenterSpecification(self, specification: int) -> None:
        if not isinstance(specification, self.IsocenterSpecificationType):
            raise TypeError("expected enum vtkMRMLRTPlanNode.IsocenterSpecificationType")
        self._isocenter_specification = specification

    # Subject hierarchy and beams (.h:105-164, .cxx:500-685)
    def GetPlanSubjectHierarchyItemID(self) -> int:
        hierarchy = _hierarchy(self)
        item = hierarchy.GetItemByDataNode(self)
        return item or hierarchy.CreateItem(hierarchy.GetSceneItemID(), self)

    def GetBeams(self, beams: vtkCollection) -> None:
        """As the hierarchy has them: not sorted by number."""
        beams.RemoveAllItems()
        found = vtkCollection()
        _hierarchy(self).GetDataNodesInBranch(
            self.GetPlanSubjectHierarchyItemID(), found, "vtkMRMLModelNode"
        )
        for index in range(found.GetNumberOfItems()):
            if isinstance(found.GetItemAsObject(index), StandInBeamNode):
                beams.AddItem(found.GetItemAsObject(index))

    def GetNumberOfBeams(self) -> int:
        beams = vtkCollection()
        self.GetBeams(beams)
        return beams.GetNumberOfItems()

    def AddBeam(self, beam) -> None:
        if self.GetScene() is None or beam is None:
            return
        beam.SetBeamNumber(self._next_beam_number)
        self._next_beam_number += 1
        _hierarchy(self).CreateItem(self.GetPlanSubjectHierarchyItemID(), beam)
        # What the Beams logic does upon the event (vtkSlicerBeamsModuleLogic.cxx:236-261); it
        # asks for the isocentre, which is thereby made.
        self.CreatePoisMarkupsFiducialNode()
        transform = self.GetScene().AddNewNodeByClass(
            "vtkMRMLLinearTransformNode", f"{beam.GetName()}_BeamTransform"
        )
        beam.SetAndObserveTransformNodeID(transform.GetID())
        beam.CreateDefaultDisplayNodes()

    def RemoveBeam(self, beam) -> None:
        """.cxx:723: the beam alone; its transform and display stay."""
        self.GetScene().RemoveNode(beam)

    # Values (.h:190-246)
    def GetTargetSegmentIDs(self) -> tuple[str, ...]:
        """VTK wraps a std::vector<std::string> as a tuple."""
        return self._target_ids

    def SetTargetSegmentIDs(self, ids) -> None:
        """Takes any sequence: of a text, the letters; None for an empty one."""
        self._target_ids = tuple(ids or ())

    def GetBodySegmentID(self):
        return self._body_id

    def SetBodySegmentID(self, segment_id) -> None:
        self._body_id = segment_id

    def GetRxDose(self) -> float:
        return self._rx_dose

    def SetRxDose(self, dose) -> None:
        self._rx_dose = _as_float(dose)

    def GetDoseGridSpacing(self):
        return tuple(self._dose_grid_spacing)

    def SetDoseGridSpacing(self, x, y, z) -> None:
        self._dose_grid_spacing = [_as_float(v) for v in (x, y, z)]

    def GetDoseEngineName(self):
        return self._dose_engine_name

    def SetDoseEngineName(self, name) -> None:
        self._dose_engine_name = name

    def GetPlanOptimizerName(self):
        return self._optimizer_name

    def SetPlanOptimizerName(self, name) -> None:
        self._optimizer_name = name

    def GetInversePlanFlag(self) -> bool:
        return self._inverse

    def SetInversePlanFlag(self, flag: bool) -> None:
        self._inverse = bool(flag)

    def GetIonPlanFlag(self) -> bool:
        return self._ion

    def SetIonPlanFlag(self, flag: bool) -> None:
        self._ion = bool(flag)


class StandInBeamNode(slicer.vtkMRMLModelNode):
    """Stands in for vtkMRMLRTBeamNode (Beams/MRML/vtkMRMLRTBeamNode.h, .cxx)."""

    def __init__(self):
        self._values = {
            # .h: the defaults of the members
            "BeamNumber": -1,
            "BeamDescription": None,
            "BeamWeight": 1.0,
            "X1Jaw": -100.0,
            "X2Jaw": 100.0,
            "Y1Jaw": -100.0,
            "Y2Jaw": 100.0,
            "SAD": 2000.0,
            "GantryAngle": 0.0,
            "CollimatorAngle": 0.0,
            "CouchAngle": 0.0,
            "IsocenterPositionFlag": False,
        }
        self._isocenter = (0.0, 0.0, 0.0)
        self._matrix = sparse.csc_matrix((0, 0))
        self._dose_grid_dim = (-1, -1, -1)
        self._dose_grid_spacing = (-1.0, -1.0, -1.0)

    def GetParentPlanNode(self):
        """.cxx:400: the parent in the subject hierarchy."""
        hierarchy = _hierarchy(self)
        item = hierarchy.GetItemByDataNode(self)
        return hierarchy.GetItemDataNode(hierarchy.GetItemParent(item)) if item else None

    def GetIsocenterPosition(self):
        """.h: vtkGetVector3Macro, RAS."""
        return self._isocenter

    def SetIsocenterPosition(self, position) -> None:
        self._isocenter = tuple(float(v) for v in position)

    # Influence matrix (.h:238-270, .cxx:962-1117)
    def SetDoseInfluenceMatrixFromTriplets(
        self, rows, columns, i, j, values, dose_grid_dim=None, dose_grid_spacing=None
    ) -> None:
        if any(isinstance(sequence, tuple) for sequence in (i, j, values)):
            raise TypeError("'tuple' object doesn't support slice assignment")  # std::vector&
        triplets = (np.asarray(values, float), (np.asarray(i, int), np.asarray(j, int)))
        self._matrix = sparse.coo_matrix(triplets, shape=(rows, columns)).tocsc()
        self._matrix.sum_duplicates()
        dim = (-1, -1, -1) if dose_grid_dim is None else dose_grid_dim
        spacing = (-1.0, -1.0, -1.0) if dose_grid_spacing is None else dose_grid_spacing
        self._dose_grid_dim = tuple(int(n) for n in dim)
        self._dose_grid_spacing = tuple(float(s) for s in spacing)

    def GetDoseInfluenceMatrixRowCount(self) -> int:
        return self._matrix.shape[0]

    def GetDoseInfluenceMatrixColumnCount(self) -> int:
        return self._matrix.shape[1]

    def GetDoseInfluenceMatrixNumberOfNonZeroElements(self) -> int:
        return self._matrix.nnz

    def GetDoseInfluenceMatrixSparsity(self) -> float:
        """.cxx:1026: a division of whole numbers, so 0 for every sparse matrix."""
        return float(self._matrix.nnz // (self._matrix.shape[0] * self._matrix.shape[1]))

    def GetDoseInfluenceMatrixFieldData(self) -> vtkFieldData:
        """.cxx:1096: arrays that share the matrix's own memory (SetArray, save = 1)."""
        field_data = vtkFieldData()
        arrays = (
            ("Data", self._matrix.data, None),
            ("Indices", self._matrix.indices, VTK_INT),
            ("Indptr", self._matrix.indptr, VTK_INT),
        )
        for name, values, kind in arrays:
            array = numpy_to_vtk(values, deep=False, array_type=kind)
            array.SetName(name)
            field_data.AddArray(array)
        return field_data

    def GetDoseGridDim(self):
        return self._dose_grid_dim

    def GetDoseGridSpacing(self):
        return self._dose_grid_spacing


def _add_values(node_class: type, names: tuple[str, ...], transforms: tuple[str, ...]) -> None:
    """Give Get… and Set… (vtkRTBeamNode.h:136-230) to plain values."""
    for name in names:

        def get(self, name=name):
            return self._values[name]

        def put(self, value, name=name):
            numeric = isinstance(self._values[name], float)
            self._values[name] = _as_float(value) if numeric else value
            if name in transforms:
                self.InvokeCustomModifiedEvent(BEAM_TRANSFORM_MODIFIED)

        setattr(node_class, f"Get{name}", get)
        setattr(node_class, f"Set{name}", put)


_add_values(
    StandInBeamNode,
    (
        "BeamNumber",
        "BeamDescription",
        "BeamWeight",
        "X1Jaw",
        "X2Jaw",
        "Y1Jaw",
        "Y2Jaw",
        "SAD",
        "GantryAngle",
        "CollimatorAngle",
        "CouchAngle",
        "IsocenterPositionFlag",
    ),
    ("GantryAngle", "CollimatorAngle", "CouchAngle"),
)


class StandInObjectiveNode(slicer.vtkMRMLScriptedModuleNode):
    """Stands in for vtkMRMLRTObjectiveNode (ExternalBeamPlanning/MRML/vtkMRMLRTObjectiveNode.h).

    Its name is the objective function's; parameters are attributes, as text (see
    ExternalBeamPlanning/Widgets/qMRMLObjectivesTableWidget.cxx:787-829).
    """

    def __init__(self):
        self._segment_id = None

    def GetSegmentationNode(self):
        return self.GetNodeReference("segmentationRef")

    def GetSegmentID(self):
        return self._segment_id

    def SetSegmentationAndSegmentID(self, segmentation, segment_id) -> None:
        """.cxx:203: nothing is set, and the console told, where there is no such segment."""
        if segmentation.GetSegmentation().GetSegment(segment_id) is None:
            return
        self.SetNodeReferenceID("segmentationRef", segmentation.GetID())
        self._segment_id = segment_id


def objective_node(scene, segmentation, segment_id, function, penalty=10, **parameters):
    """An objective as the table of External Beam Planning makes it: all values as text."""
    node = slicer.vtkMRMLRTObjectiveNode()
    scene.AddNode(node)
    node.SetName(function)
    node.SetSegmentationAndSegmentID(segmentation, segment_id)
    node.SetAttribute("isConstraint", "false")
    node.SetAttribute("overlapPriority", "0")
    node.SetAttribute("penalty", str(penalty))
    for name, value in parameters.items():
        node.SetAttribute(name, str(value))
    return node


def overwrite_matrix_memory(beam, value: float) -> None:
    """What a new calculation does to arrays that somebody still holds."""
    vtk_to_numpy(beam.GetDoseInfluenceMatrixFieldData().GetArray("Data"))[:] = value


def _hierarchy(node):
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())


class StandInEngine:
    """Stands in for qSlicerAbstractDoseEngine (…/Widgets/qSlicerAbstractDoseEngine.h:48-75).

    Parameters
    ----------
    name : str
    is_inverse : bool
    compute : callable
        Called with a beam; returns the error text, empty for success.
    """

    def __init__(self, name, is_inverse, compute):
        self.name, self.isInverse, self._compute = name, is_inverse, compute

    def calculateDoseInfluenceMatrix(self, beam) -> str:
        try:
            result = self._compute(beam)
        except Exception:  # noqa: BLE001 - as PythonQt does
            return ""  # qSlicerScriptedDoseEngine.cxx:240-268: an exception looks like success
        return result if isinstance(result, str) else ""


class StandInEngineHandler:
    """Stands in for qSlicerDoseEnginePluginHandler (…Handler.h:41-58)."""

    engines: list[StandInEngine] = []

    def instance(self):
        """Not callable as a class function (PlmProtonDoseEngineTest.py:157)."""
        return self

    def registeredDoseEngines(self):
        return tuple(self.engines)

    def doseEngineByName(self, name):
        return next((e for e in self.engines if e.name == name), None)


class StandInEngineLogic:
    """Stands in for qSlicerDoseEngineLogic (…Logic.h:60-78, .cxx:250-310)."""

    def setMRMLScene(self, scene) -> None:
        self._scene = scene

    def calculateDoseInfluenceMatrix(self, plan) -> str:
        if plan is None or plan.GetScene() is None:
            return "Invalid MRML scene or RT plan node"
        engine = StandInEngineHandler().doseEngineByName(plan.GetDoseEngineName())
        if engine is None:
            return ""  # .cxx:268-274: the text goes to the console, an empty one is returned
        beams = vtkCollection()
        plan.GetBeams(beams)
        for index in range(beams.GetNumberOfItems()):
            error = engine.calculateDoseInfluenceMatrix(beams.GetItemAsObject(index))
            if error:
                return error
        return ""


class StandInScriptedPlanOptimizer:
    """Stands in for qSlicerScriptedPlanOptimizer (…/Widgets/qSlicerScriptedPlanOptimizer.cxx)."""

    registered: list[StandInScriptedPlanOptimizer] = []

    def __init__(self, parent=None):
        self.name, self.infos, self._self = "", [], None

    def setPythonSource(self, path: str) -> bool:
        """.cxx:96-185: takes the class from the module ``PlanOptimizers.<file name>`` …"""
        module_name = path.rsplit("/", 1)[-1].removesuffix(".py")
        module = sys.modules.setdefault(
            f"PlanOptimizers.{module_name}", types.ModuleType(f"PlanOptimizers.{module_name}")
        )
        # … where it must be already: the file is otherwise loaded under another name.
        found = getattr(module, module_name, None)
        if found is None:
            return False
        self._self = found(self)
        setattr(slicer, module_name, self._self)
        return True

    def self(self):
        return self._self

    def progressInfoUpdated(self, info: str) -> None:
        self.infos.append(info)

    def available_objectives(self) -> dict[str, dict[str, str]]:
        """.cxx:241-330: names and the repr of every default."""
        return {
            name: {p: repr(info["default"]) for p, info in parameters.items()}
            for name, parameters in self._self.setAvailableObjectives().items()
        }

    def optimize_plan(self, plan, objectives) -> str:
        """qSlicerAbstractPlanOptimizer.cxx:115-170, as far as results go."""
        volume = plan.GetOutputTotalDoseVolumeNode()
        if volume is None:
            volume = plan.GetScene().AddNewNodeByClass(
                "vtkMRMLScalarVolumeNode", f"{plan.GetName()}_Optimization"
            )
        arguments = [{"ObjectiveNode": node} for node in objectives]
        try:
            result = self._self.optimizePlanUsingOptimizer(plan, arguments, volume)
        except Exception:  # noqa: BLE001 - .cxx:218-222
            return ""
        return result if isinstance(result, str) else ""


@contextmanager
def beams_logic(scene):
    """Have SlicerRT's own Beams logic observe a scene, as in desktop Slicer, if there is one."""
    if not OWN_MODULES:
        yield
        return
    logic = own_module("vtkSlicerBeamsModuleLogic").vtkSlicerBeamsModuleLogic()
    logic.SetMRMLScene(scene)
    try:
        yield
    finally:
        logic.SetMRMLScene(None)


@contextmanager
def slicerrt():
    """Put stand-ins, or SlicerRT's own nodes, where they are in desktop Slicer."""
    base = types.ModuleType("PlanOptimizers.AbstractScriptedPlanOptimizer")

    class AbstractScriptedPlanOptimizer:
        """…/Python/PlanOptimizers/AbstractScriptedPlanOptimizer.py"""

        def __init__(self, scriptedPlanOptimizer):  # noqa: N803
            self.scriptedPlanOptimizer = scriptedPlanOptimizer

        def register(self):
            names = [o.name for o in StandInScriptedPlanOptimizer.registered]
            if self.scriptedPlanOptimizer.name not in names:  # PluginHandler.cxx:113-120
                StandInScriptedPlanOptimizer.registered.append(self.scriptedPlanOptimizer)

    base.AbstractScriptedPlanOptimizer = AbstractScriptedPlanOptimizer
    package = types.ModuleType("PlanOptimizers")
    package.__path__ = []
    package.AbstractScriptedPlanOptimizer = AbstractScriptedPlanOptimizer
    widgets = types.ModuleType("qSlicerExternalBeamPlanningModuleWidgetsPythonQt")
    widgets.qSlicerScriptedPlanOptimizer = StandInScriptedPlanOptimizer
    modules = {
        "PlanOptimizers": package,
        "PlanOptimizers.AbstractScriptedPlanOptimizer": base,
        "qSlicerExternalBeamPlanningModuleWidgetsPythonQt": widgets,
    }
    names = node_classes() | {
        "qSlicerDoseEngineLogic": StandInEngineLogic,
        "qSlicerDoseEnginePluginHandler": StandInEngineHandler,
    }
    missing = object()
    before = {name: getattr(slicer, name, missing) for name in (*names, "modules")}
    known = set(sys.modules)
    for name, stand_in in names.items():
        setattr(slicer, name, stand_in)
    slicer.modules = types.SimpleNamespace()
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, value in before.items():
            delattr(slicer, name) if value is missing else setattr(slicer, name, value)
        for name in set(sys.modules) - known:
            if name.split(".")[0] in (
                "PlanOptimizers",
                "qSlicerExternalBeamPlanningModuleWidgetsPythonQt",
            ):
                del sys.modules[name]
        StandInEngineHandler.engines = []
        StandInScriptedPlanOptimizer.registered = []
