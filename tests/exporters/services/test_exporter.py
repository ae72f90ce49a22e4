"""The parts of the service exporter together: which pods are known, and which are forgotten."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from joulery.errors import SpecError
from joulery.exporters.exposition import TEXT
from joulery.exporters.services.answers import Answer
from joulery.exporters.services.exporter import ServiceExporter
from joulery.exporters.services.golden import write_golden
from joulery.exporters.services.joins import AnswerStore
from joulery.exporters.services.judging import Judge
from joulery.exporters.services.settings import ServiceSettings
from joulery.exporters.services.target import Pod

from .api_server import ApiServer
from .pods import NODE, pod_json

PATIENCE_S = 60.0
ANSWERS = [Answer(id="1", model="m", prediction=1)]


def pods_of(exporter: ServiceExporter) -> set[str]:
    """Return the names of the pods of which the store has answers."""
    return {pod.name for pod in exporter.feedback.readings()}


def text_of(exporter: ServiceExporter) -> str:
    """Return what it shows."""
    body = exporter.scrape.body(TEXT, compressed=False)
    return "" if body is None else body.decode()


def remember(path: Path, *names: str) -> None:
    """Write a store with answers of these pods, as an earlier exporter left it."""
    with closing(AnswerStore(path, clock=time.time)) as store:
        for name in names:
            pod = Pod(namespace="shop", name=name, uid=f"uid-of-{name}")
            store.add_answers(pod, ANSWERS)


def golden_set(path: Path, model: str) -> None:
    """Write one of a single sample."""
    write_golden(
        path,
        inputs={"x": np.zeros((1, 2))},
        judge=Judge(output="y", rule="equal"),
        labels=np.zeros(1),
        model=model,
    )


def test_nothing_is_forgotten_before_pods_are_known(tmp_path: Path) -> None:
    """Answers of an earlier life stay until the pods of the node are told, then those of pods."""
    path = tmp_path / "answers.db"
    remember(path, "here", "gone")

    async def work(exporter: ServiceExporter) -> None:
        for _ in range(3):
            await exporter._forget()
        assert pods_of(exporter) == {"here", "gone"}
        exporter._found([pod_json("here")])
        await exporter._forget()
        assert pods_of(exporter) == {"here"}

    with closing(ServiceExporter(ServiceSettings(store=path))) as exporter:
        asyncio.run(work(exporter))


def test_last_words_stay_for_a_while(tmp_path: Path) -> None:
    """A pod that has just gone is forgotten at the second look, for a scrape lies between."""
    path = tmp_path / "answers.db"
    remember(path, "here")

    async def work(exporter: ServiceExporter) -> None:
        exporter._found([pod_json("here")])
        await exporter._forget()
        exporter._found([])
        await exporter._forget()
        assert pods_of(exporter) == {"here"}
        await exporter._forget()
        assert pods_of(exporter) == set()

    with closing(ServiceExporter(ServiceSettings(store=path))) as exporter:
        asyncio.run(work(exporter))


def test_wrong_annotations_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """What is wrong with a pod stands in the log once, however often the pod is told."""

    async def work(exporter: ServiceExporter) -> None:
        wrong = pod_json("odd", annotations={"joulery.io/port": "none"})
        for _ in range(3):
            exporter._found([wrong])

    with closing(ServiceExporter(ServiceSettings())) as exporter:
        asyncio.run(work(exporter))
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("shop/odd: annotation joulery.io/port: found 'none'")


def test_pods_are_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks once has the API server's list, and shows it."""

    async def work(exporter: ServiceExporter) -> None:
        server = ApiServer()
        async with server.serving():
            await server.put(pod_json("a", annotations={"joulery.io/port": "1"}))
            monkeypatch.setenv("KUBECONFIG", server.kubeconfig(tmp_path))
            await exporter.run_once()

    with closing(ServiceExporter(ServiceSettings(node=NODE))) as exporter:
        asyncio.run(work(exporter))
        assert 'joulery_service_targets{source="scrape"} 1.0' in text_of(exporter)


async def running(exporter: ServiceExporter, until: Callable[[], bool]) -> None:
    """Run an exporter until something holds."""
    stop = asyncio.Event()
    task = asyncio.create_task(exporter.run(stop))
    async with asyncio.timeout(PATIENCE_S):
        while not until():
            await asyncio.sleep(0.01)
    stop.set()
    await task


def test_a_changed_file_is_taken_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """New services of the file are known without a restart; a mistake in it changes nothing."""
    path = tmp_path / "targets.yaml"
    path.write_text("targets: [{name: a, addresses: [192.0.2.1]}]")
    settings = ServiceSettings(targets=path, interval_s=0.05)

    async def work(exporter: ServiceExporter) -> None:
        await running(exporter, lambda: exporter._identities.knows("192.0.2.1"))
        path.write_text("targets: [{name: b, addresses: [192.0.2.22]}]")
        await running(exporter, lambda: exporter._identities.knows("192.0.2.22"))
        assert not exporter._identities.knows("192.0.2.1")
        path.write_text("targets: [{name: c, addresses: [nowhere]}]")
        await running(exporter, lambda: "nowhere" in caplog.text)
        assert exporter._identities.knows("192.0.2.22")

    with closing(ServiceExporter(settings)) as exporter:
        asyncio.run(work(exporter))


def test_changed_golden_sets_are_taken_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Sets that come, change or go are known without a restart; a mistake changes nothing."""
    targets, folder = tmp_path / "targets.yaml", tmp_path / "golden"
    targets.write_text("targets: []")
    folder.mkdir()
    settings = ServiceSettings(targets=targets, golden=folder, interval_s=0.05)

    def used(exporter: ServiceExporter) -> dict[str, str]:
        return {name: golden.model for name, golden in exporter._prober.golden.items()}

    async def work(exporter: ServiceExporter) -> None:
        assert used(exporter) == {}
        golden_set(folder / "a.json", model="one")
        await running(exporter, lambda: used(exporter) == {"a": "one"})
        (folder / "b").mkdir()
        golden_set(folder / "b" / "golden.json", model="two")
        await running(exporter, lambda: used(exporter) == {"a": "one", "b": "two"})
        golden_set(folder / "b" / "golden.json", model="three")
        await running(exporter, lambda: used(exporter) == {"a": "one", "b": "three"})
        (folder / "a.json").write_text("{")
        await running(exporter, lambda: "a.json" in caplog.text)
        assert used(exporter) == {"a": "one", "b": "three"}
        (folder / "a.json").unlink()
        await running(exporter, lambda: used(exporter) == {"b": "three"})

    with closing(ServiceExporter(settings)) as exporter:
        asyncio.run(work(exporter))


def test_what_goes_wrong_once_may_go_well_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When a snapshot cannot be made the log says why, the last one stays, and all goes on."""
    path = tmp_path / "targets.yaml"
    path.write_text("targets: []")
    shown = 0

    def fail_once() -> None:
        nonlocal shown
        shown += 1
        if shown == 2:
            raise KeyError("a fault")

    settings = ServiceSettings(targets=path, interval_s=0.05)
    with closing(ServiceExporter(settings, shown=fail_once)) as exporter:
        asyncio.run(running(exporter, lambda: shown > 3))
    assert "show failed: KeyError: 'a fault'" in caplog.text
    assert text_of(exporter)


def test_a_scrape_has_what_is_known_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A new snapshot is made when asked for, not for each who asks; a fault keeps the last one."""
    path = tmp_path / "answers.db"
    remember(path, "here", "there")
    here = Pod(namespace="shop", name="here", uid="uid-of-here")
    with closing(ServiceExporter(ServiceSettings(store=path))) as exporter:
        exporter.refresh()
        before = text_of(exporter)
        assert 'pod="there"' in before
        asyncio.run(exporter.feedback.keep_only([here]))
        exporter.refresh()
        assert text_of(exporter) == before
        monkeypatch.setattr("joulery.exporters.services.exporter._FRESH_S", 0.0)
        exporter.refresh()
        now = text_of(exporter)
        assert 'pod="here"' in now
        assert 'pod="there"' not in now

        def fault() -> None:
            raise KeyError("a fault")

        monkeypatch.setattr(exporter.feedback, "readings", fault)
        exporter.refresh()
        assert text_of(exporter) == now
        assert "show failed: KeyError: 'a fault'" in caplog.text


@pytest.mark.parametrize("name", ["targets", "golden", "store"])
def test_wrong_files_are_refused(tmp_path: Path, name: str) -> None:
    """A file or folder that cannot be used is named at the start."""
    path = tmp_path / "none" / "file"
    changed: dict[str, Any] = {name: path}
    with pytest.raises(SpecError) as wrong:
        ServiceExporter(replace(ServiceSettings(), **changed))
    assert str(path) in str(wrong.value)
