"""The plug-in for SlicerRT's External Beam Planning, called as its C++ side calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from radplan.mrml import runtime

pytest.importorskip("slicer", reason="slicer-core is not installed")
try:
    runtime.require_slicer()
except runtime.SlicerMissingError as error:
    pytest.skip(str(error), allow_module_level=True)

import slicer

from image_phantom import GRID, ball
from radplan.mrml import rt_optimize
from radplan.mrml.geometry import image_array
from radplan.mrml.read_volume import ijk_to_lps
from radplan.mrml.rt_plan import beam_nodes
from radplan.mrml.rt_register import NAME, register_plan_optimizer
from radplan.mrml.runtime import headless_scene
from radplan.optimize import CONSTRAINT_KINDS, OBJECTIVE_FUNCTIONS
from radplan.orientation import to_lps
from scene_builders import add_transform, oriented
from slicerrt_phantom import LPS, add_plan
from slicerrt_standins import (
    StandInScriptedPlanOptimizer,
    beams_logic,
    objective_node,
    overwrite_matrix_memory,
    slicerrt,
)

FLIPPED = ((1, 2, 0), (1, -1, 1))


@pytest.fixture
def scene():
    with slicerrt(), headless_scene() as scene, beams_logic(scene):
        yield scene


@pytest.fixture
def optimizer(scene):
    assert register_plan_optimizer(immediately=True)
    return StandInScriptedPlanOptimizer.registered[0]


def objectives(plan, *rows):
    """Rows of the objectives table: segment, function, parameters."""
    rows = rows or (
        ("PTV", "squared_deviation", {"dose_gy": "50.0", "penalty": 100}),
        ("BODY", "squared_overdosing", {"dose_gy": "30.0", "penalty": 5}),
    )
    return [
        objective_node(
            plan.GetScene(), plan.GetSegmentationNode(), f"id_{segment}", function, **parameters
        )
        for segment, function, parameters in rows
    ]


def result_volume(scene):
    return scene.GetFirstNodeByName("RadPlanAgent plan_RadPlanAgent_Dose")


def lps_dose(volume) -> np.ndarray:
    """The dose (z, y, x), placed by the volume's own matrix."""
    values, _ = image_array(volume.GetImageData())
    grid, dose = to_lps(values, ijk_to_lps(volume), "result")
    assert grid.shape == (22, 40, 40)
    assert grid.origin_mm == pytest.approx((-97.5, -97.5, -52.5))
    return dose


class TestRegistration:
    def test_it_is_where_slicerrt_looks(self, optimizer):
        assert optimizer.name == "RadPlanAgent"
        assert slicer.modules.planOptimizerNames == [NAME]
        # What External Beam Planning runs for every name in that list when it is entered.
        code = (
            "from PlanOptimizers import *\n"
            "import qSlicerExternalBeamPlanningModuleWidgetsPythonQt as optimizers\n"
            f"instance = optimizers.qSlicerScriptedPlanOptimizer(None)\n"
            f"found = instance.setPythonSource({NAME}.__file__.replace('\\\\','/'))\n"
            "instance.self().register()\n"
        )
        names: dict = {}
        exec(code, names)
        assert names["found"]
        assert len(StandInScriptedPlanOptimizer.registered) == 1  # one of a name

    def test_twice_is_once(self, optimizer):
        assert register_plan_optimizer()
        assert slicer.modules.planOptimizerNames == [NAME]

    def test_others_stay_registered(self, scene):
        slicer.modules.planOptimizerNames = ["pyRadPlanPlanOptimizer"]
        register_plan_optimizer()
        assert slicer.modules.planOptimizerNames == ["pyRadPlanPlanOptimizer", NAME]

    def test_without_slicerrt_nothing_happens(self, caplog, capsys):
        assert not register_plan_optimizer()
        assert not register_plan_optimizer(immediately=True)
        assert not caplog.records
        assert capsys.readouterr() == ("", "")

    def test_a_broken_slicerrt_breaks_nothing_of_ours(self, scene, monkeypatch):
        monkeypatch.setitem(sys.modules, "PlanOptimizers.AbstractScriptedPlanOptimizer", None)
        assert not register_plan_optimizer()


class TestObjectivesTable:
    def test_all_functions_are_offered_with_numbers_as_defaults(self, optimizer):
        offered = optimizer.available_objectives()
        constraints = {f"constraint_{kind}" for kind in CONSTRAINT_KINDS}
        assert set(offered) == set(OBJECTIVE_FUNCTIONS) | constraints
        for name, parameters in offered.items():
            if name not in constraints:
                assert set(parameters) == set(OBJECTIVE_FUNCTIONS[name].parameters)
            # SlicerRT shows the repr, and gives back what was typed.
            assert all(float(text) >= 0 for text in parameters.values())

    def test_defaults_are_taken_as_they_are(self, scene, optimizer):
        plan = add_plan(scene)
        rows = [
            ("PTV" if "under" in name or "min" in name else "Gland", name, parameters)
            for name, parameters in optimizer.available_objectives().items()
            if name in OBJECTIVE_FUNCTIONS
        ]
        rows.append(("PTV", "squared_deviation", {"dose_gy": "50.0", "penalty": 100}))
        assert optimizer.optimize_plan(plan, objectives(plan, *rows)) == ""


class TestDose:
    @pytest.mark.parametrize("orientation", [LPS, FLIPPED], ids=["LPS", "turned"])
    def test_the_target_gets_the_prescription_where_it_is(self, scene, optimizer, orientation):
        plan = add_plan(scene, orientation)
        assert optimizer.optimize_plan(plan, objectives(plan)) == ""
        volume = result_volume(scene)
        dose = lps_dose(volume)
        target = dose[ball((0.0, 0.0, 0.0), 25.0)]
        assert np.percentile(target, 5) == pytest.approx(50.0, rel=0.02)
        assert dose[ball((0.0, 37.0, 0.0), 13.0)].mean() < 0.8 * target.mean()
        assert volume.GetAttribute("DicomRtImport.DoseVolume") == "1"
        assert volume.GetAttribute("RadPlanAgent.NormalizedTo") == "D95% of PTV = 50 Gy"
        # The image lies as the engine saw it: rows of the matrix are its voxels.
        expected, _ = oriented(dose, GRID, orientation)
        np.testing.assert_array_equal(image_array(volume.GetImageData())[0], expected)

    @pytest.mark.parametrize("unit", [1e-5, 1.0, 1e3])
    def test_the_unit_of_the_matrix_does_not_matter(self, scene, optimizer, unit):
        """An engine of Gy per unit fluence per anything: no plan of 1 Gy comes out."""
        plan = add_plan(scene, angles="0,120,240", unit=unit)
        assert optimizer.optimize_plan(plan, objectives(plan)) == ""
        dose = lps_dose(result_volume(scene))
        assert np.percentile(dose[ball((0.0, 0.0, 0.0), 25.0)], 5) == pytest.approx(50, rel=0.02)

    def test_the_factor_is_recorded(self, scene, optimizer):
        """Objectives that ask for 40 Gy under a prescription of 60 Gy."""
        plan = add_plan(scene, prescription_gy=60.0)
        rows = [("PTV", "squared_deviation", {"dose_gy": "40", "penalty": 100})]
        assert optimizer.optimize_plan(plan, objectives(plan, *rows)) == ""
        factor = float(result_volume(scene).GetAttribute("RadPlanAgent.ScaleFactor"))
        assert factor == pytest.approx(1.5, rel=0.15)
        assert "60 Gy" in optimizer.infos[-1]

    def test_an_objective_has_an_effect_and_a_penalty_of_zero_none(self, scene, optimizer):
        plan = add_plan(scene)
        gland = ball((30.0, 0.0, 0.0), 15.0) & ~ball((0.0, 0.0, 0.0), 25.0)
        means = []
        for penalty in (0, 50):
            rows = [
                ("PTV", "squared_deviation", {"dose_gy": "50", "penalty": 100}),
                ("Gland", "squared_overdosing", {"dose_gy": "10", "penalty": penalty}),
            ]
            assert optimizer.optimize_plan(plan, objectives(plan, *rows)) == ""
            means.append(lps_dose(result_volume(scene))[gland].mean())
            scene.RemoveNode(result_volume(scene))
        assert means[1] < 0.9 * means[0]

    def test_the_plans_own_dose_volume_is_reused(self, scene, optimizer):
        plan = add_plan(scene)
        volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "My dose")
        plan.SetAndObserveOutputTotalDoseVolumeNode(volume)
        add_transform(scene, np.diag([1.0, 1, 1, 1]), volume)
        before = None
        for _ in range(2):
            nodes = objectives(plan)
            before = before or scene.GetNumberOfNodes()
            assert optimizer.optimize_plan(plan, nodes) == ""
            for node in nodes:
                scene.RemoveNode(node)
        assert volume.GetName() == "My dose"
        assert volume.GetImageData().GetDimensions() == (40, 40, 22)
        assert volume.GetParentTransformNode() is None
        assert scene.GetNumberOfNodes() == before - len(nodes)

    def test_progress_is_told(self, scene, optimizer):
        plan = add_plan(scene)
        optimizer.optimize_plan(plan, objectives(plan))
        assert optimizer.infos[0].startswith("reading influence matrices")
        assert len(optimizer.infos) > 3


class TestConstraints:
    """Rows that hold whatever the objectives would gain; the prescription is one more of them."""

    TARGET = ("PTV", "squared_deviation", {"dose_gy": "50", "penalty": 100})

    def test_they_are_kept_and_nothing_is_scaled(self, scene, optimizer):
        plan = add_plan(scene)
        gland = ball((30.0, 0.0, 0.0), 15.0)
        assert optimizer.optimize_plan(plan, objectives(plan, self.TARGET)) == ""
        free_gy = np.median(lps_dose(result_volume(scene))[gland])
        scene.RemoveNode(result_volume(scene))
        half = {"dose_gy": str(0.9 * free_gy), "volume_percent": "50"}
        rows = [
            self.TARGET,
            ("Cord", "constraint_max_dose", {"dose_gy": "30"}),
            ("Gland", "constraint_max_dose_at_volume", half),
        ]
        assert optimizer.optimize_plan(plan, objectives(plan, *rows)) == ""
        volume = result_volume(scene)
        dose = lps_dose(volume)
        assert volume.GetAttribute("RadPlanAgent.ScaleFactor") == "1"
        assert "D95% of PTV is a constraint" in volume.GetAttribute("RadPlanAgent.NormalizedTo")
        assert np.percentile(dose[ball((0.0, 0.0, 0.0), 25.0)], 5) == pytest.approx(50, rel=0.02)
        assert np.median(dose[gland]) < 0.95 * free_gy
        assert dose[ball((0.0, 37.0, 0.0), 11.0)].max() < 31.0
        assert "Gland: D50% ≤" in optimizer.infos[-1] and "kept" in optimizer.infos[-1]

    def test_one_that_cannot_be_kept_is_named_and_no_dose_is_written(self, scene, optimizer):
        plan = add_plan(scene)
        rows = [self.TARGET, ("PTV", "constraint_max_dose", {"dose_gy": "45"})]
        error = optimizer.optimize_plan(plan, objectives(plan, *rows))
        assert error.startswith("RadPlanAgent: constraints are not kept")
        assert "PTV: max ≤ 45 Gy" in error and "PTV: D95% ≥ 50 Gy" in error
        assert result_volume(scene) is None

    def test_a_penalty_of_zero_switches_one_off(self, scene, optimizer):
        plan = add_plan(scene)
        rows = [self.TARGET, ("PTV", "constraint_max_dose", {"dose_gy": "45", "penalty": "0"})]
        assert optimizer.optimize_plan(plan, objectives(plan, *rows)) == ""
        assert result_volume(scene).GetAttribute("RadPlanAgent.NormalizedTo").endswith("50 Gy")


def no_matrix(plan):
    for node in beam_nodes(plan):
        node.SetDoseInfluenceMatrixFromTriplets(0, 0, [], [], [])


def dark(plan):
    for node in beam_nodes(plan):
        overwrite_matrix_memory(node, 0.0)


class TestErrors:
    """Every failure is a text: SlicerRT takes an exception, or no text, for success."""

    def fails(self, optimizer, plan, *rows) -> str:
        error = optimizer.optimize_plan(plan, objectives(plan, *rows))
        assert error.startswith("RadPlanAgent")
        assert "\n" not in error
        return error

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            (no_matrix, "'G000.0' has no influence matrix"),
            (dark, "no beamlet reaches target PTV"),
            (lambda plan: plan.SetRxDose(0.0), "prescription (Rx dose) must be positive"),
            (lambda plan: plan.SetTargetSegmentIDs([]), "has no target segment"),
            (lambda plan: plan.SetTargetSegmentIDs(["gone"]), "'gone' does not exist any more"),
            (lambda plan: plan.SetAndObserveReferenceVolumeNode(None), "no reference volume"),
            (lambda plan: plan.SetIonPlanFlag(True), "is an ion plan"),
        ],
    )
    def test_a_plan_that_cannot_be_optimized(self, scene, optimizer, change, text):
        plan = add_plan(scene)
        change(plan)
        assert text in self.fails(optimizer, plan)

    @pytest.mark.parametrize(
        ("row", "text"),
        [
            (("PTV", "Squared Deviation", {}), "knows squared_deviation"),
            (("PTV", "squared_deviation", {"dose_gy": "fifty"}), "dose_gy is 'fifty', expected"),
            (("PTV", "squared_deviation", {}), "dose_gy is '', expected a number"),
            (("PTV", "squared_deviation", {"dose_gy": "nan"}), "needs a number for dose_gy"),
            (("PTV", "geud", {"dose_gy": "5", "exponent": "0.5"}), "exponent must be at least 1"),
            (("PTV", "squared_deviation", {"dose_gy": "5", "penalty": "-1"}), "weight must be"),
            (("gone", "squared_deviation", {"dose_gy": "5"}), "has no segment; choose one"),
            (
                ("PTV", "squared_deviation", {"dose_gy": "5", "isConstraint": "true"}),
                "is an objective, not a constraint",
            ),
            (("PTV", "constraint_geud", {"dose_gy": "5"}), "knows squared_deviation"),
            (("PTV", "constraint_max_dose", {"dose_gy": "-5"}), "must be a positive number"),
            (("PTV", "constraint_max_dose", {"dose_gy": "50"}), "no objectives"),
            (
                ("PTV", "constraint_max_dose_at_volume", {"dose_gy": "5", "volume_percent": "-1"}),
                "volume_percent of 0 … 100",
            ),
            (("PTV", "squared_deviation", {"dose_gy": "5", "penalty": "0"}), "no objectives"),
            (("PTV", "squared_overdosing", {"dose_gy": "0"}), "which no factor makes 50 Gy"),
        ],
    )
    def test_an_objective_that_cannot_be_used(self, scene, optimizer, row, text):
        assert text in self.fails(optimizer, add_plan(scene), row)

    def test_no_objectives_at_all(self, scene, optimizer):
        assert "no objectives" in optimizer.optimize_plan(add_plan(scene), [])

    def test_an_empty_segment_is_named(self, scene, optimizer):
        plan = add_plan(scene)
        image = slicer.vtkOrientedImageData()
        segment = plan.GetSegmentationNode().GetSegmentation().GetSegment("id_Gland")
        segment.AddRepresentation("Binary labelmap", image)
        rows = [("Gland", "squared_overdosing", {"dose_gy": "5"})]
        assert "segment 'Gland' is empty" in self.fails(optimizer, plan, *rows)

    def test_a_fault_of_ours_is_told_too(self, scene, optimizer, monkeypatch, caplog):
        def broken(*_):
            raise RuntimeError("bug")

        monkeypatch.setattr(rt_optimize, "optimize_rt_plan", broken)
        error = self.fails(optimizer, add_plan(scene))
        assert "failed (RuntimeError: bug); see the error log" in error
        assert "Traceback" in caplog.text


def test_it_runs_with_what_slicers_python_has():
    """No numba, no dose engine, no plotting: numpy and scipy only."""
    code = """
import sys
missing = ("numba", "pyRadPlan", "pydicom", "matplotlib", "openai", "SimpleITK", "threadpoolctl")
for name in missing:
    sys.modules[name] = None
sys.path.insert(0, sys.argv[1])
from slicerrt_phantom import add_plan
from slicerrt_standins import StandInScriptedPlanOptimizer, objective_node, slicerrt
from radplan.mrml.rt_register import register_plan_optimizer
from radplan.mrml.runtime import headless_scene
with slicerrt(), headless_scene() as scene:
    assert register_plan_optimizer(immediately=True)
    plan = add_plan(scene, angles="0,90")
    node = objective_node(
        scene, plan.GetSegmentationNode(), "id_PTV", "squared_deviation", dose_gy="50.0"
    )
    error = StandInScriptedPlanOptimizer.registered[0].optimize_plan(plan, [node])
    assert error == "", error
"""
    folder = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", code, folder], check=True, timeout=300)
