"""The NPU of Intel processors, on the files that the kernel's intel_vpu driver makes.

Kernel document: drivers/accel/ivpu/ivpu_sysfs.c (`npu_busy_time_us` of the device behind
`/sys/class/accel/accelN`).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from joulery.errors import SourceFailed, SourceUnavailable
from joulery.profiler.host import Host
from joulery.profiler.meter import EnergyMeter
from joulery.profiler.quantities import Provenance
from joulery.profiler.sources import Kind
from joulery.profiler.sources.npu_intel import POWER_W, RATIOS, IntelNpu, parse_busy_us
from joulery.profiler.sources.openers import intel_npu

from ..fakes import PlayedCpu, Ticker


@pytest.fixture
def clock() -> Ticker:
    """Return a clock that a test moves."""
    return Ticker()


@pytest.fixture
def busy(tmp_path: Path) -> Path:
    """Return the file with the busy time of a machine's only NPU."""
    device = tmp_path / "devices/pci0000:00/0000:00:0b.0"
    (device / "accel/accel0").mkdir(parents=True)
    (device / "accel/accel0/device").symlink_to(device)
    (tmp_path / "class/accel").mkdir(parents=True)
    (tmp_path / "class/accel/accel0").symlink_to(device / "accel/accel0")
    (device / "npu_busy_time_us").write_text("3000000\n")
    return device / "npu_busy_time_us"


def test_busy_time_times_power(busy: Path, tmp_path: Path, clock: Ticker) -> None:
    """4 s of work are 4 s of the stated power: an estimate, wide, and never added to a package."""
    source = intel_npu(Host(sys=tmp_path, clock=clock))
    [domain] = source.domains
    assert (domain.kind, domain.provenance) == (Kind.NPU, Provenance.ESTIMATED)
    assert not domain.summed
    with (
        EnergyMeter([source], clock=clock, interval_s=None, work=PlayedCpu()) as meter,
        meter.window("load") as window,
    ):
        clock.advance(30.0)
        busy.write_text("7000000\n")
    energy = window.result.domains["intel-npu:npu-0"].energy
    assert energy is not None
    assert energy.value_j == pytest.approx(4 * POWER_W)
    assert energy.low_j <= RATIOS[0] * energy.value_j
    assert energy.high_j >= RATIOS[1] * energy.value_j


def test_the_driver_is_asked_once_a_second(busy: Path, tmp_path: Path, clock: Ticker) -> None:
    """Between two seconds the last value is given again: reading slows the NPU's jobs."""
    source = IntelNpu(tmp_path, clock)
    busy.write_text("5000000\n")
    clock.advance(0.9)
    assert source.sample()[0].value == 3 * POWER_W
    clock.advance(0.1)
    assert source.sample()[0].value == 5 * POWER_W


def test_busy_seconds_never_fall(busy: Path, tmp_path: Path, clock: Ticker) -> None:
    """Work done is not undone when the driver is loaded again and counts from 0."""
    source = IntelNpu(tmp_path, clock)
    assert source.busy_s() == {"npu-0": 3.0}
    busy.write_text("1000000\n")
    clock.advance(1.0)
    assert source.busy_s() == {"npu-0": 3.0}


def test_missing_garbled_and_zero(busy: Path, tmp_path: Path, clock: Ticker) -> None:
    """An NPU that never worked reads 0; a garbled and a vanished file are failures of their own."""
    busy.write_text("0\n")
    source = IntelNpu(tmp_path, clock)
    assert source.sample()[0].value == 0.0
    clock.advance(1.0)
    busy.write_text("-3\n")
    with pytest.raises(SourceFailed, match="microseconds"):
        source.sample()
    busy.unlink()
    with pytest.raises(SourceUnavailable, match="no such file"):
        source.sample()


def test_other_accelerators_are_not_it(tmp_path: Path, clock: Ticker) -> None:
    """An accelerator of another make is no Intel NPU, and the remedy says what has one."""
    (tmp_path / "class/accel/accel0/device").mkdir(parents=True)
    with pytest.raises(SourceUnavailable, match="intel_vpu"):
        IntelNpu(tmp_path, clock)


@pytest.mark.parametrize("text", ["", "-1\n", "1.5\n", "busy\n"])
def test_counts_only(text: str) -> None:
    """Busy time is a count of microseconds and nothing else."""
    with pytest.raises(ValueError, match=r".*"):
        parse_busy_us(text)
