"""The same over OTLP, received by a real receiver."""

from __future__ import annotations

from pathlib import Path

import pytest

from joulery.exporters import metrics as m
from joulery.exporters.otlp import otlp_name, pushing
from joulery.profiler.simulator.load import Consumer

from ..profiler.otlp_receiver import receiving
from .simulated import pod_node, total


def test_what_is_scraped_is_pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod's and a sensor's energy arrive with OpenTelemetry's names, units and values."""
    with (
        receiving() as receiver,
        pod_node(tmp_path, [Consumer(name="camera", busy=1.0)]) as node,
        node.exporter() as exporter,
    ):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        with pushing(exporter.scrape, "node-1"):
            node.run(exporter, 4)
        pod_j = total(exporter, m.POD_ENERGY.series, pod="camera", device="cpu")
        device_j = total(exporter, m.DEVICE_ENERGY.series, domain="package-0/dram", summed="true")
        [(attributes, point)] = [
            (a, p)
            for a, p in receiver.metrics["joulery.pod.energy"]
            if a["joulery.device"] == "cpu"
        ]
        assert point.as_double == pod_j
        assert attributes["k8s.pod.name"] == "camera"
        assert attributes["k8s.namespace.name"] == "default"
        assert receiver.units["joulery.pod.energy"] == "J"
        hardware = {
            a["hw.id"]: (a["hw.type"], p)
            for a, p in receiver.metrics["hw.energy"]
            if a["joulery.summed"] == "true"
        }
        assert hardware["package-0/dram"][0] == "memory"
        assert hardware["package-0/dram"][1].as_double == device_j


def test_names_have_no_unit() -> None:
    """Over OTLP the unit is a field of its own, not a part of the name."""
    for metric in m.CATALOGUE:
        if metric.unit:
            assert not otlp_name(metric).endswith(metric.unit)
