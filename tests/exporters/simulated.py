"""A simulated node whose consumers are pods: their control groups, log folders and sensors."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from joulery.exporters.energy import EnergyExporter
from joulery.exporters.exposition import OPENMETRICS
from joulery.exporters.settings import Settings
from joulery.profiler.simulator.load import Consumer
from joulery.profiler.simulator.machine import Machine
from joulery.profiler.simulator.node import Node
from joulery.profiler.simulator.tree import NodeTree
from joulery.profiler.sources import discover

__all__ = ["PodNode", "pod_node", "samples", "slice_of", "total", "uid_of"]

_MACHINE = Machine(sockets=1, cores=8)


def uid_of(name: str) -> str:
    """Return the UID of a pod, by its name."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def slice_of(uid: str) -> str:
    """Return the name of a pod's control group under the systemd driver."""
    return f"kubepods-pod{uid.replace('-', '_')}.slice"


class _Nobody:
    """A kubelet that has allocated nothing."""

    def list(self) -> tuple[()]:
        """Return no allocation."""
        return ()


@dataclass
class PodNode:
    """A simulated node and what watches it."""

    node: Node
    tree: NodeTree
    logs: Path
    settings: Settings
    jump_s: float = 0.0
    """How far the clock that the exporter reads is off."""

    def exporter(self) -> EnergyExporter:
        """Return an exporter of this node, not entered yet."""
        return EnergyExporter(
            self.settings,
            find=lambda: discover(self.tree.host, drivers=False),
            allocator=_Nobody(),
            clock=lambda: self.tree.clock() + self.jump_s,
        )

    def run(self, exporter: EnergyExporter, cycles: int) -> None:
        """Let so many cycles pass."""
        looks = 5
        for number in range(cycles * looks):
            self.tree.advance(self.settings.interval_s / looks)
            if (number + 1) % looks:
                exporter.look()
            else:
                exporter.cycle()

    def truth_j(self, name: str, kind: str) -> float:
        """Return what a pod really drew from the package or the memory so far."""
        at = [one.name for one in self.node.consumers].index(slice_of(uid_of(name)))
        return float(self.node.truth.active_j[f"{kind}-0"][at])

    def log_folder(self, name: str, namespace: str = "default") -> Path:
        """Return where a pod's logs are."""
        return self.logs / "pods" / f"{namespace}_{name}_{uid_of(name)}"


@contextmanager
def pod_node(
    folder: Path,
    pods: Sequence[Consumer],
    *,
    seed: int = 0,
    retention_s: float = 900.0,
    modulus_uj: int = 262_143_328_850,
) -> Iterator[PodNode]:
    """Make a node with these pods, whose consumers' names are the pods' names."""
    system = Consumer(name="system", busy=0.1, request_s=0.002)
    groups = [replace(one, name=slice_of(uid_of(one.name))) for one in pods]
    node = Node(_MACHINE, [system, *groups], seed=seed)
    logs = folder / "log"
    (logs / "containers").mkdir(parents=True)
    (logs / "pods").mkdir()
    with NodeTree(folder / "node", node, modulus_uj=modulus_uj) as tree:
        settings = Settings(
            sysfs=tree.host.sys,
            procfs=tree.host.proc,
            pod_logs=logs / "pods",
            container_logs=logs / "containers",
            pod_resources=folder / "no-kubelet.sock",
            node="node-1",
            pod_uid="not-in-this-node",
            retention_s=retention_s,
        )
        found = PodNode(node, tree, logs, settings)
        for one in pods:
            found.log_folder(one.name).mkdir()
        yield found


def samples(exporter: EnergyExporter) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return what a scrape says, as the client library's parser reads it: by series and labels."""
    body = exporter.scrape.body(OPENMETRICS, compressed=False)
    assert body is not None
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    families = text_string_to_metric_families(body.decode())  # type: ignore[no-untyped-call]
    for family in families:
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            known = found.setdefault(sample.name, {})
            assert labels not in known, f"{sample.name}{labels} is there twice"
            known[labels] = sample.value
    return found


def total(exporter: EnergyExporter, series: str, **labels: str) -> float:
    """Return the sum of the samples of a series that have these labels; NaN where there is none."""
    chosen = [
        value
        for found, value in samples(exporter).get(series, {}).items()
        if labels.items() <= dict(found).items()
    ]
    return float(np.sum(chosen)) if chosen else float("nan")
