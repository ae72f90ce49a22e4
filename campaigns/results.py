"""From the journal to a dataset: rows become tables, tables become a folder that appears whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..datasets.schema import ENERGY, Column, Table, requests_table, trials_table
from ..datasets.store import About, write_dataset
from .journal import Journal
from .scenarios.base import Scenario

__all__ = ["rows_to_table", "scenario_requests_table", "write_results"]


def rows_to_table(rows: Sequence[Mapping[str, Any]], table: Table) -> pa.Table:
    """Return rows as an Arrow table; a key the table does not know is a programming error."""
    known = {column.name for column in table.columns}
    for row in rows:
        if unknown := row.keys() - known:
            raise KeyError(f"table {table.name} has no column {sorted(unknown)}")
    return pa.Table.from_pylist([dict(row) for row in rows], schema=table.arrow_schema())


def scenario_requests_table(scenario: Scenario) -> Table:
    """Return the table of requests of one scenario."""
    return requests_table(
        Column(name=field.name, type=pa.float64(), description=field.description, unit=field.unit)
        for field in scenario.request_fields
    )


def write_results(
    journal: Journal,
    folder: Path,
    *,
    scenarios: Iterable[Scenario],
    about: About,
    environment: Mapping[str, object],
    finish: Callable[[Path], object],
) -> None:
    """Write the dataset of everything the journal holds.

    Args:
        journal: Finished trials.
        folder: Final name of the dataset; appears whole, or not at all.
        scenarios: The scenarios of the campaign.
        about: What the dataset says of itself.
        environment: What it was measured on.
        finish: Called with the folder before it takes its final name, to add the report.
    """
    rows = list(journal.trials().values())
    figures = {
        figure.name: Column(
            name=figure.name, type=pa.float64(), description=figure.description, unit=figure.unit
        )
        for scenario in scenarios
        for figure in scenario.figures
    }
    requests: dict[str, dict[int, pa.Table]] = {}
    for row in rows:
        part = pq.read_table(journal.part("requests", row["trial"]))
        requests.setdefault(row["scenario"], {})[row["trial"]] = part
    energy = [pq.read_table(journal.part("energy", row["trial"])) for row in rows]
    write_dataset(
        folder,
        trials=rows_to_table(rows, trials_table(figures.values())),
        requests=requests,
        energy=pa.concat_tables([ENERGY.arrow_schema().empty_table(), *energy]),
        environment=environment,
        about=about,
        replace=True,
        finish=finish,
    )
