"""What things in a street look like: maps of parts, drawn once and scaled by nearest neighbours.

A sprite is a map of part numbers, 0 where one sees through; a palette gives each part its colour.
Integers throughout, so that a scene has the same bytes on every machine. Where things stand and
how they move is `scenes`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["OBSTACLES", "PERSONS", "VEHICLES", "Parts", "background", "palette", "scaled"]

Parts = NDArray[np.uint8]
"""Shape (height, width): part numbers, 0 outside."""

_Colours = NDArray[np.uint8]


def _rectangle(parts: Parts, number: int, top: int, bottom: int, left: int, right: int) -> None:
    parts[top:bottom, left:right] = number


def _ellipse(parts: Parts, number: int, centre: tuple[int, int], radii: tuple[int, int]) -> None:
    rows, columns = np.indices(parts.shape)
    down, across = (rows - centre[0]) * radii[1], (columns - centre[1]) * radii[0]
    parts[down**2 + across**2 <= (radii[0] * radii[1]) ** 2] = number


def _person(*, step: int, carries: bool) -> Parts:
    """Return somebody walking: head 1, upper body 2, legs 3, shoes and bag 4."""
    parts = np.zeros((48, 20), dtype=np.uint8)
    for side in (-1, 1):
        for row in range(27, 48):
            middle = 10 + side * (2 + step * (row - 27) // 24)
            parts[row, middle - 2 : middle + 2] = 4 if row > 44 else 3
    _rectangle(parts, 2, 10, 29, 5, 15)
    _rectangle(parts, 2, 11, 25, 4, 16)
    if carries:
        _rectangle(parts, 4, 12, 23, 14, 19)
    _ellipse(parts, 1, (5, 10), (5, 4))
    return parts


def _vehicle(length: int, height: int, cabin: tuple[int, int], roof: int) -> Parts:
    """Return a vehicle from its side: body 1, windows 2, wheels 3, lights 4, trim 5."""
    parts = np.zeros((height, length), dtype=np.uint8)
    waist = height * 2 // 5
    _rectangle(parts, 1, waist, height - 4, 0, length)
    for row in range(waist):
        slope = (waist - row) * roof // waist
        _rectangle(parts, 1, row, row + 1, cabin[0] + slope, cabin[1] - slope)
        if row >= 2:
            _rectangle(parts, 2, row, row + 1, cabin[0] + slope + 3, cabin[1] - slope - 3)
    posts = range(cabin[0] + (cabin[1] - cabin[0]) // 3, cabin[1] - 4, 16)
    for post in posts:
        _rectangle(parts, 1, 0, waist, post, post + 2)
    _rectangle(parts, 5, height - 7, height - 4, 0, length)
    _rectangle(parts, 4, waist + 2, waist + 5, 0, 2)
    _rectangle(parts, 4, waist + 2, waist + 5, length - 2, length)
    for wheel in (length // 5, length * 4 // 5):
        _ellipse(parts, 3, (height - 6, wheel), (5, 5))
    return parts


def _pole() -> Parts:
    parts = np.zeros((96, 6), dtype=np.uint8)
    _rectangle(parts, 1, 0, 96, 2, 4)
    _rectangle(parts, 2, 0, 5, 0, 6)
    return parts


def _tree() -> Parts:
    parts = np.zeros((96, 40), dtype=np.uint8)
    _rectangle(parts, 1, 40, 96, 18, 23)
    _ellipse(parts, 2, (26, 20), (26, 19))
    _ellipse(parts, 3, (18, 14), (10, 8))
    return parts


def _box() -> Parts:
    parts = np.zeros((24, 14), dtype=np.uint8)
    _rectangle(parts, 1, 2, 24, 0, 14)
    _rectangle(parts, 2, 0, 4, 0, 14)
    _rectangle(parts, 3, 9, 12, 3, 11)
    return parts


PERSONS: tuple[tuple[Parts, ...], ...] = tuple(
    tuple(_person(step=step, carries=carries) for step in (-2, 1, 4, 1))
    for carries in (False, True)
)
"""Per build the pictures of one stride."""

VEHICLES: tuple[tuple[Parts, float, float], ...] = (
    (_vehicle(64, 24, (12, 54), 7), 4.3, 1.5),
    (_vehicle(56, 26, (8, 50), 5), 3.7, 1.6),
    (_vehicle(72, 32, (3, 66), 3), 5.2, 2.2),
    (_vehicle(96, 36, (0, 96), 0), 7.5, 2.8),
)
"""Per kind: parts, length and height in metres."""

OBSTACLES: tuple[tuple[Parts, float, float], ...] = (
    (_pole(), 0.3, 5.0),
    (_tree(), 2.0, 4.8),
    (_box(), 0.7, 1.2),
)
"""What stands in the way and is not asked for: parts, width and height in metres."""


@lru_cache(maxsize=4096)
def _places(size: int, target: int) -> NDArray[np.int64]:
    return (2 * np.arange(target) + 1) * size // (2 * target)


def scaled(parts: Parts, height: int, width: int, *, mirrored: bool) -> Parts:
    """Return a sprite of another size."""
    columns = _places(parts.shape[1], width)
    return parts[_places(parts.shape[0], height)[:, None], columns[::-1] if mirrored else columns]


def palette(rng: np.random.Generator, parts: int, grey: int, contrast: int) -> _Colours:
    """Return colours of parts, shape (parts + 1, 3).

    Args:
        rng: Draws them.
        parts: How many parts there are; the first row belongs to no part.
        grey: What colours are drawn towards.
        contrast: How far they keep away from it, in 1/256.
    """
    drawn = rng.integers(16, 240, size=(parts + 1, 3))
    level = rng.integers(16, 240, size=(parts + 1, 1))
    colours = (drawn + 2 * level) // 3
    return (grey + (colours - grey) * contrast // 256).astype(np.uint8)


def background(
    rng: np.random.Generator, shape: tuple[int, int], bands: tuple[int, int, int], grain: int
) -> NDArray[np.uint8]:
    """Return a street without anybody: houses, pavement, road with markings, pavement.

    Args:
        rng: Draws colours and texture.
        shape: Height and width.
        bands: The rows where the far pavement, the road and the near pavement begin.
        grain: Strength of the texture, in grey levels.

    Returns:
        Shape (height, width, 3).
    """
    height, width = shape
    picture = np.empty((height, width, 3), dtype=np.int64)
    far, road, near = bands
    grey = int(rng.integers(70, 130))
    picture[:far] = rng.integers(60, 200, size=3)
    _houses(rng, picture[:far])
    for top, bottom, level in (
        (far, road, grey + 45),
        (road, near, grey),
        (near, height, grey + 55),
    ):
        picture[top:bottom] = level + rng.integers(-8, 9, size=3)
    for start in range(int(rng.integers(0, 12)), width, 18):
        middle = (road + near) // 2
        picture[middle : middle + 1, start : start + 9] = grey + 90
    step = int(rng.integers(9, 16))
    picture[near:, ::step] -= 14
    picture[far:road, :: max(step // 2, 4)] -= 10
    for row in (road, near):
        picture[row - 1 : row] = grey + 75
    # Two grains: coarse patches of wear, and fine stones.
    coarse = rng.integers(-grain, grain + 1, size=(-(-height // 4), -(-width // 8), 1))
    picture += coarse.repeat(4, axis=0).repeat(8, axis=1)[:height, :width]
    picture += rng.integers(-grain, grain + 1, size=(height, width, 1))
    return np.clip(picture, 0, 255).astype(np.uint8)


def _houses(rng: np.random.Generator, picture: NDArray[Any]) -> None:
    """Draw fronts with windows, in place."""
    height, width = picture.shape[:2]
    left = 0
    while left < width:
        right = left + int(rng.integers(18, 50))
        wall = rng.integers(50, 190, size=3)
        picture[int(rng.integers(0, max(height // 2, 1))) :, left:right] = wall
        for row in range(5, height - 4, 7):
            for column in range(left + 3, min(right, width) - 5, 7):
                picture[row : row + 4, column : column + 3] = wall // 2
        left = right
