"""When a cell has been repeated enough."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from joulery.campaigns.stopping import StoppingRule, is_settled

RULE = StoppingRule(width_ratio=0.1, repeats_min=3)


@pytest.mark.parametrize("number", [3, 5, 12])
@pytest.mark.parametrize("share", [0.99, 1.01])
def test_it_is_the_interval_of_the_mean(number: int, share: float) -> None:
    """Values whose interval is a little narrower than asked for settle; a little wider do not."""
    values = np.linspace(-1.0, 1.0, number)
    half = student.interval(0.95, number - 1, scale=values.std(ddof=1) / np.sqrt(number))[1]
    spread = 0.1 / half * share
    assert is_settled(list(1.0 + spread * values), RULE) is (share < 1)


def test_few_values_settle_nothing() -> None:
    """Two that are equal by chance are too few; nothing is known of none."""
    assert not is_settled([1.0, 1.0], RULE)
    assert not is_settled([], RULE)
    assert is_settled([1.0, 1.0, 1.0], RULE)


def test_quiet_cells_stop_early_and_noisy_ones_go_on() -> None:
    """What it is for: repeats go where they tell something, and the mean is found in both."""
    rng = np.random.default_rng(4)
    needed = {}
    for noise in (0.02, 0.15):
        counts = []
        for _ in range(200):
            values = list(rng.normal(1.0, noise, 2))
            while not is_settled(values, RULE):
                values.append(float(rng.normal(1.0, noise)))
            counts.append(len(values))
            assert abs(np.mean(values) - 1.0) < 0.3
        needed[noise] = np.mean(counts)
    assert needed[0.02] < 3.5
    assert needed[0.15] > 6
