"""Factors as a dataset has them, and what conditions such as a network change."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import pandas as pd
import pytest

from joulery.campaigns.report.factors import conditions_of, factors_of, level_text
from joulery.campaigns.report.sensitivity import rankings
from joulery.campaigns.report.study import GoalStudy, Study
from joulery.campaigns.report.variance import Refusal, Variance

_SCALE = {"small": 1.0, "large": 3.0}


def _rows(seed: int) -> Iterator[dict[str, object]]:
    """Yield trials under a network that a dataset of today does not have; it adds latency alone."""
    rng = np.random.default_rng(seed)
    cells = product((1, 2, 3), _SCALE, (1, 8), (50.0, 400.0), ("none", "50 ms"))
    for number, (block, model, batch, rate_hz, network) in enumerate(cells, start=1):
        yield {
            "trial": number,
            "block": block,
            "scenario": "made_up",
            "configuration": f"model={model} batch={batch}",
            "model": model,
            "batch": batch,
            "load": f"poisson {rate_hz:g} Hz",
            "arrival": "poisson",
            "rate_hz": rate_hz,
            "network_delay_s": 0.05 if network == "50 ms" else 0.0,
            "network": network,
            "started_at": "2026-01-01",
            "latency_p95_s": 0.01
            * _SCALE[model]
            * (6.0 if network == "50 ms" else 1.0)
            * rng.lognormal(0, 0.05),
            "inference_energy_j": 0.002 * _SCALE[model] / batch**0.25 * rng.lognormal(0, 0.05),
            "quality_value": 0.5 + 0.1 * (model == "large") + 0.01 * rng.normal() * 0 + block / 100,
            "verdict": "valid",
        }


@pytest.fixture
def trials() -> pd.DataFrame:
    """48 made-up trials."""
    return pd.DataFrame(_rows(1))


def _study(trials: pd.DataFrame) -> dict[str, GoalStudy]:
    found = Study("made_up", trials, factors_of(trials, {}, "made_up"))
    return {goal.goal: goal for goal in found.goals}


def test_a_factor_that_nobody_foresaw_is_found(trials: pd.DataFrame) -> None:
    """A column of conditions is a factor; what only repeats it in numbers is not another one."""
    found = factors_of(trials, {}, "made_up")
    assert found.service == ("model", "batch")
    assert found.conditions == ("load", "network")
    assert found.levels["batch"] == ("1", "8")
    assert found.levels["load"] == ("poisson 50 Hz", "poisson 400 Hz")
    assert conditions_of(trials[trials["network"] == "none"]) == ["load"]


def test_what_was_found_to_run_is_no_condition(trials: pd.DataFrame) -> None:
    """The model's file and the pod tell what ran: nobody varied them, and they are no factors."""
    place = list(trials.columns).index("started_at")
    trials.insert(place, "model_file", trials["model"] + "_fp32.onnx")
    trials.insert(place, "pod_uid", [f"pod-{number}" for number in trials["trial"]])
    assert factors_of(trials, {}, "made_up").conditions == ("load", "network")


def test_networks_stand_in_the_order_of_the_specification(trials: pd.DataFrame) -> None:
    """A network is called by its name, its preset, or its trace's file."""
    asked = {"networks": [{"name": None, "preset": "4g"}, {"name": None, "trace": "a/tram.csv"}]}
    trials["network"] = ["tram" if name == "none" else "4g" for name in trials["network"]]
    assert trials["network"].iloc[0] == "tram"
    found = factors_of(trials, asked, "made_up")
    assert found.levels["network"] == ("4g", "tram")


def test_the_specification_orders_levels(trials: pd.DataFrame) -> None:
    """Levels that are words stand in the order in which somebody asked for them."""
    asked = {"scenarios": [{"scenario": "made_up", "factors": {"model": ["small", "large"]}}]}
    assert factors_of(trials, asked, "made_up").levels["model"] == ("small", "large")


@pytest.mark.parametrize(
    ("value", "text"), [(3.0, "3"), (0.25, "0.25"), (8, "8"), ("a", "a"), (None, None)]
)
def test_levels_read_as_people_write_them(value: object, text: str | None) -> None:
    """A whole number that pandas made a fraction of is whole again; nothing said, no text."""
    assert level_text(value) == text
    assert level_text(float("nan")) is None


def test_a_network_shows_in_latency_alone(trials: pd.DataFrame) -> None:
    """What was put in comes out: a sixfold latency, no energy, the same for every model."""
    goals = _study(trials)
    changes = goals["latency"].changes("network")
    assert len(changes) == 8
    for change in changes:
        assert change.level == "50 ms"
        assert change.ratio is not None
        low, high = change.ratio.bounds
        assert low < change.ratio.value < high
        assert change.ratio.value == pytest.approx(6.0, rel=0.25)
    energy = goals["energy"].variance
    assert isinstance(energy, Variance)
    p = {term.name: term.p_holm for term in energy.terms}
    assert p["model"] < 1e-6
    assert p["batch"] < 1e-6
    assert p["network"] > 0.05


def test_the_order_of_configurations_is_kept(trials: pd.DataFrame) -> None:
    """Models a factor of three apart keep their order; tau says so."""
    (found,) = rankings(_study(trials)["energy"].changes("network"))
    assert found.count == 8
    assert found.tau > 0.5
    assert found.first[0]["batch"] == "8"


def test_quality_counts_the_same_answers_once(trials: pd.DataFrame) -> None:
    """Batch, load and network give the same answers: quality has a value per model and block."""
    variance = _study(trials)["quality"].variance
    # Without any scatter beyond the blocks there is no error, and it says so.
    assert isinstance(variance, Refusal)
    rng = np.random.default_rng(6)
    trials["quality_value"] += rng.normal(0, 0.01, len(trials))
    variance = _study(trials)["quality"].variance
    assert isinstance(variance, Variance)
    assert [term.name for term in variance.terms] == ["model"]
    assert len(variance.model.sample.values) == 2 * 3 * 4


def test_energy_of_zero_has_no_logarithm(trials: pd.DataFrame) -> None:
    """With a trial of 0 J energy is analysed as it is; with none at all it is refused."""
    trials.loc[0, "inference_energy_j"] = 0.0
    goals = _study(trials)
    assert (goals["energy"].log, goals["latency"].log) == (False, True)
    assert goals["energy"].changes("network") == []
    trials["inference_energy_j"] = None
    refused = _study(trials)["energy"].variance
    assert isinstance(refused, Refusal)
    assert refused.reason == "the energy of no valid trial is known"
