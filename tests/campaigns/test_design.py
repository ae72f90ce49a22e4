"""Designs: which trials, in which order, and what is left out."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from joulery.campaigns.design import Plan, plan_trials
from joulery.campaigns.scenarios import scenario
from joulery.campaigns.spec import CampaignSpec
from joulery.errors import SpecError


def _spec(**changes: object) -> CampaignSpec:
    base = {
        "name": "x",
        "scenarios": (
            {
                "scenario": "traffic_prediction",
                "factors": {
                    "model": ("ridge", "mlp"),
                    "precision": ("fp32", "int8"),
                    "batch": (1, 8),
                },
            },
        ),
        "loads": ({"rate_hz": 10.0}, {"rate_hz": 20.0}),
        "trial": {"window_s": 20.0},
        "repeats": 3,
    }
    return CampaignSpec.model_validate(base | changes)


def _plan(spec: CampaignSpec) -> Plan:
    return plan_trials(
        spec, {"traffic_prediction": scenario("traffic_prediction")}, "x.yaml", cpus=2
    )


def test_each_block_holds_every_cell_once_in_its_own_order() -> None:
    """A randomised complete block has each configuration under each load exactly once."""
    plan = _plan(_spec())
    blocks = [
        [(str(trial.configuration), trial.load_index) for trial in group]
        for _, group in itertools.groupby(plan.trials, key=lambda trial: trial.block)
    ]
    assert len(blocks) == 3
    assert len(blocks[0]) == 3 * 2 * 2
    assert all(set(Counter(block).values()) == {1} for block in blocks)
    assert set(blocks[0]) == set(blocks[1]) == set(blocks[2])
    assert blocks[0] != blocks[1]
    assert [trial.number for trial in plan.trials] == list(range(1, 37))


def test_the_seed_alone_decides_the_order() -> None:
    """One seed gives one order, another seed another."""
    assert _plan(_spec(seed=5)) == _plan(_spec(seed=5))
    assert _plan(_spec(seed=5)).trials != _plan(_spec(seed=6)).trials


def test_a_model_without_a_precision_is_left_out_with_its_reason() -> None:
    """Combinations that cannot exist are listed, not silently dropped."""
    (left_out,) = _plan(_spec()).excluded
    assert left_out.levels == "model=ridge precision=int8"
    assert "fp32 only" in left_out.reason


def test_threads_that_the_machine_does_not_have_are_left_out() -> None:
    """A level that would silently get fewer CPUs is not measured, and the reason is kept."""
    factors = {"model": ("ridge",), "threads": (1, 2)}
    plan = _plan(_spec(scenarios=({"scenario": "traffic_prediction", "factors": factors},)))
    assert {trial.configuration.threads for trial in plan.trials} == {1}
    (left_out,) = plan.excluded
    assert left_out.levels == "threads=2"
    assert "need 3 CPUs of 2" in left_out.reason


@pytest.mark.parametrize(
    ("loads", "words"),
    [
        (({"rate_hz": 10.0}, {"rate_hz": 10.0}), "twice"),
        (({"rate_hz": 1e6},), "at most 5,000,000"),
        (({"rate_hz": 3.0},), "at least 72"),
    ],
)
def test_loads_that_cannot_be_measured_are_refused(loads: tuple[object, ...], words: str) -> None:
    """Two equal loads would pass for repeats, and a huge one would not fit into memory."""
    with pytest.raises(SpecError, match=words) as caught:
        _plan(_spec(loads=loads))
    assert "loads" in (caught.value.place or "")


@pytest.mark.parametrize(
    ("factors", "place", "words"),
    [
        ({"model": ("rigde",)}, "factors.model", "did you mean 'ridge'?"),
        ({"model": ("ridge",), "precision": ("int4",)}, "factors.precision", "'int4'"),
        ({"model": ("ridge", "ridge")}, "factors.model", "twice"),
        ({"model": ("ridge",), "batch": (1, 1)}, "factors.batch", "twice"),
        ({"model": ("ridge",), "precision": ("int8",)}, "factors", "at least one"),
    ],
)
def test_levels_that_do_not_exist_are_refused(
    factors: dict[str, object], place: str, words: str
) -> None:
    """An unknown model or precision names its place and the nearest that exists."""
    spec = _spec(scenarios=({"scenario": "traffic_prediction", "factors": factors},))
    with pytest.raises(SpecError) as caught:
        _plan(spec)
    assert place in (caught.value.place or "")
    assert words in str(caught.value)
