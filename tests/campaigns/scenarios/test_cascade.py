"""Early-exit models joined of stages: where rows leave, and what that saves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper

from joulery.campaigns.scenarios.cascade import FEATURES, cascade
from joulery.campaigns.scenarios.exits import CONFIDENCE, EXIT
from joulery.campaigns.scenarios.graphs import GraphBuilder, run

_WIDTH = 16
_STAGES = 3


def _stage(number: int, *, last: bool, answers: Sequence[str] = ("y",)) -> onnx.ModelProto:
    """A stage of random weights, the same each time."""
    rng = np.random.default_rng(number)
    graph = GraphBuilder(f"stage_{number}")
    given = graph.input("x" if number == 1 else "before", "float32", (_WIDTH, 1))

    def dense(tensor: str, width: int) -> str:
        return graph.dense(tensor, rng.normal(size=(width, _WIDTH)) / 4, np.zeros(width))

    features = graph.op("Relu", dense(given, _WIDTH))
    for answer in answers:
        graph.output(graph.reshape(dense(features, 2), 2), answer, "float32", (2,))
    sure = graph.op("Sigmoid", dense(features, 1))
    graph.output(
        graph.op("Reshape", sure, graph.constant([-1], "int64")), CONFIDENCE, "float32", ()
    )
    if not last:
        graph.output(features, FEATURES, "float32", (_WIDTH, 1))
    return graph.model()


STAGES = [_stage(number, last=number == _STAGES) for number in range(1, _STAGES + 1)]
SESSION = onnxruntime.InferenceSession(cascade(STAGES, name="three").SerializeToString())


def _asked(x: NDArray[np.float32], threshold: float, most: int) -> dict[str, NDArray[np.generic]]:
    names = [output.name for output in SESSION.get_outputs()]
    knobs = {"exit_threshold": np.array(threshold, np.float32), "max_exit": np.array(most)}
    return dict(zip(names, SESSION.run(names, {"x": x} | knobs), strict=True))


def _stage_by_stage(x: NDArray[np.float32]) -> list[dict[str, NDArray[np.generic]]]:
    """What each stage says when all rows reach it."""
    found, inputs = [], {"x": x}
    for stage in STAGES:
        found.append(run(stage, inputs))
        if FEATURES in found[-1]:
            inputs = {"before": found[-1][FEATURES]}
    return found


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 9),
    threshold=st.floats(0, 1.25, width=32),
    most=st.integers(1, _STAGES + 2),
)
@settings(deadline=None)
def test_rows_leave_where_their_stage_is_sure(
    seed: int, rows: int, threshold: float, most: int
) -> None:
    """Each row has the answer of the first stage that is sure, or of the last it may reach."""
    x = np.random.default_rng(seed).normal(size=(rows, _WIDTH, 1)).astype(np.float32)
    told = _asked(x, threshold, most)
    stages = _stage_by_stage(x)
    for row in range(rows):
        sure = [bool(stage[CONFIDENCE][row] >= threshold) for stage in stages]
        last = min(most, _STAGES) - 1
        wanted = next((place for place in range(last) if sure[place]), last)
        assert told[EXIT][row] == wanted + 1
        for name in ("y", CONFIDENCE):
            np.testing.assert_array_equal(told[name][row], stages[wanted][name][row])


@given(seed=st.integers(0, 2**32 - 1), threshold=st.floats(0.25, 0.75, width=32))
@settings(deadline=None, max_examples=30)
def test_a_row_is_answered_alike_alone_and_in_a_batch(seed: int, threshold: float) -> None:
    """Bit for bit, whichever exits its neighbours take."""
    x = np.random.default_rng(seed).normal(size=(7, _WIDTH, 1)).astype(np.float32)
    whole = _asked(x, threshold, _STAGES)
    for row in range(len(x)):
        alone = _asked(x[row : row + 1], threshold, _STAGES)
        for name, value in alone.items():
            np.testing.assert_array_equal(value[0], whole[name][row])


def test_a_confidence_that_is_no_number_lets_nobody_leave() -> None:
    """The row goes on to the last exit."""
    x = np.full((2, _WIDTH, 1), np.nan, np.float32)
    assert _asked(x, 0.0, _STAGES)[EXIT].tolist() == [_STAGES, _STAGES]


def test_a_stage_that_no_row_reaches_does_not_run(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The runtime's own record of what it ran holds no node of it."""
    folder = tmp_path_factory.mktemp("profile")
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "run")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = cascade(STAGES, name="three").SerializeToString()
    session = onnxruntime.InferenceSession(model, options)
    x = np.ones((4, _WIDTH, 1), np.float32)
    knobs = {"exit_threshold": np.array(2, np.float32), "max_exit": np.array(2)}
    session.run(None, {"x": x} | knobs)
    with open(session.end_profiling(), encoding="utf-8") as file:  # noqa: PTH123 - a name
        text = file.read()
    assert "exit_1/conv" in text
    assert "exit_2/conv" in text
    assert "exit_3/conv" not in text


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (STAGES[:1], "found 1 stages, expected 2 or more"),
        ([STAGES[0], STAGES[1]], "stage 2: found outputs"),
        ([STAGES[2], STAGES[2]], "stage 1: found outputs"),
        ([STAGES[0], _stage(2, last=True, answers=("z",))], "stage 2: found answers"),
    ],
)
def test_stages_that_do_not_fit(stages: Sequence[onnx.ModelProto], said: str) -> None:
    """They are refused with the number of the stage."""
    with pytest.raises(ValueError, match=said):
        cascade(stages, name="wrong")


def test_stages_of_several_operator_sets() -> None:
    """They cannot be one model."""
    other = onnx.ModelProto()
    other.CopyFrom(STAGES[1])
    del other.opset_import[:]
    other.opset_import.extend([helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)])
    with pytest.raises(ValueError, match="several versions"):
        cascade([STAGES[0], other, STAGES[2]], name="wrong")
