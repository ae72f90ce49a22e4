"""Triton Inference Server: counters of time in microseconds, and summaries where asked for.

Source: triton-inference-server/server, docs/user_guide/metrics.md. Durations are of requests that
succeeded. What a model has by `gpu_uuid`, or by tags of its own, is added up; an ensemble is
counted beside the models that it is made of.
"""

from __future__ import annotations

from ..service_metrics import (
    DURATION_SUMMARY,
    ITEMS,
    QUEUE,
    REQUESTS,
    STAGE_DURATION,
    STAGE_SUMMARY,
)
from .dialect import Dialect, Families, Hints
from .gather import MICROSECONDS, MILLISECONDS, Gathering, Labels, Names
from .reading import Reading

__all__ = ["DIALECT"]

_STAGES = {
    "queue": "queue",
    "compute_input": "input",
    "compute_infer": "compute",
    "compute_output": "output",
}


def _failed(labels: Labels) -> str:
    return "cancelled" if labels.get("reason") == "CANCELED" else "error"


def translate(families: Families, hints: Hints) -> Reading:
    """Translate a scrape of Triton."""
    gathering = Gathering(families)
    names = Names(hints, model="model", variant="version")
    ok = names(outcome="ok")
    gathering.numbers(REQUESTS, "nv_inference_request_success", ok)
    gathering.numbers(REQUESTS, "nv_inference_request_failure", names(outcome=_failed))
    gathering.numbers(ITEMS, "nv_inference_count", names())
    waiting = names(state="waiting")
    gathering.numbers(QUEUE, "nv_inference_pending_request_count", waiting)
    # Only models that may answer one request several times have it.
    gathering.histograms(
        STAGE_DURATION,
        "nv_inference_first_response_histogram_ms",
        names(stage="first_token"),
        MILLISECONDS,
    )
    succeeded = gathering.sums("nv_inference_request_success", names())
    gathering.summaries(DURATION_SUMMARY, "nv_inference_request_summary_us", ok, MICROSECONDS)
    gathering.pairs(
        DURATION_SUMMARY, "nv_inference_request_duration_us", succeeded, ok, MICROSECONDS
    )
    cached = gathering.sums("nv_cache_num_hits_per_model", names())
    for theirs, ours in _STAGES.items():

        def counted(labels: Labels, stage: str = ours) -> str | None:
            # Answers from the cache are not computed: how many were, is not told.
            is_cached = stage != "queue" and tuple(names.of(labels).items()) in cached
            return None if is_cached else stage

        name = f"nv_inference_{theirs}"
        summary = names(stage=ours)
        gathering.summaries(STAGE_SUMMARY, f"{name}_summary_us", summary, MICROSECONDS)
        stage = names(stage=counted)
        gathering.pairs(STAGE_SUMMARY, f"{name}_duration_us", succeeded, stage, MICROSECONDS)
    return gathering.reading()


DIALECT = Dialect(
    name="triton",
    title="Triton Inference Server",
    prefixes=("nv_inference_", "nv_cache_num_hits_per_model"),
    signature=("nv_inference_",),
    port_names=("triton-metrics", "metrics"),
    port=8002,
    path="/metrics",
    translate=translate,
)
