"""The command `validate-energy`: what it writes and prints, refuses, and leaves when stopped."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from joulery.campaigns.validation.command import grid_of, show
from joulery.campaigns.validation.results import is_full, read
from joulery.campaigns.validation.run import Grid
from joulery.datasets.store import load
from joulery.datasets.verify import describe, verify
from joulery.errors import DatasetError, SpecError

from ..command import command, joulery
from .conftest import PART

Ran = tuple[Path, subprocess.CompletedProcess[str]]


def test_it_writes_a_dataset_with_a_page(ran: Ran) -> None:
    """The dataset verifies, is of the kind it is, and holds the page."""
    folder, _ = ran
    assert verify(folder) == []
    facts = describe(folder)
    assert facts["kind"] == "energy-validation"
    assert facts["nodes"] == "4, simulated"
    assert facts["steady"] == "2 nodes, 5 formulas"
    assert (folder / "energy-validation.html").is_file()
    assert joulery("dataset", "verify", folder).stdout.strip().endswith("whole and unchanged")
    assert "simulated" in joulery("dataset", "describe", folder).stdout


def test_it_prints_figures_targets_and_that_all_is_simulated(ran: Ran) -> None:
    """Each scenario has a row, each target a verdict; logs get a line per scenario."""
    folder, done = ran
    said = done.stdout
    for words in (
        "4 simulated nodes",
        "shared-gpu done",
        "steady done",
        "coverage",
        "as Kepler",
        "reached",
        "no machine was measured",
        "Truth is a definition",
        "other seeds, 1000 and above",
        f"dataset  {folder}",
        "energy-validation.html",
    ):
        assert words in said, words


def test_a_dataset_that_is_there_is_kept_unless_forced(ran: Ran) -> None:
    """A second run is refused before anything is watched."""
    done = joulery("validate-energy", *PART, "--out", ran[0], code=2)
    assert "--force" in done.stderr
    assert "simulated nodes" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--scenario", "stedy"), "did you mean 'steady'?"),
        (("--seeds", "1"), "expected 2 or more"),
        (("--seeds", "2000"), "expected 1000 at most"),
        (("--workers", "0"), "--workers: found 0"),
        (("--seeds", "many"), "--seeds"),
    ],
)
def test_mistakes_are_named_before_any_work(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    """A wrong option ends with 2 and a message, and writes nothing."""
    done = joulery("validate-energy", *arguments, "--out", tmp_path / "out", code=2)
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_default_is_the_whole_grid() -> None:
    """Twenty seeds of every scenario are full; fewer seeds or scenarios are not; more are."""
    assert is_full(grid_of(20, []))
    assert is_full(grid_of(21, []))
    assert not is_full(grid_of(19, []))
    assert not is_full(grid_of(20, ["steady"]))
    assert grid_of(20, []) == Grid()


def test_scenarios_keep_the_grid_s_order() -> None:
    """In whatever order they are asked for, and however often."""
    assert grid_of(2, ["wraps", "steady", "wraps"]).scenarios == ("steady", "wraps")
    with pytest.raises(SpecError, match="bursty"):
        grid_of(2, ["burst"])


@pytest.mark.parametrize("full", [True, False])
def test_a_missed_target_counts_only_for_the_whole_grid(folder: Path, full: bool) -> None:
    """The same miss fails the whole grid and not a part of it, which says why."""
    found = read(folder)
    missed = [replace(target, reached=False) for target in found.targets]
    about = replace(found.about, spec=found.about.spec | {"full": full})
    text = io.StringIO()
    assert show(replace(found, about=about, targets=missed), Console(file=text)) is not full
    assert ("A part of the grid" in text.getvalue()) is not full
    reached = [replace(target, reached=True) for target in found.targets]
    assert show(replace(found, about=about, targets=reached), Console(file=io.StringIO()))


def test_without_a_page_the_tables_stand_alone(tmp_path: Path) -> None:
    """`--no-page` leaves the page out, and `report` writes it later."""
    out = tmp_path / "out"
    short = ("--scenario", "shared-gpu", "--seeds", "2", "--workers", "1")
    done = joulery("validate-energy", *short, "--no-page", "--out", out)
    assert "energy-validation.html" not in done.stdout
    assert verify(out) == []
    assert not list(out.glob("*.html"))
    joulery("report", out)
    assert (out / "energy-validation.html").is_file()
    assert verify(out) == []


@pytest.mark.parametrize("after_s", [0.2, 0.8, 3.0])
def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, after_s: float) -> None:
    """Ctrl-C, which reaches the workers too, ends with one message, no files and no processes."""
    out = tmp_path / "out"
    before = set(Path("/dev/shm").glob("joulery-nodes-*"))
    runner = subprocess.Popen(
        command("validate-energy", "--seeds", "3", "--workers", "2", "--out", out),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert runner.stdout is not None
    assert "simulated nodes" in runner.stdout.readline()
    time.sleep(after_s)  # workers are starting, or at work: either way nothing is heard of them
    os.killpg(runner.pid, signal.SIGINT)
    _, errors = runner.communicate(timeout=60)
    assert runner.returncode == 130
    assert errors.split("\n") == ["", "Interrupted; nothing was written.", ""]
    assert list(tmp_path.iterdir()) == []
    assert set(Path("/dev/shm").glob("joulery-nodes-*")) <= before
    for _ in range(200):  # the last to go is the one that looks after shared memory
        try:
            os.killpg(runner.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("a process is left")


def test_on_a_terminal_there_is_a_bar(tmp_path: Path) -> None:
    """On a terminal progress is a bar that goes away, not lines."""
    out = tmp_path / "out"
    arguments = ("validate-energy", "--scenario", "shared-gpu", "--seeds", "2", "--out", str(out))
    program = (
        "import pty, sys\n"
        "sys.exit(pty.spawn([sys.executable, '-m', 'joulery.cli', *sys.argv[1:]]) >> 8)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=280,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "━" in done.stdout
    assert "shared-gpu done" not in done.stdout


def test_a_validation_is_not_a_campaign(folder: Path, tmp_path: Path) -> None:
    """What reads campaigns refuses it by name, and a campaign is no validation."""
    with pytest.raises(DatasetError, match="kind energy-validation"):
        load(folder)
    with pytest.raises(DatasetError, match="no such folder"):
        read(tmp_path / "nowhere")
