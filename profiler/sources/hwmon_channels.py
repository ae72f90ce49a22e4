"""The chips below `class/hwmon` and what each of them measures, found on disk and read.

Kernel document: Documentation/hwmon/sysfs-interface.rst: `energyN_input` microjoules,
`powerN_input` and `powerN_average` microwatts, `inN_input` millivolts, `currN_input` milliamperes.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ...errors import SourceError, SourceFailed, SourceForbidden, SourceUnavailable
from .base import Kind
from .hwmon_chips import Rule, Scope, paired, rule_for

__all__ = ["Channel", "Chip", "find_channels", "find_chips", "parse_number", "refusal"]

OFFSET_W = 0.5
"""A rail at rest may read below nothing by the offset of its current sensor: that is rest."""

_NO_DATA = {errno.ENODATA, errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP, errno.ENOTDIR}
_REMEDY = "run as root, or let this user read the file: 'chmod a+r' as root"
_CHANNEL = re.compile(r"(energy|power|in)(\d+)_(?:input|average)")
_UNKNOWN = Rule(chip="", kind=Kind.PLATFORM, scope=Scope.PART, note="unknown, so not summed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """One sensor chip.

    Args:
        path: The folder with its files.
        name: What its driver calls it, or its folder's name.
        address: What tells it from others of that name: its device, or its folder.
        title: Its `label` file, "" without one.
    """

    path: Path
    name: str
    address: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One measured thing of a chip.

    Args:
        chip: The chip.
        key: Like its files: "energy1", "power2"; "in1" for volts times amperes.
        label: What it calls itself, or its key.
        form: A counter of energy, or power.
        files: What is read: one file, or volts and amperes.
        rule: What is known of it.
    """

    chip: Chip
    key: str
    label: str
    form: Literal["counter", "power"]
    files: tuple[Path, ...]
    rule: Rule

    def read(self) -> float:
        """Read joules or watts.

        Raises:
            SourceUnavailable: It is gone, or has no data.
            SourceForbidden: It may not be read.
            SourceFailed: It does not answer with a number that can be one.
        """
        values = [_number(path) for path in self.files]
        value = values[0] * values[1] / 1e6 if len(values) == 2 else values[0] / 1e6
        if self.form == "power" and -OFFSET_W <= value < 0:
            return 0.0
        if value < 0:
            raise SourceFailed(f"hwmon {self.files[0]}", found=f"{values}", expected="0 or more")
        return value

    def fact(self, name: str) -> int | None:
        """Return the number in one of the chip's describing files, `None` where there is none."""
        return _fact(self.chip.path / name)

    def text(self, name: str) -> str:
        """Return what one of the chip's describing files says, "" where there is none."""
        return _text(self.chip.path / name)


def parse_number(text: str) -> int:
    """Read one number of the sysfs interface: whole, may be negative.

    Raises:
        ValueError: When it is none.
    """
    return int(text.strip())


def refusal(error: OSError, path: Path) -> SourceError:
    """Return what a failed read means: gone or no data, not allowed, or broken."""
    if isinstance(error, PermissionError):
        return SourceForbidden(f"hwmon {path}", remedy=_REMEDY)
    if isinstance(error, FileNotFoundError):
        return SourceUnavailable(f"hwmon {path}", found="no such file")
    if error.errno in _NO_DATA:  # a channel that is off, or a chip that sleeps
        return SourceUnavailable(f"hwmon {path}", found=error.strerror)
    return SourceFailed(f"hwmon {path}", found=error.strerror)


def _number(path: Path) -> int:
    try:
        text = path.read_text()
    except OSError as error:
        raise refusal(error, path) from error
    try:
        return parse_number(text)
    except ValueError as error:
        raise SourceFailed(
            f"hwmon {path}", found=repr(text[:40]), expected="a whole number"
        ) from error


def _text(path: Path) -> str:
    """Return what a describing file says, "" when there is none: hwmon promises few of them."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _fact(path: Path) -> int | None:
    """Return the number of a describing file, `None` where there is none."""
    try:
        return _number(path)
    except SourceError:
        return None


def find_chips(sys: Path) -> tuple[Chip, ...]:
    """Find every chip, in the order of their folders."""
    chips = []
    for folder in sorted((sys / "class/hwmon").glob("hwmon*"), key=_order):
        device = folder / "device"
        # Drivers of the old interface keep their files with the device (ACPI's power meter).
        path = folder if _has_channels(folder) or not _has_channels(device) else device
        link = str(device.readlink()) if device.is_symlink() else ""
        if not link and device.is_file():  # a tree that was copied without its links
            link = _text(device)
        chips.append(
            Chip(
                path=path,
                name=_text(folder / "name") or _text(device / "name") or folder.name,
                address=link.rstrip("/").rpartition("/")[2] or folder.name,
                title=_text(folder / "label"),
            )
        )
    return tuple(chips)


def _order(folder: Path) -> tuple[int, str]:
    number = re.search(r"\d+$", folder.name)
    return int(number[0]) if number else -1, folder.name


def _has_channels(folder: Path) -> bool:
    return folder.is_dir() and any(_CHANNEL.fullmatch(path.name) for path in folder.iterdir())


def find_channels(chip: Chip) -> tuple[Channel, ...]:
    """Find what a chip measures, each number once: its energy, else its power, else its rail.

    Channels that are switched off (`inN_enable` and the like are 0) are left out.
    """
    found = {match.groups() for p in chip.path.iterdir() if (match := _CHANNEL.fullmatch(p.name))}
    numbers = sorted({int(number) for _, number in found})
    channels = []
    for number in numbers:
        kinds = {kind for kind, at in found if int(at) == number}
        for kind in ("energy", "power", "in"):
            if kind not in kinds:
                continue
            channel = _channel(chip, kind, number)
            if channel is not None:
                channels.append(channel)
                break
    return tuple(channels)


def _channel(chip: Chip, kind: str, number: int) -> Channel | None:
    key, folder = f"{kind}{number}", chip.path
    if _fact(folder / f"{key}_enable") == 0:
        return None
    amperes = folder / f"curr{number}"
    labels = [_text(folder / f"{key}_label")]
    if kind == "in":
        labels.append(_text(Path(f"{amperes}_label")))
        same = bool(labels[0]) and labels[0] == labels[1]
        if not Path(f"{amperes}_input").exists() or not (paired(chip.name, number) or same):
            return None
    label = next(filter(None, (*labels, chip.title)), key)
    rule = rule_for(chip.name, label) or rule_for(chip.name, key) or _UNKNOWN
    if chip.name == "amdgpu" and _text(folder / "in1_label") == "vddnb":
        # Only an APU has a northbridge rail, and an APU's power includes its CPU.
        rule = replace(rule, kind=Kind.CPU, note="APU: processor and graphics in one")
    return Channel(
        chip=chip,
        key=key,
        label=label,
        form="counter" if kind == "energy" else "power",
        files=_files(folder, kind, number, averaged=rule.averaged),
        rule=rule,
    )


def _files(folder: Path, kind: str, number: int, *, averaged: bool) -> tuple[Path, ...]:
    """Return the files of a channel; an average of power misses nothing between two readings."""
    if kind == "energy":
        return (folder / f"energy{number}_input",)
    names = ("average", "input") if averaged else ("input", "average")
    quantities = ("power",) if kind == "power" else ("in", "curr")
    for name in names:
        files = tuple(folder / f"{quantity}{number}_{name}" for quantity in quantities)
        if all(path.exists() for path in files):
            return files
    return tuple(folder / f"{quantity}{number}_input" for quantity in quantities)
