"""`helm install` with no values, on a node without any energy sensor."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from .cluster import Cluster, eventually
from .conftest import CHART, INTERVAL_S
from .process import exporter_process

_NAME = "plain"


@pytest.fixture(scope="module")
def plain(cluster: Cluster, image: str, namespace: str) -> Iterator[Any]:
    """Install the chart as it is; return its pod."""
    assert image
    cluster.helm("install", _NAME, str(CHART), "--namespace", namespace)
    cluster.kubectl(
        *("rollout", "status", "daemonset", "--namespace", namespace),
        *("--selector", f"app.kubernetes.io/instance={_NAME}", "--timeout=180s"),
    )
    yield cluster.pod(namespace, f"app.kubernetes.io/instance={_NAME}")
    cluster.helm("uninstall", _NAME, "--namespace", namespace, "--wait")
    cluster.wait_gone(_NAME)


def _scrape(pod: Any, port: int = 28480) -> dict[str, list[tuple[dict[str, str], float]]]:
    url = f"http://{pod['status']['podIP']}:{port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {f.name: [(s.labels, s.value) for s in f.samples] for f in families}


def test_energy_is_estimated_and_says_so(plain: Any) -> None:
    """Every energy is marked as estimated, and the exporter's own pod has some."""
    uid = plain["metadata"]["uid"]

    def told() -> dict[str, list[tuple[dict[str, str], float]]]:
        families = _scrape(plain)
        energies = families["joulery_pod_energy_joules"]
        [own_j] = [j for labels, j in energies if (labels["uid"], labels["device"]) == (uid, "cpu")]
        return families if own_j > 0 else {}

    families = eventually(told, seconds=60, what="the exporter's pod has energy")
    energies = families["joulery_pod_energy_joules"] + families["joulery_node_energy_joules"]
    assert {labels["provenance"] for labels, _ in energies} == {"estimated"}
    [(node, _)] = families["joulery_node_info"]
    assert node["energy"] == "estimated"
    assert node["node"] == plain["spec"]["nodeName"]
    own = {labels["device"]: value for labels, value in families["joulery_exporter_energy_joules"]}
    assert own["cpu"] > 0


def test_the_pods_of_the_node_are_followed(plain: Any) -> None:
    """The service exporter is let by the API server, and finds no AI service here."""

    def told() -> dict[str, list[tuple[dict[str, str], float]]]:
        families = _scrape(plain, 28481)
        return families if families["joulery_api_server_up"] == [({}, 1.0)] else {}

    families = eventually(told, seconds=60, what="the API server tells of the pods")
    assert {value for _, value in families["joulery_api_server_failures"]} == {0.0}
    assert {value for _, value in families["joulery_service_targets"]} == {0.0}


def test_the_log_says_so_once(cluster: Cluster, plain: Any, namespace: str) -> None:
    """After several cycles the log has said once that energies are estimated."""
    name = plain["metadata"]["name"]
    time.sleep(2 * INTERVAL_S)
    logs = {
        container: cluster.kubectl("logs", "--namespace", namespace, name, "--container", container)
        for container in ("energy", "service")
    }
    assert logs["energy"].count("energy is estimated") == 1
    told = _scrape(plain)["joulery_exporter_cycles"]
    cycles = {labels["outcome"]: value for labels, value in told}
    assert cycles["ok"] >= 3
    assert logs["service"]
    for container, log in logs.items():
        assert "Traceback" not in log, container


def _mounts(container: Any) -> dict[str, bool]:
    """Return for each volume of a container whether it may write there."""
    return {one["name"]: not one.get("readOnly", False) for one in container["volumeMounts"]}


def test_it_runs_with_no_rights_at_all(plain: Any) -> None:
    """The root that reads sensors has no token, no capability, and nothing writable but /tmp."""
    spec, uid = plain["spec"], plain["metadata"]["uid"]
    [energy] = [one for one in spec["containers"] if one["name"] == "energy"]
    security = energy["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not security.get("privileged", False)
    assert security["readOnlyRootFilesystem"]
    assert not spec["automountServiceAccountToken"]
    assert [name for name, writes in _mounts(energy).items() if writes] == ["tmp"]
    process = exporter_process(uid, "energy")
    assert set(process.status("Uid")) == {"0"}
    assert {int(process.status(key)[0], 16) for key in ("CapEff", "CapPrm", "CapBnd")} == {0}
    assert process.status("NoNewPrivs") == ["1"]
    assert not process.has_token


def test_what_has_a_token_is_nobody(plain: Any) -> None:
    """The service exporter alone has a token; it is not root, and sees nothing of the host."""
    spec, uid = plain["spec"], plain["metadata"]["uid"]
    [service] = [one for one in spec["containers"] if one["name"] == "service"]
    mounts = _mounts(service)
    of_host = {volume["name"] for volume in spec["volumes"] if "hostPath" in volume}
    assert not mounts.keys() & of_host
    assert {name for name, writes in mounts.items() if writes} == {"answers", "service-tmp"}
    tokens = {volume["name"] for volume in spec["volumes"] if "projected" in volume}
    assert tokens == mounts.keys() - {"answers", "service-tmp"}
    process = exporter_process(uid, "services")
    assert set(process.status("Uid")) == {"65532"}
    assert {int(process.status(key)[0], 16) for key in ("CapEff", "CapPrm", "CapBnd")} == {0}
    assert process.status("NoNewPrivs") == ["1"]
    assert process.has_token


def test_the_token_is_good_for_pods_alone(cluster: Cluster, plain: Any, namespace: str) -> None:
    """Its account may get, list and watch pods anywhere, and what everybody may, and no more."""
    account = plain["spec"]["serviceAccountName"]

    def allowed(name: str) -> set[tuple[str, ...]]:
        user = f"system:serviceaccount:{namespace}:{name}"
        told = cluster.kubectl("auth", "can-i", "--list", f"--as={user}", "--no-headers")
        return {tuple(line.split()) for line in told.splitlines()}

    assert allowed(account) - allowed("default") == {("pods", "[]", "[]", "[get", "list", "watch]")}
