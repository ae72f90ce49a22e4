"""Early-exit autoencoders as they ship: what exits answer, and which rows leave where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from joulery.campaigns.scenarios.anomaly_detection import AnomalyDetection
from joulery.campaigns.scenarios.anomaly_detection.workload import AnomalyWorkload

NETWORKS = [family for family in AnomalyDetection.models if family.exits > 1]
SHIPPED = [(family.name, precision) for family in NETWORKS for precision in family.precisions]
Answers = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def workload() -> AnomalyWorkload:
    """Return the workload of the data that ship."""
    return AnomalyDetection().prepare(None, Path())


@pytest.fixture(scope="module")
def everything(workload: AnomalyWorkload) -> Answers:
    """Return the inputs of all test rows."""
    given = [workload.inputs(sample) for sample in range(workload.size)]
    return {name: np.concatenate([one[name] for one in given]) for name in given[0]}


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options)


def _ask(
    session: onnxruntime.InferenceSession, inputs: Answers, threshold: float, max_exit: int
) -> Answers:
    names = [output.name for output in session.get_outputs()]
    knobs = {
        "exit_threshold": np.array(threshold, dtype=np.float32),
        "max_exit": np.array(max_exit, dtype=np.int64),
    }
    return dict(zip(names, session.run(names, {**inputs, **knobs}), strict=True))


@pytest.mark.parametrize(("model", "precision"), SHIPPED)
def test_the_last_exit_ranks_well(
    workload: AnomalyWorkload, everything: Answers, model: str, precision: str
) -> None:
    """Each exit ranks at least twice as well as chance; alarms are scores above 1."""
    session = _session(workload.model_path(model, precision))
    for number in (1, 2, 3):
        answers = _ask(session, everything, 2.0, number)
        judged = workload.assess(np.arange(workload.size), answers)
        chance = float(judged.per_request["label"].mean())
        found = judged.figures["pr_auc"]
        assert found is not None
        assert found > 2 * chance
        assert (answers["exit"] == number).all()
        np.testing.assert_array_equal(answers["alarm"], answers["score"] > 1)


@pytest.mark.parametrize(("model", "precision"), SHIPPED)
def test_sure_rows_leave_early_with_the_last_exits_alarm(
    workload: AnomalyWorkload, everything: Answers, model: str, precision: str
) -> None:
    """At 0.9 most rows leave before the last exit, and nine in ten of them with its alarm."""
    session = _session(workload.model_path(model, precision))
    early, last = _ask(session, everything, 0.9, 3), _ask(session, everything, 2.0, 3)
    left = early["exit"] < 3
    assert left.mean() > 0.5
    assert (early["alarm"][left] == last["alarm"][left]).mean() > 0.9
    assert (early["confidence"][left] >= 0.9).all()
    np.testing.assert_array_equal(early["score"][~left], last["score"][~left])


@pytest.mark.parametrize(("model", "precision"), SHIPPED)
def test_an_exit_answers_the_same_alone_and_in_a_batch(
    workload: AnomalyWorkload, everything: Answers, model: str, precision: str
) -> None:
    """Bit for bit, whatever rows beside it leave earlier or later."""
    session = _session(workload.model_path(model, precision))
    chosen = np.random.default_rng(1).choice(workload.size, 24, replace=False)
    for threshold in (0.0, 0.9, 0.99, 2.0):
        some = {name: array[chosen] for name, array in everything.items()}
        together = _ask(session, some, threshold, 3)
        for place in range(len(chosen)):
            one = {name: array[place : place + 1] for name, array in some.items()}
            for name, value in _ask(session, one, threshold, 3).items():
                assert value.tobytes() == together[name][place : place + 1].tobytes()


def test_shipped_networks_are_small(workload: AnomalyWorkload) -> None:
    """All of them together are under 2 MB."""
    sizes = [workload.model_path(*key).stat().st_size for key in SHIPPED]
    assert sum(sizes) < 2_000_000
