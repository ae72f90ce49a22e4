"""Fit the anomaly detectors to normal windows and write each as an ONNX graph.

All share one front: level columns as they are, columns with a trend relative to the start of their
window, less what is usual at this time of day, over the usual spread. The score judges the last
row; the alarm compares it with a quantile of the training scores.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from threadpoolctl import threadpool_limits

from ..graphs import GraphBuilder, run, tree_ensemble, with_metadata
from ..quantise import quantise
from .split import SLOTS, WINDOW, TrainingWindows

__all__ = ["START", "Front", "fit_models"]

Floats = NDArray[np.float64]
_Inputs = dict[str, NDArray[Any]]

_SEED = 2018
START = WINDOW // 2
"""Rows of a window that a column with a trend is taken relative to."""
_SMOOTH = 6
"""Slots on either side that the usual value of a slot is averaged over: half an hour."""
_NETWORK_LIMIT = 6.0
_ALARM_QUANTILE = 0.995
_TREES = 100
_EULER = 0.5772156649015329


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Standardises windows: columns with a trend, usual value per slot, usual spread.

    Args:
        trended: Shape (columns,): taken relative to the start of their window.
        usual: Shape (SLOTS, WINDOW, columns): by the slot of the window's last row.
        spread: Shape (columns,): robust standard deviation of the last row about the usual.
    """

    trended: NDArray[np.bool_]
    usual: NDArray[np.float32]
    spread: Floats

    @classmethod
    def of(cls, training: TrainingWindows) -> Front:
        windows = training.windows.astype(np.float64)
        values = windows - windows[:, :START].mean(axis=1, keepdims=True) * training.trended
        usual = np.empty((SLOTS, *values.shape[1:]))
        for slot in range(SLOTS):
            distance = np.abs(training.slots - slot)
            near = np.minimum(distance, SLOTS - distance) <= _SMOOTH
            usual[slot] = values[near].mean(axis=0) if near.any() else values.mean(axis=0)
        residual = values[:, -1] - usual[training.slots][:, -1]
        low, high = np.quantile(residual, (0.25, 0.75), axis=0)
        plain = np.where(residual.std(axis=0) > 0, residual.std(axis=0), 1.0)
        spread = np.where(high > low, (high - low) / 1.349, plain)
        return cls(trended=training.trended, usual=usual.astype(np.float32), spread=spread)

    def begin(self, name: str) -> tuple[GraphBuilder, str]:
        """Return a graph and its standardised windows, shape (N, WINDOW, columns)."""
        columns = len(self.trended)
        graph = GraphBuilder(name)
        window = graph.input("window", "float32", (WINDOW, columns))
        slot = graph.input("slot", "int64", (1,))
        start = graph.mean(graph.take(window, range(START)), START)
        level = graph.op("Mul", start, graph.constant(self.trended.astype(np.float32)))
        usual = graph.op("Gather", graph.constant(self.usual), slot, axis=0)
        usual = graph.reshape(usual, WINDOW, columns)
        residual = graph.op("Sub", graph.op("Sub", window, level), usual)
        return graph, graph.op("Mul", residual, graph.constant(1 / self.spread))


def fit_models(training: TrainingWindows, sha256: str) -> dict[tuple[str, str], onnx.ModelProto]:
    """Fit every model in every precision.

    Args:
        training: Normal windows: all the data any model sees.
        sha256: SHA-256 of the data, for the models' metadata.

    Returns:
        ONNX models by (model, precision): `window` (N, 24, columns) and `slot` (N, 1) to `score`
        (N, 1), higher is more anomalous, and `alarm` (N, 1).
    """
    front = Front.of(training)
    inputs: _Inputs = {"window": training.windows, "slot": training.slots[:, None]}
    # One thread: these fits are too small to share out, and sums keep their order.
    with threadpool_limits(1):
        scored = {
            ("seasonal_zscore", "fp32"): _seasonal_zscore(front),
            ("isolation_forest", "fp32"): _isolation_forest(front, inputs),
            ("autoencoder", "fp32"): _autoencoder(front, inputs),
        }
        some = {name: array[:: max(1, len(array) // 200)] for name, array in inputs.items()}
        float_model = scored["autoencoder", "fp32"]
        scored["autoencoder", "int8"] = quantise(float_model, some, "hidden_")
    models = {}
    for (name, precision), model in scored.items():
        scores = run(model, inputs)["score"]
        threshold = float(np.quantile(scores, _ALARM_QUANTILE).astype(np.float32))
        models[name, precision] = with_metadata(
            _with_alarm(model, threshold),
            {
                "model": name,
                "precision": precision,
                "scenario": "anomaly_detection",
                "threshold": repr(threshold),
                "training_data_sha256": sha256,
            },
        )
    return models


def _with_alarm(model: onnx.ModelProto, threshold: float) -> onnx.ModelProto:
    """Return the model with the output `alarm`: whether the score is above the threshold."""
    helper = onnx.helper
    graph = model.graph
    level = onnx.numpy_helper.from_array(np.array(threshold, dtype=np.float32), "threshold")
    graph.initializer.append(level)
    graph.node.append(helper.make_node("Greater", ["score", "threshold"], ["alarm"], name="alarm"))
    graph.output.append(helper.make_tensor_value_info("alarm", onnx.TensorProto.BOOL, ["N", 1]))
    onnx.checker.check_model(model, full_check=True)
    return model


def _seasonal_zscore(front: Front) -> onnx.ModelProto:
    graph, scaled = front.begin("seasonal_zscore")
    last = graph.reshape(graph.take(scaled, [WINDOW - 1]), len(front.trended))
    score = graph.reduce("ReduceMax", graph.op("Abs", last), 1, keepdims=True)
    graph.output(score, "score", "float32", (1,))
    return graph.model()


def _row_features(graph: GraphBuilder, scaled: str, columns: int) -> str:
    """Add what the forest sees: last row, its step, its distance from the window's mean."""
    last = graph.take(scaled, [WINDOW - 1])
    before = graph.take(scaled, [WINDOW - 2])
    mean = graph.mean(graph.take(scaled, range(WINDOW - 1)), WINDOW - 1)
    parts = (last, graph.op("Sub", last, before), graph.op("Sub", last, mean))
    return graph.reshape(graph.op("Concat", *parts, axis=2), 3 * columns)


def _isolation_forest(front: Front, inputs: _Inputs) -> onnx.ModelProto:
    """Fit an isolation forest (Liu et al. 2008); the score is scikit-learn's, sign turned."""
    columns = len(front.trended)
    probe, scaled = front.begin("features")
    probe.output(_row_features(probe, scaled, columns), "features", "float32", (3 * columns,))
    features = run(probe.model(), inputs)["features"]
    forest = IsolationForest(n_estimators=_TREES, random_state=_SEED).fit(features)
    trees = [(tree.tree_, _path_lengths(tree.tree_), 0) for tree in forest.estimators_]
    graph, scaled = front.begin("isolation_forest")
    depth = tree_ensemble(graph, _row_features(graph, scaled, columns), trees, [0.0])
    usual = float(_mean_path(np.array([float(forest.max_samples_)]))[0])
    score = graph.op("Exp", graph.op("Mul", depth, graph.constant(-np.log(2) / (usual * _TREES))))
    graph.output(score, "score", "float32", (1,))
    return graph.model()


def _path_lengths(tree: Any) -> Floats:
    """Return each node's depth plus the mean path of a tree grown on its samples."""
    left, right = tree.children_left, tree.children_right
    depth = np.zeros(len(left))
    for node in range(len(left)):  # parents stand before their children
        if left[node] >= 0:
            depth[[left[node], right[node]]] = depth[node] + 1
    samples: Floats = tree.n_node_samples.astype(np.float64)
    return depth + _mean_path(samples)


def _mean_path(samples: Floats) -> Floats:
    """Return the mean path of an unsuccessful search among samples (Liu et al. 2008, eq. 1)."""
    many = np.maximum(samples, 3.0)
    long = 2 * (np.log(many - 1) + _EULER) - 2 * (many - 1) / many
    return np.where(samples <= 1, 0.0, np.where(samples == 2, 1.0, long))


def _autoencoder(front: Front, inputs: _Inputs) -> onnx.ModelProto:
    """Fit a network that repeats its window through a narrow layer; the score is its error."""
    columns = len(front.trended)
    size = WINDOW * columns

    def begin(name: str) -> tuple[GraphBuilder, str]:
        graph, scaled = front.begin(name)
        return graph, graph.reshape(graph.clip(scaled, _NETWORK_LIMIT), size, 1)

    probe, flat = begin("windows")
    probe.output(flat, "flat", "float32", (size, 1))
    windows = run(probe.model(), inputs)["flat"][:, :, 0].astype(np.float64)
    network = MLPRegressor(
        hidden_layer_sizes=[64, 8 * min(columns, 2), 64],
        alpha=1e-3,
        batch_size=64,
        max_iter=40,
        random_state=_SEED,
    )
    with warnings.catch_warnings():
        # Forty passes are the regularisation, not a failure to converge.
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(windows, windows)
    graph, flat = begin("autoencoder")
    *hidden, (weights, bias) = zip(network.coefs_, network.intercepts_, strict=True)
    tensor = graph.network(flat, hidden)
    # Only the last row is judged, so only the last row is decoded.
    last = slice(size - columns, size)
    said = graph.dense(tensor, weights.T[last], bias[last], name="readout")
    error = graph.op("Sub", graph.take(flat, range(last.start, size)), said)
    score = graph.reshape(graph.mean(graph.op("Mul", error, error), columns), 1)
    graph.output(score, "score", "float32", (1,))
    return graph.model()
