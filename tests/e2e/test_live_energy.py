"""Joules of real pods on a real node, against what a simulated sensor knows of their real work."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from joulery.exporters.metrics import CATALOGUE

from .burners import burner, loop
from .cluster import Cluster
from .conftest import ENERGY, INTERVAL_S, SERVICES, Release, Truth
from .server import Prometheus

_PROGRAMS = {
    "camera": loop(12_000, on_s=7, off_s=4),
    "forecast": loop(6_000, on_s=9, off_s=5),
    "fusion": loop(3_000, on_s=5, off_s=3),
    "batch": loop(20_000, on_s=12, off_s=10),
}
"""Services whose load comes and goes, each in a rhythm of its own. Where all work all the time, the
node is full, and nothing but chance tells one's second of work from another's."""

_REST_S = 40.0
"""Without load at first, so that something can be learned of idle power."""
_APART_S = 12.0
_LEARN_S = 120.0
_MEASURE_S = 60.0

MAPE_RATIO = 0.05
RESIDUAL_RATIO = 0.02


@dataclass(frozen=True)
class Span:
    """What was told at two moments, of each pod by its UID."""

    start_s: float
    end_s: float
    told_j: dict[str, float]
    truth_j: dict[str, float]


def cycle_time(prometheus: Prometheus) -> tuple[float, float]:
    """Return the moment of the newest cycle that was scraped, and when that was."""
    [(_, samples)] = prometheus.raw("joulery_exporter_last_cycle_timestamp_seconds[30s]")
    scraped_s, cycle_s = samples[-1]
    return cycle_s, scraped_s


def _energies(prometheus: Prometheus, scraped_s: float) -> dict[str, float]:
    query = 'joulery_pod_energy_joules_total{device="cpu"}'
    return {labels["uid"]: value for labels, value in prometheus.ask(query, time_s=scraped_s)}


@pytest.fixture(scope="module")
def pods(cluster: Cluster, release: Release, prometheus: Prometheus) -> Iterator[dict[str, str]]:
    """Run the pods, one after the other; return their UIDs by name."""
    assert prometheus
    time.sleep(_REST_S)
    for name, program in _PROGRAMS.items():
        cluster.apply(burner(name, release.namespace, program))
        time.sleep(_APART_S)
    found = {
        name: str(cluster.get("pod", name, "--namespace", release.namespace)["metadata"]["uid"])
        for name in _PROGRAMS
    }
    yield found
    cluster.kubectl(
        *("delete", "pod", *_PROGRAMS, "--namespace", release.namespace),
        *("--force", "--grace-period=0", "--ignore-not-found"),
    )


@pytest.fixture(scope="module")
def span(pods: dict[str, str], prometheus: Prometheus, truth: Truth) -> Span:
    """Return what the pods drew in a minute, two minutes after they began."""
    time.sleep(_LEARN_S)
    start_s, scraped_s = cycle_time(prometheus)
    before = _energies(prometheus, scraped_s)
    time.sleep(_MEASURE_S)
    end_s, scraped_s = cycle_time(prometheus)
    after = _energies(prometheus, scraped_s)
    uids = list(pods.values())
    return Span(
        start_s=start_s,
        end_s=end_s,
        told_j={uid: after[uid] - before[uid] for uid in uids},
        truth_j={uid: truth.pod_j(uid, end_s) - truth.pod_j(uid, start_s) for uid in uids},
    )


def test_pods_get_their_joules(span: Span, pods: dict[str, str]) -> None:
    """Two minutes after they began, pods' joules are off by 5 % at most, on average."""
    errors = {name: span.told_j[uid] / span.truth_j[uid] - 1 for name, uid in pods.items()}
    print({name: f"{100 * error:+.1f} %" for name, error in errors.items()}, span.truth_j)
    assert statistics.fmean(map(abs, errors.values())) <= MAPE_RATIO, errors


def test_intervals_hold_the_truth(
    span: Span, pods: dict[str, str], prometheus: Prometheus, truth: Truth
) -> None:
    """The truth of each pod since its beginning lies between the low and the high total."""
    assert span
    cycle_s, scraped_s = cycle_time(prometheus)
    for name, uid in pods.items():
        low_j, high_j = (
            prometheus.value(
                f'joulery_pod_energy_{end}_joules_total{{device="cpu",uid="{uid}"}}',
                time_s=scraped_s,
            )
            for end in ("low", "high")
        )
        assert low_j <= truth.pod_j(uid, cycle_s) <= high_j, name


def test_energy_is_conserved(span: Span, prometheus: Prometheus) -> None:
    """Over minutes, what all parts of a device gained is what its counter counted.

    And what all pods ever drew is what its pods' part says, those ended and forgotten included.
    """
    assert span
    parts = "sum by (device) (increase(joulery_node_energy_joules_total[2m]))"
    counted = 'sum by (device) (increase(joulery_device_energy_joules_total{summed="true"}[2m]))'
    residuals = prometheus.ask(f"abs({parts} / {counted} - 1)")
    assert {labels["device"] for labels, _ in residuals} == {"cpu", "dram"}
    assert max(value for _, value in residuals) < RESIDUAL_RATIO
    last = "max by (device, uid) (max_over_time(joulery_pod_energy_joules_total[2h]))"
    pods = f"sum by (device) ({last})"
    of_pods = 'sum by (device) (joulery_node_energy_joules_total{part="pods"})'
    assert max(value for _, value in prometheus.ask(f"abs({pods} / {of_pods} - 1)")) < 1e-9
    assert max(v for _, v in prometheus.ask("joulery_conservation_residual_ratio")) < 1e-9


def test_what_is_counted_is_what_was_drawn(
    span: Span, prometheus: Prometheus, truth: Truth
) -> None:
    """The package counter, which wrapped meanwhile, gained what the sensor says was drawn."""
    lines = truth.lines()
    inside = [line for line in lines if span.start_s <= line["wall_s"] <= span.end_s]
    truth_j = inside[-1]["total_j"]["package-0"] - inside[0]["total_j"]["package-0"]
    power_w = truth_j / (inside[-1]["wall_s"] - inside[0]["wall_s"])
    query = 'rate(joulery_device_energy_joules_total{domain="package-0"}[1m])'
    assert prometheus.value(query, time_s=span.end_s) == pytest.approx(power_w, rel=0.05)


def test_no_counter_falls(span: Span, prometheus: Prometheus) -> None:
    """No series of any counter was reset in the last minutes."""
    assert span
    for metric in CATALOGUE:
        if metric.type == "counter":
            fallen = prometheus.ask(f"resets({metric.series}[3m]) > 0")
            assert fallen == [], metric.series


def test_nothing_is_missing(
    span: Span, cluster: Cluster, release: Release, prometheus: Prometheus
) -> None:
    """Each scrape succeeded, each cycle came in time, and each running pod has its energy."""
    assert span
    assert prometheus.value("min(avg_over_time(up[2m]))") == 1.0
    cycles = prometheus.value('increase(joulery_exporter_cycles_total{outcome="ok"}[2m])')
    assert cycles == pytest.approx(120 / INTERVAL_S, rel=0.1)
    running = cluster.get("pods", "--all-namespaces", "--field-selector", "status.phase=Running")[
        "items"
    ]
    query = 'joulery_pod_energy_joules_total{device="cpu"}'
    told = {(labels["namespace"], labels["pod"]) for labels, _ in prometheus.ask(query)}
    assert {(p["metadata"]["namespace"], p["metadata"]["name"]) for p in running} <= told
    containers = prometheus.ask(
        f'joulery_pod_container_info{{namespace="{release.namespace}",container="burner"}}'
    )
    assert {labels["pod"] for labels, _ in containers} == set(_PROGRAMS)


def test_a_second_server_changes_nothing(
    span: Span, servers: tuple[Prometheus, Prometheus]
) -> None:
    """Two servers that scrape at once have the very same values of each cycle that both saw."""
    assert span
    seen: list[dict[float, dict[str, float]]] = []
    for server in servers:
        [(_, stamps)] = server.raw("joulery_exporter_last_cycle_timestamp_seconds[1m]")
        cycle_of = dict(stamps)
        cycles: dict[float, dict[str, float]] = {}
        for labels, samples in server.raw('joulery_pod_energy_joules_total{device="cpu"}[1m]'):
            for scraped_s, value in samples:
                cycles.setdefault(cycle_of[scraped_s], {})[labels["uid"]] = value
        seen.append(cycles)
    both = seen[0].keys() & seen[1].keys()
    assert len(both) >= 5
    assert all(seen[0][cycle] == seen[1][cycle] for cycle in both)


def test_what_runs_as_root_never_asks_the_api_server(span: Span, release: Release) -> None:
    """The energy exporter has no token, and no connection but its scrapers'; the other one has."""
    assert span
    energy, services = release.process("energy"), release.process("services")
    assert not energy.has_token
    assert {own for own, _ in energy.ports()} == {28480}
    assert services.has_token
    assert 443 in {other for _, other in services.ports()}


def test_its_own_cost_is_told(span: Span, prometheus: Prometheus, release: Release) -> None:
    """The exporter's own joules are those of its pod, and it says its CPU time and memory."""
    assert span
    _, scraped_s = cycle_time(prometheus)
    own = prometheus.value('joulery_exporter_energy_joules_total{device="cpu"}', time_s=scraped_s)
    query = f'joulery_pod_energy_joules_total{{device="cpu",uid="{release.uid}"}}'
    assert own == prometheus.value(query, time_s=scraped_s) > 0
    for job in (ENERGY, SERVICES):
        cpu = f'rate(joulery_exporter_cpu_seconds_total{{job="{job}"}}[2m])'
        assert 0 < prometheus.value(cpu) < 0.1, job
        memory = f'joulery_exporter_resident_memory_bytes{{job="{job}"}}'
        assert prometheus.value(memory) < 120e6, job
    assert prometheus.value("joulery_exporter_cycle_cpu_seconds") > 0
