"""What a scenario is: real data, models that answer it, and how good the answers are.

A `Scenario` describes; its `Workload` holds the loaded data and the models for it.
Nothing here starts a process or sends a request.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ...profiler.oip import Tensors

__all__ = ["Assessment", "Figure", "ModelFamily", "RequestField", "Scenario", "Tensors", "Workload"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One quality figure: its name, what it says, and which way is better.

    `reference_of` names the figure that this one is for a simple answer to the same requests.
    """

    name: str
    title: str
    description: str
    better: Literal["lower", "higher"]
    unit: str = "1"
    reference_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestField:
    """One column that a scenario adds to the per-request rows (a float or null)."""

    name: str
    description: str
    unit: str = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFamily:
    """One model a scenario offers, and the precisions in which it exists."""

    name: str
    title: str
    precisions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """How good some answers are.

    Args:
        figures: Value per `Figure.name`; `None` where the answers do not allow the figure.
        per_request: For each `RequestField.name` an array of shape (answers,).
    """

    figures: Mapping[str, float | None]
    per_request: Mapping[str, NDArray[np.float64]]


class Workload(ABC):
    """A scenario's data, loaded and split, with the models that answer it.

    Attributes:
        source: Where the data came from, for people.
        licence: The licence of the data, or "unknown".
        sha256: SHA-256 of the data file(s), hexadecimal.
        size: Number of distinct samples a request can carry.
    """

    source: str
    licence: str
    sha256: str
    size: int

    @abstractmethod
    def model_path(self, model: str, precision: str) -> Path:
        """Return the ONNX file of one model in one precision.

        Raises:
            SpecError: When there is no such model or precision.
        """

    @abstractmethod
    def inputs(self, sample: int) -> Tensors:
        """Return the input tensors of one sample, each with a leading axis of length 1."""

    @abstractmethod
    def assess(self, samples: NDArray[np.int64], answers: Tensors) -> Assessment:
        """Judge answers.

        Args:
            samples: Shape (answers,): which sample each answer belongs to.
            answers: The output tensors, each with leading axis `answers`.
        """


class Scenario(ABC):
    """One kind of AI service that can be measured.

    Attributes:
        name: The name used in specifications, in snake_case.
        title: The name for people.
        summary: One sentence: what is asked and what is answered.
        models: The models, cheapest first.
        figures: The quality figures; the first is the headline.
        request_fields: The columns it adds to the per-request rows.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    models: ClassVar[tuple[ModelFamily, ...]]
    figures: ClassVar[tuple[Figure, ...]]
    request_fields: ClassVar[tuple[RequestField, ...]]

    @abstractmethod
    def prepare(self, data: Path | None, work: Path) -> Workload:
        """Load and check the data, and see that every model exists for it.

        Args:
            data: The user's data, or `None` for the data that ships with the project.
            work: A folder for models that have to be fitted to the user's data.

        Raises:
            DatasetError: When the data is missing, empty, truncated, or not numeric.
        """
