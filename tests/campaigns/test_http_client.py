"""The HTTP client of the load generator against real sockets, well behaved and not."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trustme

from joulery.campaigns.exchange import Exchange
from joulery.campaigns.http_client import HttpTarget, precise_loop
from joulery.campaigns.loads import ClosedLoad, OfflineLoad, SteadyLoad
from joulery.campaigns.play import Player
from joulery.campaigns.schedule import Schedule, make_schedule, stream
from joulery.profiler.oip import Message

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Number: 7\r\n\r\nhi"
Answer = Callable[["Server", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A server that answers requests as it is told, and keeps what it was asked."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self._answer, self._tls = answer, tls
        self._writers: list[asyncio.StreamWriter] = []
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.connections = self.port = 0

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=self._tls, backlog=1000
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while not reader.at_eof():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                size = int(head.lower().partition("content-length:")[2].split("\r\n")[0])
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(size))
                await self._answer(self, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass


def _said(*parts: bytes, close: bool = False, after_s: float = 0.0) -> Answer:
    """Answer with these bytes, in so many pieces."""

    async def answer(_: Server, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(after_s)
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.001)
        if close:
            writer.close()

    return answer


def _run(
    answer: Answer,
    schedule: Schedule,
    *,
    timeout_s: float = 5.0,
    body: bytes = b"ask",
    url: str = "http://127.0.0.1:{port}/infer",
) -> tuple[Server, list[Exchange]]:
    """Send a schedule to a server; the sample is the first of the body."""

    async def main() -> tuple[Server, list[Exchange]]:
        async with Server(answer) as server:
            target = HttpTarget(
                url.format(port=server.port),
                timeout_s=timeout_s,
                body=lambda sample: Message(headers={"X-Own": "1"}, body=b"%d" % sample + body),
            )
            await target.open()
            found = await Player(target, schedule).play(asyncio.get_running_loop().time())
            await target.close()
            return server, found

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        return runner.run(main())


def _even(requests: int, rate_hz: float = 200.0) -> Schedule:
    load = SteadyLoad(arrival="constant", rate_hz=rate_hz)
    return make_schedule(load, duration_s=requests / rate_hz, samples=9, rng=stream(1))


def _texts(exchanges: list[Exchange]) -> list[bytes]:
    return [e.answer.body if e.answer is not None else b"" for e in exchanges]


def test_a_request_is_what_was_asked_for() -> None:
    """Method, path with its query, host, own headers and the body arrive; nothing is compressed."""
    url = "http://127.0.0.1:{port}/v2/x?y=1"
    server, [exchange] = _run(_said(OK), _even(1), url=url)
    assert server.heads[0].startswith("POST /v2/x?y=1 HTTP/1.1\r\n")
    for line in (f"Host: 127.0.0.1:{server.port}", "Accept-Encoding: identity", "X-Own: 1"):
        assert f"\r\n{line}\r\n" in server.heads[0]
    assert server.bodies == [b"%dask" % exchange.sample]
    assert exchange.answer is not None
    assert exchange.answer.body == b"hi"
    assert (b"x-number", b"7") in exchange.answer.headers


def test_a_large_body_arrives_whole() -> None:
    """A body of megabytes is sent as it is."""
    body = bytes(range(256)) * 8192
    server, [exchange] = _run(_said(OK), _even(1), body=body)
    assert server.bodies == [b"%d" % exchange.sample + body]


def test_a_name_and_a_password_are_sent() -> None:
    """What stands before the host is HTTP's basic authentication, and no part of the host."""
    server, _ = _run(_said(OK), _even(1), url="http://me:p%40ss@127.0.0.1:{port}/")
    word = base64.b64encode(b"me:p@ss").decode()
    assert f"\r\nAuthorization: Basic {word}\r\n" in server.heads[0]
    assert f"\r\nHost: 127.0.0.1:{server.port}\r\n" in server.heads[0]


def test_connections_stay_open() -> None:
    """Requests that do not overlap need one connection."""
    schedule = make_schedule(
        ClosedLoad(arrival="closed", users=1), duration_s=0.2, samples=9, rng=stream(1)
    )

    async def main() -> tuple[int, int]:
        async with Server(_said(OK)) as server:
            target = HttpTarget(
                f"http://127.0.0.1:{server.port}/",
                timeout_s=5.0,
                body=lambda _: Message(headers={}, body=b""),
            )
            await target.open()
            found = await Player(target, schedule).play(asyncio.get_running_loop().time())
            await target.close()
            return server.connections, len(found)

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        connections, requests = runner.run(main())
    assert requests > 2
    assert connections == 1


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (_said(OK[:9], OK[9:30], OK[30:]), b"hi"),
        (_said(CHUNKED, b"2\r\nhi\r\n", b"3\r\n yo\r\n0\r\n\r\n"), b"hi yo"),
        (_said(b"HTTP/1.1 200 OK\r\n\r\n", b"to the ", b"end", close=True), b"to the end"),
        (_said(b"HTTP/1.1 102 Processing\r\n\r\n", OK), b"hi"),
        (_said(OK.replace(b"X-Number: 7", b"Connection: close"), close=True), b"hi"),
    ],
    ids=["pieces", "chunked", "until the end", "a word before", "no other"],
)
def test_every_way_to_say_how_long_an_answer_is(answer: Answer, text: bytes) -> None:
    """Answers come in pieces, in chunks, up to the end of the connection, after a word."""
    _, exchanges = _run(answer, _even(5))
    assert [e.status for e in exchanges] == ["ok"] * 5
    assert _texts(exchanges) == [text] * 5


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (_said(OK[:-1], close=True), "disconnected"),
        (_said(close=True), "disconnected"),
        (_said(b"SMTP 220 hello\r\n\r\n"), "malformed answer"),
        (_said(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), "HTTP 503"),
        (_said(b"HTTP/1.1 307 Go\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"), "HTTP 307"),
    ],
)
def test_what_goes_wrong_is_said_of_each_request(answer: Answer, status: str) -> None:
    """A server that breaks off, or speaks otherwise, fails the request and no other."""
    _, exchanges = _run(answer, _even(4))
    assert len(exchanges) == 4
    for exchange in exchanges:
        assert exchange.status.startswith(status)
        assert exchange.answer is None
        assert exchange.done_s != exchange.done_s  # not a number: there is no answer


def test_an_answer_too_late_has_failed() -> None:
    """Requests wait as long as they may; a server that is slow once is asked again."""
    _, exchanges = _run(_said(OK, after_s=0.3), _even(4), timeout_s=0.1)
    assert {e.status for e in exchanges} == {"timeout"}


def test_a_connection_that_never_comes_about_is_too_late() -> None:
    """Where packets go nowhere, requests fail in time; a name that is none fails at once."""
    _, exchanges = _run(_said(OK), _even(3), timeout_s=0.2, url="http://192.0.2.1:9/")
    assert {e.status for e in exchanges} <= {"timeout", "OSError", "ConnectionRefusedError"}
    _, exchanges = _run(_said(OK), _even(3), url="http://nowhere.invalid/")
    assert {e.status for e in exchanges} == {"gaierror"}


@pytest.mark.parametrize("together", [True, False])
def test_more_words_than_were_asked_for_end_the_connection(together: bool) -> None:
    """An answer to nothing is no answer to the next request, and no part of the last."""
    words = (OK, OK.replace(b"hi", b"no"))
    said = _said(b"".join(words)) if together else _said(*words)
    _, exchanges = _run(said, _even(6, rate_hz=20.0))
    assert _texts(exchanges) == [b"hi"] * 6


def test_past_the_most_connections_requests_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """When files run out, requests wait for a connection, and all are answered."""
    monkeypatch.setattr("joulery.campaigns.http_client._MOST_CONNECTIONS", 3)
    load = OfflineLoad(arrival="offline", samples=20, in_flight=20)
    schedule = make_schedule(load, duration_s=1.0, samples=9, rng=stream(1))

    async def main() -> tuple[int, list[Exchange]]:
        async with Server(_said(OK, after_s=0.005)) as server:
            target = HttpTarget(
                f"http://127.0.0.1:{server.port}/",
                timeout_s=5.0,
                body=lambda _: Message(headers={}, body=b""),
            )
            await target.open()
            found = await Player(target, schedule).play(asyncio.get_running_loop().time())
            await target.close()
            return server.connections, found

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        connections, exchanges = runner.run(main())
    assert connections == 3
    assert [e.status for e in exchanges] == ["ok"] * 20
    # It is the generator that is late, and it says so.
    assert max(e.sent_s - e.ready_s for e in exchanges) > 0.02


def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An https URL is asked over TLS, and whoever has no good certificate is not."""
    authority = trustme.CA()
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(own)
    trusted = tmp_path / "trusted.pem"
    authority.cert_pem.write_to_path(trusted)

    async def main() -> list[str]:
        async with Server(_said(OK), own) as server:
            target = HttpTarget(
                f"https://localhost:{server.port}/",
                timeout_s=5.0,
                body=lambda _: Message(headers={}, body=b""),
            )
            await target.open()
            found = await Player(target, _even(4)).play(asyncio.get_running_loop().time())
            await target.close()
            return [exchange.status for exchange in found]

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        assert set(runner.run(main())) == {"SSLCertVerificationError"}
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        assert set(runner.run(main())) == {"ok"}
