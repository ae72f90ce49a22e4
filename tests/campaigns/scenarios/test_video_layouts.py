"""Detectors of users: each layout, run by ONNX Runtime, gives the boxes that were put in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from joulery.campaigns.scenarios.video_analytics.detector_settings import DetectorSettings
from joulery.campaigns.scenarios.video_analytics.layouts import LAYOUTS
from joulery.campaigns.scenarios.video_analytics.letterbox import fitted, resized
from joulery.campaigns.scenarios.video_analytics.user_detector import UserDetector, suppressed
from joulery.errors import SpecError, TrialError

from .detector_models import bright_detector, telling_detector
from .detector_outputs import (
    ALL,
    COCO,
    FRAME,
    KEPT,
    THINGS,
    assert_found,
    centernet,
    end_to_end,
    ssd,
    yolov5,
    yolov8,
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "outputs", "expected"),
    [
        ("yolov5", yolov5(), KEPT),
        ("yolov8", yolov8(), KEPT),
        ("end_to_end", end_to_end(), ALL),
        ("ssd", ssd(), ALL),
        ("centernet", centernet(), ALL),
    ],
)
def test_each_layout(
    name: str, outputs: dict[str, NDArray[Any]], expected: tuple[Any, ...], tmp_path: Path
) -> None:
    """Each layout is recognised, and its boxes come back in pixels of the frame, by our classes."""
    path = telling_detector(tmp_path / "model.onnx", outputs)
    logits = False if name == "centernet" else None
    settings = DetectorSettings(classes=COCO, logits=logits)
    detector = UserDetector(path, settings)
    assert detector.layout.name == name
    assert_found(detector, expected)
    asked = UserDetector(path, DetectorSettings(layout=name, classes=COCO, logits=logits))
    assert_found(asked, expected)


def test_heads_beside_the_decoded_output(tmp_path: Path) -> None:
    """The raw heads that some exports of YOLOv5 add are not looked at."""
    outputs = yolov5() | {"head": np.zeros((1, 3, 8, 8, 85), dtype=np.float32)}
    path = telling_detector(tmp_path / "model.onnx", outputs)
    assert_found(UserDetector(path, DetectorSettings(classes=COCO)), KEPT)


def test_every_layout_is_tested() -> None:
    """The test above knows every layout."""
    [mark] = [mark for mark in test_each_layout.pytestmark if mark.name == "parametrize"]
    assert [row[0] for row in mark.args[1]] == [layout.name for layout in LAYOUTS]


def test_pictures_as_tensorflow_has_them(tmp_path: Path) -> None:
    """UINT8 with the channels last, sizes left open: the frame is stretched to the size told."""
    path = telling_detector(
        tmp_path / "model.onnx",
        ssd(),
        shape=(1, "height", "width", 3),
        dtype=TensorProto.UINT8,
    )
    detector = UserDetector(path, DetectorSettings(size=(300, 200), classes=COCO))
    inputs, _ = detector.prepare(np.full_like(FRAME, 9))
    picture = inputs["picture"]
    assert picture.shape == (1, 200, 300, 3)
    assert picture.dtype == np.uint8
    assert (picture == 9).all()
    assert_found(detector, ALL)


@pytest.mark.parametrize(
    ("told", "said", "shape"),
    [
        (None, None, (640, 640)),
        ((192, 320), None, (192, 320)),
        ((192, 320), (64, 96), (96, 64)),
        ((0, 320), None, (640, 640)),
    ],
)
def test_a_size_that_is_left_open(
    told: tuple[int, int] | None,
    said: tuple[int, int] | None,
    shape: tuple[int, int],
    tmp_path: Path,
) -> None:
    """The user's word comes first, then the metadata's, then the usual."""
    path = telling_detector(
        tmp_path / "model.onnx", yolov8(), shape=(1, 3, "height", "width"), size=told
    )
    detector = UserDetector(path, DetectorSettings(size=said, classes=COCO))
    assert detector.prepare(FRAME)[0]["picture"].shape == (1, 3, *shape)


@pytest.mark.parametrize("shape", [(1, 3, 640, 640), (1, 640, 640, 3)])
@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_numbers_of_a_picture(shape: tuple[int, ...], dtype: int, tmp_path: Path) -> None:
    """Red, green and blue go from 0 to 1, less a mean, over a deviation, wherever they stand."""
    path = telling_detector(tmp_path / "model.onnx", yolov8(), shape=shape, dtype=dtype)
    frame = np.broadcast_to(np.array([255, 51, 0], dtype=np.uint8), (640, 640, 3)).copy()
    for mean, std, expected in (
        ((0, 0, 0), (1, 1, 1), (1, 0.2, 0)),
        ((0.5, 0.2, 0.1), (0.5, 0.25, 0.2), (1, 0, -0.5)),
    ):
        settings = DetectorSettings(classes=COCO, mean=mean, std=std)
        picture = UserDetector(path, settings).prepare(frame)[0]["picture"]
        assert picture.shape == shape
        assert picture.dtype == (np.float32 if dtype == TensorProto.FLOAT else np.float16)
        last = picture if shape[3] == 3 else picture.transpose(0, 2, 3, 1)
        np.testing.assert_allclose(last[0, 0, 0], expected, atol=2e-3)
        assert (last == last[0, 0, 0]).all()


def test_classes_and_scores_without_names(tmp_path: Path) -> None:
    """Where names of outputs tell nothing, they come in TensorFlow's order; a number may lack."""
    boxes, classes, scores, _ = ssd().values()
    scores[0, len(THINGS)] = 0
    outputs = {"a": boxes, "b": classes.astype(np.int64), "c": scores}
    path = telling_detector(tmp_path / "model.onnx", outputs)
    assert_found(UserDetector(path, DetectorSettings(classes=COCO)), ALL)


def test_a_heat_map_with_and_without_a_logistic_function(tmp_path: Path) -> None:
    """A heat map that a `Sigmoid` ends is taken as it is; another goes through it here."""
    outputs = centernet()
    ended = telling_detector(tmp_path / "ended.onnx", outputs, logistic={"hm"})
    assert_found(UserDetector(ended, DetectorSettings(classes=COCO)), ALL)
    heat = outputs["hm"]
    open_ended = telling_detector(
        tmp_path / "open.onnx", {**outputs, "hm": np.log(heat / (1 - heat))}
    )
    assert_found(UserDetector(open_ended, DetectorSettings(classes=COCO)), ALL)


@pytest.mark.parametrize("size", [(256, 128), (128, 256), (640, 480)])
def test_a_detector_that_sees(size: tuple[int, int], tmp_path: Path) -> None:
    """A detector that looks finds what is bright where it is, through letterboxes of any shape."""
    detector = UserDetector(
        bright_detector(tmp_path / "model.onnx"), DetectorSettings(classes={0: 0}, least_score=0.5)
    )
    width, height = size
    ratio = 256 / max(size)
    frame = np.zeros((height, width, 3), dtype=np.uint8)
    x, y = width // 4, height // 2
    reach = int(8 / ratio)
    frame[y - reach : y + reach, x - reach : x + reach] = (255, 30, 60)
    found = detector.detect(frame)
    middle = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    assert len(middle) > 0
    np.testing.assert_allclose(middle.mean(axis=0), (x, y), atol=2 / ratio)
    extent = (found.boxes[:, 2:] - found.boxes[:, :2]) * ratio
    np.testing.assert_allclose(extent, np.broadcast_to((16, 32), extent.shape), atol=0.01)
    frame = frame[:, :, ::-1].copy()
    assert len(detector.detect(frame).boxes) == 0, "red and blue are not the same"


def test_several_pictures_at_once(tmp_path: Path) -> None:
    """Where the file allows it frames are looked at in one run, with the same answers."""
    frames = np.random.default_rng(3).integers(0, 256, (3, 64, 128, 3), dtype=np.uint8)
    found = []
    for batch in (1, "N"):
        detector = UserDetector(
            bright_detector(tmp_path / "model.onnx", batch=batch), DetectorSettings(classes={0: 1})
        )
        assert detector.stacks == (batch == "N")
        found.append(detector.detect_all(list(frames)))
    for alone, together in zip(*found, strict=True):
        assert len(alone.boxes) > 0
        np.testing.assert_allclose(alone.boxes, together.boxes, atol=1e-3)
        np.testing.assert_allclose(alone.scores, together.scores, rtol=1e-4)


def test_an_open_axis_that_promises_too_much(tmp_path: Path) -> None:
    """A file that says it takes several pictures, and answers for one, gets them one by one."""
    path = telling_detector(tmp_path / "model.onnx", yolov8(), shape=("N", 3, 640, 640))
    detector = UserDetector(path, DetectorSettings(classes=COCO))
    assert not detector.stacks
    assert [len(one.boxes) for one in detector.detect_all([FRAME, FRAME])] == [2, 2]


def test_another_least_score(tmp_path: Path) -> None:
    """The least score that is asked for is that of the answer, below the usual one too."""
    detector = UserDetector(
        telling_detector(tmp_path / "model.onnx", yolov8()), DetectorSettings(classes=COCO)
    )
    for least, count in ((None, 2), (0.85, 1), (0.005, 3), (1.0, 0)):
        [found] = detector.detect_all([FRAME], least_score=least)
        assert len(found.boxes) == count


@pytest.mark.parametrize(
    "shapes",
    [
        {"output0": (1, 10, 7, 3, 2)},
        {"output0": (1, 1000)},
        {"output0": (1, 3, 4)},
        {"a": (1, 20, 40, 40), "b": (1, 2, 40, 40), "c": (1, 3, 40, 40)},
        {"a": (1, 20, 40, 40), "b": (1, 2, 20, 20), "c": (1, 2, 40, 40)},
        {"boxes": (1, 50, 4), "other": (1, 40)},
    ],
)
def test_outputs_of_no_layout(shapes: dict[str, tuple[int, ...]], tmp_path: Path) -> None:
    """Outputs of no known layout are told, with every layout there is."""
    outputs = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
    path = telling_detector(tmp_path / "model.onnx", outputs)
    with pytest.raises(SpecError) as caught:
        UserDetector(path)
    assert (caught.value.subject, caught.value.place) == (f"model {path}", "outputs")
    assert all(f"{name} {shape}" in str(caught.value.found) for name, shape in shapes.items())
    assert all(layout.name in str(caught.value.expected) for layout in LAYOUTS)


def test_another_layout_than_told(tmp_path: Path) -> None:
    """A layout that does not fit, and one that does not exist, are refused."""
    path = telling_detector(tmp_path / "model.onnx", yolov8())
    with pytest.raises(SpecError, match="expected ssd"):
        UserDetector(path, DetectorSettings(layout="ssd"))
    with pytest.raises(SpecError, match="layout: found yolo, expected yolov5, yolov8"):
        UserDetector(path, DetectorSettings(layout="yolo"))


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (8, 3, 64, 64), (1, 3, 64), (1, 64, 64, 4)])
def test_inputs_that_are_no_picture(shape: tuple[int, ...], tmp_path: Path) -> None:
    """A detector of grey pictures, of eight at once or of none at all is refused."""
    path = telling_detector(tmp_path / "model.onnx", yolov8(), shape=shape)
    with pytest.raises(SpecError, match="inputs: found picture") as caught:
        UserDetector(path)
    assert str(list(shape)) in str(caught.value.found)


def test_no_model(tmp_path: Path) -> None:
    """A missing file, and one that is no model, are told apart."""
    path = tmp_path / "model.onnx"
    with pytest.raises(SpecError, match="found no such file"):
        UserDetector(path)
    path.write_bytes(b"no model")
    with pytest.raises(SpecError, match="expected a detector in ONNX"):
        UserDetector(path)


def test_an_answer_that_lacks_an_output(tmp_path: Path) -> None:
    """Answers that came from elsewhere have to be whole."""
    detector = UserDetector(
        telling_detector(tmp_path / "model.onnx", yolov8()), DetectorSettings(classes=COCO)
    )
    _, fit = detector.prepare(FRAME)
    with pytest.raises(TrialError, match="no output output0"):
        detector.decode({}, fit)


def test_resizing_is_that_of_opencv() -> None:
    """Our bilinear resize is OpenCV's, to one level of 255."""
    frame = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    for size in ((640, 360), (100, 70), (160, 45), (33, 180), (160, 90)):
        theirs = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
        assert np.abs(resized(frame, size).astype(int) - theirs.astype(int)).max() <= 1


def test_boxes_come_back_into_the_frame() -> None:
    """A box in the grey around the frame ends at its edge; a stretched one scales by side."""
    _, fit = fitted(FRAME, (640, 640), keep_shape=True)
    boxes = np.array([(0, 0, 640, 640), (0, 160, 640, 480)])
    np.testing.assert_allclose(fit.back(boxes), [(0, 0, 320, 160)] * 2)
    picture, fit = fitted(FRAME, (100, 100), keep_shape=False)
    np.testing.assert_allclose(fit.back(np.array([(50, 50, 75, 100)])), [(160, 80, 240, 160)])
    assert picture.shape == (100, 100, 3)


def test_suppression() -> None:
    """The surest of boxes upon each other stays, class by class; a chain ends where it breaks."""
    boxes = np.array([(x, 0, x + 10, 10) for x in (0.0, 3, 6, 40, 0)])
    classes = np.array([0, 0, 0, 0, 1])
    assert suppressed(boxes, classes, 0.5).tolist() == [0, 2, 3, 4]
    assert suppressed(boxes, classes, 0.9).tolist() == [0, 1, 2, 3, 4]
    assert suppressed(boxes, classes, 0.5, limit=2).tolist() == [0, 2]
    assert suppressed(boxes[:0], classes[:0], 0.5).tolist() == []
