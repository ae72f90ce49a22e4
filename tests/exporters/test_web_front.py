"""Clients that behave badly, and the end: nobody holds the server up, nor is cut off at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from joulery.exporters.web import Limits

from .web_pages import Pages, Secrets, fetch, port_of, serving


def test_graceful_stop() -> None:
    """On stop a request in flight is answered, an idle connection is closed, a new one refused."""

    async def work() -> None:
        pages = Pages()
        async with serving(pages) as (url, stop, task):
            port = port_of(url)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            await reader.readuntil(b"up 1\n")
            late = asyncio.create_task(fetch(f"{url}/wait"))
            await pages.entered.wait()
            stop.set()
            while True:  # refused as soon as the server has taken notice
                try:
                    _, other = await asyncio.open_connection("127.0.0.1", port)
                except (ConnectionRefusedError, ConnectionResetError):
                    break
                other.close()
            assert not task.done()
            pages.leave.set()
            assert await late == (200, "late\n")
            assert await reader.read() == b""
            writer.close()
            await task

    asyncio.run(work())


def test_stop_does_not_wait_for_ever(tmp_path: Path) -> None:
    """A request that never ends, and a handshake that never does, do not keep the server alive."""

    async def work() -> None:
        pages, secrets = Pages(), Secrets.make(tmp_path)
        limits = Limits(stop_s=0.1)
        async with serving(pages, config=secrets.write(), limits=limits) as (url, stop, task):
            _, mute = await asyncio.open_connection("127.0.0.1", port_of(url))
            late = asyncio.create_task(fetch(f"{url}/wait", ssl=secrets.client()))
            await pages.entered.wait()
            stop.set()
            await task
            with pytest.raises(aiohttp.ClientError):
                await late
            mute.close()

    asyncio.run(work())


@pytest.mark.parametrize(
    "sends",
    [b"", b"GET /metrics HTTP/1.1\r\nHost: a\r\nX", b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\nGET"],
)
def test_silent_clients(sends: bytes) -> None:
    """A client that sends nothing, or half a request, first or later, is given up."""

    async def work() -> None:
        limits = Limits(silent_s=0.2, idle_s=0.2)
        async with serving(limits=limits) as (url, _, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
            writer.write(sends)
            await reader.read()
            writer.close()
            assert (await fetch(f"{url}/metrics"))[0] == 200

    asyncio.run(work())


def test_silent_handshake(tmp_path: Path) -> None:
    """A client that begins no TLS handshake is given up."""

    async def work() -> None:
        limits = Limits(silent_s=0.2)
        async with serving(config=Secrets.make(tmp_path).write(), limits=limits) as (url, _, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
            assert await reader.read() == b""
            writer.close()

    asyncio.run(work())


def test_slow_reader(caplog: pytest.LogCaptureFixture) -> None:
    """A client that does not take its answer is cut off."""

    async def work() -> None:
        limits = Limits(request_s=0.3)
        async with serving(limits=limits) as (url, _, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url), limit=1024)
            writer.write(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
            await asyncio.sleep(1)
            # What comes is what was under way, and then the connection's end by force.
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(len(Pages().large))
            writer.close()

    asyncio.run(work())
    assert caplog.records == []


def test_slow_body_and_slow_page(caplog: pytest.LogCaptureFixture) -> None:
    """A body that does not come, and a page that does not end, are answered 503 in time."""

    async def work() -> None:
        async with serving(limits=Limits(request_s=0.2)) as (url, _, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
            writer.write(b"POST /v1/metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx")
            assert (await reader.readline()).startswith(b"HTTP/1.1 503")
            await reader.read()
            writer.close()
            assert (await fetch(f"{url}/wait"))[0] == 503

    asyncio.run(work())
    assert "POST /v1/metrics: no answer within 0.2 s" in caplog.text


def test_what_is_no_http(caplog: pytest.LogCaptureFixture) -> None:
    """Headers without end, and what is no HTTP, are refused, and are no error in the log."""

    async def work() -> None:
        async with serving() as (url, _, _):
            for sends in (
                b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000,
                b"GET /" + b"x" * 100_000,
                b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000,
                b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
            ):
                reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
                writer.write(sends)
                assert b" 400 " in await reader.readline()
                writer.close()
            assert (await fetch(f"{url}/metrics"))[0] == 200

    asyncio.run(work())
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_as_many_as_there_is_room_for() -> None:
    """A client beyond the limit is served when another has gone."""

    async def work() -> None:
        async with serving(limits=Limits(connections=1)) as (url, _, _):
            _, first = await asyncio.open_connection("127.0.0.1", port_of(url))
            waiting = asyncio.create_task(fetch(f"{url}/metrics"))
            done, _ = await asyncio.wait([waiting], timeout=0.3)
            assert not done
            first.close()
            assert (await waiting)[0] == 200

    asyncio.run(work())


def test_one_address_has_its_share() -> None:
    """Who holds all connections of an address keeps no other address out, and is counted."""

    async def work() -> None:
        dropped: Counter[str] = Counter()
        limits = Limits(connections=3, each=2)
        async with serving(limits=limits, dropped=dropped) as (url, _, _):
            port = port_of(url)
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            reader, third = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            third.close()
            assert dropped == {"crowded": 1}
            other = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
            async with (
                aiohttp.ClientSession(connector=other) as session,
                session.get(f"{url}/metrics") as answer,
            ):
                assert answer.status == 200
            held.pop()[1].close()
            while True:  # as soon as the server has taken notice
                try:
                    assert (await fetch(f"{url}/metrics"))[0] == 200
                    break
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.05)
            held.pop()[1].close()

    asyncio.run(work())


def test_what_is_given_up_is_counted() -> None:
    """Clients that say nothing, and those whose request does not end, are counted apart."""

    async def work() -> None:
        dropped: Counter[str] = Counter()
        limits = Limits(silent_s=1.0, request_s=0.2)
        async with serving(limits=limits, dropped=dropped) as (url, _, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
            with contextlib.suppress(ConnectionResetError):
                await reader.read()
            writer.close()
            assert (await fetch(f"{url}/wait"))[0] == 503
            assert dropped == {"silent": 1, "slow": 1}

    asyncio.run(work())


def test_a_connection_that_was_heard_of_stays(tmp_path: Path) -> None:
    """A client that made its first request in time may be silent for longer after it."""

    async def work() -> None:
        secrets, limits = Secrets.make(tmp_path), Limits(silent_s=0.3)
        async with serving(config=secrets.write(), limits=limits) as (url, _, _):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port_of(url), ssl=secrets.client(), server_hostname="localhost"
            )
            for _ in range(2):
                writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
                await reader.readuntil(b"up 1\n")
                await asyncio.sleep(0.6)
            writer.close()
            await writer.wait_closed()

    asyncio.run(work())
