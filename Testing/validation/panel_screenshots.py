"""Pictures of every state of the panel, for the documentation.

``python Testing/validation/panel_screenshots.py [FOLDER]`` plans the prostate phantom with the
real worker in the stand-in for Slicer, and writes ``panel-*.png`` to FOLDER (Docs/images when not
given), and how long everything took to standard output.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTING))

import panel_driver  # noqa: E402
from panel_driver import PanelDriver  # noqa: E402

CACHE = Path(tempfile.gettempdir()) / "radplan-panel-pictures"
PLANNED = ("planSectionButton", "resultButton")


def main(folder: Path) -> None:
    """Write all pictures."""
    panel_driver.PATIENCE_S = 1800.0  # the matrix of a phantom takes minutes the first time
    with tempfile.TemporaryDirectory() as scratch:
        driver = PanelDriver(Path(scratch), CACHE)
        start(driver, folder)
        planning(driver, folder)
        steering(driver, folder)
        constraints(driver, folder)
        review(driver, folder)
        error(driver, folder)
        assistant(driver, folder)
        driver.close()


def start(driver: PanelDriver, folder: Path) -> None:
    """The panel as it opens, and with a patient whose structures are to be confirmed."""
    driver.picture(folder / "panel-start.png")
    from radplan.panel.sample_data import loadPhantom

    ct, segmentation = loadPhantom("prostate")
    choices = driver.choices
    choices.ct, choices.segmentation = ct, segmentation
    choices.protocol = "prostate_60_20"
    segments = segmentation.GetSegmentation()
    femur = segments.GetSegmentIdBySegmentName("Femur_Head_L")
    segments.GetSegment(femur).SetName("Femoral head")
    driver.spin(0.3)
    driver.picture(folder / "panel-patient.png", sections=("patientButton", "beamsButton"))
    segments.GetSegment(femur).SetName("Femur_Head_L")
    driver.spin(0.3)


def planning(driver: PanelDriver, folder: Path) -> None:
    """While planning: preparing, first steps, finished."""
    choices, run = driver.choices, driver.run
    choices.gridSpacingMm, choices.stepLimit = 3.0, 12
    choices.sessionFolder = str(driver.folder / "prostate phantom")
    driver.check_prescription()
    began = time.monotonic()
    driver.ui.planButton.click()
    driver.wait(lambda: bool(run.session.steps), "for the first dose")
    print(f"Plan pressed → first dose: {time.monotonic() - began:.1f} s")
    driver.wait(lambda: len(run.session.steps) > 3, "for more steps")
    driver.picture(folder / "panel-planning.png", sections=PLANNED)
    driver.wait(lambda: not run.state.is_busy, "for the end")
    print(f"Plan pressed → end, {len(run.session.steps)} steps: {time.monotonic() - began:.1f} s")
    driver.settle()
    driver.picture(folder / "panel-finished.png", sections=PLANNED)


def steering(driver: PanelDriver, folder: Path) -> None:
    """A slider that is dragged, and two steps side by side."""
    run, seconds = driver.run, []
    told = run.onPreview
    run.onPreview = lambda event: (seconds.append((time.monotonic(), event)), told(event))
    slider = driver.panel.plan.slider("Rectum")
    began = time.monotonic()
    for position in (2, 4, 6):
        slider.setValue(position)
        driver.spin(0.4)
    driver.wait(lambda: bool(seconds), "for a preview")
    driver.spin(1.0)
    print("slider moved → preview on display: "
          f"{seconds[0][0] - began:.2f} s, {len(seconds)} previews, "
          f"optimizing took {seconds[-1][1]['seconds']:.2f} s")  # fmt: skip
    driver.picture(folder / "panel-slider.png", sections=PLANNED)
    slider.sliderReleased.emit()
    driver.settle()
    driver.panel._compareStep(0)
    driver.spin(0.3)
    driver.picture(folder / "panel-comparing.png", sections=PLANNED)
    driver.panel._compareStep(None)


def constraints(driver: PanelDriver, folder: Path) -> None:
    """A step that keeps to two constraints; taken back afterwards."""
    from radplan.optimize import Constraint

    plan = driver.panel.plan
    for text in ("Rectum mean <= 16", "PTV D98% >= 58.5"):
        plan.edits = plan.edits.with_added(Constraint.from_text(text))
    began = time.monotonic()
    driver.press("optimizeButton")
    print(f"a step with constraints: {time.monotonic() - began:.1f} s")
    driver.ui.objectivesTable.scrollToBottom()
    driver.picture(folder / "panel-constraints.png", sections=("planSectionButton",))
    driver.press("undoButton")


def review(driver: PanelDriver, folder: Path) -> None:
    """Reviewed by a person, and void after a change."""
    driver.ui.reviewerEdit.text = "A. Physicist"
    driver.ui.commentEdit.text = "Slices, DVH and goals looked at; rectum as wanted"
    driver.spin()
    driver.panel.resultRequests.confirmReview = lambda *_: True
    driver.press("acceptButton")
    driver.press("exportReportButton")
    driver.picture(folder / "panel-reviewed.png", sections=("resultButton",))
    driver.press("optimizeButton")
    driver.picture(folder / "panel-review-void.png", sections=("resultButton",))


def error(driver: PanelDriver, folder: Path) -> None:
    """The worker is gone."""
    import os
    import signal

    driver.ui.optimizeButton.click()
    driver.spin(0.05)
    os.kill(driver.run.client.about["pid"], signal.SIGKILL)
    driver.wait(lambda: driver.run.state.phase == "failed", "for the crash")
    driver.spin(0.2)
    driver.picture(folder / "panel-error.png", sections=("planSectionButton",))


def assistant(driver: PanelDriver, folder: Path) -> None:
    """A language model: set up, consent, and what would be sent."""
    ui = driver.ui
    ui.plannerComboBox.currentIndex = 1
    ui.modelUrlEdit.text = "https://models.example.org/v1"
    ui.modelNameEdit.text = "some-model"
    driver.spin(0.2)
    driver.picture(folder / "panel-llm-setup.png", sections=("assistantButton",))
    driver.choices.sessionFolder = str(driver.folder / "preview")
    driver.check_prescription()
    driver.press("previewSentButton")
    driver.picture(folder / "panel-llm-preview.png", sections=("assistantButton",))


if __name__ == "__main__":
    default = TESTING.parent / "Docs" / "images"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
