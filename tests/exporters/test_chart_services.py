"""The chart's second container: the service exporter, its rights, and the way to it."""

from __future__ import annotations

from typing import Any

import pytest

from .chart_schemas import VERSIONS
from .helm import EVERYTHING, MATRIX, VALUES, Objects, container, containers, named, one, rendered

_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
_WITH_SERVICES = [name for name in MATRIX if MATRIX[name].get("services.enabled") is not False]


def _volumes(objects: Objects) -> dict[str, dict[str, Any]]:
    pod = one(objects, "DaemonSet")["spec"]["template"]["spec"]
    return {volume["name"]: volume for volume in pod["volumes"]}


@pytest.mark.parametrize("name", _WITH_SERVICES)
@pytest.mark.parametrize("kubernetes", ["1.20.0", VERSIONS[-1]])
def test_restricted(name: str, kubernetes: str) -> None:
    """Whatever is switched on: the container is one of Pod Security's level `restricted`."""
    objects = rendered(MATRIX[name], kubernetes=kubernetes)
    service = container(objects, "service")
    assert service["args"] == ["exporter", "services"]
    assert service["image"] == container(objects)["image"]
    assert service["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    volumes, mounts = _volumes(objects), service["volumeMounts"]
    assert not any("hostPath" in volumes[mount["name"]] for mount in mounts)
    writable = {mount["mountPath"] for mount in mounts if not mount.get("readOnly")}
    assert writable == {"/tmp", "/var/lib/joulery"}
    other = {mount["name"] for mount in container(objects)["volumeMounts"]}
    shared = other & {mount["name"] for mount in mounts}
    assert shared <= {"web-config", "tls", "more"}, "nothing that one of them can write"
    used = other | {mount["name"] for mount in mounts}
    assert used == set(volumes)


@pytest.mark.parametrize("name", _WITH_SERVICES)
def test_only_the_service_exporter_has_a_token(name: str) -> None:
    """The token, with what a client of the API server reads beside it, is in one container only."""
    objects = rendered(MATRIX[name])
    holders = [
        (container_name, mount)
        for container_name, item in containers(objects).items()
        for mount in item["volumeMounts"]
        if "projected" in _volumes(objects)[mount["name"]] or mount["mountPath"] == _TOKEN
    ]
    mount = {"name": "api-token", "mountPath": _TOKEN, "readOnly": True}
    assert holders == [("service", mount)]
    projected = _volumes(objects)["api-token"]["projected"]
    files = {
        item["path"]
        for source in projected["sources"]
        for item in next(iter(source.values())).get("items", source.values())
    }
    assert files == {"token", "ca.crt", "namespace"}
    pod = one(objects, "DaemonSet")["spec"]["template"]["spec"]
    # Root owns the token: its group may read it, and nobody else.
    assert projected["defaultMode"] == 0o440
    assert pod["securityContext"]["fsGroup"] == 65532


def test_rights() -> None:
    """It may look at pods, by a role and an account that are its own, and at nothing else."""
    objects = rendered({})
    role, binding = one(objects, "ClusterRole"), one(objects, "ClusterRoleBinding")
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    ]
    assert binding["roleRef"]["name"] == role["metadata"]["name"] == "energy-joulery-pods"
    account = one(objects, "ServiceAccount")["metadata"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    ]
    own = rendered(VALUES["own rights"])
    assert not [item for item in own if item["kind"].startswith("ClusterRole")]
    assert one(own, "DaemonSet")["spec"]["template"]["spec"]["serviceAccountName"] == "mine"


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_switched_off_nothing_is_left(values: dict[str, Any]) -> None:
    """Without services there is no right, no token, no port and no volume of theirs."""
    off = {"services.enabled": False}
    without = rendered(values, off)
    assert list(containers(without)) == ["energy"]
    assert not [item for item in without if "rbac" in item["apiVersion"]]
    mounted = {mount["name"] for mount in container(without)["volumeMounts"]}
    assert set(_volumes(without)) == mounted
    assert "fsGroup" not in str(without)
    assert "otlp" not in str([item for item in without if item["kind"] == "Service"])
    before, after = container(rendered(values)), container(without)
    assert before == after, "the energy exporter is the same"


def test_ports() -> None:
    """Pushing leads to the exporter of the own node: by a Service, or by the node's own port."""
    objects = rendered({"services.otlpPort": 14318, "services.otlpHostPort": 4318})
    ports = container(objects, "service")["ports"]
    assert ports == [
        {"name": "services", "containerPort": 28481},
        {"name": "otlp", "containerPort": 14318, "hostPort": 4318},
    ]
    pushed_to = named(objects, "Service", "joulery-otlp")["spec"]
    assert pushed_to["internalTrafficPolicy"] == "Local"
    assert pushed_to["ports"] == [{"name": "otlp", "port": 14318, "targetPort": "otlp"}]
    assert "clusterIP" not in pushed_to
    assert "hostPort" not in str(rendered({}))


def test_settings() -> None:
    """Each setting is an environment variable, and what is left out has none."""
    env = container(rendered({}), "service")["env"]
    told = {item["name"]: item["value"] for item in env if "value" in item}
    assert told == {
        "JOULERY_SERVICE_LISTEN": ":28481",
        "JOULERY_OTLP_LISTEN": ":4318",
        "JOULERY_SCRAPE_INTERVAL_S": "10",
        "JOULERY_STORE": "/var/lib/joulery/answers.db",
        "JOULERY_PROBE_RATE_HZ": "0.2",
        "JOULERY_LOG_FORMAT": "text",
        "JOULERY_LOG_LEVEL": "info",
    }
    references = {
        item["name"]: item["valueFrom"]["fieldRef"]["fieldPath"]
        for item in env
        if "valueFrom" in item
    }
    assert references == {"JOULERY_NODE": "spec.nodeName", "JOULERY_POD_UID": "metadata.uid"}
    objects = rendered(VALUES["services"], VALUES["tls"])
    service = container(objects, "service")
    more = {item["name"]: item.get("value") for item in service["env"]}
    assert more["JOULERY_WEB_CONFIG"] == "/etc/joulery/web/web.yml"
    places = {mount["mountPath"]: mount["name"] for mount in service["volumeMounts"]}
    golden = _volumes(objects)[places[str(more["JOULERY_GOLDEN"])]]
    assert golden["configMap"] == {"name": "golden"}
    assert {"/etc/joulery/web", "/etc/joulery/tls"} <= set(places)


def test_probes_ask_each_container() -> None:
    """Each container is probed at its own port, over what that port speaks."""
    objects = rendered(VALUES["tls"])
    for name, port in (("energy", "metrics"), ("service", "services")):
        for kind in ("startup", "liveness", "readiness"):
            asked = container(objects, name)[f"{kind}Probe"]["httpGet"]
            assert (asked["port"], asked["scheme"]) == (port, "HTTPS")
    asks = rendered(VALUES["own web configuration"])
    assert container(asks, "service")["readinessProbe"]["tcpSocket"] == {"port": "services"}


def test_network_policy() -> None:
    """Scrapers and services get in at their ports; out go the ways to the API server and pods."""
    peers = [{"podSelector": {"matchLabels": {"app": "any"}}}]
    spec = one(rendered(VALUES["network policy"]), "NetworkPolicy")["spec"]
    assert spec["ingress"] == [
        {"ports": [{"port": "metrics"}, {"port": "services"}]},
        {"ports": [{"port": "otlp"}]},
    ]
    assert spec["egress"] == [
        {"ports": [{"port": 443}, {"port": 6443}]},
        {"to": [{"namespaceSelector": {}}]},
    ]
    given = {"networkPolicy.servicesFrom": peers, "networkPolicy.apiServerTo": peers}
    spec = one(rendered(VALUES["network policy"], given), "NetworkPolicy")["spec"]
    assert "from" not in spec["ingress"][0]
    assert spec["ingress"][1]["from"] == spec["egress"][0]["to"] == peers
