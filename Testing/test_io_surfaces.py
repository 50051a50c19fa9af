from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radplan.errors import InputError
from radplan.geometry import Grid, Occupancy
from radplan.io.rasterize import occupancy_from_contours, occupancy_from_surface
from radplan.io.surfaces import read_structures
from radplan.sampling import StructureSampler

GRID = Grid((40, 40, 40), (2.5, 2.5, 2.5), (-49.3, -48.1, -47.6))


def circle(x: float, y: float, z: float, radius: float, corners: int = 90) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack(
        [x + radius * np.cos(angle), y + radius * np.sin(angle), np.full(corners, z)], axis=1
    )


def area(radius: float, corners: int = 90) -> float:
    """Area of the polygon that `circle` draws, mm²."""
    return corners / 2 * np.sin(2 * np.pi / corners) * radius**2


def uv_sphere(radius: float, rings: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A closed triangle surface and outward or inward faces alike."""
    theta = np.linspace(0, np.pi, rings + 1)[1:-1]
    phi = np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False)
    ring = np.stack(
        [
            np.outer(np.sin(theta), np.cos(phi)),
            np.outer(np.sin(theta), np.sin(phi)),
            np.outer(np.cos(theta), np.ones_like(phi)),
        ],
        axis=-1,
    ).reshape(-1, 3)
    points = radius * np.vstack([ring, [[0, 0, 1], [0, 0, -1]]])
    n, top, bottom, faces = len(phi), len(ring), len(ring) + 1, []
    for i in range(n):
        j = (i + 1) % n
        faces += [(top, i, j), (bottom, len(ring) - n + j, len(ring) - n + i)]
        for r in range(len(theta) - 1):
            a, b = r * n + i, r * n + j
            faces += [(a, a + n, b), (b, a + n, b + n)]
    return points, np.array(faces)


def mesh_volume_cc(points: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = np.moveaxis(points[faces], 1, 0)
    return abs(np.einsum("ij,ij->i", a, np.cross(b, c)).sum()) / 6000


# ---- contours and surfaces to partial volumes ---------------------------------------------------


@given(st.floats(4, 30), st.floats(-8, 8), st.floats(-8, 8), st.sampled_from([2.0, 2.5, 3.0]))
@settings(max_examples=25, deadline=None)
def test_a_drawn_cylinder_has_its_volume(radius, x, y, spacing):
    levels = -10 + spacing * np.arange(9)
    occupancy = occupancy_from_contours([circle(x, y, z, radius) for z in levels], GRID)
    expected = area(radius) * spacing * (8 + 2 * 0.5 * 2 / 3) / 1000  # two domes
    assert occupancy.volume_cc == pytest.approx(expected, rel=0.01)
    assert occupancy.centroid_mm == pytest.approx((x, y, levels.mean()), abs=0.05)


def test_between_planes_areas_are_exact():
    occupancy = occupancy_from_contours([circle(0, 0, z, 20.0) for z in (-5, 0, 5)], GRID)
    per_layer = occupancy.values.sum(axis=(1, 2)) * np.prod(occupancy.grid.spacing_mm[:2])
    inner = np.abs(occupancy.box_grid.axes_mm[0]) < 4
    np.testing.assert_allclose(per_layer[inner], area(20.0), rtol=0.004)


def test_holes_islands_and_keyholes():
    rings = [[circle(0, 0, z, 20), circle(0, 0, z, 8)] for z in (-2.5, 0, 2.5)]
    ring = occupancy_from_contours([c for pair in rings for c in pair], GRID)
    full = occupancy_from_contours([pair[0] for pair in rings], GRID)
    assert ring.volume_cc / full.volume_cc == pytest.approx(1 - (8 / 20) ** 2, abs=0.01)
    keyholes = [np.vstack([o, o[:1], i[::-1][-1:], i[::-1], o[:1]]) for o, i in rings]
    keyhole = occupancy_from_contours(keyholes, GRID)
    assert keyhole.volume_cc == pytest.approx(ring.volume_cc, rel=0.01)
    islands = occupancy_from_contours(
        [circle(x, 0, z, 6) for z in (-2.5, 0, 2.5) for x in (-20, 20)], GRID
    )
    one = occupancy_from_contours([circle(20, 0, z, 6) for z in (-2.5, 0, 2.5)], GRID)
    assert islands.volume_cc == pytest.approx(2 * one.volume_cc, rel=0.02)


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("radius", [2.0, 3.0])
def test_thin_oblique_structures_keep_their_volume(radius, slope):
    # At a slope of 2 the contours of neighbouring planes do not even touch.
    levels = 2.5 * np.arange(-6, 7)
    occupancy = occupancy_from_contours(
        [circle(slope * z, 0, z, radius) for z in levels], GRID, "OpticNrv_L"
    )
    expected = area(radius) * 2.5 * (12 + 2 / 3) / 1000
    assert occupancy.volume_cc == pytest.approx(expected, rel=0.04)
    assert occupancy.centroid_mm == pytest.approx((0, 0, 0), abs=0.2)


def test_pieces_far_apart_are_not_joined():
    low = [circle(0, 0, z, 10) for z in (-30, -27.5, -25)]
    high = [circle(0, 0, z, 10) for z in (20, 22.5, 25)]
    both = occupancy_from_contours(low + high, GRID)
    assert both.volume_cc == pytest.approx(
        2 * occupancy_from_contours(low, GRID).volume_cc, rel=0.01
    )


def test_one_contour_is_a_dome_on_each_side():
    occupancy = occupancy_from_contours([circle(0, 0, 1.0, 10)], GRID)
    assert occupancy.volume_cc == pytest.approx(area(10) * 2.5 * 2 / 3 / 1000, rel=0.03)


def test_contours_may_reach_beyond_the_reference_grid():
    occupancy = occupancy_from_contours([circle(60, 0, z, 20) for z in (0, 2.5, 5)], GRID)
    inside = occupancy_from_contours([circle(0, 0, z, 20) for z in (0, 2.5, 5)], GRID)
    assert occupancy.volume_cc == pytest.approx(inside.volume_cc, rel=0.005)
    sampler = StructureSampler(occupancy, GRID)
    assert 0.5 < sampler.uncovered_fraction < 0.9


@pytest.mark.parametrize("radius", [3.0, 12.0, 20.0])
def test_a_closed_sphere_has_its_volume(radius):
    points, faces = uv_sphere(radius)
    centre = np.array([1.3, -2.1, 0.7])
    occupancy = occupancy_from_surface(points + centre, faces, GRID)
    assert occupancy.volume_cc == pytest.approx(mesh_volume_cc(points, faces), rel=0.01)
    assert occupancy.centroid_mm == pytest.approx(tuple(centre), abs=0.05)
    flipped = occupancy_from_surface(points + centre, faces[:, ::-1], GRID)
    np.testing.assert_array_equal(flipped.values, occupancy.values)


def test_a_surface_with_a_cavity():
    outer, faces = uv_sphere(20.0)
    inner, _ = uv_sphere(10.0)
    shell = occupancy_from_surface(
        np.vstack([outer, inner]), np.vstack([faces, faces + len(outer)]), GRID
    )
    assert shell.volume_cc == pytest.approx(
        mesh_volume_cc(outer, faces) - mesh_volume_cc(inner, faces), rel=0.01
    )


def test_damaged_shapes_are_refused():
    points, faces = uv_sphere(10.0)
    with pytest.raises(InputError, match=r"'Lens_L'.*not closed"):
        occupancy_from_surface(points, faces[:-3], GRID, "Lens_L")
    with pytest.raises(InputError, match="no faces"):
        occupancy_from_surface(points, faces[:0], GRID)
    points[3] = np.nan
    with pytest.raises(InputError, match="not numbers"):
        occupancy_from_surface(points, faces, GRID)
    with pytest.raises(InputError, match=r"'Cord'.*no closed contour"):
        occupancy_from_contours([], GRID, "Cord")
    with pytest.raises(InputError, match="no closed contour"):
        occupancy_from_contours([circle(0, 0, 0, 5)[:2]], GRID)
    with pytest.raises(InputError, match="no area"):
        occupancy_from_contours([np.array([[0, 0, 0], [9, 0, 0], [4, 0, 0.0]])], GRID)
    tilted = circle(0, 0, 0, 5)
    tilted[:, 2] = tilted[:, 0]
    with pytest.raises(InputError, match="not axial"):
        occupancy_from_contours([tilted], GRID)
    tilted[0] = np.inf
    with pytest.raises(InputError, match="not numbers"):
        occupancy_from_contours([tilted], GRID)


# ---- files --------------------------------------------------------------------------------------

vtk = pytest.importorskip("vtkmodules.vtkCommonDataModel", reason="no vtk package")


def write_vtp(
    path: Path,
    points: np.ndarray,
    lines: list[np.ndarray] | None = None,
    faces: np.ndarray | None = None,
    **fields: str,
) -> None:
    """Write a segment as Slicer does; points in the frame of the file."""
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonCore import vtkPoints, vtkStringArray
    from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter

    polydata = vtk.vtkPolyData()
    vtk_points = vtkPoints()
    vtk_points.SetData(numpy_to_vtk(np.ascontiguousarray(points, np.float32), deep=True))
    polydata.SetPoints(vtk_points)
    for cells, setter in ((lines, polydata.SetLines), (faces, polydata.SetPolys)):
        if cells is not None:
            array = vtk.vtkCellArray()
            for cell in cells:
                array.InsertNextCell(len(cell), [int(i) for i in cell])
            setter(array)
    for name, value in fields.items():
        array = vtkStringArray()
        array.SetName(name)
        array.InsertNextValue(value)
        polydata.GetFieldData().AddArray(array)
    writer = vtkXMLPolyDataWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(polydata)
    assert writer.Write()


def write_vtm(path: Path, parts: list[str]) -> None:
    rows = "".join(f'<DataSet index="{i}" file="{p}"/>' for i, p in enumerate(parts))
    path.write_text(
        '<?xml version="1.0"?><VTKFile type="vtkMultiBlockDataSet" version="1.0">'
        f"<vtkMultiBlockDataSet>{rows}</vtkMultiBlockDataSet></VTKFile>"
    )


@pytest.fixture
def segmentation(tmp_path: Path) -> Path:
    """A segmentation of a sphere as a surface, left of the middle, and a contoured cylinder."""
    folder = tmp_path / "case.seg"
    folder.mkdir()
    points, faces = uv_sphere(10.0)
    ras = (points + [15, 5, 0]) * [-1, -1, 1]
    write_vtp(folder / "0.vtp", ras, faces=faces, Segment_ID="s1", Segment_Name="Eye L")
    contours = np.array([circle(-15, -8, z, 8) for z in (-5, -2.5, 0, 2.5, 5)])
    loops = [np.append(np.arange(90), 0) + 90 * k for k in range(5)]
    write_vtp(
        folder / "1.vtp", contours.reshape(-1, 3) * [-1, -1, 1], lines=loops, Segment_Name="PTV"
    )
    write_vtm(tmp_path / "case.seg.vtm", ["case.seg/0.vtp", "case.seg/1.vtp"])
    return tmp_path / "case.seg.vtm"


def test_surfaces_and_contours_come_out_in_lps(segmentation):
    for path in (segmentation, segmentation.parent, segmentation.parent / "case.seg"):
        eye, ptv = read_structures(path, GRID)
        assert (eye.name, ptv.name) == ("Eye L", "PTV")
        assert eye.occupancy.centroid_mm == pytest.approx((15, 5, 0), abs=0.05)
        assert ptv.occupancy.centroid_mm == pytest.approx((-15, -8, 0), abs=0.05)
        assert eye.volume_cc == pytest.approx(mesh_volume_cc(*uv_sphere(10.0)), rel=0.01)
        assert ptv.type.value == "TARGET"


def test_a_model_file_that_says_lps_is_lps(tmp_path):
    points, faces = uv_sphere(10.0)
    write_vtp(tmp_path / "Bladder.vtp", points + [15, 5, 0], faces=faces, SPACE="LPS")
    (bladder,) = read_structures(tmp_path / "Bladder.vtp", GRID)
    assert bladder.name == "Bladder"
    assert bladder.occupancy.centroid_mm == pytest.approx((15, 5, 0), abs=0.05)


def test_a_segment_without_cells_is_kept_empty(tmp_path):
    write_vtp(tmp_path / "x.vtp", np.zeros((0, 3)), Segment_Name="Lens_R")
    (lens,) = read_structures(tmp_path / "x.vtp", GRID)
    assert lens.name == "Lens_R" and lens.occupancy.is_empty


def test_structures_of_a_case_in_a_folder(tmp_path):
    from radplan.case import Case, Structure, StructureType
    from radplan.case_file import save_case

    ball = np.linalg.norm(np.indices(GRID.shape).T - 20, axis=-1) < 6
    body = Structure("External", StructureType.EXTERNAL, Occupancy.from_array(GRID, ball))
    save_case(tmp_path / "case.npz", Case("x", GRID, np.zeros(GRID.shape, np.float32), (body,)))
    (tmp_path / "dose.nrrd").write_bytes(b"not looked at")
    for path in (tmp_path, tmp_path / "case.npz"):
        (read,) = read_structures(path, GRID)
        assert read.name == "External"
        assert read.volume_cc == pytest.approx(body.volume_cc)


def test_wrong_files_are_refused(segmentation, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    with pytest.raises(InputError, match="no such file"):
        read_structures(folder / "absent.vtm", GRID)
    with pytest.raises(InputError, match="DICOM"):
        read_structures(folder, GRID)
    (folder / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="unknown kind"):
        read_structures(folder / "notes.txt", GRID)
    for text in ("hello", "<a></a>", "<VTKFile><DataSet/></VTKFile>"):
        (folder / "x.seg.vtm").write_text(text)
        with pytest.raises(InputError, match="not a VTK multi-block"):
            read_structures(folder, GRID)
    write_vtm(folder / "x.seg.vtm", ["gone.vtp"])
    with pytest.raises(InputError, match=r"gone\.vtp, which is missing"):
        read_structures(folder, GRID)
    write_vtm(folder / "x.seg.vtm", ["../case.seg/0.vtp"])
    with pytest.raises(InputError, match="outside its folder"):
        read_structures(folder, GRID)
    write_vtm(folder / "x.seg.vtm", [])
    with pytest.raises(InputError, match="no segments"):
        read_structures(folder, GRID)
    (folder / "x.seg.vtm").unlink()
    (folder / "y.vtp").write_text("hello")
    with pytest.raises(InputError, match=r"y\.vtp.*not a VTK polygon file"):
        read_structures(folder, GRID)
    write_vtm(tmp_path / "case.seg.vtm", ["case.seg/0.vtp", "case.seg/0.vtp"])
    with pytest.raises(InputError, match="two structures are named Eye L"):
        read_structures(segmentation, GRID)
    write_vtm(tmp_path / "second.seg.vtm", ["case.seg/0.vtp"])
    with pytest.raises(InputError, match="several segmentations"):
        read_structures(tmp_path, GRID)


# ---- the other systems --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def validation():
    """The validation script as a module."""
    path = Path(__file__).parent / "validation" / "dvh_eclipse.py"
    spec = importlib.util.spec_from_file_location("dvh_eclipse", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["dvh_eclipse"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def eclipse(data_dir, validation):
    """Our sampled doses, the peers' curves and the highest dose of SlicerRT's prostate set."""
    from radplan.io.nrrd import read_dose

    folder = data_dir / "eclipse-prostate"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    dose = read_dose(folder / "EclipseProstate_Dose.nrrd")
    structures = read_structures(folder, dose.grid)
    sampled = {
        validation.key_of(s.name): StructureSampler(s.occupancy, dose.grid).sample(dose.dose_gy)
        for s in structures
    }
    peers = {
        peer: validation.read_table(folder / f"EclipseProstate_DvhTable_{peer}.csv")[0]
        for peer in validation.PEERS
    }
    return folder, dose, structures, sampled, peers


@pytest.mark.parametrize("peer", ["SlicerRT", "CERR", "Eclipse"])
def test_dvh_points_agree_with_other_systems(eclipse, validation, peer):
    _, dose, _, sampled, peers = eclipse
    highest = float(dose.dose_gy.max())
    for key, reference in peers[peer].items():
        ours = validation.agreement(
            reference, validation.our_curve(sampled[key], highest), highest
        )
        theirs = validation.agreement(reference, peers["SlicerRT"][key].fine(), highest)
        rate = (ours <= 1).mean()
        assert rate >= 0.99, f"{key}: {100 * rate:.2f} % of the points of {peer}"
        assert rate >= (theirs <= 1).mean() or peer == "SlicerRT"


def test_metrics_agree_with_slicerrt(eclipse, validation):
    folder, _, _, sampled, _ = eclipse
    with (folder / "EclipseProstate_DvhMetrics_SlicerRT.csv").open(newline="") as file:
        for row in validation.csv.DictReader(file):
            columns = [c for c in row if re.match(r"[VD][\d.]|Volume|Mean", c)]
            assert len(columns) == 10
            values = validation.our_metrics(
                sampled[validation.key_of(row["Structure"])], columns
            )
            for column in columns:
                assert values[column] == pytest.approx(float(row[column]), rel=0.01), (
                    f"{row['Structure']} {column}"
                )


def test_the_vtk_frame_is_ras(eclipse):
    """Read as LPS, the target would lose its dose."""
    _, dose, structures, sampled, _ = eclipse
    (ptv,) = (s for s in structures if s.name == "PTV")
    grid = ptv.occupancy.box_grid
    mirrored = Grid(
        grid.shape,
        grid.spacing_mm,
        tuple(
            -o - s * (n - 1) if axis < 2 else o
            for axis, (o, s, n) in enumerate(
                zip(grid.origin_mm, grid.spacing_mm, grid.shape[::-1], strict=True)
            )
        ),
    )
    wrong = Occupancy.from_array(mirrored, ptv.occupancy.values[:, ::-1, ::-1])
    as_lps = StructureSampler(wrong, dose.grid).sample(dose.dose_gy)
    assert sampled["ptv"].min_gy > 44
    assert as_lps.min_gy < 40
