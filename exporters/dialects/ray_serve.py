"""Ray Serve: each deployment is a model, its replicas on this node are added up.

Source: ray-project/ray 2.60, python/ray/serve/_private. Ray serves what it knows of a node at one
place, all processes together, in milliseconds. Where replicas come and go, sums over them fall as
counters do that begin anew. A node that has no replicas but passes requests on tells of these by
application.
"""

from __future__ import annotations

from ..service_metrics import DURATION, QUEUE, REQUESTS, STAGE_DURATION
from .dialect import Dialect, Families, Hints
from .gather import MILLISECONDS, Gathering, Labels, Naming
from .reading import Reading

__all__ = ["DIALECT"]

_OUTCOMES = {"deployment_request_counter": "ok", "deployment_error_counter": "error"}
_STATES = {"deployment_queued_queries": "waiting", "replica_processing_queries": "running"}
_PROCESSING = "deployment_processing_latency_ms"
_ROUTING = "request_router_fulfillment_time_ms"
_HTTP = "http_request_latency_ms"
_HTTP_COUNT = "num_http_requests"
_NAMES = (*_OUTCOMES, *_STATES, _PROCESSING, _ROUTING, _HTTP, _HTTP_COUNT)


def _naming(hints: Hints, **fixed: str) -> Naming:
    def naming(labels: Labels) -> dict[str, str]:
        model, application = labels.get("deployment", ""), labels.get("application", "")
        if model and application not in {"", "default"}:
            model = f"{application}/{model}"
        return {"model": model or hints.model, "variant": hints.variant, **fixed}

    return naming


def _http(hints: Hints) -> Naming:
    def naming(labels: Labels) -> dict[str, str]:
        ok = labels.get("status_code", "").startswith(("2", "3"))
        return {
            "model": labels.get("application", "") or hints.model,
            "variant": hints.variant,
            "outcome": "ok" if ok else "error",
        }

    return naming


def translate(families: Families, hints: Hints) -> Reading:
    """Translate a scrape of a node of Ray."""
    gathering = Gathering({name.removeprefix("ray_"): one for name, one in families.items()})
    unknown = _naming(hints, outcome="unknown")
    works_here = gathering.histograms(DURATION, f"serve_{_PROCESSING}", unknown, MILLISECONDS)
    if not works_here:
        gathering.histograms(DURATION, f"serve_{_HTTP}", _http(hints), MILLISECONDS)
        gathering.numbers(REQUESTS, f"serve_{_HTTP_COUNT}", _http(hints))
    queue = _naming(hints, stage="queue")
    gathering.histograms(STAGE_DURATION, f"serve_{_ROUTING}", queue, MILLISECONDS)
    for name, outcome in _OUTCOMES.items():
        gathering.numbers(REQUESTS, f"serve_{name}", _naming(hints, outcome=outcome))
    for name, state in _STATES.items():
        gathering.numbers(QUEUE, f"serve_{name}", _naming(hints, state=state))
    return gathering.reading()


DIALECT = Dialect(
    name="ray-serve",
    title="Ray Serve",
    prefixes=tuple(f"{start}{name}" for start in ("ray_serve_", "serve_") for name in _NAMES),
    signature=("ray_serve_", "serve_deployment_", "serve_num_http_requests"),
    port_names=("ray-metrics", "metrics"),
    port=8080,
    path="/metrics",
    translate=translate,
)
