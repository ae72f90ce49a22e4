"""Datasets on disk: whole or absent, the same bytes again, and read back as they were written."""

from __future__ import annotations

import dataclasses
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from joulery.datasets.schema import ENERGY
from joulery.datasets.store import (
    MANIFEST,
    About,
    check_target,
    load,
    read_manifest,
    update_manifest,
    write_dataset,
)
from joulery.errors import DatasetError

from ..campaigns.samples import Records, synthetic_records, write_synthetic


@pytest.fixture(scope="module")
def records() -> Records:
    """Records of a made-up campaign that stopped after six trials."""
    return synthetic_records(done=6)


def _bytes(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_tables_come_back_as_they_were_written(tmp_path: Path, records: Records) -> None:
    """Values, nulls, and the units and meanings of the columns survive the round trip."""
    folder = tmp_path / "set"
    write_synthetic(folder, records)
    assert pq.read_table(folder / "trials.parquet").equals(records.trials, check_metadata=True)
    assert pq.read_table(folder / "energy.parquet").equals(records.energy, check_metadata=True)
    for scenario, tables in records.requests.items():
        for trial, table in tables.items():
            path = folder / "requests" / f"scenario={scenario}" / f"trial-{trial:04d}.parquet"
            found = pq.read_table(path, partitioning=None)
            assert found.equals(table, check_metadata=True)
    field = pq.read_schema(folder / "trials.parquet").field("latency_p95_s")
    assert field.metadata[b"unit"] == b"s"
    dataset = load(folder)
    assert dataset.about == records.about
    assert dataset.environment == records.environment
    assert dataset.trials["trial"].tolist() == [1, 2, 3, 4, 5, 6]
    assert dataset.scenarios == tuple(sorted(records.requests))
    rows = sum(table.num_rows for table in records.requests["anomaly_detection"].values())
    assert len(dataset.requests("anomaly_detection")) == rows
    assert len(dataset.energy) == records.energy.num_rows


def test_a_csv_twin_holds_the_same_rows(tmp_path: Path, records: Records) -> None:
    """The CSV of a table reads back to the very same numbers and nulls."""
    write_synthetic(tmp_path / "set", records)
    convert = pa.csv.ConvertOptions(
        column_types=records.trials.schema,
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    found = pa.csv.read_csv(tmp_path / "set" / "trials.csv", convert_options=convert)
    assert found.to_pylist() == records.trials.to_pylist()


def test_the_same_records_give_the_same_bytes(tmp_path: Path, records: Records) -> None:
    """Two datasets of the same records are equal in every byte of every file."""
    write_synthetic(tmp_path / "one", records)
    write_synthetic(tmp_path / "two", synthetic_records(done=6))
    assert _bytes(tmp_path / "one") == _bytes(tmp_path / "two")


def test_the_manifest_is_one_that_sha256sum_reads(tmp_path: Path, records: Records) -> None:
    """`sha256sum -c` accepts the manifest, and every other file is listed in it."""
    folder = tmp_path / "set"
    write_synthetic(folder, records)
    subprocess.run(["sha256sum", "--strict", "-c", MANIFEST], cwd=folder, check=True)
    assert set(read_manifest(folder)) == set(_bytes(folder)) - {MANIFEST}


def test_what_finish_writes_is_part_of_the_dataset(tmp_path: Path, records: Records) -> None:
    """`finish` sees a dataset that can be loaded, and its file is in the manifest."""
    seen: list[str] = []

    def finish(folder: Path) -> None:
        seen.append(load(folder).about.name)
        (folder / "report.md").write_text("a report")

    write_synthetic(tmp_path / "set", records, finish=finish)
    assert seen == ["synthetic"]
    assert "report.md" in read_manifest(tmp_path / "set")


def test_a_failure_leaves_nothing_behind(tmp_path: Path, records: Records) -> None:
    """When something fails on the way, neither the dataset nor a temporary folder is there."""

    def finish(_: Path) -> None:
        raise RuntimeError("no report")

    with pytest.raises(RuntimeError, match="no report"):
        write_synthetic(tmp_path / "set", records, finish=finish)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_replacement_keeps_the_old_dataset(tmp_path: Path, records: Records) -> None:
    """When a replacement fails, the dataset that was there is still there, byte for byte."""
    write_synthetic(tmp_path / "set", records)
    before = _bytes(tmp_path / "set")

    def finish(_: Path) -> None:
        raise RuntimeError("no report")

    with pytest.raises(RuntimeError, match="no report"):
        write_synthetic(tmp_path / "set", synthetic_records(done=3), replace=True, finish=finish)
    assert _bytes(tmp_path / "set") == before


def test_a_full_disk_leaves_no_dataset(tmp_path: Path, records: Records) -> None:
    """A write that the system refuses half way through leaves nothing under the final name."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # A limit on the size of a file fails in the same calls, and as late, as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_synthetic(tmp_path / "set", records)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_no_dataset_under_the_name(tmp_path: Path) -> None:
    """After `kill -9` in the middle of writing, the name is free, and the next write works."""
    program = (
        "import os, pathlib, signal, sys\n"
        "from joulery.datasets.store import write_dataset\n"
        "from tests.campaigns.samples import synthetic_records, write_synthetic\n"
        "kill = lambda folder: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_synthetic(pathlib.Path(sys.argv[1]), synthetic_records(done=2), finish=kill)\n"
    )
    target = tmp_path / "set"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program, str(target)],
        env=os.environ | {"PYTHONPATH": str(root)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    write_synthetic(target, synthetic_records(done=2))
    assert load(target).about.trials_done == 2


def test_a_dataset_is_replaced_only_when_asked(tmp_path: Path, records: Records) -> None:
    """A second write is refused, and with `replace` the new dataset stands there alone."""
    folder = tmp_path / "set"
    write_synthetic(folder, records)
    with pytest.raises(DatasetError, match=r"set.*found a dataset"):
        check_target(folder)
    write_synthetic(folder, synthetic_records(done=3), replace=True)
    assert load(folder).about.trials_done == 3
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_what_joulery_did_not_write_is_never_deleted(tmp_path: Path, records: Records) -> None:
    """A folder with anybody's file in it is refused, with or without `replace`."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DatasetError, match=r"thesis\.txt"):
        write_synthetic(tmp_path, records, replace=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    folder = tmp_path / "set"
    write_synthetic(folder, records)
    (folder / "notes.txt").write_text("my notes")
    with pytest.raises(DatasetError, match=r"notes\.txt"):
        check_target(folder, replace=True)


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", '{"name": "x"}', '{"joulery": {"format": 1}}']
)
def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path, text: str | None) -> None:
    """A missing folder, and a descriptor that is not ours, give one clear error."""
    if text is None:
        with pytest.raises(DatasetError, match="no such folder"):
            load(tmp_path / "nowhere")
        with pytest.raises(DatasetError, match=r"no datapackage\.json"):
            load(tmp_path)
        return
    (tmp_path / "datapackage.json").write_text(text)
    with pytest.raises(DatasetError, match=r"datapackage\.json.*joulery dataset"):
        load(tmp_path)


def test_a_later_format_is_refused(tmp_path: Path, records: Records) -> None:
    """A dataset of a later layout is not read as if it were of this one."""
    write_synthetic(tmp_path / "set", records)
    descriptor = tmp_path / "set" / "datapackage.json"
    descriptor.write_text(descriptor.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(DatasetError, match=r"joulery\.format"):
        load(tmp_path / "set")


def test_an_unknown_scenario_names_those_there_are(tmp_path: Path, records: Records) -> None:
    """Asking for the requests of a scenario that is not there lists the scenarios."""
    write_synthetic(tmp_path / "set", records)
    with pytest.raises(DatasetError, match="anomaly_detection, traffic_prediction"):
        load(tmp_path / "set").requests("chess")


def test_tables_that_break_the_schema_are_refused(tmp_path: Path, records: Records) -> None:
    """A missing column, a wrong type, a null that may not be, and NaN are each named."""
    trials = records.trials

    def write(table: pa.Table) -> None:
        write_synthetic(tmp_path / "set", dataclasses.replace(records, trials=table))

    with pytest.raises(DatasetError, match="column verdict: found nothing"):
        write(trials.drop_columns("verdict"))
    place = trials.schema.get_field_index("window_s")
    with pytest.raises(DatasetError, match="column window_s: found string"):
        write(trials.set_column(place, "window_s", pa.array(["x"] * len(trials))))
    with pytest.raises(DatasetError, match="column window_s: found a number that is not finite"):
        write(trials.set_column(place, "window_s", pa.array([float("nan")] * len(trials))))
    place = trials.schema.get_field_index("verdict")
    with pytest.raises(DatasetError, match="column verdict: found null"):
        write(trials.set_column(place, "verdict", pa.nulls(len(trials), pa.string())))
    assert list(tmp_path.iterdir()) == []


def test_a_campaign_without_a_finished_trial_is_a_dataset_too(tmp_path: Path) -> None:
    """Tables without rows are written and read like any other."""
    records = synthetic_records(done=0)
    write_synthetic(tmp_path / "set", records)
    dataset = load(tmp_path / "set")
    assert dataset.trials.empty
    assert dataset.scenarios == ()


def test_one_line_of_the_manifest_can_be_renewed(tmp_path: Path, records: Records) -> None:
    """Renewing one file's sum leaves every other line as it was, a changed file's too."""
    folder = tmp_path / "set"
    write_synthetic(folder, records)
    before = read_manifest(folder)
    (folder / "README.md").write_text("changed on purpose")
    (folder / "trials.csv").write_text("changed by accident")
    update_manifest(folder, ["README.md"])
    after = read_manifest(folder)
    assert after["README.md"] != before["README.md"]
    assert after["trials.csv"] == before["trials.csv"]


_ENERGIES = st.lists(
    st.fixed_dictionaries(
        {
            "trial": st.integers(1, 2**62),
            "phase": st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
            "source": st.just('a, "quoted"\nsource'),
            "domain": st.just("package-0"),
            "energy_j": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        }
    ),
    max_size=5,
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=_ENERGIES)
def test_any_finite_record_survives(
    tmp_path: Path, records: Records, rows: list[dict[str, object]]
) -> None:
    """Whatever text and finite numbers a table holds, Parquet and CSV give them back."""
    table = pa.Table.from_pylist(rows, schema=ENERGY.arrow_schema())
    folder = tmp_path / "set"
    write_dataset(
        folder,
        trials=records.trials,
        requests={},
        energy=table,
        environment={},
        about=_about(records),
        replace=True,
    )
    assert pq.read_table(folder / "energy.parquet").equals(table)
    found = pa.csv.read_csv(
        folder / "energy.csv",
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=table.schema, strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )
    assert found.to_pylist() == table.to_pylist()


def _about(records: Records) -> About:
    return dataclasses.replace(records.about, trials_done=0, complete=False)
