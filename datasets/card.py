"""The data card: the README of a dataset, for people. No table is read here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from .metadata import DESCRIPTOR, LICENCE, About, Origin

__all__ = ["campaign_card", "data_card"]

_CLOSED = ("closed", "single_stream", "multi_stream", "offline")
"""Loads whose requests wait for answers."""


def _column_lines(schema: pa.Schema) -> list[str]:
    lines = ["| column | unit | meaning |", "|---|---|---|"]
    for column in schema:
        metadata = {key.decode(): text.decode() for key, text in (column.metadata or {}).items()}
        meaning = metadata.get("description", "").replace("|", "\\|")
        lines.append(f"| `{column.name}` | {metadata.get('unit', '')} | {meaning} |")
    return lines


def data_card(
    about: Origin,
    tables: Mapping[str, tuple[str, pa.Schema]],
    *,
    state: str,
    chapters: Iterable[str],
) -> str:
    """Return the README of a dataset, in Markdown.

    Args:
        about: What the dataset is about.
        tables: Files and Arrow schema of each table, by its name.
        state: Whether it is all there, in a sentence.
        chapters: Lines on how it was made.
    """
    lines = [f"# {about.title}", "", about.description, "", state, "", *chapters]
    for name, (files, schema) in tables.items():
        description = (schema.metadata or {}).get(b"description", b"").decode()
        lines += ["", f"## Table: {name}", "", f"{description} Files: {files}.", ""]
        lines += _column_lines(schema)
    lines += [
        "",
        "## Checking it",
        "",
        "`sha256sum -c SHA256SUMS` checks every file, `frictionless validate datapackage.json` the"
        " tables, `joulery dataset verify .` both.",
        "",
        "## Citing and reusing it",
        "",
        f"> {about.title}. Dataset, made with joulery {about.version}, {about.created[:10]}.",
        "",
        f"The results are licensed {LICENCE['name']} ({LICENCE['path']})."
        + (
            " The input data is not part of the dataset and keeps its own licence."
            if about.data_sources
            else ""
        ),
        "",
    ]
    return "\n".join(lines)


def campaign_card(
    about: About,
    tables: Mapping[str, tuple[str, pa.Schema]],
    provenances: Sequence[str],
) -> str:
    """Return the README of a campaign's dataset, in Markdown.

    Args:
        about: What the dataset is about.
        tables: Files and Arrow schema of each table, by its name.
        provenances: Every provenance that an energy of the dataset has.
    """
    done = f"{about.trials_done} of {about.trials_planned} planned trials"
    chapters = [
        "## How it was made",
        "",
        f"Measured with joulery {about.version}; the campaign began {about.created}. Each trial"
        f" starts one AI service in one configuration, offers it requests in {_loops(about)}, and"
        " joins latency, energy and answer quality of the same requests in one row. Latency counts"
        " from the moment a request became due. Invalid trials are kept; their `verdict`"
        f" and `reasons` say why. The specification is in `{DESCRIPTOR}` under `joulery.spec`; the"
        " machine is in `environment.json`.",
        "",
        "## Where the energies come from",
        "",
        f"Provenance found here: {', '.join(provenances) or 'none: no energy is known'}."
        + (
            " **`estimated` means that no energy sensor was read**: a model turns the load of the"
            " machine into watts. Its error is largely common to all configurations, so that ratios"
            " between them are better known than any one value."
            if "estimated" in provenances
            else ""
        ),
        "",
        "`_low` and `_high` columns bound the 95 % interval of their value.",
        "",
        "## Input data",
        "",
        "| scenario | source | licence | SHA-256 |",
        "|---|---|---|---|",
    ]
    chapters += [
        f"| {source['scenario']} | {source['source']} | {source['licence']}"
        f" | `{source['sha256'][:16]}…` |"
        for source in about.data_sources
    ]
    state = f"Complete: {done}." if about.complete else f"**PARTIAL: {done}.**"
    return data_card(about, tables, state=state, chapters=chapters)


def _loops(about: About) -> str:
    """Say whether requests came whatever became of others, or waited for answers."""
    kinds = {load.get("arrival") in _CLOSED for load in about.spec.get("loads", ())}
    if kinds == {True}:
        return "a closed loop"
    return "open and closed loops" if len(kinds) == 2 else "an open loop"
