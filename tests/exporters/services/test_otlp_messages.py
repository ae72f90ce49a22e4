"""Bodies of OTLP requests: unpacking them, JSON, and cutting them into their parts."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint

from joulery.exporters.services.otlp_messages import (
    Malformed,
    TooLarge,
    from_json,
    is_gzip,
    parts,
    unzipped,
)
from joulery.exporters.services.otlp_words import WORDS

from .otlp_requests import counter, histogram, message

PLAIN = message(
    histogram([1, 2, 3], [0.1, 1.0], total=1.5, model="m"),
    counter(7, model="m"),
    counter(1, name="http.server.requests"),
    service__name="s",
    k8s__pod__uid="uid-0",
)


def field(number: int, content: bytes) -> bytes:
    """Return a field with a length, as protobuf writes it."""
    length, head = len(content), bytes([number << 3 | 2])
    while length > 127:
        head, length = head + bytes([length & 127 | 128]), length >> 7
    return head + bytes([length]) + content


@given(st.binary(max_size=4000), st.integers(1, 3))
def test_gzip_comes_back(body: bytes, members: int) -> None:
    """What gzip packed is unpacked, also in several members, and only up to the limit."""
    packed = gzip.compress(body) * members
    assert is_gzip(packed)
    assert unzipped(packed, most_bytes=len(body) * members) == body * members
    if body:
        with pytest.raises(TooLarge):
            unzipped(packed, most_bytes=len(body) * members - 1)


@given(st.binary(min_size=1, max_size=500), st.data())
def test_gzip_that_is_cut_off(body: bytes, data: st.DataObject) -> None:
    """A packed body that lacks its end, or has something else there, is refused."""
    packed = gzip.compress(body)
    cut = data.draw(st.integers(1, len(packed) - 1))
    with pytest.raises(Malformed):
        unzipped(packed[:cut], most_bytes=1000)
    with pytest.raises(Malformed):
        unzipped(packed + b"rest", most_bytes=1000)


def test_a_bomb_is_never_unpacked() -> None:
    """A body that unpacks to a gigabyte takes no more memory than the limit allows."""
    packer = gzip.compress(bytes(1024 * 1024)) * 1024
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            unzipped(packer, most_bytes=2 * 1024 * 1024)
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_parts_are_what_the_message_has() -> None:
    """Names, units, types and points are those of the message; of strangers the number alone."""
    body = PLAIN.SerializeToString()
    [part] = parts(body, WORDS)
    duration, requests, other = part.metrics
    assert (duration.name, duration.unit, duration.kind) == (
        "joulery.inference.duration",
        "s",
        "histogram",
    )
    assert not duration.delta
    [(begin, end)] = duration.points
    sent = PLAIN.resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points[0]
    assert HistogramDataPoint.FromString(body[begin:end]) == sent
    assert (requests.kind, requests.monotonic, requests.count) == ("sum", True, 1)
    assert (other.name, other.count, other.points) == ("http.server.requests", 1, [])
    assert part.resource == PLAIN.resource_metrics[0].resource.SerializeToString()


def test_origins_differ() -> None:
    """Another process, or another scope of one, has another origin; the same one the same."""

    def origins(*requests: ExportMetricsServiceRequest) -> set[bytes]:
        return {p.origin for one in requests for p in parts(one.SerializeToString(), WORDS)}

    def told(instance: str, scope: str) -> ExportMetricsServiceRequest:
        request = message(counter(1), service__instance__id=instance)
        request.resource_metrics[0].scope_metrics[0].scope.name = scope
        return request

    assert len(origins(told("1", "a"), told("1", "a"))) == 1
    assert len(origins(told("1", "a"), told("2", "a"), told("1", "b"))) == 3


def test_pieces_of_a_message_are_one() -> None:
    """A metric whose data comes in several pieces has all its points, as protobuf has it."""
    first, second = counter(1, model="a"), counter(2, model="b")
    pieces = first.SerializeToString() + field(7, second.sum.SerializeToString())
    body = field(1, field(2, field(2, pieces)))
    [part] = parts(body, WORDS)
    assert part.metrics[0].count == 2
    parsed = ExportMetricsServiceRequest.FromString(body)
    assert len(parsed.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points) == 2


def test_every_cut_is_seen() -> None:
    """A request that is cut off anywhere within its first resource is refused."""
    body = PLAIN.SerializeToString()
    for cut in range(1, len(body)):
        with pytest.raises(Malformed):
            parts(body[:cut], WORDS)
    assert parts(b"", WORDS) == []


@given(st.binary(max_size=300))
def test_any_bytes(body: bytes) -> None:
    """Bytes of any kind are parts or malformed; what a parser takes is not cut elsewhere."""
    try:
        found = parts(body, WORDS)
    except Malformed:
        return
    assert all(
        0 <= begin <= end <= len(body)
        for part in found
        for metrics in part.metrics
        for begin, end in metrics.points
    )


def test_messages_of_countless_parts() -> None:
    """Small bodies that would become huge messages are refused before they do."""
    for body in (
        field(1, b"") * 100_000,
        field(1, field(2, field(2, b"")) * 300_000),
        field(1, field(2, field(2, field(1, b"n") + field(7, field(1, b"") * 300_000)))),
    ):
        tracemalloc.start()
        try:
            with pytest.raises(Malformed):
                parts(body, WORDS)
            assert tracemalloc.get_traced_memory()[1] < 64 * 1024 * 1024
        finally:
            tracemalloc.stop()


def test_json_is_the_same_request() -> None:
    """OTLP's JSON is read: numbers as strings, enumerations as numbers, what is unknown ignored."""
    text = json_format.MessageToDict(PLAIN, use_integers_for_enums=True)
    text["unknown"] = {"a": [1, 2]}
    text["resourceMetrics"][0]["later"] = "x"
    point = text["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["histogram"]["dataPoints"][
        0
    ]
    assert point["count"] == "6"
    assert point["bucketCounts"] == ["1", "2", "3"]
    assert ExportMetricsServiceRequest.FromString(from_json(json.dumps(text).encode())) == PLAIN
    point["count"], point["bucketCounts"] = 6, [1, 2, 3]
    assert ExportMetricsServiceRequest.FromString(from_json(json.dumps(text).encode())) == PLAIN


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"resourceMetrics": 5}',
        b'{"resourceMetrics": [{"resource": {"attributes": [{"key": "\\ud800"}]}}]}',
        b'{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"sum": {"dataPoints": [{"asInt": '
        + b"9" * 5000
        + b"}]}}]}]}]}",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"resourceMetrics": [{"resource": {"attributes": [{"value": '
        + b'{"arrayValue": {"values": [' * 100
        + b"]}}" * 100
        + b"}]}}]}",
    ],
)
def test_json_that_is_wrong(body: bytes) -> None:
    """JSON that is none, of another shape, or nested without end is refused in one way."""
    with pytest.raises(Malformed, match="JSON"):
        from_json(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    *("resourceMetrics", "resource", "attributes", "key", "value", "bytesValue"),
                    *("scopeMetrics", "metrics", "name", "sum", "histogram", "dataPoints", "asInt"),
                    *("bucketCounts", "timeUnixNano", "aggregationTemporality", "exemplars"),
                )
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json(content: object) -> None:
    """JSON of any shape is a request or malformed."""
    try:
        body = from_json(json.dumps(content).encode())
    except Malformed:
        return
    parts(body, WORDS)
