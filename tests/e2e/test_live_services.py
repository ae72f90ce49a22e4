"""Latency, accuracy and joules of two real services, against their client's own record."""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import requests

from .asking import Asked, post_labels
from .burners import burner
from .cluster import Bed, Cluster, eventually
from .conftest import SERVICES, Release, Truth
from .questions import MODEL, Questions
from .scenario_services import Service, install, uninstall
from .server import Prometheus

_PRECISIONS = {"exact": "fp32", "fast": "int8"}
_WARM_UP = 20
_RATE_HZ = 20.0
_LOAD = 2400
"""Requests to each service; with the rate, two minutes."""
_CLIENT_S = 2e-3
"""What a client may take for itself, on the CPUs that all share: its wake-ups and its parsing."""

_DURATION = "joulery_pod_inference_duration_seconds"
_QUALITY = "joulery_pod_inference_quality"
_PER_INFERENCE = "pod_model_exit:joulery_inference_energy_joules:ratio_rate5m"
_PER_CORRECT = "pod_model_exit:joulery_correct_answer_energy_joules:ratio_rate5m"


@pytest.fixture(scope="module")
def receiver(release: Release) -> str:
    """Return the base URL where services push."""
    return f"http://{release.address}:4318"


@pytest.fixture(scope="module")
def services(
    cluster: Cluster,
    release: Release,
    receiver: str,
    service_image: str,
    questions: Questions,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[list[Service]]:
    """Run the model in both precisions."""
    assert service_image
    folder = tmp_path_factory.mktemp("values")
    found = install(cluster, release.namespace, receiver, folder, questions, _PRECISIONS)
    yield found
    for one in found:
        one.client.close()
    uninstall(cluster, release.namespace, *_PRECISIONS)


def _counted(prometheus: Prometheus, service: Service) -> float:
    """Return how many requests were told of."""
    return sum(v for _, v in prometheus.ask(f"{_DURATION}_count{{{service.of_pod}}}"))


def _wait_told(prometheus: Prometheus, services: list[Service]) -> None:
    """Wait until Prometheus knows of all that was asked."""
    for one in services:
        eventually(
            lambda one=one: _counted(prometheus, one) >= len(one.client.asked),  # type: ignore[misc]
            seconds=60,
            what=f"what {one.name} was asked is told",
        )


def _labelled(asked: list[Asked]) -> tuple[list[Asked], list[Asked]]:
    """Return whose labels come at once, and whose come late; of a tenth they never come."""
    numbers = [int(one.name.rpartition("-")[2]) % 10 for one in asked]
    paired = list(zip(numbers, asked, strict=True))
    return [one for n, one in paired if n > 3], [one for n, one in paired if 0 < n <= 3]


@dataclass(frozen=True)
class Load:
    """When there was load, in seconds of the wall clock."""

    start_s: float
    end_s: float


@pytest.fixture(scope="module")
def load(
    services: list[Service], prometheus: Prometheus, receiver: str, questions: Questions
) -> Load:
    """Ask both for two minutes, and tell labels meanwhile and afterwards."""
    for one in services:
        one.client.ask(_WARM_UP, _RATE_HZ)
    _wait_told(prometheus, services)
    start_s = time.time()
    threads = [threading.Thread(target=one.client.ask, args=(_LOAD, _RATE_HZ)) for one in services]
    for thread in threads:
        thread.start()
    told = dict.fromkeys(_PRECISIONS, 0)

    def tell() -> None:
        for one in services:
            fresh = one.client.asked[told[one.name] :]
            told[one.name] += len(fresh)
            post_labels(receiver, _labelled(fresh)[0], questions)

    while any(thread.is_alive() for thread in threads):
        time.sleep(2)
        tell()
    end_s = time.time()
    tell()
    for one in services:
        assert len(one.client.asked) == _WARM_UP + _LOAD
        post_labels(receiver, _labelled(one.client.asked)[1], questions)
    _wait_told(prometheus, services)
    return Load(start_s, end_s)


def _buckets(prometheus: Prometheus, service: Service) -> tuple[list[float], list[float]]:
    """Return the bounds of a service's histogram, in seconds, and how many are below each."""
    told = prometheus.ask(f"{_DURATION}_bucket{{{service.of_pod}}}")
    pairs = sorted((float(labels["le"]), value) for labels, value in told)
    return [bound for bound, _ in pairs], [value for _, value in pairs]


@pytest.mark.usefixtures("load")
def test_latency_is_what_the_client_saw(prometheus: Prometheus, services: list[Service]) -> None:
    """As many requests as were asked, probes aside, and percentiles in the client's bucket.

    The client's latency has the network in it, and what holds it up itself, so that it may be in
    the next bucket, and of the slowest in the one after; or more, where buckets are narrower than
    what a client takes for itself. It is never less than the service's.
    """
    for one in services:
        bounds_s, below = _buckets(prometheus, one)
        latencies_s = one.client.latencies_s
        assert below[-1] == len(latencies_s), one.name
        for share, apart in ((0.5, 1), (0.9, 1), (0.99, 2)):
            rank = int(np.ceil(share * len(latencies_s)))
            theirs = int(np.searchsorted(below, rank))
            seen_s = float(np.sort(latencies_s)[rank - 1])
            ours = int(np.searchsorted(bounds_s, seen_s))
            print(one.name, share, f"client {1e3 * seen_s:.2f} ms, service <= {bounds_s[theirs]} s")
            allowed = apart if seen_s > bounds_s[theirs] + _CLIENT_S else len(bounds_s)
            assert 0 <= ours - theirs <= allowed, (one.name, share, seen_s, bounds_s[theirs])
        [(labels, _)] = prometheus.ask(f"{_DURATION}_count{{{one.of_pod}}}")
        assert (labels["precision"], labels["outcome"]) == (one.precision, "ok")
        probed = f'joulery_probe_requests_total{{outcome="ok",{one.of_pod}}}'
        assert prometheus.value(probed) > 0


def _interval(prometheus: Prometheus, service: Service, method: str) -> tuple[float, float, float]:
    """Return accuracy since ever, with the ends of its interval."""
    selector = f'{{method="{method}",metric="accuracy",window="all",{service.of_pod}}}'
    value, low, high = (
        prometheus.value(f"{_QUALITY}_{end}ratio{selector}") for end in ("", "low_", "high_")
    )
    return value, low, high


@pytest.mark.usefixtures("load")
def test_accuracy_by_feedback_is_that_of_the_model(
    prometheus: Prometheus, services: list[Service], questions: Questions
) -> None:
    """Labels, some of them minutes late, tell what the model file answers to the same samples."""
    for one in services:
        at_once, late = _labelled(one.client.asked)
        labelled = [asked.sample for asked in (*at_once, *late)]
        joined = (
            f'joulery_pod_inference_judged_total{{method="feedback",{one.of_pod}}} '
            f"== {len(labelled)}"
        )
        eventually(
            lambda query=joined: prometheus.ask(query),  # type: ignore[misc]
            seconds=30,
            what=f"all labels of {one.name} are joined",
        )
        offline = float(questions.right(one.precision)[labelled].mean())
        value, low, high = _interval(prometheus, one, "feedback")
        print(one.name, f"offline {offline:.4f}, told {value:.4f} [{low:.4f}, {high:.4f}]")
        assert low <= offline <= high
        assert value == pytest.approx(
            np.mean([a.alarm == questions.labels[a.sample] for a in (*at_once, *late)]), rel=1e-9
        )
        coverage = f'joulery_pod_inference_label_coverage_ratio{{window="all",{one.of_pod}}}'
        assert prometheus.value(coverage) == pytest.approx(len(labelled) / len(one.client.asked))


def test_accuracy_by_probe_is_that_of_the_model(
    load: Load, prometheus: Prometheus, services: list[Service], questions: Questions
) -> None:
    """Asked for its golden set, each pod has the accuracy of its model file on that set."""
    for one in services:
        offline = float(questions.right(one.precision)[questions.golden].mean())
        value, low, high = _interval(prometheus, one, "probe")
        judged = f'joulery_pod_inference_judged_total{{method="probe",{one.of_pod}}}'
        times = prometheus.value(judged)
        print(one.name, f"offline {offline:.4f}, told {value:.4f} [{low:.4f}, {high:.4f}]", times)
        assert low <= offline <= high
        # Two minutes are enough for each sample; then nothing is left to chance.
        assert times >= len(questions.golden)
        assert value == pytest.approx(offline, rel=1e-9)
        failed = f'joulery_probe_requests_total{{outcome="error",{one.of_pod}}}'
        assert prometheus.ask(f"increase({failed}[2m]) > 0", time_s=load.end_s) == []


def test_joules_of_an_inference_and_of_a_correct_one(
    load: Load, prometheus: Prometheus, services: list[Service], truth: Truth
) -> None:
    """Rules tell both for each pod: its power over its rate, and that over its accuracy.

    All is asked for as of when the rules were evaluated: seconds later, the windows of their rates
    are others.
    """
    for one in services:
        selector = f'{{part="active",{one.of_pod}}}'
        evaluated_s = prometheus.value(f"timestamp({_PER_INFERENCE}{selector})")
        asked = functools.partial(prometheus.value, time_s=evaluated_s)
        [(labels, per_inference_j)] = prometheus.ask(
            f"{_PER_INFERENCE}{selector}", time_s=evaluated_s
        )
        low_j, high_j = (
            asked(_PER_INFERENCE.replace("_energy_", end) + selector)
            for end in ("_energy_low_", "_energy_high_")
        )
        rate_hz = asked(f"sum(rate({_DURATION}_count{{{one.of_pod}}}[5m]))")
        power_w = asked(
            f'sum(rate(joulery_pod_energy_joules_total{{part="active",uid="{one.uid}"}}[5m]))'
        )
        drawn_j = sum(
            truth.pod_j(one.uid, evaluated_s, of) - truth.pod_j(one.uid, load.start_s, of)
            for of in ("package-0", "dram")
        )
        told = f"{per_inference_j:.4f} J [{low_j:.4f}, {high_j:.4f}] told"
        print(f"{one.name}: {told}, {drawn_j / _LOAD:.4f} J drawn")
        assert per_inference_j * rate_hz == pytest.approx(power_w, rel=0.02)
        assert 0 < low_j < per_inference_j < high_j < np.inf
        assert low_j < drawn_j / _LOAD < high_j
        assert labels["provenance"] == "apportioned"
        [(labels, per_correct_j)] = prometheus.ask(f"{_PER_CORRECT}{selector}", time_s=evaluated_s)
        assert (labels["method"], labels["metric"]) == ("feedback", "accuracy")
        accuracy = asked(
            f'{_QUALITY}_ratio{{method="feedback",metric="accuracy",window="all",{one.of_pod}}}'
        )
        assert per_correct_j == pytest.approx(per_inference_j / accuracy, rel=0.02)


def _claim(resource: dict[str, str], seconds: float, count: int) -> dict[str, Any]:
    """Return an OTLP request that says so many requests took so long, in the name of a pod."""

    def attributes(of: dict[str, str]) -> list[dict[str, Any]]:
        return [{"key": key, "value": {"stringValue": value}} for key, value in of.items()]

    now_ns = time.time_ns()
    point = {
        "attributes": attributes({"model": MODEL, "variant": "forged", "outcome": "ok"}),
        "startTimeUnixNano": str(now_ns - 10**9),
        "timeUnixNano": str(now_ns),
        "count": str(count),
        "sum": seconds * count,
        "explicitBounds": [1.0],
        "bucketCounts": ["0", str(count)],
    }
    metric = {
        "name": "joulery.inference.duration",
        "unit": "s",
        "histogram": {"aggregationTemporality": 2, "dataPoints": [point]},
    }
    scopes = [{"scope": {"name": "joulery"}, "metrics": [metric]}]
    return {
        "resourceMetrics": [
            {"resource": {"attributes": attributes(resource)}, "scopeMetrics": scopes}
        ]
    }


def _refused(prometheus: Prometheus, outcome: str) -> float:
    return prometheus.value(f'joulery_receiver_requests_total{{outcome="{outcome}"}}')


@pytest.mark.usefixtures("load")
def test_nobody_speaks_for_another_pod(
    cluster: Cluster,
    release: Release,
    receiver: str,
    prometheus: Prometheus,
    services: list[Service],
) -> None:
    """A pod is believed for itself; in another's name it is refused, and that is counted."""
    victim = services[0]
    own, false = (
        json.dumps(_claim(one, 5.0, 1000))
        for one in ({"k8s.pod.name": "forger"}, {"k8s.pod.uid": victim.uid})
    )
    post = (
        f"/bin/busybox wget -q -O - --header 'Content-Type: application/json' {receiver}/v1/metrics"
    )
    # It is known soon after its start, and not at once.
    program = (
        f"until {post} --post-data '{own}'; do /bin/busybox sleep 1; done; "
        f"{post} --post-data '{false}'; /bin/busybox sleep 600"
    )
    before = _refused(prometheus, "foreign_identity")
    unknown = _refused(prometheus, "unknown_sender")
    cluster.apply(burner("forger", release.namespace, program))
    eventually(
        lambda: _refused(prometheus, "foreign_identity") == before + 1,
        seconds=60,
        what="the false claim is counted",
    )
    # This machine's address is no pod's.
    answer = requests.post(
        f"{receiver}/v1/metrics", json=_claim({"k8s.pod.uid": victim.uid}, 5.0, 1000), timeout=10
    )
    assert answer.status_code == 403
    eventually(
        lambda: _refused(prometheus, "unknown_sender") > unknown,
        seconds=30,
        what="so is that of a stranger",
    )
    forged = prometheus.ask(f'{_DURATION}_count{{variant="forged"}}')
    assert [(labels["pod"], value) for labels, value in forged] == [("forger", 1000.0)]
    assert _counted(prometheus, victim) == len(victim.client.asked)
    told = {
        labels["variant"]
        for labels, _ in prometheus.ask(f'{_DURATION}_count{{uid="{victim.uid}"}}')
    }
    assert told == {victim.name}
    cluster.kubectl("delete", "pod", "forger", "--namespace", release.namespace, "--force")


@pytest.mark.usefixtures("load")
def test_a_change_needs_no_restart(
    cluster: Cluster, release: Release, prometheus: Prometheus, services: list[Service]
) -> None:
    """Told by its ConfigMap to compute in int8, a pod goes on, and says so of what comes then."""
    service = services[0]
    metadata_url = f"http://{service.address}:8080/v2/models/{MODEL}"
    service.change(cluster, precision="int8")

    def changed() -> bool:
        told = requests.get(metadata_url, timeout=10).json()["parameters"]
        return bool(told["precision"] == "int8")

    eventually(changed, seconds=90, what="the change takes effect")
    service.client.ask(_WARM_UP, _RATE_HZ)
    _wait_told(prometheus, [service])
    told = prometheus.ask(f"{_DURATION}_count{{{service.of_pod}}}")
    by_precision = {labels["precision"]: value for labels, value in told}
    assert by_precision == {"fp32": len(service.client.asked) - _WARM_UP, "int8": _WARM_UP}
    pod = cluster.pod(release.namespace, f"app.kubernetes.io/instance={service.name}")
    assert pod["metadata"]["uid"] == service.uid
    assert [one["restartCount"] for one in pod["status"]["containerStatuses"]] == [0]


@pytest.mark.usefixtures("load")
def test_services_are_told_without_an_api_server(
    cluster: Cluster,
    testbed: Bed,
    release: Release,
    prometheus: Prometheus,
    services: list[Service],
) -> None:
    """While no API server runs, latency goes on being told; afterwards the pods are followed."""
    readiness_url = f"http://{release.address}:28481/readyz"
    with testbed.without("kube-apiserver"):
        eventually(
            lambda: prometheus.value("joulery_api_server_up") == 0,
            seconds=60,
            what="the exporter notices",
        )
        for one in services:
            one.client.ask(_WARM_UP, _RATE_HZ)
        _wait_told(prometheus, services)
        ready = requests.get(readiness_url, timeout=10)
        assert ready.status_code == 200, ready.text
    for one in services:
        assert _counted(prometheus, one) == len(one.client.asked)
    eventually(lambda: cluster.kubectl("get", "nodes"), seconds=60, what="the API server is back")
    eventually(
        lambda: prometheus.value("joulery_api_server_up") == 1,
        seconds=120,
        what="the exporter is told of pods again",
    )
    assert prometheus.value(f'min(avg_over_time(up{{job="{SERVICES}"}}[2m]))') == 1.0
