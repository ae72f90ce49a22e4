"""Campaigns that are killed, interrupted, resumed or replaced: nothing finished is lost."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil

from joulery.datasets.store import load
from joulery.datasets.verify import verify

from .command import SPEC, TRIALS, joulery, recorded, rows, running, wait_for_trials


def test_a_killed_campaign_resumes_without_repeating(spec: Path, tmp_path: Path) -> None:
    """After SIGKILL the finished trials stay as they were, and the rest is measured once."""
    out = tmp_path / "small"
    journal = tmp_path / "small.campaign" / "journal.sqlite"
    with running("run", spec, "--out", out, "--plain") as runner:
        wait_for_trials(journal, 2, runner)
        runner.kill()
    before = rows(journal)
    assert not out.exists()
    refused = joulery("run", spec, "--out", out, "--plain", code=2)
    assert "--resume goes on with it" in refused.stderr
    joulery("report", tmp_path / "small.campaign")
    assert "partial" in (tmp_path / "small.campaign/snapshot/report.md").read_text().lower()
    joulery("run", spec, "--out", out, "--plain", "--resume")
    trials = load(out).trials.set_index("trial")
    assert len(before) >= 2
    for number, started_at in before.items():
        assert trials.loc[number, "started_at"] == started_at
    assert (trials["attempt"] == 1).sum() == TRIALS
    assert trials.index.is_unique


def test_a_campaign_over_networks_resumes(tmp_path: Path) -> None:
    """Outages and traces are what they were; a trace that changed since is told, and refused."""
    trace, path, out = tmp_path / "day.csv", tmp_path / "far.yaml", tmp_path / "far"
    trace.write_text("time_s,delay_s\n0,0.001\n0.2,0.002\n")
    networks = "[{name: near, up: {delay_s: 0.002, outages_s: [[0.1, 0.12]]}}, {trace: day.csv}]"
    path.write_text(SPEC.replace("repeats: 2", "repeats: 1") + f"networks: {networks}\n")
    with running("run", path, "--out", out, "--plain") as runner:
        wait_for_trials(tmp_path / "far.campaign/journal.sqlite", 1, runner)
        runner.kill()
    joulery("report", tmp_path / "far.campaign")
    trace.write_text("time_s,delay_s\n0,0.001\n0.2,0.003\n")
    refused = joulery("run", path, "--out", out, "--plain", "--resume", code=2)
    assert "networks[1].changes[0].up.delay_s: 0.002 -> 0.003" in refused.stderr
    trace.write_text("time_s,delay_s\n0,0.001\n0.2,0.002\n")
    joulery("run", path, "--out", out, "--plain", "--resume")
    assert set(load(out).trials["network"]) == {"near", "day"}


def test_an_unfinished_campaign_is_reported_as_it_was_planned(tmp_path: Path) -> None:
    """A constraint on a trace's rate holds in the report too, when the trace itself is gone."""
    trace, path = tmp_path / "day.csv", tmp_path / "small.yaml"
    trace.write_text("start_s,rate_hz\n0,150\n1,150\n")
    text = SPEC.replace("arrival: poisson, rate_hz: 150", "arrival: trace, path: day.csv")
    path.write_text(text + "constraints: [batch == 1 or rate_hz < 100]\n")
    work = tmp_path / "small.campaign"
    with running("run", path, "--out", tmp_path / "small", "--plain") as runner:
        wait_for_trials(work / "journal.sqlite", 1, runner)
        runner.kill()
    trace.unlink()
    joulery("report", work)
    assert load(work / "snapshot").about.trials_planned == 4
    journal = sqlite3.connect(work / "journal.sqlite")
    with journal:
        journal.execute("DELETE FROM fact WHERE name = 'trace_rates_hz'")
    journal.close()
    joulery("report", work)
    assert load(work / "snapshot").about.trials_planned == TRIALS


def test_resuming_with_a_changed_specification_is_refused(
    spec: Path, finished: Path, tmp_path: Path
) -> None:
    """A finished campaign is not measured again, and a changed one is refused with the change."""
    done = joulery("run", spec, "--out", finished, "--plain", "--resume")
    assert "nothing is left to measure" in done.stdout
    changed = tmp_path / "small.yaml"
    changed.write_text(SPEC.replace("rate_hz: 150", "rate_hz: 151"))
    refused = joulery("run", changed, "--out", finished, "--plain", "--resume", code=2)
    assert "\n  spec.loads[0].rate_hz: 150.0 -> 151.0\n" in refused.stderr


def test_a_replacement_that_is_killed_resumes_and_replaces(
    spec: Path, finished: Path, tmp_path: Path
) -> None:
    """A killed --force run leaves the old dataset in place until --resume has the new one whole."""
    out = tmp_path / "small"
    shutil.copytree(finished, out)
    old = load(out).about.created
    journal = tmp_path / "small.campaign" / "journal.sqlite"
    with running("run", spec, "--out", out, "--plain", "--force") as runner:
        wait_for_trials(journal, 1, runner)
        runner.kill()
    assert load(out).about.created == old
    wrong = tmp_path / "missing.csv"
    arguments = ("run", spec, "--out", out, "--plain")
    joulery(*arguments, "--force", "--data", f"traffic_prediction={wrong}", code=2)
    assert recorded(journal) >= 1, "a refused start dropped finished trials"
    joulery(*arguments, "--resume")
    assert load(out).about.created != old
    assert verify(out) == []


def test_a_kill_after_the_dataset_is_whole_leaves_nothing_to_measure(tmp_path: Path) -> None:
    """Killed between the dataset and the end of the journal, --resume only tidies up."""
    path, out = tmp_path / "one.yaml", tmp_path / "one"
    path.write_text(SPEC.replace("repeats: 2", "repeats: 1").replace("batch: [1, 8]", "batch: [1]"))
    program = (
        "import os, sys, joulery.campaigns.runner as runner\n"
        "from joulery.cli import main\n"
        "if __name__ == '__main__':\n"
        "    runner.discard = lambda _: os._exit(9)\n"
        f"    sys.argv = ['joulery', 'run', {str(path)!r}, '--out', {str(out)!r}, '--plain']\n"
        "    main()\n"
    )
    (tmp_path / "killed.py").write_text(program)
    killed = subprocess.run([sys.executable, str(tmp_path / "killed.py")], check=False)
    assert killed.returncode == 9
    whole = (out / "SHA256SUMS").read_bytes()
    assert (tmp_path / "one.campaign").exists()
    joulery("run", path, "--out", out, "--plain", "--resume")
    assert (out / "SHA256SUMS").read_bytes() == whole
    assert not (tmp_path / "one.campaign").exists()


def test_an_interrupt_ends_with_a_hint_and_leaves_no_process(spec: Path, tmp_path: Path) -> None:
    """Ctrl-C ends with 130, says how to go on, and stops service and generator."""
    out = tmp_path / "small"
    with running("run", spec, "--out", out, "--plain") as runner:
        wait_for_trials(tmp_path / "small.campaign" / "journal.sqlite", 1, runner)
        children = psutil.Process(runner.pid).children(recursive=True)
        runner.send_signal(signal.SIGINT)
        _, errors = runner.communicate(timeout=30)
    assert runner.returncode == 130
    assert f"joulery run {spec} --out {out} --resume" in errors
    assert "Traceback" not in errors
    assert children
    assert psutil.wait_procs(children, timeout=10)[1] == []


def test_the_death_of_the_generator_is_told(spec: Path, tmp_path: Path) -> None:
    """Without its generator a campaign stops with a message; what is finished stays finished."""
    journal = tmp_path / "small.campaign" / "journal.sqlite"
    with running("run", spec, "--out", tmp_path / "small", "--plain") as runner:
        wait_for_trials(journal, 1, runner)
        generator = next(
            child
            for child in psutil.Process(runner.pid).children()
            if "spawn_main" in " ".join(child.cmdline())
        )
        generator.kill()
        _, errors = runner.communicate(timeout=30)
    assert runner.returncode == 1
    assert "load generator: found its process ended" in errors
    assert "Traceback" not in errors
    assert recorded(journal) >= 1
