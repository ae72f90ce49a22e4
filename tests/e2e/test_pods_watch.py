"""Following the pods of this node at a real API server, one that goes away as well."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlsplit

import pytest

from joulery.exporters.dialects import dialect
from joulery.exporters.services.discovery import targets_of
from joulery.exporters.services.pods_watch import PodsWatch
from joulery.exporters.services.target import Target

from .burners import burner
from .cluster import Bed, Cluster

_NAME, _NAMESPACE = "joulery-watched", "default"
_PATIENCE_S = 180.0
_DIALECTS: tuple[dialect.Dialect, ...] = ()


@pytest.fixture
def watched(cluster: Cluster) -> Iterator[str]:
    """Start a pod that asks to be scraped; return its node's name."""
    pod = burner(_NAME, _NAMESPACE, "while :; do /bin/busybox sleep 1; done")
    pod["metadata"]["annotations"] = {"joulery.io/port": "9000", "joulery.io/model": "first"}
    cluster.apply(pod)
    cluster.kubectl(
        *("wait", "--namespace", _NAMESPACE, "--for=condition=Ready", f"pod/{_NAME}"),
        "--timeout=120s",
    )
    found = cluster.get("pod", _NAME, "--namespace", _NAMESPACE)
    yield str(found["spec"]["nodeName"])
    cluster.kubectl(
        *("delete", "pod", _NAME, "--namespace", _NAMESPACE),
        *("--ignore-not-found", "--wait=false"),
    )


def _targets(watch: PodsWatch) -> list[Target]:
    every = [target for pod in watch.pods for target in targets_of(pod, _DIALECTS)[1]]
    return [target for target in every if target.pod.name == _NAME]


@contextlib.asynccontextmanager
async def _following(watch: PodsWatch) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(watch.run(stop, lambda _pods: None))
    try:
        yield
        assert not task.done()
    finally:
        stop.set()
        await task


async def _until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while not what():
            await asyncio.sleep(0.2)


def test_a_pod_is_followed(cluster: Cluster, watched: str) -> None:
    """A pod is found at its address, with its annotations as they are now, until it ends."""

    async def body() -> None:
        watch = PodsWatch(watched)
        async with _following(watch):
            await _until(lambda: len(_targets(watch)) == 1)
            [target] = _targets(watch)
            found = cluster.get("pod", _NAME, "--namespace", _NAMESPACE)
            assert urlsplit(target.url).hostname == found["status"]["podIP"]
            assert urlsplit(target.url).port == 9000
            assert (target.pod.uid, target.model) == (found["metadata"]["uid"], "first")
            cluster.kubectl(
                *("annotate", "pod", _NAME, "--namespace", _NAMESPACE),
                *("--overwrite", "joulery.io/model=second"),
            )
            await _until(lambda: [one.model for one in _targets(watch)] == ["second"])
            cluster.kubectl("delete", "pod", _NAME, "--namespace", _NAMESPACE, "--wait=false")
            await _until(lambda: _targets(watch) == [])
            assert watch.connected
            assert watch.failures == {}
        other = PodsWatch("no-such-node")
        async with _following(other):
            await _until(lambda: other.connected)
            assert other.pods == ()

    asyncio.run(body())


def test_the_api_server_goes_away(cluster: Cluster, testbed: Bed, watched: str) -> None:
    """While the API server is away the pods that are known stay; then all is followed again."""

    async def body() -> None:
        watch = PodsWatch(watched, longest_s=5)
        async with _following(watch):
            await _until(lambda: len(_targets(watch)) == 1)
            with testbed.without("kube-apiserver"):
                await _until(lambda: not watch.connected)
                assert len(_targets(watch)) == 1
            await _until(lambda: watch.connected)
            cluster.kubectl("delete", "pod", _NAME, "--namespace", _NAMESPACE, "--wait=false")
            await _until(lambda: _targets(watch) == [])

    asyncio.run(body())
