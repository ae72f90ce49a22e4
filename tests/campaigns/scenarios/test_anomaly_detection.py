"""Anomaly detection: injected faults, figures, scikit-learn's scores, a user's data, NAB."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from sklearn.ensemble import IsolationForest

from joulery.campaigns.scenarios.anomaly_detection import AnomalyDetection
from joulery.campaigns.scenarios.anomaly_detection import fit as fitting
from joulery.campaigns.scenarios.anomaly_detection.inject import inject_faults
from joulery.campaigns.scenarios.anomaly_detection.nab import nab_series
from joulery.campaigns.scenarios.anomaly_detection.split import training_size
from joulery.campaigns.scenarios.anomaly_detection.workload import (
    AnomalyWorkload,
    injected_telemetry,
)
from joulery.campaigns.scenarios.graphs import GraphBuilder, run, tree_ensemble
from joulery.campaigns.scenarios.series import shipped_table
from joulery.errors import DatasetError, TrialError


@pytest.fixture(scope="module")
def workload() -> AnomalyWorkload:
    """Return the workload of the data that ship."""
    return AnomalyDetection().prepare(None, Path())


def _ask(workload: AnomalyWorkload, model: str, samples: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(workload.model_path(model, "fp32"))
    chosen = [workload.inputs(int(sample)) for sample in samples]
    inputs = {name: np.concatenate([one[name] for one in chosen]) for name in chosen[0]}
    return dict(zip(("score", "alarm"), session.run(["score", "alarm"], inputs), strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_faults_are_injected_only_into_the_test_part(seed: int) -> None:
    """Rows change exactly where a fault says so, about a tenth of the test part, none before."""
    table = shipped_table()
    first = training_size(len(table.values))
    injection = inject_faults(table.values, table.columns, first, seed)
    touched = (injection.values != table.values).any(axis=1)
    assert not touched[:first].any()
    assert not (touched & ~injection.labels).any()
    assert 0.08 <= injection.labels[first:].mean() <= 0.12
    assert {fault.kind for fault in injection.faults} == {
        "spike", "level_shift", "drift", "dropout",
    }  # fmt: skip
    edges = [edge for fault in injection.faults for edge in (fault.start, fault.stop)]
    assert edges == sorted(edges)
    assert edges[-1] <= len(table.values)


def test_the_same_seed_injects_the_same_faults() -> None:
    """Injection depends on seed and data, and on nothing else."""
    table = shipped_table()
    once, again, other = (inject_faults(table.values, table.columns, 1345, s) for s in (1, 1, 2))
    assert once.values.tobytes() == again.values.tobytes()
    assert once.faults == again.faults != other.faults


def test_detectors_are_fitted_to_untouched_rows_only() -> None:
    """Every training window lies in the real, untouched training part."""
    table = shipped_table()
    first = training_size(len(table.values))
    training = injected_telemetry(table).training
    windows = np.lib.stride_tricks.sliding_window_view(table.values[:first], 24, axis=0)
    np.testing.assert_array_equal(training.windows, windows.transpose(0, 2, 1).astype(np.float32))
    assert training.trended.tolist() == [False, False, True, True, False]


def test_what_is_injected_is_called_injected(workload: AnomalyWorkload) -> None:
    """The source of the labels is said wherever the source of the data is."""
    assert "injected" in workload.source


@pytest.mark.parametrize("model", ["seasonal_zscore", "autoencoder", "isolation_forest"])
def test_detectors_rank_better_than_chance(workload: AnomalyWorkload, model: str) -> None:
    """PR-AUC is at least twice the share of faulty rows, which is what chance would get."""
    samples = np.arange(workload.size)
    judged = workload.assess(samples, _ask(workload, model, samples))
    found = judged.figures["pr_auc"]
    assert found is not None
    assert found > 2 * float(judged.per_request["label"].mean())


def test_the_order_of_requests_does_not_matter(workload: AnomalyWorkload) -> None:
    """A campaign that asks the same rows in another order gets the same figures."""
    samples = np.random.default_rng(5).choice(workload.size, 300, replace=False)
    answers = _ask(workload, "seasonal_zscore", samples)
    order = np.argsort(samples)
    sorted_answers = {name: column[order] for name, column in answers.items()}
    figures = workload.assess(samples, answers).figures
    assert figures == pytest.approx(workload.assess(samples[order], sorted_answers).figures)
    assert set(figures) == {figure.name for figure in AnomalyDetection.figures}


def test_without_a_faulty_row_figures_are_unknown(workload: AnomalyWorkload) -> None:
    """PR-AUC and event F1 of normal rows alone are unknown, not zero."""
    quiet = {"score": np.array([[0.5]]), "alarm": np.array([[False]])}
    judged = workload.assess(np.array([0]), quiet)
    assert judged.per_request["label"].tolist() == [0.0]
    assert judged.figures["pr_auc"] is None
    assert judged.figures["event_f1"] is None
    assert judged.figures["alarm_rate"] == 0.0


def test_a_score_that_is_not_finite_is_refused(workload: AnomalyWorkload) -> None:
    """A broken answer is an error of the trial, not a figure."""
    with pytest.raises(TrialError, match="score"):
        workload.assess(np.array([0]), {"score": np.array([[np.nan]]), "alarm": np.array([[True]])})


def test_a_forest_in_onnx_scores_as_scikit_learn_does() -> None:
    """The isolation forest written as a graph gives scikit-learn's scores, sign turned."""
    rng = np.random.default_rng(7)
    features = rng.normal(size=(400, 4)).astype(np.float32)
    forest = IsolationForest(n_estimators=50, random_state=1).fit(features)
    graph = GraphBuilder("forest")
    x = graph.input("x", "float32", (4,))
    trees = [(t.tree_, fitting._path_lengths(t.tree_), 0) for t in forest.estimators_]
    graph.output(tree_ensemble(graph, x, trees, [0.0]), "depth", "float32", (1,))
    depth = run(graph.model(), {"x": features})["depth"][:, 0].astype(np.float64)
    usual = fitting._mean_path(np.array([256.0]))[0]
    np.testing.assert_allclose(
        2 ** (-depth / (50 * usual)), -forest.score_samples(features), rtol=1e-5
    )


def _telemetry(path: Path, label: str | None = None) -> Path:
    values = shipped_table().values[:1100, :2]
    flags = (np.arange(1100) % 97 < 4).astype(int)
    header = "timestamp,cpu,mem" + (f",{label}" if label else "")
    lines = [
        f"t{row},{a},{b}" + (f",{flags[row]}" if label else "") for row, (a, b) in enumerate(values)
    ]
    path.write_text("\n".join([header, *lines]))
    return path


def test_a_users_telemetry_without_labels_gets_injected_faults(tmp_path: Path) -> None:
    """Without labels faults are injected, said in the source, and models fitted to the columns."""
    workload = AnomalyDetection().prepare(_telemetry(tmp_path / "a.csv"), tmp_path / "work")
    assert "injected" in workload.source
    assert workload.inputs(0)["window"].shape == (1, 24, 2)
    assert _ask(workload, "autoencoder", np.arange(5))["score"].shape == (5, 1)


def test_a_users_labels_are_used(tmp_path: Path) -> None:
    """With a column `label` nothing is injected, and labels are the file's."""
    data = _telemetry(tmp_path / "a.csv", "label")
    workload = AnomalyDetection().prepare(data, tmp_path / "work")
    samples = np.arange(workload.size)
    judged = workload.assess(samples, _ask(workload, "seasonal_zscore", samples))
    assert "injected" not in workload.source
    assert judged.per_request["label"].sum() == ((np.arange(660, 1100) % 97) < 4).sum()


def test_labels_must_be_zero_or_one(tmp_path: Path) -> None:
    """A label that is neither 0 nor 1 is refused with its row."""
    data = _telemetry(tmp_path / "a.csv", "label")
    data.write_text(data.read_text().replace(",1\n", ",2\n", 1))
    with pytest.raises(DatasetError, match="row 1, column 'label'"):
        AnomalyDetection().prepare(data, tmp_path / "work")


def test_one_series_of_the_benchmark(test_data: Path, tmp_path: Path) -> None:
    """A CSV inside the benchmark's layout is judged by its labelled windows."""
    data = test_data / "nab" / "data" / "realKnownCause" / "nyc_taxi.csv"
    workload = AnomalyDetection().prepare(data, tmp_path)
    samples = np.arange(workload.size)
    judged = workload.assess(samples, _ask(workload, "isolation_forest", samples))
    assert "realKnownCause/nyc_taxi.csv" in workload.source
    assert "injected" not in workload.source
    assert workload.size == 10320 - 750
    # Five windows of 207 half hours each.
    assert judged.per_request["label"].sum() == 5 * 207
    assert judged.figures["pr_auc"] is not None


def test_the_benchmarks_score_of_a_workload(test_data: Path, tmp_path: Path) -> None:
    """No alarm has 0, one at the start of each window 100; 40 false ones cost 0.11 each."""
    data = test_data / "nab" / "data" / "realKnownCause" / "nyc_taxi.csv"
    workload = AnomalyDetection().prepare(data, tmp_path)
    [series], _ = nab_series(data)
    starts = [start - series.probation for start, _ in series.events]
    before = list(range(40))
    for rows, expected in (([], 0.0), (starts, 100.0), (starts + before, 100 - 50 * 40 * 0.11 / 5)):
        alarm = np.zeros((workload.size, 1), dtype=bool)
        alarm[rows] = True
        answers = {"score": alarm.astype(np.float32), "alarm": alarm}
        figures = workload.assess(np.arange(workload.size), answers).figures
        assert figures["nab_score"] == pytest.approx(expected)
    # A row is half an hour: the 40 rows are one run of false alarms in 9570 of them.
    assert figures["false_alarms_per_day"] == pytest.approx(48 / workload.size)


def test_the_whole_benchmark_is_one_workload(test_data: Path, tmp_path: Path) -> None:
    """All machine series stand one after another; no window crosses from one into the next."""
    series, _ = nab_series(test_data / "nab")
    workload = AnomalyDetection().prepare(test_data / "nab", tmp_path)
    assert len(series) == 24
    assert workload.size == sum(len(one.values) - one.probation for one in series)
    at = 0
    for one in series:
        window = workload.inputs(at)["window"][0]
        expected = one.values[one.probation - 23 : one.probation + 1].astype(np.float32)
        np.testing.assert_array_equal(window, expected)
        at += len(one.values) - one.probation


def test_labels_of_the_benchmark_survive_clocks_that_step_back(test_data: Path) -> None:
    """Row ranges hold exactly the rows whose times lie in a labelled window, in every series."""
    nab = test_data / "nab"
    windows = json.loads((nab / "labels" / "combined_windows.json").read_text())
    for one in nab_series(nab)[0]:
        text = (nab / "data" / one.name).read_text().splitlines()[1:]
        stamps = np.array([line.split(",")[0] for line in text], dtype="datetime64[us]")
        inside = np.zeros(len(stamps), dtype=bool)
        for start, end in windows[one.name]:
            inside |= (stamps >= np.datetime64(start)) & (stamps <= np.datetime64(end))
        assert sum(stop - start for start, stop in one.events) == inside.sum(), one.name


def test_a_benchmark_file_without_labels_is_refused(tmp_path: Path) -> None:
    """A series that the label file does not know is not taken as normal throughout."""
    folder = tmp_path / "data" / "mine"
    folder.mkdir(parents=True)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "combined_windows.json").write_text("{}")
    rows = "\n".join(f"2024-01-01 00:00:00,{i}" for i in range(300))
    (folder / "a.csv").write_text(f"timestamp,value\n{rows}\n")
    with pytest.raises(DatasetError, match=r"no labels for 'mine/a\.csv'"):
        AnomalyDetection().prepare(folder / "a.csv", tmp_path / "work")
