"""Accuracy and macro-F1 against scikit-learn and hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score
from sklearn.metrics import confusion_matrix as reference_confusion

from joulery.profiler.quality.classification import accuracy, confusion_matrix, macro_f1

Pairs = list[tuple[int, int]]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_figures_are_those_of_scikit_learn(pairs: Pairs) -> None:
    """On any truth and answers, matrix, accuracy and macro-F1 are scikit-learn's."""
    truth, answers = zip(*pairs, strict=True)
    confusion = confusion_matrix(truth, answers, 5)
    np.testing.assert_array_equal(
        confusion, reference_confusion(truth, answers, labels=list(range(5)))
    )
    assert accuracy(confusion) == pytest.approx(accuracy_score(truth, answers), abs=1e-6)
    expected = f1_score(truth, answers, average="macro")
    assert macro_f1(confusion) == pytest.approx(expected, abs=1e-6)


def test_macro_f1_by_hand() -> None:
    """A class that was only answered counts as 0; one that does not occur does not count."""
    # Class 0: 2 of 2 found, 1 wrong answer less: F1 = 2*1/(2+1). Class 1 was never true.
    assert macro_f1(confusion_matrix([0, 0], [0, 1], 3)) == pytest.approx((2 / 3 + 0) / 2)


def test_without_answers_there_are_no_figures() -> None:
    """No answers give no figure, rather than a zero."""
    empty = confusion_matrix([], [], 4)
    assert (accuracy(empty), macro_f1(empty)) == (None, None)


@pytest.mark.parametrize(
    ("truth", "answers", "message"),
    [([0, 1], [0], "shapes"), ([0], [3], r"\[0, 3\), found 3"), ([-1], [0], "found -1")],
)
def test_what_cannot_be_counted_is_refused(
    truth: list[int], answers: list[int], message: str
) -> None:
    """Different lengths and numbers that are no class are mistakes."""
    with pytest.raises(ValueError, match=message):
        confusion_matrix(truth, answers, 3)
