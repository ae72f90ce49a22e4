"""Sensor fusion: the shipped models, exits, fusion, figures, and how answers are judged."""

from __future__ import annotations

import asyncio
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score

from joulery.campaigns.scenarios.base import Tensors
from joulery.campaigns.scenarios.graphs import run
from joulery.campaigns.scenarios.sensor_fusion import SensorFusion
from joulery.campaigns.scenarios.sensor_fusion.windows import CONDITIONS
from joulery.campaigns.scenarios.sensor_fusion.workload import SHIPPED_MODELS, FusionWorkload
from joulery.errors import TrialError
from joulery.profiler.oip import encode_request

from .serving import Server, ask_all

NETWORKS = [one for one in SensorFusion.models if one.exits > 1]
CLASSICAL = [one for one in SensorFusion.models if one.exits == 1]
PRECISIONS = ("fp32", "int8", "mixed")


@pytest.fixture(scope="module")
def workload() -> FusionWorkload:
    """Return the workload of the data that ship."""
    return SensorFusion().prepare(None, Path())


@pytest.fixture(scope="module")
def asked(workload: FusionWorkload) -> Tensors:
    """Return the inputs of every sample, one after another."""
    return _joined(workload, np.arange(workload.size))


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _ask(path: Path, inputs: Tensors, threshold: float = 2.0, last: int = 3) -> dict[str, Any]:
    session = _session(path)
    given = dict(inputs)
    if "max_exit" in {one.name for one in session.get_inputs()}:
        given["exit_threshold"] = np.array(threshold, dtype=np.float32)
        given["max_exit"] = np.array(last, dtype=np.int64)
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


@pytest.mark.parametrize("family", SensorFusion.models, ids=lambda one: one.name)
def test_shipped_models_are_good(workload: FusionWorkload, asked: Tensors, family: Any) -> None:
    """Every model, in every precision, is far better than chance with a sensor missing or late."""
    samples = np.arange(workload.size)
    for precision in family.precisions:
        answers = _ask(workload.model_path(family.name, precision), asked)
        judged = workload.assess(samples, answers)
        assert set(judged.figures) == {one.name for one in SensorFusion.figures}
        for name, value in judged.figures.items():
            assert value is not None
            if name in ("ece", "brier"):
                assert value < 0.15, (precision, name)
            else:
                assert value > 0.85, (precision, name)
        model = onnx.load(workload.model_path(family.name, precision))
        about = {entry.key: entry.value for entry in model.metadata_props}
        assert about["training_data_sha256"] == workload.sha256
        assert about["classes"].split(",") == list(workload.classes)


@pytest.mark.parametrize("family", NETWORKS, ids=lambda one: one.name)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_answers_do_not_depend_on_the_batch(
    workload: FusionWorkload, asked: Tensors, family: Any, precision: str
) -> None:
    """A row's answer is the same, bit for bit, alone and among others, whatever exits they take."""
    path = workload.model_path(family.name, precision)
    chosen = np.arange(0, workload.size, 61)
    some = {key: value[chosen] for key, value in asked.items()}
    together = _ask(path, some, threshold=0.9)
    assert len(set(together["exit"])) > 1
    for row in range(len(chosen)):
        alone = _ask(path, {key: value[row : row + 1] for key, value in some.items()}, 0.9)
        for name, value in together.items():
            np.testing.assert_array_equal(alone[name][0], value[row])


@pytest.mark.parametrize("family", CLASSICAL, ids=lambda one: one.name)
def test_classical_answers_do_not_depend_on_the_batch(
    workload: FusionWorkload, asked: Tensors, family: Any
) -> None:
    """The classical models' answers are the same alone and among others, too."""
    model = onnx.load(workload.model_path(family.name, "fp32"))
    some = {key: value[::61] for key, value in asked.items()}
    together, alone = run(model, some), run(model, some, chunk=1)
    for name, value in together.items():
        np.testing.assert_array_equal(alone[name], value)


@pytest.mark.parametrize("family", NETWORKS, ids=lambda one: one.name)
def test_exits_are_taken_by_confidence(
    workload: FusionWorkload, asked: Tensors, family: Any
) -> None:
    """A row leaves where the probability of its likeliest class reaches the threshold."""
    path = workload.model_path(family.name, "fp32")
    forced = [_ask(path, asked, last=number) for number in (1, 2, 3)]
    for number, answers in enumerate(forced, start=1):
        assert set(answers["exit"]) == {number}
        np.testing.assert_array_equal(answers["confidence"], answers["probabilities"].max(axis=1))
        np.testing.assert_array_equal(answers["label"], answers["probabilities"].argmax(axis=1))
    level = 0.95
    sure = np.stack([one["confidence"] >= level for one in forced])
    sure[-1] = True
    expected = sure.argmax(axis=0)
    found = _ask(path, asked, threshold=level)
    np.testing.assert_array_equal(found["exit"], expected + 1)
    for row, place in enumerate(expected):
        np.testing.assert_array_equal(
            found["probabilities"][row], forced[place]["probabilities"][row]
        )


@pytest.mark.parametrize(("family", "precision"), list(product(NETWORKS, PRECISIONS)),
                         ids=lambda one: getattr(one, "name", one))  # fmt: skip
def test_a_missing_sensors_numbers_say_nothing(
    workload: FusionWorkload, asked: Tensors, family: Any, precision: str
) -> None:
    """With present 0, whatever stands in a sensor's tensor does not change the answer."""
    path = workload.model_path(family.name, precision)
    some = {key: value[1::160] for key, value in asked.items()}
    assert set(some["present"][:, 0]) == {0.0}
    noisy = some | {"accelerometer": np.full_like(some["accelerometer"], 3.0)}
    for name, value in _ask(path, some).items():
        np.testing.assert_array_equal(_ask(path, noisy)[name], value)


def _answers(labels: NDArray[np.int64], sure: float = 0.7) -> Tensors:
    probabilities = np.full((len(labels), 4), (1 - sure) / 3, dtype=np.float32)
    probabilities[np.arange(len(labels)), labels] = sure
    return {"probabilities": probabilities, "label": labels}


def test_figures_are_those_of_scikit_learn(workload: FusionWorkload) -> None:
    """All figures of a mixed set of answers, and of each condition, are the references'."""
    rng = np.random.default_rng(4)
    samples = rng.integers(0, workload.size, 500)
    truth = workload.parts.tested.labels[samples // 4]
    said = np.where(rng.random(500) < 0.8, truth, rng.integers(0, 4, 500))
    answers = _answers(said)
    judged = workload.assess(samples, answers)
    expected = {
        "macro_f1": f1_score(truth, said, average="macro"),
        "accuracy": accuracy_score(truth, said),
        "brier": brier_score_loss(
            truth, answers["probabilities"], labels=range(4), scale_by_half=False
        ),
        # All are equally sure, so that there is one bin.
        "ece": abs(accuracy_score(truth, said) - 0.7),
    }
    for number, name in enumerate(CONDITIONS):
        rows = samples % 4 == number
        expected[f"macro_f1_{name}"] = f1_score(truth[rows], said[rows], average="macro")
    assert judged.figures == pytest.approx(expected, abs=1e-6)
    assert set(judged.per_request) == {one.name for one in SensorFusion.request_fields}
    np.testing.assert_array_equal(judged.per_request["condition"], samples % 4)
    np.testing.assert_array_equal(judged.per_request["correct"], truth == said)


def test_a_condition_that_was_not_asked_has_no_figure(workload: FusionWorkload) -> None:
    """Without a sample of a condition there is no figure of it; without samples there is none."""
    samples = np.arange(0, 80, 4)
    judged = workload.assess(samples, _answers(workload.parts.tested.labels[samples // 4]))
    assert judged.figures["macro_f1_complete"] == 1.0
    for name in CONDITIONS[1:]:
        assert judged.figures[f"macro_f1_{name}"] is None
    nothing = np.zeros(0, dtype=np.int64)
    assert set(workload.assess(nothing, _answers(nothing)).figures.values()) == {None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": np.array([0, 1])}, "shapes"),
        ({"label": np.array([0, 1, 4])}, "label: found 0 to 4, expected 0 to 3"),
        ({"probabilities": np.full((3, 4), 0.3)}, "do not sum up to 1"),
        ({"probabilities": np.full((3, 4), np.nan)}, "no numbers"),
        ({"probabilities": np.tile([1.5, -0.5, 0.0, 0.0], (3, 1))}, "negative"),
        ({"probabilities": np.full((3, 5), 0.2)}, r"expected \(3, 4\)"),
    ],
)
def test_answers_that_cannot_be_judged(
    workload: FusionWorkload, change: Tensors, message: str
) -> None:
    """Answers of another shape, or that are no probabilities, are refused."""
    answers = {**_answers(np.array([0, 1, 2])), **change}
    with pytest.raises(TrialError, match=message):
        workload.assess(np.arange(3), answers)


def test_shipped_networks_are_small() -> None:
    """All networks together stay within two megabytes."""
    names = {one.name for one in NETWORKS}
    files = [p for p in SHIPPED_MODELS.glob("*.onnx") if p.stem.rpartition("_")[0] in names]
    assert len(files) == 3 * len(NETWORKS)
    assert sum(path.stat().st_size for path in files) <= 2 * 10**6


def test_classes_are_named_in_order(workload: FusionWorkload) -> None:
    """The order of classes is that of their names."""
    assert workload.classes == ("Badminton", "Running", "Standing", "Walking")


def test_a_server_answers_and_is_judged(workload: FusionWorkload) -> None:
    """Served, a network answers every condition, and its answers can be judged as they come."""
    samples = np.arange(40, 72)
    messages = [encode_request(workload.inputs(int(sample))) for sample in samples]
    path = workload.model_path("fusion_m", "int8")
    with Server(path, "--exit-threshold", "0.9", name="fusion_m") as server:
        responses = asyncio.run(ask_all(server, messages))
    outputs = [one.outputs for one in responses]
    answers = {key: np.concatenate([one[key] for one in outputs]) for key in outputs[0]}
    judged = workload.assess(samples, answers)
    assert all(value is not None for value in judged.figures.values())
    assert len(set(answers["exit"])) > 1
    expected = _ask(path, _joined(workload, samples), threshold=0.9)
    np.testing.assert_array_equal(answers["probabilities"], expected["probabilities"])


def _joined(workload: FusionWorkload, samples: NDArray[np.int64]) -> Tensors:
    given = [workload.inputs(int(sample)) for sample in samples]
    return {key: np.concatenate([one[key] for one in given]) for key in given[0]}
