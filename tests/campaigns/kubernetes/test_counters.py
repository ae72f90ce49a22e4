"""What counters gained between samples: the truth never lies outside, whatever happened."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulery.campaigns.kubernetes.counters import Missing, gained

_STEPS = st.lists(
    st.tuples(st.floats(0.1, 60.0), st.floats(0.0, 1e4)), min_size=3, max_size=40
).map(lambda steps: np.cumsum([(0.0, 0.0), *steps], axis=0))
"""A counter that never falls: moments and what it stands at, a line between two of them."""
_SHARES = st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)).map(sorted)


def _at(curve: np.ndarray, moment_s: float) -> float:
    return float(np.interp(moment_s, curve[:, 0], curve[:, 1]))


@settings(deadline=None)
@given(_STEPS, st.floats(0.5, 90.0), _SHARES, st.floats(-0.5, 0.5))
def test_truth_lies_between_the_bounds(
    curve: np.ndarray, scrape_s: float, shares: list[float], off_s: float
) -> None:
    """However seldom a counter is sampled, and with a clock that is off as far as is said."""
    end_s = float(curve[-1, 0])
    moments = np.arange(-1.0, end_s + 2 * scrape_s + 1.0, scrape_s)
    samples = [(float(t), _at(curve, float(t))) for t in moments]
    first_s, last_s = (share * end_s for share in shares)
    found = gained(samples, first_s + off_s, last_s + off_s, clock_error_s=0.5)
    truth = _at(curve, last_s) - _at(curve, first_s)
    slack = 1e-9 * (1.0 + float(curve[-1, 1]))
    assert found.low - slack <= truth <= found.high + slack
    assert found.low - slack <= found.value <= found.high + slack


@settings(deadline=None)
@given(st.floats(0.1, 1e3), st.floats(0.5, 60.0), st.integers(2, 50), _SHARES)
def test_steady_power_is_exact(
    power_w: float, scrape_s: float, count: int, shares: list[float]
) -> None:
    """Of steady power the value is exact, and the bounds are a scrape wide at each end."""
    samples = [(n * scrape_s, n * scrape_s * power_w) for n in range(count + 1)]
    first_s, last_s = (share * count * scrape_s for share in shares)
    found = gained(samples, first_s, last_s)
    assert found.value == pytest.approx(power_w * (last_s - first_s), abs=1e-6 * samples[-1][1])
    assert found.high - found.low <= 4.0 * scrape_s * power_w * (1 + 1e-9)


@settings(deadline=None)
@given(_STEPS, _SHARES)
def test_more_scrapes_never_widen(curve: np.ndarray, shares: list[float]) -> None:
    """Twice the scrapes leave an interval that is no wider."""
    end_s = float(curve[-1, 0])
    first_s, last_s = (share * end_s for share in shares)
    widths = []
    for count in (8, 16):
        moments = np.linspace(0.0, end_s, count + 1)
        found = gained([(float(t), _at(curve, float(t))) for t in moments], first_s, last_s)
        widths.append(found.high - found.low)
    assert widths[1] <= widths[0] + 1e-9 * (1.0 + float(curve[-1, 1]))


_RISING = [(0.0, 0.0), (10.0, 5.0), (20.0, 15.0), (30.0, 40.0)]


@pytest.mark.parametrize(
    ("samples", "start_s", "end_s", "words"),
    [
        ([], 1.0, 2.0, "no samples"),
        (_RISING, -1.0, 20.0, r"first sample came 1\.0 s too late"),
        (_RISING, 5.0, 31.5, r"last sample came 1\.5 s too early"),
        ([(0.0, 50.0), (10.0, 55.0), (20.0, 3.0), (30.0, 9.0)], 5.0, 25.0, "counter fell"),
        ([(0.0, 50.0), (10.0, 2.0)], 4.0, 5.0, "counter fell"),
    ],
)
def test_what_samples_do_not_tell(
    samples: list[tuple[float, float]], start_s: float, end_s: float, words: str
) -> None:
    """Without samples around a moment, or with a counter that began anew, nothing is made up."""
    with pytest.raises(Missing, match=words):
        gained(samples, start_s, end_s)


def test_by_hand() -> None:
    """5 s at 1 W after the start's middle, ten at 2.5 W cut in the middle."""
    found = gained(_RISING, 15.0, 25.0)
    assert (found.value, found.low, found.high) == (17.5, 0.0, 35.0)
    exact = gained(_RISING, 10.0, 20.0)
    assert (exact.value, exact.low, exact.high) == (10.0, 10.0, 10.0)
