"""RAPL through the kernel's powercap tree: packages, cores, memory, platform; Intel and AMD.

Kernel document: Documentation/power/powercap/powercap.rst. One set of zones that do not overlap
is summed: packages and their memory, or the platform (psys) if asked. Cores and uncore are parts
of a package: reported, never added. A zone that cannot be read keeps its place, so that the sum is
unknown rather than smaller.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ...errors import SourceError, SourceFailed, SourceForbidden, SourceUnavailable
from ..quantities import Provenance
from .base import Domain, Kind, Reading

__all__ = ["Powercap", "Zone", "choose_zones", "find_zones", "parse_uj"]

UPDATE_S = 1e-3
"""RAPL counters move about once a millisecond (Intel SDM, vol. 3B, 'RAPL interfaces')."""

RESOLUTION_J = 61e-6
"""The coarsest common energy unit, 2**-14 J (Intel); AMD's is 2**-16 J."""

STUCK_S = 0.25
"""A package that is powered moves its counter in this time, however idle: one coarse unit in it
would be a quarter of a milliwatt. Memory may rest."""

MIRROR_J = 1.0
"""Two dies of one package whose counters differ by less show one counter: read at once, real
counters of different silicon drift further apart than this within the first seconds of uptime."""

_MAX_POWER_W = {Kind.CPU: 1500.0, Kind.DRAM: 500.0, Kind.PLATFORM: 5000.0}
"""Well above any socket, its memory, any board: only wrong readings are larger."""

_REMEDY = (
    "since Linux 5.10 only root may read energy_uj: run 'chmod a+r "
    "/sys/class/powercap/*/energy_uj' as root, or the same at boot through systemd-tmpfiles"
)
_READ_BYTES = 4096
_ZONE = re.compile(r"[a-z][a-z-]*(?::[0-9a-f]+)+")
_PACKAGE = re.compile(r"package-(?P<package>\d+)(?:-die-(?P<die>\d+))?")


def parse_uj(text: str) -> int:
    """Read a count of microjoules.

    Raises:
        ValueError: When it is not one.
    """
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """One powercap zone.

    Args:
        path: Its folder.
        zone: The folder's name, for instance "intel-rapl:0:1". Numbers are hexadecimal.
        name: What it says it is: "package-0", "core", "uncore", "dram" or "psys".
        parent: The name of the zone it is a part of; `None` at the top.
        modulus_uj: The counter wraps after this value; `None` when the zone does not tell.
        note: For people: why it does not tell, or "".
    """

    path: Path
    zone: str
    name: str
    parent: str | None
    modulus_uj: int | None
    note: str = ""

    @property
    def label(self) -> str:
        """Unique name: a part carries the zone it belongs to."""
        return self.name if self.parent is None else f"{self.parent}/{self.name}"

    def read_uj(self) -> int:
        """Read the counter, in microjoules.

        Raises:
            SourceUnavailable: The zone is gone.
            SourceForbidden: It may not be read.
            SourceFailed: It does not answer with a number.
        """
        return _number(f"{self.path}/energy_uj")


def _text(path: Path | str) -> str:
    try:
        # Read ten times a second and more: Python's own files cost three times as much.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(file, _READ_BYTES).decode(errors="replace").strip()
        finally:
            os.close(file)
    except PermissionError as error:
        raise SourceForbidden(f"powercap {path}", remedy=_REMEDY) from error
    except FileNotFoundError as error:
        raise SourceUnavailable(f"powercap {path}", found="no such file") from error
    except OSError as error:
        raise SourceFailed(f"powercap {path}", found=error.strerror) from error


def _number(path: Path | str) -> int:
    text = _text(path)
    try:
        return parse_uj(text)
    except ValueError as error:
        raise SourceFailed(
            f"powercap {path}", found=repr(text[:40]), expected="a count of microjoules"
        ) from error


def find_zones(sys: Path) -> tuple[Zone, ...]:
    """Find every zone once, though the kernel lists a part both flat and within its package.

    Raises:
        SourceUnavailable: When there is none.
        SourceForbidden: When folders are closed to us, or hidden from our container.
    """
    root = sys / "class/powercap"
    folders: dict[str, Path] = {}
    zones_here = _listed(root)
    parts_here = [part for zone in zones_here for part in _listed(zone)]
    for path in (*zones_here, *parts_here):
        if (path / "energy_uj").exists():
            folders.setdefault(path.name, path)
    hidden = [path for path in zones_here if path.is_symlink() and not path.exists()]
    if hidden and not folders:
        raise SourceForbidden(
            f"powercap {hidden[0]}",
            found="a link to a folder that is hidden, as container runtimes do",
            remedy="mount the host's /sys into the container, read-only, and read it there",
        )
    if not folders:
        raise SourceUnavailable(
            f"powercap {root}",
            found="no energy counter",
            remedy="on bare metal, load the kernel module intel_rapl_msr (Intel and AMD); "
            "most virtual machines have none",
        )
    names = {zone: _name(path) for zone, path in folders.items()}
    zones = []
    for zone, path in folders.items():
        modulus_uj, note = _modulus(path)
        zones.append(
            Zone(
                path=path,
                zone=zone,
                name=names[zone],
                parent=names.get(zone.rpartition(":")[0]),
                modulus_uj=modulus_uj,
                note=note,
            )
        )
    return tuple(zones)


def _listed(folder: Path) -> list[Path]:
    """Return the zones in a folder, or none if there is no such folder."""
    try:
        return sorted(path for path in folder.iterdir() if _ZONE.fullmatch(path.name))
    except PermissionError as error:
        raise SourceForbidden(
            f"powercap {folder}", found=error.strerror, remedy=f"chmod a+rx {folder}, as root"
        ) from error
    except OSError:
        return []


def _name(path: Path) -> str:
    """Return what a zone calls itself; one without a name is called like its folder."""
    try:
        return _text(path / "name") or path.name
    except SourceError:
        return path.name


def _modulus(path: Path) -> tuple[int | None, str]:
    """Return where the counter wraps, or `None` and why that is not known."""
    try:
        modulus_uj = _number(path / "max_energy_range_uj")
    except SourceForbidden:
        why = "may not be read"
    except SourceUnavailable:
        why = "is not there"
    except SourceFailed as error:
        why = f"is no range ({error.found})"
    else:
        if modulus_uj > 0:
            return modulus_uj, ""
        why = "is 0"
    return None, f"max_energy_range_uj {why}: a fall of the counter is a gap, not a wrap"


def choose_zones(zones: tuple[Zone, ...]) -> dict[Zone, str | None]:
    """Tell mirrors from zones of their own.

    A mirror is a zone of the memory-mapped interface that the registers show as well, a die that
    shows its package's one counter (AMD), or a whole package that shows exactly the counter of
    another. The last two are told by reading: first one, the other, the first again.

    Returns:
        For each zone what it mirrors, or `None`. A zone that cannot be read is its own.
    """
    mirrors: dict[Zone, str | None] = {}
    # Registers before the memory-mapped interface, low numbers first: the first one stays.
    for zone in sorted(zones, key=_place):
        own = [other for other, mirrored in mirrors.items() if mirrored is None]
        mirrors[zone] = next((other.label for other in own if _mirrors(zone, other)), None)
    return mirrors


def _place(zone: Zone) -> tuple[bool, list[int]]:
    return "mmio" in zone.zone, [int(number, 16) for number in zone.zone.split(":")[1:]]


def _mirrors(zone: Zone, other: Zone) -> bool:
    if zone.label == other.label:
        return True
    mine, theirs = _PACKAGE.fullmatch(zone.name), _PACKAGE.fullmatch(other.name)
    if mine is None or theirs is None or zone.modulus_uj != other.modulus_uj:
        return False
    dies_of_one = mine["package"] == theirs["package"]
    slack_uj = MIRROR_J * 1e6 if dies_of_one else 0.0
    try:
        before_uj, own_uj, after_uj = other.read_uj(), zone.read_uj(), other.read_uj()
    except SourceError:
        return False
    return before_uj - slack_uj <= own_uj <= after_uj + slack_uj


def _kind(zone: Zone) -> Kind:
    if zone.name.startswith(("psys", "platform")):  # platform-N: newer kernels, other packages
        return Kind.PLATFORM
    return Kind.DRAM if zone.name == "dram" else Kind.CPU


class Powercap:
    """Every powercap zone, one non-overlapping set of them summed.

    Args:
        sys: Root of sysfs.
        psys: Sum the platform's zone instead of packages and memory.

    Raises:
        SourceUnavailable: There is no zone, or no psys though it was asked for.
        SourceForbidden: The counters may not be read.
        SourceFailed: A counter answers nonsense.
    """

    name = "powercap"

    def __init__(self, sys: Path, *, psys: bool = False) -> None:
        chosen = choose_zones(find_zones(sys))
        self.dropped = {z.zone: f"mirrors {of}" for z, of in chosen.items() if of is not None}
        self._zones = tuple(zone for zone, of in chosen.items() if of is None)
        self.domains = tuple(self._domain(zone, psys=psys) for zone in self._zones)
        summed = [domain for domain in self.domains if domain.summed]
        if not summed:
            raise SourceUnavailable(
                f"powercap {sys / 'class/powercap'}",
                found=", ".join(zone.label for zone in self._zones),
                expected="a psys zone" if psys else "a package zone",
            )
        _, errors = self._read()
        refused = [errors[domain] for domain in summed if domain in errors]
        if len(refused) == len(summed):
            raise refused[0]

    def _domain(self, zone: Zone, *, psys: bool) -> Domain:
        kind = _kind(zone)
        package = _PACKAGE.fullmatch(zone.name) is not None
        return Domain(
            name=zone.label,
            kind=kind,
            form="counter",
            provenance=Provenance.MEASURED,
            max_power_w=_MAX_POWER_W[kind],
            summed=kind is Kind.PLATFORM if psys else package or kind is Kind.DRAM,
            modulus_j=None if zone.modulus_uj is None else zone.modulus_uj / 1e6,
            resolution_j=RESOLUTION_J,
            update_s=UPDATE_S,
            stuck_s=STUCK_S if package else None,
            note=f"{zone.zone}, {zone.note}" if zone.note else zone.zone,
        )

    def sample(self) -> tuple[Reading, ...]:
        """Read every zone once; see `Source`."""
        readings, errors = self._read()
        if not readings:
            raise next(iter(errors.values()))
        return readings

    def _read(self) -> tuple[tuple[Reading, ...], dict[Domain, SourceError]]:
        readings: list[Reading] = []
        errors: dict[Domain, SourceError] = {}
        for domain, zone in zip(self.domains, self._zones, strict=True):
            try:
                readings.append(Reading(domain, zone.read_uj() / 1e6))
            except SourceError as error:
                errors[domain] = error
        return tuple(readings), errors
