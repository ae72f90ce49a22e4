"""The process around the exporter: cycles that fail, and a pulse that tells."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from joulery.errors import SourceFailed
from joulery.exporters.pages import Pulse
from joulery.exporters.serving import measure, run_once
from joulery.profiler.simulator.load import Consumer

from .simulated import pod_node

_PODS = [Consumer(name="camera", busy=1.0)]
_PATIENCE_S = 30.0


def _until(probe: Callable[[], bool]) -> None:
    until_s = time.monotonic() + _PATIENCE_S
    while not probe():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_only_good_cycles_beat(tmp_path: Path) -> None:
    """While the node cannot be read the pulse fades; when it can be again, it beats."""
    now_s, stop = 0.0, threading.Event()
    pulse = Pulse(2.0, clock=lambda: now_s)
    with pod_node(tmp_path, _PODS) as node:
        node.settings = replace(node.settings, interval_s=0.02)
        with node.exporter() as exporter:
            thread = threading.Thread(target=measure, args=(exporter, stop, pulse))
            thread.start()
            _until(lambda: exporter.scrape.ready)
            stat = node.tree.host.proc / "stat"
            stat.rename(tmp_path / "stat")
            _until(lambda: exporter.problems["node"] > 0)
            now_s = 100.0
            failed = exporter.problems["node"]
            _until(lambda: exporter.problems["node"] > failed + 2)
            faded = not pulse.alive
            (tmp_path / "stat").rename(stat)
            _until(lambda: pulse.alive)
            stop.set()
            thread.join()
    assert faded


def test_once_fails_when_its_cycle_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--once` on a node that cannot be read is an error, rather than an empty scrape."""
    with pod_node(tmp_path, _PODS) as node:
        node.settings = replace(node.settings, interval_s=0.02)
        exporter = node.exporter()
        monkeypatch.setattr(exporter, "cycle", lambda: False)
        with pytest.raises(SourceFailed):
            run_once(exporter)
