"""Sysfs trees as kernels show them, written file by file from the kernel's documents.

Each function names its document. Values are round, so that a test can be read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "amd_energy",
    "amdgpu",
    "chip",
    "cpufreq",
    "jetson_agx_orin",
    "jetson_orin_nx",
    "power_meter",
    "throttles",
    "unprivileged",
    "write",
    "xe",
    "xgene",
    "zone",
]

NOBODY = 65534


def write(folder: Path, files: Mapping[str, object]) -> Path:
    """Write files as sysfs shows them, each with a line end."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n")
    return folder


def zone(sys: Path, number: str, name: str, energy_uj: int, range_uj: int | None = 2**38) -> Path:
    """Write a powercap zone (Documentation/power/powercap/powercap.rst)."""
    files: dict[str, object] = {"name": name, "energy_uj": energy_uj}
    if range_uj is not None:
        files["max_energy_range_uj"] = range_uj
    return write(sys / "class/powercap" / number, files)


def chip(sys: Path, number: int, files: Mapping[str, object], device: str | None = None) -> Path:
    """Write a chip of class hwmon, with a link to its device if it has one.

    Document: Documentation/hwmon/sysfs-interface.rst.
    """
    folder = write(sys / f"class/hwmon/hwmon{number}", files)
    if device is not None:
        (sys / "devices" / device).mkdir(parents=True, exist_ok=True)
        (folder / "device").symlink_to(Path("../../../devices") / device)
    return folder


def _ina3221(rails: Mapping[int, tuple[str, int, int]]) -> dict[str, object]:
    """Return the files of an ina3221 (Documentation/hwmon/ina3221.rst): rails, shunts, their sum.

    Args:
        rails: For each channel its label, millivolts and milliamperes.
    """
    files: dict[str, object] = {"name": "ina3221", "update_interval": 2, "in7_input": 900}
    files |= {"in7_label": "sum of shunt voltages", "curr4_input": 1_700}
    for number in (1, 2, 3):
        label, millivolts, milliamperes = rails.get(number, ("NC", 0, 0))
        files |= {
            f"in{number}_label": label,
            f"in{number}_enable": int(number in rails),
            f"in{number}_input": millivolts,
            f"curr{number}_input": milliamperes,
            f"in{number + 3}_input": 300,
        }
    return files


def jetson_agx_orin(sys: Path) -> None:
    """Write the two monitors of a Jetson AGX Orin, which has no board input.

    Rails as in NVIDIA's developer guide: the memory's rail lies within VIN_SYS_5V0.
    """
    rails = {1: ("VDD_GPU_SOC", 19_000, 500), 2: ("VDD_CPU_CV", 19_000, 200)}
    rails[3] = ("VIN_SYS_5V0", 5_000, 1_000)
    chip(sys, 3, _ina3221(rails), "i2c-1/1-0040")
    chip(sys, 4, _ina3221({2: ("VDDQ_VDD2_1V8AO", 19_000, 50)}), "i2c-1/1-0041")


def jetson_orin_nx(sys: Path) -> None:
    """Write the monitor of a Jetson Orin NX or Nano (device tree tegra234-p3767)."""
    rails = {1: ("VDD_IN", 5_000, 2_000), 2: ("VDD_CPU_GPU_CV", 5_000, 800)}
    chip(sys, 1, _ina3221(rails | {3: ("VDD_SOC", 5_000, 400)}), "i2c-1/1-0040")


def amdgpu(
    sys: Path, number: int, address: str, watts: int, *, apu: bool = False, average: bool = True
) -> None:
    """Write an AMD GPU (kernel's "GPU Power/Thermal Controls and Monitoring").

    An APU alone has a northbridge voltage, `in1`; newer chips have an input and no average.
    """
    files: dict[str, object] = {"name": "amdgpu", "in0_input": 800, "in0_label": "vddgfx"}
    files |= {"power1_label": "PPT", "power1_cap_max": 300_000_000}
    files[f"power1_{'average' if average else 'input'}"] = watts * 1_000_000
    if apu:
        files |= {"in1_input": 900, "in1_label": "vddnb"}
    chip(sys, number, files, f"pci0000:00/{address}")


def xe(sys: Path, number: int, address: str, *, card_uj: int | None, pkg_uj: int) -> None:
    """Write an Intel GPU (Documentation/ABI/testing/sysfs-driver-intel-xe-hwmon)."""
    files: dict[str, object] = {"name": "xe", "in1_input": 700, "in1_label": "pkg"}
    files |= {"energy2_input": pkg_uj, "energy2_label": "pkg", "power2_rated_max": 150_000_000}
    if card_uj is not None:
        files |= {"energy1_input": card_uj, "energy1_label": "card"}
    chip(sys, number, files, f"pci0000:00/{address}")


def xgene(sys: Path) -> None:
    """Write an X-Gene SoC (Documentation/hwmon/xgene-hwmon.rst); its driver counts from 1."""
    files = {"name": "apm_xgene", "temp1_input": 42_000}
    files |= {"power1_label": "CPU power", "power1_input": 20_000_000}
    files |= {"power2_label": "IO power", "power2_input": 12_500_000}
    chip(sys, 0, files, "platform/APMC0D29:00")


def power_meter(sys: Path, number: int = 0, watts: int = 350, **more: object) -> None:
    """Write an ACPI power meter (Documentation/hwmon/acpi_power_meter.rst).

    Its driver is of the old kind: the files lie with the device, and the class has a link only.
    """
    device = f"LNXSYSTM:00/ACPI000D:0{number}"
    files: dict[str, object] = {"name": "power_meter", "power1_average": watts * 1_000_000}
    files |= {"power1_average_interval": 1000, "power1_accuracy": "95.0%", "power1_is_battery": 0}
    write(sys / "devices" / device, files | more)
    chip(sys, number, {}, device)


def amd_energy(sys: Path, sockets_uj: tuple[int, ...], cores: int = 4) -> None:
    """Write the AMD driver of Linux 5.8 to 5.12 (Documentation/hwmon/amd_energy.rst)."""
    files: dict[str, object] = {"name": "amd_energy"}
    for core in range(cores):
        files |= {f"energy{core + 1}_label": f"Ecore{core:03}", f"energy{core + 1}_input": 7}
    for socket, uj in enumerate(sockets_uj):
        number = cores + socket + 1
        files |= {f"energy{number}_label": f"Esocket{socket}", f"energy{number}_input": uj}
    chip(sys, 2, files, "platform/amd_energy.0")


def throttles(
    sys: Path, cpu: int, *, package: int, core: int, events: int, of_package: int
) -> Path:
    """Write a CPU's counters (Documentation/admin-guide/thermal/thermal_throttle.rst)."""
    folder = sys / f"devices/system/cpu/cpu{cpu}"
    write(folder / "topology", {"physical_package_id": package, "core_id": core, "die_id": 0})
    counts = {"core_throttle_count": events, "package_throttle_count": of_package}
    return write(folder / "thermal_throttle", counts)


def cpufreq(sys: Path, *policies: Sequence[int]) -> list[Path]:
    """Write policies of CPU frequency, each with its CPUs, 0.8 to 3.6 GHz (admin-guide/pm/cpufreq).

    A CPU's own folder is a link to its policy, as in the kernel.
    """
    folders = []
    for cpus in policies:
        files: dict[str, object] = {"affected_cpus": " ".join(map(str, cpus))}
        files |= {"cpuinfo_min_freq": 800_000, "cpuinfo_max_freq": 3_600_000}
        files |= {"scaling_available_governors": "performance powersave schedutil"}
        files |= {"scaling_governor": "schedutil", "scaling_driver": "acpi-cpufreq"}
        files |= {"scaling_min_freq": 1_400_000, "scaling_max_freq": 3_600_000}
        folders.append(write(sys / f"devices/system/cpu/cpufreq/policy{min(cpus)}", files))
        for cpu in cpus:
            own = sys / f"devices/system/cpu/cpu{cpu}"
            own.mkdir(parents=True, exist_ok=True)
            (own / "cpufreq").symlink_to(f"../cpufreq/policy{min(cpus)}")
    return folders


@contextmanager
def unprivileged() -> Iterator[None]:
    """Run without root's rights, if we have them."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
