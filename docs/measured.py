"""Pages that people write, with tables filled in: what benchmarks measured, and metrics."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from joulery.campaigns.metrics import CATALOGUE
from joulery.campaigns.scenarios import scenarios
from joulery.campaigns.scenarios.card_tables import filled_card
from joulery.campaigns.scenarios.tables import scenario_table

__all__ = ["filled", "markdown_table", "pages"]

_ROOT = Path(__file__).resolve().parents[1]


def pages() -> dict[str, str]:
    """Return these pages by their paths from the repository's root."""
    return {
        "docs/campaigns.md": _campaigns(),
        "docs/exporter.md": _costs("docs/exporter.md", "exporter-scale.csv", "pods", _COSTS),
        "docs/service-exporter.md": _costs(
            "docs/service-exporter.md", "service-exporter.csv", "services", _SERVICE_COSTS
        ),
        "docs/scenarios.md": _scenarios(),
        **_cards(),
    }


def _campaigns() -> str:
    """Return the page of campaigns: how well its parts work, and its metrics, filled in."""
    path = "docs/campaigns.md"
    text = (_ROOT / path).read_text(encoding="utf-8")
    for name, source, columns in (
        ("load", "load.csv", _FIGURES),
        ("network", "network.csv", _NETWORK),
        ("repeat", "repeat.csv", _FIGURES),
        ("kills", "kill.csv", _KILLS),
    ):
        text = filled(path, name, f"from {source}", _table(source, columns), text)
    metrics = markdown_table(
        ("metric", "type", "labels", "meaning"),
        ((f"`{m.name}`", m.type, ", ".join(f"`{x}`" for x in m.labels), m.help) for m in CATALOGUE),
    )
    return filled(path, "metrics", "from campaigns/metrics.py", metrics, text)


def _table(source: str, columns: Mapping[str, str]) -> str:
    """Return some columns of a benchmark's CSV file as a table, under names for people."""
    return markdown_table(
        columns.values(), ([row[key] for key in columns] for row in _rows(source))
    )


_FIGURES = {
    "measure": "what",
    "value": "found",
    "unit": "unit",
    "target": "asked for",
    "met": "met",
}
_NETWORK = {"what": "what", "asked": "asked for", "found": "found", "error": "error"}
_SERVING = {
    "server": "server",
    "p50_ms": "latency p50, ms",
    "p99_ms": "p99, ms",
    "answers_per_s": "answers a second",
    "cpu_us_per_answer": "CPU time of an answer, us",
}
_KILLS = {
    "victim": "killed",
    "kills": "times",
    "trials_cut_short": "trials cut short",
    "finished_trials_lost_or_changed": "finished trials lost or changed",
    "orphans": "processes left",
    "corrupt_files": "files corrupt",
    "last_process_gone_max_s": "last process gone, s, at most",
    "resume_median_s": "to go on, s, median",
}


def filled(path: str, name: str, source: str, table: str, text: str = "") -> str:
    """Return a page that people write, with the table between two marks replaced."""
    text = text or (_ROOT / path).read_text(encoding="utf-8")
    begin, end = f"<!-- {name}: written by `make docs` {source} -->", f"<!-- end of {name} -->"
    before, rest = text.split(begin)
    return f"{before}{begin}\n{table}{end}{rest.split(end)[1]}"


def _scenarios() -> str:
    """Return the page of the scenarios, what each configuration answers and costs filled in."""
    rows = _rows("scenarios.csv")
    path = "docs/scenarios.md"
    text = (_ROOT / path).read_text(encoding="utf-8")
    for scenario in scenarios():
        own = [row for row in rows if row["scenario"] == scenario.name]
        text = filled(path, scenario.name, "from scenarios.csv", scenario_table(own), text)
    return filled(path, "serving", "from serving.csv", _table("serving.csv", _SERVING), text)


def _cards() -> dict[str, str]:
    """Return the model cards of the scenarios by their paths, their tables filled in."""
    found = [_rows(source) for source in ("scenario-quality.csv", "scenarios.csv")]
    cards = {}
    for one in scenarios():
        path = f"campaigns/scenarios/{one.name}/models/MODEL_CARD.md"
        cards[path] = filled_card(path, (_ROOT / path).read_text("utf-8"), one.name, *found)
    return cards


def _rows(source: str) -> list[dict[str, str]]:
    """Return what a benchmark wrote into a CSV file."""
    with (_ROOT / "docs" / source).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _costs(path: str, source: str, size: str, columns: _Columns) -> str:
    """Return the page of an exporter, what it costs filled in from a benchmark's output."""
    table = markdown_table(
        (size, *(name for name, _ in columns)),
        ((row[size], *(form(row) for _, form in columns)) for row in _rows(source)),
    )
    return filled(path, "scale", f"from {source}", table)


_Columns = tuple[tuple[str, Callable[[Mapping[str, str]], str]], ...]

_COSTS: _Columns = (
    ("CPU, % of a core", lambda row: f"{float(row['cpu_percent']):.2f}"),
    ("in its first minute", lambda row: f"{float(row['young_cpu_percent']):.2f}"),
    ("cycle, ms of CPU", lambda row: f"{float(row['cycle_ms']):.1f}"),
    ("memory, MB", lambda row: f"{float(row['rss_mb']):.0f}"),
    ("scrape, ms, median", lambda row: row["scrape_p50_ms"]),
    ("99th percentile", lambda row: row["scrape_p99_ms"]),
    ("series, per pod", lambda row: f"{row['series']}, {row['series_per_pod']}"),
    ("a walk over /proc, ms of CPU", lambda row: f"{float(row['proc_walk_ms']):.1f}"),
)

_SERVICE_COSTS: _Columns = (
    ("CPU, % of a core", lambda row: f"{float(row['cpu_percent']):.1f}"),
    ("Prometheus' on the same services", lambda row: f"{float(row['prometheus_cpu_percent']):.1f}"),
    ("memory, MB", lambda row: f"{float(row['rss_mb']):.0f}"),
    ("Prometheus'", lambda row: f"{float(row['prometheus_rss_mb']):.0f}"),
    ("series", lambda row: row["series"]),
    ("OTLP points per CPU second", lambda row: f"{int(row['points_per_cpu_s']):,}"),
    ("and by the clock", lambda row: f"{int(row['points_per_s']):,}"),
)


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    names = tuple(head)
    lines = [names, ("---",) * len(names), *rows]
    return (
        "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
        )
        + "\n"
    )
