"""The command `joulery`: it reads arguments, calls the rooms and prints what they answer."""

from __future__ import annotations

import functools
import json
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from . import __version__
from .errors import JouleryError, SpecError
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
spec_app = typer.Typer(help="The specification of a campaign.", no_args_is_help=True)
dataset_app = typer.Typer(help="Datasets that joulery wrote.", no_args_is_help=True)
app.add_typer(spec_app, name="spec")
app.add_typer(dataset_app, name="dataset")
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


SpecFile = Annotated[Path, typer.Argument(metavar="SPEC", help="The campaign, a YAML file.")]
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


@app.command()
def run(
    spec: SpecFile,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder of the dataset; by default out/NAME."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished campaign.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the dataset that is there already.")
    ] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="A line per trial, for logs, not a live screen.")
    ] = False,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="SCENARIO=PATH",
            help="Your own data for a scenario; models are fitted to it first. Repeatable.",
        ),
    ] = None,
) -> None:
    """Run a campaign: every trial, then a dataset and a report.

    A campaign that is interrupted keeps its finished trials; [b]--resume[/b] goes on.
    """
    from .campaigns.campaign import Campaign
    from .campaigns.live import LiveScreen, PlainLog
    from .campaigns.runner import run_campaign

    if resume and force:
        raise SpecError(
            "--resume --force", found="both", expected="one", remedy="--resume keeps, --force drops"
        )
    campaign = Campaign.from_file(spec, out, dict(map(_pair, data or [])))
    live = _out().is_terminal and not plain
    try:
        with LiveScreen(_out()) if live else nullcontext(PlainLog(_out())) as screen:
            folder = run_campaign(campaign, screen, resume=resume, force=force)
    except KeyboardInterrupt:
        again = ["joulery", "run", str(spec), "--out", str(campaign.out)]
        again += [word for pair in data or [] for word in ("--data", pair)]
        hint = (
            f"the finished trials are kept. Go on with:\n  {shlex.join(again)} --resume"
            if campaign.work.exists()
            else "nothing was measured yet."
        )
        _errors().print(f"\nInterrupted; {hint}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    _show(folder)


def _show(folder: Path) -> None:
    """Print what came out, and end with 1 when no trial is valid."""
    from .campaigns.analysis import summary_table
    from .datasets.store import load

    dataset = load(folder)
    valid = dataset.trials["verdict"] == "valid"
    if not valid.all():
        commonest = dataset.trials.loc[~valid, "reasons"].str.partition(" (")[0].mode()[0]
        _out().print(
            f"{(~valid).sum()} of {len(valid)} trials are invalid and count in no figure; the "
            f"commonest reason: {commonest}",
            highlight=False,
        )
    _out().print(summary_table(dataset))
    if any(dataset.trials["energy_provenance"] == "estimated"):
        _out().print(
            "[yellow]Energy is estimated[/yellow] from the CPU's rated power and its load: there "
            "is no energy sensor here. Compare configurations, do not quote joules."
        )
    _out().print(f"dataset  {folder}", highlight=False, markup=False, soft_wrap=True)
    _out().print(
        f"report   {folder / 'report.html'}", highlight=False, markup=False, soft_wrap=True
    )
    if not valid.any():
        raise typer.Exit(1)


def _pair(text: str) -> tuple[str, Path]:
    name, sign, path = text.partition("=")
    if not sign or not path:
        raise SpecError(
            "--data", found=f"'{text}'", expected="SCENARIO=PATH", remedy="joulery scenarios"
        )
    return name, Path(path)


@app.command()
def report(folder: DatasetFolder) -> None:
    """Write report.html and report.md of a dataset, or of a campaign that is still unfinished.

    Of an energy validation it writes energy-validation.html.
    """
    from .campaigns.runner import report_on
    from .campaigns.validation.page import write_page
    from .campaigns.validation.results import is_validation

    path = write_page(folder) if is_validation(folder) else report_on(folder)
    _out().print(f"report   {path}", highlight=False, markup=False, soft_wrap=True)


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


@app.command()
def scenarios() -> None:
    """List the scenarios, their models and how their answers are judged."""
    from rich.markup import escape
    from rich.table import Table

    from .campaigns.scenarios import scenarios as known

    for scenario in known():
        _out().print(f"[bold]{scenario.name}[/bold]  {escape(scenario.summary)}")
        table = Table(box=None, padding=(0, 1), show_header=False)
        for _ in range(3):
            table.add_column(no_wrap=True)
        for family in scenario.models:
            table.add_row(" model", family.name, ", ".join(family.precisions), family.title)
        for number, figure in enumerate(scenario.figures):
            kind = "[bold] headline[/bold]" if number == 0 else " quality"
            kind = kind if figure.reference_of is None else " [dim]reference[/dim]"
            table.add_row(kind, figure.name, f"{figure.better} is better", figure.title)
        _out().print(table)


@spec_app.command("schema")
def spec_schema() -> None:
    """Print the JSON schema of specifications, for editors."""
    from .campaigns.spec import CampaignSpec

    typer.echo(json.dumps(CampaignSpec.model_json_schema(), indent=2))


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
