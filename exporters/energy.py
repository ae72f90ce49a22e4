"""The energy exporter: each cycle it finds pods, reads their work, and shares out the energy.

What a pod is `pods` knows, how energy is shared `profiler.watch`, and what is told `snapshot`.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .. import __version__
from ..errors import JouleryError, SourceError, SourceUnavailable
from ..profiler.gpu import GpuWork
from ..profiler.host import Host
from ..profiler.usage import Reader
from ..profiler.watch import NodeWatch
from ..profiler.window import WindowResult
from . import metrics as m
from .accelerators import Allocator
from .exposition import Scrape
from .families import Family, ordered
from .own import resident_bytes
from .pod_cpu import PodCpu
from .pod_resources import PodResources
from .pods import Pod, PodFinder
from .problems import explained
from .sensors import Finder, Sensors, should_work
from .settings import Settings
from .snapshot import PodRow, device_families, pod_families

__all__ = ["EnergyExporter"]

_log = logging.getLogger(__name__)

_BARE = "exporter"
"""The consumer that is this process where it runs outside of a pod."""


@dataclass(slots=True)
class _Watched:
    """One pod that runs, or ended not long ago."""

    pod: Pod
    work: PodCpu
    read: Callable[[], float]
    ended_s: float | None = None


class EnergyExporter:
    """Watches a node's pods; `cycle` is called again and again, and `scrape` has what it found.

    Args:
        settings: See `Settings`.
        find: Looks for energy sources; all that this machine has, if not given.
        gpus: Opens the work on NVIDIA's GPUs; likewise.
        allocator: Who has which device; the kubelet tells, if not given.
        clock: Monotonic seconds.

    Raises:
        SourceUnavailable: This machine has no control groups.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        find: Finder | None = None,
        gpus: Callable[[], Sequence[GpuWork]] | None = None,
        allocator: Allocator | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings, self.scrape = settings, Scrape()
        self.problems: Counter[str] = Counter()
        self._clock, self._logged = clock, set[str]()
        host = Host(sys=settings.sysfs, proc=settings.procfs, clock=clock)
        self._finder = PodFinder(
            settings.cgroupfs or settings.sysfs / "fs/cgroup",
            settings.pod_logs,
            settings.container_logs,
            clock=clock,
        )
        self._sensors = Sensors(
            settings,
            host,
            allocator=PodResources(settings.pod_resources) if allocator is None else allocator,
            problems=self.problems,
            find=find,
            gpus=gpus,
        )
        self._pods: dict[str, _Watched] = {}
        self._seen: Mapping[str, Pod] = {}
        self._leaving: set[str] = set()  # they ended, and their last lap is not over
        self._left: set[str] = set()  # they ended in this cycle
        self._counted_j: defaultdict[str, float] = defaultdict(float)
        self._cycles: Counter[str] = Counter()
        self._busy_s = 0.0
        self._lap: WindowResult | None = None
        self._ended_s = self._cycle_cpu_s = self._looks_cpu_s = 0.0
        self._looked_s = clock()

    def __enter__(self) -> EnergyExporter:
        self._sensors.__enter__()
        self._watch.enlist(self._readers())
        self._follow(first=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._sensors.__exit__()
        for one in self._pods.values():
            one.work.close()

    def _readers(self) -> Mapping[str, Reader]:
        """Return what reads the work of everyone who is watched."""
        pods = {uid: one.read for uid, one in self._pods.items() if one.ended_s is None}
        return pods if self.settings.pod_uid else pods | {_BARE: time.process_time}

    @property
    def _watch(self) -> NodeWatch:
        return self._sensors.watch

    @property
    def look_s(self) -> float:
        """How often to `look` between cycles, in seconds."""
        return self._sensors.look_s

    def look(self) -> bool:
        """Look at pods and counters, and share out the energy since the last look.

        Cycles do so as well; the more looks between them, the better is learned who draws what,
        and the less does a pod that ends leave unread.

        Returns:
            Whether the node could be read.
        """
        began_s = time.thread_time()
        self._follow()
        good = self._tried(self._share)
        self._looks_cpu_s += time.thread_time() - began_s
        return good

    def _share(self) -> None:
        lap = self._watch.lap()
        self._lap = lap
        self._busy_s += lap.busy_s
        for one in lap.intervals:
            if one.energy is not None:
                self._counted_j[f"{one.source}:{one.domain}"] += one.energy.value_j
        if self._leaving:
            self._watch.end(self._leaving)
            self._left |= self._leaving
            self._leaving.clear()

    def cycle(self, *, late: bool = False) -> bool:
        """Read, share out, and show a new snapshot; what cannot be read is counted, never raised.

        Args:
            late: It begins later than it should, since the one before took too long.

        Returns:
            Whether the node could be read.
        """
        good = self.look()
        began_s = time.thread_time()
        if good:
            # What those that left did on accelerators is told once more.
            left = {uid: self._pods[uid].pod for uid in self._left if uid in self._pods}
            self._sensors.follow(left | dict(self._seen))
            self._left.clear()
            good = self._tried(self._watch.lap_accelerators)
        if good:
            self._cycles["late" if late else "ok"] += 1
            self._forget()
            self._ended_s = time.time()
        else:
            self._cycles["failed"] += 1
        if self._lap is not None:
            self._show(self._lap)
        self._cycle_cpu_s = self._looks_cpu_s + time.thread_time() - began_s
        self._looks_cpu_s = 0.0
        self._sensors.look_again(self._readers())
        return good

    def _tried(self, read: Callable[[], object]) -> bool:
        """Read the node; tell when that fails, and return whether it went well."""
        try:
            read()
        except (JouleryError, OSError) as error:
            self._tell("node", f"the node could not be read: {error}")
            return False
        return True

    def _follow(self, *, first: bool = False) -> None:
        """Look which pods there are, watch the new ones, and note those that are gone.

        Args:
            first: What they have used so far was before our time.
        """
        seen = self._finder.look()
        for uid, pod in seen.items():
            known = self._pods.get(uid)
            if known is not None and (known.ended_s is None or uid in self._leaving):
                self._leaving.discard(uid)
                known.pod, known.ended_s = pod, None
                known.work.follow(pod.groups)
            else:
                self._begin(pod, known, first=first)
        for uid, one in self._pods.items():
            if one.ended_s is None and uid not in seen:
                one.ended_s = self._clock()
                self._leaving.add(uid)
        self._seen, self._looked_s = seen, self._clock()

    def _begin(self, pod: Pod, before: _Watched | None, *, first: bool) -> None:
        """Watch a pod that is new, or that has come back under its old UID."""
        work = PodCpu(()) if before is None else before.work
        known_s = work.last_s  # what it did before it came back was shared out already
        work.follow(pod.groups)
        one = _Watched(pod, work, lambda: self._spent_s(work) - known_s)
        try:
            used_s = one.read()
            self._watch.enlist({pod.uid: one.read}, new=not first and self._is_new(used_s))
        except SourceUnavailable:  # it has ended meanwhile, or cannot be read and is told
            if before is None:
                work.close()
            return
        self._pods[pod.uid] = one

    def _is_new(self, used_s: float) -> bool:
        """Tell whether a pod can have used so much since the last look: else it is older."""
        cpus = self._lap.cpus if self._lap is not None else os.cpu_count() or 1
        return used_s <= cpus * (self._clock() - self._looked_s)

    def _spent_s(self, work: PodCpu) -> float:
        """Read a pod's CPU time; one pod that cannot be read must not hold up the others."""
        try:
            return work.cpu_s()
        except SourceUnavailable:
            raise
        except SourceError as error:
            self._tell("control_group", f"a pod's control group could not be read: {error}")
            raise SourceUnavailable("control group", found=str(error)) from error

    def _forget(self) -> None:
        """Drop the pods that ended long ago."""
        oldest_s = self._clock() - self.settings.retention_s
        for uid, one in list(self._pods.items()):
            if one.ended_s is not None and one.ended_s <= oldest_s:
                self._watch.forget(uid)
                one.work.close()
                del self._pods[uid]

    def _show(self, lap: WindowResult) -> None:
        """Make the snapshot of this cycle, and let it be served."""
        settings, bare = self.settings, self.settings.pod_uid is None
        rows = [
            PodRow(
                uid=uid,
                namespace=one.pod.namespace or "",
                name=one.pod.name or "",
                cpu_s=one.work.last_s,
                containers=one.pod.containers if one.ended_s is None else {},
            )
            for uid, one in self._pods.items()
        ]
        families = [
            *pod_families(
                rows,
                self._watch.devices,
                part="active" if settings.idle_policy == "none" else "with_idle",
                exporter=_BARE if bare else settings.pod_uid,
            ),
            *device_families(self._watch.devices, exporter=_BARE if bare else None),
            *self._source_families(lap),
            *self._own_families(),
        ]
        self.scrape.show(ordered(families, m.CATALOGUE))

    def _source_families(self, lap: WindowResult) -> list[Family]:
        device_of = {key: device for device in self._watch.devices for key in device.keys}
        energies, broken = [], set[str]()
        for source in self._sensors.found.sources:
            for domain in source.domains:
                key = f"{source.name}:{domain.name}"
                device = device_of[key].name if key in device_of else domain.name
                summed = "true" if domain.summed else "false"
                labels = (device, domain.kind, source.name, domain.name, summed, domain.provenance)
                energies.append((labels, self._counted_j[key]))
                if lap.domains[key].energy is None:
                    broken.add(source.name)
        up = [((one.name,), float(one.name not in broken)) for one in self._sensors.found.sources]
        up += [((one.name,), 0.0) for one in self._sensors.found.statuses if should_work(one)]
        gaps = [
            ((*key.split(":", 1), reason), float(n))
            for (key, reason), n in sorted(self._watch.meter.gaps.items())
        ]
        states = [((one.name, str(one.state)), 1.0) for one in self._sensors.found.statuses]
        return [
            Family(m.DEVICE_ENERGY, tuple(energies)),
            Family(m.SOURCE_UP, tuple(up)),
            Family(m.SOURCE_INFO, tuple(states)),
            Family(m.SOURCE_GAPS, tuple(gaps)),
        ]

    def _own_families(self) -> list[Family]:
        settings, running = self.settings, [o for o in self._pods.values() if o.ended_s is None]
        unnamed = sum(one.pod.name is None for one in running)
        problems = self.problems + self._finder.problems
        for reason in problems.keys() - self._logged:
            self._tell(reason, explained(reason), count=False)
        pods = {
            "running": len(running),
            "terminated": len(self._pods) - len(running),
            "unnamed": unnamed,
        }
        weakest = self._sensors.found.provenance or "unknown"
        return [
            Family(m.NODE_INFO, (((settings.node, weakest, settings.idle_policy), 1.0),)),
            Family(m.NODE_BUSY, (((), self._busy_s),)),
            Family(m.EXPORTER_BUILD_INFO, (((__version__, platform.python_version()), 1.0),)),
            Family(m.EXPORTER_CYCLES, _counted(self._cycles)),
            Family(m.EXPORTER_PROBLEMS, _counted(problems)),
            Family(m.EXPORTER_PODS, _counted(pods)),
            Family(m.EXPORTER_CPU, (((), time.process_time()),)),
            Family(m.EXPORTER_MEMORY, (((), float(resident_bytes())),)),
            Family(m.EXPORTER_LAST_CYCLE, (((), self._ended_s),)),
            Family(m.EXPORTER_CYCLE_CPU, (((), self._cycle_cpu_s),)),
        ]

    def _tell(self, reason: str, text: str, *, count: bool = True) -> None:
        """Count a problem, and log the first of its kind."""
        if count:
            self.problems[reason] += 1
        if reason not in self._logged:
            self._logged.add(reason)
            _log.warning("%s (said once; joulery_exporter_problems_total counts)", text)


def _counted(counts: Mapping[str, int]) -> tuple[tuple[tuple[str, ...], float], ...]:
    return tuple(((name,), float(n)) for name, n in sorted(counts.items()))
