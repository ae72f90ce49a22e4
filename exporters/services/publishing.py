"""Puts together what was read of each pod, from whatever side, into what a scrape says.

A service may tell the same twice, over OTLP and on a page for Prometheus. Each series is said once:
the side that is named first is believed, and what is left out of the others is counted.

Feedback may reach a pod itself and, by request id, our store. Added up, one label would count
twice, so what is told of a pod's model by a metric of quality is taken from one side alone: the
first that has judged an answer. That both have is as it should be, and is not counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence

from ..dialects.reading import Reading, Told
from ..families import Family, Value
from ..metrics import Metric, high_of, low_of
from ..service_metrics import CORRECT, JUDGED, QUALITY, TARGET_PROBLEMS
from .target import Pod

__all__ = ["Publisher"]

_TWICE = "told_twice"
_VERDICTS = {one.name for one in (JUDGED, CORRECT, QUALITY, low_of(QUALITY), high_of(QUALITY))}

_Judged = tuple[tuple[str, str, str], str, str]
"""A pod, its model, and a metric of quality."""


class Publisher:
    """Makes families of readings, again and again."""

    def __init__(self) -> None:
        self._twice: Counter[tuple[str, str, str]] = Counter()

    def families(
        self, sides: Sequence[Collection[tuple[Pod, Reading]]], own: Iterable[Family]
    ) -> list[Family]:
        """Return families, each metric once.

        Args:
            sides: What pods tell, the side that is believed first.
            own: What the exporter says of itself and of pods; equal series are added up.
        """
        series: dict[Metric, dict[tuple[str, ...], Value]] = defaultdict(dict)
        present: set[tuple[str, str, str]] = set()
        judges = _judges(sides)
        for number, side in enumerate(sides):
            for pod, reading in side:
                present.add(pod.labels)
                for one in reading.told:
                    verdict = _verdict(pod, one)
                    if verdict is not None and judges.get(verdict, number) != number:
                        continue
                    labels = (*pod.labels, *one.labels)
                    if labels in series[one.metric]:
                        self._twice[pod.labels] += 1
                    else:
                        series[one.metric][labels] = one.value
        for pod_labels in self._twice.keys() - present:
            del self._twice[pod_labels]
        twice = tuple(((*labels, _TWICE), float(n)) for labels, n in self._twice.items())
        for family in [*own, Family(TARGET_PROBLEMS, twice)]:
            for labels, added in family.samples:
                before = series[family.metric].get(labels)
                if isinstance(before, float) and isinstance(added, float):
                    added += before
                series[family.metric][labels] = added
        return [Family(metric, tuple(found.items())) for metric, found in series.items()]


def _verdict(pod: Pod, one: Told) -> _Judged | None:
    """Return what a series judges by feedback; `None`: nothing."""
    if one.metric.name not in _VERDICTS:
        return None
    # The labels of all five begin alike.
    model, _, _, metric, method, *_ = one.labels
    return (pod.labels, model, metric) if method == "feedback" else None


def _judges(sides: Iterable[Iterable[tuple[Pod, Reading]]]) -> dict[_Judged, int]:
    """Return which side is believed in matters of feedback: its number."""
    found: dict[_Judged, int] = {}
    for number, side in enumerate(sides):
        for pod, reading in side:
            for one in reading.told:
                if one.metric is JUDGED and isinstance(one.value, float) and one.value > 0:
                    verdict = _verdict(pod, one)
                    if verdict is not None:
                        found.setdefault(verdict, number)
    return found
