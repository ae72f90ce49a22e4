"""The command `joulery`: it reads arguments, calls the rooms and prints what they answer."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from . import __version__
from .campaigns.kubernetes.command import campaign_app
from .campaigns.run_command import run
from .campaigns.scenarios.command import data_app, scenarios, serve
from .campaigns.spec_command import spec_app
from .errors import JouleryError
from .exporters.command import app as exporter_app

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from .campaigns.doctor import Section

__all__ = ["app", "main"]

app = typer.Typer(
    name="joulery",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)
dataset_app = typer.Typer(help="Datasets that joulery wrote.", no_args_is_help=True)
app.add_typer(spec_app, name="spec")
app.add_typer(dataset_app, name="dataset")
app.add_typer(data_app, name="data")
app.add_typer(campaign_app, name="campaign")
app.add_typer(exporter_app, name="exporter")


@functools.cache
def _out() -> Console:
    """Return where answers go. An exporter never needs rich, so it is loaded late."""
    from rich.console import Console

    return Console()


@functools.cache
def _errors() -> Console:
    from rich.console import Console

    return Console(stderr=True)


DatasetFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a dataset.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"joulery {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Measure energy, latency and answer quality of AI services, together.

    Start with `joulery doctor`, then `joulery run campaigns/quickstart.yaml`.
    """


app.command()(run)


@app.command()
def report(
    folder: DatasetFolder,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="DIR",
            help="Compare with this dataset, cell by cell: against-NAME.html and .md.",
        ),
    ] = None,
) -> None:
    """Write report.html and report.md of a dataset, or of a campaign that is still unfinished.

    Of an energy validation it writes energy-validation.html.
    """
    from .campaigns.report.command import run_report

    run_report(folder, against, _out())


@app.command()
def doctor(
    sysfs: Annotated[
        Path | None,
        typer.Option(
            "--sysfs",
            metavar="DIR",
            help="Look at a copy of /sys instead of this "
            "machine; /proc is expected beside it. Nothing is compared: a copy stands still.",
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds",
            metavar="S",
            min=0.0,
            help="How long to compare two readings of one device; 0 does not. By default what "
            "the sensors need, 1 to 5 s.",
        ),
    ] = None,
) -> None:
    """Say what can be measured on this machine, and what to do about the rest."""
    from rich.progress import Progress

    from .campaigns.doctor import agreement, checks, tree_checks
    from .campaigns.recorded import recorded_host
    from .profiler.host import Host
    from .profiler.sources import discover

    if sysfs is not None:
        _out().print(_checklist(tree_checks(recorded_host(sysfs))))
        return
    host = Host()
    found = discover(host, comparisons=True)
    compared = None
    if seconds != 0:
        with Progress(console=_errors(), transient=True, disable=not _errors().is_terminal) as bar:
            task = bar.add_task("comparing readings", total=1.0)
            compared = agreement(
                found.sources,
                host,
                seconds=seconds,
                progress=lambda done: bar.update(task, completed=done),
            )
    energy, *others = checks(host, found=found)
    _out().print(_checklist([energy, *([compared] if compared else []), *others]))


def _checklist(sections: Sequence[Section]) -> Table:
    """Lay out what the doctor found; what to do stands below what was found, for narrow screens."""
    from rich.table import Table
    from rich.text import Text

    table = Table(expand=True, box=None, padding=(0, 1), show_header=False)
    table.add_column(overflow="fold", max_width=24)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    for title, rows in sections:
        table.add_row(Text(title, style="bold"))
        for row in rows:
            # No markup: in "intel-rapl:a:0" it sees an emoji.
            found = f"{row.found}\n→ {row.remedy}" if row.remedy else row.found
            table.add_row(Text(f" {row.what}"), Text(row.state, style=row.colour), Text(found))
        table.add_row()
    return table


@app.command("validate-energy")
def validate_energy(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of the dataset.")
    ] = Path("out/energy-validation"),
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds", metavar="N", help="Nodes per scenario, drawn from seeds 0 to N-1; 2 or more."
        ),
    ] = 20,
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            "--scenario", metavar="NAME", help="Only this scenario. Repeatable; by default all."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", help="Processes; by default one per CPU."),
    ] = None,
    no_page: Annotated[
        bool, typer.Option("--no-page", help="Write the tables alone, no page for a browser.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the dataset that is there already.")
    ] = False,
) -> None:
    """Find out how right the energies are, on simulated nodes whose truth is known.

    The code that watches real machines watches simulated ones, under many
    kinds of load. What it tells of each consumer is held against the truth,
    beside the formulas that other tools use: error, bias, how often the 95 %
    interval holds the truth, and how wide it is. No sensor is needed.

    The whole grid takes some minutes; [b]--scenario steady --seeds 4[/b] takes
    seconds. Ends with 1 when the whole grid misses a target; a part of it may
    miss one by chance.
    """
    from .campaigns.validation.command import grid_of, run_validation, show

    grid = grid_of(seeds, scenario or [])
    try:
        found = run_validation(
            grid, out, workers=workers, replace=force, page=not no_page, console=_out()
        )
    except KeyboardInterrupt:
        _errors().print("\nInterrupted; nothing was written.", highlight=False)
        raise typer.Exit(130) from None
    good = show(found, _out())
    _out().print(f"dataset  {out}", highlight=False, markup=False, soft_wrap=True)
    if not no_page:
        path = out / "energy-validation.html"
        _out().print(f"page     {path}", highlight=False, markup=False, soft_wrap=True)
    if not good:
        raise typer.Exit(1)


@dataset_app.command("verify")
def dataset_verify(folder: DatasetFolder) -> None:
    """Check every file of a dataset against its manifest, and every table against its schema."""
    from .datasets.verify import verify

    problems = verify(folder)
    for problem in problems:
        _errors().print(f"{problem}", highlight=False, markup=False, soft_wrap=True)
    if problems:
        raise typer.Exit(1)
    _out().print(f"{folder}: whole and unchanged", highlight=False, markup=False)


@dataset_app.command("describe")
def dataset_describe(folder: DatasetFolder) -> None:
    """Say what a dataset holds."""
    from rich.markup import escape
    from rich.table import Table

    from .datasets.verify import describe

    table = Table(box=None, padding=(0, 2), show_header=False)
    for name, value in describe(folder).items():
        table.add_row(escape(name), escape(str(value)))
    _out().print(table)


app.command()(scenarios)
app.command()(serve)


def _fail(kind: str, text: str, code: int) -> NoReturn:
    from rich.markup import escape

    _errors().print(f"[red]{kind}[/red]: {escape(text)}", soft_wrap=True)
    sys.exit(code)


def main() -> None:
    """Run the command; a person sees a message, `JOULERY_DEBUG=1` shows the traceback."""
    if os.environ.get("JOULERY_DEBUG") == "1":
        app()
        return
    try:
        app()
    except JouleryError as error:
        _fail(type(error).__name__, str(error), error.exit_code)
    except ModuleNotFoundError as error:
        text = f"{error.name} is not installed here; 'pip install joulery' has all that this needs"
        _fail("not installed", text, 1)
    except Exception as error:  # noqa: BLE001 - a person sees a message
        known = isinstance(error, OSError)
        text = str(error) if known else f"{error}; this is a mistake in joulery: please report it"
        text += "" if known else " with what JOULERY_DEBUG=1 prints"
        _fail(type(error).__name__, text, 1)


if __name__ == "__main__":
    main()
