"""Is a dataset what it says it is? Checks and facts; nothing is repaired here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from frictionless import FrictionlessException, Package

from ..errors import DatasetError
from .folder import MANIFEST, files, read_manifest
from .metadata import DESCRIPTOR, ENERGY_VALIDATION, Origin, file_facts
from .schema import ENERGY, Table, requests_table, trials_table
from .store import load, read_origin, read_table
from .validation import NODES, SUMMARY, TABLES

__all__ = ["describe", "verify"]


def verify(folder: Path) -> list[DatasetError]:
    """Return every problem of a dataset; none means that it is whole and unchanged.

    Missing, changed and unlisted files, Parquet tables that break the schema, and whatever
    Frictionless finds in the descriptor and the CSV tables.

    Raises:
        DatasetError: When the folder is not a dataset at all.
    """
    origin = read_origin(folder)
    problems = [*_files(folder), *_schemas(folder, origin)]
    # A changed file fails Frictionless too; one message about it is enough.
    known = {problem.place for problem in problems}
    problems += [problem for problem in _frictionless(folder) if problem.place not in known]
    return problems


def describe(folder: Path) -> dict[str, str]:
    """Return what a dataset holds, as label and text, for printing.

    Raises:
        DatasetError: When the folder is not a dataset.
    """
    origin = read_origin(folder)
    sizes = [(folder / path).stat().st_size for path in read_manifest(folder)]
    facts = {
        "kind": origin.kind,
        "name": origin.name,
        "title": origin.title,
        "state": "complete" if origin.complete else "PARTIAL",
        "created": f"{origin.created}, joulery {origin.version}",
        "files": f"{len(sizes)}, {sum(sizes) / 1e6:.1f} MB",
    }
    held = _validation(folder) if origin.kind == ENERGY_VALIDATION else _campaign(folder)
    return facts | held


def _campaign(folder: Path) -> dict[str, str]:
    """Return what the dataset of a campaign holds."""
    dataset = load(folder)
    about, trials = dataset.about, dataset.trials
    valid = int((trials["verdict"] == "valid").sum())
    provenances = sorted(trials["energy_provenance"].dropna().unique())
    facts = {
        "trials": f"{about.trials_done} of {about.trials_planned} done, {valid} valid",
        "energy": ", ".join(provenances) or "unknown",
    }
    for scenario in dataset.scenarios:
        paths = (folder / "requests" / f"scenario={scenario}").glob("*.parquet")
        rows = sum(pq.read_metadata(path).num_rows for path in paths)
        configurations = trials.loc[trials["scenario"] == scenario, "configuration"].nunique()
        facts[scenario] = f"{configurations} configurations, {rows} requests"
    return facts


def _validation(folder: Path) -> dict[str, str]:
    """Return what an energy validation holds."""
    nodes = read_table(folder / f"{NODES.name}.parquet")
    summary = read_table(folder / f"{SUMMARY.name}.parquet")
    facts = {
        "nodes": f"{len(nodes)}, {', '.join(sorted(nodes['provenance'].unique()))}",
        "scores": f"{summary['scores'].sum()}",
    }
    for scenario, rows in summary.groupby("scenario", sort=False):
        facts[str(scenario)] = f"{rows['nodes'].max()} nodes, {len(rows)} formulas"
    return facts


def _files(folder: Path) -> Iterator[DatasetError]:
    """Yield files that are missing, changed or unlisted."""
    subject = str(folder)
    if not (folder / MANIFEST).is_file():
        yield DatasetError(subject, place=MANIFEST, found="no such file", expected="the manifest")
        return
    sums = read_manifest(folder)
    for path, digest in sums.items():
        if not (folder / path).is_file():
            yield DatasetError(subject, place=path, found="no such file", expected="as in manifest")
        elif (actual := file_facts(folder / path)[1]) != digest:
            yield DatasetError(
                subject,
                place=path,
                found=f"SHA-256 {actual[:12]}…",
                expected=f"{digest[:12]}…",
                remedy="the file was changed; fetch it again, or measure again",
            )
    for path in sorted(set(files(folder)) - set(sums) - {MANIFEST}):
        yield DatasetError(
            subject, place=path, found="a file", expected="only files that the manifest lists"
        )


def _schemas(folder: Path, origin: Origin) -> Iterator[DatasetError]:
    """Yield columns of the Parquet tables that are missing or of another type."""
    wanted = TABLES if origin.kind == ENERGY_VALIDATION else (trials_table(()), ENERGY)
    tables = [(f"{table.name}.parquet", table) for table in wanted]
    for path in sorted((folder / "requests").glob("scenario=*/*.parquet")):
        tables.append((path.relative_to(folder).as_posix(), requests_table(())))
    for name, table in tables:
        if (folder / name).is_file():
            yield from _columns(folder, name, table)


def _columns(folder: Path, name: str, table: Table) -> Iterator[DatasetError]:
    try:
        schema = pq.read_schema(folder / name)
    except (OSError, pa.ArrowException) as error:
        yield DatasetError(str(folder), place=name, found=str(error), expected="a Parquet table")
        return
    for column in table.columns:
        found = str(schema.field(column.name).type) if column.name in schema.names else "nothing"
        if found != str(column.type):
            yield DatasetError(
                str(folder),
                place=f"{name}, column {column.name}",
                found=found,
                expected=str(column.type),
            )


def _frictionless(folder: Path) -> Iterator[DatasetError]:
    """Yield what Frictionless says about the descriptor and the CSV tables."""
    try:
        report = Package.from_descriptor(str(folder / DESCRIPTOR)).validate()
    except FrictionlessException as error:
        yield DatasetError(str(folder), place=DESCRIPTOR, found=error.error.message)
        return
    for flaw in report.errors:
        yield DatasetError(str(folder), place=DESCRIPTOR, found=flaw.message)
    for task in report.tasks:
        for flaw in task.errors:
            yield DatasetError(str(folder), place=task.place, found=flaw.message)
