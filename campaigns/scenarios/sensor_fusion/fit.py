"""Fit the classical model: logistic regression on hand-made features, as an ONNX graph.

Features are the same few of each channel: mean, spread, lowest, highest, and mean step; those of a
missing sensor are 0, and `present` is a feature too. It is fitted to windows under every condition.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from ..graphs import GraphBuilder, run, with_metadata
from .windows import CONDITIONS, Cut, Windows, sensor_inputs

__all__ = ["fit_models"]

_AXES = 3
_KINDS = 5
_MOST_WINDOWS = 4000
"""More are thinned out: neighbouring windows overlap, and say almost the same."""


def fit_models(
    fitted: Windows, classes: Sequence[str], cut: Cut, sha256: str
) -> dict[tuple[str, str], onnx.ModelProto]:
    """Fit the classical models.

    Args:
        fitted: Windows to fit them to.
        classes: Their names, in the order of the labels; each has windows.
        cut: How windows were cut.
        sha256: SHA-256 of the data file, for the models' metadata.

    Returns:
        ONNX models by (model, precision): `accelerometer` and `gyroscope` (N, steps, 3) and
        `present` (N, 2) to `probabilities` (N, classes) and `label` INT64 (N,).
    """
    with threadpool_limits(1):
        model = _logistic(fitted, len(classes), cut)
    about = {"model": "logistic", "precision": "fp32", "scenario": "sensor_fusion"}
    about |= {"classes": ",".join(classes), "training_data_sha256": sha256}
    return {("logistic", "fp32"): with_metadata(model, about)}


def _features(graph: GraphBuilder, cut: Cut) -> tuple[str, int]:
    """Add the inputs and the features of both sensors; returns their tensor and their number."""
    sensors = [
        graph.input(name, "float32", (cut.steps, _AXES)) for name in ("accelerometer", "gyroscope")
    ]
    present = graph.input("present", "float32", (2,))
    told = []
    for place, sensor in enumerate(sensors):
        mean = graph.mean(sensor, cut.steps)
        apart = graph.op("Sub", sensor, mean)
        spread = graph.op("Sqrt", graph.mean(graph.op("Mul", apart, apart), cut.steps))
        low = graph.reduce("ReduceMin", sensor, 1, keepdims=True)
        high = graph.reduce("ReduceMax", sensor, 1, keepdims=True)
        later, sooner = (graph.take(sensor, range(at, cut.steps - 1 + at)) for at in (1, 0))
        step = graph.mean(graph.op("Abs", graph.op("Sub", later, sooner)), cut.steps - 1)
        kinds = graph.op("Concat", mean, spread, low, high, step, axis=1)
        there = graph.reshape(graph.take(present, [place]), 1, 1)
        told.append(graph.op("Mul", kinds, there))
    size = 2 * _KINDS * _AXES
    flat = graph.reshape(graph.op("Concat", *told, axis=1), size, 1)
    both = graph.op("Concat", flat, graph.reshape(present, 2, 1), axis=1)
    return both, size + 2


def _logistic(fitted: Windows, classes: int, cut: Cut) -> onnx.ModelProto:
    probe = GraphBuilder("features")
    tensor, size = _features(probe, cut)
    probe.output(tensor, "features", "float32", (size, 1))
    thinned = slice(None, None, -(-len(fitted.labels) // _MOST_WINDOWS))
    values, labels = fitted.values[thinned], fitted.labels[thinned]
    inputs = [sensor_inputs(values, cut, condition) for condition in CONDITIONS]
    given = {key: np.concatenate([one[key] for one in inputs]) for key in inputs[0]}
    features = run(probe.model(), given)["features"][:, :, 0].astype(np.float64)
    centre, width = features.mean(axis=0), features.std(axis=0)
    width = np.where(width > 0, width, 1.0)
    network = LogisticRegression(max_iter=2000)
    network.fit((features - centre) / width, np.tile(labels, len(CONDITIONS)))
    weights, bias = network.coef_, network.intercept_
    if classes == 2:  # scikit-learn keeps the one that is not the other's negative
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    graph = GraphBuilder("logistic")
    tensor, _ = _features(graph, cut)
    scaled = weights / width
    logits = graph.reshape(graph.dense(tensor, scaled, bias - scaled @ centre), classes)
    probabilities = graph.op("Softmax", logits, axis=1)
    graph.output(probabilities, "probabilities", "float32", (classes,))
    label = graph.op("ArgMax", probabilities, axis=1, keepdims=0)
    graph.output(label, "label", "int64", ())
    return graph.model()
