"""Forecasting networks with exits: what ships, and what is fitted to a user's series."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from joulery.campaigns.scenarios.series import shipped_table
from joulery.campaigns.scenarios.traffic_prediction import TrafficPrediction, TrafficWorkload, split
from joulery.campaigns.scenarios.traffic_prediction.networks import NETWORKS, OwnNetworks
from joulery.errors import SpecError
from joulery.profiler.quality.probabilistic import crossings

ALL = [(family.name, precision) for family in NETWORKS for precision in family.precisions]
NEVER = 2.0
"""A threshold that no confidence reaches."""


@pytest.fixture(scope="module")
def workload() -> TrafficWorkload:
    """Return the workload of the data that ship."""
    return TrafficPrediction().prepare(None, Path())


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _ask(
    session: onnxruntime.InferenceSession, history: np.ndarray, threshold: float, last: int = 3
) -> dict[str, Any]:
    names = [output.name for output in session.get_outputs()]
    knobs = {
        "exit_threshold": np.array(threshold, np.float32),
        "max_exit": np.array(last, np.int64),
    }
    return dict(zip(names, session.run(names, {"history": history, **knobs}), strict=True))


def _histories(workload: TrafficWorkload, step: int = 1) -> np.ndarray:
    chosen = range(0, workload.size, step)
    return np.concatenate([workload.inputs(sample)["history"] for sample in chosen])


@pytest.mark.parametrize(("model", "precision"), ALL)
def test_every_exit_answers_with_ordered_quantiles(
    workload: TrafficWorkload, model: str, precision: str
) -> None:
    """Each exit gives quantiles that do not cross, the forecast among them, and a probability."""
    session = _session(workload.model_path(model, precision))
    histories = _histories(workload, 5)
    for number in (1, 2, 3):
        said = _ask(session, histories, NEVER, number)
        assert said["exit"].tolist() == [number] * len(histories)
        assert said["forecast"].shape == (len(histories), 2, 2)
        assert said["quantiles"].shape == (len(histories), 3, 2, 2)
        np.testing.assert_array_equal(said["quantiles"][:, 1], said["forecast"])
        assert crossings(said["quantiles"]) == 0
        assert ((said["confidence"] >= 0) & (said["confidence"] <= 1)).all()


@pytest.mark.parametrize(("model", "precision"), ALL)
def test_answers_are_the_same_alone_and_in_a_batch(
    workload: TrafficWorkload, model: str, precision: str
) -> None:
    """Who shares a batch changes no bit, whichever exits its rows leave by."""
    session = _session(workload.model_path(model, precision))
    histories = _histories(workload, 40)
    together = _ask(session, histories, 0.75)
    alone = [_ask(session, histories[row : row + 1], 0.75) for row in range(len(histories))]
    for name, values in together.items():
        np.testing.assert_array_equal(values, np.concatenate([one[name] for one in alone]))


@pytest.mark.parametrize("model", [family.name for family in NETWORKS])
def test_a_threshold_lets_sure_rows_leave(workload: TrafficWorkload, model: str) -> None:
    """Rows that leave are those whose confidence reaches it, with the answer of their exit."""
    session = _session(workload.model_path(model, "fp32"))
    histories = _histories(workload)
    each = [_ask(session, histories, NEVER, number) for number in (1, 2, 3)]
    said = _ask(session, histories, 0.75)
    sure = [one["confidence"] >= 0.75 for one in each]
    wanted = np.where(sure[0], 1, np.where(sure[1], 2, 3))
    assert said["exit"].tolist() == wanted.tolist()
    assert 0.05 < sure[0].mean() < 0.95
    for number, one in enumerate(each, start=1):
        here = wanted == number
        np.testing.assert_array_equal(said["quantiles"][here], one["quantiles"][here])


@pytest.mark.parametrize("model", [family.name for family in NETWORKS])
def test_later_exits_tell_more_than_the_first(workload: TrafficWorkload, model: str) -> None:
    """Both later exits have a lower pinball loss, an hour ahead too; none is worse than drift."""
    session = _session(workload.model_path(model, "fp32"))
    histories, samples = _histories(workload), np.arange(workload.size)
    first, *later = (
        workload.assess(samples, _ask(session, histories, NEVER, number)).figures
        for number in (1, 2, 3)
    )
    for figures in later:
        for step in (1, 12):
            assert figures[f"pinball_h{step}"] < first[f"pinball_h{step}"]  # type: ignore[operator]
    drift = first["mase_drift_h12"]
    assert drift is not None
    assert min(one["mase_h12"] for one in (first, *later)) < drift  # type: ignore[type-var,operator]


@pytest.mark.parametrize("model", [family.name for family in NETWORKS])
def test_int8_answers_as_fp32_does(workload: TrafficWorkload, model: str) -> None:
    """Rounding to int8 costs less than a hundredth of the error, at each exit."""
    samples = np.arange(workload.size)
    histories = _histories(workload)
    for number in (1, 2, 3):
        losses = [
            workload.assess(
                samples,
                _ask(_session(workload.model_path(model, p)), histories, NEVER, number),
            ).figures["mase_h12"]
            for p in ("fp32", "int8", "mixed")
        ]
        assert losses[1:] == pytest.approx([losses[0]] * 2, rel=0.01)


def test_networks_ship_small(workload: TrafficWorkload) -> None:
    """All networks together take less than 2 MB."""
    assert sum(workload.model_path(*key).stat().st_size for key in ALL) < 2_000_000


def _own(tmp_path: Path) -> Path:
    """Write a series of one column, as short as a series may be."""
    values = shipped_table(("net_in",)).values[:1000]
    path = tmp_path / "mine.csv"
    path.write_text("rx\n" + "\n".join(map(str, values[:, 0])))
    return path


def test_a_users_series_gets_networks_when_it_asks(tmp_path: Path) -> None:
    """A network for one column is fitted at its first use, in a folder of its own, once."""
    pytest.importorskip("torch")
    data = _own(tmp_path)
    work = tmp_path / "work"
    workload = TrafficPrediction().prepare(data, work)
    [classical] = work.iterdir()
    path = workload.model_path("tcn_s", "int8")
    assert path.parent.parent == work
    assert path.parent != classical
    assert path.parent.name.startswith("traffic_prediction-networks-tcn_s")
    written = path.stat().st_mtime_ns
    again = TrafficPrediction().prepare(data, work)
    assert again.model_path("tcn_s", "int8").stat().st_mtime_ns == written
    assert len(list(work.iterdir())) == 2
    samples = np.arange(0, workload.size, 10)
    said = _ask(_session(path), _histories(workload, 10), 0.75)
    assert said["quantiles"].shape == (len(samples), 3, 2, 1)
    assert workload.assess(samples, said).figures["pinball_h12"] is not None


def test_without_pytorch_networks_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's own networks need the extra `train`, which the error names."""
    monkeypatch.setitem(sys.modules, "torch", None)
    own = OwnNetworks(tmp_path / "work", "0" * 64, shipped_table(("net_in",)))
    with pytest.raises(SpecError, match=r"found no PyTorch.*pip install 'joulery\[train\]'"):
        own.folder("tcn_s")
    assert not list((tmp_path / "work").iterdir())


def test_sizes_are_those_that_are_offered() -> None:
    """What is fitted has the names that the scenario offers."""
    network = pytest.importorskip("joulery.campaigns.scenarios.traffic_prediction.network")
    assert [size.name for size in network.SIZES] == [family.name for family in NETWORKS]


def test_what_confidences_are_fitted_to_is_not_trained_on() -> None:
    """No window of training has a target among the windows that are held back."""
    network = pytest.importorskip("joulery.campaigns.scenarios.traffic_prediction.network")
    training = split.training_part(shipped_table(split.CHANNELS).values)
    windows = network.prepared(training)
    rows = split.training_rows(training)
    assert rows[windows.fitted - 1] + max(split.HORIZONS) < rows[windows.held] + 1
    assert len(rows) - windows.held > 200
