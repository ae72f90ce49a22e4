"""What every page of ours shares: its looks, its figures' code, and how it is put on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

__all__ = ["put", "shared_facts", "templates"]


def templates(package: str) -> jinja2.Environment:
    """Return a package's templates, with the shared ones beside them."""
    here = __package__ or ""
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(one, "templates") for one in dict.fromkeys((package, here))]
        ),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def shared_facts(panels: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what `base.html.j2` names, but for `about`.

    Args:
        panels: Plotly specifications, in the order of the page's elements of class `plot`.
    """
    return {
        "style": Markup(_template_text("report.css")),
        "script": Markup(_template_text("report.js")),
        "plotly": Markup(get_plotlyjs()),
        # Every "<" escaped: data must not be able to close the element it stands in.
        "figures": Markup(json.dumps(panels).replace("<", "\\u003c")),
    }


def put(folder: Path, name: str, text: str) -> None:
    """Write a file by renaming it into place, so that a reader never meets half a page."""
    fresh = folder / f".{name}.new"
    fresh.write_text(text, encoding="utf-8", newline="\n")
    fresh.replace(folder / name)


def _template_text(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
