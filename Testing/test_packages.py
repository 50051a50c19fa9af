"""The worker's packages: what is asked for, commands, stamp, and that they come before others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from radplan.errors import InputError
from radplan.panel import packages
from radplan.panel.packages import MISSING, OUTDATED, READY, PackageFolder, requirement_names
from radplan.resources import resource_path

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML by itself")
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def folder(tmp_path):
    return PackageFolder(tmp_path / "packages", sys.executable)


def fill(folder: PackageFolder, *names: str, text: str = "") -> None:
    """Put modules where an installation puts them."""
    folder.prepare()
    for name in names:
        module = folder.new / name
        module.mkdir()
        (module / "__init__.py").write_text(text)
        metadata = folder.new / f"{name}-1.2.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")


def run(folder: PackageFolder, command, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        command,
        env=folder.environment(os.environ | environment),
        capture_output=True,
        text=True,
        check=False,
    )


# What is installed -------------------------------------------------------------------------------


def test_requirements_are_those_of_the_project():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = resource_path("requirements.txt").read_text(encoding="utf-8").splitlines()
    written = [line for line in lines if not line.startswith("#")]
    assert written == [*project["dependencies"], *extras["plan"], *extras["llm"]]


def test_constraints_are_those_of_the_project():
    shipped = resource_path("constraints.txt").read_text(encoding="utf-8")
    assert shipped == (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")


def test_every_requirement_is_constrained():
    lines = resource_path("constraints.txt").read_text(encoding="utf-8").splitlines()
    constrained = {line.partition("==")[0].lower() for line in lines if "==" in line}
    assert {name.lower() for name in requirement_names()} <= constrained


def test_the_explanation_names_packages_size_and_place(folder):
    text = folder.explanation()
    for word in ("pyRadPlan", "numba", "openai", " GB", str(folder.path), "removed"):
        assert word in text


def test_commands(folder):
    command = folder.install_command()
    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    pairs = dict(zip(command, command[1:], strict=False))
    assert pairs["--target"] == str(folder.new)
    assert pairs["--only-binary"] == ":all:"
    assert Path(pairs["--requirement"]).name == "requirements.txt"
    assert Path(pairs["--constraint"]).name == "constraints.txt"
    assert folder.worker_command()[-1] == "radplan.worker"


def test_nothing_runs_on_import():
    code = (
        "import subprocess, socket\n"
        "def no(*_, **__): raise AssertionError('runs something')\n"
        "subprocess.Popen = socket.socket = no\n"
        "from radplan.panel import packages, pipe_process, planning_state, worker_client\n"
        "import sys; heavy = {'pyRadPlan', 'numba', 'matplotlib', 'pydicom', 'openai', 'pip'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr


# Installing --------------------------------------------------------------------------------------


def test_the_new_folder_takes_the_place_of_the_old(folder):
    assert folder.state().kind == MISSING
    fill(folder, "first")
    assert folder.state().kind == MISSING
    folder.finish()
    assert (folder.state().kind, folder.state().text) == (READY, "")
    assert folder.stamp()["installed"] == {"first": "1.2"}
    fill(folder, "second")
    assert (folder.path / "first").is_dir()  # until the new one is ready
    folder.finish()
    assert folder.stamp()["installed"] == {"second": "1.2"}
    assert [p.name for p in folder.path.parent.iterdir()] == [folder.path.name]


def test_what_a_failed_installation_leaves_is_removed_by_the_next(folder):
    fill(folder, "half")
    fill(folder, "whole")
    folder.finish()
    assert not (folder.path / "half").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("requirements", "0" * 64),
        ("constraints", "0" * 64),
        ("python", "3.9"),
        ("platform", "amiga"),
        ("constraints", None),
    ],
)
def test_an_update_is_recognised(folder, name, value):
    fill(folder, "some")
    folder.finish()
    stamp = json.loads((folder.path / packages.STAMP).read_text())
    (folder.path / packages.STAMP).write_text(json.dumps(stamp | {name: value}))
    assert folder.state().kind == OUTDATED
    assert "again" in folder.state().text


def test_other_line_ends_are_no_update(folder, monkeypatch, tmp_path):
    fill(folder, "some")
    folder.finish()
    for name in ("requirements.txt", "constraints.txt"):
        lines = resource_path(name).read_bytes().replace(b"\n", b"\r\n")
        (tmp_path / name).write_bytes(lines)
    monkeypatch.setattr(packages, "resource_path", lambda name: tmp_path / name)
    assert folder.state().kind == READY


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"format": 1}'])
def test_a_damaged_stamp(folder, content):
    fill(folder, "some")
    folder.finish()
    (folder.path / packages.STAMP).write_text(content)
    assert folder.state().kind in (MISSING, OUTDATED)


def test_a_disk_too_small(folder, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12, 10**9))
    with pytest.raises(InputError, match=r"1\.0 GB free.*free space"):
        folder.prepare()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        PackageFolder(tmp_path / "file" / "packages", sys.executable).prepare()


def test_files_in_use_keep_the_old_folder(folder, monkeypatch):
    fill(folder, "old")
    folder.finish()
    fill(folder, "new")
    replace = os.replace

    def in_use(source, target):
        if Path(target) == folder.path and Path(source) == folder.new:
            raise PermissionError(13, "in use")
        replace(source, target)

    monkeypatch.setattr(os, "replace", in_use)
    with pytest.raises(InputError, match="end planning"):
        folder.finish()
    monkeypatch.undo()
    assert folder.stamp()["installed"] == {"old": "1.2"}


def test_pip_fills_the_folder(folder, tmp_path, monkeypatch):
    """The real pip, a wheel of our own, no network."""
    pytest.importorskip("pip")
    wheel = tmp_path / "tiny-1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("tiny.py", "VALUE = 7\n")
        metadata = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.2\n"
        file.writestr("tiny-1.2.dist-info/METADATA", metadata)
        file.writestr(
            "tiny-1.2.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        file.writestr("tiny-1.2.dist-info/RECORD", "tiny.py,,\ntiny-1.2.dist-info/METADATA,,\n")
    (tmp_path / "requirements.txt").write_text("tiny\n")
    (tmp_path / "constraints.txt").write_text("tiny==1.2\n")
    monkeypatch.setattr(packages, "resource_path", lambda name: tmp_path / name)
    monkeypatch.setattr(packages, "NEEDED_MODULES", ("tiny",))
    folder.prepare()
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
    installed = run(folder, folder.install_command(), **offline)
    assert installed.returncode == 0, installed.stderr
    assert run(folder, folder.check_command()).returncode == 0
    folder.finish()
    assert folder.stamp()["installed"] == {"tiny": "1.2"}
    assert folder.state().kind == READY


# Running -----------------------------------------------------------------------------------------


def test_packages_come_before_those_of_the_python_that_runs_them(folder, tmp_path, monkeypatch):
    """Slicer's launcher puts its own packages on $PYTHONPATH, before whatever is there."""
    launcher = tmp_path / "site-packages" / "numpy"
    launcher.mkdir(parents=True)
    (launcher / "__init__.py").write_text("raise SystemExit('numpy of Slicer')")
    monkeypatch.setattr(packages, "NEEDED_MODULES", ("numpy",))
    fill(folder, "numpy", text="VALUE = 'ours'")
    result = run(folder, folder.check_command(), PYTHONPATH=str(launcher.parent))
    assert result.returncode == 0, result.stderr


def test_packages_found_elsewhere_are_not_enough(folder, monkeypatch):
    monkeypatch.setattr(packages, "NEEDED_MODULES", ("numpy",))
    fill(folder, "some")
    result = run(folder, folder.check_command())
    assert result.returncode != 0
    assert "found elsewhere" in result.stderr


def test_packages_that_cannot_be_imported_are_not_enough(folder, monkeypatch):
    monkeypatch.setattr(packages, "NEEDED_MODULES", ("broken",))
    fill(folder, "broken", text="import nothing_of_this_name")
    result = run(folder, folder.check_command())
    assert result.returncode != 0
    assert "nothing_of_this_name" in result.stderr


def test_files_in_the_current_folder_are_not_imported(folder, tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('json of the current folder')")
    fill(folder, "some")
    folder.finish()
    answer = subprocess.run(
        folder.worker_command(),
        env=folder.environment(os.environ),
        cwd=tmp_path,
        input="",
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
