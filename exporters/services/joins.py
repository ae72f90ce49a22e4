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
from ..quality import Total
from .answers import ACCURACY, Answer, Label, verdict
from .joins_bounds import expire, make_room, take_leave
from .joins_file import is_corrupt, open_file, set_aside
from .joins_sums import (
    LONGEST_S,
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


class AnswerStore:
    """Joins answers with labels; bounded in number and age, and the same after a restart.

    Several threads may use it. Where the file cannot be written, as on a full disk, answers and
    labels are dropped, are counted, and all else goes on. When there are too many answers, the
    oldest of the pod that has the most go first: who floods the store pushes out its own. Here
    all pods that are gone are as one.

    Answers of a pod outlive it, for their labels may come days late. What they add up to goes on
    where it was: nothing of it is forgotten before the last answer is.

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
            compared with it, or its pod has too many metrics), or dropped: the file cannot be
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
        """Take all pods but these for gone, and forget what is of no use any more.

        A pod that is gone is told of while there are verdicts on it in a window; its answers wait
        for labels as long as others do. Beyond so many series of such pods, those that are gone
        longest are forgotten.

        To be called when the pods of the node are known, and not before.
        """
        kept = {pod.labels for pod in pods}

        def work(changes: Changes) -> None:
            take_leave(self._file, self._sums, changes, kept=kept, keep_s=self._keep_s)

        self._change(work)

    @property
    def label_outcomes(self) -> Counter[str]:
        """What became of labels since the start.

        One that waited is counted again when it is joined, invalid, or unknown: no answer came.
        """
        return self._sums.outcomes

    @property
    def lost_answers(self) -> Counter[str]:
        """Answers that left without a label since the start, by reason.

        They were too_old, or too_many; or pod_gone: their pod is, and too many others are.
        """
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
                expire(self._file, changes, self._keep_s)
                work(changes)
                make_room(self._file, self._sums, changes, self._most)
                self._file.executemany(
                    "INSERT INTO totals VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                    "judged = judged + excluded.judged, correct = correct + excluded.correct, "
                    "squares = squares + excluded.squares",
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
            "SELECT seq, metric, value, is_score, met FROM labels WHERE id = ? ORDER BY seq",
            (hashed,),
        ).fetchall()
        judged = False
        for label, metric, value, is_score, met in labels:
            found = verdict(answer.prediction, json.loads(value), is_score=bool(is_score))
            counts = self._judge(series, name.pod, metric, found, changes)
            if not met:
                self._file.execute("UPDATE labels SET met = 1 WHERE seq = ?", (label,))
                changes.early -= 1
                changes.late_outcomes["joined" if counts else "invalid"] += 1
            judged |= counts
        if judged:
            self._mark(seq, series, changes.now_s, changes)
        return "joined" if judged else "waiting"

    def _add_label(self, label: Label, changes: Changes) -> str:
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
        judged = False
        for seq, series, prediction, at_s, labelled in answers:
            found = verdict(json.loads(prediction), label.value, is_score=label.is_score)
            pod = self._sums.series[series].name.pod
            if self._judge(series, pod, label.metric, found, changes):
                judged = True
                if not labelled:
                    self._mark(seq, series, at_s, changes)
        if not judged:  # one that says nothing of the answer is not to stand in the right one's way
            self._file.execute("DELETE FROM labels WHERE seq = ?", (added.lastrowid,))
            changes.labels -= 1
            return "invalid"
        self._file.execute("UPDATE labels SET met = 1 WHERE seq = ?", (added.lastrowid,))
        return "joined"

    def _judge(
        self, series: int, pod: PodLabels, metric: str, found: float | None, changes: Changes
    ) -> bool:
        """Note a verdict; return whether there is one, and its pod has room for the metric."""
        if found is None:
            return False
        fresh = changes.metrics.setdefault(pod, set())
        known = self._sums.metrics.get(pod, {})
        if metric not in known and metric not in fresh:
            if len({*known, *fresh, ACCURACY, metric}) > MOST_METRICS:
                return False
            fresh.add(metric)
        changes.verdicts.append((series, metric, found))
        return True

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
        for number, metric, judged, correct, squares in file.execute("SELECT * FROM totals"):
            total = Total(judged=judged, correct=correct, squares=squares)
            sums.restore_total(number, metric, total)
        for number, held, labelled in file.execute(
            "SELECT series, count(*), sum(labelled) FROM answers GROUP BY series"
        ):
            sums.restore_held(number, held, open=held - labelled)
        [(labels, met)] = file.execute("SELECT count(*), coalesce(sum(met), 0) FROM labels")
        sums.restore_labels(labels, early=labels - met)
        recent = (self._clock() - LONGEST_S,)
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
