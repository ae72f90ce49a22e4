"""Datasets of other kinds: any declared tables, written whole or not at all, checked by kind."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from frictionless import Package

from joulery.datasets.metadata import ENERGY_VALIDATION, Origin
from joulery.datasets.schema import Table
from joulery.datasets.store import load, read_manifest, read_origin, update_manifest, write_tables
from joulery.datasets.validation import NODES, SCORES, SUMMARY, TABLES
from joulery.datasets.verify import describe, verify
from joulery.errors import DatasetError

from ..campaigns.samples import synthetic_records, write_synthetic

ABOUT = Origin(
    kind=ENERGY_VALIDATION,
    name="made-up",
    title="A made-up validation",
    description="Nothing here was computed.",
    complete=True,
    spec={"seeds": [0]},
    data_sources=[],
    created="2026-01-01T00:00:00+00:00",
    version="0.0.0",
)


def _rows(declared: Table, **values: object) -> pa.Table:
    """Return one row: what is given, and else something of each column's type."""
    row = {
        column.name: values.get(
            column.name,
            "word" if column.type == pa.string() else 1 if column.type == pa.int64() else 0.5,
        )
        for column in declared.columns
    }
    return pa.Table.from_pylist([row], schema=declared.arrow_schema())


def _write(folder: Path, *, replace: bool = False, **values: object) -> None:
    write_tables(
        folder,
        [(table, _rows(table, **values)) for table in TABLES],
        environment={"machine": "none"},
        about=ABOUT,
        state="All of it.",
        chapters=["## How it was made", "", "By hand."],
        replace=replace,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A made-up validation with a row in each table."""
    _write(tmp_path / "set")
    return tmp_path / "set"


def test_declared_tables_come_back_and_verify(folder: Path) -> None:
    """Each table is there with its metadata; a CSV twin is, unless declared not to be."""
    assert verify(folder) == []
    assert read_origin(folder) == ABOUT
    for table in TABLES:
        found = pq.read_table(folder / f"{table.name}.parquet")
        assert found.equals(_rows(table), check_metadata=True)
        assert (folder / f"{table.name}.csv").exists() is table.twin
    assert not SCORES.twin
    field = pq.read_schema(folder / "scores.parquet").field("truth_j")
    assert field.metadata[b"unit"] == b"J"
    assert describe(folder)["kind"] == ENERGY_VALIDATION
    package = Package.from_descriptor(str(folder / "datapackage.json"))
    assert package.custom["joulery"]["kind"] == ENERGY_VALIDATION


def test_the_same_tables_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    """Two datasets of the same tables are equal in every file's sum."""
    _write(tmp_path / "again")
    assert read_manifest(folder) == read_manifest(tmp_path / "again")


def test_the_data_card_holds_state_chapters_and_columns(folder: Path) -> None:
    """What the writer says stands before the tables; no input data is spoken of."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    for words in ("All of it.", "By hand.", "| `truth_j` | J |", "Files: `scores.parquet`."):
        assert words in text
    assert "input data" not in text


def test_tables_that_break_their_declaration_are_refused(tmp_path: Path) -> None:
    """NaN, a null where a value is due and a missing column leave nothing behind."""
    with pytest.raises(DatasetError, match="column truth_j: found a number that is not finite"):
        _write(tmp_path / "set", truth_j=float("nan"))
    with pytest.raises(DatasetError, match="column scenario: found null"):
        _write(tmp_path / "set", scenario=None)
    with pytest.raises(DatasetError, match="column idle_w: found nothing"):
        write_tables(
            tmp_path / "set",
            [(NODES, _rows(NODES).drop_columns("idle_w"))],
            environment={},
            about=ABOUT,
            state="",
            chapters=[],
        )
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_that_is_there_gives_way_only_when_asked(folder: Path) -> None:
    """As for campaigns: refused, or replaced as a whole."""
    with pytest.raises(DatasetError, match="--force"):
        _write(folder)
    _write(folder, replace=True, scenario="other")
    assert verify(folder) == []
    assert pq.read_table(folder / "nodes.parquet")["scenario"].to_pylist() == ["other"]


@pytest.mark.parametrize("table", [SCORES, NODES, SUMMARY], ids=lambda table: str(table.name))
def test_a_column_that_is_missing_is_found(folder: Path, table: Table) -> None:
    """Verification compares each Parquet file with the tables of its kind."""
    name = table.columns[-1].name
    path = f"{table.name}.parquet"
    pq.write_table(pq.read_table(folder / path).drop_columns(name), folder / path)
    update_manifest(folder, [path])
    assert f"{path}, column {name}" in [problem.place for problem in verify(folder)]


def test_a_kind_of_later_days_is_refused(folder: Path) -> None:
    """A dataset of a kind we do not know is not read as if it were another."""
    path = folder / "datapackage.json"
    path.write_text(path.read_text().replace(f'"kind": "{ENERGY_VALIDATION}"', '"kind": "new"'))
    with pytest.raises(DatasetError, match=r"joulery\.kind: found new"):
        read_origin(folder)


def test_a_campaign_s_reader_refuses_another_kind(folder: Path) -> None:
    """`load` says which kind it found."""
    with pytest.raises(DatasetError, match="found a dataset of kind energy-validation"):
        load(folder)


def test_a_dataset_that_tells_no_kind_is_a_campaign_s(tmp_path: Path) -> None:
    """Datasets from before there were kinds are read, described and verified as ever."""
    write_synthetic(tmp_path / "set", synthetic_records(done=2))
    path = tmp_path / "set" / "datapackage.json"
    descriptor = json.loads(path.read_text())
    assert descriptor["joulery"].pop("kind") == "campaign"
    path.write_text(json.dumps(descriptor))
    update_manifest(tmp_path / "set", ["datapackage.json"])
    assert load(tmp_path / "set").about.trials_done == 2
    assert describe(tmp_path / "set")["kind"] == "campaign"
    assert verify(tmp_path / "set") == []
