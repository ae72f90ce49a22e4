"""How boxes move: a constant-velocity Kalman filter over all tracks at once.

Centre, aspect and height are filtered each on its own, so that a covariance is three numbers. Who
is who, the tracker decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Motion", "boxes_of", "shapes_of"]

Floats = NDArray[np.float64]

# Standard deviations as ratios of the height, and of the aspect as they are: those of Wojke et al.
# 2017 ("Deep SORT"), which ByteTrack took over.
_POSITION, _VELOCITY = 1 / 20, 1 / 160
_ASPECT_STEP, _ASPECT_VELOCITY, _ASPECT_SEEN = 1e-2, 1e-5, 1e-1
_ASPECT, _HEIGHT = 2, 3


def shapes_of(boxes: NDArray[np.floating]) -> Floats:
    """Return centre x, centre y, aspect (width / height), height; shape (n, 4), of x1,y1,x2,y2."""
    corners = np.asarray(boxes, dtype=np.float64)
    size = corners[:, 2:] - corners[:, :2]
    centre = (corners[:, 2:] + corners[:, :2]) / 2
    return np.column_stack([centre, size[:, 0] / size[:, 1], size[:, 1]])


def boxes_of(shapes: Floats) -> NDArray[np.float32]:
    """Return x1,y1,x2,y2 of shapes; what shrank to less than nothing has no area."""
    height = np.maximum(shapes[:, _HEIGHT], 0.0)
    half = np.column_stack([np.maximum(shapes[:, _ASPECT], 0.0) * height, height]) / 2
    return np.hstack([shapes[:, :2] - half, shapes[:, :2] + half]).astype(np.float32)


def _deviations(height: Floats, ratio: float, aspect: float) -> Floats:
    """Return, shape (n, 4), the standard deviations of shapes of some heights."""
    spread = np.repeat((ratio * np.abs(height))[:, None], 4, axis=1)
    spread[:, _ASPECT] = aspect
    return spread


@dataclass(slots=True)
class Motion:
    """Where tracks are, and where they go; each array has shape (tracks, 4).

    Args:
        position: Shapes: centre x, centre y, aspect, height, in pixels.
        velocity: Their change, per frame.
        var_position: Variance of the position.
        covariance: Of position and velocity.
        var_velocity: Variance of the velocity.
    """

    position: Floats
    velocity: Floats
    var_position: Floats
    covariance: Floats
    var_velocity: Floats

    @classmethod
    def at(cls, shapes: Floats) -> Motion:
        """Return tracks that were seen once, and whose velocity nobody knows."""
        height = shapes[:, _HEIGHT]
        return cls(
            position=shapes.copy(),
            velocity=np.zeros_like(shapes),
            var_position=_deviations(height, 2 * _POSITION, _ASPECT_STEP) ** 2,
            covariance=np.zeros_like(shapes),
            var_velocity=_deviations(height, 10 * _VELOCITY, _ASPECT_VELOCITY) ** 2,
        )

    def step(self, unseen: NDArray[np.bool_]) -> None:
        """Move every track on by one frame; those `unseen`, shape (tracks,), keep their height."""
        height = self.position[:, _HEIGHT]
        self.velocity[unseen, _HEIGHT] = 0.0
        self.position = self.position + self.velocity
        self.var_position = (
            self.var_position
            + 2 * self.covariance
            + self.var_velocity
            + _deviations(height, _POSITION, _ASPECT_STEP) ** 2
        )
        self.covariance = self.covariance + self.var_velocity
        self.var_velocity = (
            self.var_velocity + _deviations(height, _VELOCITY, _ASPECT_VELOCITY) ** 2
        )

    def correct(self, rows: NDArray[np.int64], shapes: Floats) -> None:
        """Take in where some tracks were seen: shapes of shape (rows, 4)."""
        height = self.position[rows, _HEIGHT]
        spread = self.var_position[rows]
        total = spread + _deviations(height, _POSITION, _ASPECT_SEEN) ** 2
        gain, gain_velocity = spread / total, self.covariance[rows] / total
        error = shapes - self.position[rows]
        self.position[rows] += gain * error
        self.velocity[rows] += gain_velocity * error
        self.var_velocity[rows] -= gain_velocity * self.covariance[rows]
        self.covariance[rows] *= 1 - gain
        self.var_position[rows] *= 1 - gain

    def joined(self, other: Motion) -> Motion:
        """Return these tracks, then those of another."""
        return Motion(
            *(np.vstack([mine, its]) for mine, its in zip(self._all(), other._all(), strict=True))
        )

    def only(self, rows: NDArray[np.bool_]) -> Motion:
        """Return some of the tracks."""
        return Motion(*(array[rows] for array in self._all()))

    def _all(self) -> tuple[Floats, ...]:
        return (
            self.position,
            self.velocity,
            self.var_position,
            self.covariance,
            self.var_velocity,
        )
