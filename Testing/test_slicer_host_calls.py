"""The page of host calls is complete: what the code calls in Slicer is on it."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = (REPOSITORY / "Docs" / "slicer-host-calls.md").read_text()
SOURCES = sorted((REPOSITORY / "RadPlanAgent" / "Logic" / "radplan" / "mrml").glob("*.py"))
#: Calls that look like VTK's but are Python's or our own.
NOT_HOST = {"TemporaryDirectory"}


def test_every_call_of_the_mrml_room_is_on_the_page():
    missing = {
        f"{path.name}: {name}"
        for path in SOURCES
        for name in re.findall(r"\.([A-Z][A-Za-z0-9]+)\(", path.read_text())
        if name not in NOT_HOST and f"`{name}`" not in PAGE
    }
    assert not missing


def test_the_page_names_no_call_that_is_gone():
    table = PAGE[PAGE.index("## SlicerRT") :]
    named = set(re.findall(r"`((?:Get|Set|Add|Remove|Create)[A-Za-z0-9]+)`", table))
    code = "\n".join(path.read_text() for path in SOURCES)
    assert {name for name in named if f".{name}(" not in code} == set()
