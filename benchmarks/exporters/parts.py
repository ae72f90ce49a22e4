"""What benchmarks have in common: processes that run, and what came out."""

from __future__ import annotations

import csv
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

__all__ = ["cpu_s", "figure", "running", "show", "show_rows", "write"]

_ENVIRONMENT = os.environ | {"MALLOC_ARENA_MAX": "2"}
"""As in the image."""


@contextmanager
def running(command: list[str], word: str) -> Iterator[tuple[psutil.Process, list[str]]]:
    """Run a command; yield it, and its first lines up to the one that has the word."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_ENVIRONMENT
    )
    assert process.stdout is not None
    try:
        lines: list[str] = []
        while not lines or word not in lines[-1]:
            lines.append(process.stdout.readline())
            if not lines[-1]:
                raise SystemExit(f"{command[0]} ended early: {''.join(lines)}")
        yield psutil.Process(process.pid), lines
    finally:
        process.terminate()
        process.stdout.close()
        process.wait()


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU seconds that a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def figure(
    measure: str, value: float, unit: str, target: str = "", *, met: bool | None = None
) -> dict[str, object]:
    """Return the row of a figure: what was asked for, where anything was, and whether it is so."""
    return {
        "measure": measure,
        "value": f"{value:.4g}",
        "unit": unit,
        "target": target,
        "met": "" if met is None else "yes" if met else "NO",
    }


def show(rows: Sequence[Mapping[str, object]], title: str, console: Console) -> None:
    """Print what was measured, a column for each size; the first figure is the size."""
    size, *figures = rows[0]
    table = Table(title=title)
    for head in (size, *(str(row[size]) for row in rows)):
        table.add_column(head)
    for name in figures:
        values = [row[name] for row in rows]
        table.add_row(name, *(f"{v:.3g}" if isinstance(v, float) else str(v) for v in values))
    console.print(table)


def show_rows(rows: Sequence[Mapping[str, object]], title: str, console: Console) -> None:
    """Print what was measured, a row for each."""
    table = Table(title=title)
    for head in rows[0]:
        table.add_column(head.replace("_", " "))
    for row in rows:
        table.add_row(*map(str, row.values()))
    console.print(table)


def write(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    """Write what was measured as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
