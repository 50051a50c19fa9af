"""The bridge to SlicerRT, against stand-ins that follow its headers (slicerrt_standins.py)."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from radplan.beams import Beam, make_beams
from radplan.case import Case, Structure, StructureType
from radplan.errors import InputError
from radplan.geometry import Grid, Occupancy
from radplan.influence.stored import describe_influence, load_influence, store_influence
from radplan.mrml import runtime

pytest.importorskip("slicer", reason="slicer-core is not installed")
try:
    runtime.require_slicer()
except runtime.SlicerMissingError as error:
    pytest.skip(str(error), allow_module_level=True)

import slicer

from radplan.mrml.read_segments import BINARY
from radplan.mrml.rt_engine import compute_matrices, inverse_engines
from radplan.mrml.rt_influence import (
    dose_image_grid,
    influence_from_beams,
    pyradplan_shift_mm,
)
from radplan.mrml.rt_plan import (
    apertures_mm,
    beam_nodes,
    beams_from_plan,
    read_plan,
    update_plan,
)
from radplan.mrml.runtime import headless_scene
from scene_builders import (
    ORIENTATIONS,
    add_segmentation,
    add_transform,
    add_volume,
    labelmap,
    orientation_name,
    oriented,
)
from slicerrt_standins import (
    BEAM_TRANSFORM_MODIFIED,
    StandInEngine,
    StandInEngineHandler,
    beams_logic,
    overwrite_matrix_memory,
    slicerrt,
)

GRID = Grid((4, 5, 7), (1.5, 2.0, 3.0), (-17.0, 8.5, 101.25))
LPS = ((0, 1, 2), (-1, -1, 1))
ISOCENTER = (-12.5, 12.0, 105.0)


@pytest.fixture
def scene():
    with slicerrt(), headless_scene() as scene, beams_logic(scene):
        yield scene


def nodes(scene, orientation=LPS):
    hu = np.full(GRID.shape, -1000, np.int16)
    mask = np.zeros(GRID.shape, np.uint8)
    mask[1:3, 2, 3] = 1
    volume = add_volume(scene, *oriented(hu, GRID, orientation))
    image = labelmap(*oriented(mask, GRID, orientation))
    return volume, add_segmentation(scene, BINARY, {"PTV": image, "BODY": image})


def make_plan(scene, angles="0,90,200", orientation=LPS, plan=None, **changes):
    volume, segmentation = changes.pop("nodes", None) or nodes(scene, orientation)
    arguments = {
        "volume": volume,
        "segmentation": segmentation,
        "target_ids": ["id_PTV"],
        "prescription_gy": 60,
        "dose_grid_spacing_mm": (2.5, 2.5, 3.0),
        "body_id": "id_BODY",
    } | changes
    return update_plan(scene, plan, make_beams(angles, ISOCENTER), **arguments)


class TestPlanNodes:
    def test_a_plan_is_made_as_slicerrt_wants_it(self, scene):
        plan = make_plan(scene)
        assert plan.GetRxDose() == 60.0
        assert plan.GetTargetSegmentIDs() == ("id_PTV",)
        assert plan.GetBodySegmentID() == "id_BODY"
        assert plan.GetDoseGridSpacing() == (2.5, 2.5, 3.0)
        assert plan.GetReferenceVolumeNode().GetName() == "CT"
        position = [0.0, 0.0, 0.0]
        plan.GetIsocenterPosition(position)
        assert position == [12.5, -12.0, 105.0]  # RAS
        assert plan.GetIsocenterSpecification() == slicer.vtkMRMLRTPlanNode.ArbitraryPoint
        assert [n.GetGantryAngle() for n in beam_nodes(plan)] == [0, 90, 200]
        assert {n.GetSAD() for n in beam_nodes(plan)} == {1000.0}  # SlicerRT's default is 2000

    def test_turned_beams_are_drawn_anew(self, scene):
        both = nodes(scene)
        plan, redrawn = make_plan(scene, "0,90", nodes=both), []
        for node in beam_nodes(plan):
            node.AddObserver(BEAM_TRANSFORM_MODIFIED, lambda node, _: redrawn.append(node))
        make_plan(scene, "10,100", plan=plan, nodes=both)
        assert set(redrawn) == set(beam_nodes(plan))

    def test_what_was_written_is_read(self, scene):
        beams = make_beams("coplanar9", ISOCENTER)
        beams = (*beams, Beam(30.0, ISOCENTER, 45.0, name="off plane"))
        volume, segmentation = nodes(scene)
        plan = update_plan(
            scene,
            None,
            beams,
            volume=volume,
            segmentation=segmentation,
            target_ids=["id_PTV"],
            prescription_gy=50.4,
            dose_grid_spacing_mm=(3, 3, 3),
        )
        found = read_plan(plan)
        assert [replace(b, isocenter_mm=ISOCENTER) for b in found.beams] == list(beams)
        assert all(b.isocenter_mm == pytest.approx(ISOCENTER) for b in found.beams)
        assert (found.prescription_gy, found.target_ids, found.body_id) == (
            50.4,
            ("id_PTV",),
            "",
        )
        assert found.warnings == ()

    def test_updates_pile_nothing_up(self, scene):
        both = nodes(scene)
        plan = make_plan(scene, nodes=both)
        first, count = beam_nodes(plan)[0], scene.GetNumberOfNodes()
        for angles in ("10,20,30", "0,90,200,250,300", "5,6", "5,6,7"):
            assert make_plan(scene, angles, plan=plan, nodes=both) is plan
            held = beam_nodes(plan)  # keeps removed beams in the subject hierarchy
            assert [n.GetGantryAngle() for n in held] == [float(a) for a in angles.split(",")]
        assert beam_nodes(plan)[0] is first
        assert scene.GetNumberOfNodes() == count

    def test_a_transform_that_a_person_put_over_a_beam_stays(self, scene):
        both = nodes(scene)
        plan = make_plan(scene, "0,90", nodes=both)
        moved = add_transform(scene, np.diag([1.0, 1, 1, 1]), beam_nodes(plan)[1])
        make_plan(scene, "0", plan=plan, nodes=both)
        assert moved.GetScene() is scene

    def test_a_persons_plan_is_left_alone(self, scene):
        plan = slicer.vtkMRMLRTPlanNode()
        plan.SetName("Mine")
        scene.AddNode(plan)
        with pytest.raises(InputError, match="'Mine' was not made by RadPlanAgent"):
            make_plan(scene, plan=plan)

    def test_the_drawn_fields_enclose_the_target(self, scene):
        """A ball of 25 mm, 30 mm to the patient's left of the isocentre and 10 mm above it."""
        from image_phantom import image_phantom

        case = image_phantom()
        isocenter = (-30.0, 0.0, -10.0)
        beams = make_beams("0,90,180,270", isocenter, 5.0)
        apertures = apertures_mm(case, beams, ["PTV"])
        both = nodes(scene)
        plan = make_plan(scene, "0,90,180,270", nodes=both, apertures=apertures)
        # Seen from the source (IEC): the left of the patient is at +x from gantry 0, at -x from
        # 180; from the sides the ball is in the middle. Magnified towards the source.
        centers = []
        for node in beam_nodes(plan):
            x1, x2, y1, y2 = (getattr(node, f"Get{jaw}Jaw")() for jaw in ("X1", "X2", "Y1", "Y2"))
            assert 50 < x2 - x1 < 80
            assert (y1 + y2) / 2 == pytest.approx(10, abs=5)
            centers.append((x1 + x2) / 2)
        assert centers == pytest.approx([30, 0, -30, 0], abs=5)

    def test_several_isocentres_need_several_plans(self, scene):
        beams = (Beam(0.0, ISOCENTER), Beam(90.0, (0.0, 0.0, 0.0)))
        volume, segmentation = nodes(scene)
        with pytest.raises(InputError, match="one isocentre"):
            update_plan(
                scene,
                None,
                beams,
                volume=volume,
                segmentation=segmentation,
                target_ids=[],
                prescription_gy=1,
                dose_grid_spacing_mm=(3, 3, 3),
            )

    def test_beams_come_by_number_whatever_the_tree_says(self, scene):
        plan = make_plan(scene)
        numbers = [7, 3, 5]
        for node, number in zip(beam_nodes(plan), numbers, strict=True):
            node.SetBeamNumber(number)
        assert [b.gantry_angle_deg for b in beams_from_plan(plan)] == [90, 200, 0]

    def test_angles_come_in_0_to_360(self, scene):
        plan = make_plan(scene, "0")
        beam_nodes(plan)[0].SetGantryAngle(-90.0)
        beam_nodes(plan)[0].SetCouchAngle(360.0)
        assert beams_from_plan(plan)[0].gantry_angle_deg == 270
        assert beams_from_plan(plan)[0].couch_angle_deg == 0

    def test_a_beam_may_have_an_isocentre_of_its_own(self, scene):
        plan = make_plan(scene, "0")
        node = beam_nodes(plan)[0]
        node.SetIsocenterPositionFlag(True)
        node.SetIsocenterPosition((1.0, 2.0, 3.0))
        assert beams_from_plan(plan)[0].isocenter_mm == (-1.0, -2.0, 3.0)

    def test_what_is_not_followed_is_told(self, scene):
        plan = make_plan(scene, "0,90")
        first, second = beam_nodes(plan)
        first.SetCollimatorAngle(30.0)
        second.SetSAD(1500.0)
        warnings = read_plan(plan).warnings
        assert "collimator angle 30" in warnings[0]
        assert "1500" in warnings[1]
        second.SetSAD(2000.0)  # nobody chose that
        assert len(read_plan(plan).warnings) == 1

    def test_reading_creates_nothing(self, scene):
        plan = slicer.vtkMRMLRTPlanNode()
        plan.SetName("Bare")
        scene.AddNode(plan)
        with pytest.raises(InputError, match="'Bare' has no beams"):
            read_plan(plan)
        node = slicer.vtkMRMLRTBeamNode()
        scene.AddNode(node)
        plan.AddBeam(node)
        scene.RemoveNode(plan.GetPoisMarkupsFiducialNode())
        before = scene.GetNumberOfNodes()
        with pytest.raises(InputError, match="'Bare' has no isocentre"):
            read_plan(plan)
        assert scene.GetNumberOfNodes() == before

    def test_an_isocentre_that_nobody_set_is_told(self, scene):
        """SlicerRT puts it to the origin as soon as there is a beam."""
        plan = slicer.vtkMRMLRTPlanNode()
        scene.AddNode(plan)
        node = slicer.vtkMRMLRTBeamNode()
        node.SetName("A")
        scene.AddNode(node)
        plan.AddBeam(node)
        assert "(0, 0, 0)" in read_plan(plan).warnings[0]
        plan.SetIsocenterPosition([1.0, 0.0, 0.0])
        assert read_plan(plan).warnings == ()

    def test_ion_plans_are_refused(self, scene):
        plan = make_plan(scene)
        plan.SetIonPlanFlag(True)
        with pytest.raises(InputError, match="ion plan"):
            read_plan(plan)

    def test_without_slicerrt_that_is_said(self):
        with headless_scene() as scene, pytest.raises(InputError, match="SlicerRT is not install"):
            make_plan(scene)
        assert inverse_engines() == ()


def random_matrix(n_rows: int, seed: int, columns: int = 6) -> np.ndarray:
    random = np.random.default_rng(seed)
    dense = random.random((n_rows, columns)) * (random.random((n_rows, columns)) < 0.3)
    dense[0] += 0.25  # no empty column
    return dense


def put_matrix(node, dense, dim=None, spacing=None) -> None:
    matrix = sparse.coo_matrix(dense)
    node.SetDoseInfluenceMatrixFromTriplets(
        *matrix.shape, list(matrix.row), list(matrix.col), list(matrix.data), dim, spacing
    )


def engine_of(by_angle):
    """An engine on the CT grid; `by_angle` gives the matrix of a gantry angle."""
    return lambda beam: put_matrix(beam, by_angle(beam.GetGantryAngle())) or ""


class TestEngine:
    def test_only_engines_that_give_matrices_are_offered(self, scene):
        StandInEngineHandler.engines = [
            StandInEngine("Forward", False, lambda beam: ""),
            StandInEngine("Inverse", True, lambda beam: ""),
        ]
        assert inverse_engines() == ("Inverse",)

    def run(self, scene, compute, name="Engine"):
        plan = make_plan(scene)
        StandInEngineHandler.engines = [StandInEngine("Engine", True, compute)]
        compute_matrices(plan, name)
        return plan

    def test_matrices_are_computed(self, scene):
        plan = self.run(scene, engine_of(lambda a: random_matrix(GRID.size, int(a))))
        assert plan.GetDoseEngineName() == "Engine"
        influence = influence_from_beams(plan)
        assert influence.matrix.shape == (GRID.size, 18)
        assert influence.engine == "SlicerRT: Engine"

    def test_an_error_is_passed_on(self, scene):
        with pytest.raises(InputError, match="dose engine Engine: no photon data"):
            self.run(scene, lambda beam: "no photon data")

    def test_an_exception_that_looks_like_success_is_found(self, scene):
        def compute(beam):
            raise RuntimeError("only the console sees this")

        with pytest.raises(InputError, match=r"left beam 'G000.0' without an influence matrix"):
            self.run(scene, compute)

    def test_a_result_that_is_no_text_is_no_failure(self, scene):
        def compute(beam):
            put_matrix(beam, random_matrix(GRID.size, 1))  # returns None

        self.run(scene, compute)

    def test_an_unknown_engine_that_looks_like_success_is_found(self, scene):
        plan = make_plan(scene)
        plan.SetDoseEngineName("Gone")
        assert slicer.qSlicerDoseEngineLogic().calculateDoseInfluenceMatrix(plan) == ""
        with pytest.raises(InputError, match=r"no dose engine 'Gone'.*External Beam Planning"):
            compute_matrices(plan, "Gone")

    def test_an_old_matrix_is_not_taken_for_a_new_one(self, scene):
        plan = make_plan(scene)
        for node in beam_nodes(plan):
            put_matrix(node, random_matrix(GRID.size, 5))
        StandInEngineHandler.engines = [StandInEngine("Engine", True, lambda beam: "")]
        with pytest.raises(InputError, match="without an influence matrix"):
            compute_matrices(plan, "Engine")

    def test_one_beam_left_out_is_found(self, scene):
        def compute(beam):
            if beam.GetGantryAngle() != 90:
                put_matrix(beam, random_matrix(GRID.size, 1))
            return ""

        with pytest.raises(InputError, match=r"left beam 'G090.0' without"):
            self.run(scene, compute)


def filled_plan(scene, orientation=LPS, engine="Engine", dim=None, spacing=None, rows=None):
    plan = make_plan(scene, orientation=orientation)
    plan.SetDoseEngineName(engine)
    for number, node in enumerate(beam_nodes(plan)):
        put_matrix(node, random_matrix(rows or GRID.size, number), dim, spacing)
    return plan


class TestInfluence:
    @pytest.mark.parametrize("orientation", ORIENTATIONS, ids=orientation_name)
    def test_a_beamlets_dose_lies_where_slicer_shows_it(self, scene, orientation):
        """Row n of the matrix is voxel n of the CT's image; the landmark must not move."""
        mark = (3, 1, 5)
        in_lps = np.zeros(GRID.shape)
        in_lps[mark] = 1.0
        as_image, _ = oriented(in_lps, GRID, orientation)
        plan = make_plan(scene, "0", orientation=orientation)
        put_matrix(beam_nodes(plan)[0], as_image.reshape(-1, 1))
        influence = influence_from_beams(plan)
        assert influence.grid.matches(GRID)
        np.testing.assert_array_equal(influence.dose_gy(np.ones(1)), in_lps)

    def test_numbers_columns_and_types(self, scene):
        plan = filled_plan(scene)
        influence = influence_from_beams(plan)
        expected = np.hstack([random_matrix(GRID.size, n) for n in range(3)])
        # CT axes run against x and y: the rows are turned accordingly.
        order = np.arange(GRID.size).reshape(GRID.shape)
        _, matrix = oriented(order, GRID, LPS)
        columns = np.sign(matrix[:2, :2].diagonal())
        assert columns.tolist() == [-1, -1]  # which is x and y growing: nothing is turned
        np.testing.assert_allclose(influence.matrix.toarray(), expected, rtol=1e-6)
        assert influence.matrix.data.dtype == np.float32
        assert influence.matrix.indices.dtype == np.int32
        assert influence.beamlets.beam.tolist() == [0] * 6 + [1] * 6 + [2] * 6
        assert [b.gantry_angle_deg for b in influence.beams] == [0, 90, 200]

    def test_the_matrix_is_a_copy(self, scene):
        plan = filled_plan(scene)
        influence = influence_from_beams(plan)
        before = influence.matrix.toarray()
        for node in beam_nodes(plan):
            overwrite_matrix_memory(node, 99.0)
        np.testing.assert_array_equal(influence.matrix.toarray(), before)

    def test_the_fingerprint_is_of_the_content(self, scene):
        plan = filled_plan(scene)
        first = influence_from_beams(plan)
        assert influence_from_beams(plan).fingerprint == first.fingerprint
        overwrite_matrix_memory(beam_nodes(plan)[1], 0.5)
        second = influence_from_beams(plan).fingerprint
        beam_nodes(plan)[1].SetGantryAngle(91.0)
        third = influence_from_beams(plan).fingerprint
        assert len({first.fingerprint, second, third}) == 3

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -0.5])
    def test_doses_that_are_none_are_refused(self, scene, bad):
        plan = filled_plan(scene)
        overwrite_matrix_memory(beam_nodes(plan)[2], bad)
        with pytest.raises(InputError, match="'G200.0'.*negative or not numbers"):
            influence_from_beams(plan)

    def test_a_beam_without_matrix_is_named(self, scene):
        plan = make_plan(scene)
        with pytest.raises(InputError, match=r"'G000.0' has no influence matrix.*not save"):
            influence_from_beams(plan)

    def test_a_matrix_of_another_ct_is_refused(self, scene):
        with pytest.raises(InputError, match="77 rows, but the dose grid has 140"):
            influence_from_beams(filled_plan(scene, rows=77))

    def test_roughness_cannot_be_asked_of_beamlets_without_places(self, scene):
        from radplan.optimize import FluenceRoughness

        influence = influence_from_beams(filled_plan(scene))
        with pytest.raises(InputError, match="does not say where beamlets are"):
            FluenceRoughness(influence.beamlets)


class TestDoseGrid:
    def test_no_grid_named_is_the_cts(self, scene):
        assert influence_from_beams(filled_plan(scene)).grid.matches(GRID)

    def test_the_cts_grid_named_is_the_cts(self, scene):
        plan = filled_plan(scene, dim=(7, 5, 4), spacing=(1.5, 2.0, 3.0))
        assert influence_from_beams(plan).grid.matches(GRID)

    def test_a_grid_of_an_unknown_place_is_refused(self, scene):
        plan = filled_plan(scene, dim=(4, 4, 4), spacing=(3, 3, 3), rows=64)
        with pytest.raises(InputError, match="does not say where the dose grid of Engine lies"):
            influence_from_beams(plan)

    def test_pyradplans_grid_is_where_pyradplan_puts_it(self, scene):
        """Against the package itself, for CTs whose size is no multiple of the dose spacing."""
        grids = pytest.importorskip("pyRadPlan.core", reason="pyRadPlan is not installed")
        grid_class = grids.Grid
        random = np.random.default_rng(8)
        for _ in range(30):
            dim = random.integers(5, 60, 3)
            spacing = random.uniform(0.7, 3.0, 3)
            target = random.uniform(1.0, 6.0, 3)
            origin = random.uniform(-200, 200, 3)
            ours = grid_class(
                resolution=dict(zip("xyz", spacing, strict=True)),
                dimensions=tuple(int(n) for n in dim),
                origin=origin,
                direction=np.eye(3),
            ).resample(target_resolution=target)
            shift = pyradplan_shift_mm(dim, spacing, np.array(ours.dimensions), target)
            np.testing.assert_allclose(origin - shift, ours.origin, atol=1e-9)

    def test_pyradplans_grid_is_shifted(self, scene):
        # 7 x 1.5 = 10.5 mm -> 4 x 3; 5 x 2 = 10 -> 4 x 3; 4 x 3 = 12 -> 4 x 3
        plan = filled_plan(scene, engine="pyRadPlan", dim=(4, 4, 4), spacing=(3, 3, 3), rows=64)
        grid = influence_from_beams(plan).grid
        expected = np.subtract(GRID.origin_mm, (0.75, 1.0, 0.0))
        assert grid.origin_mm == pytest.approx(tuple(expected))
        assert grid.spacing_mm == (3, 3, 3)

    def test_a_size_that_pyradplan_would_not_make_is_refused(self, scene):
        plan = filled_plan(scene, engine="pyRadPlan", dim=(4, 4, 5), spacing=(3, 3, 3), rows=80)
        with pytest.raises(InputError, match="4 x 4 x 5 voxels is not the one"):
            influence_from_beams(plan)

    def test_pyradplans_misplaced_isocentre_is_refused(self, scene):
        """Its bridge multiplies RAS by the CT's directions, right for one orientation only."""
        flipped = ((0, 1, 2), (-1, -1, -1))
        with pytest.raises(InputError, match="misplaces the isocentre"):
            influence_from_beams(filled_plan(scene, flipped, engine="pyRadPlan"))
        influence_from_beams(filled_plan(scene, flipped, engine="Engine"))

    def test_beams_on_different_grids_are_refused(self, scene):
        plan = filled_plan(scene)
        put_matrix(beam_nodes(plan)[1], random_matrix(64, 1), (4, 4, 4), (3, 3, 3))
        with pytest.raises(InputError, match="different dose grids"):
            influence_from_beams(plan)

    def test_a_ct_under_a_transform_is_refused(self, scene):
        plan = filled_plan(scene)
        add_transform(scene, np.diag([1.0, 1, 1, 1]), plan.GetReferenceVolumeNode())
        with pytest.raises(InputError, match="engines do not see"):
            dose_image_grid(plan)


def small_case(hu: float = -1000.0) -> Case:
    body = Occupancy.from_array(GRID, np.ones(GRID.shape))
    return Case(
        "c",
        GRID,
        np.full(GRID.shape, hu, np.float32),
        (Structure("External", StructureType.EXTERNAL, body),),
    )


class TestStored:
    def test_a_matrix_travels_through_the_cache(self, scene, tmp_path):
        influence = influence_from_beams(filled_plan(scene))
        folder = store_influence(influence, small_case(), tmp_path / "cache")
        again = load_influence(folder, small_case())
        np.testing.assert_array_equal(again.matrix.toarray(), influence.matrix.toarray())
        assert (again.grid, again.beams, again.engine, again.fingerprint) == (
            influence.grid,
            influence.beams,
            influence.engine,
            influence.fingerprint,
        )
        np.testing.assert_array_equal(again.beamlets.beam, influence.beamlets.beam)
        assert describe_influence(folder, small_case()).grid == influence.grid
        assert store_influence(influence, small_case(), tmp_path / "cache") == folder

    def test_the_matrix_of_another_ct_is_refused(self, scene, tmp_path):
        influence = influence_from_beams(filled_plan(scene))
        folder = store_influence(influence, small_case(), tmp_path)
        with pytest.raises(InputError, match="belongs to another CT"):
            load_influence(folder, small_case(hu=0.0))

    @pytest.mark.parametrize("what", ["gone", "numbers", "description"])
    def test_damage_is_found(self, scene, tmp_path, what):
        influence = influence_from_beams(filled_plan(scene))
        folder = store_influence(influence, small_case(), tmp_path)
        if what == "gone":
            folder = tmp_path / "elsewhere"
        elif what == "numbers":
            data = np.load(folder / "data.npy")
            data[3] += 1
            np.save(folder / "data.npy", data)
        else:
            text = (folder / "meta.json").read_text().replace('"grid"', '"grud"')
            (folder / "meta.json").write_text(text)
        with pytest.raises(InputError, match="compute the influence matrix again"):
            load_influence(folder, small_case())


class TestPlanning:
    """The whole way: scene, SlicerRT engine, cache folder, session, as the worker plans it."""

    def test_a_case_is_planned_with_slicerrts_matrix(self, scene, tmp_path):
        from image_phantom import GOALS, protocol
        from radplan.case_file import save_case
        from radplan.mrml.read_case import case_from_scene
        from radplan.planning import Observer, PlanRequest, plan, resume
        from slicerrt_phantom import add_plan

        rt_plan = add_plan(scene)
        case = case_from_scene(
            rt_plan.GetReferenceVolumeNode(),
            rt_plan.GetSegmentationNode(),
            names={f"id_{n}": n for n in ("BODY", "PTV", "Cord", "Gland", "Distant")},
        )
        save_case(tmp_path / "case.npz", case)
        influence = influence_from_beams(rt_plan)
        request = PlanRequest(
            case=str(tmp_path / "case.npz"),
            protocol=protocol(GOALS),
            out=tmp_path / "session",
            max_steps=1,
            influence_path=store_influence(influence, case, tmp_path / "cache"),
        )
        outcome = plan(request, Observer())
        achieved = {f"{g.goal.structure} {g.goal.metric}": g for g in outcome.scorecard.goals}
        assert achieved["PTV D95%"].met
        session = json.loads((tmp_path / "session" / "session.json").read_text())
        assert session["engine"] == "SlicerRT: Stand-in pencil beam"
        assert session["fingerprint"] == influence.fingerprint
        assert len(session["beams"]) == 5
        resume(tmp_path / "session", Observer(), max_steps=2)
