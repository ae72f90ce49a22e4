"""What the energy exporter tells of pods and devices, made once a cycle and read by every scrape.

Values are taken from where they were computed (`profiler.watch`); here they only get their labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..profiler.quantities import Energy
from ..profiler.watch import Device
from . import metrics as m
from .families import Family, Sample
from .metrics import Metric

__all__ = ["PodRow", "device_families", "pod_families"]

_DEVICE_METRICS = (
    m.NODE_ENERGY,
    m.low_of(m.NODE_ENERGY),
    m.high_of(m.NODE_ENERGY),
    m.DEVICE_IDLE_POWER,
    m.low_of(m.DEVICE_IDLE_POWER),
    m.high_of(m.DEVICE_IDLE_POWER),
    m.DEVICE_TIME,
    m.CONSERVATION_RESIDUAL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRow:
    """One pod as it is labelled.

    Args:
        uid: Its UID.
        namespace: Empty while no log folder tells it.
        name: Likewise.
        cpu_s: CPU time.
        containers: Names by id; none once it has ended.
    """

    uid: str
    namespace: str
    name: str
    cpu_s: float
    containers: Mapping[str, str]

    @property
    def labels(self) -> tuple[str, str, str]:
        """The labels that every metric of a pod has."""
        return self.namespace, self.name, self.uid


def pod_families(
    pods: Sequence[PodRow], devices: Iterable[Device], *, part: str, exporter: str | None
) -> list[Family]:
    """Return what is told of pods, and of the exporter's own energy.

    A pod that no lap has seen yet starts with 0 on processors and memory, so that Prometheus sees
    its first joules as a rise. It has no series for an accelerator that it never used.

    Args:
        pods: Those that run, and those that ended and are not forgotten.
        devices: What was shared out.
        part: Of what a pod's energy consists, a value of the label `part`.
        exporter: The consumer that is this exporter, where that is known.
    """
    values: list[Sample] = []
    lows: list[Sample] = []
    highs: list[Sample] = []
    own: list[Sample] = []
    for device in devices:
        parts = device.parts
        nothing = Energy(value_j=0.0, low_j=0.0, high_j=0.0, provenance=device.provenance)
        default = nothing if device.shared_by_cpu and device.ledger.known_s > 0 else None
        for pod in pods:
            energy = parts.get(pod.uid, default)
            if energy is not None:
                shared = (device.name, device.kind, part, energy.provenance)
                labels = (*pod.labels, *shared)
                values.append((labels, energy.value_j))
                lows.append((labels, energy.low_j))
                highs.append((labels, energy.high_j))
        mine = None if exporter is None else parts.get(exporter)
        if mine is not None:
            own.append(((device.name, device.kind, mine.provenance), mine.value_j))
    containers = [((*p.labels, name, i), 1.0) for p in pods for i, name in p.containers.items()]
    return [
        Family(m.POD_ENERGY, tuple(values)),
        Family(m.low_of(m.POD_ENERGY), tuple(lows)),
        Family(m.high_of(m.POD_ENERGY), tuple(highs)),
        Family(m.POD_CPU, tuple((pod.labels, pod.cpu_s) for pod in pods)),
        Family(m.CONTAINER_INFO, tuple(containers)),
        Family(m.EXPORTER_ENERGY, tuple(own)),
    ]


def device_families(devices: Iterable[Device], *, exporter: str | None) -> list[Family]:
    """Return what is told of devices: their parts, what was learned, and whether all adds up.

    Args:
        devices: What was shared out.
        exporter: The consumer that is this exporter, where it runs outside of a pod.
    """
    found: dict[Metric, list[Sample]] = {metric: [] for metric in _DEVICE_METRICS}
    for device in devices:
        name = (device.name, str(device.kind))
        for part, value_j in device.sums_j(apart=exporter).items():
            found[m.NODE_ENERGY].append(((*name, part, str(device.provenance)), value_j))
        for part, energy in (("idle", device.ledger.idle), ("system", device.ledger.system)):
            if energy is not None:
                labels = (*name, part, str(device.provenance))
                found[m.low_of(m.NODE_ENERGY)].append((labels, energy.low_j))
                found[m.high_of(m.NODE_ENERGY)].append((labels, energy.high_j))
        learned = device.idle_power
        if learned is not None:
            found[m.DEVICE_IDLE_POWER].append((name, learned.value_w))
            found[m.low_of(m.DEVICE_IDLE_POWER)].append((name, learned.low_w))
            found[m.high_of(m.DEVICE_IDLE_POWER)].append((name, learned.high_w))
        found[m.DEVICE_TIME].append(((*name, "attributed"), device.ledger.known_s))
        found[m.DEVICE_TIME].append(((*name, "unknown"), device.ledger.unknown_s))
        found[m.CONSERVATION_RESIDUAL].append((name, device.residual_ratio))
    return [Family(metric, tuple(samples)) for metric, samples in found.items()]
