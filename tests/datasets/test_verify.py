"""Verification: a whole dataset passes, and each kind of damage is named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from frictionless import Package

from joulery.datasets.store import update_manifest
from joulery.datasets.verify import describe, verify
from joulery.errors import DatasetError

from ..campaigns.samples import synthetic_records, write_synthetic


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A made-up dataset of four trials."""
    write_synthetic(tmp_path / "set", synthetic_records(done=4))
    return tmp_path / "set"


def test_a_fresh_dataset_has_no_problem(folder: Path) -> None:
    """What `write_dataset` wrote passes our checks and the frictionless command."""
    assert verify(folder) == []
    subprocess.run(
        [sys.executable, "-m", "frictionless", "validate", "datapackage.json"],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def test_the_descriptor_explains_every_column(folder: Path) -> None:
    """Each CSV resource states description, type and unit; every resource its size and hash."""
    package = Package.from_descriptor(str(folder / "datapackage.json"))
    for resource in package.resources:
        assert resource.bytes
        assert (resource.hash or "").startswith("sha256:")
        if resource.path and resource.path.endswith(".csv"):
            for field in resource.schema.fields:
                assert field.description, field.name
    fields = {field.name: field for field in package.get_resource("trials-csv").schema.fields}
    assert fields["latency_p95_s"].custom["unit"] == "s"
    assert fields["verdict"].constraints == {"required": True}


def test_the_data_card_says_what_is_estimated(folder: Path) -> None:
    """The README warns of estimated energy, of missing trials, and explains each column."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "no energy sensor was read" in text
    assert "PARTIAL: 4 of 80" in text
    assert "| `latency_p95_s` | s |" in text
    assert "CC-BY-4.0" in text


def _remove(folder: Path) -> None:
    (folder / "energy.csv").unlink()


def _change(folder: Path) -> None:
    with (folder / "trials.csv").open("a") as file:
        file.write("\n")


def _add(folder: Path) -> None:
    (folder / "extra.txt").write_text("who put this here?")


def _drop_column(folder: Path) -> None:
    table = pq.read_table(folder / "trials.parquet").drop_columns("verdict")
    pq.write_table(table, folder / "trials.parquet")
    update_manifest(folder, ["trials.parquet"])


def _break_parquet(folder: Path) -> None:
    (folder / "energy.parquet").write_bytes(b"PAR1")


def _break_csv(folder: Path) -> None:
    text = (folder / "energy.csv").read_text()
    (folder / "energy.csv").write_text(text.replace("0.5", "half", 1))
    update_manifest(folder, ["energy.csv"])


def _break_descriptor(folder: Path) -> None:
    path = folder / "datapackage.json"
    descriptor = json.loads(path.read_text())
    del descriptor["resources"]
    path.write_text(json.dumps(descriptor))
    update_manifest(folder, ["datapackage.json"])


def _no_manifest(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        (_remove, "energy.csv"),
        (_change, "trials.csv"),
        (_add, "extra.txt"),
        (_drop_column, "trials.parquet, column verdict"),
        (_break_parquet, "energy.parquet"),
        (_break_csv, "energy.csv"),
        (_break_descriptor, "datapackage.json"),
        (_no_manifest, "SHA256SUMS"),
    ],
)
def test_damage_is_found_and_named(
    folder: Path, damage: Callable[[Path], None], place: str
) -> None:
    """Each kind of damage gives a problem whose place is the file or the column."""
    damage(folder)
    assert place in [problem.place for problem in verify(folder)]


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    """A folder without a descriptor is an error, not an empty list of problems."""
    with pytest.raises(DatasetError, match="no datapackage"):
        verify(tmp_path)
    with pytest.raises(DatasetError, match="no datapackage"):
        describe(tmp_path)


def test_a_description_counts_what_is_there(folder: Path) -> None:
    """The facts for printing name the state, the trials and the requests."""
    facts = describe(folder)
    assert facts["state"] == "PARTIAL"
    assert facts["trials"].startswith("4 of 80 done")
    assert facts["energy"] == "estimated"
    assert "requests" in facts["traffic_prediction"]
