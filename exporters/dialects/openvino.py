"""OpenVINO Model Server: histograms in microseconds, and a counter for each method.

Source: openvinotoolkit/model_server, docs/metrics.md. A pipeline is counted beside the models that
it is made of. Only requests that succeeded have a time.
"""

from __future__ import annotations

from ..service_metrics import DURATION, QUEUE, REQUESTS, STAGE_DURATION
from .dialect import Dialect, Families, Hints
from .gather import MICROSECONDS, Gathering, Labels, Names
from .reading import Reading

__all__ = ["DIALECT"]

_OUTCOMES = {
    "ovms_requests_success": "ok",
    "ovms_requests_fail": "error",
    "ovms_requests_rejected": "error",
    # Of a graph: it is not told how those ended that it let in.
    "ovms_requests_accepted": "unknown",
}
_STAGES = {"ovms_wait_for_infer_req_time_us": "queue", "ovms_inference_time_us": "compute"}
_RUNNING = ("ovms_current_requests", "ovms_current_graphs")


def translate(families: Families, hints: Hints) -> Reading:
    """Translate a scrape of OpenVINO Model Server."""
    gathering = Gathering(families)
    names = Names(hints, model="name", variant="version")
    for name, outcome in _OUTCOMES.items():

        def ended(labels: Labels, outcome: str = outcome) -> str | None:
            method = labels.get("method", "")
            asks = method.startswith("Get") or method in {"ModelReady", "ModelMetadata"}
            return None if asks else outcome

        gathering.numbers(REQUESTS, name, names(outcome=ended))
    ok = names(outcome="ok")
    gathering.histograms(DURATION, "ovms_request_time_us", ok, MICROSECONDS)
    for name, stage in _STAGES.items():
        naming = names(stage=stage)
        gathering.histograms(STAGE_DURATION, name, naming, MICROSECONDS)
    for name in _RUNNING:
        gathering.numbers(QUEUE, name, names(state="running"))
    return gathering.reading()


DIALECT = Dialect(
    name="openvino",
    title="OpenVINO Model Server",
    prefixes=(*_OUTCOMES, "ovms_request_time_us", *_STAGES, *_RUNNING),
    signature=("ovms_",),
    port_names=("ovms", "ovms-rest"),
    port=8000,
    path="/metrics",
    translate=translate,
)
