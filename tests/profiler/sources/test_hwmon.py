"""Chips behind hwmon: which channel measures what, in which unit, and what is summed."""

from __future__ import annotations

import errno
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from joulery.errors import SourceFailed, SourceForbidden, SourceUnavailable
from joulery.profiler.meter import EnergyMeter
from joulery.profiler.quantities import Provenance
from joulery.profiler.sources import Domain, Kind
from joulery.profiler.sources.hwmon import Hwmon
from joulery.profiler.sources.hwmon_channels import find_chips, parse_number, refusal

from ..fakes import PlayedCpu, Ticker
from . import trees
from .trees import write


@pytest.fixture
def sys() -> Iterator[Path]:
    """Return the root of a tree; its path is short enough for a socket and open to all users."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "sys").mkdir()
        yield Path(folder) / "sys"


def watts(source: Hwmon) -> dict[str, float]:
    """Return what a sample says."""
    return {reading.domain.name: reading.value for reading in source.sample()}


def summed(source: Hwmon) -> dict[str, Kind]:
    """Return the domains in the sum."""
    return {domain.name: domain.kind for domain in source.domains if domain.summed}


def named(source: Hwmon, name: str) -> Domain:
    """Return one domain."""
    return next(domain for domain in source.domains if domain.name == name)


def test_rails_of_a_board_without_an_input(sys: Path) -> None:
    """On an AGX Orin volts times amperes of the rails are summed, but the one within another."""
    trees.jetson_agx_orin(sys)
    source = Hwmon(sys)
    assert watts(source) == {
        "ina3221-1-0040/VDD_GPU_SOC": 9.5,
        "ina3221-1-0040/VDD_CPU_CV": 3.8,
        "ina3221-1-0040/VIN_SYS_5V0": 5.0,
        "ina3221-1-0041/VDDQ_VDD2_1V8AO": 0.95,
    }
    assert summed(source) == {
        "ina3221-1-0040/VDD_GPU_SOC": Kind.GPU,
        "ina3221-1-0040/VDD_CPU_CV": Kind.CPU,
        "ina3221-1-0040/VIN_SYS_5V0": Kind.CPU,
    }
    assert {domain.provenance for domain in source.domains} == {Provenance.INTEGRATED}
    assert {domain.update_s for domain in source.domains} == {0.002}


def test_a_board_input_is_summed_alone(sys: Path) -> None:
    """On an Orin NX the input holds the rails: it is the sum, and they are reported."""
    trees.jetson_orin_nx(sys)
    source = Hwmon(sys)
    assert watts(source) == {
        "ina3221/VDD_IN": 10.0,
        "ina3221/VDD_CPU_GPU_CV": 4.0,
        "ina3221/VDD_SOC": 2.0,
    }
    assert summed(source) == {"ina3221/VDD_IN": Kind.PLATFORM}


def test_the_input_of_another_chip_holds_the_rails_too(sys: Path) -> None:
    """A monitor of the board's input, named by its `label` file, is the sum of all chips."""
    trees.jetson_agx_orin(sys)
    files = {"name": "ina238", "label": "VIN", "in0_input": 3, "in1_input": 12_000}
    trees.chip(sys, 5, files | {"curr1_input": 4_000, "power1_input": 47_500_000}, "i2c-2/2-0044")
    source = Hwmon(sys)
    assert watts(source)["ina238/VIN"] == 47.5, "the chip's own power, not in1 times curr1"
    assert summed(source) == {"ina238/VIN": Kind.PLATFORM}


def test_a_rail_at_rest_may_read_below_nothing(sys: Path) -> None:
    """The offset of a current sensor makes no negative power; a real negative one is a failure."""
    trees.jetson_orin_nx(sys)
    source, folder = Hwmon(sys), sys / "class/hwmon/hwmon1"
    write(folder, {"curr3_input": -8})
    assert watts(source)["ina3221/VDD_SOC"] == 0.0
    write(folder, {"curr3_input": -800})
    assert "ina3221/VDD_SOC" not in watts(source)


@pytest.mark.parametrize("average", [True, False])
def test_an_amd_gpu(sys: Path, average: bool) -> None:
    """Its power comes from the average, where the chip has none from the input, within its cap."""
    trees.amdgpu(sys, 0, "0000:03:00.0", 120, average=average)
    source = Hwmon(sys)
    assert watts(source) == {"amdgpu/PPT": 120.0}
    assert summed(source) == {"amdgpu/PPT": Kind.GPU}
    assert named(source, "amdgpu/PPT").max_power_w == 600


def test_an_apu_is_a_processor(sys: Path) -> None:
    """An APU's power includes its cores: it stands for the processor, beside a real GPU."""
    trees.amdgpu(sys, 0, "0000:03:00.0", 120)
    trees.amdgpu(sys, 1, "0000:0c:00.0", 15, apu=True)
    assert summed(Hwmon(sys)) == {
        "amdgpu-0000:03:00.0/PPT": Kind.GPU,
        "amdgpu-0000:0c:00.0/PPT": Kind.CPU,
    }


def test_two_averages_of_one_power_are_one(sys: Path) -> None:
    """A chip with a slow and a fast average of the same power counts once."""
    files = {"name": "amdgpu", "power1_label": "slowPPT", "power1_average": 9_000_000}
    trees.chip(sys, 0, files | {"power2_label": "fastPPT", "power2_average": 9_100_000})
    assert list(summed(Hwmon(sys))) == ["amdgpu/slowPPT"]


def test_an_intel_gpu_is_its_card_else_its_package(sys: Path) -> None:
    """Of card and package the card holds both; a GPU that shows no card has its package summed."""
    trees.xe(sys, 0, "0000:03:00.0", card_uj=5_000_000, pkg_uj=4_000_000)
    trees.xe(sys, 1, "0000:04:00.0", card_uj=None, pkg_uj=3_000_000)
    source = Hwmon(sys)
    assert watts(source) == {
        "xe-0000:03:00.0/card": 5.0,
        "xe-0000:03:00.0/pkg": 4.0,
        "xe-0000:04:00.0/pkg": 3.0,
    }
    assert list(summed(source)) == ["xe-0000:03:00.0/card", "xe-0000:04:00.0/pkg"]
    card, pkg = named(source, "xe-0000:03:00.0/card"), named(source, "xe-0000:04:00.0/pkg")
    assert (card.form, card.provenance, card.stuck_s) == ("counter", Provenance.MEASURED, None)
    assert pkg.max_power_w == 300


def test_an_arm_server(sys: Path) -> None:
    """Cores and the rest of an X-Gene do not overlap: both are summed."""
    trees.xgene(sys)
    assert watts(Hwmon(sys)) == {"apm_xgene/CPU power": 20.0, "apm_xgene/IO power": 12.5}
    assert set(summed(Hwmon(sys)).values()) == {Kind.CPU}


def test_an_acpi_meter_is_the_machine(sys: Path) -> None:
    """A meter whose files lie with its device is read, averaged as it says, accurate as it says."""
    trees.power_meter(sys)
    source = Hwmon(sys)
    assert watts(source) == {"power_meter/power1": 350.0}
    [domain] = source.domains
    assert (domain.kind, domain.summed, domain.update_s) == (Kind.PLATFORM, True, 1.0)
    assert (domain.low_ratio, domain.high_ratio) == (0.95, 1.05)


def test_a_meter_gives_way(sys: Path) -> None:
    """Beside anything that is summed a meter is reported; two meters, or a battery's, as well."""
    trees.power_meter(sys, 0)
    trees.amdgpu(sys, 2, "0000:03:00.0", 120)
    assert list(summed(Hwmon(sys))) == ["amdgpu/PPT"]
    shutil.rmtree(sys / "class/hwmon/hwmon2")
    trees.power_meter(sys, 1)
    assert summed(Hwmon(sys)) == {}
    shutil.rmtree(sys / "class/hwmon/hwmon1")
    write(sys / "devices/LNXSYSTM:00/ACPI000D:00", {"power1_is_battery": 1})
    assert summed(Hwmon(sys)) == {}


def test_cores_are_not_even_read(sys: Path) -> None:
    """Of the old AMD driver the sockets are read, and the cores named as left out."""
    trees.amd_energy(sys, (2_000_000, 3_000_000))
    source = Hwmon(sys)
    assert watts(source) == {"amd_energy/Esocket0": 2.0, "amd_energy/Esocket1": 3.0}
    assert set(summed(source).values()) == {Kind.CPU}
    assert list(source.dropped) == ["amd_energy/Ecore*"]
    assert {domain.stuck_s for domain in source.domains} == {0.25}


def test_the_better_power_is_taken(sys: Path) -> None:
    """Where the average covers the cores only (fam15h), the input is read."""
    files = {"name": "fam15h_power", "power1_input": 60_000_000, "power1_average": 40_000_000}
    trees.chip(sys, 0, files)
    assert watts(Hwmon(sys)) == {"fam15h_power/power1": 60.0}


def test_energy_before_power_of_one_channel(sys: Path) -> None:
    """A channel that counts energy is not read for power as well."""
    trees.chip(sys, 0, {"name": "xe", "energy1_input": 7_000_000, "power1_input": 50_000_000})
    [domain] = Hwmon(sys).domains
    assert (domain.name, domain.form) == ("xe/energy1", "counter")


def test_a_tree_written_by_hand(test_data: Path) -> None:
    """Chips nobody described are reported and not summed; shunts and disabled channels are none."""
    source = Hwmon(test_data / "power/sysfs/synthetic_kepler/sys")
    found = watts(source)
    assert found["multi_sensor/package-power2"] == 30.0, "two channels of one label"
    assert found["hwmon_device_path/device_path_test"] == 25.0, "a chip without a name"
    assert found["power_chip/energy1"] == 300.0, "a channel without a label"
    assert found["ina226/in1"] == 60.0
    assert found["ina3221-hwmon_voltage_current_average/VDD_CPU"] == pytest.approx(57.82)
    assert not {name for name in found if "channel_3" in name or "Rail_C" in name}, "disabled"
    assert not {name for name in found if name.startswith(("max20730", "unknown_chip"))}
    assert len([name for name in found if name.startswith("ina3221-hwmon_ina3221/")]) == 3
    assert {name for name in summed(source) if not name.startswith(("ina3221", "amdgpu"))} == set()
    unknown = named(source, "k10temp/Package")
    assert "not summed" in unknown.note
    [chip] = [
        c
        for c in find_chips(test_data / "power/sysfs/synthetic_kepler/sys")
        if c.path.name == "hwmon_device_path"
    ]
    assert chip.address == "card0", "a link that was stored as text"


def test_chips_without_energy(sys: Path, test_data: Path) -> None:
    """Temperatures and fans, or no chips at all, are an absent source."""
    for tree in (test_data / "power/sysfs/node_exporter_powercap_hwmon/sys", sys):
        with pytest.raises(SourceUnavailable, match="no sensor of energy or power"):
            Hwmon(tree)


def test_a_channel_without_data_is_left_out(sys: Path) -> None:
    """A file that answers with "no such device" is named; the GPU's spare takes its place."""
    trees.xe(sys, 0, "0000:03:00.0", card_uj=5_000_000, pkg_uj=4_000_000)
    card = sys / "class/hwmon/hwmon0/energy1_input"
    card.unlink()
    with socket.socket(socket.AF_UNIX) as nothing:
        nothing.bind(str(card))  # opening a socket's file fails with ENXIO, as a sleeping chip does
        source = Hwmon(sys)
    assert list(summed(source)) == ["xe/pkg"]
    assert "No such device" in source.dropped["xe/card"]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENODATA, SourceUnavailable),
        (errno.ENXIO, SourceUnavailable),
        (errno.EOPNOTSUPP, SourceUnavailable),
        (errno.ENOENT, SourceUnavailable),
        (errno.EACCES, SourceForbidden),
        (errno.EPERM, SourceForbidden),
        (errno.EIO, SourceFailed),
        (errno.ETIMEDOUT, SourceFailed),
    ],
)
def test_what_a_refused_read_means(number: int, kind: type[Exception]) -> None:
    """No data, no permission and a broken sensor are three outcomes."""
    assert isinstance(refusal(OSError(number, "said so"), Path("energy1_input")), kind)


def test_a_broken_channel_is_a_gap_not_a_smaller_sum(sys: Path) -> None:
    """A rail that answers nonsense stays in the sum, which is then unknown; others stay whole."""
    trees.jetson_agx_orin(sys)
    write(sys / "class/hwmon/hwmon3", {"curr2_input": "nonsense"})
    clock = Ticker()
    meter = EnergyMeter([Hwmon(sys)], clock=clock, interval_s=None, work=PlayedCpu())
    with meter, meter.window("w") as window:
        clock.advance(2.0)
    domains = window.result.domains
    assert window.result.energy is None
    assert domains["hwmon:ina3221-1-0040/VDD_CPU_CV"].energy is None
    gpu = domains["hwmon:ina3221-1-0040/VDD_GPU_SOC"].energy
    assert gpu is not None
    assert gpu.value_j == pytest.approx(19.0)


def test_all_channels_broken_or_gone(sys: Path) -> None:
    """Where no channel can be read the source fails at once, later with each sample."""
    trees.amdgpu(sys, 0, "0000:03:00.0", 120)
    source = Hwmon(sys)
    power = sys / "class/hwmon/hwmon0/power1_average"
    power.write_text("")
    with pytest.raises(SourceFailed, match="whole number"):
        source.sample()
    with pytest.raises(SourceFailed, match="whole number"):
        Hwmon(sys)
    power.unlink()
    with pytest.raises(SourceUnavailable, match="no such file"):
        source.sample()


@pytest.mark.parametrize("others", [False, True])
def test_forbidden_counters(sys: Path, others: bool) -> None:
    """AMD's counters are root's: forbidden with a remedy, or named beside what can be read."""
    trees.amd_energy(sys, (2_000_000,))
    for path in (sys / "class/hwmon/hwmon2").glob("energy*_input"):
        path.chmod(0o400)
    if others:
        trees.amdgpu(sys, 5, "0000:03:00.0", 120)
    with trees.unprivileged():
        if not others:
            with pytest.raises(SourceForbidden, match="chmod"):
                Hwmon(sys)
            return
        source = Hwmon(sys)
    assert list(summed(source)) == ["amdgpu/PPT"]
    assert "chmod" in source.dropped["amd_energy/Esocket0"]


@pytest.mark.parametrize(("text", "value"), [("12\n", 12), (" -8 ", -8)])
def test_numbers(text: str, value: int) -> None:
    """Numbers are whole and may be negative; anything else is refused."""
    assert parse_number(text) == value
    for wrong in ("", "1.5", "0x10", "n/a"):
        with pytest.raises(ValueError, match="invalid literal"):
            parse_number(wrong)
