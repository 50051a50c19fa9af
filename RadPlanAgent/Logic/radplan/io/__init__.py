"""Everything that reads cases from elsewhere and writes results for elsewhere."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from .. import case_file
from ..case import Case
from ..errors import InputError
from ..progress import ProgressReport, silent

#: Cases that need no files of the user: name and what it is.
BUILTIN_CASES: dict[str, str] = {
    "tg119": "AAPM TG-119 C-shape: CT phantom, target around a core (comes with pyRadPlan)",
    "phantom:prostate": "digital phantom: pelvis with prostate",
    "phantom:rectum": "digital phantom: pelvis with rectal cancer and nodes",
    "phantom:head-neck": "digital phantom: head and neck",
}
#: The file of a session folder that holds its case.
CASE_FILE_NAME = "case.npz"

_KINDS = (
    "a DICOM folder, an OpenKBP patient folder (ct.csv, voxel_dimensions.csv, …), a matRad or "
    "pyRadPlan .mat file, a session folder (case.npz) or one of " + ", ".join(BUILTIN_CASES)
)


def builtin_cases() -> dict[str, str]:
    """Names of the built-in cases and a line about each."""
    return dict(BUILTIN_CASES)


def load_case(path_or_name: str | Path, progress: ProgressReport = silent) -> Case:
    """Load a case from whatever it is in.

    Parameters
    ----------
    path_or_name : str or path-like
        A DICOM folder, an OpenKBP patient folder, a matRad or pyRadPlan ``.mat`` file, a session
        folder, a case file (``.npz``), or a name of `builtin_cases`.
    progress : ProgressReport

    Raises
    ------
    InputError
        If there is nothing of these kinds, or it is damaged; the text says what was looked for.
    """
    text = str(path_or_name)
    progress(f"read {text}", 0.0)
    builtin = text.lower()
    if builtin in BUILTIN_CASES or builtin.startswith("phantom:"):
        case = _load_builtin(builtin)
    else:
        case = _load_path(Path(text).expanduser())
    progress(f"read {text}", 1.0)
    return case


def _load_builtin(name: str) -> Case:
    if name not in BUILTIN_CASES:
        raise InputError(f"no built-in case {name!r}; there are {', '.join(BUILTIN_CASES)}")
    if name.startswith("phantom:"):
        from .phantoms import make_phantom

        return make_phantom(name.removeprefix("phantom:"))
    from .mat import read_mat

    return read_mat(tg119_path(), name="TG119")


def tg119_path() -> Path:
    """The C-shape phantom inside the installed pyRadPlan, found without importing it."""
    package = find_spec("pyRadPlan")
    folders = [] if package is None else list(package.submodule_search_locations or ())
    for folder in folders:
        path = Path(folder) / "data" / "phantoms" / "TG119.mat"
        if path.is_file():
            return path
    raise InputError(
        "case tg119 comes with the pyRadPlan package, which is not installed (or lacks "
        "data/phantoms/TG119.mat): pip install pyRadPlan"
    )


def _load_path(path: Path) -> Case:
    if path.is_file():
        if path.suffix.lower() == ".mat":
            from .mat import read_mat

            return read_mat(path)
        if path.suffix.lower() == ".npz":
            return case_file.load_case(path)
        raise InputError(f"{path}: not a file of a known kind; expected {_KINDS}")
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder; expected {_KINDS}")
    try:
        if not any(path.iterdir()):
            raise InputError(f"{path}: folder is empty; expected {_KINDS}")
    except OSError as error:
        raise InputError(f"{path}: folder cannot be read ({error.strerror})") from error
    if (path / CASE_FILE_NAME).is_file():
        return case_file.load_case(path / CASE_FILE_NAME)
    from .openkbp import is_openkbp_folder, read_openkbp_folder

    if is_openkbp_folder(path):
        return read_openkbp_folder(path)
    try:
        from .dicom_read import read_dicom_folder
    except ModuleNotFoundError as error:
        if error.name != "pydicom":
            raise
        raise InputError(
            f"{path}: reading DICOM needs the pydicom package: pip install pydicom"
        ) from None
    return read_dicom_folder(path)
