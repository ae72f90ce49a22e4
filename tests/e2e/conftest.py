"""What the end-to-end tests share: a cluster, images, a simulated sensor, the release."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from joulery import __version__

from ..conftest import REPOSITORY, absent
from .cluster import Bed, Cluster, eventually
from .process import Process, exporter_process
from .questions import Questions
from .server import Prometheus, running

CHART = REPOSITORY / "exporters" / "chart"
NAMESPACE = "joulery-e2e"
RELEASE = "joulery"
GOLDEN = "faults"
RETENTION_S = 60
INTERVAL_S = 5
ENERGY, SERVICES = "energy", "services"
"""What Prometheus calls the two exporters, as its jobs."""

_SELECTOR = "app.kubernetes.io/name=joulery,app.kubernetes.io/instance=" + RELEASE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies here, and give it the time that a cluster takes."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """Return the cluster of the current kubeconfig, which must be one of disposable nodes."""
    found = Cluster()
    try:
        found.kubectl("get", "nodes")
    except AssertionError as error:
        absent(f"no cluster answers: {error}")
    return found


@pytest.fixture(scope="session")
def testbed(cluster: Cluster) -> Iterator[Bed]:
    """Return the test bed whose node is this machine, where pods reach the API server."""
    bed = Bed()
    spec = cluster.get("service", "kubernetes", "--namespace", "default")["spec"]
    [subset] = cluster.get("endpoints", "kubernetes", "--namespace", "default")["subsets"]
    behind = f"{subset['addresses'][0]['ip']}:{subset['ports'][0]['port']}"
    with bed.service(f"{spec['clusterIP']}:{spec['ports'][0]['port']}", behind):
        yield bed


def _built(testbed: Bed, name: str, dockerfile: str, folder: Path) -> str:
    """Build an image from its Dockerfile, load it, and return its name."""
    archive, name = folder / "image.tar", f"docker.io/library/{name}:{__version__}"
    script = REPOSITORY / "tests" / "e2e" / "image.sh"
    ended = subprocess.run(
        [str(script), name, str(archive)],
        env=os.environ | {"DOCKERFILE": dockerfile},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    testbed.containers("image", "import", str(archive))
    archive.unlink()
    return name


@pytest.fixture(scope="session")
def image(testbed: Bed, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the exporters' image."""
    folder = tmp_path_factory.mktemp("image")
    return _built(testbed, "joulery-exporter", "exporters/Dockerfile", folder)


@pytest.fixture(scope="session")
def service_image(testbed: Bed, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the image of the scenarios' services."""
    folder = tmp_path_factory.mktemp("image")
    return _built(testbed, "joulery-service", "campaigns/scenarios/Dockerfile", folder)


@pytest.fixture(scope="session")
def namespace(cluster: Cluster) -> Iterator[str]:
    """Make a namespace whose pods may look at the host, and remove it in the end."""
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    cluster.apply(
        {
            "kind": "Namespace",
            "apiVersion": "v1",
            "metadata": {"name": NAMESPACE, "labels": labels},
        }
    )
    yield NAMESPACE
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@dataclass(frozen=True)
class Truth:
    """What the simulated sensor knows."""

    folder: Path

    @property
    def sysfs(self) -> Path:
        """Its powercap tree."""
        return self.folder / "sys"

    def lines(self) -> list[dict[str, Any]]:
        """Return every look that is written whole."""
        text = (self.folder / "truth.jsonl").read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def pod_j(self, uid: str, wall_s: float, domain: str = "package-0") -> float:
        """Return what a pod had drawn at a moment."""
        lines = self.lines()
        values = [line["pods"].get(uid, {}).get("active_j", {}).get(domain, 0.0) for line in lines]
        return float(np.interp(wall_s, [line["wall_s"] for line in lines], values))

    def highest_w(self, domain: str = "package-0") -> float:
        """Return the highest mean power between two looks."""
        lines = self.lines()
        power_w = np.diff([line["total_j"][domain] for line in lines]) / np.diff(
            [line["wall_s"] for line in lines]
        )
        return float(power_w.max())


@pytest.fixture(scope="session")
def truth(testbed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Truth]:
    """Run a simulated energy sensor that follows the real work of this node's pods."""
    assert testbed
    folder = tmp_path_factory.mktemp("sensor") / "node"
    command = [sys.executable, "-m", "joulery.profiler.simulator", str(folder)]
    # The pods that work run the same program, so they are nearly alike; counters wrap in minutes.
    command += ["--mirror", "/sys/fs/cgroup", "--spread", "0.01", "--max-energy-uj", "6000000000"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    found = Truth(folder)
    eventually(lambda: found.lines(), seconds=30, what="the simulated sensor starts")
    yield found
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@dataclass(frozen=True)
class Release:
    """The chart, installed."""

    cluster: Cluster
    namespace: str

    def pod(self) -> Any:
        """Return the exporter's pod on this node."""
        return self.cluster.pod(self.namespace, _SELECTOR)

    @property
    def uid(self) -> str:
        """UID of the exporter's pod."""
        return str(self.pod()["metadata"]["uid"])

    @property
    def address(self) -> str:
        """Address of the exporter's pod."""
        return str(self.pod()["status"]["podIP"])

    def process(self, exporter: str) -> Process:
        """Return the process on this node of an exporter, `energy` or `services`."""
        return exporter_process(self.uid, exporter)

    def wait(self) -> None:
        """Wait until it is ready."""
        self.cluster.kubectl(
            *("rollout", "status", "daemonset", "--namespace", self.namespace),
            *("--selector", f"app.kubernetes.io/instance={RELEASE}", "--timeout=180s"),
        )


@pytest.fixture(scope="session")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Questions:
    """Return what the services are asked, and what would be right."""
    return Questions(tmp_path_factory.mktemp("questions"))


@pytest.fixture(scope="session")
def golden(
    cluster: Cluster, namespace: str, questions: Questions, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """Put a golden set into a ConfigMap, and return its name."""
    folder = tmp_path_factory.mktemp("golden")
    questions.write_golden(folder / f"{GOLDEN}.json")
    cluster.kubectl(
        "create", "configmap", GOLDEN, "--namespace", namespace, f"--from-file={folder}"
    )
    return GOLDEN


@pytest.fixture(scope="session")
def release(
    cluster: Cluster, testbed: Bed, image: str, namespace: str, truth: Truth, golden: str
) -> Iterator[Release]:
    """Install the chart with the simulated sensor for its sysfs; all else is the node's own."""
    assert image
    cluster.helm(
        *("install", RELEASE, str(CHART), "--namespace", namespace),
        *("--set", f"hostPaths.sys={truth.sysfs}"),
        *("--set", f"kubelet.rootDir={testbed.kubelet_root}"),
        *("--set", f"retentionSeconds={RETENTION_S}"),
        # Slowly enough for a service, and quickly enough for who waits for all samples.
        *("--set", f"services.probe.goldenConfigMap={golden},services.probe.rateHz=2"),
    )
    found = Release(cluster, namespace)
    found.wait()
    yield found
    cluster.helm("uninstall", RELEASE, "--namespace", namespace, "--wait")
    cluster.wait_gone(RELEASE)


@pytest.fixture(scope="session")
def servers(
    release: Release, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Prometheus, Prometheus]]:
    """Run two Prometheus servers that scrape the release at once."""
    targets = {ENERGY: f"{release.address}:28480", SERVICES: f"{release.address}:28481"}
    one, two = tmp_path_factory.mktemp("prometheus"), tmp_path_factory.mktemp("prometheus")
    with running(one, targets) as first, running(two, targets) as second:
        for server in (first, second):
            eventually(
                lambda server=server: server.ask("joulery_node_info"),  # type: ignore[misc]
                seconds=60,
                what="Prometheus scrapes",
            )
        yield first, second


@pytest.fixture(scope="session")
def prometheus(servers: tuple[Prometheus, Prometheus]) -> Prometheus:
    """Return the first of the two servers."""
    return servers[0]
