"""NVIDIA GPUs through NVML: the board's energy counter (Volta and later), else its power.

Vendor API: NVML reference, `nvmlDeviceGetTotalEnergyConsumption` (millijoules since the driver
was loaded) and `nvmlDeviceGetPowerUsage` (milliwatts). Which of them, is decided once per GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from ...errors import SourceFailed, SourceForbidden, SourceUnavailable
from ..quantities import Provenance
from .base import Domain, Kind, Reading

__all__ = ["Nvml"]

UPDATE_S = 0.1
"""Boards renew counter and power every 20 to 100 ms; NVIDIA states no figure."""

ACCURACY_RATIO = 0.05
"""NVML's reference gives +-5 % for the power reading; the counter adds up the same sensor."""

LIMIT_FACTOR = 2.0
"""Short peaks pass the power limit, and the limit can be raised while we measure."""

MAX_POWER_W = 5000.0
"""For a GPU that tells no power limit: more than any board draws."""


class Nvml:
    """Every NVIDIA GPU of the machine.

    Args:
        client: The module `pynvml` of nvidia-ml-py.

    Raises:
        SourceUnavailable: There is no driver, no GPU, or no GPU tells its energy or power.
        SourceForbidden: The driver does not let this user in.
        SourceFailed: The driver answers with another error.
    """

    name = "nvml"

    def __init__(self, client: Any) -> None:
        self._client = client
        with self._explained():
            client.nvmlInit()
            handles = [
                client.nvmlDeviceGetHandleByIndex(index)
                for index in range(client.nvmlDeviceGetCount())
            ]
            found = [(self._domain(index, handle), handle) for index, handle in enumerate(handles)]
        self._devices = [(domain, handle) for domain, handle in found if domain is not None]
        if not self._devices:
            what = f"{len(handles)} GPUs, none with a power sensor" if handles else "no GPU"
            raise SourceUnavailable("nvml", found=what)
        self.domains = tuple(domain for domain, _ in self._devices)

    def _domain(self, index: int, handle: object) -> Domain | None:
        """Describe one GPU, or return `None` when it tells neither energy nor power."""
        client = self._client
        form: Literal["counter", "power"]
        if self._supported(client.nvmlDeviceGetTotalEnergyConsumption, handle):
            form, provenance = "counter", Provenance.MEASURED
        elif self._supported(client.nvmlDeviceGetPowerUsage, handle):
            form, provenance = "power", Provenance.INTEGRATED
        else:
            return None
        max_power_w = MAX_POWER_W
        if self._supported(client.nvmlDeviceGetPowerManagementLimit, handle):
            limit_w = client.nvmlDeviceGetPowerManagementLimit(handle) / 1e3
            max_power_w = LIMIT_FACTOR * limit_w if limit_w > 0 else MAX_POWER_W
        return Domain(
            name=f"gpu-{index}",
            kind=Kind.GPU,
            form=form,
            provenance=provenance,
            max_power_w=max_power_w,
            resolution_j=1e-3 if form == "counter" else 0.0,
            update_s=UPDATE_S,
            low_ratio=1 - ACCURACY_RATIO,
            high_ratio=1 + ACCURACY_RATIO,
            note=f"{client.nvmlDeviceGetName(handle)}, {client.nvmlDeviceGetUUID(handle)}",
        )

    def _supported(self, call: Any, handle: object) -> bool:
        try:
            call(handle)
        except (self._client.NVMLError_NotSupported, self._client.NVMLError_FunctionNotFound):
            return False
        return True

    def sample(self) -> tuple[Reading, ...]:
        """Read every GPU once; see `Source`."""
        client = self._client
        with self._explained():
            return tuple(
                Reading(
                    domain,
                    client.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
                    if domain.form == "counter"
                    else client.nvmlDeviceGetPowerUsage(handle) / 1e3,
                )
                for domain, handle in self._devices
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn NVML's errors into ours."""
        client = self._client
        try:
            yield
        except (client.NVMLError_LibraryNotFound, client.NVMLError_DriverNotLoaded) as error:
            raise SourceUnavailable("nvml", found=f"no NVIDIA driver ({error})") from error
        except client.NVMLError_NoPermission as error:
            raise SourceForbidden(
                "nvml",
                found=str(error),
                remedy="give this user access to /dev/nvidia* (for instance the group 'video')",
            ) from error
        except client.NVMLError as error:
            raise SourceFailed("nvml", found=str(error)) from error
