"""Sessions that were planned, and what is in their folders, for tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from image_phantom import FAST
from radplan import planning
from radplan.planning import Observer, PlanRequest, plan

MAX_STEPS = 3


def phantom_request(inputs, cache: Path, out: Path, **more) -> PlanRequest:
    """Plan ImagePhantom with the matrix of `image_phantom.phantom_influence`."""
    return PlanRequest(
        *(str(i) for i in inputs),
        out,
        beams=FAST[1],
        spacing_mm=float(FAST[3]),
        bixel_width_mm=float(FAST[5]),
        cache_dir=cache,
        **more,
    )


def plan_once(inputs, cache, out, max_steps=MAX_STEPS):
    """Plan in this process, outside of any test's fixtures."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(planning, "write_outputs", lambda *_: [])
        patched.setattr(planning, "write_session_report", lambda *_: None)
        request = phantom_request(inputs, cache, out, max_steps=max_steps)
        plan(request, Observer())
    return out


def state(out: Path) -> str:
    return json.loads((out / "session.json").read_text())["state"]


def steps(out: Path) -> list[dict]:
    """Everything in the step folders but how long it took."""
    found = []
    for folder in sorted((out / "steps").glob("*")):
        step = json.loads((folder / "step.json").read_text())
        del step["seconds"], step["solver"]["seconds"]
        files = ("objectives.json", "scorecard.json", "dvh.csv", "fluence.npy")
        found.append({"step": step} | {name: (folder / name).read_bytes() for name in files})
    return found


def group_members(group: int) -> list[int]:
    """Processes of a group that are not zombies."""
    members = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            members.append(int(path.parent.name))
    return members
