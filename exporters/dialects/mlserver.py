"""MLServer, and the servers that are written with KServe's Python package.

MLServer has a summary by model, of REST and gRPC alike, and for all models together the histograms
of its REST server (starlette_exporter). KServe's has histograms by model, but only of the steps: a
request as a whole has none. Source: SeldonIO/MLServer 1.7, kserve/kserve 0.21
(python/kserve/kserve/metrics.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from ..service_metrics import DURATION, DURATION_SUMMARY, REQUESTS, STAGE_DURATION
from .dialect import Dialect, Families, Hints
from .gather import Gathering, Key, Labels, Names
from .reading import Reading

__all__ = ["DIALECT"]

_PREDICT = "request_predict_seconds"
_STAGES = {
    "request_preprocess_seconds": "input",
    _PREDICT: "compute",
    "request_explain_seconds": "compute",
    "request_postprocess_seconds": "output",
}
_OUTCOMES = {"model_infer_request_success": "ok", "model_infer_request_failure": "error"}
_WHOLE = "rest_server_request_duration_seconds"
_OTHERWISE, _UNDER_WAY = 0.01, 16
"""Share, and number, of answers that the REST server may not have told yet."""


def _rest_outcome(labels: Labels) -> str | None:
    """Return how a request to a model ended; other paths are no inferences."""
    if "infer" not in labels.get("path", "").rsplit("/", 1)[-1]:
        return None
    return "ok" if labels.get("status_code", "").startswith("2") else "error"


def _common(names: Iterable[str], hint: str) -> str:
    """Return the one name that there is; the hint where there is none, nothing where several."""
    different = set(names)
    return different.pop() if len(different) == 1 else "" if different else hint


def translate(families: Families, hints: Hints) -> Reading:
    """Translate a scrape of MLServer or of a server of KServe's."""
    gathering = Gathering(families)
    # MLServer writes "None" for requests that ask for no version.
    names = Names(hints, model="model", variant="version", unsaid="None")
    answered: dict[Key, float] = {}
    for name, outcome in _OUTCOMES.items():
        for key, requests in gathering.sums(name, names(outcome=outcome)).items():
            gathering.tell(REQUESTS, key, requests)
            # Requests for a model that there is none of fail, and count for its name.
            if outcome == "ok":
                answered[key] = requests
    naming = names(outcome="unknown")
    gathering.summaries(DURATION_SUMMARY, "model_infer_request_duration", naming)
    # The REST server's histogram is of all models together: it names one only where it is alone,
    # and asked through REST alone. Else it would pass for all that the model does.
    known = gathering.all_histograms(_WHOLE, Names(Hints())(outcome=_rest_outcome))
    rest = sum(value.count for key, value in known.items() if dict(key)["outcome"] == "ok")
    whole = Hints()
    if sum(answered.values()) <= rest * (1 + _OTHERWISE) + _UNDER_WAY:
        whole = Hints(
            model=_common([dict(key)["model"] for key in answered], hints.model),
            variant=_common([dict(key)["variant"] for key in answered], hints.variant),
        )
    gathering.histograms(DURATION, _WHOLE, Names(whole)(outcome=_rest_outcome))
    steps = Names(hints, model="model_name")
    for name, stage in _STAGES.items():
        gathering.histograms(STAGE_DURATION, name, steps(stage=stage))
    predicted = steps(outcome="unknown")
    for key, value in gathering.all_histograms(_PREDICT, predicted).items():
        gathering.tell(REQUESTS, key, value.count)
    return gathering.reading()


DIALECT = Dialect(
    name="mlserver",
    title="KServe and MLServer",
    prefixes=(
        *_OUTCOMES,
        "model_infer_request_duration",
        _WHOLE,
        *_STAGES,
    ),
    signature=("model_infer_request_", _PREDICT),
    port_names=("mlserver", "metrics"),
    port=8082,
    path="/metrics",
    translate=translate,
)
