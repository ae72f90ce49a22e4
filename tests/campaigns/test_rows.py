"""Columns of a trial's row."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from joulery.campaigns.rows import latency_facts

SENT = 1000


def facts(latency_s: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return the columns of a trial in which so many requests were answered, in this time."""
    answered = np.arange(SENT) < len(latency_s)
    window = SimpleNamespace(duration_s=10.0)
    observed: Any = SimpleNamespace(
        windows={"window": window, "warmup": window},
        answers=SimpleNamespace(lag_s=np.zeros(SENT), done_s=np.linspace(0, 10, SENT)),
        service=SimpleNamespace(startup_s=1.0),
        started_at="2026-01-01T00:00:00+00:00",
    )
    return latency_facts(observed, answered, latency_s, SENT)


def test_requests_without_an_answer_rank_as_late() -> None:
    """Percentiles are of all requests; one that falls among those without an answer is not known.

    So a service that drops its slowest requests has the percentiles it had with them.
    """
    whole = np.arange(1, SENT + 1) / SENT
    every, most = facts(whole), facts(whole[:985])
    for name in ("p50", "p90", "p95"):
        assert most[f"latency_{name}_s"] == every[f"latency_{name}_s"]
    assert every["latency_p99_s"] == pytest.approx(0.99)
    assert most["latency_p99_s"] is None
    assert most["latency_p99_low_s"] == every["latency_p99_low_s"]
    assert most["latency_p99_high_s"] is None
    assert most["requests_failed"] == 15
    assert facts(np.empty(0))["latency_p50_s"] is None
