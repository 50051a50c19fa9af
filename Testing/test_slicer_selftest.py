"""`slicer_selftest.py`, which runs in 3D Slicer, run in the stand-in.

With $SLICER_SOURCE, a checkout of Slicer, its own Python files take the place of stand-ins.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import slicer_host

TESTING = Path(__file__).parent
pytestmark = pytest.mark.skipif(bool(slicer_host.why_not()), reason=slicer_host.why_not())


def run(script: Path, cache: Path, **environment: str) -> subprocess.CompletedProcess:
    """A script in the stand-in, as Slicer would run it."""
    added = {"PYTHONPATH": str(TESTING), "RADPLAN_CACHE": str(cache), **environment}
    return subprocess.run(
        [sys.executable, "-m", "slicer_host", str(script)],
        env={**os.environ, **added},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_self_tests_pass_and_planning_needs_packages(tmp_path):
    result = run(TESTING / "slicer_selftest.py", tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "selfTests: passed" in result.stdout
    assert "the worker's packages are not installed: planning is left out" in result.stdout


@pytest.mark.slow
def test_it_plans_the_phantom(tmp_path):
    result = run(TESTING / "slicer_selftest.py", tmp_path, RADPLAN_PYTHON=sys.executable)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "planning: passed" in result.stdout and "left out" not in result.stdout


def test_a_failure_is_the_exit_status(tmp_path):
    script = tmp_path / "fails.py"
    source = (TESTING / "slicer_selftest.py").read_text()
    script.write_text(source.replace("    test.runTest()", "    raise AssertionError('broken')"))
    result = run(script, tmp_path)
    assert result.returncode == 1
    assert "selfTests: FAILED" in result.stdout


def test_phantoms_are_offered_as_sample_data(tmp_path):
    script = tmp_path / "sample_data.py"
    script.write_text(
        "import os, SampleData, slicer\n"
        "from slicer_host import application\n"
        "offered = application.SampleDataLogic.registered\n"
        "assert all(os.path.isfile(sample['thumbnail']) for sample in offered)\n"
        "print(*(sample['name'] for sample in offered))\n"
        "ct, segmentation = offered[0]['load'](None)\n"
        "print(segmentation.GetSegmentation().GetNumberOfSegments() > 4)\n"
    )
    result = run(script, tmp_path, SLICER_SOURCE="")
    assert result.returncode == 0, result.stderr[-2000:]
    names, loaded = result.stdout.split("\n")[:2]
    assert names == "ProstatePhantom HeadNeckPhantom RectumPhantom" and loaded == "True"
