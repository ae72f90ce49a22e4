"""A user's video with its ground truth, where there is some, held in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....errors import DatasetError
from ....profiler.quality.detection import FrameTruth
from .mot import read_mot
from .video import Video, open_video, scaled_truth

__all__ = ["Recording", "recorded"]

_NO_VIDEO = frozenset({".csv", ".ini", ".json", ".md", ".txt"})
"""What may lie beside a video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A video and what there is to see in it.

    Args:
        frames: UINT8, shape (height, width, 3): red, green, blue.
        truths: Of each frame, in its pixels; `None`: nobody said.
        sha256: Of the files, ground truth included; hexadecimal.
        is_cut: Whether the video goes on after these frames.
    """

    frames: Sequence[NDArray[np.uint8]]
    truths: Sequence[FrameTruth] | None
    sha256: str
    is_cut: bool = False


def recorded(path: Path, *, max_side: int | None = None, limit: int | None = None) -> Recording:
    """Read a video, and its ground truth where a folder has `gt/gt.txt`.

    Args:
        path: A video file; a folder of pictures; or a folder with ground truth and either pictures
            in `img1` or one video file.
        max_side: See `open_video`.
        limit: Most frames to take, from the first; `None`: all. What comes after them is not
            looked at, but for whether there is more, and for how much where truth is longer.

    Raises:
        SpecError: OpenCV is not installed.
        DatasetError: Video or ground truth is missing, empty or broken, or the truth has more
            frames than the video.
    """
    truth = path / "gt" / "gt.txt"
    has_truth = truth.is_file()
    source = _beside(path) if has_truth else path
    video = open_video(source, max_side=max_side)
    rest = video.frames()
    frames = list(islice(rest, limit))
    # One more is asked for: a video that ends here is seen to end where it says.
    is_cut = next(rest, None) is not None
    files = _files(source)
    if not has_truth:
        return Recording(frames=frames, truths=None, sha256=_hashed(files), is_cut=is_cut)
    known = read_mot(path)
    if len(known) > len(frames):
        count = len(frames) + (1 + sum(1 for _ in rest) if is_cut else 0)
        if len(known) > count:
            raise DatasetError(
                str(truth),
                found=f"{len(known)} frames",
                expected=f"at most {count}, the frames of {source.name}",
                remedy="see that video and ground truth belong together",
            )
    return Recording(
        frames=frames,
        truths=_for_each(known, len(frames), video),
        sha256=_hashed([*files, truth]),
        is_cut=is_cut,
    )


def _beside(folder: Path) -> Path:
    """Return where the frames are that a folder's ground truth is of."""
    if (folder / "img1").is_dir():
        return folder / "img1"
    found = sorted(
        one for one in folder.iterdir() if one.is_file() and one.suffix.lower() not in _NO_VIDEO
    )
    if len(found) != 1:
        raise DatasetError(
            str(folder),
            found=", ".join(one.name for one in found) or "no video",
            expected="pictures in img1, or one video file, beside the ground truth",
        )
    return found[0]


def _for_each(known: Sequence[FrameTruth], frames: int, video: Video) -> tuple[FrameTruth, ...]:
    """Return the truth of each frame; what comes after the last object is empty."""
    nothing = FrameTruth(
        boxes=np.zeros((0, 4), dtype=np.float32),
        classes=np.zeros(0, dtype=np.int64),
        ids=np.zeros(0, dtype=np.int64),
    )
    whole = (*known[:frames], *[nothing] * (frames - len(known)))
    return tuple(scaled_truth(truth, video) for truth in whole)


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    inner = source / "img1"
    place = inner if inner.is_dir() else source
    return sorted(one for one in place.iterdir() if one.is_file())


def _hashed(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            while block := content.read(2**20):
                digest.update(block)
    return digest.hexdigest()
