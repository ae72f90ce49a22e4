"""A user's traffic: any columns, uneven and changing times, what cannot be used is named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from joulery.campaigns.scenarios.traffic_prediction import TrafficPrediction
from joulery.campaigns.scenarios.traffic_prediction.loaders import load
from joulery.errors import DatasetError

ROWS = 1200
START = datetime(2024, 3, 30, tzinfo=UTC)


def _walk(series: int = 2, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(rows, series)).cumsum(axis=0).round(4) + 100


def _times(rows: int = ROWS, step_s: float = 300) -> list[datetime]:
    return [START + timedelta(seconds=step_s * row) for row in range(rows)]


def _csv(path: Path, times: list[str] | None, **columns: np.ndarray) -> Path:
    table = pd.DataFrame(columns)
    if times is not None:
        table.insert(0, "timestamp", times)
    table.to_csv(path, index=False)
    return path


def _refusal(data: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        load(data)
    return str(caught.value)


def test_columns_need_no_certain_names(tmp_path: Path) -> None:
    """Without net_in and net_out all columns of numbers are series, of texts and times none."""
    rx, tx = _walk().T
    iso = [time.isoformat() for time in _times()]
    data = _csv(tmp_path / "link.csv", iso, host=np.array(["a"] * ROWS), rx=rx, tx=tx)
    traffic = load(data)
    assert traffic.table.columns == ("rx", "tx")
    np.testing.assert_array_equal(traffic.table.values, np.stack([rx, tx], axis=1))
    assert traffic.source == "link.csv (rx, tx)"


def test_net_in_and_net_out_are_taken_where_both_are(tmp_path: Path) -> None:
    """With both usual columns other ones are left alone."""
    one, two = _walk().T
    traffic = load(_csv(tmp_path / "a.csv", None, cpu=one, net_out=two, net_in=one))
    assert traffic.table.columns == ("net_in", "net_out")
    assert traffic.key == traffic.table.sha256


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_are_chosen_with_the_path(tmp_path: Path, kind: str) -> None:
    """`file#a,b` reads these columns in this order, and other models are fitted to them."""
    a, b, c = _walk(3).T
    path = tmp_path / f"many.{kind}"
    table = pd.DataFrame({"a": a, "b": b, "c": c})
    table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path)
    every, some = load(path), load(path.with_name(f"{path.name}#c,a"))
    np.testing.assert_array_equal(some.table.values, np.stack([c, a], axis=1))
    assert every.table.columns == ("a", "b", "c")
    assert every.table.sha256 == some.table.sha256
    assert every.key != some.key
    assert "no column 'd'" in _refusal(path.with_name(f"{path.name}#d"))
    assert "each once" in _refusal(path.with_name(f"{path.name}#a,a"))


def test_files_without_numbers_or_with_too_many_are_refused(tmp_path: Path) -> None:
    """No column of numbers, and more series than models are made for, are said to be that."""
    names = np.array(["a"] * ROWS)
    assert "no column of numbers among 'host'" in _refusal(
        _csv(tmp_path / "a.csv", None, host=names)
    )
    wide = {f"c{index}": column for index, column in enumerate(_walk(9).T)}
    said = _refusal(_csv(tmp_path / "b.csv", None, **wide))
    assert "found 9 series, expected at most 8" in said
    assert "b.csv#c0,c1" in said


def test_numbers_that_are_missing_have_a_place(tmp_path: Path) -> None:
    """An empty field or a null is an error with its line and column; nothing is made up for it."""
    values = _walk(1)[:, 0]
    values[700] = np.nan
    assert "line 702, column 'a': found an empty field" in _refusal(
        _csv(tmp_path / "a.csv", None, a=values)
    )
    pd.DataFrame({"a": values}).to_parquet(tmp_path / "a.parquet")
    assert "row 701, column 'a': found None" in _refusal(tmp_path / "a.parquet")


def test_a_constant_series_is_refused(tmp_path: Path) -> None:
    """A series that never moves has no scale to judge errors by."""
    data = _csv(tmp_path / "a.csv", None, a=np.full(ROWS, 7.0))
    with pytest.raises(DatasetError, match="column 'a': found one constant value"):
        TrafficPrediction().prepare(data, tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_a_change_of_the_clock_with_offsets_changes_nothing(tmp_path: Path) -> None:
    """Times with offsets are instants: the hour that a zone skips or repeats is no gap."""
    values = _walk(1)[:, 0]
    local = pd.DatetimeIndex(_times()).tz_convert("Europe/Berlin")
    offsets = {time.utcoffset() for time in local}
    assert len(offsets) == 2
    traffic = load(_csv(tmp_path / "a.csv", [t.isoformat() for t in local], a=values))
    np.testing.assert_array_equal(traffic.table.values[:, 0], values)
    assert traffic.source == "a.csv (a)"


def test_a_clock_without_offsets_that_is_put_back_loses_an_hour(tmp_path: Path) -> None:
    """Local times that repeat are left out, as no collector could tell them apart, and said."""
    rows = 3 * ROWS
    values = _walk(1, rows)[:, 0]
    times = [START.replace(month=10, day=26) + timedelta(minutes=5 * row) for row in range(rows)]
    local = pd.DatetimeIndex(times).tz_convert("Europe/Berlin").tz_localize(None)
    traffic = load(_csv(tmp_path / "a.csv", [t.isoformat() for t in local], a=values))
    assert "12 rows with repeated times are left out" in traffic.source
    assert len(traffic.table.values) == rows - 12


def test_gaps_repeat_the_row_before_them(tmp_path: Path) -> None:
    """A missing step is filled from the past alone, and that is said."""
    values = _walk(1)[:, 0]
    kept = np.r_[0:500, 503:ROWS]
    iso = np.array([time.isoformat() for time in _times()])
    traffic = load(_csv(tmp_path / "a.csv", iso[kept].tolist(), a=values[kept]))
    wanted = values.copy()
    wanted[500:503] = values[499]
    np.testing.assert_array_equal(traffic.table.values[:, 0], wanted)
    assert "3 missing steps repeat the row before them" in traffic.source


def test_jitter_of_a_collector_is_no_gap(tmp_path: Path) -> None:
    """Rows some seconds early or late stand at their steps."""
    values = _walk(1)[:, 0]
    late = np.random.default_rng(1).integers(-20, 20, ROWS)
    times = [t + timedelta(seconds=int(s)) for t, s in zip(_times(), late, strict=True)]
    traffic = load(_csv(tmp_path / "a.csv", [t.isoformat() for t in times], a=values))
    np.testing.assert_array_equal(traffic.table.values[:, 0], values)


def _shuffled(times: list[str]) -> list[str]:
    return [*times[600:], *times[:600]]


def _mixed(times: list[str]) -> list[str]:
    return [*times[:5], times[5].replace("+00:00", ""), *times[6:]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_shuffled, "row 601: found 600 of 1200 times not later than those before them"),
        (lambda times: times[:1] * ROWS, "1199 of 1200 times not later"),
        (_mixed, "line 7, column 'timestamp': found '2024-03-30T00:25:00', unlike"),
        (
            lambda times: [*times[:3], "noon", *times[4:]],
            "line 5, column 'timestamp': found 'noon'",
        ),
        (lambda times: [*times[:3], "", *times[4:]], "line 5, column 'timestamp'"),
        (lambda times: [*times[:-1], "2200-01-01T00:00:00+00:00"], "without a row"),
        (lambda times: [*map(str, range(len(times) - 1)), "1e18"], "steps of 1 s without a row"),
        (lambda times: [*map(str, range(len(times) - 1)), "1e19"], "line 1201, column 'timestamp'"),
    ],
)
def test_times_that_cannot_be_steps_are_refused(
    tmp_path: Path, change: Callable[[list[str]], list[str]], says: str
) -> None:
    """Rows out of order, repeated, mixed with and without offset, or no times: each is named."""
    iso = [time.isoformat() for time in _times()]
    assert says in _refusal(_csv(tmp_path / "a.csv", change(iso), a=_walk(1)[:, 0]))


def test_parquet_has_times_too(tmp_path: Path) -> None:
    """A column of timestamps in Parquet puts rows on steps as one in CSV does."""
    values = _walk(1)[:, 0]
    kept = np.r_[0:500, 503:ROWS]
    zoned = pd.DatetimeIndex(_times()).tz_convert("Europe/Berlin")
    path = tmp_path / "a.parquet"
    pd.DataFrame({"time": zoned[kept], "a": values[kept]}).to_parquet(path, index=False)
    traffic = load(path)
    assert len(traffic.table.values) == ROWS
    assert "3 missing steps" in traffic.source


def test_times_in_parquet_may_be_of_any_age(tmp_path: Path) -> None:
    """A time that does not fit into nanoseconds is one all the same."""
    path = tmp_path / "a.parquet"
    ages = np.arange(ROWS) * 10**12
    pd.DataFrame({"time": ages.astype("datetime64[s]"), "a": _walk(1)[:, 0]}).to_parquet(path)
    assert len(load(path).table.values) == ROWS


@pytest.mark.parametrize(
    ("name", "rows", "remark"),
    [
        ("realAWSCloudwatch/ec2_network_in_257a54", 4034, "2 missing steps"),
        ("realAWSCloudwatch/ec2_network_in_5abac7", 4730, "12 rows with repeated times"),
        ("realAWSCloudwatch/iio_us-east-1_i-a2eb1cd9_NetworkIn", 1243, ""),
        ("realAWSCloudwatch/elb_request_count_8c0756", 4040, "8 missing steps"),
    ],
)
def test_network_series_of_numenta_are_read(
    test_data: Path, name: str, rows: int, remark: str
) -> None:
    """Numenta's series come on even steps, clock changes and gaps said; labels are not needed."""
    traffic = load(test_data / "nab" / "data" / f"{name}.csv")
    assert traffic.table.columns == ("value",)
    assert traffic.table.values.shape == (rows, 1)
    assert remark in traffic.source


def test_series_of_numenta_that_are_mostly_gaps_are_refused(test_data: Path) -> None:
    """The road sensors miss half of their steps: filling them would be inventing traffic."""
    said = _refusal(test_data / "nab" / "data" / "realTraffic" / "speed_7578.csv")
    assert "1497 of 2622 steps of 300 s without a row" in said
