"""What a result is: the tables of a dataset, column by column, with units and meanings.

Arrow schemas carry unit and description as field metadata, so that a Parquet file explains itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

__all__ = ["ENERGY", "Column", "Table", "requests_table", "trials_table"]


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
    """One table of a dataset."""

    name: str
    description: str
    columns: tuple[Column, ...]

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


def _text(name: str, description: str, *, required: bool = False) -> Column:
    return Column(name=name, type=pa.string(), description=description, required=required)


def _count(name: str, description: str, *, required: bool = False) -> Column:
    return Column(name=name, type=pa.int64(), description=description, unit="1", required=required)


def _number(name: str, description: str, unit: str) -> Column:
    return Column(name=name, type=pa.float64(), description=description, unit=unit)


def _interval(stem: str, suffix: str, description: str, unit: str) -> tuple[Column, Column, Column]:
    """Return value, low and high of one figure; low and high are its 95 % interval."""
    return (
        _number(f"{stem}{suffix}", description, unit),
        _number(f"{stem}_low{suffix}", f"Lower end of the 95 % interval of {stem}{suffix}", unit),
        _number(f"{stem}_high{suffix}", f"Upper end of the 95 % interval of {stem}{suffix}", unit),
    )


_TRIAL_COLUMNS: tuple[Column, ...] = (
    _count("trial", "Number of the trial in the campaign's order, from 1", required=True),
    _count("attempt", "How often this trial was tried, this time included", required=True),
    _count("block", "Randomised block the trial belongs to, from 1", required=True),
    _count("repeat", "Which repeat of its configuration and load, from 1", required=True),
    _text("scenario", "Scenario", required=True),
    _text("configuration", "Levels of every factor of the service, `name=level`", required=True),
    _text("model", "Model", required=True),
    _text("precision", "Number format of the model's weights and activations", required=True),
    _count("batch", "Most requests the service answers in one model run", required=True),
    _count("threads", "Threads of one model run", required=True),
    _text("load", "Load, for people", required=True),
    _text("arrival", "Arrival process of the load", required=True),
    _number("rate_hz", "Offered requests per second", "Hz"),
    _text("started_at", "Wall time at which the trial began, ISO 8601, UTC; only a label"),
    _number("startup_s", "From starting the service to its readiness", "s"),
    _number("warmup_s", "Time under load before the measured window", "s"),
    _number("window_s", "Duration of the measured window", "s"),
    _count("requests_sent", "Requests whose intended time lies in the measured window"),
    _count("requests_answered", "Requests of the window that were answered"),
    _count("requests_failed", "Requests of the window that failed or timed out"),
    _number("throughput_hz", "Answered requests per second of the window", "Hz"),
    _number("send_lag_p99_s", "99th percentile of actual minus intended send time", "s"),
    _number("latency_mean_s", "Mean latency from the intended send time", "s"),
    *_interval("latency_p50", "_s", "Median latency from the intended send time", "s"),
    *_interval("latency_p90", "_s", "90th percentile of latency", "s"),
    *_interval("latency_p95", "_s", "95th percentile of latency", "s"),
    *_interval("latency_p99", "_s", "99th percentile of latency", "s"),
    *_interval(
        "service_energy", "_j", "Energy above idle attributed to the service in the window", "J"
    ),
    *_interval("inference_energy", "_j", "service_energy_j per answered request", "J"),
    *_interval("device_energy", "_j", "Energy of all devices in the window, idle included", "J"),
    _number("idle_energy_j", "Idle part of device_energy_j", "J"),
    _number("idle_before_w", "Power of all devices in the idle baseline before the load", "W"),
    _number("idle_after_w", "Power of all devices in the idle baseline after the load", "W"),
    _text("energy_provenance", "Provenance of the energies of this row: the weakest of its parts"),
    _text("energy_sources", "Sources and domains the energies were read from"),
    _number("service_cpu_s", "CPU time of the service's process group in the window", "s"),
    _number("generator_cpu_s", "CPU time of the load generator in the window", "s"),
    _number("utilisation_ratio", "Busy share of all CPUs in the window", "1"),
    _text("quality_figure", "Name of the headline quality figure"),
    _number("quality_value", "Value of the headline quality figure", "1"),
    _text("verdict", "`valid` or `invalid`", required=True),
    _text("reasons", "Why the trial is invalid, `name (figures)` separated by `; `"),
)

_REQUEST_COLUMNS: tuple[Column, ...] = (
    _count("trial", "Number of the trial", required=True),
    _count("request", "Number of the request in the window, from 0", required=True),
    _count("sample", "Which sample of the scenario's data was asked", required=True),
    _number("intended_s", "Intended send time, from the start of the window", "s"),
    _number("sent_s", "Actual send time, from the start of the window", "s"),
    _number("latency_s", "From the intended send time to the whole answer; null if none", "s"),
    _text("status", "`ok`, or what went wrong", required=True),
    _count("batch_served", "Requests the service answered in the same model run"),
)

ENERGY = Table(
    name="energy",
    description="One row per metering interval and energy domain of each trial.",
    columns=(
        _count("trial", "Number of the trial", required=True),
        _text("phase", "`idle_before`, `warmup`, `window` or `idle_after`", required=True),
        _text("source", "Energy source", required=True),
        _text("domain", "Energy domain, for instance package-0", required=True),
        _number("start_s", "Start of the interval, from the start of the window", "s"),
        _number("end_s", "End of the interval, from the start of the window", "s"),
        *_interval("energy", "_j", "Energy of the interval; null in a gap", "J"),
        _text("provenance", "Provenance of the energy"),
        _text("gap", "Why the energy is not known; null when it is"),
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
