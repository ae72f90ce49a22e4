"""Recorded loads: a CSV of arrival times, or of counts or rates per interval.

Time zero is the first row, so files may count from anywhere, for instance in Unix time.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..errors import SpecError

__all__ = ["Trace", "TraceCut", "TraceForm", "read_trace"]

TraceForm = Literal["arrivals", "counts", "rates"]

_HEADS: dict[tuple[str, ...], TraceForm] = {
    ("arrival_s",): "arrivals",
    ("start_s", "count"): "counts",
    ("start_s", "rate_hz"): "rates",
}
_HIGHEST = 1e15
"""What is far above any time or number in here; products of such are still finite."""
_EXPECTED = "a first line `arrival_s`, `start_s,count` or `start_s,rate_hz`"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TraceCut:
    """The part of a trace that a window replays, scaled.

    Args:
        name: The file's name.
        sha256: Of the whole file.
        form: What `requests` says.
        edges_s: Arrival times; or the edges of the intervals, one more than there are.
        requests: How many requests are made of each arrival, or in each interval, on average.
        rate_hz: Requests per second of the window, on average.
    """

    name: str
    sha256: str
    form: TraceForm
    edges_s: NDArray[np.float64]
    requests: NDArray[np.float64]
    rate_hz: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """A whole trace, as it stands in its file.

    Args:
        path: The file.
        sha256: Of its content.
        form: What `requests` says.
        edges_s: Arrival times; or the edges of the intervals, one more than there are.
        requests: One for each arrival; or requests of each interval.
    """

    path: Path
    sha256: str
    form: TraceForm
    edges_s: NDArray[np.float64]
    requests: NDArray[np.float64]

    def cut(self, window_s: float, *, time_scale: float, rate_scale: float) -> TraceCut:
        """Return what a window replays.

        Raises:
            SpecError: When the trace ends before the window does, or nothing arrives in it.
        """
        edges_s = self.edges_s * time_scale
        if edges_s[-1] < window_s:
            raise SpecError(
                str(self.path),
                found=f"{edges_s[-1]:g} s" + (" once scaled" if time_scale != 1 else ""),
                expected=f"at least the window's {window_s:g} s",
                remedy="set trial.window_s lower, or time_scale higher",
            )
        requests = self.requests * rate_scale
        kept = int(np.searchsorted(edges_s, window_s))
        if self.form == "arrivals":
            edges_s, requests = edges_s[:kept], requests[:kept]
            number = float(requests.sum())
        else:
            edges_s, requests = edges_s[: kept + 1], requests[:kept]
            lengths_s = np.diff(edges_s)
            within_s = np.minimum(edges_s[1:], window_s) - edges_s[:-1]
            number = float(requests @ (within_s / lengths_s))
        if number <= 0:
            raise SpecError(
                str(self.path),
                found=f"no request in the first {window_s:g} s",
                expected="requests in the window",
                remedy="set trial.window_s higher, or begin the file later",
            )
        return TraceCut(
            name=self.path.name,
            sha256=self.sha256,
            form=self.form,
            edges_s=edges_s,
            requests=requests,
            rate_hz=number / window_s,
        )


def read_trace(path: Path) -> Trace:
    """Read a trace.

    Raises:
        SpecError: When the file is missing, empty, or not what a trace is.
    """
    subject = str(path)
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise SpecError(
            subject,
            found="no such file",
            expected="a trace",
            remedy="its path is relative to the specification's folder",
        ) from None
    except (OSError, ValueError) as error:
        raise SpecError(subject, found=str(error), expected="a readable CSV file") from None
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        head = tuple(name.strip() for name in next(reader, ()))
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise SpecError(subject, found=str(error), expected="CSV") from None
    form = _HEADS.get(head)
    if form is None:
        found = f"the head `{','.join(head)}`" if head else "an empty file"
        raise SpecError(subject, place="line 1" if head else None, found=found, expected=_EXPECTED)
    values = [_numbers(subject, line, row, head) for line, row in rows]
    if len(values) < 2:
        raise SpecError(
            subject, found=f"{len(values)} rows below the head", expected="at least two"
        )
    _check_order([value[0] for value in values], [line for line, _ in rows], form, subject)
    table = np.array(values, dtype=np.float64)
    starts_s = table[:, 0] - table[0, 0]
    if form == "arrivals":
        edges_s, requests = starts_s, np.ones(len(starts_s))
    else:
        # Nothing says how long the last interval is: as long as the one before it.
        edges_s = np.append(starts_s, 2 * starts_s[-1] - starts_s[-2])
        requests = table[:, 1] * (np.diff(edges_s) if form == "rates" else 1.0)
    digest = hashlib.sha256(content).hexdigest()
    return Trace(path=path, sha256=digest, form=form, edges_s=edges_s, requests=requests)


def _numbers(subject: str, line: int, row: list[str], head: tuple[str, ...]) -> list[float]:
    """Return the numbers of a row, none of them negative."""

    def refuse(found: str, expected: str) -> NoReturn:
        raise SpecError(subject, place=f"line {line}", found=found, expected=expected)

    if len(row) != len(head):
        refuse(f"{len(row)} columns", f"{len(head)}: {', '.join(head)}")
    values = []
    for name, cell in zip(head, row, strict=True):
        try:
            value = float(cell)
        except ValueError:
            refuse(f"{name} '{cell}'", "a number")
        if not math.isfinite(value):
            refuse(f"{name} {cell.strip()}", "a finite number")
        if value > _HIGHEST:
            refuse(f"{name} {cell.strip()}", f"a number <= {_HIGHEST:g}")
        if value < 0:
            refuse(f"{name} {cell.strip()}", "a number >= 0")
        if name == "count" and value != int(value):
            refuse(f"{name} {cell.strip()}", "a whole number")
        values.append(value)
    return values


def _check_order(
    times_s: Sequence[float], lines: Sequence[int], form: TraceForm, subject: str
) -> None:
    """Refuse times that fall; two requests may arrive together, two intervals may not begin so."""
    for before_s, after_s, line in zip(times_s, times_s[1:], lines[1:], strict=False):
        if after_s < before_s or (after_s == before_s and form != "arrivals"):
            raise SpecError(
                subject,
                place=f"line {line}",
                found=f"{after_s:g} s after {before_s:g} s",
                expected="times that ascend",
                remedy="sort the rows by time",
            )
