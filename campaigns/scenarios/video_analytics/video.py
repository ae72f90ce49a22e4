"""Frames of a video: any file that OpenCV reads, or a folder of pictures.

OpenCV is imported when a video is opened: what ships and what is generated does without.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import DatasetError, SpecError
from ....profiler.quality.detection import FrameTruth

__all__ = ["Video", "VideoInfo", "open_video", "scaled_truth"]

_PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_LEAST_SIDE = 16
"""Fewer pixels show nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What a video says of itself.

    Args:
        path: The file, or the folder of pictures.
        frames: How many it says that there are; `None`: it does not say.
        frame_rate_hz: Frames per second; `None`: it does not say.
        width: Of a frame of the file, in pixels.
        height: Of a frame of the file, in pixels.
    """

    path: Path
    frames: int | None
    frame_rate_hz: float | None
    width: int
    height: int


class Video:
    """A video that can be read from its start, again and again.

    Args:
        info: What is known of it.
        scale_ratio: Size of the frames it gives to that of the file's.
        pictures: Its pictures, in order; `None`: it is one file.
        expected: How many frames have to come; `None`: about as many as it says.
    """

    def __init__(
        self,
        info: VideoInfo,
        *,
        scale_ratio: float,
        pictures: tuple[Path, ...] | None,
        expected: int | None,
    ) -> None:
        self.info = info
        self.scale_ratio = scale_ratio
        self._pictures = pictures
        self._expected = expected

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames it gives, in pixels."""
        width = max(1, round(self.info.width * self.scale_ratio))
        return width, max(1, round(self.info.height * self.scale_ratio))

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Yield each frame: UINT8, shape (height, width, 3), red, green, blue.

        Raises:
            DatasetError: When a frame cannot be read or has another size; after the last, when
                there are not as many as have to be. Where no number was given, files may err by a
                hundredth, as many compute it of their length.
        """
        cv2 = _opencv()
        source = self._decoded(cv2) if self._pictures is None else self._read(cv2, self._pictures)
        count = 0
        for place, frame in source:
            count += 1
            if frame.shape != (self.info.height, self.info.width, 3):
                found = " x ".join(map(str, frame.shape[1::-1]))
                raise DatasetError(
                    str(self.info.path),
                    place=place,
                    found=f"{found} pixels",
                    expected=f"{self.info.width} x {self.info.height}, as in the first frame",
                )
            if self.scale_ratio < 1:
                frame = cv2.resize(frame, self.size, interpolation=cv2.INTER_AREA)
            yield np.ascontiguousarray(frame[:, :, ::-1])
        self._check_count(count)

    def _decoded(self, cv2: ModuleType) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        capture = _capture(cv2, self.info.path)
        try:
            number = 0
            while True:
                there, frame = capture.read()
                if not there:
                    return
                number += 1
                yield f"frame {number}", frame
        finally:
            capture.release()

    @staticmethod
    def _read(
        cv2: ModuleType, pictures: tuple[Path, ...]
    ) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        for picture in pictures:
            yield picture.name, _picture(cv2, picture)

    def _check_count(self, count: int) -> None:
        wanted, slack = self._expected, 0
        if wanted is None and self.info.frames is not None:
            # More than the file says is no harm, and a little less is how well files know.
            wanted, slack = self.info.frames, _slack(self.info.frames)
            count = min(count, wanted)
        if wanted is None or wanted - slack <= count <= wanted:
            return
        raise DatasetError(
            str(self.info.path),
            place=f"after frame {min(count, wanted)}",
            found="the end" if count < wanted else "more frames",
            expected=f"{wanted} frames",
            remedy="the file is broken or cut off: fetch or convert it again"
            if count < wanted
            else "see that video and ground truth belong together",
        )


def _slack(frames: int) -> int:
    """Return by how many frames a file may err in what it says: most compute it of its length."""
    return max(2, frames // 100)


def open_video(
    path: Path, *, max_side: int | None = None, expected_frames: int | None = None
) -> Video:
    """Open a video and look at its first frame.

    Args:
        path: A file, a folder of pictures, or the folder of a MOTChallenge sequence (`img1`).
            Pictures are taken in the order of the numbers in their names.
        max_side: The longer side of a frame has at most so many pixels: larger ones are shrunk by
            the mean of areas, with their shape kept; smaller ones are never enlarged.
        expected_frames: How many frames there have to be, for instance those of the ground truth.

    Raises:
        SpecError: When OpenCV is not installed, or `max_side` is too small.
        DatasetError: When the file is missing, empty or no video, the folder has no pictures, or
            it says itself that it has another number of frames.
    """
    if max_side is not None and max_side < _LEAST_SIDE:
        raise SpecError(
            "video", place="max_side", found=str(max_side), expected=f"{_LEAST_SIDE} or more"
        )
    cv2 = _opencv()
    pictures = _pictures(path) if path.is_dir() else None
    info = _info(cv2, path) if pictures is None else _folder_info(cv2, path, pictures)
    if info.frames is not None and expected_frames is not None:
        slack = 0 if pictures else _slack(info.frames)
        if abs(info.frames - expected_frames) > slack:
            raise DatasetError(
                str(path),
                found=f"{info.frames} frames",
                expected=f"{expected_frames}",
                remedy="see that video and ground truth belong together",
            )
    longest = max(info.width, info.height)
    scale_ratio = 1.0 if max_side is None else min(1.0, max_side / longest)
    return Video(info, scale_ratio=scale_ratio, pictures=pictures, expected=expected_frames)


def scaled_truth(truth: FrameTruth, video: Video) -> FrameTruth:
    """Return the truth of a frame of the file for the frame that the video gives."""
    width, height = video.size
    sides = np.array([width / video.info.width, height / video.info.height] * 2, dtype=np.float32)
    return replace(truth, boxes=truth.boxes * sides, ignored=truth.ignored * sides)


def _opencv() -> ModuleType:
    try:
        import cv2
    except ImportError as error:
        raise SpecError(
            "video",
            found="no OpenCV",
            expected="the extra `video`",
            remedy="pip install 'joulery[video]'",
        ) from error
    return cv2


def _capture(cv2: ModuleType, path: Path) -> Any:
    """Return an opened file; FFmpeg alone decodes, as a pattern of names is no video here."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        capture.release()
        raise DatasetError(
            str(path),
            found="nothing that OpenCV can decode",
            expected="a video file, whole and with a codec that FFmpeg knows",
            remedy="play it, or convert it, for instance to H.264 in MP4",
        )
    return capture


def _info(cv2: ModuleType, path: Path) -> VideoInfo:
    if not path.is_file():
        raise DatasetError(
            str(path), found="no such file", expected="a video file or a folder of pictures"
        )
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise DatasetError(str(path), found=str(error), expected="a readable file") from error
    if empty:
        raise DatasetError(str(path), found="an empty file", expected="a video")
    capture = _capture(cv2, path)
    try:
        said = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        rate_hz = float(capture.get(cv2.CAP_PROP_FPS))
        there, frame = capture.read()
    finally:
        capture.release()
    if not there:
        raise DatasetError(
            str(path),
            place="frame 1",
            found="nothing that can be decoded",
            expected="a picture",
            remedy="the file is broken or cut off: fetch or convert it again",
        )
    return VideoInfo(
        path=path,
        frames=said if said > 0 else None,
        frame_rate_hz=rate_hz if 0 < rate_hz < 10_000 else None,
        width=frame.shape[1],
        height=frame.shape[0],
    )


def _pictures(folder: Path) -> tuple[Path, ...]:
    """Return the pictures of a folder, or of its `img1`, by the numbers in their names."""
    inner = folder / "img1"
    place = inner if inner.is_dir() else folder
    found = [
        path for path in place.iterdir() if path.suffix.lower() in _PICTURES and path.is_file()
    ]
    if not found:
        raise DatasetError(
            str(place), found="no pictures", expected=f"files {', '.join(sorted(_PICTURES))}"
        )
    return tuple(sorted(found, key=_by_numbers))


def _by_numbers(path: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"(\d+)", path.stem)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name


def _picture(cv2: ModuleType, path: Path) -> NDArray[np.uint8]:
    frame = None
    content = np.fromfile(path, dtype=np.uint8)
    if content.size:
        with contextlib.suppress(cv2.error):  # such as one of more pixels than it takes
            frame = cv2.imdecode(content, cv2.IMREAD_COLOR)
    if frame is None:
        raise DatasetError(
            str(path),
            found="nothing that OpenCV can decode" if content.size else "an empty file",
            expected="a picture",
        )
    decoded: NDArray[np.uint8] = frame
    return decoded


def _folder_info(cv2: ModuleType, folder: Path, pictures: tuple[Path, ...]) -> VideoInfo:
    first = _picture(cv2, pictures[0])
    return VideoInfo(
        path=folder,
        frames=len(pictures),
        frame_rate_hz=None,
        width=first.shape[1],
        height=first.shape[0],
    )
