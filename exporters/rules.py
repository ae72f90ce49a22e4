"""The recording rules that join energy, latency and quality, as data.

A join that finds no partner gives no sample, and so does a division by nothing. `rules_file`
writes them down, `promql` has the pieces, `rules_quality` the rules of correct answers.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import service_metrics as s
from .metrics import POD_ENERGY
from .promql import rated, selected, summed, weakest
from .rule_words import (
    BOUNDS,
    ENDS,
    ENERGY_LABELS,
    EXIT,
    MODEL,
    NAMED,
    POD,
    POD_MODEL,
    Bound,
    Level,
    Names,
    Rule,
    bound_of,
    joined_on,
)
from .rules_quality import quality_rules

__all__ = ["QUANTILES", "window_rules"]

QUANTILES = ("0.5", "0.95", "0.99")

_ANSWERED = 'outcome!~"error|cancelled"'
_ESTIMATED = 'provenance="estimated"'
_ALL = 'le="+Inf"'  # OpenMetrics has no _count where a server tells no sum
_TAKEN = f"group_left ({', '.join(ENERGY_LABELS)})"


def window_rules(window: str) -> tuple[Rule, ...]:
    """Return the rules of one window, each after those that it builds upon.

    Args:
        window: One of `WINDOWS`.
    """
    names = Names(window)
    rules = [*_pod_power(names), *_answers(names), *_exit_power(names), *_model_power(names)]
    rules += [*_per_inference(names), *quality_rules(names)]
    if window == "5m":
        rules += [*_requests(names), *_mean(names), *_latency(names)]
        rules += [*_latency_and_power(names), *_per_piece(names)]
    return tuple(rules)


def _pod_power(names: Names) -> Iterator[Rule]:
    by = (*POD.labels, "part")
    for bound in BOUNDS:
        energy = bound_of(POD_ENERGY, bound).series
        estimated = f"rate({selected(energy, _ESTIMATED)}[{names.window}])"
        expr = weakest(rated(energy, by, names.window), estimated, by)
        if bound:
            # Intervals may shrink as more is learned, and then an end runs past the value.
            value, sign = names.power(POD, ""), "<" if bound == "low" else ">"
            told = f"rate({energy}[{names.window}])"
            expr = f"(\n{expr}\n) {sign} {value}\nor\n{value} and {joined_on(by)} {told}"
        yield Rule(
            record=names.power(POD, bound),
            expr=expr,
            by=(*by, "provenance"),
            unit="W",
            help="Power of a pod, all its devices together: of the parts active and with_idle, "
            "each by itself. provenance: estimated if any device's is, else apportioned."
            + ENDS[bound],
        )


def _told(names: Names, histogram: str, summary: str, *matchers: str) -> str:
    """Return a part of histograms, or of summaries where there are none.

    Beside summaries by model, a histogram without a model is that of all of them together.
    """
    by, window, plain = EXIT.labels, names.window, f"{s.DURATION_SUMMARY.series}_{summary}"
    models = summed(f"rate({selected(plain, NAMED)}[{window}])", POD.labels)
    buckets = rated(f"{s.DURATION.series}_{histogram}", by, window, *matchers, _ANSWERED)
    return (
        f"{buckets}\nunless {joined_on((*POD.labels, 'model'))} {models}\n"
        f"or\n{rated(plain, by, window, _ANSWERED)}"
    )


def _answers(names: Names) -> Iterator[Rule]:
    by = EXIT.labels
    yield Rule(
        record=names.answers,
        expr=_told(names, "bucket", "count", _ALL),
        by=by,
        unit="1/s",
        help="Requests that were answered: neither failed nor cancelled. From the histogram, or "
        "from the summary of a server that has none; one that tells no outcome, as MLServer's, "
        "has failed requests among them.",
    )
    yield Rule(
        record=names.seconds,
        expr=_told(names, "sum", "sum"),
        by=by,
        unit="s/s",
        help="Request-seconds a second of those that were answered: how many were under way, on "
        "average.",
    )
    yield Rule(
        record=names.share,
        expr=f"{names.seconds} / {POD.on} group_left ()\n"
        f"({summed(names.seconds, POD.labels)} > 0)\n"
        # Where one tells no seconds, the others would get what is its.
        f"unless {POD.on} ({names.answers} > 0 unless {EXIT.on} {names.seconds})",
        by=by,
        unit="ratio",
        help="Share of a pod's request-seconds, by which its energy is apportioned. None where "
        "something in the pod answers without telling how long it took.",
    )


def _one_power(names: Names, bound: Bound = "") -> str:
    """Return the power of each pod once: after a change of policy both parts are there a while."""
    power = names.power(POD, bound)
    active, with_idle = (selected(power, f'part="{part}"') for part in ("active", "with_idle"))
    return f"({active} or {POD.on} {with_idle})"


def _exit_power(names: Names) -> Iterator[Rule]:
    for bound in BOUNDS:
        yield Rule(
            record=names.power(EXIT, bound),
            expr=f"{names.share}\n* {POD.on} {_TAKEN}\n{_one_power(names, bound)}",
            by=(*EXIT.labels, *ENERGY_LABELS),
            unit="W",
            help="Power of a pod, apportioned to model, variant and exit by request-seconds: exact "
            "where a pod serves one. What failed requests and probes took is borne by those that "
            "were answered." + ENDS[bound],
        )


def _model_power(names: Names) -> Iterator[Rule]:
    by = (*MODEL.labels, "part")
    answered = f"({selected(names.answers, NAMED)} > 0)"
    for bound in BOUNDS:
        record = names.power(EXIT, bound)
        power, estimated = selected(record, NAMED), selected(record, NAMED, _ESTIMATED)
        known = f"count by ({', '.join(by)}) ({power} and {EXIT.on} {answered})"
        yield Rule(
            record=names.power(MODEL, bound),
            expr=f"(\n{weakest(summed(power, by), estimated, by)}\n)\nand {joined_on(by)}\n"
            f"({known}\n== {MODEL.on} group_left ()\n"
            f"count by ({', '.join(MODEL.labels)}) {answered})",
            by=(*by, "provenance"),
            unit="W",
            help="Power of a model, all pods that answer with it together. None while the energy "
            "of one of them is unknown: a sum without a part would be too small." + ENDS[bound],
        )


def _per_inference(names: Names) -> Iterator[Rule]:
    for level in (EXIT, POD_MODEL, MODEL):
        answers = names.answers if level is EXIT else summed(names.answers, level.labels)
        for bound in BOUNDS:
            yield Rule(
                record=names.energy(level, bound),
                expr=f"{_power_at(names, level, bound)}\n/ {level.on} group_left ()\n"
                f"({answers} > 0)",
                by=(*level.labels, *ENERGY_LABELS),
                unit="J",
                help="Joules per inference: apportioned power over answered requests a second."
                + ENDS[bound],
            )


def _power_at(names: Names, level: Level, bound: Bound = "") -> str:
    """Return what there is one power of: at a pod's model, its exits together."""
    if level is POD_MODEL:  # within a pod it all has one provenance
        return summed(names.power(EXIT, bound), (*level.labels, *ENERGY_LABELS))
    return names.power(level, bound)


def _requests(names: Names) -> Iterator[Rule]:
    by, window = (*POD_MODEL.labels, "outcome"), names.window
    requests = POD_MODEL.record(s.REQUESTS.name, names.rate)
    either = f"\nor {POD_MODEL.on}\n"
    named = "\nor\n".join(
        summed(f"rate({selected(series, NAMED)}[{window}])", POD.labels)
        for series in (s.REQUESTS.series, f"{s.DURATION_SUMMARY.series}_count")
    )
    # Beside what is told by model, a histogram without a model is that of all of them together.
    buckets = (
        f"{rated(f'{s.DURATION.series}_bucket', by, window, _ALL)}\n"
        f"unless {joined_on((*POD.labels, 'model'))} (\n{named}\n)"
    )
    yield Rule(
        record=requests,
        expr=either.join(
            (
                rated(s.REQUESTS.series, by, window),
                buckets,
                rated(f"{s.DURATION_SUMMARY.series}_count", by, window),
            )
        ),
        by=by,
        unit="1/s",
        help="Requests that ended, by outcome; counted, or as many as have a duration.",
    )
    known = summed(selected(requests, 'outcome!~"unknown|"'), POD_MODEL.labels)
    errors = summed(selected(requests, 'outcome="error"'), POD_MODEL.labels)
    yield Rule(
        record=POD_MODEL.record("joulery_pod_inference_errors_per_request", names.ratio),
        expr=f"({errors} or 0 * {known})\n/ ({known} > 0)",
        by=POD_MODEL.labels,
        unit="ratio",
        help="Share of requests that failed. None where the server tells no outcomes; a server "
        "that counts only what it answered shows 0.",
    )


def _mean(names: Names) -> Iterator[Rule]:
    yield Rule(
        record=names.mean,
        expr=f"{names.seconds}\n/ ({names.answers} > 0)",
        by=EXIT.labels,
        unit="s",
        help="Mean time to answer a request.",
    )


def _latency(names: Names) -> Iterator[Rule]:
    for level in (EXIT, POD_MODEL, MODEL):
        named = (NAMED,) if level is MODEL else ()
        buckets = rated(
            f"{s.DURATION.series}_bucket", (*level.labels, "le"), names.window, _ANSWERED, *named
        )
        for quantile in QUANTILES:
            yield Rule(
                record=names.latency(level),
                # What nobody asked for has no latency: NaN is not at least 0.
                expr=f"histogram_quantile({quantile},\n{buckets}\n) >= 0",
                by=level.labels,
                unit="s",
                help="Time within which this share of requests was answered, from histograms; as "
                "exact as their buckets are narrow, and never above the last finite one.",
                labels=(("quantile", quantile),),
            )


def _latency_and_power(names: Names) -> Iterator[Rule]:
    yield Rule(
        record=EXIT.record("joulery_inference_energy_delay_joule_seconds", f"product_{names.rate}"),
        expr=f"{names.energy(EXIT)}\n* {EXIT.on} group_left () {names.mean}",
        by=(*EXIT.labels, *ENERGY_LABELS),
        unit="J s",
        help="Energy-delay product: joules per inference times the mean time to answer. Less is "
        "better in both.",
    )
    yield Rule(
        record=EXIT.record("joulery_pod_inference_duration_seconds_per_watt", names.ratio),
        expr=f"{names.latency(EXIT)}\n/ {POD.on} {_TAKEN}\n({_one_power(names)} > 0)",
        by=(*EXIT.labels, "quantile", *ENERGY_LABELS),
        unit="s/W",
        help="Latency at a percentile per watt of the pod. It falls when power rises, so compare "
        "it at equal power only, and rank by the energy-delay product.",
    )


def _per_piece(names: Names) -> Iterator[Rule]:
    pieces = (
        (s.ITEMS, (), "item", "item of a batch"),
        (
            s.TOKENS,
            ('kind="generation"',),
            "token",
            "generated token, its share of prompts included",
        ),
    )
    for metric, matchers, name, what in pieces:
        rate = rated(metric.series, POD_MODEL.labels, names.window, *matchers)
        yield Rule(
            record=names.energy(POD_MODEL, "", f"joulery_{name}_energy_joules"),
            expr=f"{_power_at(names, POD_MODEL)}\n/ {POD_MODEL.on} group_left ()\n({rate} > 0)",
            by=(*POD_MODEL.labels, *ENERGY_LABELS),
            unit="J",
            help=f"Joules per {what}.",
        )
