"""Answers and the labels that tell whether they were right, joined by request id.

Labels come seconds to days after their answer, or before it. They are kept in a file, so that a
restart of the exporter forgets nothing; what they add up to is in it as well, so that counters do
not fall. Times are wall time here, other than in the rest of the exporter: a monotonic clock
begins anew with each boot, and could not say how old a row of an earlier one is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from ...errors import SpecError
from ..quality import WINDOWS, Total
from .answers import Answer, Label, verdict
from .joins_file import is_corrupt, open_file, set_aside
from .joins_sums import (
    MOST_METRICS,
    MOST_SERIES,
    Changes,
    Judged,
    Name,
    PodLabels,
    Sums,
)
from .target import Pod

__all__ = ["AnswerStore"]

_log = logging.getLogger(__name__)

_LONGEST_S = max(length for length in WINDOWS.values() if length is not None)


class AnswerStore:
    """Joins answers with labels; bounded in number and age, and the same after a restart.

    Several threads may use it. Where the file cannot be written, as on a full disk, answers and
    labels are dropped, are counted, and all else goes on. When there are too many answers, the
    oldest of the pod that has the most go first: who floods the store pushes out its own.

    Args:
        path: The file; `None`: in memory.
        clock: Wall time, in seconds.
        most: How many answers are kept, and how many labels.
        keep_s: For how long.

    Raises:
        SpecError: The file cannot be opened.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        clock: Callable[[], float],
        most: int = 200_000,
        keep_s: float = 3 * 86400.0,
    ) -> None:
        self._path, self._clock, self._most, self._keep_s = path, clock, most, keep_s
        self._lock = threading.Lock()
        self._told_full = False
        self._file = open_file(path)
        self._sums = Sums(clock)
        self._recall()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def add_answers(self, pod: Pod, answers: Sequence[Answer]) -> Counter[str]:
        """Take in what a pod answered.

        Returns:
            How many were joined with a label that waited, are waiting for one, repeated, or
            dropped: the file cannot be written, or the pod has too many models.
        """

        def work(changes: Changes) -> None:
            for answer in answers:
                name = Name(pod.labels, answer.model, answer.variant, answer.exit)
                changes.outcomes[self._add_answer(name, answer, changes)] += 1

        done = self._change(work)
        return Counter(dropped=len(answers)) if done is None else done.outcomes

    def add_labels(self, labels: Sequence[Label]) -> Counter[str]:
        """Take in labels.

        Returns:
            How many were joined, are waiting for their answer, repeated, invalid (they cannot be
            compared with it, or there are too many metrics), or dropped: the file cannot be
            written.
        """

        def work(changes: Changes) -> None:
            for label in labels:
                changes.outcomes[self._add_label(label, changes)] += 1

        done = self._change(work)
        outcomes = Counter(dropped=len(labels)) if done is None else done.outcomes
        self._sums.count_labels(outcomes)
        return outcomes

    def keep_only(self, pods: Collection[Pod]) -> None:
        """Forget all pods but these, and what is too old.

        To be called when the pods of the node are known, and not before.
        """
        kept = {pod.labels for pod in pods}

        def work(changes: Changes) -> None:
            for number, one in self._sums.series.items():
                if one.name.pod in kept:
                    continue
                changes.forgotten.append(number)
                rows = self._file.execute(
                    "DELETE FROM answers WHERE series = ? RETURNING series, labelled", (number,)
                ).fetchall()
                self._gone(rows, "pod_gone", changes)
                for table in ("totals", "series"):
                    self._file.execute(f"DELETE FROM {table} WHERE series = ?", (number,))

        self._change(work)

    @property
    def label_outcomes(self) -> Counter[str]:
        """What became of labels since the start.

        One that waited is counted again when it is joined, invalid, or unknown: no answer came.
        """
        return self._sums.outcomes

    @property
    def lost_answers(self) -> Counter[str]:
        """Answers that left without a label since the start: too_old, too_many, pod_gone."""
        return self._sums.lost

    @property
    def held(self) -> dict[str, int]:
        """How many answers without label (open) and labels without answer (early) are kept."""
        return self._sums.held

    def read(self) -> dict[PodLabels, Judged]:
        """Return what is known of each pod, by its namespace, name and uid."""
        return self._sums.read()

    def _change(self, work: Callable[[Changes], None]) -> Changes | None:
        """Do some work in one transaction; `None` if the file did not take it."""
        with self._lock:
            changes = Changes(now_s=self._clock())
            try:
                self._file.execute("BEGIN IMMEDIATE")
                self._expire(changes)
                work(changes)
                self._make_room(changes)
                self._file.executemany(
                    "INSERT INTO totals VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                    "judged = judged + excluded.judged, correct = correct + excluded.correct, "
                    "is_binary = min(is_binary, excluded.is_binary)",
                    changes.totals(),
                )
                self._file.execute("COMMIT")
            except sqlite3.Error as error:
                self._give_up(error)
                return None
            self._told_full = False
            self._sums.apply(changes)
            return changes

    def _add_answer(self, name: Name, answer: Answer, changes: Changes) -> str:
        series = self._series(name, changes)
        if series is None:
            return "dropped"
        hashed = _hashed(answer.id)
        added = self._file.execute(
            "INSERT OR IGNORE INTO answers (id, series, prediction, at_s) VALUES (?, ?, ?, ?)",
            (hashed, series, json.dumps(answer.prediction), changes.now_s),
        )
        if not added.rowcount:
            return "repeated"
        seq = added.lastrowid
        changes.held[series] += 1
        changes.open += 1
        changes.answers.append((series, changes.now_s))
        labels = self._file.execute(
            "SELECT seq, metric, value, is_score, met FROM labels WHERE id = ?", (hashed,)
        ).fetchall()
        judged = False
        for label, metric, value, is_score, met in labels:
            found = verdict(answer.prediction, json.loads(value), is_score=bool(is_score))
            if not met:
                self._file.execute("UPDATE labels SET met = 1 WHERE seq = ?", (label,))
                changes.early -= 1
                changes.late_outcomes["invalid" if found is None else "joined"] += 1
            if found is not None:
                changes.verdicts.append((series, metric, found))
                judged = True
        if judged:
            self._mark(seq, series, changes.now_s, changes)
        return "joined" if judged else "waiting"

    def _add_label(self, label: Label, changes: Changes) -> str:
        if label.metric not in self._sums.metrics:
            if len(self._sums.metrics) >= MOST_METRICS:
                return "invalid"
            self._sums.metrics.add(label.metric)
        hashed = _hashed(label.id)
        added = self._file.execute(
            "INSERT OR IGNORE INTO labels (id, metric, value, is_score, at_s) "
            "VALUES (?, ?, ?, ?, ?)",
            (hashed, label.metric, json.dumps(label.value), label.is_score, changes.now_s),
        )
        if not added.rowcount:
            return "repeated"
        changes.labels += 1
        answers = self._file.execute(
            "SELECT seq, series, prediction, at_s, labelled FROM answers WHERE id = ?", (hashed,)
        ).fetchall()
        if not answers:
            changes.early += 1
            return "waiting"
        self._file.execute("UPDATE labels SET met = 1 WHERE seq = ?", (added.lastrowid,))
        judged = False
        for seq, series, prediction, at_s, labelled in answers:
            found = verdict(json.loads(prediction), label.value, is_score=label.is_score)
            if found is not None:
                changes.verdicts.append((series, label.metric, found))
                judged = True
                if not labelled:
                    self._mark(seq, series, at_s, changes)
        return "joined" if judged else "invalid"

    def _mark(self, seq: int | None, series: int, at_s: float, changes: Changes) -> None:
        """Note that an answer has a label."""
        self._file.execute("UPDATE answers SET labelled = 1 WHERE seq = ?", (seq,))
        changes.labelled.append((series, at_s))
        changes.open -= 1

    def _series(self, name: Name, changes: Changes) -> int | None:
        """Return the number of a series, a new one if need be; `None` if its pod has too many."""
        number = self._sums.numbers.get(name) or changes.fresh.get(name)
        if number is None:
            fresh = sum(one.pod == name.pod for one in changes.fresh)
            if self._sums.sizes[name.pod] + fresh >= MOST_SERIES:
                return None
            number = self._file.execute(
                "INSERT INTO series (namespace, pod, uid, model, variant, exit) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (*name.pod, *name[1:]),
            ).lastrowid
            assert number is not None, "an INSERT has a row"
            changes.fresh[name] = number
        return number

    def _expire(self, changes: Changes) -> None:
        """Take out what is too old: all rows before the first that is not."""
        oldest_s = changes.now_s - self._keep_s
        first = "coalesce((SELECT seq FROM {0} WHERE at_s >= ? ORDER BY seq LIMIT 1), 1 << 62)"
        rows = self._file.execute(
            f"DELETE FROM answers WHERE seq < {first.format('answers')} RETURNING series, labelled",
            (oldest_s,),
        ).fetchall()
        self._gone(rows, "too_old", changes)
        labels = self._file.execute(
            f"DELETE FROM labels WHERE seq < {first.format('labels')} RETURNING met", (oldest_s,)
        ).fetchall()
        self._gone_labels(labels, changes)

    def _make_room(self, changes: Changes) -> None:
        """Take out what is too many."""
        held = Counter({number: one.held for number, one in self._sums.series.items()})
        names = {number: one.name for number, one in self._sums.series.items()}
        names |= {number: name for name, number in changes.fresh.items()}
        held.update(changes.held)
        while (excess := held.total() - self._most) > 0:
            by_pod: Counter[PodLabels] = Counter()
            for number, count in held.items():
                by_pod[names[number].pod] += count
            [(pod, _)] = by_pod.most_common(1)
            number = max((n for n in held if names[n].pod == pod), key=lambda n: held[n])
            rows = self._file.execute(
                "DELETE FROM answers WHERE seq IN (SELECT seq FROM answers WHERE series = ? "
                "ORDER BY seq LIMIT ?) RETURNING series, labelled",
                (number, excess),
            ).fetchall()
            self._gone(rows, "too_many", changes)
            # Were the file and memory ever at odds, this still ends.
            held[number] -= len(rows) or held[number]
        excess = self._sums.labels + changes.labels - self._most
        if excess > 0:
            labels = self._file.execute(
                "DELETE FROM labels WHERE seq IN (SELECT seq FROM labels ORDER BY seq LIMIT ?) "
                "RETURNING met",
                (excess,),
            ).fetchall()
            self._gone_labels(labels, changes)

    @staticmethod
    def _gone(rows: Sequence[tuple[int, int]], reason: str, changes: Changes) -> None:
        for series, labelled in rows:
            changes.held[series] -= 1
            if not labelled:
                changes.open -= 1
                changes.lost[reason] += 1

    @staticmethod
    def _gone_labels(rows: Sequence[tuple[int]], changes: Changes) -> None:
        unmet = sum(not met for (met,) in rows)
        changes.labels -= len(rows)
        changes.early -= unmet
        if unmet:
            changes.late_outcomes["unknown"] += unmet

    def _give_up(self, error: sqlite3.Error) -> None:
        """Undo a transaction that failed; a file that broke is replaced."""
        if self._path is not None and is_corrupt(error):
            self._file.close()
            try:
                set_aside(self._path, str(error))
                self._file = open_file(self._path)
            except SpecError as unusable:
                _log.warning("%s; answers are kept in memory from now on", unusable)
                self._path, self._file = None, open_file(None)
            self._sums.clear()
            return
        with contextlib.suppress(sqlite3.Error):  # some errors have rolled back already
            self._file.execute("ROLLBACK")
        if not self._told_full:
            _log.warning("the store of answers cannot be written: %s; they are dropped", error)
            self._told_full = True

    def _recall(self) -> None:
        """Read what the file adds up to."""
        file, sums = self._file, self._sums
        for number, *pod, model, variant, taken in file.execute("SELECT * FROM series"):
            namespace, name, uid = pod
            sums.add_series(number, Name((namespace, name, uid), model, variant, taken))
        for number, metric, judged, correct, binary in file.execute("SELECT * FROM totals"):
            total = Total(judged=judged, correct=correct, binary=bool(binary))
            sums.restore_total(number, metric, total)
        for number, held, labelled in file.execute(
            "SELECT series, count(*), sum(labelled) FROM answers GROUP BY series"
        ):
            sums.restore_held(number, held, open=held - labelled)
        [(labels, met)] = file.execute("SELECT count(*), coalesce(sum(met), 0) FROM labels")
        sums.restore_labels(labels, early=labels - met)
        sums.metrics.update(m for (m,) in file.execute("SELECT DISTINCT metric FROM labels"))
        recent = (self._clock() - _LONGEST_S,)
        for number, at_s, labelled in file.execute(
            "SELECT series, at_s, labelled FROM answers WHERE at_s >= ?", recent
        ):
            sums.restore_answer(number, at_s, labelled=bool(labelled))
        for number, prediction, metric, value, is_score, at_s in file.execute(
            "SELECT * FROM (SELECT series, prediction, metric, value, is_score, "
            "max(a.at_s, l.at_s) AS known_s FROM labels l JOIN answers a USING (id)) "
            "WHERE known_s >= ?",
            recent,
        ):
            found = verdict(json.loads(prediction), json.loads(value), is_score=bool(is_score))
            if found is not None:
                sums.restore_verdict(number, metric, found, at_s)


def _hashed(text: str) -> bytes:
    # JSON can bring half of a surrogate pair, which UTF-8 cannot.
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
