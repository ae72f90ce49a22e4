"""The same over OTLP, received by a real receiver."""

from __future__ import annotations

from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource

from joulery.errors import SpecError
from joulery.exporters import metrics as m
from joulery.exporters.exposition import Scrape
from joulery.exporters.families import Family, Snapshot
from joulery.exporters.otlp import data_of, otlp_name, pushing
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
        [high] = [
            point.as_double
            for a, point in receiver.metrics["joulery.pod.energy.high"]
            if a["joulery.device"] == "cpu"
        ]
        assert high > pod_j


def test_any_number_of_pods_is_pushed() -> None:
    """Thousands of pods keep their own points, and those that are gone are told no more."""
    many = tuple((("default", f"pod-{n}", str(n)), float(n)) for n in range(5000))
    resource = Resource.create({})
    for samples in (many, many[:10]):
        snapshot = Snapshot(families=(Family(m.POD_CPU, samples),))
        [told] = data_of(snapshot, resource, 0, 1).resource_metrics
        [metric] = told.scope_metrics[0].metrics
        points = metric.data.data_points
        assert [getattr(point, "value", None) for point in points] == [v for _, v in samples]


def test_a_wrong_interval_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interval that is no number is refused, naming its variable."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "often")
    with pytest.raises(SpecError, match="OTEL_METRIC_EXPORT_INTERVAL"), pushing(Scrape(), "node"):
        pass


def test_names_have_no_unit() -> None:
    """Over OTLP the unit is a field of its own, not a part of the name."""
    for metric in m.CATALOGUE:
        if metric.unit:
            assert not otlp_name(metric).endswith(metric.unit)
