"""A series that is wrong is left out with those it would be added to, and counted."""

from __future__ import annotations

import math

import pytest

from joulery.exporters.dialects import DIALECTS, Hints, Reading, named, parse
from joulery.exporters.dialects.reading import Histogram, Summary
from joulery.exporters.metrics import Metric
from joulery.exporters.service_metrics import (
    DURATION,
    DURATION_SUMMARY,
    ITEMS,
    QUEUE,
    REQUESTS,
    STAGE_SUMMARY,
)

from .recorded import read, values

VLLM = named("vllm")
E2E = "vllm:e2e_request_latency_seconds"


def histogram(
    model: str, *counts: str, total: str = "3", engine: str = "0", last: str = "+Inf"
) -> str:
    """Return the lines of a histogram with bounds 1, 2 … and `last`."""
    labels = f'engine="{engine}",model_name="{model}"'
    bounds = [*(str(n + 1) for n in range(len(counts) - 1)), last]
    lines = [
        f'{E2E}_bucket{{{labels},le="{bound}"}} {count}'
        for bound, count in zip(bounds, counts, strict=True)
    ]
    return "\n".join(
        [*lines, f"{E2E}_sum{{{labels}}} {total}", f"{E2E}_count{{{labels}}} {counts[-1]}\n"]
    )


def durations(*series: str) -> Reading:
    """Return the reading of histograms of durations."""
    return read(f"# TYPE {E2E} histogram\n" + "".join(series), VLLM)


GOOD = histogram("good", "1", "2", "3")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (histogram("bad", "1", "2", "NaN"), "not_finite"),
        (histogram("bad", "1", "+Inf", "3"), "not_finite"),
        (histogram("bad", "1", "2", "3", total="NaN"), "not_finite"),
        (histogram("bad", "1", "2", "3", total="-Inf"), "not_finite"),
        (histogram("bad", "-1", "2", "3"), "negative"),
        (histogram("bad", "1", "2", "3", total="-1"), "negative"),
        (histogram("bad", "2", "1", "3"), "buckets_fall"),
        (histogram("bad", "1", "2", "3", last="3"), "no_infinity"),
        (histogram("bad", "1", "2", "3", last="NaN"), "bad_bound"),
        (histogram("bad", "1", "2", "3", last="-Inf"), "bad_bound"),
        (histogram("bad", "1", "2", "3", last="many"), "bad_bound"),
        (histogram("bad", "1", "2", "3", last="1"), "duplicate_series"),
        (histogram("bad", "1", "2", "3") * 2, "duplicate_series"),
        (f'{E2E}_sum{{engine="0",model_name="bad"}} 1\n', "no_infinity"),
        (f'{E2E}_bucket{{engine="0",model_name="bad"}} 1\n', "bad_bound"),
        (
            histogram("bad", "1", "2", "3") + histogram("bad", "1", "3", engine="1"),
            "bounds_differ",
        ),
        (
            histogram("bad", "1", "2", "3") + histogram("bad", "1", "2", "NaN", engine="1"),
            "not_finite",
        ),
        (
            histogram("bad", "1", "2", "NaN") + histogram("bad", "1", "2", "3", engine="1"),
            "not_finite",
        ),
        (
            histogram("bad", "1", "2", "1e308") + histogram("bad", "1", "2", "1e308", engine="1"),
            "not_finite",
        ),
    ],
)
def test_a_bad_histogram_is_left_out(bad: str, reason: str) -> None:
    """It is counted by its reason, nothing that it is a part of is told, and others stay."""
    for reading in (durations(bad, GOOD), durations(GOOD, bad)):
        expected = Histogram((1.0, 2.0, math.inf), (1.0, 2.0, 3.0), 3.0)
        assert values(reading, DURATION) == {("good", "unknown"): expected}
        assert reading.problems == {reason: 1}


def test_engines_are_added_up() -> None:
    """Histograms with equal bounds that differ in unwanted labels become one."""
    reading = durations(GOOD, histogram("good", "0", "4", "4", engine="1", total="7"))
    expected = Histogram((1.0, 2.0, math.inf), (1.0, 6.0, 7.0), 10.0)
    assert values(reading, DURATION) == {("good", "unknown"): expected}
    assert not reading.problems


def test_a_histogram_may_have_no_sum() -> None:
    """Its buckets are enough; added to one that has a sum, there is none."""
    without = "\n".join(line for line in GOOD.split("\n") if "_sum" not in line)
    for reading in (durations(without), durations(without, GOOD.replace('"0"', '"1"'))):
        [value] = values(reading, DURATION).values()
        assert isinstance(value, Histogram)
        assert value.sum is None


def test_the_order_of_lines_and_labels_is_free() -> None:
    """Buckets in any order and labels in any order are the same series."""
    lines = [
        line.replace('engine="0",model_name="good"', 'model_name="good",engine="0"')
        if n % 2
        else line
        for n, line in enumerate(GOOD.splitlines())
    ]
    assert durations("\n".join(reversed(lines)) + "\n") == durations(GOOD)


@pytest.mark.parametrize("count", ["NaN", "+Inf", "-1", "3\nvllm:num_requests_running 3"])
def test_a_bad_number_is_left_out(count: str) -> None:
    """Counters and gauges are finite, not negative, and there once."""
    body = f"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running {count}\n"
    reading = read(body, VLLM)
    assert reading.told == ()
    assert sum(reading.problems.values()) == 1


def test_a_family_of_another_type_is_left_out() -> None:
    """What a server calls a gauge is not taken for a histogram."""
    reading = read(f"# TYPE {E2E} gauge\n{E2E} 3\n", VLLM)
    assert reading == Reading(told=(), problems={"unexpected_type": 1})


def test_a_summary_has_no_quantiles_of_nothing() -> None:
    """Quantiles of no recent value are not numbers, and are left out without complaint."""
    name = "nv_inference_request_summary_us"
    body = (
        f"# TYPE {name} summary\n"
        f'{name}_count{{model="m"}} 4\n{name}_sum{{model="m"}} 8000000\n'
        f'{name}{{model="m",quantile="0.5"}} Nan\n{name}{{model="m",quantile="0.9"}} 3000000\n'
    )
    reading = read(body, named("triton"))
    assert values(reading, DURATION_SUMMARY) == {("m", "ok"): Summary(4.0, 8.0, ((0.9, 3.0),))}
    assert not reading.problems


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{name}_count 4\n", "incomplete"),
        ("{name}_sum 4\n", "incomplete"),
        ("{name}_sum NaN\n{name}_count 4\n", "not_finite"),
        ("{name}_sum 4\n{name}_count 4\n{name}_count 4\n", "duplicate_series"),
        ('{name}_sum 4\n{name}_count 4\n{name}{{quantile="x"}} 4\n', "bad_bound"),
        ("{name}_sum 4\n{name}_count 4\n" + '{name}{{quantile="0.5"}} 4\n' * 2, "duplicate_series"),
    ],
)
def test_a_bad_summary_is_left_out(body: str, reason: str) -> None:
    """A summary has one count and one sum, both finite."""
    name = "model_infer_request_duration"
    text = f"# TYPE {name} summary\n" + body.format(name=name)
    assert read(text, named("mlserver")) == Reading(told=(), problems={reason: 1})


def test_time_without_a_count_is_no_summary() -> None:
    """A counter of time whose count is not known tells no mean, and makes none up."""
    body = "# TYPE nv_inference_queue_duration_us counter\nnv_inference_queue_duration_us 5\n"
    reading = read(body, named("triton"))
    assert reading == Reading(told=(), problems={"incomplete": 1})


def test_a_counter_that_began_anew_is_passed_on() -> None:
    """Each reading is what the server says now: Prometheus sees the reset, and nothing hides it."""

    def items(count: int) -> Reading:
        return read(f'# TYPE nv_inference_count counter\nnv_inference_count{{model="m"}} {count}\n')

    told = [values(items(count), ITEMS)["m",] for count in (900, 3, 5)]
    assert told == [900.0, 3.0, 5.0]


def test_hints_say_only_what_the_server_does_not() -> None:
    """The model of the scrape stands, and that of the hint names what has none."""
    hints = Hints(model="hinted", variant="int8")
    body = (
        "# TYPE nv_inference_count counter\n"
        'nv_inference_count{model="told",version="3"} 1\nnv_inference_count 2\n'
    )
    assert values(read(body, hints=hints), ITEMS) == {("told", "3"): 1.0, ("hinted", "int8"): 2.0}
    assert values(read(body), ITEMS) == {("told", "3"): 1.0, (): 2.0}


def test_two_models_stay_two() -> None:
    """Series of two models, and of two versions of one, are never added."""
    body = "# TYPE nv_inference_count counter\n" + "".join(
        f'nv_inference_count{{gpu_uuid="{gpu}",model="{model}",version="{version}"}} {n}\n'
        for n, (gpu, model, version) in enumerate(
            [("g1", "a", "1"), ("g2", "a", "1"), ("g1", "a", "2"), ("g1", "b", "1")], start=1
        )
    )
    assert values(read(body), ITEMS) == {("a", "1"): 3.0, ("a", "2"): 3.0, ("b", "1"): 4.0}


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
def test_nothing_is_made_of_nothing(dialect) -> None:  # type: ignore[no-untyped-def]
    """A scrape without families of a dialect, or with unknown ones of its kind, tells nothing."""
    body = "".join(f"# TYPE {p}xyz gauge\n{p}xyz 1\n" for p in dialect.prefixes)
    families = parse(body, [dialect])
    assert dialect.translate(families, Hints()) == Reading(told=())
    assert dialect.translate({}, Hints(model="m")) == Reading(told=())


def test_every_metric_of_a_summary_only_server_is_a_summary() -> None:
    """Triton's counters of time never become buckets."""
    body = "".join(
        f'# TYPE {name} counter\n{name}{{model="m",version="1"}} {value}\n'
        for name, value in (
            ("nv_inference_request_success", 4),
            ("nv_inference_request_duration_us", 2_000_000),
            ("nv_inference_queue_duration_us", 1_000),
        )
    )
    reading = read(body)
    told: list[Metric] = [one.metric for one in reading.told]
    assert told == [REQUESTS, DURATION_SUMMARY, STAGE_SUMMARY]
    assert QUEUE not in told
    assert values(reading, STAGE_SUMMARY) == {("m", "1", "queue"): Summary(4.0, 0.001)}
