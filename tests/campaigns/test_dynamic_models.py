"""Campaigns of models that change: exits, thresholds, resolutions and strides, end to end."""

from __future__ import annotations

import numpy as np
import pytest

from joulery.datasets.store import Dataset, load
from joulery.datasets.verify import verify

from .command import joulery

_SPEC = """\
name: dynamic
seed: 4
scenarios:
  - scenario: sensor_fusion
    factors:
      model: [logistic, fusion_s]
      exit_threshold: [0, 0.9]
  - scenario: traffic_prediction
    factors:
      model: [tcn_l]
      max_exit: [2]
  - scenario: video_analytics
    factors:
      model: [detector_s]
      max_exit: [1]
      resolution: [0.5]
      stride: [1, 3]
loads:
  - {arrival: constant, rate_hz: 60}
repeats: 1
trial: {idle_s: 0.1, warmup_round_s: 0.1, warmup_max_s: 0.5, window_s: 1.5}
slo: {latency_s: 0.5, percentile: 0.5}
limits: {send_lag_p99_s: 0.5, steady_ratio: 5, subwindow_cv_ratio: 5, idle_drift_ratio: 50,
         neighbour_ratio: 0.99}
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The dataset of such a campaign."""
    folder = tmp_path_factory.mktemp("dynamic")
    (folder / "spec.yaml").write_text(_SPEC, encoding="utf-8")
    joulery("run", folder / "spec.yaml", "--out", folder / "out", "--plain")
    assert verify(folder / "out") == []
    return load(folder / "out")


def test_each_request_says_its_exit(measured: Dataset) -> None:
    """Threshold 0 lets all leave at once, a limit nobody later, and a plain model has no exits."""
    trials = measured.trials.set_index("configuration")

    def exits(configuration: str) -> set[float]:
        [trial] = trials.loc[[configuration]].to_dict("records")
        requests = measured.requests(str(trial["scenario"]))
        return set(requests[requests["trial"] == trial["trial"]]["exit"].dropna())

    rest = "precision=fp32 batch=1 threads=1"
    assert exits(f"model=fusion_s {rest} exit_threshold=0") == {1}
    sure = exits(f"model=fusion_s {rest} exit_threshold=0.9")
    assert 1 in sure
    assert len(sure) > 1
    assert exits(f"model=tcn_l {rest} max_exit=2") == {2}
    assert exits(f"model=logistic {rest}") == set()


def test_levels_are_columns(measured: Dataset) -> None:
    """What is said of a configuration stands in its row; what is not said is null."""
    told = dict(list(measured.trials.groupby("model")))
    assert told["tcn_l"]["max_exit"].tolist() == [2]
    assert told["tcn_l"]["exit_threshold"].isna().all()
    assert set(told["detector_s"]["stride"]) == {1, 3}
    assert set(told["detector_s"]["resolution"]) == {0.5}
    assert set(measured.trials["provider"]) == {"cpu"}


def test_frames_are_asked_in_order_and_energy_is_per_frame(measured: Dataset) -> None:
    """With stride 3 a third of the requests is sent, and their energy is shared by all frames."""
    trials = measured.trials[measured.trials["model"] == "detector_s"]
    requests = measured.requests("video_analytics")
    assert sorted(trials["stride"]) == [1, 3]
    for row in trials.to_dict("records"):
        stride = int(row["stride"])
        assert row["requests_sent"] == 90 // stride
        steps = np.diff(requests[requests["trial"] == row["trial"]]["sample"].to_numpy())
        # Where the clips end, they begin anew.
        assert np.all((steps == stride) | (steps < 0))
        shared = row["requests_answered"] * stride
        assert row["inference_energy_j"] == pytest.approx(row["service_energy_j"] / shared)
        assert 0 <= row["map_50"] <= 1
