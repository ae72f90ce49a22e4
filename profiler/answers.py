"""Tells the service exporter what was answered, by request id, so that labels may come later.

A request puts its answer into a bounded queue; a thread posts batches as JSON to
`<base>/v1/answers`. Requests never wait: when the exporter is away, the oldest answers are dropped.
"""

from __future__ import annotations

import atexit
import json
import logging
import math
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from ..errors import SpecError

__all__ = ["AnswerReporter", "Scalar"]

Scalar = str | int | float | bool | None
"""What an answer may be for others to compare with a label; `None`: nothing that could be."""

_GRACE_S = 2.0
"""How long the last post may take when a service ends."""

_POST_S = 2.0
"""How long one post may take to be taken, and again to be answered."""

_MOST = 200
"""Answers in one post; the exporter takes a megabyte, and the longest of these are smaller."""

_NEVER = (400, 413, 415, 422)
"""What the exporter does not understand now it will not understand later; all else may pass, even
403: a new pod is not known at once."""

_LONGEST = 200
"""Characters of an id and of other texts; the exporter refuses a batch for one that is longer."""

_LARGEST = 2**64
_BACKOFF_S = (0.5, 30.0)

_Answer = tuple[str, str | None, Any]

_log = logging.getLogger(__name__)


def _uncounted(_outcome: str, _count: int) -> None:
    """Count nothing."""


class AnswerReporter:
    """Posts answers in the background; safe to use from several threads.

    Args:
        url: Base URL of the service exporter, for instance "http://10.0.0.1:4318".
        model: The model that answers.
        variant: Which form of it.
        pod: Who we are, `namespace`, `name` and `uid`, as far as known: the exporter compares it
            with the address that we come from.
        limit: Answers that wait; one more drops the oldest.
        interval_s: Answers of so long are posted together.
        count: Told what became of answers: `sent`, `dropped` (too many waited, or the service
            ended before the exporter took them), `refused` (by the exporter, or an unfit id).

    Raises:
        SpecError: The URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str,
        variant: str | None = None,
        pod: Mapping[str, str] | None = None,
        limit: int = 10_000,
        interval_s: float = 1.0,
        count: Callable[[str, int], None] = _uncounted,
    ) -> None:
        self.url = _checked(url)
        self._constant = {"model": model[:_LONGEST]}
        if variant:
            self._constant["variant"] = variant[:_LONGEST]
        self._pod = dict(pod or {})
        self._limit, self._interval_s, self._count = limit, interval_s, count
        self._waiting: deque[_Answer] = deque()
        self._dropped = 0
        self._closed = False
        self._failing = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stop = threading.Event()
        _open.add(self)

    def report(self, request_id: str, *, exit_: str | None, prediction: object) -> None:
        """Tell one answer; takes a microsecond or two, and raises nothing.

        Args:
            request_id: 1 to 200 characters; others are counted as refused.
            exit_: The exit that the answer came by.
            prediction: A `Scalar` or NumPy's; what is none is told as null.
        """
        with self._lock:
            if self._closed:
                return
            if len(self._waiting) >= self._limit:
                self._waiting.popleft()
                self._dropped += 1
            self._waiting.append((request_id, exit_, prediction))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="answers", daemon=True)
                self._thread.start()
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Post what waits and end, within two seconds; what is not taken by then is dropped."""
        with self._lock:
            self._closed = True
            thread = self._thread
        self._stop.set()
        self._wake.set()
        if thread is not None:
            thread.join(_GRACE_S)
        with self._lock:
            self._dropped += len(self._waiting)
            self._waiting.clear()
        self._tell_dropped()
        _open.discard(self)

    def after_fork(self) -> None:
        """Begin anew in a forked child: what waited is the parent's to tell."""
        self._lock, self._thread = threading.Lock(), None
        self._wake, self._stop = threading.Event(), threading.Event()
        self._waiting.clear()
        self._dropped = 0

    def _work(self) -> None:
        """The thread: gather for a moment, post, and wait longer and longer after a failure."""
        backoff_s = _BACKOFF_S[0]
        with requests.Session() as session:
            stopping = False
            while not stopping:
                self._wake.wait()
                self._wake.clear()
                self._stop.wait(self._interval_s)
                stopping = self._stop.is_set()
                while self._waiting:
                    last = self._stop.is_set()
                    if self._post(session):
                        backoff_s = _BACKOFF_S[0]
                    elif last:
                        return
                    else:
                        self._stop.wait(backoff_s)
                        backoff_s = min(2 * backoff_s, _BACKOFF_S[1])

    def _post(self, session: requests.Session) -> bool:
        """Post the oldest answers; return whether they are off our hands."""
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
        answers = [told for told in map(self._told, batch) if told is not None]
        content = {"answers": answers} | ({"pod": self._pod} if self._pod else {})
        body = json.dumps(content, allow_nan=False, ensure_ascii=False).encode()
        try:
            response = session.post(
                self.url,
                data=body,
                headers={"Content-Type": "application/json"},
                timeout=_POST_S,
                allow_redirects=False,
            )
            status = response.status_code
            why = f"{status} {response.content[:200].decode(errors='replace')}"
        except (requests.RequestException, OSError) as error:
            status, why = 0, str(error)
        taken = 200 <= status < 300
        self._say(taken, why)
        if taken:
            self._counted("sent", len(answers))
            self._counted("refused", len(batch) - len(answers))
        elif status in _NEVER:
            self._counted("refused", len(batch))
        else:
            self._put_back(batch)
        self._tell_dropped()
        return taken or status in _NEVER

    def _put_back(self, batch: list[_Answer]) -> None:
        with self._lock:
            kept = batch[max(0, len(batch) + len(self._waiting) - self._limit) :]
            self._waiting.extendleft(reversed(kept))
            self._dropped += len(batch) - len(kept)

    def _told(self, answer: _Answer) -> dict[str, Scalar] | None:
        request_id, exit_, prediction = answer
        if not 1 <= len(request_id) <= _LONGEST or not _is_text(request_id):
            return None
        told: dict[str, Scalar] = {"id": request_id, **self._constant}
        if exit_ is not None:
            told["exit"] = exit_[:_LONGEST]
        found = _scalar(prediction)
        if found is not None:
            told["prediction"] = found
        return told

    def _counted(self, outcome: str, count: int) -> None:
        if count:
            self._count(outcome, count)

    def _tell_dropped(self) -> None:
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        self._counted("dropped", dropped)

    def _say(self, taken: bool, why: str) -> None:
        """Say in the log when posts begin to fail, and when they go through again."""
        if taken == self._failing:
            self._failing = not taken
            if taken:
                _log.warning("answers are told to %s again", self.url)
            else:
                _log.warning("answers cannot be told to %s: %s", self.url, " ".join(why.split()))


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise SpecError(
            "the receiver of answers",
            place=url,
            found="no URL",
            expected="one such as http://exporter:4318",
            remedy="JOULERY_ANSWERS_URL names it; empty: answers are not told",
        )
    return f"{url.rstrip('/')}/v1/answers"


def _scalar(value: object) -> Scalar:
    """Return what JSON and the exporter can take, or `None`."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "size", 0) == 1:  # NumPy's
        value = item()
    if isinstance(value, str):
        return value if len(value) <= _LONGEST and _is_text(value) else None
    if isinstance(value, int):
        return value if abs(value) <= _LARGEST else None
    return value if isinstance(value, float) and math.isfinite(value) else None


def _is_text(value: str) -> bool:
    """Return whether UTF-8 can hold it: half of a surrogate pair cannot be told."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


_open: weakref.WeakSet[AnswerReporter] = weakref.WeakSet()


def _close_all() -> None:
    until_s = time.monotonic() + _GRACE_S
    for reporter in list(_open):
        if time.monotonic() < until_s:
            reporter.close()


def _after_fork() -> None:
    for reporter in list(_open):
        reporter.after_fork()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
