"""The Numenta score against published numbers: of scorer tests, of detectors, of the scale."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.profiler.quality.nab import (
    PROFILES,
    Profile,
    Scored,
    best_threshold,
    nab_score,
    normalised,
    probation_rows,
    raw_score,
    row_scores,
)

STANDARD = PROFILES["standard"]
VECTOR = Profile(found=1.1, false_alarm=0.11, missed=1.2)
"""Of the reference scorer's own tests."""
EARLY = 0.9866142981514305  # 2 / (1 + exp(-5)) - 1, as the reference's tests print it
HALF_WAY = 0.8482836399575131  # 2 / (1 + exp(-2.5)) - 1


def _raw(flags: Sequence[int], windows: Sequence[tuple[int, int]], judged_from: int = 0) -> float:
    value, number = row_scores(len(flags), windows, VECTOR)
    judged = np.arange(len(flags)) >= judged_from
    return raw_score(value, number, judged, np.array(flags, dtype=bool), VECTOR)[0]


@pytest.mark.parametrize(
    ("flags", "windows", "judged_from", "expected"),
    [
        ([0, 0, 0, 0, 0], [], 0, 0.0),
        ([0, 1, 0, 1, 0], [], 0, -2 * 0.11),
        ([0, 0, 0, 0, 0, 0, 0], [(1, 3), (4, 6)], 0, -2 * 1.2),
        ([0, 1, 0, 1, 0], [], 4, 0.0),
        ([0, 1, 0, 1, 0], [], 3, -0.11),
        ([0, 0, 1, 0, 0, 0, 0], [(1, 3)], 0, HALF_WAY * 1.1 / EARLY),
        ([0, 0, 1, 0, 0, 0, 0], [(1, 3), (4, 6)], 0, HALF_WAY * 1.1 / EARLY - 1.2),
        ([0, 0, 0, 0, 1, 0, 0], [(4, 6)], 0, 1.1),
        ([0, 0, 0, 0, 1, 1, 0], [(4, 6)], 0, 1.1),
        ([0, 0, 1, 0, 1, 0, 0], [(1, 3), (4, 6)], 0, HALF_WAY * 1.1 / EARLY + 1.1),
    ],
)
def test_cases_of_the_reference_scorers_tests(
    flags: list[int], windows: list[tuple[int, int]], judged_from: int, expected: float
) -> None:
    """The cases that the reference scorer is tested with give what is expected there."""
    assert _raw(flags, windows, judged_from) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("rows", "expected"), [(100, 15), (1127, 169), (4032, 604), (5000, 750), (22695, 750)]
)
def test_probation_is_fifteen_per_cent_of_five_thousand_rows_at_most(
    rows: int, expected: int
) -> None:
    """Probation grows with the series until 5000 rows."""
    assert probation_rows(rows) == expected


def _series(nab: Path, name: str) -> tuple[list[str], list[tuple[int, int]]]:
    """The times of one series, and its labelled windows as row ranges."""
    with (nab / "data" / name).open() as file:
        times = [line[0] for line in csv.reader(file)][1:]
    labels = json.loads((nab / "labels" / "combined_windows.json").read_text())[name]
    return times, [(times.index(a[:19]), times.index(b[:19]) + 1) for a, b in labels]


SPEED = "realTraffic/speed_7578.csv"
SPEED_SCORES = {
    "2015-09-10 19:37:00": 0.282024,
    "2015-09-11 12:14:00": 0.701241,
    "2015-09-11 16:44:00": 1.0,
    "2015-09-11 23:41:00": 0.390544,
    "2015-09-14 17:25:00": 0.440517,
    "2015-09-14 17:40:00": 0.489607,
    "2015-09-15 14:29:00": 0.58505,
    "2015-09-16 14:04:00": 0.423771,
    "2015-09-16 14:14:00": 0.705841,
    "2015-09-16 14:19:00": 0.710799,
    "2015-09-16 14:50:00": 0.754471,
    "2015-09-16 17:10:00": 0.424477,
}
"""All scores above 0 that the benchmark's repository has of the detector ARTime after probation."""


@pytest.mark.parametrize(
    ("profile", "threshold", "expected"),
    [
        ("standard", 0.317486, 3.1077313980278403),
        ("reward_low_FP_rate", 0.317585, 2.6685955363952827),
        ("reward_low_FN_rate", 0.317486, 3.1077313980278403),
    ],
)
def test_a_published_detector_scores_on_a_series_as_published(
    test_data: Path, profile: str, threshold: float, expected: float
) -> None:
    """ARTime's published alarms on a series with four windows earn its published score."""
    times, windows = _series(test_data / "nab", SPEED)
    scores = np.array([SPEED_SCORES.get(time, 0.0) for time in times])
    value, number = row_scores(len(times), windows, PROFILES[profile])
    judged = np.arange(len(times)) >= probation_rows(len(times))
    raw, count = raw_score(value, number, judged, scores >= threshold, PROFILES[profile])
    assert raw == pytest.approx(expected, abs=1e-12)
    assert count == 4
    # Counted in rows, as the published table counts: 7 right, 4 false, 109 missed, 838 rightly not.
    alarm, inside = scores[judged] >= threshold, number[judged] >= 0
    table = [np.sum(alarm & inside), np.sum(alarm & ~inside), np.sum(~alarm & inside)]
    assert [*table, np.sum(~alarm & ~inside)] == [7, 4, 109, 838]


@pytest.mark.parametrize(
    ("time", "standard", "low_fp"),
    [
        ("2015-09-08 11:39:00", -0.11, -0.22),
        ("2015-09-11 15:34:00", 1.0, 1.0),
        ("2015-09-11 16:44:00", 0.8716042063328711, 0.8716042063328711),
        ("2015-09-11 17:54:00", 0.08716068383412914, 0.08716068383412914),
        ("2015-09-11 17:59:00", -0.00979541291727483, -0.019590825834549658),
        ("2015-09-12 15:46:00", -0.10999993270151008, -0.21999986540302016),
        ("2015-09-12 15:51:00", -0.11, -0.22),
        ("2015-09-16 15:55:00", -0.06100596945843206, -0.12201193891686413),
        ("2015-09-16 16:00:00", 1.0, 1.0),
        ("2015-09-17 08:10:00", -0.10999993270151008, -0.21999986540302016),
    ],
)
def test_a_row_is_worth_what_was_published(
    test_data: Path, time: str, standard: float, low_fp: float
) -> None:
    """Rows before, in, between and after windows are worth what the published table says."""
    times, windows = _series(test_data / "nab", SPEED)
    for profile, expected in (("standard", standard), ("reward_low_FP_rate", low_fp)):
        value, _ = row_scores(len(times), windows, PROFILES[profile])
        assert value[times.index(time)] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "detector", "published"),
    [
        ("realTraffic/speed_6005.csv", "ARTime", 0.8393187159363497),
        ("realTraffic/TravelTime_451.csv", "ARTime", 0.8548083738085046),
        ("realTraffic/speed_6005.csv", "Fixed10", 0.999127466332713),
        ("realAdExchange/exchange-3_cpm_results.csv", "Fixed10", 0.9990901715307898),
        ("realAWSCloudwatch/ec2_cpu_utilization_77c1ca.csv", "Fixed10", 0.9993145504551451),
    ],
)
def test_a_published_score_without_a_false_alarm_is_that_of_one_row(
    test_data: Path, name: str, detector: str, published: float
) -> None:
    """A detector that raised no false alarm has the worth of one row of the only window."""
    times, windows = _series(test_data / "nab", name)
    value, number = row_scores(len(times), windows, STANDARD)
    assert len(windows) == 1
    assert np.abs(value[number == 0] - published).min() < 1e-12, detector


@pytest.mark.parametrize(
    ("name", "standard", "low_fp"),
    [
        ("realAWSCloudwatch/ec2_network_in_257a54.csv", 0.7648520127677702, 0.679893811480864),
        ("realAWSCloudwatch/ec2_cpu_utilization_825cc2.csv", 0.819554525214459, 0.6850457149420563),
        ("realAWSCloudwatch/ec2_disk_write_bytes_1ef3de.csv", 0.46730245349086535, 0.0034865303093),
        ("realAWSCloudwatch/ec2_cpu_utilization_77c1ca.csv", 0.25006277563507817, -0.4940553818938),
        ("realAWSCloudwatch/ec2_cpu_utilization_ac20cd.csv", 0.624212199857215, 0.3775562187056131),
        (
            "realKnownCause/cpu_utilization_asg_misconfiguration.csv",
            -0.257470331859453,
            -1.46747033186,
        ),
        ("realTraffic/occupancy_6005.csv", 0.3602790466645597, -0.1601005964204687),
        ("realAdExchange/exchange-2_cpc_results.csv", 0.5319830425923286, 0.202008051434177),
        ("realAdExchange/exchange-3_cpm_results.csv", 0.6422052124689215, 0.422311837585681),
    ],
)
def test_published_scores_in_two_profiles_are_of_one_row_and_of_false_alarms(
    test_data: Path, name: str, standard: float, low_fp: float
) -> None:
    """ARTime found the only window of each: what it earned there is the worth of one of its rows.

    A false alarm costs twice as much in the second profile, so that two scores of the same alarms
    say what hits earned, and what false alarms cost.
    """
    times, windows = _series(test_data / "nab", name)
    value, number = row_scores(len(times), windows, STANDARD)
    earned, cost = 2 * standard - low_fp, standard - low_fp
    assert len(windows) == 1
    assert np.abs(value[number == 0] - earned).min() < 1e-10
    outside = value[(number < 0) & (np.arange(len(times)) >= probation_rows(len(times)))]
    assert cost > -outside.max()
    if "257a54" in name:  # one false alarm: what it cost is the worth of one row as well
        assert np.abs(outside + cost).min() < 1e-12


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("realAWSCloudwatch/ec2_network_in_5abac7.csv", -2.87325110157),
        ("realAWSCloudwatch/ec2_cpu_utilization_ac20cd.csv", -1.83076872619),
        ("realAWSCloudwatch/ec2_cpu_utilization_c6585a.csv", -0.88),
        ("realAWSCloudwatch/rds_cpu_utilization_cc0c53.csv", -2.87841372093),
        ("realAWSCloudwatch/rds_cpu_utilization_e47b3b.csv", -2.8786663209),
        ("realAWSCloudwatch/ec2_disk_write_bytes_c0d644.csv", -3.8354823842),
    ],
)
def test_the_random_detector_scores_as_published(
    test_data: Path, name: str, published: float
) -> None:
    """The benchmark's random detector, seed 42, earns what was published where it found nothing.

    Where it found something, that table was made before earlier alarms were scaled to 1.
    """
    times, windows = _series(test_data / "nab", name)
    drawn = random.Random(42)
    scores = np.array([drawn.uniform(0, 1) for _ in times])
    value, number = row_scores(len(times), windows, STANDARD)
    judged = np.arange(len(times)) >= probation_rows(len(times))
    flagged = scores >= 0.9984497070312507
    raw, _ = raw_score(value, number, judged, flagged, STANDARD)
    assert not (flagged & judged & (number >= 0)).any()
    assert raw == pytest.approx(published, abs=1e-10)


@pytest.mark.parametrize(
    ("detector", "profile", "raw", "final"),
    [
        ("null", "standard", -116.0, 0.0),
        ("null", "reward_low_FP_rate", -116.0, 0.0),
        ("null", "reward_low_FN_rate", -232.0, 0.0),
        ("ARTime", "standard", 57.66075157860638, 74.85377223215792),
        ("ARTime", "reward_low_FP_rate", 35.1572804170157, 65.15400017974811),
        ("ARTime", "reward_low_FN_rate", 47.66075157860638, 80.36228493638114),
        ("contextOSE", "standard", 46.167000006791156, 69.89956896844828),
        ("expose", "standard", -77.86692739970123, 16.43666922426724),
        ("expose", "reward_low_FN_rate", -138.31510519385375, 26.920946783333335),
        ("numenta", "standard", 46.634450197137596, 70.10105611943965),
        ("randomCutForest", "reward_low_FP_rate", -27.003008629582606, 38.360772142413786),
        ("earthgeckoSkyline", "standard", 19.024516260222065, 58.20022252594827),
    ],
)
def test_published_raw_scores_have_the_published_place_on_the_scale(
    test_data: Path, detector: str, profile: str, raw: float, final: float
) -> None:
    """The benchmark's table of raw and of final results is one scale: 0 is null, 100 perfect."""
    labels = json.loads((test_data / "nab" / "labels" / "combined_windows.json").read_text())
    count = sum(len(windows) for windows in labels.values())
    # The published table rounds some results to eight digits.
    assert normalised(raw, count, PROFILES[profile]) == pytest.approx(final, abs=1e-6), detector


@pytest.mark.parametrize("profile", PROFILES)
def test_silence_is_zero_and_the_start_of_each_window_a_hundred(profile: str) -> None:
    """The ends of the scale, in each profile, by the threshold that earns most."""
    windows = [(300, 340), (500, 501), (700, 800)]
    quiet = Scored(scores=np.full(1000, 0.5), windows=windows)
    scores = np.zeros(1000)
    scores[[start for start, _ in windows]] = 1
    right = Scored(scores=scores, windows=windows)
    assert nab_score([right], PROFILES[profile]) == pytest.approx(100.0)
    assert nab_score([quiet], PROFILES[profile]) == pytest.approx(0.0)
    assert nab_score([quiet], PROFILES[profile], threshold=0.6) == pytest.approx(0.0)
    assert math.isinf(best_threshold([quiet], PROFILES[profile]).threshold)
    assert nab_score([Scored(scores=scores, windows=[])], PROFILES[profile]) is None


@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(PROFILES)))
def test_no_threshold_earns_more_than_the_best(seed: int, profile: str) -> None:
    """The best threshold of a corpus earns what trying each score as a threshold finds."""
    rng = np.random.default_rng(seed)
    corpus = [
        Scored(scores=rng.integers(0, 6, 60) / 6, windows=[(12, 20), (30, 31), (44, 60)][:count])
        for count in rng.integers(0, 4, 3)
    ]
    weights = PROFILES[profile]

    def earned(threshold: float) -> float:
        total = 0.0
        for series in corpus:
            value, number = row_scores(60, series.windows, weights)
            judged = np.arange(60) >= probation_rows(60)
            flagged = np.asarray(series.scores) >= threshold
            total += raw_score(value, number, judged, flagged, weights)[0]
        return total

    best = best_threshold(corpus, weights)
    tried = [earned(threshold / 6) for threshold in range(7)]
    assert best.score == pytest.approx(max(tried), abs=1e-9)
    assert earned(best.threshold) == pytest.approx(best.score, abs=1e-9)


def test_a_window_of_which_no_row_is_judged_does_not_count() -> None:
    """What lies in probation, or was not asked, is neither found nor missed."""
    scores = np.zeros(200)
    assert nab_score([Scored(scores=scores, windows=[(5, 10)])], STANDARD) is None
    judged = np.arange(200) >= 100
    series = Scored(scores=scores, windows=[(50, 60), (150, 160)], judged=judged)
    assert best_threshold([series], STANDARD).score == -1.0


@pytest.mark.parametrize(
    "windows", [[(5, 5)], [(10, 20), (15, 30)], [(90, 101)], [(20, 30), (5, 9)]]
)
def test_windows_that_cannot_be_are_refused(windows: list[tuple[int, int]]) -> None:
    """Empty, overlapping, unordered windows and such that leave the series are errors."""
    with pytest.raises(ValueError, match="window"):
        row_scores(100, windows, STANDARD)
