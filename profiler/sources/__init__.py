"""Every energy source, in one explicit list, and which of them work on this machine.

Across sources one set of domains that do not overlap is summed; what a later source tells again
is reported only. The set is chosen once, here.

Other packages add theirs through the entry-point group `joulery.sources`: a callable that takes
a `Host` and returns a `Source`, or raises the `SourceError` that says why there is none.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ...errors import SourceError, SourceFailed, SourceForbidden, SourceUnavailable
from ..host import Host
from ..quantities import Provenance, weakest
from . import openers
from .base import Choosy, Domain, Kind, Reading, Source, SourceState, SourceStatus
from .estimate import Estimate
from .hwmon import Hwmon
from .nvml import Nvml, NvmlPower
from .powercap import Powercap

__all__ = [
    "ENTRY_POINTS",
    "Candidate",
    "Choosy",
    "Discovery",
    "Domain",
    "Kind",
    "Opener",
    "Reading",
    "Source",
    "SourceState",
    "SourceStatus",
    "discover",
]

ENTRY_POINTS = "joulery.sources"
"""The entry-point group through which other packages add sources."""

Opener = Callable[[Host], Source]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A source that may be on a machine.

    Args:
        name: Its name.
        opener: Opens it, or raises the `SourceError` that says why there is none.
        tree: It reads nothing but files below the host's roots, so that a recorded tree is enough.
        second: It tells again what other sources tell, to compare: reported, never summed.
        comparison: It is good for nothing but to compare, and tried only when asked to.
    """

    name: str
    opener: Opener
    tree: bool = False
    second: bool = False
    comparison: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What can be measured on a machine.

    Args:
        sources: The sources that work, sensors first.
        statuses: What became of every source that was tried.
    """

    sources: tuple[Source, ...]
    statuses: tuple[SourceStatus, ...]

    @property
    def provenance(self) -> Provenance | None:
        """The weakest provenance of what makes the total; `None` where there is nothing."""
        summed = [d.provenance for source in self.sources for d in source.domains if d.summed]
        return weakest(summed) if summed else None

    @property
    def summary(self) -> str:
        """The domains that make the total, for people: `source:domain`, separated by commas."""
        return ", ".join(
            f"{source.name}:{domain.name}"
            for source in self.sources
            for domain in source.domains
            if domain.summed
        )


def _pynvml() -> Any:
    """Return the binding to NVIDIA's library; without the library it is not worth its memory."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError as error:
        raise SourceUnavailable(
            "nvml", found="no NVIDIA driver (NVML Shared Library Not Found)"
        ) from error
    import pynvml  # here, so that `import joulery.profiler.sources` stays quick

    return pynvml


def _nvml(_: Host) -> Source:
    return Nvml(_pynvml())


def _nvml_power(_: Host) -> Source:
    return NvmlPower(_pynvml())


def _openers(*, psys: bool) -> list[Candidate]:
    """Return the sources with a sensor: the one list, in the order of the table and of the sum."""
    return [
        Candidate(name="powercap", opener=lambda host: Powercap(host.sys, psys=psys), tree=True),
        Candidate(name="nvml", opener=_nvml),
        Candidate(name="nvml-power", opener=_nvml_power, second=True, comparison=True),
        Candidate(name="habana", opener=openers.habana),
        Candidate(name="furiosa", opener=openers.furiosa),
        Candidate(name="intel-npu", opener=openers.intel_npu, tree=True),
        Candidate(name="npu-exporter", opener=openers.npu_exporter),
        Candidate(name="hwmon", opener=lambda host: Hwmon(host.sys), tree=True),
        Candidate(name="pyrapl", opener=openers.pyrapl, tree=True, second=True, comparison=True),
        Candidate(name="redfish", opener=openers.redfish, second=True),
        Candidate(name="kwollect", opener=openers.kwollect, second=True),
    ]


def _plugged(point: EntryPoint) -> Opener:
    """Return another package's source; what breaks on loading it is its failure, not ours."""

    def opened(host: Host) -> Source:
        try:
            opener: Opener = point.load()
        except (ImportError, AttributeError) as error:
            raise SourceFailed(point.name, place=point.value, found=str(error)) from error
        return opener(host)

    return opened


def discover(
    host: Host | None = None,
    *,
    psys: bool = False,
    drivers: bool = True,
    comparisons: bool = False,
) -> Discovery:
    """Try every source.

    Processors and memory are summed from the first source that has them, GPUs and NPUs from every
    source, a platform (which holds all of these) only where nothing else is; then nothing is summed
    beside it. The estimate joins only where neither a processor nor a platform is summed.

    Args:
        host: Where to look; this machine if not given.
        psys: Sum the whole platform's counter instead of packages and memory.
        drivers: `False` for a recorded tree: only files below the host's roots are read, no driver
            of this machine is asked, and there is no load to estimate from.
        comparisons: Also open what is good for nothing but to compare; where there is none of it,
            nothing is said of it.
    """
    host = host or Host()
    candidates = [one for one in _openers(psys=psys) if comparisons or not one.comparison]
    candidates += [
        Candidate(name=point.name, opener=_plugged(point))
        for point in entry_points(group=ENTRY_POINTS)
    ]
    shares = _Shares()
    tried = [_try(candidate, host, shares, drivers=drivers) for candidate in candidates]
    if not shares.cover_cpu:
        estimate = Candidate(name="estimate", opener=Estimate)
        tried.append(_try(estimate, host, shares, drivers=drivers))
    idle = {one.name for one in candidates if one.comparison}
    return Discovery(
        sources=tuple(source for source, _ in tried if source is not None),
        statuses=tuple(
            status for source, status in tried if source is not None or status.name not in idle
        ),
    )


class _Shares:
    """What is summed so far, and by which source."""

    def __init__(self) -> None:
        self._first: dict[Kind, str] = {}

    @property
    def cover_cpu(self) -> bool:
        return Kind.CPU in self._first or Kind.PLATFORM in self._first

    def narrowed(self, source: Source, *, second: bool) -> Source:
        """Return a source with what overlaps the earlier ones taken out of the sum."""
        summed = [domain for domain in source.domains if domain.summed]
        alone = not self._first and any(domain.kind is Kind.PLATFORM for domain in summed)
        reasons: dict[str, str] = {}
        for domain in summed:
            reason = "a second reading" if second else self._overlap(domain, alone=alone)
            if reason:
                reasons[domain.name] = f"reported, not summed: {reason}"
        for domain in summed:
            if domain.name not in reasons:
                self._first.setdefault(domain.kind, source.name)
        return _Narrowed(source, reasons) if reasons else source

    def _overlap(self, domain: Domain, *, alone: bool) -> str | None:
        """Say why a domain may not join the sum; `None` when it may."""
        holder = self._first.get(Kind.PLATFORM)
        if holder is not None:
            return f"{holder} sums the whole platform"
        if alone:
            return None if domain.kind is Kind.PLATFORM else "its platform holds it"
        if domain.kind is Kind.PLATFORM:
            return f"it holds what others sum ({', '.join(sorted(set(self._first.values())))})"
        if domain.kind in (Kind.CPU, Kind.DRAM) and domain.kind in self._first:
            return f"{self._first[domain.kind]} has the {domain.kind}"
        return None


class _Narrowed:
    """A source with fewer domains in the sum; its readings are of the domains it shows."""

    def __init__(self, source: Source, reasons: dict[str, str]) -> None:
        self._source, self.name = source, source.name
        self.domains = tuple(
            replace(
                domain,
                summed=False,
                note="; ".join(filter(None, (domain.note, reasons[domain.name]))),
            )
            if domain.name in reasons
            else domain
            for domain in source.domains
        )
        self._shown = {domain.name: domain for domain in self.domains}

    def sample(self) -> tuple[Reading, ...]:
        """Read every domain once; see `Source`."""
        return tuple(
            Reading(self._shown[reading.domain.name], reading.value)
            for reading in self._source.sample()
        )


def _try(
    candidate: Candidate, host: Host, shares: _Shares, *, drivers: bool
) -> tuple[Source | None, SourceStatus]:
    name = candidate.name
    if not drivers and not candidate.tree:
        what = "load to estimate from" if candidate.opener is Estimate else "driver"
        return None, SourceStatus(
            name=name,
            state=SourceState.ABSENT,
            domains=(),
            what=f"a recorded tree has no {what}",
        )
    try:
        opened = candidate.opener(host)
    except SourceError as error:
        return None, _refusal(name, error)
    source = shares.narrowed(opened, second=candidate.second)
    return source, _working(source, opened.dropped if isinstance(opened, Choosy) else {})


def _working(source: Source, dropped: Mapping[str, str]) -> SourceStatus:
    state = {
        Provenance.MEASURED: SourceState.MEASURED,
        Provenance.INTEGRATED: SourceState.INTEGRATED,
    }.get(weakest(domain.provenance for domain in source.domains), SourceState.ESTIMATED)
    facts = (
        *(f"{domain.name}: {domain.note}" for domain in source.domains),
        *(f"left out {what}: {why}" for what, why in dropped.items()),
    )
    return SourceStatus(
        name=source.name,
        state=state,
        domains=tuple(domain.name for domain in source.domains if domain.summed),
        what="; ".join(facts),
    )


def _refusal(name: str, error: SourceError) -> SourceStatus:
    if isinstance(error, SourceForbidden):
        state = SourceState.FORBIDDEN
    elif isinstance(error, SourceUnavailable):
        state = SourceState.ABSENT
    else:
        state = SourceState.FAILED
    what = str(
        type(error)(error.subject, place=error.place, found=error.found, expected=error.expected)
    )
    return SourceStatus(name=name, state=state, domains=(), what=what, remedy=error.remedy)
