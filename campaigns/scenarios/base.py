"""What a scenario is: real data, models that answer it, and how good the answers are.

A `Scenario` describes; its `Workload` holds the loaded data and the models for it.
Nothing here starts a process or sends a request.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import SpecError
from ...profiler.oip import Tensors

__all__ = [
    "Assessment", "Figure", "ModelFamily", "OwnModel", "RequestField", "Scenario", "Tensors",
    "Workload",
]  # fmt: skip


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


NETWORK_PRECISIONS = ("fp32", "int8", "mixed")
"""Of networks with exits."""
SMALLEST_PRECISIONS = (*NETWORK_PRECISIONS, "int8_dynamic")
"""Of the smallest of each family: one more of all would make what ships too large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFamily:
    """One model a scenario offers.

    Args:
        name: In specifications.
        title: For people.
        precisions: In which it exists.
        exits: How many exits it has; 1: it always computes all of it.
        is_detector: Whether it finds objects in frames of a video: it can look at a frame in a
            smaller size, and only at some of the frames, and tells how sure it is of each.
        is_own: Whether it is a user's, whose picture has a size of its own.
    """

    name: str
    title: str
    precisions: tuple[str, ...]
    exits: int = 1
    is_detector: bool = False
    is_own: bool = False

    @property
    def knobs(self) -> tuple[str, ...]:
        """The factors that it has beside those of every model."""
        return (
            *(("max_exit", "exit_threshold") if self.exits > 1 else ()),
            *(("resolution",) if self.is_detector and not self.is_own else ()),
            *(("stride", "score_threshold") if self.is_detector else ()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnModel:
    """A model that a user brings.

    Args:
        files: Its ONNX file in each precision.
        sha256: Which files they have to be, by precision, hexadecimal; of others nobody said.
        said: What the files do not tell, as JSON has it; the scenario knows its keys.
    """

    files: Mapping[str, Path]
    sha256: Mapping[str, str]
    said: Mapping[str, Any]


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
        is_sequence: Whether samples follow each other, as frames do, and are asked in their order.
    """

    source: str
    licence: str
    sha256: str
    size: int
    is_sequence: ClassVar[bool] = False

    @abstractmethod
    def model_path(self, model: str, precision: str) -> Path:
        """Return the ONNX file of one model in one precision.

        Raises:
            SpecError: When there is no such model or precision.
        """

    def own_model(self, model: str) -> Mapping[str, Any] | None:
        """Return what a user said of a model of theirs; `None`: it is the project's."""
        del model
        return None

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

    def figure(self, name: str, samples: NDArray[np.int64], answers: Tensors) -> float | None:
        """Return one figure of `assess`; a workload that can do so for less overrides it."""
        return self.assess(samples, answers).figures[name]


class Scenario(ABC):
    """One kind of AI service that can be measured.

    Attributes:
        name: The name used in specifications, in snake_case.
        title: The name for people.
        summary: One sentence: what is asked and what is answered.
        models: The models that ship, cheapest first.
        figures: The quality figures; the first is the headline.
        request_fields: The columns it adds to the per-request rows.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    models: ClassVar[tuple[ModelFamily, ...]]
    figures: ClassVar[tuple[Figure, ...]]
    request_fields: ClassVar[tuple[RequestField, ...]]

    @property
    def families(self) -> tuple[ModelFamily, ...]:
        """The models that ship, and a user's own."""
        return self.models

    def with_own(self, models: Mapping[str, OwnModel]) -> Scenario:
        """Return the scenario with models of a user's, by their names; no file is looked at yet.

        Raises:
            SpecError: When it takes none, or a name is taken.
        """
        raise SpecError(
            self.name,
            found=f"own models: {', '.join(models)}",
            expected="none: only detectors of `video_analytics` can be brought",
            remedy="`data` fits the models that there are to your own data",
        )

    def check_own(self) -> None:  # noqa: B027 - most take none
        """See that each model of a user's can be served.

        Raises:
            SpecError: When a file is missing or another than it has to be, is no model, or none
                that this scenario understands.
        """

    @abstractmethod
    def prepare(self, data: Path | None, work: Path) -> Workload:
        """Load and check the data, and see that every model exists for it.

        Args:
            data: The user's data, or `None` for the data that ships with the project.
            work: A folder for models that have to be fitted to the user's data.

        Raises:
            DatasetError: When the data is missing, empty, truncated, or not numeric.
        """
