"""What the server gives to a run and no client: how a dynamic model is told what to do.

Each is a scalar, or of shape [1]. A model has those whose names its inputs have, and detectors have
`SCORE_THRESHOLD`, which is no input of a graph: what they find is sieved by it (`detections`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .exits import MAX_EXIT, THRESHOLD

__all__ = ["KNOBS", "RESOLUTION", "SCORE_THRESHOLD", "Knob", "knob_tensors"]

RESOLUTION = "resolution"
SCORE_THRESHOLD = "score_threshold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """One of them.

    Args:
        name: Of the input, and in specifications.
        description: What it does.
        datatype: As ONNX Runtime names it.
        dtype: The same for NumPy.
        default: What is given where nothing is said: the model then does all it can.
        least, most: What may be said.
    """

    name: str
    description: str
    datatype: str
    dtype: type[np.generic]
    default: float
    least: float
    most: float

    def fits(self, datatype: str, shape: list[Any]) -> bool:
        """Return whether an input of this type and shape can be fed with it."""
        return datatype == self.datatype and list(shape) in ([], [1])


KNOBS: Mapping[str, Knob] = {
    knob.name: knob
    for knob in (
        Knob(
            name=THRESHOLD,
            description="Confidence from which a row leaves an early-exit model",
            datatype="tensor(float)",
            dtype=np.float32,
            default=1e6,  # no confidence reaches it
            least=0.0,
            most=1e6,
        ),
        Knob(
            name=MAX_EXIT,
            description="Last exit of an early-exit model that a row may reach, from 1",
            datatype="tensor(int64)",
            dtype=np.int64,
            default=2**20,
            least=1,
            most=2**20,
        ),
        Knob(
            name=RESOLUTION,
            description="Share of the frame's width and height that a detector looks at",
            datatype="tensor(float)",
            dtype=np.float32,
            default=1.0,
            least=0.05,
            most=1.0,
        ),
        Knob(
            name=SCORE_THRESHOLD,
            description="Least score of a detection that counts",
            datatype="tensor(float)",
            dtype=np.float32,
            default=0.0,
            least=0.0,
            most=1.0,
        ),
    )
}
"""All that there are, by name."""


def knob_tensors(
    shapes: Mapping[str, tuple[int, ...]], said: Mapping[str, float | None]
) -> dict[str, NDArray[np.generic]]:
    """Return what each run of a model is given beside the clients' inputs.

    Args:
        shapes: Of the model's knobs: () or (1,).
        said: What is said; `None` or nothing: the default.
    """
    found: dict[str, NDArray[np.generic]] = {}
    for name, shape in shapes.items():
        value = said.get(name)
        chosen = KNOBS[name].default if value is None else value
        found[name] = np.full(shape, chosen, dtype=KNOBS[name].dtype)
    return found
