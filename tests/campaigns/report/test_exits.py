"""Exits: shares, latencies, and energies that trials give away, or do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from joulery.campaigns.report.exits import exit_energies, exit_uses

_ENERGY_J = {1: 0.002, 2: 0.005, 3: 0.011}


def _campaign(
    shares: Mapping[str, Sequence[float]], *, repeats: int = 3, seed: int = 2, exact: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return trials and requests whose energies follow from the exits, but for some noise."""
    rng = np.random.default_rng(seed)
    trials: list[dict[str, object]] = []
    requests = []
    for threshold, share in shares.items():
        for _ in range(repeats):
            number = len(trials) + 1
            if exact:
                exits = np.repeat([1, 2, 3], np.round(400 * np.array(share)).astype(int))
            else:
                exits = rng.choice([1, 2, 3], p=share, size=400)
            total_j = sum(_ENERGY_J[int(one)] for one in exits) * rng.normal(1.0, 0.01)
            trials.append(
                {
                    "trial": number,
                    "configuration": f"model=staged batch=1 exit_threshold={threshold}",
                    "load": "poisson 100 Hz",
                    "service_energy_j": total_j,
                }
            )
            requests.append(
                pd.DataFrame(
                    {
                        "trial": number,
                        "status": "ok",
                        "exit": exits.astype(float),
                        "confidence": 0.9,
                        "latency_s": 0.001 * exits,
                    }
                )
            )
    return pd.DataFrame(trials), pd.concat(requests, ignore_index=True)


def test_energies_are_found_where_shares_differ() -> None:
    """Three thresholds tell the exits apart: of 30 campaigns, intervals mostly hold the truth."""
    shares = {"0.2": (0.8, 0.1, 0.1), "0.5": (0.3, 0.5, 0.2), "0.9": (0.1, 0.2, 0.7)}
    held = 0
    for seed in range(30):
        trials, requests = _campaign(shares, seed=seed)
        (found,) = exit_energies(trials, requests, ["load"])
        assert (found.unknown, found.trials) == (None, 9)
        assert set(found.energy) == {1, 2, 3}
        for exit_, energy in found.energy.items():
            assert energy.value == pytest.approx(_ENERGY_J[exit_], rel=0.2)
            low, high = energy.bounds
            held += low < _ENERGY_J[exit_] < high
    assert held >= stats.binom.ppf(0.005, 90, 0.93)


def test_energies_are_not_known_where_shares_are_alike() -> None:
    """Trials with the same shares tell no exit from another, and the answer says so."""
    trials, requests = _campaign({"0.5": (0.4, 0.3, 0.3)}, repeats=6, exact=True)
    (found,) = exit_energies(trials, requests, ["load"])
    assert found.energy == {}
    assert found.unknown is not None
    assert "too alike" in found.unknown


def test_energies_need_trials_enough() -> None:
    """With as many trials as exits there is nothing to say how sure it is."""
    trials, requests = _campaign({"0.2": (0.8, 0.1, 0.1), "0.9": (0.1, 0.2, 0.7)}, repeats=2)
    (found,) = exit_energies(trials, requests, ["load"])
    assert found.unknown == "4 trials with energy are too few for 3 exits"


def test_a_trial_without_energy_does_not_count_as_one_of_none() -> None:
    """Missing energy leaves a trial out."""
    trials, requests = _campaign({"0.2": (0.8, 0.1, 0.1), "0.9": (0.1, 0.2, 0.7)})
    trials.loc[0, "service_energy_j"] = None
    (found,) = exit_energies(trials, requests, ["load"])
    assert found.trials == 5


def test_shares_add_up_and_have_their_latency() -> None:
    """Shares of a configuration sum to 1, and the latency of an exit is of its requests alone."""
    trials, requests = _campaign({"0.2": (0.8, 0.1, 0.1), "0.9": (0.1, 0.2, 0.7)})
    uses = exit_uses(trials, requests, ["load"])
    assert len(uses) == 6
    for configuration in {use.configuration for use in uses}:
        mine = [use for use in uses if use.configuration == configuration]
        assert sum(use.share.value for use in mine) == pytest.approx(1.0)
        assert sum(use.requests for use in mine) == 1200
    for use in uses:
        low, high = use.share.bounds
        assert low < use.share.value < high
        assert use.latency["p50"].value == pytest.approx(0.001 * use.exit)


def test_models_without_exits_have_none() -> None:
    """Requests that name no exit give no table, rather than one of a single exit."""
    trials, requests = _campaign({"0.5": (0.4, 0.3, 0.3)})
    requests["exit"] = None
    assert exit_uses(trials, requests, ["load"]) == []
    assert exit_energies(trials, requests, ["load"]) == []
