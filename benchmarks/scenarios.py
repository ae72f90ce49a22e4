r"""What each configuration of each scenario answers and costs: quality, CPU time, estimated energy.

    python benchmarks/scenarios.py --cost docs/scenarios.csv --quality docs/scenario-quality.csv

Either option alone measures that part alone. *Quality* is every figure of every shipped model, in
each precision, through each exit alone, and where rows leave by a threshold; it needs no quiet
machine, uses all of its CPUs and takes about ten minutes of CPU time. *Cost* is CPU time and the
energy that it makes, on one thread, one row at a time, with the scenario's first figure beside it.
Configurations take turns while they are timed: a machine whose speed drifts hurts all alike. It
takes some ten minutes of CPU time too, or twice that where others want the machine. The peer of an
exit is the last one of the same model, in this run.

Figures have 95 % intervals, see `judging`. With `--only`, what the files say of other scenarios
stays.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from joulery.benchmarks.exporters.parts import write
from joulery.benchmarks.scenario.quality import quality_rows
from joulery.campaigns.scenarios import scenarios
from joulery.campaigns.scenarios.base import ModelFamily, Scenario, Tensors
from joulery.campaigns.scenarios.exits import EXIT
from joulery.campaigns.scenarios.judging import answers_of, inputs_of, judged
from joulery.campaigns.scenarios.model import Model
from joulery.profiler.host import Host, facts
from joulery.profiler.sources.estimate import CpuPower, cpu_power

__all__ = ["Configured", "main"]

_THRESHOLDS = (0.6, 0.8, 0.9)
_ROUNDS = 14
_ROUND_S = 0.025


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """One way to run one model: exit `max_exit` alone, or by a threshold."""

    family: ModelFamily
    precision: str
    max_exit: int | None
    threshold: float | None

    @property
    def exit(self) -> str:
        """What is written of it: an exit, a threshold, or nothing."""
        if self.threshold is not None:
            return f">= {self.threshold:g}"
        return "" if self.max_exit is None else str(self.max_exit)

    def knobs(self) -> dict[str, float | None]:
        """What the model is told."""
        return {"max_exit": self.max_exit, "exit_threshold": self.threshold}


def _configurations(scenario: Scenario) -> Iterator[Configured]:
    for family in scenario.models:
        for precision in family.precisions:
            if family.exits == 1:
                yield Configured(family=family, precision=precision, max_exit=None, threshold=None)
                continue
            for number in range(1, family.exits + 1):
                yield Configured(
                    family=family, precision=precision, max_exit=number, threshold=None
                )
            for threshold in _THRESHOLDS:
                yield Configured(
                    family=family, precision=precision, max_exit=None, threshold=threshold
                )


def _cpu_ms(model: Model, rows: Sequence[Tensors], knobs: Mapping[str, float | None]) -> float:
    """Return the CPU time of a row, a round of about `_ROUND_S`, in milliseconds."""
    constants = model.constants(knobs)
    count = 0
    began_s = time.process_time()
    while True:
        model.run({**rows[count % len(rows)], **constants})
        count += 1
        spent_s = time.process_time() - began_s
        if spent_s > _ROUND_S and count >= min(len(rows), 40):
            return 1e3 * spent_s / count


def measure(scenario: Scenario, power: CpuPower, threads: int, progress: Progress) -> list[Any]:
    """Measure one scenario; return a row for each configuration."""
    with tempfile.TemporaryDirectory() as work:
        workload = scenario.prepare(None, Path(work))
    inputs = inputs_of(workload)
    spread = np.linspace(0, workload.size - 1, min(workload.size, 60)).astype(int)
    some = [{name: one[at : at + 1] for name, one in inputs.items()} for at in spread]
    configurations = list(_configurations(scenario))
    models = {
        (one.family.name, one.precision): Model(
            workload.model_path(one.family.name, one.precision), 1
        )
        for one in configurations
    }
    loaded = [models[one.family.name, one.precision] for one in configurations]
    task = progress.add_task(scenario.title, total=len(configurations) * (_ROUNDS + 1))
    rows = []
    for one, model in zip(configurations, loaded, strict=True):
        answers = answers_of(model, inputs, one.knobs())
        found = judged(workload, answers, scenario.figures[0].name)
        rows.append(
            {
                "scenario": scenario.name,
                "model": one.family.name,
                "precision": one.precision,
                "exit": one.exit,
                "mean_exit": f"{answers[EXIT].mean():.2f}" if EXIT in answers else "",
                "figure": scenario.figures[0].name,
                "quality": "" if found is None else f"{found[0]:.4f}",
                "quality_low": "" if found is None else f"{found[1]:.4f}",
                "quality_high": "" if found is None else f"{found[2]:.4f}",
            }
        )
        progress.advance(task)
    times: list[list[float]] = [[] for _ in configurations]
    for _ in range(_ROUNDS):
        for one, model, measured in zip(configurations, loaded, times, strict=True):
            measured.append(_cpu_ms(model, some, one.knobs()))
            progress.advance(task)
    for row, measured in zip(rows, times, strict=True):
        cpu_ms = min(measured)  # what disturbs a round only ever adds to it
        busy_w = (power.rated_w - power.idle_w) / threads
        row["cpu_ms"] = f"{cpu_ms:.4f}"
        row["energy_mj"] = f"{cpu_ms * busy_w:.3f}"
        row["energy_low_mj"] = f"{cpu_ms * busy_w * power.ratios[0]:.3f}"
        row["energy_high_mj"] = f"{cpu_ms * busy_w * power.ratios[1]:.3f}"
    return rows


def _costs(chosen: Sequence[Scenario], progress: Progress, console: Console) -> list[Any]:
    machine = facts(Host())
    power = cpu_power(machine.cpu)
    rows: list[Any] = []
    for scenario in chosen:
        rows += measure(scenario, power, machine.cpu.threads, progress)
    console.print(f"energy above idle: {power.origin}", highlight=False)
    return rows


def _qualities(chosen: Sequence[Scenario], progress: Progress) -> list[Any]:
    """Judge models, several at a time, each in a process of its own."""
    asked = [
        (scenario.name, family.name, family is scenario.models[0])
        for scenario in chosen
        for family in scenario.models
    ]
    task = progress.add_task("quality", total=len(asked))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows: list[Any] = []
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for found in pool.map(quality_rows, *zip(*asked, strict=True)):
            rows += found
            progress.advance(task)
    return rows


def _with_others(rows: list[Any], path: Path) -> list[Any]:
    """Return the rows, and before or after them those that a file has of other scenarios."""
    measured = {row["scenario"] for row in rows}
    known: list[Any] = []
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            known = [row for row in csv.DictReader(file) if row["scenario"] not in measured]
    order = [one.name for one in scenarios()]
    return sorted([*known, *rows], key=lambda row: order.index(row["scenario"]))


def main() -> int:
    """Measure what is asked for, both parts where nothing is, and write a row for each result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    known = {one.name: one for one in scenarios()}
    parser.add_argument("--only", choices=known, action="append", help="this scenario; repeatable")
    parser.add_argument("--cost", type=Path, help="measure cost, and write it into this CSV file")
    parser.add_argument("--quality", type=Path, help="judge quality, and write it into this one")
    arguments = parser.parse_args()
    is_all = arguments.cost is None and arguments.quality is None
    chosen = [known[name] for name in arguments.only or known]
    console = Console()
    found: list[tuple[list[Any], Path | None]] = []
    with Progress(console=console) as progress:
        if is_all or arguments.quality is not None:
            found.append((_qualities(chosen, progress), arguments.quality))
        if is_all or arguments.cost is not None:
            found.append((_costs(chosen, progress, console), arguments.cost))
    for rows, path in found:
        if path is not None:
            write(_with_others(rows, path), path)
            continue
        for row in rows:
            console.print(*row.values(), highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
