"""Small pieces of PromQL, put together as text: counters as rates, joins, labels."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["WEAKEST", "labelled", "rated", "selected", "summed", "weakest"]

WEAKEST = ("estimated", "apportioned")
"""What the energy of a pod may be in the end: what is shared out is never better than a share."""


def selected(series: str, *matchers: str) -> str:
    """Return a selector of series."""
    return f"{series}{{{', '.join(matchers)}}}" if matchers else series


def rated(
    series: str, by: Sequence[str], window: str, *matchers: str, function: str = "rate"
) -> str:
    """Return how fast counters rise, added up by labels, whoever scraped them.

    Instances of one job follow each other when an exporter starts anew, and are added. Jobs beside
    each other that scrape the same exporter tell the same twice: of those one counts.
    """
    labels = ", ".join(by)
    counters = f"{function}({selected(series, *matchers)}[{window}])"
    return f"max by ({labels}) (sum by ({labels}, job) ({counters}))"


def summed(vector: str, by: Sequence[str]) -> str:
    """Return a sum by labels."""
    return f"sum by ({', '.join(by)}) ({vector})"


def labelled(vector: str, **labels: str) -> str:
    """Return the same vector with further labels."""
    for name, value in labels.items():
        vector = f'label_replace({vector}, "{name}", "{value}", "", "")'
    return vector


def weakest(total: str, estimated: str, by: Sequence[str]) -> str:
    """Return a total with the label `provenance`: estimated if any part of it is.

    Args:
        total: Of all parts, by labels.
        estimated: The parts that are estimated.
        by: The labels.
    """
    on = f"on ({', '.join(by)})"
    worst, other = WEAKEST
    return (
        f"{labelled(f'{total} and {on} {estimated}', provenance=worst)}\n"
        f"or {on}\n{labelled(total, provenance=other)}"
    )
