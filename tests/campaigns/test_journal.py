"""The journal: what survives a kill, and what is refused."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from joulery.campaigns.journal import Journal, campaign_lock
from joulery.errors import TrialError

EMPTY = pa.table({"x": pa.array([], pa.int64())})

WRITER = """
import sys
from pathlib import Path
import pyarrow as pa
from joulery.campaigns.journal import Journal
journal = Journal(Path(sys.argv[1]))
table = pa.table({"x": pa.array(range(1000), pa.int64())})
number = 0
while True:
    number += 1
    journal.finish(number, {"trial": number}, requests=table, energy=table)
    print(number, flush=True)
"""


def test_what_was_finished_is_read_back(tmp_path: Path) -> None:
    """Facts and rows come back as they were written, in a new process' eyes too."""
    journal = Journal(tmp_path / "c")
    journal.remember(spec={"a": [1, 2]}, created="today")
    journal.finish(2, {"trial": 2, "x": None}, requests=EMPTY, energy=EMPTY)
    journal.finish(1, {"trial": 1, "x": 0.5}, requests=EMPTY, energy=EMPTY)
    journal.close()
    again = Journal(tmp_path / "c")
    assert again.facts() == {"spec": {"a": [1, 2]}, "created": "today"}
    assert list(again.trials().items()) == [
        (1, {"trial": 1, "x": 0.5}),
        (2, {"trial": 2, "x": None}),
    ]
    again.close()


def test_a_trial_whose_tables_are_gone_is_forgotten(tmp_path: Path) -> None:
    """A row without its requests is no finished trial: it is measured again."""
    journal = Journal(tmp_path)
    for number in (1, 2):
        journal.finish(number, {"trial": number}, requests=EMPTY, energy=EMPTY)
    journal.part("requests", 1).unlink()
    journal.forget_incomplete()
    assert list(journal.trials()) == [2]
    journal.close()


def test_a_trial_whose_table_is_torn_is_forgotten(tmp_path: Path) -> None:
    """A table that ends too early, as after the end of power, is measured again, not refused."""
    journal = Journal(tmp_path)
    for number in (1, 2, 3):
        journal.finish(number, {"trial": number}, requests=EMPTY, energy=EMPTY)
    for number, size_bytes in ((1, 0), (3, 40)):
        os.truncate(journal.part("energy", number), size_bytes)
    journal.forget_incomplete()
    assert list(journal.trials()) == [2]
    journal.close()


def test_a_killed_writer_leaves_only_whole_trials(tmp_path: Path) -> None:
    """After SIGKILL every trial the journal names has its tables, and none it confirmed is lost."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        confirmed = [int(writer.stdout.readline()) for _ in range(20)]
        os.kill(writer.pid, signal.SIGKILL)
    journal = Journal(tmp_path)
    trials = journal.trials()
    assert set(confirmed) <= set(trials)
    for number in trials:
        assert pa.parquet.read_table(journal.part("requests", number)).num_rows == 1000
        assert pa.parquet.read_table(journal.part("energy", number)).num_rows == 1000
    journal.close()


def test_a_row_that_is_not_a_number_is_not_recorded(tmp_path: Path) -> None:
    """NaN is no JSON and no measurement: the trial is not recorded at all."""
    journal = Journal(tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.finish(1, {"x": float("nan")}, requests=EMPTY, energy=EMPTY)
    assert journal.trials() == {}
    journal.close()


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    """Garbage in the journal's place gives a message, not a traceback."""
    (tmp_path / "journal.sqlite").write_bytes(b"not a database, but long enough to look at" * 9)
    with pytest.raises(TrialError, match="not a database"):
        Journal(tmp_path)


def test_two_runners_cannot_hold_one_campaign(tmp_path: Path) -> None:
    """The lock is refused while it is held, and free again afterwards."""
    refused = pytest.raises(TrialError, match="one runner")
    with campaign_lock(tmp_path), refused, campaign_lock(tmp_path):
        pass
    with campaign_lock(tmp_path):
        pass


def test_a_lock_on_a_file_that_was_taken_away_locks_nothing(tmp_path: Path) -> None:
    """Who holds a campaign removes it when it is finished; a new one there has its own lock."""
    with campaign_lock(tmp_path / "c"):
        shutil.rmtree(tmp_path / "c")
        with campaign_lock(tmp_path / "c"):
            pass
