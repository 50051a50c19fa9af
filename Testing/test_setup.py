"""The project's set-up: pins with reasons, a package that is whole, a core that needs little."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import radplan
from radplan.protocol_file import list_protocols
from radplan.resources import resource_path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
#: Packages that only their one door may import; what is listed here needs none of them.
OUTSIDE = (
    "SimpleITK contourpy ctk h5py jinja2 matplotlib numba openai pydantic pydicom pymatreader "
    "pyRadPlan qt slicer tqdm vtk vtkmodules"
).split()
#: Packages whose import may need their outside library; who uses them imports them in functions.
DOORS = {"console", "figures", "mrml", "panel", "report"}


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def constraint_lines():
    return (ROOT / "constraints.txt").read_text().splitlines()


def name_of(requirement):
    return re.sub(r"[-_.]+", "-", requirement.name).lower()


def pins(python_version):
    """Name → pinned version on that Python; fails when one is pinned twice."""
    result = {}
    for line in constraint_lines():
        if not line or line.startswith("#"):
            continue
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate(
            {"python_version": python_version}
        ):
            continue
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", line
        assert name_of(requirement) not in result, f"{line} is pinned twice on {python_version}"
        result[name_of(requirement)] = specifier.version
    return result


@pytest.mark.parametrize("python_version", PYTHONS)
def test_every_dependency_is_pinned_to_a_version_it_allows(project, python_version):
    pinned = pins(python_version)
    wanted = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    for requirement in map(Requirement, wanted):
        name = name_of(requirement)
        assert name in pinned, f"{name} is not pinned on Python {python_version}"
        assert requirement.specifier.contains(pinned[name]), f"{requirement}: {pinned[name]}"


def test_every_trap_has_its_reason():
    """The pins of the first part stand in groups, each below a comment of its own."""
    text = "\n".join(constraint_lines())
    traps = re.search(r"# ---- Known traps.*?\n(.*?)\n# ----", text, re.DOTALL)[1]
    groups = [group.splitlines() for group in traps.split("\n\n") if group.strip()]
    assert len(groups) >= 5
    for group in groups:
        assert group[0].startswith("# "), group
        assert len(" ".join(line for line in group if line.startswith("#"))) > 40, group


@pytest.mark.parametrize(
    ("name", "reason"),
    [("pydantic", "custom_beamlets_serializer"), ("numpy", "< 2.4"), ("vtk", "slicer-core")],
)
def test_known_traps_are_explained(name, reason):
    text = (ROOT / "constraints.txt").read_text()
    before = text[: re.search(rf"^{name}==", text, re.MULTILINE).start()]
    assert reason in before.rsplit("\n\n", 1)[-1]


def test_declared_pythons(project):
    assert project["requires-python"] == ">=3.10,<3.14"
    for version in PYTHONS:
        assert f"Programming Language :: Python :: {version}" in project["classifiers"]


def test_licence():
    text = (ROOT / "LICENSE.txt").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_version_is_a_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", radplan.__version__)


def test_resources_are_found():
    assert resource_path("Protocols").is_dir()
    assert "tg119_cshape_easy" in list_protocols()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        resource_path("Protocols", "nowhere.json")


def test_core_needs_numpy_and_scipy_only():
    """Import everything but the doors with all outside libraries out of reach."""
    code = f"""
import importlib, pkgutil, sys
for name in {OUTSIDE!r}:
    sys.modules[name] = None
import radplan
names = [m.name for m in pkgutil.iter_modules(radplan.__path__) if m.name not in {DOORS!r}]
for name in names:
    importlib.import_module("radplan." + name)
print(len(names))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 15


@pytest.mark.skipif(os.name != "posix", reason="make and bash")
def test_make_refuses_an_old_python(tmp_path):
    """A python that answers as one out of range does gets a message, not a traceback."""
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "environment", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "radplan needs Python 3.10 to 3.13" in done.stdout
    assert not (tmp_path / "venv").exists()


@pytest.mark.skipif(os.name != "posix", reason="make and bash")
def test_ci_script_is_runnable():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=60)


@pytest.mark.slow
def test_wheel_is_whole(tmp_path):
    """The wheel has every module, protocol, prompt and template of the checkout."""
    source = tmp_path / "source"
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in files:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, source],
        check=True,
        timeout=600,
    )
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    for name in files:
        path = Path(name)
        if path.is_relative_to("RadPlanAgent/Logic/radplan"):
            expected = path.relative_to("RadPlanAgent/Logic")
        elif path.is_relative_to("RadPlanAgent/Resources/Protocols") or path.is_relative_to(
            "RadPlanAgent/Resources/Prompts"
        ):
            expected = "radplan/_resources" / path.relative_to("RadPlanAgent/Resources")
        else:
            continue
        assert expected.as_posix() in packed
