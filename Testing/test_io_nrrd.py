from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from radplan.case import DoseImage, StructureType
from radplan.errors import InputError
from radplan.geometry import Grid
from radplan.io.nrrd import read_dose, read_segmentation, write_dose

sitk = pytest.importorskip("SimpleITK")

GRID = Grid((4, 5, 6), (2.0, 2.5, 3.0), (-10.0, 20.0, -30.0))


def some_dose(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 70, GRID.shape).astype(np.float32)


def write_nrrd(
    path: Path, values: np.ndarray, directions: str, origin: str, **header: str
) -> None:
    """Write a NRRD by hand: values (z, y, x), the first axis of the file runs fastest."""
    kind = {"float32": "float", "uint8": "uint8", "int16": "int16"}[str(values.dtype)]
    lines = [
        "NRRD0004",
        f"type: {kind}",
        "dimension: 3",
        f"space: {header.pop('space', 'left-posterior-superior')}",
        f"sizes: {' '.join(str(n) for n in values.shape[::-1])}",
        f"space directions: {directions}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: raw",
        f"space origin: {origin}",
        *(f"{key}:={value}" for key, value in header.items()),
        "",
        "",
    ]
    path.write_bytes("\n".join(lines).encode() + np.ascontiguousarray(values).tobytes())


def test_a_dose_survives_a_round_trip(tmp_path):
    path = tmp_path / "new folder" / "dose.nrrd"
    image = DoseImage(GRID, some_dose())
    write_dose(path, image)
    back = read_dose(path)
    assert back.grid.matches(GRID, 1e-6)
    np.testing.assert_array_equal(back.dose_gy, image.dose_gy)
    header = path.read_bytes().split(b"\n\n")[0].decode()
    assert "RESEARCH USE ONLY" in header and "Gy" in header and "whole course" in header
    assert [p.name for p in path.parent.iterdir()] == ["dose.nrrd"]


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match=r"\.nrrd"):
        write_dose(tmp_path / "dose.txt", DoseImage(GRID, some_dose()))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("directions", "origin", "space", "prepare"),
    [
        ("(2,0,0) (0,2.5,0) (0,0,3)", "(-10,20,-30)", "left-posterior-superior", lambda a: a),
        # The same room in RAS: x and y change sign.
        ("(-2,0,0) (0,-2.5,0) (0,0,3)", "(10,-20,-30)", "right-anterior-superior", lambda a: a),
        # RAS with positive axes: the file runs the other way along x and y.
        (
            "(2,0,0) (0,2.5,0) (0,0,3)", "(0,-30,-30)", "right-anterior-superior",
            lambda a: a[:, ::-1, ::-1],
        ),
        # Slices from the head down.
        ("(2,0,0) (0,2.5,0) (0,0,-3)", "(-10,20,-21)", "left-posterior-superior",
         lambda a: a[::-1]),
        # The file's fastest axis is z, then y, then x.
        ("(0,0,3) (0,2.5,0) (2,0,0)", "(-10,20,-30)", "left-posterior-superior",
         lambda a: np.transpose(a, (2, 1, 0))),
    ],
)  # fmt: skip
def test_any_axis_aligned_orientation_is_the_same_dose(
    tmp_path, directions, origin, space, prepare
):
    dose = some_dose()
    write_nrrd(tmp_path / "d.nrrd", prepare(dose), directions, origin, space=space)
    image = read_dose(tmp_path / "d.nrrd")
    assert image.grid.matches(GRID, 1e-6), image.grid
    np.testing.assert_array_equal(image.dose_gy, dose)


@pytest.mark.parametrize(
    ("unit", "factor"), [("Gy", 1.0), ("GY", 1.0), ("cGy", 0.01), ("centigray", 0.01)]
)
def test_units_in_the_header_count(tmp_path, unit, factor):
    write_nrrd(
        tmp_path / "d.nrrd", some_dose(), "(2,0,0) (0,2.5,0) (0,0,3)", "(0,0,0)", DoseUnits=unit
    )
    np.testing.assert_allclose(
        read_dose(tmp_path / "d.nrrd").dose_gy, some_dose() * factor, rtol=1e-6
    )


def test_unknown_units_are_refused(tmp_path):
    write_nrrd(
        tmp_path / "d.nrrd", some_dose(), "(2,0,0) (0,2.5,0) (0,0,3)", "(0,0,0)", DoseUnits="rem"
    )
    with pytest.raises(InputError, match=r"d\.nrrd.*rem"):
        read_dose(tmp_path / "d.nrrd")


def test_oblique_is_refused(tmp_path):
    path = tmp_path / "oblique.nrrd"
    write_nrrd(path, some_dose(), "(1.99,0.2,0) (-0.25,2.48,0) (0,0,3)", "(0,0,0)")
    with pytest.raises(InputError, match=r"oblique\.nrrd.*oblique.*resample"):
        read_dose(path)


@pytest.mark.parametrize(("value", "message"), [(np.nan, "not numbers"), (-0.5, "negative")])
def test_hostile_doses_are_refused_with_the_file_named(tmp_path, value, message):
    dose = some_dose()
    dose[1, 2, 3] = value
    write_nrrd(tmp_path / "bad.nrrd", dose, "(2,0,0) (0,2.5,0) (0,0,3)", "(0,0,0)")
    with pytest.raises(InputError, match=rf"bad\.nrrd.*{message}"):
        read_dose(tmp_path / "bad.nrrd")


def test_what_is_no_image_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_dose(tmp_path / "absent.nrrd")
    for content in (b"", b"NRRD0004\ntype: float\n", b"hello"):
        path = tmp_path / "broken.nrrd"
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"broken\.nrrd"):
            read_dose(path)
    write_nrrd(path, some_dose(), "(2,0,0) (0,2.5,0) (0,0,3)", "(0,0,0)")
    path.write_bytes(path.read_bytes()[:-100])  # cut short
    with pytest.raises(InputError, match=r"broken\.nrrd"):
        read_dose(path)


def test_a_vector_image_is_no_dose(tmp_path):
    image = sitk.GetImageFromArray(np.zeros((4, 4, 4, 2), np.uint8), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "v.nrrd"))
    with pytest.raises(InputError, match="2 values per voxel"):
        read_dose(tmp_path / "v.nrrd")


# ---- segmentations ------------------------------------------------------------------------------


def write_segmentation(path: Path, layers: np.ndarray, header: dict[str, str]) -> None:
    image = sitk.GetImageFromArray(layers, isVector=layers.ndim == 4)
    image.SetSpacing(GRID.spacing_mm)
    image.SetOrigin(GRID.origin_mm)
    for key, value in header.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(path))


def test_segments_in_layers(tmp_path):
    layers = np.zeros((*GRID.shape, 2), np.uint8)
    layers[:2, 1:4, 1:3, 0] = 1
    layers[3, :, :, 0] = 7
    layers[1:3, 2:5, 2:6, 1] = 1  # overlaps the first
    write_segmentation(
        tmp_path / "s.seg.nrrd",
        layers,
        {
            "Segmentation_ReferenceImageExtentOffset": "35 86 -1",  # bookkeeping of Slicer's
            "Segment0_ID": "a", "Segment0_Name": "Parotid_L", "Segment0_Layer": "0",
            "Segment0_LabelValue": "1", "Segment0_Color": "1 0.5 0",
            "Segment1_ID": "b", "Segment1_Name": "PTV_7000", "Segment1_Layer": "1",
            "Segment1_LabelValue": "1",
            "Segment2_ID": "BODY", "Segment2_Layer": "0", "Segment2_LabelValue": "7",
            "Segment3_ID": "d", "Segment3_Name": "nothing", "Segment3_Layer": "0",
            "Segment3_LabelValue": "9",
        },
    )  # fmt: skip
    structures = {s.name: s for s in read_segmentation(tmp_path / "s.seg.nrrd")}
    assert list(structures) == ["Parotid_L", "PTV_7000", "BODY", "nothing"]
    np.testing.assert_array_equal(structures["Parotid_L"].occupancy.array(), layers[..., 0] == 1)
    np.testing.assert_array_equal(structures["PTV_7000"].occupancy.array(), layers[..., 1] == 1)
    assert structures["BODY"].volume_cc == pytest.approx(30 * GRID.voxel_volume_cc)
    assert structures["BODY"].occupancy.grid.matches(GRID, 1e-6)
    assert structures["nothing"].occupancy.is_empty
    assert structures["Parotid_L"].color == (255, 128, 0)
    assert structures["PTV_7000"].type is StructureType.TARGET
    assert structures["BODY"].type is StructureType.EXTERNAL
    assert structures["Parotid_L"].type is StructureType.OAR


def test_old_segmentations_have_a_layer_of_ones_per_segment(tmp_path):
    layers = np.zeros((*GRID.shape, 2), np.uint8)
    layers[0, ..., 0] = 1
    layers[1, ..., 1] = 1
    names = {"Segment0_ID": "x", "Segment0_Name": "X", "Segment1_ID": "y", "Segment1_Name": "Y"}
    write_segmentation(tmp_path / "s.seg.nrrd", layers, names)
    first, second = read_segmentation(tmp_path / "s.seg.nrrd")
    assert (first.occupancy.start[0], second.occupancy.start[0]) == (0, 1)


def test_plain_labelmaps(tmp_path):
    labels = np.zeros(GRID.shape, np.int16)
    labels[1] = 1
    write_segmentation(tmp_path / "Rectum.nii.gz", labels, {})
    (rectum,) = read_segmentation(tmp_path / "Rectum.nii.gz")
    assert rectum.name == "Rectum"
    assert rectum.volume_cc == pytest.approx(30 * GRID.voxel_volume_cc)
    labels[2] = 4
    write_segmentation(tmp_path / "organs.nrrd", labels, {})
    assert [s.name for s in read_segmentation(tmp_path / "organs.nrrd")] == ["Label_1", "Label_4"]


@pytest.mark.parametrize(
    ("layers", "header", "message"),
    [
        (np.zeros(GRID.shape, np.uint8), {}, "no segments"),
        (np.full(GRID.shape, 0.5, np.float32), {}, "whole numbers"),
        (np.zeros((*GRID.shape, 3), np.uint8), {}, "names no segments"),
        (np.ones(GRID.shape, np.uint8), {"Segment0_ID": "a", "Segment0_Layer": "4"}, "layer 4"),
        (
            np.ones(GRID.shape, np.uint8),
            {"Segment0_ID": "a", "Segment0_Layer": "0", "Segment0_LabelValue": "one"},
            "whole number",
        ),
        (
            np.ones(GRID.shape, np.uint8),
            {
                "Segment0_ID": "a", "Segment0_Name": "PTV", "Segment0_Layer": "0",
                "Segment1_ID": "b", "Segment1_Name": "PTV", "Segment1_Layer": "0",
            },
            "two structures are named PTV",
        ),
    ],
)  # fmt: skip
def test_damaged_segmentations_are_refused(tmp_path, layers, header, message):
    write_segmentation(tmp_path / "bad.seg.nrrd", layers, header)
    with pytest.raises(InputError, match=rf"bad\.seg\.nrrd.*{message}"):
        read_segmentation(tmp_path / "bad.seg.nrrd")
