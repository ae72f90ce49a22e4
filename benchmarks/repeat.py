"""How alike two runs of one campaign are, and how much of its time goes to anything but measuring.

    python benchmarks/repeat.py --out docs/repeat.csv

Both runs go as a user starts them, one after the other. For each cell (configuration, load and
network) whose trials are valid in both, the median latencies are compared; a run's own blocks, of
which no two are alike either, are the peer. Overhead is all time that is no warm-up, no idle
baseline and no window: starting services, handing over requests, judging, writing. It is told of
the campaign, and of a few of its cells at the times that a trial has by default.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from rich.console import Console

from joulery.benchmarks.exporters.parts import figure, show_rows, write
from joulery.datasets.store import Dataset, load

__all__ = ["main"]

_CELL = ["scenario", "configuration", "load", "network", "environment"]
_ALIKE_RATIO = 0.05
_OVERHEAD_RATIO = 0.10
_CAMPAIGN = Path(__file__).resolve().parents[1] / "campaigns" / "quickstart.yaml"

_Row = dict[str, object]


def _run(campaign: Path, folder: Path) -> tuple[Dataset, float]:
    """Return what a run measured, and how long all of it took, seconds."""
    command = [sys.executable, "-m", "joulery.cli", "run", str(campaign), "--out", str(folder)]
    began_s = time.monotonic()
    subprocess.run([*command, "--plain"], check=True, stdout=subprocess.DEVNULL)
    return load(folder), time.monotonic() - began_s


def _overhead(name: str, dataset: Dataset, wall_s: float, *, target: bool) -> Iterator[_Row]:
    """Tell where the time of a run went."""
    trials, times = dataset.trials, dataset.about.spec["trial"]
    measured_s = float((trials["warmup_s"] + trials["window_s"] + 2 * times["idle_s"]).sum())
    rest = (wall_s - measured_s) / wall_s
    yield figure(f"{name}, trials", len(trials), "1")
    yield figure(f"{name}, valid", len(_valid(trials)), "1")
    yield figure(f"{name}, whole run", wall_s, "s")
    yield figure(f"{name}, start of a service", float(trials["startup_s"].median()), "s")
    yield figure(f"{name}, overhead of a trial", (wall_s - measured_s) / len(trials), "s")
    yield _percent(f"{name}, overhead", rest, most=_OVERHEAD_RATIO if target else None)


def _at_default_times(campaign: Path, folder: Path) -> Path:
    """Write a part of the campaign whose trials take as long as they do by default."""
    spec = yaml.safe_load(campaign.read_text(encoding="utf-8"))
    del spec["trial"]
    path = folder / "default.yaml"
    path.write_text(yaml.safe_dump(spec | {"repeats": 1, "subset": {"hypercube": 4}}))
    return path


def _valid(trials: pd.DataFrame) -> pd.DataFrame:
    return trials[trials["verdict"] == "valid"]


def _medians_s(trials: pd.DataFrame) -> pd.Series:
    """Return the median latency of each cell, in the mean of its valid trials."""
    return _valid(trials).groupby(_CELL, dropna=False)["latency_p50_s"].mean()


def _differences(one: pd.Series, other: pd.Series) -> NDArray[np.float64]:
    """Return by how much the medians of cells that both have differ, relative."""
    both = pd.concat([one, other], axis=1, join="inner").to_numpy()
    differences: NDArray[np.float64] = np.abs(both[:, 1] / both[:, 0] - 1)
    return differences


def _alike(name: str, found: NDArray[np.float64], *, target: bool) -> Iterator[_Row]:
    yield figure(f"{name}, cells", len(found), "1")
    most = _ALIKE_RATIO if target else None
    yield _percent(f"{name}, median difference", float(np.median(found)), most=most)
    yield _percent(f"{name}, p90 of the difference", float(np.quantile(found, 0.9)))
    yield _percent(f"{name}, largest difference", float(found.max()))
    inside = float(np.mean(found <= _ALIKE_RATIO))
    yield _percent(f"{name}, cells within {100 * _ALIKE_RATIO:g} %", inside)


def _percent(measure: str, ratio: float, *, most: float | None = None) -> _Row:
    if most is None:
        return figure(measure, 100 * ratio, "%")
    return figure(measure, 100 * ratio, "%", f"<= {100 * most:g}", met=ratio <= most)


def _measure(campaign: Path, folder: Path) -> Iterator[_Row]:
    yield figure("machine, load average before", os.getloadavg()[0], "1")
    runs = [_run(campaign, folder / name) for name in ("one", "other")]
    yield from _overhead("a run", *runs[0], target=False)
    usual = _run(_at_default_times(campaign, folder), folder / "default")
    yield from _overhead("at default times", *usual, target=True)
    one, other = (_medians_s(dataset.trials) for dataset, _ in runs)
    yield from _alike("two runs", _differences(one, other), target=True)
    trials = runs[0][0].trials
    blocks = [_medians_s(part) for _, part in trials.groupby("block")]
    yield from _alike("two blocks of one run", _differences(*blocks[:2]), target=False)


def main() -> int:
    """Run the campaign twice, print a table, and write it as CSV."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--campaign", type=Path, default=_CAMPAIGN)
    parser.add_argument("--out", type=Path, help="a CSV file to write")
    parser.add_argument("--keep", type=Path, help="a folder for the datasets of both runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.keep:
            arguments.keep.mkdir(parents=True, exist_ok=True)
        rows = list(_measure(arguments.campaign, arguments.keep or Path(scratch)))
    show_rows(rows, f"{arguments.campaign.stem}, twice", Console())
    if arguments.out is not None:
        write(rows, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
