"""Puts together what was read of each pod, from whatever side, into what a scrape says.

A service may tell the same twice, over OTLP and on a page for Prometheus. Each series is said once:
the side that is named first is believed, and what is left out of the others is counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from ..dialects.reading import Reading
from ..families import Family, Value
from ..metrics import Metric
from ..service_metrics import TARGET_PROBLEMS
from .target import Pod

__all__ = ["Publisher"]

_TWICE = "told_twice"


class Publisher:
    """Makes families of readings, again and again."""

    def __init__(self) -> None:
        self._twice: Counter[tuple[str, str, str]] = Counter()

    def families(
        self, sides: Sequence[Iterable[tuple[Pod, Reading]]], own: Iterable[Family]
    ) -> list[Family]:
        """Return families, each metric once.

        Args:
            sides: What pods tell, the side that is believed first.
            own: What the exporter says of itself and of pods; equal series are added up.
        """
        series: dict[Metric, dict[tuple[str, ...], Value]] = defaultdict(dict)
        present: set[tuple[str, str, str]] = set()
        for side in sides:
            for pod, reading in side:
                present.add(pod.labels)
                for one in reading.told:
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
