"""SlicerRT's own pyRadPlan dose engine on our plans; runs where $SLICERRT_SOURCE is a checkout.

The engine is a script of SlicerRT (ExternalBeamPlanning/Widgets/Python/DoseEngines). It is run as
it is, with pyRadPlan as installed, on the nodes that the other tests use. Stood in for are its
parameters, which a Qt class holds, and how it takes the CT from Slicer.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from radplan.mrml import runtime

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("pyRadPlan", reason="the dose engine is pyRadPlan")
pytest.importorskip("SimpleITK", reason="the engine takes the CT as such an image")
try:
    runtime.require_slicer()
except runtime.SlicerMissingError as error:
    pytest.skip(str(error), allow_module_level=True)

import SimpleITK
import slicer
import slicer.util

from image_phantom import ball, image_phantom
from radplan.beams import make_beams
from radplan.errors import InputError
from radplan.influence import influence_matrix
from radplan.mrml.geometry import image_array
from radplan.mrml.read_volume import ijk_to_lps
from radplan.mrml.rt_engine import compute_matrices
from radplan.mrml.rt_influence import PYRADPLAN, influence_from_beams
from radplan.mrml.rt_optimize import optimize_rt_plan
from radplan.mrml.rt_plan import beam_nodes, update_plan
from radplan.mrml.runtime import headless_scene
from slicerrt_phantom import LPS, add_phantom
from slicerrt_standins import (
    StandInEngine,
    StandInEngineHandler,
    beams_logic,
    objective_node,
    slicerrt,
)

SOURCE = os.environ.get("SLICERRT_SOURCE", "")
pytestmark = pytest.mark.skipif(not SOURCE, reason="$SLICERRT_SOURCE names no SlicerRT checkout")
SCRIPTS = Path(SOURCE, "ExternalBeamPlanning", "Widgets", "Python")
ISOCENTER = (-8.0, 4.0, 6.0)
BEAMLET_MM = 5.0


class StandInParameters:
    """Stands in for qSlicerScriptedDoseEngine: the defaults of the engine's parameters."""

    def integerParameter(self, beam, name) -> int:  # noqa: N802
        return 0  # photons, the generic machine

    def doubleParameter(self, beam, name) -> float:  # noqa: N802
        return 30.0  # fractions


def pulled(node) -> SimpleITK.Image:
    """What sitkUtils.PullVolumeFromSlicer gives: the volume as an image in LPS."""
    values, _ = image_array(node.GetImageData())
    matrix = ijk_to_lps(node)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(values))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
    return image


@pytest.fixture
def scene(monkeypatch):
    """A scene whose SlicerRT has the one engine."""
    translated = types.SimpleNamespace(translate=lambda context, text: text)
    package = types.SimpleNamespace(__path__=[str(SCRIPTS)])
    modules = {
        "qt": types.SimpleNamespace(),
        "ctk": types.SimpleNamespace(),
        "sitkUtils": types.SimpleNamespace(PullVolumeFromSlicer=pulled),
        "slicer.i18n": translated,
        "vtkSegmentationCorePython": slicer,
        "Python": package,
        "Python.PyRadPlanUtils": None,  # loaded below, forgotten afterwards
        "DoseEngines": None,
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "Python.PyRadPlanUtils", loaded("PyRadPlanUtils"))
    base = loaded("DoseEngines/AbstractScriptedDoseEngine")
    monkeypatch.setitem(sys.modules, "DoseEngines", base)
    engine = loaded("DoseEngines/pyRadPlanEngine").pyRadPlanEngine(StandInParameters())
    engine.scriptedEngine = StandInParameters()
    monkeypatch.setattr(slicer, "pyRadPlanEngine", engine, raising=False)
    with slicerrt(), headless_scene() as scene, beams_logic(scene):
        logic = slicer.vtkSlicerSegmentationsModuleLogic()
        logic.SetMRMLScene(scene)
        monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
        slicer.modules.segmentations = types.SimpleNamespace(logic=lambda: logic)
        compute = engine.calculateDoseInfluenceMatrixUsingEngine
        StandInEngineHandler.engines = [StandInEngine(PYRADPLAN, True, compute)]
        yield scene
        logic.SetMRMLScene(None)


def loaded(script: str) -> types.ModuleType:
    path = SCRIPTS / f"{script}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plan_of(scene, spacing_mm: float, orientation=LPS):
    volume, segmentation = add_phantom(scene, orientation)
    return update_plan(
        scene,
        None,
        make_beams("0,90,215", ISOCENTER, BEAMLET_MM),
        volume=volume,
        segmentation=segmentation,
        target_ids=["id_PTV"],
        prescription_gy=50.0,
        dose_grid_spacing_mm=(spacing_mm,) * 3,
        body_id="id_BODY",
    )


@pytest.mark.parametrize("spacing_mm", [5.0, 4.0], ids=["the CT's grid", "a grid of its own"])
def test_its_matrix_lies_where_ours_does(scene, spacing_mm):
    """The beam node tells no origin of the dose grid; half a voxel off would be 2 mm."""
    plan = plan_of(scene, spacing_mm)
    compute_matrices(plan, PYRADPLAN)
    theirs = influence_from_beams(plan, BEAMLET_MM)
    beams = make_beams("0,90,215", ISOCENTER, BEAMLET_MM)
    ours = influence_matrix(image_phantom(), beams, theirs.grid, target_names=("PTV",))
    assert np.bincount(theirs.beamlets.beam).tolist() == np.bincount(ours.beamlets.beam).tolist()
    doses = [m.dose_gy(np.ones(m.n_beamlets)) for m in (theirs, ours)]
    irradiated = doses[1] > 0.3 * doses[1].max()
    theirs_gy, ours_gy = (dose[irradiated] for dose in doses)
    factor = (theirs_gy @ ours_gy) / (ours_gy @ ours_gy)  # the engine's unit is its own
    difference = np.sqrt(np.mean((theirs_gy - factor * ours_gy) ** 2))
    assert difference < 0.005 * factor * ours_gy.max()


def test_our_optimizer_plans_with_it(scene):
    plan = plan_of(scene, 5.0)
    compute_matrices(plan, PYRADPLAN)
    node = objective_node(
        scene, plan.GetSegmentationNode(), "id_PTV", "squared_deviation", dose_gy="50.0"
    )
    optimized = optimize_rt_plan(plan, [node])
    target = optimized.dose_gy[ball((0.0, 0.0, 0.0), 25.0)]
    assert np.percentile(target, 5) == pytest.approx(50.0, rel=0.02)
    assert target.mean() < 55.0


def test_a_ct_that_it_would_misplace_is_refused_before_it_runs(scene):
    plan = plan_of(scene, 5.0, ((1, 2, 0), (1, -1, 1)))
    with pytest.raises(InputError, match="misplaces the isocentre"):
        compute_matrices(plan, PYRADPLAN)
    assert not any(n.GetDoseInfluenceMatrixNumberOfNonZeroElements() for n in beam_nodes(plan))
