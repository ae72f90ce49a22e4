"""`ServiceProfiler`: what a service records, as a real receiver and a real scrape see it."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Generator, Iterator

import numpy as np
import pytest

from joulery import ServiceProfiler, current_request
from joulery.profiler.instruments import DURATION_BOUNDS_S

from ..conftest import require_program
from .fakes import Ticker
from .otlp_receiver import Receiver, receiving
from .scraping import families_of, text_of, value


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Return a running OTLP receiver."""
    with receiving() as running:
        yield running


@pytest.fixture
def profiler(receiver: Receiver) -> Iterator[ServiceProfiler]:
    """Return a profiler that pushes to the receiver, on a clock that a test moves."""
    made = ServiceProfiler("resnet", "small", endpoint=receiver.url, clock=Ticker())
    yield made
    made.close()


@pytest.fixture
def served() -> Iterator[ServiceProfiler]:
    """Return a profiler with a Prometheus endpoint."""
    made = ServiceProfiler("resnet", export="prometheus", port=0)
    yield made
    made.close()


def clock_of(profiler: ServiceProfiler) -> Ticker:
    """Return the clock that a test gave to a profiler."""
    assert isinstance(profiler._recorder.clock, Ticker)
    return profiler._recorder.clock


def test_a_request_reaches_the_collector(profiler: ServiceProfiler, receiver: Receiver) -> None:
    """Duration, batch, exit and precision of a request arrive as metrics and as one span."""
    with profiler.request(batch=24, request_id="a") as request:
        clock_of(profiler).advance(0.25)
        request.exit_taken("early")
        request.precision("int8")
    profiler.flush()
    [(labels, point)] = receiver.metrics["joulery.inference.duration"]
    assert labels == {
        "model": "resnet",
        "variant": "small",
        "outcome": "ok",
        "exit": "early",
        "precision": "int8",
    }
    assert (point.count, point.sum) == (1, 0.25)
    assert tuple(point.explicit_bounds) == DURATION_BOUNDS_S
    assert receiver.units["joulery.inference.duration"] == "s"
    constant = {"model": "resnet", "variant": "small"}
    assert receiver.count("joulery.inference.requests", **constant, outcome="ok") == 1
    assert receiver.count("joulery.inference.items", **constant) == 24
    assert receiver.count("joulery.inference.batches", **constant, batch_size="32") == 1
    [span] = receiver.spans
    assert span["name"] == "inference resnet"
    assert span["attributes"] == {
        "gen_ai.request.model": "resnet",
        "joulery.variant": "small",
        "joulery.batch": 24,
        "joulery.exit": "early",
        "joulery.precision": "int8",
        "joulery.request.id": "a",
    }
    assert span["status"] == 0


def test_latency_counts_from_the_intended_start(
    profiler: ServiceProfiler, receiver: Receiver
) -> None:
    """A request that had to wait pays for its waiting, in the metric and in the span."""
    clock = clock_of(profiler)
    intended_s = clock()
    clock.advance(30.0)
    with profiler.request(started_s=intended_s):
        clock.advance(0.5)
    profiler.flush()
    [(_, point)] = receiver.metrics["joulery.inference.duration"]
    assert point.sum == 30.5
    assert receiver.spans[0]["duration_s"] == pytest.approx(30.0, abs=5.0)  # plus real time


def test_errors_go_on_and_are_counted(profiler: ServiceProfiler, receiver: Receiver) -> None:
    """What a service raises is raised unchanged and counts as an error of its type."""
    error = OSError("disk")

    @profiler
    def broken() -> None:
        raise error

    with pytest.raises(OSError, match="disk") as raised:
        broken()
    assert raised.value is error
    with profiler.request() as request:
        request.failed("timeout")
    profiler.flush()
    name = "joulery.inference.requests"
    assert receiver.count(name, outcome="error", error_type="OSError") == 1
    assert receiver.count(name, outcome="error", error_type="timeout") == 1
    assert receiver.count(name) == 2
    assert [span["status"] for span in receiver.spans] == [2, 2]
    assert [span["attributes"]["error.type"] for span in receiver.spans] == ["OSError", "timeout"]


def test_functions_of_every_kind(profiler: ServiceProfiler, receiver: Receiver) -> None:
    """Plain and async functions and generators of both kinds count once a call, with batches."""

    @profiler(batch=len)
    def plain(items: list[int]) -> int:
        current_request().exit_taken("late")
        return sum(items)

    @profiler
    async def waiting(x: int) -> int:
        await asyncio.sleep(0)
        current_request().precision("fp16")
        return x

    @profiler
    def tokens(count: int) -> Generator[int, str, str]:
        yield from range(count)
        return "end"

    @profiler
    async def stream(count: int) -> AsyncIterator[int]:
        for n in range(count):
            yield n

    async def all_of(count: int) -> list[int]:
        return [await waiting(5), *[n async for n in stream(count)]]

    assert plain([1, 2, 3]) == 6
    assert plain.__name__ == "plain"
    assert asyncio.run(all_of(2)) == [5, 0, 1]
    assert list(tokens(3)) == [0, 1, 2]
    abandoned = tokens(3)
    assert next(abandoned) == 0
    abandoned.close()
    profiler.flush()
    name = "joulery.inference.duration"
    assert receiver.count(name) == 5
    assert receiver.count(name, exit="late") == 1
    assert receiver.count(name, precision="fp16") == 1
    assert receiver.count(name, outcome="cancelled") == 1
    assert receiver.count("joulery.inference.items") == 7
    with pytest.raises(LookupError, match="no request"):
        current_request()


def test_spans_nest_and_tasks_do_not_mix(profiler: ServiceProfiler, receiver: Receiver) -> None:
    """Requests within requests are child spans, and concurrent tasks keep their own request."""

    async def answer(name: str, seconds: float) -> None:
        with profiler.request() as request:
            await asyncio.sleep(seconds)
            assert current_request() is request
            with profiler.request():
                current_request().exit_taken("inner")
            current_request().exit_taken(name)

    async def serve() -> None:
        await asyncio.gather(answer("a", 0.02), answer("b", 0.01), answer("c", 0.0))

    asyncio.run(serve())
    profiler.flush()
    by_exit = {span["attributes"]["joulery.exit"]: span for span in receiver.spans}
    outer = {by_exit[name]["id"] for name in "abc"}
    inner = [span for span in receiver.spans if span["attributes"]["joulery.exit"] == "inner"]
    assert {span["parent"] for span in inner} == outer
    assert all(by_exit[name]["parent"] == b"" for name in "abc")


def test_threads_lose_no_count(served: ServiceProfiler) -> None:
    """Eight threads that answer at once, while a scraper reads, are all counted exactly."""

    @served(batch=2)
    def answer() -> None:
        pass

    def use() -> None:
        for _ in range(200):
            answer()

    threads = [threading.Thread(target=use) for _ in range(8)]
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # as many chances as there can be to lose a count
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            families_of(served)
    finally:
        sys.setswitchinterval(interval_s)
    for thread in threads:
        thread.join()
    found = families_of(served)
    assert value(found["joulery_inference_requests"], "_total") == 1600
    assert value(found["joulery_inference_items"], "_total") == 3200
    assert value(found["joulery_inference_duration_seconds"], "_count") == 1600


def test_feedback_is_joined_with_its_request(served: ServiceProfiler) -> None:
    """Judgements join their request's labels, before or after its end; the rest is counted."""
    with served.request(request_id="known") as request:
        assert served.feedback("known", accuracy=1.0)  # the client was faster than we
        request.exit_taken("early")
    with served.request() as unnamed:
        made_up = unnamed.id
    assert served.feedback("known", mase=1.5)
    assert served.feedback(made_up, accuracy=0.0)
    with served.request() as late:
        late.exit_taken("early")
    assert served.feedback(late.id, accuracy=1.0)  # named only after its end
    assert not served.feedback("known", accuracy=1.0)  # a second time
    assert not served.feedback("nobody", accuracy=1.0)
    assert not served.feedback("known", loss=math.nan, reward=-1.0)
    found = families_of(served)
    quality = found["joulery_inference_quality"]
    assert value(quality, "_count", metric="accuracy") == 3
    assert value(quality, "_sum", metric="accuracy", exit="early") == 2.0
    assert value(quality, "_sum", metric="mase", exit="early") == 1.5
    feedback = found["joulery_inference_feedback"]
    outcomes = {"joined": 4, "repeated": 1, "unknown": 1, "invalid": 2}
    for outcome, count in outcomes.items():
        assert value(feedback, "_total", outcome=outcome) == count
    assert value(feedback, "_total") == sum(outcomes.values())


def test_nothing_that_a_service_says_fails_its_request(served: ServiceProfiler) -> None:
    """Numbers come as NumPy's, ids as numbers or UUIDs, judgements as anything."""
    said = (np.int64(64), 32.0, math.nan, None, "many", -3)
    for number, batch in enumerate(said):
        with served.request(batch=batch, request_id=number) as request:  # type: ignore[arg-type]
            request.items = batch  # type: ignore[assignment]
    made = uuid.uuid4()
    with served.request(request_id=made):  # type: ignore[arg-type]
        pass
    assert served.feedback(str(made), accuracy=1.0)
    assert served.feedback("0", accuracy=np.float32(0.5))  # type: ignore[arg-type]
    assert served.feedback(1, accuracy=True)  # type: ignore[arg-type]
    for wrong in (None, "0.9x", 87.0, math.inf):
        assert not served.feedback("2", accuracy=wrong)  # type: ignore[arg-type]
    assert served.feedback("2", reward=87.0)
    found = families_of(served)
    assert value(found["joulery_inference_requests"], "_total") == len(said) + 1
    assert value(found["joulery_inference_items"], "_total") == 64 + 32 + 1 + 1 + 1 + 0 + 1
    assert value(found["joulery_inference_batches"], "_total", batch_size="64") == 1
    assert value(found["joulery_inference_quality"], "_sum", metric="accuracy") == 2.5
    assert value(found["joulery_inference_feedback"], "_total", outcome="invalid") == 4


def test_probes_are_forgotten(profiler: ServiceProfiler, receiver: Receiver) -> None:
    """A request that is forgotten leaves nothing: no duration, no count, no span, no feedback."""
    with profiler.request() as probe:
        probe.forget()
        probe.named("probe")
        with profiler.request(request_id="inner"):
            pass
    with pytest.raises(LookupError):
        current_request()
    with profiler.request():
        pass
    profiler.flush()
    assert receiver.count("joulery.inference.requests") == 2
    assert receiver.count("joulery.inference.duration") == 2
    assert len(receiver.spans) == 2
    assert not profiler.feedback("probe", accuracy=1.0)
    assert profiler.feedback("inner", accuracy=1.0)


def test_own_items_of_a_joined_batch(profiler: ServiceProfiler, receiver: Receiver) -> None:
    """A server that joins requests counts each one's own items, and the size of what ran."""
    for own in (1, 3):
        with profiler.request() as request:
            request.batch, request.items = 4, own
    profiler.flush()
    assert receiver.count("joulery.inference.items") == 4
    assert receiver.count("joulery.inference.batches", batch_size="4") == 2


def test_an_id_that_is_known_late(profiler: ServiceProfiler, receiver: Receiver) -> None:
    """An id may be given within the request, and feedback finds it."""
    with profiler.request() as request:
        request.named("late")
        assert request.id == "late"
        assert profiler.feedback("late", accuracy=1.0)
    profiler.flush()
    assert receiver.count("joulery.inference.quality", metric="accuracy") == 1
    assert receiver.spans[0]["attributes"]["joulery.request.id"] == "late"


def test_feedback_is_bounded() -> None:
    """Requests are forgotten after their time, and the oldest when there are too many."""
    clock = Ticker()
    profiler = ServiceProfiler("m", export="none", feedback_s=10.0, feedback_limit=3, clock=clock)
    for name in "abcd":
        with profiler.request(request_id=name):
            clock.advance(1.0)
    assert len(profiler._recorder.feedback) == 3
    assert [profiler.feedback(name, x=1.0) for name in "abcd"] == [False, True, True, True]
    clock.advance(7.0)  # b was begun 10 s ago
    assert [profiler.feedback(name, y=1.0) for name in "bcd"] == [False, True, True]
    clock.advance(100.0)
    assert not profiler.feedback("d", z=1.0)
    assert len(profiler._recorder.feedback) == 0


def test_labels_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Beyond its limit a label says "other"; that is counted, and said once."""
    profiler = ServiceProfiler("m", export="prometheus", port=0, label_limit=2)
    try:
        for n in range(10):
            with profiler.request() as request:
                request.exit_taken(f"exit-{n}")
        found = families_of(profiler)
    finally:
        profiler.close()
    duration = found["joulery_inference_duration_seconds"]
    counts = {name: value(duration, "_count", exit=name) for name in ("exit-0", "exit-1", "other")}
    assert counts == {"exit-0": 1, "exit-1": 1, "other": 8}
    assert value(found["joulery_inference_labels_folded"], "_total", label="exit") == 8
    warnings = [record for record in caplog.records if "exit" in record.getMessage()]
    assert [record.levelname for record in warnings] == ["WARNING"]


def test_the_scrape_passes_promtool(served: ServiceProfiler) -> None:
    """Prometheus's own linter has nothing to say about the names, types and help of a scrape."""
    with served.request(batch=8, request_id="a") as request:
        request.exit_taken("early")
    with served.request() as request:
        request.failed("timeout")
    served.feedback("a", accuracy=1.0)
    program = require_program("promtool")
    linted = subprocess.run(
        [program, "check", "metrics"],
        input=text_of(served),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (linted.stdout + linted.stderr, linted.returncode) == ("", 0)
