"""Which trial comes next, as rows come in: retries, cells that settle, searches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from joulery.campaigns.design import Plan, PlannedTrial, plan_trials
from joulery.campaigns.network.presets import preset
from joulery.campaigns.order import pending
from joulery.campaigns.scenarios import scenario
from joulery.campaigns.spec import CampaignSpec

Rows = dict[int, dict[str, Any]]


def spec(**changes: object) -> CampaignSpec:
    """Return a campaign of two cells."""
    base: dict[str, object] = {
        "name": "x",
        "scenarios": (
            {"scenario": "traffic_prediction", "factors": {"model": ("ridge",), "batch": (1, 8)}},
        ),
        "loads": ({"rate_hz": 20.0},),
        "trial": {"window_s": 20.0},
        "repeats": 6,
    }
    return CampaignSpec.model_validate(base | changes)


def plan_of(campaign: CampaignSpec) -> Plan:
    """Return its plan, over a network."""
    scenarios = {"traffic_prediction": scenario("traffic_prediction")}
    return plan_trials(campaign, scenarios, "x.yaml", cpus=2, networks=(preset("lan"),))


def row_of(planned: PlannedTrial, **found: object) -> dict[str, Any]:
    """Return what a trial leaves, as far as it matters here."""
    assert planned.network is not None
    return {
        "trial": planned.number,
        "attempt": planned.attempt,
        "block": planned.block,
        "scenario": planned.configuration.scenario,
        "configuration": str(planned.configuration),
        "network": planned.network.name,
        "load": str(planned.load),
        "rate_hz": planned.load.rate_hz,
        "verdict": "valid",
        "reasons": None,
        "latency_p95_s": 0.01,
        "within_slo_ratio": 1.0,
    } | found


def measured(
    campaign: CampaignSpec, measure: Callable[[PlannedTrial], dict[str, Any]], *, kills: int = 0
) -> Rows:
    """Run a campaign; begin anew after each of the first trials, as after a kill."""
    plan = plan_of(campaign)
    rows: Rows = {}

    def trials() -> Iterator[PlannedTrial]:
        return pending(campaign, plan, lambda: rows)

    for _ in range(kills):
        planned = next(trials(), None)
        if planned is not None:
            rows[planned.number] = measure(planned)
    for planned in trials():
        assert planned.number not in rows
        rows[planned.number] = measure(planned)
    assert next(trials(), None) is None
    return rows


@pytest.mark.parametrize("kills", [0, 3, 50])
def test_invalid_trials_are_tried_again_at_the_end(kills: int) -> None:
    """Each once, with the numbers that follow the plan's; few requests would be few again."""

    def measure(planned: PlannedTrial) -> dict[str, Any]:
        if planned.number in (3, 5):
            return row_of(planned, verdict="invalid", reasons="not_steady (medians)")
        if planned.number == 7:
            return row_of(planned, verdict="invalid", reasons="too_few_requests (3 answered)")
        return row_of(planned)

    rows = measured(spec(), measure, kills=kills)
    assert sorted(rows) == list(range(1, 15))
    assert [rows[number]["attempt"] for number in (12, 13, 14)] == [1, 2, 2]
    assert [rows[number]["block"] for number in (13, 14)] == [rows[3]["block"], rows[5]["block"]]


@pytest.mark.parametrize("kills", [0, 4, 50])
def test_a_cell_that_has_settled_is_measured_no_more(kills: int) -> None:
    """The quiet cell has as many trials as it must, the noisy one all; invalid ones count not."""
    stopping = {"figure": "latency_p95_s", "width_ratio": 0.1, "repeats_min": 3}

    def measure(planned: PlannedTrial) -> dict[str, Any]:
        if planned.configuration.batch == 1:
            return row_of(planned, latency_p95_s=0.01 + 0.0001 * (planned.block % 2))
        if planned.block == 1:
            return row_of(planned, verdict="invalid", reasons="unstable (by 3)")
        return row_of(planned, latency_p95_s=0.01 * planned.block)

    rows = measured(spec(stopping=stopping), measure, kills=kills)
    counts = Counter(row["configuration"] for row in rows.values() if row["attempt"] == 1)
    quiet, noisy = sorted(counts)
    assert "batch=1" in quiet
    assert counts == {quiet: 3, noisy: 6}


@pytest.mark.parametrize("kills", [0, 5, 50])
def test_a_search_narrows_each_configuration_down(kills: int) -> None:
    """Each block finds each capacity anew; a probe that tells nothing is made again."""
    search = {"lowest_hz": 10.0, "highest_hz": 1000.0, "resolution_ratio": 0.1, "retries": 1}
    capacity_hz = {1: 47.0, 8: 333.0}

    def measure(planned: PlannedTrial) -> dict[str, Any]:
        rate_hz = planned.load.rate_hz
        assert rate_hz is not None
        if planned.block == 2 and planned.load_index == 1:
            return row_of(planned, verdict="invalid", reasons="send_lag (p99 9 ms)")
        kept = rate_hz <= capacity_hz[planned.configuration.batch]
        return row_of(planned, within_slo_ratio=0.99 if kept else 0.4)

    rows = measured(spec(loads=(), search=search, repeats=2), measure, kills=kills).values()
    for batch, true_hz in capacity_hz.items():
        for block in (1, 2):
            own = [
                r for r in rows if r["block"] == block and f"batch={batch} " in r["configuration"]
            ]
            kept = max(row["rate_hz"] for row in own if row["within_slo_ratio"] > 0.95)
            failed = min(row["rate_hz"] for row in own if row["within_slo_ratio"] < 0.95)
            assert kept <= true_hz < failed <= 1.1001 * kept
            assert len(own) == 6 + (block == 2)
