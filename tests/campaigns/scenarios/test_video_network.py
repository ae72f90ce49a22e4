"""The multi-exit detector: how it is trained, what its graphs answer, that stopping early saves."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from joulery.campaigns.scenarios.base import SMALLEST_PRECISIONS
from joulery.campaigns.scenarios.confidence import Gate
from joulery.campaigns.scenarios.early_exit import ExitNetwork, Stage, seeded
from joulery.campaigns.scenarios.slim import slimmed
from joulery.campaigns.scenarios.video_analytics import fit, network, pruning
from joulery.campaigns.scenarios.video_analytics.framing import framed
from joulery.campaigns.scenarios.video_analytics.matching import found_of, frame_f1
from joulery.campaigns.scenarios.video_analytics.scenes import DIFFICULTIES, SHAPE, Street
from joulery.campaigns.scenarios.video_analytics.targets import SIZES_PX, Samples, samples
from joulery.profiler.quality.detection import FrameTruth


def _size(stages: tuple[tuple[int, ...], ...], hidden: int) -> network.Size:
    return network.Size(stages=stages, hidden=hidden, rounds=1)


_TINY = _size(((4, 6, 8, 8), (8,), (10,)), 8)


@pytest.fixture(scope="module")
def learned() -> Samples:
    """Return a few frames of each difficulty with their maps."""
    return samples([Street(seed, level) for seed in range(3) for level in DIFFICULTIES], 20)


@pytest.fixture(scope="module")
def tiny(learned: Samples) -> ExitNetwork:
    """Return a detector trained for a moment, its confidences settled."""
    with seeded(1) as generator:
        detector = network.detector(_TINY)
        fit.fit(detector, learned, 2, generator=generator)
        fit.settle(detector, learned)
        # So short a training leaves nothing to be sure of: let there be peaks, and confidences
        # that follow them.
        with torch.no_grad():
            for stage in detector.stages:
                assert isinstance(stage, Stage)
                assert isinstance(stage.head, network.Head)
                assert stage.head.maps.bias is not None
                stage.head.maps.bias[:8] += 3.0
            features = network.image_of(torch.from_numpy(learned.frames))
            for stage in detector.stages:
                assert isinstance(stage, Stage)
                *answers, _, features = stage(features)
                summary = network.Summary()
                sums = summary(tuple(answers), features).numpy()
                is_high = sums[:, 0] > np.median(sums[:, 0])
                stage.confidence = Gate(summary, sums, is_high.tolist())
    return detector


@pytest.fixture(scope="module")
def models(tiny: ExitNetwork, learned: Samples) -> dict[tuple[str, str], onnx.ModelProto]:
    """Return it as ONNX models."""
    return fit.exported(tiny, learned, "tiny", "none", SMALLEST_PRECISIONS)


@lru_cache(maxsize=8)
def _session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options)


def _ask(
    model: onnx.ModelProto,
    frames: NDArray[np.uint8],
    *,
    threshold: float = 2.0,
    max_exit: int = 3,
    resolution: float = 1.0,
) -> dict[str, NDArray[Any]]:
    session = _session(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    given = {
        "frame": frames,
        "exit_threshold": np.array(threshold, dtype=np.float32),
        "max_exit": np.array(max_exit, dtype=np.int64),
        "resolution": np.array(resolution, dtype=np.float32),
    }
    return dict(zip(names, session.run(names, given), strict=True))


def test_training_learns_where_things_are() -> None:
    """A detector overfitted to two frames finds in them what there is, at its last exit."""
    few = samples([Street(3, "easy")], 50)
    with seeded(1) as generator:
        detector = network.detector(_size(((8, 12, 16, 16), (16,), (16,)), 16))
        fit.fit(detector, _repeated(few, 4), 100, generator=generator)
    with torch.no_grad():
        *_, last = detector(network.image_of(torch.from_numpy(few.frames)))
    assert fit.f1_of(last, few.truths).mean() > 0.7


def _repeated(few: Samples, times: int) -> Samples:
    return Samples(
        frames=few.frames.repeat(times, axis=0),
        truths=few.truths * times,
        maps=tuple(
            (a.repeat(times, 0), b.repeat(times, 0), c.repeat(times, 0), d.repeat(times, 0))
            for a, b, c, d in few.maps
        ),
    )


def test_training_again_gives_the_same_weights(learned: Samples) -> None:
    """The same seed and frames give the same detector, bit for bit."""
    found = []
    for _ in range(2):
        with seeded(5) as generator:
            detector = network.detector(_TINY)
            fit.fit(detector, learned, 1, generator=generator)
        found.append([values.numpy().tobytes() for values in detector.state_dict().values()])
    assert found[0] == found[1]


def test_maps_that_say_the_truth_are_decoded_to_it(learned: Samples) -> None:
    """From perfect maps, heads give exactly the boxes and classes of the truth."""
    checked = 0
    for row, truth in enumerate(learned.truths):
        hills, boxes, weights, _ = (maps[row] for maps in learned.maps[0])
        rows, columns = weights.shape
        maps = np.zeros((1, 6, rows, columns), dtype=np.float32)
        maps[0, :2] = np.where(hills > 0.999, 4.0, -9.0)
        down, across = np.indices((rows, columns))
        on = weights > 0
        maps[0, 2][on] = np.log(np.maximum(boxes[2] - boxes[0], 1e-3))[on]
        maps[0, 3][on] = np.log(np.maximum(boxes[3] - boxes[1], 1e-3))[on]
        maps[0, 4][on] = ((boxes[0] + boxes[2]) / 2 - across - 0.5)[on]
        maps[0, 5][on] = ((boxes[1] + boxes[3]) / 2 - down - 0.5)[on]
        said, scores, classes = (
            tensor.numpy()[0] for tensor in network._detections(torch.from_numpy(maps))
        )
        used = scores > 0
        sides = np.array([SHAPE[1], SHAPE[0], SHAPE[1], SHAPE[0]], dtype=np.float32)
        found, false = found_of(truth, said[used] * sides, scores[used], classes[used])
        assert false == 0
        # Who stands in the same few cells as somebody nearer gives way.
        assert found >= 0.7 * len(truth.boxes)
        checked += found
    assert checked > 100


def test_graphs_answer_as_pytorch_does(
    tiny: ExitNetwork, learned: Samples, models: dict[tuple[str, str], onnx.ModelProto]
) -> None:
    """At each exit the float graph gives PyTorch's detections and confidence, in pixels."""
    frames = learned.frames[:8]
    sides = torch.tensor([SHAPE[1], SHAPE[0], SHAPE[1], SHAPE[0]])
    with torch.no_grad():
        given = network.image_of(torch.from_numpy(frames))
        for number, stage in enumerate(tiny.stages, start=1):
            assert isinstance(stage, Stage)
            boxes, scores, _, confidence, given = stage(given)
            said = _ask(models["tiny", "fp32"], frames, max_exit=number)
            assert set(said["exit"].tolist()) == {number}
            np.testing.assert_allclose(said["scores"], scores.numpy(), atol=1e-4)
            np.testing.assert_allclose(said["confidence"], confidence.numpy(), atol=1e-3)
            used = scores.numpy() > 0.2
            expected = (boxes * sides).numpy()
            np.testing.assert_allclose(said["boxes"][used], expected[used], atol=0.05)


@pytest.mark.parametrize("precision", SMALLEST_PRECISIONS)
def test_answers_do_not_depend_on_the_batch(
    learned: Samples, models: dict[tuple[str, str], onnx.ModelProto], precision: str
) -> None:
    """Alone or among others, leaving early or late, a frame's answer is the same, bit for bit."""
    model = models["tiny", precision]
    frames = learned.frames[::3][:9]
    middle = float(np.median(_ask(model, frames, max_exit=1)["confidence"]))
    for resolution in (1.0, 0.6):
        together = _ask(model, frames, threshold=middle, resolution=resolution)
        alone = [
            _ask(model, frames[row : row + 1], threshold=middle, resolution=resolution)
            for row in range(len(frames))
        ]
        for name, values in together.items():
            expected = np.concatenate([one[name] for one in alone])
            assert values.tobytes() == expected.tobytes(), name
    assert len(set(_ask(model, frames, threshold=middle)["exit"].tolist())) > 1


def test_answers_are_in_pixels_of_the_frame(
    learned: Samples, models: dict[tuple[str, str], onnx.ModelProto]
) -> None:
    """Boxes lie in the frame whatever its size and the resolution; unused slots score 0."""
    for factor in (1, 2):
        frames = learned.frames[:4].repeat(factor, axis=1).repeat(factor, axis=2)
        for resolution in (1.0, 0.5, 0.05):
            said = _ask(models["tiny", "fp32"], frames, resolution=resolution)
            assert said["boxes"].shape == (4, network.SLOTS, 4)
            assert said["boxes"].dtype == np.float32
            assert said["classes"].dtype == np.int64
            height, width = frames.shape[1:3]
            assert (said["boxes"] >= 0).all()
            assert (said["boxes"] <= np.array([width, height, width, height])).all()
            used = said["scores"] > 0
            assert (said["scores"][used] >= network.LEAST_SCORE).all()
            assert set(said["classes"].ravel().tolist()) <= {0, 1}
    large = _ask(models["tiny", "fp32"], frames, resolution=0.5)
    small = _ask(models["tiny", "fp32"], learned.frames[:4])
    # Doubled and halved again, a frame is what it was, but for the filter's last digits.
    np.testing.assert_allclose(large["scores"], small["scores"], atol=1e-3)


def test_the_resized_image_is_the_one_trained_on() -> None:
    """For each resolution of the training, the graph makes an image of that size and content."""
    frames = np.stack([Street(1, "normal").frame(index).pixels for index in (0, 50)])
    session = onnxruntime.InferenceSession(framed(_mirror()).SerializeToString())
    shares = np.array([[[0.0, 0.25, 0.5, 1.0]]] * 2, dtype=np.float32)
    for resolution, size in zip((1.0, 0.75, 0.5), SIZES_PX, strict=True):
        given = {"frame": frames, "resolution": np.array(resolution, dtype=np.float32)}
        boxes, image = session.run(["boxes", "seen"], given | {"shares": shares})
        expected = network.image_of(torch.from_numpy(frames), size).numpy()
        assert image.shape == expected.shape
        np.testing.assert_allclose(image, expected, atol=1e-5)
        assert boxes[0, 0].tolist() == [0, 0.25 * SHAPE[0], 0.5 * SHAPE[1], SHAPE[0]]


def _mirror() -> onnx.ModelProto:
    """Return a detector that says what it is given."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    image, seen = (
        helper.make_tensor_value_info(name, kind, ["N", 3, "rows", "columns"])
        for name in ("image", "seen")
    )
    shares, boxes = (
        helper.make_tensor_value_info(name, kind, ["N", 1, 4]) for name in ("shares", "boxes")
    )
    nodes = [
        helper.make_node("Identity", ["image"], ["seen"]),
        helper.make_node("Identity", ["shares"], ["boxes"]),
    ]
    graph = helper.make_graph(nodes, "mirror", [image, shares], [boxes, seen])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_a_graph_that_is_no_detector_is_not_framed() -> None:
    """What lacks the image or the boxes is refused."""
    other = _mirror()
    other.graph.input[0].name = "picture"
    with pytest.raises(ValueError, match="image"):
        framed(other)


def test_a_slim_graph_is_smaller_and_says_the_same(
    learned: Samples, models: dict[tuple[str, str], onnx.ModelProto]
) -> None:
    """Names and repeated constants go, answers stay; a slim graph slimmed again is no smaller."""
    model = models["tiny", "mixed"]
    long = onnx.ModelProto()
    long.CopyFrom(model)
    for number, node in enumerate(long.graph.node):
        node.name = f"a_long_name_for_{node.op_type}_{number}"
    slim = slimmed(long)
    assert len(slim.SerializeToString()) < len(long.SerializeToString())
    assert len(slim.SerializeToString()) == len(slimmed(slim).SerializeToString())
    before, after = (_ask(one, learned.frames[:3]) for one in (long, slim))
    assert {name: values.tobytes() for name, values in before.items()} == {
        name: values.tobytes() for name, values in after.items()
    }


def test_pruning_keeps_the_channels_that_matter(tiny: ExitNetwork, learned: Samples) -> None:
    """Pruned to its own size a detector says the same; to fewer channels it is of that size."""
    images = network.image_of(torch.from_numpy(learned.frames[:4]))
    same = pruning.pruned(tiny, _TINY).eval()
    thin = pruning.pruned(tiny, _size(((3, 4, 5, 6), (7,), (8,)), 8)).eval()
    with torch.no_grad():
        for mine, theirs in zip(tiny(images), same(images), strict=True):
            np.testing.assert_allclose(mine[1].numpy(), theirs[1].numpy(), atol=1e-6)
        assert thin(images)[2][0].shape == (4, network.SLOTS, 4)
    with pytest.raises(ValueError, match="channels"):
        pruning.pruned(tiny, _size(((4, 6, 9, 8), (8,), (10,)), 8))


def test_pruning_drops_the_smallest_scale() -> None:
    """The channel whose normalisation scales it least is the one that goes."""
    with seeded(1):
        whole = network.detector(_TINY)
    stage = whole.stages[0]
    assert isinstance(stage, Stage)
    body = stage.body
    assert isinstance(body, torch.nn.Sequential)
    conv, norm = body[0], body[1]
    assert isinstance(conv, torch.nn.Conv2d)
    assert isinstance(norm, torch.nn.BatchNorm2d)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.1, 0.5]))
    thin = pruning.pruned(whole, _size(((3, 6, 8, 8), (8,), (10,)), 8)).stages[0]
    kept = thin.state_dict()["body.0.weight"]
    assert torch.equal(kept, conv.weight[[0, 1, 3]])


def test_f1_of_a_frame() -> None:
    """Found, missed, made up and not judged count as they should; nothing in nothing is right."""
    truth = FrameTruth(
        boxes=np.array([[0, 0, 10, 20], [30, 0, 60, 20]], dtype=np.float32),
        classes=np.array([0, 1]),
        ids=np.array([1, 2]),
        ignored=np.array([[80, 0, 100, 30]], dtype=np.float32),
    )
    boxes = np.array(
        [[0, 0, 10, 19], [30, 0, 60, 20], [82, 2, 98, 28], [0, 50, 9, 70], [0, 0, 10, 20]],
        dtype=np.float32,
    )
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.29], dtype=np.float32)
    classes = np.array([0, 0, 0, 0, 0])
    # The second is of the wrong class, the third where nothing is judged, the last not counted.
    assert found_of(truth, boxes, scores, classes) == (1, 2)
    assert frame_f1(truth, boxes, scores, classes) == pytest.approx(2 / 5)
    none = np.zeros(0, dtype=np.int64)
    nothing = FrameTruth(boxes=np.zeros((0, 4)), classes=none, ids=none)
    assert frame_f1(nothing, boxes[:0], scores[:0], classes[:0]) == 1
    assert frame_f1(nothing, boxes, scores, classes) == 0
