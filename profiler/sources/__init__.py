"""Every energy source, in one explicit list, and which of them work on this machine.

Other packages add theirs through the entry-point group `joulery.sources`: a callable that takes
a `Host` and returns a `Source`, or raises the `SourceError` that says why there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from ...errors import SourceError, SourceFailed, SourceForbidden, SourceUnavailable
from ..host import Host
from ..quantities import Provenance, weakest
from .base import Domain, Kind, Reading, Source, SourceState, SourceStatus
from .estimate import Estimate
from .nvml import Nvml
from .powercap import Powercap

__all__ = [
    "ENTRY_POINTS",
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
class Discovery:
    """What can be measured on a machine.

    Args:
        sources: The sources that work, sensors first.
        statuses: What became of every source that was tried.
    """

    sources: tuple[Source, ...]
    statuses: tuple[SourceStatus, ...]

    @property
    def summary(self) -> str:
        """The domains that make the total, for people: `source:domain`, separated by commas."""
        return ", ".join(
            f"{source.name}:{domain.name}"
            for source in self.sources
            for domain in source.domains
            if domain.summed
        )


def _nvml(_: Host) -> Source:
    import pynvml  # here, so that `import joulery.profiler.sources` stays quick

    return Nvml(pynvml)


def _openers(*, psys: bool) -> list[tuple[str, Opener]]:
    """Return the sources with a sensor: the one list, in the order of the table."""
    return [
        ("powercap", lambda host: Powercap(host.sys, psys=psys)),
        ("nvml", _nvml),
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


def discover(host: Host | None = None, *, psys: bool = False) -> Discovery:
    """Try every source.

    The estimate joins only where no sensor covers the CPU.

    Args:
        host: Where to look; this machine if not given.
        psys: Sum the whole platform's counter instead of packages and memory.
    """
    host = host or Host()
    openers = _openers(psys=psys)
    openers += [(point.name, _plugged(point)) for point in entry_points(group=ENTRY_POINTS)]
    tried = [_try(name, opener, host) for name, opener in openers]
    if not any(source is not None and _covers_cpu(source.domains) for source, _ in tried):
        tried.append(_try("estimate", Estimate, host))
    return Discovery(
        sources=tuple(source for source, _ in tried if source is not None),
        statuses=tuple(status for _, status in tried),
    )


def _covers_cpu(domains: Sequence[Domain]) -> bool:
    return any(d.summed and d.kind in (Kind.CPU, Kind.PLATFORM) for d in domains)


def _try(name: str, opener: Opener, host: Host) -> tuple[Source | None, SourceStatus]:
    try:
        source = opener(host)
    except SourceError as error:
        return None, _refusal(name, error)
    summed = [domain for domain in source.domains if domain.summed]
    state = {
        Provenance.MEASURED: SourceState.MEASURED,
        Provenance.INTEGRATED: SourceState.INTEGRATED,
    }.get(weakest(domain.provenance for domain in source.domains), SourceState.ESTIMATED)
    status = SourceStatus(
        name=name,
        state=state,
        domains=tuple(domain.name for domain in summed),
        what="; ".join(f"{domain.name}: {domain.note}" for domain in source.domains),
    )
    return source, status


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
