"""Campaigns on a server that runs already: ours, one that is slow to start, and none."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from joulery.campaigns.design import plan_trials
from joulery.campaigns.endpoint import reach_endpoint
from joulery.campaigns.scenarios import scenario
from joulery.campaigns.spec import CampaignSpec, Endpoint
from joulery.campaigns.spec_file import load_spec
from joulery.datasets.store import load
from joulery.datasets.verify import verify
from joulery.errors import SpecError, TrialError

from .command import joulery
from .scenarios.serving import Server

CAMPAIGN = """\
name: foreign
scenarios:
  - scenario: traffic_prediction
    endpoint: {{url: "{url}"}}
    factors: {{model: [ridge], batch: [8], threads: [64]}}
loads: [{{arrival: poisson, rate_hz: 100}}]
repeats: 2
trial: {{idle_s: 0.1, warmup_round_s: 0.1, warmup_max_s: 0.5, window_s: 0.5}}
slo: {{latency_s: 0.1, percentile: 0.5}}
limits: {{send_lag_p99_s: 0.5, steady_ratio: 5, subwindow_cv_ratio: 5}}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Run a server of ours that no campaign has started."""
    path = scenario("traffic_prediction").prepare(None, Path()).model_path("ridge", "fp32")
    with Server(path, "--batch", "8", name="ridge") as running:
        yield running


def test_a_campaign_on_an_endpoint(server: Server, tmp_path: Path) -> None:
    """Its trials have latency and quality, and the levels that were said; no energy is made up."""
    (tmp_path / "foreign.yaml").write_text(CAMPAIGN.format(url=server.url))
    joulery("run", tmp_path / "foreign.yaml", "--out", tmp_path / "out", "--plain")
    assert verify(tmp_path / "out") == []
    dataset = load(tmp_path / "out")
    trials = dataset.trials
    assert list(trials["verdict"]) == ["valid", "valid"]
    assert (trials["requests_failed"] == 0).all()
    assert (trials["latency_p50_s"] > 0).all()
    assert trials["quality_value"].notna().all()
    assert set(trials["batch"]) == {8}
    assert set(trials["threads"]) == {64}
    unknown = [name for name in map(str, trials) if "energy" in name or name.startswith("idle_")]
    unknown += ["startup_s", "service_cpu_s", "utilisation_ratio"]
    assert len(unknown) >= 15
    assert trials[unknown].isna().all(axis=None)
    assert trials["generator_cpu_s"].notna().all()
    assert len(dataset.energy) == 0
    assert (tmp_path / "out" / "report.html").stat().st_size > 0
    assert server.process.poll() is None


def test_what_the_server_takes(server: Server) -> None:
    """Tensors go as its metadata says, or as the specification does."""
    for given, found in ((None, True), (True, True), (False, False)):
        endpoint = Endpoint(url=f"{server.url}/", binary=given)
        service = reach_endpoint(endpoint, "ridge", startup_max_s=30.0)
        assert service.binary is found
        assert service.url == f"{server.url}/v2/models/ridge/infer"
        assert (service.pid, service.startup_s) == (None, None)


@contextmanager
def _answering(answers: dict[str, list[tuple[int, object]]]) -> Iterator[str]:
    """Run a server that gives each path its answers in turn, the last one for ever."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            left = answers[self.path]
            status, content = left.pop(0) if len(left) > 1 else left[0]
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


@pytest.mark.parametrize("metadata", [(200, {"name": "s"}), (404, {})])
def test_a_server_that_is_slow_to_start(metadata: tuple[int, object]) -> None:
    """It is waited for; a server that does not say that it takes binary tensors gets JSON."""
    ready: list[tuple[int, object]] = [(503, {}), (404, {}), (200, {})]
    with _answering({"/base/v2": [metadata], "/base/v2/models/m%2F1/ready": ready}) as url:
        service = reach_endpoint(Endpoint(url=f"{url}/base"), "m/1", startup_max_s=30.0)
    assert service.binary is False
    assert service.url == f"{url}/base/v2/models/m%2F1/infer"
    assert len(ready) == 1


def test_a_model_that_is_never_ready() -> None:
    """A server that has another model, and none at all, are told with what they answered."""
    with (
        _answering({"/v2/models/m/ready": [(404, {})]}) as url,
        pytest.raises(TrialError, match=r"model m: found 404, .*what it calls the model"),
    ):
        reach_endpoint(Endpoint(url=url), "m", startup_max_s=0.1)
    with pytest.raises(TrialError, match="Connection refused"):
        reach_endpoint(Endpoint(url="http://127.0.0.1:9"), "m", startup_max_s=0.1)


def test_a_model_that_answers_something_else(tmp_path: Path) -> None:
    """A model of another kind fails the trial, and what it answered is told."""
    tensor = {"name": "odd", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}
    answers: dict[str, list[tuple[int, object]]] = {
        "/v2": [(200, {"name": "s"})],
        "/v2/models/ridge/ready": [(200, {})],
        "/v2/models/ridge/infer": [(200, {"model_name": "ridge", "outputs": [tensor]})],
    }
    with _answering(answers) as url:
        (tmp_path / "foreign.yaml").write_text(CAMPAIGN.format(url=url))
        done = joulery("run", tmp_path / "foreign.yaml", "--out", tmp_path / "o", "--plain", code=1)
    assert "found outputs odd [" in done.stdout
    assert "expected what models of traffic_prediction answer" in done.stdout


@pytest.mark.parametrize("factor", ["precision: [fp32, int8]", "batch: [1, 8]", "threads: [1, 2]"])
def test_levels_that_nobody_could_switch(factor: str, tmp_path: Path) -> None:
    """Several levels of what the server alone decides are refused."""
    path = tmp_path / "foreign.yaml"
    path.write_text(
        "name: foreign\nscenarios:\n  - scenario: traffic_prediction\n"
        f"    endpoint: {{url: 'http://a:1'}}\n    factors: {{model: [ridge, mlp], {factor}}}\n"
        "loads: [{rate_hz: 100}]\n"
    )
    spec: CampaignSpec = load_spec(path)
    known = {"traffic_prediction": scenario("traffic_prediction")}
    with pytest.raises(SpecError, match=f"factors.{factor.split(':')[0]}.*2 levels with an endpo"):
        plan_trials(spec, known, str(path), cpus=4)


@pytest.mark.parametrize("url", ["a:1", "ftp://a", "http://", "http://a b", "http://a?b"])
def test_no_url(url: str, tmp_path: Path) -> None:
    """What is no URL is refused with its line."""
    (tmp_path / "foreign.yaml").write_text(CAMPAIGN.format(url=url))
    with pytest.raises(SpecError, match=r"line 4, scenarios\[0\]\.endpoint\.url.*expected a URL"):
        load_spec(tmp_path / "foreign.yaml")
