"""SYNTHETIC records of a campaign, for tests of what comes after measuring.

Nothing here was measured: service times, watts and errors are made up, in plausible sizes. Only
the queue is worked out (a Poisson stream before one batching server), so that latency, batch and
load hang together as they do in a real trial.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from joulery.datasets.schema import ENERGY, Column, requests_table, trials_table
from joulery.datasets.store import About, write_dataset

__all__ = ["Records", "synthetic_records", "write_synthetic"]


def _figure(scenario: str, name: str, title: str, better: str) -> dict[str, Any]:
    return {
        "scenario": scenario,
        "name": name,
        "title": title,
        "description": f"{title}; synthetic",
        "better": better,
        "unit": "1",
    }


_TRAFFIC, _ANOMALY = "traffic_prediction", "anomaly_detection"
FIGURES = [
    _figure(_TRAFFIC, "mase_h12", "MASE, one hour ahead", "lower"),
    _figure(_TRAFFIC, "mase_h1", "MASE, five minutes ahead", "lower"),
    _figure(_TRAFFIC, "mae_h12", "MAE, one hour ahead", "lower"),
    _figure(_TRAFFIC, "mae_h1", "MAE, five minutes ahead", "lower"),
    _figure(_TRAFFIC, "mase_naive_h1", "MASE of the naive forecast, 5 min", "lower"),
    _figure(_TRAFFIC, "mase_naive_h12", "MASE of the naive forecast, 1 h", "lower"),
    _figure(_TRAFFIC, "mase_seasonal_naive_h1", "MASE of the seasonal naive, 5 min", "lower"),
    _figure(_TRAFFIC, "mase_seasonal_naive_h12", "MASE of the seasonal naive, 1 h", "lower"),
    _figure(_ANOMALY, "pr_auc", "PR-AUC", "higher"),
    _figure(_ANOMALY, "event_f1", "Event F1", "higher"),
    _figure(_ANOMALY, "event_precision", "Event precision", "higher"),
    _figure(_ANOMALY, "event_recall", "Event recall", "higher"),
    _figure(_ANOMALY, "alarm_rate", "Share of samples alarmed", "lower"),
]
# scenario, model, precision, service time of one request in s, skill (0 poor to 1 good)
_MODELS = [
    (_TRAFFIC, "seasonal_naive", "fp32", 0.00025, 0.10),
    (_TRAFFIC, "ridge", "fp32", 0.00030, 0.70),
    (_TRAFFIC, "mlp", "fp32", 0.00045, 0.78),
    (_TRAFFIC, "mlp", "int8", 0.00034, 0.72),
    (_TRAFFIC, "rocket", "fp32", 0.00230, 0.88),
    (_TRAFFIC, "rocket", "int8", 0.00150, 0.86),
    (_ANOMALY, "seasonal_zscore", "fp32", 0.00024, 0.45),
    (_ANOMALY, "isolation_forest", "fp32", 0.00130, 0.55),
    (_ANOMALY, "autoencoder", "fp32", 0.00060, 0.80),
    (_ANOMALY, "autoencoder", "int8", 0.00042, 0.74),
]
_FIELDS = {_TRAFFIC: ("abs_error_h1", "abs_error_h12"), _ANOMALY: ("score", "label", "alarm")}
_SAMPLES = 2016
_SCALE = 4.0  # what a MASE divides a MAE by


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """The arguments of `write_dataset`, but for the folder."""

    trials: pa.Table
    requests: dict[str, dict[int, pa.Table]]
    energy: pa.Table
    environment: Mapping[str, object]
    about: About


def _queue(
    rng: np.random.Generator, rate_hz: float, window_s: float, batch: int, service_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return intended times, latencies and served batch sizes of a Poisson stream."""
    count = int(rng.poisson(rate_hz * window_s))
    arrival = np.sort(rng.uniform(0.0, window_s, count))
    done, served, free, index = np.empty(count), np.empty(count, dtype=np.int64), 0.0, 0
    while index < count:
        wait = arrival[index] + (0.002 if batch > 1 else 0.0)
        begin = max(free, wait)
        size = max(1, int(np.searchsorted(arrival[index : index + batch], begin, side="right")))
        cost = 0.0006 + service_s * (0.4 + 0.6 * size) * rng.lognormal(0.0, 0.15)
        free = begin + cost
        done[index : index + size], served[index : index + size] = free, size
        index += size
    return arrival, done - arrival, served


def _answers(
    scenario: str, model: str, precision: str, skill: float, sample: NDArray[np.int64]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, float]]:
    """Return per-request fields and figures; the same sample always gets the same answer."""
    seed = zlib.crc32(f"{scenario}{model}".encode())
    noise = np.random.default_rng(seed).exponential(1.0, (2, _SAMPLES))
    noise *= 1.0 + 0.03 * (precision == "int8")
    if scenario == _TRAFFIC:
        h1, h12 = noise[0] * (4.6 - 2.0 * skill), noise[1] * (9.0 - 5.0 * skill)
        per_request = {"abs_error_h1": h1[sample], "abs_error_h12": h12[sample]}
        mae = {h: float(per_request[f"abs_error_{h}"].mean()) for h in ("h1", "h12")}
        figures = {f"mae_{h}": value for h, value in mae.items()}
        figures |= {f"mase_{h}": value / _SCALE for h, value in mae.items()}
        figures |= {"mase_naive_h1": 1.0, "mase_naive_h12": 2.1}
        return per_request, figures | {
            "mase_seasonal_naive_h1": 1.2,
            "mase_seasonal_naive_h12": 1.9,
        }
    label = (np.arange(_SAMPLES) % 126 < 14).astype(float)
    score = noise[0] + 4.0 * skill * label * noise[1]
    alarm = (score > 2.5).astype(float)
    per_request = {"score": score[sample], "label": label[sample], "alarm": alarm[sample]}
    figures = {"pr_auc": 0.15 + 0.8 * skill, "event_f1": 0.2 + 0.7 * skill}
    figures |= {"event_precision": 0.1 + 0.8 * skill, "event_recall": 0.3 + 0.6 * skill}
    return per_request, figures | {"alarm_rate": float(per_request["alarm"].mean())}


def _interval(stem: str, suffix: str, value: float, ratio: float) -> dict[str, float]:
    return {
        f"{stem}{suffix}": value,
        f"{stem}_low{suffix}": value * (1 - ratio),
        f"{stem}_high{suffix}": value * (1 + ratio),
    }


def _intervals(
    latency: NDArray[np.float64], energy_j: float, count: int, window_s: float, widths: float
) -> dict[str, float]:
    """Return the columns of a trial's row that have an interval."""
    row: dict[str, float] = {}
    for name, part in (("p50", 50), ("p90", 90), ("p95", 95), ("p99", 99)):
        value = float(np.percentile(latency, part))
        row |= _interval(f"latency_{name}", "_s", value, 0.1)
    row |= _interval("service_energy", "_j", energy_j, widths)
    row |= _interval("inference_energy", "_j", energy_j / count, widths)
    row |= _interval("device_energy", "_j", energy_j + 30.0 * window_s, widths)
    return row


def _cells(seed: int, repeats: int) -> Iterator[tuple[int, tuple[Any, ...], int, float]]:
    """Yield block, model row, batch and rate, each block in its own order."""
    cells = list(product(_MODELS, (1, 8), (120.0, 360.0)))
    for block in range(1, repeats + 1):
        for index in np.random.default_rng((seed, block)).permutation(len(cells)):
            model, batch, rate_hz = cells[index]
            yield block, model, batch, rate_hz


def _requests(
    number: int,
    sample: NDArray[np.int64],
    queue: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]],
    fields: Mapping[str, NDArray[np.float64]],
) -> pa.Table:
    """Return the rows of the requests of one trial."""
    intended, latency, served = queue
    count = len(intended)
    columns = [Column(name=name, type=pa.float64(), description=name) for name in fields]
    return pa.table(
        {
            "trial": np.full(count, number),
            "request": np.arange(count),
            "sample": sample,
            "intended_s": intended,
            "sent_s": intended + 0.0002,
            "latency_s": latency,
            "status": ["ok"] * count,
            "batch_served": served,
            "exit": [None] * count,
            "confidence": [None] * count,
        }
        | dict(fields),
        schema=requests_table(columns).arrow_schema(),
    )


def _trial(
    number: int,
    cell: tuple[int, tuple[Any, ...], int, float],
    rng: np.random.Generator,
    provenance: str,
) -> tuple[dict[str, Any], pa.Table, list[dict[str, Any]]]:
    """Return the row of one trial, its requests and its rows of energy."""
    block, (scenario, model, precision, service_s, skill), batch, rate_hz = cell
    window_s = 2.0
    intended, latency, served = _queue(rng, rate_hz, window_s, batch, service_s)
    count = len(intended)
    sample = (np.arange(count, dtype=np.int64) + 997 * block) % _SAMPLES
    fields, figures = _answers(scenario, model, precision, skill, sample)
    table = _requests(number, sample, (intended, latency, served), fields)
    busy_s = float((0.0006 / served + service_s * (0.4 / served + 0.6)).sum())
    energy_j = 14.0 * busy_s * rng.lognormal(0.0, 0.04)
    widths = 0.3 if provenance == "estimated" else 0.02
    lag_s = 0.0122 if number % 23 == 5 else 0.0006
    row: dict[str, Any] = {
        "trial": number,
        "attempt": 1,
        "block": block,
        "repeat": block,
        "scenario": scenario,
        "configuration": f"model={model} precision={precision} batch={batch} threads=1",
        "model": model,
        "precision": precision,
        "batch": batch,
        "threads": 1,
        "load": f"poisson {rate_hz:g} Hz",
        "arrival": "poisson",
        "rate_hz": rate_hz,
        "started_at": f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}Z",
        "window_s": window_s,
        "requests_sent": count,
        "requests_answered": count,
        "requests_failed": 0,
        "throughput_hz": count / window_s,
        "send_lag_p99_s": lag_s,
        "latency_mean_s": float(latency.mean()),
        "idle_energy_j": 30.0 * window_s,
        "idle_before_w": 30.0,
        "idle_after_w": 30.2,
        "energy_provenance": provenance,
        "energy_sources": "synthetic: package-0",
        "service_cpu_s": busy_s,
        "generator_cpu_s": 0.3,
        "utilisation_ratio": min(1.0, busy_s / window_s / 2 + 0.1),
        "quality_figure": "mase_h12" if scenario == _TRAFFIC else "pr_auc",
        "quality_value": figures["mase_h12" if scenario == _TRAFFIC else "pr_auc"],
        "verdict": "invalid" if lag_s > 0.005 else "valid",
        "reasons": "send_lag (p99 12.2 ms > 5 ms)" if lag_s > 0.005 else None,
    } | figures
    row |= _intervals(latency, energy_j, count, window_s, widths)
    energy = [
        {"trial": number, "source": "synthetic", "domain": "package-0", "phase": "window"}
        | {"start_s": 0.5 * k, "end_s": 0.5 * (k + 1), "provenance": provenance}
        | _interval("energy", "_j", (energy_j + 60.0) / 4, widths)
        for k in range(4)
    ]
    return row, table, energy


def _models(scenario: str) -> list[str]:
    return list(dict.fromkeys(model for name, model, *_ in _MODELS if name == scenario))


def synthetic_records(
    *, seed: int = 1, repeats: int = 2, done: int | None = None, provenance: str = "estimated"
) -> Records:
    """Return the records of a made-up campaign.

    Args:
        seed: Everything random follows from it.
        repeats: How often every cell is there.
        done: Stop after that many trials, as an interrupted campaign does.
        provenance: What every energy says of itself.
    """
    cells = list(_cells(seed, repeats))
    rows, energy = [], []
    requests: dict[str, dict[int, pa.Table]] = {}
    for number, cell in enumerate(cells[:done], start=1):
        rng = np.random.default_rng((seed, number))
        row, table, intervals = _trial(number, cell, rng, provenance)
        rows.append(row)
        energy += intervals
        requests.setdefault(row["scenario"], {})[number] = table
    quality = [
        Column(
            name=figure["name"],
            type=pa.float64(),
            description=figure["description"],
            unit=figure["unit"],
        )
        for figure in FIGURES
    ]
    return Records(
        trials=pa.Table.from_pylist(rows, schema=trials_table(quality).arrow_schema()),
        requests=requests,
        energy=pa.Table.from_pylist(energy, schema=ENERGY.arrow_schema()),
        environment={
            "hardware": {"cpu": "Synthetic CPU", "logical_cpus": 2, "memory_bytes": 8 * 2**30},
            "system": {"kernel": "6.1.0", "governor": None, "clock": "CLOCK_MONOTONIC"},
            "packages": {"joulery": "0.1.0", "numpy": "2.0"},
            "git": {"commit": "0" * 40, "dirty": False},
        },
        about=About(
            name="synthetic",
            title="Synthetic campaign (nothing was measured)",
            description="Made-up records that test what comes after measuring.",
            complete=len(rows) == len(cells),
            trials_planned=len(cells),
            trials_done=len(rows),
            spec={
                "name": "synthetic",
                "seed": seed,
                "slo": {"latency_s": 0.02, "percentile": 0.95},
                "scenarios": [
                    {"scenario": name, "factors": {"model": _models(name), "batch": [1, 8]}}
                    for name in (_TRAFFIC, _ANOMALY)
                ],
            },
            figures=FIGURES,
            data_sources=[
                {"scenario": name, "source": "made up", "licence": "none", "sha256": "0" * 64}
                for name in (_TRAFFIC, _ANOMALY)
            ],
            created="2026-01-01T00:00:00Z",
            version="0.1.0",
        ),
    )


def write_synthetic(folder: Path, records: Records | None = None, **options: Any) -> Records:
    """Write a made-up dataset and return its records."""
    records = records or synthetic_records()
    write_dataset(
        folder,
        trials=records.trials,
        requests=records.requests,
        energy=records.energy,
        environment=records.environment,
        about=records.about,
        **options,
    )
    return records
