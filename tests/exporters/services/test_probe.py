"""The probe against real servers: its accuracy is that computed offline, and it is marked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from aiohttp import web

from joulery.campaigns.scenarios.anomaly_detection import AnomalyDetection
from joulery.exporters.dialects.reading import Reading
from joulery.exporters.metrics import Metric, high_of, low_of
from joulery.exporters.quality import wilson
from joulery.exporters.service_metrics import (
    AGREEMENT,
    CORRECT,
    JUDGED,
    QUALITY,
)
from joulery.exporters.services.golden import GoldenSet, Reference, write_golden
from joulery.exporters.services.judging import Judge
from joulery.exporters.services.probe import Prober
from joulery.exporters.services.target import Pod, Target

from ...campaigns.scenarios.serving import Server
from .probing import (
    POD,
    Ticks,
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

ALARM = Judge(output="alarm", rule="equal")
SAMPLES = 40


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> GoldenSet:
    """Return a golden set of telemetry with and without faults."""
    workload = AnomalyDetection().prepare(None, Path())
    chosen = np.linspace(0, workload.size - 1, SAMPLES).astype(np.int64)
    samples = [workload.inputs(int(sample)) for sample in chosen]
    nothing = {"score": np.zeros(SAMPLES), "alarm": np.zeros(SAMPLES, bool)}
    labels = workload.assess(chosen, nothing).per_request["label"]
    return write_golden(
        tmp_path_factory.mktemp("golden") / "telemetry.json",
        inputs={name: np.concatenate([one[name] for one in samples]) for name in samples[0]},
        judge=ALARM,
        labels=labels.astype(bool),
        model="twice",
    )


def model_path(model: str) -> Path:
    """Return a shipped model."""
    return AnomalyDetection().prepare(None, Path()).model_path(model, "fp32")


def offline(golden: GoldenSet, path: Path) -> list[bool]:
    """Return the alarms of a model, computed by ONNX Runtime alone."""
    session = onnxruntime.InferenceSession(path)
    [alarms] = session.run(["alarm"], dict(golden.inputs))
    return [bool(one) for one in np.asarray(alarms).ravel()]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Yield a server of a detector."""
    with Server(model_path("seasonal_zscore")) as one:
        yield one


def test_accuracy_is_that_computed_offline(golden: GoldenSet, server: Server) -> None:
    """By probe a service has the accuracy that its model has on the same set, computed offline.

    Passes after the first change nothing, other than the counters of what was done.
    """
    alarms = offline(golden, model_path("seasonal_zscore"))
    assert golden.labels is not None
    correct = sum(alarm == label for alarm, label in zip(alarms, golden.labels, strict=True))
    some = prober(golden)
    some.update([Target(pod=POD, golden="telemetry", infer_url=server.url, variant="fp32")])
    series = ("twice", "fp32", "", "accuracy", "probe")

    def read(metric: Metric) -> Any:
        by_labels = values(some.readings()[POD], metric)
        return by_labels[(*series, "all")] if (*series, "all") in by_labels else by_labels[series]

    for passes in (1, 2):
        asyncio.run(probe_until(some, lambda: asked(some) >= passes * SAMPLES))  # noqa: B023
        assert read(JUDGED) >= passes * SAMPLES
        assert read(QUALITY) == correct / SAMPLES
        assert (read(low_of(QUALITY)), read(high_of(QUALITY))) == wilson(correct, SAMPLES)
    assert read(CORRECT) / read(JUDGED) == pytest.approx(correct / SAMPLES, abs=0.2)
    assert 0 < correct < SAMPLES
    assert asked(some, outcome="error") == 0


def test_agreement_with_a_reference(golden: GoldenSet, server: Server, tmp_path: Path) -> None:
    """Without labels a service is compared with a reference: agreement, and never accuracy."""
    with Server(model_path("isolation_forest"), "--name", "forest") as reference:
        unlabelled = write_golden(
            tmp_path / "telemetry.json",
            inputs=golden.inputs,
            judge=ALARM,
            model="twice",
            reference=Reference(url=reference.url, model="forest"),
        )
        some = prober(unlabelled)
        pods = (POD, Pod(namespace="n", name="b", uid="2"))
        some.update(Target(pod=p, golden="telemetry", infer_url=server.url) for p in pods)
        asyncio.run(probe_until(some, lambda: all(asked(some, pod) >= SAMPLES for pod in pods)))
    models = ("seasonal_zscore", "isolation_forest")
    ours, theirs = (offline(golden, model_path(model)) for model in models)
    agreed = sum(one == other for one, other in zip(ours, theirs, strict=True))
    place = reference.url.removeprefix("http://")
    labels = ("twice", "", "", f"forest@{place}", "all")
    for pod in pods:
        reading = some.readings()[pod]
        assert values(reading, AGREEMENT)[labels] == agreed / SAMPLES
        low, high = wilson(agreed, SAMPLES)
        assert values(reading, low_of(AGREEMENT))[labels] == low
        assert values(reading, high_of(AGREEMENT))[labels] == high
        for metric in (QUALITY, JUDGED, CORRECT):
            assert values(reading, metric) == {}


@pytest.fixture(scope="module")
def parity(tmp_path_factory: pytest.TempPathFactory) -> GoldenSet:
    """Return a golden set that asks which numbers are odd."""
    return parity_set(tmp_path_factory.mktemp("golden"))


def test_exits(parity: GoldenSet, tmp_path: Path) -> None:
    """Accuracy is told by the exit that was taken, by parameter or by an output."""

    async def by_parameter(request: web.Request) -> web.Response:
        one = await asked_of(request)
        small = one.inputs["x"][0] < 4
        return odd(one, exit="early" if small else "late")

    async def by_output(request: web.Request) -> web.Response:
        return odd(await asked_of(request), ["taken"])

    with_output = parity_set(tmp_path, exit_output="taken")
    for handler, some_set, expected in (
        (by_parameter, parity, {"early", "late"}),
        (by_output, with_output, {str(number) for number in range(10)}),
    ):
        some = asyncio.run(probed(some_set, handler))
        found = values(some.readings()[POD], QUALITY)
        assert {labels[2] for labels in found} == expected
        assert set(found.values()) == {1.0}


def test_replaced_pods_begin_anew(parity: GoldenSet) -> None:
    """A pod that comes back goes on; with another uid or another variant it begins anew."""

    async def handler(request: web.Request) -> web.Response:
        return odd(await asked_of(request))

    some = asyncio.run(probed(parity, handler))
    [(key, known)] = some._probed.items()
    same = known.target
    some.update([same])
    assert some._probed == {key: known}
    replaced = Pod(namespace="n", name="a", uid="2")
    for pod, variant in ((replaced, ""), (POD, "int8")):
        some.update(
            [
                Target(
                    pod=pod,
                    golden="parity",
                    infer_url=same.infer_url,
                    model="m/1",
                    variant=variant,
                )
            ]
        )
        assert values(some.readings()[pod], JUDGED) == {}
        assert asked(some, pod) == 0
    some.update([])
    assert some.readings() == {}


def test_a_golden_set_that_changes_begins_anew(parity: GoldenSet) -> None:
    """Other labels are another set, whose figures begin anew; what did not change goes on."""

    async def handler(request: web.Request) -> web.Response:
        return odd(await asked_of(request))

    async def work() -> None:
        other = replace(parity, name="other", sha256="other")
        wrong = replace(parity, labels=1 - np.asarray(parity.labels), sha256="changed")
        async with answering(handler) as url:
            first, second = (
                Target(
                    pod=Pod(namespace="n", name=name, uid=name),
                    golden=name,
                    infer_url=url,
                    model="m/1",
                )
                for name in ("parity", "other")
            )
            some = prober(parity)
            some.update([first, second])
            await probe_until(some, lambda: asked(some, first.pod) >= 20)
            assert second.pod not in some.readings()
            some.use({"parity": parity, "other": other})
            await probe_until(some, lambda: asked(some, second.pod) >= 20)
            before = asked(some, first.pod)
            some.use({"parity": wrong, "other": other})
            assert before >= 20
            assert asked(some, first.pod) == 0
            assert asked(some, second.pod) >= 20
            await probe_until(some, lambda: asked(some, first.pod) >= 20)
            assert set(values(some.readings()[first.pod], QUALITY).values()) == {0.0}
            some.use({"other": other})
            assert set(some.readings()) == {second.pod}

    asyncio.run(work())


def test_a_pod_that_is_not_ready_is_left_alone(parity: GoldenSet) -> None:
    """It is asked nothing while it starts, and at once, as if new, when it is ready."""

    async def work() -> None:
        ready = asyncio.Event()

        async def handler(request: web.Request) -> web.StreamResponse:
            if ready.is_set():
                return odd(await asked_of(request))
            return web.Response(status=503)

        async with answering(handler) as url:
            starts, runs = (
                Target(pod=pod, golden="parity", infer_url=url, model="m/1", is_ready=is_ready)
                for pod, is_ready in ((POD, False), (Pod(namespace="n", name="b", uid="2"), True))
            )
            some = prober(parity)
            some.update([starts, runs])
            await probe_until(some, lambda: asked(some, runs.pod, "error") >= 5)
            assert asked(some, POD, "error") == 0
            ready.set()
            some.update([replace(starts, is_ready=True), runs])
            await probe_until(some, lambda: asked(some, POD) >= len(parity))
            assert asked(some, POD, "error") == 0
            some.update([replace(starts, is_ready=False), runs])
            assert set(values(some.readings()[POD], QUALITY).values()) == {1.0}

    asyncio.run(work())


def test_rates_are_bounded(parity: GoldenSet) -> None:
    """All together keep to their rate, and what does not fit is counted as skipped."""
    clock = Ticks()

    async def handler(request: web.Request) -> web.Response:
        return odd(await asked_of(request))

    async def work() -> tuple[float, float]:
        async with answering(handler) as url:
            some = Prober({"parity": parity}, clock=clock, rate_hz=100.0, most_hz=20.0)
            pods = [Pod(namespace="n", name=str(number), uid=str(number)) for number in range(9)]
            some.update(Target(pod=p, golden="parity", infer_url=url, model="m") for p in pods)
            await probe_until(some, lambda: sum(asked(some, pod) for pod in pods) >= 10)
            return tuple(  # type: ignore[return-value]
                sum(asked(some, pod, outcome) for pod in pods) for outcome in ("ok", "skipped")
            )

    done, skipped = asyncio.run(work())
    assert done <= clock.now_s * 20 + 1
    assert skipped > 0


def test_readings_can_be_published(parity: GoldenSet) -> None:
    """Two services of one pod with the same names make each series once."""

    async def handler(request: web.Request) -> web.Response:
        return odd(await asked_of(request))

    async def work() -> Reading:
        async with answering(handler) as url:
            some = prober(parity)
            some.update(
                Target(pod=POD, golden="parity", infer_url=f"{url}{end}", model="m")
                for end in ("", "/again/")
            )
            await probe_until(some, lambda: asked(some) >= 10)
            return some.readings()[POD]

    reading = asyncio.run(work())
    places = [(one.metric, one.labels) for one in reading.told]
    assert len(set(places)) == len(places)
    assert json.dumps([list(one.labels) for one in reading.told])
