"""Quality of forecasts: errors, scaled errors, and the naive forecasts they are compared with.

Plain functions over arrays; splitting data and running models happens elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["drift", "mae", "mase", "naive", "naive_scale", "rmse", "seasonal_naive", "smape"]

Floats = NDArray[np.float64]


def _pair(truth: ArrayLike, forecast: ArrayLike) -> tuple[Floats, Floats]:
    left = np.asarray(truth, dtype=np.float64)
    right = np.asarray(forecast, dtype=np.float64)
    if left.shape != right.shape or left.size == 0:
        raise ValueError(
            f"truth and forecast need one shape and a value, found {left.shape} and {right.shape}"
        )
    return left, right


def mae(truth: ArrayLike, forecast: ArrayLike) -> float:
    """Return the mean absolute error, in the unit of the data.

    Raises:
        ValueError: When the shapes differ or there is no value.
    """
    left, right = _pair(truth, forecast)
    return float(np.abs(left - right).mean())


def rmse(truth: ArrayLike, forecast: ArrayLike) -> float:
    """Return the root of the mean squared error, in the unit of the data.

    Raises:
        ValueError: When the shapes differ or there is no value.
    """
    left, right = _pair(truth, forecast)
    return float(np.sqrt(np.square(left - right).mean()))


def smape(truth: ArrayLike, forecast: ArrayLike) -> float:
    """Return the symmetric mean absolute percentage error as a ratio in [0, 2].

    The form of the M4 competition (Makridakis et al. 2020), `2 |y - f| / (|y| + |f|)`, not times
    100; a perfect forecast of zero has error 0.

    Raises:
        ValueError: When the shapes differ or there is no value.
    """
    left, right = _pair(truth, forecast)
    size = np.abs(left) + np.abs(right)
    terms = np.divide(2 * np.abs(left - right), size, out=np.zeros_like(size), where=size > 0)
    return float(terms.mean())


def naive_scale(training: ArrayLike, season: int = 1) -> Floats:
    """Return the in-sample error of the (seasonal) naive forecast, by which MASE is scaled.

    Args:
        training: Shape (rows,) or (rows, channels), in time order.
        season: 1 for the naive forecast, else rows per season.

    Returns:
        Mean absolute `y[t] - y[t - season]`: shape () or (channels,), in the data's unit.

    Raises:
        ValueError: When there are not more rows than `season`.
    """
    values = np.asarray(training, dtype=np.float64)
    if season < 1 or len(values) <= season:
        raise ValueError(f"{len(values)} rows do not hold a step of {season}")
    scale: Floats = np.abs(values[season:] - values[:-season]).mean(axis=0)
    return scale


def mase(truth: ArrayLike, forecast: ArrayLike, scale: ArrayLike) -> float:
    """Return the mean absolute scaled error (Hyndman & Koehler 2006, Int. J. Forecasting 22:679).

    Args:
        truth: Shape (answers,) or (answers, channels).
        forecast: As `truth`.
        scale: `naive_scale` of the training part, one value or one per channel; with channels the
            figure is the mean of theirs.

    Raises:
        ValueError: When the shapes differ, there is no value, or a scale is not above 0.
    """
    left, right = _pair(truth, forecast)
    divisor = np.asarray(scale, dtype=np.float64)
    if not np.all(divisor > 0):
        raise ValueError(f"MASE needs a training part that moves, found a scale of {divisor}")
    return float((np.abs(left - right) / divisor).mean())


def naive(history: ArrayLike, horizons: Sequence[int]) -> Floats:
    """Return the last value for every horizon.

    Args:
        history: Shape (windows, rows, channels).
        horizons: Steps ahead.

    Returns:
        Shape (windows, horizons, channels).
    """
    values = np.asarray(history, dtype=np.float64)
    return np.repeat(values[:, -1:, :], len(horizons), axis=1)


def drift(history: ArrayLike, horizons: Sequence[int], training: ArrayLike) -> Floats:
    """Return the last value plus the mean change per step of the training part.

    The random walk with drift: what a forecast with a trend has to beat, being one constant.

    Args:
        history: Shape (windows, rows, channels).
        horizons: Steps ahead.
        training: Shape (rows, channels), at least 2 rows.

    Returns:
        Shape (windows, horizons, channels).
    """
    values = np.asarray(training, dtype=np.float64)
    step = (values[-1] - values[0]) / (len(values) - 1)
    forecast: Floats = naive(history, horizons) + np.asarray(horizons)[:, None] * step
    return forecast


def seasonal_naive(
    history: ArrayLike, horizons: Sequence[int], season: int, *, keep_level: bool = False
) -> Floats:
    """Return the value one season before each horizon.

    Args:
        history: Shape (windows, rows, channels) with at least `season` rows.
        horizons: Steps ahead, each from 1 to `season`.
        season: Rows per season.
        keep_level: Shift the forecast by the change since one season before the last row that the
            history holds, for series with a trend: `y[t] + (y[t+h-season] - y[t-season])`, the
            point forecast of ARIMA(0,1,0)(0,1,0). It needs `season + 1` rows.

    Returns:
        Shape (windows, horizons, channels).

    Raises:
        ValueError: When the history is too short or a horizon is longer than a season.
    """
    values = np.asarray(history, dtype=np.float64)
    rows = values.shape[1]
    if rows < season + keep_level or not all(1 <= step <= season for step in horizons):
        raise ValueError(f"{rows} rows do not hold season {season} for horizons {horizons}")
    last_season: Floats = values[:, [rows - 1 + step - season for step in horizons], :]
    if not keep_level:
        return last_season
    moved: Floats = last_season + values[:, -1:, :] - values[:, rows - 1 - season, None, :]
    return moved
