"""The house: which room may import which, what is declared, and how large things may grow."""

from __future__ import annotations

import ast
import graphlib
import importlib
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import REPOSITORY

ROOMS = {
    "": {"profiler"},  # the package's face, which shows what services and scripts import
    "errors": set[str](),
    "profiler": {"errors"},
    "datasets": {"errors"},
    "exporters": {"errors", "profiler"},
    "campaigns": {"errors", "profiler", "datasets"},
    "policies": {"errors", "datasets"},
    "dashboards": {"errors", "datasets", "exporters"},
    "cli": {"errors", "profiler", "datasets", "exporters", "campaigns", "policies", "dashboards"},
}
"""Which rooms each room may import; every room may import the package's face, for its version."""

_LONGEST_FILE = 400
_LONGEST_FUNCTION = 70
_NO_SOURCE = {"out", "build", "dist", "__pycache__"}


def _files() -> Iterator[Path]:
    """Yield every file of the checkout that people write, hidden folders other than .ci aside."""
    for folder, inner, names in os.walk(REPOSITORY):
        inner[:] = [
            name
            for name in inner
            if name not in _NO_SOURCE
            and not name.endswith(".egg-info")
            and (name == ".ci" or not name.startswith("."))
        ]
        yield from (Path(folder, name) for name in sorted(names))


SOURCES = [path.relative_to(REPOSITORY) for path in _files() if path.suffix == ".py"]
MODULES = {
    ".".join(("joulery", *path.with_suffix("").parts)).removesuffix(".__init__"): path
    for path in SOURCES
    if (REPOSITORY / path.parent / "__init__.py").is_file() and path.parts[0] != "tests"
}
"""Every module of the package by its name."""


def _tree(path: Path) -> ast.Module:
    return ast.parse((REPOSITORY / path).read_text(encoding="utf-8"), filename=str(path))


def _imported(module: str, statements: Iterator[ast.AST]) -> Iterator[str]:
    """Yield the modules of the package that some statements of a module import."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    for statement in statements:
        if not isinstance(statement, ast.ImportFrom) or not statement.level:
            continue
        base = ".".join(package.split(".")[: len(package.split(".")) - statement.level + 1])
        base = f"{base}.{statement.module}" if statement.module else base
        for alias in statement.names:
            inner = f"{base}.{alias.name}"
            yield inner if inner in MODULES else base


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", MODULES)
def test_arrows(module: str) -> None:
    """A room imports only the rooms it may, relatively, anywhere in its code."""
    tree = _tree(MODULES[module])
    room = _room(module)
    allowed = ROOMS.get(room, set()) | {room, ""}
    assert room in ROOMS, f"the design knows no room {room}"
    assert {_room(name) for name in _imported(module, ast.walk(tree))} <= allowed
    absolute = [
        name
        for statement in ast.walk(tree)
        for name in _absolute(statement)
        if name.split(".")[0] == "joulery"
    ]
    assert absolute == [], "imports inside the package are relative"


def _absolute(statement: ast.AST) -> list[str]:
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    if isinstance(statement, ast.ImportFrom) and not statement.level:
        return [statement.module or ""]
    return []


def test_no_import_circles() -> None:
    """No module imports itself by way of others when it is loaded."""
    graph = {
        module: {name for name in _imported(module, iter(_tree(path).body)) if name != module}
        for module, path in MODULES.items()
    }
    graphlib.TopologicalSorter(graph).prepare()


def test_declared_packages_are_the_folders() -> None:
    """pyproject.toml declares exactly the folders of the package."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert sorted(settings["tool"]["setuptools"]["packages"]) == sorted(packages)


@pytest.mark.parametrize("module", MODULES)
def test_declared_surface(module: str) -> None:
    """A module declares its public names in `__all__`, sorted, and each of them exists."""
    if MODULES[module].name == "__main__.py":
        return
    declared = getattr(importlib.import_module(module), "__all__", None)
    if declared is None:
        body = _tree(MODULES[module]).body
        assert all(isinstance(statement, ast.Expr) for statement in body), "no __all__"
        return
    # Not by vars(): the face imports its names when they are asked for.
    assert [name for name in declared if not hasattr(sys.modules[module], name)] == []
    assert len(set(declared)) == len(declared)


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_sizes(path: Path) -> None:
    """Files and functions stay small enough to be read."""
    text = (REPOSITORY / path).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= _LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < _LONGEST_FUNCTION, node.name


def test_no_word_of_one_machine() -> None:
    """No file names a path of somebody's machine or a package registry's host."""
    # Spelt so that this file does not contain what it looks for.
    places = "|".join(("/wor[k]/", "/roo[t]/", "/hom[e]/[a-z]", "/tm[p]/"))
    hosts = "|".join(("pyp[i]\\.", "pythonhoste[d]", "npmj[s]", "index-ur[l]"))
    pattern = re.compile(f"(?:^|[\\s\"'`(=]){places}|{hosts}")
    texts = {".py", ".md", ".toml", ".yaml", ".yml", ".cff", ".html", ".j2", ""}
    found = [
        f"{path.relative_to(REPOSITORY)}: {match[0]}"
        for path in _files()
        if path.suffix in texts and path.name != "LICENSE"
        for match in pattern.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []
