"""No forecast, and nothing that is fitted, has seen what it is judged by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulery.campaigns.scenarios.series import Table, shipped_table
from joulery.campaigns.scenarios.traffic_prediction import TrafficPrediction, TrafficWorkload, split
from joulery.campaigns.scenarios.traffic_prediction.fit import fit_models

VALUES = shipped_table(split.CHANNELS).values
TRAINING_ROWS = len(split.training_part(VALUES))

Change = tuple[int, int, float]
changes = st.lists(
    st.tuples(st.integers(0, len(VALUES) - 1), st.integers(0, 1), st.floats(-1e6, 1e6, width=32)),
    min_size=1,
    max_size=20,
)


def _changed(made: list[Change], first: int) -> np.ndarray:
    """Return the series with other values, in rows from `first` on only."""
    values = VALUES.copy()
    for row, column, value in made:
        values[max(row, first), column] = value
    return values


def _workload(values: np.ndarray) -> TrafficWorkload:
    table = Table(
        path=Path("a.csv"), columns=split.CHANNELS, values=values, texts={}, sha256="0" * 64
    )
    return TrafficWorkload(table, Path(), TrafficPrediction.models, source="", licence="")


@settings(max_examples=50, deadline=None)
@given(changes)
def test_windows_of_training_do_not_see_the_test_part(made: list[Change]) -> None:
    """Whatever follows the training part, its windows, their targets and the scale are the same."""
    training = split.training_part(_changed(made, TRAINING_ROWS))
    rows = split.training_rows(training)
    original = split.training_part(VALUES)
    assert rows.tolist() == split.training_rows(original).tolist()
    for what in (split.history_windows, split.targets):
        assert what(training, rows).tobytes() == what(original, rows).tobytes()
    assert _workload(_changed(made, TRAINING_ROWS))._scale.tolist() == SHIPPED._scale.tolist()


SHIPPED = _workload(VALUES)


@settings(max_examples=50, deadline=None)
@given(changes, st.integers(0, SHIPPED.size - 1))
def test_an_input_does_not_see_what_follows_its_origin(made: list[Change], sample: int) -> None:
    """Whatever follows an origin, its input and its references stay; its own row counts."""
    origin = TRAINING_ROWS - 1 + sample
    other = _workload(_changed(made, origin + 1))
    assert other.inputs(sample)["history"].tobytes() == SHIPPED.inputs(sample)["history"].tobytes()
    for name, forecast in SHIPPED._references.items():
        if name != "drift" or origin + 1 >= TRAINING_ROWS:
            assert other._references[name][sample].tolist() == forecast[sample].tolist()
    moved = VALUES.copy()
    moved[origin] += 1
    assert (_workload(moved).inputs(sample)["history"] != SHIPPED.inputs(sample)["history"]).any()


@given(st.integers(split.MINIMUM_ROWS, 60_000))
@settings(max_examples=50, deadline=None)
def test_no_target_of_training_is_a_target_of_test(rows: int) -> None:
    """For series of any length, targets of training lie before all targets of test."""
    values = np.zeros((rows, 1))
    training = split.training_part(values)
    fitted, judged = split.training_rows(training), split.test_rows(values)
    assert fitted.min() == split.HISTORY - 1
    assert fitted.max() + max(split.HORIZONS) < len(training)
    assert judged.min() + min(split.HORIZONS) == len(training)
    assert judged.max() + max(split.HORIZONS) == rows - 1
    assert len(fitted) <= 8000


def _weights(model: onnx.ModelProto) -> bytes:
    """Return all that is computed with: the graph and its constants, without what is said of it."""
    content: bytes = model.graph.SerializeToString(deterministic=True)
    return content


@pytest.mark.parametrize("kind", ["classical", "networks"])
def test_no_weight_sees_the_test_part(kind: str) -> None:
    """Models fitted beside another future are the same, bit for bit; beside another past not."""
    one, other, past = (VALUES[:640].copy() for _ in range(3))
    part = len(split.training_part(one))
    other[part:] = np.random.default_rng(1).normal(size=other[part:].shape) * 1000
    past[part - 100 : part] += np.random.default_rng(2).normal(size=(100, 2))
    if kind == "networks":
        network = pytest.importorskip("joulery.campaigns.scenarios.traffic_prediction.network")
        small = (network.Size(name="tcn_s", channels=(4, 4, 4)),)
        fits = [
            network.fit_networks(split.training_part(values), "0", sizes=small, epochs=1)
            for values in (one, other, past)
        ]
    else:
        fits = [fit_models(split.training_part(values), "0") for values in (one, other, past)]
    first, second, third = fits
    assert first.keys() == second.keys()
    for key, model in first.items():
        assert _weights(model) == _weights(second[key]), key
        # The other past shows that the comparison is not blind; one model fits nothing.
        assert key[0] == "seasonal_naive" or _weights(model) != _weights(third[key])
