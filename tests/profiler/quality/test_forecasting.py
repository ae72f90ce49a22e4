"""Forecast errors against hand-worked cases and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from joulery.profiler.quality.forecasting import (
    drift,
    mae,
    mase,
    naive,
    naive_scale,
    rmse,
    seasonal_naive,
    smape,
)

PAIRS = arrays(np.float64, (2, 7), elements=st.floats(-1e6, 1e6))


@given(PAIRS)
def test_mae_and_rmse_are_those_of_scikit_learn(pair: np.ndarray) -> None:
    """MAE and RMSE agree with the reference library on any data."""
    assert mae(*pair) == pytest.approx(mean_absolute_error(*pair), rel=1e-12)
    assert rmse(*pair) == pytest.approx(root_mean_squared_error(*pair), rel=1e-12)


@given(PAIRS)
def test_smape_is_symmetric_and_bounded(pair: np.ndarray) -> None:
    """SMAPE does not change when truth and forecast swap, and stays within 0 and 2."""
    assert smape(*pair) == smape(pair[1], pair[0])
    assert 0 <= smape(*pair) <= 2


def test_smape_by_hand() -> None:
    """SMAPE of 1 against 3 is 1, and zero against zero is perfect."""
    assert smape([1.0, 0.0], [3.0, 0.0]) == pytest.approx(0.5)


def test_mase_by_hand() -> None:
    """MASE divides by the mean absolute step of the training part: 2, 1 and 3 make 2."""
    scale = naive_scale([1.0, 3.0, 2.0, 5.0])
    assert scale == 2.0
    assert mase([6.0, 8.0], [5.0, 5.0], scale) == pytest.approx(1.0)


def test_mase_of_naive_on_its_own_training_part_is_one() -> None:
    """By its definition, one-step naive forecasts of the training part have MASE 1."""
    series = np.random.default_rng(1).normal(size=(50, 2)).cumsum(axis=0)
    assert mase(series[1:], series[:-1], naive_scale(series)) == pytest.approx(1.0)


def test_channels_weigh_alike_in_mase() -> None:
    """With one scale per channel, MASE is the mean of the channels' own."""
    truth, forecast = np.array([[1.0, 100.0]]), np.array([[2.0, 400.0]])
    assert mase(truth, forecast, [1.0, 100.0]) == pytest.approx((1 + 3) / 2)


def test_a_series_that_never_moves_has_no_mase() -> None:
    """A scale of zero is refused, not divided by."""
    with pytest.raises(ValueError, match="moves"):
        mase([1.0], [1.0], naive_scale([2.0, 2.0]))


def test_naive_forecasts_by_hand() -> None:
    """Naive repeats the last value, drift adds the mean step, seasonal naive goes back a season."""
    history = np.arange(10.0).reshape(1, 10, 1) ** 2
    assert naive(history, (1, 3)).ravel().tolist() == [81, 81]
    assert drift(history, (1, 3), [[0.0], [4.0], [10.0]]).ravel().tolist() == [86, 96]
    assert seasonal_naive(history, (1, 3), 4).ravel().tolist() == [36, 64]
    kept = seasonal_naive(history, (1, 3), 4, keep_level=True)
    assert kept.ravel().tolist() == [81 + 36 - 25, 81 + 64 - 25]


def test_a_season_longer_than_the_history_is_refused() -> None:
    """Seasonal naive never invents rows it was not given."""
    with pytest.raises(ValueError, match="season"):
        seasonal_naive(np.zeros((1, 4, 1)), (1,), 4, keep_level=True)


def test_unequal_shapes_are_refused() -> None:
    """Truth and forecast of different shapes are a mistake, not something to broadcast."""
    with pytest.raises(ValueError, match="shape"):
        mae([1.0, 2.0], [1.0])
