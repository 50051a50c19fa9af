"""A planning session on ImagePhantom whose steps take a fraction of a second, for tests."""

from __future__ import annotations

from pathlib import Path

from image_phantom import image_phantom, protocol
from radplan.case import Case
from radplan.influence.matrix import InfluenceMatrix
from radplan.optimize import SolverSettings
from radplan.protocol_file import protocol_from_dict
from radplan.session import PlanningSession
from radplan.session_folder import SessionFolder
from radplan.session_settings import SessionSettings

FEW = SolverSettings(max_iterations=12, sample_first=False)
#: Too few iterations for a good plan.
QUICK = SessionSettings(FEW, FEW, FEW, voxel_limit=500)


def content(influence: InfluenceMatrix) -> dict:
    """What session.json says of such a session."""
    return {
        "state": "running",
        "planner": "rules",
        "protocol": protocol(),
        "beams": [],
        "dose_grid": {},
        "settings": {},
        "engine": influence.engine,
        "fingerprint": influence.fingerprint,
    }


def new_session(path: Path, influence: InfluenceMatrix, case: Case | None = None):
    """A session with its first plan, in a folder of its own."""
    folder = SessionFolder(path)
    folder.create(case or image_phantom(), content(influence))
    session = restored(path, influence, case)
    session.start()
    return session


def restored(path: Path, influence: InfluenceMatrix, case: Case | None = None) -> PlanningSession:
    """The session of a folder, as a new process would load it."""
    session = PlanningSession(
        case or image_phantom(),
        protocol_from_dict(protocol()),
        influence,
        SessionFolder(path),
        QUICK,
    )
    session.restore()
    return session
