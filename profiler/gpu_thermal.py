"""How warm NVIDIA's GPUs are, and for how long heat has slowed them down.

Vendor API: NVML reference, `nvmlDeviceGetTemperature` (°C), and the field of cumulative nanoseconds
below. That a GPU keeps its power limit is no slowdown: under load most do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .nvidia import Driver, field_values

__all__ = ["GpuHeat", "GpuThermals"]

_POLICY_THERMAL = 75
"""NVML_FI_DEV_PERF_POLICY_THERMAL. Finer fields changed their numbers from driver to driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuHeat:
    """What all GPUs of a machine say at one moment; `None` for what one of them does not tell.

    Args:
        temperature_c: Of the warmest, °C.
        slowed_s: Time in which they were slowed down so far, seconds, added up over GPUs.
    """

    temperature_c: float | None
    slowed_s: float | None


class GpuThermals:
    """Every GPU of the machine, found again after it was lost.

    Args:
        client: The module `pynvml` of nvidia-ml-py.

    Attributes:
        names: The GPUs' models.

    Raises:
        SourceUnavailable: There is no driver or no GPU.
        SourceForbidden: The driver does not let this user in.
        SourceFailed: The driver answers with another error.
    """

    def __init__(self, client: Any) -> None:
        self._driver = Driver(client)
        self._boards = self._driver.boards()
        self.names = tuple(board.model for board in self._boards)

    def read(self) -> GpuHeat:
        """Read every GPU once.

        Raises:
            SourceForbidden: One may not be read.
            SourceFailed: One is lost.
        """
        with self._driver.explained("GPU temperature"):
            temperatures_c = [board.read(self._temperature_c) for board in self._boards]
            slowed_s = [board.read(self._slowed_s) for board in self._boards]
        known_c = [one for one in temperatures_c if one is not None]
        known_s = [one for one in slowed_s if one is not None]
        every = len(self._boards)
        return GpuHeat(
            temperature_c=max(known_c) if len(known_c) == every else None,
            slowed_s=sum(known_s) if len(known_s) == every else None,
        )

    def _temperature_c(self, handle: Any) -> float | None:
        client = self._driver.client
        return self._driver.ask(
            client.nvmlDeviceGetTemperature, handle, client.NVML_TEMPERATURE_GPU
        )

    def _slowed_s(self, handle: Any) -> float | None:
        [slowed_ns] = field_values(self._driver.client, handle, [(_POLICY_THERMAL, 0)])
        return None if slowed_ns is None else slowed_ns / 1e9
