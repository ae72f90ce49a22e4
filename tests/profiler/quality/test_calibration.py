"""Calibration figures against scikit-learn and hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from joulery.profiler.quality.calibration import (
    brier_score,
    expected_calibration_error,
    multiclass_brier_score,
)

Seeds = st.integers(0, 2**32 - 1)


@given(Seeds, st.integers(1, 20), st.integers(1, 9))
def test_equal_masses_are_those_of_scikit_learn(seed: int, bins: int, each: int) -> None:
    """With distinct values and as many rows in each bin, the curve's mean gap is the error."""
    rng = np.random.default_rng(seed)
    confidence = rng.permutation(np.linspace(0.013, 0.991, bins * each)) ** 2
    outcomes = rng.random(bins * each) < confidence
    true, said = calibration_curve(outcomes, confidence, n_bins=bins, strategy="quantile")
    assert len(true) == bins
    found = expected_calibration_error(outcomes, confidence, bins)
    assert found == pytest.approx(np.abs(true - said).mean(), abs=1e-6)


def test_calibration_error_by_hand() -> None:
    """Two bins: half right at 0.6 is 0.1 off, all right at 0.9 is 0.1 off."""
    found = expected_calibration_error([1, 0, 1, 1], [0.6, 0.6, 0.9, 0.9], bins=2)
    assert found == pytest.approx(0.1)


@given(Seeds, st.integers(1, 60))
def test_the_order_of_rows_does_not_matter(seed: int, rows: int) -> None:
    """Rows of the same confidence stay together, in whatever order they come."""
    rng = np.random.default_rng(seed)
    confidence, outcomes = rng.integers(0, 4, rows) / 4, rng.random(rows) < 0.5
    order = rng.permutation(rows)
    assert expected_calibration_error(outcomes, confidence, 7) == pytest.approx(
        expected_calibration_error(outcomes[order], confidence[order], 7), abs=1e-12
    )


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=40))
def test_brier_is_that_of_scikit_learn(rows: list[tuple[bool, float]]) -> None:
    """The score of an event is scikit-learn's."""
    outcomes, confidence = zip(*rows, strict=True)
    expected = brier_score_loss(outcomes, confidence, labels=[False, True])
    assert brier_score(outcomes, confidence) == pytest.approx(expected, abs=1e-6)


@given(Seeds, st.integers(1, 40), st.integers(3, 6))
def test_brier_of_classes_is_that_of_scikit_learn(seed: int, rows: int, classes: int) -> None:
    """The score of class probabilities is scikit-learn's, not halved."""
    rng = np.random.default_rng(seed)
    truth, given_ = rng.integers(0, classes, rows), rng.dirichlet(np.ones(classes), rows)
    expected = brier_score_loss(truth, given_, labels=range(classes), scale_by_half=False)
    assert multiclass_brier_score(truth, given_) == pytest.approx(expected, abs=1e-6)


def test_without_rows_there_are_no_figures() -> None:
    """No rows give no figure, rather than a perfect one."""
    assert expected_calibration_error([], []) is None
    assert brier_score([], []) is None
    assert multiclass_brier_score([], np.zeros((0, 3))) is None


@pytest.mark.parametrize("wrong", [1.5, -0.1, float("nan")])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    """Values outside [0, 1], and what is no number, are mistakes."""
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        expected_calibration_error([True], [wrong])
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        brier_score([True], [wrong])
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        multiclass_brier_score([0], [[wrong, 0.0]])


def test_shapes_have_to_belong_together() -> None:
    """Different lengths, no bins, and numbers that are no class are mistakes."""
    with pytest.raises(ValueError, match="shapes"):
        brier_score([True, False], [0.5])
    with pytest.raises(ValueError, match="at least 1 bin"):
        expected_calibration_error([True], [0.5], bins=0)
    with pytest.raises(ValueError, match="shapes"):
        multiclass_brier_score([0, 1], [[0.5, 0.5]])
    with pytest.raises(ValueError, match="classes"):
        multiclass_brier_score([2], [[0.5, 0.5]])
