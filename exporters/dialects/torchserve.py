"""TorchServe in its mode "prometheus": counters of time in microseconds, and no buckets.

Source: pytorch/serve, ts/configs/metrics.yaml. It counts requests as they come, and tells neither
by model how they ended nor more than the sum of their times.
"""

from __future__ import annotations

from ..service_metrics import DURATION_SUMMARY, REQUESTS, STAGE_SUMMARY
from .dialect import Dialect, Families, Hints
from .gather import MICROSECONDS, Gathering, Names
from .reading import Reading

__all__ = ["DIALECT"]


def translate(families: Families, hints: Hints) -> Reading:
    """Translate a scrape of TorchServe."""
    gathering = Gathering(families)
    # A request that asks for no version is counted for the version "default".
    names = Names(hints, model="model_name", variant="model_version", unsaid="default")
    unknown = names(outcome="unknown")
    gathering.numbers(REQUESTS, "ts_inference_requests", unknown)
    counts = gathering.sums("ts_inference_requests", names())
    for metric, name, naming in (
        (DURATION_SUMMARY, "ts_inference_latency_microseconds", unknown),
        (STAGE_SUMMARY, "ts_queue_latency_microseconds", names(stage="queue")),
    ):
        gathering.pairs(metric, name, counts, naming, MICROSECONDS)
    return gathering.reading()


DIALECT = Dialect(
    name="torchserve",
    title="TorchServe",
    prefixes=("ts_inference_", "ts_queue_latency_"),
    signature=("ts_inference_", "ts_queue_latency_"),
    port_names=("torchserve", "metrics"),
    port=8082,
    path="/metrics",
    translate=translate,
)
