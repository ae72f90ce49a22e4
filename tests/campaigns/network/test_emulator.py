"""The emulator with real sockets: bytes come whole, in order, and never before their time.

Upper bounds are wide, for a machine that does other things too; how exact times are is measured by
benchmarks/network.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from joulery.campaigns.network.conditions import Conditions, Link
from joulery.campaigns.network.presets import PRESETS
from joulery.campaigns.network.running import start_link
from joulery.errors import SpecError, TrialError

from .servers import connect, echoing, exchange, listening

ROUGH = Link(delay_s=0.005, jitter_s=0.005, loss_ratio=0.05, outages=((0.3, 0.5),))
PATIENCE_S = 20.0


def _symmetric(link: Link) -> Conditions:
    return Conditions(name="test", up=link, down=link)


@pytest.mark.parametrize("rate_bps", [None, 20e6])
def test_bytes_come_whole_and_in_order(rate_bps: float | None) -> None:
    """Jitter, loss, an outage and odd chunks change no byte, and what was sent is counted."""
    draw = random.Random(1)
    sent = draw.randbytes(1_000_000)
    link = Link(delay_s=0.002, jitter_s=0.002, loss_ratio=0.02, outages=((0.3, 0.5),))
    conditions = Conditions(
        name="test", up=link, down=Link(delay_s=0.002, loss_ratio=0.02, rate_bps=rate_bps)
    )
    with echoing() as url, start_link(url, conditions, seed=1) as running:
        with connect(running.port) as client:

            def write() -> None:
                place = 0
                while place < len(sent):
                    size = draw.choice((1, 100, 1460, 5000, 100_000))
                    client.sendall(sent[place : place + size])
                    place += size
                client.shutdown(socket.SHUT_WR)

            writer = threading.Thread(target=write)
            writer.start()
            came = b""
            while data := client.recv(65536):
                came += data
            writer.join()
        report = running.finish()
    assert came == sent
    assert (report.bytes_up, report.bytes_down) == (len(sent), len(sent))
    assert report.segments_up >= len(sent) // 1460
    assert 0 < report.segments_lost_up < report.segments_up / 10
    assert report.connections == 1
    assert report.cpu_s > 0


def test_no_answer_is_earlier_than_the_path_allows() -> None:
    """An exchange takes its round trip, the first one of a connection the handshake's besides."""
    conditions = _symmetric(Link(delay_s=0.02, jitter_s=0.002))
    with echoing() as url, start_link(url, conditions, seed=1) as running:
        began_s = time.monotonic()
        with connect(running.port) as client:
            exchange(client, b"hello")
            first_s = time.monotonic() - began_s
            others_s = [exchange(client, bytes([number])) for number in range(20)]
    assert first_s >= 0.08
    assert min(others_s) >= 0.04
    assert max([first_s, *others_s]) < PATIENCE_S


def test_a_rate_is_shared_by_all_connections() -> None:
    """Two clients together get the rate of the link, and a rate limits only its own direction."""
    conditions = Conditions(name="test", down=Link(rate_bps=16e6))
    with (
        echoing() as url,
        start_link(url, conditions, seed=1) as running,
        connect(running.port) as one,
        connect(running.port) as other,
    ):
        began_s = time.monotonic()
        threads = [
            threading.Thread(target=exchange, args=(client, bytes(500_000)))
            for client in (one, other)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took_s = time.monotonic() - began_s
        assert running.finish().bytes_down == 1_000_000
    assert 0.5 <= took_s < PATIENCE_S


def test_one_direction_may_end_before_the_other() -> None:
    """A server sees the end of a request behind its last byte, and answers after it."""
    with listening() as (listener, url), start_link(url, _symmetric(ROUGH), seed=1) as running:
        listener.accept()[0].close()
        with connect(running.port) as client:
            client.sendall(b"question")
            client.shutdown(socket.SHUT_WR)
            server, _ = listener.accept()
            with server:
                asked = b""
                while data := server.recv(100):
                    asked += data
                server.sendall(b"answer")
            answered = b""
            while data := client.recv(100):
                answered += data
    assert (asked, answered) == (b"question", b"answer")


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_is_passed_on(who: str) -> None:
    """When one side resets, the other is reset, too, and it is counted."""
    with listening() as (listener, url), start_link(url, _symmetric(ROUGH), seed=1) as running:
        listener.accept()[0].close()
        client = connect(running.port)
        server, _ = listener.accept()
        server.settimeout(PATIENCE_S)
        client.sendall(b"x")
        assert server.recv(1) == b"x"
        breaks, sees = (client, server) if who == "client" else (server, client)
        breaks.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        breaks.close()
        with pytest.raises(ConnectionResetError):
            sees.recv(1)
        sees.close()
        assert running.finish().resets == 1


def test_a_reader_that_waits_stops_the_writer() -> None:
    """What a link holds is bounded; when the reader goes on, nothing is missing."""
    with (
        listening() as (listener, url),
        start_link(url, Conditions(name="test"), seed=1) as running,
    ):
        listener.accept()[0].close()
        with connect(running.port) as client:
            server, _ = listener.accept()
            client.settimeout(0.5)
            held = 0
            with contextlib.suppress(TimeoutError):
                while held < 1 << 30:
                    held += client.send(bytes(1 << 20))
            assert held < 100 << 20
            client.shutdown(socket.SHUT_WR)
            with server:
                while data := server.recv(1 << 20):
                    held -= len(data)
    assert held == 0


def test_hundreds_of_connections() -> None:
    """Many clients at once each get their own bytes back."""

    async def ask(port: int, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        message = number.to_bytes(4, "big") * 100
        writer.write(message)
        assert await reader.readexactly(len(message)) == message
        writer.close()
        await writer.wait_closed()

    async def ask_all(port: int) -> None:
        await asyncio.gather(*(ask(port, number) for number in range(300)))

    with echoing() as url, start_link(url, _symmetric(ROUGH), seed=1) as running:
        asyncio.run(ask_all(running.port))
        report = running.finish()
    assert (report.connections, report.refused, report.resets) == (300, 0, 0)
    assert report.bytes_down == 300 * 400


def test_http_over_a_preset() -> None:
    """An HTTP client and server work over each preset, at the URL that the link gives."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=await request.read(), headers={"X-Path": request.path})

    async def ask() -> None:
        app = web.Application()
        app.router.add_post("/v2/models/m/infer", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v2/models/m/infer"
        for conditions in PRESETS.values():
            with start_link(url, conditions, seed=1) as running:
                assert running.url != url
                async with aiohttp.ClientSession() as session:
                    for size in (10, 20_000):
                        body = os.urandom(size)
                        began_s = time.monotonic()
                        async with session.post(running.url, data=body) as response:
                            assert await response.read() == body
                            assert response.headers["X-Path"] == "/v2/models/m/infer"
                        rtt_s = conditions.up.delay_s + conditions.down.delay_s
                        assert time.monotonic() - began_s >= rtt_s
        await runner.cleanup()

    asyncio.run(ask())


def test_conditions_begin_when_told() -> None:
    """Outages count from `begin`."""
    conditions = _symmetric(Link(outages=((0.0, 0.4),)))
    with (
        echoing() as url,
        start_link(url, conditions, seed=1) as running,
        connect(running.port) as client,
    ):
        exchange(client, b"over")
        began_s = time.monotonic()
        running.begin()
        time.sleep(0.1)
        exchange(client, b"within")
        assert time.monotonic() - began_s >= 0.4


def test_an_emulator_that_was_late_says_so() -> None:
    """When its process did not get to run, the report tells how late bytes were."""
    with (
        echoing() as url,
        start_link(url, _symmetric(Link(delay_s=0.5)), seed=1) as running,
        connect(running.port) as client,
    ):
        exchange(client, b"over")
        client.sendall(b"late")
        time.sleep(0.25)
        os.kill(running.pid, signal.SIGSTOP)
        time.sleep(0.5)
        os.kill(running.pid, signal.SIGCONT)
        assert client.recv(4) == b"late"
        report = running.finish()
    assert 1 <= report.late <= report.deliveries
    assert report.lateness_max_s >= 0.1
    assert any("link_late" in one for one in report.reasons(late_ratio=0.0))
    assert report.reasons(late_ratio=1.0) == ()


def test_a_target_that_is_not_there() -> None:
    """Before the link starts it is an error; later, clients are reset, and the report tells why."""
    with listening() as (listener, url):
        with start_link(url, _symmetric(ROUGH), seed=1) as running:
            listener.close()
            with connect(running.port) as client, pytest.raises(ConnectionResetError):
                client.recv(1)
            report = running.finish()
        assert (report.connections, report.refused) == (1, 1)
        assert any("link_refused (1 of 1" in one for one in report.reasons(late_ratio=1.0))
        with (
            pytest.raises(TrialError, match=r"network link to tcp://.*refused.*start the server"),
            start_link(url, _symmetric(ROUGH), seed=1),
        ):
            pass


@pytest.mark.parametrize("url", ["https://a:1", "127.0.0.1:80", "tcp://a", "http://a:x", "http://"])
def test_urls_that_cannot_go_over_a_link(url: str) -> None:
    """Only plain HTTP and TCP with a port can, and the message says so."""
    with (
        pytest.raises(SpecError, match="network link, target"),
        start_link(url, Conditions(name="t"), seed=1),
    ):
        pass


def test_an_emulator_that_dies_is_an_error() -> None:
    """A trial is told that its link is gone, not given a report of nothing."""
    with echoing() as url, start_link(url, Conditions(name="test"), seed=1) as running:
        os.kill(running.pid, signal.SIGKILL)
        with pytest.raises(TrialError, match="network link"):
            running.finish()


PARENT = """
import sys, time
from joulery.campaigns.network.conditions import Conditions
from joulery.campaigns.network.running import start_link
with start_link(sys.argv[1], Conditions(name="t"), seed=1) as link:
    print(link.pid, flush=True)
    time.sleep(60)
"""


def test_no_emulator_outlives_its_parent() -> None:
    """A parent that is killed takes its link with it."""
    with echoing() as url:
        command = [sys.executable, "-c", PARENT, url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            assert Path(f"/proc/{pid}").exists()
            parent.kill()
        ends_s = time.monotonic() + PATIENCE_S
        while _runs(pid) and time.monotonic() < ends_s:
            time.sleep(0.05)
        assert not _runs(pid)


def _runs(pid: int) -> bool:
    """Whether a process is there, and no zombie that nobody waits for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
