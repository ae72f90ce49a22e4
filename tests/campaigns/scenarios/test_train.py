"""The shipped models: reproducible, small, the same answer alone or in a batch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from joulery.campaigns.scenarios import scenarios
from joulery.campaigns.scenarios.base import Workload
from joulery.campaigns.scenarios.fitted import model_file
from joulery.campaigns.scenarios.train import _samples, differences, shipped

SHIPPED = [
    (one.name, family.name, precision)
    for one in scenarios()
    for family in one.models
    for precision in family.precisions
]


@pytest.fixture(scope="module")
def workloads() -> dict[str, Workload]:
    """Return each scenario's workload on the data that ship."""
    return {one.name: one.prepare(None, Path()) for one in scenarios()}


@pytest.fixture(scope="module", params=shipped(), ids=lambda one: one.scenario.name)
def refit(request: pytest.FixtureRequest) -> tuple[Any, Mapping[tuple[str, str], Any]]:
    """Return what ships, and the same fitted again from the shipped data."""
    return request.param, request.param.fit()


def test_training_again_gives_the_shipped_models(
    refit: tuple[Any, Mapping[tuple[str, str], Any]],
) -> None:
    """Fitting to the shipped data gives the shipped graphs, weights and answers."""
    one, models = refit
    inputs = _samples(one.scenario)
    offered = {(family.name, p) for family in one.scenario.models for p in family.precisions}
    assert set(models) == offered
    for key, model in models.items():
        assert differences(onnx.load(one.folder / model_file(*key)), model, inputs) == [], key


def test_a_changed_model_is_noticed(workloads: dict[str, Workload]) -> None:
    """The comparison is not blind: another weight is a difference."""
    model = onnx.load(workloads["traffic_prediction"].model_path("ridge", "fp32"))
    other = onnx.load(workloads["traffic_prediction"].model_path("ridge", "fp32"))
    bias = next(t for t in other.graph.initializer if t.name.startswith("constant_5"))
    moved = onnx.numpy_helper.to_array(bias) * np.float32(1.5)
    bias.CopyFrom(onnx.numpy_helper.from_array(moved, bias.name))
    assert differences(model, other, _samples(scenarios()[0]))


@pytest.mark.parametrize(("name", "model", "precision"), SHIPPED)
def test_an_answer_does_not_depend_on_its_batch(
    workloads: dict[str, Workload], name: str, model: str, precision: str
) -> None:
    """Each sample's answer is the same, bit for bit, alone and in batches of many sizes."""
    workload = workloads[name]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(workload.model_path(model, precision), options)
    chosen = np.random.default_rng(1).choice(workload.size, 33, replace=False)
    samples = [workload.inputs(int(sample)) for sample in chosen]
    alone = [session.run(None, dict(sample)) for sample in samples]
    for size in (2, 3, 8, 16, 33):
        batch = {key: np.concatenate([s[key] for s in samples[:size]]) for key in samples[0]}
        for index, output in enumerate(session.run(None, batch)):
            expected = np.concatenate([answer[index] for answer in alone[:size]])
            assert output.tobytes() == expected.tobytes()


@pytest.mark.parametrize(("name", "model", "precision"), SHIPPED)
def test_a_shipped_model_says_what_it_is(
    workloads: dict[str, Workload], name: str, model: str, precision: str
) -> None:
    """Each file is under 1 MB and names scenario, model, precision and training data."""
    path = workloads[name].model_path(model, precision)
    about = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
    assert path.stat().st_size < 1_000_000
    assert (about["scenario"], about["model"], about["precision"]) == (name, model, precision)
    assert about["training_data_sha256"] == workloads[name].sha256
    assert ("threshold" in about) == (name == "anomaly_detection")


def test_int8_models_hold_int8_weights(workloads: dict[str, Workload]) -> None:
    """What is called int8 is: most of its weights, and scales that no batch can change."""
    for name, model, precision in SHIPPED:
        if precision != "int8":
            continue
        graph = onnx.load(workloads[name].model_path(model, precision)).graph
        kinds = {node.op_type for node in graph.node}
        assert any(tensor.data_type == onnx.TensorProto.INT8 for tensor in graph.initializer)
        assert "QuantizeLinear" in kinds
        assert "DynamicQuantizeLinear" not in kinds
