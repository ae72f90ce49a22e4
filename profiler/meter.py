"""Windows of energy and work: read every source on a thread and at each window's edges.

Differences are made in `counter`, shares in `attribution`; here readings meet the clock.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from ..errors import SourceError, SourceUnavailable
from .counter import CounterDiff, Delta, Gap, GapReason
from .sources.base import Kind, Source
from .track import Track, track_domain
from .usage import Reader, Usage
from .window import DomainEnergy, Interval, WindowResult
from .work import CpuTotals, NodeCpu

__all__ = ["DomainEnergy", "EnergyMeter", "Interval", "Window", "WindowResult"]


def _usage(read: Usage | float) -> Usage:
    return read if isinstance(read, Usage) else Usage(cpu_s=read)


def _nothing(read: Usage | float) -> Usage | float:
    """Return the usage of who has just begun, in the form in which it is told."""
    return read.since(read) if isinstance(read, Usage) else 0.0


def _together(usage: Mapping[str, Usage], cpu_s: Mapping[str, float]) -> dict[str, Usage]:
    """Return everyone's usage; who told it in both forms has the sum."""
    plain = {name: Usage(cpu_s=spent_s) for name, spent_s in cpu_s.items()}
    both = {name: plain[name].plus(used) for name, used in usage.items() if name in plain}
    return {**usage, **plain, **both}


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
        self._recording, self._result = self._meter._open(), None
        return self

    def __exit__(self, *_: object) -> None:
        recording, self._recording = self._recording, None
        if recording is not None:
            self._result = self._meter._close(recording, self.name)[0]

    def lap(self) -> WindowResult:
        """Return what was measured since the window's start or its last lap, and go on.

        The next lap begins at the very readings with which this one ends, so that laps add up.
        When the window is left, its `result` is what came after the last lap. A lap that fails,
        for a consumer cannot be read, ends nothing: the next one has its time as well.

        Raises:
            RuntimeError: When the window is not open.
        """
        if self._recording is None:
            raise RuntimeError(f"window {self.name!r} is not open")
        result, self._recording = self._meter._close(self._recording, self.name, again=True)
        return result


@dataclass(slots=True, eq=False)
class _Recording:
    """What an open window has gathered."""

    start_s: float
    busy_s: float
    jitter_s: dict[str, float]
    steps: list[tuple[Track, Delta | Gap]] = field(default_factory=list)
    usage: dict[str, Usage] = field(default_factory=dict)
    cpu_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Of consumers that tell nothing but their CPU seconds: there may be hundreds of them."""
    accelerators_s: dict[Kind, float] = field(default_factory=dict)


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
        accelerators: For each kind of accelerator, busy seconds of all of them together; where
            there is none, those of the consumers add up to it.

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
        accelerators: Mapping[Kind, Callable[[], float]] | None = None,
    ) -> None:
        if interval_s is not None and interval_s <= 0:
            raise ValueError(f"the sampling interval must be positive, found {interval_s}")
        self._sources = [
            (source, [track_domain(source.name, domain) for domain in source.domains])
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
        self._accelerators = dict(accelerators or {})
        self._consumers: dict[str, Reader] = {}
        self._used: dict[str, Usage | float] = {}
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
    def consumers(self, readers: Mapping[str, Reader], *, new: bool = False) -> Iterator[None]:
        """Count what named consumers use in every window open meanwhile; see `enlist`."""
        self.enlist(readers, new=new)
        try:
            yield
        finally:
            self.dismiss(readers)

    def enlist(self, readers: Mapping[str, Reader], *, new: bool = False) -> None:
        """Count what named consumers use from now on, until they are dismissed.

        Args:
            readers: For each name a callable that returns its cumulative usage.
            new: They began after the last sample: all they have used so far counts.

        Raises:
            ValueError: When a name is taken.
        """
        with self._lock:
            taken = sorted(self._consumers.keys() & readers.keys())
            if taken:
                raise ValueError(f"there already is a consumer named {', '.join(taken)}")
            began = {name: read() for name, read in readers.items()}
            self._used |= {n: _nothing(used) for n, used in began.items()} if new else began
            self._consumers.update(readers)

    def dismiss(self, names: Iterable[str]) -> None:
        """Count what these consumers used so far, and nothing of them from now on."""
        with self._lock:
            try:
                self._count_work()
            finally:
                for name in names:
                    self._consumers.pop(name, None)
                    self._used.pop(name, None)

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

    def _read(self, source: Source, tracks: Sequence[Track]) -> None:
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
            try:
                now = read()
            except SourceUnavailable:
                continue  # it has ended: what it did since the last look nobody counted
            used, self._used[name] = self._used[name], now
            if isinstance(now, Usage):
                step = now.since(_usage(used))
                for recording in self._open_recordings:
                    before = recording.usage.get(name)
                    recording.usage[name] = step if before is None else before.plus(step)
            else:
                spent_s = max(0.0, now - (used.cpu_s if isinstance(used, Usage) else used))
                for recording in self._open_recordings:
                    recording.cpu_s[name] += spent_s

    def _open(self) -> _Recording:
        with self._lock:
            self._raise_broken()
            start_s = self.sample()
            return self._record(start_s, self._work.totals(), self._accelerators_s())

    def _record(
        self, start_s: float, totals: CpuTotals, accelerators_s: dict[Kind, float]
    ) -> _Recording:
        recording = _Recording(
            start_s, totals.busy_s, dict(self._jitter_s), accelerators_s=accelerators_s
        )
        self._open_recordings.append(recording)
        return recording

    def _accelerators_s(self) -> dict[Kind, float]:
        return {kind: read() for kind, read in self._accelerators.items()}

    def _close(
        self, recording: _Recording, name: str, *, again: bool = False
    ) -> tuple[WindowResult, _Recording | None]:
        """End a recording; if `again`, begin the next at the very same readings.

        What fails ends the recording as well, unless the next was to begin.
        """
        following = None
        with self._lock:
            try:
                end_s = self.sample()
                totals, accelerators_s = self._work.totals(), self._accelerators_s()
                self._raise_broken()
                if again:
                    following = self._record(end_s, totals, accelerators_s)
            finally:
                if following is not None or not again:
                    self._open_recordings.remove(recording)
        result = WindowResult(
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
            usage=_together(recording.usage, recording.cpu_s),
            accelerators_s={
                kind: max(0.0, now_s - recording.accelerators_s[kind])
                for kind, now_s in accelerators_s.items()
            },
            intervals=tuple(
                self._interval(track, step)
                for track, step in recording.steps
                if step.end_s > step.start_s
            ),
        )
        return result, following

    def _domain_energy(self, track: Track, recording: _Recording, end_s: float) -> DomainEnergy:
        steps = [step for owner, step in recording.steps if owner is track]
        gaps = Counter(
            step.reason for step in steps if isinstance(step, Gap) and step.end_s > step.start_s
        )
        deltas = [step for step in steps if isinstance(step, Delta)]
        energy, edge_j = None, 0.0
        if deltas and not gaps:
            # How far this source's readings stand from those of the work, at both edges.
            skew_s = abs((deltas[-1].end_s - deltas[0].start_s) - (end_s - recording.start_s))
            jitter_s = recording.jitter_s[track.source] + self._jitter_s[track.source]
            energy, edge_j = track.energy(deltas, skew_s + jitter_s / 2)
        return DomainEnergy(
            source=track.source,
            domain=track.domain.name,
            kind=track.domain.kind,
            summed=track.domain.summed,
            energy=energy,
            gaps=gaps,
            edge_j=edge_j,
        )

    def _interval(self, track: Track, step: Delta | Gap) -> Interval:
        energy, gap = None, None
        if isinstance(step, Delta):
            energy, _ = track.energy([step], self._jitter_s[track.source])
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
