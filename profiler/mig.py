"""Activity of MIG instances: how busy each is by NVML's performance monitoring (GPM), if it tells.

GPM counts per GPU instance and needs Hopper or later. Without it an instance counts by its slices
alone, and the note says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .nvidia import Driver
from .sharing import MigInstance

__all__ = ["MigActivity", "instance_ratios"]


def instance_ratios(
    instances: Iterable[MigInstance], slices: int, activity: Mapping[int, float | None]
) -> dict[str, float]:
    """Return the share of the whole GPU's time that each MIG device used: slices times activity.

    Devices of one GPU instance share its activity by their own slices.

    Args:
        instances: The MIG devices.
        slices: Compute slices of the whole GPU.
        activity: For each GPU instance how busy it was, 0 to 1; `None` where that is not told:
            it then counts as busy all the time.
    """
    found = tuple(instances)
    claimed: dict[int, int] = {}
    for one in found:
        claimed[one.gpu_instance] = claimed.get(one.gpu_instance, 0) + one.own_slices
    ratios = {}
    for one in found:
        busy = activity[one.gpu_instance]
        own = one.own_slices / max(1, claimed[one.gpu_instance])
        ratios[one.uuid] = one.gpu_slices / max(1, slices) * own * (1.0 if busy is None else busy)
    return ratios


class MigActivity:
    """SM utilisation of the GPU instances of one GPU, from one call to the next.

    Vendor API: `nvmlGpmMigSampleGet` (calls more than 100 ms apart), `nvmlGpmMetricsGet` with
    NVML_GPM_METRIC_SM_UTIL: percent of the SMs, of those of the instance, that were busy.

    Args:
        driver: The library.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._samples: dict[int, Any] = {}
        self.note = ""

    def ratios(self, handle: Any, gpu_instances: Iterable[int]) -> dict[int, float | None]:
        """Return how busy each GPU instance was since the last call; `None` where not told.

        An instance that is seen for the first time has no past: 0.

        Raises:
            NVMLError: Of the client: the GPU is lost.
        """
        client = self._driver.client
        wanted = set(gpu_instances)
        support = self._driver.ask(client.nvmlGpmQueryDeviceSupport, handle)
        if support is None or not support.isSupportedDevice:
            self.note = "by slices alone: activity of instances is told since Hopper"
            return dict.fromkeys(wanted)
        self.note = ""
        for gone in self._samples.keys() - wanted:
            client.nvmlGpmSampleFree(self._samples.pop(gone))
        return {number: self._ratio(handle, number) for number in sorted(wanted)}

    def _ratio(self, handle: Any, gpu_instance: int) -> float | None:
        client = self._driver.client
        fresh = client.nvmlGpmSampleAlloc()
        try:
            client.nvmlGpmMigSampleGet(handle, gpu_instance, fresh)
        except (
            client.NVMLError_NoPermission,
            client.NVMLError_NotSupported,
            client.NVMLError_FunctionNotFound,
            client.NVMLError_NoData,
        ) as error:
            client.nvmlGpmSampleFree(fresh)
            self.note = f"by slices alone, instance {gpu_instance} tells no activity: {error}"
            return None
        except client.NVMLError:
            client.nvmlGpmSampleFree(fresh)
            raise
        before, self._samples[gpu_instance] = self._samples.get(gpu_instance), fresh
        if before is None:
            return 0.0
        try:
            return self._between(before, fresh)
        finally:
            client.nvmlGpmSampleFree(before)

    def _between(self, before: Any, after: Any) -> float | None:
        client = self._driver.client
        query = client.c_nvmlGpmMetricsGet_t()
        query.version = client.NVML_GPM_METRICS_GET_VERSION
        query.numMetrics = 1
        query.sample1, query.sample2 = before, after
        query.metrics[0].metricId = client.NVML_GPM_METRIC_SM_UTIL
        client.nvmlGpmMetricsGet(query)
        metric = query.metrics[0]
        if metric.nvmlReturn != client.NVML_SUCCESS or not 0 <= metric.value <= 100:
            self.note = "by slices alone: the driver computed no activity"
            return None
        return float(metric.value) / 100
