"""SYNTHETIC records of a campaign that searched: the made-up services keep up to a known rate.

Which rate is probed next is asked of the search itself; nothing was measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from joulery.campaigns.search import RateSearch, next_rate_hz, probe_of

from .samples import Records, synthetic_records

__all__ = ["SEARCH", "SPEC", "Capacities", "probe_rows", "searched_records"]

SEARCH = RateSearch(lowest_hz=20.0, highest_hz=600.0, resolution_ratio=0.2, retries=1)
SPEC: dict[str, Any] = {
    "search": SEARCH.model_dump(),
    "slo": {"latency_s": 0.02, "percentile": 0.9},
    "networks": [{"preset": "lan"}, {"preset": "4g"}],
}
Capacities = Mapping[tuple[str, str | None], tuple[float | None, ...]]
"""By model and network, for each block: the highest rate kept; `None`: no probe tells anything."""


def probe_rows(capacities: Capacities) -> Iterator[dict[str, Any]]:
    """Yield the rows of all probes; energy per inference is 1 J over the rate."""
    number = 0
    for (model, network), blocks in capacities.items():
        for block, capacity_hz in enumerate(blocks, start=1):
            rows: list[dict[str, Any]] = []
            while True:
                probes = [probe_of(row, SPEC["slo"]["percentile"]) for row in rows]
                rate_hz = next_rate_hz(SEARCH, probes)
                if rate_hz is None:
                    break
                number += 1
                rows.append(_row(number, block, model, network, rate_hz, capacity_hz))
            yield from rows


def _row(
    number: int,
    block: int,
    model: str,
    network: str | None,
    rate_hz: float,
    capacity_hz: float | None,
) -> dict[str, Any]:
    silent = capacity_hz is None
    return {
        "trial": number,
        "attempt": 1,
        "block": block,
        "scenario": "traffic_prediction",
        "configuration": f"model={model} precision=fp32 batch=1 threads=1",
        "model": model,
        "precision": "fp32",
        "batch": 1,
        "threads": 1,
        "network": network,
        "load": f"poisson {rate_hz:g} Hz",
        "arrival": "poisson",
        "rate_hz": rate_hz,
        "within_slo_ratio": 0.95 if silent or rate_hz <= (capacity_hz or 0) else 0.3,
        "inference_energy_j": 1 / rate_hz,
        "verdict": "invalid" if silent else "valid",
        "reasons": "generator_saturated (busy 95 % of the window)" if silent else None,
    }


def searched_records(capacities: Capacities, *, complete: bool = True) -> Records:
    """Return the records of a made-up campaign that searched.

    Args:
        capacities: What its services keep.
        complete: Whether nothing is left to probe.
    """
    made_up = synthetic_records()
    like = made_up.trials.to_pylist()[0]
    rows = [like | {"repeat": row["block"]} | row for row in probe_rows(capacities)]
    tables = [made_up.requests["traffic_prediction"][k] for k in _of_traffic(made_up)]
    numbered = {
        row["trial"]: _numbered(tables[at % len(tables)], row["trial"])
        for at, row in enumerate(rows)
    }
    return dataclasses.replace(
        made_up,
        trials=pa.Table.from_pylist(rows, schema=made_up.trials.schema),
        requests={"traffic_prediction": numbered},
        energy=made_up.energy.slice(0, 0),
        about=dataclasses.replace(
            made_up.about,
            spec=made_up.about.spec | SPEC,
            figures=[f for f in made_up.about.figures if f["scenario"] == "traffic_prediction"],
            complete=complete,
            trials_planned=len(rows) + (not complete),
            trials_done=len(rows),
        ),
    )


def _of_traffic(records: Records) -> list[int]:
    return sorted(records.requests["traffic_prediction"])[:4]


def _numbered(table: pa.Table, number: int) -> pa.Table:
    place = table.schema.get_field_index("trial")
    column = pa.array([number] * table.num_rows, table.schema.field(place).type)
    return table.set_column(place, table.schema.field(place), column)
