"""Feedback over HTTP: what is taken, what is refused and why, and what it adds up to."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from joulery.exporters.quality import wilson
from joulery.exporters.service_metrics import (
    ANSWERS_LOST,
    CORRECT,
    COVERAGE,
    FEEDBACK,
    JUDGED,
    QUALITY,
    STORE_ANSWERS,
)
from joulery.exporters.services.feedback import FeedbackReceiver
from joulery.exporters.services.identity import Identities
from joulery.exporters.services.joins import AnswerStore
from joulery.exporters.services.target import Pod

from ..test_quality import Clock

POD = Pod(namespace="n", name="a", uid="uid-a", addresses=("127.0.0.1",))

Post = Callable[..., Awaitable[tuple[int, Any]]]


@contextlib.asynccontextmanager
async def receiving(
    pods: tuple[Pod, ...] = (POD,), **options: Any
) -> AsyncIterator[tuple[FeedbackReceiver, Post]]:
    """Run a receiver on a real port; yield it and what posts to it."""
    store = AnswerStore(clock=Clock())
    receiver = FeedbackReceiver(store, Identities(pods), **options)
    app = web.Application()
    app.add_routes(receiver.routes())
    runner = web.AppRunner(app, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    async with aiohttp.ClientSession() as session:

        async def post(path: str, content: Any, **how: Any) -> tuple[int, Any]:
            body = content if isinstance(content, bytes) else json.dumps(content)
            async with session.post(f"{url}/{path}", data=body, **how) as response:
                return response.status, await response.json()

        try:
            yield receiver, post
        finally:
            await runner.cleanup()
            store.close()


def test_answers_and_labels() -> None:
    """Answers and labels in any order become quality, coverage and counts of their pod."""

    async def work() -> None:
        async with receiving() as (receiver, post):
            answers = [
                {
                    "id": str(n),
                    "model": "m",
                    "variant": "int8",
                    "exit": "early",
                    "prediction": n % 3,
                }
                for n in range(8)
            ]
            early = {"labels": [{"id": "0", "label": 0}, {"id": "none", "label": 0}]}
            assert await post("labels", early) == (200, {"waiting": 2})
            assert await post("answers", {"answers": answers}) == (200, {"joined": 1, "waiting": 7})
            late = [{"id": str(n), "label": 1} for n in range(5)]
            assert await post("labels", {"labels": late}) == (200, {"repeated": 1, "joined": 4})
            score = {"labels": [{"id": "7", "score": 0.75, "metric": "iou"}]}
            assert await post("labels", score) == (200, {"joined": 1})
            [(pod, reading)] = receiver.readings().items()
            assert pod is POD
            found = {(one.metric, one.labels): one.value for one in reading.told}
            names = ("m", "int8", "early")
            assert found[JUDGED, (*names, "accuracy", "feedback")] == 5
            assert found[CORRECT, (*names, "accuracy", "feedback")] == 3
            assert found[CORRECT, (*names, "iou", "feedback")] == 0.75
            assert found[COVERAGE, (*names, "all")] == 6 / 8
            for window in ("all", "300", "3600"):
                assert found[QUALITY, (*names, "accuracy", "feedback", window)] == 0.6
            bounds = {
                one.metric.name: one.value for one in reading.told if "accuracy" in one.labels
            }
            assert (
                bounds["joulery_pod_inference_quality_low_ratio"],
                bounds["joulery_pod_inference_quality_high_ratio"],
            ) == wilson(3, 5)
            outcomes, held, lost = receiver.families()
            assert (outcomes.metric, dict(outcomes.samples)) == (
                FEEDBACK,
                {
                    ("joined",): 6.0,
                    ("waiting",): 2.0,
                    ("repeated",): 1.0,
                    ("unknown",): 0.0,
                    ("invalid",): 0.0,
                    ("dropped",): 0.0,
                },
            )
            assert (held.metric, dict(held.samples)) == (
                STORE_ANSWERS,
                {("open",): 2.0, ("early",): 1.0},
            )
            assert {value for _, value in lost.samples} == {0.0}
            await receiver.keep_only([])
            [gone] = receiver.readings()
            assert gone.labels == POD.labels
            assert await post("labels", {"labels": [{"id": "6", "label": 0}]}) == (
                200,
                {"joined": 1},
            )
            _, _, lost = receiver.families()
            assert (lost.metric, dict(lost.samples)) == (
                ANSWERS_LOST,
                {("too_old",): 0.0, ("too_many",): 0.0, ("pod_gone",): 0.0},
            )

    asyncio.run(work())


ANSWER = {"id": "1", "model": "m"}


@pytest.mark.parametrize(
    ("path", "content", "text"),
    [
        ("answers", b"{", "body: found Expecting property name"),
        ("answers", b"\xff", "body: found 'utf-8' codec"),
        ("answers", b"[" * 100_000, "body: found"),
        ("answers", b'{"answers": [{"id": "1", "model": "m", "prediction": NaN}]}', "NaN, which"),
        ("answers", [], "body: found [], expected an object"),
        ("answers", {}, "answers: found nothing, expected a list of at most 5000"),
        ("answers", {"answers": [0] * 5001}, "answers: found 5001 of them"),
        ("answers", {"answers": [ANSWER, 5]}, "answers[1]: found 5, expected an object"),
        ("answers", {"answers": [ANSWER | {"idd": 1}]}, "answers[0]: found unknown key 'idd'"),
        ("answers", {"answers": [{"model": "m"}]}, "answers[0].id: found nothing, expected a s"),
        ("answers", {"answers": [ANSWER | {"id": ""}]}, "answers[0].id: found '', expected a str"),
        ("answers", {"answers": [ANSWER | {"id": "x" * 201}]}, "a string of 1 to 200 characters"),
        (
            "answers",
            {"answers": [ANSWER | {"model": "\ud800"}]},
            "answers[0].model: found '\\ud800",
        ),
        ("answers", {"answers": [ANSWER | {"exit": 5}]}, "answers[0].exit: found 5"),
        ("answers", {"answers": [ANSWER | {"prediction": []}]}, "answers[0].prediction: found []"),
        ("answers", {"answers": [ANSWER | {"prediction": 2**65}]}, "an integer beyond 2**64"),
        ("answers", {"answers": [ANSWER], "pod": []}, "pod: found [], expected an object"),
        ("answers", {"answers": [ANSWER], "pod": {"ip": ""}}, "pod: found unknown key 'ip'"),
        ("labels", {"labels": [{"id": "1"}]}, "labels[0]: found neither, expected 'label' or"),
        ("labels", {"labels": [{"id": "1", "label": 1, "score": 1}]}, "labels[0]: found both"),
        ("labels", {"labels": [{"id": "1", "label": None}]}, "labels[0].label: found nothing"),
        ("labels", {"labels": [{"id": "1", "score": 1.5}]}, "labels[0].score: found 1.5, expected"),
        ("labels", {"labels": [{"id": "1", "score": True}]}, "a number from 0 to 1"),
        ("labels", {"labels": [{"id": "1", "score": 1, "metric": 5}]}, "labels[0].metric: found 5"),
        ("labels", b'{"labels": [{"id": "1", "label": 1e999}]}', "labels[0].label: found inf"),
    ],
)
def test_malformed(path: str, content: Any, text: str) -> None:
    """A batch that is wrong is refused as a whole, and told which element and what is expected."""

    async def work() -> None:
        async with receiving() as (receiver, post):
            status, answer = await post(path, content)
            assert (status, set(answer)) == (400, {"error"})
            assert text in answer["error"]
            assert len(answer["error"]) < 400
            assert receiver.readings() == {}

    asyncio.run(work())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["answers", "labels", "pod", "id", "model", "label", "score", "uid"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(JSON.map(lambda one: json.dumps(one).encode()) | st.binary(max_size=50)))
def test_anything(bodies: list[bytes]) -> None:
    """Whatever is sent, the answer is JSON: taken, refused for what it is, or for who sent it."""

    async def work() -> None:
        async with receiving() as (_, post):
            for body in bodies:
                for path in ("answers", "labels"):
                    status, answer = await post(path, body)
                    assert status in (200, 400, 403)
                    assert status == 200 or answer["error"]

    asyncio.run(work())


def test_too_large() -> None:
    """A body beyond the limit is refused, also one that is small until it is unpacked."""

    async def work() -> None:
        async with receiving(most_bytes=1000) as (_, post):
            content = json.dumps({"labels": [], "x": " " * 100_000}).encode()
            for body, headers in (
                (content, {}),
                (gzip.compress(content), {"Content-Encoding": "gzip"}),
            ):
                status, answer = await post("labels", body, headers=headers)
                assert status == 413
                assert "expected smaller batches" in answer["error"]

    asyncio.run(work())


def test_unknown_senders() -> None:
    """A sender that is no pod, or says it is another, is refused; labels come from anybody."""

    async def work() -> None:
        async with receiving() as (receiver, post):
            ours, foreign = ({"answers": [ANSWER], "pod": {"uid": u}} for u in (POD.uid, "other"))
            status, answer = await post("answers", foreign)
            assert (status, set(answer)) == (403, {"error"})
            assert "is that of n/a" in answer["error"]
            assert receiver.readings() == {}
            assert (await post("answers", ours))[0] == 200
        async with receiving(pods=()) as (receiver, post):
            status, answer = await post("answers", ours)
            assert status == 403
            assert "no pod of this node has the address '127.0.0.1'" in answer["error"]
            assert (await post("labels", {"labels": [{"id": "1", "label": 1}]}))[0] == 200

    asyncio.run(work())


def test_busy() -> None:
    """When too many batches wait for the store, further ones are told to come later."""

    async def work() -> None:
        async with receiving(most_waiting=2) as (receiver, post):
            async with receiver._turn:
                waiting = [asyncio.ensure_future(post("labels", {"labels": []})) for _ in range(2)]
                while receiver._waiting < 2:
                    await asyncio.sleep(0.01)
                assert (await post("labels", {"labels": []}))[0] == 429
            assert await asyncio.gather(*waiting) == [(200, {})] * 2
            assert (await post("labels", {"labels": []}))[0] == 200

    asyncio.run(work())
