"""What services answered, what was right, and how the two are compared."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ACCURACY", "Answer", "Label", "Scalar", "verdict"]

ACCURACY = "accuracy"
"""The metric of labels that do not say."""

Scalar = str | int | float | bool
"""What an answer or a label may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a service answered.

    Args:
        id: Of its request; unique among all services that are judged together.
        model: That answered.
        variant: Of the model.
        exit: That the answer came by.
        prediction: To compare labels with; `None`: it can only be scored.
    """

    id: str
    model: str
    variant: str = ""
    exit: str = ""
    prediction: Scalar | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The truth about an answer, or a score of it.

    Args:
        id: Of the request.
        value: What would have been right; or a score, 0 to 1.
        is_score: Which of the two.
        metric: What it tells.
    """

    id: str
    value: Scalar
    is_score: bool = False
    metric: str = ACCURACY


def verdict(prediction: Scalar | None, value: Scalar, *, is_score: bool) -> float | None:
    """Return 1 for right, 0 for wrong, or the score; `None` where the two cannot be compared.

    Numbers are compared as numbers and text as text; "7" against 7 is a mistake somewhere, and
    to call it a wrong answer would tell an accuracy of 0.
    """
    if is_score:
        return float(value)
    if prediction is None or isinstance(prediction, str) != isinstance(value, str):
        return None
    return float(prediction == value)
