"""What hostile senders send to the receiver: each is bounded, counted, and hurts no other pod."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import pytest
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # it has no py.typed
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from joulery.exporters import service_metrics as m
from joulery.exporters.services.receiver import ReceiverLimits

from .otlp_requests import (
    AGO,
    GZIP,
    JSON,
    OTHER,
    POD,
    PROTOBUF,
    REQUEST,
    counter,
    histogram,
    in_json,
    message,
    receiving,
    receiving_as,
    run,
    value,
)


def test_nobody_speaks_for_another_pod() -> None:
    """A sender that claims to be another pod, or is none, is refused, and nothing is counted."""

    async def work() -> None:
        async with receiving(POD, OTHER, began_ns=AGO, sender="127.0.0.2") as place:
            forged = message(counter(1_000, model="m"), k8s__pod__uid=POD.uid)
            forwarded = {**PROTOBUF, "X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1"}
            for headers in (PROTOBUF, forwarded):
                status, answer, _ = await place.post(forged, headers=headers)
                assert status == 403
                assert "shop/other-0" in Status.FromString(answer).message
            mixed = message(counter(5, model="m"), k8s__pod__name="other-0")
            mixed.MergeFrom(forged)
            status, answer, _ = await place.post(mixed)
            assert status == 200
            partial = ExportMetricsServiceResponse.FromString(answer).partial_success
            assert partial.rejected_data_points == 1
            assert set(place.streams.readings()) == {OTHER}
            assert value(place.streams, OTHER, m.REQUESTS) == 5
            assert dict(place.receiver.requests) == {"foreign_identity": 2, "partial": 1}
            assert place.receiver.points["foreign_identity"] == 3

    run(work)


def test_strangers_are_not_even_read() -> None:
    """Who has no pod's address is refused at once, in metrics as in traces."""

    async def work() -> None:
        async with receiving(began_ns=AGO, sender="127.0.0.3") as place:
            for path in ("/v1/metrics", "/v1/traces"):
                status, answer, _ = await place.post(REQUEST, path=path)
                assert (status, Status.FromString(answer).code) == (403, 7)
            assert dict(place.receiver.requests) == {"unknown_sender": 2}
            assert place.streams.readings() == {}

    run(work)


@pytest.mark.parametrize(
    ("body", "headers", "status", "outcome"),
    [
        (REQUEST.SerializeToString()[:-3], PROTOBUF, 400, "malformed"),
        (b"\xff" * 100, PROTOBUF, 400, "malformed"),
        (b'{"resourceMetrics": [', JSON, 400, "malformed"),
        (gzip.compress(REQUEST.SerializeToString())[:-20], GZIP, 400, "malformed"),
        (b"no gzip", GZIP, 400, "malformed"),
        (gzip.compress(bytes(64 * 1024 * 1024)), GZIP, 413, "too_large"),
        (gzip.compress(gzip.compress(bytes(64 * 1024 * 1024))), GZIP, 413, "too_large"),
        (b" " * 3_000_000, JSON, 413, "too_large"),
        (gzip.compress(b" " * 3_000_000), {**JSON, "Content-Encoding": "gzip"}, 413, "too_large"),
        (b"x" * 5_000_000, PROTOBUF, 413, "too_large"),
        (b"text", {"Content-Type": "text/plain"}, 415, "malformed"),
        (b"", {**PROTOBUF, "Content-Encoding": "compress"}, 415, "malformed"),
    ],
    ids=lambda what: "" if isinstance(what, bytes | dict) else str(what),
)
def test_hostile_bodies(body: bytes, headers: dict[str, str], status: int, outcome: str) -> None:
    """Bodies that are cut off, are no OTLP, or too large once unpacked are refused and counted."""

    async def work() -> None:
        async with receiving(POD, OTHER, began_ns=AGO) as place:
            found, answer, said = await place.post(body, headers=headers)
            assert (found, dict(place.receiver.requests)) == (status, {outcome: 1})
            is_json = said["Content-Type"].startswith("application/json")
            told = json.loads(answer) if is_json else {"message": Status.FromString(answer).message}
            assert told["message"]
            assert await place.scraped()
            assert (await place.post(REQUEST))[0] == 200
            assert value(place.streams, POD, m.REQUESTS) == 3

    run(work)


def test_a_body_without_length_is_limited() -> None:
    """A body that is streamed without end is refused once it is too large."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield bytes(64 * 1024)

    async def work() -> None:
        async with receiving(limits=ReceiverLimits(body_bytes=1024 * 1024)) as place:
            try:
                status, _, _ = await place.post(endless())
            except OSError:  # the connection is closed while more is being sent
                status = 413
            assert status == 413
            assert dict(place.receiver.requests) == {"too_large": 1}

    run(work)


def test_what_is_too_much_at_once_comes_later() -> None:
    """While one sender has all its room, it is told to come later; others are not held up."""
    limits = ReceiverLimits(held_bytes=2 * 4_000)

    async def work() -> None:
        async with receiving(POD, OTHER, began_ns=AGO, limits=limits) as place:
            enough = asyncio.Event()

            async def slow() -> AsyncIterator[bytes]:
                yield b"\x0a" * 4_000
                await enough.wait()

            first = asyncio.create_task(place.post(slow()))
            while not place.receiver._held._taken:
                await asyncio.sleep(0.01)
            status, answer, said = await place.post(REQUEST)
            assert (status, said["Retry-After"]) == (429, "1")
            assert Status.FromString(answer).message
            assert await place.scraped()
            async with receiving_as("127.0.0.2", place) as other:
                assert (await other.post(REQUEST))[0] == 200
            enough.set()
            assert (await first)[0] == 400
            assert (await place.post(REQUEST))[0] == 200
            assert place.receiver.requests["busy"] == place.receiver.requests["malformed"] == 1
            assert value(place.streams, POD, m.REQUESTS) == 3
            assert value(place.streams, OTHER, m.REQUESTS) == 3

    run(work)


def test_work_aside_is_limited() -> None:
    """Of requests that need a thread only so many wait; all room is given back in the end."""
    limits = ReceiverLimits(aside=4, threads=1)
    body = in_json(message(*(counter(1, model="m", n=n) for n in range(1_000))))

    async def work() -> None:
        async with receiving(began_ns=AGO, limits=limits) as place:
            answers = await asyncio.gather(*(place.post(body, headers=JSON) for _ in range(8)))
            found = [status for status, _, _ in answers]
            assert set(found) <= {200, 429}
            assert found.count(200) >= 2
            assert place.receiver.requests["busy"] == found.count(429)
            assert (await place.post(body, headers=JSON))[0] == 200
            assert value(place.streams, POD, m.REQUESTS) == 1_000

    run(work)


numbers = st.integers(0, 2**64 - 1) | st.integers(0, 5_000)
texts = st.text(max_size=6) | st.sampled_from(["m", "model", "outcome", "ok", "k8s.pod.uid"])
metrics = st.builds(
    counter,
    st.integers(-(2**63), 2**63 - 1) | st.floats(),
    start_ns=numbers,
    time_ns=numbers,
    delta=st.booleans(),
    model=texts,
    outcome=texts,
) | st.builds(
    histogram,
    st.lists(st.integers(0, 2**56), max_size=4),
    st.lists(st.floats(), max_size=4),
    total=st.none() | st.floats(),
    start_ns=numbers,
    time_ns=numbers,
    delta=st.booleans(),
    model=texts,
)
requests = st.builds(
    lambda told, uid: message(*told, **({"k8s__pod__uid": uid} if uid else {})),
    st.lists(metrics, max_size=5),
    st.sampled_from(["", POD.uid, OTHER.uid]),
)


@given(st.lists(requests | st.binary(max_size=60), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_any_requests_leave_other_pods_alone(
    sent: list[ExportMetricsServiceRequest | bytes],
) -> None:
    """Whatever a sender sends, it is answered, its points are counted, and others are untouched."""

    async def work() -> None:
        async with receiving(POD, OTHER, began_ns=AGO) as place:
            async with receiving_as("127.0.0.2", place) as other:
                await other.post(REQUEST)
            before = place.streams.readings()[OTHER]
            for one in sent:
                status, _, _ = await place.post(one)
                assert status in (200, 400, 403)
            assert place.streams.readings()[OTHER] is before
            assert sum(place.receiver.requests.values()) == len(sent) + 1
            for text in place.streams.readings().values():
                assert all(len(label) <= 100 for told in text.told for label in told.labels)

    run(work)
