"""Windows of energy and work: read every source on a thread and at each window's edges.

Differences are made in `counter`, shares in `attribution`; here readings meet the clock.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from ..errors import SourceError
from .counter import CounterDiff, Delta, Gap, GapReason, Meterable, PowerSum
from .quantities import Energy
from .sources.base import Domain, Source
from .window import DomainEnergy, Interval, WindowResult
from .work import NodeCpu

__all__ = ["DomainEnergy", "EnergyMeter", "Interval", "Window", "WindowResult"]

STEADY_UPDATES = 20
"""A time shorter than this many sensor updates does not tell its own mean power well enough."""


@dataclass(slots=True)
class _Track:
    """One domain of one source, and what turns its readings into energies."""

    source: str
    domain: Domain
    differ: Meterable

    @property
    def key(self) -> str:
        return f"{self.source}:{self.domain.name}"

    def energy(self, deltas: Sequence[Delta], jitter_s: float) -> Energy:
        """Add up energies that follow one another, at least one.

        The sensor's value may be as old as its update interval, and the reading off the window's
        edges by `jitter_s` in all. Below `STEADY_UPDATES` updates the mean power says little, and
        the edges are reckoned at the highest power instead.
        """
        domain = self.domain
        value_j = math.fsum(delta.energy_j for delta in deltas)
        elapsed_s = deltas[-1].end_s - deltas[0].start_s
        steady = elapsed_s > STEADY_UPDATES * domain.update_s
        mean_w = value_j / elapsed_s if elapsed_s > 0 else domain.max_power_w
        stale_j = (mean_w if steady else domain.max_power_w) * domain.update_s
        # A power somewhere between two readings: uniform, so that 95 % is 1.96 / sqrt(3) of it.
        spread_j = 1.96 / math.sqrt(3) * math.hypot(*(delta.spread_j for delta in deltas))
        edge_j = stale_j + min(mean_w, domain.max_power_w) * jitter_s + domain.resolution_j
        width_j = math.hypot(edge_j, spread_j)
        return Energy(
            value_j=value_j,
            low_j=max(0.0, value_j * domain.low_ratio - width_j),
            high_j=value_j * domain.high_ratio + width_j,
            provenance=domain.provenance,
        )


def _track(source: str, domain: Domain) -> _Track:
    differ: Meterable
    if domain.form == "power":
        differ = PowerSum(max_power_w=domain.max_power_w)
    else:
        differ = CounterDiff(
            max_power_w=domain.max_power_w,
            modulus_j=domain.modulus_j,
            update_s=domain.update_s,
            resolution_j=domain.resolution_j,
            stuck_s=domain.stuck_s,
        )
    return _Track(source, domain, differ)


class Window:
    """A time being measured; `result` is there once it is over."""

    def __init__(self, name: str, meter: EnergyMeter) -> None:
        self.name = name
        self._meter = meter
        self._result: WindowResult | None = None
        self._recording: _Recording | None = None

    @property
    def result(self) -> WindowResult:
        """What was measured.

        Raises:
            RuntimeError: While the window is still open.
        """
        if self._result is None:
            raise RuntimeError(f"window {self.name!r} is still open")
        return self._result

    def __enter__(self) -> Window:
        self._recording = self._meter._open()
        return self

    def __exit__(self, *_: object) -> None:
        if self._recording is not None:
            self._result = self._meter._close(self._recording, self.name)


@dataclass(slots=True, eq=False)
class _Recording:
    """What an open window has gathered."""

    start_s: float
    busy_s: float
    jitter_s: dict[str, float]
    steps: list[tuple[_Track, Delta | Gap]] = field(default_factory=list)
    work_s: dict[str, float] = field(default_factory=dict)


class EnergyMeter:
    """Reads energy sources and CPU work together.

    Windows may nest and overlap, and be used from several threads:

        with EnergyMeter(found.sources, clock=time.monotonic) as meter:
            with meter.consumers({"service": group.cpu_s}), meter.window("load") as window:
                ...
        window.result.energy

    Args:
        sources: What to read.
        clock: Monotonic seconds.
        interval_s: Time between two samples on the meter's own thread; shortened when a counter
            could wrap twice in it. `None`: no thread, samples only at window edges.
        work: Busy seconds of the node.

    Raises:
        ValueError: When the interval is not positive or two domains share a name.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        clock: Callable[[], float],
        interval_s: float | None = 0.1,
        work: NodeCpu | None = None,
    ) -> None:
        if interval_s is not None and interval_s <= 0:
            raise ValueError(f"the sampling interval must be positive, found {interval_s}")
        self._sources = [
            (source, [_track(source.name, domain) for domain in source.domains])
            for source in sources
        ]
        tracks = [track for _, some in self._sources for track in some]
        repeated = [key for key, n in Counter(track.key for track in tracks).items() if n > 1]
        if repeated:
            raise ValueError(f"two energy domains are named {', '.join(repeated)}")
        longest_s = min(
            (t.differ.longest_s for t in tracks if isinstance(t.differ, CounterDiff)),
            default=math.inf,
        )
        # Half of the longest, so that one late wake-up does not make a gap.
        self.interval_s = None if interval_s is None else min(interval_s, longest_s / 2)
        self.gaps: Counter[tuple[str, GapReason]] = Counter()
        self._clock = clock
        self._work = work or NodeCpu()
        self._consumers: dict[str, Callable[[], float]] = {}
        self._spent_s: dict[str, float] = {}
        self._open_recordings: list[_Recording] = []
        self._jitter_s: dict[str, float] = {}
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._broken: BaseException | None = None

    def __enter__(self) -> EnergyMeter:
        self.sample()
        if self.interval_s is not None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="joulery-meter", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if error is None:
            self._raise_broken()

    def window(self, name: str) -> Window:
        """Return a window: a context manager whose `result` is there when it is left."""
        return Window(name, self)

    @contextlib.contextmanager
    def consumers(self, readers: Mapping[str, Callable[[], float]]) -> Iterator[None]:
        """Count the CPU seconds of named consumers in every window open meanwhile.

        Args:
            readers: For each name a callable that returns cumulative CPU seconds.

        Raises:
            ValueError: When a name is taken.
        """
        with self._lock:
            taken = sorted(self._consumers.keys() & readers.keys())
            if taken:
                raise ValueError(f"there already is a consumer named {', '.join(taken)}")
            self._spent_s.update({name: read() for name, read in readers.items()})
            self._consumers.update(readers)
        try:
            yield
        finally:
            with self._lock:
                try:
                    self._count_work()
                finally:
                    for name in readers:
                        del self._consumers[name], self._spent_s[name]

    def sample(self) -> float:
        """Read everything once, now.

        Returns:
            The clock at the reading of the work, between those of the sources.
        """
        with self._lock:
            for source, tracks in self._sources:
                self._read(source, tracks)
            t_s = self._clock()
            self._count_work()
            return t_s

    def _read(self, source: Source, tracks: Sequence[_Track]) -> None:
        before_s = self._clock()
        try:
            values = {reading.domain.name: reading.value for reading in source.sample()}
        except SourceError:
            values = {}  # each domain becomes a gap named "failed" below: unknown, not zero
        after_s = self._clock()
        t_s = (before_s + after_s) / 2
        self._jitter_s[source.name] = after_s - before_s
        for track in tracks:
            value = values.get(track.domain.name)
            step = track.differ.miss(t_s) if value is None else track.differ.update(value, t_s)
            if isinstance(step, Gap) and step.end_s > step.start_s:
                self.gaps[track.key, step.reason] += 1
            for recording in self._open_recordings:
                recording.steps.append((track, step))

    def _count_work(self) -> None:
        for name, read in self._consumers.items():
            now_s = read()
            passed_s = now_s - self._spent_s[name]
            self._spent_s[name] = now_s
            for recording in self._open_recordings:
                recording.work_s[name] = recording.work_s.get(name, 0.0) + passed_s

    def _open(self) -> _Recording:
        with self._lock:
            self._raise_broken()
            start_s = self.sample()
            recording = _Recording(start_s, self._work.totals().busy_s, dict(self._jitter_s))
            self._open_recordings.append(recording)
            return recording

    def _close(self, recording: _Recording, name: str) -> WindowResult:
        with self._lock:
            try:
                end_s = self.sample()
                totals = self._work.totals()
            finally:
                self._open_recordings.remove(recording)
            self._raise_broken()
        return WindowResult(
            name=name,
            start_s=recording.start_s,
            end_s=end_s,
            domains={
                track.key: self._domain_energy(track, recording, end_s)
                for _, tracks in self._sources
                for track in tracks
            },
            busy_s=max(0.0, totals.busy_s - recording.busy_s),
            resolution_s=self._work.resolution_s,
            cpus=totals.cpus,
            work_s=dict(recording.work_s),
            intervals=tuple(
                self._interval(track, step)
                for track, step in recording.steps
                if step.end_s > step.start_s
            ),
        )

    def _domain_energy(self, track: _Track, recording: _Recording, end_s: float) -> DomainEnergy:
        steps = [step for owner, step in recording.steps if owner is track]
        gaps = Counter(
            step.reason for step in steps if isinstance(step, Gap) and step.end_s > step.start_s
        )
        deltas = [step for step in steps if isinstance(step, Delta)]
        energy = None
        if deltas and not gaps:
            # How far this source's readings stand from those of the work, at both edges.
            skew_s = abs((deltas[-1].end_s - deltas[0].start_s) - (end_s - recording.start_s))
            jitter_s = recording.jitter_s[track.source] + self._jitter_s[track.source]
            energy = track.energy(deltas, skew_s + jitter_s / 2)
        return DomainEnergy(
            source=track.source,
            domain=track.domain.name,
            kind=track.domain.kind,
            summed=track.domain.summed,
            energy=energy,
            gaps=gaps,
        )

    def _interval(self, track: _Track, step: Delta | Gap) -> Interval:
        energy, gap = None, None
        if isinstance(step, Delta):
            energy = track.energy([step], self._jitter_s[track.source])
        else:
            gap = step.reason
        return Interval(
            source=track.source,
            domain=track.domain.name,
            start_s=step.start_s,
            end_s=step.end_s,
            energy=energy,
            gap=gap,
        )

    def _run(self) -> None:
        assert self.interval_s is not None
        while not self._stop.wait(self.interval_s):
            try:
                self.sample()
            except Exception as error:  # noqa: BLE001 - a consumer's; raised where it is seen
                self._broken = error
                return

    def _raise_broken(self) -> None:
        if self._broken is not None:
            raise self._broken
