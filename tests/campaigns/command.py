"""A small campaign, and the command that runs it as a user does."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["SPEC", "TRIALS", "command", "joulery", "recorded", "rows", "running", "wait_for_trials"]

SPEC = """\
name: small
seed: 3
scenarios:
  - scenario: traffic_prediction
    factors:
      model: [ridge]
      batch: [1, 8]
  - scenario: anomaly_detection
    factors:
      model: [seasonal_zscore]
loads:
  - {arrival: poisson, rate_hz: 150}
repeats: 2
trial: {idle_s: 0.1, warmup_round_s: 0.1, warmup_max_s: 0.5, window_s: 0.4}
slo: {latency_s: 0.1, percentile: 0.5}
limits: {send_lag_p99_s: 0.5, steady_ratio: 5, subwindow_cv_ratio: 5, idle_drift_ratio: 50,
         neighbour_ratio: 0.99}
"""
TRIALS = 6


def command(*arguments: object) -> list[str]:
    """Return the command line of joulery with some arguments."""
    return [sys.executable, "-m", "joulery.cli", *map(str, arguments)]


def joulery(
    *arguments: object, code: int = 0, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command, see that it exits as expected and that no traceback is shown."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=280,
        env=os.environ | {"COLUMNS": "200"} | (environment or {}),
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    if environment is None:
        assert "Traceback" not in done.stdout + done.stderr
    return done


def running(*arguments: object) -> subprocess.Popen[str]:
    """Start the command and return while it runs."""
    return subprocess.Popen(
        command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def wait_for_trials(journal: Path, count: int, runner: subprocess.Popen[str]) -> None:
    """Wait until a running campaign has recorded so many trials."""
    while recorded(journal) < count:
        assert runner.poll() is None, "it ended before its trials were seen"
        time.sleep(0.05)


def recorded(journal: Path) -> int:
    """Return how many trials a journal holds; none while it is not there yet."""
    try:
        return len(rows(journal))
    except sqlite3.OperationalError:
        return 0


def rows(journal: Path) -> dict[int, str]:
    """Return when each trial of a journal was started, by number."""
    database = sqlite3.connect(f"file:{journal}?mode=ro", uri=True)
    try:
        return dict(database.execute("SELECT number, json_extract(row, '$.started_at') FROM trial"))
    finally:
        database.close()
