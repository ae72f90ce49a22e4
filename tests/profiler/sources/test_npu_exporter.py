"""Neural processors through their vendors' exporters: metrics after the vendors' documents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from joulery.errors import SourceFailed, SourceForbidden, SourceUnavailable
from joulery.profiler.host import Host
from joulery.profiler.meter import EnergyMeter
from joulery.profiler.sources.npu_exporter import UPDATE_S, NpuExporter, parse_metrics
from joulery.profiler.sources.openers import npu_exporter

from ..fakes import PlayedCpu, Ticker
from .service import Service

RECORDED = Path(__file__).with_name("recorded")


def metrics(vendor: str) -> str:
    """Return an exporter's answer."""
    return (RECORDED / f"{vendor}.prom").read_text()


@pytest.mark.parametrize(
    ("vendor", "power_w"),
    [
        ("ascend", {"ascend-0": 72.9, "ascend-1": 68.4, "ascend-2": None, "ascend-3": None}),
        ("gaudi", {"gaudi-0": 101.0}),
        ("furiosa", {"furiosa-npu0": 38.0}),
    ],
)
def test_each_vendors_unit(vendor: str, power_w: dict[str, float | None]) -> None:
    """Watts are watts and milliwatts are divided; "not known" (-1, NaN) is missing, not 0."""
    found = parse_metrics(metrics(vendor))
    assert {name: card.power_w for name, card in found.items()} == pytest.approx(power_w)


def test_two_chips_of_one_board_count_once() -> None:
    """On the 310P each chip tells the whole board's power: of each board one chip is taken."""
    found = parse_metrics(metrics("ascend_310p"))
    assert {name: card.power_w for name, card in found.items()} == {
        "ascend-0": 44.7,
        "ascend-2": 41.2,
    }


def test_a_chip_that_several_containers_use_counts_once() -> None:
    """Series that differ only by their pod are one chip."""
    line = 'npu_chip_info_power{id="0",model_name="910A",pcie_bus_info="b",pod_name="%s"} 70\n'
    found = parse_metrics("# TYPE npu_chip_info_power gauge\n" + line % "a" + line % "b")
    assert {name: card.power_w for name, card in found.items()} == {"ascend-0": 70.0}


def test_what_is_no_card_is_not_taken() -> None:
    """Metrics of other things, and other labels of the power, are not the power of a card."""
    other = metrics("furiosa").replace('label="rms"', 'label="peak"')
    assert parse_metrics(other) == {}
    assert parse_metrics("# TYPE up gauge\nup 1\n") == {}


@pytest.fixture
def service() -> Iterator[Service]:
    """Return an exporter of two Ascend cards that answer, and two that do not."""
    with Service({"/metrics": metrics("ascend")}) as service:
        yield service


def opened(service: Service, clock: Ticker) -> NpuExporter:
    """Open the exporter as a machine that names it does."""
    environ = {"JOULERY_NPU_METRICS_URL": f"{service.url}/metrics"}
    source = npu_exporter(Host(clock=clock), environ)
    assert isinstance(source, NpuExporter)
    return source


def test_power_of_cards_that_answer(service: Service) -> None:
    """The cards with a value become domains that are summed, and a window gets their energy."""
    clock = Ticker()
    source = opened(service, clock)
    assert [domain.name for domain in source.domains] == ["ascend-0", "ascend-1"]
    assert all(domain.summed for domain in source.domains)
    with (
        EnergyMeter([source], clock=clock, interval_s=None, work=PlayedCpu()) as meter,
        meter.window("load") as window,
    ):
        clock.advance(4.0)
    energy = window.result.energy
    assert energy is not None
    assert energy.value_j == pytest.approx(4.0 * (72.9 + 68.4))
    source.close()


def test_an_exporter_that_repeats_itself_is_stale(service: Service) -> None:
    """Metrics whose own time stands still are no power, though the exporter answers."""
    clock = Ticker()
    source = opened(service, clock)
    assert len(source.sample()) == 2
    source.close()
    asked = len(service.asked)
    clock.advance(3 * UPDATE_S + 0.1)
    with pytest.raises(SourceFailed, match="not renewed"):
        source.sample()
    assert len(service.asked) == asked + 1
    source.close()


def test_busy_seconds(service: Service) -> None:
    """Half busy for 10 s is 5 s of work; a card without utilisation is left out."""
    clock = Ticker()
    source = opened(service, clock)
    assert source.busy_s() == {"ascend-0": 0.0}
    clock.advance(10.0)
    assert source.busy_s() == {"ascend-0": 5.0}


def test_what_stands_in_the_way_is_told_apart(service: Service) -> None:
    """No address, nobody there, nothing there, not let in, no card, no metrics: all differ."""
    with pytest.raises(SourceUnavailable, match="JOULERY_NPU_METRICS_URL"):
        npu_exporter(Host(), {})
    outcomes = {
        404: (SourceUnavailable, "404"),
        403: (SourceForbidden, "403"),
        500: (SourceFailed, "500"),
        "# TYPE up gauge\nup 1\n": (SourceUnavailable, "no power of a card"),
        "<html>{</html>": (SourceFailed, "npu-exporter"),
    }
    for answer, (error, text) in outcomes.items():
        service.answers["/metrics"] = answer
        with pytest.raises(error, match=text):
            opened(service, Ticker())
    service.stop()
    with pytest.raises(SourceUnavailable, match="refused"):
        opened(service, Ticker())
