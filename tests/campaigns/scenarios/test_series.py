"""Wrong data files: each is refused with its place and a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from joulery.campaigns.scenarios import series
from joulery.campaigns.scenarios.series import read_table, shipped_table
from joulery.errors import DatasetError


def _refusal(path: Path, columns: tuple[str, ...] | None = ("a", "b"), rows: int = 1) -> str:
    with pytest.raises(DatasetError) as caught:
        read_table(path, columns, minimum_rows=rows)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "an empty file"),
        (b" \n\n", "an empty file"),
        (b"a,b\n", "a header and no rows"),
        (b"a,b\n1,2\n3", "line 3: found 1 fields, expected 2"),
        (b"a,b\n1,2,3\n", "line 2: found 3 fields, expected 2"),
        (b"a,b\n1,2\n3,\n", "line 3, column 'b': found an empty field"),
        (b"a,b\n1,two\n", "line 2, column 'b': found 'two'"),
        (b"a,b\n1,1_000\n", "line 2, column 'b': found '1_000'"),
        (b"a,b\n1,nan\n", "line 2, column 'b': found 'nan'"),
        (b"a,b\n-inf,1\n", "line 2, column 'a': found '-inf'"),
        (b"a,bb\n1,2\n", "rename 'bb', the nearest"),
        (b"a,b,a\n1,2,3\n", "column 'a' twice"),
        (b"a,b\n1,2\n\xff,3\n", "line 3: found byte 0xff, which is not UTF-8"),
        (b'a,b\n1,"2\n', "comma-separated values"),
        (b"\xef\xbb\xbf", "found no header"),
        (b"a,b\n1,2\n3,1e300\n", "line 3, column 'b': found '1e300', expected a finite number"),
        (b"a,b\n1,2\n", "found 1 rows, expected at least 2 rows"),
    ],
)
def test_a_wrong_csv_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    """Every kind of wrong CSV is named with line, column and value."""
    path = tmp_path / "traffic.csv"
    path.write_bytes(content)
    assert says in _refusal(path, rows=2)


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    """A path without a file behind it is said to be just that."""
    assert "no such file" in _refusal(tmp_path / "none.csv")
    assert "a directory" in _refusal(tmp_path)


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    """CRLF, a byte order mark and a missing last newline change nothing."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfa,b\r\n1,2\r\n3,4")
    assert read_table(path, ("b", "a")).values.tolist() == [[2, 1], [4, 3]]


def test_time_columns_are_not_numbers(tmp_path: Path) -> None:
    """Without named columns, all are read but those that only label rows."""
    path = tmp_path / "a.csv"
    path.write_text("Timestamp,a\n2024-01-01,1\n")
    assert read_table(path).columns == ("a",)


def _parquet(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_is_read_like_csv(test_data: Path) -> None:
    """The same series gives the same numbers from CSV and from Parquet."""
    stem = test_data / "traffic" / "alibaba2018_machine_usage_300s"
    tables = [read_table(stem.with_suffix(kind)) for kind in (".csv", ".parquet")]
    assert tables[0].columns == tables[1].columns
    np.testing.assert_allclose(tables[0].values, tables[1].values, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: p.write_bytes(_parquet(p, a=[1.0], b=[2.0]).read_bytes()[:-9]), "complete"),
        (lambda p: _parquet(p, a=[1.0], c=[2.0]), "no column 'b'"),
        (lambda p: _parquet(p, a=[1.0, 2.0], b=[2.0, None]), "row 2, column 'b': found None"),
        (lambda p: _parquet(p, a=[1.0], b=[float("nan")]), "row 1, column 'b': found nan"),
        (lambda p: _parquet(p, a=[1.0], b=[-1e19]), "row 1, column 'b': found -1e+19"),
        (lambda p: _parquet(p), "no header"),
        (lambda p: _parquet(p, a=[1.0], b=["x"]), "'x' of type string"),
        (
            lambda p: _parquet(p, a=pa.array([], pa.float64()), b=pa.array([], pa.float64())),
            "no rows",
        ),
    ],
)
def test_a_wrong_parquet_is_refused(
    tmp_path: Path, make: Callable[[Path], object], says: str
) -> None:
    """Every kind of wrong Parquet file is named with row, column and value."""
    path = tmp_path / "a.parquet"
    make(path)
    assert says in _refusal(path)


def test_changed_shipped_data_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that ship are used only when they are what was shipped."""
    changed = tmp_path / "shipped.csv"
    changed.write_bytes(series._SHIPPED.read_bytes() + b"1,2,3,4,5\n")
    # The place of shipped data is not an argument of anything a user calls.
    monkeypatch.setattr(series, "_SHIPPED", changed)
    with pytest.raises(DatasetError, match="SHA-256"):
        shipped_table()
