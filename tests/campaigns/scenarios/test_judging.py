"""How good a model is offline: a figure over all samples with its interval."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from joulery.campaigns.scenarios.judging import answers_of, inputs_of, judged
from joulery.campaigns.scenarios.model import Model
from joulery.tests.campaigns.tiny import TinyScenario


def test_all_samples_are_answered_in_their_order(tmp_path: Path) -> None:
    """Joined, asked in chunks, and put together again."""
    workload = TinyScenario().prepare(None, tmp_path)
    model = Model(workload.model_path("double", "fp32"), 1)
    answers = answers_of(model, inputs_of(workload), {})
    np.testing.assert_array_equal(answers["y"].ravel(), 2.0 * np.arange(workload.size))


def test_the_interval_of_a_mean_is_that_of_its_blocks(tmp_path: Path) -> None:
    """For a mean, the jackknife over blocks is the standard error of the blocks' means."""
    workload = TinyScenario().prepare(None, tmp_path)
    workload.size = 48  # twelve blocks of one size
    rng = np.random.default_rng(0)
    errors = rng.exponential(size=workload.size)[:, None].astype(np.float32)
    wrong = {"y": 2 * np.arange(workload.size, dtype=np.float32)[:, None] + errors}
    figure = TinyScenario.figures[0].name
    found = judged(workload, wrong, figure)
    assert found is not None
    value, low, high = found
    assert value == pytest.approx(float(errors.mean()), rel=1e-4)
    blocks = np.array([block.mean() for block in np.array_split(errors, 12)])
    assert high - value == pytest.approx(value - low)
    assert high - value == pytest.approx(2.201 * blocks.std(ddof=1) / np.sqrt(12), rel=1e-3)
