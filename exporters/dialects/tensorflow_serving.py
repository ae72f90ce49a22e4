"""TensorFlow Serving: histograms in microseconds.

Source: tensorflow/serving, tensorflow_serving/servables/tensorflow/util.cc. Only requests that
succeeded have a latency; calls by REST and by gRPC, and of each API, are added up. How long batches
wait is not told by model, and is left out.
"""

from __future__ import annotations

from ..service_metrics import DURATION, REQUESTS, STAGE_DURATION
from .dialect import Dialect, Families, Hints
from .gather import MICROSECONDS, Gathering, Labels, Names
from .reading import Reading

__all__ = ["DIALECT"]

_ALWAYS = ":tensorflow:cc:saved_model:load_attempt_count"
"""There before the first request, when nothing else is."""
_OUTCOMES = {"OK": "ok", "CANCELLED": "cancelled"}


def _outcome(labels: Labels) -> str:
    status = labels.get("status", "")
    return _OUTCOMES.get(status.upper(), "error") if status else "unknown"


def translate(families: Families, hints: Hints) -> Reading:
    """Translate a scrape of TensorFlow Serving."""
    gathering = Gathering(families)
    names = Names(hints, model="model_name")
    ended = names(outcome=_outcome)
    gathering.numbers(REQUESTS, ":tensorflow:serving:request_count", ended)
    for metric, name, naming in (
        (DURATION, "request_latency", names(outcome="ok")),
        (STAGE_DURATION, "runtime_latency", names(stage="compute")),
    ):
        gathering.histograms(metric, f":tensorflow:serving:{name}", naming, MICROSECONDS)
    return gathering.reading()


DIALECT = Dialect(
    name="tensorflow-serving",
    title="TensorFlow Serving",
    prefixes=(
        ":tensorflow:serving:request_count",
        ":tensorflow:serving:request_latency",
        ":tensorflow:serving:runtime_latency",
        _ALWAYS,
    ),
    signature=(":tensorflow:serving:", _ALWAYS),
    port_names=("tf-serving", "tfserving"),
    port=8501,
    path="/monitoring/prometheus/metrics",
    translate=translate,
)
