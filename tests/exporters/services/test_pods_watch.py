"""Following the pods of a node: what changes, what fails, and that what is known stays."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme

from joulery.exporters.services.discovery import needed
from joulery.exporters.services.pods_watch import PodsWatch, cluster

from .api_server import ApiServer
from .pods import NODE, pod_json

_PATIENCE_S = 60.0
_Pods = tuple[Mapping[str, Any], ...]


class Followed:
    """A watch that runs, and all that it told."""

    def __init__(self, watch: PodsWatch) -> None:
        self.watch = watch
        self.told: list[_Pods] = []

    @property
    def names(self) -> set[str]:
        return {pod["metadata"]["name"] for pod in self.watch.pods}

    async def until(self, what: Callable[[], bool]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(_PATIENCE_S):
            while not what():
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def following(
    kubeconfig: str | None = None, serviceaccount: str | None = None, **how: Any
) -> AsyncIterator[Followed]:
    """Follow the pods of a node until the block is left."""
    connect = partial(cluster, kubeconfig, serviceaccount)
    followed = Followed(
        PodsWatch(NODE, connect=connect, **{"first_s": 0.05, "longest_s": 0.2} | how)
    )
    stop = asyncio.Event()
    task = asyncio.create_task(followed.watch.run(stop, followed.told.append))
    try:
        yield followed
        assert not task.done()
    finally:
        stop.set()
        async with asyncio.timeout(_PATIENCE_S):
            await task
    assert not followed.watch.connected


@contextlib.asynccontextmanager
async def watched(tmp_path: Path) -> AsyncIterator[tuple[ApiServer, Followed]]:
    """Serve a node that has no pods yet, and follow it."""
    server = ApiServer()
    async with server.serving(), following(server.kubeconfig(tmp_path)) as followed:
        yield server, followed


def test_pods_come_change_and_go(tmp_path: Path) -> None:
    """Each pod is known as it is now; what nobody needs to know is told to nobody."""

    async def body() -> None:
        server = ApiServer()
        async with server.serving():
            await server.put(pod_json("a"))
            async with following(server.kubeconfig(tmp_path)) as followed:
                await followed.until(lambda: len(followed.told) == 1)
                assert followed.names == {"a"}
                assert followed.watch.connected
                await server.put(pod_json("b"))
                await followed.until(lambda: followed.names == {"a", "b"})
                # Only its conditions are others.
                same = pod_json("a", version=7)
                same["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
                await server.put(same)
                changed = pod_json("a", annotations={"joulery.io/port": "1"})
                await server.put(changed)
                await followed.until(lambda: needed(changed) in followed.watch.pods)
                await server.remove("uid-of-b")
                await followed.until(lambda: followed.names == {"a"})
                told = [sorted(pod["metadata"]["name"] for pod in pods) for pods in followed.told]
                assert told == [["a"], ["a", "b"], ["a", "b"], ["a"]]
                assert followed.told[0] == (needed(pod_json("a")),)
                before, after = followed.told[1], followed.told[2]
                assert after[1] is before[1], "what stays the same is the same object"
            first, second = server.asked[:2]
            assert (first["resourceVersion"], "watch" in first) == ("0", False)
            assert (second["resourceVersion"], second["watch"]) == ("101", "true")

    asyncio.run(body())


def test_a_node_without_pods_is_told(tmp_path: Path) -> None:
    """That there is no pod is news too, once."""

    async def body() -> None:
        async with watched(tmp_path) as (_, followed):
            await followed.until(lambda: followed.told == [()])

    asyncio.run(body())


def test_a_watch_that_ends_goes_on_where_it_was(tmp_path: Path) -> None:
    """After the server ends a watch, the next begins at the newest version, without a new list."""

    async def body() -> None:
        async with watched(tmp_path) as (server, followed):
            await followed.until(lambda: len(server.asked) == 2)
            await server.put(pod_json("a"))
            await server.bookmark()
            await server.say(b"")
            await followed.until(lambda: followed.names == {"a"})
            await server.cut()
            await followed.until(lambda: len(server.asked) == 3)
            await server.put(pod_json("b"))
            await followed.until(lambda: followed.names == {"a", "b"})
            assert server.asked[2]["watch"] == "true"
            assert server.asked[2]["resourceVersion"] == "102"
            assert followed.watch.failures == {}

    asyncio.run(body())


def test_missed_changes(tmp_path: Path) -> None:
    """Where the server has forgotten the changes since, all pods are listed, from its store."""

    async def body() -> None:
        async with watched(tmp_path) as (server, followed):
            await server.put(pod_json("gone"))
            await followed.until(lambda: followed.names == {"gone"})
            await server.error(410)
            server.oldest = 10_000
            server._pods.clear()  # nobody was told
            await server.put(pod_json("new"))
            await followed.until(lambda: followed.names == {"new"})
            await followed.until(lambda: followed.watch.failures["gone"] >= 2)
            lists = [asked for asked in server.asked if "watch" not in asked]
            assert lists[1]["resourceVersion"] == ""
            server.oldest = 0
            await followed.until(lambda: followed.watch.connected)
            assert set(followed.watch.failures) == {"gone"}

    asyncio.run(body())


@pytest.mark.parametrize(
    ("code", "reason", "said"),
    [
        (503, "refused", "status 503"),
        (429, "refused", "status 429"),
        (403, "forbidden", "allow to get, list and watch pods of all namespaces"),
        (401, "unauthorised", "mount a valid token"),
    ],
)
def test_refusals(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, code: int, reason: str, said: str
) -> None:
    """While the API server refuses, known pods stay, the log says once what to do, and it ends."""

    async def body() -> None:
        server = ApiServer()
        async with server.serving():
            await server.put(pod_json("a"))
            async with following(server.kubeconfig(tmp_path)) as followed:
                await followed.until(lambda: followed.names == {"a"})
                server.fails = code
                await server.error(500)
                await followed.until(lambda: followed.watch.failures[reason] >= 4)
                assert followed.names == {"a"}
                assert not followed.watch.connected
                server.fails = 0
                await followed.until(lambda: followed.watch.connected)
                await server.put(pod_json("b"))
                await followed.until(lambda: followed.names == {"a", "b"})

    with caplog.at_level(logging.INFO, "joulery"):
        asyncio.run(body())
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert sum(said in line for line in warnings) == 1
    assert all(line.endswith("pods that are known stay") for line in warnings)


def test_the_server_is_away(tmp_path: Path) -> None:
    """An API server that stops and comes back is found again; it may be away at the start too."""

    async def body() -> None:
        server = ApiServer()
        async with server.serving() as url:
            port = int(url.rpartition(":")[2])
            kubeconfig = server.kubeconfig(tmp_path)
        async with following(kubeconfig) as followed:
            await followed.until(lambda: followed.watch.failures["unreachable"] >= 2)
            assert followed.told == []
            async with server.serving(port=port):
                await server.put(pod_json("a"))
                await followed.until(lambda: followed.names == {"a"})
            await followed.until(lambda: not followed.watch.connected)
            assert followed.names == {"a"}
            async with server.serving(port=port):
                await server.remove("uid-of-a")
                await followed.until(lambda: followed.names == set())
            assert set(followed.watch.failures) == {"unreachable"}

    asyncio.run(body())


def test_a_slow_server(tmp_path: Path) -> None:
    """An API server that does not answer is a failure after its time, and not for ever."""

    async def body() -> None:
        server = ApiServer()
        server.hangs = True
        async with (
            server.serving(),
            following(server.kubeconfig(tmp_path), limit_s=0.3) as followed,
        ):
            await followed.until(lambda: followed.watch.failures["timeout"] >= 2)
            server.hangs = False
            followed.watch._limit_s = _PATIENCE_S
            await followed.until(lambda: followed.told == [()])

    asyncio.run(body())


def test_pods_are_listed_again(tmp_path: Path) -> None:
    """After some time all pods are listed again, so that no missed change stays missed."""

    async def body() -> None:
        server = ApiServer()
        async with (
            server.serving(),
            following(server.kubeconfig(tmp_path), resync_s=1.0) as followed,
        ):
            await followed.until(lambda: sum("watch" not in one for one in server.asked) >= 3)
            assert followed.watch.failures == {}
            assert followed.told == [()]

    asyncio.run(body())


@pytest.mark.parametrize("line", [b"no json", b"[]", b'{"type": "ADDED"}', b"\xff"])
def test_nonsense(tmp_path: Path, line: bytes) -> None:
    """What cannot be understood is counted, and the pods are listed again."""

    async def body() -> None:
        async with watched(tmp_path) as (server, followed):
            await followed.until(lambda: len(server.asked) >= 2)
            await server.say(line)
            await server.put(pod_json("a"))
            await followed.until(lambda: followed.names == {"a"})
            assert set(followed.watch.failures) == {"malformed"}

    asyncio.run(body())


def test_line_ends_in_annotations(tmp_path: Path) -> None:
    """A pod whose annotations hold the line ends of Unicode does not break off the watch."""

    async def body() -> None:
        async with watched(tmp_path) as (server, followed):
            await followed.until(lambda: len(server.asked) == 2)
            for name, text in (("a", "\x85"), ("b", "\u2028\u2029"), ("c", "\x1c\v\f\r\n")):
                await server.put(pod_json(name, annotations={"joulery.io/model": text}))
            await followed.until(lambda: followed.names == {"a", "b", "c"})
            assert followed.watch.failures == {}

    asyncio.run(body())


def test_in_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pod: its token is read again when it is refused, the authority after a failure."""
    authority = trustme.CA()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")

    def context(one: trustme.CA) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        one.issue_cert("127.0.0.1").configure_cert(made)
        return made

    async def body() -> None:
        server = ApiServer()
        (tmp_path / "token").write_text("first")
        authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
        async with server.serving(tls=context(authority)) as url:
            port = int(url.rpartition(":")[2])
            monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
            async with following(serviceaccount=str(tmp_path)) as followed:
                await followed.until(lambda: len(server.asked) == 2)
                server.token = "second"
                (tmp_path / "token").write_text("second")
                await server.cut()
                await server.put(pod_json("a"))
                await followed.until(lambda: followed.names == {"a"})
                assert server.tokens == ["first", "first", "first", "second"]
                assert followed.watch.failures == {}
        other = trustme.CA()
        async with (
            server.serving(port=port, tls=context(other)),
            following(serviceaccount=str(tmp_path)) as followed,
        ):
            await followed.until(lambda: followed.watch.failures["unreachable"] >= 1)
            other.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
            await followed.until(lambda: followed.names == {"a"})

    asyncio.run(body())


def test_no_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without token and kubeconfig the log says what to do, and it goes on once there is one."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    async def body() -> None:
        server = ApiServer()
        async with (
            server.serving(),
            following(str(tmp_path / "kubeconfig"), str(tmp_path / "none")) as followed,
        ):
            await followed.until(lambda: followed.watch.failures["no_credentials"] >= 2)
            server.kubeconfig(tmp_path)
            await followed.until(lambda: followed.told == [()])

    asyncio.run(body())
    assert "service account token, or name a kubeconfig" in caplog.text
