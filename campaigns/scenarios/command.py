"""The commands of scenarios: `joulery serve`, as a campaign serves them, and `joulery data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...errors import SpecError

__all__ = ["data_app", "scenarios", "serve"]

data_app = typer.Typer(help="Public data for scenarios.", no_args_is_help=True)

_Detector = Annotated[
    Path | None,
    typer.Option(metavar="ONNX", help="Your own detector; --model names it, else its file."),
]
_DetectorSaid = Annotated[
    str | None,
    typer.Option(
        metavar="YAML",
        help="What its file does not tell, such as '{classes: {person: [0], vehicle: [2, 7]}}', "
        "with the keys that `detectors` has in a specification.",
    ),
]
_ScoreThreshold = Annotated[
    float | None, typer.Option(help="Least score of a detection that counts.")
]
_USUAL = "as the configuration says, else "
_BatchWait = Annotated[
    float | None,
    typer.Option(
        help=f"Longest wait for others of a batch, half of --deadline-s at most; {_USUAL}0.005."
    ),
]
_Drain = Annotated[
    float | None,
    typer.Option(
        help="After SIGTERM it goes on to answer for so long, and is not ready; without it, "
        "it stops at once. Ctrl-C always stops it at once."
    ),
]


def scenarios() -> None:
    """List the scenarios, their models and how their answers are judged."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from . import scenarios as known

    console = Console()
    for scenario in known():
        console.print(f"[bold]{scenario.name}[/bold]  {escape(scenario.summary)}")
        table = Table(box=None, padding=(0, 1), show_header=False)
        for _ in range(2):
            table.add_column(no_wrap=True)
        table.add_column(min_width=18, max_width=18)
        for family in scenario.models:
            exits = "" if family.exits == 1 else f", {family.exits} exits"
            precisions = ", ".join(family.precisions)
            table.add_row(" model", family.name, precisions, family.title + exits)
        for number, figure in enumerate(scenario.figures):
            kind = "[bold] headline[/bold]" if number == 0 else " quality"
            kind = kind if figure.reference_of is None else " [dim]reference[/dim]"
            table.add_row(kind, figure.name, f"{figure.better} is better", figure.title)
        console.print(table)


def serve(
    scenario: Annotated[
        str, typer.Argument(metavar="SCENARIO", help="Whose models; see `joulery scenarios`.")
    ],
    config: Annotated[
        Path | None,
        typer.Option(help="What to serve, YAML or JSON; its changes need no restart."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="One model, without a configuration.")] = None,
    detector: _Detector = None,
    detector_said: _DetectorSaid = None,
    precision: Annotated[str | None, typer.Option(help=f"Its number format; {_USUAL}fp32.")] = None,
    batch: Annotated[int | None, typer.Option(help=f"Most rows of one run; {_USUAL}1.")] = None,
    batch_wait_s: _BatchWait = None,
    threads: Annotated[int | None, typer.Option(help=f"Threads of one run; {_USUAL}1.")] = None,
    provider: Annotated[str | None, typer.Option(help=f"What runs it; {_USUAL}cpu.")] = None,
    max_exit: Annotated[
        int | None, typer.Option(help="Last exit of an early-exit model, from 1.")
    ] = None,
    exit_threshold: Annotated[
        float | None, typer.Option(help="Confidence that lets a row leave early.")
    ] = None,
    resolution: Annotated[
        float | None, typer.Option(help="Share of a frame that a detector looks at.")
    ] = None,
    score_threshold: _ScoreThreshold = None,
    deadline_s: Annotated[
        float | None, typer.Option(help="A request that waited longer is refused.")
    ] = None,
    drain_s: _Drain = None,
    queue_limit: Annotated[int | None, typer.Option(help="Most that wait.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0: any.")] = 8080,
    metrics_port: Annotated[
        int | None, typer.Option(help="Port for Prometheus; 0: any; without it none.")
    ] = None,
) -> None:
    """Serve a scenario's models over the Open Inference Protocol v2 (REST).

    For instance `joulery serve traffic_prediction --model tcn_m --max-exit 2`, and then, while it
    runs, a PATCH of /v2/models/tcn_m/config with {"max_exit": 3}, or a change of the file that
    --config names, changes how it answers; no request fails by that.
    """
    from .server import main

    if detector is None and detector_said is None:
        arguments = _served(scenario, config, model, precision)
    else:
        arguments = _own(scenario, config, detector, model, detector_said, precision)
    said = {
        "batch": batch,
        "batch-wait-s": batch_wait_s,
        "threads": threads,
        "provider": provider,
        "max-exit": max_exit,
        "exit-threshold": exit_threshold,
        "resolution": resolution,
        "score-threshold": score_threshold,
        "deadline-s": deadline_s,
        "drain-s": drain_s,
        "queue-limit": queue_limit,
        "host": host,
        "port": port,
        "metrics-port": metrics_port,
    }
    told = [f"--{name}={value}" for name, value in said.items() if value is not None]
    raise typer.Exit(main([*arguments, *told]))


def _served(
    scenario: str, config: Path | None, model: str | None, precision: str | None
) -> list[str]:
    """Return what tells the server whose models it has, and which."""
    from . import scenario as scenario_named
    from .fitted import SHIPPED, model_path

    known = scenario_named(scenario)
    if (config is None) == (model is None):
        raise SpecError(
            "serve",
            found="neither --config nor --model" if config is None else "--config and --model",
            expected="one of them",
            remedy=f"--model {known.models[0].name} serves the simplest",
        )
    arguments = ["--scenario", scenario]
    if config is not None:
        chosen = [] if precision is None else ["--precision", precision]
        return [*arguments, "--config", str(config), *chosen]
    assert model is not None
    precision = precision or "fp32"
    path = model_path(SHIPPED / scenario / "models", known.models, model, precision)
    return [*arguments, "--model", str(path), "--name", model, "--precision", precision]


def _own(
    scenario: str,
    config: Path | None,
    detector: Path | None,
    model: str | None,
    said: str | None,
    precision: str | None,
) -> list[str]:
    """Return what tells the server of a user's own detector, once it is found to be one."""
    import json

    from . import scenario as scenario_named
    from .base import OwnModel
    from .live_config import parsed

    if detector is None:
        raise SpecError("serve", found="--detector-said alone", expected="--detector, or neither")
    if config is not None:
        raise SpecError(
            "serve",
            found="--config and --detector",
            expected="one of them",
            remedy="a configuration names files in `models`, and says the rest in `detector`",
        )
    told = {} if said is None else parsed(said.encode(), subject="--detector-said", is_json=False)
    name, precision = model or detector.stem, precision or "fp32"
    own = OwnModel(files={precision: detector}, sha256={}, said=told)
    scenario_named(scenario).with_own({name: own}).check_own()
    return [
        *("--scenario", scenario, "--model", str(detector), "--name", name),
        *("--precision", precision, f"--detector={json.dumps(told)}"),
    ]


@data_app.command("list")
def data_list() -> None:
    """List the data that can be fetched, with licence and origin."""
    from rich.console import Console

    from .fetching import public_data

    console = Console(highlight=False)
    for name, one in public_data().items():
        console.print(f"[bold]{name}[/bold]  {one.title}", soft_wrap=True)
        facts = f"for {', '.join(one.scenarios)}; {one.licence}; {one.source}"
        console.print(f"  {len(one.files)} files {facts}", soft_wrap=True)


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="See `joulery data list`.")],
    to: Annotated[Path, typer.Option(help="A folder of that name is made in it.")] = Path("data"),
    mirror: Annotated[
        str | None, typer.Option(metavar="URL", help="Another place that has the same files.")
    ] = None,
) -> None:
    """Fetch public data, each file checked by its SHA-256; what is there already stays."""
    from rich.console import Console
    from rich.progress import Progress

    from .fetching import fetch, public_data

    console = Console()
    with Progress(console=console, transient=True) as progress:
        known = public_data().get(name)
        task = progress.add_task(name, total=len(known.files) if known else None)
        folder = fetch(name, to, mirror=mirror, fetched=lambda _: progress.advance(task))
    assert known is not None
    console.print(f"{folder}  {known.licence}, {known.source}", highlight=False, soft_wrap=True)
