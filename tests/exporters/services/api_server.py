"""The API server of the tests: it lists and watches pods as kube-apiserver does, and can fail.

What it answers has the form of Kubernetes' API (v1, PodList and watch events); what a real one does
beyond that is tried by the end-to-end tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from .pods import NODE

__all__ = ["ApiServer"]


class ApiServer:
    """Keeps pods and what happened to them.

    Attributes:
        token: What clients must show.
        fails: Status of every answer, if not 200.
        hangs: No request is answered.
        oldest: Changes up to this version are forgotten.
        asked: The parameters of each request so far.
        tokens: The tokens that clients showed.
    """

    def __init__(self) -> None:
        self.token = "first"
        self.fails = 0
        self.hangs = False
        self.oldest = 0
        self.asked: list[dict[str, str]] = []
        self.tokens: list[str] = []
        self.url = ""
        self._pods: dict[str, dict[str, Any]] = {}
        self._events: list[tuple[int, bytes]] = []
        self._version = 100
        self._changed = asyncio.Condition()
        self._cut = 0

    async def put(self, pod: dict[str, Any]) -> None:
        """Add a pod, or put it in the place of an earlier one."""
        kind = "MODIFIED" if pod["metadata"]["uid"] in self._pods else "ADDED"
        self._pods[pod["metadata"]["uid"]] = pod
        await self._happened(kind, pod)

    async def remove(self, uid: str) -> None:
        """Remove a pod."""
        await self._happened("DELETED", self._pods.pop(uid))

    async def bookmark(self) -> None:
        """Tell watchers the newest version."""
        await self._happened("BOOKMARK", {"kind": "Pod", "metadata": {}})

    async def error(self, code: int) -> None:
        """End all watches with a status."""
        status = {"kind": "Status", "code": code, "message": "as the test wants", "metadata": {}}
        await self._happened("ERROR", status)

    async def say(self, line: bytes) -> None:
        """Tell watchers a line, whatever it is."""
        async with self._changed:
            self._version += 1
            self._events.append((self._version, line))
            self._changed.notify_all()

    async def cut(self) -> None:
        """End all watches, as a server does now and then."""
        async with self._changed:
            self._cut += 1
            self._changed.notify_all()

    async def _happened(self, kind: str, what: dict[str, Any]) -> None:
        what = json.loads(json.dumps(what))
        what["metadata"]["resourceVersion"] = str(self._version + 1)
        # As Go writes it: other scripts, and line ends of Unicode, stand there as they are.
        event = json.dumps({"type": kind, "object": what}, ensure_ascii=False)
        await self.say(event.encode())

    async def _pods_of_node(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        self.tokens.append(request.headers.get("Authorization", "").removeprefix("Bearer "))
        while self.hangs:
            await asyncio.sleep(0.05)
        if self.tokens[-1] != self.token or self.fails:
            code = self.fails or 401
            status = {"kind": "Status", "code": code, "message": "as the test wants"}
            return web.json_response(status, status=code)
        assert request.query["fieldSelector"] == f"spec.nodeName={NODE}"
        if request.query.get("watch") == "true":
            return await self._watch(request)
        metadata = {"resourceVersion": str(self._version)}
        return web.json_response(
            {"kind": "PodList", "metadata": metadata, "items": [*self._pods.values()]}
        )

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        assert request.query["allowWatchBookmarks"] == "true"
        since, cut = int(request.query["resourceVersion"]), self._cut
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if since < self.oldest:
            status = {"kind": "Status", "code": 410, "message": "too old", "metadata": {}}
            await response.write(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
            return response
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            async with asyncio.timeout(float(request.query["timeoutSeconds"])):
                while cut == self._cut:
                    for version, line in self._events:
                        if version > since:
                            since = version
                            # In two parts, for the network has no lines.
                            await response.write(line[:20])
                            await response.write(line[20:] + b"\n")
                    async with self._changed:
                        if cut == self._cut and self._version == since:
                            await self._changed.wait()
        return response

    @contextlib.asynccontextmanager
    async def serving(
        self, *, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[str]:
        """Serve until the block is left; yield the URL."""
        app = web.Application()
        app.router.add_get("/api/v1/pods", self._pods_of_node)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
        await site.start()
        number = runner.addresses[0][1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{number}"
        try:
            yield self.url
        finally:
            await runner.cleanup()

    def kubeconfig(self, folder: Path) -> str:
        """Write a kubeconfig that leads here, and return its path."""
        path = folder / "kubeconfig"
        name = {"name": "test"}
        text = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{**name, "cluster": {"server": self.url}}],
            "users": [{**name, "user": {"token": self.token}}],
            "contexts": [{**name, "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        path.write_text(yaml.safe_dump(text), encoding="utf-8")
        return str(path)
