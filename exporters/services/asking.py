"""Asking a server by the Open Inference Protocol, one sample at a time, with a mark on it.

Services that know the mark leave such requests out of their own figures. A server may be hostile:
its answer is bounded in time and size, and it cannot send us elsewhere.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from urllib.parse import quote

import aiohttp
from yarl import URL

from ...errors import SourceFailed
from ...profiler.oip import (
    InferenceResponse,
    Message,
    ProtocolError,
    Tensors,
    decode_response,
    encode_request,
)

__all__ = ["ID_PREFIX", "MARK_HEADER", "MARK_PARAMETER", "Asked", "asking_session"]

MARK_HEADER = "X-Joulery-Probe"
MARK_PARAMETER = "joulery_probe"
ID_PREFIX = "joulery-probe-"

_MOST_BYTES = 4 * 1024 * 1024
_REFUSALS = {400, 415, 422}
"""What servers answer to a body that they cannot read."""


def asking_session(timeout_s: float) -> aiohttp.ClientSession:
    """Return a session for requests that take so long at most, from connecting to the last byte."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        # A compressed answer could unpack to any size.
        auto_decompress=False,
        headers={"Accept-Encoding": "identity", MARK_HEADER: "1"},
        cookie_jar=aiohttp.DummyCookieJar(),
    )


class Asked:
    """One model of a server.

    Tensors are sent binary. A server that refuses that is asked once more in JSON; what it
    understood first is what it is asked in from then on.

    Args:
        url: Base URL of its Open Inference Protocol.
        model: The model's name there.

    Raises:
        SourceFailed: This is no URL.
    """

    def __init__(self, url: str, model: str) -> None:
        path = f"v2/models/{quote(model, safe='')}/infer"
        try:
            self._url = URL(f"{url.rstrip('/')}/{path}", encoded=True)
        except ValueError as error:
            raise SourceFailed(url, found=str(error), expected="a URL") from error
        self._binary: bool | None = None
        # Random first: ids of two exporters, or of two of its lives, must not meet.
        prefix = f"{ID_PREFIX}{os.urandom(8).hex()}"
        self._ids = (f"{prefix}-{number}" for number in itertools.count())

    async def ask(
        self, session: aiohttp.ClientSession, inputs: Tensors, outputs: Sequence[str]
    ) -> InferenceResponse:
        """Return the answer to one request.

        Raises:
            SourceFailed: There is none, or it cannot be used.
        """
        binary = self._binary is not False
        status, body = await self._send(session, inputs, outputs, binary=binary)
        if self._binary is None and status in _REFUSALS:
            binary = False
            status, body = await self._send(session, inputs, outputs, binary=False)
        if status != 200:
            raise self._failed(f"status {status}: {body.body[:200].decode(errors='replace')!r}")
        try:
            answer = decode_response(body)
        except ProtocolError as error:
            raise self._failed(str(error)) from error
        missing = set(outputs) - answer.outputs.keys()
        if missing:
            raise self._failed(f"no output {min(missing)!r}")
        self._binary = binary
        return answer

    async def _send(
        self,
        session: aiohttp.ClientSession,
        inputs: Tensors,
        outputs: Sequence[str],
        *,
        binary: bool,
    ) -> tuple[int, Message]:
        try:
            message = encode_request(
                inputs,
                binary=binary,
                id=next(self._ids),
                parameters={MARK_PARAMETER: True},
                outputs=outputs,
            )
            async with session.post(
                self._url, data=message.body, headers=message.headers, allow_redirects=False
            ) as response:
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > _MOST_BYTES:
                        raise self._failed(f"more than {_MOST_BYTES} bytes")
                return response.status, Message(headers=response.headers, body=bytes(body))
        except TimeoutError as error:
            raise self._failed("no answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._failed(f"{type(error).__name__}: {error}") from error
        except ProtocolError as error:
            raise self._failed(str(error)) from error

    def _failed(self, found: str) -> SourceFailed:
        return SourceFailed(str(self._url), found=found[:400])
