"""Anomaly data as others write them: SKAB's, SMD's and NAB's format, right and broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from joulery.campaigns.scenarios.anomaly_detection import AnomalyDetection
from joulery.campaigns.scenarios.anomaly_detection.labelled import joined
from joulery.campaigns.scenarios.anomaly_detection.nab import nab_series
from joulery.campaigns.scenarios.anomaly_detection.skab import is_skab, skab_series
from joulery.campaigns.scenarios.anomaly_detection.smd import is_smd, smd_series
from joulery.campaigns.scenarios.series import shipped_table
from joulery.errors import DatasetError

SENSORS = (
    "Accelerometer1RMS", "Accelerometer2RMS", "Current", "Pressure", "Temperature", "Thermocouple",
    "Voltage", "Volume Flow RateRMS",
)  # fmt: skip
START = datetime(2020, 3, 9, 10, 14, 33)
ROWS = 700
VALUES = np.tile(shipped_table().values[:1000, :4], 2)
"""Eight columns of real telemetry in place of eight sensors."""
Edit = Callable[[list[list[str]]], None]


def _skab(path: Path, edit: Edit | None = None, columns: Sequence[str] = SENSORS) -> Path:
    """Write a recording in the format; events at rows 450 to 500 and 600 to 620."""
    rows = [["datetime", *columns, "anomaly", "changepoint"]]
    for row in range(ROWS):
        label = 450 <= row < 500 or 600 <= row < 620
        fields = [f"{value:.6f}" for value in VALUES[row, : len(columns)]]
        time = START + timedelta(seconds=row)
        rows.append([str(time), *fields, f"{float(label)}", f"{float(row == 450)}"])
    if edit is not None:
        edit(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(";".join(row) for row in rows) + "\n")
    return path


def _smd(root: Path, machine: str = "machine-1-1") -> Path:
    """Write one machine in the layout: 600 normal rows, 400 to judge, events at 50 and 300."""
    labels = np.zeros(400, dtype=int)
    labels[50:60] = labels[300:320] = 1
    for part, rows in (("train", VALUES[:600, :3]), ("test", VALUES[600:, :3])):
        (root / part).mkdir(parents=True, exist_ok=True)
        lines = [",".join(f"{value:.6f}" for value in row) for row in rows]
        (root / part / f"{machine}.txt").write_text("\n".join(lines))
    (root / "test_label").mkdir(exist_ok=True)
    (root / "test_label" / f"{machine}.txt").write_text("\n".join(map(str, labels)))
    return root


def test_a_recording_in_skabs_format(tmp_path: Path) -> None:
    """Sensors are read, labels become events, changepoints are no sensor, steps are seconds."""
    path = _skab(tmp_path / "valve1" / "0.csv")
    assert is_skab(path)
    [series], sha256 = skab_series(path)
    assert series.values.shape == (ROWS, 8)
    assert series.events == ((450, 500), (600, 620))
    assert (series.probation, series.row_s, series.sha256) == (280, 1.0, sha256)
    np.testing.assert_allclose(np.median(series.values[:280], axis=0), 0, atol=1e-12)
    # 10:14:33 is in the 123rd slot of five minutes; 27 s later the next begins.
    assert series.slots[[0, 26, 27]].tolist() == [122, 122, 123]


def test_a_folder_in_skabs_format_is_one_workload(tmp_path: Path) -> None:
    """Labelled files of all folders stand one after another; one without labels is left out."""
    _skab(tmp_path / "valve1" / "0.csv")
    _skab(tmp_path / "valve2" / "1.csv")

    def unlabelled(rows: list[list[str]]) -> None:
        for row in rows:
            del row[-2:]

    _skab(tmp_path / "anomaly-free" / "anomaly-free.csv", unlabelled)
    series, _ = skab_series(tmp_path)
    telemetry = joined(series, tmp_path)
    assert telemetry.starts == (0, ROWS)
    assert telemetry.events[2:] == ((ROWS + 450, ROWS + 500), (ROWS + 600, ROWS + 620))
    assert len(telemetry.tested) == 2 * (ROWS - 280)
    assert telemetry.training.windows.shape == (2 * (280 - 23), 24, 8)


def test_a_workload_in_skabs_format_is_judged(tmp_path: Path) -> None:
    """From file to figures: one of two events found, three rows late, and one false alarm."""
    path = _skab(tmp_path / "0.csv", columns=SENSORS[:2])
    workload = AnomalyDetection().prepare(path, tmp_path / "work")
    alarm = np.zeros((workload.size, 1), dtype=bool)
    alarm[[453 - 280, 550 - 280]] = True
    answers = {"score": alarm.astype(np.float32), "alarm": alarm}
    figures = workload.assess(np.arange(workload.size), answers).figures
    assert figures["event_recall"] == 0.5
    assert figures["detection_delay_rows"] == 3.0
    assert figures["false_alarms_per_day"] == pytest.approx(86_400 / (ROWS - 280))
    assert "SKAB format, 0.csv" in workload.source


def _set(line: int, column: int, value: str) -> Edit:
    def edit(rows: list[list[str]]) -> None:
        rows[line - 1][column] = value

    return edit


def _constant(rows: list[list[str]]) -> None:
    for row in rows[1:]:
        row[1:9] = ["1.0"] * 8


def _cut(rows: list[list[str]]) -> None:
    del rows[-1][5:]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_set(10, 3, "nan"), r"line 10, column 'Current': found 'nan'"),
        (_set(10, 3, ""), r"line 10, column 'Current': found an empty field"),
        (_set(20, 9, "2.0"), r"line 20, column 'anomaly': found 2\.0, expected 0 or 1"),
        (_set(1, 9, "label"), r"header: .*expected a column 'anomaly'"),
        (_set(1, 4, "Current"), r"header: found column 'Current' twice"),
        (_set(12, 0, "2020-03-09 10:00:00"), r"line 12, column 'datetime': .*order of time"),
        (_set(12, 0, "noon"), r"line 12, column 'datetime': found 'noon'"),
        (_set(12, 0, "0001-01-01T00:00:00+14:00"), r"line 12, column 'datetime': found '0001"),
        (_set(10, 3, "1e300"), r"line 10, column 'Current': found '1e300'"),
        (_constant, "constant sensors only"),
        (_cut, rf"line {ROWS + 1}: found 5 fields"),
        (lambda rows: rows.__delitem__(slice(100, None)), "found 99 rows"),
    ],
)
def test_a_broken_recording_in_skabs_format_is_refused(
    tmp_path: Path, edit: Edit, message: str
) -> None:
    """Each fault is named with its file and place."""
    path = _skab(tmp_path / "broken.csv", edit)
    with pytest.raises(DatasetError, match=message) as caught:
        AnomalyDetection().prepare(path, tmp_path / "work")
    assert "broken.csv" in str(caught.value)


def test_a_change_of_time_zone_is_no_step_back(tmp_path: Path) -> None:
    """Times with a zone are put in order by the moment, and the time of day is the wall clock's."""

    def summer(rows: list[list[str]]) -> None:
        for number, row in enumerate(rows[1:]):
            zone = "+02:00" if number < 300 else "+01:00"
            hour = timedelta(hours=0 if number < 300 else -1)
            row[0] = f"{START + timedelta(seconds=number) + hour}{zone}"

    [series], _ = skab_series(_skab(tmp_path / "0.csv", summer))
    assert series.row_s == 1.0
    assert series.slots[300] - series.slots[299] == -12


def test_a_machine_in_smds_format(tmp_path: Path) -> None:
    """The train file is fitted to, the test file is judged by its labels, a row is a minute."""
    root = _smd(tmp_path / "smd")
    assert is_smd(root)
    assert is_smd(root / "test" / "machine-1-1.txt")
    series, sha256 = smd_series(root)
    assert smd_series(root / "train" / "machine-1-1.txt")[1] == sha256
    telemetry = joined(series, root)
    assert telemetry.training.windows.shape == (600 - 23, 24, 3)
    assert telemetry.events == ((650, 660), (900, 920))
    # No window that is judged reaches back into the train file.
    assert telemetry.tested.tolist() == list(range(623, 1000))
    assert telemetry.rows_s == (60.0, 60.0)
    assert series[1].slots[[0, 4, 5]].tolist() == [0, 0, 1]


def test_a_workload_in_smds_format_is_judged(tmp_path: Path) -> None:
    """From files to figures; the classical models are fitted to the train file."""
    workload = AnomalyDetection().prepare(_smd(tmp_path / "smd"), tmp_path / "work")
    assert workload.model_path("isolation_forest", "fp32").is_file()
    alarm = np.ones((workload.size, 1), dtype=bool)
    answers = {"score": alarm.astype(np.float32), "alarm": alarm}
    judged = workload.assess(np.arange(workload.size), answers)
    assert judged.per_request["label"].sum() == 30
    assert judged.figures["event_recall"] == 1.0
    assert judged.figures["detection_delay_rows"] == 0.0


def _lose(part: str) -> Callable[[Path], None]:
    return lambda root: (root / part / "machine-1-1.txt").unlink()


def _write(part: str, text: Callable[[str], str]) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        path = root / part / "machine-1-1.txt"
        path.write_text(text(path.read_text()))

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_lose("test_label"), r"test_label/machine-1-1\.txt: found no such file"),
        (_lose("train"), r"train/machine-1-1\.txt: found no such file"),
        (_write("test_label", lambda text: text[:-10]), r"test_label.*expected 400 rows of one"),
        (_write("test_label", lambda text: "3" + text[1:]), r"line 1, column '1': found 3\.0"),
        (_write("test", lambda text: "nan" + text[text.index(",") :]), r"line 1, column '1'"),
        (_write("test", lambda text: text[:-12]), r"line 400: found \d fields"),
        (_write("test", lambda _: ""), "found an empty file"),
        (_write("train", lambda _: "\n".join(["1,1,1"] * 600)), "constant columns only"),
        (_write("train", lambda _: "\n".join(["1,2"] * 300 + ["2,1"] * 300)), "expected 2"),
        (_write("train", lambda text: text[:300]), "expected at least 240 rows"),
    ],
)
def test_a_broken_machine_in_smds_format_is_refused(
    tmp_path: Path, edit: Callable[[Path], None], message: str
) -> None:
    """Each fault is named with its file and place."""
    root = _smd(tmp_path / "smd")
    edit(root)
    with pytest.raises(DatasetError, match=message):
        AnomalyDetection().prepare(root / "test" / "machine-1-1.txt", tmp_path / "work")


def test_of_several_machines_one_has_to_be_named(tmp_path: Path) -> None:
    """Machines are judged one at a time, and the error says how to name one."""
    root = _smd(_smd(tmp_path / "smd"), "machine-1-2")
    with pytest.raises(DatasetError, match=r"2 machines.*test/machine-1-1\.txt"):
        AnomalyDetection().prepare(root, tmp_path / "work")


def test_a_folder_that_is_named_like_a_recording_is_none(tmp_path: Path) -> None:
    """What only bears a recording's name is passed by."""
    _skab(tmp_path / "0.csv")
    (tmp_path / "valve1.csv").mkdir()
    assert len(skab_series(tmp_path)[0]) == 1


def _nab(root: Path, labels: str) -> Path:
    """Write one series in the benchmark's layout, with labels as a text."""
    folder = root / "data" / "mine"
    folder.mkdir(parents=True)
    (root / "labels").mkdir()
    (root / "labels" / "combined_windows.json").write_text(labels)
    times = [START + timedelta(minutes=5 * row) for row in range(300)]
    rows = [f"{time},{row % 7}" for row, time in enumerate(times)]
    (folder / "a.csv").write_text("\n".join(["timestamp,value", *rows]))
    return folder / "a.csv"


def test_windows_of_the_benchmark(tmp_path: Path) -> None:
    """A window is a start and an end, both of them in it."""
    path = _nab(tmp_path, f'{{"mine/a.csv": [["{START}", "{START + timedelta(minutes=10)}"]]}}')
    [series], _ = nab_series(path)
    assert series.events == ((0, 3),)


@pytest.mark.parametrize(
    ("windows", "said"),
    [
        ("5", "mine/a.csv: found 5, expected a list of [start, end] pairs"),
        ("[5]", "mine/a.csv, window 1: found 5, expected a pair [start, end] of times"),
        ("[null]", "window 1: found None"),
        ('["2020-03-09"]', "window 1: found '2020-03-09'"),
        ('[["2020-03-09"]]', "window 1: found ['2020-03-09']"),
        ('[["2020-03-09", "2020-03-09", "2020-03-10"]]', "window 1: found ['2020-03-09', "),
        ('[{"start": 1, "end": 2}]', "window 1: found {'end': 2, 'start': 1}"),
        ("[[1, 2]]", "window 1: found 1, expected a time such as"),
        ('[["2020-03-09", "2020-03-10"], ["2020-03-09", null]]', "window 2: found None"),
        ('[["2020-03-10", "2020-03-09"]]', "window 1: found 2020-03-09 after 2020-03-10"),
        ('[["0001-01-01T00:00+14:00", "2020-03-09"]]', "window 1: found '0001-01-01T00:00+14:00'"),
        ("[" * 100_000, "found maximum recursion depth exceeded"),
    ],
)
def test_broken_labels_of_the_benchmark_are_refused(
    tmp_path: Path, windows: str, said: str
) -> None:
    """What is no window is named with the label file, the series and its number."""
    path = _nab(tmp_path, f'{{"mine/a.csv": {windows}}}')
    with pytest.raises(DatasetError) as caught:
        AnomalyDetection().prepare(path, tmp_path / "work")
    assert caught.value.subject == str(tmp_path / "labels" / "combined_windows.json")
    assert said in str(caught.value)


def test_plain_telemetry_that_never_moves_is_refused(tmp_path: Path) -> None:
    """A constant series has no normal range to leave."""
    path = tmp_path / "flat.csv"
    path.write_text("cpu\n" + "1.5\n" * 1200)
    with pytest.raises(DatasetError, match=r"flat\.csv: found constant columns only"):
        AnomalyDetection().prepare(path, tmp_path / "work")
