"""matRad and pyRadPlan files, against pyRadPlan's own reader and against files made here."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
from scipy.io import savemat

from radplan.case import StructureType
from radplan.errors import InputError
from radplan.io import load_case
from radplan.io.mat import read_mat

SHAPE_YXZ = (5, 7, 4)


def cell(*values):
    """A MATLAB cell array of one row."""
    array = np.empty((1, len(values)), object)
    array[0, :] = values
    return array


def table(*rows):
    array = np.empty((len(rows), 6), object)
    for number, (name, kind, indices) in enumerate(rows):
        settings = {"Priority": 1, "visibleColor": np.array([1.0, 0.5, 0.0])}
        array[number] = [number, name, kind, cell(indices), settings, cell()]
    return array


def linear_index(y, x, z):
    """MATLAB's sub2ind."""
    return 1 + y + SHAPE_YXZ[0] * (x + SHAPE_YXZ[1] * z)


@pytest.fixture
def content():
    ny, nx, nz = SHAPE_YXZ
    cube = np.arange(np.prod(SHAPE_YXZ), dtype=float).reshape(SHAPE_YXZ) - 30.0
    return {
        "ct": {
            "cubeHU": cell(cube),
            "resolution": {"x": 3.0, "y": 2.0, "z": 5.0},
            "x": -9.0 + 3.0 * np.arange(nx),
            "y": 1.0 + 2.0 * np.arange(ny),
            "z": -50.0 + 5.0 * np.arange(nz),
            "numOfCtScen": 1,
        },
        "cst": table(
            ("PTV", "TARGET", np.array([linear_index(1, 2, 3), linear_index(4, 6, 0)])),
            ("BODY", "OAR", np.arange(1, cube.size + 1)),
        ),
    }


@pytest.fixture
def write(tmp_path, content):
    def _write():
        savemat(tmp_path / "plan.mat", content)
        return tmp_path / "plan.mat"

    return _write


def test_axes(write, content):
    case = load_case(write())
    assert case.name == "plan"
    assert case.grid.shape == (4, 5, 7)
    assert case.grid.spacing_mm == (3.0, 2.0, 5.0)
    assert case.grid.origin_mm == (-9.0, 1.0, -50.0)
    cube = content["ct"]["cubeHU"][0, 0]
    assert case.ct_hu[3, 1, 2] == cube[1, 2, 3]
    mask = case.structure("PTV").occupancy.mask()
    assert sorted(map(tuple, np.argwhere(mask))) == [(0, 4, 6), (3, 1, 2)]


def test_types_names_and_colors(write):
    case = load_case(write())
    assert case.names == ("PTV", "External")
    assert case.structure("PTV").type is StructureType.TARGET
    assert case.external.source_name == "BODY"
    assert case.structure("PTV").color == (255, 128, 0)


def test_a_structure_of_type_external_is_the_body(write, content):
    content["cst"] = table(
        ("Skin", "OAR", np.array([1, 2])), ("Hull", "EXTERNAL", np.array([1, 2, 3]))
    )
    assert load_case(write()).external.name == "Hull"


def test_one_structure_of_one_voxel(write, content):
    content["cst"] = table(("PTV", "TARGET", np.array([3])))
    assert load_case(write()).structure("PTV").occupancy.mask().sum() == 1


def test_empty_structure_is_kept_empty(write, content):
    content["cst"] = table(("PTV", "TARGET", np.array([3])), ("Lens", "OAR", np.zeros(0)))
    assert load_case(write()).structure("Lens").occupancy.is_empty


@pytest.mark.parametrize("axis", "xyz")
def test_descending_axis_is_flipped(write, content, axis):
    """Each voxel keeps its value and its place when the file runs the other way."""
    straight = load_case(write())
    where = {"y": 0, "x": 1, "z": 2}[axis]
    content["ct"][axis] = content["ct"][axis][::-1]
    content["ct"]["cubeHU"] = cell(np.flip(content["ct"]["cubeHU"][0, 0], where))
    flipped = load_case(write())
    assert flipped.grid == straight.grid
    np.testing.assert_array_equal(flipped.ct_hu, straight.ct_hu)
    moved = np.argwhere(flipped.structure("PTV").occupancy.mask())
    lps_axis = "zyx".index(axis)
    expected = np.argwhere(straight.structure("PTV").occupancy.mask())
    expected[:, lps_axis] = straight.grid.shape[lps_axis] - 1 - expected[:, lps_axis]
    assert sorted(map(tuple, moved)) == sorted(map(tuple, expected))


def test_without_positions_the_grid_is_centred_as_pyradplan_does(write, content):
    for axis in "xyz":
        del content["ct"][axis]
    assert load_case(write()).grid.origin_mm == (-10.5, -5.0, -10.0)


def relative_densities_only(content):
    content["ct"]["cube"] = content["ct"].pop("cubeHU")


def no_cube(content):
    del content["ct"]["cubeHU"]


def two_phases(content):
    cube = content["ct"]["cubeHU"][0, 0]
    content["ct"]["cubeHU"] = cell(cube, cube)


def nan_voxel(content):
    content["ct"]["cubeHU"][0, 0][0, 0, 0] = np.nan


def flat_image(content):
    content["ct"]["cubeHU"] = cell(np.zeros((4, 4)))


def missing_slice(content):
    content["ct"]["z"] = np.array([-50.0, -45.0, -35.0, -30.0])


def wrong_count(content):
    content["ct"]["x"] = content["ct"]["x"][:-1]


def no_resolution(content):
    del content["ct"]["resolution"]


def zero_resolution(content):
    content["ct"]["resolution"]["y"] = 0.0


def index_outside(content):
    content["cst"] = table(("PTV", "TARGET", np.array([1, 141])))


def index_zero(content):
    content["cst"] = table(("PTV", "TARGET", np.array([0, 1])))


def index_fraction(content):
    content["cst"] = table(("PTV", "TARGET", np.array([1.5, 2.0])))


def same_name_twice(content):
    content["cst"] = table(("PTV", "TARGET", np.array([1])), ("PTV", "OAR", np.array([2])))


def not_a_table(content):
    content["cst"] = np.arange(12.0).reshape(2, 6)


def no_structures(content):
    del content["cst"]


def ct_is_a_number(content):
    content["ct"] = 3.0


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (relative_densities_only, "only relative densities"),
        (no_cube, "no image"),
        (two_phases, "2 CT scenarios"),
        (nan_voxel, "not numbers"),
        (flat_image, "3D image"),
        (missing_slice, "ct.z must be 4 positions 5 mm apart"),
        (wrong_count, "ct.x must be 7 positions"),
        (no_resolution, "resolution"),
        (zero_resolution, "ct.resolution.y must be positive"),
        (index_outside, "PTV has voxel indices outside"),
        (index_zero, "PTV has voxel indices outside"),
        (index_fraction, "PTV has voxel indices outside"),
        (same_name_twice, "two structures are named PTV"),
        (not_a_table, "not a matRad table"),
        (no_structures, "not a matRad or pyRadPlan plan"),
        (ct_is_a_number, "not a matRad or pyRadPlan plan"),
    ],
)
def test_damaged_plan_is_refused(write, content, damage, message):
    damage(content)
    with pytest.raises(InputError, match=message):
        load_case(write())


@pytest.mark.parametrize("data", [b"", b"hello", b"MATLAB 5.0 MAT-file" + bytes(200), bytes(4000)])
def test_not_a_mat_file(tmp_path, data):
    (tmp_path / "plan.mat").write_bytes(data)
    with pytest.raises(InputError, match=r"plan\.mat"):
        load_case(tmp_path / "plan.mat")


def test_cut_mat_file(write):
    path = write()
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(InputError, match=r"plan\.mat"):
        load_case(path)


def test_a_mat_file_that_is_not_a_plan(tmp_path):
    savemat(tmp_path / "other.mat", {"a": 1})
    with pytest.raises(InputError, match="not a matRad or pyRadPlan plan"):
        load_case(tmp_path / "other.mat")


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.mat"):
        read_mat(tmp_path / "nowhere.mat")


def write_hdf5(path, content):
    """The way MATLAB's -v7.3 lays out what these tests need: transposed arrays, references."""
    h5py = pytest.importorskip("h5py")
    pytest.importorskip("pymatreader")

    number = count()

    def put(parent, name, value):
        if isinstance(value, dict):
            group = parent.create_group(name)
            group.attrs["MATLAB_class"] = np.bytes_("struct")
            for key, item in value.items():
                put(group, key, item)
            return group
        if isinstance(value, np.ndarray) and value.dtype == object:
            references = np.empty(value.T.shape, h5py.ref_dtype)
            for place, item in np.ndenumerate(value.T):
                references[place] = put(file.require_group("#refs#"), str(next(number)), item).ref
            data = parent.create_dataset(name, data=references, dtype=h5py.ref_dtype)
            data.attrs["MATLAB_class"] = np.bytes_("cell")
            return data
        if isinstance(value, str):
            data = parent.create_dataset(name, data=np.array([[ord(c)] for c in value], np.uint16))
            data.attrs["MATLAB_class"] = np.bytes_("char")
            return data
        data = parent.create_dataset(name, data=np.atleast_2d(np.asarray(value, float)).T)
        data.attrs["MATLAB_class"] = np.bytes_("double")
        return data

    with h5py.File(path, "w", userblock_size=512) as file:
        for key, value in content.items():
            put(file, key, value)
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def test_v73_file_reads_the_same(write, content, tmp_path):
    expected = load_case(write())
    for row in content["cst"]:
        row[5] = 0.0
    write_hdf5(tmp_path / "new.mat", content)
    case = load_case(tmp_path / "new.mat")
    assert case.grid == expected.grid
    np.testing.assert_array_equal(case.ct_hu, expected.ct_hu)
    assert case.names == expected.names
    for name in case.names:
        np.testing.assert_array_equal(
            case.structure(name).occupancy.array(), expected.structure(name).occupancy.array()
        )
    assert case.structure("PTV").color == expected.structure("PTV").color


def test_tg119_is_what_pyradplan_reads():
    """Voxel by voxel against the reader of the package that the file comes with."""
    pyradplan = pytest.importorskip("pyRadPlan")
    from SimpleITK import GetArrayFromImage

    case = load_case("tg119")
    ct, cst = pyradplan.load_tg119()
    theirs = GetArrayFromImage(ct.cube_hu)
    assert case.grid.shape == theirs.shape
    assert case.grid.spacing_mm == pytest.approx(ct.cube_hu.GetSpacing())
    assert case.grid.origin_mm == pytest.approx(ct.cube_hu.GetOrigin())
    np.testing.assert_allclose(case.ct_hu, theirs, atol=1e-4)
    assert case.names == ("Core", "OuterTarget", "External")
    for name, voi in zip(("Core", "OuterTarget", "BODY"), cst.vois, strict=True):
        assert voi.name == name
        ours = case.structure("External" if name == "BODY" else name).occupancy.mask()
        np.testing.assert_array_equal(ours, GetArrayFromImage(voi.mask).astype(bool))
