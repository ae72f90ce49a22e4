"""Telling answers by request id: to a real receiver, one that is away, and one that refuses."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery import ServiceProfiler
from joulery.errors import SpecError
from joulery.profiler.answers import AnswerReporter

from .answers_receiver import AnswersReceiver, receiving_answers
from .scraping import families_of, value


@pytest.fixture
def receiver() -> Iterator[AnswersReceiver]:
    """Return a running receiver."""
    with receiving_answers() as running:
        yield running


class Counted(Counter[str]):
    """What became of answers."""

    def __call__(self, outcome: str, count: int) -> None:
        """Count some."""
        self[outcome] += count


def _reporter(url: str, **options: object) -> tuple[AnswerReporter, Counted]:
    counted = Counted()
    settings = {"model": "m", "interval_s": 0.0, "count": counted} | options
    return AnswerReporter(url, **settings), counted  # type: ignore[arg-type]


def _nowhere() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def test_answers_arrive(receiver: AnswersReceiver) -> None:
    """Answers are posted together, in order, with what is known of each and no more."""
    reporter, counted = _reporter(
        f"{receiver.url}/base/", variant="v", pod={"uid": "u-1"}, interval_s=60.0
    )
    reporter.report("a", exit_="2", prediction=7)
    reporter.report("b", exit_=None, prediction=None)
    reporter.close()
    [(path, content)] = receiver.posts
    assert path == "/base/v1/answers"
    assert content == {
        "answers": [
            {"id": "a", "model": "m", "variant": "v", "exit": "2", "prediction": 7},
            {"id": "b", "model": "m", "variant": "v"},
        ],
        "pod": {"uid": "u-1"},
    }
    assert counted == {"sent": 2}
    reporter.report("c", exit_=None, prediction=None)  # after its end nothing happens
    assert len(receiver.posts) == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (np.float32(0.5), 0.5),
        (np.array([[3]]), 3),
        (np.array([1, 2]), None),
        (np.array([True]), True),
        ("cat", "cat"),
        ("c" * 201, None),
        ("\ud800", None),
        (math.nan, None),
        (2**65, None),
        (False, False),
        (object(), None),
    ],
)
def test_predictions(receiver: AnswersReceiver, given: object, told: object) -> None:
    """Numbers, truth and short texts are told, also NumPy's; what the exporter refuses is null."""
    reporter, _ = _reporter(receiver.url)
    reporter.report("a", exit_=None, prediction=given)
    reporter.close()
    [answer] = receiver.answers
    assert answer.get("prediction") == told
    assert type(answer.get("prediction")) is type(told)


@given(st.lists(st.text(max_size=210), max_size=20))
def test_no_id_spoils_a_batch(ids: list[str]) -> None:
    """Ids that the exporter would refuse are left out, and counted; the others are told."""
    reporter, counted = _reporter("http://127.0.0.1:1")
    told = [reporter._told((name, None, None)) for name in ids]
    reporter.close()
    kept = [one["id"] for one in told if one is not None]
    fit = [name for name in ids if 1 <= len(name) <= 200]
    assert kept == [name for name in fit if name.encode(errors="ignore").decode() == name]
    assert counted == {}


def test_the_oldest_go_first() -> None:
    """While the exporter is away answers wait and the oldest go; it gets them when it is back."""
    port = _nowhere()
    reporter, counted = _reporter(f"http://127.0.0.1:{port}", limit=300)
    for number in range(1000):
        reporter.report(str(number), exit_=None, prediction=number)
    with receiving_answers(port) as back:
        back.wait(answers=300)
        reporter.close()
    told = [answer["prediction"] for answer in back.answers]
    assert told[-300:] == list(range(700, 1000))
    assert counted == {"sent": len(told), "dropped": 1000 - len(told)}


def test_away_to_the_end() -> None:
    """When nobody takes them, answers are counted as dropped, and the end does not wait for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, answers nothing
        reporter, counted = _reporter(f"http://127.0.0.1:{silent.getsockname()[1]}")
        for number in range(450):
            reporter.report(str(number), exit_=None, prediction=None)
        reporter.close()
    refusing, refused = _reporter(f"http://127.0.0.1:{_nowhere()}")
    refusing.report("a", exit_=None, prediction=None)
    refusing.close()
    assert refused == {"dropped": 1}
    assert counted["sent"] == 0
    assert counted["dropped"] >= 250  # all but the post that is still under way


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_the_exporter_does_not_understand(
    receiver: AnswersReceiver, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch that is refused is not sent again; that is counted and said once."""
    receiver.status = status
    reporter, counted = _reporter(receiver.url)
    for number in range(3):
        reporter.report(str(number), exit_=None, prediction=None)
        receiver.wait(posts=number + 1)
    receiver.status = 200
    reporter.report("x", exit_=None, prediction=None)
    reporter.close()
    assert counted == {"refused": 3, "sent": 1}
    said = [record.getMessage() for record in caplog.records if "answers" in record.getMessage()]
    assert [f" {status} " in said[0], "again" in said[1], len(said)] == [True, True, 2]


def test_what_may_pass(receiver: AnswersReceiver) -> None:
    """A busy exporter, and one that does not know the pod yet, gets the same answers again."""
    receiver.status = 403
    reporter, counted = _reporter(receiver.url)
    reporter.report("a", exit_=None, prediction=None)
    receiver.wait(posts=1)
    receiver.status = 200
    reporter.close()
    assert [content["answers"][0]["id"] for _, content in receiver.posts][-1] == "a"
    assert counted == {"sent": 1}


def test_threads_lose_nothing(receiver: AnswersReceiver) -> None:
    """What eight threads tell at once all arrives, each once."""
    reporter, counted = _reporter(receiver.url)

    def tell(thread: int) -> None:
        for number in range(250):
            reporter.report(f"{thread}-{number}", exit_=None, prediction=None)

    threads = [threading.Thread(target=tell, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    receiver.wait(answers=2000)
    reporter.close()
    assert counted == {"sent": 2000}
    assert len({answer["id"] for answer in receiver.answers}) == 2000
    assert max(len(content["answers"]) for _, content in receiver.posts) <= 200


@pytest.mark.parametrize("url", ["exporter:4318", "ftp://exporter", "http://", "http://[", ""])
def test_no_url(url: str) -> None:
    """What is no URL is refused when the service starts, with the variable's name."""
    with pytest.raises(SpecError, match="JOULERY_ANSWERS_URL"):
        AnswerReporter(url, model="m")


_SERVICE = """
import os
from joulery import ServiceProfiler
profiler = ServiceProfiler("m", export="none")
with profiler.request(request_id="parent"):
    pass
child = os.fork()
if not child:
    with profiler.request(request_id="child"):
        pass
    profiler.close()
    os._exit(0)
os.waitpid(child, 0)
"""


def test_a_service_that_forks_and_ends(receiver: AnswersReceiver) -> None:
    """The environment says where to; a child tells its own answers, and the end tells the last."""
    environ = os.environ | {
        "JOULERY_ANSWERS_URL": receiver.url,
        "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.uid=u,k8s.pod.name=n,k8s.namespace.name=s",
    }
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", _SERVICE],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert sorted(answer["id"] for answer in receiver.answers) == ["child", "parent"]
    assert receiver.posts[0][1]["pod"] == {"uid": "u", "name": "n", "namespace": "s"}


def test_a_profiler_tells_answers(receiver: AnswersReceiver) -> None:
    """Answered requests whose id is known are told at their end; others and failed ones are not."""
    profiler = ServiceProfiler("m", "v", export="prometheus", port=0, answers=receiver.url)
    with profiler.request(request_id="given") as request:
        request.exit_taken("early")
        request.predicted(1.5)
    with profiler.request() as drawn:
        drawn.predicted("cat")
        name = drawn.id
    with profiler.request():
        pass  # nobody knows its id
    with profiler.request() as late:
        late.predicted(3)
    with profiler.request(request_id="failed") as failed:
        failed.failed("timeout")
    with profiler.request() as probe:
        probe.forget()
        probe.named("probe")
    receiver.wait(answers=2)
    late_name = late.id  # known only now
    receiver.wait(answers=3)
    assert value(families_of(profiler)["joulery_inference_requests"], "_total") == 5
    while True:
        answers = families_of(profiler)["joulery_inference_answers"]
        if value(answers, "_total", outcome="sent") == 3:
            break
    profiler.close()
    constant = {"model": "m", "variant": "v"}
    assert receiver.answers == [
        {"id": "given", **constant, "exit": "early", "prediction": 1.5},
        {"id": name, **constant, "prediction": "cat"},
        {"id": late_name, **constant, "prediction": 3},
    ]
