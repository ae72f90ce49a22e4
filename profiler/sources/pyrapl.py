"""RAPL as pyRAPL reads it: a second, independent reading of packages and memory.

Package: pyRAPL 0.2.3.1. Its readers look in /sys alone and take no other root, so they are made
without their constructor and told the folders; opening and reading the counters is theirs. They
do not know that counters wrap, and what they call joules are microjoules: `counter` sees to the
one, this file to the other.
"""

from __future__ import annotations

import re
import warnings
import weakref
from pathlib import Path
from typing import Any

from ...errors import SourceFailed, SourceForbidden, SourceUnavailable
from ..quantities import Provenance
from .base import Domain, Kind, Reading
from .powercap import RESOLUTION_J, STUCK_S, UPDATE_S, Zone, find_zones

__all__ = ["PyRapl"]

MAX_POWER_W = {Kind.CPU: 1500.0, Kind.DRAM: 500.0}
"""Well above any socket, and any socket's memory: only wrong readings are larger."""

_PACKAGE = re.compile(r"package-(\d+)")
_MSR = re.compile(r"intel-rapl:(?P<number>[0-9a-f]+)")


class PyRapl:
    """The package of every socket, and its memory where it has a counter.

    Args:
        client: The module `pyRAPL`.
        sys: Root of sysfs.

    Raises:
        SourceUnavailable: There is no package, or several counters for one socket, of which
            pyRAPL could show only one.
        SourceForbidden: A counter may not be read.
        SourceFailed: A counter is not a number.
    """

    name = "pyrapl"

    def __init__(self, client: Any, sys: Path) -> None:
        zones: dict[str, Zone] = {}
        for zone in find_zones(sys):
            zones.setdefault(zone.label, zone)  # a later one of that name mirrors the first
        packages = {
            int(socket[1]): (zone, rapl["number"])
            for zone in zones.values()
            if (socket := _PACKAGE.fullmatch(zone.name)) and (rapl := _MSR.fullmatch(zone.zone))
        }
        if not packages:  # a zone for each die, "package-0-die-0", is none that pyRAPL knows
            raise SourceUnavailable(
                f"pyrapl {sys / 'class/powercap'}",
                found=", ".join(zones),
                expected="one package zone for each socket",
            )
        drams = {
            number: (zones[f"{zone.name}/dram"], rapl)
            for number, (zone, rapl) in packages.items()
            if f"{zone.name}/dram" in zones
        }
        folders = {socket: (str(zone.path), rapl) for socket, (zone, rapl) in packages.items()}
        self._apis = [
            (self._api(client, client.PkgAPI, folders), self._domains(packages, Kind.CPU))
        ]
        if len(drams) == len(packages):  # pyRAPL reads the memory of every socket, or none
            self._apis.append(
                (self._api(client, client.DramAPI, folders), self._domains(drams, Kind.DRAM))
            )
        self.domains = tuple(domain for _, some in self._apis for domain in some.values())
        self.sample()

    def _api(self, client: Any, reader: Any, folders: dict[int, tuple[str, str]]) -> Any:
        """Return one of pyRAPL's readers on these folders."""
        api = reader.__new__(reader)
        api._socket_ids = sorted(folders)
        api._get_socket_directory_names = lambda: [folders[n] for n in sorted(folders)]
        with warnings.catch_warnings():
            # It leaves the files with the names of zones to the garbage collector.
            warnings.simplefilter("ignore", ResourceWarning)
            try:
                api._sys_files = api._open_rapl_files()
            except PermissionError as error:
                raise SourceForbidden(
                    f"pyrapl {error.filename}",
                    remedy="as for powercap: only root may read energy_uj unless told otherwise",
                ) from error
            except OSError as error:
                raise SourceFailed(f"pyrapl {error.filename}", found=error.strerror) from error
            except client.PyRAPLException as error:
                raise SourceUnavailable(
                    f"pyrapl {next(iter(folders.values()))[0]}",
                    found="zones that are not where pyRAPL looks for them",
                    expected="memory's folder within its package's",
                ) from error
        for file in api._sys_files:
            weakref.finalize(self, file.close)  # it has no way to close them
        return api

    def _domains(self, zones: dict[int, tuple[Zone, str]], kind: Kind) -> dict[int, Domain]:
        return {
            socket: Domain(
                name=zone.label,
                kind=kind,
                form="counter",
                provenance=Provenance.MEASURED,
                max_power_w=MAX_POWER_W[kind],
                summed=False,
                modulus_j=None if zone.modulus_uj is None else zone.modulus_uj / 1e6,
                resolution_j=RESOLUTION_J,
                update_s=UPDATE_S,
                stuck_s=STUCK_S if kind is Kind.CPU else None,
                note=f"{zone.zone} as pyRAPL reads it, beside powercap",
            )
            for socket, (zone, _) in sorted(zones.items())
        }

    def sample(self) -> tuple[Reading, ...]:
        """Read every counter once; see `Source`."""
        readings: list[Reading] = []
        for api, domains in self._apis:
            try:
                values_uj = api.energy()
            except ValueError as error:
                raise SourceFailed("pyrapl", found=str(error)) from error
            except OSError as error:
                raise SourceUnavailable("pyrapl", found=error.strerror) from error
            # -1 is pyRAPL's "no such socket".
            readings += [
                Reading(domain, values_uj[socket] / 1e6)
                for socket, domain in domains.items()
                if values_uj[socket] >= 0
            ]
        if not readings:
            raise SourceFailed("pyrapl", found="no counter", expected="microjoules of a socket")
        return tuple(readings)
