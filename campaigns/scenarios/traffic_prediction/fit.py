"""Fit the traffic models to a training part and write each as an ONNX graph.

Every model forecasts the change from the last value, because the series has a trend: levels of
the test part never occur in training. Inputs and targets are clipped to what is usual in training:
the trace holds a few spikes a hundred times the usual step, and squared errors would follow them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPRegressor
from threadpoolctl import threadpool_limits

from ..graphs import GraphBuilder, run, tree_ensemble, with_metadata
from ..quantise import quantise
from .split import HISTORY, HORIZONS, SEASON, history_windows, targets, training_rows

__all__ = ["fit_models"]

Floats = NDArray[np.float64]

_SEED = 2018
_LAGS = (*range(1, 13), *range(14, SEASON, 4))
"""Every step of the last hour, then every 20 minutes of the last day."""
_LAG_LIMIT = 3.0
_ALPHAS = tuple(10.0**power for power in np.arange(2.0, 7.5, 0.5))
"""Wide on purpose: at the upper end only a constant change, the drift, is left."""
_KERNELS_PER_DILATION = 768
"""At most: each of the channels gets equally many."""
_DILATIONS = (1, 2, 4, 8, 16, 32)
_KERNEL_LENGTH = 9
_KERNEL_LIMIT = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spread:
    """Centre and robust width of some features, from training."""

    centre: Floats
    width: Floats

    @classmethod
    def of(cls, values: Floats, axis: int | tuple[int, ...]) -> _Spread:
        low, centre, high = np.quantile(values, (0.25, 0.5, 0.75), axis=axis)
        width = (high - low) / 1.349  # of a normal distribution, this is the standard deviation
        return cls(centre=centre, width=np.where(width > 0, width, 1.0))

    def apply(self, graph: GraphBuilder, tensor: str, limit: float) -> str:
        """Add standardising and clipping to a graph."""
        centred = graph.op("Sub", tensor, graph.constant(self.centre))
        return graph.clip(graph.op("Mul", centred, graph.constant(1 / self.width)), limit)


def fit_models(training: Floats, sha256: str) -> dict[tuple[str, str], onnx.ModelProto]:
    """Fit every model in every precision.

    Args:
        training: Shape (rows, series), in time order: all the data any model sees.
        sha256: SHA-256 of the data file, for the models' metadata.

    Returns:
        ONNX models by (model, precision): `history` (N, 289, series) to `forecast`
        (N, 2, series).
    """
    rows = training_rows(training)
    histories = history_windows(training, rows)
    changes = (targets(training, rows) - training[rows][:, None]).reshape(len(rows), -1)
    usual = np.clip(changes, *np.quantile(changes, (0.005, 0.995), axis=0))
    # One thread: these fits are too small to share out, and sums keep their order.
    with threadpool_limits(1):
        models = {
            ("seasonal_naive", "fp32"): _seasonal_naive(histories.shape[2]),
            ("ridge", "fp32"): _ridge(histories, usual),
            ("mlp", "fp32"): _mlp(histories, usual),
            ("gradient_boosting", "fp32"): _gradient_boosting(histories, changes),
            ("rocket", "fp32"): _rocket(histories, usual),
        }
        some = {"history": histories[::10]}
        models["mlp", "int8"] = quantise(models["mlp", "fp32"], some, "hidden_")
        models["rocket", "int8"] = quantise(models["rocket", "fp32"], some, "kernels_")
        _refit_readout(models["rocket", "int8"], histories, usual)
    for (name, precision), model in models.items():
        about = {"model": name, "precision": precision, "scenario": "traffic_prediction"}
        with_metadata(model, about | {"training_data_sha256": sha256})
    return models


def _begin(name: str, series: int) -> tuple[GraphBuilder, str, str]:
    """Return a graph, its input, and the input's last row, shape (N, 1, series)."""
    graph = GraphBuilder(name)
    history = graph.input("history", "float32", (HISTORY, series))
    return graph, history, graph.take(history, [HISTORY - 1])


def _finish(graph: GraphBuilder, change: str, last: str, series: int) -> onnx.ModelProto:
    """Add the change, shape (N, outputs) or (N, outputs, 1), to the last row; return the model."""
    change = graph.reshape(change, len(HORIZONS), series)
    shape = (len(HORIZONS), series)
    graph.output(graph.op("Add", change, last), "forecast", "float32", shape)
    return graph.model()


def _features(
    name: str, build: Callable[[GraphBuilder, str, str], str], histories: NDArray[np.float32]
) -> Floats:
    """Compute features of training windows by the very graph that will serve them."""
    graph, history, last = _begin(name, histories.shape[2])
    graph.output(build(graph, history, last), "features", "float32", (None, 1))
    return run(graph.model(), {"history": histories})["features"][:, :, 0].astype(np.float64)


def _seasonal_naive(series: int) -> onnx.ModelProto:
    graph, history, last = _begin("seasonal_naive", series)
    then = graph.take(history, [HISTORY - 1 + step - SEASON for step in HORIZONS])
    day_before = graph.take(history, [HISTORY - 1 - SEASON])
    return _finish(graph, graph.op("Sub", then, day_before), last, series)


def _lags(histories: NDArray[np.float32]) -> Callable[[GraphBuilder, str, str], str]:
    """Return what adds lagged levels, relative to the last one, to a graph: (N, features, 1)."""
    places = [HISTORY - 1 - lag for lag in _LAGS]
    relative = histories[:, places].astype(np.float64) - histories[:, -1:]
    spread = _Spread.of(relative, 0)

    def build(graph: GraphBuilder, history: str, last: str) -> str:
        levels = graph.op("Sub", graph.take(history, places), last)
        levels = spread.apply(graph, levels, _LAG_LIMIT)
        return graph.reshape(levels, len(_LAGS) * histories.shape[2], 1)

    return build


def _readout(features: Floats, changes: Floats) -> tuple[Floats, Floats]:
    """Fit ridge regression; its strength is the best on the last quarter of the training part.

    Returns:
        Weights of shape (outputs, features) and bias of shape (outputs,), for raw features.
    """
    centre, width = features.mean(axis=0), features.std(axis=0) + 1e-6
    scaled = (features - centre) / width
    mean, size = changes.mean(axis=0), changes.std(axis=0) + 1e-12
    wanted = (changes - mean) / size
    later = int(len(scaled) * 0.75)
    earlier = later - max(HORIZONS)  # no target of the fit lies where the choice is judged

    # All strengths share one eigendecomposition: kernels make thousands of features.
    seen = scaled[:earlier] - scaled[:earlier].mean(axis=0)
    unseen = (scaled[later:] - scaled[:earlier].mean(axis=0)) @ seen.T
    values, vectors = np.linalg.eigh(seen @ seen.T)
    level = wanted[:earlier].mean(axis=0)
    turned = vectors.T @ (wanted[:earlier] - level)

    def error(alpha: float) -> float:
        said = unseen @ (vectors @ (turned / (values + alpha)[:, None])) + level
        return float(np.abs(said - wanted[later:]).mean())

    best = Ridge(min(_ALPHAS, key=error)).fit(scaled, wanted)
    weights = best.coef_ * size[:, None] / width
    return weights, best.intercept_ * size + mean - weights @ centre


def _ridge(histories: NDArray[np.float32], changes: Floats) -> onnx.ModelProto:
    build = _lags(histories)
    weights, bias = _readout(_features("lags", build, histories), changes)
    graph, history, last = _begin("ridge", histories.shape[2])
    features = build(graph, history, last)
    readout = graph.dense(features, weights, bias, name="readout")
    return _finish(graph, readout, last, histories.shape[2])


def _mlp(histories: NDArray[np.float32], changes: Floats) -> onnx.ModelProto:
    build = _lags(histories)
    mean, size = changes.mean(axis=0), changes.std(axis=0) + 1e-12
    network = MLPRegressor(
        hidden_layer_sizes=[256, 64], alpha=30.0, batch_size=64, max_iter=30, random_state=_SEED
    )
    with warnings.catch_warnings():
        # Thirty passes are the regularisation, not a failure to converge.
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(_features("lags", build, histories), (changes - mean) / size)
    graph, history, last = _begin("mlp", histories.shape[2])
    tensor = build(graph, history, last)
    *hidden, (weights, bias) = zip(network.coefs_, network.intercepts_, strict=True)
    tensor = graph.network(tensor, hidden)
    change = graph.dense(tensor, weights.T * size[:, None], bias * size + mean, name="readout")
    return _finish(graph, change, last, histories.shape[2])


def _gradient_boosting(histories: NDArray[np.float32], changes: Floats) -> onnx.ModelProto:
    """Fit one ensemble per output to absolute errors (Friedman 2001): spikes need no clipping."""
    build = _lags(histories)
    features = _features("lags", build, histories)
    trees = []
    base: list[float] = []
    for output in range(changes.shape[1]):
        booster = GradientBoostingRegressor(
            loss="absolute_error", n_estimators=200, max_depth=3, min_samples_leaf=20,
            learning_rate=0.03, subsample=0.5, max_features=0.3, random_state=_SEED,
        ).fit(features, changes[:, output])  # fmt: skip
        base.append(float(booster.init_.predict(features[:1]).item()))
        trees += [
            (tree.tree_, tree.tree_.value[:, 0, 0] * booster.learning_rate, output)
            for tree in booster.estimators_[:, 0]
        ]
    graph, history, last = _begin("gradient_boosting", histories.shape[2])
    flat = graph.reshape(build(graph, history, last), features.shape[1])
    change = tree_ensemble(graph, flat, trees, base)
    return _finish(graph, change, last, histories.shape[2])


def _channels(histories: NDArray[np.float32]) -> Callable[[GraphBuilder, str, str], str]:
    """Return what adds relative levels and steps: (N, 2 x series, HISTORY - 1)."""
    exact = histories.astype(np.float64)
    levels = _Spread.of(exact[:, 1:] - exact[:, -1:], (0, 1))
    steps = _Spread.of(np.diff(exact, axis=1), (0, 1))

    def build(graph: GraphBuilder, history: str, last: str) -> str:
        later = graph.take(history, range(1, HISTORY))
        before = graph.take(history, range(HISTORY - 1))
        parts = (
            levels.apply(graph, graph.op("Sub", later, last), _KERNEL_LIMIT),
            steps.apply(graph, graph.op("Sub", later, before), _KERNEL_LIMIT),
        )
        return graph.op("Transpose", graph.op("Concat", *parts, axis=2), perm=[0, 2, 1])

    return build


def _kernels(
    channels: Callable[[GraphBuilder, str, str], str], histories: NDArray[np.float32]
) -> Callable[[GraphBuilder, str, str], str]:
    """Return what adds random convolution features to a graph: (N, features, 1).

    Kernels and dilations are as in ROCKET, biases are quantiles of convolved training windows as
    in MiniRocket, the share of positive values is the feature of both (Dempster et al. 2020, 2021);
    the value at the last step is added, since a forecast depends on when something happened.
    """
    rng = np.random.default_rng(_SEED)
    groups = 2 * histories.shape[2]
    count = _KERNELS_PER_DILATION // groups * groups
    kernels = rng.normal(size=(len(_DILATIONS), count, 1, _KERNEL_LENGTH))
    kernels -= kernels.mean(axis=-1, keepdims=True)
    some = histories[rng.choice(len(histories), min(64, len(histories)), replace=False)]

    def convolve(graph: GraphBuilder, tensor: str, index: int, bias: Sequence[float]) -> str:
        weights = graph.constant(kernels[index])
        return graph.op(
            "Conv", tensor, weights, graph.constant(bias), name=f"kernels_{index}",
            kernel_shape=[_KERNEL_LENGTH], dilations=[_DILATIONS[index]], group=groups,
        )  # fmt: skip

    biases = []
    for index in range(len(_DILATIONS)):
        graph, history, last = _begin("biases", histories.shape[2])
        plain = [0.0] * count
        convolved = convolve(graph, channels(graph, history, last), index, plain)
        graph.output(convolved, "convolved", "float32", (count, None))
        values = run(graph.model(), {"history": some})["convolved"]
        which = rng.integers(len(some), size=count)
        levels = rng.uniform(size=count)
        biases.append(
            [
                -np.quantile(values[w, k], q)
                for k, (w, q) in enumerate(zip(which, levels, strict=True))
            ]
        )

    def build(graph: GraphBuilder, history: str, last: str) -> str:
        tensor = channels(graph, history, last)
        zero = graph.constant(0.0)
        features = []
        for index in range(len(_DILATIONS)):
            convolved = convolve(graph, tensor, index, biases[index])
            positive = graph.op(
                "Cast", graph.op("Greater", convolved, zero), to=onnx.TensorProto.FLOAT
            )
            features.append(graph.reduce("ReduceMean", positive, 2, keepdims=True))
            features.append(graph.take(convolved, [-1], axis=2))
        return graph.op("Concat", *features, axis=1)

    return build


def _rocket(histories: NDArray[np.float32], changes: Floats) -> onnx.ModelProto:
    build = _kernels(_channels(histories), histories)
    weights, bias = _readout(_features("kernels", build, histories), changes)
    graph, history, last = _begin("rocket", histories.shape[2])
    features = build(graph, history, last)
    readout = graph.dense(features, weights, bias, name="readout")
    return _finish(graph, readout, last, histories.shape[2])


def _refit_readout(model: onnx.ModelProto, histories: NDArray[np.float32], changes: Floats) -> None:
    """Fit the readout of a quantised model, in place, to the features that model computes.

    Rounding turns small positive values into zero, so that int8 shares of positive values are
    lower throughout: with the float readout the forecasts had a bias.
    """
    readout = next(node for node in model.graph.node if node.name == "readout")
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.append(
        onnx.helper.make_tensor_value_info(readout.input[0], onnx.TensorProto.FLOAT, ["N", None, 1])
    )
    features = run(probe, {"history": histories})[readout.input[0]][:, :, 0].astype(np.float64)
    weights, bias = _readout(features, changes)
    fitted = {readout.input[1]: weights[:, :, None], readout.input[2]: bias}
    for constant in model.graph.initializer:
        if constant.name in fitted:
            values = fitted[constant.name].astype(np.float32)
            constant.CopyFrom(onnx.numpy_helper.from_array(values, constant.name))
