"""The estimate against recordings of real machines, and its honesty about itself."""

from __future__ import annotations

import csv
import math
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from joulery.errors import SourceFailed, SourceUnavailable
from joulery.profiler.attribution import ESTIMATED_ACTIVE_FACTOR
from joulery.profiler.host import CpuModel, Host
from joulery.profiler.meter import EnergyMeter
from joulery.profiler.quantities import Provenance
from joulery.profiler.sources import Kind
from joulery.profiler.sources.estimate import (
    MEMORY_RATIOS,
    TDP_RATIOS,
    THREAD_RATIOS,
    Estimate,
    cpu_power,
    normalised_model,
)
from joulery.profiler.work import NodeCpu

from ..fakes import Ticker, write_stat

THREADS = {
    "AMD EPYC 8024P 8-Core Processor": (16, 1),
    "AMD Ryzen Threadripper 1950X 16-Core Processor": (32, 1),
    "Intel(R) Xeon(R) CPU E3-1240 V2 @ 3.40GHz": (8, 1),
    # 24 threads of a processor with 12: two sockets.
    "Intel(R) Xeon(R) CPU E5-2620 v3 @ 2.40GHz": (24, 2),
}


@dataclass(frozen=True)
class Load:
    """One recorded load of one machine: utilisation and power, and what it drew without load."""

    cpu: CpuModel
    utilisation_ratio: float
    power_w: float
    rest: Load | None


@pytest.fixture(scope="module")
def recorded(test_data: Path) -> list[Load]:
    """Return every recorded load; the first of each file is the machine at rest."""
    loads: list[Load] = []
    for path in sorted((test_data / "power" / "codecarbon_rapl_load").glob("*.csv")):
        rest: Load | None = None
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                threads, packages = THREADS[row["cpu_name"]]
                load = Load(
                    cpu=CpuModel(
                        name=row["cpu_name"], threads=threads, packages=packages, virtual=False
                    ),
                    utilisation_ratio=float(row["cpu_load"]) / 100,
                    # kWh over seconds; the column rapl_power lags one row behind.
                    power_w=float(row["rapl_energy"]) * 3.6e6 / float(row["duration"]),
                    rest=rest,
                )
                rest = rest or load
                loads.append(load)
    assert len(loads) == 106
    return loads


@pytest.mark.parametrize("virtual", [False, True])
def test_every_recorded_load_lies_in_the_interval(recorded: list[Load], virtual: bool) -> None:
    """RAPL's power at every recorded load lies within the claim, be the CPU known or a guest's."""
    for load in recorded:
        line = cpu_power(replace(load.cpu, virtual=virtual))
        assert line.ratios == (THREAD_RATIOS if virtual else TDP_RATIOS)
        estimate_w = line.energy_j(1.0, load.utilisation_ratio)
        low, high = line.ratios
        assert low * estimate_w <= load.power_w <= high * estimate_w


def test_the_estimate_is_not_biased(recorded: list[Load]) -> None:
    """Half of the recorded loads draw more than estimated and half less, within a quarter."""
    ratios = sorted(
        load.power_w / cpu_power(load.cpu).energy_j(1.0, load.utilisation_ratio)
        for load in recorded
    )
    assert 0.75 <= ratios[len(ratios) // 2] <= 1.25


def test_what_load_adds_lies_in_its_wider_interval(recorded: list[Load]) -> None:
    """At least 95 % of what recorded loads add to rest lies within the active part's interval."""
    inside = []
    for load in recorded:
        if load.rest is None or load.utilisation_ratio <= load.rest.utilisation_ratio:
            continue
        line = cpu_power(load.cpu)
        added = load.utilisation_ratio - load.rest.utilisation_ratio
        ratio = (load.power_w - load.rest.power_w) / ((line.rated_w - line.idle_w) * added)
        low, high = line.ratios
        inside.append(low / ESTIMATED_ACTIVE_FACTOR <= ratio <= high * ESTIMATED_ACTIVE_FACTOR)
    assert sum(inside) >= 0.95 * len(inside)


def test_no_interval_is_narrower_than_thirty_percent() -> None:
    """Without a sensor nothing is claimed to be known better than to 30 % either way."""
    for low, high in (TDP_RATIOS, THREAD_RATIOS, MEMORY_RATIOS):
        assert low <= 0.7
        assert high >= 1.3


def test_models_are_found_however_they_are_written() -> None:
    """The kernel's and the table's spellings of one model are the same key."""
    names = ["Intel(R) Xeon(R) CPU E3-1240 V2 @ 3.40GHz", "Intel Xeon E3-1240 v2"]
    assert len({normalised_model(name) for name in names}) == 1
    known = CpuModel(name=names[0], threads=8, packages=1, virtual=False)
    assert cpu_power(known).rated_w == 69
    assert cpu_power(replace(known, name="Abacus 2000")).rated_w == 8 * 4
    assert cpu_power(replace(known, virtual=True)).rated_w == 8 * 4


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Host, Ticker]:
    """Return a virtual machine of 2 CPUs and 8 GB whose load and clock a test sets."""
    write_stat(tmp_path, 0.0, now_s=100.0)
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu hypervisor\n\nprocessor\t: 1\n"
    )
    (tmp_path / "meminfo").write_text("MemTotal:        7812500 kB\n")
    clock = Ticker()
    return Host(sys=tmp_path, proc=tmp_path, clock=clock), clock


def test_power_follows_the_load(machine: tuple[Host, Ticker]) -> None:
    """One of two CPUs busy for 10 s is 10 s of idle share plus half of what full load adds."""
    host, clock = machine
    meter = EnergyMeter([Estimate(host)], clock=clock, interval_s=None, work=NodeCpu(host))
    with meter, meter.window("half") as window:
        clock.advance(10.0)
        write_stat(host.proc, 10.0, now_s=clock())
    result = window.result
    cpu, memory = result.kinds[Kind.CPU], result.kinds[Kind.DRAM]
    assert cpu is not None
    assert memory is not None
    assert cpu.value_j == pytest.approx(10 * 8 * (0.15 + 0.85 * 0.5))
    assert memory.value_j == pytest.approx(10 * 8 * 3 / 8)
    assert cpu.provenance is Provenance.ESTIMATED
    assert cpu.low_j <= 0.15 * cpu.value_j
    assert cpu.high_j >= 5 * cpu.value_j
    assert result.utilisation_ratio == pytest.approx(0.5)


def test_late_ticks_are_no_gap(machine: tuple[Host, Ticker]) -> None:
    """Ticks that arrive in a burst, as after a pause of a guest, do not hide the energy."""
    host, clock = machine
    meter = EnergyMeter([Estimate(host)], clock=clock, interval_s=None, work=NodeCpu(host))
    with meter, meter.window("burst") as window:
        clock.advance(0.001)
        write_stat(host.proc, 0.02, now_s=clock())
        meter.sample()
        clock.advance(1.0)
    assert window.result.energy is not None


def test_a_machine_that_hides_its_load(machine: tuple[Host, Ticker]) -> None:
    """Without `/proc/stat` there is no estimate; with a garbled one it fails, and neither is 0."""
    host, _ = machine
    source = Estimate(host)
    (host.proc / "stat").write_text("cpu  1 2 x 4\n")
    with pytest.raises(SourceFailed, match="ticks"):
        source.sample()
    (host.proc / "stat").unlink()
    with pytest.raises(SourceUnavailable):
        source.sample()


def test_memory_of_real_hardware_comes_from_the_table(
    machine: tuple[Host, Ticker], capfd: pytest.CaptureFixture[str]
) -> None:
    """On bare metal codecarbon's count of modules gives the memory's power, and it stays silent."""
    host, _ = machine
    real = host.proc.parent / "metal"
    shutil.copytree(host.proc, real)
    text = (real / "cpuinfo").read_text()
    (real / "cpuinfo").write_text(re.sub(" hypervisor", "", text))
    domains = {domain.name: domain for domain in Estimate(replace(host, proc=real)).domains}
    assert math.isfinite(domains["ram"].max_power_w)
    assert domains["ram"].max_power_w >= 2 * 3  # codecarbon's least, on ARM
    assert capfd.readouterr() == ("", "")
