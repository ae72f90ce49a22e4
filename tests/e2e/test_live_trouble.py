"""What goes wrong on a node: pods that are killed, an exporter, a kubelet, an API server."""

from __future__ import annotations

import os
import signal
import time
import urllib.request

from .burners import burner, loop
from .cluster import Bed, Cluster, eventually
from .conftest import CHART, INTERVAL_S, RELEASE, RETENTION_S, Release, Truth
from .server import Prometheus
from .test_live_energy import cycle_time

_ENERGY = "joulery_pod_energy_joules_total"


_CYCLES = 'joulery_exporter_cycles_total{outcome="ok"}'


def _address(release: Release) -> str:
    """Return where the exporter's pod serves."""
    return f"http://{release.address}:28480/metrics"


def _scrape(url: str) -> dict[str, float]:
    """Scrape directly; return values by series with labels."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {series: float(value) for series, _, value in pairs}


def test_a_killed_pod_keeps_its_total(
    cluster: Cluster, release: Release, prometheus: Prometheus, truth: Truth
) -> None:
    """A pod killed within a cycle keeps its total for the retention, then its series ends."""
    cluster.apply(burner("victim", release.namespace, loop(60_000)))
    uid = str(cluster.get("pod", "victim", "--namespace", release.namespace)["metadata"]["uid"])
    query = f'{_ENERGY}{{device="cpu",uid="{uid}"}}'
    eventually(lambda: prometheus.ask(f"{query} > 20"), seconds=120, what="the pod has energy")
    time.sleep(INTERVAL_S / 2)
    cluster.kubectl(
        *("delete", "pod", "victim", "--namespace", release.namespace),
        *("--force", "--grace-period=0"),
    )
    running = f'joulery_pod_container_info{{uid="{uid}"}}'
    eventually(lambda: not prometheus.ask(running), seconds=60, what="the pod has ended")
    assert prometheus.value('joulery_exporter_pods{state="terminated"}') >= 1
    time.sleep(INTERVAL_S)
    last_j = prometheus.value(query)
    cycle_s, _ = cycle_time(prometheus)
    low_j = prometheus.value(query.replace("_energy_", "_energy_low_"))
    high_j = prometheus.value(query.replace("_energy_", "_energy_high_"))
    assert low_j <= truth.pod_j(uid, cycle_s) <= high_j
    time.sleep(RETENTION_S / 3)
    assert prometheus.value(query) == last_j
    eventually(lambda: not prometheus.ask(query), seconds=2 * RETENTION_S, what="its series ends")


def test_a_killed_exporter_comes_back(
    release: Release, prometheus: Prometheus, truth: Truth
) -> None:
    """After SIGKILL the exporter starts again, and `rate()` never tells more than was drawn."""
    os.kill(release.process("energy").pid, signal.SIGKILL)
    restarted = 'resets(joulery_exporter_cycles_total{outcome="ok"}[2m]) == 1'
    eventually(lambda: prometheus.ask(restarted), seconds=120, what="it counts anew")
    time.sleep(8 * INTERVAL_S)
    highest_w = 1.1 * truth.highest_w()
    for query in (
        f'sum(rate({_ENERGY}{{device="cpu"}}[30s]))',
        'sum(rate(joulery_node_energy_joules_total{device="cpu"}[30s]))',
        'sum(rate(joulery_device_energy_joules_total{domain="package-0"}[30s]))',
    ):
        assert 0 < prometheus.value(f"max_over_time(({query})[3m:5s])") <= highest_w, query
    release.wait()
    assert prometheus.value("max(joulery_conservation_residual_ratio)") < 1e-9


def test_a_kubelet_that_restarts_changes_nothing(
    testbed: Bed, release: Release, prometheus: Prometheus
) -> None:
    """While the kubelet is away, and after it came back, cycles go on and no counter falls."""
    began_s = time.time()
    url = _address(release)
    with testbed.without("kubelet"):
        before = _scrape(url)
        time.sleep(3 * INTERVAL_S)
        during = _scrape(url)
    assert during[_CYCLES] >= before[_CYCLES] + 2
    time.sleep(4 * INTERVAL_S)
    passed = f"{int(time.time() - began_s)}s"
    assert prometheus.ask(f"resets({_ENERGY}[{passed}]) > 0") == []
    assert prometheus.ask(f"resets({_CYCLES}[{passed}]) > 0") == []
    assert prometheus.value(f"increase({_CYCLES}[20s])") > 2


def test_energy_flows_without_an_api_server(
    cluster: Cluster, testbed: Bed, release: Release, prometheus: Prometheus
) -> None:
    """While no API server runs, cycles go on, pods have their names, and energy keeps flowing."""
    url = _address(release)
    with testbed.without("kube-apiserver"):
        before = _scrape(url)
        time.sleep(4 * INTERVAL_S)
        during = _scrape(url)
        query = 'rate(joulery_node_energy_joules_total{device="cpu",part="idle"}[15s])'
        assert prometheus.value(query) > 0
    assert during[_CYCLES] >= before[_CYCLES] + 3
    energies = {series for series in during if series.startswith(_ENERGY)}
    assert energies
    assert all('pod="' in series for series in energies)
    gained_j = sum(during[series] - before.get(series, 0.0) for series in energies)
    assert gained_j > 0
    eventually(lambda: cluster.kubectl("get", "nodes"), seconds=60, what="the API server is back")
    eventually(
        lambda: "True" in cluster.kubectl("get", "nodes", "--output=jsonpath={..status}"),
        seconds=90,
        what="the node is ready",
    )


def test_an_upgrade_takes_effect(cluster: Cluster, release: Release) -> None:
    """`helm upgrade` with another interval rolls the exporter out, and it keeps that interval."""
    cluster.helm(
        *("upgrade", RELEASE, str(CHART), "--namespace", release.namespace),
        *("--reuse-values", "--set", "intervalSeconds=2"),
    )
    release.wait()

    def fast() -> bool:
        before = _scrape(_address(release))[_CYCLES]
        time.sleep(10)
        return _scrape(_address(release))[_CYCLES] >= before + 4

    eventually(fast, seconds=90, what="a cycle every two seconds")
