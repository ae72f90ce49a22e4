"""The services' image: what it installs is enough, closed and needed; what it is made from."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import joulery
from joulery.campaigns.scenarios import scenarios

from ..conftest import REPOSITORY
from ..pins import pins_of

SCENARIOS = REPOSITORY / "campaigns" / "scenarios"
REQUIREMENTS = (SCENARIOS / "requirements.txt").read_text(encoding="utf-8")
DOCKERFILE = (SCENARIOS / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
SERVER = "joulery.campaigns.scenarios.server"

ONLY_LISTED = """
import importlib.metadata as metadata
import sys
from importlib.machinery import PathFinder

listed = sys.argv[1].split(",")
allowed = {
    str(file.locate())
    for name in listed
    for file in metadata.distribution(name).files or ()
    if file.suffix in (".py", ".so")
}
installed = tuple(path for path in sys.path if path.endswith("site-packages"))


class OnlyListed:
    def find_spec(self, name, path=None, target=None):
        spec = PathFinder.find_spec(name, path, target)
        origin = spec and spec.has_location and spec.origin
        return None if origin and origin.startswith(installed) and origin not in allowed else spec


sys.meta_path[sys.meta_path.index(PathFinder)] = OnlyListed()
"""
"""Python in which no installed module is but those of the distributions in its first argument."""


def _pins() -> Mapping[str, str]:
    return pins_of(REQUIREMENTS)


def _direct() -> set[str]:
    """Return the packages of the list's first part."""
    first = REQUIREMENTS.partition("# What those need")[0]
    return {line.partition("==")[0] for line in first.splitlines() if "==" in line}


def _in_image(program: str) -> str:
    """Run a program where only the listed packages can be imported; return what it prints."""
    ended = subprocess.run(
        [sys.executable, "-c", ONLY_LISTED + program, ",".join(_pins())],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY.parent,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_server_needs_only_what_the_image_has() -> None:
    """The server explains itself with nothing but the listed packages."""
    program = (
        f"import {SERVER} as server\n"
        "try:\n  server.main(['--help'])\nexcept SystemExit as ended:\n  assert not ended.code\n"
    )
    assert "Open Inference Protocol" in _in_image(program)


def test_the_server_is_light() -> None:
    """Neither a training library nor a table library is imported by a server."""
    program = f"import {SERVER}, sys\nprint(sorted(sys.modules))"
    heavy = {"onnx", "pandas", "plotly", "pyarrow", "pydantic", "scipy", "sklearn"}
    assert heavy.isdisjoint(ast.literal_eval(_in_image(program)))


def test_what_is_imported_late_is_in_the_image() -> None:
    """What the server imports when it is told to, profiling and YAML, is among the listed."""
    _in_image(
        "import yaml, joulery.profiler.service\n"
        "import opentelemetry.exporter.otlp.proto.http.metric_exporter\n"
        "import opentelemetry.exporter.prometheus"
    )


def test_the_blocker_blocks() -> None:
    """A package that is installed here but not listed cannot be imported in these tests."""
    program = "try:\n  import pandas\nexcept ModuleNotFoundError as error:\n  print(error)"
    assert _in_image(program) == "No module named 'pandas'\n"


def test_every_shipped_model_is_found_in_the_image() -> None:
    """Each model of each scenario lies in the package, in each precision that it has."""
    for scenario in scenarios():
        for family in scenario.models:
            for precision in family.precisions:
                path = SCENARIOS / scenario.name / "models" / f"{family.name}_{precision}.onnx"
                assert path.is_file()


def test_nothing_is_missing_or_listed_in_vain() -> None:
    """The list's second part is what its first part needs, all of it and nothing else."""
    needed, open_ones = _direct(), list(_direct())
    while open_ones:
        for text in distribution(open_ones.pop()).requires or ():
            requirement = Requirement(text)
            name = canonicalize_name(requirement.name)
            asked = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if asked and name not in needed:
                needed.add(name)
                open_ones.append(name)
    assert needed == _pins().keys()


def test_the_first_part_is_imported() -> None:
    """Each package in the list's first part is imported by the server or the profiler."""
    files = [*SCENARIOS.glob("*.py"), *(REPOSITORY / "profiler").glob("*.py")]
    names: set[str] = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
    distributions = packages_distributions()
    used = {
        canonicalize_name(found)
        for name in names
        for found in distributions.get(name.partition(".")[0], ())
    }
    assert _direct() - used == set()


def test_pins_suit_the_package() -> None:
    """Each exact version lies in the range that joulery asks for, and so does the build's tool."""
    pins = _pins()
    for requirement in map(Requirement, PROJECT["project"]["dependencies"]):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is None or requirement.specifier.contains(pin, prereleases=True), requirement
    [tool] = map(Requirement, PROJECT["build-system"]["requires"])
    [pin] = re.findall(r"^ARG SETUPTOOLS=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert tool.specifier.contains(pin)


def test_both_images_are_made_alike() -> None:
    """Base, build tool and shared packages are the exporter's own versions: one set to keep."""
    exporter = (REPOSITORY / "exporters" / "Dockerfile").read_text(encoding="utf-8")
    for text in (r"^ARG BASE=.*$", r"^ARG SETUPTOOLS=.*$", r"^ARG SOURCE_DATE_EPOCH=.*$"):
        [mine], [theirs] = (re.findall(text, file, re.MULTILINE) for file in (DOCKERFILE, exporter))
        assert mine == theirs
    listed = (REPOSITORY / "exporters" / "requirements.txt").read_text(encoding="utf-8")
    other = dict(line.split("==") for line in listed.splitlines() if "==" in line)
    pins = _pins()
    assert {name: other[name] for name in pins.keys() & other.keys()} == {
        name: pins[name] for name in pins.keys() & other.keys()
    }


def test_nobody_runs_it() -> None:
    """The image runs the server, as a user who is nobody, and says its version and licence."""
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == ["65532:65532"]
    assert f'"{SERVER}"]' in last
    assert "ORT_DISABLE_TELEMETRY=1" in last
    assert re.findall(r"^ARG VERSION=(\S+)$", last, re.MULTILINE) == [joulery.__version__]
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', last))
    assert labels["version"] == "${VERSION}"
    assert labels["licenses"] == PROJECT["project"]["license"]
    assert labels["title"]


def test_context_holds_the_package_and_no_more() -> None:
    """What the image is built from: the package's root files and rooms, as the package declares."""
    lines = Path(f"{SCENARIOS}/Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    packages = PROJECT["tool"]["setuptools"]["packages"]
    rooms = {name.split(".")[1] for name in packages if "." in name}
    modules = {path.name for path in REPOSITORY.glob("*.py")}
    assert "*" in lines
    assert let_in == rooms | modules | {"LICENSE", "README.md", "py.typed", "pyproject.toml"}
