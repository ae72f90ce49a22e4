"""The catalogue, continued: every metric that the service exporter serves, said once.

Services of all kinds become these: the dialects and the receiver translate, nothing else names a
metric. Durations are never computed here from averages: a server without buckets has a summary.
"""

from __future__ import annotations

from .metrics import EXPORTER_BUILD_INFO, EXPORTER_CPU, EXPORTER_MEMORY, Metric, high_of, low_of

__all__ = [
    "AGREEMENT",
    "ANSWERS_LOST",
    "API_SERVER_FAILURES",
    "API_SERVER_UP",
    "CORRECT",
    "COVERAGE",
    "DURATION",
    "DURATION_SUMMARY",
    "FEEDBACK",
    "ITEMS",
    "JUDGED",
    "POD_LABELS",
    "PROBE_REQUESTS",
    "QUALITY",
    "QUEUE",
    "RECEIVER_DROPPED",
    "RECEIVER_POINTS",
    "RECEIVER_REQUESTS",
    "REQUESTS",
    "SERVICE_CATALOGUE",
    "STAGE_DURATION",
    "STAGE_SUMMARY",
    "STORE_ANSWERS",
    "TARGETS",
    "TARGET_PROBLEMS",
    "TARGET_SCRAPE",
    "TARGET_UP",
    "TOKENS",
]

POD_LABELS = ("namespace", "pod", "uid")
"""Name the pod, first in every metric of one; outside of Kubernetes the target and its address."""

_MODEL = (*POD_LABELS, "model", "variant")
_FORM = (*_MODEL, "exit", "precision")

DURATION = Metric(
    name="joulery_pod_inference_duration_seconds",
    type="histogram",
    unit="seconds",
    labels=(*_FORM, "outcome"),
    per="pod, model, variant, exit, precision and outcome; times its buckets",
    help="Time to answer a request, with the buckets that the service has. Probes are not counted "
    "by services that know their mark.",
)
DURATION_SUMMARY = Metric(
    name="joulery_pod_inference_duration_unbucketed_seconds",
    type="summary",
    unit="seconds",
    labels=(*_FORM, "outcome"),
    per="pod, model and variant of a server that has no buckets",
    help="Time to answer a request, where the service tells sum and count alone; quantiles, where "
    "it has any, are its own.",
)
STAGE_DURATION = Metric(
    name="joulery_pod_inference_stage_duration_seconds",
    type="histogram",
    unit="seconds",
    labels=(*_MODEL, "stage"),
    per="pod, model, variant and stage; times its buckets",
    help="Time in a part of the way to an answer: queue, input, prefill, compute, output, "
    "first_token (until it), next_token (between tokens). They overlap, and are never added to the "
    "whole.",
)
STAGE_SUMMARY = Metric(
    name="joulery_pod_inference_stage_unbucketed_seconds",
    type="summary",
    unit="seconds",
    labels=(*_MODEL, "stage"),
    per="pod, model, variant and stage of a server that has no buckets",
    help="Time in a part of the way to an answer, where the service tells sum and count alone: "
    "queue, input, compute, output, first_token, next_token.",
)
REQUESTS = Metric(
    name="joulery_pod_inference_requests",
    type="counter",
    labels=(*_MODEL, "outcome"),
    per="pod, model, variant and outcome",
    help="Requests that ended: ok, error, cancelled, or unknown where the server does not tell.",
)
ITEMS = Metric(
    name="joulery_pod_inference_items",
    type="counter",
    labels=_MODEL,
    per="pod, model and variant",
    help="Items in the batches of requests: inferences.",
)
TOKENS = Metric(
    name="joulery_pod_inference_tokens",
    type="counter",
    labels=(*_MODEL, "kind"),
    per="pod, model, variant and kind",
    help="Tokens of a language model: prompt, generation.",
)
QUEUE = Metric(
    name="joulery_pod_inference_in_flight_requests",
    type="gauge",
    labels=(*_MODEL, "state"),
    per="pod, model, variant and state",
    help="Requests that are waiting or running now.",
)
QUALITY = Metric(
    name="joulery_pod_inference_quality_ratio",
    type="gauge",
    unit="ratio",
    labels=(*_MODEL, "exit", "metric", "method", "window"),
    per="pod, model, variant, exit, metric, method and window",
    help="Quality of answers against the truth. method: feedback (labels that came for real "
    "requests), probe (a labelled golden set, sent to every replica). window: all, or seconds.",
)
AGREEMENT = Metric(
    name="joulery_pod_inference_agreement_ratio",
    type="gauge",
    unit="ratio",
    labels=(*_MODEL, "exit", "reference", "window"),
    per="pod, model, variant, exit, reference and window",
    help="Share of answers that agree with those of a reference model. It says nothing about "
    "truth: both may be wrong.",
)
JUDGED = Metric(
    name="joulery_pod_inference_judged",
    type="counter",
    labels=(*_MODEL, "exit", "metric", "method"),
    per="pod, model, variant, exit, metric and method",
    help="Answers whose truth became known.",
)
CORRECT = Metric(
    name="joulery_pod_inference_correct",
    type="counter",
    labels=(*_MODEL, "exit", "metric", "method"),
    per="pod, model, variant, exit, metric and method",
    help="Answers that were right; for metrics other than right or wrong, their sum.",
)
COVERAGE = Metric(
    name="joulery_pod_inference_label_coverage_ratio",
    type="gauge",
    unit="ratio",
    labels=(*_MODEL, "exit", "window"),
    per="pod, model, variant, exit and window",
    help="Share of answers for which a label has come. Few labels may be unlike all the rest.",
)
PROBE_REQUESTS = Metric(
    name="joulery_probe_requests",
    type="counter",
    labels=(*_MODEL, "outcome"),
    per="pod that is probed, and outcome",
    help="Requests of the golden set: ok, error, or skipped to keep to the rate.",
)
FEEDBACK = Metric(
    name="joulery_feedback_labels",
    type="counter",
    labels=("outcome",),
    per="outcome",
    help="Labels by what became of them: joined, waiting (the answer is not known yet), repeated, "
    "unknown (no answer came in time), invalid, dropped (the store is full).",
)
STORE_ANSWERS = Metric(
    name="joulery_feedback_store_answers",
    type="gauge",
    labels=("state",),
    per="state",
    help="Answers and labels in the store: open (no label yet), early (a label without answer).",
)
ANSWERS_LOST = Metric(
    name="joulery_feedback_lost_answers",
    type="counter",
    labels=("reason",),
    per="reason",
    help="Answers that left the store without a label: too_old, too_many, pod_gone.",
)
TARGETS = Metric(
    name="joulery_service_targets",
    type="gauge",
    labels=("source",),
    per="source",
    help="Services that are scraped (scrape) or send of their own (otlp).",
)
TARGET_UP = Metric(
    name="joulery_target_up",
    type="gauge",
    labels=(*POD_LABELS, "dialect"),
    per="service that is scraped",
    help="1 if its last scrape was read and understood, else 0.",
)
TARGET_SCRAPE = Metric(
    name="joulery_target_scrape_seconds",
    type="gauge",
    unit="seconds",
    labels=POD_LABELS,
    per="service that is scraped",
    help="Time of its last scrape.",
)
TARGET_PROBLEMS = Metric(
    name="joulery_target_problems",
    type="counter",
    labels=(*POD_LABELS, "reason"),
    per="service and reason that occurred",
    help="What was refused or left out of what a service tells, by reason.",
)
RECEIVER_REQUESTS = Metric(
    name="joulery_receiver_requests",
    type="counter",
    labels=("outcome",),
    per="outcome",
    help="OTLP requests: ok, partial (some points were refused), ignored (traces and logs), busy "
    "(to be sent again), too_large, malformed, unknown_sender (no pod of this node has the "
    "address), foreign_identity (it claims to be another pod).",
)
RECEIVER_POINTS = Metric(
    name="joulery_receiver_points",
    type="counter",
    labels=("outcome",),
    per="outcome",
    help="OTLP data points: taken, repeated (told before), ignored (no metric of ours), or by the "
    "reason for which they were refused.",
)
RECEIVER_DROPPED = Metric(
    name="joulery_receiver_dropped_connections",
    type="counter",
    labels=("reason",),
    per="reason",
    help="Connections of senders that were given up: silent (no request came), slow (a request did "
    "not end in time), crowded (too many from one address).",
)
API_SERVER_UP = Metric(
    name="joulery_api_server_up",
    type="gauge",
    labels=(),
    per="exporter that finds pods by the API server",
    help="1 if the API server tells of the node's pods, else 0; then those that are known stay.",
)
API_SERVER_FAILURES = Metric(
    name="joulery_api_server_failures",
    type="counter",
    labels=("reason",),
    per="reason",
    help="Failures of listing and watching pods: unreachable, timeout, no_credentials, "
    "unauthorised, forbidden, gone (changes were missed), refused, malformed.",
)

SERVICE_CATALOGUE = (
    DURATION,
    DURATION_SUMMARY,
    STAGE_DURATION,
    STAGE_SUMMARY,
    REQUESTS,
    ITEMS,
    TOKENS,
    QUEUE,
    QUALITY,
    low_of(QUALITY),
    high_of(QUALITY),
    AGREEMENT,
    low_of(AGREEMENT),
    high_of(AGREEMENT),
    JUDGED,
    CORRECT,
    COVERAGE,
    PROBE_REQUESTS,
    FEEDBACK,
    STORE_ANSWERS,
    ANSWERS_LOST,
    TARGETS,
    TARGET_UP,
    TARGET_SCRAPE,
    TARGET_PROBLEMS,
    RECEIVER_REQUESTS,
    RECEIVER_POINTS,
    RECEIVER_DROPPED,
    API_SERVER_UP,
    API_SERVER_FAILURES,
    EXPORTER_BUILD_INFO,
    EXPORTER_CPU,
    EXPORTER_MEMORY,
)
"""All of them, in the order in which they are served."""
