"""The grid: the same figures whoever computes them, and the published ones still those."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from joulery.campaigns.validation.results import Found, is_full, read
from joulery.campaigns.validation.run import Grid, Validation, validate
from joulery.campaigns.validation.summary import summarise
from joulery.campaigns.validation.watch import Score, Times, Watched
from joulery.datasets.validation import NODES, SCORES, SUMMARY
from joulery.datasets.verify import verify
from joulery.profiler.simulator.machine import Machine

from ...conftest import REPOSITORY

PUBLISHED = REPOSITORY / "datasets" / "published" / "energy-validation"
CHEAPEST = "shared-gpu"

LAST_DIGITS = 1e-6
"""Another processor's linear algebra adds in another order; a change of the code shows above."""

SHORT = Grid(
    scenarios=("never-idle", "shared-gpu"),
    seeds=(3,),
    times=Times(duration_s=60.0, settle_s=30.0, window_s=30.0),
)


@pytest.fixture(scope="module")
def spread() -> Validation:
    """A short grid, on two fresh processes."""
    return validate(SHORT, workers=2)


@pytest.fixture(scope="module")
def published() -> Found:
    """What is published."""
    return read(PUBLISHED)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_grid_gives_the_same_figures(spread: Validation, workers: int) -> None:
    """Every bit is the same, in this process, or in others that started afresh."""
    again = validate(SHORT, workers=workers)
    pd.testing.assert_frame_equal(again.scores, spread.scores, check_exact=True)
    pd.testing.assert_frame_equal(again.nodes, spread.nodes, check_exact=True)
    assert len(spread.scores) > 40


def test_rows_stand_in_the_grid_s_order_and_progress_is_told() -> None:
    """However workers finish, rows are by scenario and seed; each node is told once."""
    grid = Grid(scenarios=("shared-gpu", "never-idle"), seeds=(5, 4), times=SHORT.times)
    told: list[str] = []
    found = validate(grid, workers=2, progress=told.append)
    assert list(zip(found.nodes["scenario"], found.nodes["seed"], strict=True)) == grid.nodes
    assert sorted(told) == sorted(scenario for scenario, _ in grid.nodes)


def test_each_seed_is_another_machine() -> None:
    """Nodes of one scenario differ."""
    grid = Grid(scenarios=(CHEAPEST,), seeds=(1, 2), times=SHORT.times)
    assert validate(grid, workers=1).nodes["machine_core_w"].nunique() == 2


def test_the_tables_are_what_is_recorded(spread: Validation) -> None:
    """Every fact of a node and a score is a declared column, and nothing else is."""
    own = {"node", "provenance"}
    assert {column.name for column in SCORES.columns} == set(spread.scores.columns)
    assert {column.name for column in NODES.columns} == set(spread.nodes.columns) | own
    assert {field.name for field in fields(Score)} <= {column.name for column in SCORES.columns}
    facts = {field.name for field in fields(Watched)} - {"scores"}
    facts |= {f"machine_{field.name}" for field in fields(Machine)}
    assert facts <= {column.name for column in NODES.columns}
    summary = set(summarise(spread.scores).columns) | {"provenance"}
    assert {column.name for column in SUMMARY.columns} == summary


def test_the_published_dataset_is_whole_and_of_the_whole_grid(published: Found) -> None:
    """Its files are as they were written, and no scenario or seed of the grid is missing."""
    assert verify(PUBLISHED) == []
    assert published.full
    assert is_full(Grid())
    assert list(published.scenarios) == list(Grid().scenarios)
    assert len(published.nodes) == len(Grid().nodes)


@pytest.mark.parametrize("scenario", [CHEAPEST, "co-located"])
def test_a_published_node_comes_out_again(published: Found, scenario: str) -> None:
    """The code of today finds the published energies and intervals of a node, but last digits."""
    again = validate(Grid(scenarios=(scenario,), seeds=(0,)), workers=1)
    scores, nodes = (
        frame[(frame["scenario"] == scenario) & (frame["seed"] == 0)].reset_index(drop=True)
        for frame in (published.scores, published.nodes)
    )
    kept = list(scores.columns)
    pd.testing.assert_frame_equal(
        again.scores[kept], scores, rtol=LAST_DIGITS, atol=LAST_DIGITS, check_dtype=False
    )
    for name in ("idle_w", "true_idle_w", "unknown_s", "machine_gpu_w"):
        assert again.nodes[name][0] == pytest.approx(nodes[name][0], rel=LAST_DIGITS)


def test_the_published_summary_is_that_of_the_published_scores(published: Found) -> None:
    """Every figure of the summary follows from the scores beside it."""
    again = summarise(published.scores)
    for name in again.columns:
        column, found = again[name], published.summary[name]
        if column.dtype.kind == "f":
            np.testing.assert_allclose(found, column, rtol=LAST_DIGITS, atol=LAST_DIGITS)
        else:
            assert found.tolist() == column.tolist()
