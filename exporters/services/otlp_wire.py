"""The outer layers of a protobuf message, taken apart without making objects of them.

Some bytes of a message can become fifty times as many in memory, so what comes from strangers is
cut into its data points first, and a parser sees one of these at a time. Encoding: protobuf.dev,
"Encoding".
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["Malformed", "Span", "Wire"]

Span = tuple[int, int]
"""Where something begins in a body, and where it ends."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_VARINT_BYTES = 10


class Malformed(Exception):
    """A body is not what it should be; the text says in what way."""


class Wire:
    """A protobuf message, and how many of its fields may still be looked at.

    Args:
        body: The whole message.
        most_fields: How many fields are looked at before it is refused.
    """

    def __init__(self, body: bytes, *, most_fields: int) -> None:
        self.body = body
        self._left = most_fields

    def fields(self, span: Span) -> Iterator[tuple[int, int, int]]:
        """Yield number, begin and end of each field that has a length; of a varint (n, value, -1).

        Raises:
            Malformed: This is no message, or the fields are too many.
        """
        body, (at, end) = self.body, span
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise Malformed("it has more parts than are looked at")
            key = body[at]
            at += 1
            if key > 127:
                key, at = _varint(body, at - 1, end)
            number, kind = key >> 3, key & 7
            if not number:
                raise Malformed("it is no protobuf message: a field has the number 0")
            if kind == _LENGTH:
                length, at = _varint(body, at, end)
                if length > end - at:
                    raise Malformed("it is cut off: a field is longer than what it is in")
                yield number, at, at + length
                at += length
            elif kind == _VARINT:
                value, at = _varint(body, at, end)
                yield number, value, -1
            elif kind in _FIXED_BYTES:
                at += _FIXED_BYTES[kind]
                if at > end:
                    raise Malformed("it is cut off within a number")
            else:
                raise Malformed(f"it is no OTLP message: a field has the wire type {kind}")


def _varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a number, and where it ends."""
    value = shift = 0
    for place in range(at, min(at + _VARINT_BYTES, end)):
        byte = body[place]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place + 1
        shift += 7
    raise Malformed("it is cut off, or no protobuf message: a number does not end")
