"""What a person sees while a campaign runs: a live screen, or a line per trial for logs."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from .design import PlannedTrial

__all__ = ["LiveScreen", "Observer", "PlainLog"]

_RECENT = 8
_SPARKS = "▁▂▃▄▅▆▇█"
_PHASES = ("start", "idle before", "warm-up", "window", "idle after", "stop")


class Observer(Protocol):
    """Who is told how a campaign goes."""

    def begin(self, title: str, total: int, done: int, energy: str) -> None:
        """The campaign starts or resumes: how many trials, how many are done, which energy."""

    def trial(self, planned: PlannedTrial, total: int) -> None:
        """A trial starts; `total` counts retries too."""

    def phase(self, name: str) -> None:
        """The running trial enters a phase."""

    def finished(self, row: Mapping[str, Any]) -> None:
        """A trial is recorded."""

    def note(self, text: str) -> None:
        """Something worth a line."""


class PlainLog:
    """A line per trial, for logs and pipes.

    Args:
        console: Where to write.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._total = 0

    def begin(self, title: str, total: int, done: int, energy: str) -> None:
        """Print the head."""
        self._total = total
        self.note(f"{title}: {total} trials, {done} done; energy: {energy}")

    def trial(self, planned: PlannedTrial, total: int) -> None:  # noqa: ARG002 - told at its end
        """Remember the count."""
        self._total = total

    def phase(self, name: str) -> None:
        """Phases are too many for a log."""

    def finished(self, row: Mapping[str, Any]) -> None:
        """Print one trial."""
        verdict = row["verdict"] if row["reasons"] is None else f"invalid: {row['reasons']}"
        self.note(
            f"{row['trial']:>4}/{self._total} {row['scenario']} {row['configuration']} "
            f"{row['load']} | p95 {_milli(row['latency_p95_s'])} ms | "
            f"{_milli(row['inference_energy_j'])} mJ | "
            f"{row['quality_figure']} {_figure(row['quality_value'])} | {verdict}"
        )

    def note(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


class LiveScreen:
    """A screen that is drawn anew a few times a second.

    Args:
        console: The terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._recent: deque[Mapping[str, Any]] = deque(maxlen=_RECENT)
        self._latencies: deque[float] = deque(maxlen=40)
        self._verdicts: Counter[str] = Counter()
        self._planned: PlannedTrial | None = None
        self._phase = ""
        self._title, self._energy = "", ""
        self._began_s, self._here = time.monotonic(), 0
        self._progress = Progress(
            TextColumn("[bold]trials"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[eta]}"),
            console=console,
            expand=True,
        )
        self._task = self._progress.add_task("trials", total=None, eta="")
        # Few frames: each costs the generator's core a few milliseconds.
        self._live = Live(self._draw(), console=console, refresh_per_second=2)

    def __enter__(self) -> Self:
        """Take the screen."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last frame and give the screen back."""
        self._planned = None
        self._live.update(self._draw())
        self._live.stop()

    def begin(self, title: str, total: int, done: int, energy: str) -> None:
        """Show the head."""
        self._title, self._energy = title, energy
        self._began_s = time.monotonic()
        self._progress.update(self._task, total=total, completed=done)
        self._live.update(self._draw())

    def trial(self, planned: PlannedTrial, total: int) -> None:
        """Show the trial that runs."""
        self._planned = planned
        self._progress.update(self._task, total=total)
        self._live.update(self._draw())

    def phase(self, name: str) -> None:
        """Show the phase."""
        self._phase = name
        self._live.update(self._draw())

    def finished(self, row: Mapping[str, Any]) -> None:
        """Add a trial to the list."""
        self._recent.append(row)
        self._verdicts[row["verdict"]] += 1
        if row["latency_p95_s"] is not None:
            self._latencies.append(row["latency_p95_s"])
        self._here += 1
        task = self._progress.tasks[0]
        left = (task.total or 0) - task.completed - 1
        eta_s = left * (time.monotonic() - self._began_s) / self._here
        self._progress.update(self._task, advance=1, eta=f"about {_duration(eta_s)} left")
        self._live.update(self._draw())

    def note(self, text: str) -> None:
        """Print a line above the screen."""
        self._console.print(text, highlight=False, markup=False)

    def _draw(self) -> RenderableType:
        parts: list[RenderableType] = [self._progress, self._now(), self._table(), self._foot()]
        return Panel(Group(*parts), title=self._title or "joulery", border_style="cyan")

    def _now(self) -> Text:
        if self._planned is None:
            return Text("")
        planned = self._planned
        line = Text.assemble(
            (f"{planned.number}", "bold"),
            f"  block {planned.block}  {planned.configuration.scenario}  ",
            (str(planned.configuration), "bold"),
            f"  {planned.load}\n   ",
        )
        for name in _PHASES:
            line.append(f" {name} ", style="reverse cyan" if name == self._phase else "dim")
        return line

    def _table(self) -> Table:
        table = Table(expand=True, box=None, padding=(0, 1), header_style="dim")
        # Only the configuration may be cut when the screen is narrow: never a number.
        table.add_column("", no_wrap=True)
        table.add_column("configuration", ratio=1)
        for name in ("load", "p95 ms", "mJ each", "quality", "verdict"):
            table.add_column(name, justify="right", no_wrap=True)
        for row in self._recent:
            good = row["verdict"] == "valid"
            table.add_row(
                str(row["trial"]),
                Text(
                    f"{row['model']} {row['precision']} batch {row['batch']}",
                    no_wrap=True,
                    overflow="ellipsis",
                ),
                f"{row['rate_hz']:g} Hz",
                _milli(row["latency_p95_s"]),
                _milli(row["inference_energy_j"]),
                _figure(row["quality_value"]),
                Text("valid", "green") if good else Text(row["reasons"].split(" ")[0], "yellow"),
            )
        for _ in range(_RECENT - len(self._recent)):
            table.add_row("")
        return table

    def _foot(self) -> Text:
        verdicts = ", ".join(f"{count} {name}" for name, count in sorted(self._verdicts.items()))
        return Text.assemble(
            (f"p95 latency {_sparkline(self._latencies)}  ", "cyan"),
            (f"{verdicts or 'no trial yet'}  ", "bold"),
            (f"energy {self._energy}", "yellow" if "estimated" in self._energy else "dim"),
        )


def _milli(value: float | None) -> str:
    return "-" if value is None else f"{1e3 * value:.2f}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _sparkline(values: deque[float]) -> str:
    if not values:
        return ""
    top = max(values)
    return "".join(_SPARKS[round((len(_SPARKS) - 1) * value / top)] for value in values)
