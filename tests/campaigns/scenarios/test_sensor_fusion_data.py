"""Sensor fusion's data: what ships, a user's own, the split, windows, conditions, and errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from joulery.campaigns.scenarios.sensor_fusion import SensorFusion
from joulery.campaigns.scenarios.sensor_fusion.recordings import (
    CHANNELS,
    SHIPPED,
    basic_motions,
    user_recordings,
)
from joulery.campaigns.scenarios.sensor_fusion.windows import (
    CONDITIONS,
    cut_for,
    sensor_inputs,
    windows_of,
)
from joulery.campaigns.scenarios.sensor_fusion.workload import FusionWorkload, Parts
from joulery.errors import DatasetError

from .motion import motion_frame


@pytest.fixture(scope="module")
def workload() -> FusionWorkload:
    """Return the workload of the data that ship."""
    return SensorFusion().prepare(None, Path())


def test_the_shipped_file_is_the_archives_own(test_data: Path) -> None:
    """Every value that ships is the published file's, and so are class and part."""
    ours = pd.read_csv(SHIPPED)
    for part in ("train", "test"):
        path = test_data / "har" / "basic_motions" / f"BasicMotions_{part.upper()}.ts"
        lines = path.read_text().split("@data\n")[1].splitlines()
        assert len(lines) == 40
        for number, line in enumerate(lines, start=1):
            *channels, activity = line.split(":")
            mine = ours[(ours.part == part) & (ours.series == number)]
            theirs = np.array([[float(v) for v in one.split(",")] for one in channels]).T
            np.testing.assert_array_equal(mine[list(CHANNELS)].to_numpy(), theirs)
            assert set(mine.activity) == {activity.strip()}
            assert mine.t.tolist() == list(range(100))


def test_no_window_of_a_training_series_is_tested(workload: FusionWorkload) -> None:
    """Series are on one side whole: neither an owner nor a row of values is on two."""
    parts = workload.parts
    owners = [set(one.owners) for one in (parts.fitted, parts.held, parts.tested)]
    assert [len(one) for one in owners] == [32, 8, 40]
    assert not owners[0] & owners[1]
    assert not owners[0] & owners[2]
    assert not owners[1] & owners[2]
    seen = [
        {row.tobytes() for row in one.values.reshape(-1, 60)}
        for one in (parts.fitted, parts.held, parts.tested)
    ]
    # One row may be measured twice; ten rows in a row, the same in six channels, are not.
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


def test_each_window_comes_under_every_condition(workload: FusionWorkload) -> None:
    """Sample s is window s // 4 under condition s % 4, as documented."""
    assert workload.size == len(workload.parts.tested.labels) * 4 == 1440
    lead, steps = workload.parts.cut.lead, workload.parts.cut.steps
    window = 17
    whole = workload.parts.tested.values[window]
    for number, condition in enumerate(CONDITIONS):
        given = workload.inputs(4 * window + number)
        assert given["accelerometer"].shape == given["gyroscope"].shape == (1, steps, 3)
        assert {one.dtype for one in given.values()} == {np.dtype(np.float32)}
        there = {"no_accelerometer": [0, 1], "no_gyroscope": [1, 0]}.get(condition, [1, 1])
        assert given["present"].tolist() == [there]
        lag = lead if condition == "late" else 0
        expected = whole[lead:, :3] * there[0], whole[lead - lag :, 3:][:steps] * there[1]
        np.testing.assert_array_equal(given["accelerometer"][0], expected[0])
        np.testing.assert_array_equal(given["gyroscope"][0], expected[1])


def test_a_late_sensor_shows_what_was_measured_a_second_before() -> None:
    """The late gyroscope's window is that of the series, one second earlier."""
    series = basic_motions().tested[5]
    cut = cut_for(10)
    windows = windows_of([series], cut, cut.steps)
    late = sensor_inputs(windows.values, cut, "late")["gyroscope"]
    np.testing.assert_array_equal(late[2], series.values[20:30, 3:])
    complete = sensor_inputs(windows.values, cut, "complete")["gyroscope"]
    np.testing.assert_array_equal(complete[2], series.values[30:40, 3:])


def _write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_windows_stay_in_their_recording_and_label(tmp_path: Path, name: str) -> None:
    """No window crosses a recording's border, an unlabelled row, or another activity's."""
    frame = motion_frame(users=5, experiments=2)
    # Who and when is written into a channel, to be found again in the windows.
    frame["acc_z"] = frame.user * 1000 + frame.experiment * 100 + frame.t / 1000
    recordings = user_recordings(_write(frame, tmp_path / name))
    parts = Parts(recordings, name)
    assert recordings.classes == ("LAYING", "WALKING")
    blank = frame.activity.isna()
    assert recordings.left_out == {"no label": int(blank.sum()), "transition": 100 * 10}
    labels = frame.set_index(["user", "experiment", "t"]).activity
    for windows in (parts.fitted, parts.held, parts.tested):
        assert len(windows.labels)
        for values, label, owner in zip(
            windows.values, windows.labels, windows.owners, strict=True
        ):
            mark = values[:, 2].astype(np.float64)
            assert set(np.floor(mark / 1000)) == {float(owner)}
            assert len(set(np.floor(mark / 100))) == 1
            first = round(float(mark[parts.cut.lead] % 100) * 1000)
            where = (int(owner), int(mark[0] % 1000 // 100), slice(first, first + 127))
            assert set(labels.loc[where]) == {recordings.classes[label]}


def test_people_are_on_one_side_each(test_data: Path) -> None:
    """Of 30 real people 17 are fitted to, 4 held back and 9 tested, always the same ones."""
    path = test_data / "har" / "hapt.parquet"
    recordings = user_recordings(path)
    sides = [
        {one.owner for one in part}
        for part in (recordings.fitted, recordings.held, recordings.tested)
    ]
    assert [len(one) for one in sides] == [17, 4, 9]
    assert set.union(*sides) == {str(user) for user in range(1, 31)}
    assert sides[2] == {"3", "4", "6", "7", "12", "19", "22", "28", "29"}
    assert len(recordings.classes) == 6
    assert recordings.left_out == {"no label": 307158, "transition": 67208}
    assert sum(
        len(r.labels) for r in (*recordings.fitted, *recordings.held, *recordings.tested)
    ) == (1122772)


Change = Callable[[pd.DataFrame], pd.DataFrame]


def _nan(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[7, "gyro_y"] = np.nan
    return frame


def _gap(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(index=[40, 41])


def _seconds(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(t=frame.t / 50)


def _again(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame[:100]])


def _rare(frame: pd.DataFrame) -> pd.DataFrame:
    only = (frame.user == 1) & (frame.activity == "LAYING")
    return frame.assign(activity=frame.activity.mask(only, "JUMPING"))


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="gyro_y"), r"no column 'gyro_y' among .*expected a column"),
        (lambda f: f.drop(columns="activity"), "no column 'activity'"),
        (_nan, r"(line 9|row 8), column 'gyro_y': found (an empty field|nan|None).*finite number"),
        (_gap, r"row 41, column 't': found 42 after 39, expected 40: .*experiment number"),
        (_seconds, r"row 2, column 't': found 0\.02 after 0, expected 1: .*resample to 50 Hz"),
        (_again, r"user 1, experiment 1 again.*sort the file"),
        (lambda f: f[f.user == 1], "found 1 user, expected at least 3"),
        (lambda f: f[f.user <= 2], "found 2 users, expected at least 3"),
        (lambda f: f[f.activity != "WALKING"].assign(t=_count), "found only 'LAYING', expected"),
        (lambda f: f.assign(activity=None), "found no activity, expected at least 2"),
        (_rare, "activity 'JUMPING': found no whole window among"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used(tmp_path: Path, name: str, change: Change, message: str) -> None:
    """What is wrong with a file is said with its place, what was expected, and what to do."""
    path = _write(change(motion_frame(users=4)), tmp_path / name)
    with pytest.raises(DatasetError, match=message) as caught:
        SensorFusion().prepare(path, tmp_path / "work")
    assert str(path) in str(caught.value)


def _count(frame: pd.DataFrame) -> pd.Series:
    return frame.groupby(["user", "experiment"]).cumcount()


def test_labels_have_to_be_text(tmp_path: Path) -> None:
    """Numbers as labels are refused with their type."""
    path = _write(motion_frame(users=3).assign(activity=4), tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match="found type int64, expected text"):
        user_recordings(path)


def test_short_recordings_have_no_windows(tmp_path: Path) -> None:
    """Activities of less than a window are refused by name, with what a window takes."""
    frame = motion_frame(users=4, rows=100)
    path = _write(frame, tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match=r"'LAYING': found no whole window.*128 rows in a row"):
        SensorFusion().prepare(path, tmp_path / "work")
