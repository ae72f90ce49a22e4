"""A model of handwritten digits that scikit-learn fitted, and what is known of it offline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from .mlserver import MLServer
from .peer import Peer

__all__ = ["Digits", "fit"]


@dataclass(frozen=True, kw_only=True)
class Digits:
    """The model as MLServer serves it, and what is known of it without a server.

    Args:
        server: That serves it as `digits`.
        images: Shape (digits, 64): digits that the model has not seen.
        truth: Shape (digits,): which ones they are.
        answers: Shape (digits,): which ones scikit-learn says they are.
        accuracy: Share of right answers, as scikit-learn computes it.
    """

    server: MLServer
    images: NDArray[np.float64]
    truth: NDArray[np.int64]
    answers: NDArray[np.int64]
    accuracy: float

    @classmethod
    def of(cls, fitted: Mapping[str, Any], server: MLServer) -> Digits:
        """Return the model that was fitted."""
        images, truth = load_digits(return_X_y=True)
        unseen = slice(fitted["known"], None)
        return cls(
            server=server,
            images=images[unseen] / 16,
            truth=truth[unseen],
            answers=np.array(fitted["answers"]),
            accuracy=fitted["accuracy"],
        )


def fit(python: Path, path: Path) -> Any:
    """Fit the model in MLServer's environment, and return what scikit-learn says of it."""
    with Peer(python, "fit_digits.py") as peer:
        return peer("fit", path=str(path))
