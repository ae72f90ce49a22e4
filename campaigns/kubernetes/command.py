"""The commands of campaigns in clusters: `joulery campaign clean`."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from ...errors import SpecError

__all__ = ["campaign_app"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")

campaign_app = typer.Typer(help="What campaigns leave in clusters.", no_args_is_help=True)


@campaign_app.callback()
def _group() -> None:
    """With one command alone, a name would be taken for it."""


@campaign_app.command("clean")
def clean(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the campaign.")],
    namespace: Annotated[
        str | None, typer.Option(help="Only in this one; by default in all of them.")
    ] = None,
    context: Annotated[
        str | None, typer.Option(help="Of the kubeconfig; by default the current one.")
    ] = None,
) -> None:
    """Remove from a cluster whatever a campaign has left there, and list it.

    A campaign removes what it made, and so does the next run of one that was killed. It must not
    run meanwhile.
    """
    from .cluster import Cluster
    from .deployment import selector
    from .sweep import sweep

    if not _NAME.fullmatch(name):
        raise SpecError("NAME", found=f"'{name}'", expected="the `name` that a specification has")
    with Cluster(namespace, context=context) as cluster:
        removed = sweep(cluster, selector(name))
    for one in removed:
        typer.echo(f"removed  {one}")
    if not removed:
        typer.echo(f"nothing of campaign {name} is there")
