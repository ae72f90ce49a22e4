"""What a person sees while a campaign runs: a live screen, or a line per trial for logs."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from .cells import around_of
from .design import PlannedTrial
from .observer import PHASES, Pace, device_power_w, reason_names

__all__ = ["LiveScreen", "PlainLog"]

_RECENT = 8
_SPARKS = "▁▂▃▄▅▆▇█"
_SPARK_TRIALS = 40


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
            f"{around_of(row)} | p95 {_milli(row['latency_p95_s'])} ms | "
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
        self._curves: deque[tuple[float | None, float | None]] = deque(maxlen=_SPARK_TRIALS)
        self._verdicts: Counter[str] = Counter()
        self._planned: PlannedTrial | None = None
        self._phase = ""
        self._title, self._energy = "", ""
        self._pace = Pace()
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
        self._pace.begin(total, done)
        self._progress.update(self._task, total=total, completed=done)
        self._live.update(self._draw())

    def trial(self, planned: PlannedTrial, total: int) -> None:
        """Show the trial that runs."""
        self._planned = planned
        self._pace.total = total
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
        self._curves.append((row["latency_p95_s"], device_power_w(row)))
        left = f"about {_duration(self._pace.finished())} left"
        self._progress.update(self._task, advance=1, eta=left)
        self._live.update(self._draw())

    def note(self, text: str) -> None:
        """Print a line above the screen."""
        self._console.print(text, highlight=False, markup=False)

    def _draw(self) -> RenderableType:
        parts = Group(self._progress, self._now(), self._table(), self._trends(), self._foot())
        return Panel(parts, title=self._title or "joulery", border_style="cyan")

    def _now(self) -> Text:
        if self._planned is None:
            return Text("")
        planned = self._planned
        line = Text.assemble(
            (f"{planned.number}", "bold"),
            f"  block {planned.block}  {planned.configuration.scenario}  ",
            (str(planned.configuration), "bold"),
            f"  {around_of(planned.under)}\n   ",
        )
        for name in PHASES:
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
                _load(row),
                _milli(row["latency_p95_s"]),
                _milli(row["inference_energy_j"]),
                _figure(row["quality_value"]),
                Text("valid", "green") if good else Text(reason_names(row)[0], "yellow"),
            )
        for _ in range(_RECENT - len(self._recent)):
            table.add_row("")
        return table

    def _trends(self) -> Table:
        """Draw latency and power, a column for each of the last trials; blank where unknown."""
        latencies_s, powers_w = ([pair[which] for pair in self._curves] for which in (0, 1))
        table = Table.grid("", "", Column(justify="right"), padding=(0, 1))
        for name, values, scale in (
            ("p95 latency, ms", latencies_s, 1e3),
            ("power with idle, W", powers_w, 1.0),
        ):
            if any(value is not None for value in values):
                now = "-" if values[-1] is None else f"{scale * values[-1]:.2f}"
                table.add_row(Text(name, "dim"), Text(_sparkline(values), "cyan"), now)
        return table

    def _foot(self) -> Text:
        verdicts = ", ".join(f"{count} {name}" for name, count in sorted(self._verdicts.items()))
        return Text.assemble(
            (f"{verdicts or 'no trial yet'}  ", "bold"),
            (f"energy {self._energy}", "yellow" if "estimated" in self._energy else "dim"),
        )


def _load(row: Mapping[str, Any]) -> str:
    """Return what a service was under, as short as a column needs it."""
    load = row["arrival"] if row["rate_hz"] is None else f"{row['rate_hz']:g} Hz"
    return around_of({**row, "load": load})


def _milli(value: float | None) -> str:
    return "-" if value is None else f"{1e3 * value:.2f}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _sparkline(values: Sequence[float | None]) -> str:
    """Return a bar for each value, from zero to the largest; a blank for what is not known."""
    top = max((value for value in values if value), default=1.0)
    return "".join(
        " " if value is None else _SPARKS[round((len(_SPARKS) - 1) * value / top)]
        for value in values
    )
