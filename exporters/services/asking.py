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
    takes_binary,
)

__all__ = ["ID_PREFIX", "MARK_HEADER", "MARK_PARAMETER", "Asked", "asking_session"]

MARK_HEADER = "X-Joulery-Probe"
MARK_PARAMETER = "joulery_probe"
ID_PREFIX = "joulery-probe-"

_MOST_BYTES = 4 * 1024 * 1024


def asking_session(timeout_s: float) -> aiohttp.ClientSession:
    """Return a session for requests that take so long at most, from connecting to the last byte."""
    return aiohttp.ClientSession(
        # Seconds pass between two probes of a server, and some close a connection without a word.
        connector=aiohttp.TCPConnector(force_close=True),
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        # A compressed answer could unpack to any size.
        auto_decompress=False,
        headers={"Accept-Encoding": "identity", MARK_HEADER: "1"},
        cookie_jar=aiohttp.DummyCookieJar(),
    )


class Asked:
    """One model of a server.

    All servers read JSON. Tensors are sent binary to those whose metadata says that they read
    that too: they are asked once, and again after a failure, when another server may be there.

    Args:
        url: Base URL of its Open Inference Protocol.
        model: The model's name there.

    Raises:
        SourceFailed: This is no URL.
    """

    def __init__(self, url: str, model: str) -> None:
        base = f"{url.rstrip('/')}/v2"
        try:
            self._server = URL(base, encoded=True)
            self._model = URL(f"{base}/models/{quote(model, safe='')}/infer", encoded=True)
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
        if self._binary is None:
            self._binary = await self._reads_binary(session)
        try:
            return await self._ask(session, inputs, outputs, binary=self._binary)
        except SourceFailed:
            self._binary = None
            raise

    async def _reads_binary(self, session: aiohttp.ClientSession) -> bool:
        """Return whether the server says that it takes binary tensors."""
        status, answer = await self._exchange(session, "GET", self._server)
        return status == 200 and takes_binary(answer.body)

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        inputs: Tensors,
        outputs: Sequence[str],
        *,
        binary: bool,
    ) -> InferenceResponse:
        try:
            message = encode_request(
                inputs,
                binary=binary,
                id=next(self._ids),
                parameters={MARK_PARAMETER: True},
                outputs=outputs,
            )
            status, answered = await self._exchange(session, "POST", self._model, message)
            if status != 200:
                said = answered.body[:200].decode(errors="replace")
                raise self._failed(self._model, f"status {status}: {said!r}")
            answer = decode_response(answered)
        except ProtocolError as error:
            raise self._failed(self._model, str(error)) from error
        missing = set(outputs) - answer.outputs.keys()
        if missing:
            raise self._failed(self._model, f"no output {min(missing)!r}")
        return answer

    async def _exchange(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: URL,
        message: Message | None = None,
    ) -> tuple[int, Message]:
        """Return status and answer; a connection that the server closes is tried once more.

        Raises:
            SourceFailed: There is no answer, or it is too long.
        """
        try:
            try:
                return await self._once(session, method, url, message)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                # There was no connection; or aiohttp did so itself, as it does for GET.
                if isinstance(error, aiohttp.ClientConnectorError) or message is None:
                    raise
                return await self._once(session, method, url, message)
        except TimeoutError as error:
            raise self._failed(url, "no answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._failed(url, f"{type(error).__name__}: {error}") from error

    async def _once(
        self, session: aiohttp.ClientSession, method: str, url: URL, message: Message | None
    ) -> tuple[int, Message]:
        async with session.request(
            method,
            url,
            data=None if message is None else message.body,
            headers=None if message is None else message.headers,
            allow_redirects=False,
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > _MOST_BYTES:
                    raise self._failed(url, f"more than {_MOST_BYTES} bytes")
            return response.status, Message(headers=response.headers, body=bytes(body))

    @staticmethod
    def _failed(url: URL, found: str) -> SourceFailed:
        return SourceFailed(str(url), found=found[:400])
