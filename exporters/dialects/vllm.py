"""vLLM: histograms in seconds, with names of its first and of its second engine.

Source: vllm-project/vllm, vllm/v1/metrics/loggers.py and, of the first engine,
vllm/engine/metrics.py. The engines of one server (label `engine`) are added up. Requests that its
client gave up are in the histograms as well.
"""

from __future__ import annotations

from ..service_metrics import DURATION, QUEUE, REQUESTS, STAGE_DURATION, TOKENS
from .dialect import Dialect, Families, Hints
from .gather import Gathering, Labels, Names
from .reading import Reading

__all__ = ["DIALECT"]

_STAGES = {
    "vllm:request_queue_time_seconds": "queue",
    "vllm:request_prefill_time_seconds": "prefill",
    "vllm:request_inference_time_seconds": "compute",
    "vllm:time_to_first_token_seconds": "first_token",
    "vllm:inter_token_latency_seconds": "next_token",
}
_OLD_NEXT_TOKEN = "vllm:time_per_output_token_seconds"
"""Earlier the time between two tokens was called so."""
_OUTCOMES = {"abort": "cancelled", "error": "error"}
_STATES = {"vllm:num_requests_waiting": "waiting", "vllm:num_requests_running": "running"}
_TOKENS = {"vllm:prompt_tokens": "prompt", "vllm:generation_tokens": "generation"}


def _outcome(labels: Labels) -> str:
    reason = labels.get("finished_reason", "")
    return _OUTCOMES.get(reason, "ok") if reason else "unknown"


def translate(families: Families, hints: Hints) -> Reading:
    """Translate a scrape of vLLM."""
    gathering = Gathering(families)
    names = Names(hints, model="model_name")
    unknown = names(outcome="unknown")
    gathering.histograms(DURATION, "vllm:e2e_request_latency_seconds", unknown)
    for name, stage in _STAGES.items():
        gathering.histograms(STAGE_DURATION, name, names(stage=stage))
    if "vllm:inter_token_latency_seconds" not in families:
        next_token = names(stage="next_token")
        gathering.histograms(STAGE_DURATION, _OLD_NEXT_TOKEN, next_token)
    ended = names(outcome=_outcome)
    gathering.numbers(REQUESTS, "vllm:request_success", ended)
    for name, kind in _TOKENS.items():
        gathering.numbers(TOKENS, name, names(kind=kind))
    for name, state in _STATES.items():
        gathering.numbers(QUEUE, name, names(state=state))
    return gathering.reading()


DIALECT = Dialect(
    name="vllm",
    title="vLLM",
    prefixes=(
        "vllm:e2e_request_latency_seconds",
        *_STAGES,
        _OLD_NEXT_TOKEN,
        "vllm:request_success",
        *_TOKENS,
        *_STATES,
    ),
    signature=("vllm:",),
    port_names=("vllm", "vllm-metrics"),
    port=8000,
    path="/metrics",
    translate=translate,
)
