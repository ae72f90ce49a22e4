"""Read data in the format of the Server Machine Dataset (Su et al. 2019).

`train/<machine>.txt` (normal), `test/<machine>.txt` and `test_label/<machine>.txt` (0 or 1 a row):
comma-separated numbers without a header, a row a minute.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ....errors import DatasetError
from ..series import checksum
from .delimited import content_of, read_fields
from .labelled import LabelledSeries, as_events
from .split import SLOTS, WINDOW

__all__ = ["is_smd", "smd_series"]

_PARTS = ("train", "test", "test_label")
_ROW_S = 60.0
_ROWS_A_DAY = 1440
_MINIMUM_ROWS = 10 * WINDOW


def _root(data: Path) -> Path:
    return data if data.is_dir() else data.resolve().parent.parent


def is_smd(data: Path) -> bool:
    """Return whether `data` is a folder in this layout, or a machine's text file in one."""
    if data.is_dir():
        return all((data / part).is_dir() for part in _PARTS[:2])
    return data.suffix == ".txt" and data.resolve().parent.name in _PARTS


def _machine(data: Path) -> str:
    if not data.is_dir():
        return data.stem
    found = sorted(path.stem for path in (data / "test").glob("*.txt"))
    if len(found) == 1:
        return found[0]
    some = found[0] if found else "machine-1-1"
    raise DatasetError(
        str(data),
        found=f"{len(found)} machines",
        expected="one",
        remedy=f"name one machine's file, such as {data / 'test' / some}.txt",
    )


def smd_series(data: Path) -> tuple[tuple[LabelledSeries, ...], str]:
    """Read one machine.

    Args:
        data: One of its files, or a folder that holds no other machine.

    Returns:
        The normal part, none of which is judged, and the test part, all of which is; and the
        SHA-256 of the three files together.

    Raises:
        DatasetError: When a file is missing or wrong, or they do not fit together.
    """
    machine = _machine(data)
    paths = {part: _root(data) / part / f"{machine}.txt" for part in _PARTS}
    contents = {
        part: content_of(path, f"{part} rows of {machine}, comma-separated, without a header")
        for part, path in paths.items()
    }
    read = {
        part: read_fields(paths[part], content, separator=",", header=False).values
        for part, content in contents.items()
    }
    _check(paths, read)
    sha256 = checksum(b"\n".join(checksum(content).encode() for content in contents.values()))
    test = read["test"]

    def series(part: str, events: tuple[tuple[int, int], ...], probation: int) -> LabelledSeries:
        rows = np.arange(len(read[part]), dtype=np.int64)
        return LabelledSeries(
            name=f"{part}/{machine}.txt",
            values=read[part],
            # There are no times: a day is taken to begin with each file.
            slots=rows % _ROWS_A_DAY * SLOTS // _ROWS_A_DAY,
            events=events,
            probation=probation,
            row_s=_ROW_S,
            sha256=checksum(contents[part]),
        )

    events = as_events(paths["test_label"], read["test_label"][:, 0], "1", "line 1")
    return (
        series("train", (), len(read["train"])),
        series("test", events, min(WINDOW - 1, len(test))),
    ), sha256


def _check(paths: dict[str, Path], read: dict[str, np.ndarray]) -> None:
    """Raise DatasetError where the files of a machine do not fit together."""
    for part in ("train", "test"):
        if len(read[part]) < _MINIMUM_ROWS:
            raise DatasetError(
                str(paths[part]),
                found=f"{len(read[part])} rows",
                expected=f"at least {_MINIMUM_ROWS} rows",
            )
    if read["train"].shape[1] != read["test"].shape[1]:
        raise DatasetError(
            str(paths["test"]),
            found=f"{read['test'].shape[1]} columns",
            expected=f"{read['train'].shape[1]}, as in the train file",
        )
    if read["test_label"].shape != (len(read["test"]), 1):
        rows, columns = read["test_label"].shape
        raise DatasetError(
            str(paths["test_label"]),
            found=f"{rows} rows of {columns} labels",
            expected=f"{len(read['test'])} rows of one, as the test file has",
            remedy="copy the data set again",
        )
    if not np.ptp(read["train"], axis=0).any():
        raise DatasetError(
            str(paths["train"]), found="constant columns only", expected="a machine in use"
        )
