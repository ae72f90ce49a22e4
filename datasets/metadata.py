"""What stands beside the tables: who made them, how, and what each column means.

The descriptor is a Frictionless Data Package; the data card is for people. Neither reads a table.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from frictionless import Field, Package, Resource, Schema
from frictionless import fields as field_types
from frictionless.resources import FileResource, TableResource

from ..errors import DatasetError

__all__ = ["DESCRIPTOR", "FORMAT", "LICENCE", "About", "data_card", "data_package", "file_facts"]

DESCRIPTOR = "datapackage.json"
FORMAT = 1
"""Version of the layout of a dataset folder; a reader refuses a later one."""
LICENCE = {
    "name": "CC-BY-4.0",
    "title": "Creative Commons Attribution 4.0 International",
    "path": "https://creativecommons.org/licenses/by/4.0/",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a dataset is about; every field can be written as JSON.

    Args:
        name: Short name of the campaign.
        title: Name for people.
        description: A sentence or two.
        complete: Whether every planned trial was done.
        trials_planned: Number of trials of the design.
        trials_done: Number of trials with a final row.
        spec: The campaign's specification.
        figures: Quality figures (`scenario`, `name`, `title`, `description`, `better`, `unit`);
            the first of each scenario is its headline.
        data_sources: Input data (`scenario`, `source`, `licence`, `sha256`).
        created: When the campaign began, ISO 8601.
        version: Version of joulery that measured.
    """

    name: str
    title: str
    description: str
    complete: bool
    trials_planned: int
    trials_done: int
    spec: dict[str, Any]
    figures: list[dict[str, Any]]
    data_sources: list[dict[str, Any]]
    created: str
    version: str

    @classmethod
    def from_descriptor(cls, text: str, subject: str) -> Self:
        """Read it back from the text of a `datapackage.json`.

        Raises:
            DatasetError: When the text is not the descriptor of a dataset of joulery.
        """
        expected = "the descriptor of a joulery dataset"
        try:
            own = json.loads(text)["joulery"]
            format_found = own["format"]
            names = {field.name for field in fields(cls)}
            about = cls(**{name: value for name, value in own.items() if name in names})
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                subject, found=f"{type(error).__name__}: {error}", expected=expected
            ) from None
        if format_found != FORMAT:
            raise DatasetError(
                subject,
                place="joulery.format",
                found=str(format_found),
                expected=str(FORMAT),
                remedy="read it with the version of joulery that wrote it: " + about.version,
            )
        return about


def file_facts(path: Path) -> tuple[int, str]:
    """Return size in bytes and SHA-256, hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def _field(column: pa.Field) -> Field:
    kind: type[Field] = field_types.StringField
    if pa.types.is_integer(column.type):
        kind = field_types.IntegerField
    elif pa.types.is_floating(column.type):
        kind = field_types.NumberField
    metadata = {key.decode(): text.decode() for key, text in (column.metadata or {}).items()}
    field = kind(name=column.name, description=metadata.get("description"))
    if not column.nullable:
        field.constraints = {"required": True}
    if "unit" in metadata:
        field.custom["unit"] = metadata["unit"]
    return field


def _resource(folder: Path, path: str, schemas: Mapping[str, pa.Schema]) -> Resource:
    size, digest = file_facts(folder / path)
    stem, _, suffix = path.rpartition(".")
    options: dict[str, Any] = {
        # Resource names allow no "=", and the CSV twin of a Parquet file needs its own name.
        "name": re.sub(r"[^a-z0-9._-]+", "-", f"{stem}-{suffix}".lower()),
        "path": path,
        "scheme": "file",
        "format": suffix,
        "bytes": size,
        "hash": f"sha256:{digest}",
    }
    if path not in schemas:
        media = {"json": "application/json", "parquet": "application/vnd.apache.parquet"}
        return FileResource(mediatype=media[suffix], **options)
    schema = schemas[path]
    return TableResource(
        mediatype="text/csv",
        encoding="utf-8",
        description=schema.metadata[b"description"].decode(),
        schema=Schema(fields=[_field(column) for column in schema]),
        **options,
    )


def data_package(
    folder: Path, paths: Iterable[str], schemas: Mapping[str, pa.Schema], about: About
) -> str:
    """Return the text of the Frictionless descriptor of the files of a folder.

    Args:
        folder: The folder, with its files in place: their sizes and hashes are taken.
        paths: The files to list, relative to the folder.
        schemas: Arrow schema of each CSV file, by its path; the other files are opaque.
        about: Goes in whole under the key `joulery`, and where Frictionless has a place for it.
    """
    package = Package(
        name=about.name,
        title=about.title,
        description=about.description,
        created=about.created,
        licenses=[LICENCE],
        sources=[
            {"title": f"{source['source']} ({source['licence']})"} for source in about.data_sources
        ],
        resources=[_resource(folder, path, schemas) for path in paths],
    )
    package.custom["joulery"] = {"format": FORMAT} | asdict(about)
    return json.dumps(package.to_descriptor(), indent=1, ensure_ascii=False) + "\n"


def _column_lines(schema: pa.Schema) -> list[str]:
    lines = ["| column | unit | meaning |", "|---|---|---|"]
    for column in schema:
        metadata = {key.decode(): text.decode() for key, text in (column.metadata or {}).items()}
        meaning = metadata.get("description", "").replace("|", "\\|")
        lines.append(f"| `{column.name}` | {metadata.get('unit', '')} | {meaning} |")
    return lines


def data_card(
    about: About,
    tables: Mapping[str, tuple[str, pa.Schema]],
    provenances: Sequence[str],
) -> str:
    """Return the README of a dataset, in Markdown.

    Args:
        about: What the dataset is about.
        tables: Files and Arrow schema of each table, by its name.
        provenances: Every provenance that an energy of the dataset has.
    """
    done = f"{about.trials_done} of {about.trials_planned} planned trials"
    state = f"Complete: {done}." if about.complete else f"**PARTIAL: {done}.**"
    lines = [f"# {about.title}", "", about.description, "", state, ""]
    lines += ["## How it was made", ""]
    lines += [
        f"Measured with joulery {about.version}; the campaign began {about.created}. Each trial"
        " starts one AI service in one configuration, offers it requests in an open loop, and"
        " joins latency, energy and answer quality of the same requests in one row. Latency counts"
        " from the moment a request was meant to be sent. Invalid trials are kept; their `verdict`"
        f" and `reasons` say why. The specification is in `{DESCRIPTOR}` under `joulery.spec`; the"
        " machine is in `environment.json`.",
        "",
        "## Where the energies come from",
        "",
        f"Provenance found here: {', '.join(provenances) or 'none: no energy is known'}."
        + (
            " **`estimated` means that no energy sensor was read**: a model turns the load of the"
            " machine into watts. Its error is largely common to all configurations, so that ratios"
            " between them are better known than any one value."
            if "estimated" in provenances
            else ""
        ),
        "",
        "`_low` and `_high` columns bound the 95 % interval of their value.",
        "",
        "## Input data",
        "",
        "| scenario | source | licence | SHA-256 |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {source['scenario']} | {source['source']} | {source['licence']}"
        f" | `{source['sha256'][:16]}…` |"
        for source in about.data_sources
    ]
    for name, (files, schema) in tables.items():
        description = (schema.metadata or {}).get(b"description", b"").decode()
        lines += ["", f"## Table: {name}", "", f"{description} Files: {files}.", ""]
        lines += _column_lines(schema)
    lines += [
        "",
        "## Checking it",
        "",
        "`sha256sum -c SHA256SUMS` checks every file, `frictionless validate datapackage.json` the"
        " tables, `joulery dataset verify .` both.",
        "",
        "## Citing and reusing it",
        "",
        f"> {about.title}. Dataset, measured with joulery {about.version}, {about.created[:10]}.",
        "",
        f"The results are licensed {LICENCE['name']} ({LICENCE['path']}). The input data is not"
        " part of the dataset and keeps its own licence.",
        "",
    ]
    return "\n".join(lines)
