"""Which metrics of OTLP matter here, and what they are called in our catalogue.

Ours are those of `profiler.instruments`; beside them the conventions of OpenTelemetry for servers
of language models (opentelemetry.io, "Semantic conventions for generative AI metrics").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from ..dialects.joulery import outcome_of
from ..metrics import Metric
from ..service_metrics import (
    CORRECT,
    DURATION,
    DURATION_SUMMARY,
    ITEMS,
    JUDGED,
    QUALITY,
    REQUESTS,
    STAGE_DURATION,
    STAGE_SUMMARY,
)

__all__ = ["WORDS", "Attributes", "Instrument", "Word"]

Attributes = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One metric of the catalogue that is told by a metric of OTLP.

    Args:
        metric: It.
        labels: Makes the values of its labels, after those of the pod, of a point's attributes.
        part: What of a point it is: all of it, or of a histogram its count or sum, or as verdicts:
            how many values are 0, how many at most 1, how many others, and the sum.
        plain: What it is instead where a histogram has no buckets.
    """

    metric: Metric
    labels: Callable[[Attributes], tuple[str, ...]]
    part: Literal["all", "count", "sum", "verdicts"] = "all"
    plain: Metric | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """A metric of OTLP.

    Args:
        is_histogram: Explicit or exponential; else it is a sum that never falls.
        words: What it tells.
        units: Those that it may have.
    """

    words: tuple[Word, ...]
    is_histogram: bool
    units: frozenset[str]


def _plainly(*names: str) -> Callable[[Attributes], tuple[str, ...]]:
    """Return a maker of labels that are called as their attributes are."""

    def labels(attributes: Attributes) -> tuple[str, ...]:
        return tuple([attributes.get(name, "") for name in names])

    return labels


def _duration(attributes: Attributes) -> tuple[str, ...]:
    get = attributes.get
    form = get("model", ""), get("variant", ""), get("exit", ""), get("precision", "")
    return *form, outcome_of(attributes)


def _requests(attributes: Attributes) -> tuple[str, ...]:
    return attributes.get("model", ""), attributes.get("variant", ""), outcome_of(attributes)


def _judged(attributes: Attributes) -> tuple[str, ...]:
    get = attributes.get
    return get("model", ""), get("variant", ""), get("exit", ""), get("metric", ""), "feedback"


def _quality(attributes: Attributes) -> tuple[str, ...]:
    return *_judged(attributes), "all"


def _llm(attributes: Attributes) -> tuple[str, str]:
    """Return model and outcome of a language model's request."""
    model = attributes.get("gen_ai.request.model") or attributes.get("gen_ai.response.model", "")
    return model, "error" if attributes.get("error.type") else "ok"


def _llm_duration(attributes: Attributes) -> tuple[str, ...]:
    model, outcome = _llm(attributes)
    return model, "", "", "", outcome


def _llm_requests(attributes: Attributes) -> tuple[str, ...]:
    model, outcome = _llm(attributes)
    return model, "", outcome


def _llm_stage(stage: str) -> Instrument:
    word = Word(
        metric=STAGE_DURATION,
        labels=lambda attributes: (_llm(attributes)[0], "", stage),
        plain=STAGE_SUMMARY,
    )
    return Instrument(words=(word,), is_histogram=True, units=_SECONDS)


_SECONDS = frozenset({"s"})
_COUNTS = frozenset({"", "1", "{request}", "{item}"})

WORDS: Mapping[str, Instrument] = {
    "joulery.inference.duration": Instrument(
        words=(Word(metric=DURATION, labels=_duration, plain=DURATION_SUMMARY),),
        is_histogram=True,
        units=_SECONDS,
    ),
    "joulery.inference.quality": Instrument(
        words=(
            Word(metric=JUDGED, labels=_judged, part="count"),
            Word(metric=CORRECT, labels=_judged, part="sum"),
            Word(metric=QUALITY, labels=_quality, part="verdicts"),
        ),
        is_histogram=True,
        units=frozenset({"", "1"}),
    ),
    "joulery.inference.requests": Instrument(
        words=(Word(metric=REQUESTS, labels=_requests),), is_histogram=False, units=_COUNTS
    ),
    "joulery.inference.items": Instrument(
        words=(Word(metric=ITEMS, labels=_plainly("model", "variant")),),
        is_histogram=False,
        units=_COUNTS,
    ),
    "gen_ai.server.request.duration": Instrument(
        words=(
            Word(metric=DURATION, labels=_llm_duration, plain=DURATION_SUMMARY),
            # Every request that ended has a duration, so their number is exact.
            Word(metric=REQUESTS, labels=_llm_requests, part="count"),
        ),
        is_histogram=True,
        units=_SECONDS,
    ),
    "gen_ai.server.time_to_first_token": _llm_stage("first_token"),
    "gen_ai.server.time_per_output_token": _llm_stage("next_token"),
}
"""What is understood, by its name. Of ours, batches and the fate of feedback have no word here."""
