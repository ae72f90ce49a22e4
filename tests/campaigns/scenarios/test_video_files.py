"""Videos, pictures and ground truth of users, whole and broken."""

from __future__ import annotations

import csv
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from joulery.campaigns.scenarios.video_analytics.mot import read_info, read_mot, write_mot
from joulery.campaigns.scenarios.video_analytics.video import open_video, scaled_truth
from joulery.errors import DatasetError, SpecError
from joulery.profiler.quality.detection import FrameTruth

from .walkers import crowd

VIDEOS = {
    "car-detection.mp4": (377, 12.5, 768, 432),
    "one-by-one-person-detection.mp4": (1394, 10.0, 768, 432),
    "vtest.avi": (795, 10.0, 768, 576),
}


def _pictures(folder: Path, names: list[str], size: tuple[int, int] = (64, 48)) -> None:
    """Write pictures of one red each, brighter from one to the next."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        picture = np.zeros((size[1], size[0], 3), dtype=np.uint8)
        picture[:, :, 2] = 10 * number + 50
        assert cv2.imwrite(str(folder / name), picture)


@pytest.mark.parametrize("name", VIDEOS)
def test_real_videos(name: str, test_data: Path) -> None:
    """Each real video has its frames, shrunk with their shape, in red, green and blue."""
    frames, _, width, height = VIDEOS[name]
    video = open_video(test_data / "video" / name, max_side=192, expected_frames=frames)
    info = video.info
    assert (info.frames, info.frame_rate_hz, info.width, info.height) == VIDEOS[name]
    assert video.size == (192, round(192 * height / width))
    count, first = 0, None
    for frame in video.frames():
        count += 1
        first = frame if first is None else first
    assert first is not None
    assert count == frames
    assert first.shape == (*video.size[::-1], 3)
    assert first.dtype == np.dtype(np.uint8)
    there, raw = cv2.VideoCapture(str(test_data / "video" / name)).read()
    assert there
    np.testing.assert_allclose(first.mean(axis=(0, 1)), raw.mean(axis=(0, 1))[::-1], atol=0.5)


def test_a_video_from_its_start_again(test_data: Path) -> None:
    """Frames come again from the first; a large enough side leaves them as they are."""
    video = open_video(test_data / "video" / "vtest.avi", max_side=2000)
    first, again = next(video.frames()), next(video.frames())
    assert video.size == (768, 576)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("name", ["car-detection.mp4", "vtest.avi"])
def test_a_video_cut_off(name: str, test_data: Path, tmp_path: Path) -> None:
    """Half a file gives its frames, and then says what is missing."""
    content = (test_data / "video" / name).read_bytes()
    half = tmp_path / name
    half.write_bytes(content[: len(content) // 2])
    read: list[int] = []
    with pytest.raises(DatasetError, match=r"the end, expected \d+ frames") as caught:
        read.extend(len(frame) for frame in open_video(half, max_side=64).frames())
    count = len(read)
    assert 0 < count < VIDEOS[name][0]
    assert caught.value.subject == str(half)
    assert caught.value.place == f"after frame {count}"
    half.write_bytes(content[:100])
    with pytest.raises(DatasetError, match="nothing that OpenCV can decode"):
        open_video(half)


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"", "an empty file"), (b"no video at all\n" * 99, "nothing that OpenCV can decode")],
)
def test_no_video(content: bytes, found: str, tmp_path: Path) -> None:
    """An empty file, and one of something else, are told apart."""
    path = tmp_path / "film.mp4"
    path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        open_video(path)
    assert (caught.value.subject, caught.value.found) == (str(path), found)


def test_a_video_that_is_not_there(tmp_path: Path) -> None:
    """A missing file is named."""
    with pytest.raises(DatasetError, match=r"film\.mp4: found no such file"):
        open_video(tmp_path / "film.mp4")


def test_other_frames_than_the_truth(test_data: Path) -> None:
    """A video that says it has other frames than the truth is refused before it is read."""
    with pytest.raises(DatasetError, match="found 795 frames, expected 600"):
        open_video(test_data / "video" / "vtest.avi", expected_frames=600)
    # Files may err in what they say, so that a small difference is found by counting.
    video = open_video(test_data / "video" / "vtest.avi", expected_frames=793, max_side=32)
    with pytest.raises(DatasetError, match="after frame 793: found more frames"):
        list(video.frames())


def test_pictures_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """The pictures of `img1` come by number, not by letter; what is no picture is left out."""
    names = ["1.png", "2.png", "10.png"]
    _pictures(tmp_path / "img1", names)
    (tmp_path / "img1" / "readme.txt").write_text("no picture")
    video = open_video(tmp_path, expected_frames=3)
    assert (video.info.frames, video.info.frame_rate_hz, video.size) == (3, None, (64, 48))
    assert [int(frame[0, 0, 0]) for frame in video.frames()] == [50, 60, 70]
    with pytest.raises(DatasetError, match="found 3 frames, expected 4"):
        open_video(tmp_path, expected_frames=4)


def test_broken_pictures(tmp_path: Path) -> None:
    """No picture, a broken one, an empty one and one of another size are each named."""
    with pytest.raises(DatasetError, match="found no pictures"):
        open_video(tmp_path)
    names = ["1.png", "2.png", "3.png"]
    for content, found in (
        (b"\x89PNG broken", r"2\.png: found nothing that OpenCV can decode"),
        (b"", r"2\.png: found an empty file"),
        (None, r"2\.png: found 32 x 48 pixels, expected 64 x 48"),
    ):
        _pictures(tmp_path, names)
        if content is None:
            _pictures(tmp_path, ["2.png"], (32, 48))
        else:
            (tmp_path / "2.png").write_bytes(content)
        with pytest.raises(DatasetError, match=found):
            list(open_video(tmp_path).frames())


def test_too_small(tmp_path: Path) -> None:
    """Frames of a few pixels are no frames."""
    with pytest.raises(SpecError, match="max_side: found 4"):
        open_video(tmp_path, max_side=4)


def test_without_opencv(tmp_path: Path) -> None:
    """Without OpenCV the package loads, and opening a video says what to install."""
    script = (
        "import sys; sys.modules['cv2'] = None\n"
        "from pathlib import Path\n"
        "from joulery.campaigns.scenarios.video_analytics.video import open_video\n"
        "from joulery.errors import SpecError\n"
        "try:\n    open_video(Path(sys.argv[1]))\n"
        "except SpecError as error:\n    print(error)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    wanted = "video: found no OpenCV, expected the extra `video`; pip install 'joulery[video]'\n"
    assert ended.stdout == wanted


def test_truth_for_a_smaller_video(tmp_path: Path) -> None:
    """Boxes shrink as the frames do, ignored regions too."""
    _pictures(tmp_path, ["1.png"], (200, 100))
    truth = FrameTruth(
        boxes=np.array([(20, 10, 60, 50)], dtype=np.float32),
        classes=np.array([0]),
        ids=np.array([4]),
        ignored=np.array([(0, 0, 200, 100)], dtype=np.float32),
    )
    scaled = scaled_truth(truth, open_video(tmp_path, max_side=50))
    np.testing.assert_allclose(scaled.boxes, [(5, 2.5, 15, 12.5)])
    np.testing.assert_allclose(scaled.ignored, [(0, 0, 50, 25)])
    assert scaled.ids.tolist() == [4]


def _sequence(folder: Path, rows: str, info: str | None = None) -> Path:
    (folder / "gt").mkdir(parents=True, exist_ok=True)
    (folder / "gt" / "gt.txt").write_text(rows)
    if info is not None:
        (folder / "seqinfo.ini").write_text(info)
    return folder


INFO = """[Sequence]
name=MOT17-99
imDir=img1
frameRate=30
seqLength=5
imWidth=1920
imHeight=1080
imExt=.jpg
"""


def test_ground_truth(tmp_path: Path) -> None:
    """Pedestrians and vehicles are to find; what does not count is ignored, occluders are gone."""
    rows = (
        "3,7,11,21,30.5,60,1,1,0.8\n"
        "1,8,101,201,80,40,1,3,1\n"
        "1,7,1,11,30,60,1,1,0.25\n"
        "\n"
        "1,9,301,1,10,20,0,1,1\n"  # does not count
        "1,10,401,1,10,20,1,7,1\n"  # stands still as a picture
        "1,11,501,1,10,20,1,9,1\n"  # an occluder
    )
    truths = read_mot(_sequence(tmp_path, rows, INFO))
    assert [len(truth.boxes) for truth in truths] == [2, 0, 1, 0, 0]
    first = truths[0]
    assert (first.ids.tolist(), first.classes.tolist()) == ([7, 8], [0, 1])
    np.testing.assert_array_equal(first.boxes, [(0, 10, 30, 70), (100, 200, 180, 240)])
    np.testing.assert_array_equal(first.ignored, [(300, 0, 310, 20), (400, 0, 410, 20)])
    assert first.boxes.dtype == np.float32
    np.testing.assert_array_equal(truths[2].boxes, [(10, 20, 40.5, 80)])
    info = read_info(tmp_path / "seqinfo.ini")
    assert (info.name, info.frames, info.frame_rate_hz) == ("MOT17-99", 5, 30.0)
    assert (info.width, info.height, info.pictures) == (1920, 1080, "img1")


def test_frames_out_of_order(tmp_path: Path) -> None:
    """Rows in any order are the same ground truth as those sorted."""
    rows = [
        f"{frame},{name},{frame + name},5,10,20,1,1,1\n" for frame in (1, 2, 3) for name in (1, 2)
    ]
    sorted_ = read_mot(_sequence(tmp_path / "a", "".join(rows)))
    mixed = read_mot(_sequence(tmp_path / "b", "".join(rows[::-1])))
    assert len(sorted_) == 3
    for left, right in zip(sorted_, mixed, strict=True):
        np.testing.assert_array_equal(left.boxes, right.boxes)
        np.testing.assert_array_equal(left.ids, right.ids)


def test_ground_truth_of_2015(tmp_path: Path) -> None:
    """Rows of ten fields, of people alone, are read from a file of any name."""
    path = tmp_path / "truth.txt"
    path.write_text("1,1,10,20,30,40,1,-1,-1,-1\n2,1,11,20,30,40,1,-1,-1,-1\n")
    assert [truth.classes.tolist() for truth in read_mot(path)] == [[0], [0]]


def test_pictures_that_are_none(tmp_path: Path) -> None:
    """One of more pixels than OpenCV takes is refused, a folder with a picture's name left out."""
    picture = cv2.imencode(".png", np.zeros((48, 64, 3), dtype=np.uint8))[1].tobytes()
    (tmp_path / "\N{SUPERSCRIPT TWO}.png").write_bytes(picture)
    (tmp_path / "3.png").mkdir()
    assert open_video(tmp_path).info.frames == 1
    # Width and height stand behind 16 bytes, and the sum of their chunk behind 29.
    head = picture[12:16] + struct.pack(">II", 100_000, 100_000) + picture[24:29]
    huge = picture[:12] + head + struct.pack(">I", zlib.crc32(head)) + picture[33:]
    (tmp_path / "1.png").write_bytes(huge)
    with pytest.raises(DatasetError, match=r"1\.png: found nothing that OpenCV can decode"):
        list(open_video(tmp_path).frames())


GOOD = "1,1,10,20,30,40,1,1,1\n"


@pytest.mark.parametrize(
    ("rows", "place", "found"),
    [
        (GOOD + "2,1,10,20,30,40,1\n", "line 2", "7 fields"),
        (GOOD + "\n2,1,10,20,-30,40,1,1,1\n", "line 3", "width -30, height 40"),
        ("1,1,10,20,30,0,1,1,1\n", "line 1", "width 30, height 0"),
        ("1,1,ten,20,30,40,1,1,1\n", "line 1", "could not convert string to float: 'ten'"),
        ("1,1,nan,20,30,40,1,1,1\n", "line 1", "1,1,nan,20,30,40,1,1,1"),
        ("0,1,10,20,30,40,1,1,1\n", "line 1", "frame 0"),
        ("1.5,1,10,20,30,40,1,1,1\n", "line 1", "frame 1.5"),
        ("1,1,10,20,30,40,1,99,1\n", "line 1", "class 99"),
        ("1,1,10,20,30,40,1,0,1\n", "line 1", "class 0"),
        ("1,1,1e300,20,30,40,1,1,1\n", "line 1", "left 1e+300, top 20, width 30, height 40"),
        (GOOD + GOOD, "line 2", "object 1 again in frame 1, as in line 1"),
        (GOOD + "6,1,10,20,30,40,1,1,1\n", "line 2", "frame 6"),
        (" \n", None, "an empty file"),
        ("1,1,10,20,30,40,1,11,1\n", None, "no rows"),
    ],
)
def test_broken_ground_truth(rows: str, place: str | None, found: str, tmp_path: Path) -> None:
    """What is wrong in ground truth is told with its line."""
    with pytest.raises(DatasetError) as caught:
        read_mot(_sequence(tmp_path, rows), frames=5)
    assert caught.value.subject == str(tmp_path / "gt" / "gt.txt")
    assert (caught.value.place, caught.value.found) == (place, found)


def test_ground_truth_that_is_no_table(tmp_path: Path) -> None:
    """What the reader of CSV itself refuses, here a field beyond its limit, is told likewise."""
    usual = csv.field_size_limit(131_072)  # another package may have raised it
    try:
        with pytest.raises(DatasetError, match="line 2: found field larger than field limit"):
            read_mot(_sequence(tmp_path, GOOD + "1" * 200_000), frames=5)
    finally:
        csv.field_size_limit(usual)


def test_missing_ground_truth(tmp_path: Path) -> None:
    """Without the file, the error says what can be had without ground truth."""
    with pytest.raises(DatasetError, match=r"gt\.txt: found no such file.*agreement"):
        read_mot(tmp_path)
    (tmp_path / "gt.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="expected text"):
        read_mot(tmp_path / "gt.txt")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (INFO.replace("seqLength=5\n", ""), "no seqLength"),
        ("name=x\n", "File contains no section headers"),
        ("[Video]\n", "no Sequence"),
        (INFO.replace("=5", "=five"), "invalid literal"),
        (INFO.replace("=5", "=0"), "0 frames of 1920 x 1080 at 30"),
        (INFO.replace("=5", "=50000000000"), "50000000000 frames"),
        (INFO.replace("=30", "=nan"), "at nan"),
    ],
)
def test_broken_info(text: str, found: str, tmp_path: Path) -> None:
    """What is wrong in `seqinfo.ini` is told."""
    with pytest.raises(DatasetError, match=found) as caught:
        read_mot(_sequence(tmp_path, GOOD, text))
    assert caught.value.subject == str(tmp_path / "seqinfo.ini")


def test_written_truth_is_read_again(tmp_path: Path) -> None:
    """What is written is read again: boxes to a ten-thousandth of a pixel, all else exactly."""
    truths = crowd(4, frames=30)
    region = np.array([(1, 2, 30, 40)], dtype=np.float32)
    some = truths[3]
    truths[3] = FrameTruth(boxes=some.boxes, classes=some.classes, ids=some.ids, ignored=region)
    write_mot(tmp_path / "gt" / "gt.txt", truths)
    again = read_mot(tmp_path, frames=30)
    for left, right in zip(truths, again, strict=True):
        np.testing.assert_allclose(left.boxes, right.boxes, atol=1e-4)
        np.testing.assert_array_equal(left.classes, right.classes)
        np.testing.assert_array_equal(left.ids, right.ids)
        np.testing.assert_array_equal(left.ignored, right.ignored)
