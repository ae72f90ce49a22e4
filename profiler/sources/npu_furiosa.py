"""Furiosa RNGD cards through the vendor's binding: the card's power.

Vendor API: Furiosa SMI library, Python package `furiosa-smi` (from SDK 2026.4 on; it took the
place of `furiosa-smi-py`): `power_consumption` (watts, the mean square of the whole card),
`power_limit` (milliwatts), `performance_counter` (cycles of each core, and of its tasks).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from ...errors import SourceError, SourceFailed, SourceForbidden, SourceUnavailable
from ..quantities import Provenance
from .base import Domain, Kind, Reading
from .npu import BusySeconds, read_each

__all__ = ["Furiosa"]

UPDATE_S = 1.0
"""The vendor states no renewal; the figure is an average, so not a fast one."""

LIMIT_FACTOR = 2.0
"""Short peaks pass the power limit, and the limit can be raised while we measure."""

MAX_POWER_W = 1000.0
"""For a card that tells no limit: five times the rated power of an RNGD."""


class Furiosa:
    """Every Furiosa card of the machine.

    Args:
        client: The module `furiosa_smi`.
        clock: Monotonic seconds, for busy time.

    Raises:
        SourceUnavailable: There is no card, or none tells its power.
        SourceForbidden: Its files may not be read.
        SourceFailed: The binding reports another error.
    """

    name = "furiosa"

    def __init__(self, client: Any, clock: Callable[[], float]) -> None:
        self._client, self._busy = client, BusySeconds(clock)
        with self._explained("furiosa"):
            self._devices = {str(device.device_name()): device for device in client.list_devices()}
        if not self._devices:
            raise SourceUnavailable("furiosa", found="no card")
        self.domains = tuple(self._domain(name) for name in self._devices)
        self._cycles: dict[str, Any] = {}
        self.sample()

    def _domain(self, name: str) -> Domain:
        device = self._devices[name]
        max_power_w = MAX_POWER_W
        with contextlib.suppress(self._client.SmiError):
            limit_mw = device.power_limit()
            max_power_w = LIMIT_FACTOR * limit_mw / 1e3 if limit_mw else MAX_POWER_W
        with self._explained(f"furiosa {name}"):
            note = f"{device.bdf()}, {device.uuid()}"
        return Domain(
            name=name,
            kind=Kind.NPU,
            form="power",
            provenance=Provenance.INTEGRATED,
            max_power_w=max_power_w,
            update_s=UPDATE_S,
            note=note,
        )

    def sample(self) -> tuple[Reading, ...]:
        """Read every card once; see `Source`."""
        return read_each("furiosa", self.domains, self._read)

    def _read(self, domain: Domain) -> float:
        with self._explained(f"furiosa {domain.name}"):
            return float(self._devices[domain.name].power_consumption())

    def busy_s(self) -> dict[str, float]:
        """Return the busy seconds of each card, the mean over its cores; they never fall.

        A core that no process holds has no counters, and is not busy.
        """
        ratios: dict[str, float] = {}
        for name, device in self._devices.items():
            with contextlib.suppress(SourceError), self._explained(f"furiosa {name}"):
                now = device.performance_counter()
                before = self._cycles.get(name, {})
                self._cycles[name] = now
                shares = [
                    float(cycles.utilization_since(before[core])) if core in before else 0.0
                    for core, cycles in now.items()
                ]
                ratios[name] = sum(shares) / len(shares) if shares else 0.0
        return self._busy.update(ratios)

    @contextlib.contextmanager
    def _explained(self, subject: str) -> Iterator[None]:
        """Turn the binding's errors into ours."""
        try:
            yield
        except self._client.DeviceNotAvailableError as error:
            raise SourceUnavailable(subject, found=str(error)) from error
        except self._client.SmiError as error:
            if "os error 13" in str(error):  # EACCES: the binding has no class of its own for it
                raise SourceForbidden(
                    subject,
                    found=str(error),
                    remedy="let this user read /sys/class/rngd_mgmt and the card's hwmon folder",
                ) from error
            raise SourceFailed(subject, found=str(error)) from error
