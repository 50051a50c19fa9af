"""The worker as Slicer runs it: its packages, its process, and the keyring's command."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import which
from typing import Any

import qt
import slicer

from ..errors import InputError
from .i18n import _
from .packages import READY, PackageFolder, logic_folder
from .process import QtProcess
from .worker_client import WorkerClient

#: Application setting: a Python that has radplan's packages already, such as a developer's
#: virtual environment; it runs the worker in place of Slicer's and no packages are installed.
PYTHON_SETTING = "RadPlanAgent/Python"
#: Application setting: the folder of the worker's packages.
PACKAGES_SETTING = "RadPlanAgent/PackagesFolder"


def _nothing(*_args: Any) -> None:
    """Nobody wants to know."""


class WorkerHost:
    """Gives clients of worker processes, once the worker's packages are there."""

    def __init__(self) -> None:
        self.onInstallation: Callable[[str], None] = _nothing
        self._python = str(slicer.util.settingsValue(PYTHON_SETTING, "") or "")
        self._packages = PackageFolder(_packages_path(), _slicer_python())
        self._command: QtProcess | None = None
        self._log: list[bytes] = []

    def client(self, on_event: Callable, on_lost: Callable) -> WorkerClient:
        """A client, whose worker starts when it is first asked for something."""
        return WorkerClient(self._process, on_event, on_lost, _call_later)

    def problem(self) -> str:
        """Why the worker cannot be started just now; empty if it can, or packages are offered."""
        return _("Wait until the packages are installed") if self._command else ""

    def offerPackages(self) -> bool:
        """Whether the worker has its packages; if not, the user is asked to install them.

        Nothing is installed without a person's consent, and nothing by scripts in testing mode.
        """
        if self._python:
            return True
        state = self._packages.state()
        if state.kind == READY:
            return True
        if slicer.app.testingEnabled():
            self.onInstallation(state.text)
        elif slicer.util.confirmOkCancelDisplay(
            f"{state.text}.\n\n{self._packages.explanation()}",
            windowTitle=_("Packages for planning"),
        ):
            self._install()
        return False

    def runKeyring(
        self, arguments: Sequence[str], entered: str, tell: Callable[[str], None], good: str
    ) -> None:
        """Run the keyring's own command; what is entered goes through a pipe, into no log.

        Parameters
        ----------
        arguments : sequence of str
            Such as ``("set", "radplan", host)``.
        entered : str
            What it asks for.
        tell : callable
            Told `good`, or why it was refused.
        good : str
        """

        def ended(code: int) -> None:
            lines = b"".join(self._log).decode(errors="replace").strip().splitlines()
            why = lines[-1] if lines else str(code)
            tell(good if code == 0 else _("The keyring refused: {why}").format(why=why))

        self._run(self._module("keyring", *arguments), ended)
        self._command.write(entered.encode())
        self._command.close_input()

    def _process(self) -> QtProcess:
        program, *arguments = self._module("radplan.worker")
        return QtProcess(program, arguments, self._environment())

    def _module(self, name: str, *arguments: str) -> list[str]:
        if self._python:
            return [self._python, "-m", name, *arguments]
        *command, _worker = self._packages.worker_command()
        return [*command, name, *arguments]

    def _environment(self) -> dict[str, str]:
        if not self._python:
            return self._packages.environment(slicer.util.startupEnvironment())
        paths = [str(logic_folder()), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

    def _install(self) -> None:
        """Fill the package folder: install, try out, put in place; told by `onInstallation`."""
        try:
            self._packages.prepare()
        except InputError as error:
            self.onInstallation(str(error))
            return

        def installed(code: int) -> None:
            if code:
                self._installationFailed()
                return
            self.onInstallation(_("Trying the packages out …"))
            self._run(self._packages.check_command(), checked)

        def checked(code: int) -> None:
            if code:
                self._installationFailed()
                return
            try:
                self._packages.finish()
            except InputError as error:
                self.onInstallation(str(error))
                return
            self.onInstallation(_("The packages are installed: press Plan."))

        self.onInstallation(_("Installing packages; this takes some minutes …"))
        self._run(self._packages.install_command(), installed)

    def _installationFailed(self) -> None:
        log = b"".join(self._log).decode(errors="replace").strip().splitlines()[-4:]
        text = _("The packages could not be installed; nothing was changed.")
        self.onInstallation("\n".join([text, *log]))

    def _run(self, command: Sequence[str], ended: Callable[[int], None]) -> None:
        """Run a command, one at a time."""
        self._log = []

        def over(code: int) -> None:
            self._command = None
            ended(code)

        self._command = QtProcess(command[0], command[1:], self._environment())
        self._command.start(self._log.append, self._log.append, over)


def _call_later(seconds: float, function: Callable[[], None]) -> None:
    qt.QTimer.singleShot(round(1000 * seconds), function)


def _slicer_python() -> str:
    """Slicer's own interpreter; this one where there is none."""
    return which("PythonSlicer") or sys.executable


def _packages_path() -> Path:
    """The package folder: as set, else one of the user's, for this version of Python."""
    chosen = slicer.util.settingsValue(PACKAGES_SETTING, "")
    if chosen:
        return Path(chosen)
    data = qt.QStandardPaths.writableLocation(qt.QStandardPaths.GenericDataLocation)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Path(data) / "RadPlanAgent" / f"packages-python{version}"


def cacheText() -> str:
    """How much room the kept influence matrices take."""
    from ..dose_setup import default_cache_dir

    folder = default_cache_dir()
    files = [p for p in folder.rglob("*") if p.is_file()] if folder.is_dir() else []
    if not files:
        return _("none kept yet, in {folder}").format(folder=folder)
    gigabytes = sum(p.stat().st_size for p in files) / 1e9
    return _("{size:.1f} GB kept in {folder}").format(size=gigabytes, folder=folder)
