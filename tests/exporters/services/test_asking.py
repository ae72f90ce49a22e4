"""Asking servers of all kinds: the mark is there, and nothing they answer takes us down."""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np
import pytest
from aiohttp import web

from joulery.errors import SourceFailed
from joulery.exporters.service_metrics import JUDGED, QUALITY
from joulery.exporters.services.asking import Asked, asking_session
from joulery.exporters.services.golden import GoldenSet
from joulery.exporters.services.probe import Prober
from joulery.exporters.services.target import Pod, Target
from joulery.profiler.oip import InferenceRequest, InferenceResponse

from .probing import (
    POD,
    Answering,
    answering,
    asked,
    asked_of,
    binary_metadata,
    odd,
    parity_set,
    probe_until,
    probed,
    prober,
    values,
)


@pytest.fixture(scope="module")
def parity(tmp_path_factory: pytest.TempPathFactory) -> GoldenSet:
    """Return a golden set that asks which numbers are odd."""
    return parity_set(tmp_path_factory.mktemp("golden"))


def test_probes_are_marked(parity: GoldenSet) -> None:
    """Each request says that it is a probe, by a header, a parameter and its id; and by no other.

    The model's name is one part of the path, whatever is in it.
    """
    requests: list[tuple[web.Request, InferenceRequest]] = []

    async def handler(request: web.Request) -> web.Response:
        requests.append((request, await asked_of(request)))
        return odd(requests[-1][1])

    asyncio.run(probed(parity, handler))
    assert len({one.id for _, one in requests}) == len(requests)
    for request, one in requests:
        assert request.headers["X-Joulery-Probe"] == "1"
        assert one.parameters == {"joulery_probe": True}
        assert one.id is not None
        assert one.id.startswith("joulery-probe-")
        assert list(one.outputs) == ["odd"]
        assert one.inputs["x"].shape == (1,)
        assert request.raw_path == "/v2/models/m%2F1/infer"
    order = [int(one.inputs["x"][0]) for _, one in requests][: len(parity)]
    assert sorted(order) == list(range(10))
    assert order != list(range(10))


async def _redirect(_: web.Request) -> web.StreamResponse:
    raise web.HTTPTemporaryRedirect("http://127.0.0.1:1/")


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await response.write(b" " * 2**16)
    return response


async def _silent(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


async def _text(_: web.Request) -> web.StreamResponse:
    return web.Response(text="it works!")


async def _empty(_: web.Request) -> web.StreamResponse:
    return web.json_response({"model_name": "m", "outputs": []})


async def _other_shape(_: web.Request) -> web.StreamResponse:
    tensor = {"name": "odd", "datatype": "INT64", "shape": [1, 2], "data": [1, 0]}
    return web.json_response({"model_name": "m", "outputs": [tensor]})


async def _packed(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})


async def _no_list(_: web.Request) -> web.StreamResponse:
    return web.json_response({"name": "s", "extensions": 5})


async def _other_extensions(_: web.Request) -> web.StreamResponse:
    return web.json_response({"name": "s", "extensions": ["classification"]})


async def _missing(_: web.Request) -> web.StreamResponse:
    raise web.HTTPNotFound


@pytest.mark.parametrize(
    ("metadata", "binary"),
    [
        (binary_metadata, True),
        (_other_extensions, False),
        (_no_list, False),
        (_text, False),
        (_missing, False),
        (_redirect, False),
    ],
)
def test_binary_only_where_the_server_says_so(
    parity: GoldenSet, metadata: Answering, binary: bool
) -> None:
    """Tensors go as binary data to a server whose metadata names it, else as JSON; asked once."""
    told = 0
    found: list[bool] = []

    async def tell(request: web.Request) -> web.StreamResponse:
        nonlocal told
        told += 1
        return await metadata(request)

    async def handler(request: web.Request) -> web.Response:
        found.append("Inference-Header-Content-Length" in request.headers)
        return odd(await asked_of(request))

    some = asyncio.run(probed(parity, handler, metadata=tell))
    assert asked(some, outcome="error") == 0
    assert set(found) == {binary}
    assert told == 1


def test_another_server_at_the_same_place(parity: GoldenSet) -> None:
    """After a failure the server is asked again what it takes: it may be another one now."""
    is_new = False

    async def metadata(request: web.Request) -> web.StreamResponse:
        return await (_other_extensions if is_new else binary_metadata)(request)

    async def handler(request: web.Request) -> web.Response:
        nonlocal is_new
        if "Inference-Header-Content-Length" in request.headers:
            is_new = True
            return web.Response(status=500)
        return odd(await asked_of(request))

    some = asyncio.run(probed(parity, handler, metadata=metadata))
    assert asked(some, outcome="error") == 1


@pytest.mark.parametrize(("closed", "tries"), [(0, 1), (1, 2), (9, 2)])
def test_a_connection_that_the_server_closes(closed: int, tries: int) -> None:
    """A request whose connection is closed is sent once more, on another one, and no third time."""
    requests = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal requests
        requests += 1
        one = await asked_of(request)
        if requests <= closed:
            assert request.transport is not None
            request.transport.close()
        return odd(one)

    async def work() -> InferenceResponse | SourceFailed:
        inputs = {"x": np.array([3])}
        async with answering(handler) as url, asking_session(30.0) as session:
            try:
                return await Asked(url, "m").ask(session, inputs, ["odd"])
            except SourceFailed as error:
                return error

    answer = asyncio.run(work())
    assert requests == tries
    if closed < tries:
        assert isinstance(answer, InferenceResponse)
        assert answer.outputs["odd"] == [1]
    else:
        assert "ServerDisconnectedError" in str(answer)


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (_redirect, "status 307"),
        (_endless, "more than 4194304 bytes"),
        (_silent, "no answer in time"),
        (_text, "a JSON object"),
        (_empty, "no output 'odd'"),
        (_other_shape, "cannot compare with a label"),
        (_packed, "a JSON object"),
    ],
)
def test_hostile_servers(
    parity: GoldenSet, handler: Answering, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What no server should do is counted as an error and logged once, and judges nothing.

    A good server beside it has all its turns.
    """

    async def good(request: web.Request) -> web.Response:
        return odd(await asked_of(request))

    other = Pod(namespace="n", name="good", uid="2")

    async def work() -> Prober:
        async with answering(handler) as bad_url, answering(good) as good_url:
            some = prober(parity, timeout_s=5.0 if handler is not _silent else 0.2)
            some.update(
                Target(pod=pod, golden="parity", infer_url=url, model="m")
                for pod, url in ((POD, bad_url), (other, good_url))
            )
            await probe_until(
                some, lambda: asked(some, outcome="error") >= 2 and asked(some, other) >= 10
            )
        return some

    some = asyncio.run(work())
    assert values(some.readings()[POD], JUDGED) == {}
    assert values(some.readings()[other], QUALITY)["m", "", "", "accuracy", "probe", "all"] == 1.0
    assert caplog.text.count("probe of pod n/a") == 1
    assert text in caplog.text


@pytest.mark.parametrize(
    ("metadata", "text"), [(_endless, "more than 4194304 bytes"), (_silent, "no answer in time")]
)
def test_hostile_metadata(
    parity: GoldenSet, metadata: Answering, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What a server says of itself is bounded like its answers."""

    async def handler(request: web.Request) -> web.Response:
        return odd(await asked_of(request))

    async def work() -> Prober:
        async with answering(handler, metadata) as url:
            some = prober(parity, timeout_s=5.0 if metadata is not _silent else 0.2)
            some.update([Target(pod=POD, golden="parity", infer_url=url, model="m")])
            await probe_until(some, lambda: asked(some, outcome="error") >= 1)
        return some

    assert values(asyncio.run(work()).readings()[POD], JUDGED) == {}
    assert f"/v2: found {text}" in caplog.text


def test_nobody_there(parity: GoldenSet, caplog: pytest.LogCaptureFixture) -> None:
    """A server that is not there, no URL, no model and no such golden set are told."""
    some = prober(parity)
    targets = [
        Target(pod=POD, golden="parity", infer_url="http://127.0.0.1:1", model="m"),
        Target(pod=POD, golden="parity", infer_url="http://127.0.0.1:1"),
        Target(pod=POD, golden="parity", infer_url="http://[bad", model="m"),
        Target(pod=POD, golden="none", infer_url="http://127.0.0.1:1", model="m"),
        Target(pod=POD, golden="parity", model="m"),
    ]
    some.update(targets)
    some.update(targets)
    asyncio.run(probe_until(some, lambda: asked(some, outcome="error") >= 4))
    told = [record.getMessage() for record in caplog.records]
    assert sum("ClientConnectorError" in one for one in told) == 1
    assert sum("found no model, neither in it" in one for one in told) == 1
    assert sum("http://[bad" in one for one in told) == 1
    assert sum("no golden set 'none'" in one for one in told) == 1
    assert len(told) == 4
