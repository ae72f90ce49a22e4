"""Which services a pod has, and that it can make nobody ask anywhere else."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.exporters.dialects.dialect import Dialect
from joulery.exporters.dialects.reading import Reading
from joulery.exporters.services.addresses import address, is_of_a_pod
from joulery.exporters.services.discovery import needed, targets_of
from joulery.exporters.services.target import Target

from .pods import pod_json


def _dialect(name: str, port: int, path: str, *port_names: str) -> Dialect:
    return Dialect(
        name=name,
        title=name,
        prefixes=(f"{name}_",),
        signature=(f"{name}_",),
        port_names=port_names,
        port=port,
        path=path,
        translate=lambda _families, _hints: Reading(told=()),
    )


DIALECTS = (
    _dialect("triton", 8002, "/metrics", "triton-metrics", "metrics-ai"),
    _dialect("tensorflow-serving", 8501, "/monitoring/prometheus/metrics", "tfs", "metrics-ai"),
)


def _targets(pod: dict[str, Any], *, problems: int = 0, own_uid: str = "") -> list[Target]:
    _, targets, found = targets_of(pod, DIALECTS, own_uid=own_uid)
    assert len(found) == problems, found
    return targets


def _urls(annotations: dict[str, str], *, problems: int = 0, **pod: Any) -> list[str]:
    return [t.url for t in _targets(pod_json(annotations=annotations, **pod), problems=problems)]


def test_a_pod_that_asks_is_scraped_as_it_says() -> None:
    """Our annotations choose port, path, scheme, dialect and names, on the pod's own address."""
    said = {
        "scrape": "true",
        "port": "9000",
        "path": "/stats?format=text",
        "scheme": "https",
        "dialect": "triton",
        "model": "ranker",
        "variant": "int8",
        "golden": "clicks",
        "infer-port": "9001",
    }
    [target] = _targets(pod_json(annotations={f"joulery.io/{k}": v for k, v in said.items()}))
    assert target.url == "https://10.42.0.17:9000/stats?format=text"
    assert target.infer_url == "https://10.42.0.17:9001"
    assert (target.dialect, target.model, target.variant) == ("triton", "ranker", "int8")
    assert (target.golden, target.certain) == ("clicks", True)
    assert target.pod.labels == (
        "shop",
        "recommender-5d9c7b8f6d-x7k2p",
        "uid-of-recommender-5d9c7b8f6d-x7k2p",
    )
    assert target.pod.addresses == ("10.42.0.17",)


@pytest.mark.parametrize(
    ("annotations", "urls"),
    [
        # A dialect alone says where; a port's name wins over the dialect's own port.
        ({"joulery.io/dialect": "triton"}, ["http://10.42.0.17:8002/metrics"]),
        ({"joulery.io/port": "metrics"}, ["http://10.42.0.17:8002/metrics"]),
        ({"joulery.io/port": "08002"}, ["http://10.42.0.17:8002/metrics"]),
        (
            {
                "prometheus.io/scrape": "true",
                "prometheus.io/port": "81",
                "prometheus.io/path": "/p",
            },
            ["http://10.42.0.17:81/p"],
        ),
        # What is said to Prometheus fills in what we are not told, place and all.
        (
            {"joulery.io/scrape": "true", "prometheus.io/port": "81", "prometheus.io/path": "/p"},
            ["http://10.42.0.17:81/p"],
        ),
        # But a path belongs to its port.
        (
            {"joulery.io/port": "82", "prometheus.io/port": "81", "prometheus.io/path": "/p"},
            ["http://10.42.0.17:82/metrics"],
        ),
        ({"joulery.io/scrape": "false", "prometheus.io/scrape": "true"}, []),
        ({"joulery.io/scrape": "False", "joulery.io/port": "82"}, []),
        ({"prometheus.io/scrape": "false", "prometheus.io/port": "81"}, []),
        # Three ports, and no word which of them.
        ({"prometheus.io/scrape": "true"}, []),
        ({}, []),
    ],
    ids=str,
)
def test_annotations_by_their_rank(annotations: dict[str, str], urls: list[str]) -> None:
    """Ours come first, then Prometheus', and `false` wins over all."""
    assert _urls(annotations) == urls


def test_port_names_of_servers() -> None:
    """A port with a name that servers use is scraped where they tell metrics; the rest is seen."""
    named = [("http", 8000), ("triton-metrics", 8002)]
    [target] = _targets(pod_json(ports=named))
    assert (target.url, target.dialect) == ("http://10.42.0.17:8002/metrics", "")
    assert not target.certain
    shared = _urls({}, ports=[("metrics-ai", 1), ("tfs", 2)])
    assert shared == [
        "http://10.42.0.17:1/metrics",
        "http://10.42.0.17:1/monitoring/prometheus/metrics",
        "http://10.42.0.17:2/monitoring/prometheus/metrics",
    ]
    asked = _urls({"joulery.io/dialect": "tensorflow-serving"}, ports=[("tfs", 9)])
    assert asked == ["http://10.42.0.17:9/monitoring/prometheus/metrics"]
    assert _urls({"prometheus.io/scrape": "true"}, ports=[("", 5)]) == [
        "http://10.42.0.17:5/metrics"
    ]
    assert len(_urls({}, ports=[("tfs", number) for number in range(1, 60)])) == 4


def test_kserve() -> None:
    """A pod of an InferenceService has its name for a model, and is scraped where KServe says."""
    labels = {"serving.kserve.io/inferenceservice": "sklearn-iris"}
    said = {"prometheus.kserve.io/port": "8082", "prometheus.kserve.io/path": "/m"}
    [target] = _targets(pod_json(annotations=said, labels=labels))
    assert (target.url, target.model) == ("http://10.42.0.17:8082/m", "sklearn-iris")
    assert target.certain
    own = {**said, "joulery.io/model": "mine", "joulery.io/port": "7"}
    [target] = _targets(pod_json(annotations=own, labels=labels))
    assert (target.url, target.model) == ("http://10.42.0.17:7/metrics", "mine")
    assert _targets(pod_json(annotations=said)) == [], "the annotation alone is not KServe's"


@pytest.mark.parametrize(
    ("ports", "infer_url"),
    [
        ([("grpc", 8001), ("http", 7000)], "http://10.42.0.17:7000"),
        ([("h2c", 1), ("http1", 2)], "http://10.42.0.17:2"),
        ([("user-port", 8080)], "http://10.42.0.17:8080"),
        ([("", 8080), ("x", 8000)], "http://10.42.0.17:8000"),
    ],
)
def test_port_of_the_inference_protocol(ports: list[tuple[str, int]], infer_url: str) -> None:
    """A golden set is sent where servers listen by custom; scraping has nothing to do with it."""
    said = {"joulery.io/golden": "clicks", "joulery.io/scrape": "false"}
    [target] = _targets(pod_json(annotations=said, ports=ports))
    assert (target.url, target.golden, target.infer_url) == ("", "clicks", infer_url)


def test_a_golden_set_needs_a_port() -> None:
    """Where no port is known to take inferences, the pod is not probed, and the log says why."""
    said = {"joulery.io/golden": "clicks"}
    _, targets, [problem] = targets_of(pod_json(annotations=said, ports=[("x", 5)]), DIALECTS)
    assert targets == []
    assert problem.startswith("annotation joulery.io/infer-port: found nothing")


def test_a_pod_is_probed_once() -> None:
    """A pod that tells metrics at several ports has one golden set sent to it."""
    ports = [("tfs", 1), ("triton-metrics", 2), ("http", 3)]
    targets = _targets(pod_json(annotations={"joulery.io/golden": "clicks"}, ports=ports))
    assert [bool(target.infer_url) for target in targets] == [True, False]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("port", value) for value in ("0", "65536", "-1", "80@evil", "http://evil", "٨٠", "1e3")),
        *(("path", value) for value in ("//evil/x", "metrics", "@evil/", "/a\\b", "/a b", "/é")),
        *(("path", value) for value in ("/a\nHost: evil", "/a#b", "/" + "a" * 300)),
        *(("scheme", value) for value in ("ftp", "http://evil", "file")),
        ("dialect", "tritonn"),
        ("scrape", "yes"),
        *(("model", value) for value in ("a\nb", "m" * 257)),
        *(("golden", value) for value in ("../../etc", "a/b", ".")),
    ],
)
def test_what_is_wrong_is_told_and_not_followed(key: str, value: str) -> None:
    """A wrong annotation counts as not there, is told with its value, and harms nothing else."""
    said = {"joulery.io/port": "8002", f"joulery.io/{key}": value}
    _, targets, problems = targets_of(pod_json(annotations=said), DIALECTS)
    assert len(problems) == 1
    assert problems[0].startswith(f"annotation joulery.io/{key}: found ")
    assert "expected " in problems[0]
    assert len(problems[0]) < 600
    assert problems[0].isprintable()
    wanted = [] if key == "port" else ["http://10.42.0.17:8002/metrics"]
    assert [target.url for target in targets] == wanted


@pytest.mark.parametrize(
    "pod",
    [
        pod_json(phase="Pending"),
        pod_json(phase="Succeeded"),
        pod_json(phase="Failed"),
        pod_json(terminating=True),
        pod_json(addresses=()),
    ],
)
def test_only_pods_that_run(pod: dict[str, Any]) -> None:
    """A pod that does not run, is on its way out or has no address is asked nothing."""
    pod["metadata"]["annotations"]["joulery.io/port"] = "8002"
    assert _targets(pod) == []


def test_pods_that_are_not_ready_are_told() -> None:
    """A pod that loads its model is known, and known to take no traffic yet."""
    annotations = {"joulery.io/port": "8002"}
    for ready in (True, False):
        pod = pod_json(annotations=annotations, ready=ready)
        assert [one.is_ready for one in _targets(pod) + _targets(needed(pod))] == [ready] * 2
    silent = pod_json(annotations=annotations)
    del silent["status"]["conditions"]
    assert [one.is_ready for one in _targets(silent)] == [True]


def test_an_ended_pod_has_no_address() -> None:
    """The address of a pod that ended may be another's by now; one that starts has its own."""
    owned = {
        phase: targets_of(pod_json(phase=phase), DIALECTS)[0].addresses
        for phase in ("Pending", "Running", "Succeeded", "Failed", "Unknown")
    }
    own = ("10.42.0.17",)
    assert owned == {"Pending": own, "Running": own, "Succeeded": (), "Failed": (), "Unknown": ()}


def test_the_exporter_leaves_itself_out() -> None:
    """The exporter's own pod, told by its uid, has no services."""
    pod = pod_json(annotations={"joulery.io/port": "8002"}, uid="me")
    assert _targets(pod, own_uid="me") == []
    assert len(_targets(pod, own_uid="another")) == 1
    assert len(_targets(pod)) == 1


def test_addresses() -> None:
    """All addresses of a pod are known, the first is asked, and IPv6 stands in brackets."""
    pod = pod_json(annotations={"joulery.io/port": "1"}, addresses=["2001:DB8:0::2", "10.42.0.17"])
    [target] = _targets(pod)
    assert target.pod.addresses == ("2001:db8::2", "10.42.0.17")
    assert target.url == "http://[2001:db8::2]:1/metrics"
    assert address("::ffff:10.0.0.1") == address("10.0.0.1%eth0") == "10.0.0.1"
    assert address("localhost") == ""


@pytest.mark.parametrize(
    "text", ["127.0.0.1", "::1", "169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1", "evil", ""]
)
def test_special_addresses_are_no_pod_s(text: str) -> None:
    """The machine itself, its cloud's metadata and the like are never asked."""
    assert not is_of_a_pod(text)
    assert _urls({"joulery.io/port": "1"}, addresses=[text]) == []


def test_pods_on_the_host_s_network_are_told() -> None:
    """A pod on the host's network shares its address with others, and it is noted."""
    said = {"joulery.io/port": "1"}
    [target] = _targets(pod_json(annotations=said, host_network=True, addresses=["192.0.2.10"]))
    assert target.pod.host_network
    assert not _targets(pod_json(annotations=said))[0].pod.host_network


def test_ports_that_are_no_service_s() -> None:
    """Ports of other protocols and of containers that end before the others start do not count."""
    pod = pod_json(ports=[("tfs", 1)])
    pod["spec"]["containers"][0]["ports"][0]["protocol"] = "UDP"
    pod["spec"]["initContainers"] = [
        {"ports": [{"name": "tfs", "containerPort": 2}]},
        {"restartPolicy": "Always", "ports": [{"name": "tfs", "containerPort": 3}]},
    ]
    assert [urlsplit(target.url).port for target in _targets(pod)] == [3]


_KEYS = ["scrape", "port", "path", "scheme", "dialect", "model", "variant", "golden", "infer-port"]
_WORDS = ["true", "false", "8002", "tfs", "http", "https", "/m", "//evil", "@evil:1/", "triton", ""]
_ANNOTATIONS = st.dictionaries(
    st.builds(
        "{}/{}".format,
        st.sampled_from(["joulery.io", "prometheus.io", "prometheus.kserve.io"]),
        st.sampled_from(_KEYS),
    ),
    st.sampled_from(_WORDS) | st.text(max_size=300),
)
_PORTS = st.lists(
    st.tuples(st.sampled_from(["http", "tfs", "triton-metrics", "x"]), st.integers(1, 65535)),
    max_size=5,
)


@given(
    annotations=_ANNOTATIONS,
    ports=_PORTS,
    kserve=st.booleans(),
    addresses=st.lists(st.ip_addresses().map(str) | st.text(max_size=20), max_size=3),
    missing=st.lists(
        st.sampled_from(["metadata", "spec", "status", "annotations", "labels", "containers"])
    ),
)
def test_no_annotation_leads_elsewhere(
    annotations: dict[str, str],
    ports: list[tuple[str, int]],
    kserve: bool,
    addresses: list[str],
    missing: list[str],
) -> None:
    """Whatever a pod says: each URL is on its own address, and what is kept of it says the same."""
    labels = {"serving.kserve.io/inferenceservice": "iris"} if kserve else {}
    pod = pod_json(annotations=annotations, labels=labels, ports=ports, addresses=addresses)
    for name in missing:
        for part in (pod, *(one for one in pod.values() if isinstance(one, dict))):
            if name in part:
                part[name] = None
    who, targets, problems = targets_of(pod, DIALECTS)
    assert targets_of(needed(pod), DIALECTS) == (who, targets, problems)
    for url in (url for target in targets for url in (target.url, target.infer_url) if url):
        parts = urlsplit(url)
        assert parts.scheme in {"http", "https"}
        assert parts.hostname is not None
        assert str(ipaddress.ip_address(parts.hostname)) in who.addresses
        assert parts.username is None
        assert 1 <= (parts.port or 0) <= 65535
        assert url.isprintable()
        assert " " not in url


def test_little_is_kept_of_a_pod() -> None:
    """What is kept has no environment and no history, and its texts have a bound."""
    pod = pod_json(annotations={"joulery.io/model": "m" * 100_000, "other.io/x": "y"})
    pod["spec"]["containers"][0]["ports"] *= 1000
    kept = str(needed(pod))
    assert len(kept) < 5000
    assert "secret" not in kept
    assert "other.io" not in kept
