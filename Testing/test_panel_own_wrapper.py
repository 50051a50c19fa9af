"""The panel's choices with Slicer's own parameter node wrapper, where a checkout is at hand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import slicer_host

SOURCE = os.environ.get("SLICER_SOURCE", "")
CODE = """
import sys, tempfile
from pathlib import Path
sys.path.insert(0, {testing!r})
import slicer_host
slicer_host.start(Path(tempfile.mkdtemp()))
from slicer_host.own_files import use_own_parameter_node_wrapper
use_own_parameter_node_wrapper(Path({source!r}))
from panel_driver import PanelDriver
folder = Path(tempfile.mkdtemp())
driver = PanelDriver(folder, folder / "cache")
driver.load_phantom()
driver.ui.stepsSpinBox.value = 9
driver.ui.plannerComboBox.currentIndex = 1
driver.ui.modelUrlEdit.text = "http://localhost:1/v1"
driver.panel.patient._type_chosen("Gland", "OAR")
driver.ui.prescriptionTable.item(0, 1).setText("48")
driver.spin()
driver.ui.prescriptionCheckBox.click()
driver.spin()
choices = driver.choices
print(choices.stepLimit, choices.planner.name, choices.modelUrl, dict(choices.structureTypes),
      dict(choices.doses), choices.prescriptionChecked, choices.ct.GetName())
driver.module.exit()
driver.module.enter()
print(driver.ui.stepsSpinBox.value, driver.choices.doses["PTV"])
driver.close()
"""


@pytest.mark.skipif(bool(slicer_host.why_not()), reason=slicer_host.why_not())
@pytest.mark.skipif(not SOURCE, reason="$SLICER_SOURCE names no checkout of 3D Slicer")
def test_choices_in_slicers_own_wrapper():
    code = CODE.format(testing=str(Path(__file__).parent), source=SOURCE)
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    lines = result.stdout.strip().splitlines()
    assert lines[-2] == (
        "9 LLM http://localhost:1/v1 {'Gland': 'OAR'} {'PTV': 48.0} True CT ImagePhantom"
    )
    assert lines[-1] == "9 48.0"
