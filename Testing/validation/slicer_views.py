"""Pictures of a plan in Slicer's views, for the documentation.

``python Testing/validation/slicer_views.py [FOLDER]`` plans the prostate phantom from the panel
with the real worker in the stand-in for Slicer, renders the slice views with Slicer's own pipeline
(see ``Testing/slice_views.py``), and writes ``slicer-views-*.png`` to FOLDER (Docs/images when not
given), and how long views took to standard output.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTING))

import numpy as np  # noqa: E402

import panel_driver  # noqa: E402
import slice_views  # noqa: E402
from panel_driver import PanelDriver  # noqa: E402

#: That of the panel's pictures.
CACHE = Path(tempfile.gettempdir()) / "radplan-panel-pictures"
SIZE = (560, 440)
#: Colours by which Slicer tells its views apart.
FRAMES = {
    "Red": (243, 74, 51),
    "Green": (110, 176, 75),
    "Yellow": (237, 213, 76),
    "Plot": (204, 204, 204),
}
FRAME_PX = 6


def main(folder: Path) -> None:
    """Write all pictures."""
    panel_driver.PATIENCE_S = 1800.0  # the matrix of a phantom takes minutes the first time
    with tempfile.TemporaryDirectory() as scratch:
        driver = PanelDriver(Path(scratch), CACHE)
        import slicer

        # In Slicer the views are there before a patient is.
        views = {n: slice_views.SliceView(slicer.mrmlScene, n, SIZE) for n in list(FRAMES)[:3]}
        plan(driver)
        look_at_target(driver, views)
        save(folder / "slicer-views-plan.png", four_up(views))
        driver.choices.showIsodoses = False
        save(folder / "slicer-views-dose.png", four_up(views))
        driver.choices.showIsodoses = True
        driver.panel._compareStep(0)
        driver.spin(0.3)
        save(folder / "slicer-views-comparing.png", four_up(views))
        driver.panel._compareStep(None)
        slicer.mrmlScene.Clear(False)
        for view in views.values():
            view.close()
        driver.close()


def plan(driver: PanelDriver) -> None:
    """Load the phantom and plan it."""
    from radplan.panel.sample_data import loadPhantom

    choices = driver.choices
    choices.ct, choices.segmentation = loadPhantom("prostate")
    choices.protocol = "prostate_60_20"
    choices.gridSpacingMm, choices.stepLimit = 3.0, 8
    driver.spin(0.3)
    driver.plan("prostate phantom")


def look_at_target(driver: PanelDriver, views: dict) -> None:
    """Zoom in on the target, as a person would."""
    import slicer

    for view in views.values():
        view.fit(zoom=1.5)
    center = [0.0, 0.0, 0.0]
    segmentation = driver.choices.segmentation
    segment_id = segmentation.GetSegmentation().GetSegmentIdBySegmentName("PTV")
    segmentation.GetSegmentCenterRAS(segment_id, center)
    jump = slicer.vtkMRMLSliceNode
    jump.JumpAllSlices(slicer.mrmlScene, *center, jump.CenteredJumpSlice)


def four_up(views: dict) -> np.ndarray:
    """The layout Four-Up Plot: red and plot above, green and yellow below."""
    import slicer

    pictures = {}
    for name, view in views.items():
        began = time.monotonic()
        pictures[name] = view.picture()
        print(f"{name}: rendered in {time.monotonic() - began:.2f} s")
    shown = slicer.mrmlScene.GetSingletonNode("PlotView1", "vtkMRMLPlotViewNode")
    chart = slicer.mrmlScene.GetNodeByID(shown.GetPlotChartNodeID())
    pictures["Plot"] = slice_views.chart_picture(chart, SIZE)
    framed = {name: _framed(picture, FRAMES[name]) for name, picture in pictures.items()}
    rows = (("Red", "Plot"), ("Green", "Yellow"))
    return np.vstack([np.hstack([framed[name] for name in row]) for row in rows])


def _framed(picture: np.ndarray, rgb: tuple[int, int, int]) -> np.ndarray:
    """A picture with the bar above it that names the view by its colour."""
    bar = np.full((FRAME_PX, picture.shape[1], 3), rgb, np.uint8)
    gap = np.full((picture.shape[0] + FRAME_PX, 2, 3), 40, np.uint8)
    return np.hstack([np.vstack([bar, picture]), gap])


def save(path: Path, picture: np.ndarray) -> None:
    """Write a PNG."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    default = TESTING.parent / "Docs" / "images"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
