"""What a result is: the tables of a dataset, column by column, with units and meanings.

Arrow schemas carry unit and description as field metadata, so that a Parquet file explains itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

__all__ = [
    "ENERGY",
    "Column",
    "Table",
    "count",
    "interval",
    "number",
    "requests_table",
    "text",
    "trials_table",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its name (unit at the end), its Arrow type, its unit and its meaning."""

    name: str
    type: pa.DataType
    description: str
    unit: str | None = None
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of a dataset.

    Args:
        name: Its name.
        description: What a row is.
        columns: Its columns.
        twin: It is there as CSV as well; a table of very many rows is not.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    twin: bool = True

    def arrow_schema(self) -> pa.Schema:
        """Return the Arrow schema, with description and unit as field metadata."""
        return pa.schema(
            [
                pa.field(
                    column.name,
                    column.type,
                    nullable=not column.required,
                    metadata={"description": column.description}
                    | ({"unit": column.unit} if column.unit else {}),
                )
                for column in self.columns
            ],
            metadata={"table": self.name, "description": self.description},
        )


def text(name: str, description: str, *, required: bool = False) -> Column:
    """Return a column of words."""
    return Column(name=name, type=pa.string(), description=description, required=required)


def count(name: str, description: str, *, required: bool = False) -> Column:
    """Return a column of whole numbers."""
    return Column(name=name, type=pa.int64(), description=description, unit="1", required=required)


def number(name: str, description: str, unit: str, *, required: bool = False) -> Column:
    """Return a column of numbers; the unit also stands at the end of the name, "1" for none."""
    return Column(
        name=name, type=pa.float64(), description=description, unit=unit, required=required
    )


def interval(stem: str, suffix: str, description: str, unit: str) -> tuple[Column, Column, Column]:
    """Return the columns of value, low and high of one figure: its 95 % interval."""
    return (
        number(f"{stem}{suffix}", description, unit),
        number(f"{stem}_low{suffix}", f"Lower end of the 95 % interval of {stem}{suffix}", unit),
        number(f"{stem}_high{suffix}", f"Upper end of the 95 % interval of {stem}{suffix}", unit),
    )


_TRIAL_COLUMNS: tuple[Column, ...] = (
    count("trial", "Number of the trial in the campaign's order, from 1", required=True),
    count("attempt", "How often this trial was tried, this time included", required=True),
    count("block", "Randomised block the trial belongs to, from 1", required=True),
    count("repeat", "Which repeat of its configuration and load, from 1", required=True),
    text("scenario", "Scenario", required=True),
    text("configuration", "Levels of every factor of the service, `name=level`", required=True),
    text("model", "Model", required=True),
    text("precision", "Number format of the model's weights and activations", required=True),
    count("batch", "Most requests the service answers in one model run", required=True),
    count("threads", "Threads of one model run", required=True),
    text("provider", "What runs the model: an execution provider"),
    text("node", "Node, or name of nodes alike, asked for; null on this machine"),
    count("max_exit", "Last exit that a request may reach, from 1; null where nothing was said"),
    number("exit_threshold", "Confidence from which a request leaves an early-exit model", "1"),
    number("resolution", "Share of a frame's width and height that is looked at", "1"),
    count("stride", "Each so-many-th frame of a video was sent; null for what is no video"),
    number("score_threshold", "Least score of a detection that counts", "1"),
    text("model_file", "Name of the model's file; null where a server ran already"),
    text("model_sha256", "SHA-256 of that file, hexadecimal"),
    text("load", "Load, for people", required=True),
    text("arrival", "Arrival process of the load", required=True),
    number("rate_hz", "Offered requests per second; null where answers decide on it", "Hz"),
    text("pod_uid", "UID of the pod that was measured; null outside a cluster"),
    text("pod_node", "Node that the pod ran on"),
    text("image", "Image of the pod"),
    text("image_digest", "Digest of it, as the node knows it"),
    text("kubelet_version", "Version of the node's kubelet; null where it may not be asked"),
    text("exporter_version", "Version of the exporter that told the energies"),
    text("network", "Network between load generator and service; null: nothing was emulated"),
    text("environment", "What the machine was made to be; null: it was left as it was found"),
    text("started_at", "Wall time at which the trial began, ISO 8601, UTC; only a label"),
    number("startup_s", "From starting the service to its readiness", "s"),
    number("warmup_s", "Time under load before the measured window", "s"),
    number("window_s", "Duration of the measured window", "s"),
    count("requests_sent", "Requests whose intended time lies in the measured window"),
    count("requests_answered", "Requests of the window that were answered"),
    count("requests_failed", "Requests of the window that failed or timed out"),
    number("throughput_hz", "Answered requests per second of the window", "Hz"),
    number("send_lag_p99_s", "99th percentile of how late requests were sent", "s"),
    number("latency_mean_s", "Mean latency from the intended send time", "s"),
    *interval("latency_p50", "_s", "Median latency from the intended send time", "s"),
    *interval("latency_p90", "_s", "90th percentile of latency", "s"),
    *interval("latency_p95", "_s", "95th percentile of latency", "s"),
    *interval("latency_p99", "_s", "99th percentile of latency", "s"),
    number("within_slo_ratio", "Share of requests that were answered within `slo.latency_s`", "1"),
    number("link_late_ratio", "Share of the emulated network's deliveries 1 ms late", "1"),
    number("link_lost_ratio", "Segments that the emulated network lost, by share", "1"),
    number("link_cpu_s", "CPU time of the emulated network, its start included", "s"),
    number("environment_cpu_s", "CPU time in the window of the environment's neighbour", "s"),
    text("cpu_governor", "Governor of the frequency of the service's CPUs, in an environment"),
    number("cpu_max_frequency_hz", "Highest frequency that the kernel let these have", "Hz"),
    *interval(
        "service_energy", "_j", "Energy above idle attributed to the service in the window", "J"
    ),
    *interval(
        "inference_energy",
        "_j",
        "service_energy_j per answered request; of a video, per frame passed",
        "J",
    ),
    *interval("device_energy", "_j", "Energy of all devices in the window, idle included", "J"),
    number("idle_energy_j", "Idle part of device_energy_j", "J"),
    number("idle_before_w", "Power of all devices in the idle baseline before the load", "W"),
    number("idle_after_w", "Power of all devices in the idle baseline after the load", "W"),
    text("energy_provenance", "Provenance of the energies of this row: the weakest of its parts"),
    text("energy_sources", "Sources and domains the energies were read from"),
    number("service_cpu_s", "CPU time of the service's process group in the window", "s"),
    number("generator_cpu_s", "CPU time of the load generator in the window", "s"),
    number("utilisation_ratio", "Busy share of all CPUs in the window", "1"),
    number("cool_down_s", "Time waited for the machine to cool down; null: nothing tells it", "s"),
    number(
        "temperature_before_c",
        "Temperature of the warmest processor as the window began",
        "°C",
    ),
    number("temperature_after_c", "The same as the window ended", "°C"),
    count("throttled_count", "How often heat slowed cores or packages down in the window"),
    number("gpu_temperature_before_c", "Temperature of the warmest GPU as the window began", "°C"),
    number("gpu_temperature_after_c", "The same as the window ended", "°C"),
    number("gpu_throttled_s", "Time in the window that heat slowed GPUs", "s"),
    number("neighbour_cpu_s", "CPU time in the window of who has no part in the trial", "s"),
    number("steal_cpu_s", "Time in the window that the hypervisor kept from all CPUs", "s"),
    text("service_cpus", "CPUs that the service may use, as `0-3,8`; null: not ours"),
    text("generator_cpus", "CPUs that the load generator may use"),
    number("clock_step_s", "How far the wall clock ran ahead of the monotonic one", "s"),
    text("quality_figure", "Name of the headline quality figure"),
    number("quality_value", "Value of the headline quality figure", "1"),
    text("verdict", "`valid` or `invalid`", required=True),
    text("reasons", "Why the trial is invalid, `name (figures)` separated by `; `"),
)

_REQUEST_COLUMNS: tuple[Column, ...] = (
    count("trial", "Number of the trial", required=True),
    count("request", "Number of the request in the window, from 0", required=True),
    count("sample", "Which sample of the scenario's data was asked", required=True),
    number("intended_s", "Intended send time, from the start of the window", "s"),
    number("sent_s", "Actual send time, from the start of the window", "s"),
    number("latency_s", "From the intended send time to the whole answer; null if none", "s"),
    text("status", "`ok`, or what went wrong", required=True),
    count("batch_served", "Requests the service answered in the same model run"),
    count("exit", "Exit of an early-exit model that the answer came by, from 1"),
    number("confidence", "How sure that exit was of its answer: what decides where to leave", "1"),
)

ENERGY = Table(
    name="energy",
    description="One row per metering interval and energy domain of each trial.",
    columns=(
        count("trial", "Number of the trial", required=True),
        text("phase", "`idle_before`, `warmup`, `window` or `idle_after`", required=True),
        text("source", "Energy source", required=True),
        text("domain", "Energy domain, for instance package-0", required=True),
        number("start_s", "Start of the interval, from the start of the window", "s"),
        number("end_s", "End of the interval, from the start of the window", "s"),
        *interval("energy", "_j", "Energy of the interval; null in a gap", "J"),
        text("provenance", "Provenance of the energy"),
        text("gap", "Why the energy is not known; null when it is"),
    ),
)


def trials_table(quality: Iterable[Column]) -> Table:
    """Return the table of trials with the quality figures of the scenarios at hand."""
    return Table(
        name="trials",
        description="One row per trial: configuration, load, latency, energy, quality, verdict.",
        columns=(*_TRIAL_COLUMNS, *quality),
    )


def requests_table(fields: Iterable[Column]) -> Table:
    """Return the table of requests with the per-request fields of the scenarios at hand."""
    return Table(
        name="requests",
        description="One row per request of a measured window.",
        columns=(*_REQUEST_COLUMNS, *fields),
    )
