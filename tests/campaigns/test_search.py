"""The search for the highest rate that keeps the objective."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from joulery.campaigns.search import Probe, RateSearch, bracket, next_rate_hz, probe_of, steps


def searched(search: RateSearch, capacity_hz: float, silent: frozenset[int]) -> list[Probe]:
    """Search a service that keeps up to a rate; some of the probes tell nothing."""
    probes: list[Probe] = []
    while (rate_hz := next_rate_hz(search, probes)) is not None:
        kept = None if len(probes) in silent else rate_hz <= capacity_hz
        probes.append(Probe(rate_hz=rate_hz, kept=kept))
    return probes


@settings(deadline=None)
@given(
    lowest_hz=st.floats(1, 100),
    span=st.floats(1.5, 1000),
    at=st.floats(0.02, 0.98),
    ratio=st.floats(0.02, 0.4),
)
def test_the_capacity_is_bracketed(lowest_hz: float, span: float, at: float, ratio: float) -> None:
    """The two rates that stay are no further apart than asked, with the capacity between them."""
    search = RateSearch(
        lowest_hz=lowest_hz, highest_hz=lowest_hz * span, resolution_ratio=ratio, retries=0
    )
    capacity_hz = lowest_hz * span**at
    probes = searched(search, capacity_hz, frozenset())
    kept_hz, failed_hz = bracket(probes)
    low_hz, high_hz = kept_hz or search.lowest_hz, failed_hz or search.highest_hz
    assert low_hz <= capacity_hz * 1.001
    assert high_hz >= capacity_hz * 0.999
    # Rates are rounded to four digits.
    assert high_hz / low_hz <= (1 + ratio) * 1.002
    assert len(probes) <= steps(search)


def test_a_probe_that_tells_nothing_is_made_again() -> None:
    """The same rate is offered once more; after too many such probes, lower ones are."""
    search = RateSearch(lowest_hz=10, highest_hz=1000, resolution_ratio=0.1, retries=2)
    probes = searched(search, 300.0, frozenset({1, 2}))
    assert probes[1].rate_hz == probes[2].rate_hz == probes[3].rate_hz
    kept_hz, failed_hz = bracket(probes)
    assert kept_hz is not None
    assert failed_hz is not None
    assert kept_hz <= 300 < failed_hz <= kept_hz * 1.11
    blind = searched(search, 300.0, frozenset(range(99)))
    assert [one.rate_hz for one in blind[:4]] == [100.0, 100.0, 100.0, 31.62]
    assert len(blind) <= steps(search)


def test_rates_beyond_the_generator_are_left_alone() -> None:
    """What it cannot send tells nothing; the capacity below is found all the same."""
    search = RateSearch(lowest_hz=10, highest_hz=10_000, resolution_ratio=0.1, retries=1)
    probes: list[Probe] = []
    while (rate_hz := next_rate_hz(search, probes)) is not None:
        probes.append(Probe(rate_hz=rate_hz, kept=None if rate_hz > 200 else rate_hz <= 150))
    kept_hz, failed_hz = bracket(probes)
    assert kept_hz is not None
    assert failed_hz is not None
    assert kept_hz <= 150 < failed_hz <= 200
    assert sum(one.kept is None for one in probes) <= 3


def test_a_range_that_does_not_hold_the_capacity() -> None:
    """Everything is kept, or nothing is: one of the ends is not known."""
    search = RateSearch(lowest_hz=10, highest_hz=1000, retries=0)
    kept_hz, failed_hz = bracket(searched(search, math.inf, frozenset()))
    assert kept_hz is not None
    assert kept_hz > 900
    assert failed_hz is None
    assert bracket(searched(search, 0.0, frozenset()))[0] is None


def test_a_rate_that_is_kept_above_one_that_is_not_does_not_count() -> None:
    """Chance may let a service through at a rate beyond what it failed at."""
    probes = [
        Probe(rate_hz=rate, kept=kept) for rate, kept in ((50, True), (80, False), (90, True))
    ]
    assert bracket(probes) == (50, 80)


@pytest.mark.parametrize(
    ("reasons", "share", "kept"),
    [
        (None, 0.99, True),
        (None, 0.95, True),
        (None, 0.94, False),
        ("not_steady (medians 1, 9 ms)", 0.99, False),
        ("requests_failed (9 of 10); unstable (by 2)", 0.5, False),
        ("too_few_requests (60 answered, 72 needed)", 1.0, None),
        ("requests_failed (9 of 70); too_few_requests (61 answered, 72 needed)", 0.8, False),
        ("send_lag (p99 30 ms)", 0.99, None),
        ("not_steady (medians 1, 9 ms); generator_saturated (95 %)", 0.2, None),
        ("neighbours (2.00 s of CPU time used by others)", 0.2, None),
        ("failed (it did not start)", None, None),
    ],
)
def test_what_a_trial_tells(reasons: str | None, share: float | None, kept: bool | None) -> None:
    """A service that does not keep up is told from a trial that tells nothing."""
    row: dict[str, Any] = {"reasons": reasons, "within_slo_ratio": share, "rate_hz": 40.0}
    assert probe_of(row, 0.95) == Probe(rate_hz=40.0, kept=kept)


def test_a_range_has_to_ascend() -> None:
    """There is something to search."""
    with pytest.raises(ValidationError, match="highest_hz above lowest_hz"):
        RateSearch(lowest_hz=100, highest_hz=105)
