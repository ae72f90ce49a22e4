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
    eventually(lambda: cluster.left_of(_NAME) == [], seconds=60, what="nothing is left")


def _scrape(pod: Any) -> dict[str, list[tuple[dict[str, str], float]]]:
    url = f"http://{pod['status']['podIP']}:28480/metrics"
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


def test_the_log_says_so_once(cluster: Cluster, plain: Any, namespace: str) -> None:
    """After several cycles the log has said once that energies are estimated."""
    name = plain["metadata"]["name"]
    time.sleep(2 * INTERVAL_S)
    log = cluster.kubectl("logs", "--namespace", namespace, name)
    assert log.count("energy is estimated") == 1
    told = _scrape(plain)["joulery_exporter_cycles"]
    cycles = {labels["outcome"]: value for labels, value in told}
    assert cycles["ok"] >= 3
    assert "Traceback" not in log


def test_it_runs_with_no_rights_at_all(plain: Any) -> None:
    """The pod that runs has no token, no capability, no privilege and nothing writable but /tmp."""
    spec = plain["spec"]
    [container] = spec["containers"]
    security = container["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not security.get("privileged", False)
    assert security["readOnlyRootFilesystem"]
    assert not spec["automountServiceAccountToken"]
    writable = [one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")]
    assert writable == ["/tmp"]
