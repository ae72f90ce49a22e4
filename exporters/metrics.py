"""The catalogue: every metric that the energy exporter serves, said once.

`exposition` fills it, `docs/metrics.md` is generated from it, and rules and dashboards take their
names from here. Nothing is read or computed in this file.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "CATALOGUE",
    "CONSERVATION_RESIDUAL",
    "CONTAINER_INFO",
    "DEVICE_ENERGY",
    "DEVICE_IDLE_POWER",
    "DEVICE_TIME",
    "EXPORTER_BUILD_INFO",
    "EXPORTER_CPU",
    "EXPORTER_CYCLES",
    "EXPORTER_CYCLE_CPU",
    "EXPORTER_ENERGY",
    "EXPORTER_LAST_CYCLE",
    "EXPORTER_MEMORY",
    "EXPORTER_PODS",
    "EXPORTER_PROBLEMS",
    "NODE_BUSY",
    "NODE_ENERGY",
    "NODE_INFO",
    "POD_CPU",
    "POD_ENERGY",
    "SOURCE_GAPS",
    "SOURCE_INFO",
    "SOURCE_UP",
    "Metric",
    "high_of",
    "low_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric family.

    Args:
        name: Without the suffix that its type brings (`_total`, `_info`).
        type: As Prometheus names it.
        unit: The unit that ends the name; empty for what has none.
        labels: Names of its labels, in the order in which values are given.
        help: One sentence.
        per: Of what there is a series each, for people.
    """

    name: str
    type: Literal["counter", "gauge", "info", "histogram", "summary"]
    labels: tuple[str, ...]
    help: str
    per: str
    unit: str = ""

    @property
    def series(self) -> str:
        """The name under which Prometheus stores its samples."""
        return self.name + {"counter": "_total", "info": "_info"}.get(self.type, "")


@functools.cache
def _bound(metric: Metric, which: Literal["low", "high"]) -> Metric:
    quantity, unit = metric.name.rsplit("_", 1)
    return Metric(
        name=f"{quantity}_{which}_{unit}",
        type=metric.type,
        labels=metric.labels,
        unit=metric.unit,
        per=metric.per,
        help=f"{'Lower' if which == 'low' else 'Upper'} end of the 95 % interval of "
        f"{metric.series}.",
    )


def low_of(metric: Metric) -> Metric:
    """Return the companion that has the lower ends of the 95 % intervals."""
    return _bound(metric, "low")


def high_of(metric: Metric) -> Metric:
    """Return the companion that has the upper ends of the 95 % intervals."""
    return _bound(metric, "high")


_POD = ("namespace", "pod", "uid")

POD_ENERGY = Metric(
    name="joulery_pod_energy_joules",
    type="counter",
    unit="joules",
    labels=(*_POD, "device", "kind", "part", "provenance"),
    per="pod and device it used",
    help="Energy of a pod on one device. part: active is what its work added to idle, with_idle "
    "also its share of the idle energy.",
)
POD_CPU = Metric(
    name="joulery_pod_cpu_seconds",
    type="counter",
    unit="seconds",
    labels=_POD,
    per="pod",
    help="CPU time of a pod, all its containers together: the work by which energy is shared.",
)
CONTAINER_INFO = Metric(
    name="joulery_pod_container",
    type="info",
    labels=(*_POD, "container", "container_id"),
    per="container that has a log",
    help="The containers of a pod, to join with metrics that know a container by name or id.",
)
NODE_ENERGY = Metric(
    name="joulery_node_energy_joules",
    type="counter",
    unit="joules",
    labels=("device", "kind", "part", "provenance"),
    per="device and part",
    help="Energy of a device by whom it was given to: idle (nobody), system (work of no pod), "
    "pods (all of them, ended ones included), exporter (only outside of a pod), unattributed "
    "(counted, but not shared out). The parts add up to what the device counted.",
)
DEVICE_ENERGY = Metric(
    name="joulery_device_energy_joules",
    type="counter",
    unit="joules",
    labels=("device", "kind", "source", "domain", "summed", "provenance"),
    per="domain of a source",
    help="Energy that a sensor told. summed: true for those that make up the device; the others "
    "tell the same again or a part of it, and are never added.",
)
DEVICE_IDLE_POWER = Metric(
    name="joulery_device_idle_power_watts",
    type="gauge",
    unit="watts",
    labels=("device", "kind"),
    per="device",
    help="Power of a device without load, as learned so far.",
)
DEVICE_TIME = Metric(
    name="joulery_device_watched_seconds",
    type="counter",
    unit="seconds",
    labels=("device", "kind", "state"),
    per="device and state",
    help="Time whose energy was attributed, and time whose energy is unknown (a gap, or nothing "
    "learned yet): that is in no pod's total.",
)
CONSERVATION_RESIDUAL = Metric(
    name="joulery_conservation_residual_ratio",
    type="gauge",
    unit="ratio",
    labels=("device", "kind"),
    per="device",
    help="How far all parts of a device are from adding up to its counter, over the latter.",
)
SOURCE_UP = Metric(
    name="joulery_source_up",
    type="gauge",
    labels=("source",),
    per="source that works, or should",
    help="1 if every domain of the source could be read in the last cycle, else 0.",
)
SOURCE_INFO = Metric(
    name="joulery_source",
    type="info",
    labels=("source", "state"),
    per="source that was looked for",
    help="What the source is good for here: measured, integrated, estimated, forbidden, absent or "
    "failed.",
)
SOURCE_GAPS = Metric(
    name="joulery_source_gaps",
    type="counter",
    labels=("source", "domain", "reason"),
    per="domain and reason that occurred",
    help="Times between two samples whose energy is not known, by reason.",
)
NODE_INFO = Metric(
    name="joulery_node",
    type="info",
    labels=("node", "energy", "idle_policy"),
    per="node",
    help="energy: measured, integrated or estimated, the weakest of what is summed, or unknown "
    "where there is nothing to read.",
)
NODE_BUSY = Metric(
    name="joulery_node_busy_cpu_seconds",
    type="counter",
    unit="seconds",
    labels=(),
    per="node",
    help="Busy time of all CPUs since the exporter started.",
)
EXPORTER_BUILD_INFO = Metric(
    name="joulery_exporter_build",
    type="info",
    labels=("version", "python"),
    per="exporter",
    help="The exporter's version.",
)
EXPORTER_CYCLES = Metric(
    name="joulery_exporter_cycles",
    type="counter",
    labels=("outcome",),
    per="outcome",
    help="Cycles of reading and sharing out: ok, late (the one before took too long), failed "
    "(the node could not be read; the next cycle has its time as well).",
)
EXPORTER_CYCLE_CPU = Metric(
    name="joulery_exporter_cycle_cpu_seconds",
    type="gauge",
    unit="seconds",
    labels=(),
    per="exporter",
    help="CPU time of the last cycle, looks within it included.",
)
EXPORTER_LAST_CYCLE = Metric(
    name="joulery_exporter_last_cycle_timestamp_seconds",
    type="gauge",
    unit="seconds",
    labels=(),
    per="exporter",
    help="Unix time of the last cycle, that of everything served.",
)
EXPORTER_CPU = Metric(
    name="joulery_exporter_cpu_seconds",
    type="counter",
    unit="seconds",
    labels=(),
    per="exporter",
    help="CPU time of the exporter, scrapes included.",
)
EXPORTER_MEMORY = Metric(
    name="joulery_exporter_resident_memory_bytes",
    type="gauge",
    unit="bytes",
    labels=(),
    per="exporter",
    help="Resident memory of the exporter.",
)
EXPORTER_ENERGY = Metric(
    name="joulery_exporter_energy_joules",
    type="counter",
    unit="joules",
    labels=("device", "kind", "provenance"),
    per="device",
    help="The exporter's own active energy; in a pod the same as its pod's.",
)
EXPORTER_PODS = Metric(
    name="joulery_exporter_pods",
    type="gauge",
    labels=("state",),
    per="state",
    help="Pods: running, terminated (their totals are kept for the retention time), unnamed "
    "(running, but no log folder tells their name).",
)
EXPORTER_PROBLEMS = Metric(
    name="joulery_exporter_problems",
    type="counter",
    labels=("reason",),
    per="reason that occurred",
    help="What could not be read, by reason; the log has the first of each.",
)

CATALOGUE = (
    POD_ENERGY,
    low_of(POD_ENERGY),
    high_of(POD_ENERGY),
    POD_CPU,
    CONTAINER_INFO,
    NODE_ENERGY,
    low_of(NODE_ENERGY),
    high_of(NODE_ENERGY),
    NODE_BUSY,
    NODE_INFO,
    DEVICE_ENERGY,
    DEVICE_IDLE_POWER,
    low_of(DEVICE_IDLE_POWER),
    high_of(DEVICE_IDLE_POWER),
    DEVICE_TIME,
    CONSERVATION_RESIDUAL,
    SOURCE_UP,
    SOURCE_INFO,
    SOURCE_GAPS,
    EXPORTER_BUILD_INFO,
    EXPORTER_CYCLES,
    EXPORTER_CYCLE_CPU,
    EXPORTER_LAST_CYCLE,
    EXPORTER_CPU,
    EXPORTER_MEMORY,
    EXPORTER_ENERGY,
    EXPORTER_PODS,
    EXPORTER_PROBLEMS,
)
"""All of them, in the order in which they are served."""
