"""Asking servers of all kinds: the mark is there, and nothing they answer takes us down."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from aiohttp import web

from joulery.exporters.service_metrics import JUDGED, QUALITY
from joulery.exporters.services.golden import GoldenSet
from joulery.exporters.services.probe import Prober
from joulery.exporters.services.target import Pod, Target
from joulery.profiler.oip import InferenceRequest

from .probing import (
    POD,
    Answering,
    answering,
    asked,
    asked_of,
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


@pytest.mark.parametrize("status", [400, 415, 422])
def test_json_where_binary_is_refused(parity: GoldenSet, status: int) -> None:
    """A server that takes no binary tensors is asked in JSON, after one refusal."""
    refused = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal refused
        if "Inference-Header-Content-Length" in request.headers:
            refused += 1
            return web.Response(status=status)
        return odd(await asked_of(request))

    some = asyncio.run(probed(parity, handler))
    assert (refused, asked(some, outcome="error")) == (1, 0)


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
