"""Environments as a factor: how they are planned, what trials in them record, what is refused."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from rich.console import Console

from joulery.campaigns.bench import Bench, open_bench
from joulery.campaigns.campaign import Campaign
from joulery.campaigns.configuration import Configuration
from joulery.campaigns.course import observe
from joulery.campaigns.design import Plan, PlannedTrial, plan_trials
from joulery.campaigns.highest_rates import highest_rates
from joulery.campaigns.imposed.machine import Machine
from joulery.campaigns.imposed.spec import EnvironmentSpec
from joulery.campaigns.live import PlainLog
from joulery.campaigns.loads import Load, OfflineLoad, SteadyLoad
from joulery.campaigns.runner import run_campaign
from joulery.campaigns.scenarios import scenario
from joulery.campaigns.spec import parse_spec
from joulery.campaigns.trial import failed_trial, run_trial
from joulery.datasets.store import load
from joulery.errors import SpecError, TrialError
from joulery.profiler.attribution import attribute_window, observe_window
from joulery.profiler.host import Host
from joulery.profiler.sources import discover

from ...profiler.sources.trees import cpufreq
from ..command import joulery, recorded, running
from ..searched import SPEC as SEARCHED
from ..searched import probe_rows
from ..tiny import TinyScenario, TinyWorkload
from .test_frequency import kill_while_held, settings

_LATEST_S = 120.0
_BUSY = EnvironmentSpec(name="busy", neighbour_cpus=1)
_HALF = EnvironmentSpec(name="half", neighbour_cpus=0.5)
_QUIET = EnvironmentSpec(name="quiet")
_SLOW = EnvironmentSpec(name="slow", governor="powersave", max_frequency_mhz=1200)
_BEFORE, _DURING = ("schedutil", "1400000", "3600000"), ("powersave", "1200000", "1200000")

_CAMPAIGN = """\
name: small
scenarios:
  - scenario: traffic_prediction
    factors: {model: [seasonal_naive]}
loads: [{rate_hz: 60}]
repeats: 1
trial: {idle_s: 0.1, warmup_round_s: 0.1, warmup_max_s: 0.3, window_s: 1}
slo: {latency_s: 0.1, percentile: 0.5}
limits: {send_lag_p99_s: 0.5, steady_ratio: 50, subwindow_cv_ratio: 50, idle_drift_ratio: 50,
         neighbour_ratio: 0.99, retries: 0}
"""
_SPEC = parse_spec(
    {
        "name": "tiny",
        "scenarios": [{"scenario": "tiny", "factors": {"model": ["double"]}}],
        "loads": [{"rate_hz": 50.0}],
        "trial": {"idle_s": 0.3, "warmup_round_s": 0.2, "warmup_max_s": 0.4, "window_s": 0.8},
    }
)


def _planned(environment: EnvironmentSpec | None, offered: Load) -> PlannedTrial:
    configuration = Configuration(
        scenario="tiny", model="double", precision="fp32", batch=1, threads=1
    )
    return PlannedTrial(
        number=1,
        attempt=1,
        block=1,
        repeat=1,
        configuration=configuration,
        load_index=0,
        load=offered,
        environment=environment,
    )


def _row(
    bench: Bench,
    environment: EnvironmentSpec | None,
    offered: Load | None = None,
    phase: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    planned = _planned(environment, offered or SteadyLoad(rate_hz=50.0))
    return run_trial(planned, _SPEC, _SPEC.scenarios[0], TinyScenario(), bench, phase).row


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A policy of frequency for each CPU of this machine, in a tree."""
    sys = tmp_path_factory.mktemp("machine") / "sys"
    return cpufreq(sys, *([cpu] for cpu in sorted(os.sched_getaffinity(0))))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, policies: list[Path]) -> Iterator[Bench]:
    """A tiny service on this machine, whose frequencies are those of the tree."""
    folder = tmp_path_factory.mktemp("bench")
    workloads = {"tiny": TinyWorkload(folder / "tiny")}
    host = Host(sys=policies[0].parents[4])
    with open_bench(discover(), workloads, Machine(host, folder), host=host) as found:
        yield found


def test_a_neighbour_slows_a_service_down(bench: Bench) -> None:
    """With all CPU time of its core asked for by another, a service answers less in a second.

    Other work on this machine may hide it in a few trials, so there are as many as it takes.
    """
    offered = OfflineLoad(arrival="offline", samples=1500)
    found: dict[str, float] = {"quiet": 0.0, "busy": 0.0}
    for pairs in range(1, 9):
        for environment in (_QUIET, _BUSY):
            found[environment.name] += _row(bench, environment, offered)["throughput_hz"]
        if pairs >= 2 and found["busy"] < 0.85 * found["quiet"]:
            return
    pytest.fail(f"answers a second, summed over trials: {found}")


def test_a_neighbour_s_time_and_energy_are_its_own(bench: Bench) -> None:
    """What it used is recorded, it rests in the baselines, and the parts are the whole."""
    planned = _planned(_HALF, SteadyLoad(rate_hz=50.0))
    seen = observe(planned, _SPEC, _SPEC.scenarios[0], bench, lambda _: None)
    used_s = {name: window.work_s["neighbour"] for name, window in seen.windows.items()}
    window = seen.windows["window"]
    assert 0.1 * window.duration_s < used_s["window"] < 0.5 * window.duration_s + 0.15
    assert used_s["warmup"] > 0
    assert max(used_s["idle_before"], used_s["idle_after"]) < 0.02
    models = bench.models_in(_HALF)
    assert models is bench.models, "a neighbour changes no power of the machine"
    for reading in seen.windows.values():
        observe_window(models, reading)
    shared = attribute_window(window, models, owner="service")
    assert shared is not None
    parts = shared.parts
    assert set(parts) == {"service", "generator", "neighbour"}
    assert parts["neighbour"].value_j > 0
    whole_j = sum(part.value_j for part in (*parts.values(), shared.idle, shared.system))
    assert whole_j == pytest.approx(shared.total.value_j, rel=1e-9)


def test_a_row_says_what_the_machine_was(bench: Bench, policies: list[Path]) -> None:
    """A trial is measured at its frequency, its row tells it, and then all is as it was."""
    seen: dict[str, tuple[str, ...]] = {}
    slow = _row(bench, _SLOW, phase=lambda name: seen.update({name: settings(policies[-1])}))
    assert seen.pop("start") == _BEFORE
    assert set(seen.values()) == {_DURING}
    assert {"idle before", "window", "idle after"} <= set(seen)
    assert settings(policies[-1]) == _BEFORE
    facts = ("environment", "environment_cpu_s", "cpu_governor", "cpu_max_frequency_hz")
    assert [slow[name] for name in facts] == ["slow", None, "powersave", 1.2e9]
    quiet = _row(bench, _QUIET)
    assert [quiet[name] for name in facts] == ["quiet", None, "schedutil", 3.6e9]
    half = _row(bench, _HALF)
    assert half["environment_cpu_s"] > 0
    assert [_row(bench, None)[name] for name in facts] == [None] * 4
    assert slow["service_energy_j"] is not None
    assert bench.models_in(_SLOW) is not bench.models, "another frequency, another power"


def test_a_trial_that_fails_leaves_nothing_changed(bench: Bench, policies: list[Path]) -> None:
    """What was set is put back when a trial breaks off, and its row says which one it was."""

    def fail(name: str) -> None:
        if name == "window":
            raise TrialError("the trial", found="a failure")

    with pytest.raises(TrialError) as caught:
        _row(bench, _SLOW, phase=fail)
    assert settings(policies[-1]) == _BEFORE
    planned = _planned(_SLOW, SteadyLoad(rate_hz=50.0))
    row = failed_trial(planned, TinyScenario(), caught.value).row
    assert (row["environment"], row["cpu_governor"]) == ("slow", None)


def test_the_next_run_puts_back_what_a_kill_left(tmp_path: Path) -> None:
    """It does so before all else, says so, and what it measures is measured as asked."""
    policies = cpufreq(tmp_path / "sys", *([cpu] for cpu in sorted(os.sched_getaffinity(0))))
    spec = tmp_path / "c.yaml"
    spec.write_text(_CAMPAIGN + "environments: [{name: slow, max_frequency_mhz: 2000}]\n")
    campaign = Campaign.from_file(spec, tmp_path / "out")
    said = io.StringIO()
    host = Host(sys=tmp_path / "sys")
    kill_while_held(host.sys, campaign.work / "frequencies")
    assert _DURING in [settings(one) for one in policies]
    run_campaign(campaign, PlainLog(Console(file=said)), resume=False, force=False, host=host)
    assert "left frequencies of CPUs changed; they are put back" in said.getvalue()
    assert {settings(one) for one in policies} == {_BEFORE}
    (row,) = load(tmp_path / "out").trials.to_dict("records")
    assert (row["cpu_governor"], row["cpu_max_frequency_hz"]) == ("schedutil", 2e9)
    assert "poisson 60 Hz, slow" in (tmp_path / "out/report.md").read_text()


def test_a_campaign_that_cannot_have_its_frequency_measures_nothing(tmp_path: Path) -> None:
    """It ends with the reason before its first trial, and leaves no folder behind."""
    spec = tmp_path / "c.yaml"
    spec.write_text(_CAMPAIGN + "environments: [{name: slow, governor: powersave}]\n")
    campaign = Campaign.from_file(spec, tmp_path / "out")
    log = PlainLog(Console(file=io.StringIO()))
    with pytest.raises(TrialError, match=r"environment slow: found no .*only its host can"):
        run_campaign(campaign, log, resume=False, force=False, host=Host(sys=tmp_path / "bare"))
    assert not campaign.work.exists()


def test_environments_go_from_the_specification_to_the_report(tmp_path: Path) -> None:
    """A killed campaign leaves no neighbour; it goes on, and each environment is a condition."""
    spec, out = tmp_path / "c.yaml", tmp_path / "out"
    spec.write_text(
        _CAMPAIGN.replace("repeats: 1", "repeats: 2")
        + "environments: [{name: quiet}, {name: busy, neighbour_cpus: 0.5}]\n"
    )
    runner = running("run", spec, "--out", out, "--plain")
    until_s = time.monotonic() + _LATEST_S
    while not (found := _neighbours(runner.pid)):
        assert runner.poll() is None
        assert time.monotonic() < until_s
        time.sleep(0.01)
    os.kill(runner.pid, signal.SIGKILL)
    runner.communicate()
    while any(one.is_running() for one in found):
        assert time.monotonic() < until_s
        time.sleep(0.01)
    assert recorded(tmp_path / "out.campaign/journal.sqlite") < 4
    done = joulery("run", spec, "--out", out, "--plain", "--resume")
    assert "poisson 60 Hz, busy" in done.stdout
    trials = load(out).trials
    assert sorted(trials["environment"]) == ["busy", "busy", "quiet", "quiet"]
    used_s = trials.set_index("environment")["environment_cpu_s"]
    assert (used_s["busy"] > 0).all()
    assert used_s["quiet"].isna().all()
    text = (out / "report.md").read_text()
    assert "| environment | busy | quiet |" in text


def _neighbours(pid: int) -> list[psutil.Process]:
    try:
        children = psutil.Process(pid).children()
        return [one for one in children if "joulery.campaigns.imposed.burner" in one.cmdline()]
    except psutil.NoSuchProcess:
        return []


def _plan(**changes: object) -> Plan:
    base: dict[str, object] = {
        "name": "x",
        "scenarios": [
            {"scenario": "traffic_prediction", "factors": {"model": ["ridge"], "threads": [1, 2]}}
        ],
        "loads": [{"rate_hz": 100.0}],
        "environments": [{"name": "quiet"}, {"name": "crowd", "neighbour_cpus": 1.5}],
        "repeats": 2,
    }
    known = {"traffic_prediction": scenario("traffic_prediction")}
    return plan_trials(parse_spec(base | changes), known, "x.yaml", cpus=4)


def test_a_neighbour_fits_on_the_cpus_of_its_service() -> None:
    """Cells are crossed with environments; a service with fewer CPUs than it asks for is none."""
    plan = _plan()
    cells = {(one.configuration.threads, one.under["environment"]) for one in plan.trials}
    assert cells == {(1, "quiet"), (2, "quiet"), (2, "crowd")}
    (entry,) = plan.excluded
    assert entry.levels == "threads=1 environment=crowd"
    assert entry.reason == "a neighbour of 1.5 CPUs, and a service of 1"
    plan = _plan(constraints=["environment == 'crowd' or threads == 1"])
    cells = {(one.configuration.threads, one.under["environment"]) for one in plan.trials}
    assert cells == {(1, "quiet"), (2, "crowd")}


_CLUSTER = {"namespace": "n", "image": "i:1", "prometheus_url": "http://192.0.2.1"}
_ELSEWHERE = {"scenario": "traffic_prediction", "factors": {"model": ["ridge"]}}


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        (
            {"scenarios": [_ELSEWHERE | {"endpoint": {"url": "http://192.0.2.1:80"}}]},
            "scenarios[0].endpoint",
            ["traffic_prediction elsewhere", "only this machine"],
        ),
        (
            {"scenarios": [_ELSEWHERE | {"kubernetes": _CLUSTER}]},
            "scenarios[0].kubernetes",
            ["traffic_prediction elsewhere"],
        ),
        (
            {"environments": [{"name": "a"}, {"name": "a", "neighbour_cpus": 1.0}]},
            "environments",
            ["a twice"],
        ),
        (
            {"environments": [{"name": "a", "neighbour_cpus": 2.5}]},
            "environments[0].neighbour_cpus",
            ["found 2.5", "`threads`"],
        ),
    ],
)
def test_environments_that_cannot_be_are_refused(
    changes: Mapping[str, object], place: str, words: list[str]
) -> None:
    """Services elsewhere, names that stand twice, and neighbours no service has room for."""
    with pytest.raises(SpecError) as caught:
        _plan(**changes)
    assert caught.value.place == place
    for word in words:
        assert word in str(caught.value)


def test_a_search_is_one_of_each_environment() -> None:
    """The highest rate of a configuration is told for each environment, by its name."""
    rows = pd.DataFrame(probe_rows({("ridge", None): (200.0, 210.0)}))
    both = [rows.assign(environment=name) for name in ("quiet", "busy")]
    found = highest_rates(pd.concat(both, ignore_index=True), SEARCHED)
    assert {one.name.rpartition(", ")[2] for one in found} == {"quiet", "busy"}
    assert [len(one.told) for one in found] == [2, 2]
    (alone,) = highest_rates(rows, SEARCHED)
    assert alone.environment is None
