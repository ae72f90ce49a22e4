"""What the classes of a user's detector mean: said by people or by its metadata, never guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.campaigns.scenarios.video_analytics.detector_settings import (
    DetectorSettings,
    settings_from,
)
from joulery.campaigns.scenarios.video_analytics.user_detector import UserDetector
from joulery.errors import SpecError

from .detector_models import telling_detector
from .detector_outputs import ALL, FRAME, KEPT, THINGS, assert_found, end_to_end, yolov8


def test_names_in_the_metadata(tmp_path: Path) -> None:
    """Names that a detector carries tell what its classes mean, as dict or list."""
    outputs = end_to_end()
    rows = outputs["output0"][0]
    rows[: len(THINGS), 5] = [3, 1, 3, 2, 0, 1]
    for names in (
        {0: "dog", 1: "Car", 2: "truck", 3: "pedestrian"},
        ["dog", "car", "bus", "person"],
    ):
        path = telling_detector(tmp_path / "model.onnx", outputs, names=names)
        assert_found(UserDetector(path), ALL)


def test_classes_that_nobody_knows(tmp_path: Path) -> None:
    """Classes without known meaning are asked for; told ones are taken."""
    outputs = {"output0": np.zeros((1, 9, 500), dtype=np.float32)}
    outputs["output0"][0, :, 0] = [320, 320, 100, 200, 0, 0, 0.9, 0, 0]
    path = telling_detector(tmp_path / "model.onnx", outputs)
    with pytest.raises(SpecError, match="found 5 classes without names") as caught:
        UserDetector(path)
    assert caught.value.place == "classes"
    found = UserDetector(path, DetectorSettings(classes={2: 1})).detect(FRAME)
    assert found.classes.tolist() == [1]
    named = telling_detector(tmp_path / "named.onnx", outputs, names=list("abcde"))
    with pytest.raises(SpecError, match="persons or vehicles among names"):
        UserDetector(named)


def test_two_classes(tmp_path: Path) -> None:
    """That a detector has as many classes as we have says nothing: they are asked for."""
    outputs = {"output0": np.zeros((1, 6, 500), dtype=np.float32)}
    outputs["output0"][0, :, 0] = [320, 320, 100, 200, 0.1, 0.9]
    path = telling_detector(tmp_path / "model.onnx", outputs)
    with pytest.raises(SpecError, match=r"say \{person: \[0\], vehicle: \[1, 2, 3, 5, 6, 7\]\}"):
        UserDetector(path)
    found = UserDetector(path, DetectorSettings(classes={0: 0, 1: 1})).detect(FRAME)
    assert found.classes.tolist() == [1]
    np.testing.assert_allclose(found.boxes, [(135, 30, 185, 130)])


@pytest.mark.parametrize(
    ("names", "classes", "found", "expected"),
    [
        (None, {"lorry": 1}, "'lorry'", "a class of COCO by name, or a number"),
        (None, {80: 1}, "80", "a class of COCO"),
        (None, {-1: 1}, "-1", "a class of COCO"),
        ({0: "walker"}, {"person": 0}, "'person'", "a class among 0 walker"),
    ],
)
def test_classes_that_a_detector_does_not_have(
    names: dict[int, str] | None,
    classes: dict[int | str, int],
    found: str,
    expected: str,
    tmp_path: Path,
) -> None:
    """A name or number that it has not is refused, with those that it has."""
    path = telling_detector(tmp_path / "model.onnx", yolov8(), names=names)
    with pytest.raises(SpecError) as caught:
        UserDetector(path, DetectorSettings(classes=classes))
    assert (caught.value.place, caught.value.found) == ("classes", found)
    assert str(caught.value.expected).startswith(expected)


def test_names_that_are_said_win_over_known_words(tmp_path: Path) -> None:
    """What a user says of names in the metadata is taken, and nothing else."""
    names = {0: "walker", 2: "wagon", 7: "truck"}
    path = telling_detector(tmp_path / "model.onnx", yolov8(), names=names)
    settings = DetectorSettings(classes={"walker": 0, "Wagon": 1})
    assert_found(UserDetector(path, settings), KEPT)


def test_what_a_user_says() -> None:
    """Each key is a setting; what is null is not said."""
    said = {
        "classes": {"person": ["walker", 3], "vehicle": [7]},
        "layout": "yolov5",
        "size_px": [320, 240],
        "mean": [0.5, 0.4, 0],
        "logits": True,
        "most_iou": None,
    }
    assert settings_from(said, "mine") == DetectorSettings(
        classes={"walker": 0, 3: 0, 7: 1},
        layout="yolov5",
        size=(320, 240),
        mean=(0.5, 0.4, 0),
        logits=True,
    )


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
_CLASSES = st.dictionaries(st.sampled_from(["person", "vehicle"]), _VALUES)
_KEYS = st.sampled_from(["layout", "classes", "size_px", "mean", "std", "logits", "most_iou"])


@given(st.dictionaries(_KEYS | st.text(max_size=5), _VALUES | _CLASSES))
def test_nothing_that_is_said_does_harm(said: dict[str, object]) -> None:
    """Anything is either settings that can be, or refused in one line; nothing else is raised."""
    try:
        found = settings_from(said, "mine")
    except SpecError as error:
        found = DetectorSettings()
        text = str(error)
    else:
        text = "mine"
    assert text.startswith("mine")
    assert "\n" not in text
    assert set((found.classes or {0: 0}).values()) <= {0, 1}
    assert all(16 <= side <= 8192 for side in found.size or ())
    assert 0 < found.most_iou <= 1
