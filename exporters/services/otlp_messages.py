"""Bodies of OTLP/HTTP requests, unpacked and cut into metrics; what becomes of these is elsewhere.

Sources: opentelemetry.io, "OTLP Specification"; opentelemetry-proto, metrics_service.proto and
metrics.proto, for the numbers of the fields.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Literal

from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from .otlp_wire import Malformed, Span, Wire

__all__ = [
    "Kind",
    "Malformed",
    "Metrics",
    "Part",
    "TooLarge",
    "from_json",
    "is_gzip",
    "parts",
    "unzipped",
]

Kind = Literal["gauge", "sum", "histogram", "exponential_histogram", "summary"]

_KINDS: dict[int, Kind] = {
    5: "gauge",
    7: "sum",
    9: "histogram",
    10: "exponential_histogram",
    11: "summary",
}
_DELTA = 1
_GZIP = b"\x1f\x8b"
_STEP_BYTES = 256 * 1024
_MOST_NESTING = 20
"""OTLP itself needs ten levels; attributes may nest within each other."""

_MOST_FIELDS = 200_000
_MOST_RESOURCES = 64
_LONGEST_NAME_BYTES = 255


class TooLarge(Exception):
    """A body is larger than is taken; the text says what the limit is."""


@dataclass(slots=True)
class Metrics:
    """One metric of a request, its data points not yet parsed.

    Args:
        name: Its name.
        unit: Its unit.
        kind: What its points are; empty if it has no data.
        delta: Each point tells what came since the one before, not since the start.
        monotonic: Of a sum: it never falls.
        points: Where in the body they are; none are kept of metrics that nobody wants.
        count: How many there are.
    """

    name: str = ""
    unit: str = ""
    kind: Kind | Literal[""] = ""
    delta: bool = False
    monotonic: bool = False
    points: list[Span] = field(default_factory=list)
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one scope of one resource tells.

    Args:
        resource: The message `Resource`; parts of one resource have the same object.
        origin: Tells this scope of this resource from all others.
        metrics: Its metrics.
    """

    resource: bytes
    origin: bytes
    metrics: list[Metrics]


def is_gzip(body: bytes) -> bool:
    """Return whether a body is packed; neither JSON nor a protobuf message begins like this."""
    return body.startswith(_GZIP)


def unzipped(body: bytes, *, most_bytes: int) -> bytes:
    """Return what gzip packed.

    Raises:
        Malformed: It is no gzip, or cut off.
        TooLarge: It unpacks to more than is taken; no more than that was unpacked.
    """
    found, rest = bytearray(), body
    while rest:
        # Packed bodies may follow each other; they are unpacked to one.
        unpacking = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        while not unpacking.eof:
            try:
                step = unpacking.decompress(rest, _STEP_BYTES)
            except zlib.error as error:
                raise Malformed(f"gzip cannot be read: {error}") from None
            rest = unpacking.unconsumed_tail
            found += step
            if len(found) > most_bytes:
                raise TooLarge(f"it unpacks to more than {most_bytes} bytes")
            if not step and not rest and not unpacking.eof:
                raise Malformed("gzip is cut off")
        rest = unpacking.unused_data
    return bytes(found)


def from_json(body: bytes) -> bytes:
    """Return a request in protobuf's binary form, made of its form in JSON.

    Numbers of 64 bits may be strings, enumerations are numbers, unknown fields are ignored.

    Raises:
        Malformed: It is no JSON, or not that of such a request.
    """
    request = ExportMetricsServiceRequest()
    try:
        content = json.loads(body)
        if not isinstance(content, dict):
            raise Malformed("JSON is not an object")
        json_format.ParseDict(
            content, request, ignore_unknown_fields=True, max_recursion_depth=_MOST_NESTING
        )
    except RecursionError:
        raise Malformed("JSON is nested too deeply") from None
    except (json_format.ParseError, ValueError) as error:
        raise Malformed(f"JSON cannot be read: {str(error)[:200]}") from None
    return bytes(request.SerializeToString())


def parts(body: bytes, wanted: Container[str]) -> list[Part]:
    """Return what a request is made of, in protobuf's binary form.

    Args:
        body: The message `ExportMetricsServiceRequest`.
        wanted: Names of metrics whose points are kept.

    Raises:
        Malformed: It is no such message.
    """
    wire = Wire(body, most_fields=_MOST_FIELDS)
    found: list[Part] = []
    resources = 0
    for number, begin, end in wire.fields((0, len(body))):
        if number == 1 and end >= 0:
            resources += 1
            if resources > _MOST_RESOURCES:
                raise Malformed(f"it has more than {_MOST_RESOURCES} resources; one pod has few")
            found += _of_resource(wire, (begin, end), wanted)
    return found


def _of_resource(wire: Wire, span: Span, wanted: Container[str]) -> list[Part]:
    """Return the parts in one `ResourceMetrics`."""
    # A message that comes in pieces is all of them together, here and below.
    pieces, scopes = list[bytes](), list[Span]()
    for number, begin, end in wire.fields(span):
        if number == 1 and end >= 0:
            pieces.append(wire.body[begin:end])
        elif number == 2 and end >= 0:
            scopes.append((begin, end))
    resource = b"".join(pieces)
    digest = hashlib.blake2b(resource, digest_size=16)
    return [_of_scope(wire, scope, wanted, resource, digest.copy()) for scope in scopes]


def _of_scope(
    wire: Wire, span: Span, wanted: Container[str], resource: bytes, digest: hashlib.blake2b
) -> Part:
    """Return what is in one `ScopeMetrics`."""
    metrics = []
    digest.update(b"\0")
    for number, begin, end in wire.fields(span):
        if number == 1 and end >= 0:
            digest.update(wire.body[begin:end])
        elif number == 2 and end >= 0:
            metrics.append(_metrics(wire, (begin, end), wanted))
    return Part(resource=resource, origin=digest.digest(), metrics=metrics)


def _metrics(wire: Wire, span: Span, wanted: Container[str]) -> Metrics:
    """Return what is in one `Metric`."""
    found, data = Metrics(), list[Span]()
    for number, begin, end in wire.fields(span):
        if end < 0:
            continue
        if number == 1:
            found.name = _name(wire, begin, end)
        elif number == 3:
            found.unit = _name(wire, begin, end)
        elif number in _KINDS:
            if found.kind != _KINDS[number]:
                found.kind, data = _KINDS[number], []
            data.append((begin, end))
    for one in data:
        for number, begin, end in wire.fields(one):
            if number == 1 and end >= 0:
                found.points.append((begin, end))
            elif number == 2 and end < 0:
                found.delta = begin == _DELTA
            elif number == 3 and end < 0:
                found.monotonic = bool(begin)
    found.count = len(found.points)
    if found.name not in wanted:
        found.points.clear()
    return found


def _name(wire: Wire, begin: int, end: int) -> str:
    return wire.body[begin : min(end, begin + _LONGEST_NAME_BYTES)].decode(errors="replace")
