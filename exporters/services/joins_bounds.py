"""What leaves the store of answers: what is too old, too many, or of pods that are gone."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence, Set

from .answers import ACCURACY
from .joins_sums import MOST_METRICS, Changes, PodLabels, Sums

__all__ = ["expire", "make_room", "take_leave"]

_MOST_GONE = 2000
"""So many series are kept of pods that are gone."""


def expire(file: sqlite3.Connection, changes: Changes, keep_s: float) -> None:
    """Take out what is too old: all rows before the first that is not."""
    oldest_s = changes.now_s - keep_s
    first = "coalesce((SELECT seq FROM {0} WHERE at_s >= ? ORDER BY seq LIMIT 1), 1 << 62)"
    rows = file.execute(
        f"DELETE FROM answers WHERE seq < {first.format('answers')} RETURNING series, labelled",
        (oldest_s,),
    ).fetchall()
    _gone(rows, "too_old", changes)
    labels = file.execute(
        f"DELETE FROM labels WHERE seq < {first.format('labels')} RETURNING met", (oldest_s,)
    ).fetchall()
    _gone_labels(labels, changes)


def make_room(file: sqlite3.Connection, sums: Sums, changes: Changes, most: int) -> None:
    """Take out what is more than this, of answers and of labels."""
    if sums.answers + changes.held.total() > most:
        _make_room_for_answers(file, sums, changes, most)
    excess = sums.labels + changes.labels - most
    if excess > 0:
        labels = file.execute(
            "DELETE FROM labels WHERE seq IN (SELECT seq FROM labels ORDER BY seq LIMIT ?) "
            "RETURNING met",
            (excess,),
        ).fetchall()
        _gone_labels(labels, changes)


def _make_room_for_answers(
    file: sqlite3.Connection, sums: Sums, changes: Changes, most: int
) -> None:
    # Pods that are gone own together what is left of them: `None`.
    owners = {n: _owner(one.name.pod, sums) for n, one in sums.series.items()}
    owners |= {n: _owner(name.pod, sums) for name, n in changes.fresh.items()}
    held = Counter({number: one.held for number, one in sums.series.items()})
    held.update(changes.held)
    while (excess := held.total() - most) > 0:
        by_owner: Counter[PodLabels | None] = Counter()
        for number, count in held.items():
            by_owner[owners[number]] += count
        [(owner, _)] = by_owner.most_common(1)
        theirs = [number for number in held if owners[number] == owner]
        # The `+` has rows read in the order they came in: first are those of pods long gone.
        where, chosen = "+series IN (SELECT value FROM json_each(?))", theirs
        if owner is not None:
            where, chosen = "series = ?", [max(theirs, key=lambda number: held[number])]
        rows = file.execute(
            f"DELETE FROM answers WHERE seq IN (SELECT seq FROM answers WHERE {where} "
            "ORDER BY seq LIMIT ?) RETURNING series, labelled",
            (json.dumps(chosen) if owner is None else chosen[0], excess),
        ).fetchall()
        _gone(rows, "too_many", changes)
        held.subtract(number for number, _ in rows)
        if not rows:  # were the file and memory ever at odds, this still ends
            held -= Counter({number: held[number] for number in chosen})


def _owner(pod: PodLabels, sums: Sums) -> PodLabels | None:
    return None if pod in sums.gone else pod


def take_leave(
    file: sqlite3.Connection,
    sums: Sums,
    changes: Changes,
    *,
    kept: Set[PodLabels],
    keep_s: float,
) -> None:
    """Take all pods but these for gone, and forget what is of no use any more.

    Of a pod that is gone that is all when no answer of it waits any more, and no window has a
    verdict on it; or when there are too many such pods, and it is gone longest.
    """
    numbers: dict[PodLabels, list[int]] = {}
    for number, one in sums.series.items():
        numbers.setdefault(one.name.pod, []).append(number)
    absent = numbers.keys() - kept
    gone = dict.fromkeys(pod for pod in (*sums.gone, *numbers) if pod in absent)
    room = _MOST_GONE
    for pod in reversed(list(gone)):
        some = numbers[pod]
        if sums.is_judged(pod, changes.now_s) or any(
            sums.series[number].held + changes.held[number] for number in some
        ):
            room -= len(some)
            if room >= 0:
                continue
        del gone[pod]
        _forget(file, some, changes)
    changes.gone = gone
    # A metric that nobody used for long makes room, where there is none for another.
    for pod, metrics in sums.metrics.items():
        if len(metrics.keys() | {ACCURACY}) < MOST_METRICS:
            continue
        for metric, at_s in metrics.items():
            if metric != ACCURACY and at_s < changes.now_s - keep_s:
                changes.spent.append((pod, metric))
                file.executemany(
                    "DELETE FROM totals WHERE series = ? AND metric = ?",
                    [(number, metric) for number in numbers[pod]],
                )


def _forget(file: sqlite3.Connection, numbers: Sequence[int], changes: Changes) -> None:
    for number in numbers:
        changes.forgotten.append(number)
        rows = file.execute(
            "DELETE FROM answers WHERE series = ? RETURNING series, labelled", (number,)
        ).fetchall()
        _gone(rows, "pod_gone", changes)
        for table in ("totals", "series"):
            file.execute(f"DELETE FROM {table} WHERE series = ?", (number,))


def _gone(rows: Sequence[tuple[int, int]], reason: str, changes: Changes) -> None:
    for series, labelled in rows:
        changes.held[series] -= 1
        if not labelled:
            changes.open -= 1
            changes.lost[reason] += 1


def _gone_labels(rows: Sequence[tuple[int]], changes: Changes) -> None:
    unmet = sum(not met for (met,) in rows)
    changes.labels -= len(rows)
    changes.early -= unmet
    if unmet:
        changes.late_outcomes["unknown"] += unmet
