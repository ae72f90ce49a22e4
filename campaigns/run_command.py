"""The command `joulery run`: a campaign from its specification to its dataset, and who watches."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SpecError

if TYPE_CHECKING:
    from rich.console import Console

    from .campaign import Campaign
    from .observer import Observer

__all__ = ["run"]


def run(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="The campaign, a YAML file.")],
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
    metrics_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=0,
            max=65535,
            help="Port for Prometheus while it runs; 0: any; without it none.",
        ),
    ] = None,
    metrics_host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Where that port is; by default 127.0.0.1."),
    ] = None,
) -> None:
    """Run a campaign: every trial, then a dataset and a report.

    A campaign that is interrupted keeps its finished trials; [b]--resume[/b] goes on.
    """
    from rich.console import Console

    from .campaign import Campaign
    from .runner import run_campaign

    _refuse_contradictions(resume, force, metrics_port, metrics_host)
    campaign = Campaign.from_file(spec, out, dict(map(_pair, data or [])))
    console = Console()
    listen = None if metrics_port is None else (metrics_host or "127.0.0.1", metrics_port)
    try:
        with _watching(campaign, console, plain=plain, listen=listen) as observer:
            folder = run_campaign(campaign, observer, resume=resume, force=force)
    except KeyboardInterrupt:
        again = ["joulery", "run", str(spec), "--out", str(campaign.out)]
        again += [word for pair in data or [] for word in ("--data", pair)]
        again += [] if metrics_host is None else ["--metrics-host", metrics_host]
        again += [] if metrics_port is None else ["--metrics-port", str(metrics_port)]
        hint = (
            f"the finished trials are kept. Go on with:\n  {shlex.join(again)} --resume"
            if campaign.work.exists()
            else "nothing was measured yet."
        )
        errors = Console(stderr=True)
        errors.print(f"\nInterrupted; {hint}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    _show(folder, console)


def _refuse_contradictions(
    resume: bool, force: bool, metrics_port: int | None, metrics_host: str | None
) -> None:
    if resume and force:
        raise SpecError(
            "--resume --force", found="both", expected="one", remedy="--resume keeps, --force drops"
        )
    if metrics_host is not None and metrics_port is None:
        raise SpecError(
            "--metrics-host",
            found="no --metrics-port",
            expected="both",
            remedy="--metrics-port 0 takes any free port",
        )


@contextlib.contextmanager
def _watching(
    campaign: Campaign, console: Console, *, plain: bool, listen: tuple[str, int] | None
) -> Iterator[Observer]:
    """Yield whom to tell how the campaign goes: people, and Prometheus where it is asked for."""
    from .live import LiveScreen, PlainLog
    from .metrics import CampaignMetrics, serve_metrics
    from .observer import Observers

    live = console.is_terminal and not plain
    with contextlib.ExitStack() as stack:
        metrics = CampaignMetrics(campaign.spec.name, campaign.title)
        # First of all, so that a port that is taken is told before anything is measured.
        url = None if listen is None else stack.enter_context(serve_metrics(metrics, *listen))
        screen = stack.enter_context(LiveScreen(console)) if live else PlainLog(console)
        if url is not None:
            screen.note(f"metrics: {url}")
        yield screen if url is None else Observers(screen, metrics)


def _show(folder: Path, console: Console) -> None:
    """Print what came out, and end with 1 when no trial is valid and no search told anything."""
    from ..datasets.store import load
    from .analysis import summary_table
    from .highest_rates import highest_rates

    dataset = load(folder)
    valid = dataset.trials["verdict"] == "valid"
    searched = highest_rates(dataset.trials, dataset.about.spec)
    if not valid.all():
        commonest = dataset.trials.loc[~valid, "reasons"].str.partition(" (")[0].mode()[0]
        counting = (
            "count as rates that failed, or tell nothing" if searched else "count in no figure"
        )
        console.print(
            f"{(~valid).sum()} of {len(valid)} trials are invalid and {counting}; the commonest "
            f"reason: {commonest}",
            highlight=False,
        )
    console.print(summary_table(dataset))
    if any(dataset.trials["energy_provenance"] == "estimated"):
        console.print(
            "[yellow]Energy is estimated[/yellow] from the CPU's rated power and its load: there "
            "was no energy sensor. Compare configurations, do not quote joules."
        )
    for what, path in (("dataset", folder), ("report", folder / "report.html")):
        console.print(f"{what:<8} {path}", highlight=False, markup=False, soft_wrap=True)
    if not valid.any() and not any(one.told for one in searched):
        raise typer.Exit(1)


def _pair(text: str) -> tuple[str, Path]:
    name, sign, path = text.partition("=")
    if not sign or not path:
        raise SpecError(
            "--data", found=f"'{text}'", expected="SCENARIO=PATH", remedy="joulery scenarios"
        )
    return name, Path(path)
