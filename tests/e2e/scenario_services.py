"""Services of a scenario, installed by their chart, and asked by a client of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..conftest import REPOSITORY
from .asking import Client
from .cluster import Cluster
from .conftest import GOLDEN
from .questions import MODEL, PREDICTION, SCENARIO, Questions

__all__ = ["Service", "install", "uninstall"]

_CHART = REPOSITORY / "campaigns" / "chart"
_PUSH_S = 5


@dataclass(frozen=True)
class Service:
    """A release of the chart with one pod.

    Attributes:
        name: Of the release, and of the variant in metrics.
        precision: That the model computes in.
        pod: As the API server knows it.
        client: Asks it.
    """

    name: str
    precision: str
    pod: Mapping[str, Any]
    client: Client

    @property
    def uid(self) -> str:
        """UID of its pod."""
        return str(self.pod["metadata"]["uid"])

    @property
    def address(self) -> str:
        """Address of its pod."""
        return str(self.pod["status"]["podIP"])

    @property
    def of_pod(self) -> str:
        """Selector of what is told of its pod, as PromQL."""
        return f'uid="{self.uid}",model="{MODEL}",variant="{self.name}"'

    def change(self, cluster: Cluster, **config: str) -> None:
        """Change the live configuration; the kubelet is made to look at once."""
        metadata = self.pod["metadata"]
        arguments = ["upgrade", self.name, str(_CHART), "--namespace", metadata["namespace"]]
        arguments += ["--reuse-values"]
        for key, value in config.items():
            arguments += ["--set", f"config.{key}={value}"]
        cluster.helm(*arguments)
        # It brings a changed ConfigMap with the next sync of the pod: in a minute, or with this.
        cluster.kubectl(
            *("annotate", "pod", metadata["name"], "--namespace", metadata["namespace"]),
            "touched=now",
        )


def install(
    cluster: Cluster,
    namespace: str,
    receiver: str,
    folder: Path,
    questions: Questions,
    precisions: Mapping[str, str],
) -> list[Service]:
    """Install releases, and wait until their pods answer.

    Args:
        cluster: Where.
        namespace: Likewise.
        receiver: Base URL of the service exporter, for what they push.
        folder: For values.
        questions: What their clients ask.
        precisions: The precision of each release by its name.
    """
    for name, precision in precisions.items():
        values = {
            "scenario": SCENARIO,
            "prediction": PREDICTION,
            "config": {"model": MODEL, "precision": precision, "variant": name},
            "telemetry": {
                "endpoint": receiver,
                "answersUrl": receiver,
                "intervalSeconds": _PUSH_S,
            },
            "annotations": {"model": MODEL, "variant": name, "golden": GOLDEN},
        }
        file = folder / f"{name}.json"
        file.write_text(json.dumps(values))
        cluster.helm("install", name, str(_CHART), "--namespace", namespace, "--values", str(file))
    found: list[Service] = []
    for seed, (name, precision) in enumerate(precisions.items()):
        cluster.kubectl(
            *("rollout", "status", "deployment", "--namespace", namespace),
            *("--selector", f"app.kubernetes.io/instance={name}", "--timeout=120s"),
        )
        pod = cluster.pod(namespace, f"app.kubernetes.io/instance={name}")
        client = Client(name, str(pod["status"]["podIP"]), questions, seed=seed)
        found.append(Service(name, precision, pod, client))
    return found


def uninstall(cluster: Cluster, namespace: str, *names: str) -> None:
    """Remove releases, and see that nothing of them is left."""
    for name in names:
        cluster.helm("uninstall", name, "--namespace", namespace, "--wait")
        cluster.wait_gone(name)
