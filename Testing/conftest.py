"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

#: The same examples in every run: a change is not blamed for what it has no part in. New ones are
#: looked for with ``--hypothesis-profile=default``.
hypothesis.settings.register_profile("reproducible", derandomize=True)
hypothesis.settings.load_profile("reproducible")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Patient data that is not part of the project: $RADPLAN_DATA, else ../shared/data."""
    path = Path(os.environ.get("RADPLAN_DATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no test data at {path}; set RADPLAN_DATA to a folder that has it")
    return path


@pytest.fixture(scope="session")
def phantom_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cache that holds the influence matrix of ImagePhantom, computed once by pyRadPlan."""
    pytest.importorskip("pyRadPlan", reason="the dose engine is pyRadPlan")
    from image_phantom import phantom_influence

    folder = tmp_path_factory.mktemp("cache")
    phantom_influence(folder)
    return folder
