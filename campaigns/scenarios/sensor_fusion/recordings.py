"""Recordings of two motion sensors: what ships, or a user's own, split by whole recordings.

No recording, and of a user's own data no person, is on both sides of the split. How recordings are
cut into windows is the business of `windows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....errors import DatasetError
from ..series import Table, read_table

__all__ = [
    "CHANNELS", "MINIMUM_USERS", "NO_LABEL", "SHIPPED", "Recording", "Recordings", "basic_motions",
    "user_recordings",
]  # fmt: skip

CHANNELS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
"""Columns of a recording's values: the accelerometer's first."""
NO_LABEL = -1
"""Label of a row of which nothing is known."""
MINIMUM_USERS = 3
"""One to fit models to, one to fit their confidence to, one to judge them by."""

SHIPPED = Path(__file__).parents[1] / "data" / "basic_motions_10hz.csv"
_SHIPPED_SHA256 = "8cedaed6328528dc629889bbc25d1a06d1d0f4bc7d256c93125111887d37d484"
_SHIPPED_RATE_HZ = 10
_USER_RATE_HZ = 50
_SEED = 2012
_TESTED_SHARE = 0.3
_HELD_SHARE = 0.2
_ACTIVITY = "activity"
_TRANSITION = "_TO_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What two sensors measured in one go, without a gap.

    Args:
        owner: Whose it is: the unit that the split keeps whole.
        labels: Shape (rows,): index of the class, or `NO_LABEL`.
        values: Shape (rows, 6), FP32: `CHANNELS`, in the units of the file.
    """

    owner: str
    labels: NDArray[np.int64]
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recordings:
    """Recordings, split.

    Args:
        classes: Names, in the order of the labels.
        rate_hz: Rows a second.
        fitted: What models are fitted to.
        held: What their confidence is fitted to.
        tested: What they are judged by.
        left_out: Rows that are no part of any class, by why.
        sha256: SHA-256 of the file, hexadecimal.
    """

    classes: tuple[str, ...]
    rate_hz: int
    fitted: tuple[Recording, ...]
    held: tuple[Recording, ...]
    tested: tuple[Recording, ...]
    left_out: dict[str, int]
    sha256: str


def basic_motions() -> Recordings:
    """Return the recordings that ship, by the archive's own split of whole series.

    Of the training series the last two of each class are held back. Which of the four students a
    series is of was not published, so that the same person may be on both sides.

    Raises:
        DatasetError: When the file is missing or is not the one that was shipped.
    """
    table = read_table(SHIPPED, ("series", "t", *CHANNELS), texts=("part", _ACTIVITY))
    if table.sha256 != _SHIPPED_SHA256:
        raise DatasetError(
            str(SHIPPED),
            found=f"SHA-256 {table.sha256}",
            expected=_SHIPPED_SHA256,
            remedy="install joulery again, or name your own file with `data`",
        )
    classes = tuple(sorted(set(table.texts[_ACTIVITY])))
    parts = np.array(table.texts["part"])
    labels = np.array([classes.index(name) for name in table.texts[_ACTIVITY]], dtype=np.int64)
    found: dict[str, list[Recording]] = {"train": [], "test": []}
    for part, series in found.items():
        for number in np.unique(table.values[parts == part, 0]):
            rows = (parts == part) & (table.values[:, 0] == number)
            series.append(
                Recording(
                    owner=f"{part} {number:.0f}",
                    labels=labels[rows],
                    values=table.values[rows, 2:].astype(np.float32),
                )
            )
    held = [
        one
        for label in range(len(classes))
        for one in [one for one in found["train"] if one.labels[0] == label][-2:]
    ]
    owners = {one.owner for one in held}
    return Recordings(
        classes=classes,
        rate_hz=_SHIPPED_RATE_HZ,
        fitted=tuple(one for one in found["train"] if one.owner not in owners),
        held=tuple(held),
        tested=tuple(found["test"]),
        left_out={},
        sha256=table.sha256,
    )


def user_recordings(path: Path) -> Recordings:
    """Read a CSV or Parquet file of several people's recordings at 50 Hz, and split the people.

    Columns: `user` and `experiment` (numbers; a recording is one experiment of one user), `t` (the
    number of the sample, one more in each row of a recording), `activity` (text; empty or null: not
    labelled), and `CHANNELS`. Others are not looked at. An activity whose name contains `_TO_`, as
    HAPT's postural transitions do, is left out like one that is not labelled: they take about as
    long as a window, so that few windows show nothing else.

    Raises:
        DatasetError: See `read_table`; and when samples are missing or are not numbered by one,
            or there are fewer than `MINIMUM_USERS` users or 2 activities, or an activity only of
            users that are all on one side of the split.
    """
    table, names = _read(path)
    recordings, classes, left_out = _cut(table, names)
    users = sorted({one.owner for one in recordings}, key=float)
    if len(users) < MINIMUM_USERS:
        raise DatasetError(
            str(path),
            place="column 'user'",
            found=f"{len(users)} user{'s' * (len(users) != 1)}",
            expected=f"at least {MINIMUM_USERS}: to fit to, to calibrate on, and to judge by",
            remedy="record more people; windows of one person cannot judge a model for others",
        )
    order = np.random.default_rng(_SEED).permutation(len(users))
    tested = max(1, round(_TESTED_SHARE * len(users)))
    held = max(1, round(_HELD_SHARE * (len(users) - tested)))
    parts = np.split(order, [tested, tested + held])
    chosen = [{users[index] for index in part} for part in parts]
    tested_, held_, fitted_ = (tuple(r for r in recordings if r.owner in c) for c in chosen)
    return Recordings(
        classes=classes,
        rate_hz=_USER_RATE_HZ,
        fitted=fitted_,
        held=held_,
        tested=tested_,
        left_out=left_out,
        sha256=table.sha256,
    )


def _read(path: Path) -> tuple[Table, NDArray[np.str_]]:
    """Return the numbers of a file, and the name of each row's activity ("": none)."""
    columns = ("user", "experiment", "t", *CHANNELS)
    if path.suffix.lower() not in {".parquet", ".pq"}:
        table = read_table(path, columns, texts=(_ACTIVITY,))
        return table, np.array([name.strip() for name in table.texts[_ACTIVITY]])
    table = read_table(path, columns)
    # Imported here: reading CSV does not need it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    if _ACTIVITY not in schema.names:
        raise DatasetError(
            str(path),
            place="header",
            found=f"no column {_ACTIVITY!r} among {', '.join(map(repr, schema.names))}",
            expected=f"a column {_ACTIVITY!r} of text, null where nothing is known",
        )
    column = pq.read_table(path, columns=[_ACTIVITY])[_ACTIVITY]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_null(column.type):
        column = column.cast(pa.string())
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise DatasetError(
            str(path),
            place=f"column {_ACTIVITY!r}",
            found=f"type {column.type}",
            expected="text, null where nothing is known",
        )
    return table, np.array(column.fill_null("").to_pylist())


def _cut(
    table: Table, names: NDArray[np.str_]
) -> tuple[list[Recording], tuple[str, ...], dict[str, int]]:
    """Return the recordings of a file, the classes, and how many rows belong to none."""
    transition = np.char.find(names, _TRANSITION) >= 0
    known = (names != "") & ~transition
    classes = tuple(np.unique(names[known]).tolist())
    if len(classes) < 2:
        raise DatasetError(
            str(table.path),
            place=f"column {_ACTIVITY!r}",
            found=f"only {classes[0]!r}" if classes else "no activity",
            expected="at least 2 to tell apart",
            remedy="label more; null and names with '_TO_' are no classes",
        )
    labels = np.full(len(names), NO_LABEL, dtype=np.int64)
    labels[known] = np.searchsorted(np.array(classes), names[known])
    who = table.values[:, :2]
    starts = np.flatnonzero(np.any(who[1:] != who[:-1], axis=1)) + 1
    bounds = [0, *starts.tolist(), len(who)]
    _check_rows(table, bounds)
    recordings = [
        Recording(
            owner=f"{who[first, 0]:g}",
            labels=labels[first:stop],
            values=table.values[first:stop, 3:].astype(np.float32),
        )
        for first, stop in pairwise(bounds)
    ]
    left_out = {"no label": int((names == "").sum()), "transition": int(transition.sum())}
    return recordings, classes, left_out


def _check_rows(table: Table, bounds: Sequence[int]) -> None:
    """Raise DatasetError where a recording is in pieces or a sample is not the next one."""
    seen: dict[tuple[float, float], int] = {}
    for first in bounds[:-1]:
        user, experiment = table.values[first, :2].tolist()
        if (user, experiment) in seen:
            raise DatasetError(
                str(table.path),
                place=f"row {first + 1}",
                found=f"user {user:g}, experiment {experiment:g} again, after other recordings",
                expected="the rows of a recording one after another",
                remedy="sort the file by user, experiment and t",
            )
        seen[user, experiment] = first
    times = table.values[:, 2]
    steps = np.diff(times)
    steps[np.array(bounds[1:-1], dtype=np.int64) - 1] = 1.0
    wrong = np.flatnonzero(steps != 1.0)
    if not wrong.size:
        return
    row, step = int(wrong[0]) + 1, float(steps[wrong[0]])
    # The same step everywhere is another unit or rate; one that stands alone is a gap.
    if step > 0 and np.isclose(steps, step, rtol=1e-3).mean() > 0.5:
        remedy = f"number the samples; resample to {_USER_RATE_HZ} Hz what was measured otherwise"
    else:
        remedy = "give what comes after a gap an experiment number of its own"
    raise DatasetError(
        str(table.path),
        place=f"row {row + 1}, column 't'",
        found=f"{times[row]:g} after {times[row - 1]:g}",
        expected=f"{times[row - 1] + 1:g}: the number of the sample, at {_USER_RATE_HZ} Hz",
        remedy=remedy,
    )
