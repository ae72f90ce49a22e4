"""Fit the detectors to generated streets, settle what their confidence is, and write them as ONNX.

Streets to train on, to settle confidences on and to judge on have seeds of their own (`clips`).
Only training imports this: it needs the extra `train`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from ....profiler.quality.detection import FrameTruth
from ..confidence import Gate
from ..early_exit import ExitNetwork, Stage, precisions, seeded, train
from ..graphs import with_metadata
from ..slim import slimmed
from .clips import settling_streets, training_streets
from .framing import IMAGE, framed
from .matching import frame_f1
from .network import (
    PRUNED,
    PRUNED_FROM,
    PRUNED_SIZE,
    SIZES,
    Size,
    Summary,
    detector,
    image_of,
    loss,
)
from .pruning import pruned
from .scenes import SHAPE
from .targets import SIZES_PX, Samples, samples

__all__ = ["TOLERANCE", "exported", "f1_of", "fit", "fit_networks", "settle"]

_SEED = 2018
_EVERY = 25
"""Frames between two that are trained on: closer ones look alike."""
_RATE = 8e-3
_BATCH = 16
_SHARES = (0.6, 0.2, 0.2)
"""How often each of `SIZES_PX` is trained on."""
TOLERANCE = 0.1
"""An exit is good enough where its F1 is no lower than the last exit's by more than this."""
_ANSWERS = ("boxes", "scores", "classes")


def fit_networks(
    sha256: str,
    *,
    sizes: Mapping[str, Size] = SIZES,
    clips: int | None = None,
) -> dict[tuple[str, str], onnx.ModelProto]:
    """Fit every detector in every precision.

    Args:
        sha256: Of the data that the models are judged on, for their metadata.
        sizes: The detectors.
        clips: How many clips of each difficulty to train on; `None`: as many as shipped models.

    Returns:
        ONNX models by (model, precision): see `framing` for inputs, `cascade` for exits.
    """
    learned = samples(training_streets(clips), _EVERY)
    settled = samples(settling_streets(clips), _EVERY)
    models = {}
    for name, size in sizes.items():
        with seeded(_SEED) as generator:
            network = detector(size)
            fit(network, learned, size.rounds, generator=generator)
            settle(network, settled)
            models.update(exported(network, learned, name, sha256, size.precisions))
            if name == PRUNED_FROM:
                thin = pruned(network, PRUNED_SIZE)
                fit(thin, learned, PRUNED_SIZE.rounds, generator=generator, rate=_RATE / 2)
                settle(thin, settled)
                models.update(exported(thin, learned, PRUNED, sha256, PRUNED_SIZE.precisions))
    return models


def fit(
    network: ExitNetwork,
    learned: Samples,
    rounds: int,
    *,
    generator: torch.Generator,
    rate: float = _RATE,
) -> None:
    """Train a detector, in place, at several resolutions."""
    shares = torch.tensor(_SHARES)

    def seen(given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        place = int(torch.multinomial(shares, 1, generator=generator))
        return (image_of(given[0], SIZES_PX[place]),)

    train(
        network,
        [torch.from_numpy(learned.frames)],
        [torch.from_numpy(one) for maps in learned.maps for one in maps],
        loss,
        generator=generator,
        epochs=rounds,
        batch=_BATCH,
        learning_rate=rate,
        augment=seen,
    )


def settle(network: ExitNetwork, settled: Samples) -> None:
    """Fit what each exit's confidence is, in place.

    It is the probability that the exit's detections of a frame are as good as the last exit's: F1
    at an overlap of 0.5, of detections of a score of 0.3 or more, no lower by more than 0.1.
    """
    with torch.no_grad():
        answers: list[tuple[torch.Tensor, ...]] = []
        features = []
        given = image_of(torch.from_numpy(settled.frames))
        for stage in network.stages:
            assert isinstance(stage, Stage)
            given = stage.body(given)
            features.append(given)
            answers.append(tuple(stage.head(given)))
        scores = [f1_of(answer, settled.truths) for answer in answers]
        for stage, answer, seen, score in zip(
            network.stages, answers, features, scores, strict=True
        ):
            summary = Summary()
            stage.confidence = Gate(
                summary, summary(answer, seen).numpy(), (score >= scores[-1] - TOLERANCE).tolist()
            )


def f1_of(answer: Sequence[torch.Tensor], truths: Sequence[FrameTruth]) -> NDArray[np.float64]:
    """Return F1 of each frame, from boxes in shares of the frame, scores and classes."""
    boxes, scores, classes = (tensor.numpy() for tensor in answer)
    sides = np.array([SHAPE[1], SHAPE[0], SHAPE[1], SHAPE[0]], dtype=np.float32)
    return np.array(
        [
            frame_f1(truth, boxes[row] * sides, scores[row], classes[row])
            for row, truth in enumerate(truths)
        ]
    )


def exported(
    network: ExitNetwork, learned: Samples, name: str, sha256: str, wanted: Sequence[str]
) -> dict[tuple[str, str], onnx.ModelProto]:
    """Return a fitted detector as ONNX models by (model, precision)."""
    order = np.random.default_rng(_SEED).permutation(len(learned.frames))[:256]
    images = image_of(torch.from_numpy(learned.frames[order])).numpy()
    cascades = precisions(
        *(network, {IMAGE: images}, _ANSWERS), name=name, wanted=wanted, free_axes=(2, 3)
    )
    network.eval()  # writing its last stage leaves that one as for training
    models = {}
    for precision, model in cascades.items():
        about = {"model": name, "precision": precision, "scenario": "video_analytics"}
        models[name, precision] = with_metadata(
            slimmed(framed(model)), about | {"training_data_sha256": sha256}
        )
    return models
