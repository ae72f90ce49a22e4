"""Small real campaigns over emulated networks, and in search of a highest rate."""

from __future__ import annotations

from pathlib import Path

import pytest

from joulery.campaigns.design import plan_trials
from joulery.campaigns.network.presets import preset
from joulery.campaigns.scenarios import scenario
from joulery.campaigns.spec import parse_spec
from joulery.datasets.store import load
from joulery.errors import SpecError

from .command import joulery

BASE = """\
name: small
scenarios:
  - scenario: traffic_prediction
    factors: {model: [ridge]}
trial: {idle_s: 0.2, warmup_round_s: 0.3, warmup_max_s: 1.5, window_s: 1}
limits:
  {send_lag_p99_s: 0.5, steady_ratio: 5, subwindow_cv_ratio: 5, idle_drift_ratio: 50,
   link_late_ratio: 0.9, neighbour_ratio: 0.99, retries: 0}
"""
NETWORKS = """\
loads: [{rate_hz: 40}]
repeats: 1
slo: {latency_s: 0.1, percentile: 0.5}
networks:
  - {preset: lan}
  - {name: far, up: {delay_s: 0.06}, down: {delay_s: 0.06, loss_ratio: 0.1}}
"""
SEARCH = """\
search: {lowest_hz: 20, highest_hz: 160, resolution_ratio: 0.5, retries: 0}
repeats: 2
"""


def run(folder: Path, text: str) -> Path:
    """Run a campaign as a user does; return its dataset's folder."""
    (folder / "campaign.yaml").write_text(BASE + text)
    joulery("run", folder / "campaign.yaml", "--out", folder / "out", "--plain")
    joulery("dataset", "verify", folder / "out")
    return folder / "out"


def test_a_network_stands_between_load_and_service(tmp_path: Path) -> None:
    """Each is a level of its own; its delay is in every latency, and its figures in the dataset."""
    dataset = load(run(tmp_path, NETWORKS))
    trials = dataset.trials.set_index("network")
    assert set(trials.index) == {"lan", "far"}
    assert (trials["verdict"] == "valid").all(), trials["reasons"].tolist()
    requests = dataset.requests("traffic_prediction")
    far = requests[requests["trial"] == trials["trial"]["far"]]
    near = requests[requests["trial"] == trials["trial"]["lan"]]
    assert far["latency_s"].min() >= 0.12
    assert near["latency_s"].min() < 0.12
    assert trials["within_slo_ratio"]["far"] == 0
    assert trials["within_slo_ratio"]["lan"] > 0.5
    # One segment in ten of the answers is lost, and none of the requests.
    assert 0.01 < trials["link_lost_ratio"]["far"] < 0.12
    assert trials["link_lost_ratio"]["lan"] < 0.01
    assert (trials["link_cpu_s"] > 0).all()
    told = dataset.environment["networks"]
    assert [one["name"] for one in told] == ["lan", "far"]
    assert told[1]["up"]["delay_s"] == 0.06


@pytest.mark.parametrize(("objective_s", "kept"), [("5.0", True), ("0.000001", False)])
def test_a_search_ends_at_an_end_of_its_range(tmp_path: Path, objective_s: str, kept: bool) -> None:
    """A service that keeps every rate is asked for more, one that keeps none for less."""
    slo = f"slo: {{latency_s: {objective_s}, percentile: 0.5}}\n"
    trials = load(run(tmp_path, SEARCH + slo)).trials
    assert (trials["verdict"] == "valid").all(), trials["reasons"].tolist()
    for _, block in trials.groupby("block"):
        rates = block.sort_values("trial")["rate_hz"].tolist()
        assert len(rates) == 3
        assert rates[0] == pytest.approx(56.57)
        assert rates == sorted(rates, reverse=not kept)
        assert ((block["within_slo_ratio"] >= 0.5) == kept).all()


def test_a_network_to_a_server_with_a_certificate_is_refused() -> None:
    """The emulator has another name than the certificate."""
    document = {
        "name": "x",
        "scenarios": [
            {
                "scenario": "traffic_prediction",
                "factors": {"model": ["ridge"]},
                "endpoint": {"url": "https://ai.example"},
            }
        ],
        "loads": [{"rate_hz": 40}],
        "networks": [{"preset": "lan"}],
    }
    scenarios = {"traffic_prediction": scenario("traffic_prediction")}
    with pytest.raises(SpecError, match=r"scenarios\[0\].endpoint.url: found https://ai.example"):
        plan_trials(parse_spec(document), scenarios, "x.yaml", cpus=2, networks=(preset("lan"),))
