"""What a dataset says of itself, and its descriptor: a Frictionless Data Package.

No table is read here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from frictionless import Field, Package, Resource, Schema
from frictionless import fields as field_types
from frictionless.resources import FileResource, TableResource

from ..errors import DatasetError

__all__ = [
    "CAMPAIGN",
    "DESCRIPTOR",
    "ENERGY_VALIDATION",
    "FORMAT",
    "LICENCE",
    "About",
    "Origin",
    "data_package",
    "file_facts",
]

CAMPAIGN = "campaign"
ENERGY_VALIDATION = "energy-validation"
_KINDS = (CAMPAIGN, ENERGY_VALIDATION)

DESCRIPTOR = "datapackage.json"
FORMAT = 1
"""Version of the layout of a dataset folder; a reader refuses a later one."""
LICENCE = {
    "name": "CC-BY-4.0",
    "title": "Creative Commons Attribution 4.0 International",
    "path": "https://creativecommons.org/licenses/by/4.0/",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a dataset of any kind says of itself; every field can be written as JSON.

    Args:
        kind: What was done: `CAMPAIGN` or `ENERGY_VALIDATION`. It decides which tables there are.
        name: Short name.
        title: Name for people.
        description: A sentence or two.
        complete: Whether everything that was planned was done.
        spec: What was asked for.
        data_sources: Input data (`scenario`, `source`, `licence`, `sha256`).
        created: When it began, ISO 8601.
        version: Version of joulery that made it.
    """

    kind: str
    name: str
    title: str
    description: str
    complete: bool
    spec: dict[str, Any]
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
            # The first datasets were all of campaigns, and did not say so.
            own = {"kind": CAMPAIGN} | json.loads(text)["joulery"]
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
        if about.kind not in _KINDS:
            raise DatasetError(
                subject,
                place="joulery.kind",
                found=about.kind,
                expected=" or ".join(_KINDS),
                remedy="read it with the version of joulery that wrote it: " + about.version,
            )
        return about


@dataclass(frozen=True, slots=True, kw_only=True)
class About(Origin):
    """What the dataset of a campaign says of itself.

    Args:
        kind: Always `CAMPAIGN`.
        trials_planned: Number of trials of the design.
        trials_done: Number of trials with a final row.
        figures: Quality figures (`scenario`, `name`, `title`, `description`, `better`, `unit`);
            the first of each scenario is its headline.
    """

    kind: str = CAMPAIGN
    trials_planned: int
    trials_done: int
    figures: list[dict[str, Any]]

    @property
    def partial(self) -> str | None:
        """How many trials there are so far, in words; `None` when the campaign is complete."""
        return None if self.complete else f"{self.trials_done} of {self.trials_planned} trials done"


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
    folder: Path, paths: Iterable[str], schemas: Mapping[str, pa.Schema], about: Origin
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
