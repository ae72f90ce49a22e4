"""Quality of anomaly detectors: ranking by row, and events found against false alarms.

Never point-adjusted: one flagged row does not make the other rows of its event right (Kim et al.
2022, AAAI). Rows may be a sample of the series; what was not asked is not judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["EventScores", "detection_delay", "event_scores", "pr_auc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventScores:
    """How many events were found, and at what price in false alarms.

    Args:
        found: Events with a flagged row.
        missed: Events of which rows were asked and none was flagged.
        false_alarms: Runs of flagged rows outside every event.
    """

    found: int
    missed: int
    false_alarms: int

    @property
    def recall(self) -> float | None:
        """Found events over asked events; `None` when no event was asked."""
        asked = self.found + self.missed
        return self.found / asked if asked else None

    @property
    def precision(self) -> float | None:
        """Found events over found events and false alarms; `None` when there was no alarm."""
        alarms = self.found + self.false_alarms
        return self.found / alarms if alarms else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; `None` when no event was asked."""
        if not self.found + self.missed:
            return None
        return 2 * self.found / (2 * self.found + self.missed + self.false_alarms)


def pr_auc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the area under the precision-recall curve as average precision.

    Computed by scikit-learn's `average_precision_score`: a step function, never interpolated.

    Args:
        labels: Shape (rows,): true for an anomalous row.
        scores: Shape (rows,): higher is more anomalous.

    Returns:
        A value in [0, 1], or `None` when no row is anomalous.

    Raises:
        ValueError: When the shapes differ or a score is not finite.
    """
    truth = np.asarray(labels, dtype=bool)
    ranks = np.asarray(scores, dtype=np.float64)
    if truth.shape != ranks.shape or truth.ndim != 1:
        raise ValueError(f"labels and scores must be rows, found {truth.shape} and {ranks.shape}")
    if not truth.any():
        return None
    # Imported here: scikit-learn takes most of a second, and only this figure needs it.
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(truth, ranks))


def event_scores(
    rows: ArrayLike,
    flagged: ArrayLike,
    events: Sequence[tuple[int, int]],
    *,
    starts: Sequence[int] = (0,),
) -> EventScores:
    """Count events found, events missed and false alarms among the asked rows.

    An event counts when any of its asked rows is flagged; an event of which no row was asked does
    not count. A false alarm is a maximal run, in time order, of flagged asked rows outside every
    event; a row of an event, an asked row without alarm, and the next series end it.

    Args:
        rows: Shape (asked,): row numbers in any order; a repeated row is flagged when any is.
        flagged: Shape (asked,): whether the row raised an alarm.
        events: Row ranges [start, stop) that do not overlap.
        starts: First row of each series, where several stand one after another.

    Raises:
        ValueError: When the shapes differ.
    """
    asked = np.asarray(rows, dtype=np.int64)
    alarms = np.asarray(flagged, dtype=bool)
    if asked.shape != alarms.shape or asked.ndim != 1:
        raise ValueError(f"rows and alarms must match, found {asked.shape} and {alarms.shape}")
    times, position = np.unique(asked, return_inverse=True)
    raised: NDArray[np.bool_] = np.zeros(len(times), dtype=bool)
    np.logical_or.at(raised, position, alarms)
    outside = np.ones(len(times), dtype=bool)
    found = missed = 0
    for start, stop in events:
        first, last = np.searchsorted(times, (start, stop))
        if first == last:
            continue
        outside[first:last] = False
        if raised[first:last].any():
            found += 1
        else:
            missed += 1
    false = raised & outside
    series = np.searchsorted(np.asarray(starts, dtype=np.int64), times, side="right")
    goes_on = np.zeros(len(times), dtype=bool)
    goes_on[1:] = false[:-1] & (series[1:] == series[:-1])
    return EventScores(found=found, missed=missed, false_alarms=int((false & ~goes_on).sum()))


def detection_delay(
    rows: ArrayLike, flagged: ArrayLike, events: Sequence[tuple[int, int]]
) -> float | None:
    """Return how many rows pass from the start of an event to its first alarm, on average.

    Args:
        rows: Shape (asked,): row numbers in any order.
        flagged: Shape (asked,): whether the row raised an alarm.
        events: Row ranges [start, stop) that do not overlap.

    Returns:
        The mean over the events that were found; `None` when none was. An alarm at the first row
        of an event is a delay of 0.

    Raises:
        ValueError: When the shapes differ.
    """
    asked = np.asarray(rows, dtype=np.int64)
    alarms = np.asarray(flagged, dtype=bool)
    if asked.shape != alarms.shape or asked.ndim != 1:
        raise ValueError(f"rows and alarms must match, found {asked.shape} and {alarms.shape}")
    times = np.unique(asked[alarms])
    delays = []
    for start, stop in events:
        first = np.searchsorted(times, start)
        if first < len(times) and times[first] < stop:
            delays.append(int(times[first]) - start)
    return float(np.mean(delays)) if delays else None
