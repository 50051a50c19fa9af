"""Where the files are that the package needs besides its code: protocols, prompts."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource_path(*parts: str) -> Path:
    """Path of a file or folder below ``Resources``.

    In a checkout and in an installed Slicer extension that folder lies beside ``Logic``; a wheel
    has a copy inside the package (see ``setup.py``).

    Parameters
    ----------
    *parts : str
        For example ``"Protocols"``, ``"tg119_cshape_easy.json"``.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    """
    candidates = [
        folder.joinpath(*parts)
        for folder in (_PACKAGE / "_resources", _PACKAGE.parents[1] / "Resources")
    ]
    for path in candidates:
        if path.exists():
            return path
    raise FileNotFoundError(f"radplan's installation lacks {candidates[-1]}")
