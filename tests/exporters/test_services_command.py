"""`joulery exporter services` as a real process, among services that work and that mean harm."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from joulery.exporters.command import app
from joulery.exporters.exposition import OPENMETRICS
from joulery.profiler.service import ServiceProfiler

from ..conftest import REPOSITORY, require_program
from .dialects.recorded import bodies
from .process import PATIENCE_S
from .service_process import COMMAND, Serving, exporter, own_address, pages, run_api_server
from .services.api_server import ApiServer
from .services.pods import NODE, pod_json

MALFORMED = b'# TYPE nv_inference_request_success counter\nnv_inference_request_success{model="a\n'
REQUESTS = "joulery_pod_inference_requests_total"
PROBLEMS = "joulery_target_problems_total"


def push(url: str, **resource: str) -> None:
    """Answer four requests as a service that embeds a profiler, and push that by OpenTelemetry.

    The service knows of two of its answers that they were right.
    """
    names = {name.replace("__", "."): value for name, value in resource.items()}
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=f"{url}/v1/metrics"))
    provider = MeterProvider([reader], resource=Resource(names))
    profiler = ServiceProfiler("detector", "int8", meter_provider=provider)
    for number in range(4):
        with profiler.request(request_id=str(number)):
            pass
    profiler.feedback("0", accuracy=1.0)
    profiler.feedback("1", accuracy=1.0)
    profiler.close()
    provider.shutdown()


def judge(running: Serving) -> None:
    """Tell four answers of the service `pusher`, and labels for three of them; two are right."""
    answers = [
        {"id": str(number), "model": "detector", "variant": "int8", "prediction": 1}
        for number in range(4)
    ]
    status, said = running.post("/v1/answers", {"answers": answers, "pod": {"service": "pusher"}})
    assert (status, said) == (200, {"waiting": 4})
    labels = [{"id": str(number), "label": min(number, 1)} for number in range(3)]
    assert running.post("/v1/labels", {"labels": labels}) == (200, {"joined": 3})


def write_targets(path: Path, **urls: str) -> str:
    """Write a file with these services, and one that only pushes; return its path."""
    lines = [f"  - {{name: {name}, url: {url}}}\n" for name, url in urls.items()]
    path.write_text(f"targets:\n{''.join(lines)}  - {{name: pusher, addresses: [127.0.0.1]}}\n")
    return str(path)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Return an exporter among five services, that has heard of all of them."""
    folder = tmp_path_factory.mktemp("services")
    found = {"/triton": bodies()["triton"], "/endless": None, "/malformed": MALFORMED}
    profiler = ServiceProfiler("ranker", export="prometheus", port=0)
    assert profiler.url is not None
    for _ in range(3):
        with profiler.request():
            pass
    with pages(found) as url:
        targets = write_targets(
            folder / "targets.yaml",
            ours=profiler.url,
            **{name.strip("/"): f"{url}{name}" for name in found},
        )
        with exporter("--targets", targets, "--store", str(folder / "answers.db")) as one:
            one.wait_ready()
            push(one.receiver, service__name="pusher")
            judge(one)
            one.wait_until(
                lambda: (
                    len(one.series("joulery_target_up")) == 4
                    and one.value("joulery_feedback_labels_total", outcome="joined") == 3
                    and one.value("joulery_service_targets", source="otlp") == 1
                )
            )
            yield one
    profiler.close()
    assert one.log[-1].endswith("stopped")


def test_all_kinds_of_services_are_told_alike(running: Serving) -> None:
    """A server of another kind, one of ours, and one that pushes are in one schema."""
    assert running.value(REQUESTS, pod="triton", model="resnet50", outcome="ok") == 161
    assert running.value(REQUESTS, pod="ours", model="ranker", outcome="ok") == 3
    assert running.value(REQUESTS, pod="pusher", model="detector", outcome="ok") == 4
    duration = "joulery_pod_inference_duration_seconds"
    assert running.value(f"{duration}_count", pod="ours") == 3
    assert running.value(f"{duration}_count", pod="pusher", variant="int8") == 4
    assert len(running.series(f"{duration}_bucket", pod="pusher")) > 5


def test_hostile_services_hurt_nobody(running: Serving) -> None:
    """What is endless and what is malformed is not up, is counted, and all others are up."""
    up = running.series("joulery_target_up")
    assert {labels[1]: value for labels, value in up.items()} == {
        "ours": 1.0,
        "triton": 1.0,
        "endless": 0.0,
        "malformed": 0.0,
    }
    problems = running.series(PROBLEMS)
    assert {labels[1:] for labels in problems} <= {
        ("endless", "too_large"),
        ("endless", "timeout"),
        ("malformed", "malformed"),
    }
    assert {labels[1] for labels in problems} == {"endless", "malformed"}


def test_labels_that_come_later_judge_answers(running: Serving) -> None:
    """The labels of requests tell quality, which what the service says itself is not added to."""
    of_it = {"pod": "pusher", "model": "detector"}
    assert running.value("joulery_pod_inference_judged_total", **of_it) == 3
    assert running.value("joulery_pod_inference_correct_total", **of_it) == 2
    quality = "joulery_pod_inference_quality_ratio"
    windows = running.series(quality, **of_it, method="feedback", metric="accuracy")
    assert windows == {
        ("", "int8", window): pytest.approx(2 / 3) for window in ("all", "300", "3600")
    }
    coverage = running.value("joulery_pod_inference_label_coverage_ratio", **of_it, window="all")
    assert coverage == 0.75


def test_its_own_figures(running: Serving) -> None:
    """It tells how receiving goes, each outcome from the start, and nothing of an API server."""
    requests = running.series("joulery_receiver_requests_total")
    assert requests.pop(("ok",)) >= 1
    assert requests == {
        (outcome,): 0.0
        for outcome in (
            *("partial", "ignored", "busy", "too_large"),
            *("malformed", "unknown_sender", "foreign_identity"),
        )
    }
    assert running.series("joulery_feedback_lost_answers_total") == {
        ("too_old",): 0.0,
        ("too_many",): 0.0,
        ("pod_gone",): 0.0,
    }
    assert running.series("joulery_service_targets") == {("scrape",): 4.0, ("otlp",): 1.0}
    assert "joulery_api_server" not in running.text()


def test_what_it_serves_pleases_the_linter(running: Serving) -> None:
    """Its scrape has no mistakes in the linter's eyes, and is there as OpenMetrics as well."""
    linted = subprocess.run(
        [require_program("promtool"), "check", "metrics"],
        input=running.text().encode(),
        capture_output=True,
    )
    assert (linted.returncode, linted.stderr) == (0, b"")
    _, headers, body = running.get("/metrics", Accept="application/openmetrics-text")
    assert headers["Content-Type"] == OPENMETRICS
    assert body.endswith(b"# EOF\n")


def test_its_pages(running: Serving) -> None:
    """It is healthy, and both its addresses say what is there."""
    assert running.get("/healthz")[0] == 200
    assert b"/metrics" in running.get("/")[2]
    receiver = Serving(running.process, url=running.receiver)
    assert b"/v1/labels" in receiver.get("/")[2]
    assert receiver.get("/metrics")[0] == 404


def test_once_prints_a_scrape(tmp_path: Path) -> None:
    """`--once` scrapes each service once, prints what they say, and ends."""
    with pages({"/triton": bodies()["triton"]}) as url:
        targets = write_targets(tmp_path / "targets.yaml", triton=f"{url}/triton", gone=f"{url}/x")
        ended = subprocess.run(
            [*COMMAND, "--targets", targets, "--once"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
    assert ended.returncode == 0, ended.stderr
    assert f'{REQUESTS}{{namespace="",pod="triton",model="resnet50"' in ended.stdout
    assert 'joulery_target_up{namespace="",pod="gone"} 0.0' in ended.stdout
    assert "gone" in ended.stderr
    assert "status_404" in ended.stderr


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        (None, [], "targets.yaml: found No such file or directory"),
        ("", [], "targets.yaml: found an empty file"),
        ("targets: [{name: a, url: ftp://b}]", [], "targets.yaml, line 1, targets[0].url"),
        (
            "targets: [{name: a, url: 'http://b', dialect: trition}]",
            [],
            "did you mean 'triton'?",
        ),
        ("targets: []", ["--otlp-listen", "here"], "--otlp-listen: found 'here'"),
        ("targets: []", ["--store", "none/answers.db"], "none/answers.db"),
        ("targets: []", ["--golden", "no-such-folder"], "no-such-folder"),
        ("targets: []", ["--web-config", "no-such-file.yaml"], "no-such-file.yaml"),
    ],
)
def test_mistakes_are_told(
    tmp_path: Path, content: str | None, arguments: list[str], words: str
) -> None:
    """A wrong setting ends with 2 and one message that names it, without a traceback."""
    path = tmp_path / "targets.yaml"
    if content is not None:
        path.write_text(content)
    listen = ["--listen", "127.0.0.1:0", "--otlp-listen", "127.0.0.1:0"]
    ended = subprocess.run(
        [*COMMAND, *listen, "--targets", str(path), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=tmp_path,
    )
    assert ended.returncode == 2
    [told] = [line for line in ended.stderr.splitlines() if line.startswith("SpecError")]
    assert words in told
    assert "Traceback" not in ended.stderr


def test_it_reads_what_the_chart_sets() -> None:
    """Each environment variable of the chart's container is an option of the command."""
    template = REPOSITORY / "exporters" / "chart" / "templates" / "_services.tpl"
    given = set(re.findall(r"name: (JOULERY_\w+)", template.read_text(encoding="utf-8")))
    group: Any = typer.main.get_command(app)
    options = group.commands["services"].params
    assert len(given) > 5
    assert given <= {option.envvar for option in options}


def test_pods_that_ask_for_it_are_scraped(tmp_path: Path) -> None:
    """Pods are found by their annotations, may push from their own address alone, and go."""
    server, address = ApiServer(), own_address()
    with pages({"/triton": bodies()["triton"]}, address) as url, run_api_server(server) as there:
        port = url.rpartition(":")[2]
        asks = {"joulery.io/port": port, "joulery.io/path": "/triton"}
        triton = pod_json("triton-0", annotations=asks, ports=(), addresses=[address])
        there.call(server.put, triton)
        own = pod_json("exporter-0", annotations=asks, ports=(), addresses=[address], uid="own")
        there.call(server.put, own)
        there.call(server.put, pod_json("plain-0", ports=(), addresses=[address]))
        environment = {
            "KUBECONFIG": server.kubeconfig(tmp_path),
            "JOULERY_NODE": NODE,
            "JOULERY_POD_UID": "own",
        }
        with exporter(otlp_listen=":0", **environment) as running:
            running.wait_until(lambda: running.series("joulery_target_up") != {})
            [labels] = running.series("joulery_target_up")
            assert labels == ("shop", "triton-0", "uid-of-triton-0", "triton")
            assert running.value(REQUESTS, pod="triton-0", model="bert", outcome="ok") == 40
            assert running.value("joulery_api_server_up") == 1
            assert set(running.series("joulery_api_server_failures_total").values()) == {0.0}
            receiver = f"http://{address}:{running.receiver.rpartition(':')[2]}"
            push(receiver, k8s__pod__uid="uid-of-plain-0")
            running.wait_until(lambda: running.value(REQUESTS, pod="plain-0") == 4)
            assert running.post("/v1/metrics", {"resourceMetrics": []})[0] == 403
            there.call(server.remove, "uid-of-triton-0")
            running.wait_until(lambda: running.series("joulery_target_up") == {})


def test_it_is_ready_without_an_api_server(tmp_path: Path) -> None:
    """While the API server is away it serves what it has, and tells that it is away."""
    server = ApiServer()
    server.url = "http://127.0.0.1:9"
    with exporter(KUBECONFIG=server.kubeconfig(tmp_path), JOULERY_NODE=NODE) as running:
        running.wait_ready()
        failures = "joulery_api_server_failures_total"
        running.wait_until(lambda: (running.value(failures, reason="unreachable") or 0) >= 1)
        assert running.value("joulery_api_server_up") == 0
        assert running.get("/readyz")[0] == running.get("/healthz")[0] == 200
    assert any("API server" in line for line in running.log)


def test_once_needs_pods_or_a_file(tmp_path: Path) -> None:
    """Who looks once and has neither a cluster nor a file is told so, at once."""
    ended = subprocess.run(
        [*COMMAND, "--once"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={"HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none")},
    )
    assert ended.returncode == 1
    assert "SourceUnavailable" in ended.stderr
    assert "--targets" in ended.stderr
