"""Read traffic matrices of SNDlib (Orlowski et al. 2010, Networks 55:276) as series over time.

A matrix is an XML file `demandMatrix-<network>-<step>-<YYYYMMDD>-<HHMM>.xml` of the archive of
dynamic traffic, with `<demand id>` elements under `<demands>`. A pair of nodes that a matrix does
not list carries no traffic in it: in a network planning instance, there is nothing to be routed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from ....errors import DatasetError
from ..series import MOST, Table, checksum
from .split import training_part
from .steps import even_steps

__all__ = ["LARGEST", "TOTAL", "is_sndlib", "read_matrices"]

TOTAL = "total"
"""The series of what all demands of a matrix add up to."""
LARGEST = "largest"
"""`largest-3` stands for the three demands that are largest in the training part."""

_TIME = re.compile(r"(\d{8})-?(\d{4})$")


def is_sndlib(path: Path) -> bool:
    """Return whether a path is to be read as traffic matrices."""
    return path.is_dir() or path.suffix.lower() == ".xml"


def read_matrices(
    path: Path, series: Sequence[str] | None = None, *, minimum_rows: int = 1
) -> tuple[Table, str]:
    """Read a folder of matrices, or one file with several.

    Args:
        path: Of the folder or file.
        series: `TOTAL`, names of demands, or `LARGEST` with a number; `None`: `TOTAL`.
        minimum_rows: Fewer matrices are refused.

    Returns:
        The series on even steps, and a remark about them for people.

    Raises:
        DatasetError: When a file is broken, has no demands, or a value that is no number; when a
            demand is in no matrix; when times are missing or too uneven.
    """
    names, matrices, times = [], [], []
    for name, content in _contents(path):
        names.append(f"{checksum(content)}  {name}")
        where = path / name if path.is_dir() else path
        for demands, stamp in _matrices(where, content):
            matrices.append(demands)
            times.append(stamp)
    if len(matrices) < minimum_rows:
        raise DatasetError(
            str(path),
            found=f"{len(matrices)} traffic matrices",
            expected=f"at least {minimum_rows} rows, one a matrix",
            remedy="name the folder of all demandMatrix files of a network",
        )
    known = [time is not None for time in times]
    remark = ""
    rows = np.arange(len(matrices))
    if any(known):
        if not all(known):
            raise DatasetError(
                str(path), place=f"matrix {known.index(False) + 1}", found="no time",
                expected="a name such as demandMatrix-abilene-5min-20040301-0000.xml",
                remedy="rename the file",
            )  # fmt: skip
        steps = even_steps(path, np.array(times, dtype=np.float64))
        rows, remark = steps.rows, steps.remark
    even = [matrices[row] for row in rows]
    chosen = _columns(path, even, series)
    values = np.array([[_value(one, name) for name in chosen] for one in even])
    sha256 = checksum("\n".join(names).encode())
    return Table(path=path, columns=chosen, values=values, texts={}, sha256=sha256), remark


def _contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each file, in the order of their names."""
    files = sorted(path.glob("*.xml")) if path.is_dir() else [path]
    named = [file for file in files if file.name.startswith("demandMatrix")]
    if not files:
        raise DatasetError(
            str(path),
            found="a directory without .xml files",
            expected="demandMatrix-*.xml files of SNDlib, or a CSV or Parquet file",
            remedy="name a file with `data`, or unpack the archive there",
        )
    for file in named or files:
        try:
            yield file.name, file.read_bytes()
        except OSError as error:
            raise DatasetError(
                str(file), found=str(error), expected="a readable file", remedy="check the path"
            ) from error


def _matrices(path: Path, content: bytes) -> Iterator[tuple[dict[str, float], float | None]]:
    """Yield the demands of each matrix of a file by their names, and when it was."""
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the two: of encodings
        raise DatasetError(
            str(path),
            found=str(error),
            expected="a complete XML file",
            remedy="the file may be cut short: copy it again",
        ) from error
    found = [entry for entry in root.iter() if _name(entry) == "network"] or [root]
    count = 0
    for network in found:
        times = [e.text or "" for e in network.iter() if _name(e) == "time"]
        sections = [e for e in network.iter() if _name(e) == "demands"]
        for place, section in enumerate(sections):
            texts = [times[place]] if len(times) == len(sections) else []
            demands = dict(_demand(path, e) for e in section if _name(e) == "demand")
            if demands:
                count += 1
                yield demands, _time_s([*texts, path.stem])
    if not count:
        raise DatasetError(
            str(path),
            found="no demands",
            expected="<network> with <demands> of <demand> elements, SNDlib's XML format",
            remedy="use a traffic matrix, not the network's links alone",
        )


def _name(element: ElementTree.Element) -> str:
    """Return an element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def _demand(path: Path, element: ElementTree.Element) -> tuple[str, float]:
    parts = {_name(child): (child.text or "").strip() for child in element}
    name = element.get("id") or f"{parts.get('source', '')}_{parts.get('target', '')}"
    text = parts.get("demandValue", "")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MOST:
        raise DatasetError(
            str(path),
            place=f"demand {name!r}",
            found=f"demandValue {text!r}",
            expected=f"a number from 0 to {MOST:g}",
            remedy="correct or remove the file",
        )
    return name, value


def _time_s(texts: Sequence[str]) -> float | None:
    """Return the first time among some texts, in seconds; `None` when there is none."""
    for text in texts:
        found = _TIME.search(text.strip())
        if found is not None:
            try:
                moment = datetime.strptime("".join(found.groups()), "%Y%m%d%H%M")
            except ValueError:
                continue
            return moment.replace(tzinfo=UTC).timestamp()
    return None


def _columns(
    path: Path, matrices: Sequence[dict[str, float]], series: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the names of the series that are asked for, each once."""
    known = dict.fromkeys(name for one in matrices for name in one)
    chosen: list[str] = []
    for asked in series or (TOTAL,):
        kind, _, number = asked.partition("-")
        if asked not in known and kind == LARGEST and number.isdecimal():
            part: NDArray[np.float64] = training_part(np.arange(len(matrices), dtype=np.float64))
            seen = matrices[: max(len(part), 1)]
            sizes = {name: sum(one.get(name, 0.0) for one in seen) for name in known}
            chosen += sorted(sizes, key=lambda name: -sizes[name])[: int(number)]
        elif asked == TOTAL or asked in known:
            chosen.append(asked)
        else:
            raise DatasetError(
                str(path),
                found=f"no demand {asked!r}",
                expected=f"{TOTAL}, {LARGEST}-2, or one such as {next(iter(known))!r}",
                remedy="write it as the matrices do",
            )
    return tuple(dict.fromkeys(chosen))


def _value(demands: dict[str, float], name: str) -> float:
    """Return what one series holds in one matrix."""
    if name == TOTAL and TOTAL not in demands:
        return sum(demands.values())
    return demands.get(name, 0.0)
