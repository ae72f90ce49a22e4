"""Verdicts: each reason to doubt a trial, by name and with its figures."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from joulery.campaigns.loads import (
    BurstyLoad,
    ClosedLoad,
    Load,
    OfflineLoad,
    SingleStreamLoad,
    SteadyLoad,
)
from joulery.campaigns.spec import Limits, Slo, TrialTimes
from joulery.campaigns.verdict import Evidence, judge

TIMES = TrialTimes(window_s=1.0)
POISSON = SteadyLoad(rate_hz=200.0)
SLO = Slo(latency_s=0.1, percentile=0.95)
_RNG = np.random.default_rng(3)
GOOD = Evidence(
    warmup_medians_s=(0.0021, 0.0020),
    steady=True,
    due_s=np.sort(_RNG.uniform(0, 1, 200)),
    latency_s=_RNG.gamma(4.0, 0.0005, 200),
    requests=200,
    answered=200,
    send_lag_p99_s=0.0004,
    idle_before_w=10.0,
    idle_after_w=10.5,
    gaps=(),
    generator_cpu_ratio=0.2,
)


def _reasons(load: Load = POISSON, **changes: Any) -> tuple[str, ...]:
    evidence = dataclasses.replace(GOOD, **changes)
    return judge(evidence, load=load, limits=Limits(), slo=SLO, times=TIMES).reasons


def test_an_ordinary_trial_is_valid() -> None:
    """Nothing to doubt gives no reason."""
    assert _reasons() == ()


@pytest.mark.parametrize(
    ("name", "figures", "changes"),
    [
        ("requests_failed", "5 of 205", {"requests": 205}),
        ("send_lag", "p99 9.0 ms", {"send_lag_p99_s": 0.009}),
        ("generator_saturated", "95 % of its core", {"generator_cpu_ratio": 0.95}),
        ("not_steady", "2.10, 2.00", {"steady": False}),
        ("idle_drift", "10.00 W before, 20.00 W after", {"idle_after_w": 20.0}),
        ("counter_gap", "package-0: reset", {"gaps": ("package-0: reset",)}),
    ],
)
def test_each_doubt_has_its_name_and_figures(
    name: str, figures: str, changes: dict[str, Any]
) -> None:
    """One thing wrong gives exactly one reason, which carries the figures."""
    (reason,) = _reasons(**changes)
    assert reason.startswith(name)
    assert figures in reason


def test_too_few_requests_for_the_percentile_are_refused() -> None:
    """Fewer answers than bound the 95th percentile at 95 % confidence make no valid trial."""
    few = slice(0, 200, 3)
    (reason,) = _reasons(
        due_s=GOOD.due_s[few], latency_s=GOOD.latency_s[few], requests=67, answered=67
    )
    assert reason == "too_few_requests (67 answered, 72 needed for the 95th percentile)"


@pytest.mark.parametrize("delay_s", [0.0, 0.4])
def test_a_service_that_falls_behind_is_overloaded(delay_s: float) -> None:
    """Half as many answers as requests are refused, however steady the medians; delay alone not."""
    late_s = delay_s + GOOD.latency_s
    assert _reasons(latency_s=late_s) == ()
    reason = _reasons(latency_s=late_s + GOOD.due_s)[-1]
    assert reason.startswith("overloaded (")
    assert "requests in the second half of the window, at most 10 % fewer)" in reason
    bursts = BurstyLoad(
        arrival="mmpp", quiet_rate_hz=1.0, burst_rate_hz=200.0, quiet_s=1.0, burst_s=1.0
    )
    assert _reasons(bursts, latency_s=late_s + GOOD.due_s) == ()


def test_a_window_that_slows_down_is_unstable() -> None:
    """Latency that grows through the window is no single figure."""
    (reason,) = _reasons(latency_s=0.001 + 0.1 * GOOD.due_s**2)
    assert reason.startswith("unstable")


def test_a_quarter_without_answers_is_unstable() -> None:
    """A service that answered nothing for a quarter of the window was not steady."""
    kept = GOOD.due_s > 0.3
    reasons = _reasons(
        due_s=GOOD.due_s[kept],
        latency_s=GOOD.latency_s[kept],
        requests=int(kept.sum()),
        answered=int(kept.sum()),
    )
    assert any("quarter of the window without an answer" in reason for reason in reasons)


def test_unknown_power_is_no_drift() -> None:
    """A baseline that is not known is a gap elsewhere, not a drift here."""
    assert _reasons(idle_before_w=None) == ()


def test_a_load_that_changes_may_change_the_latency() -> None:
    """Under bursts the quarters of a window differ by design; under a steady load they may not."""
    load = BurstyLoad(
        arrival="mmpp", quiet_rate_hz=10.0, burst_rate_hz=100.0, quiet_s=1.0, burst_s=1.0
    )
    slower = 0.001 + 0.1 * GOOD.due_s**2
    assert _reasons(load, latency_s=slower) == ()
    assert _reasons(ClosedLoad(arrival="closed", users=4), latency_s=slower) != ()


def test_single_stream_needs_as_many_queries_as_mlperf_asks() -> None:
    """What bounds a percentile at 95 % confidence is too few for MLPerf's 99 %."""
    few: dict[str, Any] = {"due_s": GOOD.due_s[::2], "latency_s": GOOD.latency_s[::2]}
    few |= {"requests": 100, "answered": 100}
    assert _reasons(**few) == ()
    (reason,) = _reasons(SingleStreamLoad(arrival="single_stream"), **few)
    assert reason.startswith("too_few_requests (100 answered, 130 needed")


def test_offline_is_judged_by_its_throughput() -> None:
    """All at once: few requests are enough, and answers must come as fast at the end as before."""
    load = OfflineLoad(arrival="offline", samples=60)
    even: dict[str, Any] = {"due_s": np.zeros(60), "requests": 60, "answered": 60}
    assert _reasons(load, latency_s=np.linspace(0.1, 6.0, 60), **even) == ()
    (reason,) = _reasons(load, latency_s=np.geomspace(0.01, 6.0, 60), **even)
    assert reason.startswith("unstable (answers of the quarters vary")
    (reason,) = _reasons(load, send_lag_p99_s=0.009, latency_s=np.linspace(0.1, 6.0, 60), **even)
    assert reason.startswith("send_lag")
