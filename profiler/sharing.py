"""How a GPU is shared right now: by one owner, in time, through MPS, or cut into MIG instances.

Only NVML's word on it lives here; `gpu` turns it into work, `sources.nvml` into a note.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from .nvidia import Driver

__all__ = ["MigInstance", "Mode", "Sharing", "mig_instances", "sharing"]

Mode = Literal["exclusive", "sm_share", "mps", "mig"]
"""By what the work of a GPU is shared: it has one owner; processes take turns; clients of a
Multi-Process Service run at once; it is cut into instances."""

_MPS_SERVER = "nvidia-cuda-mps-server"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigInstance:
    """One MIG device: a compute instance within a GPU instance.

    Args:
        uuid: Its lasting name, the one that containers get.
        profile: For people, for instance "3g.40gb".
        gpu_instance: The number of its GPU instance, on which activity is counted.
        gpu_slices: Compute slices of that GPU instance.
        own_slices: How many of these are this device's own.
    """

    uuid: str
    profile: str
    gpu_instance: int
    gpu_slices: int
    own_slices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How a GPU is shared.

    Args:
        mode: By what its work is to be shared.
        pids: Processes with a compute context, clients of MPS included, its server not.
        servers: Servers of MPS: they run the work of their clients.
        instances: The MIG devices.
        slices: Compute slices of the whole GPU, where it is cut.
        note: For people.
    """

    mode: Mode
    pids: tuple[int, ...] = ()
    servers: tuple[int, ...] = ()
    instances: tuple[MigInstance, ...] = ()
    slices: int = 0
    note: str = ""


def mig_instances(driver: Driver, handle: Any) -> tuple[MigInstance, ...] | None:
    """Return the MIG devices of a GPU, `None` where it is not in MIG mode.

    Vendor API: `nvmlDeviceGetMigMode`, `nvmlDeviceGetMigDeviceHandleByIndex` (indices have holes),
    `nvmlDeviceGetAttributes_v2`.

    Raises:
        NVMLError: Of the client: the GPU is lost, or may not be read.
    """
    client = driver.client
    modes = driver.ask(client.nvmlDeviceGetMigMode, handle)
    if modes is None or modes[0] != client.NVML_DEVICE_MIG_ENABLE:
        return None
    found = []
    for index in range(client.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            mig = client.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
        except client.NVMLError_NotFound:
            continue
        attributes = client.nvmlDeviceGetAttributes_v2(mig)
        found.append(
            MigInstance(
                uuid=client.nvmlDeviceGetUUID(mig),
                profile=client.nvmlDeviceGetName(mig).rpartition("MIG ")[2],
                gpu_instance=client.nvmlDeviceGetGpuInstanceId(mig),
                gpu_slices=attributes.gpuInstanceSliceCount,
                own_slices=attributes.computeInstanceSliceCount,
            )
        )
    return tuple(found)


def sharing(driver: Driver, handle: Any) -> Sharing:
    """Ask how a GPU is shared right now.

    Vendor API: `nvmlDeviceGetComputeRunningProcesses_v3`, and its sibling for MPS, which lists the
    clients; the server is a compute process with a well-known name.

    Raises:
        NVMLError: Of the client: the GPU is lost, or may not be read.
    """
    client = driver.client
    instances = mig_instances(driver, handle)
    if instances is not None:
        return Sharing(
            mode="mig",
            instances=instances,
            slices=client.nvmlDeviceGetMaxMigDeviceCount(handle),
            note=f"MIG: {', '.join(one.profile for one in instances) or 'no instance'}",
        )
    compute = _pids(driver.ask(client.nvmlDeviceGetComputeRunningProcesses_v3, handle))
    clients = _pids(driver.ask(client.nvmlDeviceGetMPSComputeRunningProcesses_v3, handle))
    servers = {pid for pid in compute - clients if _name(client, pid).endswith(_MPS_SERVER)}
    if clients or servers:
        pids = sorted((compute | clients) - servers)
        note = f"MPS: {len(pids)} clients"
        return Sharing(mode="mps", pids=tuple(pids), servers=tuple(sorted(servers)), note=note)
    pids = sorted(compute)
    exclusive = client.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS
    if driver.ask(client.nvmlDeviceGetComputeMode, handle) == exclusive and len(pids) < 2:
        return Sharing(mode="exclusive", pids=tuple(pids), note="one process at a time")
    note = f"time-sliced: {len(pids)} processes" if len(pids) > 1 else ""
    return Sharing(mode="sm_share", pids=tuple(pids), note=note)


def _pids(processes: Iterable[Any] | None) -> set[int]:
    return {process.pid for process in processes or ()}


def _name(client: Any, pid: int) -> str:
    """Return a process's name, or nothing where NVML may not look into it."""
    try:
        return str(client.nvmlSystemGetProcessName(pid)).split("\0")[0].split(" ")[0]
    except client.NVMLError:
        return ""
