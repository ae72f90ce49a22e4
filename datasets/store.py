"""Datasets on disk: written whole or not at all, read back lazily.

A dataset is one folder: the tables in Parquet, each with a CSV twin, and what explains them.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
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
from .metadata import DESCRIPTOR, About, data_card, data_package, file_facts
from .schema import ENERGY, Table, requests_table, trials_table

__all__ = [
    "MANIFEST",
    "About",
    "Dataset",
    "check_target",
    "load",
    "read_manifest",
    "update_manifest",
    "write_dataset",
]

MANIFEST = "SHA256SUMS"


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
        return _read(self.folder / "trials.parquet")

    @cached_property
    def energy(self) -> pd.DataFrame:
        """One row per metering interval and energy domain of each trial; see `schema.ENERGY`."""
        return _read(self.folder / "energy.parquet")

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
        return _read(self.folder / "requests" / f"scenario={scenario}")


def _read(path: Path) -> pd.DataFrame:
    try:
        # Folders above are named by the user: none of them is a partition of the table.
        table = pa.dataset.dataset(path, format="parquet", partitioning=None).to_table()
        frame: pd.DataFrame = table.to_pandas()
        return frame
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(str(path), found=str(error), expected="a Parquet table") from None


def load(folder: Path) -> Dataset:
    """Open a dataset; only its descriptor is read at once.

    Raises:
        DatasetError: When the folder is not there, or is not a dataset of joulery.
    """
    descriptor = folder / DESCRIPTOR
    try:
        text = descriptor.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        missing = "no such folder" if not folder.is_dir() else f"no {DESCRIPTOR} in it"
        raise DatasetError(
            str(folder),
            found=missing if isinstance(error, FileNotFoundError) else str(error),
            expected="a dataset that `joulery run` wrote",
        ) from None
    return Dataset(folder, About.from_descriptor(text, str(descriptor)))


def check_target(folder: Path, *, replace: bool = False) -> None:
    """See that a dataset may be written to a folder; call it before hours of measuring.

    A folder that is not there, or is empty, is free. One that holds a dataset and nothing else
    is free when `replace` is set; what joulery did not write it never deletes.

    Raises:
        DatasetError: When the folder is not free.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise DatasetError(str(folder), found="a file", expected="a folder, or nothing")
    files = _files(folder)
    if not files:
        return
    foreign = sorted(set(files) - set(read_manifest(folder)) - {MANIFEST})
    if foreign:
        raise DatasetError(
            str(folder),
            found=f"{foreign[0]}, which belongs to no dataset",
            expected="a new folder, or one that holds a dataset alone",
            remedy="choose another folder, or move the file away",
        )
    if not replace:
        raise DatasetError(
            str(folder),
            found="a dataset",
            expected="a new folder",
            remedy="choose another folder, or replace this one (--force)",
        )


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
    folder.parent.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=".partial", dir=folder.parent))
    try:
        new = hidden / "new"
        new.mkdir()
        _fill(new, trials, requests, energy, environment, about)
        if finish is not None:
            finish(new)
        update_manifest(new, _files(new))
        for path in (*new.rglob("*"), new):
            _to_disk(path)
        check_target(folder, replace=replace)
        _put(new, folder, hidden / "old")
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _put(new: Path, folder: Path, old: Path) -> None:
    """Rename `new` to `folder`, whose former content goes to `old`, and back if that fails."""
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    _to_disk(folder.parent)


def _fill(
    folder: Path,
    trials: pa.Table,
    requests: Mapping[str, Mapping[int, pa.Table]],
    energy: pa.Table,
    environment: Mapping[str, object],
    about: About,
) -> None:
    """Write all but the manifest."""
    schemas: dict[str, pa.Schema] = {}
    cards: dict[str, tuple[str, pa.Schema]] = {}
    for name, table in (("trials", trials), ("energy", energy)):
        _write_parquet(table, folder / f"{name}.parquet")
        _write_csv([table], folder / f"{name}.csv")
        schemas[f"{name}.csv"] = table.schema
        cards[name] = (f"`{name}.parquet`, `{name}.csv`", table.schema)
    for scenario, tables in sorted(requests.items()):
        if not tables:
            continue
        stem = f"requests/scenario={scenario}"
        (folder / stem).mkdir(parents=True)
        ordered = [tables[trial] for trial in sorted(tables)]
        for trial, table in tables.items():
            _write_parquet(table, folder / stem / f"trial-{trial:04d}.parquet")
        _write_csv(ordered, folder / f"{stem}.csv")
        schemas[f"{stem}.csv"] = ordered[0].schema
        cards[f"requests of {scenario}"] = (
            f"`{stem}/trial-*.parquet`, `{stem}.csv`",
            ordered[0].schema,
        )
    _write_text(
        folder / "environment.json",
        json.dumps(environment, indent=1, sort_keys=True, ensure_ascii=False) + "\n",
    )
    _write_text(folder / DESCRIPTOR, data_package(folder, _files(folder), schemas, about))
    provenances = pc.unique(trials["energy_provenance"]).drop_null().to_pylist()
    _write_text(folder / "README.md", data_card(about, cards, sorted(provenances)))


def _check(table: pa.Table, expected: Table) -> None:
    """Refuse a table that lacks a column, or has null where a value is due, or is not finite."""
    for column in expected.columns:
        place = f"column {column.name}"
        if column.name not in table.column_names:
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


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _files(folder: Path) -> list[str]:
    """Return every file below a folder, relative to it, sorted."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()
    )


def _to_disk(path: Path) -> None:
    """Wait until a file or folder has reached the disk: a rename must not overtake its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_manifest(folder: Path) -> dict[str, str]:
    """Return SHA-256 by relative path from the folder's manifest; empty without one.

    Raises:
        DatasetError: When a line of it cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    sums: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        digest, separator, name = line.partition("  ")
        if not separator or len(digest) != 64:
            raise DatasetError(
                str(path),
                place=f"line {number}",
                found=repr(line),
                expected="a SHA-256, two spaces, a path",
            )
        sums[name] = digest
    return sums


def update_manifest(folder: Path, paths: Iterable[str]) -> None:
    """Enter files of a dataset in its manifest, again or for the first time; leave the others."""
    sums = read_manifest(folder)
    sums |= {path: file_facts(folder / path)[1] for path in paths if path != MANIFEST}
    lines = [f"{digest}  {path}\n" for path, digest in sorted(sums.items())]
    fresh = folder / f".{MANIFEST}.new"
    _write_text(fresh, "".join(lines))
    fresh.replace(folder / MANIFEST)
