"""What the tests of serving share: an application, a server that runs, and certificates."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import trustme
from aiohttp import web

from joulery.exporters.web import Limits, Link, landing_page, serve

__all__ = ["Pages", "Secrets", "basic", "fetch", "port_of", "serving"]


@dataclass(kw_only=True)
class Pages:
    """An application as an exporter's is, with pages that wait, fail, and swallow."""

    entered: asyncio.Event = field(default_factory=asyncio.Event)
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    large: bytes = b"x" * 50_000_000

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/metrics", self.metrics)
        app.router.add_get("/healthz", self.metrics)
        app.router.add_get("/wait", self.wait)
        app.router.add_get("/large", self.much)
        app.router.add_get("/broken", self.broken)
        app.router.add_post("/v1/metrics", self.swallow)
        app.router.add_get(
            "/",
            landing_page(
                "An exporter", about="<tells>", links=[Link(path="/metrics", about="all")]
            ),
        )
        return app

    async def metrics(self, _request: web.Request) -> web.Response:
        return web.Response(text="up 1\n")

    async def wait(self, _request: web.Request) -> web.Response:
        self.entered.set()
        await self.leave.wait()
        return web.Response(text="late\n")

    async def much(self, _request: web.Request) -> web.Response:
        return web.Response(body=self.large)

    async def broken(self, _request: web.Request) -> web.Response:
        raise KeyError("a fault")

    async def swallow(self, request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))


@asynccontextmanager
async def serving(
    pages: Pages | None = None,
    *,
    config: Path | None = None,
    listen: str = "127.0.0.1:0",
    limits: Limits | None = None,
    dropped: Counter[str] | None = None,
) -> AsyncIterator[tuple[str, asyncio.Event, asyncio.Task[None]]]:
    """Serve pages; yield the URL, what stops the server, and its task."""
    urls: asyncio.Queue[str] = asyncio.Queue()
    stop = asyncio.Event()
    task = asyncio.create_task(
        serve(
            (pages or Pages()).app(),
            listen=listen,
            config=config,
            stop=stop,
            ready=urls.put_nowait,
            limits=limits,
            dropped=dropped,
        )
    )
    first = asyncio.create_task(urls.get())
    await asyncio.wait([task, first], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        first.cancel()
        task.result()
    try:
        yield first.result(), stop, task
    finally:
        stop.set()
        await task


async def fetch(url: str, method: str = "GET", **how: Any) -> tuple[int, str]:
    """Return the status and the text of one answer, over a connection of its own."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, **how) as answer,
    ):
        return answer.status, await answer.text()


def port_of(url: str) -> int:
    """Return the port in a URL."""
    return int(url.rpartition(":")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """A folder with certificates, and the authority that made them."""

    folder: Path
    authority: trustme.CA

    @classmethod
    def make(cls, folder: Path) -> Secrets:
        """Make an authority and a certificate for the server."""
        made = cls(folder=folder, authority=trustme.CA())
        made.rotate()
        return made

    def rotate(self) -> None:
        """Write another certificate and key for the server, and the authority of its clients."""
        issued = self.authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(str(self.folder / "server.key"))
        (self.folder / "server.crt").write_bytes(issued.cert_chain_pems[0].bytes())
        self.authority.cert_pem.write_to_path(str(self.folder / "clients.crt"))

    def client(self, *names: str, authority: trustme.CA | None = None) -> ssl.SSLContext:
        """Return a client's context, with a certificate for these names if there are any."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if names:
            (authority or self.authority).issue_cert(*names).configure_cert(context)
        return context

    def write(self, *lines: str) -> Path:
        """Write a configuration with this server certificate, and more lines below it."""
        path = self.folder / "web.yaml"
        first = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
        path.write_text(first + "\n".join(lines), encoding="utf-8")
        return path


def basic(user: str, word: str) -> dict[str, str]:
    """Return the header with a name and a password."""
    token = base64.b64encode(f"{user}:{word}".encode()).decode()
    return {"Authorization": f"Basic {token}"}
