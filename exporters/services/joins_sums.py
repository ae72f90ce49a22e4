"""What joined answers add up to, in memory: totals, windows, coverage. The file has the rest."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..quality import WINDOWS, Counts, Key, Quality, Tally, Total

__all__ = [
    "ANSWERS",
    "LONGEST_S",
    "MOST_METRICS",
    "MOST_SERIES",
    "Changes",
    "Coverage",
    "Judged",
    "Name",
    "PodLabels",
    "Series",
    "Sums",
]

PodLabels = tuple[str, str, str]
"""Namespace, name and uid of a pod."""

MOST_SERIES = 50
"""Of one pod."""

MOST_METRICS = 10
"""Of one pod: labels may come from anybody. There is always room for `ACCURACY`."""

LONGEST_S = max(length for length in WINDOWS.values() if length is not None)

ANSWERS = ""
"""The name under which totals keep answers, and how many of them have a label: no metric's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Which share of the answers of a window has a label."""

    model: str
    variant: str
    exit: str
    window: str
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What is known of the answers of one pod.

    Args:
        totals: All verdicts by series.
        qualities: By series and window, where something was judged.
        coverage: By model, variant, exit and window, where something was answered.
    """

    totals: tuple[tuple[Key, Total], ...]
    qualities: tuple[tuple[Key, str, Quality], ...]
    coverage: tuple[Coverage, ...]


class Name(NamedTuple):
    """What a series of answers is about."""

    pod: PodLabels
    model: str
    variant: str
    exit: str

    def key(self, metric: str) -> Key:
        """Return the key of its verdicts of a metric."""
        return Key(self.model, self.variant, self.exit, metric)


@dataclass(slots=True)
class Series:
    """Answers of one name: how many are kept, how many there were and how many had a label."""

    name: Name
    held: int = 0
    coverage: Counts = field(default_factory=Counts)


@dataclass(slots=True, kw_only=True)
class Changes:
    """What a transaction does; memory learns of it once it is in the file.

    Args:
        now_s: When it is.
        outcomes: What became of the batch.
        late_outcomes: What became of labels of earlier batches.
        lost: Answers that never had a label, and are gone, by reason.
        fresh: New series.
        verdicts: Series, metric and value of each.
        answers: Series and time of each new answer.
        labelled: Series and time of each answer that has its first label.
        held: By how many answers a series grows.
        labels: By how many labels the file grows.
        early: By how many of these have no answer.
        open: By how many answers without label the file grows.
        forgotten: Series that are gone.
        gone: Pods that are gone, and of which something is kept; `None`: as before.
        metrics: By pod, those that it did not have.
        spent: Pods and their metrics that make room for others.
    """

    now_s: float
    outcomes: Counter[str] = field(default_factory=Counter)
    late_outcomes: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    fresh: dict[Name, int] = field(default_factory=dict)
    verdicts: list[tuple[int, str, float]] = field(default_factory=list)
    answers: list[tuple[int, float]] = field(default_factory=list)
    labelled: list[tuple[int, float]] = field(default_factory=list)
    held: Counter[int] = field(default_factory=Counter)
    labels: int = 0
    early: int = 0
    open: int = 0
    forgotten: list[int] = field(default_factory=list)
    gone: dict[PodLabels, None] | None = None
    metrics: dict[PodLabels, set[str]] = field(default_factory=dict)
    spent: list[tuple[PodLabels, str]] = field(default_factory=list)

    def totals(self) -> Iterator[tuple[int, str, int, float, float]]:
        """Return what is added to the totals: series, metric, judged, correct, squares."""
        sums: dict[tuple[int, str], list[float]] = {}
        for series, metric, value in self.verdicts:
            one = sums.setdefault((series, metric), [0, 0.0, 0.0])
            one[0] += 1
            one[1] += value
            one[2] += value * value
        for place, entries in enumerate((self.answers, self.labelled)):
            for series, _ in entries:
                sums.setdefault((series, ANSWERS), [0, 0.0, 0.0])[place] += 1
        for key, (judged, correct, squares) in sums.items():
            yield *key, int(judged), correct, squares


class Sums:
    """Sums by pod. One thread writes at a time, any may read.

    Attributes:
        series: By number.
        numbers: The numbers by name.
        sizes: How many series a pod has.
        metrics: When each metric of a pod last had a verdict.
        gone: Pods that are gone, and of which something is kept; the longest gone first.
        answers: How many answers are kept.
        labels: How many labels are kept.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tallies: dict[PodLabels, Tally] = {}
        self._outcomes: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._early = self._open = 0
        self.series: dict[int, Series] = {}
        self.numbers: dict[Name, int] = {}
        self.sizes: Counter[PodLabels] = Counter()
        self.metrics: dict[PodLabels, dict[str, float]] = {}
        self.gone: dict[PodLabels, None] = {}
        self.answers = self.labels = 0

    def clear(self) -> None:
        """Forget all but what was counted since the start."""
        with self._lock:
            self._tallies = {}
            self._early = self._open = self.answers = self.labels = 0
            self.series, self.numbers, self.sizes = {}, {}, Counter()
            self.metrics, self.gone = {}, {}

    def add_series(self, number: int, name: Name) -> None:
        """Make a series known."""
        self.series[number] = Series(name)
        self.numbers[name] = number
        self.sizes[name.pod] += 1

    def restore_total(self, number: int, metric: str, total: Total) -> None:
        """Take in a total of the file."""
        series = self.series[number]
        if metric == ANSWERS:
            series.coverage = Counts(total.judged, total.correct)
        else:
            self._tally(series.name).restore(series.name.key(metric), total)
            # When the last one was is not kept; where it lies in a window, it is put there.
            self._note(series.name.pod, metric, self._clock() - LONGEST_S)

    def restore_held(self, number: int, answers: int, *, open: int) -> None:  # noqa: A002
        """Say how many answers of a series are kept, and how many of them have no label."""
        self.series[number].held = answers
        self.answers += answers
        self._open += open

    def restore_labels(self, labels: int, *, early: int) -> None:
        """Say how many labels are kept, and how many of them have no answer."""
        self.labels, self._early = labels, early

    def restore_answer(self, number: int, at_s: float, *, labelled: bool) -> None:
        """Put an answer that the totals have into the windows."""
        self.series[number].coverage.add_recent(at_s, judged=1, correct=float(labelled))

    def restore_verdict(self, number: int, metric: str, value: float, at_s: float) -> None:
        """Put a verdict that the totals have into the windows."""
        name = self.series[number].name
        self._tally(name).restore_recent(name.key(metric), value, at_s=at_s)
        self._note(name.pod, metric, at_s)

    def apply(self, changes: Changes) -> None:
        """Take in what a transaction did."""
        with self._lock:
            for name, number in changes.fresh.items():
                self.add_series(number, name)
            for number, metric, value in changes.verdicts:
                name = self.series[number].name
                self._tally(name).add(name.key(metric), value, at_s=changes.now_s)
                self._note(name.pod, metric, changes.now_s)
            for number, at_s in changes.answers:
                self.series[number].coverage.add(at_s, judged=1, correct=0.0)
                self.gone.pop(self.series[number].name.pod, None)  # it is back
            for number, at_s in changes.labelled:
                self.series[number].coverage.add(at_s, judged=0, correct=1.0)
            for number, grown in changes.held.items():
                self.series[number].held += grown
            self.answers += changes.held.total()
            self.labels += changes.labels
            self._early += changes.early
            self._open += changes.open
            self._lost.update(changes.lost)
            self._outcomes.update(changes.late_outcomes)
            for pod, metric in changes.spent:
                self._tallies[pod].forget(metric)
                del self.metrics[pod][metric]
            self._forget(changes.forgotten)
            if changes.gone is not None:
                self.gone = changes.gone
                self._trim(changes.now_s)

    def count_labels(self, outcomes: Counter[str]) -> None:
        """Count what became of labels."""
        with self._lock:
            self._outcomes.update(outcomes)

    def _forget(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            name = self.series.pop(number).name
            del self.numbers[name]
            self.sizes[name.pod] -= 1
            if not self.sizes[name.pod]:
                del self.sizes[name.pod]
                self._tallies.pop(name.pod, None)
                self.metrics.pop(name.pod, None)

    def _trim(self, now_s: float) -> None:
        """Keep no more of pods that are gone than what comes later adds to."""
        for series in self.series.values():
            if series.name.pod in self.gone:
                series.coverage.trim(now_s)
        for pod in self.gone:
            if pod in self._tallies:
                self._tallies[pod].trim(now_s)

    def _note(self, pod: PodLabels, metric: str, at_s: float) -> None:
        metrics = self.metrics.setdefault(pod, {})
        metrics[metric] = max(at_s, metrics.get(metric, at_s))

    def is_judged(self, pod: PodLabels, now_s: float) -> bool:
        """Return whether a verdict on a pod lies in a window."""
        return max(self.metrics.get(pod, {}).values(), default=-math.inf) > now_s - LONGEST_S

    @property
    def outcomes(self) -> Counter[str]:
        """What became of labels since the start."""
        with self._lock:
            return self._outcomes.copy()

    @property
    def lost(self) -> Counter[str]:
        """Answers that went without a label, by reason, since the start."""
        with self._lock:
            return self._lost.copy()

    @property
    def held(self) -> dict[str, int]:
        """How many answers without label (open) and labels without answer (early) are kept."""
        with self._lock:
            return {"open": self._open, "early": self._early}

    def read(self) -> dict[PodLabels, Judged]:
        """Return what is known of each pod; of one that is gone only while it has verdicts."""
        now_s = self._clock()
        with self._lock:
            hidden = {pod for pod in self.gone if not self.is_judged(pod, now_s)}
            by_pod: dict[PodLabels, list[Series]] = {}
            for series in self.series.values():
                if series.name.pod not in hidden:
                    by_pod.setdefault(series.name.pod, []).append(series)
            return {pod: self._judged(pod, some, now_s) for pod, some in by_pod.items()}

    def _judged(self, pod: PodLabels, some: list[Series], now_s: float) -> Judged:
        tally = self._tallies.get(pod) or Tally(clock=self._clock)
        qualities: list[tuple[Key, str, Quality]] = []
        coverage: list[Coverage] = []
        for window, length_s in WINDOWS.items():
            for key in tally:
                quality = tally.quality(key, length_s)
                if quality is not None:
                    qualities.append((key, window, quality))
            for series in some:
                covered = series.coverage.within(now_s, length_s)
                if covered.judged:
                    _, model, variant, taken = series.name
                    coverage.append(
                        Coverage(
                            model=model,
                            variant=variant,
                            exit=taken,
                            window=window,
                            # A clock that was set back can leave a label without its answer.
                            ratio=min(1.0, covered.correct / covered.judged),
                        )
                    )
        totals = tuple((key, tally.total(key)) for key in tally)
        return Judged(totals=totals, qualities=tuple(qualities), coverage=tuple(coverage))

    def _tally(self, name: Name) -> Tally:
        tally = self._tallies.get(name.pod)
        if tally is None:
            most = MOST_SERIES * MOST_METRICS
            tally = self._tallies[name.pod] = Tally(clock=self._clock, most=most)
        return tally
