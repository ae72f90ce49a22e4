"""A user's video and its ground truth together."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from joulery.campaigns.scenarios.video_analytics import footage
from joulery.campaigns.scenarios.video_analytics.mot import write_mot
from joulery.campaigns.scenarios.video_analytics.recorded import recorded
from joulery.errors import DatasetError
from joulery.profiler.quality.detection import FrameTruth


def _truths(frames: int) -> list[FrameTruth]:
    """Return one person who walks, in pixels of the file."""
    return [
        FrameTruth(
            boxes=np.array([(100 + step, 50, 140 + step, 150)], dtype=np.float32),
            classes=np.array([0]),
            ids=np.array([1]),
        )
        for step in range(frames)
    ]


def test_a_video_alone(test_data: Path) -> None:
    """A file without ground truth has frames and a hash, and no truth."""
    path = test_data / "video" / "vtest.avi"
    recording = recorded(path, max_side=96, limit=5)
    assert [frame.shape for frame in recording.frames] == [(72, 96, 3)] * 5
    assert recording.truths is None
    assert recording.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_video_beside_its_truth(test_data: Path, tmp_path: Path) -> None:
    """Truth comes in pixels of the frames; frames after the last object are empty."""
    video = test_data / "video" / "vtest.avi"
    shutil.copy(video, tmp_path)
    write_mot(tmp_path / "gt" / "gt.txt", _truths(3))
    recording = recorded(tmp_path, max_side=192, limit=5)
    assert recording.truths is not None
    assert [len(truth.boxes) for truth in recording.truths] == [1, 1, 1, 0, 0]
    # 768 pixels became 192.
    np.testing.assert_allclose(recording.truths[2].boxes, [(25.5, 12.5, 35.5, 37.5)], atol=1e-4)
    assert recording.sha256 != recorded(video, limit=1).sha256


def test_pictures_with_their_truth(tmp_path: Path) -> None:
    """A sequence of MOTChallenge is read; truth of more frames than pictures is refused."""
    (tmp_path / "img1").mkdir()
    for number in range(1, 5):
        picture = np.full((100, 200, 3), number, dtype=np.uint8)
        assert cv2.imwrite(str(tmp_path / "img1" / f"{number:06}.png"), picture)
    write_mot(tmp_path / "gt" / "gt.txt", _truths(4))
    recording = recorded(tmp_path)
    assert [int(frame[0, 0, 0]) for frame in recording.frames] == [1, 2, 3, 4]
    assert recording.truths is not None
    assert [truth.boxes[0, 0] for truth in recording.truths] == [100, 101, 102, 103]
    assert len(recorded(tmp_path, limit=2).truths or ()) == 2
    assert [recorded(tmp_path, limit=limit).is_cut for limit in (2, 4, 9, None)] == [
        *(True, False, False, False)
    ]
    write_mot(tmp_path / "gt" / "gt.txt", _truths(6))
    for limit in (None, 9, 4, 2):
        with pytest.raises(DatasetError, match="found 6 frames, expected at most 4"):
            recorded(tmp_path, limit=limit)


def test_a_broken_video_at_its_limit(test_data: Path, tmp_path: Path) -> None:
    """A file that ends where no more is wanted, and says that it goes on, is refused all the same.

    With truth that goes on, what comes after the limit is looked at as well.
    """
    content = (test_data / "video" / "vtest.avi").read_bytes()
    half = tmp_path / "half.avi"
    half.write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match="the end, expected 795 frames") as caught:
        recorded(half, max_side=32)
    there = int(str(caught.value.place).split()[-1])
    with pytest.raises(DatasetError, match="the end, expected 795 frames"):
        recorded(half, max_side=32, limit=there)
    assert recorded(half, max_side=32, limit=there - 1).is_cut
    write_mot(tmp_path / "gt" / "gt.txt", _truths(there + 1))
    with pytest.raises(DatasetError, match="the end, expected 795 frames"):
        recorded(tmp_path, max_side=32, limit=there - 1)


def test_a_long_video_says_that_it_is_cut(
    test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where more frames come than are held, the source tells how many were taken."""
    monkeypatch.setattr(footage, "MOST_FRAMES", 3)
    shutil.copy(test_data / "video" / "vtest.avi", tmp_path)
    write_mot(tmp_path / "gt" / "gt.txt", _truths(2))
    found, source = footage.footage_of(tmp_path, tmp_path / "unused.onnx")
    assert len(found.frames) == 3
    assert source == f"{tmp_path.name}, the first 3 frames"


def test_truth_without_a_video(tmp_path: Path) -> None:
    """Ground truth beside nothing, or beside two files, says what is wanted."""
    write_mot(tmp_path / "gt" / "gt.txt", _truths(2))
    with pytest.raises(DatasetError, match="found no video, expected pictures in img1"):
        recorded(tmp_path)
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"found a\.mp4, b\.mp4"):
        recorded(tmp_path)
