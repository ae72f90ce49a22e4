"""Fit a frame into the picture that a detector takes, and boxes back into the frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Fit", "fitted", "resized"]

_GREY = 114
"""What YOLO's own letterbox fills with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Where in a picture a frame lies.

    Args:
        frame: Width and height of the frame, in pixels.
        inner: Width and height of the frame in the picture.
        corner: Left and top of the frame in the picture.
    """

    frame: tuple[int, int]
    inner: tuple[int, int]
    corner: tuple[int, int]

    def back(self, boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return boxes of the picture, shape (n, 4), in pixels of the frame and inside it."""
        corner = np.array(self.corner * 2, dtype=np.float64)
        frame = np.array(self.frame * 2, dtype=np.float64)
        moved = (boxes - corner) * (frame / np.array(self.inner * 2, dtype=np.float64))
        return np.clip(moved, 0.0, frame).astype(np.float32)


def fitted(
    frame: NDArray[np.uint8], size: tuple[int, int], *, keep_shape: bool
) -> tuple[NDArray[np.uint8], Fit]:
    """Fit a frame into a picture.

    Args:
        frame: Shape (height, width, 3).
        size: Width and height of the picture, in pixels.
        keep_shape: Keep the frame's shape, with grey around it (a letterbox); else stretch it.

    Returns:
        The picture, UINT8, and where the frame lies in it.
    """
    height, width = frame.shape[:2]
    inner = size
    if keep_shape:
        ratio = min(size[0] / width, size[1] / height)
        inner = max(1, round(width * ratio)), max(1, round(height * ratio))
    corner = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    picture = np.full((size[1], size[0], 3), _GREY, dtype=np.uint8)
    picture[corner[1] : corner[1] + inner[1], corner[0] : corner[0] + inner[0]] = resized(
        frame, inner
    )
    return picture, Fit(frame=(width, height), inner=inner, corner=corner)


def resized(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a frame of another size, by bilinear interpolation between centres of pixels.

    Args:
        frame: Shape (height, width, 3).
        size: Width and height, in pixels.
    """
    if frame.shape[1::-1] == size:
        return frame
    values = frame.astype(np.float32)
    for axis, length in ((0, size[1]), (1, size[0])):
        low, high, share = _places(frame.shape[axis], length)
        weights = share[:, None, None] if axis == 0 else share[None, :, None]
        below, above = np.take(values, low, axis=axis), np.take(values, high, axis=axis)
        values = below + (above - below) * weights
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _places(
    before: int, after: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return, per new pixel, the old ones on either side and the share of the second."""
    at = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)
    low = np.floor(at).astype(np.int64)
    return low, np.minimum(low + 1, before - 1), (at - low).astype(np.float32)
