"""The energy sources of a node, and what watches them; looked for again while some are missing.

A driver may be loaded long after the exporter has started, as operators for GPUs do. What was
learned and added up of the other devices goes on then.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..profiler.gpu import GpuWork, open_gpus
from ..profiler.host import Host
from ..profiler.meter import EnergyMeter
from ..profiler.quantities import Provenance
from ..profiler.sources import Discovery, Source, SourceState, SourceStatus, discover
from ..profiler.usage import Reader
from ..profiler.watch import Device, NodeWatch, devices_of
from ..profiler.work import NodeCpu
from .accelerators import Accelerators, Allocator
from .pods import Pod
from .settings import Settings

__all__ = ["Finder", "Sensors", "should_work"]

_log = logging.getLogger(__name__)

Finder = Callable[[], Discovery]
"""Looks for energy sources."""

_POWER_INTERVAL_S = 1.0
"""Power without a counter is sampled so often; counters need no reading between cycles."""

_WRAPS = 4
"""Unless they could wrap in so many cycles, since a cycle may come late."""

LOOK_AGAIN_S = 60.0
"""While a source is missing it is looked for so often."""


class Sensors:
    """The sources of a node and the watch over them.

    Args:
        settings: How the exporter is set up.
        host: Where the node's files are, and the clock.
        allocator: Tells who has which accelerator.
        problems: Counts what could not be read.
        find: Looks for sources; `discover` on the host, if not given.
        gpus: Opens the work on NVIDIA's GPUs; through NVML, if not given.

    Attributes:
        found: What was found.
        watch: The watch over it, entered with the sensors.
    """

    def __init__(
        self,
        settings: Settings,
        host: Host,
        *,
        allocator: Allocator,
        problems: Counter[str],
        find: Finder | None = None,
        gpus: Callable[[], Sequence[GpuWork]] | None = None,
    ) -> None:
        self._settings, self._host = settings, host
        self._allocator, self._problems = allocator, problems
        self._find = find or (lambda: discover(host))
        self._open_gpus = gpus or (lambda: _gpus(host.clock))
        self._again_s = host.clock() + LOOK_AGAIN_S
        self.found = self._find()
        self._announce(self.found.statuses)
        self.watch = self._wired(devices_of(self.found.sources))

    def __enter__(self) -> Sensors:
        self.watch.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.watch.__exit__()

    def follow(self, pods: Mapping[str, Pod]) -> None:
        """Take which pods run, and ask which accelerators they have."""
        self._accelerators.follow(pods)

    def look_again(self, readers: Mapping[str, Reader]) -> bool:
        """Look for sources that were missing, now and then; return whether there are new ones.

        Devices that stay as they were keep what was learned and added up of them.

        Args:
            readers: Everyone who is watched now, to be watched on.
        """
        if self._host.clock() < self._again_s:
            return False
        self._again_s = self._host.clock() + LOOK_AGAIN_S
        if all(_works(status) for status in self.found.statuses):
            return False
        found = self._find()
        if not _summed(found) - _summed(self.found):
            return False
        before = {one.name: one for one in self.found.statuses}
        self.found = found
        self._announce(one for one in found.statuses if one != before.get(one.name))
        known = {(device.name, device.keys): device for device in self.watch.devices}
        devices = [known.get((d.name, d.keys), d) for d in devices_of(found.sources)]
        self.watch.__exit__()
        self.watch = self._wired(devices)
        self.watch.__enter__()
        self.watch.enlist(readers)
        return True

    def _wired(self, devices: Sequence[Device]) -> NodeWatch:
        """Return a watch over what was found."""
        sources = self.found.sources
        nvidia = any(source.name == "nvml" for source in sources)
        self._accelerators = Accelerators(
            sources,
            self._open_gpus() if nvidia else (),
            self._settings.procfs,
            self._allocator,
            self._problems,
        )
        meter = EnergyMeter(
            sources,
            clock=self._host.clock,
            interval_s=_between_cycles_s(sources, self._settings.interval_s),
            work=NodeCpu(self._host),
        )
        return NodeWatch(
            meter,
            devices,
            accelerators=self._accelerators.readers,
            idle_policy=self._settings.idle_policy,
        )

    def _announce(self, statuses: Iterable[SourceStatus]) -> None:
        """Say once what the energies come from, and what would make them better."""
        for status in statuses:
            if should_work(status):
                _log.warning("%s: %s; %s", status.name, status.what, status.remedy or "no remedy")
        summary, interval_s = self.found.summary, self._settings.interval_s
        if not summary:
            _log.error("there is no energy source here, so pods have no energies")
            return
        provenances = {d.provenance for s in self.found.sources for d in s.domains if d.summed}
        if Provenance.ESTIMATED in provenances:
            _log.warning(
                "energy is estimated from rated power and load: %s. Compare pods by it, do not "
                "quote joules; `joulery doctor` says which sensors were looked for.",
                summary,
            )
        _log.info("energy of %s, every %g s", summary, interval_s)


def _summed(found: Discovery) -> set[str]:
    return {f"{s.name}:{d.name}" for s in found.sources for d in s.domains if d.summed}


def _works(status: SourceStatus) -> bool:
    return not should_work(status) and status.state is not SourceState.ABSENT


def should_work(status: SourceStatus) -> bool:
    """Tell whether a source is there, and yet cannot be read."""
    return status.state in (SourceState.FORBIDDEN, SourceState.FAILED)


def _between_cycles_s(sources: Iterable[Source], interval_s: float) -> float | None:
    """Return how often sources must be read beside the cycles; `None` where these are enough."""
    domains = [domain for source in sources for domain in source.domains]
    if any(domain.form == "power" for domain in domains):
        return _POWER_INTERVAL_S
    wraps_s = (d.modulus_j / d.max_power_w for d in domains if d.modulus_j is not None)
    # The meter itself shortens the interval to what the counter that wraps first needs.
    return interval_s if min(wraps_s, default=math.inf) < _WRAPS * interval_s else None


def _gpus(clock: Callable[[], float]) -> Sequence[GpuWork]:
    """Return the work on NVIDIA's GPUs."""
    import pynvml

    return open_gpus(pynvml, clock=clock)
