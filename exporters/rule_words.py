"""What recording rules are, of what there is one each, and how they are called.

Names follow Prometheus' convention, level:metric:operations; metrics are the catalogue's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .metrics import POD_ENERGY, Metric, high_of, low_of
from .service_metrics import CORRECT, DURATION, JUDGED, POD_LABELS, QUALITY

__all__ = [
    "BOUNDS",
    "CORRECT_ANSWER",
    "ENDS",
    "ENERGY_LABELS",
    "EXIT",
    "INFERENCE",
    "MIXED_EXIT",
    "MODEL",
    "NAMED",
    "OTHER_END",
    "POD",
    "POD_MODEL",
    "QUALITY_LABELS",
    "WINDOWS",
    "Bound",
    "Level",
    "Names",
    "Rule",
    "bound_of",
    "joined_on",
]

WINDOWS: Mapping[str, str] = {"5m": "300", "1h": "3600"}
"""Over which rates are taken, and the window of quality that belongs to each."""

ENERGY_LABELS = ("part", "provenance")
QUALITY_LABELS = ("metric", "method")

MIXED_EXIT = "mixed"
"""The exit of a request of several inputs that did not all take one."""

NAMED = 'model!=""'
"""Pods whose server names no model have none in common."""

INFERENCE = "joulery_inference_energy_joules"
CORRECT_ANSWER = "joulery_correct_answer_energy_joules"

Bound = Literal["", "low", "high"]
"""The value itself, or an end of its interval."""

BOUNDS: tuple[Bound, ...] = ("", "low", "high")
OTHER_END: Mapping[Bound, Bound] = {"": "", "low": "high", "high": "low"}
ENDS: Mapping[Bound, str] = {
    "": "",
    "low": " Lower end of its interval.",
    "high": " Upper end of its interval.",
}
"""What is added to the help of a rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One recording rule.

    Args:
        record: Name of the series it makes.
        expr: In PromQL.
        by: Labels of each series, apart from those that it is given.
        unit: Of its values.
        help: What it means, for people.
        labels: Names and values that it is given.
    """

    record: str
    expr: str
    by: tuple[str, ...]
    unit: str
    help: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Level:
    """Of what there is one value: the first part of a rule's name, and the labels.

    Args:
        name: The first part.
        labels: That tell values apart.
    """

    name: str
    labels: tuple[str, ...]

    @property
    def on(self) -> str:
        """The clause that joins by these labels."""
        return joined_on(self.labels)

    def record(self, metric: str, operations: str) -> str:
        """Return the name of a rule of this level."""
        return f"{self.name}:{metric}:{operations}"


POD = Level("pod", POD_LABELS)
POD_MODEL = Level("pod_model", (*POD.labels, "model", "variant"))
EXIT = Level("pod_model_exit", (*POD_MODEL.labels, "exit"))
MODEL = Level("model", ("model", "variant"))


def joined_on(labels: Sequence[str]) -> str:
    """Return the clause that joins by some labels."""
    return f"on ({', '.join(labels)})"


def bound_of(metric: Metric, bound: Bound) -> Metric:
    """Return a metric, or its companion with an end of its interval."""
    if not bound:
        return metric
    return low_of(metric) if bound == "low" else high_of(metric)


class Names:
    """Names of the rules that others build upon, in one window.

    Args:
        window: One of `WINDOWS`.
    """

    def __init__(self, window: str) -> None:
        self.window, self.rate, self.ratio = window, f"rate{window}", f"ratio_rate{window}"
        self.answers = EXIT.record("joulery_pod_inference_answers", self.rate)
        self.weights = EXIT.record("joulery_pod_inference_quality_weight", self.rate)
        self.seconds = EXIT.record(DURATION.name, self.rate)
        self.share = EXIT.record(DURATION.name, f"share_{self.rate}")
        self.mean = EXIT.record(DURATION.name, f"mean{window}")
        self.judged = EXIT.record(JUDGED.name, f"increase{window}")
        self.correct = EXIT.record(CORRECT.name, f"increase{window}")

    def power(self, level: Level, bound: Bound) -> str:
        """Return the name of power."""
        return level.record(bound_of(POD_ENERGY, bound).name, self.rate)

    def energy(self, level: Level, bound: Bound = "", name: str = INFERENCE) -> str:
        """Return the name of joules per something."""
        quantity, unit = name.rsplit("_", 1)
        return level.record(f"{quantity}_{bound}_{unit}" if bound else name, self.ratio)

    def quality(self, level: Level, bound: Bound) -> str:
        """Return the name of the share of right answers."""
        return level.record(bound_of(QUALITY, bound).name, f"window{self.window}")

    def latency(self, level: Level) -> str:
        """Return the name of latency at percentiles."""
        return level.record(DURATION.name, f"quantile_{self.rate}")
