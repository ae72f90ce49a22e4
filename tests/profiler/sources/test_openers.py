"""What it takes to open a source: a package, a setting, or nothing at all."""

from __future__ import annotations

import subprocess
import sys

import pytest

MISSING = """
import pathlib, sys
from joulery.errors import SourceUnavailable
from joulery.profiler.host import Host
from joulery.profiler.sources import openers
sys.modules[sys.argv[2]] = None  # what Python itself does for "this cannot be imported"
try:
    getattr(openers, sys.argv[1])(Host(sys=pathlib.Path(sys.argv[3])))
except SourceUnavailable as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("opener", "package", "extra"),
    [
        ("habana", "pyhlml", "npu"),
        ("furiosa", "furiosa_smi", "npu"),
        ("pyrapl", "pyRAPL", "energy"),
    ],
)
def test_a_missing_package_is_an_absence_with_a_remedy(
    test_data: object, opener: str, package: str, extra: str
) -> None:
    """A source whose package is not installed says which extra brings it."""
    tree = f"{test_data}/power/sysfs/two_socket_dram/sys"
    done = subprocess.run(
        [sys.executable, "-c", MISSING, opener, package, tree],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith(f"{opener}: found no Python package {package}")
    assert f"pip install 'joulery[{extra}]'" in done.stdout


def test_openers_are_light() -> None:
    """Knowing how to open a source loads neither its package nor an HTTP client."""
    heavy = "{'furiosa_smi', 'pandas', 'prometheus_client', 'pyRAPL', 'pyhlml', 'requests'}"
    code = (
        "import sys, joulery.profiler.sources.openers;"
        "import joulery.profiler.sources.npu_exporter, joulery.profiler.sources.redfish;"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
