"""Bodies of requests and responses, compressed or not.

Requests are unpacked here and not by aiohttp, which answers those that are broken with its own
page, and tells them in the log.
"""

from __future__ import annotations

import asyncio
import zlib

from aiohttp import web

from ...profiler.oip import ProtocolError

__all__ = ["UnsupportedEncoding", "coding_for", "read_body"]

_SMALLEST_BYTES = 1024
"""What is smaller fits into one packet: to compress it costs energy and saves nothing."""

_ASIDE_BYTES = 2**13
"""What is larger, packed, is unpacked on another thread, so that other requests go on."""

_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""Of HTTP's encodings; its "deflate" is what zlib calls zlib (RFC 9110, section 8.4.1.2)."""


class UnsupportedEncoding(ProtocolError):
    """A body is compressed in a way that is not known here."""


async def read_body(request: web.BaseRequest, most_bytes: int) -> bytes:
    """Read the body of a request, and unpack it.

    Raises:
        UnsupportedEncoding: It is packed otherwise than by gzip or deflate.
        ProtocolError: It cannot be unpacked, or ends before it should.
        web.HTTPRequestEntityTooLarge: It is larger than allowed, or would be.
    """
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity", *_WINDOW_BITS):
        raise UnsupportedEncoding(
            "header Content-Encoding", found=repr(encoding), expected="gzip, deflate or identity"
        )
    try:
        body = await request.read()
    except (ConnectionError, web.RequestPayloadError) as error:
        found = " ".join(str(error).split()) or "the end of the connection"
        raise ProtocolError("body", found=found, expected="all of it, as announced") from error
    if encoding not in _WINDOW_BITS:
        return body
    if len(body) < _ASIDE_BYTES:
        return _unpacked(body, encoding, most_bytes)
    return await asyncio.to_thread(_unpacked, body, encoding, most_bytes)


def _unpacked(body: bytes, encoding: str, most_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        content = unpacker.decompress(body, most_bytes + 1)
    except zlib.error as error:
        raise ProtocolError("body", found=str(error), expected=f"{encoding} data") from error
    if len(content) > most_bytes:
        raise web.HTTPRequestEntityTooLarge(most_bytes)
    if not unpacker.eof or unpacker.unused_data:
        found = "more data behind its end" if unpacker.eof else "no end"
        raise ProtocolError("body", found=found, expected=f"whole {encoding} data")
    return content


def coding_for(size_bytes: int, accepted: str) -> web.ContentCoding | None:
    """Return how to compress a response, by `Accept-Encoding`; `None`: not at all."""
    if size_bytes < _SMALLEST_BYTES:
        return None
    wanted: set[str] = set()
    for part in accepted.lower().split(","):
        name, _, weight = part.replace(" ", "").partition(";q=")
        if not weight or weight.strip("0."):
            wanted.add(name)
    for coding in (web.ContentCoding.gzip, web.ContentCoding.deflate):
        if coding.value in wanted:
            return coding
    return None
