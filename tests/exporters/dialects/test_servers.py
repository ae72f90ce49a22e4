"""What each kind of server means by its names, as told by its documentation and by running it."""

from __future__ import annotations

import math

import pytest

from joulery.exporters.dialects import Hints, named
from joulery.exporters.dialects.reading import Histogram, Summary
from joulery.exporters.metrics import high_of, low_of
from joulery.exporters.service_metrics import (
    CORRECT,
    DURATION,
    DURATION_SUMMARY,
    JUDGED,
    QUALITY,
    QUEUE,
    REQUESTS,
    STAGE_DURATION,
    STAGE_SUMMARY,
    TOKENS,
)

from .recorded import bodies, read, values


def counter(name: str, *series: tuple[str, float]) -> str:
    """Return the lines of a counter: the labels and the value of each series."""
    return f"# TYPE {name} counter\n" + "".join(f"{name}{{{ls}}} {v}\n" for ls, v in series)


def histogram(name: str, labels: str, *counts: int, total: float = 1.0) -> str:
    """Return the lines of a histogram with bounds 1, 10, 100 … and infinity."""
    bounds = [*(str(10**n) for n in range(len(counts) - 1)), "+Inf"]
    comma = "," if labels else ""
    buckets = "".join(
        f'{name}_bucket{{{labels}{comma}le="{bound}"}} {count}\n'
        for bound, count in zip(bounds, counts, strict=True)
    )
    return f"# TYPE {name} histogram\n{buckets}{name}_sum{{{labels}}} {total}\n"


def test_triton_counts_failures_by_their_reason() -> None:
    """A request that was cancelled is no error; the other reasons are."""
    reading = read(bodies()["triton"])
    assert values(reading, REQUESTS) == {
        ("resnet50", "1", "ok"): 161.0,
        ("resnet50", "1", "error"): 4.0,
        ("resnet50", "1", "cancelled"): 2.0,
        ("bert", "2", "ok"): 40.0,
        ("bert", "2", "error"): 0.0,
        ("bert", "2", "cancelled"): 0.0,
    }


def test_triton_computes_no_answers_that_it_has_in_its_cache() -> None:
    """Where answers come from a cache, the time of a request's steps is not told, but its queue."""
    stages = values(read(bodies()["triton"]), STAGE_SUMMARY)
    assert {key[2] for key in stages if key[0] == "resnet50"} == {
        "queue",
        "input",
        "compute",
        "output",
    }
    assert {key[2] for key in stages if key[0] == "bert"} == {"queue"}


def test_triton_summaries_have_their_quantiles_in_seconds() -> None:
    """Microseconds become seconds, in quantiles as well; milliseconds do in buckets."""
    reading = read(bodies()["triton_summaries"])
    assert values(reading, STAGE_SUMMARY)["my_model", "1", "queue"] == Summary(
        161.0, 0.01111, ((0.5, 5.5e-05), (0.9, 9.7e-05), (0.99, 0.000101))
    )
    assert values(reading, STAGE_DURATION) == {
        ("my_model", "1", "first_token"): Histogram(
            (0.1, 0.5, 2.0, 5.0, math.inf), (8.0, 30.0, 36.0, 37.0, 37.0), 10.771
        )
    }


def test_vllm_adds_its_engines_up() -> None:
    """Requests, tokens and queues of all engines of a server are those of its model."""
    reading = read(bodies()["vllm"])
    model = "Qwen/Qwen2.5-7B-Instruct"
    assert values(reading, REQUESTS) == {
        (model, "ok"): 27.0,
        (model, "cancelled"): 3.0,
        (model, "error"): 0.0,
    }
    assert values(reading, TOKENS) == {(model, "prompt"): 3235.0, (model, "generation"): 835.0}
    assert values(reading, QUEUE) == {(model, "waiting"): 2.0, (model, "running"): 4.0}


def test_vllm_has_new_and_old_names() -> None:
    """The time between tokens is one stage by either name, and never both."""
    model = "facebook/opt-125m"
    [*stages] = values(read(bodies()["vllm_old"]), STAGE_DURATION)
    assert stages == [(model, "first_token"), (model, "next_token")]
    both = "".join(
        histogram(f"vllm:{name}_seconds", 'model_name="m"', 1, count)
        for name, count in (("time_per_output_token", 7), ("inter_token_latency", 9))
    )
    [value] = values(read(both), STAGE_DURATION).values()
    assert isinstance(value, Histogram)
    assert value.count == 9.0


def test_torchserve_tells_sums_alone() -> None:
    """There are no buckets, so there is a summary; how requests ended is not known."""
    reading = read(bodies()["torchserve"], hints=Hints(variant="2.0"))
    assert values(reading, REQUESTS) == {
        ("alpha", "2.0", "unknown"): 5.0,
        ("beta", "2.0", "unknown"): 3.0,
    }
    summaries = values(reading, DURATION_SUMMARY)
    assert summaries["beta", "2.0", "unknown"] == Summary(3.0, 0.070882235)
    assert not values(reading, DURATION)


def test_torchserve_knows_versions_that_were_asked_for() -> None:
    """A version is a variant; "default" is what it writes where none was asked for."""
    labels = 'model_name="m",model_version="{}",hostname="h",'
    body = counter(
        "ts_inference_requests_total", (labels.format("default"), 1), (labels.format("2.1"), 2)
    )
    assert values(read(body), REQUESTS) == {("m", "unknown"): 1.0, ("m", "2.1", "unknown"): 2.0}


def test_tensorflow_serving_adds_its_entrances_up() -> None:
    """REST and gRPC, in microseconds, are one histogram in seconds."""
    reading = read(bodies()["tensorflow_serving"])
    value = values(reading, DURATION)["resnet", "ok"]
    assert isinstance(value, Histogram)
    assert value.count == 24.0
    assert value.bounds[:4] == (1e-05, 1.8e-05, 3.24e-05, 5.832e-05)
    assert values(reading, REQUESTS) == {
        ("resnet", "ok"): 24.0,
        ("resnet", "error"): 2.0,
        ("resnet", "cancelled"): 1.0,
        ("toy", "ok"): 5.0,
    }


def test_tensorflow_serving_is_known_before_its_first_request() -> None:
    """What it tells of a model that it has loaded is enough to know it by, and is no metric."""
    body = counter(":tensorflow:cc:saved_model:load_attempt_count", ('model_path="/m/1"', 1))
    assert read(body).told == ()


def test_openvino_counts_inferences_alone() -> None:
    """Questions for state and metadata are no requests to a model."""
    requests = values(read(bodies()["openvino"]), REQUESTS)
    assert requests == {
        ("resnet", "1", "ok"): 23.0,
        ("dummy", "1", "ok"): 6.0,
        ("resnet", "1", "error"): 1.0,
        ("dummy", "1", "error"): 0.0,
        ("chat", "error"): 1.0,
        ("chat", "unknown"): 13.0,
    }


def test_mlserver_has_buckets_for_all_models_together() -> None:
    """With several models nobody knows whose they are, whatever a hint says."""
    reading = read(bodies()["mlserver"], hints=Hints(model="iris"))
    assert values(reading, REQUESTS) == {
        ("iris", "ok"): 7.0,
        ("wine", "ok"): 3.0,
        ("iris", "error"): 0.0,
        ("wine", "error"): 1.0,
        ("none", "error"): 1.0,
    }
    assert values(reading, DURATION_SUMMARY)["wine", "unknown"] == Summary(
        4.0, 0.0016808050022518728
    )
    buckets = values(reading, DURATION)
    assert list(buckets) == [("ok",), ("error",)]
    assert [one.count for one in buckets.values() if isinstance(one, Histogram)] == [10.0, 2.0]


def test_mlserver_has_buckets_of_its_only_model() -> None:
    """With one model they are its, and other paths than that of inferences do not count."""
    rest = "rest_server_request_duration_seconds"
    body = counter("model_infer_request_success_total", ('model="iris",version="7"', 4))
    for path in ("/v2/models/{model_name}/infer", "/v2/health/ready", "/metrics"):
        body += histogram(rest, f'path="{path}",status_code="200"', 3, 4)
    assert values(read(body), DURATION) == {
        ("iris", "7", "ok"): Histogram((1.0, math.inf), (3.0, 4.0), 1.0)
    }


@pytest.mark.parametrize(("answered", "is_its"), [(20, True), (5_000, False)])
def test_mlserver_has_no_buckets_of_grpc(answered: int, is_its: bool) -> None:
    """A model that is asked through gRPC has no buckets: those of REST are of its probes alone."""
    rest = "rest_server_request_duration_seconds"
    body = counter("model_infer_request_success_total", ('model="iris",version="7"', answered))
    body += histogram(rest, 'path="/v2/models/{model_name}/infer",status_code="200"', 3, 4)
    (labels,) = values(read(body), DURATION)
    assert labels == (("iris", "7", "ok") if is_its else ("ok",))


def test_kserve_has_steps_alone() -> None:
    """A server of KServe's tells the steps of a request; a failed one has no last step."""
    reading = read(bodies()["kserve"])
    counts = {
        key: value.count
        for key, value in values(reading, STAGE_DURATION).items()
        if isinstance(value, Histogram)
    }
    assert counts == {
        ("churn", "input"): 5.0,
        ("fraud", "input"): 3.0,
        ("churn", "compute"): 5.0,
        ("fraud", "compute"): 3.0,
        ("churn", "output"): 5.0,
        ("fraud", "output"): 2.0,
    }
    assert values(reading, REQUESTS) == {("churn", "unknown"): 5.0, ("fraud", "unknown"): 3.0}
    assert not values(reading, DURATION)


def test_ray_adds_replicas_up() -> None:
    """A deployment is a model, named with its application; its requests are of all replicas."""
    reading = read(bodies()["ray_serve"])
    assert values(reading, REQUESTS) == {
        ("images/Classifier", "ok"): 20.0,
        ("video/Detector", "ok"): 6.0,
        ("images/Classifier", "error"): 1.0,
    }
    value = values(reading, DURATION)["images/Classifier", "unknown"]
    assert isinstance(value, Histogram)
    assert (value.count, value.sum, value.bounds[:3]) == (21.0, 0.101, (0.001, 0.002, 0.005))


@pytest.mark.parametrize("start", ["ray_serve_", "serve_"])
def test_ray_passes_requests_on(start: str) -> None:
    """A node tells of the requests that it passed on only while it has no replicas itself."""
    body = histogram(f"{start}http_request_latency_ms", 'application="a",status_code="200"', 1, 2)
    body += counter(f"{start}num_http_requests", ('application="a",status_code="500"', 3))
    reading = read(body)
    assert values(reading, DURATION) == {
        ("a", "ok"): Histogram((0.001, math.inf), (1.0, 2.0), 0.001)
    }
    assert values(reading, REQUESTS) == {("a", "error"): 3.0}
    labels = 'application="default",deployment="D",replica="r"'
    body += histogram(f"{start}deployment_processing_latency_ms", labels, 1, 2)
    assert list(values(read(body), DURATION)) == [("D", "unknown")]
    assert not values(read(body), REQUESTS)


def quality(labels: str, bounds: dict[str, int], total: float) -> str:
    """Return the lines of our histogram of quality."""
    name = "joulery_inference_quality"
    lines = [f'{name}_bucket{{{labels},le="{bound}"}} {count}' for bound, count in bounds.items()]
    return "\n".join([f"# TYPE {name} histogram", *lines, f"{name}_sum{{{labels}}} {total}\n"])


def test_right_and_wrong_have_a_share_with_its_interval() -> None:
    """Where feedback was 0 or 1 each time there is a quality; of scores there is only the sum."""
    reading = read(bodies()["joulery"])
    share = {key: value for key, value in values(reading, QUALITY).items() if "int8" in key}
    assert share == {
        ("detector", "int8", "early", "correct", "feedback", "all"): 0.75,
        ("detector", "int8", "final", "correct", "feedback", "all"): 18 / 22,
    }
    for key, value in values(reading, QUALITY).items():
        low, high = (values(reading, of(QUALITY))[key] for of in (low_of, high_of))
        ends = [one for one in (low, value, high) if isinstance(one, float)]
        assert ends == sorted([low, value, high], key=float)  # type: ignore[arg-type]
        assert 0 < ends[0] <= ends[2] <= 1
    judged = ("detector", "int8", "final", "iou", "feedback")
    assert values(reading, JUDGED)[judged] == 7.0
    assert values(reading, CORRECT)[judged] == pytest.approx(3.3)


@pytest.mark.parametrize(
    ("bounds", "total", "is_share"),
    [
        ({"0.0": 1, "0.99": 1, "1.0": 4, "+Inf": 4}, 3.0, True),
        ({"0.0": 0, "0.99": 0, "1.0": 4, "+Inf": 4}, 4.0, True),
        ({"0.0": 4, "0.99": 4, "1.0": 4, "+Inf": 4}, 0.0, True),
        ({"0.0": 1, "0.99": 2, "1.0": 4, "+Inf": 4}, 2.5, False),
        ({"0.0": 1, "0.99": 1, "1.0": 4, "+Inf": 4}, 2.99, False),
        ({"0.0": 1, "0.99": 1, "1.0": 3, "+Inf": 4}, 5.0, False),
        ({"0.0": 1, "1.0": 4, "+Inf": 4}, 2.5, False),
        ({"0.99": 1, "1.0": 4, "+Inf": 4}, 3.0, False),
        ({"0.0": 1, "0.99": 1, "+Inf": 4}, 3.0, False),
        ({"0.0": 0, "0.99": 0, "1.0": 0, "+Inf": 0}, 0.0, False),
    ],
)
def test_a_share_needs_proof(bounds: dict[str, int], total: float, is_share: bool) -> None:
    """Only if the buckets leave no other values than 0 and 1 is a mean called a share."""
    reading = read(quality('model="m",metric="correct"', bounds, total), named("joulery"))
    assert bool(values(reading, QUALITY)) is is_share
    assert len(values(reading, JUDGED)) == len(values(reading, CORRECT)) == 1
