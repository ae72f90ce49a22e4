"""Intel Gaudi (Habana) accelerators through HLML: the board's energy counter, else its power.

Vendor API: HLML reference, `hlml_device_get_total_energy_consumption` (millijoules since the
driver was loaded), `hlml_device_get_power_usage` (milliwatts),
`hlml_device_get_utilization_rates` (per cent of the last second); the binding is `pyhlml`.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
from collections.abc import Callable, Iterator
from typing import Any, Literal

from ...errors import SourceError, SourceFailed, SourceUnavailable
from ..quantities import Provenance
from .base import Domain, Kind, Reading
from .npu import BusySeconds, read_each

__all__ = ["Habana"]

UPDATE_S = 1.0
"""HLML states no renewal of energy and power; its utilisation covers the last second."""

LIMIT_FACTOR = 2.0
"""Short peaks pass the power limit."""

MAX_POWER_W = 5000.0
"""For a board that tells no power limit: more than any draws."""


class Habana:
    """Every Gaudi board of the machine.

    Args:
        client: The module `pyhlml`.
        clock: Monotonic seconds, for busy time.

    Raises:
        SourceUnavailable: There is no driver, no board, or no board tells its energy or power.
        SourceFailed: The driver answers with another error.
    """

    name = "habana"

    def __init__(self, client: Any, clock: Callable[[], float]) -> None:
        self._client, self._busy = client, BusySeconds(clock)
        codes = client.hlml_t.HLML_RETURN
        # A library older than the call is an invalid argument to the binding.
        self._cannot = {
            codes.HLML_ERROR_NOT_SUPPORTED,
            codes.HLML_ERROR_INVALID_ARGUMENT,
            codes.HLML_ERROR_NO_DATA,
        }
        self._absent = {
            codes.HLML_ERROR_UNINITIALIZED,
            codes.HLML_ERROR_DRIVER_NOT_LOADED,
            codes.HLML_ERROR_NOT_FOUND,
        }
        # The binding prints when it finds no library: that is our status, not our user's output.
        with self._explained("habana"), contextlib.redirect_stdout(io.StringIO()):
            client.hlmlInit()
            count = client.hlmlDeviceGetCount()
            found = [(self._handle(index), f"gaudi-{index}") for index in range(count)]
            described = [(self._domain(name, handle), handle) for handle, name in found]
        self._handles = {domain.name: handle for domain, handle in described if domain is not None}
        self.domains = tuple(domain for domain, _ in described if domain is not None)
        if not self.domains:
            what = f"{count} boards, none with a power sensor" if count else "no board"
            raise SourceUnavailable("habana", found=what)

    def _handle(self, index: int) -> ctypes.c_void_p:
        # The binding returns one and the same object for every board: keep what it says now.
        return ctypes.c_void_p(self._client.hlmlDeviceGetHandleByIndex(index).value)

    def _domain(self, name: str, handle: ctypes.c_void_p) -> Domain | None:
        """Describe one board, or return `None` when it tells neither energy nor power."""
        client = self._client
        form: Literal["counter", "power"]
        if self._value(client.hlmlDeviceGetTotalEnergyConsumption, handle) is not None:
            form, provenance = "counter", Provenance.MEASURED
        elif self._value(client.hlmlDeviceGetPowerUsage, handle) is not None:
            form, provenance = "power", Provenance.INTEGRATED
        else:
            return None
        limit_mw = self._value(client.hlmlDeviceGetPowerManagementDefaultLimit, handle)
        return Domain(
            name=name,
            kind=Kind.NPU,
            form=form,
            provenance=provenance,
            max_power_w=LIMIT_FACTOR * limit_mw / 1e3 if limit_mw else MAX_POWER_W,
            resolution_j=1e-3 if form == "counter" else 0.0,
            update_s=UPDATE_S,
            note=f"{client.hlmlDeviceGetName(handle).decode()}, "
            f"{client.hlmlDeviceGetUUID(handle).decode()}",
        )

    def _value(self, call: Any, handle: ctypes.c_void_p) -> float | None:
        """Return what a call says, or `None` when this board cannot tell it."""
        try:
            return float(call(handle))
        except self._client.HLMLError as error:
            if error.value in self._cannot:
                return None
            raise

    def sample(self) -> tuple[Reading, ...]:
        """Read every board once; see `Source`."""
        return read_each("habana", self.domains, self._read)

    def _read(self, domain: Domain) -> float:
        client, handle = self._client, self._handles[domain.name]
        with self._explained(f"habana {domain.name}"):
            if domain.form == "counter":
                return float(client.hlmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
            return float(client.hlmlDeviceGetPowerUsage(handle)) / 1e3

    def busy_s(self) -> dict[str, float]:
        """Return the busy seconds of each board that tells its utilisation; they never fall."""
        ratios: dict[str, float] = {}
        for name, handle in self._handles.items():
            with contextlib.suppress(SourceError), self._explained(f"habana {name}"):
                percent = self._client.hlmlDeviceGetUtilizationRates(handle)
                ratios[name] = percent / 100
        return self._busy.update(ratios)

    @contextlib.contextmanager
    def _explained(self, subject: str) -> Iterator[None]:
        """Turn HLML's errors into ours."""
        try:
            yield
        except self._client.HLMLError as error:
            what = type(error).__name__.removeprefix("HLMLError_")
            if error.value in self._absent:
                raise SourceUnavailable(subject, found=f"no Gaudi driver ({what})") from error
            raise SourceFailed(subject, found=f"HLML error {error.value} ({what})") from error
