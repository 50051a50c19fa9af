"""Where sessions lie: which folder a new one gets, and whether a folder holds one."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import slicer

#: Application setting: where sessions lie whose folder nobody chose.
FOLDER_SETTING = "RadPlanAgent/SessionsFolder"


def isResumable(folder: str) -> bool:
    """Whether a folder holds a session."""
    return bool(folder) and (Path(folder) / "session.json").is_file()


def newFolder(chosen: str) -> Path:
    """The chosen folder if it is new or empty, else a new one beside it or in the usual place."""
    now = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    if chosen:
        path = Path(chosen)
        if not path.is_dir() or not any(path.iterdir()):
            return path
        return path.with_name(f"{path.name.split('_20')[0]}_{now}")
    usual = slicer.util.settingsValue(FOLDER_SETTING, "")
    return Path(usual or Path.home() / "RadPlanAgent") / f"plan_{now}"
