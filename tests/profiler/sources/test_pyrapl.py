"""pyRAPL's own reading code, on recorded powercap trees below the test's folder."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from joulery.errors import SourceFailed, SourceForbidden, SourceUnavailable
from joulery.profiler.host import Host
from joulery.profiler.meter import EnergyMeter
from joulery.profiler.sources import Kind
from joulery.profiler.sources.openers import pyrapl
from joulery.profiler.sources.powercap import Powercap

from ...unprivileged import open_folder
from ..fakes import PlayedCpu, Ticker
from . import trees


@pytest.fixture
def tree(test_data: Path, tmp_path: Path) -> Path:
    """Return a machine of two sockets with memory that a test may change."""
    return Path(shutil.copytree(test_data / "power/sysfs/two_socket_dram/sys", tmp_path / "sys"))


def write_uj(tree: Path, zone: str, value: object) -> None:
    """Set a counter, wherever the tree shows it."""
    for path in (tree / "class/powercap").rglob(f"{zone}/energy_uj"):
        path.write_text(f"{value}\n")


def test_a_second_reading_of_packages_and_memory(tree: Path) -> None:
    """PyRAPL and powercap read the same joules under the same names; only powercap's are summed."""
    source, first = pyrapl(Host(sys=tree)), Powercap(tree)
    seen = {reading.domain.name: reading.value for reading in source.sample()}
    assert seen == {reading.domain.name: reading.value for reading in first.sample()}
    assert {domain.name: domain.kind for domain in source.domains} == {
        "package-0": Kind.CPU,
        "package-1": Kind.CPU,
        "package-0/dram": Kind.DRAM,
        "package-1/dram": Kind.DRAM,
    }
    assert not any(domain.summed for domain in source.domains)


def test_wraps_are_corrected(tree: Path) -> None:
    """PyRAPL gives a fall when a counter wraps; the window gets the energy on both sides of it."""
    for zone in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0", "intel-rapl:1:0"):
        write_uj(tree, zone, 1_000_000)
    folder = tree / "class/powercap/intel-rapl:0"
    range_uj = int((folder / "max_energy_range_uj").read_text())
    write_uj(tree, "intel-rapl:0", range_uj - 30_000_000)
    source, clock = pyrapl(Host(sys=tree)), Ticker()
    with (
        EnergyMeter([source], clock=clock, interval_s=None, work=PlayedCpu()) as meter,
        meter.window("wrap") as window,
    ):
        clock.advance(1.0)
        write_uj(tree, "intel-rapl:0", 20_000_000)
        write_uj(tree, "intel-rapl:1:0", 4_000_000)
    domains = window.result.domains
    wrapped, memory = (domains[f"pyrapl:{name}"].energy for name in ("package-0", "package-1/dram"))
    assert wrapped is not None
    assert wrapped.value_j == pytest.approx(50.0)
    assert memory is not None
    assert memory.value_j == pytest.approx(3.0)


def test_zones_where_pyrapl_does_not_look(tmp_path: Path) -> None:
    """Memory beside its package, not within it, is no machine that pyRAPL knows, and is said so."""
    trees.zone(tmp_path, "intel-rapl:0", "package-0", 1)
    trees.zone(tmp_path, "intel-rapl:0:0", "dram", 2)
    with pytest.raises(SourceUnavailable, match="not where pyRAPL looks"):
        pyrapl(Host(sys=tmp_path))


def test_without_memory_counters(tree: Path) -> None:
    """A machine whose memory has no counter is read by its packages."""
    for path in list((tree / "class/powercap").rglob("intel-rapl:?:0")):
        shutil.rmtree(path, ignore_errors=True)
    source = pyrapl(Host(sys=tree))
    assert [domain.name for domain in source.domains] == ["package-0", "package-1"]


def test_sockets_of_several_dies_are_not_for_it(test_data: Path) -> None:
    """PyRAPL knows one counter a socket: on a machine with one for each die it is absent."""
    with pytest.raises(SourceUnavailable, match="one package zone for each socket"):
        pyrapl(Host(sys=test_data / "power/sysfs/amd_two_die/sys"))


def test_no_rapl(tmp_path: Path) -> None:
    """A machine without RAPL is told so before pyRAPL is even loaded."""
    code = (
        "import pathlib, sys\n"
        "from joulery.errors import SourceUnavailable\n"
        "from joulery.profiler.host import Host\n"
        "from joulery.profiler.sources.openers import pyrapl\n"
        "try: pyrapl(Host(sys=pathlib.Path(sys.argv[1])))\n"
        "except SourceUnavailable: print('pyRAPL' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "False"


def test_a_garbled_counter_fails(tree: Path) -> None:
    """A counter that is no number is a failure, not 0."""
    source = pyrapl(Host(sys=tree))
    write_uj(tree, "intel-rapl:1", "nonsense")
    with pytest.raises(SourceFailed, match="nonsense"):
        source.sample()


def test_a_counter_that_only_root_may_read_is_forbidden(test_data: Path) -> None:
    """Without permission the counters are forbidden, not absent."""
    with open_folder() as folder:
        tree = shutil.copytree(test_data / "power/sysfs/two_socket_dram/sys", folder / "sys")
        for path in (tree, *tree.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o400 if path.name == "energy_uj" else 0o444)
        with trees.unprivileged(), pytest.raises(SourceForbidden, match="powercap"):
            pyrapl(Host(sys=tree))


def test_loading_it_leaves_the_log_alone(tree: Path) -> None:
    """PyRAPL speaks through the root logger when it is loaded; nobody hears it, then or later."""
    code = (
        "import json, logging, pathlib, sys\n"
        "from joulery.profiler.host import Host\n"
        "from joulery.profiler.sources.openers import pyrapl\n"
        "pyrapl(Host(sys=pathlib.Path(sys.argv[1])))\n"
        "print(json.dumps([len(logging.root.handlers), logging.root.manager.disable]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tree)], check=True, capture_output=True, text=True
    )
    assert (json.loads(done.stdout), done.stderr) == ([0, logging.NOTSET], "")
