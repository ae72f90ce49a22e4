"""Scrapes a profiler's Prometheus endpoint over HTTP, and reads what prometheus_client parsed."""

from __future__ import annotations

import urllib.request

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from joulery import ServiceProfiler

__all__ = ["families_of", "text_of", "value"]


def text_of(profiler: ServiceProfiler) -> str:
    """Scrape a profiler's endpoint."""
    assert profiler.url is not None
    with urllib.request.urlopen(profiler.url, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def families_of(profiler: ServiceProfiler) -> dict[str, Metric]:
    """Scrape a profiler's endpoint, and parse it."""
    families = text_string_to_metric_families(text_of(profiler))
    return {family.name: family for family in families}


def value(family: Metric, suffix: str = "", **labels: str) -> float:
    """Return the sum of a family's samples with these labels."""
    return sum(
        sample.value
        for sample in family.samples
        if sample.name == family.name + suffix and sample.labels.items() >= labels.items()
    )
