"""A campaign with every kind of load, through the command: what its dataset says of each."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest

from joulery.campaigns.cells import cells_of
from joulery.datasets.store import Dataset, load
from joulery.datasets.verify import verify

from .command import joulery

TRACE = "start_s,count\n0,60\n0.25,30\n0.5,90\n0.75,60\n1,60\n"
SPEC = """\
name: loads
scenarios:
  - scenario: traffic_prediction
    factors: {model: [ridge], batch: [4]}
loads:
  - {arrival: poisson, rate_hz: 150}
  - {arrival: mmpp, quiet_rate_hz: 100, burst_rate_hz: 400, quiet_s: 0.2, burst_s: 0.1}
  - {arrival: diurnal, rate_hz: 200, period_s: 0.5}
  - {arrival: trace, path: day.csv, rate_scale: 0.5}
  - {arrival: closed, users: 4, think_time_s: 0.02}
  - {arrival: single_stream}
  - {arrival: multi_stream, samples_per_query: 3}
  - {arrival: offline, samples: 300, in_flight: 16}
repeats: 1
trial: {idle_s: 0.1, warmup_round_s: 0.1, warmup_max_s: 0.5, window_s: 1}
slo: {latency_s: 0.1, percentile: 0.5}
limits: {send_lag_p99_s: 5, steady_ratio: 50, subwindow_cv_ratio: 5, idle_drift_ratio: 50,
  generator_cpu_ratio: 0.999, neighbour_ratio: 0.99, retries: 0}
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The dataset of a campaign with all kinds of load."""
    folder = tmp_path_factory.mktemp("loads")
    (folder / "loads.yaml").write_text(SPEC)
    (folder / "day.csv").write_text(TRACE)
    joulery("run", folder / "loads.yaml", "--out", folder / "out", "--plain")
    assert verify(folder / "out") == []
    return load(folder / "out")


@pytest.fixture(scope="module")
def trials(dataset: Dataset) -> pd.DataFrame:
    """Its trials by arrival process."""
    return dataset.trials.set_index("arrival")


def _requests(dataset: Dataset, trials: pd.DataFrame, arrival: str) -> pd.DataFrame:
    requests = dataset.requests("traffic_prediction")
    return requests[requests["trial"] == trials.loc[arrival, "trial"]]


def test_every_load_is_answered(trials: pd.DataFrame) -> None:
    """No load fails a request, and each has latency, energy and quality."""
    assert len(trials) == 8
    assert (trials["requests_failed"] == 0).all()
    for name in ("latency_p50_s", "quality_value", "inference_energy_j", "send_lag_p99_s"):
        assert trials[name].notna().all(), name
    assert not trials["reasons"].fillna("").str.contains("failed|send_lag|few").any()


def test_a_rate_is_known_where_it_was_offered(dataset: Dataset, trials: pd.DataFrame) -> None:
    """Open loads have their mean rate; closed ones have none, and are ordered by their answers."""
    offered = trials["rate_hz"].dropna()
    known_hz = {"poisson": 150.0, "mmpp": 200.0, "diurnal": 200.0, "trace": 120.0}
    assert offered.to_dict() == pytest.approx(known_hz)
    rates_hz = {cell.load: cell.rate_hz for cell in cells_of(dataset)}
    closed = trials.loc["single_stream"]
    assert rates_hz["single_stream"] == pytest.approx(closed["throughput_hz"])
    assert np.isfinite(list(rates_hz.values())).all()


def test_the_trace_is_named_with_its_hash(dataset: Dataset) -> None:
    """Which recording was replayed stands beside the other data, and on the data card."""
    [source] = [s for s in dataset.about.data_sources if s["scenario"] == "load day.csv"]
    assert source["source"] == "day.csv"
    assert source["sha256"] == hashlib.sha256(TRACE.encode()).hexdigest()
    card = (dataset.folder / "README.md").read_text()
    assert "day.csv" in card
    assert "open and closed loops" in card


def test_users_wait_for_answers(dataset: Dataset, trials: pd.DataFrame) -> None:
    """In a closed loop nothing becomes due before an answer; latency counts from due."""
    requests = _requests(dataset, trials, "single_stream").sort_values("request")
    done_s = (requests["intended_s"] + requests["latency_s"]).to_numpy()
    assert np.all(requests["intended_s"].to_numpy()[1:] >= done_s[:-1] - 1e-9)
    assert (requests["intended_s"] < 1.0).all()
    assert np.all(requests["sent_s"] >= requests["intended_s"])


def test_a_query_is_as_slow_as_its_slowest(dataset: Dataset, trials: pd.DataFrame) -> None:
    """Three requests share their moment; percentiles are those of the queries."""
    requests = _requests(dataset, trials, "multi_stream")
    queries = requests.groupby("intended_s")["latency_s"]
    assert (queries.count() == 3).all()
    row = trials.loc["multi_stream"]
    longest_s = np.sort(queries.max().to_numpy())
    assert row["latency_p50_s"] == longest_s[int(np.ceil(len(longest_s) / 2)) - 1]
    [cell] = [cell for cell in cells_of(dataset) if cell.load.startswith("multi_stream")]
    if cell.valid:  # a machine that is busy may spoil a trial
        assert cell.latency["p50"].value == row["latency_p50_s"]


def test_offline_lasts_as_long_as_it_takes(dataset: Dataset, trials: pd.DataFrame) -> None:
    """All requests are due at the beginning; throughput is theirs over the time they took."""
    requests = _requests(dataset, trials, "offline")
    row = trials.loc["offline"]
    assert len(requests) == 300
    assert (requests["intended_s"] == 0).all()
    last_s = float(requests["latency_s"].max())
    assert row["throughput_hz"] == pytest.approx(300 / max(row["window_s"], last_s))
