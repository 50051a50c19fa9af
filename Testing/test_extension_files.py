"""The extension's files: what CMake packages is what there is, and what Slicer is told is right.

``python Testing/test_extension_files.py`` writes the lists of RadPlanAgent/CMakeLists.txt anew.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
MODULE = REPOSITORY / "RadPlanAgent"
CMAKE = MODULE / "CMakeLists.txt"
PANEL = MODULE / "Logic" / "radplan" / "panel"
UI_FILES = sorted((MODULE / "Resources" / "UI").glob("*.ui"))
#: What `slicerMacroBuildScriptedModule` packages besides Python files.
RESOURCES = ("css", "j2", "json", "md", "png", "svg", "txt", "ui")
#: Imported by every process of Slicer that looks at modules: only these, when the file is read.
ALLOWED_IMPORTS = {"__future__", "sys", "pathlib", "slicer"}


def module_files() -> list[str]:
    """Files below the module's folder, as paths relative to it, without what tools leave."""
    paths = [p.relative_to(MODULE) for p in sorted(MODULE.rglob("*")) if p.is_file()]
    return [
        path.as_posix()
        for path in paths
        if not any(p.startswith((".", "__pycache__")) or "egg-info" in p for p in path.parts)
    ]


def files_to_package() -> tuple[list[str], list[str]]:
    """Scripts and resources among them."""
    found = module_files()
    scripts = [name for name in found if name.endswith(".py")]
    resources = [
        name for name in found if name.endswith(RESOURCES) and name != "CMakeLists.txt"
    ]
    return scripts, resources


def listed(variable: str) -> list[str]:
    """Entries of a list in the module's CMakeLists.txt."""
    text = CMAKE.read_text(encoding="utf-8")
    body = re.search(rf"set\({variable}\n(.*?)\n  \)", text, re.DOTALL).group(1)
    return [line.strip().replace("${MODULE_NAME}", "RadPlanAgent") for line in body.splitlines()]


def test_cmake_packages_every_file():
    scripts, resources = files_to_package()
    advice = "run: python Testing/test_extension_files.py"
    assert listed("MODULE_PYTHON_SCRIPTS") == scripts, advice
    assert listed("MODULE_PYTHON_RESOURCES") == resources, advice


def test_nothing_else_lies_in_the_module():
    scripts, resources = files_to_package()
    others = {*module_files()} - {*scripts, *resources, "CMakeLists.txt"}
    assert not others, "of a kind that CMake is not told to package"


def test_module_file_only_wires():
    tree = ast.parse((MODULE / "RadPlanAgent.py").read_text(encoding="utf-8"))
    assert len((MODULE / "RadPlanAgent.py").read_text().splitlines()) < 200
    imported = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
        else:
            # Runs when Slicer starts: only definitions, and the import path.
            allowed = (ast.ClassDef, ast.FunctionDef, ast.Assign, ast.Expr, ast.If)
            assert isinstance(node, allowed)
    assert imported <= ALLOWED_IMPORTS
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert {f"RadPlanAgent{kind}" for kind in ("", "Widget", "Logic", "Test")} == classes


def test_helpers_are_no_modules_for_slicer():
    # Slicer takes every Python file at the top of the folder for a module.
    assert [p.name for p in MODULE.glob("*.py")] == ["RadPlanAgent.py"]


def test_top_cmake_and_index_entry_agree():
    cmake = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    entry = json.loads((REPOSITORY / "RadPlanAgent.json").read_text(encoding="utf-8"))
    assert "project(RadPlanAgent)" in cmake
    assert 'set(EXTENSION_DEPENDS "SlicerRT")' in cmake
    assert "EXTENSION_CATEGORY" not in cmake  # the index entry says it
    assert entry["build_dependencies"] == ["SlicerRT"]
    assert entry["category"] == "Radiotherapy"
    for include in ("Slicer_EXTENSION_GENERATE_CONFIG", "Slicer_EXTENSION_CPACK"):
        assert f"include(${{{include}}})" in cmake


def test_index_entry_follows_its_schema():
    # Slicer's schema v1.0.2: these keys and no others, of these types.
    entry = json.loads((REPOSITORY / "RadPlanAgent.json").read_text(encoding="utf-8"))
    types = {
        "$schema": str, "category": str, "scm_url": str, "scm_revision": str, "scm_type": str,
        "build_dependencies": list, "build_subdirectory": str, "tier": int,
    }  # fmt: skip
    assert set(entry) <= set(types)
    assert {"$schema", "category", "scm_url"} <= set(entry)
    assert all(isinstance(value, types[key]) for key, value in entry.items())
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert entry["scm_type"] in ("git", "local") and 1 <= entry["tier"] <= 5


@pytest.mark.parametrize("path", UI_FILES, ids=lambda p: p.stem)
def test_ui_file_is_whole(path):
    root = ElementTree.parse(path).getroot()
    assert root.findtext("class") == path.stem == root.find("widget").get("name")
    widgets = [w for w in root.iter("widget")]
    names = [w.get("name") for w in widgets]
    assert len(names) == len(set(names)), "two widgets of one name"
    custom = {w.findtext("class") for w in root.iter("customwidget")}
    used = {w.get("class") for w in widgets if w.get("class").startswith(("ctk", "qMRML"))}
    assert used == custom
    selectors = {w.get("name") for w in widgets if w.get("class") == "qMRMLNodeComboBox"}
    connected = {c.findtext("receiver") for c in root.iter("connection")}
    assert selectors == connected, "a selector that is not told the scene"


def test_ui_names_are_unique_over_all_files():
    # The panel puts the widgets of all files into one namespace.
    seen = {}
    for path in UI_FILES:
        for widget in ElementTree.parse(path).getroot().iter("widget"):
            name = widget.get("name")
            assert name not in seen, f"{name} is in {path.name} and {seen.get(name)}"
            seen[name] = path.name


def test_every_parameter_of_a_ui_file_exists():
    source = ast.parse((PANEL / "parameters.py").read_text(encoding="utf-8"))
    node = next(
        n for n in source.body
        if isinstance(n, ast.ClassDef) and n.name == "RadPlanAgentParameterNode"
    )  # fmt: skip
    fields = {item.target.id for item in node.body if isinstance(item, ast.AnnAssign)}
    used = set()
    for path in UI_FILES:
        for item in ElementTree.parse(path).getroot().iter("property"):
            if item.get("name") == "SlicerParameterName":
                used.add(item.findtext("string"))
    assert used <= fields
    # Slicer makes an object of the class of a node that a selector is connected to.
    abstract = {i.target.id for i in node.body if isinstance(i, ast.AnnAssign)
                and getattr(i.annotation, "id", "") == "vtkMRMLNode"}  # fmt: skip
    assert not used & abstract
    secrets = [f for f in fields if any(word in f.lower() for word in ("key", "secret", "passw"))]
    assert not secrets, "a scene must not hold secrets"


def test_no_formatted_strings_are_translated():
    # A translation cannot find a text that is put together before it is looked up.
    for path in [MODULE / "RadPlanAgent.py", *PANEL.glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_":
                assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}"


def test_icon():
    icons = MODULE / "Resources" / "Icons"
    assert (icons / "RadPlanAgent.png").read_bytes()[16:24] == b"\0\0\0\x80\0\0\0\x80"
    assert "<svg" in (icons / "RadPlanAgent.svg").read_text(encoding="utf-8")


def write_lists() -> None:
    """Put what there is into the lists of the module's CMakeLists.txt."""
    text = CMAKE.read_text(encoding="utf-8")
    names = ("MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES")
    for variable, entries in zip(names, files_to_package(), strict=True):
        body = "\n".join(f"  {entry}" for entry in entries)
        text = re.sub(
            rf"set\({variable}\n.*?\n  \)", f"set({variable}\n{body}\n  )", text, flags=re.DOTALL
        )
    CMAKE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_lists()
    sys.exit(0)
