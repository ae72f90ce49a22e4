"""Which pod an accelerator worked for: allocations of the kubelet, and processes through cgroups.

How a GPU is shared is `profiler.gpu`'s to know; here its consumers become pods. Whose work is not
known stays with the system.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from ..errors import SourceError
from ..profiler.gpu import GpuWork
from ..profiler.sources import Kind, Source
from ..profiler.watch import Busy, Domains
from .cgroup_path import pod_of_process
from .pod_resources import Allocation, device_of
from .pods import Pod

__all__ = ["Accelerators", "Allocator", "GpuPods"]

_KINDS = {
    "amd.com/": Kind.GPU,
    "gpu.intel.com": Kind.GPU,
    "habana.ai/": Kind.NPU,
    "furiosa.ai/": Kind.NPU,
    "huawei.com/": Kind.NPU,
    "intel.com/npu": Kind.NPU,
    "npu.intel.com/": Kind.NPU,
    "qualcomm.com/": Kind.NPU,
    "tenstorrent.com/": Kind.NPU,
}
"""What a resource of a device plugin is, by how its name begins. NVIDIA's are told by UUID."""


_BACK_OFF_S = 30.0
"""A kubelet that did not answer is not asked again for so long: each try may take seconds."""


class Allocator(Protocol):
    """Tells which container has which device; `pod_resources.PodResources` is one."""

    def list(self) -> tuple[Allocation, ...]:
        """Return every allocation of the node.

        Raises:
            SourceError: The kubelet does not tell.
        """


class GpuPods:
    """The work on one NVIDIA GPU, by pod.

    Args:
        work: Of the GPU, by process, MIG device or owner.
        proc: Root of procfs, of the host: processes are looked up in it.
        problems: Counts what could not be read.
    """

    def __init__(self, work: GpuWork, proc: Path, problems: Counter[str]) -> None:
        self._work, self._proc, self._problems = work, proc, problems
        self._holders: Mapping[str, frozenset[str]] = {}
        self._running: frozenset[str] = frozenset()
        self._of_process: dict[str, str] = {}
        self._seen_s: Mapping[str, float] = {}
        self._pods_s: dict[str, float] = {}

    def follow(self, holders: Mapping[str, frozenset[str]], running: Iterable[str]) -> None:
        """Take who holds which device now, by UUID, and which pods run."""
        owner = _only(holders.get(self._work.uuid or "", frozenset()))
        if self._work.owner not in (None, owner):
            self.busy()  # up to now it was another's
        self._holders, self._running, self._work.owner = holders, frozenset(running), owner
        self._pods_s = {uid: s for uid, s in self._pods_s.items() if uid in self._running}

    def busy(self) -> Busy:
        """Return the work so far; what fails counts nothing, and the next time begins anew."""
        try:
            now_s = self._work.busy_s()
        except SourceError as error:
            self._problems[f"{self._work.name}: {type(error).__name__}"] += 1
            now_s = self._seen_s
        for key, spent_s in now_s.items():
            step_s = spent_s - self._seen_s.get(key, 0.0)
            uid = self._pod_of(key) if step_s > 0 else None
            if uid is not None:
                self._pods_s[uid] = self._pods_s.get(uid, 0.0) + step_s
        self._seen_s = now_s
        self._of_process = {key: uid for key, uid in self._of_process.items() if key in now_s}
        return Busy(total_s=self._work.total_s, consumers_s=dict(self._pods_s))

    def _pod_of(self, key: str) -> str | None:
        """Return the pod that a consumer of the GPU belongs to."""
        if key in self._running:
            return key
        uid = _only(self._holders.get(key, frozenset()))
        if key.startswith("pid:"):
            try:
                uid = pod_of_process(self._proc, int(key.removeprefix("pid:")))
            except SourceError:
                self._problems["process_forbidden"] += 1
            # One that has just ended still has work to be told.
            uid = self._of_process.get(key) if uid is None else uid
            if uid is not None:
                self._of_process[key] = uid
        return uid if uid in self._running else None


def _only(holders: frozenset[str]) -> str | None:
    """Return the one holder, where there is one."""
    return next(iter(holders)) if len(holders) == 1 else None


class Accelerators:
    """All accelerators of a node.

    Args:
        sources: The energy sources: what else than NVIDIA's GPUs they tell has no counted work.
        gpus: The work on NVIDIA's GPUs.
        proc: Root of procfs, of the host.
        allocator: Tells who has which device.
        problems: Counts what could not be read.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        gpus: Iterable[GpuWork],
        proc: Path,
        allocator: Allocator,
        problems: Counter[str],
        clock: Callable[[], float],
    ) -> None:
        self._allocator, self._problems, self._clock = allocator, problems, clock
        self._again_s = -math.inf
        self._gpus = {f"nvml:{work.name}": GpuPods(work, proc, problems) for work in gpus}
        self._uncounted = {
            f"{source.name}:{domain.name}": domain.kind
            for source in sources
            for domain in source.domains
            if domain.summed and domain.kind in (Kind.GPU, Kind.NPU)
        }
        self._with: dict[Kind, frozenset[str]] = {}
        """Who has accelerators of a kind whose work nobody counts."""
        self._holders: Mapping[str, frozenset[str]] = {}
        self._running: frozenset[str] = frozenset()

    @property
    def readers(self) -> Domains:
        """Readers of the work on each accelerator, by its energy's domain."""
        owned = {key: self._owned(kind) for key, kind in self._uncounted.items()}
        return owned | {key: gpu.busy for key, gpu in self._gpus.items()}

    def follow(self, pods: Mapping[str, Pod]) -> None:
        """Ask who has which device, and take which pods run.

        When the kubelet does not answer, what it said last stands, for pods that still run.
        """
        if not self._uncounted and not self._gpus:
            return
        if self._clock() >= self._again_s:
            try:
                self._take(self._allocator.list(), pods)
            except SourceError as error:
                self._problems[f"pod_resources: {type(error).__name__}"] += 1
                self._again_s = self._clock() + _BACK_OFF_S
        self._running = frozenset(pods)
        for gpu in self._gpus.values():
            gpu.follow(self._holders, pods)

    def _take(self, allocations: Iterable[Allocation], pods: Mapping[str, Pod]) -> None:
        uids = {(pod.namespace, pod.name): pod.uid for pod in pods.values()}
        holders: dict[str, set[str]] = {}
        kinds: dict[Kind, set[str]] = {}
        for one in allocations:
            uid = uids.get((one.namespace, one.pod))
            if uid is None:
                continue
            for number in one.device_ids:
                holders.setdefault(device_of(number), set()).add(uid)
            for prefix, kind in _KINDS.items():
                if one.resource.startswith(prefix) and one.device_ids:
                    kinds.setdefault(kind, set()).add(uid)
        self._holders = {device: frozenset(some) for device, some in holders.items()}
        self._with = {kind: frozenset(some) for kind, some in kinds.items()}

    def _owned(self, kind: Kind) -> Callable[[], Busy]:
        """Return the reader of an accelerator whose work nobody counts: it is its only holder's."""

        def read() -> Busy:
            holders = self._with.get(kind, frozenset()) & self._running
            return Busy(total_s=None, owner=_only(holders), held=bool(holders))

        return read
