"""A real campaign in the cluster: its dataset, its death and resumption, and what goes wrong."""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from joulery.datasets.store import Dataset, load
from joulery.datasets.verify import verify

from ..campaigns.command import joulery, recorded, rows, running, wait_for_trials
from .cluster import Cluster, eventually, program
from .conftest import Release, Truth
from .server import Prometheus

_NAME = "cluster-campaign"
_TRIALS = 4
_WINDOW_S = 25.0
"""Five scrapes, and as many of the exporter's cycles."""
_SHORT_S = 12.0

_SPEC = """\
name: {name}
scenarios:
  - scenario: anomaly_detection
    kubernetes:
      namespace: {namespace}
      image: {image}
      prometheus_url: {prometheus}
      nodes: {{this: {{kubernetes.io/os: linux}}}}
      reach: {reach}
      resources: {{requests: {{cpu: {cpu}}}}}
    factors: {{model: [{models}], node: [{node}]}}
loads: [{{arrival: poisson, rate_hz: 40}}]
networks: {networks}
repeats: {repeats}
trial: {{idle_s: 0.5, warmup_round_s: 0.5, warmup_max_s: 2, window_s: {window_s}}}
slo: {{latency_s: 0.2, percentile: 0.5}}
limits:
  {{send_lag_p99_s: 0.5, steady_ratio: 5, subwindow_cv_ratio: 5, link_late_ratio: 0.9,
   retries: {retries}}}
"""


class Spec:
    """Writes specifications: the usual one, or with something else in it."""

    def __init__(self, folder: Path, **usual: Any) -> None:
        self._folder, self._usual = folder, usual

    def write(self, **other: Any) -> Path:
        """Write one, and return its path."""
        path = self._folder / f"{len(list(self._folder.iterdir()))}.yaml"
        path.write_text(_SPEC.format(**{**self._usual, **other}))
        return path


@pytest.fixture(scope="module")
def spec(
    release: Release,
    prometheus: Prometheus,
    service_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Spec]:
    """Return what writes specifications for this cluster; helm is on the PATH meanwhile."""
    folder = tmp_path_factory.mktemp("specification")
    found = Spec(
        folder,
        namespace=release.namespace,
        image=service_image,
        prometheus=prometheus.url,
        name=_NAME,
        reach="pod_ip",
        cpu="100m",
        models="seasonal_zscore, autoencoder",
        node="this",
        repeats=2,
        retries=0,
        window_s=_WINDOW_S,
        networks=[],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(Path(program("helm")).parent), prepend=":")
        yield found


@pytest.fixture(scope="module")
def measured(spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Run the campaign once, as users would: what a busy machine spoils is measured again."""
    out = tmp_path_factory.mktemp("campaign") / "out"
    joulery("run", spec.write(retries=1), "--out", out, "--plain")
    assert verify(out) == []
    return load(out)


def _valid(measured: Dataset) -> pd.DataFrame:
    """Return the valid trials: as many as were planned, whatever tries it took."""
    trials = measured.trials
    found = trials[trials["verdict"] == "valid"]
    assert len(found) == _TRIALS, list(trials["reasons"])
    return found


def _left(cluster: Cluster, namespace: str, name: str = _NAME) -> list[str]:
    """Return what of a campaign is there."""
    kinds = "configmaps,deployments,replicasets,services,pods"
    return cluster.kubectl(
        *("get", kinds, "--namespace", namespace, "--output=name"),
        *("--selector", f"joulery.io/campaign={name}"),
    ).split()


def test_each_trial_is_a_pod_of_its_own(
    measured: Dataset, cluster: Cluster, service_image: str
) -> None:
    """Rows join latency and quality with the pod, its node, image and versions."""
    trials = _valid(measured)
    assert trials["pod_uid"].nunique() == _TRIALS
    [node] = cluster.get("nodes")["items"]
    assert set(trials["node"]) == {"this"}
    assert set(trials["pod_node"]) == {node["metadata"]["name"]}
    assert set(trials["kubelet_version"]) == {node["status"]["nodeInfo"]["kubeletVersion"]}
    assert set(trials["image"]) == {service_image}
    assert trials["image_digest"].str.fullmatch(r"sha256:[0-9a-f]{64}").all()
    assert trials["exporter_version"].notna().all()
    assert (trials["startup_s"] > 0).all()
    assert (trials["latency_p50_s"] > 0).all()
    assert trials["quality_value"].notna().all()
    assert trials[["model_file", "idle_before_w", "utilisation_ratio"]].isna().all(axis=None)


def test_energy_is_the_exporters(measured: Dataset) -> None:
    """Every trial has the joules of its pod and node, with provenance and an interval."""
    trials = _valid(measured)
    for stem in ("service_energy", "inference_energy", "device_energy"):
        low_j, value_j, high_j = (trials[f"{stem}{end}_j"] for end in ("_low", "", "_high"))
        assert (value_j > 0).all(), stem
        assert ((low_j <= value_j) & (value_j <= high_j)).all(), stem
        assert (low_j < high_j).all(), stem
    assert set(trials["energy_provenance"]) == {"apportioned"}
    assert trials["energy_sources"].str.contains("package-0").all()
    assert (trials["device_energy_j"] > trials["service_energy_j"]).all()
    assert (trials["service_cpu_s"] > 0).all()
    assert set(measured.energy["phase"]) == {"window"}
    assert set(trials["trial"]) <= set(measured.energy["trial"])


def _window_start_s(energy: pd.DataFrame, prometheus: Prometheus) -> float:
    """Return when a window began: where the counter rose just as the dataset says."""
    rises = energy[energy["domain"] == "package-0"]
    query = 'joulery_device_energy_joules_total{domain="package-0"}[30m]'
    [(_, samples)] = prometheus.raw(query)
    [(_, stamps)] = prometheus.raw("joulery_exporter_last_cycle_timestamp_seconds[30m]")
    cycle_s = dict(stamps)
    total = dict(samples)
    by_cycle = sorted({cycle_s[t_s]: total[t_s] for t_s in total.keys() & cycle_s}.items())
    for (from_s, before_j), (_, after_j) in itertools.pairwise(by_cycle):
        if after_j - before_j == rises["energy_j"].iloc[0]:
            return from_s - float(rises["start_s"].iloc[0])
    raise AssertionError("no rise of the counter is that of the dataset")


def test_the_truth_lies_in_the_interval(
    measured: Dataset, prometheus: Prometheus, truth: Truth
) -> None:
    """What the sensor knows that each pod drew in its window is what the dataset says."""
    for _, trial in _valid(measured).iterrows():
        energy = measured.energy[measured.energy["trial"] == trial["trial"]]
        start_s = _window_start_s(energy, prometheus)
        end_s = start_s + trial["window_s"]
        true_j = sum(
            truth.pod_j(trial["pod_uid"], end_s, domain)
            - truth.pod_j(trial["pod_uid"], start_s, domain)
            for domain in ("package-0", "dram")
        )
        print(true_j, dict(trial.filter(like="service_energy")))
        assert trial["service_energy_low_j"] <= true_j <= trial["service_energy_high_j"]


def test_nothing_is_left(measured: Dataset, cluster: Cluster, release: Release) -> None:
    """A finished campaign leaves nothing in the namespace."""
    assert len(measured.trials)
    assert _left(cluster, release.namespace) == []


def test_a_killed_campaign_goes_on(
    spec: Spec, cluster: Cluster, release: Release, tmp_path: Path
) -> None:
    """After SIGKILL in a window, --resume removes what was left and has every trial once."""
    path, out = spec.write(window_s=_SHORT_S), tmp_path / "out"
    journal = tmp_path / "out.campaign" / "journal.sqlite"
    with running("run", path, "--out", out, "--plain") as runner:
        wait_for_trials(journal, 1, runner)
        eventually(
            lambda: [one for one in _left(cluster, release.namespace) if "-2" in one],
            seconds=60,
            what="the second trial has its pod",
        )
        refused = joulery("run", path, "--out", tmp_path / "other", "--plain", code=1)
        assert "which runs it already" in refused.stderr
        runner.kill()
    before = rows(journal)
    assert len(_left(cluster, release.namespace)) >= 4
    done = joulery("run", path, "--out", out, "--plain", "--resume")
    assert "an earlier run had left, and this one removed: Deployment" in done.stdout
    trials = load(out).trials.set_index("trial")
    assert list(trials.index) == list(range(1, _TRIALS + 1))
    assert trials["pod_uid"].is_unique
    for number, started_at in before.items():
        assert trials.loc[number, "started_at"] == started_at
    assert _left(cluster, release.namespace) == []


def test_interrupt_and_clean(
    spec: Spec, cluster: Cluster, release: Release, tmp_path: Path
) -> None:
    """Ctrl-C removes what is there; what a kill leaves `joulery campaign clean` removes."""
    for number, end in enumerate((signal.SIGINT, signal.SIGKILL)):
        with running("run", spec.write(), "--out", tmp_path / str(number), "--plain") as runner:
            eventually(
                lambda: [one for one in _left(cluster, release.namespace) if "pod/" in one],
                seconds=60,
                what="a pod",
            )
            runner.send_signal(end)
            runner.communicate(timeout=120)
        left = _left(cluster, release.namespace)
        assert bool(left) == (end is signal.SIGKILL), left
    cleaned = joulery("campaign", "clean", _NAME)
    assert f"removed  Deployment {release.namespace}/joulery-{_NAME}-1" in cleaned.stdout
    assert _left(cluster, release.namespace) == []
    assert "nothing of campaign" in joulery("campaign", "clean", _NAME).stdout


def test_through_the_api_server_and_a_network(spec: Spec, tmp_path: Path) -> None:
    """Where pods cannot be reached, their port is led here; a network stands before it."""
    path = spec.write(
        reach="port_forward",
        models="seasonal_zscore",
        repeats=1,
        window_s=_SHORT_S,
        networks="[{name: far, up: {delay_s: 0.02}, down: {delay_s: 0.02}}]",
    )
    joulery("run", path, "--out", tmp_path / "out", "--plain")
    [trial] = load(tmp_path / "out").trials.to_dict("records")
    assert trial["verdict"] == "valid", trial["reasons"]
    assert trial["network"] == "far"
    assert 0.04 < trial["latency_p50_s"] < 0.2
    assert trial["link_cpu_s"] > 0


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"image": "registry.invalid/none:1"}, "ImagePullBackOff: .*push the image to where"),
        ({"cpu": "900"}, "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.*resources"),
        ({"image": "testbed.local/busybox:1"}, "exit code .*its last line: .*applet"),
    ],
)
def test_a_pod_that_cannot_run(
    other: dict[str, str],
    words: str,
    spec: Spec,
    cluster: Cluster,
    release: Release,
    tmp_path: Path,
) -> None:
    """It is told at once, with what the cluster says and what to do, and nothing is left."""
    path = spec.write(models="seasonal_zscore", repeats=1, **other)
    with pytest.raises(AssertionError, match=words):
        joulery("run", path, "--out", tmp_path / "out", "--plain", code=0)
    assert _left(cluster, release.namespace) == []


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"namespace": "nowhere"}, "kubectl create namespace nowhere"),
        ({"node": "edge-a"}, "no node with the labels kubernetes.io/hostname=edge-a"),
        ({"prometheus": "http://127.0.0.1:9"}, "is it running, and is there a way"),
        ({"window_s": 6}, "window_s: found 6 s, and a scrape of the exporters each 5 s"),
    ],
)
def test_what_is_known_before(
    other: dict[str, Any], words: str, spec: Spec, tmp_path: Path
) -> None:
    """What cannot be is refused before the first trial, and no campaign has begun."""
    arguments = ("run", spec.write(**other), "--out", tmp_path / "out", "--plain")
    with pytest.raises(AssertionError, match=words):
        joulery(*arguments)
    assert not (tmp_path / "out.campaign").exists()
    assert recorded(tmp_path / "out.campaign" / "journal.sqlite") == 0


def test_a_user_without_rights(
    spec: Spec, cluster: Cluster, release: Release, tmp_path: Path
) -> None:
    """Which verbs on which resources are missing is told, before the first trial."""
    account = "powerless"
    cluster.kubectl("create", "serviceaccount", account, "--namespace", release.namespace)
    try:
        config = json.loads(cluster.kubectl("config", "view", "--raw", "--output=json"))
        config["users"] = [
            {"name": u["name"], "user": {"token": _token(cluster, release, account)}}
            for u in config["users"]
        ]
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        refused = joulery(
            *("run", spec.write(), "--out", tmp_path / "out", "--plain"),
            code=1,
            environment={"KUBECONFIG": str(tmp_path / "kubeconfig")},
        )
    finally:
        cluster.kubectl("delete", "serviceaccount", account, "--namespace", release.namespace)
    assert "forbidden: get configmaps, " in refused.stderr
    assert "create deployments.apps" in refused.stderr
    assert "docs/kubernetes.md" in refused.stderr


def _token(cluster: Cluster, release: Release, account: str) -> str:
    """Return a token of a service account."""
    path = f"/api/v1/namespaces/{release.namespace}/serviceaccounts/{account}/token"
    asked = json.dumps(
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    )
    answer = cluster.kubectl("create", "--raw", path, "-f", "-", text=asked)
    return str(json.loads(answer)["status"]["token"])
