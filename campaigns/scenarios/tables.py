"""The tables of `docs/scenarios.md`, of what `benchmarks/scenarios.py` measured.

A row is a model in a precision; a column is an exit taken alone, or a threshold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

__all__ = ["scenario_table"]

_Row = Mapping[str, str]


def scenario_table(rows: Sequence[_Row]) -> str:
    """Return what was measured of one scenario, in Markdown.

    Args:
        rows: Of the benchmark, by column.
    """
    alone = [row for row in rows if not row["exit"]]
    dynamic = [row for row in rows if row["exit"]]
    most = max(rows, key=lambda row: float(row["cpu_ms"]))  # its digits are the most exact
    power_w = float(most["energy_mj"]) / float(most["cpu_ms"])
    low, high = (
        float(most[f"energy_{end}_mj"]) / float(most["energy_mj"]) for end in ("low", "high")
    )
    parts = [
        f"`{rows[0]['figure']}` with its 95 % interval, CPU time of one sample on one thread, and "
        f"the energy above idle that {power_w:.2g} W a thread make of it: estimated, the truth is "
        f"within {low:.2g} to {high:.2g} times.\n\n"
    ]
    if dynamic:
        parts += [_dynamic(dynamic), "\n", *_ratios(dynamic), "\n"]
    if alone:
        parts.append(_static(alone))
    return "".join(parts)


def _dynamic(rows: Sequence[_Row]) -> str:
    columns = list(dict.fromkeys(row["exit"] for row in rows))
    head = ["model", "precision", *(_head(column) for column in columns)]
    lines = [_line(head), _line(["---"] * len(head))]
    for model, precision in dict.fromkeys((row["model"], row["precision"]) for row in rows):
        cells = {row["exit"]: row for row in rows if _is(row, model, precision)}
        told = [_cell(cells[column], column) if column in cells else "" for column in columns]
        lines.append(_line([f"`{model}`", precision, *told]))
    return "".join(lines)


def _static(rows: Sequence[_Row]) -> str:
    lines = [_line(["model", "precision", "answers and cost"]), _line(["---"] * 3)]
    lines += [_line([f"`{row['model']}`", row["precision"], _cell(row, "")]) for row in rows]
    return "".join(lines)


def _ratios(rows: Sequence[_Row]) -> Iterator[str]:
    """Yield what exits and precisions save, as shares of CPU time."""
    times = {
        (row["model"], row["precision"], row["exit"]): float(row["cpu_ms"])
        for row in rows
        if row["exit"].isdigit()
    }
    last = max(place for _, _, place in times)
    early = [
        f"`{model}` {precision} {times[model, precision, '1'] / whole:.0%}"
        for (model, precision, place), whole in times.items()
        if place == last
    ]
    yield f"- Exit 1 takes, of the last exit's CPU time: {', '.join(early)}.\n"
    narrow = [
        f"`{model}` {precision} {spent / times[model, 'fp32', last]:.2f}"
        for (model, precision, place), spent in times.items()
        if place == last and precision != "fp32"
    ]
    yield f"- The last exit takes, times that of fp32: {', '.join(narrow)}.\n"


def _head(column: str) -> str:
    return f"exit {column}" if column.isdigit() else f"sure {column.replace('>=', '≥')}"


def _cell(row: _Row, column: str) -> str:
    if row["quality"]:
        value, low, high = (
            f"{float(row[name]):.3f}" for name in ("quality", "quality_low", "quality_high")
        )
        said = f"**{value}** ({low} to {high})"
    else:
        said = "not known"
    where = f", exit {float(row['mean_exit']):.1f}" if column.startswith(">=") else ""
    return f"{said}<br>{float(row['cpu_ms']):.3g} ms, {float(row['energy_mj']):.3g} mJ{where}"


def _is(row: _Row, model: str, precision: str) -> bool:
    return (row["model"], row["precision"]) == (model, precision)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"
