"""What holds for the reading of any text at all."""

from __future__ import annotations

import itertools
import math

from joulery.exporters.dialects import Dialect, Hints, Reading, ScrapeRefused, parse
from joulery.exporters.dialects.reading import Histogram, Summary, Told
from joulery.exporters.service_metrics import POD_LABELS, SERVICE_CATALOGUE

__all__ = ["REASONS", "check", "check_reading"]

REASONS = frozenset(
    {
        *("malformed", "truncated", "too_large", "line_too_long", "label_too_long"),
        *("too_many_lines", "too_many_samples", "too_many_series"),
    }
)
_PROBLEMS = frozenset(
    {
        *("bad_bound", "bounds_differ", "buckets_fall", "duplicate_series", "incomplete"),
        *("negative", "no_infinity", "not_finite", "unexpected_type"),
    }
)
_KINDS = {"histogram": Histogram, "summary": Summary, "counter": float, "gauge": float}
_SIZE = {metric: len(metric.labels) - len(POD_LABELS) for metric in SERVICE_CATALOGUE}


def check(body: bytes | str, dialect: Dialect, *, openmetrics: bool = False) -> Reading | None:
    """Return the reading of a body, `None` if it is refused, and fail on anything else."""
    try:
        families = parse(body, [dialect], openmetrics=openmetrics)
    except ScrapeRefused as refused:
        if refused.reason not in REASONS:
            raise
        return None
    reading = dialect.translate(families, Hints())
    check_reading(reading)
    return reading


def check_reading(reading: Reading) -> None:
    """Fail if a reading is not of the catalogue, not finite, or has a series twice."""
    series = [(one.metric.name, one.labels) for one in reading.told]
    assert len(set(series)) == len(series)
    assert reading.problems.keys() <= _PROBLEMS
    assert all(count > 0 for count in reading.problems.values())
    for one in reading.told:
        assert len(one.labels) == _SIZE[one.metric]
        assert isinstance(one.value, _KINDS[one.metric.type])
        _check_value(one)


def _check_value(one: Told) -> None:
    value = one.value
    if isinstance(value, Histogram):
        assert len(value.bounds) == len(value.counts)
        assert value.bounds[-1] == math.inf
        assert all(a < b for a, b in itertools.pairwise(value.bounds))
        assert all(a <= b for a, b in itertools.pairwise(value.counts))
        numbers = [*value.counts, value.sum or 0.0]
    elif isinstance(value, Summary):
        numbers = [value.count, value.sum, *itertools.chain(*value.quantiles)]
    else:
        numbers = [value]
    assert all(isinstance(n, float) and math.isfinite(n) and n >= 0 for n in numbers), one
