"""The exporter's image: what it installs is enough, closed and needed; what it is made from."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import joulery

from ..conftest import REPOSITORY
from ..pins import pins_of

EXPORTERS = REPOSITORY / "exporters"
DOCKERFILE = (EXPORTERS / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))

ONLY_LISTED = """
import importlib.metadata as metadata
import sys
from importlib.machinery import PathFinder

listed, arguments = sys.argv[1].split(","), sys.argv[2:]
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
        if origin and origin.startswith(installed) and origin not in allowed:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)


sys.meta_path.insert(0, OnlyListed())
"""
"""Python that finds no installed module but those of the distributions in its first argument."""


def _pins() -> Mapping[str, str]:
    return pins_of((EXPORTERS / "requirements.txt").read_text(encoding="utf-8"))


def _imported() -> Mapping[str, set[str]]:
    """Return every module that the command, exporters or profiler import, and which files do."""
    found: dict[str, set[str]] = {}
    files = [REPOSITORY / "cli.py", *EXPORTERS.rglob("*.py"), *(REPOSITORY / "profiler").rglob("*")]
    for path in files:
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    names = [f"{node.module}.{alias.name}" for alias in node.names]
                for name in names:
                    found.setdefault(name, set()).add(path.name)
    return found


def _in_image(program: str, *arguments: str) -> str:
    """Run a program where only the listed packages can be imported; return what it prints."""
    ended = subprocess.run(
        [sys.executable, "-c", ONLY_LISTED + program, ",".join(_pins()), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY.parent,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_exporter_needs_only_what_the_image_has() -> None:
    """Every module of the room can be imported with nothing but the listed packages."""
    folders = {
        EXPORTERS: "",
        EXPORTERS / "dialects": "dialects.",
        EXPORTERS / "services": "services.",
    }
    modules = sorted(
        f"{prefix}{path.stem}"
        for folder, prefix in folders.items()
        for path in folder.glob("[!_]*.py")
    )
    assert {"command", "services.pods_watch", "dialects.dialect"} <= set(modules)
    _in_image("".join(f"import joulery.exporters.{module}\n" for module in modules))


def test_the_command_needs_only_what_the_image_has() -> None:
    """`joulery exporter energy --help` is answered with nothing but the listed packages."""
    answer = _in_image(
        "from joulery.cli import main; sys.argv = ['joulery', *arguments]; main()",
        *("exporter", "energy", "--help"),
    )
    assert "--pod-logs" in answer


def test_what_is_imported_late_is_in_the_image() -> None:
    """Libraries that functions import when they run, for devices and the like, are listed too."""
    _in_image(
        "import grpc, httpx, kr8s.asyncio, pynvml, requests, google.protobuf.message\n"
        "import joulery.profiler.sources\n"
        "import opentelemetry.exporter.otlp.proto.http.metric_exporter\n"
        "import opentelemetry.sdk.metrics"
    )


def test_a_machine_without_sensors_is_estimated_in_the_image() -> None:
    """Without codecarbon, which the image lacks, CPU and memory of any machine have a guess."""
    answer = _in_image(
        "from joulery.profiler.host import CpuModel, Host\n"
        "from joulery.profiler.sources.estimate import Estimate, cpu_power\n"
        "model = CpuModel(name='some CPU', threads=8, packages=1, virtual=False)\n"
        "power = cpu_power(model)\n"
        "print(power.rated_w, power.origin)\n"
        "print(len(Estimate(Host()).sample()))\n"
    )
    assert answer.splitlines() == [
        "32.0 some CPU is not looked up, for codecarbon is not installed: 4 W per thread",
        "2",
    ]


def test_the_blocker_blocks() -> None:
    """A package that is installed here but not listed cannot be imported in these tests."""
    program = "try:\n  import scipy\nexcept ModuleNotFoundError as error:\n  print(error)"
    assert _in_image(program) == "scipy is not in the image\n"


def test_nothing_is_listed_in_vain() -> None:
    """Each package in the list's first part is imported by the exporter, profiler or command."""
    text = (EXPORTERS / "requirements.txt").read_text(encoding="utf-8")
    first = text.partition("# What those need")[0]
    direct = {line.partition("==")[0] for line in first.splitlines() if "==" in line}
    assert direct, "the list's two parts are told apart by a comment"
    distributions = packages_distributions()
    used = {
        canonicalize_name(distribution)
        for name in _imported()
        for distribution in distributions.get(name.partition(".")[0], ())
    }
    assert direct - used == set()


def test_pins_suit_the_package() -> None:
    """Each exact version lies in the range that joulery asks for, and so does the build's tool."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    asked = [*PROJECT["project"]["dependencies"], *(text for extra in extras for text in extra)]
    pins = _pins()
    for requirement in map(Requirement, asked):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is None or requirement.specifier.contains(pin, prereleases=True), requirement
    [tool] = map(Requirement, PROJECT["build-system"]["requires"])
    [pin] = re.findall(r"^ARG SETUPTOOLS=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert tool.name == "setuptools"
    assert tool.specifier.contains(pin)


def test_base_is_one_full_version() -> None:
    """Every stage starts from the one base, an exact version, without a registry's host name."""
    [base] = re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", base)
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", DOCKERFILE, re.MULTILINE)
    names = {name for _, name in stages if name}
    assert {start for start, _ in stages} - names == {"${BASE}"}
    assert stages[-1] == ("${BASE}", "")


def test_labels_tell_version_and_licence() -> None:
    """The image's labels say the package's own version and licence."""
    assert re.findall(r"^ARG VERSION=(\S+)$", DOCKERFILE, re.MULTILINE) == [joulery.__version__]
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', DOCKERFILE))
    assert labels["version"] == "${VERSION}"
    assert labels["licenses"] == PROJECT["project"]["license"]
    assert labels["title"]


def test_context_holds_the_package_and_no_more() -> None:
    """What the image is built from: the package's root files and rooms, as the package declares."""
    lines = Path(EXPORTERS / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    packages = PROJECT["tool"]["setuptools"]["packages"]
    rooms = {name.split(".")[1] for name in packages if "." in name}
    modules = {path.name for path in REPOSITORY.glob("*.py")}
    assert "*" in lines
    assert let_in == rooms | modules | {"LICENSE", "README.md", "py.typed", "pyproject.toml"}
