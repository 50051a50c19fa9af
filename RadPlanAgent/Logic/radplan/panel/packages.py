"""The worker's Python packages: a folder of their own, so that nothing in Slicer's Python changes.

Slicer's numpy may be too new for the dose engine, and another extension may pin another version
of it. pip therefore installs everything, numpy included, into one folder (``pip install
--target``), which only the worker looks into, before Slicer's own packages. Removing the folder
takes all of it back.

Nothing is installed here by itself: this module says what would be, and makes the commands. The
new folder is filled beside the old one, tried out, stamped, and only then takes its place.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..files import written_by_rename
from ..resources import resource_path
from .i18n import _

STAMP = "radplan-packages.json"
#: Modules that the worker must be able to import, of these packages.
NEEDED_MODULES = ("numpy", "scipy", "pyRadPlan", "numba", "matplotlib", "jinja2", "pydicom")
#: Measured with constraints.txt, Python 3.11 on Linux, as pip downloads and as it lies there.
DOWNLOAD_BYTES = 320_000_000
INSTALLED_BYTES = 1_300_000_000
#: Free space to ask for: the old folder stays until the new one is ready.
SPARE_FACTOR = 1.5
#: Runs a module with the package folder and the package itself before everything else. In Slicer's
#: Python that cannot be done with $PYTHONPATH: its launcher puts Slicer's own packages before it.
_BOOTSTRAP = "import runpy,sys; sys.path[:0]=sys.argv[1:3]; del sys.argv[1:3]; "
_RUN = _BOOTSTRAP + "m=sys.argv[1]; del sys.argv[1]; runpy.run_module(m, None, '__main__', True)"
_CHECK = (
    _BOOTSTRAP + "import importlib,os; folder=os.path.realpath(sys.path[0]); "
    "found={m: os.path.realpath(importlib.import_module(m).__file__) for m in sys.argv[1:]}; "
    "strange=[m for m, f in found.items() if not f.startswith(folder+os.sep)]; "
    "sys.exit('found elsewhere: '+', '.join(found[m] for m in strange) if strange else 0)"
)
MISSING, OUTDATED, READY = "missing", "outdated", "ready"


@dataclass(frozen=True)
class PackageState:
    """How the package folder is.

    Parameters
    ----------
    kind : str
        ``missing``, ``outdated`` or ``ready``.
    text : str
        For people; empty if it is ready.
    """

    kind: str
    text: str


@dataclass(frozen=True)
class PackageFolder:
    """The worker's packages.

    Parameters
    ----------
    path : Path
        The folder; it and its neighbours ``.new`` and ``.old`` belong to us alone.
    python : str
        Python that runs the worker: Slicer's is ``PythonSlicer``.
    """

    path: Path
    python: str

    @property
    def new(self) -> Path:
        """Where the next installation is made."""
        return self.path.with_name(f"{self.path.name}.new")

    def wanted(self) -> dict[str, str]:
        """What the stamp of a folder that fits must say."""
        return {
            "requirements": _digest(resource_path("requirements.txt")),
            "constraints": _digest(resource_path("constraints.txt")),
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
            "platform": sys.platform,
        }

    def state(self) -> PackageState:
        """Whether the packages are there and are those that are wanted."""
        stamp = self.stamp()
        if stamp is None:
            return PackageState(
                MISSING, _("The packages that planning needs are not installed yet")
            )
        wanted = self.wanted()
        if stamp.get("python") != wanted["python"] or stamp.get("platform") != wanted["platform"]:
            return PackageState(
                OUTDATED, _("The packages were installed for another Python; install them again")
            )
        if any(stamp.get(name) != value for name, value in wanted.items()):
            return PackageState(
                OUTDATED, _("Other versions of the packages are needed; install them again")
            )
        return PackageState(READY, "")

    def stamp(self) -> Mapping | None:
        """What was installed; None if nothing was, or not to the end."""
        try:
            stamp = json.loads((self.path / STAMP).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return stamp if isinstance(stamp, dict) else None

    def explanation(self) -> str:
        """What installing does, for the person who is asked."""
        return _(
            "Planning runs in a process of its own and needs Python packages: {packages}. "
            "They are downloaded from the Python package index (about {download:.1f} GB) and kept "
            "in {folder} (about {size:.1f} GB). Nothing in Slicer's own Python is changed; "
            "the folder can be removed at any time."
        ).format(
            packages=", ".join(requirement_names()),
            download=DOWNLOAD_BYTES / 1e9,
            size=INSTALLED_BYTES / 1e9,
            folder=self.path,
        )

    # Installing: prepare(), run install_command(), run check_command(), finish()

    def prepare(self) -> None:
        """Make room for an installation.

        Raises
        ------
        InputError
            If the folder cannot be written or its disk is too full.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _remove(self.new)
            self.new.mkdir()
            free = shutil.disk_usage(self.new).free
        except OSError as error:
            raise InputError(f"{self.new}: cannot be made ({error.strerror})") from error
        if free < SPARE_FACTOR * INSTALLED_BYTES:
            raise InputError(
                f"{self.path.parent}: the disk has {free / 1e9:.1f} GB free, the packages need "
                f"{SPARE_FACTOR * INSTALLED_BYTES / 1e9:.1f} GB; free space or choose another "
                "folder"
            )

    def install_command(self) -> list[str]:
        """The command that fills the new folder; where it fails, nothing has changed."""
        return [
            *(self.python, "-m", "pip", "install"),
            *("--target", str(self.new)),
            *("--requirement", str(resource_path("requirements.txt"))),
            *("--constraint", str(resource_path("constraints.txt"))),
            # All have wheels; what would have to be compiled here is refused.
            *("--only-binary", ":all:"),
            *("--no-input", "--disable-pip-version-check", "--no-warn-script-location"),
            *("--progress-bar", "off"),
        ]

    def check_command(self) -> list[str]:
        """The command that fails unless the new packages can be imported, and from there."""
        return [self.python, "-c", _CHECK, str(self.new), str(logic_folder()), *NEEDED_MODULES]

    def finish(self) -> None:
        """Let the new folder take the place of the old one. No worker may run.

        Raises
        ------
        InputError
            If files of the old folder are in use; it stays then.
        """
        content = {"format": 1, **self.wanted(), "installed": _installed(self.new)}
        with written_by_rename(self.new / STAMP) as file:
            file.write(json.dumps(content, indent=1).encode())
        old = self.path.with_name(f"{self.path.name}.old")
        try:
            _remove(old)
            if self.path.exists():
                os.replace(self.path, old)
            os.replace(self.new, self.path)
        except OSError as error:
            if old.exists() and not self.path.exists():
                os.replace(old, self.path)
            raise InputError(
                f"{self.path}: cannot be replaced ({error.strerror}); end planning and try again"
            ) from error
        shutil.rmtree(old, ignore_errors=True)

    # Running

    def worker_command(self) -> list[str]:
        """The command that starts the worker with these packages."""
        return [self.python, "-c", _RUN, str(self.path), str(logic_folder()), "radplan.worker"]

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Environment for the commands, from that of this process."""
        return dict(environment) | {
            # Neither the user's own packages nor files that lie about in the current folder.
            "PYTHONNOUSERSITE": "1",
            "PYTHONSAFEPATH": "1",
            "PYTHONUTF8": "1",
            "PYTHONUNBUFFERED": "1",
            # Compiled files of numba, which are of these packages, go with them.
            "NUMBA_CACHE_DIR": str(self.path / "numba-cache"),
        }


def logic_folder() -> Path:
    """The folder that holds the package `radplan`."""
    return Path(__file__).resolve().parents[2]


def requirement_names() -> list[str]:
    """Names of the packages that are asked for, without those that they pull in."""
    lines = resource_path("requirements.txt").read_text(encoding="utf-8").splitlines()
    names = [line.partition("#")[0].strip() for line in lines]
    return [_name_of(name) for name in names if name]


def _name_of(requirement: str) -> str:
    end = next((i for i, c in enumerate(requirement) if c in "<>=!~[; "), len(requirement))
    return requirement[:end]


def _installed(folder: Path) -> dict[str, str]:
    """Names and versions of the packages of a folder, from their metadata."""
    from importlib.metadata import distributions

    found = {d.metadata["Name"]: d.version for d in distributions(path=[str(folder)])}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _digest(path: Path) -> str:
    # Lines, not bytes: a checkout may have other line ends.
    lines = path.read_text(encoding="utf-8").splitlines()
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
