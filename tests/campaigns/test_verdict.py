"""Verdicts: each reason to doubt a trial, by name and with its figures."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from joulery.campaigns.spec import Limits, Slo, TrialTimes
from joulery.campaigns.verdict import Evidence, judge

TIMES = TrialTimes(window_s=1.0)
SLO = Slo(latency_s=0.1, percentile=0.95)
_RNG = np.random.default_rng(3)
GOOD = Evidence(
    warmup_medians_s=(0.0021, 0.0020),
    steady=True,
    intended_s=np.sort(_RNG.uniform(0, 1, 200)),
    latency_s=_RNG.gamma(4.0, 0.0005, 200),
    requests=200,
    send_lag_p99_s=0.0004,
    idle_before_w=10.0,
    idle_after_w=10.5,
    gaps=(),
    generator_cpu_ratio=0.2,
)


def _reasons(**changes: Any) -> tuple[str, ...]:
    evidence = dataclasses.replace(GOOD, **changes)
    return judge(evidence, limits=Limits(), slo=SLO, times=TIMES).reasons


def test_an_ordinary_trial_is_valid() -> None:
    """Nothing to doubt gives no reason."""
    assert _reasons() == ()


@pytest.mark.parametrize(
    ("name", "figures", "changes"),
    [
        ("requests_failed", "5 of 205", {"requests": 205}),
        ("send_lag", "p99 9.0 ms", {"send_lag_p99_s": 0.009}),
        ("generator_saturated", "95 % of a core", {"generator_cpu_ratio": 0.95}),
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
        intended_s=GOOD.intended_s[few], latency_s=GOOD.latency_s[few], requests=67
    )
    assert reason == "too_few_requests (67 answered, 72 needed for the 95th percentile)"


def test_a_window_that_slows_down_is_unstable() -> None:
    """Latency that grows through the window is no single figure."""
    (reason,) = _reasons(latency_s=0.001 + 0.1 * GOOD.intended_s**2)
    assert reason.startswith("unstable")


def test_a_quarter_without_answers_is_unstable() -> None:
    """A service that answered nothing for a quarter of the window was not steady."""
    kept = GOOD.intended_s > 0.3
    reasons = _reasons(
        intended_s=GOOD.intended_s[kept], latency_s=GOOD.latency_s[kept], requests=int(kept.sum())
    )
    assert any("quarter of the window without an answer" in reason for reason in reasons)


def test_unknown_power_is_no_drift() -> None:
    """A baseline that is not known is a gap elsewhere, not a drift here."""
    assert _reasons(idle_before_w=None) == ()
