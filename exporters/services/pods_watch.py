"""The pods of one node, kept up to date by the API server: a list, then a watch of what changes.

kr8s knows where the API server is and who we are, with a token that it reads again when it is
refused. Its own watch is not used: it waits for ever, begins anew where it cannot, and takes any
Unicode line end in a pod's annotations for the end of an event. What a pod means is `discovery`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from ...errors import SourceError, SourceFailed, SourceForbidden, SourceUnavailable
from .discovery import needed

if TYPE_CHECKING:
    from kr8s.asyncio import Api

__all__ = ["FAILURES", "PodsWatch", "cluster"]

_log = logging.getLogger(__name__)

FAILURES = (
    "unreachable",
    "timeout",
    "no_credentials",
    "unauthorised",
    "forbidden",
    "gone",
    "refused",
    "malformed",
)
"""Why listing and watching fail; `gone`: changes were missed, as the server keeps few."""

Changed = Callable[[tuple[Mapping[str, Any], ...]], None]

_QUIET_S = 90.0
"""A watch that is silent so long is begun anew: servers send a bookmark about once a minute."""

_SOONEST_S = 1.0
"""Of a watch that ends at once, the next one begins so much later."""

_MOST_BYTES = 8 * 1024 * 1024
"""Of one event; a pod takes 1.5 MiB at most in the API server's store."""


async def cluster(kubeconfig: str | None = None, serviceaccount: str | None = None) -> Api:
    """Return a client of the cluster that a kubeconfig names, else of the one we are in.

    Args:
        kubeconfig: Its path, if not the usual one or that in `KUBECONFIG`.
        serviceaccount: Folder with token and certificate, if not where pods have it.

    Raises:
        SourceUnavailable: There is neither.
    """
    from kr8s.asyncio import Api

    # Made by its factory, a client would be one that others may hold, and would first ask the
    # server's version. Pods are the same in all versions.
    logging.getLogger("httpx").setLevel(logging.WARNING)  # or each request would be a line
    api = Api(bypass_factory=True, kubeconfig=kubeconfig, serviceaccount=serviceaccount)
    try:
        await api.auth
    except (KeyError, OSError, ValueError) as error:
        raise SourceUnavailable(
            "API server",
            found=f"no credentials: {type(error).__name__}: {error}",
            remedy="give the pod's container a service account token, or name a kubeconfig by "
            "KUBECONFIG; without Kubernetes, --targets names a file of services",
        ) from error
    return api


class PodsWatch:
    """Knows the pods of one node. While the API server is away, those that were known stay.

    Args:
        node: The node's name.
        connect: Makes a client; it is called again after each failure, for another token,
            certificate or address may be what helps.
        resync_s: All pods are listed again after this time at most.
        limit_s: How long an answer may take.
        first_s: Pause after a failure; each further one doubles it, and each is jittered.
        longest_s: The longest pause.

    Attributes:
        connected: What is known is up to date, as far as one can know.
        failures: How often something failed, by reason, see `FAILURES`.
    """

    def __init__(
        self,
        node: str,
        *,
        connect: Callable[[], Awaitable[Api]] = cluster,
        resync_s: float = 300.0,
        limit_s: float = 15.0,
        first_s: float = 1.0,
        longest_s: float = 60.0,
    ) -> None:
        self.connected = False
        self.failures: Counter[str] = Counter()
        self._node, self._connect = node, connect
        self._resync_s, self._limit_s = resync_s, limit_s
        self._first_s, self._longest_s = first_s, longest_s
        self._pods: dict[str, dict[str, Any]] = {}
        self._is_listed = False
        # "0" is whatever the server has at hand: it need not ask its store.
        self._version = "0"
        self._failed, self._told = 0, ""

    @property
    def pods(self) -> tuple[Mapping[str, Any], ...]:
        """The pods that are known, of each what `discovery.needed` keeps."""
        return tuple(self._pods.values())

    async def run(self, stop: asyncio.Event, changed: Changed) -> None:
        """Follow the pods until `stop` is set.

        Args:
            stop: Set from outside to end.
            changed: Told all pods, first when they were listed, then whenever what is kept of
                them is another. A pod that stayed the same is the same object. It must not raise.
        """
        following = asyncio.create_task(self._follow(changed))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.connected = False
            for task in (following, stopping):
                task.cancel()
            await asyncio.wait({following, stopping})
        if not following.cancelled():
            following.result()

    async def _follow(self, changed: Changed) -> None:
        while True:
            began_s = time.monotonic()
            try:
                async with self._client() as api:
                    while True:
                        await self._round(api, changed)
            except Exception as error:  # noqa: BLE001 - whatever it is, it may be over next time
                pause_s = self._note(error, lasted_s=time.monotonic() - began_s)
            await asyncio.sleep(pause_s)

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[Api]:
        async with asyncio.timeout(self._limit_s):
            api = await self._connect()
        try:
            yield api
        finally:
            # kr8s has no way to close a client's connections.
            session = getattr(api, "_session", None)
            if session is not None:
                await session.aclose()

    async def _round(self, api: Api, changed: Changed) -> None:
        """List all pods, then watch them until it is time to list them again."""
        await self._list(api, changed)
        # All nodes of a cluster may have begun at once.
        until_s = time.monotonic() + self._resync_s * random.uniform(0.8, 1.0)
        while (began_s := time.monotonic()) < until_s:
            await self._watch(api, until_s, changed)
            if time.monotonic() - began_s < _SOONEST_S:
                await asyncio.sleep(_SOONEST_S * random.uniform(0.5, 1.0))

    def _asked(self, **more: str) -> dict[str, Any]:
        """Return what a request for our pods has; there is a version, so nothing comes in pages."""
        wanted = {"fieldSelector": f"spec.nodeName={self._node}", "resourceVersion": self._version}
        return {"version": "v1", "url": "pods", "params": {**wanted, **more}}

    async def _list(self, api: Api, changed: Changed) -> None:
        async with asyncio.timeout(self._limit_s):
            async with api.call_api("GET", **self._asked()) as response:
                answer = response.json()
        pods = {str(pod["metadata"]["uid"]): needed(pod) for pod in answer["items"]}
        self._version = str(answer["metadata"]["resourceVersion"])
        same = self._is_listed and pods == self._pods
        # What stayed the same is kept: then it is the same object.
        self._pods = {
            uid: old if (old := self._pods.get(uid)) == pod else pod for uid, pod in pods.items()
        }
        if not self.connected:
            _log.info("the API server tells of %d pods on %s", len(pods), self._node)
        self.connected, self._is_listed, self._told = True, True, ""
        if not same:
            changed(self.pods)

    async def _watch(self, api: Api, until_s: float, changed: Changed) -> None:
        import httpx

        left_s = max(1, round(until_s - time.monotonic()))
        asked = self._asked(watch="true", allowWatchBookmarks="true", timeoutSeconds=str(left_s))
        limits = httpx.Timeout(self._limit_s, read=min(_QUIET_S, left_s + self._limit_s))
        async with api.call_api("GET", stream=True, timeout=limits, **asked) as response:
            with contextlib.suppress(httpx.ReadTimeout):
                async for line in _lines(response.aiter_bytes()):
                    if self._take(json.loads(line)):
                        changed(self.pods)
                    if time.monotonic() >= until_s:
                        return

    def _take(self, event: Mapping[str, Any]) -> bool:
        """Take in one event, and return whether it changed a pod in what we keep of it."""
        kind, what = event["type"], event["object"]
        if kind == "ERROR":
            raise _Refused(int(what.get("code") or 0), str(what.get("message") or "no reason"))
        metadata = what["metadata"]
        if kind == "BOOKMARK":
            self._version = str(metadata["resourceVersion"])
            return False
        uid = str(metadata["uid"])
        before = self._pods.get(uid)
        if kind == "DELETED":
            self._pods.pop(uid, None)
        elif (pod := needed(what)) != before:
            self._pods[uid] = pod
        self._version = str(metadata["resourceVersion"])
        return self._pods.get(uid) is not before

    def _note(self, error: Exception, *, lasted_s: float) -> float:
        """Count a failure, tell it once, and return how long to wait until the next try."""
        reason, told = _explained(error, self._node)
        self.failures[reason] += 1
        self.connected = False
        if reason in {"gone", "refused"}:
            self._version = ""  # the newest there is, whatever the server has at hand
        if str(told) != self._told:
            self._told = str(told)
            _log.warning("%s; pods that are known stay", told)
        if lasted_s > self._longest_s:
            self._failed = 0  # it went well for long
        pause_s = min(self._longest_s, self._first_s * 2.0 ** min(self._failed, 20))
        self._failed += 1
        return pause_s * random.uniform(0.5, 1.0)


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield what ends with a line feed, which alone parts the events of a watch."""
    rest = b""
    async for chunk in chunks:
        *whole, last = chunk.split(b"\n")
        if whole:
            whole[0], rest = rest + whole[0], b""
        rest += last
        if len(rest) > _MOST_BYTES:
            raise ValueError(f"an event of more than {_MOST_BYTES} bytes")
        for line in whole:
            if line:
                yield line


class _Refused(Exception):
    """The API server ended a watch with a status."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


def _explained(error: Exception, node: str) -> tuple[str, SourceError]:
    """Return the reason of a failure, in one word and for people."""
    import httpx
    import kr8s

    if isinstance(error, SourceUnavailable):
        return "no_credentials", error
    subject = "API server"
    found = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    if isinstance(error, (TimeoutError, kr8s.APITimeoutError, httpx.TimeoutException)):
        return "timeout", SourceFailed(subject, found="no answer in time")
    if isinstance(error, (httpx.HTTPError, OSError)):
        return "unreachable", SourceFailed(subject, found=found)
    if not isinstance(error, (kr8s.ServerError, _Refused)):
        return "malformed", SourceFailed(subject, found=found)
    code = error.code if isinstance(error, _Refused) else getattr(error.response, "status_code", 0)
    # Which URL was refused is another one each time, and would be told each time.
    said = " ".join(str(error).partition(" for url ")[0].split())[:300]
    found = f"status {code}: {said}"
    if code == 401:
        return "unauthorised", SourceForbidden(subject, found=found, remedy="mount a valid token")
    if code == 403:
        remedy = f"allow to get, list and watch pods of all namespaces, here those of node {node}"
        return "forbidden", SourceForbidden(subject, found=found, remedy=remedy)
    return "gone" if code == 410 else "refused", SourceFailed(subject, found=found)
