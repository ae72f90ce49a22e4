"""What the exporters told of one pod and its node in a window: from series to energies.

Pure: it takes series as Prometheus has them. What they do not tell is a named gap, never zero.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ...profiler.quantities import Energy, Provenance, sum_energy
from ...profiler.sources.estimate import THREAD_RATIOS
from ...profiler.window import Interval
from .counters import Gain, Missing, gained
from .prometheus import Series

__all__ = ["NODE_METRICS", "POD_METRICS", "PodEnergy", "newest_s", "pod_energy", "same_exporter"]

_POD = "joulery_pod_energy{}_joules_total"
_NODE = "joulery_node_energy_joules_total"
_DEVICE = "joulery_device_energy_joules_total"
_CPU = "joulery_pod_cpu_seconds_total"
_WATCHED = "joulery_device_watched_seconds_total"
_CYCLE = "joulery_exporter_last_cycle_timestamp_seconds"
_CYCLES = "joulery_exporter_cycles_total"

POD_METRICS = (*(_POD.format(end) for end in ("", "_low", "_high")), _CPU)
"""What is asked of the pod."""
NODE_METRICS = (_NODE, _DEVICE, _WATCHED, _CYCLE, _CYCLES)
"""What is asked of the exporter that told of it."""

_UNKNOWN_RATIO = 1e-3
"""Share of the window whose energy may be unknown to the exporter: its clock ticks."""
_OF_TARGET = ("job", "instance")
_OWN = (
    "uid",
    "device",
    "kind",
    "part",
    "source",
    "domain",
    "summed",
    "state",
    "outcome",
    "provenance",
)
"""Labels that tell series apart; names may follow later, and servers add some, as `replica`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodEnergy:
    """What is known of a pod and its node in a window.

    Args:
        service: What the pod's work added to idle, on all devices; `None`: see the gaps.
        device: What all devices of the node used.
        idle: The idle part of that.
        cpu_s: CPU time of the pod.
        sources: What the exporter read, for people.
        gaps: What is not known, and why.
        intervals: Of each device, from sample to sample, on the clock of the window.
    """

    service: Energy | None = None
    device: Energy | None = None
    idle: Energy | None = None
    cpu_s: float | None = None
    sources: str | None = None
    gaps: tuple[str, ...] = ()
    intervals: tuple[Interval, ...] = field(default=())


def same_exporter(series: Sequence[Series]) -> Mapping[str, str]:
    """Return job and instance of who tells most of a pod, as two jobs may scrape one exporter."""
    samples: defaultdict[tuple[str, ...], int] = defaultdict(int)
    for one in series:
        samples[tuple(one.labels.get(name, "") for name in _OF_TARGET)] += len(one.samples)
    most = max(sorted(samples), key=lambda target: samples[target])
    return dict(zip(_OF_TARGET, most, strict=True))


def newest_s(series: Sequence[Series]) -> float | None:
    """Return the time of the newest cycle that is told of; `None`: of none."""
    return max(
        (value for one in series if one.name == _CYCLE for _, value in one.samples), default=None
    )


def pod_energy(
    series: Sequence[Series],
    start_s: float,
    end_s: float,
    *,
    clock_error_s: float,
    offset_s: float = 0.0,
) -> PodEnergy:
    """Return what was told of a window.

    Args:
        series: Of one exporter: `POD_METRICS` of one pod, and `NODE_METRICS`.
        start_s: Its start, in Unix seconds.
        end_s: Its end.
        clock_error_s: How far off both may be from the exporter's clock.
        offset_s: What takes Unix seconds to the clock that intervals are told by.
    """
    told = _Told(_by_cycle(series), start_s, end_s, clock_error_s)
    gaps: list[str] = []

    def known(read: Callable[[], Energy]) -> Energy | None:
        try:
            return read()
        except Missing as missing:
            gaps.append(str(missing))
            return None

    known(told.same_run)
    if gaps:
        return PodEnergy(gaps=tuple(gaps))
    device = known(told.device)
    idle = known(told.idle)
    service = known(told.service)
    unknown = list(told.unknown())
    try:
        cpu_s = told.gain(_CPU).value
    except Missing:
        cpu_s = None
    return PodEnergy(
        service=None if unknown else service,
        device=device,
        idle=idle,
        cpu_s=cpu_s,
        sources=told.sources(),
        gaps=(*gaps, *unknown),
        intervals=tuple(told.intervals(offset_s)),
    )


def _by_cycle(series: Sequence[Series]) -> list[Series]:
    """Return the series with the time of the exporter's cycle for that of the scrape.

    A scrape shows what the last cycle left, whenever it comes, and says when that was.
    """
    cycles = {
        scraped_s: cycle_s
        for one in series
        if one.name == _CYCLE
        for scraped_s, cycle_s in one.samples
    }
    return [
        Series(
            labels=one.labels,
            samples=tuple(
                sorted({cycles[t_s]: value for t_s, value in one.samples if t_s in cycles}.items())
            ),
        )
        for one in series
    ]


def _once(series: Sequence[Series]) -> list[Series]:
    """Return each series once, with all that is told of it.

    Two servers may tell the same, and a pod is told of without a name until its node has its log
    folder: what a cycle left is one value under whatever labels it was stored.
    """
    found: dict[tuple[str | None, ...], Series] = {}
    for one in series:
        key = (one.name, *(one.labels.get(name) for name in _OWN))
        samples = dict(found[key].samples) | dict(one.samples) if key in found else one.samples
        found[key] = Series(labels=one.labels, samples=tuple(sorted(dict(samples).items())))
    return list(found.values())


class _Told:
    """What series tell of a window."""

    def __init__(
        self, series: Sequence[Series], start_s: float, end_s: float, clock_error_s: float
    ) -> None:
        self._start_s, self._end_s, self._clock_error_s = start_s, end_s, clock_error_s
        self._series: defaultdict[str, list[Series]] = defaultdict(list)
        for one in _once(series):
            if self._reaches_into(one):
                self._series[one.name].append(one)

    def _reaches_into(self, series: Series) -> bool:
        """Whether a series has anything to do with the window, and not with what was before."""
        return bool(series.samples) and (
            series.samples[-1][0] > self._start_s and series.samples[0][0] < self._end_s
        )

    def _gain(self, series: Series) -> Gain:
        try:
            return gained(
                series.samples, self._start_s, self._end_s, clock_error_s=self._clock_error_s
            )
        except Missing as missing:
            device = series.labels.get("device")
            what = series.name if device is None else f"{series.name} of {device}"
            raise Missing(f"{what}: {missing}") from None

    def _some(self, name: str, **labels: str) -> list[Series]:
        found = [
            one
            for one in self._series[name]
            if all(one.labels.get(key) == value for key, value in labels.items())
        ]
        if not found:
            raise Missing(f"Prometheus has no sample of {name} for the window")
        return found

    def gain(self, name: str) -> Gain:
        """Return what the one series of a metric gained."""
        return self._gain(self._some(name)[0])

    def same_run(self) -> Energy:
        """See that the exporter ran all the time."""
        for one in self._some(_CYCLES, outcome="ok"):
            self._gain(one)
        return Energy(value_j=0.0, low_j=0.0, high_j=0.0, provenance=Provenance.MEASURED)

    def service(self) -> Energy:
        """Return the active energy of the pod; its interval is the exporter's, and the edges'."""
        parts = []
        for one in self._some(_POD.format(""), part="active"):
            middle = self._gain(one)
            ends = {
                end: self._gain(
                    self._some(_POD.format(end), **_own(one, "device", "provenance"))[0]
                )
                for end in ("_low", "_high")
            }
            parts.append(
                _energy(
                    middle.value,
                    ends["_low"].low,
                    ends["_high"].high,
                    one.labels.get("provenance", Provenance.ESTIMATED),
                )
            )
        return _sum(parts)

    def device(self) -> Energy:
        """Return the energy of all devices."""
        return _sum([self._whole(one) for one in self._some(_DEVICE, summed="true")])

    def idle(self) -> Energy:
        """Return the idle part of it."""
        return _sum([self._whole(one) for one in self._some(_NODE, part="idle")])

    def _whole(self, series: Series) -> Energy:
        gain = self._gain(series)
        return _of_device(series, gain.value, gain.low, gain.high)

    def unknown(self) -> Iterator[str]:
        """Yield devices of whose energy the exporter did not know for a time."""
        for one in self._series[_WATCHED]:
            if one.labels.get("state") != "unknown":
                continue
            try:
                lost_s = self._gain(one).value
            except Missing:
                continue  # the same scrapes tell the energies, and that these are missing
            if lost_s > _UNKNOWN_RATIO * (self._end_s - self._start_s):
                yield f"{one.labels['device']}: energy of {lost_s:.1f} s is unknown to the exporter"

    def sources(self) -> str | None:
        """Return sources and domains, as a dataset names them."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for one in self._series[_DEVICE]:
            if one.labels.get("summed") == "true":
                found[one.labels.get("source", "")].append(one.labels.get("domain", ""))
        return (
            "; ".join(
                f"{source}: {', '.join(sorted(domains))}"
                for source, domains in sorted(found.items())
            )
            or None
        )

    def intervals(self, offset_s: float) -> Iterator[Interval]:
        """Yield the energies between samples, of the window and around its ends."""
        for one in self._series[_DEVICE]:
            if one.labels.get("summed") != "true":
                continue
            for (from_s, before_j), (to_s, after_j) in itertools.pairwise(one.samples):
                if to_s > self._start_s and from_s < self._end_s and after_j >= before_j:
                    gain_j = after_j - before_j
                    yield Interval(
                        source=one.labels.get("source", ""),
                        domain=one.labels.get("domain", ""),
                        start_s=from_s + offset_s,
                        end_s=to_s + offset_s,
                        energy=_of_device(one, gain_j, gain_j, gain_j),
                        gap=None,
                    )


def _own(series: Series, *names: str) -> dict[str, str]:
    labels = {name: series.labels[name] for name in names if name in series.labels}
    return labels | {"part": "active"}


def _of_device(series: Series, value_j: float, low_j: float, high_j: float) -> Energy:
    """Return an energy with what its origin leaves unsure, which is not told of whole devices."""
    provenance = series.labels.get("provenance", Provenance.ESTIMATED)
    if provenance == Provenance.ESTIMATED:
        # By which of its tables the exporter estimates it does not tell.
        low_j, high_j = low_j * THREAD_RATIOS[0], high_j * THREAD_RATIOS[1]
    return _energy(value_j, low_j, high_j, provenance)


def _energy(value_j: float, low_j: float, high_j: float, provenance: str) -> Energy:
    return Energy(
        value_j=value_j,
        low_j=min(low_j, value_j),
        high_j=max(high_j, value_j),
        provenance=Provenance(provenance),
    )


def _sum(parts: Sequence[Energy]) -> Energy:
    total = sum_energy(parts, errors="common")
    assert total is not None  # what is missing was raised before
    return total
