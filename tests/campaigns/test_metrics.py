"""What Prometheus is told of a campaign: a real one, scraped while a real campaign runs."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from joulery.campaigns.metrics import CATALOGUE, CampaignMetrics, serve_metrics
from joulery.campaigns.observer import Pace, device_power_w, reason_names
from joulery.datasets.store import load

from ..conftest import REPOSITORY, require_program
from ..e2e.cluster import eventually
from ..e2e.server import Prometheus
from ..e2e.server import running as prometheus
from .command import SPEC, TRIALS, command, joulery
from .test_live import INVALID, VALID
from .tiny import PLANNED

LAST = "joulery_campaign_last_trial"
PAGE = (REPOSITORY / "docs" / "campaigns.md").read_text(encoding="utf-8")
COLUMNS = {
    "inference_energy_joules": "inference_energy_j",
    "device_energy_joules": "device_energy_j",
    "quality": "quality_value",
    "latency_seconds": "latency_{percentile}_s",
}
"""Of the dataset, by the metric that tells them of the last trial."""
ROW: dict[str, Any] = VALID | {
    "attempt": 1,
    "network": None,
    "latency_p50_s": 0.001,
    "latency_p99_s": None,
    "inference_energy_low_j": 0.0,
    "inference_energy_high_j": 0.009,
    "device_energy_j": 90.0,
    "window_s": 2.0,
    "energy_provenance": "estimated",
}
UNKNOWN: dict[str, Any] = {
    name: None if name.endswith(("_s", "_j")) or name == "energy_provenance" else value
    for name, value in (ROW | INVALID).items()
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A specification whose trials take long enough to be scraped."""
    path = tmp_path / "small.yaml"
    path.write_text(SPEC.replace("idle_s: 0.1", "idle_s: 0.5"))
    return path


@contextlib.contextmanager
def _campaign(spec: Path, out: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a campaign; yield it and the URL of its metrics, which it prints."""
    arguments = ("run", spec, "--out", out, "--plain", "--metrics-port", 0)
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as runner:
        assert runner.stdout is not None
        head, _, url = runner.stdout.readline().strip().partition(": ")
        assert head == "metrics"
        try:
            yield runner, url
        finally:
            runner.kill()


def _scraped(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def _families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def _values(text: str, name: str) -> dict[tuple[str, ...], float]:
    """Return the samples of a name by the values of their labels, in the order of the names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_prometheus_has_what_the_dataset_has(small: Path, tmp_path: Path) -> None:
    """Scraped while it runs, a campaign tells the very figures that its dataset holds at the end.

    The queries of the documentation have answers meanwhile, and the page passes promtool.
    """
    out, promtool = tmp_path / "small", require_program("promtool")
    with _campaign(small, out) as (runner, url):
        target = url.removeprefix("http://").removesuffix("/metrics")
        with prometheus(tmp_path, {"campaign": target}, interval_s=0.3) as server:
            eventually(lambda: server.ask(f"{LAST}_quality"), seconds=60, what="a trial is told")
            page = _scraped(url)
            subprocess.run([promtool, "check", "metrics"], input=page, text=True, check=True)
            assert set(_families(page)) <= {m.name.removesuffix("_total") for m in CATALOGUE}
            _ask_what_is_documented(server)
            printed, errors = runner.communicate(timeout=120)
            assert runner.returncode == 0, printed + errors
            told = {name: server.raw(f"{LAST}_{name}[1h]") for name in COLUMNS}
            counts = server.raw('{__name__=~"joulery_campaign_(planned|done)_trials"}[1h]')
    assert f"/{TRIALS} anomaly_detection" in printed, "the log is told nothing"
    trials = load(out).trials
    for labels, samples in counts:
        values = [value for _, value in samples]
        least = TRIALS if labels["__name__"].endswith("planned_trials") else 0
        assert values == sorted(values)
        assert least <= values[0] <= values[-1] <= len(trials)
    for name, series in told.items():
        assert series
        for labels, samples in series:
            own = trials[
                (trials["configuration"] == labels["configuration"])
                & (trials["scenario"] == labels["scenario"])
                & (trials["verdict"] == labels["verdict"])
            ]
            column = COLUMNS[name].format(**labels)
            assert {value for _, value in samples} <= set(own[column]), (name, labels)
            if "provenance" in labels:
                assert labels["provenance"] in set(own["energy_provenance"])


def _ask_what_is_documented(server: Prometheus) -> None:
    queries = re.findall(r"```promql\n(.+?)\n```", PAGE, re.DOTALL)
    [alert] = [
        rule["expr"]
        for block in re.findall(r"```yaml\n(groups:.+?)```", PAGE, re.DOTALL)
        for group in yaml.safe_load(block)["groups"]
        for rule in group["rules"]
    ]
    for query in (*queries, alert.partition(" > ")[0]):
        assert server.ask(query), query


def test_the_alert_of_the_documentation_is_a_rule(tmp_path: Path) -> None:
    """The example in the documentation is a file that Prometheus takes."""
    [block] = re.findall(r"```yaml\n(groups:.+?)```", PAGE, re.DOTALL)
    (tmp_path / "rules.yaml").write_text(block)
    subprocess.run(
        [require_program("promtool"), "check", "rules", str(tmp_path / "rules.yaml")], check=True
    )


def test_an_interrupt_closes_the_port(spec: Path, tmp_path: Path) -> None:
    """Ctrl-C ends server and processes; how to go on is told with the port that was asked for."""
    out = tmp_path / "small"
    with _campaign(spec, out) as (runner, url):
        eventually(
            lambda: _values(_scraped(url), "joulery_campaign_done_trials")[()] >= 1,
            seconds=60,
            what="a trial is told",
        )
        children = psutil.Process(runner.pid).children(recursive=True)
        runner.send_signal(signal.SIGINT)
        _, errors = runner.communicate(timeout=30)
    assert runner.returncode == 130
    assert f"--out {out} --metrics-port 0 --resume" in errors
    assert "Traceback" not in errors
    assert psutil.wait_procs(children, timeout=10)[1] == []
    with pytest.raises(OSError, match="refused"):
        _scraped(url)


def test_a_port_that_is_taken_is_told_before_anything_is_measured(
    spec: Path, tmp_path: Path
) -> None:
    """A port of another program ends the command with a message, and nothing is left on disk."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = joulery("run", spec, "--out", tmp_path / "out", "--metrics-port", port, code=2)
    assert f"--metrics-port, 127.0.0.1:{port}: found Address already in use" in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--metrics-host", "0.0.0.0"), "--metrics-host: found no --metrics-port"),
        (("--metrics-port", "0", "--metrics-host", "no.such.invalid"), "no.such.invalid:0: found"),
        (("--metrics-port", "65536"), "--metrics-port"),
    ],
)
def test_an_address_that_cannot_be_is_refused(
    spec: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    """An address without a port, a name of no machine and a port beyond the last are mistakes."""
    assert words in joulery("run", spec, "--out", tmp_path / "out", *options, code=2).stderr
    assert not (tmp_path / "out.campaign").exists()


def test_what_is_not_known_has_no_sample() -> None:
    """Before a trial there are no figures; a trial's that are unknown take away those before."""
    metrics = CampaignMetrics("small", "Small")
    with serve_metrics(metrics, "127.0.0.1", 0) as url:
        assert set(_families(_scraped(url))) == {"joulery_campaign_info"}
        metrics.begin("Small", 9, 2, "estimated (estimate:cpu)")
        begun = set(_families(_scraped(url)))
        metrics.trial(PLANNED, 9)
        metrics.finished(ROW)
        known = _scraped(url)
        metrics.finished(UNKNOWN)
        unknown = _scraped(url)
    assert not any("last_trial" in name or "expected_end" in name for name in begun)
    assert list(_values(known, f"{LAST}_device_power_watts").values()) == [45.0]
    assert sorted(_values(known, f"{LAST}_latency_seconds").values()) == [0.001, 0.00123]
    told = {name for name in _families(unknown) if name.startswith(LAST)}
    assert told == {f"{LAST}_timestamp_seconds"}
    assert _values(unknown, "joulery_campaign_trials_total") == {("valid",): 1, ("invalid",): 1}
    assert _values(unknown, "joulery_campaign_invalid_trials_total") == {("send_lag",): 1}


def test_the_running_trial_and_its_phase_are_told() -> None:
    """One phase is on while a trial runs; when it has ended none is, and no trial runs."""
    metrics = CampaignMetrics("small", "Small")
    metrics.begin("Small", 9, 2, "estimated (estimate:cpu)")
    metrics.trial(PLANNED, 10)
    metrics.phase("idle before")
    with serve_metrics(metrics, "127.0.0.1", 0) as url:
        during = _scraped(url)
        metrics.finished(ROW | {"attempt": 2})
        after = _scraped(url)
    phases = _values(during, "joulery_campaign_phase")
    assert [name for name, on in phases.items() if on] == [("idle_before",)]
    assert _values(during, "joulery_campaign_running_trial_number") == {(): PLANNED.number}
    assert _values(during, "joulery_campaign_planned_trials") == {(): 10}
    assert not any(_values(after, "joulery_campaign_phase").values())
    assert not any("running" in name for name in _families(after))
    assert _values(after, "joulery_campaign_retries_total") == {(): 1}
    assert _values(after, "joulery_campaign_done_trials") == {(): 3}


def test_the_page_stays_as_small_as_it_was() -> None:
    """However many configurations were measured, a page has the figures of the last one alone."""
    metrics = CampaignMetrics("small", "Small")
    metrics.begin("Small", 500, 0, "estimated (estimate:cpu)")
    with serve_metrics(metrics, "127.0.0.1", 0) as url:
        sizes = set()
        for number in range(1, 201):
            metrics.finished(ROW | {"trial": number, "configuration": f"batch={number}"})
            sizes.add(len(_scraped(url).splitlines()))
    assert len(sizes) == 1


def test_the_rest_takes_as_long_as_the_mean_of_what_was_measured_here() -> None:
    """What an earlier run measured is done, and tells nothing of how fast this one is."""
    now_s = [0.0]
    pace = Pace(clock=lambda: now_s[0])
    now_s[0] = 100.0
    pace.begin(total=10, done=4)
    now_s[0] = 110.0
    assert pace.finished() == pytest.approx(5 * 10.0)
    now_s[0] = 140.0
    assert pace.finished() == pytest.approx(4 * 20.0)
    metrics = CampaignMetrics("a", "A", pace=Pace(clock=lambda: now_s[0]), wall=lambda: 1e9)
    metrics.begin("A", 10, 4, "")
    now_s[0] = 150.0
    metrics.finished(ROW)
    [end] = [
        f for f in metrics.collect() if f.name == "joulery_campaign_expected_end_timestamp_seconds"
    ]
    assert end.samples[0].value == 1e9 + 5 * 10.0


@pytest.mark.parametrize(
    ("reasons", "names"),
    [
        (None, ()),
        ("send_lag (p99 9.0 ms, at most 5 ms)", ("send_lag",)),
        ("counter_gap (a reset); counter_gap (b reset); unstable (x)", ("counter_gap", "unstable")),
        ("failed (service: found no answer; see its log (below); unstable (x))", ("failed",)),
    ],
)
def test_reasons_have_few_names(reasons: str | None, names: tuple[str, ...]) -> None:
    """A reason's name stands before its figures; what an error says adds none."""
    assert reason_names({"reasons": reasons}) == names


def test_power_is_known_only_with_energy_and_time() -> None:
    """Power is energy by the window's time, and unknown without one of them; zero stays zero."""
    assert device_power_w({"device_energy_j": 90.0, "window_s": 2.0}) == 45.0
    assert device_power_w({"device_energy_j": 0.0, "window_s": 2.0}) == 0.0
    assert device_power_w({"device_energy_j": None, "window_s": 2.0}) is None
    assert device_power_w({"device_energy_j": 90.0, "window_s": None}) is None
