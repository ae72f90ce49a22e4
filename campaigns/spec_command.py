"""The commands of specifications: `joulery spec schema`, `validate` and `explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["spec_app"]

spec_app = typer.Typer(help="The specification of a campaign.", no_args_is_help=True)

_SpecFile = Annotated[Path, typer.Argument(metavar="SPEC", help="The campaign, a YAML file.")]


@spec_app.command("schema")
def schema() -> None:
    """Print the JSON schema of specifications, for editors."""
    import json

    from .spec import CampaignSpec

    typer.echo(json.dumps(CampaignSpec.model_json_schema(), indent=2))


@spec_app.command("validate")
def validate(specs: Annotated[list[Path], typer.Argument(metavar="SPEC...")]) -> None:
    """Check specifications, down to each model and level, and measure nothing.

    The first one that is wrong ends it, with 2 and a message that says where and why.
    """
    from .campaign import Campaign
    from .explain import duration

    for path in specs:
        campaign = Campaign.from_file(path)
        typer.echo(f"{path}: {len(campaign.plan.trials)} trials, {duration(campaign)}")


@spec_app.command("explain")
def explain(
    spec: _SpecFile,
    trials: Annotated[
        int, typer.Option(metavar="N", min=0, help="How many trials to list, in their order.")
    ] = 12,
) -> None:
    """Say what a campaign will measure and how long it takes, before anything runs."""
    from rich.console import Console

    from .campaign import Campaign
    from .explain import explained

    Console().print(explained(Campaign.from_file(spec), trials=trials), highlight=False)
