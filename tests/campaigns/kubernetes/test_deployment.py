"""What a trial puts into a cluster, as helm renders it from the chart that ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from joulery.campaigns.configuration import Configuration
from joulery.campaigns.kubernetes.deployment import (
    chart_values,
    label_value,
    manifest,
    object_name,
    selector,
)
from joulery.campaigns.kubernetes.spec import KubernetesSpec
from joulery.errors import SpecError, TrialError

from ...exporters.helm import helm, one

_OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "joulery-t-campaign", "uid": "u-1"}
_CONFIGURATION = Configuration(
    scenario="traffic_prediction",
    model="tcn_m",
    precision="int8",
    batch=8,
    threads=2,
    node="edge",
    max_exit=2,
    exit_threshold=0.5,
)


@pytest.fixture(autouse=True)
def _helm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put helm on the PATH, where tests have one of their own."""
    monkeypatch.setenv("PATH", str(Path(helm()).parent), prepend=":")


def _spec(**more: Any) -> KubernetesSpec:
    given = {
        "namespace": "trials",
        "image": "registry.example:5000/team/joulery-service:0.1.0",
        "prometheus_url": "http://prometheus:9090",
        "nodes": {"edge": {"zone": "edge"}},
    }
    return KubernetesSpec.model_validate(given | more)


def _objects(spec: KubernetesSpec, **more: Any) -> list[dict[str, Any]]:
    given: dict[str, Any] = {"campaign": "traffic", "trial": 7, "owner": _OWNER}
    return manifest(spec, _CONFIGURATION, batch_wait_s=0.004, **(given | more))


def test_every_object_carries_campaign_trial_and_owner() -> None:
    """Labels find each object, and the owner takes all of them with it."""
    objects = _objects(_spec())
    assert {item["kind"] for item in objects} == {"ConfigMap", "Deployment", "Service"}
    pod = one(objects, "Deployment")["spec"]["template"]["metadata"]
    for metadata in [*(item["metadata"] for item in objects), pod]:
        labels = metadata["labels"]
        chosen = dict(pair.split("=") for pair in selector("traffic", 7).split(","))
        assert chosen == {
            "app.kubernetes.io/managed-by": "joulery",
            "joulery.io/campaign": "traffic",
            "joulery.io/trial": "7",
        }
        assert labels.items() >= chosen.items()
    for item in objects:
        assert item["metadata"]["name"] == "joulery-traffic-7"
        assert item["metadata"]["namespace"] == "trials"
        assert item["metadata"]["ownerReferences"] == [_OWNER]
    deployment = one(objects, "Deployment")["spec"]
    assert pod["labels"].items() >= deployment["selector"]["matchLabels"].items()


def test_the_configuration_is_what_the_service_reads() -> None:
    """Model and knobs reach the service as its own parser takes them; nobody is told by it."""
    objects = _objects(_spec())
    text = one(objects, "ConfigMap")["data"]["config.yaml"]
    told = yaml.safe_load(text)
    assert told == {
        "model": "tcn_m",
        "precision": "int8",
        "batch": 8,
        "batch_wait_s": 0.004,
        "threads": 2,
        "provider": "cpu",
        "max_exit": 2,
        "exit_threshold": 0.5,
    }
    container = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert "--scenario=traffic_prediction" in container["args"]
    environment = {item["name"]: item.get("value") for item in container["env"]}
    assert environment["OTEL_METRICS_EXPORTER"] == "none"
    assert container["image"] == "registry.example:5000/team/joulery-service:0.1.0"


_DIGEST = "sha256:" + "0f" * 32


@pytest.mark.parametrize(
    ("image", "found"),
    [
        ("host:5000/a/b", "host:5000/a/b:0.1.0"),  # the chart's own version
        ("a:1", "a:1"),
        (f"a@{_DIGEST}", f"a@{_DIGEST}"),
        (f"host:5000/a:1@{_DIGEST}", f"host:5000/a@{_DIGEST}"),
    ],
)
def test_images(image: str, found: str) -> None:
    """Name, tag and digest of an image are told apart; a digest wins."""
    pod = one(_objects(_spec(image=image)), "Deployment")["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == found


@pytest.mark.parametrize(
    ("node", "labels"),
    [("edge", {"zone": "edge"}), ("rack-1", {"kubernetes.io/hostname": "rack-1"}), (None, {})],
)
def test_nodes(node: str | None, labels: dict[str, str]) -> None:
    """A level is a name for labels, else a host; without one the scheduler chooses."""
    configuration = Configuration(
        scenario="traffic_prediction", model="mlp", precision="fp32", batch=1, threads=1, node=node
    )
    objects = manifest(
        _spec(), configuration, campaign="c", trial=1, batch_wait_s=0.005, owner=None
    )
    chosen = one(objects, "Deployment")["spec"]["template"]["spec"]["nodeSelector"]
    assert chosen == {"kubernetes.io/os": "linux"} | labels


def test_values_of_the_user() -> None:
    """They are laid over ours, but the configuration is the trial's."""
    tolerations = ({"key": "edge", "operator": "Exists"},)
    spec = _spec(
        values={
            "tolerations": tolerations,
            "telemetry": {"exporter": "prometheus"},
            "config": {"model": "ridge", "variant": "mine"},
        },
        resources={"requests": {"cpu": "500m"}, "limits": {"memory": "1Gi"}},
    )
    objects = _objects(spec)
    pod = one(objects, "Deployment")["spec"]["template"]["spec"]
    assert pod["tolerations"] == list(tolerations)
    assert pod["containers"][0]["resources"]["requests"]["cpu"] == "500m"
    assert pod["containers"][0]["resources"]["limits"]["memory"] == "1Gi"
    told = yaml.safe_load(one(objects, "ConfigMap")["data"]["config.yaml"])
    assert (told["model"], told["variant"]) == ("tcn_m", "mine")
    assert chart_values(spec, _CONFIGURATION, name="n", batch_wait_s=0.004)["telemetry"] == {
        "exporter": "prometheus"
    }


def test_a_value_that_the_chart_refuses() -> None:
    """What helm says is told, as a mistake in the specification."""
    with pytest.raises(SpecError, match=r"kubernetes, values: found .*tolerance.*values\.yaml"):
        _objects(_spec(values={"tolerance": []}))


def test_no_helm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without helm the message says so, and where it is to be had."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TrialError, match=r"helm: found no such program.*helm\.sh"):
        _objects(_spec())


def test_names_of_campaigns_that_kubernetes_would_refuse() -> None:
    """Underscores and length are dealt with, and two campaigns never share a name."""
    names = ["a", "a_b", "a-b", "a-", "x" * 100, "x" * 99 + "y", "9" * 40]
    objects = [object_name(name, "12345") for name in names]
    labels = [label_value(name) for name in names]
    assert len(set(objects)) == len(set(labels)) == len(names)
    for text in (*objects, *labels):
        assert len(text) <= 63
        assert text[-1].isalnum()
    assert all(text.replace("-", "").isalnum() for text in objects)
    assert object_name("traffic", "3") == "joulery-traffic-3"
