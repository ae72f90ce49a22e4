"""What stands around the code: packaging, generated documents, citation, changelog, commands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import yaml

import joulery

from .conftest import REPOSITORY, require_program


def test_generated_documents_are_current() -> None:
    """The generated documents are what the code says."""
    ended = subprocess.run(
        [sys.executable, str(REPOSITORY / "docs" / "generate.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_wheel_holds_the_whole_package(tmp_path: Path) -> None:
    """A wheel holds every file of every package folder but published datasets."""
    packages = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "setuptools"
    ]["packages"]
    rooms = {name.split(".")[1] for name in packages if "." in name}
    source = tmp_path / "source"
    source.mkdir()
    for name in rooms:
        shutil.copytree(
            REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for path in REPOSITORY.iterdir():
        if path.is_file():
            shutil.copy(path, source)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)),
        ],
        check=True,
        capture_output=True,
    )
    [wheel] = tmp_path.glob("joulery-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("joulery/")}
    wanted = {
        f"joulery/{path.relative_to(source)}"
        for name in rooms
        for path in (source / name).rglob("*")
        if path.is_file() and path.relative_to(source).parts[:2] != ("datasets", "published")
    }
    assert held == wanted | {
        f"joulery/{n}" for n in ("__init__.py", "cli.py", "errors.py", "py.typed")
    }


def test_citation() -> None:
    """CITATION.cff has what its schema requires, and the package's own version and licence."""
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"authors", "cff-version", "message", "title"} <= citation.keys()
    assert citation["cff-version"] == "1.2.0"
    assert str(citation["version"]) == joulery.__version__
    assert citation["license"] == "Apache-2.0"
    assert all(author.get("name") or author.get("family-names") for author in citation["authors"])


def test_changelog() -> None:
    """The changelog knows the version at hand, and what is not released yet."""
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text
    assert joulery.__version__ in text
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds


def test_make_help() -> None:
    """`make help` explains every command that the project promises."""
    said = subprocess.run(
        [require_program("make"), "--directory", str(REPOSITORY), "--no-print-directory", "help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    guide = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    words = ("run", "test", "peers", "check", "e2e", "bench", "docs", "train", "validate")
    for word in (*words, "clean"):
        assert re.search(rf"^make {word} +[A-Z]", said, re.MULTILINE), word
        assert word == "clean" or f"| `make {word}` |" in guide, word


def test_continuous_integration_runs_the_same_commands() -> None:
    """`.ci/run` runs the commands that the guide tells people, the end-to-end tests last."""
    script = REPOSITORY / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    lines = script.read_text(encoding="utf-8").rstrip().splitlines()
    assert [line for line in lines if line.startswith("make ")] == ["make test", "make e2e"]
    assert lines[-1] == "make e2e"
    guide = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert "`make test`" in guide
    assert "`make e2e`" in guide
