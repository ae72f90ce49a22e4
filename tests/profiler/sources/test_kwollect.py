"""Kwollect of Grid'5000: a real HTTP server with rows of the shape that the service gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from joulery.errors import SourceFailed, SourceForbidden, SourceUnavailable
from joulery.profiler.host import Host
from joulery.profiler.meter import EnergyMeter
from joulery.profiler.sources import Kind
from joulery.profiler.sources.kwollect import EVERY_S, Kwollect, parse_rows
from joulery.profiler.sources.openers import kwollect

from ..fakes import PlayedCpu, Ticker
from .service import Service

SITE = "/stable/sites/lyon"
NODE = "taurus-11"


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Return recorded rows, for a test to change."""
    text = (Path(__file__).with_name("recorded") / "kwollect.json").read_text()
    recorded: list[dict[str, Any]] = json.loads(text)
    return recorded


@pytest.fixture
def service(rows: list[dict[str, Any]]) -> Iterator[Service]:
    """Return the service of a site."""
    with Service({f"{SITE}/metrics": rows}) as service:
        yield service


def opened(service: Service, clock: Ticker, *, late_s: float = 2.0) -> Kwollect:
    """Open the node's metrics some time after the last of the recorded rows."""
    import requests

    wall_s = datetime.fromisoformat("2025-02-02T14:39:37+01:00").timestamp() + late_s
    session = requests.Session()
    return Kwollect(session, service.url + SITE, NODE, clock=clock, wall=lambda: wall_s)


def test_newest_row_of_each_metric_and_plug(rows: list[dict[str, Any]]) -> None:
    """Of each plug the newest row with a value counts; other nodes' rows do not."""
    assert {name: row.value for name, row in parse_rows(rows, NODE).items()} == {
        "wattmetre_power_watt/wattmetre1-port33": 69.4,
        "wattmetre_power_watt/wattmetre2-port4": 12.5,
        "bmc_node_power_watt": 84.0,
    }
    newest = parse_rows(rows, NODE)["wattmetre_power_watt/wattmetre1-port33"]
    assert newest.stamp == datetime.fromisoformat("2025-02-02T13:39:37+00:00").timestamp()
    assert parse_rows(list(reversed(rows)), NODE) == parse_rows(rows, NODE)


@pytest.mark.parametrize("rows", [{"error": "no"}, [{"value": 1}], [1], [{"device_id": NODE}]])
def test_what_are_no_rows(rows: object) -> None:
    """Another answer than rows is a failure, not an idle node."""
    with pytest.raises(ValueError, match=r"Kwollect|rows"):
        parse_rows(rows, NODE)


def test_ground_truth_beside_the_others(service: Service) -> None:
    """Plugs and controller are platforms, reported and never summed, as late as their rows."""
    clock = Ticker()
    source = opened(service, clock, late_s=2.0)
    assert {domain.kind for domain in source.domains} == {Kind.PLATFORM}
    assert not any(domain.summed for domain in source.domains)
    late_s = {domain.name: domain.update_s for domain in source.domains}
    assert late_s["wattmetre_power_watt/wattmetre1-port33"] == pytest.approx(1 + EVERY_S + 2.0)
    assert late_s["bmc_node_power_watt"] == pytest.approx(5 + EVERY_S + 3.798)
    with (
        EnergyMeter([source], clock=clock, interval_s=None, work=PlayedCpu()) as meter,
        meter.window("load") as window,
    ):
        clock.advance(4.0)
    plug = window.result.domains["kwollect:wattmetre_power_watt/wattmetre1-port33"].energy
    assert plug is not None
    assert plug.value_j == pytest.approx(4 * 69.4)
    assert window.result.energy is None
    source.close()


def test_only_what_is_needed_is_asked(service: Service) -> None:
    """The question names node, metrics and the last minute, not five minutes of everything."""
    opened(service, Ticker(), late_s=2.0)
    [(path, query)] = service.asked
    assert path == f"{SITE}/metrics"
    assert query["nodes"] == [NODE]
    assert query["metrics"] == ["wattmetre_power_watt,bmc_node_power_watt"]
    start_s = datetime.fromisoformat("2025-02-02T14:38:39+01:00").timestamp()
    assert query["start_time"] == [f"{start_s:.0f}"]


def test_rows_that_stand_still_are_stale(service: Service, rows: list[dict[str, Any]]) -> None:
    """A wattmeter that stops is left out while the controller goes on; then none is left."""
    clock = Ticker()
    source = opened(service, clock)
    assert len(source.sample()) == 3
    source.close()
    rows[4]["timestamp"] = "2025-02-02T14:39:50+01:00"
    clock.advance(3 * 9.8)
    assert [reading.domain.name for reading in source.sample()] == ["bmc_node_power_watt"]
    clock.advance(3 * 9.8)
    with pytest.raises(SourceFailed, match="not renewed"):
        source.sample()
    source.close()


def test_settings(service: Service, rows: list[dict[str, Any]]) -> None:
    """Address, node, name and password come from the environment."""
    with pytest.raises(SourceUnavailable, match="JOULERY_KWOLLECT_URL"):
        kwollect(Host(), {})
    environ = {"JOULERY_KWOLLECT_URL": service.url + SITE, "JOULERY_KWOLLECT_NODE": NODE}
    service.user = ("me", "secret")
    with pytest.raises(SourceForbidden, match="JOULERY_KWOLLECT_PASSWORD"):
        kwollect(Host(), environ)
    environ |= {"JOULERY_KWOLLECT_USER": "me", "JOULERY_KWOLLECT_PASSWORD": "secret"}
    assert len(kwollect(Host(clock=Ticker()), environ).domains) == 3
    rows.clear()
    with pytest.raises(SourceUnavailable, match="oarsub -t monitor"):
        kwollect(Host(), environ)


def test_no_rows_but_an_answer(service: Service) -> None:
    """An error page is a failure, a site that is not there an absence."""
    service.answers[f"{SITE}/metrics"] = "<html>too many values</html>"
    with pytest.raises(SourceFailed, match="kwollect"):
        opened(service, Ticker())
    service.answers[f"{SITE}/metrics"] = 404
    with pytest.raises(SourceUnavailable, match="404"):
        opened(service, Ticker())
