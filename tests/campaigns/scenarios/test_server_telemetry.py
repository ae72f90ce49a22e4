"""What a server tells of its requests: scraped, pushed, and to whoever joins labels by id."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import aiohttp
import numpy as np
import yaml
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from joulery.profiler.oip import Message, encode_request

from ...profiler.answers_receiver import receiving_answers
from ...profiler.scraping import value
from .onnx_models import exit_model
from .serving import Server, ask_all, ask_x, get, refused


def _scraped(server: Server) -> dict[str, Metric]:
    with urllib.request.urlopen(server.ready["metrics"], timeout=30) as answer:
        text = answer.read().decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_by_default_nothing_is_told(model: Path) -> None:
    """Without a word of where to, no profiler and no OpenTelemetry is ever loaded."""
    code = (
        "import sys; from joulery.campaigns.scenarios.server import main\n"
        f"code = main(['--model', {str(model)!r}, '--name', 'm'])\n"
        "print(code, *sorted(sys.modules))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        process.stdin.close()  # so it ends
        loaded = process.stdout.read().split()
    assert loaded[0] == "0"
    rooms = {name.split(".")[0] for name in loaded}
    assert rooms.isdisjoint({"opentelemetry", "prometheus_client", "requests", "yaml"})
    assert "joulery.profiler.service" not in loaded


def test_what_is_scraped(model: Path) -> None:
    """Requests are told by outcome, precision and batch, those of several rows by their rows."""
    labels = ("--precision", "int8", "--variant", "small")
    options = ("--metrics-port", "0", "--max-body-bytes", "2000", *labels)
    batching = ("--batch", "4", "--batch-wait-s", "0.05")
    with Server(model, *options, *batching) as server:
        asyncio.run(ask_all(server, [ask_x(1, rows=3), ask_x(1)]))
        lonely = asyncio.run(ask_all(server, [ask_x(1)]))
        assert asyncio.run(refused(server, ask_x(1, outputs=["w"])))[0] == 400
        assert asyncio.run(refused(server, Message(headers={}, body=b"{")))[0] == 400
        assert asyncio.run(refused(server, Message(headers={}, body=b" " * 2001)))[0] == 413
        found = _scraped(server)
    assert lonely[0].parameters["batch"] == 1
    constant = {"model": "twice", "variant": "small"}
    requests, duration = (
        found[f"joulery_inference_{name}"] for name in ("requests", "duration_seconds")
    )
    assert value(requests, "_total", **constant, outcome="ok") == 3
    errors = {"ProtocolError": 2, "HTTPRequestEntityTooLarge": 1}
    for name, count in errors.items():
        assert value(requests, "_total", outcome="error", error_type=name) == count
    assert value(requests, "_total") == 6
    assert value(duration, "_count", **constant, precision="int8", outcome="ok") == 3
    # The one that nobody joined was waiting, and that counts.
    assert value(duration, "_sum", precision="int8", outcome="ok") >= 0.05
    assert value(found["joulery_inference_batches"], "_total", batch_size="4") == 2
    assert value(found["joulery_inference_items"], "_total") == 5 + 3


def test_probes_are_answered_and_not_told(model: Path) -> None:
    """A marked request has its answer and leaves no trace, whichever way it is marked."""
    by_header = ask_x(1)
    marked = [
        Message(headers={**by_header.headers, "x-joulery-probe": "1"}, body=by_header.body),
        ask_x(1, parameters={"joulery_probe": True}),
    ]
    broken = Message(headers={"X-Joulery-Probe": "1"}, body=b"{")
    unmarked = [
        Message(headers={**by_header.headers, "X-Joulery-Probe": "0"}, body=by_header.body),
        ask_x(1, parameters={"joulery_probe": False}),
    ]
    with receiving_answers() as receiver:
        environ = {"JOULERY_ANSWERS_URL": receiver.url}
        with Server(model, "--metrics-port", "0", environ=environ) as server:
            for answer in asyncio.run(ask_all(server, marked)):
                assert answer.outputs["total"] == [[6]]
            assert asyncio.run(refused(server, broken))[0] == 400
            answers = asyncio.run(ask_all(server, unmarked))
            found = _scraped(server)
    assert value(found["joulery_inference_requests"], "_total") == 2
    assert value(found["joulery_inference_duration_seconds"], "_count") == 2
    assert {one["id"] for one in receiver.answers} == {answer.id for answer in answers}


def test_labels_follow_the_configuration(tmp_path: Path, model: Path) -> None:
    """Precision, model and variant of what is told are those of the moment, in one scrape."""
    path = tmp_path / "conf.yaml"
    config = {"models": {"fp32": str(model), "int8": str(model)}, "model": "a"}
    steps = (
        {"precision": "fp32", "variant": "v"},
        {"precision": "int8", "variant": "v"},
        {"precision": "int8", "model": "b"},
        {"precision": "int8", "model": "a"},
    )
    path.write_text(yaml.safe_dump(config | steps[0]))
    with Server(None, "--config", str(path), "--metrics-port", "0") as server:
        for number, step in enumerate(steps, start=1):
            path.write_text(yaml.safe_dump(config | step))
            while get(server, "/v2/models/twice")[1]["parameters"]["config_generation"] != number:
                time.sleep(0.05)
            asyncio.run(ask_all(server, [ask_x(1)] * number))
        found = _scraped(server)["joulery_inference_duration_seconds"]
    assert value(found, "_count", model="a", variant="v", precision="fp32") == 1
    assert value(found, "_count", model="a", variant="v", precision="int8") == 2
    assert value(found, "_count", model="b", precision="int8") == 3
    assert value(found, "_count", model="a", precision="int8") == 2 + 4
    assert value(found, "_count") == 10


def test_answers_are_told(tmp_path: Path) -> None:
    """Each answer is told by id with its exit and its one value; the exit labels the latency."""
    model = exit_model(tmp_path / "exits.onnx")
    rows = np.repeat(np.array([[0.4], [0.6]], np.float32), 3, axis=1)
    messages = [
        encode_request({"x": rows[:1]}, id="late"),
        encode_request({"x": rows[1:]}, id="early", outputs=["exit"]),
        encode_request({"x": rows}, id="both"),
        encode_request({"x": rows[:1]}),
    ]
    options = ("--exit-threshold", "0.5", "--prediction", "y", "--metrics-port", "0")
    with receiving_answers() as receiver:
        environ = {"JOULERY_ANSWERS_URL": receiver.url}
        with Server(model, *options, environ=environ) as server:
            answers = asyncio.run(ask_all(server, messages))
            assert asyncio.run(refused(server, encode_request({"z": rows}, id="bad")))[0] == 400
            found = _scraped(server)["joulery_inference_duration_seconds"]
    told = {one.pop("id"): one for one in receiver.answers}
    assert told == {
        "late": {"model": "twice", "exit": "1", "prediction": 200.0},
        "early": {"model": "twice", "exit": "0", "prediction": 100.0},
        "both": {"model": "twice", "exit": "mixed"},
        answers[3].id: {"model": "twice", "exit": "1", "prediction": 200.0},
    }
    assert [value(found, "_count", exit=name) for name in ("0", "1", "mixed")] == [1, 2, 1]


def test_an_exporter_that_is_away_holds_nobody_up(model: Path) -> None:
    """Requests are answered, and the end comes, while nobody takes what is told."""
    environ = {
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "JOULERY_ANSWERS_URL": "http://127.0.0.1:1",
    }
    server = Server(model, environ=environ)
    answers = asyncio.run(ask_all(server, [ask_x(1)] * 3))
    server.process.terminate()
    said, complaints = server.process.communicate()
    assert (len(answers), server.process.returncode, said) == (3, 0, "")
    assert "Traceback" not in complaints


@contextmanager
def _collecting(arrived: threading.Event) -> Iterator[tuple[str, list[bytes]]]:
    """Run a server that keeps the bodies of what is pushed."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            packed = self.headers.get("Content-Encoding") == "gzip"
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            bodies.append(gzip.decompress(body) if packed else body)
            arrived.set()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_what_is_pushed(model: Path) -> None:
    """Metrics are pushed as the usual variables say, with the resource that they name."""
    arrived = threading.Event()
    with _collecting(arrived) as (url, bodies):
        environ = {
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_METRIC_EXPORT_INTERVAL": "100",
            "OTEL_SERVICE_NAME": "traffic",
            "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.uid=u-1,k8s.pod.name=p-1",
        }
        with Server(model, environ=environ) as server:
            asyncio.run(ask_all(server, [ask_x(1)]))
            arrived.wait()
    [resource] = ExportMetricsServiceRequest.FromString(bodies[-1]).resource_metrics
    told = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
    wanted = {"service.name": "traffic", "k8s.pod.uid": "u-1", "k8s.pod.name": "p-1"}
    assert told.items() >= wanted.items()
    [scope] = resource.scope_metrics
    assert "joulery.inference.duration" in {metric.name for metric in scope.metrics}


def test_wrong_telemetry(model: Path) -> None:
    """A variable or a port that cannot be meant is told in one line, exit 2."""
    command = [sys.executable, "-m", "joulery.campaigns.scenarios.server", "--name", "m"]
    for environ, options, text in (
        ({"OTEL_METRICS_EXPORTER": "statsd"}, (), "OTEL_METRICS_EXPORTER"),
        ({"JOULERY_ANSWERS_URL": "exporter"}, (), "JOULERY_ANSWERS_URL"),
        ({}, ("--metrics-port", "70000"), "expected 0 to 65535"),
        ({}, ("--prediction", "w"), "found no output 'w', expected y, total"),
    ):
        ended = subprocess.run(
            [*command, "--model", str(model), *options],
            env={"PATH": "", **environ},
            capture_output=True,
            text=True,
            check=False,
        )
        [line] = ended.stderr.splitlines()
        assert (ended.returncode, text in line) == (2, True), line


def test_a_client_that_leaves_is_told(model: Path) -> None:
    """A request that is given up while it comes counts as one that failed."""

    async def leave(server: Server) -> None:
        async with aiohttp.ClientSession() as session:
            never = asyncio.Event()

            async def body() -> object:
                yield b"{"
                await never.wait()

            url = f"{server.url}/v2/models/twice/infer"
            asking = asyncio.create_task(session.post(url, data=body()))
            await asyncio.sleep(0.1)
            asking.cancel()

    with Server(model, "--metrics-port", "0") as server:
        asyncio.run(leave(server))
        while "joulery_inference_requests" not in (found := _scraped(server)):
            time.sleep(0.05)
    assert value(found["joulery_inference_requests"], "_total", outcome="error") == 1
