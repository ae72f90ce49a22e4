"""How a server ends: what SIGTERM, Ctrl-C and a drain mean to those who still ask."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import aiohttp

from .serving import Server, ask_x, get, infer

_DRAIN_S = "3"
_FOREVER_S = "60"
"""A drain that no test sits out."""


async def _asked(session: aiohttp.ClientSession, url: str) -> tuple[int, Any]:
    async with session.get(url) as response:
        return response.status, await response.json()


def test_a_server_that_leaves_answers_until_nobody_is_led_to_it(model: Path) -> None:
    """After SIGTERM it is not ready, answers what still comes, lets go of links, and exits 0."""

    async def scenario(server: Server) -> None:
        async with aiohttp.ClientSession() as session:
            assert (await infer(session, server, ask_x(1))).outputs["total"] == [[6]]
            server.process.send_signal(signal.SIGTERM)
            began_s = time.monotonic()
            while (await _asked(session, f"{server.url}/v2/health/ready"))[0] == 200:
                await asyncio.sleep(0.01)
            await asyncio.sleep(1)
            assert await _asked(session, f"{server.url}/v2/health/ready") == (503, {"ready": False})
            status, told = await _asked(session, f"{server.url}/v2/models/twice/ready")
            assert (status, told) == (503, {"name": "twice", "ready": False})
            assert await _asked(session, f"{server.url}/v2/health/live") == (200, {"live": True})
            async with session.get(f"{server.url}/v2") as response:
                assert response.headers["Connection"] == "close"
            assert (await infer(session, server, ask_x(2))).outputs["total"] == [[12]]
        await asyncio.to_thread(server.process.wait)
        assert time.monotonic() - began_s > float(_DRAIN_S) - 0.5

    with Server(model, "--drain-s", _DRAIN_S) as server:
        asyncio.run(scenario(server))
        assert server.process.returncode == 0


def test_ctrl_c_ends_it_at_once(model: Path) -> None:
    """Whoever presses Ctrl-C waits for no drain, nor for the rest of one."""
    for before in ((), (signal.SIGTERM,)):
        with Server(model, "--drain-s", _FOREVER_S) as server:
            for number in before:
                server.process.send_signal(number)
                while get(server, "/v2/health/ready")[0] == 200:
                    time.sleep(0.01)
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(10) == 0


def test_without_a_drain_it_stops_at_once(model: Path) -> None:
    """Outside of a cluster nobody waits for anything."""
    with Server(model) as server:
        began_s = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        assert time.monotonic() - began_s < float(_DRAIN_S)


def test_the_end_of_its_parent_ends_a_drain(model: Path) -> None:
    """Whoever started it is gone, so that nobody is led to it."""
    with Server(model, "--drain-s", _FOREVER_S) as server:
        assert server.process.stdin is not None
        server.process.stdin.close()
        assert server.process.wait(10) == 0
        server.process.stdin = None
