"""Street scenes with exact ground truth, generated: the same seed gives the same bytes.

A fixed camera looks across a street. People walk on both pavements or cross, vehicles drive in
lanes, trees and poles stand in the way; what is nearer is larger and hides what is behind it. The
light changes, the lens blurs, the sensor adds noise. A frame can be drawn without those before it.
How things look is `sprites`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ....profiler.quality.detection import FrameTruth
from .sprites import OBSTACLES, PERSONS, VEHICLES, Parts, background, palette, scaled

__all__ = [
    "CLASSES", "DIFFICULTIES", "FRAME_RATE_HZ", "LEAST_VISIBLE_RATIO", "PERSON", "SHAPE", "VEHICLE",
    "Difficulty", "SceneFrame", "Street",
]  # fmt: skip

SHAPE = (96, 160)
"""Height and width of a frame, in pixels."""
FRAME_RATE_HZ = 10
PERSON, VEHICLE = 0, 1
CLASSES = ("person", "vehicle")
"""Names of the classes, by number."""

LEAST_VISIBLE_RATIO = 0.3
"""What shows less of itself, because something hides it or it is half out of the frame, is not
asked for: its box is a region where nothing is judged."""

_LEAST_PX = (4, 8)
"""A box of less width or height, clipped to the frame, is not asked for either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difficulty:
    """How hard a street is to see.

    Args:
        persons: Fewest and most people, on average over a clip, at a time.
        gap_m: Least and largest gap between vehicles of a lane, in metres.
        zoom: Pixels of a metre, per row below the horizon.
        contrast: Of people and vehicles, in 1/256.
        noise: Of the sensor, standard deviation in grey levels.
        grain: Of the background, in grey levels.
        blurs: How often the lens blurs (1-2-1 in both directions).
        light: Least and largest brightness, in 1/256.
        obstacles: Fewest and most things that stand in the way.
    """

    persons: tuple[int, int]
    gap_m: tuple[float, float]
    zoom: float
    contrast: int
    noise: int
    grain: int
    blurs: int
    light: tuple[int, int]
    obstacles: tuple[int, int]


DIFFICULTIES: Mapping[str, Difficulty] = MappingProxyType(
    {
        "easy": Difficulty(
            persons=(1, 3), gap_m=(8.0, 30.0), zoom=0.44, contrast=256, noise=3, grain=3,
            blurs=0, light=(220, 270), obstacles=(0, 1),
        ),
        "normal": Difficulty(
            persons=(2, 6), gap_m=(4.0, 22.0), zoom=0.38, contrast=215, noise=7, grain=6,
            blurs=1, light=(150, 280), obstacles=(1, 3),
        ),
        "hard": Difficulty(
            persons=(5, 11), gap_m=(2.0, 12.0), zoom=0.33, contrast=165, noise=12, grain=9,
            blurs=1, light=(95, 280), obstacles=(2, 5),
        ),
    }
)  # fmt: skip
"""The levels, easiest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneFrame:
    """One frame of a street.

    Args:
        pixels: Shape (height, width, 3): red, green, blue.
        truth: Boxes of whole objects, clipped to the frame, of those that show enough.
        visible_ratios: Shape (boxes,): the share of each object's own pixels that shows.
    """

    pixels: NDArray[np.uint8]
    truth: FrameTruth
    visible_ratios: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Thing:
    """Something that stands or moves: where its foot is, how large it is, how it looks.

    `cls` is `None` for what is not asked for.
    """

    cls: int | None
    pictures: Sequence[Parts]
    colours: NDArray[np.uint8]
    size_m: tuple[float, float]
    at: tuple[float, float]
    speed: tuple[float, float]
    strides_hz: float = 0.0

    def foot(self, time_s: float) -> tuple[float, float]:
        """Return column and row of its foot."""
        return self.at[0] + self.speed[0] * time_s, self.at[1] + self.speed[1] * time_s


class Street:
    """One clip: a street, who is in it, and what they do.

    Args:
        seed: Two clips of the same seed and difficulty are the same.
        difficulty: One of `DIFFICULTIES`.
        frames: Length of the clip.
    """

    def __init__(self, seed: int, difficulty: str, frames: int = 100) -> None:
        self._seed = seed
        self._number = list(DIFFICULTIES).index(difficulty)
        self._level = DIFFICULTIES[difficulty]
        self.frames = frames
        rng = np.random.default_rng((seed, self._number))
        horizon = int(rng.integers(8, 18))
        self._horizon = horizon
        room = SHAPE[0] - horizon
        far, road, near = (horizon + room * share // 100 for share in (24, 38, 72))
        self._bands = far, road, near
        self._background = background(rng, SHAPE, self._bands, self._level.grain)
        self._light = self._lights(rng)
        self._things = (*self._vehicles(rng), *self._persons(rng), *self._obstacles(rng))

    @property
    def _length_s(self) -> float:
        return self.frames / FRAME_RATE_HZ

    def _scale(self, row: float) -> float:
        """Return how many pixels a metre has at a row of the ground."""
        return self._level.zoom * max(row - self._horizon, 1.0)

    def _lights(self, rng: np.random.Generator) -> tuple[int, int, float, float, bool]:
        """Return two brightnesses, the period of one cycle, when clouds come, whether any do."""
        low, high = self._level.light
        first, second = int(rng.integers(low, high + 1)), int(rng.integers(low, high + 1))
        period_s = float(rng.uniform(4.0, 20.0))
        return first, second, period_s, float(rng.uniform(0, 10)), bool(rng.random() < 0.4)

    def _vehicles(self, rng: np.random.Generator) -> list[_Thing]:
        found = []
        _, road, near = self._bands
        for lane, is_rightward in ((road + (near - road) * 42 // 100, True), (near - 2, False)):
            row = lane + int(rng.integers(-1, 2))
            scale = self._scale(row)
            is_parked = rng.random() < 0.15
            speed = 0.0 if is_parked else float(rng.uniform(2.0, 7.0)) * scale
            reach = SHAPE[1] + speed * self._length_s
            place = -float(rng.uniform(0, 20)) * scale
            while place < reach:
                parts, length, height = VEHICLES[int(rng.integers(len(VEHICLES)))]
                middle = place + length * scale / 2
                found.append(
                    _Thing(
                        cls=VEHICLE,
                        pictures=(parts if is_rightward else parts[:, ::-1],),
                        colours=self._painted(rng, 5),
                        size_m=(length, height),
                        at=(SHAPE[1] - middle if is_rightward else middle, float(row)),
                        speed=(speed if is_rightward else -speed, 0.0),
                    )
                )
                place += (length + float(rng.uniform(*self._level.gap_m))) * scale
        return found

    def _persons(self, rng: np.random.Generator) -> list[_Thing]:
        found: list[_Thing] = []
        far, road, near = self._bands
        wanted = int(rng.integers(self._level.persons[0], self._level.persons[1] + 1))
        for _ in range(wanted):
            is_far = rng.random() < 0.4
            ground = (far + 2, road) if is_far else (near + 4, SHAPE[0] + 2)
            row = float(rng.uniform(*ground))
            metre = self._scale(row)
            if rng.random() < 0.15:  # somebody who waits
                found.append(self._walker(rng, (float(rng.uniform(0, SHAPE[1])), row), (0.0, 0.0)))
                continue
            speed = float(rng.uniform(0.8, 1.8)) * metre
            crossing_s = SHAPE[1] / speed
            # As many come and go as keep their mean number over the clip.
            for _ in range(1 + int(self._length_s / crossing_s)):
                middle_s = float(rng.uniform(-crossing_s / 2, self._length_s + crossing_s / 2))
                across = speed if rng.random() < 0.5 else -speed
                column = float(rng.uniform(0, SHAPE[1])) - across * middle_s
                down = 0.0
                if rng.random() < 0.2:  # somebody who crosses the road
                    across, down = across / 4, (near + 6 - road) / 9.0
                    column = float(rng.uniform(0, SHAPE[1])) - across * middle_s
                    row_now, down = (road, down) if rng.random() < 0.5 else (near + 6, -down)
                    found.append(
                        self._walker(rng, (column, row_now - down * middle_s), (across, down))
                    )
                    continue
                found.append(self._walker(rng, (column, row), (across, down)))
        return found

    def _walker(
        self, rng: np.random.Generator, at: tuple[float, float], speed: tuple[float, float]
    ) -> _Thing:
        height = float(rng.uniform(1.55, 1.95))
        return _Thing(
            cls=PERSON,
            pictures=PERSONS[int(rng.integers(len(PERSONS)))],
            colours=self._painted(rng, 4),
            size_m=(height * float(rng.uniform(0.38, 0.46)), height),
            at=at,
            speed=speed,
            strides_hz=0.0 if speed == (0.0, 0.0) else float(rng.uniform(1.2, 2.0)),
        )

    def _obstacles(self, rng: np.random.Generator) -> list[_Thing]:
        found = []
        for _ in range(int(rng.integers(self._level.obstacles[0], self._level.obstacles[1] + 1))):
            parts, width, height = OBSTACLES[int(rng.integers(len(OBSTACLES)))]
            row = self._bands[2] + 2 if rng.random() < 0.7 else self._bands[1] - 1
            found.append(
                _Thing(
                    cls=None,
                    pictures=(parts,),
                    colours=palette(rng, 3, 90, 180),
                    size_m=(width, height),
                    at=(float(rng.uniform(0, SHAPE[1])), float(row)),
                    speed=(0.0, 0.0),
                )
            )
        return found

    def _painted(self, rng: np.random.Generator, parts: int) -> NDArray[np.uint8]:
        return palette(rng, parts, 115, self._level.contrast)

    def frame(self, index: int) -> SceneFrame:
        """Draw one frame, counted from 0."""
        time_s = index / FRAME_RATE_HZ
        picture = self._background.copy()
        owners = np.zeros(SHAPE, dtype=np.int16)
        places = []
        for number, thing in enumerate(self._things, start=1):
            column, row = thing.foot(time_s)
            # Nobody walks through the houses, or closer than where one sees legs only.
            places.append((column, min(max(row, self._bands[0] + 1), SHAPE[0] + 8), number))
        boxes: list[tuple[int, int, int, int]] = []
        numbers: list[int] = []
        pixels: list[int] = []
        # What is nearer to the horizon is farther away: it is drawn first.
        for column, row, number in sorted(places, key=lambda place: (place[1], place[2])):
            thing = self._things[number - 1]
            scale = self._scale(row)
            width = max(round(thing.size_m[0] * scale), 2)
            height = max(round(thing.size_m[1] * scale), 3)
            left, top = round(column - width / 2), round(row) - height
            if left >= SHAPE[1] or left + width <= 0 or top >= SHAPE[0] or top + height <= 0:
                continue
            stride = int(time_s * thing.strides_hz * len(thing.pictures)) % len(thing.pictures)
            parts = scaled(
                thing.pictures[stride],
                height,
                width,
                mirrored=thing.strides_hz > 0 > thing.speed[0],
            )
            self._draw(picture, owners, parts, (left, top), thing, number)
            if thing.cls is not None:
                boxes.append((left, top, left + width, top + height))
                numbers.append(number)
                pixels.append(int(np.count_nonzero(parts)))
        truth, visible = self._truth(owners, boxes, numbers, pixels)
        return SceneFrame(pixels=self._seen(picture, index), truth=truth, visible_ratios=visible)

    @staticmethod
    def _draw(
        picture: NDArray[np.uint8],
        owners: NDArray[np.int16],
        parts: Parts,
        corner: tuple[int, int],
        thing: _Thing,
        number: int,
    ) -> None:
        """Draw one thing in place, and note which pixels are its own."""
        left, top = corner
        bottom, right = top + parts.shape[0], left + parts.shape[1]
        if thing.cls == VEHICLE and 0 < bottom < SHAPE[0]:
            shade = picture[bottom - 1 : bottom + 1, max(left, 0) : max(right, 0)]
            shade -= shade // 3
        rows = slice(max(top, 0), min(bottom, SHAPE[0]))
        columns = slice(max(left, 0), min(right, SHAPE[1]))
        inside = parts[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
        shown = inside > 0
        picture[rows, columns][shown] = thing.colours[inside[shown]]
        owners[rows, columns][shown] = number if thing.cls is not None else 0

    def _truth(
        self,
        owners: NDArray[np.int16],
        boxes: list[tuple[int, int, int, int]],
        numbers: list[int],
        pixels: list[int],
    ) -> tuple[FrameTruth, NDArray[np.float32]]:
        """Return what is asked for, and the shares of it that show."""
        shown = np.bincount(owners.ravel(), minlength=len(self._things) + 1)
        ids = np.array(numbers, dtype=np.int64)
        ratios = (shown[ids] / np.maximum(pixels, 1)).astype(np.float32)
        limits = (SHAPE[1], SHAPE[0], SHAPE[1], SHAPE[0])
        clipped = np.clip(np.array(boxes, dtype=np.float32).reshape(-1, 4), 0, limits)
        clipped = clipped.astype(np.float32)
        sides = clipped[:, 2:] - clipped[:, :2]
        asked = (ratios >= LEAST_VISIBLE_RATIO) & (sides >= _LEAST_PX).all(axis=1)
        truth = FrameTruth(
            boxes=clipped[asked],
            classes=self._classes[ids[asked] - 1],
            ids=ids[asked],
            ignored=clipped[~asked],
        )
        return truth, ratios[asked]

    @cached_property
    def _classes(self) -> NDArray[np.int64]:
        return np.array(
            [-1 if one.cls is None else one.cls for one in self._things], dtype=np.int64
        )

    def _seen(self, picture: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Return a picture as the camera sees it: its light, its lens, its noise."""
        first, second, period_s, cloud_s, is_cloudy = self._light
        time_s = index / FRAME_RATE_HZ
        phase = time_s / period_s % 1.0
        share = 2 * phase if phase < 0.5 else 2 - 2 * phase
        levels = np.arange(256) * round(first + (second - first) * share) >> 8
        picture = np.minimum(levels, 255).astype(np.uint8)[picture]
        if is_cloudy:
            edge = round((time_s - cloud_s) * 60)  # the edge of a shadow that passes
            shade = picture[:, max(edge - 90, 0) : max(edge, 0)]
            shade -= shade // 3
        for _ in range(self._level.blurs):
            wide = picture.astype(np.uint16)
            wide[1:-1] = (wide[:-2] + 2 * wide[1:-1] + wide[2:] + 2) >> 2
            wide[:, 1:-1] = (wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:] + 2) >> 2
            picture = wide.astype(np.uint8)
        return _noisy(picture, self._level.noise, (self._seed, self._number, index))


def _noisy(
    picture: NDArray[np.uint8], deviation: int, seed: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Add noise: sums of four random bytes, near enough to normal, the same on every machine."""
    rng = np.random.default_rng(seed)
    drawn = np.frombuffer(rng.bytes(4 * picture.size), dtype="<u4").reshape(picture.shape)
    pairs = (drawn & 0x00FF00FF) + (drawn >> 8 & 0x00FF00FF)
    total = ((pairs & 0xFFFF) + (pairs >> 16)).astype(np.int32)
    # Four bytes have a standard deviation of 147.8 together.
    noise = (total - 510) * (deviation * 443) >> 16
    noise += picture
    return np.clip(noise, 0, 255, out=noise).astype(np.uint8)
