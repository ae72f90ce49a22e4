"""The shipped models: reproducible, small, the same answer alone or in a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from joulery.campaigns.scenarios import scenarios
from joulery.campaigns.scenarios.base import Workload
from joulery.campaigns.scenarios.exits import EXIT
from joulery.campaigns.scenarios.fitted import model_file
from joulery.campaigns.scenarios.judging import inputs_of
from joulery.campaigns.scenarios.model import Model
from joulery.campaigns.scenarios.train import FITS, Fit, differences, worse
from joulery.tests.campaigns.scenarios.onnx_models import all_graphs

SHIPPED = [
    (one.name, family.name, precision)
    for one in scenarios()
    for family in one.models
    for precision in family.precisions
]
EXITS = {(one.name, family.name): family.exits for one in scenarios() for family in one.models}


@pytest.fixture(scope="module")
def workloads() -> dict[str, Workload]:
    """Return each scenario's workload on the data that ship."""
    return {one.name: one.prepare(None, Path()) for one in scenarios()}


def _some(workload: Workload) -> dict[str, Any]:
    return {name: value[::3] for name, value in inputs_of(workload).items()}


@pytest.mark.parametrize("one", [one for one in FITS if one.kind == "models"], ids=str)
def test_training_again_gives_the_shipped_models(one: Fit, workloads: dict[str, Workload]) -> None:
    """Fitting to the shipped data gives the shipped graphs, weights and answers."""
    models = one.fit()
    offered = {
        (model, precision)
        for name, model, precision in SHIPPED
        if name == one.scenario and EXITS[name, model] == 1
    }
    assert set(models) == offered
    inputs = _some(workloads[one.scenario])
    for key, model in models.items():
        assert differences(onnx.load(one.folder / model_file(*key)), model, inputs) == [], key


def test_all_that_ships_can_be_fitted() -> None:
    """Whatever scenario offers a model, there is a fit for models of its kind."""
    fitted = {(one.scenario, one.kind) for one in FITS}
    needed = {
        (name, "networks" if EXITS[name, model] > 1 else "models") for name, model, _ in SHIPPED
    }
    assert fitted == needed


def test_a_network_is_judged_by_its_answers(workloads: dict[str, Workload], tmp_path: Path) -> None:
    """One is as good as itself, and one whose weights were spoilt is not."""
    workload = workloads["sensor_fusion"]
    path = workload.model_path("fusion_s", "fp32")
    assert worse(workload, path, path, "macro_f1", 3) == []
    spoilt = onnx.load(path)
    for tensor in spoilt.graph.initializer:
        weights = onnx.numpy_helper.to_array(tensor)
        if weights.ndim == 3:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.flip(weights, 0).copy(), tensor.name))
    onnx.save(spoilt, tmp_path / "spoilt.onnx")
    assert worse(workload, path, tmp_path / "spoilt.onnx", "macro_f1", 3)


def test_a_changed_model_is_noticed(workloads: dict[str, Workload]) -> None:
    """The comparison is not blind: another weight is a difference."""
    model = onnx.load(workloads["traffic_prediction"].model_path("ridge", "fp32"))
    other = onnx.load(workloads["traffic_prediction"].model_path("ridge", "fp32"))
    bias = next(t for t in other.graph.initializer if t.name.startswith("constant_5"))
    moved = onnx.numpy_helper.to_array(bias) * np.float32(1.5)
    bias.CopyFrom(onnx.numpy_helper.from_array(moved, bias.name))
    assert differences(model, other, _some(workloads["traffic_prediction"]))


@pytest.mark.parametrize(("name", "model", "precision"), SHIPPED)
def test_an_answer_does_not_depend_on_its_batch(
    workloads: dict[str, Workload], name: str, model: str, precision: str
) -> None:
    """Each sample's answer is the same, bit for bit, alone and in batches of many sizes."""
    workload = workloads[name]
    loaded = Model(workload.model_path(model, precision), 1)
    knobs = loaded.constants({"exit_threshold": 0.8})
    chosen = np.random.default_rng(1).choice(workload.size, 33, replace=False)
    samples = [workload.inputs(int(sample)) for sample in chosen]
    alone = [loaded.run({**sample, **knobs}) for sample in samples]
    for size in (2, 3, 8, 16, 33):
        batch = {key: np.concatenate([s[key] for s in samples[:size]]) for key in samples[0]}
        for output, value in loaded.run(batch | knobs).items():
            expected = np.concatenate([answer[output] for answer in alone[:size]])
            assert value.tobytes() == expected.tobytes()
    if EXITS[name, model] > 1:
        assert {int(answer[EXIT][0]) for answer in alone} <= set(range(1, EXITS[name, model] + 1))


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


def test_all_shipped_models_are_small(workloads: dict[str, Workload]) -> None:
    """Together they stay below 10 MB."""
    paths = [workloads[name].model_path(model, precision) for name, model, precision in SHIPPED]
    assert sum(path.stat().st_size for path in paths) < 10_000_000


def test_int8_models_hold_int8_weights(workloads: dict[str, Workload]) -> None:
    """What is called int8 is: most of its weights, and scales that no batch can change."""
    for name, model, precision in SHIPPED:
        if precision != "int8":
            continue
        graphs = list(all_graphs(onnx.load(workloads[name].model_path(model, precision)).graph))
        kinds = {node.op_type for graph in graphs for node in graph.node}
        tensors = [tensor for graph in graphs for tensor in graph.initializer]
        assert any(tensor.data_type == onnx.TensorProto.INT8 for tensor in tensors)
        assert "QuantizeLinear" in kinds
        assert "DynamicQuantizeLinear" not in kinds
