"""MLPerf's rule for how many queries a percentile of latency needs."""

from __future__ import annotations

from scipy.special import betainc

__all__ = ["queries_needed"]

_OVER = 1


def queries_needed(percentile: float, *, confidence: float = 0.99) -> int:
    """Return with how many queries MLPerf says something about a percentile of their latencies.

    One of them may be slower than what is said. The others are then as many as it takes for a
    service that is no better to do so well by chance with less than `1 - confidence`:
    `I_p(h, t + 1)`, the regularised incomplete beta function, for `h` queries below and `t` above
    (MLPerf inference rules, early stopping; LoadGen's `early_stopping.cc`).

    Args:
        percentile: Between 0 and 1, both excluded.
        confidence: Likewise.

    Raises:
        ValueError: When an argument is out of its range.
    """
    if not 0 < percentile < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"percentile and confidence must lie between 0 and 1, found {percentile}, {confidence}"
        )
    low, high = 0, 1
    while betainc(high, _OVER + 1, percentile) > 1 - confidence:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if betainc(middle, _OVER + 1, percentile) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high + _OVER
