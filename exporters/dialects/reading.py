"""What a service tells, whatever server it is: values of our catalogue, as of one moment.

A dialect makes these from a scrape, the receiver from OTLP. Nothing here knows a pod: the labels
that name it are put in front when it is published.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..families import Histogram, Summary, Value
from ..metrics import Metric
from ..service_metrics import POD_LABELS

__all__ = ["Histogram", "Reading", "Summary", "Told", "Value", "told"]


@dataclass(frozen=True, slots=True)
class Told:
    """One value of one series.

    Args:
        metric: Of the catalogue, of a type that fits the value.
        labels: Values of its labels after those of the pod, in their order; empty: has none.
        value: Cumulative for counters, histograms and summaries.
    """

    metric: Metric
    labels: tuple[str, ...]
    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All that a service told at once.

    Args:
        told: Each series once.
        problems: How often something was left out, by reason; the rest holds.
    """

    told: tuple[Told, ...]
    problems: dict[str, int] = field(default_factory=dict)


def told(metric: Metric, value: Value, /, **labels: str) -> Told:
    """Return one value with its labels by name; those that are not given are empty.

    Raises:
        KeyError: The metric has no such label.
    """
    names = metric.labels[len(POD_LABELS) :]
    unknown = labels.keys() - set(names)
    if unknown:
        raise KeyError(f"{metric.name} has no label {', '.join(sorted(unknown))}")
    return Told(metric, tuple(labels.get(name, "") for name in names), value)
