"""The score of the Numenta Anomaly Benchmark: early alarms earn more, false ones cost.

Lavin & Ahmad 2015, "Evaluating Real-Time Anomaly Detection Algorithms". An alarm in a labelled
window earns by how early in it the first one comes; an alarm outside costs, less so right after a
window; a window without an alarm costs. The sum is scaled so that a detector that says nothing has
0 and one that raises one alarm at the start of each window has 100.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "PROFILES",
    "Optimum",
    "Profile",
    "Scored",
    "best_threshold",
    "nab_score",
    "normalised",
    "probation_rows",
    "raw_score",
    "row_scores",
]

_SLOPE = 5.0
_FAR = 3.0
"""Window widths behind a window after which an alarm costs all that it can."""
_PROBATION_SHARE = 0.15
_PROBATION_LIMIT = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What alarms are worth to somebody.

    Args:
        found: What the earliest alarm in a window earns.
        false_alarm: What an alarm far from any window costs.
        missed: What a window without an alarm costs.
    """

    found: float
    false_alarm: float
    missed: float


PROFILES: Mapping[str, Profile] = {
    "standard": Profile(found=1.0, false_alarm=0.11, missed=1.0),
    "reward_low_FP_rate": Profile(found=1.0, false_alarm=0.22, missed=1.0),
    "reward_low_FN_rate": Profile(found=1.0, false_alarm=0.11, missed=2.0),
}
"""The benchmark's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One series with the scores that a detector gave it.

    Args:
        scores: Shape (rows,): higher is more anomalous.
        windows: Row ranges [start, stop) of labelled windows, in order, that do not overlap.
        judged: Shape (rows,): which rows count; `None`: all after `probation_rows`.
    """

    scores: ArrayLike
    windows: Sequence[tuple[int, int]]
    judged: ArrayLike | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimum:
    """The threshold that earns most over a corpus, and what it earns, not scaled."""

    threshold: float
    score: float


def probation_rows(rows: int) -> int:
    """Return how many of the first rows do not count: 15 %, of 5000 rows at most."""
    return math.floor(_PROBATION_SHARE * min(rows, _PROBATION_LIMIT))


def _sigmoid(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what an alarm is worth by its place: 1 long before the end of a window, -1 long after.

    Args:
        position: In window widths from the window's last row; negative inside.
    """
    worth: NDArray[np.float64] = 2 / (1 + np.exp(_SLOPE * np.minimum(position, _FAR))) - 1
    return np.where(position > _FAR, -1.0, worth)


def row_scores(
    rows: int, windows: Sequence[tuple[int, int]], profile: Profile
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return what an alarm at each row is worth, and the number of the window it lies in.

    Args:
        rows: Length of the series.
        windows: Row ranges [start, stop), in order, that do not overlap.
        profile: What alarms are worth.

    Returns:
        Shape (rows,) each; outside every window the number is -1.

    Raises:
        ValueError: When windows are empty, overlap, or leave the series.
    """
    position = np.full(rows, np.inf)
    number = np.full(rows, -1, dtype=np.int64)
    at = np.arange(rows)
    before = 0
    for index, (start, stop) in enumerate(windows):
        if not before <= start < stop <= rows:
            raise ValueError(f"window {index}: found [{start}, {stop}) of {rows} rows")
        before = stop
        width = stop - start
        position[start:stop] = (at[start:stop] - stop) / width
        number[start:stop] = index
        past = at[stop:] - (stop - 1)
        # Behind a window of one row there is no measure of near.
        position[stop:] = past / (width - 1) if width > 1 else np.inf
    worth = _sigmoid(position)
    # The earliest alarm in a window earns all.
    earliest = float(_sigmoid(np.array([-1.0]))[0])
    value = np.where(number >= 0, worth * profile.found / earliest, worth * profile.false_alarm)
    return value, number


def raw_score(
    values: ArrayLike, number: ArrayLike, judged: ArrayLike, flagged: ArrayLike, profile: Profile
) -> tuple[float, int]:
    """Return what alarms earn, and how many windows they could have found.

    Args:
        values: Shape (rows,): from `row_scores`.
        number: Shape (rows,): from `row_scores`.
        judged: Shape (rows,): which rows count. A window of which none does, does not.
        flagged: Shape (rows,): which rows raised an alarm.
        profile: What alarms are worth.
    """
    value, window = np.asarray(values, dtype=np.float64), np.asarray(number, dtype=np.int64)
    counts = np.asarray(judged, dtype=bool)
    alarm = np.asarray(flagged, dtype=bool) & counts
    total = float(value[alarm & (window < 0)].sum())
    windows = np.unique(window[counts & (window >= 0)])
    for index in windows:
        inside = value[alarm & (window == index)]
        total += float(inside.max()) if inside.size else -profile.missed
    return total, len(windows)


def normalised(raw: float, windows: int, profile: Profile) -> float | None:
    """Return a raw score on the benchmark's scale; `None` where there is no window.

    Args:
        raw: The sum over all series.
        windows: The number of windows in them.
        profile: That it was scored with.
    """
    if not windows:
        return None
    lowest = -profile.missed * windows
    return 100 * (raw - lowest) / (profile.found * windows - lowest)


def _judged(series: Scored) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    scores = np.asarray(series.scores, dtype=np.float64)
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite rows, found shape {scores.shape}")
    if series.judged is None:
        return scores, np.arange(len(scores)) >= probation_rows(len(scores))
    judged = np.asarray(series.judged, dtype=bool)
    if judged.shape != scores.shape:
        raise ValueError(f"scores and judged must match, found {scores.shape} and {judged.shape}")
    return scores, judged


def best_threshold(corpus: Sequence[Scored], profile: Profile) -> Optimum:
    """Return the one threshold for all series that earns most; of equals, the highest.

    A row raises an alarm where its score is at least the threshold. An infinite threshold raises
    none.

    Raises:
        ValueError: When scores are not finite rows or windows are wrong.
    """
    parts = []
    windows = 0
    for series in corpus:
        scores, judged = _judged(series)
        value, number = row_scores(len(scores), series.windows, profile)
        parts.append(
            (scores[judged], value[judged], np.where(number < 0, -1, number + windows)[judged])
        )
        windows += len(series.windows)
    scores, value, number = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(-scores, kind="stable")
    scores, value, number = scores[order], value[order], number[order]
    gains = value.copy()
    earned = dict.fromkeys(number[number >= 0].tolist(), -profile.missed)
    lowest = sum(earned.values())
    for place in np.flatnonzero(number >= 0).tolist():
        window = int(number[place])
        more = max(earned[window], float(value[place]))
        gains[place], earned[window] = more - earned[window], more
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))[: scores.size]
    totals = lowest + np.cumsum(gains)[last]
    if not totals.size or totals.max() <= lowest:
        return Optimum(threshold=math.inf, score=lowest)
    best = int(np.argmax(totals))
    return Optimum(threshold=float(scores[last][best]), score=float(totals[best]))


def nab_score(
    corpus: Sequence[Scored], profile: Profile, threshold: float | None = None
) -> float | None:
    """Return the score of a detector over a corpus, on the benchmark's scale.

    Args:
        corpus: The series with the detector's scores.
        profile: What alarms are worth.
        threshold: From which score on a row raises an alarm; `None`: the best one, as the
            benchmark does.

    Returns:
        100 for one alarm at the start of each window, 0 for none at all; `None` without a window.

    Raises:
        ValueError: When scores are not finite rows or windows are wrong.
    """
    level = best_threshold(corpus, profile).threshold if threshold is None else threshold
    total, windows = 0.0, 0
    for series in corpus:
        scores, judged = _judged(series)
        value, number = row_scores(len(scores), series.windows, profile)
        raw, count = raw_score(value, number, judged, scores >= level, profile)
        total, windows = total + raw, windows + count
    return normalised(total, windows, profile)
