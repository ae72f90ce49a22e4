"""How warm this machine's processors are, and how often heat has slowed them down.

Kernel documents: Documentation/hwmon/{sysfs-interface,coretemp,k10temp}.rst,
Documentation/driver-api/thermal/sysfs-api.rst, and for the counters
Documentation/admin-guide/thermal/thermal_throttle.rst. Nothing here waits, subtracts or judges.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import SourceError, SourceFailed, SourceForbidden, SourceUnavailable
from .host import text_of
from .sources.hwmon_channels import find_chips, parse_number, refusal

__all__ = ["Thermometer", "ThrottleCounter"]

_CHIPS = (
    # Kernels before 3.0 said "Physical id".
    ("coretemp", (r"(?:Package|Physical) id \d+",)),
    # On some of AMD's, the control value Tctl stands above the temperature of the die.
    ("k10temp|zenpower", ("Tdie", "Tctl", "temp1")),
    ("apm_xgene", ("SoC Temperature", "temp1")),
    (r"\w*(?:cpu|soc|core|cluster)\w*_thermal", (r"temp\d+",)),
)
"""hwmon chips of processors and the labels of their packages, the best first; a channel without
a label is called like its file."""

_ZONES = r"x86_pkg_temp|bcm\d+_thermal|.*(?:cpu|soc|core|cluster).*therm.*"
"""Types of the thermal zones of processors, whatever the case: "cpu-thermal", "CPU-therm"."""

_POSSIBLE_C = (-100.0, 200.0)
"""The kernel's own word for "no temperature" is -274 °C."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sensor:
    """One sensor: its name for people, and its file, in thousandths of a degree Celsius."""

    name: str
    path: Path

    def read_c(self) -> float:
        value_c = _number(self.path, f"temperature {self.name}") / 1e3
        low_c, high_c = _POSSIBLE_C
        if not low_c <= value_c <= high_c:
            raise SourceFailed(
                f"temperature {self.name}",
                place=str(self.path),
                found=f"{value_c:g} °C",
                expected=f"{low_c:g} to {high_c:g} °C",
            )
        return value_c


class Thermometer:
    """The temperature of this machine's processors: that of the warmest package.

    Sensors of hwmon go before thermal zones, which tell the same again.

    Args:
        sys: Root of sysfs.

    Attributes:
        names: The sensors that are read.

    Raises:
        SourceUnavailable: No sensor of a processor is there, as in most virtual machines.
        SourceForbidden: Sensors are, and this user may read none of them.
        SourceFailed: None of them answers with a temperature.
    """

    def __init__(self, sys: Path) -> None:
        found = tuple(_chips(sys)) or tuple(_zones(sys))
        refused: list[SourceError] = []
        sensors: list[_Sensor] = []
        for sensor in found:
            try:
                sensor.read_c()
            except SourceError as error:
                refused.append(error)
            else:
                sensors.append(sensor)
        if not sensors:
            raise _worst(refused) or SourceUnavailable(
                "temperature", place=str(sys), found="no sensor of a processor"
            )
        self._sensors = tuple(sensors)
        self.names = tuple(sensor.name for sensor in sensors)

    def read_c(self) -> float:
        """Return the temperature of the warmest package, °C.

        Raises:
            SourceError: A sensor can no longer be read: the warmest is then not known.
        """
        return max(sensor.read_c() for sensor in self._sensors)


class ThrottleCounter:
    """How often heat has slowed down cores or packages since the machine began; Intel's only.

    Threads of a core tell its count again, and CPUs of a package the package's: each counts once.

    Args:
        sys: Root of sysfs.

    Attributes:
        counters: How many are read.

    Raises:
        SourceUnavailable: The processor has no such counters, or a hypervisor hides them.
        SourceForbidden: This user may not read them.
        SourceFailed: One answers with no number.
    """

    def __init__(self, sys: Path) -> None:
        self._paths: dict[tuple[str | None, ...], Path] = {}
        for folder in sorted((sys / "devices/system/cpu").glob("cpu[0-9]*/thermal_throttle")):
            cpu = folder.parent
            ids = ("physical_package_id", "die_id", "core_id")
            package, die, core = (text_of(cpu / "topology" / name) for name in ids)
            keys: dict[str, tuple[str | None, ...]] = {
                "package": (package, die),
                "core": (package, die, core or cpu.name),
            }
            for kind, key in keys.items():
                path = folder / f"{kind}_throttle_count"
                if path.exists():
                    self._paths.setdefault((kind, *key), path)
        if not self._paths:
            raise SourceUnavailable("throttle counters", place=str(sys), found="none")
        self.counters = len(self._paths)
        self.read()

    def read(self) -> int:
        """Return the events of all cores and packages together; it never falls.

        Raises:
            SourceError: A counter cannot be read, as that of a CPU that was switched off.
        """
        return sum(_number(path, "throttle counter") for path in self._paths.values())


def _chips(sys: Path) -> Iterator[_Sensor]:
    """Yield the sensors of packages among the hwmon chips."""
    for chip in find_chips(sys):
        labels = next((some for name, some in _CHIPS if re.fullmatch(name, chip.name)), ())
        inputs = {path: path.name.removesuffix("_input") for path in chip.path.glob("temp*_input")}
        named = {path: text_of(chip.path / f"{key}_label") or key for path, key in inputs.items()}
        for label in labels:
            found = sorted(path for path, own in named.items() if re.fullmatch(label, own))
            if found:
                yield from (_Sensor(name=f"{chip.name} {named[p]}", path=p) for p in found)
                break


def _zones(sys: Path) -> Iterator[_Sensor]:
    """Yield the thermal zones of processors."""
    for folder in sorted((sys / "class/thermal").glob("thermal_zone*")):
        kind = text_of(folder / "type") or ""
        if re.fullmatch(_ZONES, kind, re.IGNORECASE):
            yield _Sensor(name=f"{folder.name} {kind}", path=folder / "temp")


def _worst(refused: list[SourceError]) -> SourceError | None:
    """Return what is said of sensors that cannot be read: what can be changed goes first."""
    for kind in (SourceForbidden, SourceFailed, SourceUnavailable):
        for error in refused:
            if isinstance(error, kind):
                return error
    return None


def _number(path: Path, subject: str) -> int:
    try:
        text = path.read_text()
    except OSError as error:
        raise refusal(error, path).at(subject, str(path)) from error
    try:
        return parse_number(text)
    except ValueError as error:
        raise SourceFailed(
            subject, place=str(path), found=repr(text[:40]), expected="a whole number"
        ) from error
