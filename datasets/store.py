"""Datasets on disk: written whole or not at all, read back lazily.

A dataset is one folder: the tables in Parquet, each with a CSV twin, and what explains them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet as pq

from ..errors import DatasetError
from .card import campaign_card, data_card
from .folder import (
    MANIFEST,
    check_target,
    files,
    read_manifest,
    update_manifest,
    write_text,
    write_whole,
)
from .metadata import CAMPAIGN, DESCRIPTOR, About, Origin, data_package
from .schema import ENERGY, Table, requests_table, trials_table

__all__ = [
    "MANIFEST",
    "About",
    "Dataset",
    "Origin",
    "check_target",
    "load",
    "read_manifest",
    "read_origin",
    "read_table",
    "update_manifest",
    "write_dataset",
    "write_tables",
]


class Dataset:
    """A dataset on disk; its tables are read when they are asked for.

    Attributes:
        folder: Where it is.
        about: What it is about.
    """

    def __init__(self, folder: Path, about: About) -> None:
        self.folder = folder
        self.about = about

    @cached_property
    def environment(self) -> dict[str, Any]:
        """The machine and the software the campaign ran on."""
        path = self.folder / "environment.json"
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DatasetError(str(path), found=str(error), expected="a JSON object") from None
        return found

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per trial; see `schema.trials_table`."""
        return read_table(self.folder / "trials.parquet")

    @cached_property
    def energy(self) -> pd.DataFrame:
        """One row per metering interval and energy domain of each trial; see `schema.ENERGY`."""
        return read_table(self.folder / "energy.parquet")

    @cached_property
    def scenarios(self) -> tuple[str, ...]:
        """Names of the scenarios that have requests, in alphabetic order."""
        folders = (self.folder / "requests").glob("scenario=*/")
        return tuple(sorted(path.name.removeprefix("scenario=") for path in folders))

    def requests(self, scenario: str) -> pd.DataFrame:
        """Return one row per request of a scenario; see `schema.requests_table`.

        Raises:
            DatasetError: When the dataset has no requests of that scenario.
        """
        if scenario not in self.scenarios:
            raise DatasetError(
                str(self.folder),
                place=f"requests/scenario={scenario}",
                found="no such scenario",
                expected=f"one of {', '.join(self.scenarios) or 'none'}",
            )
        return read_table(self.folder / "requests" / f"scenario={scenario}")


def read_table(path: Path) -> pd.DataFrame:
    """Return a table from its Parquet file, or from a folder of such files.

    Raises:
        DatasetError: When it is not there or cannot be read.
    """
    try:
        # Folders above are named by the user: none of them is a partition of the table.
        table = pa.dataset.dataset(path, format="parquet", partitioning=None).to_table()
        frame: pd.DataFrame = table.to_pandas()
        return frame
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(str(path), found=str(error), expected="a Parquet table") from None


def read_origin(folder: Path) -> Origin:
    """Return what a dataset of any kind says of itself.

    Raises:
        DatasetError: When the folder is not there, or is not a dataset of joulery.
    """
    return Origin.from_descriptor(_descriptor(folder), str(folder / DESCRIPTOR))


def _descriptor(folder: Path) -> str:
    try:
        return (folder / DESCRIPTOR).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        missing = "no such folder" if not folder.is_dir() else f"no {DESCRIPTOR} in it"
        raise DatasetError(
            str(folder),
            found=missing if isinstance(error, FileNotFoundError) else str(error),
            expected="a dataset that joulery wrote",
        ) from None


def load(folder: Path) -> Dataset:
    """Open the dataset of a campaign; only its descriptor is read at once.

    Raises:
        DatasetError: When the folder is not there, or is not the dataset of a campaign.
    """
    kind = read_origin(folder).kind
    if kind != CAMPAIGN:
        raise DatasetError(
            str(folder), found=f"a dataset of kind {kind}", expected=f"one of kind {CAMPAIGN}"
        )
    return Dataset(folder, About.from_descriptor(_descriptor(folder), str(folder / DESCRIPTOR)))


def write_dataset(
    folder: Path,
    *,
    trials: pa.Table,
    requests: Mapping[str, Mapping[int, pa.Table]],
    energy: pa.Table,
    environment: Mapping[str, object],
    about: About,
    replace: bool = False,
    finish: Callable[[Path], object] | None = None,
) -> None:
    """Write a dataset: under its final name it is whole, or it is not there.

    Everything goes to a hidden folder beside the final one, which is renamed at the end. The same
    records give the same bytes. A process that is killed leaves only the hidden folder behind.

    Args:
        folder: The final name; its parents are made.
        trials: Rows of `schema.trials_table`.
        requests: Rows of `schema.requests_table` by scenario and trial number.
        energy: Rows of `schema.ENERGY`.
        environment: The machine and its software; written as JSON.
        about: What the dataset is about.
        replace: Whether a dataset that is there already gives way; see `check_target`.
        finish: Called with the hidden folder when all but the manifest is in it (`load` works on
            it); what it writes there becomes part of the dataset.

    Raises:
        DatasetError: When the folder is not free, or a table breaks its schema.
        OSError: When the disk is full or may not be written; nothing is left behind.
    """
    check_target(folder, replace=replace)
    _check(trials, trials_table(()))
    _check(energy, ENERGY)
    for tables in requests.values():
        for table in tables.values():
            _check(table, requests_table(()))

    def fill(new: Path) -> None:
        written = [_write_table(new, trials_table(()), trials), _write_table(new, ENERGY, energy)]
        written += [_write_requests(new, name, of) for name, of in sorted(requests.items()) if of]
        explained = _explain(new, written, environment, about)
        provenances = pc.unique(trials["energy_provenance"]).drop_null().to_pylist()
        write_text(new / "README.md", campaign_card(about, explained, sorted(provenances)))

    write_whole(folder, fill, replace=replace, finish=finish)


def write_tables(
    folder: Path,
    tables: Iterable[tuple[Table, pa.Table]],
    *,
    environment: Mapping[str, object],
    about: Origin,
    state: str,
    chapters: Iterable[str],
    replace: bool = False,
    finish: Callable[[Path], object] | None = None,
) -> None:
    """Write a dataset of any declared tables: whole, or not at all; see `write_dataset`.

    Args:
        folder: The final name; its parents are made.
        tables: Each table as it is declared, and its rows.
        environment: The machine and its software; written as JSON.
        about: What the dataset is about.
        state: See `card.data_card`.
        chapters: See `card.data_card`.
        replace: Whether a dataset that is there already gives way; see `check_target`.
        finish: See `write_dataset`.

    Raises:
        DatasetError: When the folder is not free, or a table breaks its schema.
        OSError: When the disk is full or may not be written; nothing is left behind.
    """
    several = list(tables)
    for declared, rows in several:
        _check(rows, declared)

    def fill(new: Path) -> None:
        written = [_write_table(new, declared, rows) for declared, rows in several]
        explained = _explain(new, written, environment, about)
        card = data_card(about, explained, state=state, chapters=chapters)
        write_text(new / "README.md", card)

    write_whole(folder, fill, replace=replace, finish=finish)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """A table that was written: its title, its files (the last may be CSV) and its schema."""

    title: str
    paths: tuple[str, ...]
    schema: pa.Schema


def _write_table(folder: Path, declared: Table, rows: pa.Table) -> _Written:
    """Write one table, and its CSV twin if it is declared to have one."""
    paths = (f"{declared.name}.parquet", *([f"{declared.name}.csv"] if declared.twin else []))
    _write_parquet(rows, folder / paths[0])
    if declared.twin:
        _write_csv([rows], folder / paths[1])
    return _Written(title=declared.name, paths=paths, schema=rows.schema)


def _write_requests(folder: Path, scenario: str, tables: Mapping[int, pa.Table]) -> _Written:
    """Write the requests of a scenario: a file for each trial, and one CSV of them all."""
    stem = f"requests/scenario={scenario}"
    (folder / stem).mkdir(parents=True)
    ordered = [tables[trial] for trial in sorted(tables)]
    for trial, table in tables.items():
        _write_parquet(table, folder / stem / f"trial-{trial:04d}.parquet")
    _write_csv(ordered, folder / f"{stem}.csv")
    return _Written(
        title=f"requests of {scenario}",
        paths=(f"{stem}/trial-*.parquet", f"{stem}.csv"),
        schema=ordered[0].schema,
    )


def _explain(
    folder: Path, tables: Sequence[_Written], environment: Mapping[str, object], about: Origin
) -> dict[str, tuple[str, pa.Schema]]:
    """Write environment and descriptor beside the tables; return what the card says of them."""
    write_text(
        folder / "environment.json",
        json.dumps(environment, indent=1, sort_keys=True, ensure_ascii=False) + "\n",
    )
    schemas = {one.paths[-1]: one.schema for one in tables if one.paths[-1].endswith(".csv")}
    write_text(folder / DESCRIPTOR, data_package(folder, files(folder), schemas, about))
    return {one.title: (", ".join(f"`{p}`" for p in one.paths), one.schema) for one in tables}


def _check(table: pa.Table, expected: Table) -> None:
    """Refuse a table that lacks a column, or has null where a value is due, or is not finite."""
    for column in expected.columns:
        place = f"column {column.name}"
        if column.name not in table.column_names:
            if not column.required:  # a dataset older than the column
                continue
            raise DatasetError(expected.name, place=place, found="nothing", expected="a column")
        found = table.schema.field(column.name)
        if found.type != column.type:
            raise DatasetError(
                expected.name, place=place, found=str(found.type), expected=str(column.type)
            )
        if column.required and table[column.name].null_count:
            raise DatasetError(expected.name, place=place, found="null", expected="a value")
    for name, values in zip(table.column_names, table.columns, strict=True):
        # `False` only when a value is there and not finite; nulls alone give `None`.
        if pa.types.is_floating(values.type) and pc.all(pc.is_finite(values)).as_py() is False:
            raise DatasetError(
                expected.name,
                place=f"column {name}",
                found="a number that is not finite",
                expected="a finite number, or null for one that is missing",
            )


def _write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd")


def _write_csv(tables: list[pa.Table], path: Path) -> None:
    with pa.csv.CSVWriter(path, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
