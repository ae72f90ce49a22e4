"""Forecast quality against scikit-learn and utilsforecast, on any data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import mean_pinball_loss
from utilsforecast import losses

from joulery.profiler.quality.forecasting import mae, mase, naive_scale, rmse, smape
from joulery.profiler.quality.probabilistic import coverage, crossings, pinball


def close(value: Any) -> Any:
    """Return what equals a value as far as references have to agree."""
    return pytest.approx(value, rel=1e-6, abs=1e-9)


VALUES = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
FEW = settings(max_examples=25, deadline=None)


def _table(series: np.ndarray, **columns: np.ndarray) -> pd.DataFrame:
    """Return answers as the reference takes them: a row for each series and time."""
    rows, count = series.shape
    return pd.DataFrame(
        {
            "unique_id": np.repeat(np.arange(count), rows),
            "ds": np.tile(np.arange(rows), count),
            "y": series.T.ravel(),
            **{name: values.T.ravel() for name, values in columns.items()},
        }
    )


def _mean(found: Any) -> float:
    return float(found["model"].mean())


@FEW
@given(arrays(np.float64, (2, 9, 3), elements=VALUES))
def test_point_errors_are_those_of_the_reference(pair: np.ndarray) -> None:
    """MAE and sMAPE are the reference's; RMSE is over one series, of which the root is taken."""
    truth, said = pair
    table = _table(truth, model=said)
    assert mae(truth, said) == close(_mean(losses.mae(table, ["model"])))
    one = _table(truth[:, :1], model=said[:, :1])
    found = _mean(losses.rmse(one, ["model"]))
    assert rmse(truth[:, 0], said[:, 0]) == close(found)
    # The reference divides by the sum without the 2 of the M4 competition.
    half = _mean(losses.smape(table, ["model"]))
    assert smape(truth, said) == close(2 * half)


@FEW
@given(
    arrays(np.float64, (2, 5, 2), elements=VALUES),
    arrays(np.float64, (12, 2), elements=st.floats(0.5, 1e3), unique=True),
    st.sampled_from([1, 3]),
)
def test_mase_is_that_of_the_reference(pair: np.ndarray, training: np.ndarray, season: int) -> None:
    """MASE, seasonal or not, is the mean of the reference's over the series."""
    truth, said = pair
    found = losses.mase(
        _table(truth, model=said), ["model"], seasonality=season, train_df=_table(training)
    )
    scale = naive_scale(training, season)
    assert mase(truth, said, scale) == close(_mean(found))


@FEW
@given(
    arrays(np.float64, (8, 2), elements=VALUES),
    arrays(np.float64, (8, 3, 2), elements=VALUES),
    st.lists(st.floats(0.01, 0.99), min_size=3, max_size=3),
)
def test_pinball_loss_is_that_of_both_references(
    truth: np.ndarray, quantiles: np.ndarray, levels: list[float]
) -> None:
    """Over several levels the loss is the mean of the references' at each."""
    ours = pinball(truth, quantiles, levels)
    theirs = [
        mean_pinball_loss(truth, quantiles[:, place], alpha=level)
        for place, level in enumerate(levels)
    ]
    assert ours == close(np.mean(theirs))
    others = [
        _mean(
            losses.quantile_loss(
                _table(truth, model=quantiles[:, place]), {"model": "model"}, q=level
            )
        )
        for place, level in enumerate(levels)
    ]
    assert ours == close(np.mean(others))


@FEW
@given(arrays(np.float64, (3, 10, 2), elements=VALUES))
def test_coverage_is_that_of_the_reference(given_: np.ndarray) -> None:
    """The share of truths in an interval, ends included, is the reference's."""
    truth, one, other = given_
    low, high = np.minimum(one, other), np.maximum(one, other)
    table = _table(truth, **{"model-lo-80": low, "model-hi-80": high})
    found = losses.coverage(table, ["model"], level=80)
    assert coverage(truth, low, high) == close(_mean(found))


def test_by_hand() -> None:
    """A quantile of 0.9 that is 1 too low costs 0.9, and 1 too high 0.1; ends are inside."""
    assert pinball([1.0], [[0.0]], [0.9]) == pytest.approx(0.9)
    assert pinball([1.0], [[2.0]], [0.9]) == pytest.approx(0.1)
    assert pinball([3.0], [[1.0]], [0.5]) == mae([3.0], [1.0]) / 2
    assert coverage([1.0, 2.0, 3.0], [1.0, 1.0, 1.0], [1.0, 2.0, 2.0]) == pytest.approx(2 / 3)
    assert crossings([[1.0, 1.0, 2.0], [1.0, 0.0, 2.0]]) == 0.25


def test_what_does_not_fit_is_refused() -> None:
    """Shapes that would broadcast, levels out of range and no values are mistakes."""
    with pytest.raises(ValueError, match="shapes"):
        pinball([1.0, 2.0], [[1.0], [2.0]], [0.1, 0.9])
    with pytest.raises(ValueError, match="levels"):
        pinball([1.0], [[1.0]], [1.0])
    with pytest.raises(ValueError, match="shape"):
        coverage([1.0], [0.0, 0.0], [2.0, 2.0])
    with pytest.raises(ValueError, match="need its shape"):
        pinball([], np.empty((0, 1)), [0.5])
    with pytest.raises(ValueError, match="two quantiles"):
        crossings([[1.0]])
