"""Traffic prediction: no look ahead, figures that add up, models for a user's own series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from joulery.campaigns.scenarios.series import shipped_table
from joulery.campaigns.scenarios.traffic_prediction import TrafficPrediction, TrafficWorkload, split
from joulery.errors import DatasetError, SpecError, TrialError


@pytest.fixture(scope="module")
def workload() -> TrafficWorkload:
    """Return the workload of the data that ship."""
    return TrafficPrediction().prepare(None, Path())


def _answers(workload: TrafficWorkload, model: str, precision: str = "fp32") -> np.ndarray:
    session = onnxruntime.InferenceSession(workload.model_path(model, precision))
    history = np.concatenate([workload.inputs(i)["history"] for i in range(workload.size)])
    return np.asarray(session.run(["forecast"], {"history": history})[0])


def test_no_model_sees_the_test_part() -> None:
    """Changing every row after the training part changes nothing that models are fitted to."""
    values = shipped_table(split.CHANNELS).values
    training = split.training_part(values)
    changed = values.copy()
    changed[len(training) :] += 1000
    assert split.training_part(changed).tobytes() == training.tobytes()
    last = split.training_rows(training)
    assert last.max() + max(split.HORIZONS) < len(training)
    assert split.test_rows(values).min() + min(split.HORIZONS) >= len(training)


def test_a_sample_is_the_day_before_its_targets(workload: TrafficWorkload) -> None:
    """A history ends one row before its first target and holds nothing later."""
    values = shipped_table(split.CHANNELS).values
    first = len(split.training_part(values))
    history = workload.inputs(5)["history"]
    assert history.shape == (1, 289, 2)
    assert history.dtype == np.float32
    np.testing.assert_array_equal(
        history[0], values[first + 5 - 289 : first + 5].astype(np.float32)
    )


def test_the_seasonal_naive_model_is_its_reference(workload: TrafficWorkload) -> None:
    """The model and the reference of the same name have the same errors on the same requests."""
    samples = np.arange(workload.size)
    figures = workload.assess(samples, {"forecast": _answers(workload, "seasonal_naive")}).figures
    for step in (1, 12):
        reference = figures[f"mase_seasonal_naive_h{step}"]
        assert figures[f"mase_h{step}"] == pytest.approx(reference, rel=1e-4)


def test_perfect_answers_have_no_error(workload: TrafficWorkload) -> None:
    """The truth as the answer has errors of zero, in every figure of its own."""
    values = shipped_table(split.CHANNELS).values
    truth = split.targets(values, split.test_rows(values))[[3, 9]]
    judged = workload.assess(np.array([3, 9]), {"forecast": truth})
    assert judged.figures["mase_h12"] == judged.figures["mae_h1"] == judged.figures["smape_h1"] == 0
    assert judged.per_request["abs_error_h12"].tolist() == [0, 0]


def test_figures_are_those_that_are_declared(workload: TrafficWorkload) -> None:
    """Assessments hold exactly the declared figures and fields, the requests' errors among them."""
    samples = np.arange(40)
    judged = workload.assess(samples, {"forecast": _answers(workload, "ridge")[:40]})
    assert set(judged.figures) == {figure.name for figure in TrafficPrediction.figures}
    assert set(judged.per_request) == {f.name for f in TrafficPrediction.request_fields}
    assert judged.figures["mae_h1"] == pytest.approx(judged.per_request["abs_error_h1"].mean())


def test_quantiles_have_figures_and_their_absence_has_none(workload: TrafficWorkload) -> None:
    """Quantiles are judged where they are given; without them their figures are unknown."""
    samples = np.arange(5)
    truth = workload._truth[samples]
    sure = np.stack([truth, truth, truth], axis=1)
    judged = workload.assess(samples, {"forecast": truth, "quantiles": sure}).figures
    assert judged["pinball_h1"] == judged["pinball_h12"] == 0
    assert judged["coverage_gap_h1"] == pytest.approx(0.2)
    missed = workload.assess(samples, {"forecast": truth, "quantiles": sure + 1}).figures
    assert missed["coverage_gap_h12"] == pytest.approx(0.8)
    assert missed["pinball_h12"] == pytest.approx((0.9 + 0.5 + 0.1) / 3)
    without = workload.assess(samples, {"forecast": truth}).figures
    assert without["pinball_h1"] is without["coverage_gap_h12"] is None
    with pytest.raises(TrialError, match="quantiles"):
        workload.assess(samples, {"forecast": truth, "quantiles": truth})


def test_no_answers_have_no_figures(workload: TrafficWorkload) -> None:
    """Without answers every figure is unknown, none is zero."""
    judged = workload.assess(np.array([], dtype=np.int64), {"forecast": np.empty((0, 2, 2))})
    assert set(judged.figures.values()) == {None}


def test_an_answer_that_is_not_finite_is_refused(workload: TrafficWorkload) -> None:
    """A broken answer is an error of the trial, not a figure."""
    with pytest.raises(TrialError, match="forecast"):
        workload.assess(np.array([0]), {"forecast": np.full((1, 2, 2), np.nan)})


@pytest.mark.parametrize("model", ["ridge", "mlp", "gradient_boosting", "rocket"])
def test_fitted_models_beat_both_naive_forecasts(workload: TrafficWorkload, model: str) -> None:
    """An hour ahead every fitted model beats the last value and the change of the day before."""
    samples = np.arange(workload.size)
    figures = workload.assess(samples, {"forecast": _answers(workload, model)}).figures
    own, *naive = (figures[f"mase_{kind}h12"] for kind in ("", "naive_", "seasonal_naive_"))
    assert own is not None
    assert all(other is not None and own < other for other in naive)


def test_a_users_series_gets_its_own_models(tmp_path: Path) -> None:
    """Models for a user's data are fitted once, whole, by the code that made the shipped ones."""
    table = shipped_table(split.CHANNELS)
    data = tmp_path / "mine.csv"
    rows = "\n".join(f"{a},{b}" for a, b in table.values[:1100] * 3)
    data.write_text(f"net_in,net_out\n{rows}\n")
    work = tmp_path / "work"
    workload = TrafficPrediction().prepare(data, work)
    classical = [family for family in TrafficPrediction.models if family.exits == 1]
    paths = [workload.model_path(f.name, p) for f in classical for p in f.precisions]
    written = [path.stat().st_mtime_ns for path in paths]
    TrafficPrediction().prepare(data, work)
    assert [path.stat().st_mtime_ns for path in paths] == written
    assert all(path.is_relative_to(work) for path in paths)
    with pytest.raises(SpecError, match="precision of tcn_s"):
        workload.model_path("tcn_s", "fp16")
    assert len(list(work.iterdir())) == 1
    assert _answers(workload, "ridge").shape == (workload.size, 2, 2)


def test_data_that_cannot_be_used_leave_nothing_behind(tmp_path: Path) -> None:
    """Too short a series, or one that never moves, is refused before anything is fitted."""
    work = tmp_path / "work"
    for name, lines, says in (
        ("short.csv", ["1,2"] * 999, "at least 1000 rows"),
        ("still.csv", [f"{i},2" for i in range(1000)], "net_out"),
    ):
        (tmp_path / name).write_text("net_in,net_out\n" + "\n".join(lines))
        with pytest.raises(DatasetError, match=says):
            TrafficPrediction().prepare(tmp_path / name, work)
    assert not work.exists()
