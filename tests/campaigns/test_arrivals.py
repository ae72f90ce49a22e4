"""Arrival processes: their counts, their distribution, and that they follow from their seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from joulery.campaigns.arrivals import OpenLoad, draw_arrivals
from joulery.campaigns.loads import BurstyLoad, DiurnalLoad, SteadyLoad, TraceLoad
from joulery.campaigns.schedule import make_schedule, stream, warmup_load
from joulery.campaigns.traces import read_trace

BURSTS = BurstyLoad(
    arrival="mmpp", quiet_rate_hz=20.0, burst_rate_hz=200.0, quiet_s=4.0, burst_s=1.0
)
DAY = DiurnalLoad(arrival="diurnal", rate_hz=100.0, period_s=20.0, peak_to_mean=1.8)


def _trace(folder: Path, text: str, window_s: float, **scales: float) -> TraceLoad:
    path = folder / "trace.csv"
    path.write_text(text)
    load = TraceLoad(arrival="trace", path=path.name, **scales)
    return load.attach(read_trace(path), window_s)


def _rates(folder: Path) -> TraceLoad:
    return _trace(folder, "start_s,rate_hz\n0,50\n10,200\n20,0\n30,100\n", 40.0)


def _draw(load: OpenLoad, duration_s: float, *names: str | int) -> NDArray[np.float64]:
    return draw_arrivals(load, duration_s=duration_s, rng=stream(5, *names))


def _loads(folder: Path) -> list[OpenLoad]:
    return [SteadyLoad(rate_hz=80.0), BURSTS, DAY, _rates(folder)]


def test_each_process_keeps_its_mean_rate(tmp_path: Path) -> None:
    """Over 150 seeds the requests of a window are as many as the rate says."""
    for load in _loads(tmp_path):
        numbers = [len(_draw(load, 40.0, seed)) for seed in range(150)]
        assert load.rate_hz is not None
        error = np.std(numbers, ddof=1) / np.sqrt(len(numbers))
        assert abs(np.mean(numbers) - 40.0 * load.rate_hz) < 4 * error, str(load)


def test_each_process_follows_from_its_seed(tmp_path: Path) -> None:
    """The same stream gives the same times, another gives others; all lie in the stretch."""
    for load in _loads(tmp_path):
        first, again, other = (_draw(load, 40.0, name) for name in ("a", "a", "b"))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)
        assert np.all(np.diff(first) >= 0)
        assert first.min() >= 0
        assert first.max() < 40.0


def test_days_are_poisson_in_their_own_time() -> None:
    """With time stretched by the rate, the gaps of a day's arrivals are exponential."""
    arrivals_s = _draw(DAY, 400.0)
    swing, period_s = DAY.peak_to_mean - 1, DAY.period_s
    turn = period_s / (2 * np.pi)
    expected = DAY.rate_hz * (arrivals_s + swing * turn * (1 - np.cos(arrivals_s / turn)))
    assert stats.kstest(np.diff(expected), "expon").pvalue > 0.01
    # As they stand they are not.
    assert stats.kstest(np.diff(arrivals_s) * DAY.rate_hz, "expon").pvalue < 1e-6


def test_days_have_their_peak() -> None:
    """The rate about the peak is as many times the mean as asked."""
    arrivals_s = _draw(DAY, 4000.0) % DAY.period_s
    near = np.abs(arrivals_s - DAY.period_s / 4) < 0.5
    peak_hz = near.sum() / (4000.0 / DAY.period_s)
    assert peak_hz == pytest.approx(DAY.rate_hz * DAY.peak_to_mean, rel=0.03)


def test_bursts_are_more_uneven_than_independent_users() -> None:
    """The index of dispersion of counts is near what the process has, and 1 without bursts."""

    def dispersion(load: OpenLoad) -> float:
        counts, _ = np.histogram(_draw(load, 6000.0), bins=3000, range=(0.0, 6000.0))
        return float(np.var(counts) / np.mean(counts))

    # Variance of the rate times what its memory leaves of it over a bin of two seconds.
    share, memory_s = BURSTS.burst_s / 5.0, 1 / (1 / BURSTS.burst_s + 1 / BURSTS.quiet_s)
    spread = share * (1 - share) * (BURSTS.burst_rate_hz - BURSTS.quiet_rate_hz) ** 2
    over = 2.0 / memory_s
    kept = 2 * memory_s * (1 - (1 - np.exp(-over)) / over)
    assert dispersion(BURSTS) == pytest.approx(1 + spread * kept / BURSTS.rate_hz, rel=0.1)
    assert dispersion(SteadyLoad(rate_hz=BURSTS.rate_hz)) == pytest.approx(1.0, abs=0.1)


def test_a_trace_of_arrivals_is_replayed_as_it_is(tmp_path: Path) -> None:
    """Times count from the first row, and those of the window are sent, whatever the seed."""
    load = _trace(tmp_path, "arrival_s\n1700000000\n1700000000.5\n1700000000.5\n1700000003\n", 2.0)
    for seed in range(3):
        assert _draw(load, 2.0, seed).tolist() == [0.0, 0.5, 0.5]
    assert load.rate_hz == 1.5


def test_a_trace_of_counts_keeps_them(tmp_path: Path) -> None:
    """Each interval holds as many requests as its row says, spread evenly over it."""
    load = _trace(tmp_path, "start_s,count\n0,300\n10,0\n15,700\n", 20.0)
    arrivals_s = _draw(load, 20.0)
    counts, _ = np.histogram(arrivals_s, bins=[0, 10, 15, 20])
    assert counts.tolist() == [300, 0, 700]
    assert stats.kstest(arrivals_s[:300], "uniform", args=(0, 10)).pvalue > 0.01
    assert load.rate_hz == 50.0


@given(time_scale=st.floats(0.1, 4.0), rate_scale=st.floats(0.05, 5.0))
def test_a_trace_is_scaled(
    tmp_path_factory: pytest.TempPathFactory, time_scale: float, rate_scale: float
) -> None:
    """Scaled in time it has as many requests, scaled in rate so many times more."""
    times = "arrival_s\n" + "".join(f"{index / 10}\n" for index in range(1001))
    window_s = 99.0 * time_scale
    folder = tmp_path_factory.mktemp("trace")
    load = _trace(folder, times, window_s, time_scale=time_scale, rate_scale=rate_scale)
    arrivals_s = _draw(load, window_s)
    assert load.rate_hz == pytest.approx(990 * rate_scale / window_s, rel=0.002)
    # Each arrival gives one of two neighbouring whole numbers.
    assert abs(len(arrivals_s) - 990 * rate_scale) <= 5 * np.sqrt(990 / 4)
    assert np.all(np.diff(arrivals_s) >= 0)


def test_a_stride_leaves_the_others_out() -> None:
    """Of bursts of frames each third is sent, at its time."""
    every, third = (
        make_schedule(BURSTS, duration_s=20.0, samples=50, rng=stream(1), stride=stride)
        for stride in (1, 3)
    )
    assert np.array_equal(every.intended_s[::3], third.intended_s)


def test_what_changes_is_warmed_up_by_its_mean(tmp_path: Path) -> None:
    """Rounds of the warm-up can be compared: they offer the mean rate, as independent users."""
    for load in (BURSTS, DAY, _rates(tmp_path)):
        assert load.rate_hz is not None
        assert warmup_load(load) == SteadyLoad(rate_hz=load.rate_hz)
