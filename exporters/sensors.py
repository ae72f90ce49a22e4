"""The energy sources of a node, and what watches them; looked for again while some are missing.

A driver may be loaded long after the exporter has started, as operators for GPUs do. What was
learned and added up of the other devices goes on then.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..errors import JouleryError, SourceUnavailable
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

_LOOK_S = 1.0
"""Sources and pods are looked at so often, and energy is shared out: the time for which the formula
is validated. A pod that ends leaves little unread, and power without a counter is integrated."""

_WRAPS = 2
"""Or so often in the time in which a counter could wrap, since a look may come late."""

_LOOK_AGAIN_S = (60.0, 900.0)
"""A source that is missing is looked for again after the first, then seldom, up to the second."""


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
        self._wait_s = _LOOK_AGAIN_S[0]
        self._again_s = host.clock() + self._wait_s
        self.found = self._find()
        self._announce(self.found.statuses)
        sources = self.found.sources
        self._accelerators, self.watch = self._wired(sources, devices_of(sources))

    def __enter__(self) -> Sensors:
        self.watch.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.watch.__exit__()

    @property
    def look_s(self) -> float:
        """How often sources must be looked at."""
        domains = [domain for source in self.found.sources for domain in source.domains]
        wraps_s = (d.modulus_j / d.max_power_w for d in domains if d.modulus_j is not None)
        return min(_LOOK_S, min(wraps_s, default=math.inf) / _WRAPS)

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
        self._wait_s = min(2 * self._wait_s, _LOOK_AGAIN_S[1])
        self._again_s = self._host.clock() + self._wait_s
        if all(_works(status) for status in self.found.statuses):
            return False
        found = self._find()
        if not _is_better(found, self.found):
            return False
        known = {(device.name, device.keys): device for device in self.watch.devices}
        devices = [known.get((d.name, d.keys), d) for d in devices_of(found.sources)]
        try:
            accelerators, watch = self._wired(found.sources, devices)
            watch.__enter__()
        except (JouleryError, OSError) as error:
            _log.warning("a new energy source could not be opened: %s", error)
            return False
        self.watch.__exit__()
        for name, read in readers.items():
            with contextlib.suppress(SourceUnavailable):  # it has just ended
                watch.enlist({name: read})
        before = {one.name: one for one in self.found.statuses}
        self.found, self.watch, self._accelerators = found, watch, accelerators
        self._announce(one for one in found.statuses if one != before.get(one.name))
        return True

    def _wired(
        self, sources: Sequence[Source], devices: Sequence[Device]
    ) -> tuple[Accelerators, NodeWatch]:
        """Return what knows the accelerators of some sources, and a watch over them."""
        nvidia = any(source.name == "nvml" for source in sources)
        accelerators = Accelerators(
            sources,
            self._open_gpus() if nvidia else (),
            self._settings.procfs,
            self._allocator,
            self._problems,
            self._host.clock,
        )
        meter = EnergyMeter(
            sources, clock=self._host.clock, interval_s=None, work=NodeCpu(self._host)
        )
        watch = NodeWatch(
            meter,
            devices,
            accelerators=accelerators.readers,
            idle_policy=self._settings.idle_policy,
        )
        return accelerators, watch

    def _announce(self, statuses: Iterable[SourceStatus]) -> None:
        """Say once what the energies come from, and what would make them better."""
        for status in statuses:
            if should_work(status):
                _log.warning("%s: %s; %s", status.name, status.what, status.remedy or "no remedy")
        summary, interval_s = self.found.summary, self._settings.interval_s
        if not summary:
            _log.error("there is no energy source here, so pods have no energies")
            return
        if self.found.provenance is Provenance.ESTIMATED:
            _log.warning(
                "energy is estimated from rated power and load: %s. Compare pods by it, do not "
                "quote joules; `joulery doctor` says which sensors were looked for.",
                summary,
            )
        _log.info("energy of %s, every %g s", summary, interval_s)


def _is_better(found: Discovery, before: Discovery) -> bool:
    """Tell whether something is new and no sensor is lost, as when one fails at that moment."""
    now, then = _summed(found), _summed(before)
    lost = {key for key in then - now if not key.startswith("estimate:")}
    return bool(now - then) and not lost


def _summed(found: Discovery) -> set[str]:
    return {f"{s.name}:{d.name}" for s in found.sources for d in s.domains if d.summed}


def _works(status: SourceStatus) -> bool:
    return not should_work(status) and status.state is not SourceState.ABSENT


def should_work(status: SourceStatus) -> bool:
    """Tell whether a source is there, and yet cannot be read."""
    return status.state in (SourceState.FORBIDDEN, SourceState.FAILED)


def _gpus(clock: Callable[[], float]) -> Sequence[GpuWork]:
    """Return the work on NVIDIA's GPUs."""
    import pynvml

    return open_gpus(pynvml, clock=clock)
